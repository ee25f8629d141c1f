//! Burn rates and error budgets: what the counts of an SLI mean for an objective.

use crate::sli::{Events, PeriodCounts};
use crate::spec::Tier;
use crate::types::{Objective, Span, Timestamp};

/// One window of an SLO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowBurn {
    /// The window's length.
    pub span: Span,
    /// What happened in it.
    pub events: Events,
    /// How much of it lies after the first sample, 0 to 1.
    pub coverage: f64,
}

/// Where an error budget stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The period's events, or slices where the budget counts slices.
    pub events: Events,
    /// When the period began.
    pub from: Timestamp,
    /// How much of the period is over: all of a rolling one.
    pub elapsed: Span,
    /// How much of that lies after the first sample.
    pub covered: Span,
    /// How long the period is.
    pub period: Span,
    /// 1 - bad / (total x budget) over the events so far; negative when overspent, `None` without events.
    pub remaining: Option<f64>,
}

impl WindowBurn {
    /// Error ratio over budget: 1 spends the budget exactly over the period. `None` without events, or
    /// without a budget.
    pub fn rate(&self, objective: Objective) -> Option<f64> {
        let allowed = allowed_billionths(self.events, objective);
        (allowed > 0.0).then(|| self.events.bad * BILLION / allowed)
    }

    /// The burn rate over the whole window, taking the part before the first sample for free of errors at
    /// the same traffic: a partial window is not taken for a whole one.
    fn whole_rate(&self, objective: Objective) -> Option<f64> {
        self.rate(objective).map(|rate| rate * self.coverage)
    }
}

const BILLION: f64 = 1e9;

/// Bad events the objective allows among these, in billionths: whole numbers, so that ratios are rounded once
/// (10 bad of 2,000 at 99 % leave 0.5 of the budget, not 0.4999999999999999).
fn allowed_billionths(events: Events, objective: Objective) -> f64 {
    events.total * f64::from(objective.budget_parts_per_billion())
}

/// Whether a tier's condition holds: both windows burn faster than the factor, and the long one has events
/// enough that a single error could not have tripped it. The short one is asked for only if the long one burns.
pub fn is_tripped(
    tier: &Tier,
    short: impl FnOnce() -> WindowBurn,
    long: &WindowBurn,
    objective: Objective,
    min_events: u64,
) -> bool {
    let over = |window: &WindowBurn| window.whole_rate(objective).is_some_and(|rate| rate > tier.factor);
    long.events.total >= min_events as f64 && over(long) && over(&short())
}

impl Budget {
    /// The budget after what happened in the period so far.
    pub fn new(counts: PeriodCounts, objective: Objective) -> Self {
        let PeriodCounts { events, from, elapsed, covered, length: period } = counts;
        let allowed = allowed_billionths(events, objective);
        let remaining = (allowed > 0.0).then(|| (allowed - events.bad * BILLION) / allowed);
        Self { events, from, elapsed, covered, period, remaining }
    }

    /// The period has not been watched from its start.
    pub fn is_warming(&self) -> bool {
        self.covered < self.elapsed
    }

    /// What would be left at the end of a whole period of this traffic and no further errors. Equal to
    /// `remaining` once the period is whole; before that, as early in a month, an error does not look like the end.
    pub fn remaining_of_period(&self) -> Option<f64> {
        let share = self.covered.as_millis() as f64 / self.period.as_millis() as f64;
        self.remaining.map(|remaining| 1.0 - (1.0 - remaining) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Policy, Severity};

    fn window(bad: f64, total: f64, coverage: f64) -> WindowBurn {
        let events = Events { bad, total, inconsistent: false };
        WindowBurn { span: Span::hours(1), events, coverage }
    }

    fn objective() -> Objective {
        "99.9".parse().unwrap()
    }

    #[test]
    fn burn_rate_is_error_ratio_over_budget() {
        assert_eq!(window(20.0, 1000.0, 1.0).rate(objective()), Some(20.0));
        assert_eq!(window(93.0, 2000.0, 1.0).rate("90".parse().unwrap()), Some(0.465));
        assert_eq!(window(0.0, 0.0, 1.0).rate(objective()), None);
        assert_eq!(window(1.0, 2.0, 1.0).rate("100".parse().unwrap()), None);
    }

    #[test]
    fn both_windows_must_burn() {
        let page = Policy::for_period(Span::days(30)).tiers[0];
        let tripped = |short, long| is_tripped(&page, || short, &long, objective(), 70);
        assert!(tripped(window(2.0, 100.0, 1.0), window(20.0, 1000.0, 1.0)));
        assert!(!tripped(window(0.0, 100.0, 1.0), window(20.0, 1000.0, 1.0)));
        assert!(!tripped(window(2.0, 100.0, 1.0), window(14.4, 1000.0, 1.0)), "at the factor is not over it");
        assert!(!tripped(window(0.0, 0.0, 1.0), window(20.0, 1000.0, 1.0)), "no events, no ratio");
    }

    #[test]
    fn a_partial_window_is_not_a_whole_one() {
        // Two minutes at 20x after a cold start have not spent 2 % of the budget; at 1000x they have.
        let page = Policy::for_period(Span::days(30)).tiers[0];
        let tripped = |bad| {
            let (short, long) = (window(bad, 1000.0, 0.4), window(bad, 1000.0, 2.0 / 60.0));
            is_tripped(&page, || short, &long, objective(), 70)
        };
        assert!(!tripped(20.0) && tripped(1000.0));
    }

    #[test]
    fn a_single_error_does_not_page() {
        let page = Policy::for_period(Span::days(30)).tiers[0];
        assert_eq!(page.severity, Severity::Page);
        let one_of = |total| is_tripped(&page, || window(1.0, 5.0, 1.0), &window(1.0, total, 1.0), objective(), 70);
        assert!(!one_of(69.0) && !one_of(70.0));
        let (short, long) = (window(1.0, 5.0, 1.0), window(1.0, 69.0, 1.0));
        assert!(is_tripped(&page, || short, &long, objective(), 0), "unless asked for");
    }

    #[test]
    fn budgets() {
        let events = |bad, total| Events { bad, total, inconsistent: false };
        let (day, month) = (Span::days(1), Span::days(30));
        let budget = |events, covered| {
            let from = Timestamp(0);
            let counts = PeriodCounts { events, from, elapsed: month, covered, length: month };
            Budget::new(counts, objective())
        };
        assert_eq!(budget(events(0.5, 1000.0), month).remaining, Some(0.5));
        assert_eq!(budget(events(0.0, 0.0), month).remaining, None);
        let first_day = budget(events(2.0, 1000.0), day);
        assert_eq!((first_day.remaining, first_day.is_warming()), (Some(-1.0), true));
        assert!((first_day.remaining_of_period().unwrap() - (1.0 - 2.0 / 30.0)).abs() < 1e-12);
    }
}
