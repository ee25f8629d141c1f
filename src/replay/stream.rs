//! An engine that lives through what a daemon received, request by request, each at the time it arrived.
//!
//! Nothing is sorted and nothing kept: what the daemon would have said under these specs, whatever the length of the
//! recording. Alerts change when they would have changed there, delays of the senders included.

use std::collections::BTreeMap;

use crate::engine::{Engine, Event, Settings};
use crate::replay::run::GAPS_LIMIT_COUNT;
use crate::replay::{GAP, Gap, Outcome, Recorder, Recording, RecordingError, RunError, SERIES_LIMIT_COUNT};
use crate::series::Index;
use crate::spec::Service;
use crate::types::Timestamp;
use crate::wire::{Batch, Limits, WIRE_KEY_SIZE_BYTES, WireKey, decode_labels};

/// How often a request may be larger than a daemon takes by default: its limits are settings.
const LIMIT_FACTOR: usize = 8;

/// Why a stream stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Too many changes.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Too many series.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// A replay under way.
pub struct Stream {
    engine: Option<Engine>,
    services: Vec<Service>,
    settings: Settings,
    /// Meets each series once, to know which selectors match any.
    census: Recorder,
    met: Index,
    outcome: Outcome,
    samples: u64,
}

impl Stream {
    /// A replay that has seen nothing, by these services' specs.
    pub fn new(services: Vec<Service>) -> Self {
        let default = Limits::default();
        let limits = Limits {
            compressed_limit_bytes: default.compressed_limit_bytes * LIMIT_FACTOR,
            decoded_limit_bytes: default.decoded_limit_bytes * LIMIT_FACTOR,
            series_limit: default.series_limit * LIMIT_FACTOR,
            samples_limit: default.samples_limit * LIMIT_FACTOR,
            ..default
        };
        // Results do not depend on the key, and nobody chooses labels so that they collide.
        let key = WireKey::new([0x5b; WIRE_KEY_SIZE_BYTES]);
        Self {
            engine: None,
            settings: Settings { key, limits, series_limit: SERIES_LIMIT_COUNT, ha: None },
            census: Recorder::new(services.clone(), Timestamp::MIN..=Timestamp(i64::MAX)),
            services,
            met: Index::default(),
            outcome: Outcome {
                from: Timestamp::MIN,
                to: Timestamp::MIN,
                transitions: Vec::new(),
                records: Vec::new(),
                slos: Vec::new(),
                rejected: BTreeMap::new(),
                gaps: Vec::new(),
            },
            samples: 0,
        }
    }

    /// What requests are to be decoded with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Samples taken so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// When the first request arrived.
    pub fn from(&self) -> Timestamp {
        self.outcome.from
    }

    /// Takes what arrived at `at`.
    ///
    /// # Errors
    /// When alerts change without end, or there are too many series.
    pub fn write(&mut self, batch: &Batch, at: Timestamp) -> Result<(), StreamError> {
        for series in batch.series() {
            if self.met.get(series.wire_hash).is_some() {
                continue;
            }
            self.met.insert(series.wire_hash, 0);
            // The engine says what is wrong with the others.
            let Ok(labels) = decode_labels(series.labels, &self.settings.limits) else { continue };
            let slot = self.census.series(labels)?;
            for sample in series.samples.iter().take(1) {
                self.census.sample(slot, sample.timestamp, sample.value)?;
            }
        }
        for series in batch.histogram_series() {
            if self.met.get(series.wire_hash).is_none() {
                self.met.insert(series.wire_hash, 0);
                if let Ok(labels) = decode_labels(series.labels, &self.settings.limits) {
                    self.census.note_native(&labels);
                }
            }
        }
        let engine = self.engine.get_or_insert_with(|| {
            (self.outcome.from, self.outcome.to) = (at, at);
            Engine::new(&self.services, self.settings.clone(), at)
        });
        if at.since(self.outcome.to) > GAP && self.outcome.gaps.len() < GAPS_LIMIT_COUNT {
            self.outcome.gaps.push(Gap { from: self.outcome.to, to: at });
        }
        self.outcome.to = self.outcome.to.max(at);
        self.samples += batch.sample_count() as u64;
        let effects = engine.step(Event::Write(batch), at);
        self.outcome.take(at, effects)?;
        Ok(())
    }

    /// The end: what came of it, and what the selectors met.
    ///
    /// # Errors
    /// When nothing was written, or alerts change without end.
    pub fn finish(mut self) -> (Recording, Result<Outcome, StreamError>) {
        let result = self.review();
        (self.census.finish(), result.map(|()| self.outcome))
    }

    fn review(&mut self) -> Result<(), StreamError> {
        let to = self.outcome.to;
        let engine = self.engine.as_mut().ok_or(RunError::Empty)?;
        let effects = engine.step(Event::Review, to);
        self.outcome.slos = engine.snapshot(to).slos;
        Ok(self.outcome.take(to, effects)?)
    }
}
