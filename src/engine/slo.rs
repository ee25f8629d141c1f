//! One SLO while running: its counts, its conditions, its alerts.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertRule, AlertState, Machine, Standing};
use crate::burn::{Budget, WindowBurn, is_tripped};
use crate::engine::view::{RuleView, SloState, SloView, TierView, VersionView};
use crate::engine::{RestoreError, SliRun, rules};
use crate::sli::{Account, Counts, LOOKBACK, Rules, Values};
use crate::spec::{Counting, NoData, Service, Slo, Tier, naming};
use crate::types::{Labels, Span, Timestamp};

/// Judges one SLO, or one group of it.
#[derive(Debug)]
pub(super) struct Judge {
    slo: Slo,
    service: String,
    id: String,
    labels: Labels,
    /// Its values of the labels that the SLO groups by.
    group: Labels,
    /// Index of its SLI.
    sli: usize,
    /// What the SLO counts, and in what units.
    definition: String,
    rules: Rules,
    account: Account,
    /// Of the policy's tiers, then of the budget, then of missing data.
    alerts: Vec<AlertRun>,
    /// Series of the total that have not ended.
    live_series: u32,
    /// When it began to wait for data.
    started: Timestamp,
    /// Counted from 1; another one with each change of what the SLI counts.
    revision: u32,
    /// Until then series that were live before a reload may not have shown yet.
    adopted_until: Option<Timestamp>,
    windows: Vec<WindowBurn>,
    budget: Budget,
    no_data: bool,
    view: Option<Arc<SloView>>,
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

/// One alert of an SLO.
#[derive(Debug)]
struct AlertRun {
    condition: Condition,
    enabled: bool,
    rule: Arc<AlertRule>,
    machine: Machine,
}

/// What an alert waits for.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// Both windows, by their index, burn faster than the tier allows.
    Burn { tier: Tier, short: usize, long: usize },
    /// Less than this percentage of the budget is left.
    BudgetBelow(f64),
    /// There is no data.
    NoData,
}

impl Condition {
    /// Whether an alert on `other` is one on this after a change of the specs, which may have changed the factor.
    fn goes_on_from(self, other: Self) -> bool {
        match (self, other) {
            (Self::Burn { tier: a, .. }, Self::Burn { tier: b, .. }) => {
                (a.severity, a.short, a.long) == (b.severity, b.short, b.long)
            }
            (Self::BudgetBelow(a), Self::BudgetBelow(b)) => a == b,
            (Self::NoData, Self::NoData) => true,
            _ => false,
        }
    }
}

