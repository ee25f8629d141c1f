//! What becomes of the table with time: scrapes that settle, series that are forgotten, reloads.

use std::sync::Arc;

use super::{Output, Table};
use crate::series::cache::Cache;
use crate::series::target::Target;
use crate::series::{IDLE, SeriesId, Tag};
use crate::types::Timestamp;

/// Rotations after which no wire key stands for a series that is not there any more.
const REUSE_AFTER_ROTATIONS: u64 = Cache::<SeriesId>::LIFE_ROTATIONS;

impl Table {
    /// Passes on what incomplete scrapes have held for too long, by the targets' numbers.
    pub fn settle(&mut self, now: Timestamp, out: &mut Output) {
        let mut holding: Vec<u32> = self.shards.iter_mut().flat_map(|shard| shard.holding.drain(..)).collect();
        holding.sort_unstable();
        holding.dedup();
        for id in holding {
            let target = self.target_mut(id);
            target.settle(now, out);
            if target.is_holding() {
                self.holds(id);
            }
        }
    }

    pub(super) fn holds(&mut self, target: u32) {
        let (shard, _) = self.home(target);
        self.shards[shard].holding.push(target);
    }

    /// Forgets the series among the next `count` of the table whose last sample arrived over [`IDLE`] ago;
    /// those that were live are reported as ended.
    pub fn sweep(&mut self, now: Timestamp, count: usize, out: &mut Output) {
        let mut left = count;
        // Each target once at most, and the first one's beginning at the end.
        for _ in 0..=self.target_count {
            if left == 0 || self.target_count == 0 {
                break;
            }
            if self.sweep_next.target >= self.target_count {
                self.sweep_next = SeriesId { target: 0, index: 0 };
            }
            let SeriesId { target, index } = self.sweep_next;
            let places = self.target(target).places();
            let until = places.min(index as usize + left) as u32;
            for index in index..until {
                self.forget(SeriesId { target, index }, now, out);
            }
            left -= until.saturating_sub(index) as usize;
            let is_done = until as usize == places;
            self.sweep_next =
                if is_done { SeriesId { target: target + 1, index: 0 } } else { SeriesId { target, index: until } };
            self.release_target(target, out);
        }
    }

    fn forget(&mut self, id: SeriesId, now: Timestamp, out: &mut Output) {
        if self.target(id.target).is_idle(id.index, now - IDLE) {
            let from = self.rotation + REUSE_AFTER_ROTATIONS;
            self.native_bytes -= self.target_mut(id.target).forget(id.index, from, &mut out.liveness);
            self.series_count -= 1;
        }
    }

    /// Forgets a target that has lost its last series.
    fn release_target(&mut self, id: u32, out: &mut Output) {
        let target = self.target(id);
        if target.is_used() || target.places() == 0 {
            return;
        }
        let from = self.rotation + REUSE_AFTER_ROTATIONS;
        let mut target = self.target_mut(id).replace(Target::default());
        target.settle(Timestamp(i64::MAX), out);
        Arc::make_mut(&mut self.jobs).remove_target(&target.key.job);
        self.target_ids.remove(&target.key);
        (self.met_target, self.watched) = (None, None);
        self.free_targets.push_back((from, id));
    }

    /// Forgets wire keys, a part of them in each call, that were not used since their part's last turn: their series
    /// decode once more when they come back.
    pub fn rotate_wire_keys(&mut self) {
        self.wire.rotate();
        self.rotation += 1;
    }

    /// Whether a scrape waits for its rest.
    pub fn is_holding(&self) -> bool {
        self.shards.iter().any(|shard| !shard.holding.is_empty())
    }

    /// Tells every tag that something here refers to, as often as it does.
    pub fn each_tag(&self, mut tell: impl FnMut(Tag)) {
        self.shards.iter().flat_map(|shard| &shard.targets).for_each(|target| target.each_tag(&mut tell));
    }

    /// Binds every series to nothing and forgets every wire key, so that each series is registered anew with its
    /// next sample, and begins anew for whatever it is bound to then. A save in progress is given up.
    pub fn unbind(&mut self) {
        self.saves.end();
        self.shards.iter_mut().flat_map(|shard| &mut shard.targets).for_each(Target::unbind);
        self.wire = Cache::new(self.limit_series.saturating_mul(2));
    }
}
