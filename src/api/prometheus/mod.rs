//! Prometheus' HTTP API over the store and the engine's figures: Grafana, promtool, and whatever else queries a
//! Prometheus find one here. Paths, parameters, JSON and errors are Prometheus'.

mod form;
mod json;
mod limits;
mod parsed;
mod query;
mod run;
mod series;
mod status;
mod syntax;

use axum::Router;
use axum::routing::get;

use crate::api::ApiState;

pub use limits::QuerySettings;
pub use run::Querier;
pub use status::About;

/// What needs the figures of a running engine.
pub(super) fn data() -> Router<ApiState> {
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(series::exemplars).post(series::exemplars))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/labels", get(series::names).post(series::names))
        .route("/api/v1/label/{name}/values", get(series::values))
        .route("/api/v1/metadata", get(series::metadata))
        .route("/api/v1/status/tsdb", get(status::tsdb))
}

/// What can be said at any time.
pub(super) fn about() -> Router<ApiState> {
    Router::new()
        .route("/api/v1/format_query", get(syntax::format).post(syntax::format))
        .route("/api/v1/parse_query", get(syntax::parse).post(syntax::parse))
        .route("/api/v1/status/buildinfo", get(status::build))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(status::runtime))
}