impl Judge {
    pub(super) fn new(
        service: &Service,
        slo: &Slo,
        group: Labels,
        sli: usize,
        counting: Counting,
        now: Timestamp,
    ) -> Self {
        let mut spans = slo.alerting.policy.windows();
        if let Err(at) = spans.binary_search(&naming::CURRENT_WINDOW) {
            spans.insert(at, naming::CURRENT_WINDOW);
        }
        let index = |span: Span| spans.binary_search(&span).unwrap_or_default();
        let budget = slo.objective.budget();
        let tiers = slo.alerting.policy.tiers.iter().map(|&tier| AlertRun {
            condition: Condition::Burn { tier, short: index(tier.short), long: index(tier.long) },
            enabled: !slo.alerting.severity(tier.severity).disabled && tier.is_reachable(budget),
            rule: rules::tier_rule(service, slo, &group, &tier),
            machine: Machine::default(),
        });
        let budgets = slo.alerting.budget_remaining.iter().map(|&percent| AlertRun {
            condition: Condition::BudgetBelow(percent),
            enabled: true,
            rule: rules::budget_rule(service, slo, &group, percent),
            machine: Machine::default(),
        });
        let no_data = slo.accounting.alert_no_data.map(|severity| AlertRun {
            condition: Condition::NoData,
            enabled: true,
            rule: rules::no_data_rule(service, slo, &group, severity),
            machine: Machine::default(),
        });
        let alerts = tiers.chain(budgets).chain(no_data).collect();
        let (period, accounting) = (slo.period.clone(), slo.accounting.clone());
        let rules = Rules { counting, period, accounting, windows: spans };
        let account = Account::new(&rules, now);
        let budget = Budget::new(account.period(&rules), slo.objective);
        let inputs = service.slis[slo.sli].inputs();
        Self {
            slo: slo.clone(),
            service: service.name.clone(),
            id: naming::slo_path(service, slo),
            labels: service.labels.clone().merged(&slo.labels).merged(&group),
            group,
            sli,
            definition: format!("{inputs} {:?} {:?}", slo.accounting.budgeting, slo.accounting.group_by),
            rules,
            account,
            alerts,
            live_series: 0,
            started: now,
            revision: 1,
            adopted_until: None,
            windows: Vec::new(),
            budget,
            no_data: true,
            view: None,
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
        self.account.advance(&self.rules, now);
        self.account.add(&self.rules, at, counts, signalled);
        if is_watched {
            self.account.watched(&self.rules, at);
        }
    }

    /// A series that excludes events has told more.
    pub(super) fn decide(&mut self, now: Timestamp, signalled: impl Fn(Timestamp) -> bool) {
        self.account.advance(&self.rules, now);
        self.account.decide(&self.rules, signalled);
    }

    /// `service/slo`
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Its values of the labels that the SLO groups by.
    pub(super) fn group(&self) -> &Labels {
        &self.group
    }

    /// The id, and the group if it is one: `service/slo{region="eu"}`.
    pub(super) fn title(&self) -> String {
        naming::group_title(&self.id, &self.group)
    }

    /// What has to be kept to go on later.
    pub(super) fn saved(&self, slo: usize) -> Saved<'_> {
        let value = |label: &String| Cow::Borrowed(self.group.get(label).unwrap_or_default());
        Saved {
            slo: slo as u32,
            group: self.slo.accounting.group_by.iter().map(value).collect(),
            account: Cow::Borrowed(&self.account),
            live_series: self.live_series,
            started: self.started,
            revision: self.revision,
            adopted_until: self.adopted_until,
            machines: self.alerts.iter().map(|alert| alert.machine).collect(),
        }
    }

    /// Goes on from what was kept of the same SLO.
    pub(super) fn restore(&mut self, saved: Saved<'_>) -> Result<(), RestoreError> {
        if saved.machines.len() != self.alerts.len() || !self.account.fits(&saved.account) {
            return Err(RestoreError::OtherSpecs);
        }
        self.account = saved.account.into_owned();
        self.live_series = saved.live_series;
        self.started = saved.started;
        self.revision = saved.revision;
        self.adopted_until = saved.adopted_until;
        self.alerts.iter_mut().zip(saved.machines).for_each(|(alert, machine)| alert.machine = machine);
        self.measure(self.account.now());
        Ok(())
    }

    /// Goes on from the SLO of the same name under the specs before; whether its history stays. Alerts that are no
    /// more, or not under the same labels, are resolved.
    pub(super) fn adopt(&mut self, old: &Self, now: Timestamp, changes: &mut Vec<Alert>) -> bool {
        self.revision = old.revision;
        if self.definition != old.definition {
            self.revision += 1;
            old.end(now, changes);
            return false;
        }
        self.account = old.account.refitted(&self.rules, now);
        self.started = old.started;
        self.adopted_until = Some(now + LOOKBACK);
        self.measure(now);
        for old_alert in &old.alerts {
            let own = self.alerts.iter().position(|own| own.enabled && own.condition.goes_on_from(old_alert.condition));
            if let Some(own) = own {
                self.alerts[own].machine = old_alert.machine;
            }
            if own.is_some_and(|own| self.alerts[own].rule.labels == old_alert.rule.labels) {
                continue;
            }
            changes.extend(old.resolved(old_alert, now));
            changes.extend(own.and_then(|own| self.standing_alert(&self.alerts[own])));
        }
        true
    }

