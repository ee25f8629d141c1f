//! The way of the samples through the shards.

use std::sync::Arc;

use super::{Output, Table};
use crate::series::SeriesId;
use crate::series::shard::{Reach, Refused, Workers};
use crate::types::Timestamp;
use crate::wire::Histogram;

/// How far a shard's output has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    item: usize,
    read: Reach,
}

impl Table {
    /// Says that a new series will have a sample at `at`, which leaves a trace: its target is being watched since then
    /// for all samples of the run, whether they come before or after this one.
    pub fn watch_from(&mut self, id: SeriesId, at: Timestamp) {
        // Most often the other series of its first scrape have said so.
        if self.watched == Some((id.target, at)) {
            return;
        }
        let target = self.target(id.target);
        if target.is_new() {
            let key = Arc::clone(&target.key);
            Arc::make_mut(&mut self.jobs).watched(&key.job, at);
            self.watched = Some((id.target, at));
        }
    }

    /// Puts a sample before its shard: of the series in this place of the batch, with its time, its value and when it
    /// began to count, if the sender says so.
    #[inline]
    pub fn queue_sample(&mut self, id: SeriesId, source: u32, at: Timestamp, value: f64, start: Option<Timestamp>) {
        let order = self.route(id);
        self.shards[order.1].queue_sample((order.0, source), id, (at, value), start);
    }

    /// Puts a native histogram, decoded from `message`, before its shard.
    pub fn queue_histogram(&mut self, id: SeriesId, source: u32, histogram: Histogram, message: &[u8]) {
        let order = self.route(id);
        self.shards[order.1].queue_histogram((order.0, source), id, histogram, message);
    }

    /// The place of a sample among all, and its shard.
    #[inline]
    fn route(&mut self, id: SeriesId) -> (u32, usize) {
        let (order, count) = (self.queued, self.shards.len());
        self.queued += 1;
        if count == 1 {
            return (order, 0);
        }
        let shard = id.target as usize % count;
        self.routes.push(shard as u8);
        (order, shard)
    }

    /// Has the shards take the samples that wait, which arrived at `now`.
    ///
    /// # Panics
    /// When the workers lose a shard.
    pub fn run(&mut self, workers: &mut dyn Workers, now: Timestamp, out: &mut Output) {
        self.refused.clear();
        if std::mem::take(&mut self.queued) == 0 {
            return;
        }
        for shard in &mut self.shards {
            shard.step.begin(now, self.saves.current(), Arc::clone(&self.jobs));
        }
        workers.run(&mut self.shards);
        let count = self.shards.len() as u32;
        for (number, shard) in (0..).zip(&mut self.shards) {
            let is_done = (shard.number, shard.count, shard.pending()) == (number, count, 0);
            assert!(is_done, "workers leave every shard in its place, and its work done");
            // Nobody else may hold them when they change.
            shard.step.jobs = None;
        }
        self.merge(out);
        for shard in &mut self.shards {
            for (key, at) in shard.step.watched.drain(..) {
                Arc::make_mut(&mut self.jobs).watched(&key.job, at);
            }
            let native_bytes = self.native_bytes as i64 + std::mem::take(&mut shard.step.native_bytes);
            self.native_bytes = native_bytes as usize;
            self.refused.append(&mut shard.refused);
        }
        self.refused.sort_unstable_by_key(|refused| refused.order);
    }

    /// The samples of the last run that were not taken, in the order in which they came.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Brings together what the shards say, in the order of the samples.
    fn merge(&mut self, out: &mut Output) {
        if let [only] = &mut self.shards[..] {
            out.increments.append(&mut only.step.out.increments);
            out.liveness.append(&mut only.step.out.liveness);
            return;
        }
        let mut cursors = vec![Cursor::default(); self.shards.len()];
        for shard in self.routes.drain(..) {
            let (cursor, shard) = (&mut cursors[usize::from(shard)], &self.shards[usize::from(shard)]);
            let (from, to) = (cursor.read, shard.reached[cursor.item]);
            out.increments.extend_from_slice(&shard.step.out.increments[from.increments..to.increments]);
            out.liveness.extend_from_slice(&shard.step.out.liveness[from.liveness..to.liveness]);
            *cursor = Cursor { item: cursor.item + 1, read: to };
        }
        for shard in &mut self.shards {
            shard.reached.clear();
            shard.step.out.increments.clear();
            shard.step.out.liveness.clear();
        }
    }
}
