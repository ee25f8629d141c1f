//! Recent raw samples of selected series, in memory: what PromQL is evaluated on.
//!
//! A series is kept when a selector matches it that somebody asked for: an SLI, a rule, a query, or the configuration.
//! That is decided once for each wire key and remembered by the place that the key has in the engine's table (`roster`):
//! the engine has looked for it already, and a series that is not kept costs a look into a list. What is kept is
//! compressed, bounded in time by the retention and in bytes by a limit that includes labels and bookkeeping: over it the
//! oldest samples of all series go first, and are counted. New series that find the store nearly full are left out, and
//! counted, until something has gone.
//!
//! Samples out of order are put in their place within a window, older ones are dropped and counted; of two samples of
//! one time the first stays. Where senders come in pairs, only those of the replica are kept that the engine listens to.
//!
//! Labels repeat: each pair of a name and a value is kept once, and series that come behind each other share the list of
//! those that they have in common (`labels`). Series are told apart by the keyed hash of their labels, as in the engine.
//! Until somebody looks, or something is compressed, a new series is but its numbers (`newborns`).
//!
//! **Concurrency.** Writers take turns (`intake`). The latest floats of a series wait there for a few more (`recent`), or
//! for a reader, before they are compressed. Each series has a lock of its own, which is held for the few microseconds
//! that it takes to append a sample, or to unpack its samples for a reader; so a query that reads ten thousand series
//! delays a writer by one of them. The index of labels has a read-write lock: readers hold it while they look for series,
//! the first to look has new series made, some at a time, and puts them into it, and only vanished ones make a writer wait
//! for it. A reader holds on to the series that it has found and takes one lock at a time. A query may therefore see one
//! series a sample further than another, as in Prometheus.
//!
//! After a restart new samples are taken at once, and those of before come back behind them ([`Earlier`]).

mod bits;
mod chunk;
mod earlier;
mod index;
mod intake;
mod labels;
mod newborns;
mod read;
mod recent;
mod roster;
mod series;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::promql::{FloatHistogram, Value};
use crate::series::{Findings, HaPairs};
use crate::types::{Labels, Selector, Span, Timestamp};
use crate::wire::{Batch, Limits, WireKey};

pub use earlier::Earlier;
pub use read::float_histogram;

use index::Index;
use intake::Intake;
use series::Series;

/// How long samples are kept by default.
pub const DEFAULT_RETENTION: Span = Span::hours(1);
/// What the store may take by default.
pub const DEFAULT_LIMIT_BYTES: usize = 256 << 20;
/// A sample older than the newest of its series by more than this is dropped, unless told otherwise.
pub const DEFAULT_OUT_OF_ORDER_WINDOW: Span = Span::minutes(5);
/// A sample further ahead of its arrival than this is dropped, unless told otherwise.
const DEFAULT_FUTURE_LIMIT: Span = Span::minutes(10);

/// What a store is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long samples are kept.
    pub retention: Span,
    /// What all samples and labels may take.
    pub limit_bytes: usize,
    /// How far out of order samples may arrive.
    pub out_of_order_window: Span,
    /// How far ahead of their arrival samples may be.
    pub future_limit: Span,
    /// Hashes label sets.
    pub key: WireKey,
    /// On labels and histograms.
    pub limits: Limits,
    /// Where senders come in pairs that scrape the same targets: what tells the two apart is left out.
    pub ha: Option<HaPairs>,
    /// What the engine counts for some SLI is kept, too.
    pub keeps_counted: bool,
}

impl Settings {
    /// The defaults.
    pub fn new(key: WireKey) -> Self {
        Self {
            retention: DEFAULT_RETENTION,
            limit_bytes: DEFAULT_LIMIT_BYTES,
            out_of_order_window: DEFAULT_OUT_OF_ORDER_WINDOW,
            future_limit: DEFAULT_FUTURE_LIMIT,
            key,
            limits: Limits::default(),
            ha: None,
            keeps_counted: false,
        }
    }
}

/// The store; clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    intake: Mutex<Intake>,
    index: RwLock<Index>,
    /// New series that are not in the index yet, by request: nobody has looked since.
    unlisted: Mutex<Vec<Vec<Arc<Series>>>>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    floats: AtomicU64,
    histograms: AtomicU64,
    duplicates: AtomicU64,
    late: AtomicU64,
    untimely: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
    refused: AtomicU64,
}

/// What is in the store, and what became of samples since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series kept.
    pub series: usize,
    /// What it takes.
    pub used_bytes: usize,
    /// What it may take.
    pub limit_bytes: usize,
    /// Floats stored.
    pub floats: u64,
    /// Native histograms stored.
    pub histograms: u64,
    /// Samples of a time that there was a sample of.
    pub duplicates: u64,
    /// Samples dropped since they were too far out of order.
    pub late: u64,
    /// Samples dropped since they were older than the retention, or too far ahead.
    pub untimely: u64,
    /// Samples dropped for want of room.
    pub evicted: u64,
    /// Samples dropped at the end of the retention.
    pub expired: u64,
    /// How often a new series found no room.
    pub refused_series: u64,
}

