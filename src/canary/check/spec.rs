//! What a check asks: which figure, which limit, which test.

use serde::{Deserialize, Serialize};

use crate::canary::Layout;
use crate::canary::evidence::plane::{Limit, Tally};
pub use crate::spec::{Action, Amount, Bound, Test};

/// One check of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSpec {
    /// Its name in verdicts.
    pub name: String,
    /// The figure it looks at.
    pub measure: Measure,
    /// What the figure may be.
    pub bound: Bound,
    /// How it decides.
    pub test: Test,
    /// What harm leads to.
    pub action: Action,
}

/// The figure a check looks at. Events come as counts of good and bad ones, latencies as counts of buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Measure {
    /// Good events over all.
    Success,
    /// Bad events over all: errors, settlement mismatches, any event that should not be.
    Errors,
    /// A quantile of a latency.
    Latency {
        /// 0 to 1, exclusive.
        quantile: f64,
        /// The buckets of its counts.
        layout: Layout,
    },
}

/// Why a check makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// A limit that no figure can pass, or that is no number.
    #[error("check {name}: a limit of {limit} can never be {expected}")]
    Limit {
        /// The check.
        name: String,
        /// What it says.
        limit: f64,
        /// What would be sense.
        expected: &'static str,
    },
    /// A bound that the measure does not have.
    #[error("check {name}: {bound} does not apply to a latency; use above or regressionOver")]
    NotForLatency {
        /// The check.
        name: String,
        /// The bound.
        bound: &'static str,
    },
}

impl CheckSpec {
    /// Whether the check compares the canary with the baseline.
    pub fn is_relative(&self) -> bool {
        matches!(self.bound, Bound::DropOver(_) | Bound::RegressionOver(_))
    }

    /// Finds limits that can never be exceeded or make no sense.
    pub fn validate(&self) -> Result<(), CheckError> {
        let limit = |limit: f64, is_ok: bool, expected: &'static str| {
            let name = self.name.clone();
            if is_ok { Ok(()) } else { Err(CheckError::Limit { name, limit, expected }) }
        };
        let not = |bound| Err(CheckError::NotForLatency { name: self.name.clone(), bound });
        if let Measure::Latency { quantile, .. } = &self.measure {
            limit(*quantile, *quantile > 0.0 && *quantile < 1.0, "a quantile; write one between 0 and 1")?;
            return match self.bound {
                Bound::Above(l) => limit(l, l > 0.0 && l.is_finite(), "exceeded; write seconds above 0"),
                Bound::RegressionOver(Amount::Absolute(d) | Amount::Relative(d)) => {
                    limit(d, d >= 0.0 && d.is_finite(), "exceeded; write 0 or more")
                }
                Bound::Below(_) => not("below"),
                Bound::DropOver(_) => not("dropOver"),
                Bound::BurnRateOver { .. } => not("burnRateOver"),
            };
        }
        match self.bound {
            Bound::Above(l) | Bound::Below(l) => limit(l, l > 0.0 && l < 1.0, "exceeded; write a rate between 0 and 1"),
            Bound::DropOver(Amount::Absolute(d) | Amount::Relative(d)) | Bound::RegressionOver(Amount::Absolute(d)) => {
                limit(d, (0.0..1.0).contains(&d), "exceeded; write 0 or more and less than 1")
            }
            Bound::RegressionOver(Amount::Relative(d)) => {
                limit(d, d >= 0.0 && d.is_finite(), "exceeded; write 0 or more")
            }
            Bound::BurnRateOver { factor, budget, .. } => {
                let rate = factor * budget;
                limit(factor, rate > 0.0 && rate < 1.0, "exceeded; factor x budget must be between 0 and 1")
            }
        }
    }

    /// A rate check in one form: harm is where the rate of some events, the harmful ones, exceeds a limit. The first
    /// value says whether those are the bad ones.
    pub(super) fn rate_limit(&self) -> (bool, Limit) {
        let line = |intercept, slope| Limit { intercept, slope };
        let is_success = matches!(self.measure, Measure::Success);
        match self.bound {
            // Too high a figure: its events are the harmful ones; too low: the others.
            Bound::Above(l) => (!is_success, line(l, 0.0)),
            Bound::Below(l) => (is_success, line(1.0 - l, 0.0)),
            Bound::DropOver(Amount::Absolute(d)) => (is_success, line(d, 1.0)),
            // (1 - canary) >= (1 - d)(1 - baseline), said of the complements.
            Bound::DropOver(Amount::Relative(d)) => (is_success, line(d, 1.0 - d)),
            Bound::RegressionOver(Amount::Absolute(d)) => (true, line(d, 1.0)),
            Bound::RegressionOver(Amount::Relative(d)) if is_success => (true, line(d, (1.0 - d).max(0.0))),
            Bound::RegressionOver(Amount::Relative(d)) => (true, line(0.0, 1.0 + d)),
            Bound::BurnRateOver { factor, budget, .. } => (true, line(factor * budget, 0.0)),
        }
    }

    /// Whether the figure itself is the rate of the harmful events; else it is the rest.
    pub(super) fn figure_is_harmful(&self) -> bool {
        let (harmful_is_bad, _) = self.rate_limit();
        harmful_is_bad != matches!(self.measure, Measure::Success)
    }
}

/// Harmful of all events, from counts of good and bad ones.
pub(super) fn tally(counts: &[f64], harmful_is_bad: bool) -> Tally {
    let [good, bad] = [counts[0], counts[1]];
    Tally::new(if harmful_is_bad { bad } else { good }, good + bad)
}
