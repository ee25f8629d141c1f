//! From the journal back to where the engine was: the newest good checkpoint, and the log from there through the
//! same [`Engine::step`] with the recorded arrival times.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::alert::Alert;
use crate::clock::{self, Steady};
use crate::engine::{self, Effects, Engine, Event};
use crate::journal::{
    Checkpoint, CheckpointError, Gap, Journal, Kind, LogError, Position, Progress, Reading, Record, RestoreError,
    Standing, Writer,
};
use crate::live::News;
use crate::live::checkpoint::Keeper;
use crate::live::pool::spread;
use crate::live::runner::{Begun, Log};
use crate::live::specs::Specs;
use crate::live::status::{Phase, Status};
use crate::types::{Span, Timestamp};
use crate::wire::Batch;

/// Progress is told to those who ask this often, and logged that often.
const SHOW_EVERY_RECORDS: u64 = 16;
const LOG_EVERY: Span = Span::seconds(5);

/// Why an engine cannot come back.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A checkpoint.
    #[error("cannot use the checkpoints: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The end of the log cannot be made ready for more.
    #[error("cannot go on writing the log: {0}")]
    Io(#[from] std::io::Error),
    /// Told to give up.
    #[error("interrupted")]
    Interrupted,
}

/// An engine that is being brought up to date.
struct Replayer<'a> {
    settings: &'a engine::Settings,
    shards: usize,
    /// What holds if the journal does not say.
    fallback: &'a Specs,
    engine: Option<Engine>,
    /// Under which the engine runs.
    specs: Vec<u8>,
    batch: Batch,
    position: Position,
    newest: Timestamp,
    gaps: Vec<Gap>,
    samples: u64,
    unreadable: u64,
}

impl<'a> Replayer<'a> {
    /// Starts from the newest checkpoint that can be used, or from nothing.
    fn start(
        journal: &Journal,
        settings: &'a engine::Settings,
        shards: usize,
        fallback: &'a Specs,
    ) -> Result<Self, CheckpointError> {
        let mut replayer = Self {
            settings,
            shards,
            fallback,
            engine: None,
            specs: Vec::new(),
            batch: Batch::new(),
            position: Position::default(),
            newest: Timestamp::MIN,
            gaps: Vec::new(),
            samples: 0,
            unreadable: 0,
        };
        let restored = journal.latest(|checkpoint| restore(checkpoint, settings, fallback))?;
        if let Some((mut engine, Standing { position, newest, specs, gaps })) = restored {
            spread(&mut engine, shards);
            replayer = Self { engine: Some(engine), specs, position, newest, gaps, ..replayer };
        }
        Ok(replayer)
    }

    /// Reads the log to its end, telling `progress` of every record and what followed from it.
    fn read(
        &mut self,
        journal: &Journal,
        status: &Status,
        progress: &mut dyn FnMut(&Self, &Progress, &Effects),
    ) -> Result<Reading, RecoveryError> {
        let (position, newest) = (self.position, self.newest);
        let visit = &mut |at: &Progress, record: Record<'_>| {
            let effects = self.take(&record);
            progress(self, at, &effects);
            if status.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let reading = journal.read(position, newest, visit)?;
        if status.is_interrupted() {
            return Err(RecoveryError::Interrupted);
        }
        self.position = reading.end;
        self.newest = reading.newest;
        self.gaps.extend(&reading.gaps);
        if self.unreadable > 0 {
            tracing::error!(
                records = self.unreadable,
                "records of the log mean nothing to this version and these limits"
            );
        }
        Ok(reading)
    }

    /// Lives through a record again; what followed from it.
    fn take(&mut self, record: &Record<'_>) -> Effects {
        let now = record.arrived_at;
        match record.kind {
            Kind::Specs => {
                let specs = self.decode_specs(record.body);
                self.specs = record.body.to_vec();
                if let Some(engine) = &mut self.engine {
                    engine.step(Event::Reload(&specs.services), now)
                } else {
                    self.engine = Some(new_engine(&specs, self.settings, self.shards, now));
                    Effects::default()
                }
            }
            Kind::Write(protocol) => {
                let engine = self.engine.get_or_insert_with(|| {
                    self.specs = self.fallback.encode();
                    new_engine(self.fallback, self.settings, self.shards, now)
                });
                let (limits, key) = (&self.settings.limits, engine.key());
                if self.batch.decode(protocol, record.body, limits, key).is_err() {
                    self.unreadable += 1;
                    return Effects::default();
                }
                self.samples += self.batch.sample_count() as u64;
                engine.step(Event::Write(&self.batch), now)
            }
            Kind::Rollout => {
                let command = postcard::from_bytes(record.body).ok();
                let (Some(engine), Some(command)) = (&mut self.engine, command) else {
                    self.unreadable += 1;
                    return Effects::default();
                };
                engine.step(Event::Rollout(&command), now)
            }
        }
    }

