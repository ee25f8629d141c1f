//! What others may know of the engine's thread and its journal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::journal::{Gap, Progress};
use crate::types::Timestamp;

/// What the engine's thread is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the journal.
    Recovering(Progress),
    /// Taking samples.
    Running,
    /// Nothing, for this reason; the process has to end.
    Failed(String),
}

/// The journal at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalStatus {
    /// Whether there is one.
    pub enabled: bool,
    /// Sequence of the next record.
    pub next_sequence: u64,
    /// Bytes of bodies and headers written since the start.
    pub written_bytes: u64,
    /// Why no samples are taken at the moment.
    pub read_only: Option<String>,
    /// Requests refused because of that.
    pub refused_requests: u64,
    /// Times of which records are lost.
    pub gaps: Vec<Gap>,
    /// How far a recovery had to read, once it is over.
    pub recovered: Option<Progress>,
    /// The latest checkpoint.
    pub checkpoint: Option<CheckpointStatus>,
    /// Checkpoints that could not be made.
    pub failed_checkpoints: u64,
}

/// A checkpoint that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// The first record that is not in it.
    pub sequence: u64,
    /// When it was complete.
    pub at: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// How long it took, in the background.
    pub took_millis: i64,
}

/// Shared by the engine's thread, those that write checkpoints and those that look.
#[derive(Debug)]
pub(super) struct Status {
    phase: watch::Sender<Phase>,
    journal: Mutex<JournalStatus>,
    interrupted: AtomicBool,
}

impl Status {
    pub(super) fn new(phase: Phase) -> Self {
        Self { phase: watch::Sender::new(phase), journal: Mutex::default(), interrupted: AtomicBool::new(false) }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Enters a phase. A failure is for good.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let changes = !matches!(current, Phase::Failed(_));
            if changes {
                *current = phase;
            }
            changes
        });
    }

    /// What takes long is to be given up.
    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, JournalStatus> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
