//! What a request may be and how long its answer may take; compression.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

use crate::error::ApiError;
use crate::extract::{MAX_BODY_BYTES, is_json};

/// Longest path with its query string, in bytes.
const MAX_URI_BYTES: usize = 8 * 1024;
/// Longest time to an answer's head. What SQL and exports may take is less.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Shorter answers fit a packet as they are.
const MIN_COMPRESSED_BYTES: u64 = 1_024;
/// Of brotli and gzip: low, for an answer is made anew each time. The API's own
/// description goes from 108 KB to 14.
const LEVEL: i32 = 3;

/// Refuses what is too long, and writes that are not JSON; gives up on an
/// answer that does not come.
pub async fn check(request: Request, next: Next) -> Result<Response, ApiError> {
    let n_bytes = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    if n_bytes > MAX_URI_BYTES {
        return Err(ApiError::UriTooLong(MAX_URI_BYTES));
    }
    let length = length(request.headers());
    if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(ApiError::TooLarge(MAX_BODY_BYTES));
    }
    if is_write(request.method()) && !may_be_written(request.headers(), length) {
        return Err(ApiError::UnsupportedMediaType);
    }
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(ApiError::Unavailable(format!(
            "the answer took longer than {} s",
            ANSWER_WITHIN.as_secs()
        ))),
    }
}

/// Whether a method changes something.
pub fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A form of a foreign page can send anything but JSON.
fn may_be_written(headers: &HeaderMap, length: Option<u64>) -> bool {
    match headers.get(header::CONTENT_TYPE) {
        Some(kind) => kind.to_str().is_ok_and(is_json),
        None => !headers.contains_key(header::TRANSFER_ENCODING) && length.unwrap_or_default() == 0,
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Compresses text over a kilobyte for clients that take it. What is
/// compressed already (the page's files, Parquet) and WebSockets stay as they
/// are.
pub fn compression() -> CompressionLayer<impl Predicate> {
    let is_text = |_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions| {
        headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| {
                kind.starts_with("text/")
                    || kind.starts_with("application/json")
                    || kind.starts_with("application/problem+json")
                    || kind.starts_with("application/x-ndjson")
            })
    };
    CompressionLayer::new()
        .quality(CompressionLevel::Precise(LEVEL))
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES).and(is_text))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answer_that_does_not_come_is_given_up() {
        let router = Router::new()
            .fallback(std::future::pending::<()>)
            .layer(axum::middleware::from_fn(check));
        let asked = Instant::now();
        let request = Request::new(Body::empty());
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        assert_eq!(asked.elapsed().as_secs(), ANSWER_WITHIN.as_secs());
    }
}
