//! All series that matter to some SLI: identity, counters, targets.
//!
//! A series is found by the hash of its label bytes as they came (the *wire key*); only one not seen lately
//! has its labels decoded and sorted, and meets the other spellings of itself under the hash of the sorted
//! set (the *identity*).

mod histogram;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::series::counter::{Change, Counter, Placed};
use crate::series::index::{Cache, Index};
use crate::series::job::Jobs;
use crate::series::native::Native;
use crate::series::target::{Increment, PreviousScrape, Target};
use crate::series::{IDLE, SeriesId, Tag};
use crate::types::{Labels, METRIC_NAME, Timestamp};
use crate::wire::{Limits, STALE_NAN_BITS};

use histogram::Twins;

/// The messages of native histograms that are kept for all series together; over it new series are refused.
pub const NATIVE_LIMIT_BYTES: usize = 1 << 30;

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

    /// Finds or adds the series with this identity and makes the wire key an alias of it.
    ///
    /// # Errors
    /// When the series is new and the table is full.
    pub fn register(
        &mut self,
        wire_key: u128,
        identity: u128,
        labels: &Labels,
        tag: Tag,
    ) -> Result<SeriesId, RegisterError> {
        let slot = match self.identities.get(identity) {
            Some(slot) => slot,
            None => self.add(identity, labels, Track::Counter(Counter::new()))?,
        };
        let series = &mut self.series[slot as usize];
        (series.tag, series.beside_native) = (tag, tag);
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

    /// Takes one sample; `start` is when it began to count, if the sender says so, and `now` its arrival.
    ///
    /// NaN and infinities are no counts and leave no trace; the stale marker ends the series.
    ///
    /// # Errors
    /// When the series has another value at the same time.
    pub fn sample(
        &mut self,
        id: SeriesId,
        at: Timestamp,
        value: f64,
        start: Option<Timestamp>,
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), SampleError> {
        let series = &mut self.series[id.0 as usize];
        series.seen = now;
        if value.to_bits() == STALE_NAN_BITS {
            self.end(id, at, now, out);
            return Ok(());
        }
        let Track::Counter(counter) = &mut series.track else { return Ok(()) };
        if !value.is_finite() {
            return Ok(());
        }
        let before = counter.newest();
        let (own, other, is_first, live_at) = match counter.place(at, value, start) {
            Placed::Duplicate | Placed::Absorbed => return Ok(()),
            Placed::Conflict => return Err(SampleError::Conflict),
            Placed::First => (Change { at, amount: 0.0 }, None, true, None),
            Placed::Known(change) => (change, None, false, Some(at)),
            Placed::Between(change, next) => (change, Some(next), false, Some(at)),
            Placed::BeforeFirst(next) => (Change { at, amount: 0.0 }, Some(next), true, Some(next.at)),
        };
        let arrival = Arrival { at, start, before, is_first, live_at };
        let was_holding = self.begin(id, arrival, now, out);
        for change in [Some(own), other].into_iter().flatten() {
            let series = &self.series[id.0 as usize];
            let tag = series.tag_at(change.at, &mut self.twins);
            self.targets[series.target as usize].hold(Increment { tag, change }, &mut out.increments);
        }
        self.finish(id, arrival, was_holding, out);
        Ok(())
    }

    /// The series has ended, unless it has a newer sample.
    fn end(&mut self, id: SeriesId, at: Timestamp, now: Timestamp, out: &mut Output) {
        let series = &mut self.series[id.0 as usize];
        let target = &mut self.targets[series.target as usize];
        let before = series.track.newest();
        if series.live && before.is_none_or(|b| b < at) {
            series.live = false;
            out.liveness.push(Liveness { tag: series.tag, live: false });
            if let Track::Native(_) = series.track {
                self.twins.native_ended(series.twin, at);
            }
            target.begin_scrape(at, now, &mut out.increments);
            target.report(at, before, true, &mut out.increments);
        }
    }

    /// A sample has a place in its series: the series is live, and a new scrape may begin. Returns whether its target
    /// held changes before.
    fn begin(&mut self, id: SeriesId, arrival: Arrival, now: Timestamp, out: &mut Output) -> bool {
        let series = &mut self.series[id.0 as usize];
        if arrival.before.is_none_or(|b| b < arrival.at) && !series.live {
            series.live = true;
            out.liveness.push(Liveness { tag: series.tag, live: true });
        }
        let target = &mut self.targets[series.target as usize];
        if target.is_new() {
            self.jobs.watched(&self.target_keys[series.target as usize].0, arrival.at);
        }
        let was_holding = target.is_holding();
        target.begin_scrape(arrival.at, now, &mut out.increments);
        was_holding
    }

    /// The changes of a sample are held or passed on: births are decided, and the scrape may be complete.
    fn finish(&mut self, id: SeriesId, arrival: Arrival, was_holding: bool, out: &mut Output) {
        let series = &self.series[id.0 as usize];
        let (target_id, metric) = (series.target, series.metric);
        let at = arrival.at;
        if arrival.is_first {
            if self.targets[target_id as usize].was_live(metric, at) || self.started_while_watched(target_id, arrival) {
                self.count_birth(id, at, out);
            } else {
                self.targets[target_id as usize].await_neighbour(id, metric, at);
            }
        }
        if let Some(at) = arrival.live_at {
            // A known series of the metric has a sample at this time: first samples at it were births.
            for born in self.targets[target_id as usize].mark_live(metric, at) {
                self.count_birth(born, at, out);
            }
        }
        let target = &mut self.targets[target_id as usize];
        if arrival.before.is_none_or(|b| b < at) {
            target.report(at, arrival.before, false, &mut out.increments);
        }
        if target.is_holding() && !was_holding {
            self.holding.insert(target_id);
        }
    }

    /// Whether a first sample's start timestamp says that all of its value happened while its target, or at least
    /// its job, was being watched.
    fn started_while_watched(&self, target: u32, arrival: Arrival) -> bool {
        let Some(start) = arrival.start.filter(|start| *start <= arrival.at) else { return false };
        match self.targets[target as usize].previous_scrape(arrival.at) {
            PreviousScrape::At(previous) => start > previous,
            PreviousScrape::None => self.jobs.watched_at(&self.target_keys[target as usize].0, start, arrival.at),
            PreviousScrape::Forgotten => false,
        }
    }

    fn count_birth(&mut self, id: SeriesId, at: Timestamp, out: &mut Output) {
        let series = &mut self.series[id.0 as usize];
        let target = &mut self.targets[series.target as usize];
        match &mut series.track {
            Track::Counter(counter) => {
                if let Some(change) = counter.count_birth(at) {
                    let tag = series.tag_at(at, &mut self.twins);
                    target.hold(Increment { tag, change }, &mut out.increments);
                }
            }
            Track::Native(native) => {
                if native.may_be_born(at) && self.twins.counts_native_birth(series.twin, at) {
                    native.count_birth(at, &self.limits, &mut self.changes);
                    self.changes.drain(..).for_each(|change| target.hold(change, &mut out.increments));
                }
            }
        }
    }

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
