//! A time without samples that counts as bad, in units of time.

use serde::{Deserialize, Serialize};

use crate::types::{Timestamp, compact};

/// A time without samples.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Missing {
    /// The last sample before it.
    pub(super) from: Timestamp,
    /// The number of the first unit that is not counted yet.
    pub(super) next: i64,
    /// Events of a unit.
    #[serde(with = "compact")]
    pub(super) amount: f64,
    /// Units that are excluded, in stretches: the first, and the first after it. A silence may last for months of
    /// maintenance.
    skipped: Vec<(i64, i64)>,
}

impl Missing {
    pub(super) fn new(from: Timestamp, next: i64, amount: f64) -> Self {
        Self { from, next, amount, skipped: Vec::new() }
    }

    /// Leaves out a unit later than all before.
    pub(super) fn skip(&mut self, number: i64) {
        match self.skipped.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => self.skipped.push((number, number + 1)),
        }
    }

    pub(super) fn is_skipped(&self, number: i64) -> bool {
        let after = self.skipped.partition_point(|(start, _)| *start <= number);
        after > 0 && number < self.skipped[after - 1].1
    }

    /// Nobody asks about units before this one any more.
    pub(super) fn forget_before(&mut self, number: i64) {
        if self.skipped.first().is_some_and(|(_, end)| *end <= number) {
            self.skipped.retain(|(_, end)| *end > number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_takes_room_by_the_stretch() {
        let mut missing = Missing::new(Timestamp(0), 0, 1.0);
        let is_skipped = |number: i64| number % 8_640 < 720;
        (0..864_000).filter(|number| is_skipped(*number)).for_each(|number| missing.skip(number));
        assert_eq!(missing.skipped.len(), 100, "two hours of each of 100 days");
        assert!((0..864_000).all(|number| missing.is_skipped(number) == is_skipped(number)));
        assert!(!missing.is_skipped(-1));
        missing.forget_before(856_000);
        assert_eq!(missing.skipped, [(855_360, 856_080)]);
        missing.forget_before(856_080);
        assert_eq!(missing.skipped, []);
    }
}
