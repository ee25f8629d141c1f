//! Blocks: what both arms have shown of the same stretch of time.
//!
//! Arms are scraped at different moments. If the canary's scrape shows a disturbance some seconds before the
//! baseline's, counts compared as they arrive take what hit both for harm. So a block ends where a canary scrape ended,
//! and only once the baseline has been seen past it; an increment that a block's border cuts is divided in proportion
//! to time. Where in its interval an event lay is unknown, so a block also says which baseline increments reach over
//! its borders: a comparison may then count for the baseline whatever a burst among them could have brought into the
//! block ([`Block::placed_worst`]).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::types::{Span, Timestamp};

/// Increments of one arm that wait for the other; beyond that the two oldest become one.
pub const PENDING_INCREMENTS_MAX: usize = 1024;

/// Blocks are no shorter, so that many targets with scrapes of their own do not make many blocks.
const BLOCK_LENGTH_MIN: Span = Span::seconds(1);

/// A disturbance is what exceeds the expected count by this many standard deviations.
const DISTURBANCE_DEVIATIONS: f64 = 2.0;

/// Whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The version that is known to work.
    Baseline,
    /// The version on trial.
    Canary,
}

/// Why an increment does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not as many counts as the stream has kinds.
    #[error("{found} counts where {expected} are expected")]
    Kinds {
        /// What the stream has.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// A count that is negative, infinite or no number.
    #[error("a count that is negative or not finite")]
    NotACount,
    /// An interval that ends before it begins.
    #[error("an interval that ends before it begins")]
    Backwards,
}

/// Events of both arms in the same stretch of time; whole numbers, one for each kind of event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Where it begins; excluded.
    pub from: Timestamp,
    /// Where it ends; included.
    pub to: Timestamp,
    /// The canary's events of each kind.
    pub canary: Vec<f64>,
    /// The baseline's events of each kind.
    pub baseline: Vec<f64>,
    /// Baseline increments that reach over the block's beginning, and over its end.
    pub over_borders: Vec<OverBorder>,
}

/// Baseline increments that a border of the block cuts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverBorder {
    /// All of their events.
    pub counts: Vec<f64>,
    /// The part of them in proportion to time that is not in the block, 0 to 1.
    pub outside: f64,
}

/// Cuts the increments of two arms into blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    kinds: usize,
    start: Timestamp,
    cut_to: Timestamp,
    canary: Pending,
    baseline: Pending,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    increments: VecDeque<Increment>,
    covered_to: Timestamp,
    /// Parts of events, below 1 of each kind, for the next block.
    fractions: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Increment {
    from: Timestamp,
    to: Timestamp,
    counts: Vec<f64>,
    /// The part that earlier blocks took, 0 to 1.
    taken: f64,
}

impl Block {
    /// A block of arms that were scraped together.
    pub fn aligned(from: Timestamp, to: Timestamp, canary: Vec<f64>, baseline: Vec<f64>) -> Self {
        Self { from, to, canary, baseline, over_borders: Vec::new() }
    }

    /// The baseline's count of some events in the block if every disturbance that reached over a border had happened
    /// inside it: never less than the count in proportion to time, so that a bet that falls with it stays valid.
    ///
    /// `count` picks the events out of the counts of all kinds, `rate` is their expected share of all.
    pub fn placed_worst(&self, rate: f64, count: impl Fn(&[f64]) -> f64) -> f64 {
        let total: f64 = self.baseline.iter().sum();
        let disturbance = |over: &OverBorder| {
            let events: f64 = over.counts.iter().sum();
            let usual = events * rate + DISTURBANCE_DEVIATIONS * (events * rate * (1.0 - rate)).sqrt();
            (count(&over.counts) - usual).max(0.0) * over.outside
        };
        (count(&self.baseline) + self.over_borders.iter().map(disturbance).sum::<f64>()).min(total)
    }
}

impl Increment {
    fn share_to(&self, at: Timestamp) -> f64 {
        if at >= self.to {
            return 1.0;
        }
        let length = self.to.since(self.from).as_millis() as f64;
        (at.since(self.from).as_millis() as f64 / length).clamp(0.0, 1.0)
    }
}

impl Pending {
    fn new(kinds: usize, start: Timestamp) -> Self {
        Self { increments: VecDeque::new(), covered_to: start, fractions: vec![0.0; kinds] }
    }

    fn push(&mut self, increment: Increment) {
        if self.increments.len() >= PENDING_INCREMENTS_MAX
            && let Some(oldest) = self.increments.pop_front()
            && let Some(next) = self.increments.front_mut()
        {
            // What blocks have taken of the oldest is gone; what is left of it lies in the union.
            next.from = next.from.min(oldest.from);
            next.to = next.to.max(oldest.to);
            let left = |i: &Increment, k: usize| i.counts[k] * (1.0 - i.taken);
            next.counts = (0..next.counts.len()).map(|k| left(&oldest, k) + left(next, k)).collect();
            next.taken = 0.0;
        }
        self.increments.push_back(increment);
    }

