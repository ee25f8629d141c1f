//! Releases over HTTP: how rollouts are doing, what may go on, and what people and pipelines say about them.
//!
//! Everything shown comes from snapshots; everything said becomes a [`Command`] that is in the log before it has an
//! effect. What a pipeline is answered is decided in one place, `answer`, whoever asks: Argo's web provider
//! (`verdict`), Flagger's webhooks (`flagger`), or a person.

mod answer;
mod argo;
mod command;
mod flagger;
mod gate;
mod json;
mod request;
mod verdict;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::error::{ApiError, success};
use crate::api::{ApiState, health};
use crate::engine::Snapshot;
use crate::live::{CommandFailure, EngineHandle};
use crate::rollout::{CanaryView, Command, CommandError, ServiceView};

pub use request::AuthenticatedUser;

/// A request's body; what is said about a rollout is short.
const BODY_LIMIT_BYTES: usize = 64 << 10;

/// All routes about releases.
pub(super) fn routes(state: &ApiState) -> Router<ApiState> {
    let recovered = axum::middleware::from_fn_with_state(state.clone(), health::require_recovered);
    Router::new()
        .route("/api/v1/canaries", get(list).post(command::start))
        .route("/api/v1/canaries/{service}", get(one))
        .route("/api/v1/canaries/{service}/{action}", post(command::act))
        .route("/api/v1/gate", get(gate::show))
        .route("/api/v1/argo/events", post(argo::take))
        .route_layer(recovered)
        // These answer while recovering too: a judge that is away is no reason to take a release back.
        .route("/api/v1/verdict", get(verdict::show))
        .route("/api/v1/flagger/{hook}", post(flagger::take).with_state((state.clone(), Arc::default())))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
}

/// Every service with a `canary` block.
async fn list(State(state): State<ApiState>) -> Response {
    let snapshot = state.engine.snapshot();
    let canary = |service: &Arc<ServiceView>| Some(json::canary(service, service.canary.as_ref()?));
    success(json!({"canaries": snapshot.services.iter().filter_map(canary).collect::<Vec<_>>()}))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    version: Option<String>,
}

/// One service with everything known about the rollout in progress, or about the newest of a version.
async fn one(
    State(state): State<ApiState>,
    Path(service): Path<String>,
    query: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Which { version }) = query.map_err(|error| ApiError::BadData(error.body_text()))?;
    shown(&state.engine.snapshot(), &service, version.as_deref()).map(success)
}

/// A service's releases, or that of a version.
fn shown(snapshot: &Snapshot, service: &str, version: Option<&str>) -> Result<Value, ApiError> {
    let (view, canary) = canary(snapshot, service)?;
    let mut shown = json::canary(view, canary);
    let rollout = match version {
        // The one at hand has been shown.
        None => return Ok(json!({"canary": shown})),
        Some(version) => canary.rollout(Some(version)),
    };
    let missing = || format!("no rollout of {service:?} with the version {:?}", version.unwrap_or_default());
    shown["rollout"] = json::rollout(rollout.ok_or_else(|| ApiError::NotFound(missing()))?);
    Ok(json!({"canary": shown}))
}

fn service<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s ServiceView> {
    snapshot.services.iter().find(|service| service.name == name).map(AsRef::as_ref)
}

/// A service and its canary, or what is missing.
fn canary<'s>(snapshot: &'s Snapshot, name: &str) -> Result<(&'s ServiceView, &'s CanaryView), ApiError> {
    let known = service(snapshot, name);
    let is_known = known.is_some() || snapshot.slos.iter().any(|slo| slo.service == name);
    known.and_then(|view| Some((view, view.canary.as_ref()?))).ok_or_else(|| {
        let name = name.to_owned();
        refused(&if is_known { CommandError::NoCanary(name) } else { CommandError::UnknownService(name) })
    })
}

fn refused(error: &CommandError) -> ApiError {
    match error {
        CommandError::UnknownService(_) | CommandError::NoCanary(_) => ApiError::NotFound(error.to_string()),
        CommandError::NoRollout(_)
        | CommandError::InProgress { .. }
        | CommandError::UnknownStep { .. }
        | CommandError::Baseline(_) => ApiError::Conflict(error.to_string()),
    }
}

/// Says it to the engine and waits until it has had its effect.
async fn say(engine: &EngineHandle, command: Command) -> Result<(), ApiError> {
    let (service, actor) = (command.service.clone(), command.actor.clone());
    let said = engine.command(command).await.map_err(|failure| match failure {
        CommandFailure::Refused(error) => refused(&error),
        CommandFailure::NotTaken(error) => ApiError::Unavailable(error.to_string()),
    });
    match &said {
        Ok(()) => tracing::debug!(service, actor, "command taken"),
        Err(error) => tracing::info!(service, actor, %error, "command refused"),
    }
    said
}
