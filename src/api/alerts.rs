//! `GET /api/v1/alerts` and `/api/v1/rules`, in Prometheus' form.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{RawQuery, State};
use axum::response::Response;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::alert::{Alert, AlertRule, AlertState};
use crate::api::ApiState;
use crate::api::error::{ApiError, success};
use crate::api::rules;
use crate::engine::{RuleView, SloView, Snapshot};
use crate::promql::{ParseLimits, Query, Type};
use crate::template::{self, Data};
use crate::types::{Labels, Selector, Timestamp, format_value_exponent};

const ALERT_NAME: &str = "alertname";

/// Every pending and firing alert.
pub(super) async fn list(State(state): State<ApiState>) -> Response {
    let snapshot = state.engine.snapshot();
    let mut alerts: Vec<Value> =
        snapshot.slos.iter().flat_map(|slo| slo.alerts()).map(|alert| prometheus_alert(alert, &state)).collect();
    alerts.extend(rules::alerts(&state.rules.groups()));
    success(json!({"alerts": alerts}))
}

/// `{labels, annotations, state, activeAt, value}`
pub(super) fn prometheus_alert(alert: &Alert, state: &ApiState) -> Value {
    let data = Data {
        labels: &alert.rule.labels,
        external_labels: &state.external_labels,
        external_url: &state.external_url,
        value: alert.value,
        now: alert.fired_at.unwrap_or(alert.active_at),
    };
    let name = format!("__alert_{}", alert.rule.labels.get(ALERT_NAME).unwrap_or_default());
    let expanded = |(key, text): &(String, String)| (key.clone(), template::expand(&name, text, &data));
    let annotations: BTreeMap<String, String> = alert.rule.annotations.iter().map(expanded).collect();
    json!({
        "labels": alert.rule.labels,
        "annotations": annotations,
        "state": alert.state.as_str(),
        "activeAt": alert.active_at.to_rfc3339(),
        "value": format_value_exponent(alert.value),
    })
}

/// Prometheus' filters; each but `type` and `exclude_alerts` may be repeated.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Filter {
    pub kind: Option<String>,
    pub exclude_alerts: bool,
    pub names: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    pub files: BTreeSet<String>,
    /// A rule is wanted when its labels satisfy any of these.
    pub matches: Vec<Selector>,
    /// How many groups at most, and the token of the first.
    page: Option<(usize, Option<String>)>,
}

impl Filter {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut filter = Self::default();
        let (mut limit, mut token) = (None, None);
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*key {
                "match[]" => filter.matches.push(selector(&value)?),
                "group_limit" if !value.is_empty() => limit = Some(group_limit(&value)?),
                "group_next_token" if !value.is_empty() => token = Some(value),
                "type" if matches!(&*value, "alert" | "record") => filter.kind = Some(value),
                "type" if value.is_empty() => {}
                "type" => {
                    return Err(ApiError::BadData(format!(
                        "invalid parameter \"type\": not supported value {value:?}"
                    )));
                }
                "exclude_alerts" => {
                    filter.exclude_alerts = value.parse().map_err(|_| {
                        ApiError::BadData(format!(
                            "invalid parameter \"exclude_alerts\": error converting exclude_alerts: \
                             strconv.ParseBool: parsing {value:?}: invalid syntax"
                        ))
                    })?;
                }
                "rule_name[]" => drop(filter.names.insert(value)),
                "rule_group[]" => drop(filter.groups.insert(value)),
                "file[]" => drop(filter.files.insert(value)),
                // Prometheus ignores what it does not know.
                _ => {}
            }
        }
        if token.is_some() && limit.is_none() {
            let message = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::BadData(format!("invalid parameter \"group_next_token\": {message}")));
        }
        filter.page = limit.map(|limit| (limit, token));
        Ok(filter)
    }
}

fn selector(text: &str) -> Result<Selector, ApiError> {
    let bad = |why: &str| ApiError::BadData(format!("invalid parameter \"match[]\": {why}"));
    let query = Query::parse(text, &ParseLimits::default()).map_err(|error| bad(&error.to_string()))?;
    match &query.needed()[..] {
        [needed] if query.value_type() == Type::Vector => Ok(needed.selector.clone()),
        _ => Err(bad("not a selector")),
    }
}

fn group_limit(text: &str) -> Result<usize, ApiError> {
    let bad = |why: String| ApiError::BadData(format!("invalid parameter \"group_limit\": {why}"));
    match text.parse() {
        Ok(0) => Err(bad("group_limit needs to be greater than 0".to_owned())),
        Ok(limit) => Ok(limit),
        Err(error) => Err(bad(format!("group_limit needs to be a valid number: {error}"))),
    }
}

