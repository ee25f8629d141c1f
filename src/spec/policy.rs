//! Multi-window, multi-burn-rate alerting as data.
//!
//! A tier fires when the error budget burns faster than `factor` over both its windows: the long one shows
//! that a share of the budget worth the interruption is gone, the short one that it is still burning.
//! Source: Google, *The Site Reliability Workbook*, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".

use crate::spec::Severity;
use crate::types::Span;

/// The tiers of an SLO, pages first, faster ones first within a severity.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Never empty.
    pub tiers: Vec<Tier>,
}

/// One pair of windows and the burn rate that trips it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tier {
    /// What a crossing is worth.
    pub severity: Severity,
    /// Is it still burning?
    pub short: Span,
    /// Has it burnt enough to matter?
    pub long: Span,
    /// Multiples of the rate that spends the budget exactly over the period.
    pub factor: f64,
}

/// Severity, short window, long window, percent of the period's budget spent in the long window.
const WORKBOOK: [(Severity, Span, Span, u8); 4] = [
    (Severity::Page, Span::minutes(5), Span::hours(1), 2),
    (Severity::Page, Span::minutes(30), Span::hours(6), 5),
    (Severity::Ticket, Span::hours(2), Span::days(1), 10),
    (Severity::Ticket, Span::hours(6), Span::days(3), 10),
];

/// Under this period the workbook's windows would ask for burn rates below 1 and shrink with the period.
const FIXED_WINDOWS_FROM: Span = Span::days(28);
/// The period the workbook's windows are meant for.
const WORKBOOK_PERIOD: Span = Span::days(30);

impl Tier {
    /// A tier that trips when `percent` of the budget of `period` is spent within `long`.
    ///
    /// `factor = percent / 100 x period / long`: 14.4 for 2 % of 30 d in 1 h.
    pub fn from_budget_percent(severity: Severity, short: Span, long: Span, percent: f64, period: Span) -> Self {
        let factor = percent * period.as_millis() as f64 / (100.0 * long.as_millis() as f64);
        Self { severity, short, long, factor }
    }

    /// Whether some error ratio can trip the tier: a ratio is at most 1, a burn rate at most 1/budget.
    pub fn is_reachable(&self, budget: f64) -> bool {
        self.factor * budget < 1.0
    }

    /// The fewest events in the long window at which a single error stays at or below the factor.
    pub fn min_events(&self, budget: f64) -> u64 {
        let limit = 1.0 / (self.factor * budget);
        if limit.is_finite() { limit.ceil() as u64 } else { 0 }
    }
}

impl Policy {
    /// The workbook's four tiers for a budget period.
    ///
    /// From 28 d on the windows are the workbook's (30 d: factors 14.4, 6, 3, 1; 28 d: 13.44, 5.6, 2.8,
    /// 0.933). Shorter periods scale the windows, in whole minutes, so that a crossing still means the same
    /// share of the budget at a burn rate above 1.
    pub fn for_period(period: Span) -> Self {
        let scale = |window: Span| {
            if period >= FIXED_WINDOWS_FROM {
                return window;
            }
            let exact = window.as_millis() as f64 * period.as_millis() as f64 / WORKBOOK_PERIOD.as_millis() as f64;
            Span::minutes(((exact / 60_000.0).round() as i64).max(1))
        };
        let tiers = WORKBOOK.map(|(severity, short, long, percent)| {
            Tier::from_budget_percent(severity, scale(short), scale(long), f64::from(percent), period)
        });
        Self { tiers: tiers.to_vec() }
    }

    /// Every window of every tier, ascending, each once.
    pub fn windows(&self) -> Vec<Span> {
        let mut windows: Vec<Span> = self.tiers.iter().flat_map(|tier| [tier.short, tier.long]).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(days: i64) -> Vec<f64> {
        Policy::for_period(Span::days(days)).tiers.iter().map(|t| (t.factor * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn factors_are_the_workbooks() {
        assert_eq!(factors(30), [14.4, 6.0, 3.0, 1.0]);
        assert_eq!(factors(28), [13.44, 5.6, 2.8, 0.933]);
        assert_eq!(factors(90), [43.2, 18.0, 9.0, 3.0]);
    }

    #[test]
    fn short_periods_shrink_the_windows() {
        let week = Policy::for_period(Span::days(7));
        let shown: Vec<String> = week.tiers.iter().map(|t| format!("{}/{}", t.short, t.long)).collect();
        assert_eq!(shown, ["1m/14m", "7m/1h24m", "28m/5h36m", "1h24m/16h48m"]);
        assert_eq!(factors(7), [14.4, 6.0, 3.0, 1.0]);
    }

    #[test]
    fn one_error_cannot_trip_a_tier_at_its_minimum_of_events() {
        let page = Policy::for_period(Span::days(30)).tiers[0];
        assert_eq!(page.min_events(0.001), 70); // 69/h is the last count at which one error pages
        let burn = |events: u64| 1.0 / events as f64 / 0.001;
        assert!(burn(69) > page.factor && burn(70) <= page.factor);
    }

    #[test]
    fn reachability() {
        let page = Policy::for_period(Span::days(30)).tiers[0];
        assert!(page.is_reachable(0.05) && !page.is_reachable(0.07));
    }
}
