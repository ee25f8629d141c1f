//! One SLO while running: its counts, its conditions, its alerts.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertRule, AlertState, Machine, Standing};
use crate::burn::{Budget, WindowBurn, is_tripped};
use crate::engine::view::{RuleView, SloState, SloView, TierView, VersionView};
use crate::engine::{RestoreError, SliRun, rules};
use crate::sli::{Counting, Counts, Ledger, Role};
use crate::spec::{Service, Slo, Tier, naming};
use crate::types::{Labels, Span, Timestamp};

/// An SLO whose newest sample is this old has no data: Prometheus' lookback.
pub const LOOKBACK: Span = Span::minutes(5);

/// Judges one SLO.
#[derive(Debug)]
pub(super) struct Judge {
    slo: Slo,
    service: String,
    id: String,
    labels: Labels,
    /// Index of its SLI.
    sli: usize,
    /// What the SLI counts.
    definition: String,
    counting: Counting,
    ledger: Ledger,
    /// Windows of the ledger in order; the last is the period.
    spans: Vec<Span>,
    /// Of the policy's tiers, then of the budget.
    alerts: Vec<AlertRun>,
    /// Series of the total that have not ended.
    live_series: u32,
    last_sample: Option<Timestamp>,
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
    ledger: Cow<'a, Ledger>,
    live_series: u32,
    last_sample: Option<Timestamp>,
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
}

impl Condition {
    /// Whether an alert on `other` is one on this after a change of the specs, which may have changed the factor.
    fn goes_on_from(self, other: Self) -> bool {
        match (self, other) {
            (Self::Burn { tier: a, .. }, Self::Burn { tier: b, .. }) => {
                (a.severity, a.short, a.long) == (b.severity, b.short, b.long)
            }
            (Self::BudgetBelow(a), Self::BudgetBelow(b)) => a == b,
            _ => false,
        }
    }
}

impl Judge {
    pub(super) fn new(service: &Service, slo: &Slo, sli: usize, counting: Counting, now: Timestamp) -> Self {
        let mut spans = slo.alerting.policy.windows();
        if let Err(at) = spans.binary_search(&naming::CURRENT_WINDOW) {
            spans.insert(at, naming::CURRENT_WINDOW);
        }
        let index = |span: Span| spans.binary_search(&span).unwrap_or_default();
        let budget = slo.objective.budget();
        let tiers = slo.alerting.policy.tiers.iter().map(|&tier| AlertRun {
            condition: Condition::Burn { tier, short: index(tier.short), long: index(tier.long) },
            enabled: !slo.alerting.severity(tier.severity).disabled && tier.is_reachable(budget),
            rule: rules::tier_rule(service, slo, &tier),
            machine: Machine::default(),
        });
        let budgets = slo.alerting.budget_remaining.iter().map(|&percent| AlertRun {
            condition: Condition::BudgetBelow(percent),
            enabled: true,
            rule: rules::budget_rule(service, slo, percent),
            machine: Machine::default(),
        });
        let alerts = tiers.chain(budgets).collect();
        spans.push(slo.period);
        Self {
            slo: slo.clone(),
            service: service.name.clone(),
            id: naming::slo_path(service, slo),
            labels: service.labels.clone().merged(&slo.labels),
            sli,
            definition: service.slis[slo.sli].inputs().to_string(),
            counting,
            ledger: Ledger::new(&spans, now),
            spans,
            alerts,
            live_series: 0,
            last_sample: None,
            revision: 1,
            adopted_until: None,
            windows: Vec::new(),
            budget: Budget::new(counting.events(Counts::default()), Span::ZERO, slo.period, slo.objective),
            no_data: true,
            view: None,
        }
    }

    /// A series of the total began or ended.
    pub(super) fn series_changed(&mut self, live: bool) {
        self.live_series = if live { self.live_series + 1 } else { self.live_series.saturating_sub(1) };
    }

    /// Adds events; an amount of zero still shows that the series was watched.
    pub(super) fn count(&mut self, role: Role, at: Timestamp, counts: Counts, now: Timestamp) {
        self.ledger.advance(now);
        self.ledger.add(at, counts);
        if role == Role::Total {
            self.ledger.watched(at);
            self.last_sample = self.last_sample.max(Some(at));
        }
    }

