//! Prometheus' envelope: `{"status":"success","data":...}` or `{"status":"error","errorType":...,"error":...}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    BadData(String),
    /// It makes sense, but not as things are.
    #[error("{0}")]
    Conflict(String),
    /// More than is read.
    #[error("{0}")]
    TooLarge(String),
    /// Not what is read here.
    #[error("{0}")]
    UnsupportedMedia(String),
    /// Not from there.
    #[error("{0}")]
    Forbidden(String),
    /// Not yet.
    #[error("{0}")]
    Unavailable(String),
    /// The query makes sense, but not on this data or within these limits.
    #[error("{0}")]
    Execution(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// Whoever asked has left.
    #[error("{0}")]
    Canceled(String),
    /// A fault here.
    #[error("{0}")]
    Internal(String),
}

/// What nginx calls "client closed request".
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl ApiError {
    /// The HTTP status, and Prometheus' or our word for it.
    pub fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::UnsupportedMedia(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Self::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Self::Canceled(_) => {
                (StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST), "canceled")
            }
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind) = self.status();
        let body = Json(json!({"status": "error", "errorType": kind, "error": self.to_string()}));
        let mut response = (status, body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Wraps data for an answer.
pub(super) fn success(data: impl Serialize) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

/// For paths that mean nothing.
pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError::NotFound(format!("no such path: {}", uri.path()))
}
