//! Alerting rules: each series of the result is an alert, which waits for `for`, fires, and goes on for
//! `keep_firing_for`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::AlertState;
use crate::promql::{ParseLimits, Query, Value};
use crate::ruler::record::{self, Sample};
use crate::ruler::{Ground, RuleAlert};
use crate::spec::RuleLabels;
use crate::template::{self, Data};
use crate::types::{Labels, METRIC_NAME, Span, Timestamp};

pub(super) const ALERTS: &str = "ALERTS";
pub(super) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
pub(super) const ALERT_NAME: &str = "alertname";
const ALERT_STATE: &str = "alertstate";

/// What one alerting rule says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition<'a> {
    pub group: &'a Arc<str>,
    pub name: &'a str,
    pub expr: &'a Query,
    pub labels: &'a RuleLabels,
    pub annotations: &'a RuleLabels,
    pub for_: Span,
    pub keep_firing_for: Span,
}

/// The alerts of a rule that are pending or firing, by their labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Alerts {
    pub active: BTreeMap<Arc<Labels>, Active>,
    /// Whether what was before a restart is known; until then no series are written, which would overwrite it.
    pub restored: bool,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "Prometheus' words")]
pub(super) struct Active {
    pub annotations: BTreeMap<String, String>,
    pub value: f64,
    pub active_at: Timestamp,
    /// Fires if there is one, else it is pending.
    pub fired_at: Option<Timestamp>,
    pub keep_firing_since: Option<Timestamp>,
    /// Not ended before, as its series may only be missing after a restart.
    pub held_until: Option<Timestamp>,
}

impl Active {
    const fn state(&self) -> AlertState {
        if self.fired_at.is_some() { AlertState::Firing } else { AlertState::Pending }
    }

    /// As others are told of it.
    pub fn told(&self, labels: &Arc<Labels>, rule: &Definition<'_>, resolved_at: Option<Timestamp>) -> RuleAlert {
        RuleAlert {
            group: Arc::clone(rule.group),
            labels: Arc::clone(labels),
            annotations: self.annotations.clone(),
            state: if resolved_at.is_some() { AlertState::Resolved } else { self.state() },
            value: self.value,
            active_at: self.active_at,
            fired_at: self.fired_at,
            resolved_at,
            keep_firing_since: self.keep_firing_since,
            expr: rule.expr.to_string().into(),
        }
    }
}

/// What an evaluation led to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// To be written.
    pub samples: Vec<Sample>,
    /// Alerts that began or ceased to fire, in the order of their labels.
    pub changed: Vec<RuleAlert>,
}

impl Alerts {
    /// Evaluates the rule for the slot `at`. On an error the alerts stay as they were, except where they exceed the
    /// limit: then all are gone, as the outcome says.
    pub fn evaluate(
        &mut self,
        rule: &Definition<'_>,
        at: Timestamp,
        query_offset: Span,
        limit: u64,
        ground: &Ground<'_>,
    ) -> (Outcome, Result<(), String>) {
        let found = match record::query(rule.expr, at - query_offset, ground).and_then(|r| present(rule, r, at, ground))
        {
            Ok(found) => found,
            Err(error) => return (Outcome::default(), Err(error)),
        };
        let mut outcome = Outcome::default();
        let there: BTreeSet<Arc<Labels>> = found.keys().cloned().collect();
        for (labels, fresh) in found {
            match self.active.get_mut(&labels) {
                Some(known) => (known.value, known.annotations) = (fresh.value, fresh.annotations),
                None => _ = self.active.insert(labels, fresh),
            }
        }
        self.active.retain(|labels, alert| {
            if there.contains(labels) {
                alert.keep_firing_since = None;
                alert.held_until = None;
            } else if !keeps_firing(alert, rule, at) {
                if alert.fired_at.is_some() {
                    outcome.changed.push(alert.told(labels, rule, Some(at)));
                }
                return false;
            }
            if alert.fired_at.is_none() && at.since(alert.active_at) >= rule.for_ {
                alert.fired_at = Some(at);
                outcome.changed.push(alert.told(labels, rule, None));
            } else if alert.fired_at.is_some() && at.since(alert.active_at) < rule.for_ {
                // Its `for` has become longer.
                outcome.changed.push(alert.told(labels, rule, Some(at)));
                (alert.fired_at, alert.keep_firing_since) = (None, None);
            }
            if self.restored {
                outcome.samples.extend(series(rule, labels, alert));
            }
            true
        });
        let count = self.active.len() as u64;
        if limit > 0 && count > limit {
            outcome.samples.clear();
            outcome.changed.retain(|alert| alert.state == AlertState::Resolved);
            let begun_now = |alert: &Active| alert.fired_at == Some(at);
            let over = self.active.iter().filter(|(_, alert)| alert.fired_at.is_some() && !begun_now(alert));
            outcome.changed.extend(over.map(|(labels, alert)| alert.told(labels, rule, Some(at))));
            self.active.clear();
            return (outcome, Err(format!("exceeded limit of {limit} with {count} alerts")));
        }
        (outcome, Ok(()))
    }

