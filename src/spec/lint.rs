//! What can be read but hardly be meant. Warnings, except where nothing sensible is left.

use std::collections::BTreeSet;

use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::naming::window_text;
use crate::spec::selector::word;
use crate::spec::source::Place;
use crate::spec::{Alerting, Severity, Sum, Summand};
use crate::types::{Objective, Selector, Span};

/// A shorter window holds fewer than four scrapes 15 s apart.
const SHORT_WINDOW_FROM: Span = Span::minutes(1);
/// What the names of counters end in, and of the series of a histogram.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_count", "_sum", "_bucket"];

/// Tiers that can never fire, or fire with budget to spare. `places` are those of the user's own factors, in
/// the order of the policy's tiers; findings about the default tiers point at the objective.
pub(crate) fn tiers(
    alerting: &Alerting,
    places: &[Place],
    objective: Objective,
    default_place: Place,
    reporter: &mut Reporter<'_>,
) {
    let budget = objective.budget();
    // A ratio is at most 1, so this is the burn rate of a total outage. Three decimals are for people.
    let highest = (1000.0 / budget).floor() / 1000.0;
    for (at, tier) in alerting.policy.tiers.iter().enumerate() {
        if alerting.severity(tier.severity).disabled {
            continue;
        }
        let place = places.get(at).copied();
        let name = format!("the {} tier {}/{}", tier.severity, window_text(tier.short), window_text(tier.long));
        let factor = (tier.factor * 1000.0).round() / 1000.0;
        if !tier.is_reachable(budget) {
            let message = format!(
                "{name} can never fire: its factor is {factor}, and with an objective of {objective} % no burn rate \
                 exceeds {highest}"
            );
            let hint = match place {
                Some(_) => format!("choose a factor below {highest}"),
                None => format!(
                    "set `alerting.windows` with factors below {highest}, or disable `{}` with `disabled: true`",
                    tier.severity
                ),
            };
            reporter.warn(place.unwrap_or(default_place), message).hint(hint);
        } else if let Some(place) = place.filter(|_| tier.factor < 1.0) {
            let message = format!("{name} has a factor of {factor}: it fires while the SLO keeps its objective");
            reporter.warn(place, message).hint("a burn rate of 1 spends the budget exactly over the period");
        }
    }
}

/// Windows that hold too few scrapes.
pub(crate) fn short_window(short: Span, field: Field<'_>, reporter: &mut Reporter<'_>) {
    if short < SHORT_WINDOW_FROM {
        let short = window_text(short);
        let message = format!("a short window of {short} holds fewer than four scrapes at the usual 15s interval");
        reporter.warn(field.place(), message).hint("use `1m` or more, or scrape more often");
    }
}

/// Pages without a guard against low traffic.
pub(crate) fn min_events(alerting: &Alerting, field: Field<'_>, reporter: &mut Reporter<'_>) {
    if alerting.min_events == Some(0) && !alerting.severity(Severity::Page).disabled {
        let message = "`minEvents: 0` lets a single failed request page somebody when traffic is low";
        reporter.warn(field.place(), message).hint("leave it out: the default asks for enough events");
    }
}

/// Objectives that leave no budget, or were written as a ratio.
pub(crate) fn objective(objective: Objective, field: Field<'_>, reporter: &mut Reporter<'_>) {
    if objective.budget_parts_per_billion() == 0 {
        let message = "an objective of 100 % leaves no error budget, so no burn rate exists";
        reporter.error(field.place(), message).hint("choose what may fail, for example `99.99`");
        return;
    }
    if let Some(meant) = as_ratio(objective) {
        let message = format!("an objective of {objective} % lets nearly everything fail");
        reporter.warn(field.place(), message).hint(format!("objectives are in percent: did you mean `{meant}`?"));
    }
}

/// Whether [`objective`] finds something odd, so that findings about its windows would only repeat it.
pub(crate) fn is_odd(objective: Objective) -> bool {
    objective.budget_parts_per_billion() == 0 || as_ratio(objective).is_some()
}

/// The objective whose ratio has the digits of this one's percentage: 99.9 for 0.999 %.
fn as_ratio(objective: Objective) -> Option<Objective> {
    objective.parts_per_billion().checked_mul(100).and_then(Objective::from_parts_per_billion)
}

/// A selector's matchers, whatever their order.
fn parts(selector: &Selector) -> BTreeSet<String> {
    selector.matchers().iter().map(ToString::to_string).collect()
}

/// A numerator that is its own denominator.
pub(crate) fn same_sums(
    (numerator, field): (&Sum, Field<'_>),
    (total, total_field): (&Sum, Field<'_>),
    reporter: &mut Reporter<'_>,
) {
    let summands = |sum: &Sum| {
        let mut summands: Vec<_> = sum.summands().iter().map(|s| (s.negative, parts(&s.selector))).collect();
        summands.sort();
        summands
    };
    if summands(numerator) == summands(total) {
        let related = reporter.related(total_field.place(), "the same here");
        let message = format!("{} counts the same events as `total`", field.what);
        let hint = "narrow it, for example with `code=~\"5..\"` for bad events";
        reporter.error(field.place(), message).related(related).hint(hint);
    }
}

/// Selectors that stand in a sum twice: they count double, or cancel out.
pub(crate) fn sum(sum: &Sum, field: Field<'_>, reporter: &mut Reporter<'_>) {
    for (i, summand) in sum.summands().iter().enumerate() {
        let same = |other: &&Summand| parts(&other.selector) == parts(&summand.selector);
        let Some(earlier) = sum.summands()[..i].iter().find(same) else { continue };
        if earlier.negative == summand.negative {
            let message = format!("`{}` stands in the sum twice: its events count double", summand.selector);
            reporter.warn(field.place(), message).hint("keep one");
        } else {
            let message = format!("`{}` is added and subtracted: it cancels out", summand.selector);
            reporter.warn(field.place(), message).hint("leave both out");
        }
    }
}

/// A metric whose name says that it only ever grows, or that sees one release only.
pub(crate) fn gauge(selector: &Selector, field: Field<'_>, version: Option<&str>, reporter: &mut Reporter<'_>) {
    let name = selector.metric_name().unwrap_or_default();
    if COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        let place = field.place_of(word(field.scalar().unwrap_or_default(), name));
        let message = format!("`{name}` is named like a counter: its value says how much there was since the start");
        reporter.warn(place, message).hint("use an `events` SLI for counters, and a `latency` SLI for histograms");
    }
    if let Some(label) = version {
        version_label(selector, field, label, reporter);
    }
}

/// Selectors that see one release only.
pub(crate) fn version_label(selector: &Selector, field: Field<'_>, label: &str, reporter: &mut Reporter<'_>) {
    if selector.matchers().iter().any(|m| &*m.name == label) {
        let place = field.place_of(word(field.scalar().unwrap_or_default(), label));
        let message = format!("the selector has a matcher on `{label}`, the version label");
        let hint = "leave it out: releases are told apart by the label, and a matcher hides some of them";
        reporter.warn(place, message).hint(hint);
    }
}
