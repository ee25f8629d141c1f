//! Checkpoints, made beside the running engine so that it never waits for one.
//!
//! A second engine comes back from the checkpoint before, reads what the log has gained since, is saved and dropped. It
//! costs what the first one paid: each sample is decoded and counted once more, on a thread of its own, and while it
//! lives the memory of a second engine and of its saved state.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use crate::clock::{self, Steady};
use crate::engine;
use crate::journal::{Checkpoint, Journal};
use crate::live::recovery::{RecoveryError, Replayer};
use crate::live::specs::Specs;
use crate::live::status::{CheckpointStatus, Status};
use crate::types::Span;

/// How often it is asked whether it is time.
const ASK_EVERY: Span = Span::seconds(1);
/// Log after which a checkpoint is made before its time: it bounds how long a recovery takes.
const CHECKPOINT_EVERY_BYTES: u64 = 512 << 20;

/// Makes checkpoints until the other end of `stop` is dropped.
pub(super) struct Keeper {
    pub(super) journal: Journal,
    pub(super) settings: engine::Settings,
    pub(super) specs: Specs,
    pub(super) every: Span,
    pub(super) status: Arc<Status>,
}

impl Keeper {
    pub(super) fn run(self, stop: &Receiver<()>) {
        let clock = Steady::start();
        let mut made_at = clock.now();
        let mut written_bytes = 0;
        // What was just recovered counts as not kept yet.
        let mut log_bytes = self.status.journal().recovered.map_or(0, |progress| progress.total_bytes);
        let mut sequence = 0;
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(self.every.min(ASK_EVERY).to_std()) {
            let (next_sequence, now_bytes) = {
                let shown = self.status.journal();
                (shown.next_sequence, shown.written_bytes)
            };
            let due = clock.now().since(made_at) >= self.every
                || now_bytes - written_bytes + log_bytes >= CHECKPOINT_EVERY_BYTES;
            if !due || next_sequence == sequence {
                continue;
            }
            (made_at, written_bytes, log_bytes, sequence) = (clock.now(), now_bytes, 0, next_sequence);
            let clock = Steady::start();
            match self.checkpoint() {
                Ok((made, bytes)) => {
                    let took = clock.elapsed();
                    let (at, took_millis) = (clock::now(), took.as_millis());
                    tracing::info!(sequence = made, bytes, %took, "checkpoint");
                    self.status.journal().checkpoint =
                        Some(CheckpointStatus { sequence: made, at, bytes, took_millis });
                }
                Err(RecoveryError::Interrupted) => return,
                Err(error) => {
                    tracing::error!("no checkpoint, the log serves: {error}");
                    self.status.journal().failed_checkpoints += 1;
                }
            }
        }
    }

    /// Makes one. The sequence of the first record that is not in it, and its size in bytes.
    fn checkpoint(&self) -> Result<(u64, u64), RecoveryError> {
        let made = checkpoint(&self.journal, &self.settings, &self.specs, &self.status)?;
        match self.journal.clean(clock::now()) {
            Ok(0) => {}
            Ok(segments) => tracing::info!(segments, "removed log beyond the retention"),
            Err(error) => tracing::error!("cannot remove old log: {error}"),
        }
        Ok(made)
    }
}

/// Brings a second engine up to date and stores its state.
pub(super) fn checkpoint(
    journal: &Journal,
    settings: &engine::Settings,
    specs: &Specs,
    status: &Status,
) -> Result<(u64, u64), RecoveryError> {
    // One shard: the running engine has better uses for further threads.
    let mut replayer = Replayer::start(journal, settings, 1, specs)?;
    let before = replayer.position.sequence;
    replayer.read(journal, status, &mut |_, _, _| {})?;
    let Some(engine) = replayer.engine.take().filter(|_| replayer.position.sequence > before) else {
        return Ok((before, 0));
    };
    let state = engine.save();
    drop(engine);
    let (position, newest) = (replayer.position, replayer.newest);
    let checkpoint = Checkpoint { position, newest, specs: replayer.specs, gaps: replayer.gaps, state };
    let bytes = journal.store(&checkpoint)?;
    Ok((position.sequence, bytes))
}