    /// Ends all alerts that fire: their rule is gone.
    pub fn end(&mut self, rule: &Definition<'_>, at: Timestamp) -> Vec<RuleAlert> {
        let active = std::mem::take(&mut self.active);
        let firing = active.iter().filter(|(_, alert)| alert.fired_at.is_some());
        firing.map(|(labels, alert)| alert.told(labels, rule, Some(at))).collect()
    }
}

/// Whether an alert whose series is gone fires all the same.
fn keeps_firing(alert: &mut Active, rule: &Definition<'_>, at: Timestamp) -> bool {
    if alert.fired_at.is_none() {
        return false;
    }
    if alert.held_until.is_some_and(|until| at < until) {
        return true;
    }
    if rule.keep_firing_for == Span::ZERO {
        return false;
    }
    let since = *alert.keep_firing_since.get_or_insert(at);
    at.since(since) < rule.keep_firing_for
}

/// `ALERTS` and `ALERTS_FOR_STATE` of an alert. The rule's labels come first as they are written: where a template
/// expands to nothing, its text stays, as in Prometheus.
fn series(rule: &Definition<'_>, alert_labels: &Labels, alert: &Active) -> [Sample; 2] {
    let mut labels = Labels::new();
    for (name, value) in rule.labels {
        labels.set(name, value);
    }
    let labels = labels.merged(alert_labels).with(ALERT_NAME, rule.name);
    let state = labels.clone().with(METRIC_NAME, ALERTS).with(ALERT_STATE, alert.state().as_str());
    let since = alert.active_at.0.div_euclid(1000) as f64;
    [(Arc::new(state), Value::Float(1.0)), (Arc::new(labels.with(METRIC_NAME, ALERTS_FOR_STATE)), Value::Float(since))]
}

/// The alerts that a result stands for, as if they were new.
fn present(
    rule: &Definition<'_>,
    result: Vec<Sample>,
    at: Timestamp,
    ground: &Ground<'_>,
) -> Result<BTreeMap<Arc<Labels>, Active>, String> {
    let template_name = format!("__alert_{}", rule.name);
    let mut ask = |text: &str| ask(text, at, ground);
    let mut found = BTreeMap::new();
    for (series, value) in result {
        let value = match value {
            Value::Float(value) => value,
            Value::Histogram(_) => 0.0,
        };
        let data = Data {
            labels: &series,
            external_labels: &ground.setting.external_labels,
            external_url: &ground.setting.external_url,
            value,
            now: at,
        };
        let mut expand = |text: &str| template::expand_asking(&template_name, text, &data, &mut ask);
        let mut labels = Labels::clone(&series).with(METRIC_NAME, "");
        for (name, text) in rule.labels {
            labels.set(name, &expand(text));
        }
        labels.set(ALERT_NAME, rule.name);
        let annotations = rule.annotations.iter().map(|(name, text)| (name.clone(), expand(text)));
        let alert = Active {
            annotations: annotations.collect(),
            value,
            active_at: at,
            fired_at: None,
            keep_firing_since: None,
            held_until: None,
        };
        if found.insert(Arc::new(labels), alert).is_some() {
            return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
        }
    }
    Ok(found)
}

/// `query` of a template.
fn ask(text: &str, at: Timestamp, ground: &Ground<'_>) -> Result<template::Samples, String> {
    let query = Query::parse(text, &ParseLimits::default()).map_err(|error| error.to_string())?;
    let samples = record::query(&query, at, ground)?;
    let float = |(labels, value): Sample| match value {
        Value::Float(value) => Some((labels, value)),
        Value::Histogram(_) => None,
    };
    Ok(samples.into_iter().filter_map(float).collect())
}
