//! Checkpoints of the running engine: a few pieces of its state between two steps, as they were when the checkpoint was
//! begun. A thread of its own writes them.
//!
//! A checkpoint costs what there is to save and not what was written since the one before, and takes no more memory
//! than what changes meanwhile: pieces that are not written yet are put aside before they do.

use std::mem;
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
    parts: SyncSender<Part>,
    /// What is sent next, if there is something already.
    left: Option<Part>,
    /// The queue is.
    is_full: bool,
    /// The last part was sent.
    is_sent: bool,
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
                self.making = Some(Making { parts, left: None, is_full: false, is_sent: false, thread });
            }
            Err(error) => failed(&self.status, &error),
        }
    }

    /// Whether more can be done at once.
    pub(super) fn is_busy(&self) -> bool {
        self.making.as_ref().is_some_and(|making| !making.is_sent && !making.is_full)
    }

    /// Saves a bit of the state, if the disk keeps up.
    pub(super) fn work(&mut self, engine: &mut Engine) {
        let Some(making) = &mut self.making else { return };
        if making.is_sent {
            if making.thread.is_finished() {
                self.making = None;
            }
            return;
        }
        let part = making.left.take().or_else(|| {
            // A reload gives a save up.
            if !engine.is_saving() {
                return None;
            }
            let mut bytes = Vec::with_capacity(SLICE_BYTES + SLICE_BYTES / 4);
            engine.save_on(&mut bytes, SLICE_BYTES);
            Some(Part::State(bytes))
        });
        let Some(part) = part else {
            tracing::info!("a checkpoint was given up: other specs hold");
            return self.give_up();
        };
        let is_last = matches!(part, Part::End);
        match making.parts.try_send(part) {
            Ok(()) if is_last => making.is_sent = true,
            Ok(()) if !engine.is_saving() => (making.left, making.is_full) = (Some(Part::End), false),
            Ok(()) => making.is_full = false,
            Err(TrySendError::Full(part)) => (making.left, making.is_full) = (Some(part), true),
            // The thread has said why.
            Err(TrySendError::Disconnected(_)) => {
                engine.give_up_save();
                self.making = None;
            }
        }
    }

    /// Another one is due with the next record.
    fn give_up(&mut self) {
        self.making = None;
        self.log_bytes = EVERY_BYTES;
    }
}

impl Drop for Keeper {
    /// Waits for the disk; a checkpoint that is not complete by now is given up.
    fn drop(&mut self) {
        if let Some(Making { parts, thread, .. }) = mem::take(&mut self.making) {
            drop(parts);
            if thread.join().is_err() {
                tracing::error!("the thread that writes checkpoints ended in a panic");
            }
        }
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
