//! All series that matter to some SLI: which there are, and the shards that hold them.
//!
//! A series is found by the hash of its label bytes as they came (the *wire key*); only one not seen lately
//! has its labels decoded and sorted, and meets the other spellings of itself under the hash of the sorted
//! set (the *identity*).
//!
//! A write is taken in two steps. First the series of all samples are found or added, and the samples put before the
//! shards, in the order in which they came; then the shards run, and what they say is put in that order again. So
//! everything that leaves a table is the same for every number of shards, to the last bit of a sum.

mod run;
mod state;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::series::aside::{Piece as _, Saves};
use crate::series::cache::Cache;
use crate::series::findings::Found;
use crate::series::job::Jobs;
use crate::series::native::Native;
use crate::series::shard::{Refused, Shard};
use crate::series::target::{Increment, Key, Special, Target};
use crate::series::{NativeUse, SeriesId, Tag};
use crate::types::{BorrowedLabels, METRIC_NAME, Timestamp};
use crate::wire::{Changes, Limits};

pub use state::SavedTable;

/// The messages of native histograms that are kept for all series together; over it new series are refused.
pub const NATIVE_LIMIT_BYTES: usize = 1 << 30;
/// Shards at most.
pub const SHARDS_LIMIT_COUNT: usize = 64;

/// What a wire key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A tracked series.
    Known(SeriesId),
    /// A series that no SLI refers to.
    Ignored,
    /// Not seen lately: decode its labels and [`Table::register`] it.
    Unknown,
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SampleError {
    /// The same time with another value.
    #[error("duplicate sample for timestamp")]
    Conflict,
}

/// Why a series was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RegisterError {
    /// As many series are tracked as may be.
    #[error("series limit of {0} reached: new series are refused, known ones go on")]
    Full(usize),
    /// As much is kept of native histograms as may be.
    #[error("limit of {0} bytes of native histograms reached: new series of them are refused, known ones go on")]
    NativeFull(usize),
}

/// A series that begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// What the series is bound to.
    pub tag: Tag,
    /// Whether it has samples from now on.
    pub live: bool,
}

/// What a write led to, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Changes of counts that are ready to be judged.
    pub increments: Vec<Increment>,
    /// Series that began or ended.
    pub liveness: Vec<Liveness>,
}

/// Where a series is, or would be.
enum Home {
    Series(SeriesId),
    /// It is new, and so may be its target.
    Target(Option<u32>),
}

/// The series table.
#[derive(Debug)]
pub struct Table {
    /// Not part of the state: whatever is missing is worked out again. [`SeriesId::NONE`] is a series that no SLI
    /// refers to.
    wire: Cache<SeriesId>,
    /// Where the wire key stands that was asked for or told last.
    wire_place: Found,
    shards: Vec<Shard>,
    /// Follows from the targets.
    target_ids: BTreeMap<Arc<Key>, u32>,
    /// The target whose series was met last, while it is there, and where the labels that name it stand in that series'.
    met_target: Option<(u32, [Option<usize>; 2])>,
    /// The target that was said to be watched last, and since when, while it is there.
    watched: Option<(u32, Timestamp)>,
    /// Follows from the targets.
    series_count: usize,
    /// How many targets there are, free ones included.
    target_count: u32,
    /// Targets to use again, with the rotation from which on no wire key can stand for their last series.
    free_targets: VecDeque<(u64, u32)>,
    rotation: u64,
    /// Shared with the shards while they run.
    jobs: Arc<Jobs>,
    /// Follows from the series.
    native_bytes: usize,
    limits: Limits,
    limit_series: usize,
    /// Where the next sweep begins.
    sweep_next: SeriesId,
    /// Samples that wait for a run.
    queued: u32,
    /// The shard of each of them, where there are several.
    routes: Vec<u8>,
    /// Samples of the last run that were not taken.
    refused: Vec<Refused>,
    saves: Saves,
}

