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
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
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
