//! Samples of an earlier life of the process on their way back: gathered in a store of their own while new ones arrive in
//! the one that they belong to, and then put before those. Meanwhile both together may take twice what one may.

use std::sync::Arc;

use crate::series::{Cache, Findings, Found, Ha, Heard};
use crate::store::series::Series;
use crate::store::{Settings, Store};
use crate::types::{Selector, Timestamp};
use crate::wire::{Batch, WireLabels};

/// So many series are put in their place before writers have a turn.
const TURN_SERIES: usize = 1 << 10;

/// What is gathered for a store.
#[derive(Debug)]
pub struct Earlier {
    to: Store,
    gathered: Store,
    finder: Finder,
    findings: Findings,
}

/// What the engine would find out of a batch, as far as it spares the store most of the work.
#[derive(Debug)]
struct Finder {
    /// Wire keys have places.
    keys: Cache<()>,
    ha: Option<Ha>,
}

impl Earlier {
    /// For a store that keeps what these select. So many series are known by their wire keys.
    pub fn new(store: &Store, selectors: &[Selector], limit_series: usize) -> Self {
        let settings = &store.0.settings;
        let ha = settings.ha.clone().map(|pairs| Ha::new(pairs, limit_series));
        Self {
            to: store.clone(),
            gathered: Store::new(settings.clone(), selectors),
            finder: Finder { keys: Cache::new(limit_series.saturating_mul(2)), ha },
            findings: Findings::default(),
        }
    }

    /// What batches are decoded with.
    pub fn settings(&self) -> &Settings {
        &self.to.0.settings
    }

    /// Adds the samples of a request that arrived after those that were added.
    pub fn write(&mut self, batch: &Batch, arrived_at: Timestamp) {
        let Self { to, gathered, finder, findings } = self;
        let settings = &to.0.settings;
        findings.begin(batch.series().len(), batch.histogram_series().len());
        for (source, series) in (0..).zip(batch.series()) {
            findings.set(source, finder.find(series.wire_hash, series.labels, settings, arrived_at));
        }
        for (source, series) in (0..).zip(batch.histogram_series()) {
            findings.set_histogram(source, finder.find(series.wire_hash, series.labels, settings, arrived_at));
        }
        gathered.write(batch, findings, arrived_at);
    }

    /// Puts everything before what has arrived in the store by now: so many series and samples.
    pub fn join(self) -> (usize, u64) {
        let Self { to, gathered, .. } = self;
        let stats = gathered.stats();
        let all: Vec<(u128, Arc<Series>)> = {
            let mut intake = gathered.0.lock_intake();
            intake.settle_everything(&gathered.0);
            intake.roster().iter().map(|(identity, series)| (identity, Arc::clone(series))).collect()
        };
        drop(gathered);
        for some in all.chunks(TURN_SERIES) {
            to.0.lock_intake().put_before(&to.0, some);
        }
        (stats.series, stats.floats + stats.histograms)
    }
}

impl Finder {
    fn find(&mut self, wire_hash: u128, labels: WireLabels<'_>, settings: &Settings, now: Timestamp) -> Found {
        let is_heard = |ha: &mut Ha| ha.hears(wire_hash, labels, &settings.limits, now) == Heard::Yes;
        if !self.ha.as_mut().is_none_or(is_heard) {
            return Found::UNHEARD;
        }
        let is_kept = self.keys.get(wire_hash).is_some() || self.keys.insert(wire_hash, ());
        if is_kept { Found::at(self.keys.last()) } else { Found::UNKNOWN }
    }
}
