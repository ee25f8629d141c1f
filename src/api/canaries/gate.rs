//! `GET /api/v1/gate?service=`: whether the budget policy lets a deployment start.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::ApiState;
use crate::api::canaries::{refused, service};
use crate::api::error::ApiError;
use crate::engine::{SloView, Snapshot};
use crate::rollout::CommandError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    service: String,
}

/// Without the envelope, as [`verdict`](super::verdict): for conditions in pipelines.
pub(super) async fn show(
    State(state): State<ApiState>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(which) = query.map_err(|error| ApiError::BadData(error.body_text()))?;
    said(&state.engine.snapshot(), &which.service).map(Json)
}

/// Whether a deployment may start, with the reason: that the budget is frozen, else how much of it is left.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gate {
    /// Nothing forbids it.
    pub(super) allowed: bool,
    /// `allowed`, `frozen`, or `no-data` where a policy stands and no budget is known: it forbids nothing then.
    pub(super) state: &'static str,
    /// One sentence.
    pub(super) reason: String,
}

impl Gate {
    /// Of a service; `None` for one that nobody knows.
    pub(super) fn of(snapshot: &Snapshot, name: &str) -> Option<Self> {
        let view = service(snapshot, name);
        let mut slos = slos(snapshot, name).peekable();
        if view.is_none() && slos.peek().is_none() {
            return None;
        }
        let gate = |allowed, state, reason| Self { allowed, state, reason };
        if let Some(reason) = view.and_then(|view| view.frozen.clone()) {
            return Some(gate(false, "frozen", reason));
        }
        let Some(floor) = view.and_then(|view| view.freeze_below) else {
            return Some(gate(true, "allowed", format!("{name} has no budget policy")));
        };
        // What the policy looks at: early in a period an error does not look like the end.
        let least = slos.filter_map(|slo| Some((slo.budget.remaining_of_period()?, slo.title())));
        let Some((left, title)) = least.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Some(gate(true, "no-data", format!("no budget of {name} is known yet")));
        };
        let percent = |share: f64| (1_000.0 * share).round() / 10.0;
        let floor = percent(floor);
        let reason = format!("{title} has {} % of its budget left, and releases stop below {floor} %", percent(left));
        Some(gate(true, "allowed", reason))
    }
}

fn slos<'s>(snapshot: &'s Snapshot, name: &str) -> impl Iterator<Item = &'s SloView> {
    snapshot.slos.iter().map(AsRef::as_ref).filter(move |slo: &&SloView| slo.service == name)
}

pub(super) fn said(snapshot: &Snapshot, name: &str) -> Result<Value, ApiError> {
    let gate = Gate::of(snapshot, name).ok_or_else(|| refused(&CommandError::UnknownService(name.to_owned())))?;
    let budget = |slo: &SloView| {
        json!({
            "slo": slo.id,
            "group": slo.group,
            "state": slo.state.as_str(),
            "period": slo.period,
            "budgetRemaining": slo.budget.remaining,
            "budgetRemainingOfPeriod": slo.budget.remaining_of_period(),
        })
    };
    Ok(json!({
        "allowed": gate.allowed,
        "state": gate.state,
        "reason": gate.reason,
        "service": name,
        "freezeBelow": service(snapshot, name).and_then(|view| view.freeze_below),
        "budgets": slos(snapshot, name).map(budget).collect::<Vec<_>>(),
    }))
}
