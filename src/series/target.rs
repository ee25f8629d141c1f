//! What is known of one scrape target (`job` and `instance`): which of its metrics are live, and whether the
//! scrape at hand has arrived whole.
//!
//! Two questions about a sample can only be answered by looking at its neighbours:
//!
//! - *Birth*: does a new series' first value count from zero? Yes when a known series of the same metric on
//!   the same target has a sample at the same time, in whichever order the two arrive.
//! - *Completeness*: a sender may cut one scrape into several requests. Good, bad and total counters of one
//!   moment must be judged together, or half a scrape looks like an outage. Changes are held until every
//!   series of the previous scrape has reported, a newer scrape begins, or [`SETTLE`] has passed.

use serde::{Deserialize, Serialize};

use crate::series::{SeriesId, Tag, counter::Change};
use crate::types::{Span, Timestamp};

/// How long an incomplete scrape may wait for its rest: a little over the 5 s that Prometheus holds a batch
/// that is not full (`batch_send_deadline`).
pub const SETTLE: Span = Span::seconds(6);

/// Times at which a metric was live that are remembered, for births that arrive after their neighbours.
const LIVE_LIMIT_TIMES: usize = 4;
/// Births that wait for a neighbour, for each target; the oldest gives way and does not count.
const WAITING_LIMIT_BIRTHS: usize = 4_096;
/// A birth waits no longer than this for a neighbour at its time.
const WAIT: Span = Span::minutes(5);

/// Scrapes whose times are remembered, for births that arrive late.
const SCRAPES_LIMIT_TIMES: usize = 4;

/// A change of one series' count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Increment {
    /// What the series is bound to.
    pub tag: Tag,
    /// The target that exposed it.
    pub target: u32,
    /// When, and how much; zero where a sample added nothing.
    pub change: Change,
    /// The sample of a gauge of which `change` is the one event.
    pub reading: Option<Reading>,
}

/// A gauge's sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Whose.
    pub series: SeriesId,
    /// NaN and infinities too; the stale marker where the series ended, which is no event.
    pub value: f64,
}

/// State of one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    metrics: Vec<Metric>,
    waiting: Vec<Birth>,
    scrape: Scrape,
    /// Times of the latest scrapes, the newest last.
    scrapes: [Option<Timestamp>; SCRAPES_LIMIT_TIMES],
    series_count: u32,
}

/// The scrape of a target before some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousScrape {
    /// Its time.
    At(Timestamp),
    /// There was none.
    None,
    /// There may have been one, longer ago than is remembered.
    Forgotten,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Metric {
    name: u32,
    /// A ring of the latest times at which a known series had a sample.
    live: [Timestamp; LIVE_LIMIT_TIMES],
    next: u8,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Birth {
    series: SeriesId,
    metric: u32,
    at: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Scrape {
    at: Timestamp,
    previous_at: Timestamp,
    /// Series that reported in the previous scrape.
    expected: u32,
    /// Of those, the ones that have reported in this one.
    returned: u32,
    /// All that have reported in this one and did not end.
    reported: u32,
    held: Vec<Increment>,
    held_since: Timestamp,
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
        }
    }
}

impl Target {
    /// Counts one series more, of the metric with this name; returns the metric's index in the target.
    pub fn add_series(&mut self, name: u32) -> u32 {
        self.series_count += 1;
        let known = self.metrics.iter().position(|m| m.name == name);
        let index = known.unwrap_or_else(|| {
            self.metrics.push(Metric { name, live: [Timestamp::MIN; LIVE_LIMIT_TIMES], next: 0 });
            self.metrics.len() - 1
        });
        index as u32
    }

    /// Counts one series less; returns how many are left.
    pub fn remove_series(&mut self) -> u32 {
        self.series_count -= 1;
        self.series_count
    }

