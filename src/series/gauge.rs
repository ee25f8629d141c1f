//! One gauge's recent samples, so that each counts once.
//!
//! A sample of a gauge stands for itself: it does not matter when it arrives, only whether it did before.

use serde::{Deserialize, Serialize};

use crate::types::{Timestamp, compact};

/// Samples remembered for each gauge: how late, in samples, one may arrive and still be known not to be a repetition.
pub const READINGS_LIMIT_SAMPLES: usize = 32;

/// A gauge's latest samples, ascending in time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Gauge {
    recent: Vec<Reading>,
    /// Samples older than the oldest remembered have been forgotten.
    has_forgotten: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Reading {
    at: Timestamp,
    #[serde(with = "compact")]
    value: f64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Was not there before.
    New,
    /// The same sample again, or one so old that nobody can tell.
    Again,
    /// The same time with another value; the earlier arrival stays.
    Conflict,
}

impl Gauge {
    /// The time of the newest sample.
    pub fn newest(&self) -> Option<Timestamp> {
        self.recent.last().map(|reading| reading.at)
    }

    /// Places a sample among the others; NaN and infinities are samples too.
    pub fn place(&mut self, at: Timestamp, value: f64) -> Taken {
        let after = self.recent.partition_point(|reading| reading.at < at);
        if let Some(same) = self.recent.get(after).filter(|reading| reading.at == at) {
            let equal = same.value == value || same.value.is_nan() && value.is_nan();
            return if equal { Taken::Again } else { Taken::Conflict };
        }
        if after == 0 && self.has_forgotten {
            return Taken::Again;
        }
        self.recent.insert(after, Reading { at, value });
        if self.recent.len() > READINGS_LIMIT_SAMPLES {
            self.recent.remove(0);
            self.has_forgotten = true;
        }
        Taken::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_sample_counts_once() {
        let mut gauge = Gauge::default();
        let mut place = |at, value| gauge.place(Timestamp(at), value);
        assert_eq!(place(30, 1.0), Taken::New);
        assert_eq!(place(15, 0.0), Taken::New, "late");
        assert_eq!(place(15, 0.0), Taken::Again);
        assert_eq!(place(15, 1.0), Taken::Conflict);
        assert_eq!(place(45, f64::NAN), Taken::New);
        assert_eq!(place(45, f64::NAN), Taken::Again);
    }

    proptest! {
        /// In any order, repeated or not, within what is remembered.
        #[test]
        fn all_are_new_once(times in prop::collection::vec(0_i64..READINGS_LIMIT_SAMPLES as i64, 0..200)) {
            let mut gauge = Gauge::default();
            let new = times.iter().filter(|at| gauge.place(Timestamp(**at), 1.0) == Taken::New).count();
            prop_assert_eq!(new, times.iter().collect::<std::collections::BTreeSet<_>>().len());
        }
    }
}
