//! What alerts were before a restart: from our own record, or from `ALERTS_FOR_STATE`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::promql::{Selection, is_stale};
use crate::ruler::alerting::{ALERT_NAME, ALERTS_FOR_STATE, Active};
use crate::ruler::{FOR_GRACE_PERIOD, Group, OUTAGE_TOLERANCE, RESTORE_HOLD, RuleStore};
use crate::spec::{RuleKind, RuleLabels};
use crate::types::{Labels, METRIC_NAME, Matcher, Span, Timestamp};

/// The alerts of all groups, to be kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    pub(super) groups: Vec<SavedGroup>,
}

/// The alerts of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedGroup {
    key: String,
    /// The last slot that was evaluated.
    last: Timestamp,
    rules: Vec<SavedRule>,
}

/// The alerts of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedRule {
    name: String,
    labels: RuleLabels,
    active: Vec<(Labels, Active)>,
}

impl SavedGroup {
    /// Nothing for a group that has not been evaluated.
    pub fn of(group: &Group) -> Option<Self> {
        // Until the first evaluation, what was taken over still holds.
        let last = group.resumed_from.or(group.last)?;
        let rules = group.rules.iter().filter(|run| !run.alerts.active.is_empty()).map(|run| SavedRule {
            name: run.rule.name().to_owned(),
            labels: run.rule.labels.clone(),
            active: run.alerts.active.iter().map(|(labels, alert)| (Labels::clone(labels), alert.clone())).collect(),
        });
        Some(Self { key: group.key.to_string(), last, rules: rules.collect() })
    }
}

impl Group {
    /// Takes over the alerts that an earlier process has recorded. Returns whether the record is recent enough.
    pub(super) fn restore(&mut self, saved: &Saved, now: Timestamp) -> bool {
        let Some(saved) = saved.groups.iter().find(|saved| saved.key == *self.key) else { return false };
        if now.since(saved.last) > OUTAGE_TOLERANCE {
            return false;
        }
        let mut rules: Vec<&SavedRule> = saved.rules.iter().collect();
        for run in &mut self.rules {
            run.alerts.restored = true;
            let (name, labels) = run.identity();
            let Some(at) = rules.iter().position(|rule| rule.name == name && rule.labels == labels) else { continue };
            let rule = rules.remove(at);
            run.alerts.active =
                rule.active.iter().map(|(labels, alert)| (Arc::new(labels.clone()), alert.clone())).collect();
        }
        self.restore_after = 0;
        self.resumed_from = Some(saved.last);
        true
    }

    /// At the first slot after an outage: what waited has not waited meanwhile, and what fired is given time.
    pub(super) fn resume(&mut self, last: Timestamp, slot: Timestamp) {
        let outage = Span((slot.since(last).0 - self.interval.0).max(0));
        for alert in self.rules.iter_mut().flat_map(|run| run.alerts.active.values_mut()) {
            if alert.fired_at.is_none() {
                alert.active_at = alert.active_at + outage;
            } else {
                alert.held_until = Some(slot + RESTORE_HOLD);
            }
        }
    }

    /// Restores since when alerts are active from the series that an earlier process has written: Prometheus'
    /// `RestoreForState`, at the time `now`. From then on alerts write series.
    pub fn restore_from_storage(&mut self, store: &dyn RuleStore, now: Timestamp) {
        for run in &mut self.rules {
            let RuleKind::Alert { name, for_, .. } = &run.rule.kind else { continue };
            run.alerts.restored = true;
            if *for_ < FOR_GRACE_PERIOD {
                continue;
            }
            let Ok(known) = for_states(name, &run.rule.labels, store, now) else { continue };
            for (labels, alert) in &mut run.alerts.active {
                if let Some((seen_at, since)) = known.get(&**labels) {
                    alert.active_at = active_at(*seen_at, *since, *for_, now).unwrap_or(alert.active_at);
                }
            }
        }
    }
}

/// The time an alert counts as active from, when it was last seen at `seen_at` and active since `since`.
fn active_at(seen_at: Timestamp, since: f64, for_: Span, now: Timestamp) -> Option<Timestamp> {
    if is_stale(since) {
        return None;
    }
    let seen_at = Timestamp(seen_at.0.div_euclid(1000) * 1000);
    let since = Timestamp((since as i64).saturating_mul(1000));
    let remaining = Span(for_.0 - seen_at.since(since).0);
    Some(if remaining <= Span::ZERO {
        // It fired.
        since
    } else if remaining < FOR_GRACE_PERIOD {
        now + FOR_GRACE_PERIOD - for_
    } else {
        since + now.since(seen_at)
    })
}

/// The last sample of each `ALERTS_FOR_STATE` of a rule, by the alert's labels.
fn for_states(
    name: &str,
    labels: &RuleLabels,
    store: &dyn RuleStore,
    now: Timestamp,
) -> Result<BTreeMap<Labels, (Timestamp, f64)>, String> {
    let mut matchers = vec![Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE), Matcher::equal(ALERT_NAME, name)];
    let literal = labels.iter().filter(|(name, value)| !value.contains("{{") && name != ALERT_NAME);
    matchers.extend(literal.map(|(name, value)| Matcher::equal(name, value)));
    let selection =
        Selection { matchers: &matchers, after: Timestamp((now - OUTAGE_TOLERANCE).0.saturating_sub(1)), until: now };
    let mut found = BTreeMap::new();
    let mut visit = |series: crate::promql::SeriesView<'_>| {
        let seen = series.floats.iter().rfind(|sample| sample.at > selection.after && sample.at <= now);
        if let Some(sample) = seen {
            found.insert(Labels::clone(series.labels).with(METRIC_NAME, ""), (sample.at, sample.value));
        }
        ControlFlow::Continue(())
    };
    store.select(&selection, &mut visit).map_err(|error| error.to_string())?;
    Ok(found)
}
