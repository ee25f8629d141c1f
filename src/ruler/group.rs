//! One group: its slots, its rules in order, and what they gave last time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::AlertState;
use crate::promql::{STALE, Value};
use crate::ruler::alerting::{Alerts, Definition};
use crate::ruler::record::{self, Sample};
use crate::ruler::schedule::{offset_nanos, slot_before};
use crate::ruler::view::Health;
use crate::ruler::{AppendError, Ground, RuleAlert, RuleStore, Setting};
use crate::spec::{Rule, RuleGroup, RuleKind};
use crate::types::{Labels, Span, Timestamp};

/// A group while it runs.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) spec: Arc<RuleGroup>,
    pub(super) key: Arc<str>,
    pub(super) interval: Span,
    pub(super) query_offset: Span,
    pub(super) rules: Vec<RuleRun>,
    /// Series of rules that are gone; marked stale at the end of the next evaluation.
    pub(super) stale: Vec<Arc<Labels>>,
    /// The next slot.
    pub(super) next: Timestamp,
    /// The last slot that was evaluated.
    pub(super) last: Option<Timestamp>,
    pub(super) iterations: u64,
    /// Slots that passed while an evaluation took too long.
    pub(super) missed: u64,
    /// After this many more evaluations `for` is restored from the storage; nothing to restore once it is zero.
    pub(super) restore_after: u8,
    /// The last slot of an earlier process whose alerts were taken over.
    pub(super) resumed_from: Option<Timestamp>,
    pub(super) evaluation_time: Duration,
    pub(super) last_evaluation: Option<Timestamp>,
}

/// A rule while it runs.
#[derive(Clone, Debug)]
pub(super) struct RuleRun {
    pub rule: Rule,
    /// Series it gave at the last evaluation.
    pub previous: BTreeSet<Arc<Labels>>,
    pub alerts: Alerts,
    pub health: Health,
    pub last_error: Option<String>,
    pub evaluation_time: Duration,
    pub last_evaluation: Option<Timestamp>,
    pub evaluations: u64,
    pub failures: u64,
}

impl RuleRun {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            previous: BTreeSet::new(),
            alerts: Alerts::default(),
            health: Health::Unknown,
            last_error: None,
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
            evaluations: 0,
            failures: 0,
        }
    }

    /// The alerting rule's words; nothing for a recording rule.
    pub fn definition<'a>(&'a self, group: &'a Arc<str>) -> Option<Definition<'a>> {
        definition(&self.rule, group)
    }

    /// What the state of rules is handed on by.
    pub fn identity(&self) -> (&str, &[(String, String)]) {
        (self.rule.name(), &self.rule.labels)
    }

    fn fail(&mut self, error: String) {
        self.health = Health::Bad;
        self.last_error = Some(error);
        self.failures += 1;
    }
}

fn definition<'a>(rule: &'a Rule, group: &'a Arc<str>) -> Option<Definition<'a>> {
    let RuleKind::Alert { name, for_, keep_firing_for, annotations } = &rule.kind else { return None };
    let (expr, labels, for_, keep_firing_for) = (&*rule.expr, &rule.labels, *for_, *keep_firing_for);
    Some(Definition { group, name, expr, labels, annotations, for_, keep_firing_for })
}

impl Group {
    /// A group that has not been evaluated; its first slot is the next after `now`. With `restores`, alerts write no
    /// series before they know what was before.
    pub fn new(spec: &RuleGroup, setting: &Setting, now: Timestamp, restores: bool) -> Self {
        let interval = spec.interval.unwrap_or(setting.interval);
        let mut group = Self {
            spec: Arc::new(spec.clone()),
            key: spec.key().into(),
            interval,
            query_offset: spec.query_offset.unwrap_or(setting.query_offset),
            rules: spec.rules.iter().cloned().map(RuleRun::new).collect(),
            stale: Vec::new(),
            next: now,
            last: None,
            iterations: 0,
            missed: 0,
            restore_after: if restores { 2 } else { 0 },
            resumed_from: None,
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
        };
        group.schedule(now);
        for run in &mut group.rules {
            run.alerts.restored = !restores;
        }
        group
    }

