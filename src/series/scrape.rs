//! Whether the scrape of a target that is at hand has arrived whole.
//!
//! A sender may cut one scrape into several requests. Good, bad and total counters of one moment must be judged
//! together, or half a scrape looks like an outage. Changes are held until every series of the previous scrape has
//! reported, a newer scrape begins, or [`SETTLE`] has passed.

use serde::{Deserialize, Serialize};

use crate::series::{Change, Increment, Tag};
use crate::types::{Span, Timestamp};

/// How long an incomplete scrape may wait for its rest: a little over the 5 s that Prometheus holds a batch
/// that is not full (`batch_send_deadline`).
pub const SETTLE: Span = Span::seconds(6);

/// Scrapes whose times are remembered, for births that arrive late.
const SCRAPES_LIMIT_TIMES: usize = 4;
/// So many of the changes held last are looked at for one that counts for the same: the buckets of a histogram.
const ALIKE_LIMIT_COUNT: usize = 16;

/// The scrape of a target before some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreviousScrape {
    /// Its time.
    At(Timestamp),
    /// There was none.
    None,
    /// There may have been one, longer ago than is remembered.
    Forgotten,
}

/// The scrape at hand, and when the latest ones were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scrape {
    at: Timestamp,
    previous_at: Timestamp,
    /// Series that reported in the previous scrape.
    expected: u32,
    /// Of those, the ones that have reported in this one.
    returned: u32,
    /// All that have reported in this one and did not end.
    reported: u32,
    /// Without memory of its own between scrapes: there are many targets, and few in the midst of a scrape.
    held: Vec<Increment>,
    held_since: Timestamp,
    /// Times of the latest scrapes, the newest last.
    times: [Option<Timestamp>; SCRAPES_LIMIT_TIMES],
}

impl Default for Scrape {
    fn default() -> Self {
        Self {
            at: Timestamp::MIN,
            previous_at: Timestamp::MIN,
            expected: 0,
            returned: 0,
            reported: 0,
            held: Vec::new(),
            held_since: Timestamp::MIN,
            times: [None; SCRAPES_LIMIT_TIMES],
        }
    }
}

impl Scrape {
    /// Starts the scrape at `at` if it is newer than the one at hand, whose changes go to `out` as they are.
    #[inline]
    pub(super) fn begin(&mut self, at: Timestamp, now: Timestamp, out: &mut Vec<Increment>) {
        if at > self.at {
            self.begin_newer(at, now, out);
        }
    }

    #[inline(never)]
    fn begin_newer(&mut self, at: Timestamp, now: Timestamp, out: &mut Vec<Increment>) {
        self.times.rotate_left(1);
        self.times[SCRAPES_LIMIT_TIMES - 1] = Some(at);
        self.release(out);
        (self.previous_at, self.at, self.held_since) = (self.at, at, now);
        (self.expected, self.returned, self.reported) = (self.reported, 0, 0);
    }

    /// Whether there was none yet.
    pub(super) fn is_first(&self) -> bool {
        self.at == Timestamp::MIN
    }

    /// The scrape before `at`.
    pub(super) fn previous(&self, at: Timestamp) -> PreviousScrape {
        match self.times.iter().rev().flatten().find(|time| **time < at) {
            Some(previous) => PreviousScrape::At(*previous),
            None if self.times[0].is_none() => PreviousScrape::None,
            None => PreviousScrape::Forgotten,
        }
    }

    /// Holds a change of the scrape at hand, or passes on one of another time or of a complete scrape. Changes of the
    /// same stretch of time that count for the same become one.
    #[inline]
    pub(super) fn hold(&mut self, increment: Increment, out: &mut Vec<Increment>) {
        if increment.tag == Tag::NOTHING {
            return;
        }
        if increment.change.at != self.at || self.is_complete() {
            out.push(increment);
            return;
        }
        let Change { at, since, amount } = increment.change;
        let first = self.held.len().saturating_sub(ALIKE_LIMIT_COUNT);
        let alike = |held: &&mut Increment| {
            held.tag == increment.tag && held.change.since == since && held.change.at == at && held.reading.is_none()
        };
        match self.held[first..].iter_mut().rev().find(alike) {
            Some(held) if increment.reading.is_none() => held.change.amount += amount,
            _ => self.held.push(increment),
        }
    }

    /// Counts one series of the scrape at `at` as arrived; `before` is its previous sample's time. When that
    /// completes the scrape its changes go to `out`.
    #[inline]
    pub(super) fn report(&mut self, at: Timestamp, before: Option<Timestamp>, ended: bool, out: &mut Vec<Increment>) {
        if at != self.at {
            return;
        }
        self.reported += u32::from(!ended);
        self.returned += u32::from(before.is_some_and(|b| b == self.previous_at));
        if self.is_complete() {
            self.release(out);
        }
    }

    #[inline]
    fn is_complete(&self) -> bool {
        self.returned >= self.expected
    }

    #[inline]
    fn release(&mut self, out: &mut Vec<Increment>) {
        if !self.held.is_empty() {
            out.append(&mut std::mem::take(&mut self.held));
        }
    }

    /// The changes that are held.
    pub(super) fn held(&self) -> &[Increment] {
        &self.held
    }

    /// Whether changes are held.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Passes on what is held if it has waited for [`SETTLE`].
    pub(super) fn settle(&mut self, now: Timestamp, out: &mut Vec<Increment>) {
        if now.since(self.held_since) >= SETTLE || now < self.held_since {
            self.release(out);
        }
    }
}