    /// The events up to `to`, whole ones; the rest stays for the next block.
    fn take(&mut self, to: Timestamp) -> Vec<f64> {
        for increment in &mut self.increments {
            let share = increment.share_to(to);
            let now = (share - increment.taken).max(0.0);
            for (sum, count) in self.fractions.iter_mut().zip(&increment.counts) {
                *sum += count * now;
            }
            increment.taken = increment.taken.max(share);
        }
        self.increments.retain(|i| i.taken < 1.0);
        let whole = |sum: &mut f64| {
            // Parts of one increment may add up to a hair less than it.
            let whole = (*sum + 1e-6).floor();
            *sum = (*sum - whole).max(0.0);
            whole
        };
        self.fractions.iter_mut().map(whole).collect()
    }
}

impl Blocks {
    /// For events of this many kinds (good and bad, or buckets), from `start` on.
    pub fn new(kinds: usize, start: Timestamp) -> Self {
        Self { kinds, start, cut_to: start, canary: Pending::new(kinds, start), baseline: Pending::new(kinds, start) }
    }

    /// Takes what an arm's counters rose by in `(from, to]`, one count for each kind. What lies before the start is
    /// left out; what comes late counts in the next block.
    pub fn observe(
        &mut self,
        arm: Arm,
        from: Timestamp,
        to: Timestamp,
        counts: impl Into<Vec<f64>>,
    ) -> Result<(), Refused> {
        let counts = counts.into();
        if counts.len() != self.kinds {
            return Err(Refused::Kinds { expected: self.kinds, found: counts.len() });
        }
        if counts.iter().any(|c| !c.is_finite() || *c < 0.0) {
            return Err(Refused::NotACount);
        }
        if to < from {
            return Err(Refused::Backwards);
        }
        if to <= self.start {
            return Ok(());
        }
        let mut increment = Increment { from, to, counts, taken: 0.0 };
        increment.taken = increment.share_to(self.start);
        self.arm(arm).push(increment);
        Ok(())
    }

    /// Everything an arm did up to `to` has been observed, or will count as late.
    pub fn cover(&mut self, arm: Arm, to: Timestamp) {
        let pending = self.arm(arm);
        pending.covered_to = pending.covered_to.max(to);
    }

    /// Up to where blocks have been cut.
    pub fn cut_to(&self) -> Timestamp {
        self.cut_to
    }

    fn arm(&mut self, arm: Arm) -> &mut Pending {
        match arm {
            Arm::Baseline => &mut self.baseline,
            Arm::Canary => &mut self.canary,
        }
    }

    /// The end of the next block: the first end of a canary increment that both arms have covered; the older watermark
    /// where no canary increment reaches over it.
    fn next_end(&self) -> Option<Timestamp> {
        let both = self.canary.covered_to.min(self.baseline.covered_to);
        let least = self.cut_to + BLOCK_LENGTH_MIN;
        let end = self.canary.increments.iter().map(|i| i.to).filter(|to| *to >= least && *to <= both).min();
        let is_cut = self.canary.increments.iter().any(|i| i.from < both && i.to > both);
        end.or((!is_cut && both >= least).then_some(both))
    }

