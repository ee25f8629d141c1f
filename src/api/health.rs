//! `/-/healthy` and `/-/ready`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::ApiState;
use crate::types::Timestamp;

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

/// How the last reload of the specs ended.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus(Arc<Mutex<LastReload>>);

/// See [`ReloadStatus`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastReload {
    /// When specs were last taken, at the start or later.
    pub succeeded_at: Timestamp,
    /// Why those on disk are not in force.
    pub error: Option<String>,
}

impl ReloadStatus {
    /// Specs were taken.
    pub fn succeeded(&self, at: Timestamp) {
        *self.lock() = LastReload { succeeded_at: at, error: None };
    }

    /// The old specs go on.
    pub fn failed(&self, error: String) {
        self.lock().error = Some(error);
    }

    /// The last reload.
    pub fn last(&self) -> LastReload {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LastReload> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