    /// `service/slo`
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What has to be kept to go on later.
    pub(super) fn saved(&self) -> Saved<'_> {
        Saved {
            ledger: Cow::Borrowed(&self.ledger),
            live_series: self.live_series,
            last_sample: self.last_sample,
            revision: self.revision,
            adopted_until: self.adopted_until,
            machines: self.alerts.iter().map(|alert| alert.machine).collect(),
        }
    }

    /// Goes on from what was kept of the same SLO.
    pub(super) fn restore(&mut self, saved: Saved<'_>) -> Result<(), RestoreError> {
        if saved.machines.len() != self.alerts.len() || !self.ledger.fits(&saved.ledger) {
            return Err(RestoreError::OtherSpecs);
        }
        self.ledger = saved.ledger.into_owned();
        self.live_series = saved.live_series;
        self.last_sample = saved.last_sample;
        self.revision = saved.revision;
        self.adopted_until = saved.adopted_until;
        self.alerts.iter_mut().zip(saved.machines).for_each(|(alert, machine)| alert.machine = machine);
        self.measure(self.ledger.now());
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
        self.ledger = old.ledger.refitted(&self.spans, now);
        self.last_sample = old.last_sample;
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
        };
        Some(made(&alert.rule, standing, value.unwrap_or_default(), &self.slo, &self.windows))
    }

    /// Whether an alert is pending or firing.
    pub(super) fn is_active(&self) -> bool {
        self.alerts.iter().any(|alert| alert.machine.standing().is_some())
    }

    /// Measures everything at `now` and moves the alerts on. Without data alerts stay as they are: silence
    /// neither fires nor resolves.
    pub(super) fn judge(&mut self, now: Timestamp, changes: &mut Vec<Alert>) {
        self.view = None;
        self.measure(now);
        if self.no_data {
            return;
        }
        let (slo, windows) = (&self.slo, &self.windows);
        let (for_, keep) = (slo.alerting.for_, slo.alerting.keep_firing_for);
        let age = self.last_sample.map_or(Span(i64::MAX), |last| now.since(last));
        let left = self.budget.remaining_of_period();
        for alert in self.alerts.iter_mut().filter(|alert| alert.enabled) {
            let (holds, value) = match alert.condition {
                // A short window without a sample is as silent as no data, and unlike one whose samples add nothing.
                Condition::Burn { tier, .. } if age >= tier.short => continue,
                Condition::Burn { tier, short, long } => {
                    let (short, long) = (&windows[short], &windows[long]);
                    let holds = is_tripped(&tier, short, long, slo.objective, slo.alerting.min_events);
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
        self.ledger.advance(now);
        let period = self.spans.len() - 1;
        self.windows.clear();
        for (i, &span) in self.spans[..period].iter().enumerate() {
            let events = self.counting.events(self.ledger.window(i));
            self.windows.push(WindowBurn { span, events, coverage: self.ledger.coverage(i) });
        }
        let events = self.counting.events(self.ledger.window(period));
        let covered = self.ledger.covered(self.slo.period);
        self.budget = Budget::new(events, covered, self.slo.period, self.slo.objective);
        let ended = self.live_series == 0 && self.adopted_until.is_none_or(|until| now >= until);
        self.no_data = ended || self.last_sample.is_none_or(|last| now.since(last) >= LOOKBACK);
    }

    fn state(&self) -> SloState {
        let burns = |alert: &&AlertRun| matches!(alert.condition, Condition::Burn { .. });
        let mut standings = self.alerts.iter().filter(burns).filter_map(|alert| alert.machine.standing());
        let burning = standings.any(|standing| standing.state == AlertState::Firing);
        let overspent = self.budget.remaining.is_some_and(|left| left <= 0.0);
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
        let min_events =
            |tier: &Tier| self.slo.alerting.min_events.unwrap_or_else(|| tier.min_events(objective.budget()));
        let rate = |at: usize| self.windows.get(at).and_then(|w| w.rate(objective));
        let tiers = self.alerts.iter().filter_map(|alert| match alert.condition {
            Condition::Burn { tier, short, long } => Some(TierView {
                tier,
                enabled: alert.enabled,
                min_events: min_events(&tier),
                events: self.windows.get(long).map_or(0.0, |w| w.events.total),
                short_rate: rate(short),
                long_rate: rate(long),
                state: alert.machine.standing().map(|s| s.state),
            }),
            Condition::BudgetBelow(_) => None,
        });
        let versions = sli.versions.iter().map(|v| VersionView {
            name: v.name.to_string(),
            events: self.counting.events(v.counts),
            windows: v.windows().map(|(span, counts)| (span, self.counting.events(counts))).collect(),
            first: v.first,
            last: v.last,
        });
        SloView {
            id: self.id.clone(),
            service: self.service.clone(),
            name: self.slo.name.clone(),
            description: self.slo.description.clone(),
            labels: self.labels.clone(),
            origin: self.slo.origin.clone(),
            objective,
            state: self.state(),
            budget: self.budget,
            windows: self.windows.clone(),
            tiers: tiers.collect(),
            rules: self.rules(),
            versions: versions.collect(),
            last_sample: self.last_sample,
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
