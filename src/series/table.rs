//! All series that matter to some SLI: identity, counters, targets.
//!
//! A series is found by the hash of its label bytes as they came (the *wire key*); only one not seen lately
//! has its labels decoded and sorted, and meets the other spellings of itself under the hash of the sorted
//! set (the *identity*).

mod histogram;
mod sample;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::series::counter::Counter;
use crate::series::gauge::Gauge;
use crate::series::index::{Cache, Index};
use crate::series::job::Jobs;
use crate::series::native::Native;
use crate::series::target::{Increment, Target};
use crate::series::{SeriesId, Tag};
use crate::types::{Labels, METRIC_NAME, Timestamp};
use crate::wire::{Limits, STALE_NAN_BITS};

use histogram::Twins;

/// The messages of native histograms that are kept for all series together; over it new series are refused.
pub const NATIVE_LIMIT_BYTES: usize = 1 << 30;

/// What ends a series.
const STALE: f64 = f64::from_bits(STALE_NAN_BITS);
/// In the cache of wire keys: a series that no SLI refers to.
const IGNORED: u32 = u32::MAX;

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

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Series {
    /// The two halves of the hash: a `u128` would make the whole struct larger.
    identity: (u64, u64),
    track: Track,
    /// Of a series whose samples are events themselves.
    gauge: Option<Box<Gauge>>,
    tag: Tag,
    /// In place of `tag` for what a native histogram of the same labels counts already.
    beside_native: Tag,
    /// The other form of the same histogram; [`NO_TWIN`] for most.
    twin: u32,
    target: u32,
    /// Index into the target's metrics.
    metric: u32,
    /// When the latest sample arrived.
    seen: Timestamp,
    live: bool,
    used: bool,
}

impl Series {
    /// The time of its newest sample.
    fn newest(&self) -> Option<Timestamp> {
        self.gauge.as_ref().map_or_else(|| self.track.newest(), |gauge| gauge.newest())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Track {
    Counter(Counter),
    Native(Box<Native>),
}

impl Track {
    fn newest(&self) -> Option<Timestamp> {
        match self {
            Self::Counter(counter) => counter.newest(),
            Self::Native(native) => native.newest(),
        }
    }
}

const NO_TWIN: u32 = u32::MAX;

/// A sample on its way from its series to its target.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Timestamp,
    start: Option<Timestamp>,
    /// The series' newest sample before it.
    before: Option<Timestamp>,
    /// The first of its series as far as is known.
    is_first: bool,
    /// When the series is known to have been live.
    live_at: Option<Timestamp>,
}

/// The series table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Not part of the state: whatever is missing is worked out again.
    #[serde(skip)]
    wire: Cache,
    /// From identity to slot; follows from `series`.
    #[serde(skip)]
    identities: Index,
    series: Vec<Series>,
    /// Slots to use again, with the rotation from which on no wire key can stand for their last series.
    free: VecDeque<(u64, u32)>,
    rotation: u64,
    targets: Vec<Target>,
    free_targets: Vec<u32>,
    /// From key to target; follows from `target_keys`.
    #[serde(skip)]
    target_ids: BTreeMap<(Box<str>, Box<str>), u32>,
    target_keys: Vec<(Box<str>, Box<str>)>,
    jobs: Jobs,
    metric_ids: BTreeMap<Box<str>, u32>,
    twins: Twins,
    native_bytes: usize,
    #[serde(skip)]
    limits: Limits,
    /// Changes of a histogram on their way.
    #[serde(skip)]
    changes: Vec<Increment>,
    /// Targets that hold changes, and some that no longer do.
    holding: BTreeSet<u32>,
    #[serde(skip)]
    limit_series: usize,
    sweep_next: usize,
}

impl Series {
    const fn identity(&self) -> u128 {
        (self.identity.0 as u128) << 64 | self.identity.1 as u128
    }

    /// What an increase up to `at` counts for.
    fn tag_at(&self, at: Timestamp, twins: &mut Twins) -> Tag {
        if self.twin == NO_TWIN || twins.counts_classic(self.twin, at) { self.tag } else { self.beside_native }
    }
}

