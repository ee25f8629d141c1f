//! Rule groups and their alerts in Prometheus' form.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::api::alerts::Filter;
use crate::evaluation::Groups;
use crate::ruler::{GroupView, RuleAlert, RuleView};
use crate::spec::{RuleKind, RuleLabels};
use crate::types::{Labels, Selector, Timestamp, format_value_exponent};

/// What Go prints for no time at all.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Pending and firing alerts of all rules.
pub(super) fn alerts(groups: &Groups) -> Vec<Value> {
    groups.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts).map(alert).collect()
}

/// `{labels, annotations, state, activeAt, value}`, and `keepFiringSince` where it is so.
fn alert(alert: &RuleAlert) -> Value {
    let mut value = json!({
        "labels": *alert.labels,
        "annotations": alert.annotations,
        "state": alert.state.as_str(),
        "activeAt": alert.active_at.to_rfc3339(),
        "value": format_value_exponent(alert.value),
    });
    if let (Some(since), Value::Object(object)) = (alert.keep_firing_since, &mut value) {
        object.insert("keepFiringSince".to_owned(), json!(since.to_rfc3339()));
    }
    value
}

/// A group without the rules that the filter leaves out; nothing if none is left.
pub(super) fn group(group: &GroupView, filter: &Filter) -> Option<Value> {
    let wanted = |set: &BTreeSet<String>, name: &str| set.is_empty() || set.contains(name);
    if !wanted(&filter.groups, &group.name) || !wanted(&filter.files, &group.file) {
        return None;
    }
    let of_kind = |rule: &RuleView| match (filter.kind.as_deref(), &rule.rule.kind) {
        (None, _) => true,
        (Some(kind), RuleKind::Record { .. }) => kind == "record",
        (Some(kind), RuleKind::Alert { .. }) => kind == "alert",
    };
    let matches = |rule: &RuleView| {
        filter.matches.is_empty() || filter.matches.iter().any(|selector| selects(selector, &rule.rule.labels))
    };
    let rules: Vec<Value> = group
        .rules
        .iter()
        .filter(|rule| of_kind(rule) && matches(rule) && wanted(&filter.names, rule.rule.name()))
        .map(|view| rule(view, filter.exclude_alerts))
        .collect();
    if rules.is_empty() {
        return None;
    }
    Some(json!({
        "name": group.name,
        "file": group.file,
        "rules": rules,
        "interval": seconds(group.interval.as_secs_f64()),
        "limit": group.limit,
        "evaluationTime": seconds(group.evaluation_time.as_secs_f64()),
        "lastEvaluation": time(group.last_evaluation),
    }))
}

fn selects(selector: &Selector, labels: &RuleLabels) -> bool {
    let mut set = Labels::new();
    for (name, value) in labels {
        set.set(name, value);
    }
    selector.matches(&set)
}

/// A number as Go prints it: whole ones without a point.
fn seconds(length: f64) -> Value {
    if length.fract() == 0.0 { json!(length as i64) } else { json!(length) }
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NO_TIME.to_owned(), Timestamp::to_rfc3339)
}

fn rule(view: &RuleView, exclude_alerts: bool) -> Value {
    let map = |pairs: &RuleLabels| pairs.iter().cloned().collect::<BTreeMap<String, String>>();
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    if let RuleKind::Alert { for_, keep_firing_for, annotations, .. } = &view.rule.kind {
        put("state", json!(view.state()));
        put("name", json!(view.rule.name()));
        put("query", json!(view.rule.expr.to_string()));
        put("duration", seconds(for_.as_secs_f64()));
        put("keepFiringFor", seconds(keep_firing_for.as_secs_f64()));
        put("labels", json!(map(&view.rule.labels)));
        put("annotations", json!(map(annotations)));
        let alerts = if exclude_alerts { Value::Null } else { view.alerts.iter().map(alert).collect() };
        put("alerts", alerts);
    } else {
        put("name", json!(view.rule.name()));
        put("query", json!(view.rule.expr.to_string()));
        put("labels", json!(map(&view.rule.labels)));
    }
    put("health", json!(view.health.as_str()));
    if let Some(error) = &view.last_error {
        put("lastError", json!(error));
    }
    put("evaluationTime", seconds(view.evaluation_time.as_secs_f64()));
    put("lastEvaluation", json!(time(view.last_evaluation)));
    let is_alert = matches!(view.rule.kind, RuleKind::Alert { .. });
    put("type", json!(if is_alert { "alerting" } else { "recording" }));
    Value::Object(object)
}
