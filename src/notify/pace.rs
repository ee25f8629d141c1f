//! When a receiver is tried again: exponential backoff with jitter, and what the receiver itself asks for.

use crate::types::{Span, Timestamp};

/// Delays between attempts: `first`, doubled after each failure up to `limit`; each then shortened by up to half,
/// at random, so that many senders do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Span,
    /// No delay is longer.
    pub limit: Span,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Span::seconds(1), limit: Span::minutes(5) }
    }
}

impl Backoff {
    /// The delay after `failures` failures in a row (at least one). `luck` is from 0 to 1 and picks the jitter.
    pub fn delay(&self, failures: u32, luck: f64) -> Span {
        let doublings = failures.saturating_sub(1).min(62);
        let full = self.first.0.saturating_mul(1_i64 << doublings).min(self.limit.0);
        Span((full as f64 * (1.0 - luck.clamp(0.0, 1.0) / 2.0)) as i64)
    }
}

/// A seeded source of jitter (`SplitMix64`, Steele et al. 2014): the same seed gives the same schedule.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// Any seed will do; different processes should have different ones.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to below 1.
    pub fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A receiver that says it is overloaded is left alone at least this long, unless it says how long.
pub const SLOW_DOWN_AT_LEAST: Span = Span::seconds(10);
/// A receiver cannot ask for more (`Retry-After`).
pub const RETRY_AFTER_LIMIT: Span = Span::minutes(15);

/// Whether a receiver may be tried now. One for each receiver.
#[derive(Clone, Debug)]
pub struct Pace {
    backoff: Backoff,
    jitter: Jitter,
    failures: u32,
    /// Our own patience; lifted when we shut down.
    not_before: Timestamp,
    /// What the receiver asked for; not lifted.
    asked: Timestamp,
}

impl Pace {
    /// A receiver that may be tried at once.
    pub fn new(backoff: Backoff, jitter: Jitter) -> Self {
        Self { backoff, jitter, failures: 0, not_before: Timestamp::MIN, asked: Timestamp::MIN }
    }

    /// No attempt before this.
    pub fn ready_at(&self) -> Timestamp {
        self.not_before.max(self.asked)
    }

    /// The receiver took something.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = Timestamp::MIN;
    }

    /// The receiver failed. `slow_down`: it says it is overloaded. `retry_after`: how long to stay away.
    pub fn failed(&mut self, now: Timestamp, slow_down: bool, retry_after: Option<Span>) {
        self.failures = self.failures.saturating_add(1);
        let delay = self.delay(self.failures);
        match retry_after {
            Some(asked) => {
                self.asked = now + asked.clamp(Span::ZERO, RETRY_AFTER_LIMIT);
                self.not_before = now + delay.min(self.backoff.first);
            }
            None if slow_down => self.not_before = now + delay.max(SLOW_DOWN_AT_LEAST.min(self.backoff.limit)),
            None => self.not_before = now + delay,
        }
    }

    /// A jittered delay after `failures` failures of one thing.
    pub fn delay(&mut self, failures: u32) -> Span {
        let luck = self.jitter.next_unit();
        self.backoff.delay(failures, luck)
    }

    /// Forgets our own patience: the process is about to end, so what is left is tried at once, and then with delays
    /// that begin anew.
    pub fn hurry(&mut self) {
        self.failures = 0;
        self.not_before = Timestamp::MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff { first: Span::seconds(1), limit: Span::seconds(60) };

    fn pace() -> Pace {
        Pace::new(BACKOFF, Jitter::seeded(7))
    }

    #[test]
    fn delays_double_up_to_the_limit() {
        let full: Vec<i64> = [1, 2, 3, 6, 7, 8, 1000].map(|n| BACKOFF.delay(n, 0.0).0).to_vec();
        assert_eq!(full, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(BACKOFF.delay(3, 1.0), Span::seconds(2), "jitter takes at most half");
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let units = |seed| {
            let mut jitter = Jitter::seeded(seed);
            std::array::from_fn::<f64, 4, _>(|_| jitter.next_unit())
        };
        assert_eq!(units(1), units(1));
        assert_ne!(units(1), units(2));
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        let mut pace = pace();
        pace.failed(Timestamp(0), true, Some(Span::seconds(120)));
        assert_eq!(pace.ready_at(), Timestamp(120_000));
        pace.hurry();
        assert_eq!(pace.ready_at(), Timestamp(120_000), "what the receiver asked for stands while we shut down");
        pace.failed(Timestamp(0), true, Some(Span::days(2)));
        assert_eq!(pace.ready_at(), Timestamp(0) + RETRY_AFTER_LIMIT);
    }

    #[test]
    fn overload_without_a_time_slows_down_and_success_resets() {
        let mut pace = pace();
        pace.failed(Timestamp(0), true, None);
        assert_eq!(pace.ready_at(), Timestamp(0) + SLOW_DOWN_AT_LEAST);
        pace.succeeded();
        assert_eq!(pace.ready_at(), Timestamp::MIN);
        pace.failed(Timestamp(0), false, None);
        assert!(pace.ready_at() <= Timestamp(1_000));
    }

    proptest! {
        #[test]
        fn every_delay_is_between_half_and_the_limit(failures in 1_u32..200, seed: u64) {
            let delay = BACKOFF.delay(failures, Jitter::seeded(seed).next_unit());
            prop_assert!(delay.0 >= BACKOFF.first.0 / 2 && delay <= BACKOFF.limit);
        }
    }
}