impl Table {
    /// An empty table of one shard that tracks at most `limit_series` series, for histograms within these limits.
    pub fn new(limit_series: usize, limits: &Limits) -> Self {
        Self {
            wire: Cache::new(limit_series.saturating_mul(2)),
            wire_place: Found::UNKNOWN,
            shards: vec![Shard::new(0, 1, limits)],
            target_ids: BTreeMap::new(),
            met_target: None,
            watched: None,
            series_count: 0,
            target_count: 0,
            free_targets: VecDeque::new(),
            rotation: 0,
            jobs: Arc::default(),
            native_bytes: 0,
            limits: *limits,
            limit_series,
            sweep_next: SeriesId { target: 0, index: 0 },
            queued: 0,
            routes: Vec::new(),
            refused: Vec::new(),
            saves: Saves::default(),
        }
    }

    /// The shard of a target, and its place there. Most tables have one shard, and a division takes longer than the rest.
    #[inline]
    fn home(&self, id: u32) -> (usize, usize) {
        let count = self.shards.len() as u32;
        if count == 1 { (0, id as usize) } else { ((id % count) as usize, (id / count) as usize) }
    }

    fn target(&self, id: u32) -> &Target {
        let (shard, place) = self.home(id);
        &self.shards[shard].targets[place]
    }

    /// A target that is to change.
    fn target_mut(&mut self, id: u32) -> &mut Target {
        let (shard, place) = self.home(id);
        let target = &mut self.shards[shard].targets[place];
        target.before_change(self.saves.current());
        target
    }

    /// What a wire key stands for.
    #[inline]
    pub fn lookup(&mut self, wire_key: u128) -> Lookup {
        self.wire_place = Found::UNKNOWN;
        let Some(id) = self.wire.get(wire_key) else { return Lookup::Unknown };
        if id != SeriesId::NONE && !self.target(id.target).has(id.index) {
            // Forgotten, and the place may be another's when the key is looked up again.
            self.wire.remove(wire_key);
            return Lookup::Unknown;
        }
        self.wire_place = Found::at(self.wire.last());
        if id == SeriesId::NONE { Lookup::Ignored } else { Lookup::Known(id) }
    }

    /// Where the wire key stands that was looked up last, if it is known, or that something was found out of since.
    #[inline]
    pub const fn wire_place(&self) -> Found {
        self.wire_place
    }

    fn remember(&mut self, wire_key: u128, id: SeriesId) {
        let is_kept = self.wire.insert(wire_key, id);
        self.wire_place = if is_kept { Found::at(self.wire.last()) } else { Found::UNKNOWN };
    }

    /// Remembers that a wire key stands for a series that no SLI refers to.
    pub fn ignore(&mut self, wire_key: u128) {
        self.remember(wire_key, SeriesId::NONE);
    }

