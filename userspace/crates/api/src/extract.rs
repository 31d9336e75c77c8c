//! What handlers take from a request, refused with a problem document where
//! it is not as described.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longest name in a path, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// The query string, read as `T`, which denies unknown fields.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let Query(parameters) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text
                .strip_prefix("Failed to deserialize query string: ")
                .unwrap_or(&text);
            let text: String = text.chars().take(600).collect();
            ApiError::BadRequest(format!("the query string is not understood: {text}"))
        })?;
        Ok(Self(parameters))
    }
}

/// The query string of what takes none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParameters {}

/// The one name in the path, decoded.
#[derive(Clone, Debug)]
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
        if name.len() > MAX_NAME_BYTES {
            return Err(ApiError::BadRequest(format!(
                "a name has at most {MAX_NAME_BYTES} bytes"
            )));
        }
        Ok(Self(name))
    }
}

/// A JSON body, read as `T`.
#[derive(Clone, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(is_json);
        if !is_json {
            return Err(ApiError::UnsupportedMediaType);
        }
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
            .await
            .map_err(|_| ApiError::TooLarge(MAX_BODY_BYTES))?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            let text: String = error.to_string().chars().take(600).collect();
            ApiError::BadRequest(format!("the body is not understood: {text}"))
        })?;
        Ok(Self(value))
    }
}

/// Whether a content type is JSON, whatever its parameters.
pub fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