    pub(super) fn schedule(&mut self, now: Timestamp) {
        let offset = offset_nanos(&self.spec.file(), &self.spec.name, self.interval);
        self.next = slot_before(now, self.interval, offset) + self.interval;
    }

    /// The next slot.
    pub const fn next(&self) -> Timestamp {
        self.next
    }

    /// How many rules it has.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether it has no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The slot that is due at `now`, and the next one planned: slots that have passed meanwhile are missed.
    pub fn take_slot(&mut self, now: Timestamp) -> Option<Timestamp> {
        if now < self.next {
            // Also when the clock went back by more than an interval.
            if self.next.since(now) > self.interval {
                self.schedule(now);
            }
            return None;
        }
        let missed = now.since(self.next).0 / self.interval.0.max(1);
        // The first slot is evaluated as it is, however late.
        let missed = if self.last.is_none() { 0 } else { missed };
        let slot = Timestamp(self.next.0 + missed * self.interval.0);
        self.missed += missed as u64;
        self.iterations += missed as u64 + 1;
        self.next = slot + self.interval;
        Some(slot)
    }

    /// Evaluates the whole group for a slot; see [`Self::evaluate_rule`].
    pub fn evaluate(&mut self, slot: Timestamp, ground: &Ground<'_>) -> Vec<RuleAlert> {
        self.begin(slot);
        let changed = (0..self.len()).flat_map(|rule| self.evaluate_rule(rule, slot, ground)).collect();
        self.finish(slot, ground.store);
        changed
    }

    /// Before the first rule of a slot.
    pub fn begin(&mut self, slot: Timestamp) {
        if let Some(last) = self.resumed_from.take() {
            self.resume(last, slot);
        }
    }

    /// Evaluates one rule for a slot and writes what it gives. Returns the alerts that began or ceased to fire.
    pub fn evaluate_rule(&mut self, at: usize, slot: Timestamp, ground: &Ground<'_>) -> Vec<RuleAlert> {
        let written_at = slot - self.query_offset;
        let limit = self.spec.limit;
        let Some(run) = self.rules.get_mut(at) else { return Vec::new() };
        run.evaluations += 1;
        let mut changed = Vec::new();
        let result = if let Some(rule) = definition(&run.rule, &self.key) {
            let (outcome, result) = run.alerts.evaluate(&rule, slot, self.query_offset, limit, ground);
            changed = outcome.changed;
            result.map(|()| outcome.samples)
        } else {
            let Rule { expr, labels, .. } = &run.rule;
            record::evaluate(run.rule.name(), expr, labels, written_at, limit, ground)
        };
        match result {
            Err(error) => run.fail(error),
            Ok(samples) => {
                (run.health, run.last_error) = (Health::Good, None);
                write(run, samples, written_at, ground.store);
            }
        }
        changed
    }

    /// After the last rule of a slot.
    pub fn finish(&mut self, slot: Timestamp, store: &dyn RuleStore) {
        mark_stale(self.stale.drain(..), slot - self.query_offset, store);
        self.last = Some(slot);
    }

    /// Whether `for` is to be restored from the storage now, after an evaluation.
    pub fn restores_now(&mut self) -> bool {
        let due = self.restore_after == 1;
        self.restore_after = self.restore_after.saturating_sub(1);
        due
    }

    /// Notes when the evaluation of a rule began and how long it took.
    pub fn time_rule(&mut self, at: usize, began: Timestamp, took: Duration) {
        if let Some(run) = self.rules.get_mut(at) {
            (run.last_evaluation, run.evaluation_time) = (Some(began), took);
        }
    }

    /// Notes when the evaluation of the group began and how long it took.
    pub fn time(&mut self, began: Timestamp, took: Duration) {
        (self.last_evaluation, self.evaluation_time) = (Some(began), took);
    }

