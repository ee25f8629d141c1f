//! One SLO while running: its counts, its conditions, its alerts.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertRule, AlertState, Machine, Standing};
use crate::burn::{Budget, WindowBurn, is_tripped};
use crate::engine::plan::{Condition, ConditionKind, Plan};
use crate::engine::view::{RuleView, SloIdentity, SloState, SloView, TierView, VersionView};
use crate::engine::{RestoreError, SliRun};
use crate::series::{Aside, Piece, Save, encode};
use crate::sli::{Account, Counts, LOOKBACK, Values};
use crate::spec::NoData;
use crate::types::{Labels, Span, Timestamp};

/// Judges one SLO, or one group of it.
#[derive(Debug)]
pub(super) struct Judge {
    plan: Arc<Plan>,
    /// Index of the SLO.
    slo: usize,
    account: Account,
    /// Of the plan's conditions.
    machines: Box<[Machine]>,
    /// How many of them are pending or firing: follows from them, and most often they need not be looked at.
    active_count: usize,
    /// Series of the total that have not ended.
    live_series: u32,
    /// Counted from 1; another one with each change of what the SLI counts.
    revision: u32,
    /// When it began to wait for data.
    started: Timestamp,
    /// Until then series that were live before a reload may not have shown yet.
    adopted_until: Option<Timestamp>,
    no_data: bool,
    /// It was judged: before, no window has a figure.
    is_measured: bool,
    /// Judged since `view` was made.
    is_view_old: bool,
    view: Option<Arc<SloView>>,
    identity: Arc<SloIdentity>,
    /// Of the plan's conditions.
    alert_rules: Box<[Arc<AlertRule>]>,
    aside: Aside,
}

/// The part of a [`Judge`] that does not follow from its spec.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved<'a> {
    /// Index of the SLO, and its values of the labels that it groups by.
    pub(super) slo: u32,
    pub(super) group: Vec<Cow<'a, str>>,
    account: Cow<'a, Account>,
    live_series: u32,
    started: Timestamp,
    revision: u32,
    adopted_until: Option<Timestamp>,
    /// Of the tiers, then of the budget alerts.
    machines: Vec<Machine>,
}

impl Piece for Judge {
    #[inline]
    fn aside(&mut self) -> &mut Aside {
        &mut self.aside
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        encode(&self.saved(), bytes);
    }
}

impl Judge {
    /// Of the SLO with this index.
    pub(super) fn new(plan: &Arc<Plan>, index: usize, group: Labels, now: Timestamp) -> Self {
        let slo = plan.slo();
        Self {
            slo: index,
            account: Account::new(&plan.rules, now),
            machines: vec![Machine::default(); plan.conditions.len()].into(),
            active_count: 0,
            live_series: 0,
            revision: 1,
            started: now,
            adopted_until: None,
            no_data: true,
            is_measured: false,
            is_view_old: true,
            view: None,
            aside: Aside::default(),
            alert_rules: plan.alert_rules(&group),
            identity: Arc::new(SloIdentity {
                id: plan.id(),
                service: plan.service().to_owned(),
                name: slo.name.clone(),
                description: slo.description.clone(),
                labels: plan.labels(&group),
                group,
                origin: slo.origin.clone(),
                objective: slo.objective,
                period: slo.period.to_string(),
                budgeting: slo.accounting.budgeting,
            }),
            plan: Arc::clone(plan),
        }
    }

    /// A series of the total began or ended.
    pub(super) fn series_changed(&mut self, live: bool) {
        self.live_series = if live { self.live_series + 1 } else { self.live_series.saturating_sub(1) };
    }

    /// Adds events; an amount of zero still shows that the series was watched. `signalled` says whether a series
    /// excludes those of a moment.
    pub(super) fn count(
        &mut self,
        is_watched: bool,
        at: Timestamp,
        counts: Counts,
        now: Timestamp,
        signalled: impl Fn(Timestamp) -> bool,
    ) {
        self.account.advance(&self.plan.rules, now);
        self.account.add(&self.plan.rules, at, counts, signalled);
        if is_watched {
            self.account.watched(&self.plan.rules, at);
        }
    }

