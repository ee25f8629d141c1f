//! The table as it is stored, and dealt out: the same for every number of shards, and good for any.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{SHARDS_LIMIT_COUNT, Table};
use crate::series::SeriesId;
use crate::series::job::Jobs;
use crate::series::shard::Shard;
use crate::series::target::Target;
use crate::wire::Limits;

/// What a table cannot work out again: targets by their numbers, borrowed when written and owned when read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<'a> {
    targets: Vec<Cow<'a, Target>>,
    free_targets: Cow<'a, VecDeque<(u64, u32)>>,
    rotation: u64,
    jobs: Cow<'a, Jobs>,
    sweep_next: SeriesId,
}

impl Table {
    /// What has to be kept to go on later.
    pub fn saved(&self) -> Saved<'_> {
        Saved {
            targets: (0..self.target_count).map(|id| Cow::Borrowed(self.target(id))).collect(),
            free_targets: Cow::Borrowed(&self.free_targets),
            rotation: self.rotation,
            jobs: Cow::Borrowed(&self.jobs),
            sweep_next: self.sweep_next,
        }
    }

    /// A table of one shard that goes on from what was kept.
    #[must_use]
    pub fn restored(saved: Saved<'_>, limit_series: usize, limits: &Limits) -> Self {
        let mut table = Self {
            free_targets: saved.free_targets.into_owned(),
            rotation: saved.rotation,
            jobs: Arc::new(saved.jobs.into_owned()),
            sweep_next: saved.sweep_next,
            ..Self::new(limit_series, limits)
        };
        for (id, target) in (0..).zip(saved.targets) {
            let mut target = target.into_owned();
            table.native_bytes += target.rebuild();
            if target.is_used() {
                table.target_ids.insert(Arc::clone(&target.key), id);
            }
            table.series_count += target.len();
            table.target_count += 1;
            let is_holding = target.is_holding();
            table.shards[0].targets.push(target);
            if is_holding {
                table.holds(id);
            }
        }
        table
    }

    /// Deals the targets out anew, to this many shards: at least one, at most [`SHARDS_LIMIT_COUNT`].
    pub fn spread(&mut self, shards: usize) {
        let count = shards.clamp(1, SHARDS_LIMIT_COUNT);
        let new = (0..count).map(|number| Shard::new(number as u32, count as u32, &self.limits)).collect();
        let old = std::mem::replace(&mut self.shards, new);
        let holding: Vec<u32> = old.iter().flat_map(|shard| shard.holding.iter().copied()).collect();
        let mut old: Vec<_> = old.into_iter().map(|shard| shard.targets.into_iter()).collect();
        for id in 0..self.target_count as usize {
            let from = id % old.len();
            self.shards[id % count].targets.extend(old[from].next());
        }
        for id in holding {
            self.holds(id);
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }
}