    /// Takes over from the group that had this key before. Rules are matched by name and labels, the first with the
    /// first, the second with the second. Returns the alerts that end because their rule is gone.
    pub(super) fn take_over(&mut self, mut from: Self, now: Timestamp) -> Vec<RuleAlert> {
        (self.evaluation_time, self.last_evaluation) = (from.evaluation_time, from.last_evaluation);
        (self.iterations, self.missed) = (from.iterations, from.missed);
        (self.restore_after, self.resumed_from) = (from.restore_after, from.resumed_from);
        let mut places: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, run) in from.rules.iter().enumerate().rev() {
            places.entry((run.rule.name().to_owned(), run.rule.labels.clone())).or_default().push(at);
        }
        let mut taken = BTreeSet::new();
        let restored = self.restore_after == 0;
        for run in &mut self.rules {
            run.alerts.restored = restored;
            let key = (run.rule.name().to_owned(), run.rule.labels.clone());
            let Some(at) = places.get_mut(&key).and_then(Vec::pop) else { continue };
            taken.insert(at);
            let old = &mut from.rules[at];
            run.previous = std::mem::take(&mut old.previous);
            if run.definition(&self.key).is_some() && old.definition(&self.key).is_some() {
                run.alerts = std::mem::take(&mut old.alerts);
            }
        }
        self.stale = from.stale;
        let mut ended = Vec::new();
        for (_, mut old) in from.rules.into_iter().enumerate().filter(|(at, _)| !taken.contains(at)) {
            self.stale.extend(std::mem::take(&mut old.previous));
            ended.extend(end(&mut old, &self.key, now));
        }
        ended
    }

    /// Ends all alerts: the group is gone.
    pub(super) fn end(&mut self, now: Timestamp) -> Vec<RuleAlert> {
        let key = Arc::clone(&self.key);
        self.rules.iter_mut().flat_map(|run| end(run, &key, now)).collect()
    }

    /// All series it gave last.
    pub(super) fn series(&mut self) -> Vec<Arc<Labels>> {
        let mut series = std::mem::take(&mut self.stale);
        series.extend(self.rules.iter_mut().flat_map(|run| std::mem::take(&mut run.previous)));
        series
    }

    /// Pending and firing alerts.
    pub fn alerts(&self) -> impl Iterator<Item = RuleAlert> {
        self.rules.iter().flat_map(|run| {
            let rule = run.definition(&self.key);
            run.alerts.active.iter().filter_map(move |(labels, alert)| Some(alert.told(labels, &rule?, None)))
        })
    }

    /// Alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = RuleAlert> {
        self.alerts().filter(|alert| alert.state == AlertState::Firing)
    }
}

fn end(run: &mut RuleRun, key: &Arc<str>, now: Timestamp) -> Vec<RuleAlert> {
    let rule = run.rule.clone();
    definition(&rule, key).map(|rule| run.alerts.end(&rule, now)).unwrap_or_default()
}

/// Writes what a rule gave, and marks what it gave last time and not now.
fn write(run: &mut RuleRun, samples: Vec<Sample>, at: Timestamp, store: &dyn RuleStore) {
    let mut given = BTreeSet::new();
    let mut failed: Option<AppendError> = None;
    for (labels, value) in samples {
        match store.append(&labels, at, &value) {
            Ok(()) => _ = given.insert(labels),
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        run.fail(error.to_string());
    }
    mark_stale(run.previous.iter().filter(|labels| !given.contains(*labels)).cloned(), at, store);
    run.previous = given;
}

/// A series that another rule goes on writing refuses the marker, which is as it should be.
pub(super) fn mark_stale(series: impl Iterator<Item = Arc<Labels>>, at: Timestamp, store: &dyn RuleStore) {
    for labels in series {
        let _ = store.append(&labels, at, &Value::Float(STALE));
    }
}