    /// Finds or adds the series with this identity and makes the wire key an alias of it. Its labels differ from those of
    /// the one before in these places. The samples of a gauge are told one by one.
    ///
    /// # Errors
    /// When the series is new and the table is full.
    pub fn register(
        &mut self,
        wire_key: u128,
        identity: u128,
        (labels, changes): (&BorrowedLabels<'_>, Changes),
        tag: Tag,
        is_gauge: bool,
    ) -> Result<SeriesId, RegisterError> {
        let id = match self.find(identity, labels, changes) {
            Home::Series(id) => id,
            Home::Target(target) => self.add(identity, labels, target, None)?,
        };
        let series = self.target_mut(id.target).series_mut(id.index);
        series.bind(tag);
        if is_gauge {
            series.becomes_gauge();
        }
        self.remember(wire_key, id);
        Ok(id)
    }

    /// Finds or adds the series of native histograms with this identity and makes the wire key an alias of it.
    /// `histogram` names it among the histograms of which there may be a classic form.
    ///
    /// # Errors
    /// When the series is new and the table is full.
    pub fn register_native(
        &mut self,
        wire_key: u128,
        identity: u128,
        histogram: u128,
        labels: &BorrowedLabels<'_>,
        uses: NativeUse,
    ) -> Result<SeriesId, RegisterError> {
        let (tag, uses) = (uses.total, Arc::new(uses));
        let id = match self.find(identity, labels, Changes::ALL) {
            Home::Series(id) => {
                if let Some(native) = self.target_mut(id.target).series_mut(id.index).native() {
                    native.uses(uses);
                }
                id
            }
            Home::Target(_) if self.native_bytes >= NATIVE_LIMIT_BYTES => {
                return Err(RegisterError::NativeFull(NATIVE_LIMIT_BYTES));
            }
            Home::Target(target) => {
                let id = self.add(identity, labels, target, Some(Special::Native(Native::new(uses))))?;
                self.target_mut(id.target).is_native_form(id.index, histogram);
                id
            }
        };
        self.target_mut(id.target).series_mut(id.index).bind(tag);
        self.remember(wire_key, id);
        Ok(id)
    }

    /// Says that a series is part of the classic form of `histogram`: what the native form counts is bound to
    /// `beside_native` instead of its own tag.
    pub fn give_way_to_native(&mut self, id: SeriesId, histogram: u128, beside_native: Tag) {
        self.target_mut(id.target).give_way_to_native(id.index, histogram, beside_native);
    }

    /// The series with this identity, or its target, if that is known.
    fn find(&mut self, identity: u128, labels: &BorrowedLabels<'_>, changes: Changes) -> Home {
        let Some(target) = self.find_target(labels, changes) else { return Home::Target(None) };
        let index = self.target(target).find(identity);
        index.map_or(Home::Target(Some(target)), |index| Home::Series(SeriesId { target, index }))
    }

    /// The target of a series with these labels, if it is known.
    fn find_target(&mut self, labels: &BorrowedLabels<'_>, changes: Changes) -> Option<u32> {
        // New series of a target mostly come behind each other.
        let has_changed = |place: &usize| changes.may_be(*place);
        if let Some((met, places)) = &self.met_target
            && !changes.may_be_names()
            && !places.iter().flatten().any(has_changed)
        {
            return Some(*met);
        }
        let known = self.target_ids.get(&Key::of(labels)).copied();
        self.met_target = known.map(|target| (target, Key::places(labels)));
        known
    }

    fn add(
        &mut self,
        identity: u128,
        labels: &BorrowedLabels<'_>,
        target: Option<u32>,
        special: Option<Special>,
    ) -> Result<SeriesId, RegisterError> {
        if self.series_count >= self.limit_series {
            return Err(RegisterError::Full(self.limit_series));
        }
        let target = target.unwrap_or_else(|| self.add_target(labels));
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let rotation = self.rotation;
        let index = self.target_mut(target).add(identity, name, special, rotation);
        self.series_count += 1;
        Ok(SeriesId { target, index })
    }

    fn add_target(&mut self, labels: &BorrowedLabels<'_>) -> u32 {
        let key = Arc::new(Key::of(labels));
        let new = Target::new(Arc::clone(&key), self.saves.current());
        Arc::make_mut(&mut self.jobs).add_target(&key.job);
        let id = if self.free_targets.front().is_some_and(|(from, _)| *from <= self.rotation) {
            let (_, id) = self.free_targets.pop_front().unwrap_or_default();
            self.target_mut(id).replace(new);
            id
        } else {
            let id = self.target_count;
            let (shard, _) = self.home(id);
            self.shards[shard].targets.push(new);
            self.target_count += 1;
            id
        };
        self.target_ids.insert(key, id);
        self.met_target = Some((id, Key::places(labels)));
        id
    }

    /// How many series are tracked.
    pub fn len(&self) -> usize {
        self.series_count
    }

    /// Whether no series is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wire keys are remembered, those of ignored series included.
    pub fn wire_keys(&self) -> usize {
        self.wire.len()
    }
}
