//! `GET /api/v1/slos` and `/api/v1/slos/{service}/{slo}`.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::alert::Alert;
use crate::api::error::{ApiError, success};
use crate::api::{ApiState, alerts};
use crate::engine::{SloView, TierView, VersionView};
use crate::journal::Gap;
use crate::sli::Quantiles;
use crate::spec::naming;
use crate::types::{Span, Timestamp};

/// Filters of the list; empty means any.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filter {
    service: Option<String>,
    state: Option<String>,
}

/// All SLOs, or those of a service or in a state.
pub(super) async fn list(
    State(state): State<ApiState>,
    query: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(filter) = query.map_err(|error| ApiError::BadData(error.body_text()))?;
    let snapshot = state.engine.snapshot();
    let wanted = |slo: &&SloView| {
        filter.service.as_ref().is_none_or(|service| *service == slo.service)
            && filter.state.as_ref().is_none_or(|state| *state == slo.state.as_str())
    };
    let gaps = state.engine.journal().gaps;
    let summary = |slo| summary(slo, &state, snapshot.at, &gaps);
    let slos: Vec<Value> = snapshot.slos.iter().map(AsRef::as_ref).filter(wanted).map(summary).collect();
    Ok(success(json!({"slos": slos})))
}

/// One SLO, all groups of it, with everything known about them.
pub(super) async fn one(
    State(state): State<ApiState>,
    Path((service, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let snapshot = state.engine.snapshot();
    let gaps = state.engine.journal().gaps;
    let groups = snapshot.slos.iter().filter(|slo| slo.service == service && slo.name == name);
    let slos: Vec<Value> = groups
        .map(|slo| {
            let mut value = summary(slo, &state, snapshot.at, &gaps);
            if let Value::Object(object) = &mut value {
                object.insert("tiers".to_owned(), slo.tiers.iter().map(tier).collect());
                object.insert("values".to_owned(), json!(slo.values.map(values)));
                object.insert("versions".to_owned(), slo.versions.iter().map(version).collect());
            }
            value
        })
        .collect();
    if slos.is_empty() {
        return Err(ApiError::NotFound(format!("no SLO {service}/{name}")));
    }
    Ok(success(json!({"slos": slos})))
}

fn summary(slo: &SloView, state: &ApiState, now: Timestamp, gaps: &[Gap]) -> Value {
    let budget = &slo.budget;
    let alerts: Vec<Value> = slo.alerts().map(|alert| slo_alert(alert, state)).collect();
    json!({
        "id": slo.id,
        "service": slo.service,
        "slo": slo.name,
        "description": slo.description,
        "labels": slo.labels,
        "group": slo.group,
        // Parsed from the exact text, so that 99.9 is sent as 99.9.
        "objective": slo.objective.to_string().parse::<f64>().unwrap_or_default(),
        "period": slo.period,
        "periodStart": budget.from.to_rfc3339(),
        "counts": if slo.budgeting.slice().is_some() { "slices" } else { "events" },
        "state": slo.state.as_str(),
        "good": number(budget.events.good()),
        "bad": number(budget.events.bad),
        "total": number(budget.events.total),
        "budgetRemaining": budget.remaining,
        "covered": covered(budget.covered, budget.period),
        "incomplete": gaps.iter().filter(|gap| now.since(gap.to) <= budget.period).map(incomplete).collect::<Vec<_>>(),
        "excluded": slo.excluded.map(|events| json!({"bad": number(events.bad), "total": number(events.total)})),
        "inconsistent": budget.events.inconsistent,
        "burnRates": rates(slo),
        "alerts": alerts,
        "revision": slo.revision,
        "lastSample": slo.last_sample.map(Timestamp::to_rfc3339),
    })
}

/// A time of which requests are lost, so that what they held may not be counted.
fn incomplete(gap: &Gap) -> Value {
    let from = (gap.from > Timestamp::MIN).then(|| gap.from.to_rfc3339());
    json!({"from": from, "to": gap.to.to_rfc3339(), "requests": gap.records})
}

/// A count: whole ones without `.0`.
fn number(count: f64) -> Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if count.fract() == 0.0 && count.abs() < EXACT { json!(count as i64) } else { json!(count) }
}

/// What a change of the clocks makes of a day.
const HOUR_OF_DAY: f64 = 1.0 / 24.0 + 1e-9;

/// `12 of 30 d`, so that a warming SLO never passes for a whole one.
fn covered(covered: Span, period: Span) -> String {
    // A month is 31 d, whatever the clocks did.
    let whole = |days: f64| if (days - days.round()).abs() <= HOUR_OF_DAY { days.round() } else { days };
    let (days, of) = (covered.as_days_f64(), whole(period.as_days_f64()));
    if days >= 1.0 || covered == period {
        format!("{} of {of} d", days.floor())
    } else {
        let unit = if covered < Span::minutes(1) { 1_000 } else { 60_000 };
        format!("{} of {of} d", Span(covered.as_millis() / unit * unit))
    }
}

fn rates(slo: &SloView) -> Value {
    let entries = slo.windows.iter().map(|w| (naming::window_text(w.span), json!(w.rate(slo.objective))));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn slo_alert(alert: &Alert, state: &ApiState) -> Value {
    let mut value = alerts::prometheus_alert(alert, state);
    if let Value::Object(object) = &mut value {
        object.insert("firedAt".to_owned(), json!(alert.fired_at.map(Timestamp::to_rfc3339)));
    }
    value
}

fn tier(view: &TierView) -> Value {
    let tier = &view.tier;
    json!({
        "severity": tier.severity.as_str(),
        "short": naming::window_text(tier.short),
        "long": naming::window_text(tier.long),
        "factor": tier.factor,
        "enabled": view.enabled,
        "state": view.state.map_or("inactive", |s| s.as_str()),
        "shortBurnRate": view.short_rate,
        "longBurnRate": view.long_rate,
        "events": number(view.events),
        "minEvents": view.min_events,
        "why": why(view),
    })
}

/// One sentence: why the tier fires or does not.
fn why(view: &TierView) -> String {
    let (factor, long, short) = (view.tier.factor, view.tier.long, view.tier.short);
    if !view.enabled {
        return "disabled, or no error ratio can reach its factor".to_owned();
    }
    let (Some(short_rate), Some(long_rate)) = (view.short_rate, view.long_rate) else {
        return format!("no events in {}", if view.long_rate.is_none() { long } else { short });
    };
    if view.events < view.min_events as f64 {
        return format!("{} events in {long}, fewer than the {} it takes to judge", view.events, view.min_events);
    }
    match (short_rate > factor, long_rate > factor) {
        (true, true) if view.state.is_none() => {
            format!("burns over {factor} in {short} and {long}, but not for long enough since the first sample")
        }
        (true, true) => format!("burns over {factor} in both {short} and {long}"),
        (true, false) => format!("burns over {factor} in {short}, not yet in {long}"),
        (false, true) => format!("burned over {factor} in {long}, no longer in {short}"),
        (false, false) => format!("burns at or under {factor} in both {short} and {long}"),
    }
}

/// Quantiles of a gauge's values over the last hour or two.
fn values(quantiles: Quantiles) -> Value {
    let Quantiles { count, p50, p90, p99, max } = quantiles;
    json!({"count": count, "p50": p50, "p90": p90, "p99": p99, "max": max})
}

fn version(view: &VersionView) -> Value {
    let windows = view.windows.iter().map(|(span, events)| {
        let figures =
            json!({"good": number(events.good()), "total": number(events.total), "errorRatio": events.error_ratio()});
        (naming::window_text(*span), figures)
    });
    json!({
        "version": view.name,
        "good": number(view.events.good()),
        "bad": number(view.events.bad),
        "total": number(view.events.total),
        "firstSample": view.first.to_rfc3339(),
        "lastSample": view.last.to_rfc3339(),
        "windows": Value::Object(windows.collect::<Map<_, _>>()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_reads_like_a_sentence() {
        let month = Span::days(30);
        assert_eq!(covered(Span::days(12) + Span::hours(5), month), "12 of 30 d");
        assert_eq!(covered(Span::minutes(90), month), "1h30m of 30 d");
        assert_eq!(covered(Span::millis(12_345), month), "12s of 30 d");
        assert_eq!(covered(Span::ZERO, month), "0s of 30 d");
        assert_eq!(covered(month, month), "30 of 30 d");
    }
}
