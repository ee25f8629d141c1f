//! `/-/healthy` and `/-/ready`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::ApiState;

/// Whether the daemon takes samples: not before it is set up, and not once it is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets it for all clones.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The process runs.
pub(super) async fn healthy() -> &'static str {
    "sloburn is healthy.\n"
}

/// Samples are taken.
pub(super) async fn ready(State(state): State<ApiState>) -> Response {
    if state.readiness.get() { "sloburn is ready.\n".into_response() } else { unavailable() }
}

/// Answers 503 while not ready, before anything else is looked at.
pub(super) async fn require_ready(State(readiness): State<Readiness>, request: Request, next: Next) -> Response {
    if readiness.get() { next.run(request).await } else { unavailable() }
}

fn unavailable() -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, "sloburn is starting or stopping.\n").into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