    /// The next block, as soon as both arms have covered it.
    pub fn next_block(&mut self) -> Option<Block> {
        let (from, to) = (self.cut_to, self.next_end()?);
        // How far the events of the canary may in truth lie outside the block.
        let taking = |i: &&Increment| i.share_to(to) > i.taken;
        let reach_from = self.canary.increments.iter().filter(taking).map(|i| i.from).min().unwrap_or(from).min(from);
        let reach_to = self.canary.increments.iter().filter(taking).map(|i| i.to).max().unwrap_or(to).max(to);
        let mut over_borders: Vec<OverBorder> = Vec::new();
        let concerned = |i: &&Increment| i.from < reach_to && i.to > reach_from;
        for is_over_end in [false, true] {
            let mut counts = vec![0.0; self.kinds];
            let (mut all, mut outside) = (0.0, 0.0);
            let side = |i: &&Increment| if is_over_end { i.to > to } else { i.to <= to && i.from < from };
            for increment in self.baseline.increments.iter().filter(concerned).filter(side) {
                let inside = (increment.share_to(to) - increment.share_to(from)).max(0.0);
                let events: f64 = increment.counts.iter().sum();
                all += events;
                outside += events * (1.0 - inside);
                for (sum, count) in counts.iter_mut().zip(&increment.counts) {
                    *sum += count;
                }
            }
            if all > 0.0 && outside > 0.0 {
                over_borders.push(OverBorder { counts, outside: outside / all });
            }
        }
        let (canary, baseline) = (self.canary.take(to), self.baseline.take(to));
        self.cut_to = to;
        Some(Block { from, to, canary, baseline, over_borders })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn scrape(blocks: &mut Blocks, arm: Arm, from: i64, to: i64, counts: [f64; 2]) -> Vec<Block> {
        blocks.observe(arm, at(from), at(to), counts).unwrap();
        blocks.cover(arm, at(to));
        std::iter::from_fn(|| blocks.next_block()).collect()
    }

    #[test]
    fn a_block_waits_for_both_arms_and_ends_with_a_canary_scrape() {
        let mut blocks = Blocks::new(2, at(0));
        assert_eq!(scrape(&mut blocks, Arm::Baseline, -8, 7, [150.0, 15.0]), []);
        assert_eq!(scrape(&mut blocks, Arm::Canary, 0, 15, [30.0, 3.0]), []);
        let cut = scrape(&mut blocks, Arm::Baseline, 7, 22, [300.0, 0.0]);
        assert_eq!(cut.len(), 1);
        let block = &cut[0];
        assert_eq!((block.from, block.to), (at(0), at(15)));
        // 7 of 15 seconds of the first scrape, 8 of 15 of the second.
        assert_eq!((&block.canary[..], &block.baseline[..]), (&[30.0, 3.0][..], &[230.0, 7.0][..]));
        let outside: Vec<f64> = block.over_borders.iter().map(|o| (o.outside * 15.0).round()).collect();
        assert_eq!(outside, [8.0, 7.0]);
        // Had the 15 errors of the baseline been one burst, the 8 not counted could belong here; 2 of 165 are usual.
        let usual = 165.0 * 0.01 + 2.0 * (165.0_f64 * 0.01 * 0.99).sqrt();
        let worst = block.placed_worst(0.01, |counts| counts[1]);
        assert!((worst - 7.0 - (15.0 - usual) * 8.0 / 15.0).abs() < 1e-12, "{worst}");
    }

    #[test]
    fn arms_scraped_together_have_nothing_over_their_borders() {
        let mut blocks = Blocks::new(2, at(0));
        assert_eq!(scrape(&mut blocks, Arm::Baseline, 0, 15, [9.0, 1.0]), []);
        let cut = scrape(&mut blocks, Arm::Canary, 0, 15, [3.0, 0.0]);
        assert_eq!(cut, [Block::aligned(at(0), at(15), vec![3.0, 0.0], vec![9.0, 1.0])]);
    }

    #[test]
    fn a_silent_canary_still_gets_blocks() {
        let mut blocks = Blocks::new(2, at(0));
        blocks.cover(Arm::Canary, at(30));
        let cut = scrape(&mut blocks, Arm::Baseline, 0, 15, [9.0, 1.0]);
        assert_eq!(cut, [Block::aligned(at(0), at(15), vec![0.0, 0.0], vec![9.0, 1.0])]);
    }

    #[test]
    fn what_is_no_count_is_refused() {
        let mut blocks = Blocks::new(2, at(0));
        assert_eq!(blocks.observe(Arm::Canary, at(0), at(1), [f64::NAN, 1.0]), Err(Refused::NotACount));
        assert_eq!(blocks.observe(Arm::Canary, at(0), at(1), [-1.0, 1.0]), Err(Refused::NotACount));
        assert_eq!(blocks.observe(Arm::Canary, at(1), at(0), [1.0, 1.0]), Err(Refused::Backwards));
        let kinds = Refused::Kinds { expected: 2, found: 1 };
        assert_eq!(blocks.observe(Arm::Canary, at(0), at(1), [1.0]), Err(kinds));
    }

    proptest! {
        /// Nothing is lost or counted twice, whatever the scrape times, once both arms are covered to the end; and
        /// memory is bounded while one arm is silent.
        #[test]
        fn every_event_is_in_one_block(
            canary in prop::collection::vec((1_i64..40, 0_u32..50), 1..40),
            baseline in prop::collection::vec((1_i64..40, 0_u32..500), 1..40),
        ) {
            let mut blocks = Blocks::new(1, at(0));
            let mut sums = [0.0, 0.0];
            let mut add = |blocks: &mut Blocks| while let Some(block) = blocks.next_block() {
                sums[0] += block.canary[0];
                sums[1] += block.baseline[0];
            };
            for (arm, increments) in [(Arm::Canary, &canary), (Arm::Baseline, &baseline)] {
                let mut from = 0;
                for (length, count) in increments {
                    blocks.observe(arm, at(from), at(from + length), [f64::from(*count)]).unwrap();
                    from += length;
                    blocks.cover(arm, at(from));
                    add(&mut blocks);
                }
            }
            for arm in [Arm::Canary, Arm::Baseline] {
                blocks.cover(arm, at(10_000));
            }
            add(&mut blocks);
            let total = |increments: &[(i64, u32)]| increments.iter().map(|(_, n)| f64::from(*n)).sum::<f64>();
            prop_assert_eq!(sums, [total(&canary), total(&baseline)]);
        }
    }

    #[test]
    fn a_dead_arm_does_not_fill_memory() {
        let mut blocks = Blocks::new(1, at(0));
        for i in 0..3 * PENDING_INCREMENTS_MAX as i64 {
            blocks.observe(Arm::Canary, at(i), at(i + 1), [1.0]).unwrap();
            blocks.cover(Arm::Canary, at(i + 1));
        }
        assert!(blocks.canary.increments.len() <= PENDING_INCREMENTS_MAX);
        blocks.cover(Arm::Baseline, at(1 << 20));
        let seen: f64 = std::iter::from_fn(|| blocks.next_block()).map(|b| b.canary[0]).sum();
        assert_eq!(seen, 3.0 * PENDING_INCREMENTS_MAX as f64);
    }
}
