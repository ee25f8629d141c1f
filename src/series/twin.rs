//! One histogram in two forms: a target may expose the same observations as classic buckets and as a native histogram.
//!
//! Events must not be counted twice, and none may be lost when a form is switched on or off. Time is divided between
//! the two: the native form counts from where it is first seen until it ends, the classic one before and after. A
//! moment that the classic form has counted stays with it.

use serde::{Deserialize, Serialize};

use crate::types::{Span, Timestamp};

/// Who counts when, for one label set without `le`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Twin {
    /// The newest moment that the classic form has counted.
    classic_until: Timestamp,
    /// After this, up to and with `native_until`, the native form counts.
    native_from: Timestamp,
    native_until: Timestamp,
    /// Series of either form.
    pub(super) members: u32,
}

impl Twin {
    pub(super) const fn new() -> Self {
        let forever = Timestamp(i64::MAX);
        Self { classic_until: Timestamp::MIN, native_from: forever, native_until: forever, members: 0 }
    }

    /// Whether a classic series' increase up to `at` is to be counted; if so it is taken to be.
    pub(super) fn counts_classic(&mut self, at: Timestamp) -> bool {
        if self.native_from < at && at <= self.native_until {
            return false;
        }
        self.classic_until = self.classic_until.max(at);
        true
    }

    /// The first native histogram, from which on increases are known.
    pub(super) fn native_began(&mut self, at: Timestamp) {
        (self.native_from, self.native_until) = (at, Timestamp(i64::MAX));
    }

    /// Whether what the first native histogram holds is to be counted.
    pub(super) fn counts_native_birth(&mut self, at: Timestamp) -> bool {
        let counts = self.classic_until < at;
        if counts {
            self.native_from = self.native_from.min(at - Span::millis(1));
        }
        counts
    }

    /// Whether the native increase from `previous_at` to `at` is to be counted.
    pub(super) fn counts_native(&mut self, previous_at: Timestamp, at: Timestamp) -> bool {
        self.native_until = Timestamp(i64::MAX);
        let counts = self.classic_until <= previous_at;
        // The classic form goes on up to here, and no further.
        self.native_from = if counts { self.native_from.min(previous_at) } else { self.native_from.max(at) };
        counts
    }

    /// Whether native increases up to `at` were counted, so that a late histogram may correct them.
    pub(super) fn counted_native(&self, at: Timestamp) -> bool {
        self.native_from < at
    }

    /// The native series has ended.
    pub(super) fn native_ended(&mut self, at: Timestamp) {
        self.native_until = self.native_until.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn a_native_form_switched_on_takes_over_after_its_first_scrape() {
        for classic_first in [true, false] {
            let mut twin = Twin::new();
            assert!(twin.counts_classic(at(0)));
            if classic_first {
                assert!(twin.counts_classic(at(15)));
            }
            twin.native_began(at(15));
            assert!(classic_first || twin.counts_classic(at(15)), "the native one has no increase yet");
            assert!(!twin.counts_native_birth(at(15)), "it is all in the classic one");
            assert!(!twin.counts_classic(at(30)));
            assert!(twin.counts_native(at(15), at(30)));
            assert!(!twin.counts_classic(at(30)));
        }
    }

    #[test]
    fn the_moment_that_is_counted_stays_where_it_is() {
        let mut twin = Twin::new();
        assert!(twin.counts_classic(at(30)));
        twin.native_began(at(15));
        assert!(!twin.counts_native(at(15), at(30)), "the classic one came first");
        assert!(twin.counts_classic(at(30)), "its other buckets too");
        assert!(twin.counts_native(at(30), at(45)));
        assert!(!twin.counts_classic(at(45)));
    }

    #[test]
    fn both_born_at_once_count_once() {
        let mut twin = Twin::new();
        twin.native_began(at(15));
        assert!(twin.counts_native_birth(at(15)));
        assert!(!twin.counts_classic(at(15)));
        let mut twin = Twin::new();
        assert!(twin.counts_classic(at(15)));
        twin.native_began(at(15));
        assert!(!twin.counts_native_birth(at(15)));
    }

    #[test]
    fn the_classic_form_comes_back_when_the_native_one_ends() {
        let mut twin = Twin::new();
        twin.native_began(at(0));
        assert!(twin.counts_native(at(0), at(15)));
        twin.native_ended(at(30));
        assert!(!twin.counts_classic(at(15)));
        assert!(twin.counts_classic(at(45)));
        assert!(!twin.counts_native(at(15), at(60)), "what it bridges was counted");
        assert!(twin.counts_classic(at(60)));
        assert!(twin.counts_native(at(60), at(75)));
        assert!(!twin.counts_classic(at(75)));
    }
}
