//! Slices of time as units of a budget: each is judged by its own events, and counts as one.

use serde::{Deserialize, Serialize};

use crate::sli::{Counting, Counts};
use crate::spec::Budgeting;
use crate::types::{Span, Timestamp};

/// Slices kept: an event later than that many slices finds nothing to add to, and does not count.
pub const SLICES_KEPT_COUNT: usize = 128;

/// The latest slices with the events in each.
///
/// A slice holds the events with `start < t <= end`. It is judged by what is known of it, from its first event on and
/// anew with every other: the verdict that stays depends on its events and not on the order they arrived in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slices {
    width: i64,
    /// Number of the newest slice with an event.
    newest: Option<i64>,
    /// A ring.
    raw: Vec<Counts>,
}

impl Slices {
    /// None yet.
    pub fn new(width: Span) -> Self {
        let raw = vec![Counts::default(); SLICES_KEPT_COUNT];
        Self { width: width.as_millis(), newest: None, raw }
    }

    /// Adds events; returns what that changes in the count of slices, and where: bad ones over all.
    pub fn add(
        &mut self,
        at: Timestamp,
        counts: Counts,
        budgeting: Budgeting,
        counting: Counting,
    ) -> Option<(Timestamp, Counts)> {
        let kept = SLICES_KEPT_COUNT as i64;
        let number = (at.as_millis() - 1).div_euclid(self.width);
        let newest = self.newest.unwrap_or(number);
        for skipped in (newest + 1).max(number - kept + 1)..=number {
            self.raw[skipped.rem_euclid(kept) as usize] = Counts::default();
        }
        self.newest = Some(newest.max(number));
        if number <= newest - kept {
            return None;
        }
        let slice = &mut self.raw[number.rem_euclid(kept) as usize];
        let before = judged(*slice, budgeting, counting);
        *slice += counts;
        let mut change = judged(*slice, budgeting, counting);
        change -= before;
        Some((self.place(number), change))
    }

    /// Where a slice counts: at its first moment, so that every verdict on it lands in the same place.
    pub fn place(&self, number: i64) -> Timestamp {
        Timestamp(number * self.width + 1)
    }
}

/// A slice in the count of slices: nothing without events.
fn judged(raw: Counts, budgeting: Budgeting, counting: Counting) -> Counts {
    let events = counting.events(raw);
    let Some(ratio) = events.error_ratio() else { return Counts::default() };
    let bad = match budgeting {
        Budgeting::Occurrences | Budgeting::RatioTimeslices { .. } => ratio,
        Budgeting::Timeslices { target, .. } => {
            // In whole numbers: 5 bad of 100 are not over 5 %.
            let allowed = events.total * f64::from(target.budget_parts_per_billion());
            f64::from(events.bad * 1e9 > allowed)
        }
    };
    Counts { numerator: bad, total: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Span = Span::minutes(1);

    fn timeslices() -> Budgeting {
        Budgeting::Timeslices { slice: MINUTE, target: "95".parse().unwrap() }
    }

    fn bad(bad: f64, total: f64) -> Counts {
        Counts { numerator: bad, total }
    }

    #[test]
    fn a_slice_is_judged_anew_with_every_event() {
        let mut slices = Slices::new(MINUTE);
        let mut add = |at, counts| slices.add(Timestamp(at), counts, timeslices(), Counting::Bad).unwrap();
        assert_eq!(add(60_000, bad(0.0, 10.0)), (Timestamp(1), bad(0.0, 1.0)));
        assert_eq!(add(61_000, bad(5.0, 90.0)), (Timestamp(60_001), bad(1.0, 1.0)));
        assert_eq!(add(120_000, bad(0.0, 10.0)), (Timestamp(60_001), bad(-1.0, 0.0)), "5 of 100 is what is allowed");
        assert_eq!(add(30_000, bad(1.0, 1.0)), (Timestamp(1), bad(1.0, 0.0)));
        assert_eq!(add(180_000, bad(0.0, 0.0)), (Timestamp(120_001), bad(0.0, 0.0)), "without events no slice");
    }

    #[test]
    fn what_is_too_late_does_not_count() {
        let mut slices = Slices::new(MINUTE);
        let mut add = |minute: i64| slices.add(Timestamp(minute * 60_000), bad(1.0, 1.0), timeslices(), Counting::Bad);
        assert!(add(1_000).is_some() && add(873).is_some() && add(872).is_none());
        assert_eq!(add(1_001).unwrap().1, bad(1.0, 1.0));
        assert_eq!(add(5_000).unwrap().1, bad(1.0, 1.0));
    }

    proptest! {
        #[test]
        fn verdicts_do_not_depend_on_the_order(
            events in prop::collection::vec((0_i64..600, 0_u8..3, 0_u8..20), 1..40).prop_shuffle(),
            ratios: bool,
        ) {
            let budgeting = if ratios { Budgeting::RatioTimeslices { slice: MINUTE } } else { timeslices() };
            let mut slices = Slices::new(MINUTE);
            let (mut sum, mut raw) = (Counts::default(), std::collections::BTreeMap::<i64, Counts>::new());
            for (seconds, more_bad, good) in events {
                let counts = bad(f64::from(more_bad), f64::from(more_bad + good));
                let at = Timestamp(1 + seconds * 1000);
                sum += slices.add(at, counts, budgeting, Counting::Bad).unwrap().1;
                *raw.entry(seconds / 60).or_default() += counts;
            }
            let mut naive = Counts::default();
            for counts in raw.into_values().filter(|counts| counts.total > 0.0) {
                let ratio = counts.numerator / counts.total;
                naive += bad(if ratios { ratio } else { f64::from(ratio > 0.05) }, 1.0);
            }
            prop_assert!((sum.numerator - naive.numerator).abs() < 1e-9 && sum.total == naive.total, "{sum:?} {naive:?}");
        }
    }
}
