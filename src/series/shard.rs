//! A part of the targets, and what it has to do: samples in the order in which they came.
//!
//! A shard knows nothing of the others, so that they can work at the same time; [`Table`](super::Table) puts what they
//! say in the order of the samples again. It can be sent to another thread and back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::series::aside::{Piece as _, Save};
use crate::series::job::Jobs;
use crate::series::target::{Increment, Key, Target};
use crate::series::{Output, SampleError, SeriesId};
use crate::types::Timestamp;
use crate::wire::{Histogram, Limits};

/// Where the shards do their work.
///
/// What comes of it does not depend on it: neither on the order nor on what happens at the same time.
pub trait Workers: fmt::Debug + Send {
    /// Has every shard [`run`](Shard::run) once and leaves it in its place.
    fn run(&mut self, shards: &mut [Shard]);
}

/// One shard after the other, where it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Workers for Inline {
    fn run(&mut self, shards: &mut [Shard]) {
        shards.iter_mut().for_each(Shard::run);
    }
}

/// What the samples of one run have in common, and what comes of them.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Their arrival.
    pub(super) now: Timestamp,
    /// The same in whole seconds since the Unix epoch, from 0 up to the year 2106.
    pub(super) seen: u32,
    /// The one in progress.
    pub(super) save: Save,
    pub(super) limits: Limits,
    /// As they were before the run; `None` between runs.
    pub(super) jobs: Option<Arc<Jobs>>,
    pub(super) out: Output,
    /// Changes of a histogram on their way.
    pub(super) changes: Vec<Increment>,
    /// Targets that were first scraped, and when.
    pub(super) watched: Vec<(Arc<Key>, Timestamp)>,
    /// How many more bytes of native histograms are kept.
    pub(super) native_bytes: i64,
}

impl Step {
    /// Begins a run of samples that arrived at `now`.
    pub(super) fn begin(&mut self, now: Timestamp, save: Save, jobs: Arc<Jobs>) {
        let seen = (now.as_millis().max(0) / 1_000).try_into().unwrap_or(u32::MAX);
        (self.now, self.seen, self.save, self.jobs) = (now, seen, save, Some(jobs));
    }

    /// A target has its first scrape.
    pub(super) fn watch(&mut self, key: &Arc<Key>, at: Timestamp) {
        self.watched.push((Arc::clone(key), at));
    }

    /// Whether a target that began at `start` and was first scraped at `at` is a new one of a job that was already
    /// being watched.
    pub(super) fn was_watched(&self, key: &Key, start: Timestamp, at: Timestamp) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.watched_at(&key.job, start, at))
    }
}

/// A sample to take. What few samples have is elsewhere, so that the others need little room.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Place among the samples of all shards.
    order: u32,
    /// Place of its series in the batch.
    source: u32,
    id: SeriesId,
    at: Timestamp,
    value: f64,
}

/// A histogram to take.
type Message = Box<(Histogram, Box<[u8]>)>;

/// A sample that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Place of its series in the batch.
    pub source: u32,
    /// It is a native histogram: its series is among those.
    pub is_histogram: bool,
    /// Its time.
    pub at: Timestamp,
    /// Why.
    pub error: SampleError,
    /// Place of the sample among all that were to be taken.
    pub(super) order: u32,
}

/// How far the shard's output reached after an item.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    pub(super) increments: usize,
    pub(super) liveness: usize,
}

/// Some of the targets.
#[derive(Debug, Default)]
pub struct Shard {
    /// Its place among the shards, and how many there are.
    pub(super) number: u32,
    pub(super) count: u32,
    /// Of the target `id`, `id / count` is the place and `id % count` the shard's number.
    pub(super) targets: Vec<Target>,
    /// Targets that began to hold changes: all that do, and some that no longer do.
    pub(super) holding: Vec<u32>,
    items: Vec<Item>,
    /// By item, when it began to count; no longer than the last item of which that is said.
    starts: Vec<Option<Timestamp>>,
    /// The items that are native histograms, in order.
    histograms: VecDeque<(usize, Message)>,
    /// By item; only kept when there are other shards.
    pub(super) reached: Vec<Reach>,
    pub(super) refused: Vec<Refused>,
    pub(super) step: Step,
}

impl Shard {
    pub(super) fn new(number: u32, count: u32, limits: &Limits) -> Self {
        Self { number, count, step: Step { limits: *limits, ..Step::default() }, ..Self::default() }
    }

    /// Samples that wait for [`Self::run`].
    pub fn pending(&self) -> usize {
        self.items.len()
    }

    #[inline]
    pub(super) fn queue_sample(
        &mut self,
        (order, source): (u32, u32),
        id: SeriesId,
        (at, value): (Timestamp, f64),
        start: Option<Timestamp>,
    ) {
        if start.is_some() {
            self.starts.resize(self.items.len(), None);
            self.starts.push(start);
        }
        self.items.push(Item { order, source, id, at, value });
    }

    pub(super) fn queue_histogram(
        &mut self,
        (order, source): (u32, u32),
        id: SeriesId,
        histogram: Histogram,
        message: &[u8],
    ) {
        let at = histogram.timestamp;
        self.histograms.push_back((self.items.len(), Box::new((histogram, message.into()))));
        self.items.push(Item { order, source, id, at, value: 0.0 });
    }

    /// Takes the samples that wait.
    pub fn run(&mut self) {
        let items = std::mem::take(&mut self.items);
        // Most requests have neither.
        let is_plain = self.starts.is_empty() && self.histograms.is_empty();
        for (number, &Item { order, source, id, at, value }) in items.iter().enumerate() {
            let place = if self.count == 1 { id.target } else { id.target / self.count };
            let target = &mut self.targets[place as usize];
            target.before_change(self.step.save);
            let was_holding = target.is_holding();
            let histogram = if is_plain { None } else { self.histograms.pop_front_if(|(of, _)| *of == number) };
            let is_histogram = histogram.is_some();
            let taken = if let Some((_, message)) = histogram {
                let (histogram, bytes) = *message;
                target.histogram(id, &histogram, &bytes, &mut self.step)
            } else {
                let start = if is_plain { None } else { self.starts.get(number).copied().flatten() };
                target.sample(id, at, value, start, &mut self.step)
            };
            if target.is_holding() && !was_holding {
                self.holding.push(id.target);
            }
            if let Err(error) = taken {
                self.refused.push(Refused { source, is_histogram, at, error, order });
            }
            if self.count > 1 {
                let out = &self.step.out;
                self.reached.push(Reach { increments: out.increments.len(), liveness: out.liveness.len() });
            }
        }
        self.items = items;
        self.items.clear();
        self.starts.clear();
    }
}
