//! Latency thresholds: from what people write to the histogram's own unit, and whether it can be meant.

use crate::spec::decode::{Field, number};
use crate::spec::diagnostic::Reporter;
use crate::types::Span;

/// The unit a histogram counts in.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    suffix: &'static str,
    symbol: &'static str,
    pub per_second: i64,
}

const SECONDS: Unit = Unit { suffix: "_seconds", symbol: "s", per_second: 1 };
const MILLISECONDS: Unit = Unit { suffix: "_milliseconds", symbol: "ms", per_second: 1_000 };
const UNITS: [Unit; 7] = [
    SECONDS,
    MILLISECONDS,
    Unit { suffix: "_ms", symbol: "ms", per_second: 1_000 },
    Unit { suffix: "_microseconds", symbol: "us", per_second: 1_000_000 },
    Unit { suffix: "_us", symbol: "us", per_second: 1_000_000 },
    Unit { suffix: "_nanoseconds", symbol: "ns", per_second: 1_000_000_000 },
    Unit { suffix: "_ns", symbol: "ns", per_second: 1_000_000_000 },
];
/// Suffixes of histograms that do not measure time.
const NOT_TIME: [&str; 2] = ["_bytes", "_ratio"];

/// A service slower than this, or faster than the other, is rare; a wrong unit is not.
pub(crate) const LONG_SECONDS: f64 = 60.0;
const SHORT_SECONDS: f64 = 0.001;
/// Digits of Prometheus' default buckets, `.005 .01 .025 .05 .075 .1 .25 .5 .75 1 2.5 5 7.5 10`.
const DEFAULT_DIGITS: [f64; 4] = [1.0, 2.5, 5.0, 7.5];

impl Unit {
    /// The one in a metric's name. Without one it is seconds, as Prometheus' convention has it; `None` where the name
    /// says that it is no time.
    pub fn of(metric: &str) -> Option<Self> {
        if NOT_TIME.iter().any(|suffix| metric.ends_with(suffix)) {
            return None;
        }
        Some(Self::named(metric).unwrap_or(SECONDS))
    }

    fn named(metric: &str) -> Option<Self> {
        UNITS.into_iter().find(|unit| metric.ends_with(unit.suffix))
    }
}

/// The threshold in the unit of the histogram `metric`: a bare number as it is, a duration converted.
///
/// The unit is the one in the metric's name. A duration on a name without one is converted to seconds, as
/// Prometheus' convention has it.
pub(crate) fn threshold(field: Field<'_>, metric: &str, reporter: &mut Reporter<'_>) -> Option<f64> {
    let text = field.text(reporter)?;
    let unit = Unit::named(metric);
    let bare = number(text);
    let value = match (bare, text.parse::<Span>()) {
        (Some(value), _) => value,
        (None, Ok(span)) => {
            if Unit::of(metric).is_none() {
                let message = format!("a duration cannot be a threshold of `{metric}`, which does not measure time");
                reporter.error(field.place(), message).hint("give a bare number in the metric's own unit");
                return None;
            }
            let scaled = span.as_millis().saturating_mul(unit.unwrap_or(SECONDS).per_second);
            scaled as f64 / 1000.0
        }
        (None, Err(_)) => {
            let hint = "write `250ms`, `1s` or `2m30s`, or a bare number in the histogram's own unit";
            field.mismatch("a duration or a number", reporter).hint(hint);
            return None;
        }
    };
    if value <= 0.0 {
        reporter.error(field.place(), "the threshold must be above zero");
        return None;
    }
    if bare.is_none() || unit.is_some() {
        lint(value, unit.unwrap_or(SECONDS), bare.is_some(), text, field, reporter);
    }
    Some(value)
}

fn lint(value: f64, unit: Unit, bare: bool, text: &str, field: Field<'_>, reporter: &mut Reporter<'_>) {
    let seconds = value / unit.per_second as f64;
    let written = if bare { format!("{text} {}", unit.symbol) } else { text.to_owned() };
    if !(SHORT_SECONDS..=LONG_SECONDS).contains(&seconds) {
        let (odd, meant) = match (seconds > LONG_SECONDS, unit.symbol) {
            (true, "s") => ("long", Some(in_time(value, MILLISECONDS))),
            (false, "ms") => ("short", Some(in_time(value, SECONDS))),
            (true, _) => ("long", None),
            (false, _) => ("short", None),
        };
        let hint = match meant {
            Some(meant) if bare => format!("did you mean `{meant}`? a bare number is in the histogram's own unit"),
            _ => "check the unit: `ms` is milliseconds, `m` is minutes".to_owned(),
        };
        reporter.warn(field.place(), format!("a threshold of {written} is suspiciously {odd}")).hint(hint);
    } else if !is_usual_bound(value) {
        let show = |bound: f64| if bare { format!("`{bound}`") } else { format!("`{}`", in_time(bound, unit)) };
        let (below, above) = neighbours(value);
        let message = format!("{written} is no usual bucket bound: a histogram without that bucket gives no data");
        let hint = format!(
            "usual bounds near it are {} and {}; ignore this if the histogram has `le=\"{value}\"`, or is native",
            show(below),
            show(above)
        );
        reporter.warn(field.place(), message).hint(hint);
    }
}

/// A value of a unit as a duration.
fn in_time(value: f64, unit: Unit) -> String {
    let millis = value * 1000.0 / unit.per_second as f64;
    if millis >= 1.0 && (millis - millis.round()).abs() < 1e-6 {
        Span::millis(millis.round() as i64).to_string()
    } else {
        format!("{value}{}", unit.symbol)
    }
}

/// Prometheus' default buckets and their like at other powers of ten, series of 1, 2, 5, and powers of two
/// from 1 or from 0.001.
fn is_usual_bound(value: f64) -> bool {
    let near = |bound: f64| (value / bound - 1.0).abs() < 1e-9;
    let decimal = (-9..=9).any(|power| DEFAULT_DIGITS.iter().chain(&[2.0]).any(|d| near(decade(*d, power))));
    decimal || (-20..=40).any(|power| near(f64::powi(2.0, power)) || near(f64::powi(2.0, power) / 1000.0))
}

/// The default bounds below and above.
fn neighbours(value: f64) -> (f64, f64) {
    let bounds = || (-9..=9).flat_map(|power| DEFAULT_DIGITS.map(|digit| decade(digit, power)));
    let below = bounds().filter(|bound| *bound < value).fold(0.0, f64::max);
    let above = bounds().filter(|bound| *bound > value).fold(f64::INFINITY, f64::min);
    (below, above)
}

/// `digit x 10^power`, correctly rounded.
fn decade(digit: f64, power: i32) -> f64 {
    format!("{digit}e{power}").parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_bounds_are_known() {
        for bound in [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0] {
            assert!(is_usual_bound(bound) && is_usual_bound(bound * 1000.0), "{bound}");
        }
        for bound in [0.2, 2.0, 0.002, 0.256, 0.125, 4.0, 4096.0, 1e-6] {
            assert!(is_usual_bound(bound), "{bound}");
        }
        for bound in [0.3, 0.15, 1.5, 42.0] {
            assert!(!is_usual_bound(bound), "{bound}");
        }
        assert_eq!(neighbours(0.3), (0.25, 0.5));
        assert_eq!(neighbours(800.0), (750.0, 1000.0));
    }

    #[test]
    fn bounds_print_as_durations() {
        assert_eq!(in_time(0.25, SECONDS), "250ms");
        assert_eq!(in_time(250.0, MILLISECONDS), "250ms");
        assert_eq!(in_time(2.5e-5, SECONDS), "0.000025s");
    }
}
