//! Prometheus' envelope: `{"status":"success","data":...}` or `{"status":"error","errorType":...,"error":...}`.

use axum::Json;
use axum::http::{StatusCode, Uri};
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Self::Timeout(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Self::Canceled(_) => {
                (StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST), "canceled")
            }
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        (status, Json(json!({"status": "error", "errorType": kind, "error": self.to_string()}))).into_response()
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