/// Why [`Store::append_in_order`] refuses a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfOrder {
    /// The series has a later one.
    Late,
    /// The series has another one at that time.
    Duplicate,
}

/// Counts over all series, to be worked out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Series.
    pub series: usize,
    /// Chunks of floats.
    pub chunks: usize,
    /// The oldest and the newest sample.
    pub bounds: Option<(Timestamp, Timestamp)>,
}

impl Store {
    /// A store of the series that any of these select.
    pub fn new(settings: Settings, selectors: &[Selector]) -> Self {
        Self(Arc::new(Inner {
            intake: Mutex::new(Intake::new(&settings, selectors)),
            settings,
            index: RwLock::default(),
            unlisted: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    /// From now on the series that any of these select are kept. What is there stays until it is too old.
    pub fn watch(&self, selectors: &[Selector]) {
        self.0.lock_intake().watch(selectors);
    }

    /// Adds the samples of a request that arrives at `now`, of the series that are kept. What the engine has found out of
    /// its series spares most of the work.
    pub fn write(&self, batch: &Batch, findings: &Findings, now: Timestamp) {
        self.0.lock_intake().write(&self.0, batch, findings, now);
    }

    /// Adds a sample of a series of our own: the result of a rule, a figure of the engine's. Selected or not.
    pub fn append_own(&self, labels: &Labels, at: Timestamp, value: f64) {
        self.0.lock_intake().push_own(&self.0, labels, at, value);
    }

    /// The same for a histogram.
    pub fn append_own_histogram(&self, labels: &Labels, at: Timestamp, histogram: Arc<FloatHistogram>) {
        self.0.lock_intake().push_own_histogram(&self.0, labels, at, histogram);
    }

    /// Adds a sample of a series of our own as rules do: only after all others of its series.
    ///
    /// # Errors
    /// When the series has a later sample, or another one at that time.
    pub fn append_in_order(&self, labels: &Labels, at: Timestamp, value: &Value) -> Result<(), OutOfOrder> {
        self.0.lock_intake().push_own_in_order(&self.0, labels, at, value)
    }

    /// Drops what is too old by `now`. To be called every minute or so: without it series end only for want of room.
    pub fn expire(&self, now: Timestamp) {
        self.0.lock_intake().expire(&self.0, now);
    }

    /// How long samples are kept.
    pub fn retention(&self) -> Span {
        self.0.settings.retention
    }

    /// Sizes and counts.
    pub fn stats(&self) -> Stats {
        let (series, used_bytes) = {
            let intake = self.0.lock_intake();
            (intake.roster().len(), intake.roster().used_bytes())
        };
        let counters = &self.0.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            series,
            used_bytes,
            limit_bytes: self.0.settings.limit_bytes,
            floats: read(&counters.floats),
            histograms: read(&counters.histograms),
            duplicates: read(&counters.duplicates),
            late: read(&counters.late),
            untimely: read(&counters.untimely),
            evicted: read(&counters.evicted),
            expired: read(&counters.expired),
            refused_series: read(&counters.refused),
        }
    }

    /// Looks at every series.
    pub fn extent(&self) -> Extent {
        let all: Vec<_> = self.0.lock_index().all().cloned().collect();
        self.0.lock_intake().settle_all(&self.0, &all);
        let mut extent = Extent { series: all.len(), ..Extent::default() };
        for series in all {
            let (chunks, bounds) = series.look(|data| (data.chunk_count(), data.bounds()));
            extent.chunks += chunks;
            if let Some((oldest, newest)) = bounds {
                let (from, to) = extent.bounds.unwrap_or((Timestamp(oldest), Timestamp(newest)));
                extent.bounds = Some((from.min(Timestamp(oldest)), to.max(Timestamp(newest))));
            }
        }
        extent
    }
}

impl Inner {
    fn lock_intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With all series in it.
    fn lock_index(&self) -> RwLockReadGuard<'_, Index> {
        while self.lock_intake().tell_index(self) {}
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if self.lock_unlisted().is_empty() {
            return index;
        }
        drop(index);
        RwLockWriteGuard::downgrade(self.lock_index_to_change())
    }

    /// The same, for who holds the intake or no other lock.
    fn lock_index_to_change(&self) -> RwLockWriteGuard<'_, Index> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.add(std::mem::take(&mut *self.lock_unlisted()).into_iter().flatten());
        index
    }

    /// The last lock: who holds it takes no other.
    fn lock_unlisted(&self) -> MutexGuard<'_, Vec<Vec<Arc<Series>>>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_timely(&self, at: Timestamp, now: Timestamp) -> bool {
        let is_timely = now.since(at) <= self.settings.retention && at.since(now) <= self.settings.future_limit;
        if !is_timely {
            self.counters.untimely.fetch_add(1, Ordering::Relaxed);
        }
        is_timely
    }
}

#[cfg(test)]
mod tests;
