//! Recordings of events and error ratios over each window.

use crate::generate::{Rule, selector_of};
use crate::spec::naming::{self, CURRENT_WINDOW, LABEL_WINDOW, window_text};
use crate::spec::{Counting, Inputs, Reads, Role, Service, Slo, Term};
use crate::types::{Span, format_value};

/// On the terms of a sum, so that they stay apart until they are added up.
const LABEL_TERM: &str = "sloburn_term";
/// A gauge is read this often over a window.
const GAUGE_RESOLUTION: Span = Span::seconds(30);

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
        rules.push(recording(naming::total_rate(window), total_rate(&inputs, window), window));
        rules.push(recording(naming::bad_rate(window), bad_rate(&inputs, &own, window), window));
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

fn total_rate(inputs: &Inputs, window: Span) -> String {
    let total = sum(inputs.of(Role::Total), window);
    if inputs.of(Role::Total).any(|term| term.negative) { format!("clamp_min({total}, 0)") } else { total }
}

/// Bad events a second, wherever there is a total rate: a missing numerator is a count of zero, a missing total is
/// no data.
fn bad_rate(inputs: &Inputs, own: &str, window: Span) -> String {
    let total = naming::total_rate(window);
    if inputs.of(Role::Numerator).next().is_none() {
        return bad_samples(inputs, window);
    }
    let numerator = format!("({} or vector(0))", sum(inputs.of(Role::Numerator), window));
    match inputs.counting {
        Counting::Bad if inputs.of(Role::Numerator).any(|term| term.negative) => {
            format!("clamp_min({numerator}, 0)\nand\nmax({total}{own})")
        }
        Counting::Bad => format!("{numerator}\nand\nmax({total}{own})"),
        // Scrapes of the two counters may be a moment apart: a good event ahead of its total is no negative error.
        Counting::Good => format!("clamp_min(\n    max({total}{own})\n  -\n    {numerator},\n  0\n)"),
    }
}

/// Events a second of all terms. One that is missing adds nothing; without any of them there is no data.
fn sum<'t>(terms: impl Iterator<Item = &'t Term>, window: Span) -> String {
    let terms: Vec<&Term> = terms.collect();
    if let [Term { negative: false, .. }] = terms[..] {
        return format!("sum({})", rate(terms[0], window));
    }
    let parts = terms.iter().enumerate().map(|(number, term)| {
        let sign = if term.negative { "-" } else { "" };
        format!("label_replace({sign}sum({}), \"{LABEL_TERM}\", \"{number}\", \"\", \"\")", rate(term, window))
    });
    format!("sum(\n    {}\n)", parts.collect::<Vec<_>>().join("\n  or\n    "))
}

/// Events a second of each series.
fn rate(term: &Term, window: Span) -> String {
    let (selector, range) = (&term.selector, window_text(window));
    match term.reads {
        Reads::Counter => format!("rate({selector}[{range}])"),
        Reads::Gauge(_) => format!("count_over_time({selector}[{range}]) / {}", format_value(window.as_secs_f64())),
    }
}

/// The samples a second of a gauge whose value is not good: their share of the time, times all. What compares with NaN
/// is false, and so bad.
fn bad_samples(inputs: &Inputs, window: Span) -> String {
    let (range, resolution) = (window_text(window), window_text(GAUGE_RESOLUTION));
    let parts = inputs.terms.iter().filter_map(|term| {
        let Reads::Gauge(good) = term.reads else { return None };
        let condition = format!("{} {} bool {}", term.selector, good.is.operator(), format_value(good.limit));
        let bad = format!("(1 - avg_over_time(({condition})[{range}:{resolution}]))");
        Some(format!("sum(\n    {bad}\n  *\n    {}\n)", rate(term, window)))
    });
    parts.collect()
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
