//! Points and lengths of time in whole milliseconds, and Prometheus' duration syntax.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the Unix epoch, as remote write carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// A length of time in milliseconds. May be negative (an offset); durations parsed from text are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(pub i64);

impl Timestamp {
    /// The earliest representable point; every real sample is later.
    pub const MIN: Self = Self(i64::MIN);

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, with the milliseconds as the fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The time from `earlier` to `self`; negative when `earlier` is the later one. Saturates.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in UTC with milliseconds: `2026-11-01T00:00:00.000Z`.
    ///
    /// Points outside the years -9999..9999 print as their bound.
    pub fn to_rfc3339(self) -> String {
        let bound = |t: jiff::Timestamp| t.as_millisecond();
        let clamped = self.0.clamp(bound(jiff::Timestamp::MIN) + 1, bound(jiff::Timestamp::MAX));
        let point = jiff::Timestamp::from_millisecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{point:.3}")
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Span) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Span) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing to read.
    #[error("empty duration")]
    Empty,
    /// Not `<number><unit>` repeated with descending units.
    #[error("not a duration: {0:?}; write it as Prometheus does, for example 30s, 5m, 1h30m or 30d")]
    Syntax(String),
    /// More milliseconds than an `i64` holds.
    #[error("duration out of range: {0:?}")]
    Range(String),
}

/// Units in the only order Prometheus accepts them, with their length in milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `n` milliseconds.
    pub const fn millis(n: i64) -> Self {
        Self(n)
    }

    /// A span of `n` seconds.
    pub const fn seconds(n: i64) -> Self {
        Self(n * 1_000)
    }

    /// A span of `n` minutes.
    pub const fn minutes(n: i64) -> Self {
        Self(n * 60_000)
    }

    /// A span of `n` hours.
    pub const fn hours(n: i64) -> Self {
        Self(n * 3_600_000)
    }

    /// A span of `n` days of 24 hours.
    pub const fn days(n: i64) -> Self {
        Self(n * 86_400_000)
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds with a fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Days with a fraction.
    pub fn as_days_f64(self) -> f64 {
        self.0 as f64 / 86_400_000.0
    }

    /// The same length for the standard library; negative spans become zero.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(if self.0 < 0 { 0 } else { self.0 as u64 })
    }
}

/// Parses Prometheus' form: digits and a unit, repeated, units descending, each at most once
/// (`model.ParseDuration`). A bare `0` is allowed.
impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let syntax = || DurationError::Syntax(text.to_owned());
        let range = || DurationError::Range(text.to_owned());
        let (mut rest, mut total, mut next_unit) = (text, 0_i64, 0_usize);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(letters);
            let found = UNITS.iter().skip(next_unit).position(|(name, _)| *name == unit).ok_or_else(syntax)?;
            if digits == 0 {
                return Err(syntax());
            }
            let amount = number.parse::<i64>().map_err(|_| range())?;
            let millis = amount.checked_mul(UNITS[next_unit + found].1).ok_or_else(range)?;
            total = total.checked_add(millis).ok_or_else(range)?;
            next_unit += found + 1;
            rest = tail;
        }
        Ok(Self(total))
    }
}

/// Prints Prometheus' form, as `model.Duration.String`: whole weeks and years only when nothing is left
/// over, so that 30 days print as `30d` and 90 minutes as `1h30m`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.unsigned_abs();
        for (name, millis) in UNITS {
            let millis = millis.unsigned_abs();
            let exact_only = matches!(name, "y" | "w");
            if rest < millis || (exact_only && !rest.is_multiple_of(millis)) {
                continue;
            }
            write!(f, "{}{name}", rest / millis)?;
            rest %= millis;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_and_print_as_in_prometheus() {
        for (text, millis, printed) in [
            ("0", 0, "0s"),
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("30d", 2_592_000_000, "30d"),
            ("4w", 2_419_200_000, "4w"),
            ("28d", 2_419_200_000, "4w"),
            ("1y", 31_536_000_000, "1y"),
            ("250ms", 250, "250ms"),
            ("1d12h", 129_600_000, "1d12h"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span(millis), "{text}");
            assert_eq!(span.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in ["", "5", "m", "1m1h", "1h1h", "1.5h", "-1m", "1 m", "1M", "99999999999999999999y", "999999999y"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn time_prints_as_rfc_3339() {
        assert_eq!(Timestamp(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_793_491_200_123).to_rfc3339(), "2026-11-01T00:00:00.123Z");
        let _ = (Timestamp(i64::MAX).to_rfc3339(), Timestamp::MIN.to_rfc3339());
    }

    proptest! {
        #[test]
        fn every_span_survives_printing(millis in 0_i64..=i64::MAX / 2) {
            prop_assert_eq!(Span(millis).to_string().parse::<Span>().unwrap(), Span(millis));
        }
    }
}
