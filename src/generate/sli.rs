//! Recordings of events and error ratios over each window.

use crate::generate::{Rule, selector_of};
use crate::spec::naming::{self, CURRENT_WINDOW, LABEL_WINDOW, window_text};
use crate::spec::{Numerator, Service, Slo};
use crate::types::{Selector, Span};

/// For each window in ascending order the total rate, the bad rate and the error ratio; then the period's ratio.
pub(super) fn rules(service: &Service, slo: &Slo) -> Vec<Rule> {
    let inputs = service.slis[slo.sli].inputs();
    let own = selector_of(service, slo);
    let identity = naming::identity(service, slo);
    let recording = |record: String, expr: String, window: Span| Rule::Recording {
        record,
        expr,
        labels: identity.clone().with(LABEL_WINDOW, &window_text(window)),
    };
    let mut rules = Vec::new();
    let windows = windows(slo);
    for &window in &windows {
        // The total first: the bad rate reads it.
        rules.push(recording(naming::total_rate(window), total_rate(&inputs.total, window), window));
        rules.push(recording(naming::bad_rate(window), bad_rate(&inputs.numerator, &own, window), window));
        rules.push(recording(naming::error_ratio(window), error_ratio(&own, window), window));
    }
    // A window as long as the period has just been recorded, from raw counters.
    if !windows.contains(&slo.period) {
        rules.push(recording(naming::error_ratio(slo.period), period_ratio(&own, slo.period), slo.period));
    }
    rules
}

/// The windows recorded from raw counters: the policy's and the current one.
fn windows(slo: &Slo) -> Vec<Span> {
    let mut windows = slo.alerting.policy.windows();
    windows.push(CURRENT_WINDOW);
    windows.sort_unstable();
    windows.dedup();
    windows
}

fn total_rate(total: &Selector, window: Span) -> String {
    format!("sum(rate({total}[{}]))", window_text(window))
}

/// Bad events a second, wherever there is a total rate: a missing numerator is a count of zero, a missing total is
/// no data.
fn bad_rate(numerator: &Numerator, own: &str, window: Span) -> String {
    let (total, range) = (naming::total_rate(window), window_text(window));
    match numerator {
        Numerator::Bad(bad) => format!("(sum(rate({bad}[{range}])) or vector(0))\nand\nmax({total}{own})"),
        // Scrapes of the two counters may be a moment apart: a good event ahead of its total is no negative error.
        Numerator::Good(good) => {
            format!("clamp_min(\n    max({total}{own})\n  -\n    (sum(rate({good}[{range}])) or vector(0)),\n  0\n)")
        }
    }
}

/// Absent, never NaN, while there are no events.
fn error_ratio(own: &str, window: Span) -> String {
    format!("max({}{own})\n/\n(max({}{own}) > 0)", naming::bad_rate(window), naming::total_rate(window))
}

/// Bad over total events. Read every 5 minutes, the 5m rates tile the period: their sums are the period's events
/// over 300, each counted once.
fn period_ratio(own: &str, period: Span) -> String {
    let range = format!("[{}:{}]", window_text(period), window_text(CURRENT_WINDOW));
    let events = |rate: String| format!("sum(sum_over_time({rate}{own}{range}))");
    format!("{}\n/\n({} > 0)", events(naming::bad_rate(CURRENT_WINDOW)), events(naming::total_rate(CURRENT_WINDOW)))
}
