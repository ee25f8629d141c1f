//! Recordings of events and error ratios over each window.

use crate::generate::{Rule, grouped, selector_of};
use crate::spec::naming::{self, CURRENT_WINDOW, LABEL_WINDOW, window_text};
use crate::spec::query::with_window;
use crate::spec::{Budgeting, Counting, Inputs, Measure, Period, QueryEvents, Reads, Role, Service, Slo, Term};
use crate::types::{Labels, Span, format_value};

/// On the terms of a sum, so that they stay apart until they are added up.
const LABEL_TERM: &str = "sloburn_term";
/// A gauge is read this often over a window.
const GAUGE_RESOLUTION: Span = Span::seconds(30);

/// How the series of an SLO are named and found.
struct Names<'a> {
    /// The SLO's own matchers.
    own: &'a str,
    /// Labels the SLO groups by.
    by: &'a [String],
}

impl Names<'_> {
    fn sum(&self, expr: &str) -> String {
        grouped("sum", self.by, expr)
    }

    /// A recorded series, alone for each group.
    fn max(&self, series: &str) -> String {
        grouped("max", self.by, &format!("{series}{}", self.own))
    }
}

/// For each window in ascending order the total rate, the bad rate and the error ratio; then the period's ratio. Where
/// the budget counts slices, their ratios come first.
pub(super) fn rules(service: &Service, slo: &Slo) -> Vec<Rule> {
    let inputs = service.slis[slo.sli].inputs();
    let own = selector_of(service, slo, &Labels::new());
    let names = Names { own: &own, by: &slo.accounting.group_by };
    let identity = naming::identity(service, slo);
    let recording = |record: String, expr: String, window: Span| Rule::Recording {
        record,
        expr,
        labels: identity.clone().with(LABEL_WINDOW, &window_text(window)),
    };
    let rates = Rates { inputs: &inputs, query: service.slis[slo.sli].query(), names: &names };
    let mut rules = Vec::new();
    if let Some(slice) = slo.accounting.budgeting.slice() {
        let (total, bad) = (naming::SLICE_TOTAL_RATE, naming::SLICE_BAD_RATE);
        rules.push(recording(total.to_owned(), rates.total(slice), slice));
        rules.push(recording(bad.to_owned(), rates.bad(total, slice), slice));
        rules.push(recording(naming::SLICE_ERROR_RATIO.to_owned(), error_ratio(&names, bad, total), slice));
    }
    let windows = windows(slo);
    for &window in &windows {
        let (total, bad) = (naming::total_rate(window), naming::bad_rate(window));
        let (total_expr, bad_expr) = match slo.accounting.budgeting {
            Budgeting::Occurrences => (rates.total(window), rates.bad(&total, window)),
            Budgeting::Timeslices { slice, target } => {
                let bad = format!("{} > bool {}", names.max(naming::SLICE_ERROR_RATIO), target.budget_text());
                slices(&names, &bad, slice, window)
            }
            Budgeting::RatioTimeslices { slice } => {
                slices(&names, &names.max(naming::SLICE_ERROR_RATIO), slice, window)
            }
        };
        // The total first: the bad rate reads it.
        rules.push(recording(total.clone(), total_expr, window));
        rules.push(recording(bad.clone(), bad_expr, window));
        rules.push(recording(naming::error_ratio(window), error_ratio(&names, &bad, &total), window));
    }
    // A window as long as the period has just been recorded, from raw counters.
    if let Period::Rolling(period) = slo.period
        && !windows.contains(&period)
    {
        rules.push(recording(naming::error_ratio(period), period_ratio(&names, period), period));
    }
    rules
}

/// Events a second, from selectors or from the SLI's own queries.
struct Rates<'a> {
    inputs: &'a Inputs,
    query: Option<&'a QueryEvents>,
    names: &'a Names<'a>,
}

impl Rates<'_> {
    fn total(&self, window: Span) -> String {
        let Some(query) = self.query else { return total_rate(self.inputs, self.names, window) };
        match &query.measure {
            Measure::Events { texts: [_, total], scale, .. } => self.events(total, *scale, window),
            Measure::Ratio { text, .. } => self.shares("count_over_time", text, query.every, window),
        }
    }

    /// `total` is the series of the total rate.
    fn bad(&self, total: &str, window: Span) -> String {
        let Some(query) = self.query else { return bad_rate(self.inputs, self.names, total, window) };
        match &query.measure {
            Measure::Events { texts: [numerator, _], scale, .. } => {
                let numerator = self.events(numerator, *scale, window);
                bad_of(query.counting(), &numerator, false, self.names, total)
            }
            Measure::Ratio { text, .. } => self.shares("sum_over_time", text, query.every, window),
        }
    }

    /// What the query gives over the window, a second.
    fn events(&self, text: &str, scale: f64, window: Span) -> String {
        let sum = self.names.sum(&with_window(text, window));
        if scale == 1.0 { format!("{sum} / {}", format_value(window.as_secs_f64())) } else { sum }
    }

    /// One event for each evaluation within the window.
    fn shares(&self, function: &str, text: &str, every: Span, window: Span) -> String {
        let range = format!("[{}:{}]", window_text(window), window_text(every));
        let all = self.names.sum(&format!("{function}(({}){range})", with_window(text, every)));
        format!("{all} / {}", format_value(window.as_secs_f64()))
    }
}

