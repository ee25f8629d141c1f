//! An engine that lives through a recording.
//!
//! Each moment's samples arrive whole and at their own time; between two moments time passes as it does for a
//! daemon. So alerts change at the times at which a daemon fed the same samples without delay would change them:
//! exactly where a sample is the cause, to the second where time alone resolves an alert or ends its `for`, and to
//! the 10 s of a daemon's own round where time alone trips one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::Alert;
use crate::engine::{Effects, Engine, Event, LOOKBACK, Rejection, Settings, SloView};
use crate::replay::Recording;
use crate::rollout::{Happened, Record};
use crate::spec::Service;
use crate::types::{Span, Timestamp};
use crate::wire::{self, Batch, Interned, Limits, WIRE_KEY_SIZE_BYTES, WireKey};

/// Changes of alerts kept at most; more of them is an alert that flaps all the time.
pub const TRANSITIONS_LIMIT_COUNT: usize = 1_000_000;
/// A time without any sample that is longer than this is reported: every SLO has been without data in it.
pub const GAP: Span = LOOKBACK;
/// Gaps reported at most, the first ones.
pub(super) const GAPS_LIMIT_COUNT: usize = 100;

/// Why a replay stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The recording holds nothing.
    #[error("no samples to judge")]
    Empty,
    /// Over [`TRANSITIONS_LIMIT_COUNT`].
    #[error("alerts changed more than {TRANSITIONS_LIMIT_COUNT} times until {0}: narrow the specs or the time")]
    TooManyTransitions(Timestamp),
}

/// A change of an alert's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When, in the recording's time.
    pub at: Timestamp,
    /// The alert from then on.
    pub alert: Alert,
}

/// A time without any sample that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last sample before.
    pub from: Timestamp,
    /// The first sample after.
    pub to: Timestamp,
}

/// What came of a recording.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Time of the first sample.
    pub from: Timestamp,
    /// Time of the last sample.
    pub to: Timestamp,
    /// In order of time, those of one moment in the order of the specs.
    pub transitions: Vec<Transition>,
    /// What happened to rollouts, in order.
    pub records: Vec<Record>,
    /// Every SLO as of the last sample, in the order of the specs.
    pub slos: Vec<Arc<SloView>>,
    /// Samples the engine refused, by reason.
    pub rejected: BTreeMap<&'static str, Rejection>,
    /// The first hundred.
    pub gaps: Vec<Gap>,
}

/// Judges a recording by these services' specs.
///
/// `progress` is told the samples done and the time reached, after every moment.
///
/// # Errors
/// When the recording is empty or alerts change without end.
pub fn run(
    services: &[Service],
    recording: &Recording,
    progress: &mut dyn FnMut(u64, Timestamp),
) -> Result<Outcome, RunError> {
    let (from, to) = recording.span().ok_or(RunError::Empty)?;
    let mut replay = Replay::new(services, recording, from, to);
    let mut done = 0;
    for (at, samples) in recording.moments() {
        replay.note_gap(at);
        replay.batch.clear_series();
        for sample in samples {
            let series = &replay.series[sample.series.0 as usize];
            replay.batch.push_interned(series, wire::Sample { timestamp: at, value: sample.value });
        }
        let effects = replay.engine.step(Event::Moment(&replay.batch), at);
        replay.take(at, effects)?;
        replay.now = at;
        done += samples.len() as u64;
        progress(done, at);
    }
    let effects = replay.engine.step(Event::Review, to);
    replay.take(to, effects)?;
    replay.outcome.slos = replay.engine.snapshot(to).slos;
    Ok(replay.outcome)
}

struct Replay {
    engine: Engine,
    batch: Batch,
    /// In the order of the recording's.
    series: Vec<Interned>,
    /// Time of the samples told last.
    now: Timestamp,
    outcome: Outcome,
}

impl Replay {
    fn new(services: &[Service], recording: &Recording, from: Timestamp, to: Timestamp) -> Self {
        // Results do not depend on the key, and nobody chooses labels so that they collide.
        let key = WireKey::new([0x5b; WIRE_KEY_SIZE_BYTES]);
        let mut batch = Batch::new();
        let series = recording.series().iter().map(|labels| batch.intern(&key, labels)).collect::<Vec<_>>();
        let settings = Settings { key, limits: Limits::default(), series_limit: series.len(), ha: None };
        let outcome = Outcome {
            from,
            to,
            transitions: Vec::new(),
            records: Vec::new(),
            slos: Vec::new(),
            rejected: BTreeMap::new(),
            gaps: Vec::new(),
        };
        Self { engine: Engine::new(services, settings, from), batch, series, now: from, outcome }
    }

    /// Notes that nothing is known of the time up to the next samples, if it is long.
    fn note_gap(&mut self, next: Timestamp) {
        if next.since(self.now) > GAP && self.outcome.gaps.len() < GAPS_LIMIT_COUNT {
            self.outcome.gaps.push(Gap { from: self.now, to: next });
        }
    }

    fn take(&mut self, at: Timestamp, effects: Effects) -> Result<(), RunError> {
        self.outcome.take(at, effects)
    }
}

impl Outcome {
    /// Adds what followed from a step.
    pub(super) fn take(&mut self, at: Timestamp, effects: Effects) -> Result<(), RunError> {
        add_rejections(&mut self.rejected, effects.written.rejected);
        if self.transitions.len() + effects.alerts.len() > TRANSITIONS_LIMIT_COUNT {
            return Err(RunError::TooManyTransitions(at));
        }
        let transitions = effects.alerts.into_iter().map(|alert| Transition { at: alert.changed_at(), alert });
        self.transitions.extend(transitions);
        // What the judge was given is for audits; here it would be as large as the recording.
        self.records.extend(effects.records.into_iter().filter(|r| !matches!(r.event, Happened::Evidence { .. })));
        Ok(())
    }
}

/// Adds refused samples to those before.
pub(super) fn add_rejections(sum: &mut BTreeMap<&'static str, Rejection>, rejected: BTreeMap<&'static str, Rejection>) {
    for (reason, rejection) in rejected {
        match sum.get_mut(reason) {
            Some(known) => known.samples += rejection.samples,
            None => drop(sum.insert(reason, rejection)),
        }
    }
}