    /// Whether a known series of `metric` had a sample at `at`, as far as is remembered.
    pub fn was_live(&self, metric: u32, at: Timestamp) -> bool {
        self.metrics[metric as usize].live.contains(&at)
    }

    /// Notes that a known series of `metric` has a sample at `at`; returns the births this decides.
    pub fn mark_live(&mut self, metric: u32, at: Timestamp) -> Vec<SeriesId> {
        let known = &mut self.metrics[metric as usize];
        if known.live.contains(&at) {
            return Vec::new();
        }
        known.live[usize::from(known.next)] = at;
        known.next = (known.next + 1) % LIVE_LIMIT_TIMES as u8;
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let decided = self.waiting.iter().filter(|b| b.metric == metric && b.at == at).map(|b| b.series).collect();
        self.waiting.retain(|b| !(b.metric == metric && b.at == at) && b.at + WAIT >= at);
        decided
    }

    /// Remembers a first sample whose neighbours may still arrive.
    pub fn await_neighbour(&mut self, series: SeriesId, metric: u32, at: Timestamp) {
        if self.waiting.len() == WAITING_LIMIT_BIRTHS {
            self.waiting.remove(0);
        }
        self.waiting.push(Birth { series, metric, at });
    }

    /// Starts the scrape at `at` if it is newer than the one at hand, whose changes go to `out` as they are.
    pub fn begin_scrape(&mut self, at: Timestamp, now: Timestamp, out: &mut Vec<Increment>) {
        if at <= self.scrape.at {
            return;
        }
        self.scrapes.rotate_left(1);
        self.scrapes[SCRAPES_LIMIT_TIMES - 1] = Some(at);
        out.append(&mut self.scrape.held);
        let expected = self.scrape.reported;
        let held = std::mem::take(&mut self.scrape.held);
        self.scrape =
            Scrape { at, previous_at: self.scrape.at, expected, returned: 0, reported: 0, held, held_since: now };
    }

    /// Whether it has had no scrape.
    pub fn is_new(&self) -> bool {
        self.scrape.at == Timestamp::MIN
    }

    /// The scrape before `at`.
    pub fn previous_scrape(&self, at: Timestamp) -> PreviousScrape {
        match self.scrapes.iter().rev().flatten().find(|time| **time < at) {
            Some(previous) => PreviousScrape::At(*previous),
            None if self.scrapes[0].is_none() => PreviousScrape::None,
            None => PreviousScrape::Forgotten,
        }
    }

    /// Holds a change of the scrape at hand, or passes on one of another time or of a complete scrape.
    pub fn hold(&mut self, increment: Increment, out: &mut Vec<Increment>) {
        if increment.change.at == self.scrape.at && !self.is_complete() {
            self.scrape.held.push(increment);
        } else {
            out.push(increment);
        }
    }

    /// Counts one series of the scrape at `at` as arrived; `before` is its previous sample's time. When that
    /// completes the scrape its changes go to `out`.
    pub fn report(&mut self, at: Timestamp, before: Option<Timestamp>, ended: bool, out: &mut Vec<Increment>) {
        let scrape = &mut self.scrape;
        if at != scrape.at {
            return;
        }
        scrape.reported += u32::from(!ended);
        scrape.returned += u32::from(before.is_some_and(|b| b == scrape.previous_at));
        if self.is_complete() {
            out.append(&mut self.scrape.held);
        }
    }

    fn is_complete(&self) -> bool {
        self.scrape.returned >= self.scrape.expected
    }

    /// Whether changes are held.
    pub fn is_holding(&self) -> bool {
        !self.scrape.held.is_empty()
    }

    /// Passes on what is held if it has waited for [`SETTLE`]; whether anything is still held.
    pub fn settle(&mut self, now: Timestamp, out: &mut Vec<Increment>) -> bool {
        if now.since(self.scrape.held_since) >= SETTLE || now < self.scrape.held_since {
            out.append(&mut self.scrape.held);
        }
        self.is_holding()
    }
}
