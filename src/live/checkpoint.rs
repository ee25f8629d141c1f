//! Checkpoints of the running engine: a few pieces of its state between two steps, as they were when the checkpoint was
//! begun. A thread of its own writes them.
//!
//! A checkpoint costs what there is to save and not what was written since the one before, and takes no more memory
//! than what changes meanwhile: pieces that are not written yet are put aside before they do.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;

use crate::clock::{self, Steady};
use crate::engine::Engine;
use crate::journal::{Journal, Standing};
use crate::live::Flush;
use crate::live::status::{CheckpointStatus, Status};
use crate::types::Span;

/// Log after which a checkpoint is made before its time: it bounds how long a recovery takes.
const EVERY_BYTES: u64 = 512 << 20;
/// Bytes of the state that are saved between two steps: less than a millisecond.
const SLICE_BYTES: usize = 128 << 10;
/// Slices that may wait for the disk.
const QUEUE_LIMIT_SLICES: usize = 64;

/// What is written.
enum Part {
    State(Vec<u8>),
    /// That was all.
    End,
}

/// A checkpoint that is being made.
struct Making {
    /// `None` once the thread was told everything, or is to give up.
    parts: Option<SyncSender<Part>>,
    /// What did not go into the queue, which was full.
    left: Option<Part>,
    /// All of the state is in parts.
    is_saved: bool,
    thread: JoinHandle<()>,
}

/// Makes checkpoints when they are due.
pub(super) struct Keeper {
    journal: Journal,
    every: Span,
    flush: Flush,
    status: Arc<Status>,
    clock: Steady,
    /// When the latest one was begun, on this clock.
    begun_at: Span,
    /// Log written since.
    log_bytes: u64,
    /// It holds all of the log.
    is_whole: bool,
    making: Option<Making>,
}

impl Keeper {
    /// What was just recovered counts as not kept yet.
    pub(super) fn new(journal: Journal, every: Span, flush: Flush, status: Arc<Status>) -> Self {
        let log_bytes = status.journal().recovered.map_or(0, |progress| progress.total_bytes);
        let clock = Steady::start();
        let (begun_at, is_whole) = (clock.elapsed(), log_bytes == 0);
        Self { journal, every, flush, status, clock, begun_at, log_bytes, is_whole, making: None }
    }