/// Prometheus' token of a group.
fn token(group: &Value) -> String {
    let key = format!("{};{}", group["file"].as_str().unwrap_or_default(), group["name"].as_str().unwrap_or_default());
    Sha256::digest(key.as_bytes()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A page of groups, and the token of the next one.
fn page(groups: Vec<Value>, limit: usize, first: Option<&str>) -> Result<Value, ApiError> {
    let start = match first {
        None => 0,
        Some(wanted) => groups.iter().position(|group| token(group) == wanted).ok_or_else(|| {
            let message = format!("invalid group_next_token '{wanted}'. were rule groups changed?");
            ApiError::BadData(format!("invalid parameter \"group_next_token\": {message}"))
        })?,
    };
    let next = groups.get(start + limit).map(token);
    let page: Vec<Value> = groups.into_iter().skip(start).take(limit).collect();
    Ok(match next {
        Some(next) => json!({"groups": page, "groupNextToken": next}),
        None => json!({"groups": page}),
    })
}

/// Every rule: a group for each SLO, then the groups of rule files.
pub(super) async fn list_rules(State(state): State<ApiState>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let filter = Filter::parse(query.as_deref().unwrap_or_default())?;
    let snapshot = state.engine.snapshot();
    let slos = snapshot.slos.iter().filter_map(|slo| group(slo, &snapshot, &filter, &state));
    let files = state.rules.groups();
    let groups: Vec<Value> = slos.chain(files.iter().filter_map(|group| rules::group(group, &filter))).collect();
    Ok(success(match &filter.page {
        None => json!({"groups": groups}),
        Some((limit, token)) => page(groups, *limit, token.as_deref())?,
    }))
}

fn group(slo: &SloView, snapshot: &Snapshot, filter: &Filter, state: &ApiState) -> Option<Value> {
    let file = slo.origin.file.display().to_string();
    let wanted = |set: &BTreeSet<String>, name: &str| set.is_empty() || set.contains(name);
    // The engine judges alerts directly; it has no recording rules.
    if filter.kind.as_deref() == Some("record") || !wanted(&filter.groups, &slo.id) || !wanted(&filter.files, &file) {
        return None;
    }
    let matches = |view: &RuleView| {
        filter.matches.is_empty() || filter.matches.iter().any(|selector| selector.matches(&view.rule.labels))
    };
    let named =
        |view: &&RuleView| matches(view) && wanted(&filter.names, view.rule.labels.get(ALERT_NAME).unwrap_or_default());
    let rules: Vec<Value> =
        slo.rules.iter().filter(named).map(|view| rule(view, snapshot.at, filter.exclude_alerts, state)).collect();
    if rules.is_empty() {
        return None;
    }
    Some(json!({
        "name": slo.title(),
        "file": file,
        "rules": rules,
        "interval": 0,
        "limit": 0,
        "evaluationTime": 0,
        "lastEvaluation": snapshot.at.to_rfc3339(),
    }))
}

fn rule(view: &RuleView, at: Timestamp, exclude_alerts: bool, state: &ApiState) -> Value {
    let rule: &AlertRule = &view.rule;
    let word = match view.alert.as_ref().map(|alert| alert.state) {
        None | Some(AlertState::Resolved) => "inactive",
        Some(active) => active.as_str(),
    };
    let mut labels: Labels = rule.labels.clone();
    labels.set(ALERT_NAME, "");
    let mut value = json!({
        "type": "alerting",
        "name": rule.labels.get(ALERT_NAME),
        "query": rule.expr.to_string(),
        "duration": rule.for_.as_secs_f64(),
        "keepFiringFor": rule.keep_firing_for.as_secs_f64(),
        "labels": labels,
        "annotations": rule.annotations.iter().cloned().collect::<BTreeMap<_, _>>(),
        "alerts": null,
        "state": word,
        "health": "ok",
        "evaluationTime": 0,
        "lastEvaluation": at.to_rfc3339(),
    });
    // Null where they are not wanted, as in Prometheus.
    if !exclude_alerts {
        value["alerts"] = view.alert.iter().map(|alert| prometheus_alert(alert, state)).collect();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_prometheus() {
        let filter = Filter::parse("type=alert&rule_name%5B%5D=A&rule_name[]=B&exclude_alerts=true&x=y").unwrap();
        assert_eq!(filter.kind.as_deref(), Some("alert"));
        assert_eq!(filter.names, BTreeSet::from(["A".to_owned(), "B".to_owned()]));
        assert!(filter.exclude_alerts);
        assert!(Filter::parse("type=x").is_err() && Filter::parse("exclude_alerts=maybe").is_err());
    }
}
