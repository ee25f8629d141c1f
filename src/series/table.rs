//! All series that matter to some SLI: identity, counters, targets.
//!
//! A series is found by the hash of its label bytes as they came (the *wire key*); only one not seen lately
//! has its labels decoded and sorted, and meets the other spellings of itself under the hash of the sorted
//! set (the *identity*).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::series::counter::{Change, Counter, Placed};
use crate::series::index::{Cache, Index};
use crate::series::target::{Increment, Target};
use crate::series::{IDLE, SeriesId, Tag};
use crate::types::{Labels, METRIC_NAME, Timestamp};

/// The value that ends a series: Prometheus' `value.StaleNaN`, compared bitwise.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

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
    identity: u128,
    counter: Counter,
    tag: Tag,
    target: u32,
    /// Index into the target's metrics.
    metric: u32,
    /// When the latest sample arrived.
    seen: Timestamp,
    live: bool,
    used: bool,
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
    metric_ids: BTreeMap<Box<str>, u32>,
    /// Targets that hold changes, and some that no longer do.
    holding: BTreeSet<u32>,
    #[serde(skip)]
    limit_series: usize,
    sweep_next: usize,
}

impl Table {
    /// An empty table that tracks at most `limit_series` series.
    pub fn new(limit_series: usize) -> Self {
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
            metric_ids: BTreeMap::new(),
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
            None => self.add(identity, labels)?,
        };
        self.series[slot as usize].tag = tag;
        self.wire.insert(wire_key, slot);
        Ok(SeriesId(slot))
    }

    fn add(&mut self, identity: u128, labels: &Labels) -> Result<u32, RegisterError> {
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
            identity,
            counter: Counter::new(),
            tag: Tag::NOTHING,
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
        self.target_ids.insert(key, id);
        id
    }

    /// Takes one sample; `now` is its arrival.
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
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), SampleError> {
        let series = &mut self.series[id.0 as usize];
        let target = &mut self.targets[series.target as usize];
        let before = series.counter.newest();
        series.seen = now;
        if value.to_bits() == STALE_NAN_BITS {
            if series.live && before.is_none_or(|b| b < at) {
                series.live = false;
                out.liveness.push(Liveness { tag: series.tag, live: false });
                target.begin_scrape(at, now, &mut out.increments);
                target.report(at, before, true, &mut out.increments);
            }
            return Ok(());
        }
        if !value.is_finite() {
            return Ok(());
        }
        let placed = series.counter.place(at, value);
        let (tag, metric, target_id) = (series.tag, series.metric, series.target);
        let newest = before.is_none_or(|b| b < at);
        if newest && !series.live {
            series.live = true;
            out.liveness.push(Liveness { tag, live: true });
        }
        let was_holding = target.is_holding();
        target.begin_scrape(at, now, &mut out.increments);
        let (own, other, is_first, live_at) = match placed {
            Placed::Duplicate | Placed::Absorbed => return Ok(()),
            Placed::Conflict => return Err(SampleError::Conflict),
            Placed::First => (Change { at, amount: 0.0 }, None, true, None),
            Placed::Known(change) => (change, None, false, Some(at)),
            Placed::Between(change, next) => (change, Some(next), false, Some(at)),
            Placed::BeforeFirst(next) => (Change { at, amount: 0.0 }, Some(next), true, Some(next.at)),
        };
        for change in [Some(own), other].into_iter().flatten() {
            target.hold(Increment { tag, change }, &mut out.increments);
        }
        if is_first {
            if target.was_live(metric, at) {
                if let Some(change) = series.counter.count_birth(at) {
                    target.hold(Increment { tag, change }, &mut out.increments);
                }
            } else {
                target.await_neighbour(id, metric, at);
            }
        }
        if let Some(at) = live_at {
            self.decide_births(target_id, metric, at, out);
        }
        let target = &mut self.targets[target_id as usize];
        if newest {
            target.report(at, before, false, &mut out.increments);
        }
        if target.is_holding() && !was_holding {
            self.holding.insert(target_id);
        }
        Ok(())
    }

    /// A known series of `metric` has a sample at `at`: first samples at that time were births.
    fn decide_births(&mut self, target_id: u32, metric: u32, at: Timestamp, out: &mut Output) {
        for born in self.targets[target_id as usize].mark_live(metric, at) {
            let series = &mut self.series[born.0 as usize];
            if let Some(change) = series.counter.count_birth(at) {
                let increment = Increment { tag: series.tag, change };
                self.targets[target_id as usize].hold(increment, &mut out.increments);
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
            let (identity, target) = (series.identity, series.target);
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
            self.target_ids.remove(&self.target_keys[id as usize]);
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
            series.tag = Tag::NOTHING;
            series.live = false;
        }
        self.wire = Cache::new(self.limit_series);
    }

    /// Makes a table that was stored whole again: the indices that follow from the rest.
    #[must_use]
    pub fn rebuilt(mut self, limit_series: usize) -> Self {
        self.limit_series = limit_series;
        self.wire = Cache::new(limit_series);
        for (slot, series) in self.series.iter().enumerate().filter(|(_, series)| series.used) {
            self.identities.insert(series.identity, slot as u32);
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