/// Slices a second: all, and how bad they are together. Read at their ends, each once.
fn slices(names: &Names<'_>, bad: &str, slice: Span, window: Span) -> (String, String) {
    let range = format!("[{}:{}]", window_text(window), window_text(slice));
    let seconds = format_value(window.as_secs_f64());
    let all = names.max(naming::SLICE_ERROR_RATIO);
    (format!("count_over_time({all}{range}) / {seconds}"), format!("sum_over_time(({bad}){range}) / {seconds}"))
}

/// The windows recorded from raw counters: the policy's and the current one.
fn windows(slo: &Slo) -> Vec<Span> {
    let mut windows = slo.alerting.policy.windows();
    windows.push(CURRENT_WINDOW);
    windows.sort_unstable();
    windows.dedup();
    windows
}

fn total_rate(inputs: &Inputs, names: &Names<'_>, window: Span) -> String {
    let total = sum(inputs.of(Role::Total), names, window);
    if inputs.of(Role::Total).any(|term| term.negative) { format!("clamp_min({total}, 0)") } else { total }
}

/// Bad events a second, wherever there is a total rate: a missing numerator is a count of zero, a missing total is
/// no data.
fn bad_rate(inputs: &Inputs, names: &Names<'_>, total: &str, window: Span) -> String {
    if inputs.of(Role::Numerator).next().is_none() {
        return bad_samples(inputs, names, window);
    }
    let is_difference = inputs.of(Role::Numerator).any(|term| term.negative);
    let numerator = sum(inputs.of(Role::Numerator), names, window);
    bad_of(inputs.counting, &numerator, is_difference, names, total)
}

/// Bad events a second from a numerator, as [`bad_rate`].
fn bad_of(counting: Counting, numerator: &str, is_difference: bool, names: &Names<'_>, total: &str) -> String {
    let total = names.max(total);
    let zero = if names.by.is_empty() { "vector(0)".to_owned() } else { format!("0 * {total}") };
    let numerator = format!("({numerator} or {zero})");
    match counting {
        Counting::Bad if is_difference => {
            format!("clamp_min({numerator}, 0)\nand\n{total}")
        }
        Counting::Bad => format!("{numerator}\nand\n{total}"),
        // Scrapes of the two counters may be a moment apart: a good event ahead of its total is no negative error.
        Counting::Good => format!("clamp_min(\n    {total}\n  -\n    {numerator},\n  0\n)"),
    }
}

/// Events a second of all terms. One that is missing adds nothing; without any of them there is no data.
fn sum<'t>(terms: impl Iterator<Item = &'t Term>, names: &Names<'_>, window: Span) -> String {
    let terms: Vec<&Term> = terms.collect();
    if let [term @ Term { negative: false, .. }] = terms[..] {
        return names.sum(&rate(term, window));
    }
    let parts = terms.iter().enumerate().map(|(number, term)| {
        let sign = if term.negative { "-" } else { "" };
        let events = names.sum(&rate(term, window));
        format!("label_replace({sign}{events}, \"{LABEL_TERM}\", \"{number}\", \"\", \"\")")
    });
    names.sum(&format!("\n    {}\n", parts.collect::<Vec<_>>().join("\n  or\n    ")))
}

/// Events a second of each series.
fn rate(term: &Term, window: Span) -> String {
    let (selector, range) = (&term.selector, window_text(window));
    if term.reads == Reads::Counter {
        format!("rate({selector}[{range}])")
    } else {
        format!("count_over_time({selector}[{range}]) / {}", format_value(window.as_secs_f64()))
    }
}

/// The samples a second of a gauge whose value is not good: their share of the time, times all. What compares with NaN
/// is false, and so bad.
fn bad_samples(inputs: &Inputs, names: &Names<'_>, window: Span) -> String {
    let (range, resolution) = (window_text(window), window_text(GAUGE_RESOLUTION));
    let parts = inputs.terms.iter().filter_map(|term| {
        let Reads::Gauge(good) = term.reads else { return None };
        let condition = format!("{} {} bool {}", term.selector, good.is.operator(), format_value(good.limit));
        let bad = format!("(1 - avg_over_time(({condition})[{range}:{resolution}]))");
        Some(names.sum(&format!("\n    {bad}\n  *\n    {}\n", rate(term, window))))
    });
    parts.collect()
}

/// Absent, never NaN, while there are no events.
fn error_ratio(names: &Names<'_>, bad: &str, total: &str) -> String {
    format!("{}\n/\n({} > 0)", names.max(bad), names.max(total))
}

/// Bad over total events. Read every 5 minutes, the 5m rates tile the period: their sums are the period's events
/// over 300, each counted once.
fn period_ratio(names: &Names<'_>, period: Span) -> String {
    let range = format!("[{}:{}]", window_text(period), window_text(CURRENT_WINDOW));
    let events = |rate: String| names.sum(&format!("sum_over_time({rate}{}{range})", names.own));
    format!("{}\n/\n({} > 0)", events(naming::bad_rate(CURRENT_WINDOW)), events(naming::total_rate(CURRENT_WINDOW)))
}
