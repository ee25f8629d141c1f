//! `format_query` and `parse_query`.

use axum::extract::{Request, State};
use axum::response::Response;

use super::form::Form;
use super::run;
use crate::api::error::success;
use crate::api::{ApiError, ApiState};

/// A query in canonical form.
pub(super) async fn format(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let query = run::parse(&state.querier.parsed, form.get("query").unwrap_or_default())?;
    Ok(success(query.pretty()))
}

/// A query's syntax tree.
pub(super) async fn parse(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let query = run::parse(&state.querier.parsed, form.get("query").unwrap_or_default())?;
    Ok(success(query.tree()))
}
