//! What clients may keep of an answer, and for how long.
//!
//! Live figures change every second, so they are kept but asked for again
//! each time, with a tag of their content (RFC 9110 section 8.8.3): a client
//! that has them already gets no body. A range of history that is over stays
//! as it is. Everything else is not kept.

use std::hash::Hasher;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Longest answer that gets a tag, in bytes.
const MAX_TAGGED_BYTES: u64 = 8 * 1024 * 1024;
/// How long after its end a range has nothing more to come, in milliseconds:
/// the writer is at most seconds behind.
const SETTLED_MS: u64 = 60_000;

const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");
const KEEP_NOTHING: HeaderValue = HeaderValue::from_static("no-store");
/// Ten minutes: retention may thin a range out later.
const KEEP: HeaderValue = HeaderValue::from_static("private, max-age=600, immutable");

/// Marks the answer about a range that ended at `to_ms` as one that stays.
pub fn settle(response: &mut Response, to_ms: u64, now_ms: u64) {
    if to_ms.saturating_add(SETTLED_MS) <= now_ms {
        response.headers_mut().insert(header::CACHE_CONTROL, KEEP);
    }
}

/// Tags what can be tagged, and says of everything whether it may be kept.
pub async fn tag(request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let known = request.headers().clone();
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let is_tagged = is_get
        && response.status() == StatusCode::OK
        && !response.headers().contains_key(header::ETAG)
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && size.is_some_and(|size| size <= MAX_TAGGED_BYTES)
        && is_data(response.headers());
    if !is_tagged {
        return keep(response, KEEP_NOTHING);
    }
    let (parts, body) = response.into_parts();
    let bytes = match axum::body::to_bytes(body, MAX_TAGGED_BYTES as usize).await {
        Ok(bytes) => bytes,
        // A body in memory does not break.
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let tag = content_tag(&bytes);
    let mut response = if knows(&known, &tag) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        *response.headers_mut() = parts.headers;
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    } else {
        Response::from_parts(parts, Body::from(bytes))
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    keep(response, ASK_AGAIN)
}

fn keep(mut response: Response, otherwise: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(otherwise);
    response
}

fn is_data(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    matches!(
        essence,
        Some("application/json" | "application/x-ndjson" | "text/csv")
    )
}

/// Weak: the same content compressed is another sequence of bytes. Its keys
/// are fixed, for it keeps nobody out.
fn content_tag(bytes: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    format!("W/\"{:016x}-{:x}\"", hasher.finish(), bytes.len())
}

/// Whether the client has what is tagged so (weak comparison).
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly_and_in_lists() {
        let tag = content_tag(b"{}");
        assert_ne!(tag, content_tag(b"{ }"));
        let strong = tag.trim_start_matches("W/");
        for (known, expected) in [
            (tag.clone(), true),
            (strong.to_owned(), true),
            (format!("\"other\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"other\"".to_owned(), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
            assert_eq!(knows(&headers, &tag), expected, "{known}");
        }
        assert!(!knows(&HeaderMap::new(), &tag));
    }

    #[test]
    fn range_that_has_just_ended_may_change() {
        let kept = |to_ms| {
            let mut response = StatusCode::OK.into_response();
            settle(&mut response, to_ms, 1_000_000);
            response.headers().contains_key(header::CACHE_CONTROL)
        };
        assert!(kept(940_000));
        assert!(!kept(940_001));
        assert!(!kept(u64::MAX));
    }
}
