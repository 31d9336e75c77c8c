//! Errors as problem documents (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use modeltap_api_types::Problem;
use modeltap_store::QueryError;
use thiserror::Error;

use crate::state::ChangeError;

/// Why a request could not be answered.
#[derive(Debug, Error)]
pub enum ApiError {
    /// A parameter has no meaning; what would be right.
    #[error("{0}")]
    BadRequest(String),
    /// The host, origin or credentials are not accepted.
    #[error("{0}")]
    Forbidden(String),
    /// A token is needed.
    #[error(
        "this API asks for a token: send it as `Authorization: Bearer TOKEN`, or as the password of any user"
    )]
    Unauthorized,
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// What is there stands against it.
    #[error("{0}")]
    Conflict(String),
    /// The path takes no such method.
    #[error("this path does not take the method {0}")]
    MethodNotAllowed(String),
    /// The body is not JSON.
    #[error("the body must be JSON: send it with `Content-Type: application/json`")]
    UnsupportedMediaType,
    /// The body is longer than this many bytes.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// The path and query string are longer than this many bytes.
    #[error("the path and query string are longer than {0} bytes")]
    UriTooLong(usize),
    /// Only WebSockets are answered here.
    #[error("only WebSockets are answered here: {0}")]
    UpgradeRequired(String),
    /// Too much is asked at once.
    #[error("{0}")]
    TooBusy(String),
    /// A part of the daemon is away.
    #[error("{0}")]
    Unavailable(String),
    /// An answer could not be made; a fault of ours.
    #[error("the answer could not be made: {0}")]
    Internal(String),
    /// The history could not be read.
    #[error("the history could not be read: {0}")]
    Store(String),
}

impl ApiError {
    /// The document that tells of it.
    pub fn problem(&self) -> Problem {
        let status = self.status();
        Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong(_) => StatusCode::URI_TOO_LONG,
            Self::UpgradeRequired(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Unavailable(_) | Self::TooBusy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) | Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid(detail) => Self::BadRequest(detail),
            QueryError::Busy => Self::TooBusy(error.to_string()),
            QueryError::Unavailable | QueryError::TooSlow(_) | QueryError::TooLarge => {
                Self::Unavailable(error.to_string())
            }
            QueryError::Database(source) => Self::Store(source.to_string()),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::Unknown(_) => Self::NotFound(text),
            ChangeError::OfLabel(_) | ChangeError::TooMany(_) => Self::Conflict(text),
            ChangeError::NotKept(_) => Self::Unavailable(text),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        // What was wrong a moment ago may be right now.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::UpgradeRequired(_)) {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if matches!(self, Self::TooBusy(_)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            for scheme in [
                "Basic realm=\"modeltap\", charset=\"UTF-8\"",
                "Bearer realm=\"modeltap\"",
            ] {
                let scheme = HeaderValue::from_static(scheme);
                headers.append(header::WWW_AUTHENTICATE, scheme);
            }
        }
        response
    }
}
