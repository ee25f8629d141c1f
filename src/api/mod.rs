//! Views over HTTP, made from immutable snapshots and the store: SLOs and releases in our own shape, queries, alerts and
//! rules in Prometheus', health, metrics. And what is said about releases, on its way to the engine.

mod alerts;
mod audit;
mod canaries;
mod error;
mod health;
mod metrics;
mod prometheus;
mod rules;
mod slos;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use tower_http::compression::CompressionLayer;
use url::Url;

use crate::evaluation::RulesHandle;
use crate::ingest::{self, Receiver};
use crate::live::EngineHandle;
use crate::notify::Notifier;
use crate::types::Labels;

pub use canaries::AuthenticatedUser;
pub use error::ApiError;
pub use health::{LastReload, Readiness, ReloadStatus};
pub use metrics::Metrics;
pub use prometheus::{About, Querier, QuerySettings};

/// What the handlers read.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// Snapshots come from here.
    pub engine: EngineHandle,
    /// The state of receivers.
    pub notifier: Arc<Notifier>,
    /// On every alert that leaves.
    pub external_labels: Arc<Labels>,
    /// Where people reach this process.
    pub external_url: Arc<Url>,
    /// The write path.
    pub receiver: Arc<Receiver>,
    /// Whether samples are taken.
    pub readiness: Readiness,
    /// How the last reload of the specs ended.
    pub reload: ReloadStatus,
    /// Rules of rule files.
    pub rules: RulesHandle,
    /// Answers queries.
    pub querier: Arc<Querier>,
    /// Request counters.
    pub metrics: Arc<Metrics>,
}

/// All routes.
pub fn router(state: ApiState) -> Router {
    let write = any(ingest::write).with_state(Arc::clone(&state.receiver));
    let write = write.layer(axum::middleware::from_fn_with_state(state.readiness.clone(), health::require_ready));
    let counted = axum::middleware::from_fn_with_state(Arc::clone(&state.metrics), metrics::count_requests);
    let recovered = axum::middleware::from_fn_with_state(state.clone(), health::require_recovered);
    let figures = Router::new()
        .route("/api/v1/slos", get(slos::list))
        .route("/api/v1/slos/{service}/{slo}", get(slos::one))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/rules", get(alerts::list_rules))
        .merge(prometheus::data())
        .route_layer(recovered);
    Router::new()
        .route("/api/v1/write", write)
        .merge(figures)
        .route("/api/v1/audit", get(audit::export))
        .merge(prometheus::about())
        .merge(canaries::routes(&state))
        .route("/api/v1/status/walreplay", get(health::wal_replay))
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/metrics", get(metrics::show))
        .fallback(error::not_found)
        .layer(CompressionLayer::new())
        .layer(counted)
        .with_state(state)
}