    /// A series that excludes events has told more.
    pub(super) fn decide(&mut self, now: Timestamp, signalled: impl Fn(Timestamp) -> bool) {
        self.account.advance(&self.plan.rules, now);
        self.account.decide(&self.plan.rules, signalled);
    }

    /// Index of the SLO.
    pub(super) const fn slo(&self) -> usize {
        self.slo
    }

    /// `service/slo`
    pub(super) fn id(&self) -> &str {
        &self.identity.id
    }

    /// Its values of the labels that the SLO groups by.
    pub(super) fn group(&self) -> &Labels {
        &self.identity.group
    }

    /// The id, and the group if it is one: `service/slo{region="eu"}`.
    pub(super) fn title(&self) -> String {
        self.identity.title()
    }

    /// Another one takes its place, during this save.
    pub(super) fn replace(&mut self, new: Self, save: Save) {
        self.before_change(save);
        let aside = std::mem::take(&mut self.aside);
        *self = Self { aside, ..new };
    }

    /// It comes while this save is in progress.
    pub(super) fn beside(self, save: Save) -> Self {
        Self { aside: Aside::beside(save), ..self }
    }

    /// What has to be kept to go on later.
    fn saved(&self) -> Saved<'_> {
        let value = |label: &String| Cow::Borrowed(self.identity.group.get(label).unwrap_or_default());
        Saved {
            slo: self.slo as u32,
            group: self.plan.slo().accounting.group_by.iter().map(value).collect(),
            account: Cow::Borrowed(&self.account),
            live_series: self.live_series,
            started: self.started,
            revision: self.revision,
            adopted_until: self.adopted_until,
            machines: self.machines.to_vec(),
        }
    }

    /// Goes on from what was kept of the same SLO.
    pub(super) fn restore(&mut self, saved: Saved<'_>) -> Result<(), RestoreError> {
        if saved.machines.len() != self.machines.len() || !self.account.fits(&saved.account) {
            return Err(RestoreError::OtherSpecs);
        }
        self.account = saved.account.into_owned();
        self.live_series = saved.live_series;
        self.started = saved.started;
        self.revision = saved.revision;
        self.adopted_until = saved.adopted_until;
        self.machines = saved.machines.into();
        self.count_active();
        self.measure(self.account.now());
        Ok(())
    }

    /// Goes on from the SLO of the same name under the specs before; whether its history stays. Alerts that are no
    /// more, or not under the same labels, are resolved.
    pub(super) fn adopt(&mut self, old: &Self, now: Timestamp, changes: &mut Vec<Alert>) -> bool {
        self.revision = old.revision;
        if self.plan.definition() != old.plan.definition() {
            self.revision += 1;
            old.end(now, changes);
            return false;
        }
        self.account = old.account.refitted(&self.plan.rules, now);
        self.started = old.started;
        self.adopted_until = Some(now + LOOKBACK);
        self.measure(now);
        for (at, before) in old.plan.conditions.iter().enumerate() {
            let goes_on = |own: &Condition| own.enabled && own.kind.goes_on_from(before.kind);
            let own = self.plan.conditions.iter().position(goes_on);
            if let Some(own) = own {
                self.machines[own] = old.machines[at];
            }
            if own.is_some_and(|own| self.alert_rules[own].labels == old.alert_rules[at].labels) {
                continue;
            }
            changes.extend(old.resolved(at, now));
            changes.extend(own.and_then(|own| self.standing_alert(own)));
        }
        self.count_active();
        true
    }

    /// Resolves what fires: the SLO is no more.
    pub(super) fn end(&self, now: Timestamp, changes: &mut Vec<Alert>) {
        changes.extend((0..self.machines.len()).filter_map(|at| self.resolved(at, now)));
    }

    fn resolved(&self, at: usize, now: Timestamp) -> Option<Alert> {
        let firing = self.standing_alert(at).filter(|alert| alert.state == AlertState::Firing)?;
        Some(Alert { state: AlertState::Resolved, resolved_at: Some(now), ..firing })
    }

    /// The alert on a condition while it is pending or firing.
    fn standing_alert(&self, at: usize) -> Option<Alert> {
        let standing = self.machines[at].standing()?;
        let value = match self.plan.conditions[at].kind {
            ConditionKind::Burn { long, .. } => self.rate(long),
            ConditionKind::BudgetBelow(_) => self.budget_left(),
            ConditionKind::NoData(_) => Some(1.0),
        };
        Some(self.alert(at, standing, value))
    }

    fn alert(&self, at: usize, standing: Standing, value: Option<f64>) -> Alert {
        let objective = self.plan.objective;
        Alert {
            rule: Arc::clone(&self.alert_rules[at]),
            state: standing.state,
            active_at: standing.active_at,
            fired_at: standing.fired_at,
            resolved_at: standing.resolved_at,
            value: value.unwrap_or_default(),
            burn_rates: self.windows().filter_map(|w| Some((w.span, w.rate(objective)?))).collect(),
        }
    }

    /// Whether nothing is left to show: no series, no alert, no sample in a whole period.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        let period = self.plan.rules.period.nominal();
        let is_old = |at: Timestamp| now.since(at) >= period;
        self.live_series == 0 && !self.is_active() && is_old(self.account.last_sample().unwrap_or(self.started))
    }

    /// The share of the period's budget that is left, as it was last judged.
    pub(super) fn budget_left(&self) -> Option<f64> {
        self.budget().remaining_of_period()
    }

    /// Whether an alert is pending or firing.
    pub(super) const fn is_active(&self) -> bool {
        self.active_count > 0
    }

    fn count_active(&mut self) {
        self.active_count = self.machines.iter().filter(|machine| !machine.is_inactive()).count();
    }

    /// Measures everything at `now` and moves the alerts on. Without data alerts stay as they are, silence neither
    /// fires nor resolves, unless the policy says otherwise: as an outage, or as an end of burning.
    pub(super) fn judge(&mut self, now: Timestamp, changes: &mut Vec<Alert>) {
        self.measure(now);
        let policy = self.plan.rules.accounting.no_data;
        let last = self.account.last_sample();
        let age = last.map_or(Span(i64::MAX), |last| now.since(last));
        let waits = now.since(last.unwrap_or(self.started));
        let is_held = self.no_data && policy == NoData::Hold;
        let mut has_moved = false;
        for at in 0..self.plan.conditions.len() {
            let condition = self.plan.conditions[at];
            let holds = match condition.kind {
                _ if !condition.enabled => continue,
                ConditionKind::NoData(_) => self.no_data && waits >= LOOKBACK,
                _ if is_held => continue,
                ConditionKind::Burn { .. } if self.no_data && policy == NoData::Ignore => false,
                // A short window without a sample is as silent as no data, and unlike one whose samples add nothing.
                ConditionKind::Burn { tier, .. } if age >= tier.short && policy == NoData::Hold => continue,
                ConditionKind::Burn { tier, short, long, min_events } => {
                    is_tripped(&tier, || self.window(short), &self.window(long), self.plan.objective, min_events)
                }
                ConditionKind::BudgetBelow(percent) => self.budget_left().is_some_and(|left| left * 100.0 < percent),
            };
            if !holds && (!self.is_active() || self.machines[at].is_inactive()) {
                continue;
            }
            has_moved = true;
            let (for_, keep) = (self.plan.for_, self.plan.keep_firing_for);
            if let Some(standing) = self.machines[at].step(holds, now, for_, keep) {
                let value = match condition.kind {
                    ConditionKind::NoData(_) => Some(1.0),
                    ConditionKind::Burn { .. } if self.no_data && policy == NoData::Ignore => None,
                    ConditionKind::Burn { long, .. } => self.rate(long),
                    ConditionKind::BudgetBelow(_) => self.budget_left(),
                };
                changes.push(self.alert(at, standing, value));
            }
        }
        if has_moved {
            self.count_active();
        }
    }

    fn measure(&mut self, now: Timestamp) {
        self.is_view_old = true;
        self.is_measured = true;
        self.account.advance(&self.plan.rules, now);
        let ended = self.live_series == 0 && self.adopted_until.is_none_or(|until| now >= until);
        self.no_data = ended || self.account.last_sample().is_none_or(|last| now.since(last) >= LOOKBACK);
    }

    /// A window, by its index, as it was last judged: nothing is counted without being judged in the same step.
    fn window(&self, at: usize) -> WindowBurn {
        let rules = &self.plan.rules;
        let (events, coverage) = (self.account.window(rules, at), self.account.coverage(at));
        WindowBurn { span: rules.windows[at], events, coverage }
    }

    /// All windows; none before the SLO was judged.
    fn windows(&self) -> impl ExactSizeIterator<Item = WindowBurn> {
        let measured = if self.is_measured { self.plan.rules.windows.len() } else { 0 };
        (0..measured).map(|at| self.window(at))
    }

    fn rate(&self, window: usize) -> Option<f64> {
        self.is_measured.then(|| self.window(window).rate(self.plan.objective)).flatten()
    }

    fn budget(&self) -> Budget {
        Budget::new(self.account.period(&self.plan.rules), self.plan.objective)
    }

    fn state(&self, budget: &Budget) -> SloState {
        let is_burning = |(condition, machine): (&Condition, &Machine)| {
            let firing = machine.standing().is_some_and(|standing| standing.state == AlertState::Firing);
            firing && matches!(condition.kind, ConditionKind::Burn { .. })
        };
        // Early in a month an error is not the end of its budget.
        let overspent = budget.remaining_of_period().is_some_and(|left| left <= 0.0);
        match () {
            () if self.no_data => SloState::NoData,
            () if overspent && !budget.is_warming() => SloState::Exhausted,
            () if self.plan.conditions.iter().zip(&self.machines).any(is_burning) => SloState::Burning,
            () if budget.is_warming() => SloState::Warming,
            () => SloState::Healthy,
        }
    }

    /// The SLO as it was last judged.
    pub(super) fn view(&mut self, slis: &[SliRun]) -> Arc<SloView> {
        if let Some(view) = self.view.as_ref().filter(|_| !self.is_view_old) {
            return Arc::clone(view);
        }
        let view = Arc::new(self.make_view(&slis[self.plan.sli]));
        self.view = Some(Arc::clone(&view));
        self.is_view_old = false;
        view
    }

    fn make_view(&self, sli: &SliRun) -> SloView {
        let budget = self.budget();
        let counting = self.plan.rules.counting;
        let tiers = self.plan.conditions.iter().zip(&self.machines).filter_map(|(condition, machine)| {
            let ConditionKind::Burn { tier, short, long, min_events } = condition.kind else { return None };
            Some(TierView {
                tier,
                enabled: condition.enabled,
                min_events,
                events: if self.is_measured { self.window(long).events.total } else { 0.0 },
                short_rate: self.rate(short),
                long_rate: self.rate(long),
                state: machine.standing().map(|standing| standing.state),
            })
        });
        let versions = sli.versions.iter().map(|v| VersionView {
            name: v.name.to_string(),
            events: counting.events(v.counts),
            windows: v.windows().map(|(span, counts)| (span, counting.events(counts))).collect(),
            first: v.first,
            last: v.last,
        });
        let enabled = (0..self.machines.len()).filter(|at| self.plan.conditions[*at].enabled);
        let rule = |at: usize| RuleView { rule: Arc::clone(&self.alert_rules[at]), alert: self.standing_alert(at) };
        SloView {
            identity: Arc::clone(&self.identity),
            excluded: self.account.excluded(&self.plan.rules),
            state: self.state(&budget),
            budget,
            windows: self.windows().collect(),
            tiers: tiers.collect(),
            rules: enabled.map(rule).collect(),
            versions: versions.collect(),
            values: sli.values.as_ref().and_then(Values::quantiles),
            last_sample: self.account.last_sample(),
            revision: self.revision,
        }
    }
}
