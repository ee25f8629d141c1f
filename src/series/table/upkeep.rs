//! What becomes of the table with time: scrapes that settle, series that are forgotten, restarts and reloads.

use std::collections::BTreeSet;

use super::{Liveness, Output, Table, Track};
use crate::series::counter::Counter;
use crate::series::index::Cache;
use crate::series::target::Increment;
use crate::series::{IDLE, Tag};
use crate::types::Timestamp;
use crate::wire::Limits;

impl Table {
    /// Passes on what incomplete scrapes have held for too long.
    pub fn settle(&mut self, now: Timestamp, out: &mut Vec<Increment>) {
        let targets = &mut self.targets;
        self.holding.retain(|&id| targets[id as usize].settle(now, out));
    }

    /// Forgets the series among the next `count` of the table whose last sample arrived over [`IDLE`] ago;
    /// those that were live are reported as ended.
    pub fn sweep(&mut self, now: Timestamp, count: usize, out: &mut Output) {
        for _ in 0..count.min(self.series.len()) {
            self.sweep_next = (self.sweep_next + 1) % self.series.len();
            let slot = self.sweep_next;
            let series = &mut self.series[slot];
            if !series.used || now.since(series.seen) < IDLE {
                continue;
            }
            if std::mem::take(&mut series.live) {
                out.liveness.push(Liveness { tag: series.tag, live: false });
            }
            series.used = false;
            let (identity, target) = (series.identity(), series.target);
            if let Track::Native(native) = std::mem::replace(&mut series.track, Track::Counter(Counter::new())) {
                self.native_bytes -= native.message_bytes();
                self.twins.native_ended(series.twin, Timestamp::MIN);
            }
            self.twins.leave(series.twin);
            self.identities.remove(identity);
            self.free.push_back((self.rotation + 2, slot as u32));
            self.release_target(target, out);
        }
    }

    fn release_target(&mut self, id: u32, out: &mut Output) {
        let target = &mut self.targets[id as usize];
        if target.remove_series() == 0 {
            target.settle(Timestamp(i64::MAX), &mut out.increments);
            self.holding.remove(&id);
            let key = &self.target_keys[id as usize];
            self.jobs.remove_target(&key.0);
            self.target_ids.remove(key);
            self.free_targets.push(id);
        }
    }

    /// Forgets wire keys that were not used since the last call: their series decode once more when they
    /// come back.
    pub fn rotate_wire_keys(&mut self) {
        self.wire.rotate();
        self.rotation += 1;
    }

    /// Whether a scrape waits for its rest.
    pub fn is_holding(&self) -> bool {
        !self.holding.is_empty()
    }

    /// Binds every series to nothing and forgets every wire key, so that each series is registered anew with its
    /// next sample, and begins anew for whatever it is bound to then.
    pub fn unbind(&mut self) {
        for series in &mut self.series {
            (series.tag, series.beside_native) = (Tag::NOTHING, Tag::NOTHING);
            if let Track::Native(native) = &mut series.track {
                native.unbind();
            }
            series.live = false;
        }
        self.wire = Cache::new(self.limit_series);
    }

    /// Makes a table that was stored whole again: the indices that follow from the rest.
    #[must_use]
    pub fn rebuilt(mut self, limit_series: usize, limits: &Limits) -> Self {
        (self.limit_series, self.limits) = (limit_series, *limits);
        self.twins.rebuild();
        self.wire = Cache::new(limit_series);
        for (slot, series) in self.series.iter().enumerate().filter(|(_, series)| series.used) {
            self.identities.insert(series.identity(), slot as u32);
        }
        let free: BTreeSet<u32> = self.free_targets.iter().copied().collect();
        let keys = (0..).zip(&self.target_keys).filter(|(id, _)| !free.contains(id));
        self.target_ids = keys.map(|(id, key)| (key.clone(), id)).collect();
        self
    }
}