impl Table {
    /// An empty table that tracks at most `limit_series` series, for histograms within these limits.
    pub fn new(limit_series: usize, limits: &Limits) -> Self {
        Self {
            wire: Cache::new(limit_series),
            identities: Index::default(),
            series: Vec::new(),
            free: VecDeque::new(),
            rotation: 0,
            targets: Vec::new(),
            free_targets: Vec::new(),
            target_ids: BTreeMap::new(),
            target_keys: Vec::new(),
            jobs: Jobs::default(),
            metric_ids: BTreeMap::new(),
            twins: Twins::default(),
            native_bytes: 0,
            limits: *limits,
            changes: Vec::new(),
            holding: BTreeSet::new(),
            limit_series,
            sweep_next: 0,
        }
    }

    /// What a wire key stands for.
    pub fn lookup(&mut self, wire_key: u128) -> Lookup {
        match self.wire.get(wire_key) {
            None => Lookup::Unknown,
            Some(IGNORED) => Lookup::Ignored,
            // A series forgotten since is as good as unknown.
            Some(slot) => match self.series.get(slot as usize) {
                Some(series) if series.used => Lookup::Known(SeriesId(slot)),
                _ => Lookup::Unknown,
            },
        }
    }

    /// Remembers that a wire key stands for a series that no SLI refers to.
    pub fn ignore(&mut self, wire_key: u128) {
        self.wire.insert(wire_key, IGNORED);
    }

    /// Finds or adds the series with this identity and makes the wire key an alias of it. The samples of a gauge are
    /// told one by one.
    ///
    /// # Errors
    /// When the series is new and the table is full.
    pub fn register(
        &mut self,
        wire_key: u128,
        identity: u128,
        labels: &Labels,
        tag: Tag,
        is_gauge: bool,
    ) -> Result<SeriesId, RegisterError> {
        let slot = match self.identities.get(identity) {
            Some(slot) => slot,
            None => self.add(identity, labels, Track::Counter(Counter::new()))?,
        };
        let series = &mut self.series[slot as usize];
        (series.tag, series.beside_native) = (tag, tag);
        if is_gauge {
            series.gauge.get_or_insert_default();
        }
        self.wire.insert(wire_key, slot);
        Ok(SeriesId(slot))
    }

    fn add(&mut self, identity: u128, labels: &Labels, track: Track) -> Result<u32, RegisterError> {
        if self.len() >= self.limit_series {
            return Err(RegisterError::Full(self.limit_series));
        }
        let target = self.target_of(labels);
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let next_metric = self.metric_ids.len() as u32;
        let name_id = match self.metric_ids.get(name) {
            Some(&id) => id,
            None => *self.metric_ids.entry(name.into()).or_insert(next_metric),
        };
        let metric = self.targets[target as usize].add_series(name_id);
        let series = Series {
            identity: ((identity >> 64) as u64, identity as u64),
            track,
            gauge: None,
            tag: Tag::NOTHING,
            beside_native: Tag::NOTHING,
            twin: NO_TWIN,
            target,
            metric,
            seen: Timestamp::MIN,
            live: false,
            used: true,
        };
        let slot = if self.free.front().is_some_and(|(from, _)| *from <= self.rotation) {
            let (_, slot) = self.free.pop_front().unwrap_or_default();
            self.series[slot as usize] = series;
            slot
        } else {
            self.series.push(series);
            (self.series.len() - 1) as u32
        };
        self.identities.insert(identity, slot);
        Ok(slot)
    }

    fn target_of(&mut self, labels: &Labels) -> u32 {
        let part = |name: &str| Box::<str>::from(labels.get(name).unwrap_or_default());
        let key = (part("job"), part("instance"));
        if let Some(&id) = self.target_ids.get(&key) {
            return id;
        }
        let id = if let Some(id) = self.free_targets.pop() {
            self.targets[id as usize] = Target::default();
            self.target_keys[id as usize] = key.clone();
            id
        } else {
            self.targets.push(Target::default());
            self.target_keys.push(key.clone());
            (self.targets.len() - 1) as u32
        };
        self.jobs.add_target(&key.0);
        self.target_ids.insert(key, id);
        id
    }

    /// How many series are tracked.
    pub fn len(&self) -> usize {
        self.identities.len()
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