    /// Resolves what fires: the SLO is no more.
    pub(super) fn end(&self, now: Timestamp, changes: &mut Vec<Alert>) {
        changes.extend(self.alerts.iter().filter_map(|alert| self.resolved(alert, now)));
    }

    fn resolved(&self, alert: &AlertRun, now: Timestamp) -> Option<Alert> {
        let firing = self.standing_alert(alert).filter(|alert| alert.state == AlertState::Firing)?;
        Some(Alert { state: AlertState::Resolved, resolved_at: Some(now), ..firing })
    }

    /// The alert while it is pending or firing.
    fn standing_alert(&self, alert: &AlertRun) -> Option<Alert> {
        let standing = alert.machine.standing()?;
        let value = match alert.condition {
            Condition::Burn { long, .. } => self.windows.get(long).and_then(|w| w.rate(self.slo.objective)),
            Condition::BudgetBelow(_) => self.budget.remaining_of_period(),
            Condition::NoData => Some(1.0),
        };
        Some(made(&alert.rule, standing, value.unwrap_or_default(), &self.slo, &self.windows))
    }

    /// Whether nothing is left to show: no series, no alert, no sample in a whole period.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        let period = self.slo.period.nominal();
        let is_old = |at: Timestamp| now.since(at) >= period;
        self.live_series == 0 && !self.is_active() && is_old(self.account.last_sample().unwrap_or(self.started))
    }

    /// The share of the period's budget that is left, as it was last judged.
    pub(super) fn budget_left(&self) -> Option<f64> {
        self.budget.remaining_of_period()
    }

    /// Whether an alert is pending or firing.
    pub(super) fn is_active(&self) -> bool {
        self.alerts.iter().any(|alert| alert.machine.standing().is_some())
    }

    /// Measures everything at `now` and moves the alerts on. Without data alerts stay as they are, silence neither
    /// fires nor resolves, unless the policy says otherwise: as an outage, or as an end of burning.
    pub(super) fn judge(&mut self, now: Timestamp, changes: &mut Vec<Alert>) {
        self.view = None;
        self.measure(now);
        let policy = self.slo.accounting.no_data;
        let (slo, windows) = (&self.slo, &self.windows);
        let (for_, keep) = (slo.alerting.for_, slo.alerting.keep_firing_for);
        let last = self.account.last_sample();
        let age = last.map_or(Span(i64::MAX), |last| now.since(last));
        let waits = now.since(last.unwrap_or(self.started));
        let is_held = self.no_data && policy == NoData::Hold;
        let left = self.budget.remaining_of_period();
        for alert in self.alerts.iter_mut().filter(|alert| alert.enabled) {
            let (holds, value) = match alert.condition {
                Condition::NoData => (self.no_data && waits >= LOOKBACK, Some(1.0)),
                _ if is_held => continue,
                Condition::Burn { .. } if self.no_data && policy == NoData::Ignore => (false, None),
                // A short window without a sample is as silent as no data, and unlike one whose samples add nothing.
                Condition::Burn { tier, .. } if age >= tier.short && policy == NoData::Hold => continue,
                Condition::Burn { tier, short, long } => {
                    let (short, long) = (&windows[short], &windows[long]);
                    let holds = is_tripped(&tier, short, long, slo.objective, slo.min_events(&tier));
                    (holds, long.rate(slo.objective))
                }
                Condition::BudgetBelow(percent) => (left.is_some_and(|left| left * 100.0 < percent), left),
            };
            if let Some(standing) = alert.machine.step(holds, now, for_, keep) {
                changes.push(made(&alert.rule, standing, value.unwrap_or_default(), slo, windows));
            }
        }
    }

    fn measure(&mut self, now: Timestamp) {
        self.account.advance(&self.rules, now);
        self.windows.clear();
        for (i, &span) in self.rules.windows.iter().enumerate() {
            let events = self.account.window(&self.rules, i);
            self.windows.push(WindowBurn { span, events, coverage: self.account.coverage(i) });
        }
        self.budget = Budget::new(self.account.period(&self.rules), self.slo.objective);
        let ended = self.live_series == 0 && self.adopted_until.is_none_or(|until| now >= until);
        self.no_data = ended || self.account.last_sample().is_none_or(|last| now.since(last) >= LOOKBACK);
    }

    fn state(&self) -> SloState {
        let burns = |alert: &&AlertRun| matches!(alert.condition, Condition::Burn { .. });
        let mut standings = self.alerts.iter().filter(burns).filter_map(|alert| alert.machine.standing());
        let burning = standings.any(|standing| standing.state == AlertState::Firing);
        // Early in a month an error is not the end of its budget.
        let overspent = self.budget.remaining_of_period().is_some_and(|left| left <= 0.0);
        match () {
            () if self.no_data => SloState::NoData,
            () if overspent && !self.budget.is_warming() => SloState::Exhausted,
            () if burning => SloState::Burning,
            () if self.budget.is_warming() => SloState::Warming,
            () => SloState::Healthy,
        }
    }

    /// The SLO as it was last judged.
    pub(super) fn view(&mut self, slis: &[SliRun]) -> Arc<SloView> {
        if let Some(view) = &self.view {
            return Arc::clone(view);
        }
        let view = Arc::new(self.make_view(&slis[self.sli]));
        self.view = Some(Arc::clone(&view));
        view
    }

    fn make_view(&self, sli: &SliRun) -> SloView {
        let objective = self.slo.objective;
        let rate = |at: usize| self.windows.get(at).and_then(|w| w.rate(objective));
        let tiers = self.alerts.iter().filter_map(|alert| match alert.condition {
            Condition::Burn { tier, short, long } => Some(TierView {
                tier,
                enabled: alert.enabled,
                min_events: self.slo.min_events(&tier),
                events: self.windows.get(long).map_or(0.0, |w| w.events.total),
                short_rate: rate(short),
                long_rate: rate(long),
                state: alert.machine.standing().map(|s| s.state),
            }),
            Condition::BudgetBelow(_) | Condition::NoData => None,
        });
        let versions = sli.versions.iter().map(|v| VersionView {
            name: v.name.to_string(),
            events: self.rules.counting.events(v.counts),
            windows: v.windows().map(|(span, counts)| (span, self.rules.counting.events(counts))).collect(),
            first: v.first,
            last: v.last,
        });
        SloView {
            id: self.id.clone(),
            service: self.service.clone(),
            name: self.slo.name.clone(),
            description: self.slo.description.clone(),
            labels: self.labels.clone(),
            group: self.group.clone(),
            origin: self.slo.origin.clone(),
            objective,
            period: self.slo.period.to_string(),
            budgeting: self.slo.accounting.budgeting,
            excluded: self.account.excluded(&self.rules),
            state: self.state(),
            budget: self.budget,
            windows: self.windows.clone(),
            tiers: tiers.collect(),
            rules: self.rules(),
            versions: versions.collect(),
            values: sli.values.as_ref().and_then(Values::quantiles),
            last_sample: self.account.last_sample(),
            revision: self.revision,
        }
    }

    fn rules(&self) -> Vec<RuleView> {
        let enabled = self.alerts.iter().filter(|alert| alert.enabled);
        enabled.map(|alert| RuleView { rule: Arc::clone(&alert.rule), alert: self.standing_alert(alert) }).collect()
    }
}

fn made(rule: &Arc<AlertRule>, standing: Standing, value: f64, slo: &Slo, windows: &[WindowBurn]) -> Alert {
    Alert {
        rule: Arc::clone(rule),
        state: standing.state,
        active_at: standing.active_at,
        fired_at: standing.fired_at,
        resolved_at: standing.resolved_at,
        value,
        burn_rates: windows.iter().filter_map(|w| Some((w.span, w.rate(slo.objective)?))).collect(),
    }
}
