//! `query` and `query_range`.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::form::{Form, duration, invalid};
use super::json;
use super::limits::POINTS_LIMIT_COUNT;
use super::run::{evaluate, parse};
use crate::api::{ApiError, ApiState};
use crate::clock;
use crate::figures::Queryable;
use crate::promql::{self, Type};
use crate::types::{Span, Timestamp};

/// What both have in common.
struct Common {
    timeout: Option<Span>,
    limit: Option<usize>,
    lookback: Option<Span>,
}

impl Common {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let (limit, timeout) = (form.limit()?, form.duration("timeout")?);
        let lookback = form.get("lookback_delta").map(duration).transpose();
        let lookback = lookback
            .map_err(|error| ApiError::BadData(format!("error parsing lookback delta duration: {error}")))?
            .filter(|lookback| lookback.0 > 0);
        Ok(Self { timeout, limit, lookback })
    }
}

/// One moment.
pub(super) async fn instant(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let common = Common::read(&form)?;
    let at = form.time("time")?.unwrap_or_else(clock::now);
    let query = parse(&state.querier.parsed, form.get("query").unwrap_or_default())?;
    let (storage, settings) = (queryable(&state), state.querier.settings.clone());
    let work = move |stop: &super::run::Stop| {
        let output =
            evaluate(&storage, &settings, common.lookback, stop, |evaluation| promql::instant(&query, at, evaluation))?;
        json::answer(&output, common.limit)
    };
    Ok(respond(state.querier.run(common.timeout, work).await?))
}

/// Every step of a range.
pub(super) async fn range(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let common_limit = form.limit()?;
    let (start, end) = (form.require_time("start")?, form.require_time("end")?);
    if end < start {
        return Err(invalid("end", "end timestamp must not be before start time"));
    }
    let step = match form.get("step") {
        Some(text) => duration(text).map_err(|error| invalid("step", &error))?,
        None => return Err(invalid("step", "cannot parse \"\" to a valid duration")),
    };
    if step.0 <= 0 {
        let error = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(invalid("step", error));
    }
    check_points(start, end, step)?;
    let common = Common { limit: common_limit, ..Common::read(&form)? };
    let query = parse(&state.querier.parsed, form.get("query").unwrap_or_default())?;
    if !matches!(query.value_type(), Type::Scalar | Type::Vector) {
        let found = query.value_type().documented();
        let error = format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector");
        return Err(invalid("query", &error));
    }
    let (storage, settings) = (queryable(&state), state.querier.settings.clone());
    let work = move |stop: &super::run::Stop| {
        let output = evaluate(&storage, &settings, common.lookback, stop, |evaluation| {
            promql::range(&query, start, end, step, evaluation)
        })?;
        json::answer(&output, common.limit)
    };
    Ok(respond(state.querier.run(common.timeout, work).await?))
}

fn check_points(start: Timestamp, end: Timestamp, step: Span) -> Result<(), ApiError> {
    if end.since(start).0 / step.0 <= POINTS_LIMIT_COUNT {
        return Ok(());
    }
    let error = "exceeded maximum resolution of 11,000 points per timeseries. \
                 Try decreasing the query resolution (?step=XX)";
    Err(ApiError::BadData(error.to_owned()))
}

/// Everything there is to ask, as of now.
pub(super) fn queryable(state: &ApiState) -> Queryable {
    Queryable::new(state.querier.store.clone(), state.engine.snapshot())
}

fn respond(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
