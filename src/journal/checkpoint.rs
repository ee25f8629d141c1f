//! The engine's state as of one place in the log, in a file of its own: `SEQUENCE.checkpoint`.
//!
//! | bytes, little-endian | |
//! |---|---|
//! | 0..8 | `SLOBCKPT` |
//! | 8..12 | version of the format |
//! | 12..16 | gaps known |
//! | 16..24 | segment that holds the next record |
//! | 24..32 | sequence of the next record |
//! | 32..40 | arrival of the last record, in ms since 1970 |
//! | 40..48 | bytes of the specs |
//! | 48..56 | XXH3 (64 bits) of what comes before |
//! | 56.. | gaps: from, to (ms), records lost (8 bytes each); the specs; the state |
//! | the last 8 | XXH3 (64 bits) of what comes between the header and here |

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::disk::DiskFile;
use super::format::{FormatError, u32_at, u64_at};
use super::{Gap, Journal, Position};
use crate::types::Timestamp;

/// The format written; later ones are refused.
pub const CHECKPOINT_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"SLOBCKPT";
const HEADER_BYTES: usize = 56;
const SUM_BYTES: usize = 8;
const GAP_BYTES: usize = 24;
/// Gaps remembered, the latest ones.
const GAPS_LIMIT_COUNT: usize = 1_000;
/// Checkpoints kept.
const KEPT_COUNT: usize = 2;
const SUFFIX: &str = ".checkpoint";
const TEMPORARY: &str = "checkpoint.tmp";

/// Where a state stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The first record that is not in it.
    pub position: Position,
    /// Arrival of the last record in it.
    pub newest: Timestamp,
    /// The specs that held, as the caller writes them.
    pub specs: Vec<u8>,
    /// What the log had lost up to here.
    pub gaps: Vec<Gap>,
}

/// A state and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it stands.
    pub standing: Standing,
    /// As the engine saved it.
    pub state: Vec<u8>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Bytes are missing or changed.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// Of a later version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Of a later version, inside.
    #[error("{0}")]
    State(String),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a whole checkpoint cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// It may be left out.
    Unusable(String),
    /// A newer program wrote it; leaving it out would throw away what that one knows.
    Newer(String),
}

impl Standing {
    fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(CHECKPOINT_VERSION.to_le_bytes());
        header.extend((self.gaps().len() as u32).to_le_bytes());
        header.extend(self.position.segment.to_le_bytes());
        header.extend(self.position.sequence.to_le_bytes());
        header.extend(self.newest.as_millis().to_le_bytes());
        header.extend((self.specs.len() as u64).to_le_bytes());
        header.extend(xxh3_64(&header).to_le_bytes());
        header
    }

    fn gaps(&self) -> &[Gap] {
        &self.gaps[self.gaps.len().saturating_sub(GAPS_LIMIT_COUNT)..]
    }

    /// What stands between the header and the state.
    fn rest(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.gaps().len() * GAP_BYTES + self.specs.len());
        for gap in self.gaps() {
            rest.extend(gap.from.as_millis().to_le_bytes());
            rest.extend(gap.to.as_millis().to_le_bytes());
            rest.extend(gap.records.to_le_bytes());
        }
        rest.extend_from_slice(&self.specs);
        rest
    }
}

impl Checkpoint {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not whole, or of a later version.
    pub fn decode(mut bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(CheckpointError::Damaged("cut off"));
        };
        if &header[..8] != MAGIC || u64_at(header, HEADER_BYTES - 8) != xxh3_64(&header[..HEADER_BYTES - 8]) {
            return Err(CheckpointError::Damaged("the header's checksum is wrong"));
        }
        let version = u32_at(header, 8);
        if version > CHECKPOINT_VERSION {
            return Err(FormatError::Newer(version).into());
        }
        let Some((rest, sum)) = rest.split_last_chunk::<SUM_BYTES>() else {
            return Err(CheckpointError::Damaged("cut off"));
        };
        if xxh3_64(rest) != u64::from_le_bytes(*sum) {
            return Err(CheckpointError::Damaged("cut off, or the checksum is wrong"));
        }
        let gap_bytes = (u32_at(header, 12) as usize).saturating_mul(GAP_BYTES);
        let specs_bytes = usize::try_from(u64_at(header, 40)).unwrap_or(usize::MAX);
        let parts = rest.split_at_checked(gap_bytes);
        let parts = parts.and_then(|(gaps, rest)| Some((gaps, rest.split_at_checked(specs_bytes)?.0)));
        let Some((gaps, specs)) = parts else {
            return Err(CheckpointError::Damaged("its parts are longer than it is"));
        };
        let time = |bytes: &[u8], at| Timestamp(u64_at(bytes, at) as i64);
        let gap = |bytes: &[u8]| Gap { from: time(bytes, 0), to: time(bytes, 8), records: u64_at(bytes, 16) };
        let standing = Standing {
            position: Position { segment: u64_at(header, 16), sequence: u64_at(header, 24) },
            newest: time(header, 32),
            specs: specs.to_vec(),
            gaps: gaps.chunks_exact(GAP_BYTES).map(gap).collect(),
        };
        // Most of the file, which can be large: it stays where it is.
        bytes.truncate(bytes.len() - SUM_BYTES);
        bytes.drain(..HEADER_BYTES + gap_bytes + specs_bytes);
        Ok(Self { standing, state: bytes })
    }
}

