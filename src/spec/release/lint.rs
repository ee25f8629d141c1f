//! What can be read in a `canary` block but hardly be meant.

use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::naming::window_text;
use crate::spec::source::Place;
use crate::spec::threshold::{LONG_SECONDS, Unit};
use crate::spec::{Amount, Bound, Step, WeekTime};
use crate::types::Span;

use super::limit::Kind;

/// Relative changes of an error rate under this are in its noise; points were meant.
const TINY_CHANGE: f64 = 0.01;
/// Good events are more than this share, bad ones less, in any service worth a release.
const HALF: f64 = 0.5;

/// A share of the budget written as a ratio.
pub(super) fn freeze(percent: f64, field: Field<'_>, reporter: &mut Reporter<'_>) {
    if percent > 0.0 && percent < 1.0 {
        let meant: f64 = format!("{percent}e2").parse().unwrap_or_default();
        let message = format!("the budget policy freezes below {percent} % of the budget");
        reporter.warn(field.place(), message).hint(format!("it is in percent: did you mean `{meant}`?"));
    }
}

/// Events that no look sees.
pub(super) fn window(every: Span, window: Span, field: Field<'_>, reporter: &mut Reporter<'_>) {
    if every > window {
        let (every, window) = (window_text(every), window_text(window));
        let message = format!("threshold tests look every {every} at the last {window}, and not at what lies between");
        reporter.warn(field.place(), message).hint("`every` is at most `window`");
    }
}

/// A step that takes traffic away again.
pub(super) fn falling(before: &[Step], weight: f64, place: Place, reporter: &mut Reporter<'_>) {
    if let Some(last) = before.iter().filter_map(|step| step.weight).next_back().filter(|last| *last > weight) {
        let message = format!("the weight falls from {last} to {weight} percent");
        reporter.warn(place, message).hint("steps go up: their order is that of the rollout");
    }
}

/// No moment is left for a promotion.
pub(super) fn never(times: &[WeekTime], field: Field<'_>, reporter: &mut Reporter<'_>) {
    if WeekTime::cover_the_week(times) {
        let message = "`notBetween` covers the whole week: no release would ever be promoted";
        reporter.error(field.key, message).hint("leave some time");
    }
}

/// A latency that nobody has.
pub(super) fn long(limit: f64, metric: &str, field: Field<'_>, reporter: &mut Reporter<'_>) {
    let seconds = Unit::of(metric).map(|unit| limit / unit.per_second as f64);
    if seconds.is_some_and(|seconds| seconds > LONG_SECONDS) {
        let message = format!("a limit of {} is suspiciously long", field.scalar().unwrap_or_default());
        reporter.warn(field.place(), message).hint("check the unit: `ms` is milliseconds, `m` is minutes");
    }
}

/// Percent where percentage points were meant.
pub(super) fn tiny(kind: Kind, amount: Amount, field: Field<'_>, reporter: &mut Reporter<'_>) {
    if let Amount::Relative(part) = amount
        && kind == Kind::RegressionOver
        && part > 0.0
        && part < TINY_CHANGE
    {
        let text = field.scalar().unwrap_or_default().trim_end_matches('%').trim_end();
        let message = format!("{text} % is relative: an error rate of 1 % may rise to {} %", 1.0 + part);
        reporter.warn(field.place(), message).hint(format!("did you mean `{text}pp`, percentage points?"));
    }
}

/// A margin that leaves nothing to be sure of.
pub(super) fn no_margin(bound: Bound, place: Place, reporter: &mut Reporter<'_>) {
    let (Bound::DropOver(Amount::Absolute(size) | Amount::Relative(size))
    | Bound::RegressionOver(Amount::Absolute(size) | Amount::Relative(size))) = bound
    else {
        return;
    };
    if size == 0.0 {
        let message = "with a margin of 0 a release as good as its baseline is never known to be safe, nor promoted";
        reporter.warn(place, message).hint("say how much worse would not matter, such as `0.1pp`, `5%` or `10ms`");
    }
}

/// A rate of good events where that of bad ones is limited, or the other way round.
pub(super) fn side(kind: Kind, rate: f64, field: Field<'_>, reporter: &mut Reporter<'_>) {
    let text = field.scalar().unwrap_or_default();
    let (message, meant) = match kind {
        Kind::Above if rate >= HALF => ("`above` limits the share of bad events: nearly all may be bad", "below"),
        Kind::Below if rate <= HALF => ("`below` limits the share of good events: hardly any need be good", "above"),
        _ => return,
    };
    reporter.warn(field.place(), message).hint(format!("did you mean `{meant}: {text}`?"));
}

/// A plain threshold that one bad event exceeds.
pub(super) fn single_error(bound: Bound, min_samples: u64, place: Place, reporter: &mut Reporter<'_>) {
    let limit = match bound {
        Bound::Above(limit) => limit,
        Bound::Below(limit) => 1.0 - limit,
        Bound::DropOver(Amount::Absolute(points)) | Bound::RegressionOver(Amount::Absolute(points)) => points,
        Bound::BurnRateOver { factor, budget, .. } => factor * budget,
        Bound::DropOver(Amount::Relative(_)) | Bound::RegressionOver(Amount::Relative(_)) => return,
    };
    let min_samples = min_samples.max(1);
    if limit > 0.0 && min_samples as f64 * limit < 1.0 - 1e-9 {
        let needed = (1.0 / limit - 1e-9).ceil();
        let message =
            format!("one bad event among {min_samples} exceeds the limit: a single error takes a release back");
        let hint = format!(
            "ask for `minSamples: {needed}` or more, or leave out `test`: the sequential one is sure however few there \
             are"
        );
        reporter.warn(place, message).hint(hint);
    }
}
