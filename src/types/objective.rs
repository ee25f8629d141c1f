//! Objectives as integers, so that a budget is never `0.0009999999999999432`.

use std::fmt;
use std::str::FromStr;

/// The share of events that must be good, in parts per billion (99.9 % is 999,000,000).
///
/// Read from decimal percent and printed exactly, as percent or as a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Objective(u32);

/// Why a text is not an objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectiveError {
    /// Not a plain decimal number.
    #[error("not a decimal number: {0:?}")]
    Syntax(String),
    /// Outside 0 to 100 %.
    #[error("an objective lies above 0 and at most at 100 percent, not {0}")]
    Range(String),
    /// Finer than a part per billion.
    #[error("an objective has at most 7 decimals in percent, not {0}")]
    Precision(String),
}

const BILLION: u32 = 1_000_000_000;
/// Parts per billion in one percent.
const PERCENT: u64 = 10_000_000;

impl Objective {
    /// From parts per billion, 1 to 1,000,000,000.
    pub const fn from_parts_per_billion(parts: u32) -> Option<Self> {
        if parts == 0 || parts > BILLION { None } else { Some(Self(parts)) }
    }

    /// Parts per billion that must be good.
    pub const fn parts_per_billion(self) -> u32 {
        self.0
    }

    /// Parts per billion that may be bad; 0 for an objective of 100 %.
    pub const fn budget_parts_per_billion(self) -> u32 {
        BILLION - self.0
    }

    /// The error budget as a ratio, correctly rounded: 0.001 for 99.9 %.
    pub fn budget(self) -> f64 {
        f64::from(self.budget_parts_per_billion()) / f64::from(BILLION)
    }

    /// The objective as a ratio, correctly rounded: 0.999 for 99.9 %.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(BILLION)
    }

    /// The objective as exact decimal text of the ratio: `0.999`.
    pub fn ratio_text(self) -> String {
        decimal(u64::from(self.0), 9)
    }

    /// The error budget as exact decimal text of the ratio: `0.001`.
    pub fn budget_text(self) -> String {
        decimal(u64::from(self.budget_parts_per_billion()), 9)
    }
}

/// Percent, exactly: `99.9`.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u64::from(self.0), 7))
    }
}

/// Reads decimal percent: `99.9`, `99.95`, `100`. No sign, no exponent, at most 7 decimals.
impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let syntax = || ObjectiveError::Syntax(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(syntax());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 7 {
            return Err(ObjectiveError::Precision(text.to_owned()));
        }
        let range = || ObjectiveError::Range(text.to_owned());
        let whole: u64 = whole.parse().map_err(|_| range())?;
        let fraction: u64 = format!("{fraction:0<7}").parse().map_err(|_| syntax())?;
        let parts = whole.checked_mul(PERCENT).and_then(|p| p.checked_add(fraction)).ok_or_else(range)?;
        u32::try_from(parts).ok().and_then(Self::from_parts_per_billion).ok_or_else(range)
    }
}

/// `value / 10^scale` as exact decimal text without trailing zeros.
fn decimal(value: u64, scale: u32) -> String {
    let unit = 10_u64.pow(scale);
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{fraction:0>width$}", width = scale as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn objectives_print_exactly() {
        for (text, ratio, budget) in [
            ("99.9", "0.999", "0.001"),
            ("99.95", "0.9995", "0.0005"),
            ("99", "0.99", "0.01"),
            ("99.9999999", "0.999999999", "0.000000001"),
            ("100", "1", "0"),
            ("0.5", "0.005", "0.995"),
        ] {
            let objective: Objective = text.parse().unwrap();
            assert_eq!(objective.to_string(), text);
            assert_eq!(objective.ratio_text(), ratio);
            assert_eq!(objective.budget_text(), budget);
        }
        assert_eq!("99.90".parse::<Objective>().unwrap().to_string(), "99.9");
        assert_eq!("99.9".parse::<Objective>().unwrap().budget(), 0.001);
    }

    #[test]
    fn what_is_no_objective_is_refused() {
        for text in ["", "0", "0.0", "-1", "100.1", "1e2", "99.", ".9", "99,9", "99.99999999", "99999999999999999999"] {
            assert!(text.parse::<Objective>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_objective_survives_printing(parts in 1_u32..=1_000_000_000) {
            let objective = Objective::from_parts_per_billion(parts).unwrap();
            prop_assert_eq!(objective.to_string().parse::<Objective>().unwrap(), objective);
            prop_assert_eq!(objective.ratio_text().parse::<f64>().unwrap(), objective.ratio());
        }
    }
}