/// A checkpoint on its way to the disk.
pub struct CheckpointWriter {
    journal: Journal,
    sequence: u64,
    /// `None` once it has its name.
    file: Option<Arc<dyn DiskFile>>,
    sum: Xxh3,
    bytes: u64,
}

impl CheckpointWriter {
    /// Writes the next part of the state.
    ///
    /// # Errors
    /// When it cannot be written: the checkpoint is of no use then.
    pub fn append(&mut self, state: &[u8]) -> io::Result<()> {
        self.sum.update(state);
        self.write(&[state])
    }

    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.file.as_ref().map_or(Ok(()), |file| file.append(parts))
    }

    /// All of the state is written. Once it is on the disk, only the checkpoint before is kept. Returns its size in bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<u64> {
        let sum = self.sum.digest().to_le_bytes();
        self.write(&[&sum])?;
        if let Some(file) = &self.file {
            file.sync()?;
        }
        let disk = &self.journal.disk;
        disk.rename(TEMPORARY, &format!("{:020}{SUFFIX}", self.sequence))?;
        self.file = None;
        disk.sync()?;
        for name in self.journal.checkpoints()?.iter().skip(KEPT_COUNT) {
            disk.remove(name)?;
        }
        Ok(self.bytes)
    }
}

impl Drop for CheckpointWriter {
    /// One that was not finished goes.
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = self.journal.disk.remove(TEMPORARY);
        }
    }
}

impl Journal {
    /// Names of all checkpoints, the newest first.
    pub fn checkpoints(&self) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self.disk.list()?.into_iter().filter(|name| name.ends_with(SUFFIX)).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// The checkpoint of this name.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn load(&self, name: &str) -> Result<Checkpoint, CheckpointError> {
        let mut bytes = Vec::new();
        self.disk.read(name, u64::MAX, &mut bytes)?;
        Checkpoint::decode(bytes)
    }

    /// The newest checkpoint that is whole and that `restore` can make something of; others are reported and put out
    /// of the way, so that they are not taken for one of the two that are kept.
    ///
    /// # Errors
    /// When one cannot be read, or is of a later version.
    pub fn latest<T>(
        &self,
        mut restore: impl FnMut(&Checkpoint) -> Result<T, RestoreError>,
    ) -> Result<Option<(T, Standing)>, CheckpointError> {
        for name in self.checkpoints()? {
            let reason = match self.load(&name) {
                Ok(checkpoint) => match restore(&checkpoint) {
                    Ok(restored) => return Ok(Some((restored, checkpoint.standing))),
                    Err(RestoreError::Unusable(reason)) => reason,
                    Err(RestoreError::Newer(reason)) => return Err(CheckpointError::State(reason)),
                },
                Err(CheckpointError::Damaged(reason)) => reason.to_owned(),
                Err(error) => return Err(error),
            };
            tracing::error!(checkpoint = name, "a checkpoint is of no use, the one before serves: {reason}");
            self.set_aside(&name)?;
        }
        Ok(None)
    }

    fn set_aside(&self, name: &str) -> io::Result<()> {
        self.disk.rename(name, &format!("{name}.damaged"))?;
        self.disk.sync()
    }

    /// Begins to write a checkpoint of a state that stands here; there is one at a time.
    pub fn begin_checkpoint(&self, standing: &Standing) -> io::Result<CheckpointWriter> {
        // Of a process that did not finish it.
        if self.disk.list()?.iter().any(|name| name == TEMPORARY) {
            self.disk.remove(TEMPORARY)?;
        }
        let file = Some(self.disk.create(TEMPORARY)?);
        let (journal, sequence) = (self.clone(), standing.position.sequence);
        let mut writer = CheckpointWriter { journal, sequence, file, sum: Xxh3::new(), bytes: 0 };
        let rest = standing.rest();
        writer.sum.update(&rest);
        writer.write(&[&standing.header(), &rest])?;
        Ok(writer)
    }

    /// The oldest segment that a recovery may need: that of the older of two checkpoints. `None` while there are fewer.
    pub(super) fn needed_from(&self) -> io::Result<Option<u64>> {
        let names = self.checkpoints()?;
        if names.len() < KEPT_COUNT {
            return Ok(None);
        }
        let mut oldest = u64::MAX;
        let mut header = Vec::new();
        for name in names.iter().take(KEPT_COUNT) {
            self.disk.read(name, HEADER_BYTES as u64, &mut header)?;
            if header.len() < HEADER_BYTES || u64_at(&header, HEADER_BYTES - 8) != xxh3_64(&header[..HEADER_BYTES - 8])
            {
                return Ok(None);
            }
            oldest = oldest.min(u64_at(&header, 16));
        }
        Ok(Some(oldest))
    }
}
