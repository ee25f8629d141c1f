//! The journal: what arrived, on disk before it is acknowledged, and how to come back to where the engine was.
//!
//! A folder holds segments of a log ([`mod@format`]: request bodies as they came, numbered, with their arrival times) and two
//! checkpoints of the engine's state ([`Checkpoint`]). Recovery is the newest good checkpoint and the log from
//! there through the same `Engine::step`. A killed process loses nothing acknowledged under any [`Fsync`]; with
//! the power goes what was not synced: nothing, the last second, or what the system had not got round to.
//!
//! Damage costs as little as can be: a torn end is cut off, a damaged record is skipped and shows as a [`Gap`],
//! a damaged checkpoint gives way to the one before. A disk without room makes the journal read-only until there is
//! room again; a failed fsync ends it, since what it was to keep may be gone and a second one would not say so
//! (Rebello et al., *Can Applications Recover from fsync Failures?*, USENIX ATC 2020).

mod checkpoint;
pub mod disk;
pub mod format;
mod log;
pub mod sim;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::sync::Arc;

use crate::types::{Span, Timestamp};

pub use checkpoint::{CHECKPOINT_VERSION, Checkpoint, CheckpointError, CheckpointWriter, RestoreError, Standing};
pub use disk::{Disk, Folder};
pub use format::{Kind, Record, body_sum};
pub use log::{LogError, Progress, Reading, Segment};
pub use writer::{AppendError, Entry, Writer};

const SEGMENT_SUFFIX: &str = ".segment";

/// When what was written is forced onto the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before it is acknowledged; requests that wait share one fsync.
    Always,
    /// Within a second.
    EverySecond,
    /// When the system likes.
    Off,
}

/// A policy that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fsync policy: use always, 1s or off")]
pub struct FsyncError(String);

impl std::str::FromStr for Fsync {
    type Err = FsyncError;

    fn from_str(text: &str) -> Result<Self, FsyncError> {
        match text {
            "always" => Ok(Self::Always),
            "1s" => Ok(Self::EverySecond),
            "off" => Ok(Self::Off),
            _ => Err(FsyncError(text.to_owned())),
        }
    }
}

/// What the user decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// When to sync.
    pub fsync: Fsync,
    /// A segment that has this many bytes gets no more.
    pub segment_limit_bytes: u64,
    /// The log's size, past what recovery needs.
    pub retention_limit_bytes: u64,
    /// The log's age, past what recovery needs.
    pub retention_time: Span,
    /// With less room than this on the disk nothing is taken.
    pub free_floor_bytes: u64,
    /// What nobody can guess, for salts.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fsync: Fsync::EverySecond,
            segment_limit_bytes: 64 << 20,
            retention_limit_bytes: 10 << 30,
            retention_time: Span::days(15),
            free_floor_bytes: 256 << 20,
            seed: 0,
        }
    }
}

/// A place in the log: between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The segment in which to look for the next record; it may stand in a later one.
    pub segment: u64,
    /// The next record's sequence.
    pub sequence: u64,
}

/// Records that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Arrival of the record before, [`Timestamp::MIN`] when there is none.
    pub from: Timestamp,
    /// Arrival of the record after.
    pub to: Timestamp,
    /// How many.
    pub records: u64,
}

/// The files in one folder.
#[derive(Clone)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    options: Options,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Journal {
    /// The journal on a disk. Only one writer may exist: the daemon locks the folder.
    pub fn new(disk: Arc<dyn Disk>, options: Options) -> Self {
        Self { disk, options }
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether nothing was ever written here.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.segments()?.is_empty() && self.checkpoints()?.is_empty())
    }

    /// Removes the oldest segments beyond the retention, as far as no recovery needs them. Returns how many.
    pub fn clean(&self, now: Timestamp) -> io::Result<usize> {
        let Some(needed_from) = self.needed_from()? else { return Ok(0) };
        let segments = self.segments()?;
        let mut total_bytes: u64 = segments.iter().map(|s| s.bytes).sum();
        let mut removed = 0;
        for pair in segments.windows(2).take_while(|pair| pair[0].number < needed_from) {
            // A segment is as old as its last record, which came before the next segment was begun.
            let is_old = || {
                let next = self.header(pair[1].number)?;
                io::Result::Ok(next.is_some_and(|next| now.since(next.begun_at) > self.options.retention_time))
            };
            if total_bytes <= self.options.retention_limit_bytes && !is_old()? {
                break;
            }
            self.disk.remove(&Segment::name(pair[0].number))?;
            total_bytes -= pair[0].bytes;
            removed += 1;
        }
        if removed > 0 {
            self.disk.sync()?;
        }
        Ok(removed)
    }
}