    fn decode_specs(&self, bytes: &[u8]) -> Specs {
        Specs::decode(bytes).unwrap_or_else(|error| {
            tracing::error!(
                "the specs in the journal mean nothing to this version, today's are taken for them: {error}"
            );
            self.fallback.clone()
        })
    }
}

fn new_engine(specs: &Specs, settings: &engine::Settings, shards: usize, now: Timestamp) -> Engine {
    let mut engine = Engine::new(&specs.services, settings.clone(), now);
    spread(&mut engine, shards);
    engine
}

fn restore(checkpoint: &Checkpoint, settings: &engine::Settings, fallback: &Specs) -> Result<Engine, RestoreError> {
    let specs = Specs::decode(&checkpoint.standing.specs).unwrap_or_else(|_| fallback.clone());
    Engine::restore(&specs.services, settings, &checkpoint.state).map_err(|error| match error {
        engine::RestoreError::Version(version) if version > engine::STATE_VERSION => {
            RestoreError::Newer(format!("{error}: it was written by a newer sloburn; run that one"))
        }
        error => RestoreError::Unusable(error.to_string()),
    })
}

/// An engine that is where it was, and the way to go on.
pub(super) struct Recovered {
    engine: Engine,
    writer: Writer,
    /// Today's specs and since when they hold, if the log does not say so yet.
    specs_since: Option<(Timestamp, Vec<u8>)>,
    /// What the log says.
    specs: Vec<u8>,
    gaps: Vec<Gap>,
    newest: Timestamp,
}

impl Recovered {
    /// Ready to run, with checkpoints by this keeper.
    pub(super) fn begun(self, keeper: Keeper) -> Begun {
        let Self { engine, writer, specs_since, specs, gaps, newest } = self;
        Begun { engine, specs_since, log: Some(Log { writer, specs, gaps, newest, keeper }) }
    }
}

/// Brings an engine back, under the specs of today.
pub(super) fn recover(
    journal: &Journal,
    settings: &engine::Settings,
    shards: usize,
    specs: &Specs,
    status: &Arc<Status>,
    on_news: &mut dyn FnMut(News<'_>),
) -> Result<Recovered, RecoveryError> {
    let clock = Steady::start();
    let mut replayer = Replayer::start(journal, settings, shards, specs)?;
    let mut logged_at = clock.now();
    let reading = replayer.read(journal, status, &mut |replayer, progress, effects| {
        if !effects.alerts.is_empty() {
            on_news(News::Repeated(&effects.alerts));
        }
        if !effects.records.is_empty() {
            on_news(News::Rollouts(&effects.records));
        }
        if progress.records != 1 && !progress.records.is_multiple_of(SHOW_EVERY_RECORDS) {
            return;
        }
        status.enter(Phase::Recovering(*progress));
        if clock.now().since(logged_at) >= LOG_EVERY {
            logged_at = clock.now();
            log_progress(progress, replayer.samples, clock.elapsed());
        }
    })?;
    let failing = Arc::clone(status);
    let writer = journal.writer(&reading, move |message| failing.enter(Phase::Failed(message.to_owned())))?;
    let now = clock::now();
    let today = specs.encode();
    let is_new = replayer.engine.is_none();
    let mut engine = replayer.engine.take().unwrap_or_else(|| new_engine(specs, settings, shards, now));
    // Noted in the log with the first write, and before it.
    let specs_since = (is_new || replayer.specs != today).then_some((now, today));
    if specs_since.is_some() && !is_new {
        let effects = engine.step(Event::Reload(&specs.services), now);
        on_news(News::Changed(&effects.alerts));
        on_news(News::Rollouts(&effects.records));
    }
    if !is_new {
        let standing: Vec<Alert> = engine.snapshot(now).slos.iter().flat_map(|slo| slo.alerts()).cloned().collect();
        on_news(News::Standing(&standing));
    }
    if !is_new {
        tracing::info!(
            records = reading.progress.records,
            samples = replayer.samples,
            gaps = replayer.gaps.len(),
            took = %clock.elapsed(),
            "recovered from the journal"
        );
    }
    let mut shown = status.journal();
    shown.enabled = true;
    shown.gaps.clone_from(&replayer.gaps);
    shown.recovered = Some(reading.progress);
    shown.next_sequence = writer.next_sequence();
    drop(shown);
    let Replayer { specs, gaps, newest, .. } = replayer;
    Ok(Recovered { engine, writer, specs_since, specs, gaps, newest })
}

fn log_progress(progress: &Progress, samples: u64, elapsed: Span) {
    let seconds = (elapsed.as_millis() as f64 / 1000.0).max(0.001);
    let left = seconds * (progress.total_bytes as f64 / progress.bytes.max(1) as f64 - 1.0);
    tracing::info!(
        segment = progress.current,
        last_segment = progress.last,
        records = progress.records,
        "recovering: {:.0} %, {:.0} records/s, {:.0} samples/s, {} left",
        100.0 * progress.bytes as f64 / progress.total_bytes.max(1) as f64,
        progress.records as f64 / seconds,
        samples as f64 / seconds,
        Span::seconds(left as i64)
    );
}
