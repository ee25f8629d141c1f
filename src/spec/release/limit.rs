//! What a check's figure may be, with the unit it is written in: `0.1%`, `0.3pp`, `50ms`, `20%` of the baseline.
//!
//! A number without a unit is refused: 300 has been compared with seconds often enough.

use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::threshold::Unit;
use crate::spec::{Amount, Bound, Slo};
use crate::types::Span;

use super::lint;

/// What a check looks at.
#[derive(Clone, Copy)]
pub(super) enum Figure<'s> {
    /// The share of bad events where it is limited from above, of good ones where it is from below.
    Rate {
        /// The SLI measures a latency; without a quantile its share of fast events is meant.
        of_fast: bool,
    },
    /// A quantile of a histogram's values.
    Latency {
        /// The histogram.
        metric: &'s str,
    },
}

/// How a figure is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Above,
    Below,
    DropOver,
    RegressionOver,
    BurnRateOver,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Above, Self::Below, Self::DropOver, Self::RegressionOver, Self::BurnRateOver];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
            Self::DropOver => "dropOver",
            Self::RegressionOver => "regressionOver",
            Self::BurnRateOver => "burnRateOver",
        }
    }
}

/// A figure with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Bare(f64),
    /// As a fraction.
    Percent(f64),
    /// As a fraction.
    Points(f64),
    /// In the unit asked for.
    Time {
        amount: f64,
    },
}

/// Units of a single number with a fraction, and their decimals.
const TIME_UNITS: [(&str, i32); 5] = [("ms", -3), ("us", -6), ("µs", -6), ("ns", -9), ("s", 0)];

/// Digits with at most one point, scaled by a power of ten in its text: 0.003 for `0.3` and -2.
fn decimal(text: &str, power: i32) -> Option<f64> {
    let text = text.trim_end();
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().any(|b| b.is_ascii_digit());
    let number = is_plain.then(|| format!("{text}e{power}").parse::<f64>().ok())??;
    number.is_finite().then_some(number)
}

/// Reads a quantity. Times come in the unit that has `per_second` of them in a second.
fn quantity(text: &str, per_second: i64) -> Option<Quantity> {
    if let Some(number) = text.strip_suffix("pp") {
        return decimal(number, -2).map(Quantity::Points);
    }
    if let Some(number) = text.strip_suffix('%') {
        return decimal(number, -2).map(Quantity::Percent);
    }
    if let Some(number) = decimal(text, 0) {
        return Some(Quantity::Bare(number));
    }
    let finer = per_second.max(1).ilog10() as i32;
    let single = TIME_UNITS.iter().find_map(|(unit, power)| decimal(text.strip_suffix(unit)?, power + finer));
    let long = || text.parse::<Span>().ok().and_then(|span| decimal(&span.as_millis().to_string(), finer - 3));
    single.or_else(long).map(|amount| Quantity::Time { amount })
}