    /// A record of the log has gained so many bytes.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.log_bytes += bytes;
        self.is_whole = false;
    }

    /// Whether to begin one now.
    pub(super) fn is_due(&self) -> bool {
        let is_time = || self.clock.elapsed().as_millis() - self.begun_at.as_millis() >= self.every.as_millis();
        !self.is_whole && self.making.is_none() && (self.log_bytes >= EVERY_BYTES || is_time())
    }

    /// Begins one of the engine as it is, which stands there in the log.
    pub(super) fn begin(&mut self, engine: &mut Engine, standing: Standing) {
        (self.begun_at, self.log_bytes, self.is_whole) = (self.clock.elapsed(), 0, true);
        let (parts, queue) = mpsc::sync_channel(QUEUE_LIMIT_SLICES);
        let (journal, flush, status) = (self.journal.clone(), Arc::clone(&self.flush), Arc::clone(&self.status));
        let write = move || write(&journal, &standing, &queue, &flush, &status);
        match std::thread::Builder::new().name("checkpoint".to_owned()).spawn(write) {
            Ok(thread) => {
                engine.begin_save();
                self.making = Some(Making { parts: Some(parts), left: None, is_saved: false, thread });
            }
            Err(error) => failed(&self.status, &error),
        }
    }

    /// Waits for the disk; what is not complete is given up.
    fn end(&mut self) {
        let Some(Making { parts, thread, .. }) = self.making.take() else { return };
        drop(parts);
        if thread.join().is_err() {
            tracing::error!("the thread that writes checkpoints ended in a panic");
        }
    }

    /// Whether more can be done at once.
    pub(super) fn is_busy(&self) -> bool {
        self.making.as_ref().is_some_and(|making| making.parts.is_some() && making.left.is_none())
    }

    /// Saves a bit of the state, if the disk keeps up.
    pub(super) fn work(&mut self, engine: &mut Engine) {
        let Some(making) = &mut self.making else { return };
        let Some(parts) = &making.parts else {
            // Two at a time would be in each other's way.
            if making.thread.is_finished() {
                self.end();
            }
            return;
        };
        let part = match making.left.take() {
            Some(part) => part,
            None if making.is_saved => Part::End,
            // A reload gives a save up.
            None if !engine.is_saving() => {
                tracing::info!("a checkpoint was given up: other specs hold");
                making.parts = None;
                // Another one is due with the next record.
                self.log_bytes = EVERY_BYTES;
                return;
            }
            None => {
                let mut bytes = Vec::with_capacity(SLICE_BYTES + SLICE_BYTES / 4);
                engine.save_on(&mut bytes, SLICE_BYTES);
                making.is_saved = !engine.is_saving();
                Part::State(bytes)
            }
        };
        let is_last = matches!(part, Part::End);
        match parts.try_send(part) {
            Ok(()) if is_last => making.parts = None,
            Ok(()) => {}
            Err(TrySendError::Full(part)) => making.left = Some(part),
            // The thread has said why.
            Err(TrySendError::Disconnected(_)) => {
                engine.give_up_save();
                making.parts = None;
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

fn failed(status: &Status, error: &std::io::Error) {
    tracing::error!("no checkpoint, the log serves: {error}");
    status.journal().failed_checkpoints += 1;
}

/// Writes one, and removes the log that it makes unnecessary.
fn write(journal: &Journal, standing: &Standing, parts: &Receiver<Part>, flush: &Flush, status: &Status) {
    let clock = Steady::start();
    match store(journal, standing, parts, flush) {
        Ok(Some(bytes)) => {
            let (took, sequence) = (clock.elapsed(), standing.position.sequence);
            tracing::info!(sequence, bytes, %took, "checkpoint");
            let (at, took_millis) = (clock::now(), took.as_millis());
            status.journal().checkpoint = Some(CheckpointStatus { sequence, at, bytes, took_millis });
        }
        Ok(None) => return,
        Err(error) => return failed(status, &error),
    }
    match journal.clean(clock::now()) {
        Ok(0) => {}
        Ok(segments) => tracing::info!(segments, "removed log beyond the retention"),
        Err(error) => tracing::error!("cannot remove old log: {error}"),
    }
}

/// Its size in bytes; `None` when it was given up.
fn store(
    journal: &Journal,
    standing: &Standing,
    parts: &Receiver<Part>,
    flush: &Flush,
) -> std::io::Result<Option<u64>> {
    let mut writer = journal.begin_checkpoint(standing)?;
    while let Ok(part) = parts.recv() {
        match part {
            Part::State(bytes) => writer.append(&bytes)?,
            Part::End => {
                // No recovery from here tells again what the engine had said by then.
                flush();
                return writer.finish().map(Some);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::engine::{Event, Settings};
    use crate::journal::{Options, Position, sim};
    use crate::live::status::Phase;
    use crate::spec::{Service, Source, parse};
    use crate::types::Timestamp;
    use crate::wire::{Batch, Limits, Sample, WIRE_KEY_SIZE_BYTES, WireKey};

    const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis: [{name: errors, events: {bad: 'requests_total{code="500"}', total: requests_total}}]
  slos: [{name: availability, sli: errors, objective: 99}]
"#;
    const START: Timestamp = Timestamp(1_790_000_000_000);
    const SERIES: usize = 10_000;

    fn services() -> Vec<Service> {
        parse(&[Source::new("spec.yaml", SPEC)]).0
    }

    fn settings() -> Settings {
        let key = WireKey::new([3; WIRE_KEY_SIZE_BYTES]);
        Settings { key, limits: Limits::default(), series_limit: SERIES, ha: None }
    }

    fn scrape(engine: &mut Engine, number: i64) {
        let (key, mut batch) = (settings().key, Batch::new());
        let timestamp = START + Span::seconds(15 * number);
        for series in 0..SERIES {
            let instance = (series / 10).to_string();
            let pod = (series % 10).to_string();
            let labels = [("__name__", "requests_total"), ("instance", instance.as_str()), ("pod", pod.as_str())];
            batch.push(&key, labels, &[Sample { timestamp, value: number as f64 }]);
        }
        engine.step(Event::Write(&batch), timestamp);
    }

    struct Bench {
        engine: Engine,
        journal: Journal,
        keeper: Keeper,
        flushed: Arc<AtomicUsize>,
    }

    impl Bench {
        fn new() -> Self {
            let journal = Journal::new(Arc::new(sim::Disk::new(1)), Options::default());
            let flushed = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&flushed);
            let flush: Flush = Arc::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
            let status = Arc::new(Status::new(Phase::Running));
            let keeper = Keeper::new(journal.clone(), Span::ZERO, flush, status);
            let mut engine = Engine::new(&services(), settings(), START);
            (0..3).for_each(|number| scrape(&mut engine, number));
            Self { engine, journal, keeper, flushed }
        }

        fn begin(&mut self) {
            assert!(!self.keeper.is_due(), "nothing was written");
            self.keeper.wrote(1);
            assert!(self.keeper.is_due());
            let position = Position { segment: 1, sequence: 3 };
            let standing = Standing { position, newest: START, specs: b"specs".to_vec(), gaps: Vec::new() };
            self.keeper.begin(&mut self.engine, standing);
            assert!(!self.keeper.is_due() && self.keeper.is_busy());
        }

        /// The state in the newest checkpoint, once it is on the disk; how often the news were flushed.
        fn kept(self) -> (Vec<u8>, usize) {
            drop(self.keeper);
            let names = self.journal.checkpoints().unwrap();
            (self.journal.load(&names[0]).unwrap().state, self.flushed.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_checkpoint_is_of_the_moment_at_which_it_was_begun() {
        let mut bench = Bench::new();
        let state = bench.engine.save();
        assert!(state.len() > 2 * SLICE_BYTES, "{} bytes are no more than a slice", state.len());
        bench.begin();
        let mut number = 3;
        while bench.keeper.is_busy() {
            bench.keeper.work(&mut bench.engine);
            scrape(&mut bench.engine, number);
            number += 1;
        }
        assert!(bench.engine.save() != state);
        let (kept, flushes) = bench.kept();
        assert!(kept == state);
        assert_eq!(flushes, 1);
        assert!(Engine::restore(&services(), &settings(), &kept).unwrap().save() == state);
    }

    #[test]
    fn a_reload_gives_a_checkpoint_up_and_the_next_record_begins_another() {
        let mut bench = Bench::new();
        bench.begin();
        bench.keeper.work(&mut bench.engine);
        bench.engine.step(Event::Reload(&services()), START + Span::minutes(1));
        bench.keeper.work(&mut bench.engine);
        assert!(!bench.keeper.is_busy() && bench.keeper.making.is_some());
        bench.keeper.end();
        assert_eq!(bench.journal.checkpoints().unwrap(), [""; 0]);
        let state = bench.engine.save();
        bench.begin();
        while bench.keeper.is_busy() {
            bench.keeper.work(&mut bench.engine);
        }
        let (kept, flushes) = bench.kept();
        assert!(kept == state);
        assert_eq!(flushes, 1, "the first never got so far");
    }
}
