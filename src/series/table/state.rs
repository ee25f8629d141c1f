//! The table as it is stored, and dealt out: the same for every number of shards, and good for any.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{SHARDS_LIMIT_COUNT, Table};
use crate::series::SeriesId;
use crate::series::aside::{Piece, Save};
use crate::series::job::Jobs;
use crate::series::shard::Shard;
use crate::series::target::Target;
use crate::wire::Limits;

/// What a table cannot work out again, but for its targets: borrowed when written and owned when read.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedTable<'a> {
    free_targets: Cow<'a, VecDeque<(u64, u32)>>,
    rotation: u64,
    jobs: Cow<'a, Jobs>,
    sweep_next: SeriesId,
}

impl Table {
    /// What has to be kept to go on later, beside the targets.
    pub fn saved(&self) -> SavedTable<'_> {
        SavedTable {
            free_targets: Cow::Borrowed(&self.free_targets),
            rotation: self.rotation,
            jobs: Cow::Borrowed(&self.jobs),
            sweep_next: self.sweep_next,
        }
    }

    /// How many targets there are to save, numbered from 0.
    pub fn targets(&self) -> u32 {
        self.target_count
    }

    /// A target, to be saved as it is.
    pub fn piece(&self, id: u32) -> &impl Piece {
        self.target(id)
    }

    /// From here on targets put aside what they are before they change.
    pub fn begin_save(&mut self) {
        self.saves.begin();
    }

    /// Targets change as they like again.
    pub fn end_save(&mut self) {
        self.saves.end();
    }

    /// The save in progress.
    pub fn current_save(&self) -> Save {
        self.saves.current()
    }

    /// A target, to be saved as it was when the save began.
    pub fn piece_mut(&mut self, id: u32) -> &mut impl Piece {
        let (shard, place) = self.home(id);
        &mut self.shards[shard].targets[place]
    }

    /// A table of one shard that goes on from what was kept; its targets follow.
    #[must_use]
    pub fn restored(saved: SavedTable<'_>, limit_series: usize, limits: &Limits) -> Self {
        Self {
            free_targets: saved.free_targets.into_owned(),
            rotation: saved.rotation,
            jobs: Arc::new(saved.jobs.into_owned()),
            sweep_next: saved.sweep_next,
            ..Self::new(limit_series, limits)
        }
    }

    /// The next target of a table that is being restored.
    pub fn restore_target(&mut self, mut target: Target) {
        let id = self.target_count;
        self.native_bytes += target.rebuild();
        if target.is_used() {
            self.target_ids.insert(Arc::clone(&target.key), id);
        }
        self.series_count += target.len();
        self.target_count += 1;
        let (is_holding, (shard, _)) = (target.is_holding(), self.home(id));
        self.shards[shard].targets.push(target);
        if is_holding {
            self.holds(id);
        }
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
