//! The page, embedded in the binary.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::error::ApiError;

/// The built page; debug builds read it from its folder.
#[derive(RustEmbed)]
#[folder = "$MODELTAP_UI_DIST"]
struct Page;

const INDEX: &str = "index.html";
/// What browsers ask for whatever the page says, and what they get.
const ICON_ASKED: &str = "favicon.ico";
const ICON: &str = "static/icon.svg";

/// Serves a file of the page. Paths that name none are the page's own routes,
/// so that a reload shows the same view.
pub async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if path.starts_with("api/") {
        return ApiError::NotFound(format!("there is no /{path}")).into_response();
    }
    let path = if path == ICON_ASKED { ICON } else { path };
    if let Some(response) = file(path, request.headers()) {
        return response;
    }
    // A missing script must not be answered with a page.
    let is_file = path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains('.'));
    let served = if is_file && !path.starts_with("services/") {
        None
    } else {
        file(INDEX, request.headers())
    };
    served.unwrap_or_else(|| ApiError::NotFound(format!("there is no /{path}")).into_response())
}

fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let path = if path.is_empty() { INDEX } else { path };
    let accepts_brotli = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|coding| coding.trim().starts_with("br"))
        });
    let plain = Page::get(path)?;
    let compressed = if accepts_brotli {
        Page::get(&format!("{path}.br"))
    } else {
        None
    };
    let tag = HeaderValue::from_str(&format!("\"{}\"", hex(&plain.metadata.sha256_hash()[..12])))
        .expect("hexadecimal digits are a header value");
    let is_known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| *known == tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if let Some(compressed) = compressed {
        let mut response = Body::from(compressed.data.into_owned()).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        response
    } else {
        Body::from(plain.data.into_owned()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(content_type(path)),
    );
    headers.insert(header::ETAG, tag);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(path: &str) -> (StatusCode, Option<HeaderValue>) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = serve(request).await;
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        (response.status(), kind)
    }

    #[tokio::test]
    async fn icon_that_browsers_ask_for_is_the_pages() {
        let icon = asked("/static/icon.svg").await;
        assert_eq!(asked("/favicon.ico").await, icon);
        // A build without the page has neither.
        if Page::get(ICON).is_some() {
            let svg = HeaderValue::from_static("image/svg+xml");
            assert_eq!(icon, (StatusCode::OK, Some(svg)));
        }
    }
}