/// Reads the limit of a check on `figure`. `slo` is the one the check names, `lasting` its `for`.
pub(super) fn bound(
    kind: Kind,
    field: Field<'_>,
    figure: Figure<'_>,
    (slo, lasting): (Option<&Slo>, Span),
    reporter: &mut Reporter<'_>,
) -> Option<Bound> {
    match (kind, figure) {
        (Kind::BurnRateOver, Figure::Rate { .. }) => burn_rate(field, slo, lasting, reporter),
        (Kind::Above, Figure::Latency { metric }) => latency(field, metric, false, reporter).and_then(|amount| {
            let Amount::Absolute(limit) = amount else { return None };
            lint::long(limit, metric, field, reporter);
            (limit > 0.0)
                .then_some(Bound::Above(limit))
                .or_else(|| never(field, "a latency above 0", "every answer takes some time", reporter))
        }),
        (Kind::RegressionOver, Figure::Latency { metric }) => {
            latency(field, metric, true, reporter).map(Bound::RegressionOver)
        }
        (Kind::Below | Kind::DropOver | Kind::BurnRateOver, Figure::Latency { .. }) => {
            let hint =
                "use `above: 300ms` or `regressionOver: 50ms`; without `quantile` the share of fast events is meant";
            let message = format!("`{}` does not apply to a quantile of a latency", kind.as_str());
            reporter.error(field.key, message).hint(hint);
            None
        }
        (Kind::Above | Kind::Below, Figure::Rate { of_fast }) => {
            let rate = rate(kind, field, of_fast, reporter)?;
            if !(rate > 0.0 && rate < 1.0) {
                return never(
                    field,
                    "a rate above 0 and below 100 %",
                    "a rate is never outside of 0 and 100 %",
                    reporter,
                );
            }
            lint::side(kind, rate, field, reporter);
            Some(if kind == Kind::Above { Bound::Above(rate) } else { Bound::Below(rate) })
        }
        (Kind::DropOver | Kind::RegressionOver, Figure::Rate { of_fast }) => {
            let amount = difference(kind, field, of_fast, reporter)?;
            // An error rate may well double; a success rate cannot drop by more than all of it.
            let may_exceed_all = kind == Kind::RegressionOver && matches!(amount, Amount::Relative(_));
            let (Amount::Absolute(size) | Amount::Relative(size)) = amount;
            if size >= 1.0 && !may_exceed_all {
                return never(field, "less than 100 %", "a rate cannot get worse by more than all of it", reporter);
            }
            lint::tiny(kind, amount, field, reporter);
            Some(if kind == Kind::DropOver { Bound::DropOver(amount) } else { Bound::RegressionOver(amount) })
        }
    }
}

/// A limit that no figure passes, or every one.
fn never<T>(field: Field<'_>, expected: &str, hint: &str, reporter: &mut Reporter<'_>) -> Option<T> {
    field.mismatch(expected, reporter).hint(hint);
    None
}

fn burn_rate(field: Field<'_>, slo: Option<&Slo>, lasting: Span, reporter: &mut Reporter<'_>) -> Option<Bound> {
    let Some(slo) = slo else {
        let hint = "a burn rate needs an objective: name an SLO with `slo` in place of `sli`";
        reporter.error(field.key, "`burnRateOver` has no SLO").hint(hint);
        return None;
    };
    let factor = field.number(reporter)?;
    let budget = slo.objective.budget();
    if factor <= 0.0 {
        reporter.error(field.place(), format!("a burn rate is above 0, not {factor}")).hint("1 lasts the period");
        return None;
    }
    if factor * budget >= 1.0 {
        let highest = (1000.0 / budget).floor() / 1000.0;
        let message = format!("with an objective of {} % no burn rate exceeds {highest}", slo.objective);
        reporter.error(field.place(), message).hint(format!("choose a burn rate below {highest}"));
        return None;
    }
    Some(Bound::BurnRateOver { factor, budget, lasting })
}

fn rate(kind: Kind, field: Field<'_>, of_fast: bool, reporter: &mut Reporter<'_>) -> Option<f64> {
    let name = kind.as_str();
    let read = field.scalar().and_then(|text| quantity(text, 1));
    if let Some(Quantity::Percent(rate)) = read {
        return Some(rate);
    }
    let hint = match read {
        Some(Quantity::Bare(number)) if number < 1.0 => {
            format!("name the unit: `{}%` is the rate {number}", percent_of(number))
        }
        Some(Quantity::Bare(number)) => format!("name the unit: `{number}%`"),
        Some(Quantity::Points(rate)) => {
            format!("points are differences: write `{}%`, or use `dropOver` or `regressionOver`", percent_of(rate))
        }
        Some(Quantity::Time { .. }) if of_fast => {
            "name the `quantile` that is limited, such as `quantile: 0.99`".to_owned()
        }
        Some(Quantity::Time { .. }) => {
            "the SLI counts events; a duration limits a quantile of a latency SLI".to_owned()
        }
        Some(Quantity::Percent(_)) | None => format!("for example `{name}: 0.1%`"),
    };
    field.mismatch("a rate in percent", reporter).hint(hint);
    None
}

