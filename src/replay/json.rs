//! A replay as lines of JSON: one for each change of an alert, then one for each SLO.

use serde_json::{Map, Value, json};

use crate::engine::SloView;
use crate::replay::compare::Pair;
use crate::replay::summary::{SloSummary, severity};
use crate::replay::{Outcome, Transition};
use crate::rollout::{Happened, Record};
use crate::spec::naming;
use crate::types::Timestamp;

/// `{"time","kind":"alert","slo","severity","state","labels","burn":{"5m":20.1,"1h":15.2}}`
///
/// `burn` has the burn rates over the alert's two windows, or over all windows for an alert on the budget left;
/// a window without events is absent.
pub fn alert(transition: &Transition) -> Value {
    let alert = &transition.alert;
    let labels = &alert.rule.labels;
    let own = [labels.get(naming::LABEL_SHORT), labels.get(naming::LABEL_LONG)];
    let is_shown = |window: &str| own == [None, None] || own.contains(&Some(window));
    let burn = alert.burn_rates.iter().map(|(span, rate)| (naming::window_text(*span), number(*rate)));
    let burn: Map<String, Value> = burn.filter(|(window, _)| is_shown(window)).collect();
    json!({
        "time": transition.at.to_rfc3339(),
        "kind": "alert",
        "slo": alert.rule.slo,
        "severity": severity(labels),
        "state": alert.state.as_str(),
        "labels": labels,
        "burn": burn,
    })
}

/// `{"time","kind":"verdict","service","version","step","verdict","check","reason"}`, and what else identifies it;
/// nothing for what is no verdict.
pub fn verdict(record: &Record) -> Option<Value> {
    let Happened::Verdict { verdict, .. } = &record.event else { return None };
    Some(json!({
        "time": record.at.to_rfc3339(),
        "kind": "verdict",
        "service": record.service,
        "version": record.version,
        "baseline": record.baseline,
        "step": verdict.step,
        "verdict": verdict.decision.as_str(),
        "check": verdict.check,
        "reason": verdict.reason,
        "id": verdict.id,
    }))
}

/// Every change of an alert and every verdict, in order of time.
pub fn happenings(outcome: &Outcome) -> Vec<Value> {
    let alerts = outcome.transitions.iter().map(|transition| (transition.at, alert(transition)));
    let verdicts = outcome.records.iter().filter_map(|record| Some((record.at, verdict(record)?)));
    let mut lines: Vec<(Timestamp, Value)> = alerts.chain(verdicts).collect();
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// `{"kind":"slo","slo","labels","good","total","budgetRemaining","state"}`
///
/// `good` and `total` are the period's, as of the last sample; `budgetRemaining` is `null` without events.
pub fn slo(view: &SloView) -> Value {
    json!({
        "kind": "slo",
        "slo": view.id,
        "labels": view.group,
        "good": number(view.budget.events.good()),
        "total": number(view.budget.events.total),
        "budgetRemaining": view.budget.remaining.map(number),
        "state": view.state.as_str(),
    })
}

/// `{"kind":"comparison","slo","rules":{...},"against":{...}}`; the side that has no such SLO is `null`.
pub fn comparison(pair: &Pair<'_>) -> Value {
    json!({
        "kind": "comparison",
        "slo": pair.id(),
        "rules": pair.rules.map(figures),
        "against": pair.against.map(figures),
    })
}

fn figures(summary: &SloSummary) -> Value {
    json!({
        "pages": summary.pages,
        "tickets": summary.tickets,
        "pagesPerWeek": summary.pages_per_week.map(number),
        "longestPageSeconds": summary.longest_page.map(|page| number(page.span.as_millis() as f64 / 1000.0)),
        "budgetRemaining": summary.view.budget.remaining.map(number),
        "state": summary.view.state.as_str(),
    })
}

/// Marks a line as the second set's.
pub fn of_against(mut line: Value) -> Value {
    if let Value::Object(object) = &mut line {
        object.insert("set".to_owned(), json!("against"));
    }
    line
}

/// Whole numbers without `.0`.
fn number(number: f64) -> Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() < EXACT { json!(number as i64) } else { json!(number) }
}
