//! One SLO while running: its counts, its conditions, its alerts.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertRule, AlertState, Machine, Standing};
use crate::burn::{Budget, WindowBurn, is_tripped};
use crate::engine::view::{RuleView, SloState, SloView, TierView, VersionView};
use crate::engine::{RestoreError, SliRun, rules};
use crate::sli::{Counts, Ledger};
use crate::spec::{Counting, Service, Slo, Tier, naming};
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
    counting: Counting,
    ledger: Ledger,
    /// Windows of the ledger in order; the last is the period.
    spans: Vec<Span>,
    tiers: Vec<TierAlert>,
    budget_alerts: Vec<BudgetAlert>,
    /// Series of the total that have not ended.
    live_series: u32,
    last_sample: Option<Timestamp>,
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
    /// Of the tiers, then of the budget alerts.
    machines: Vec<Machine>,
}

#[derive(Debug)]
struct TierAlert {
    tier: Tier,
    short: usize,
    long: usize,
    enabled: bool,
    rule: Arc<AlertRule>,
    machine: Machine,
}

#[derive(Debug)]
struct BudgetAlert {
    percent: f64,
    rule: Arc<AlertRule>,
    machine: Machine,
}

impl Judge {
    pub(super) fn new(service: &Service, slo: &Slo, sli: usize, counting: Counting, now: Timestamp) -> Self {
        let mut spans = slo.alerting.policy.windows();
        if let Err(at) = spans.binary_search(&naming::CURRENT_WINDOW) {
            spans.insert(at, naming::CURRENT_WINDOW);
        }
        let index = |span: Span| spans.binary_search(&span).unwrap_or_default();
        let budget = slo.objective.budget();
        let tiers = slo.alerting.policy.tiers.iter().map(|tier| TierAlert {
            tier: *tier,
            short: index(tier.short),
            long: index(tier.long),
            enabled: !slo.alerting.severity(tier.severity).disabled && tier.is_reachable(budget),
            rule: rules::tier_rule(service, slo, tier),
            machine: Machine::default(),
        });
        let tiers = tiers.collect();
        let budget_alerts = slo.alerting.budget_remaining.iter().map(|&percent| BudgetAlert {
            percent,
            rule: rules::budget_rule(service, slo, percent),
            machine: Machine::default(),
        });
        let budget_alerts = budget_alerts.collect();
        spans.push(slo.period);
        Self {
            slo: slo.clone(),
            service: service.name.clone(),
            id: naming::slo_path(service, slo),
            labels: service.labels.clone().merged(&slo.labels),
            sli,
            counting,
            ledger: Ledger::new(&spans, now),
            spans,
            tiers,
            budget_alerts,
            live_series: 0,
            last_sample: None,
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
    pub(super) fn count(&mut self, is_watched: bool, at: Timestamp, counts: Counts, now: Timestamp) {
        self.ledger.advance(now);
        self.ledger.add(at, counts);
        if is_watched {
            self.ledger.watched(at);
            self.last_sample = self.last_sample.max(Some(at));
        }
    }

    /// What has to be kept to go on later.
    pub(super) fn saved(&self) -> Saved<'_> {
        let machines = self.machines().copied().collect();
        Saved {
            ledger: Cow::Borrowed(&self.ledger),
            live_series: self.live_series,
            last_sample: self.last_sample,
            machines,
        }
    }

    /// Goes on from what was kept of the same SLO.
    pub(super) fn restore(&mut self, saved: Saved<'_>) -> Result<(), RestoreError> {
        if saved.machines.len() != self.machines().count() || !self.ledger.fits(&saved.ledger) {
            return Err(RestoreError::OtherSpecs);
        }
        self.ledger = saved.ledger.into_owned();
        self.live_series = saved.live_series;
        self.last_sample = saved.last_sample;
        let tiers = self.tiers.iter_mut().map(|t| &mut t.machine);
        let own = tiers.chain(self.budget_alerts.iter_mut().map(|b| &mut b.machine));
        own.zip(saved.machines).for_each(|(machine, saved)| *machine = saved);
        self.measure(self.ledger.now());
        Ok(())
    }

    /// Whether an alert is pending or firing.
    pub(super) fn is_active(&self) -> bool {
        self.machines().any(|machine| machine.standing().is_some())
    }

    fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.tiers.iter().map(|t| &t.machine).chain(self.budget_alerts.iter().map(|b| &b.machine))
    }

    /// Measures everything at `now` and moves the alerts on. Without data alerts stay as they are: silence
    /// neither fires nor resolves.
    pub(super) fn judge(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.view = None;
        self.measure(now);
        if self.no_data {
            return;
        }
        let (slo, windows) = (&self.slo, &self.windows);
        let (for_, keep) = (slo.alerting.for_, slo.alerting.keep_firing_for);
        let age = self.last_sample.map_or(Span(i64::MAX), |last| now.since(last));
        // A short window without a sample is as silent as no data, and unlike one whose samples add nothing.
        for alert in self.tiers.iter_mut().filter(|alert| alert.enabled && age < alert.tier.short) {
            let (short, long) = (&windows[alert.short], &windows[alert.long]);
            let tripped = is_tripped(&alert.tier, short, long, slo.objective, slo.alerting.min_events);
            if let Some(standing) = alert.machine.step(tripped, now, for_, keep) {
                let value = long.rate(slo.objective).unwrap_or_default();
                alerts.push(made(&alert.rule, standing, value, slo, windows));
            }
        }
        let left = self.budget.remaining_of_period();
        for alert in &mut self.budget_alerts {
            let low = left.is_some_and(|left| left * 100.0 < alert.percent);
            if let Some(standing) = alert.machine.step(low, now, for_, keep) {
                alerts.push(made(&alert.rule, standing, left.unwrap_or_default(), slo, windows));
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
        self.no_data = self.live_series == 0 || self.last_sample.is_none_or(|last| now.since(last) >= LOOKBACK);
    }

    fn state(&self) -> SloState {
        let burning = self.tiers.iter().filter_map(|t| t.machine.standing()).any(|s| s.state == AlertState::Firing);
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
        let tiers = self.tiers.iter().map(|t| TierView {
            tier: t.tier,
            enabled: t.enabled,
            min_events: min_events(&t.tier),
            events: self.windows.get(t.long).map_or(0.0, |w| w.events.total),
            short_rate: rate(t.short),
            long_rate: rate(t.long),
            state: t.machine.standing().map(|s| s.state),
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
        }
    }

    fn rules(&self) -> Vec<RuleView> {
        let alert = |rule: &Arc<AlertRule>, machine: &Machine, value: Option<f64>| RuleView {
            rule: Arc::clone(rule),
            alert: machine
                .standing()
                .map(|standing| made(rule, standing, value.unwrap_or_default(), &self.slo, &self.windows)),
        };
        let long_rate = |t: &TierAlert| self.windows.get(t.long)?.rate(self.slo.objective);
        let tiers = self.tiers.iter().filter(|t| t.enabled).map(|t| alert(&t.rule, &t.machine, long_rate(t)));
        let left = self.budget.remaining_of_period();
        let budgets = self.budget_alerts.iter().map(|b| alert(&b.rule, &b.machine, left));
        tiers.chain(budgets).collect()
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