fn difference(kind: Kind, field: Field<'_>, of_fast: bool, reporter: &mut Reporter<'_>) -> Option<Amount> {
    let name = kind.as_str();
    let read = field.scalar().and_then(|text| quantity(text, 1));
    let hint = match read {
        Some(Quantity::Percent(part)) => return Some(Amount::Relative(part)),
        Some(Quantity::Points(points)) => return Some(Amount::Absolute(points)),
        Some(Quantity::Bare(number)) if number < 0.1 => {
            format!("name the unit: `{}pp` are percentage points, `20%` is relative", percent_of(number))
        }
        Some(Quantity::Bare(number)) => {
            format!("name the unit: `{number}pp` are percentage points, `{number}%` is relative to the baseline")
        }
        Some(Quantity::Time { .. }) if of_fast => {
            "name the `quantile` that is limited, such as `quantile: 0.99`".to_owned()
        }
        Some(Quantity::Time { .. }) => {
            "the SLI counts events; a duration limits a quantile of a latency SLI".to_owned()
        }
        None => format!("for example `{name}: 0.3pp` in percentage points, or `{name}: 20%` relative to the baseline"),
    };
    field.mismatch("percentage points or percent", reporter).hint(hint);
    None
}

/// In the histogram's own unit; percent where a part of the baseline may be meant.
fn latency(field: Field<'_>, metric: &str, relative: bool, reporter: &mut Reporter<'_>) -> Option<Amount> {
    let unit = Unit::of(metric);
    let read = field.scalar().and_then(|text| quantity(text, unit.map_or(1, |unit| unit.per_second)));
    let expected = match (unit, relative) {
        (Some(_), true) => "a duration or percent",
        (Some(_), false) => "a duration",
        (None, true) => "a number or percent",
        (None, false) => "a number",
    };
    let hint = match (read, unit) {
        (Some(Quantity::Time { amount }), Some(_)) => return Some(Amount::Absolute(amount)),
        // Bytes and the like have no form of their own.
        (Some(Quantity::Bare(number)), None) => return Some(Amount::Absolute(number)),
        (Some(Quantity::Percent(part)), _) if relative => return Some(Amount::Relative(part)),
        (Some(Quantity::Time { .. }), None) => {
            format!("`{metric}` does not measure time: give a number in its own unit")
        }
        (Some(Quantity::Bare(number)), Some(_)) => format!("name the unit: `{number}ms` or `{number}s`"),
        (Some(Quantity::Percent(_)), _) => "percent is relative to the baseline: use `regressionOver`".to_owned(),
        (Some(Quantity::Points(_)), _) => "percentage points are of rates".to_owned(),
        (None, Some(_)) => "for example `50ms` or `1.5s`".to_owned(),
        (None, None) => format!("`{metric}` does not measure time: give a number in its own unit"),
    };
    field.mismatch(expected, reporter).hint(hint);
    None
}

/// A fraction in percent: 0.1 for 0.001.
fn percent_of(fraction: f64) -> f64 {
    format!("{fraction}e2").parse().unwrap_or(fraction * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_units() {
        let time = |amount| Some(Quantity::Time { amount });
        for (text, per_second, read) in [
            ("0.1%", 1, Some(Quantity::Percent(0.001))),
            ("20 %", 1, Some(Quantity::Percent(0.2))),
            ("0.3pp", 1, Some(Quantity::Points(0.003))),
            ("0pp", 1, Some(Quantity::Points(0.0))),
            ("300", 1, Some(Quantity::Bare(300.0))),
            (".5", 1, Some(Quantity::Bare(0.5))),
            ("50ms", 1, time(0.05)),
            ("50ms", 1_000, time(50.0)),
            ("1.5s", 1, time(1.5)),
            ("1.5s", 1_000, time(1_500.0)),
            ("250us", 1_000, time(0.25)),
            ("250µs", 1_000_000, time(250.0)),
            ("3ns", 1_000_000_000, time(3.0)),
            ("1m30s", 1, time(90.0)),
            ("2m", 1_000, time(120_000.0)),
        ] {
            assert_eq!(quantity(text, per_second), read, "{text}");
        }
        for text in ["", "%", "pp", "ms", "-1%", "1e3ms", "1.2.3s", "1,5s", "fast", "1.5m", "nan%", "∞"] {
            assert_eq!(quantity(text, 1), None, "{text}");
        }
    }

    #[test]
    fn percent_is_exact() {
        assert_eq!(percent_of(0.001), 0.1);
        assert_eq!(percent_of(0.07), 7.0);
    }
}
