//! `/-/healthy`, `/-/ready`, and how far a recovery is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use serde_json::json;

use crate::api::error::success;
use crate::api::{ApiError, ApiState};
use crate::journal::Progress;
use crate::live::{Phase, describe};
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
    if !state.readiness.get() {
        return unavailable("sloburn is starting or stopping.\n".to_owned());
    }
    match state.engine.check() {
        Ok(()) => "sloburn is ready.\n".into_response(),
        Err(reason) => unavailable(format!("sloburn is not ready: {reason}.\n")),
    }
}

/// Prometheus' answer about the replay of its log, with segments' numbers.
pub(super) async fn wal_replay(State(state): State<ApiState>) -> Response {
    let (progress, phase) = match state.engine.phase() {
        Phase::Recovering(progress) if progress.total_bytes == 0 => (progress, "waiting"),
        Phase::Recovering(progress) => (progress, "in progress"),
        Phase::Running | Phase::Failed(_) => (state.engine.journal().recovered.unwrap_or_default(), "done"),
    };
    let Progress { first, last, current, .. } = progress;
    success(json!({"min": first, "max": last, "current": current, "state": phase}))
}

/// Answers 503 while the engine comes back from its journal: its figures would be those of a part.
pub(super) async fn require_recovered(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    match state.engine.phase() {
        Phase::Recovering(progress) => {
            ApiError::Unavailable(format!("recovering from the journal: {}", describe(&progress))).into_response()
        }
        Phase::Running | Phase::Failed(_) => next.run(request).await,
    }
}

/// Answers 503 while not ready, before anything else is looked at.
pub(super) async fn require_ready(State(readiness): State<Readiness>, request: Request, next: Next) -> Response {
    if readiness.get() { next.run(request).await } else { unavailable("sloburn is starting or stopping.\n".to_owned()) }
}

fn unavailable(text: String) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
