//! Writing the log.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, is_full};
use super::format::{self, Record, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::log::Segment;
use super::sync::Syncer;
use super::{Journal, Kind, Options, Position, Reading};
use crate::types::Timestamp;

/// Room is looked up again after so many bytes, or a quarter of the floor.
const LOOK_EVERY_BYTES: u64 = 4 << 20;
/// So much more than the floor must be free before a full disk is written to again.
const FLOOR_MARGIN: u64 = 20;

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it came.
    pub body: &'a [u8],
    /// [`body_sum`](super::body_sum) of the body.
    pub body_sum: u64,
}

/// Why something was not written. Nothing of it will be read again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room on the disk; there may be later.
    #[error("read-only: {0}")]
    ReadOnly(String),
    /// For good.
    #[error("{0}")]
    Stopped(String),
}

/// Appends to the log. There is one.
pub struct Writer {
    disk: Arc<dyn Disk>,
    options: Options,
    syncer: Syncer,
    segment: Option<Open>,
    next_segment: u64,
    next_sequence: u64,
    /// Why nothing is taken at the moment.
    read_only: Option<String>,
    /// Why nothing is taken any more.
    stopped: Option<String>,
    written_since_look_bytes: u64,
}

struct Open {
    file: Arc<dyn DiskFile>,
    bytes: u64,
    salt: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("next_sequence", &self.next_sequence).finish_non_exhaustive()
    }
}

impl Journal {
    /// Goes on writing where a reading of the whole log ended; a torn end is cut off first. `on_failure` is told when an fsync fails, on
    /// another thread: the process has to end then.
    ///
    /// # Errors
    /// When the torn end cannot be cut off.
    pub fn writer(&self, reading: &Reading, on_failure: impl FnOnce(&str) + Send + 'static) -> io::Result<Writer> {
        let last = self.segments()?.last().copied();
        if let Some((number, whole_bytes)) = reading.torn.or(last.map(|last| (last.number, last.bytes))) {
            let name = Segment::name(number);
            // One that never got a record; what is damaged before the first one is kept to be looked at.
            if whole_bytes == 0 && self.disk.len(&name)? > SEGMENT_HEADER_BYTES as u64 {
                self.disk.rename(&name, &format!("{name}.damaged"))?;
            } else if whole_bytes <= SEGMENT_HEADER_BYTES as u64 {
                self.disk.remove(&name)?;
            } else {
                // Also where nothing is to be cut off: what the process before had not synced is then on the disk.
                self.disk.truncate(&name, whole_bytes)?;
            }
            self.disk.sync()?;
        }
        let last = last.map_or(0, |last| last.number);
        Ok(Writer {
            syncer: Syncer::start(self.options.fsync, Arc::clone(&self.disk), Box::new(on_failure))?,
            disk: Arc::clone(&self.disk),
            options: self.options.clone(),
            segment: None,
            next_segment: last.max(reading.end.segment) + 1,
            next_sequence: reading.end.sequence,
            read_only: None,
            stopped: None,
            written_since_look_bytes: LOOK_EVERY_BYTES,
        })
    }
}

impl Writer {
    /// Writes one record that arrived at `now` and returns its sequence. It survives the process; for the power, see
    /// [`Self::when_durable`].
    ///
    /// # Errors
    /// When it was not written. A disk without room is tried again with the next record.
    pub fn append(&mut self, entry: Entry<'_>, now: Timestamp) -> Result<u64, AppendError> {
        if let Some(reason) = self.stopped.as_deref().or(self.syncer.failure()) {
            return Err(AppendError::Stopped(reason.to_owned()));
        }
        self.look_for_room()?;
        match self.try_append(entry, now) {
            Ok(()) => {
                if self.read_only.take().is_some() {
                    tracing::info!("there is room on the disk again: taking samples");
                }
                self.next_sequence += 1;
                self.syncer.wrote();
                Ok(self.next_sequence - 1)
            }
            Err(error) if is_full(&error) => Err(self.refuse(format!("the disk is full: {error}"))),
            Err(error) => {
                let reason = format!("cannot write the log: {error}");
                self.stopped = Some(reason.clone());
                Err(AppendError::Stopped(reason))
            }
        }
    }

    /// Calls `done` as soon as the policy lets everything written so far be acknowledged, on this thread or
    /// another; never after a failure.
    pub fn when_durable(&self, done: impl FnOnce() + Send + 'static) {
        self.syncer.when_durable(Box::new(done));
    }

    /// Waits until everything written so far is on the disk, whatever the policy.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn sync(&self) -> Result<(), AppendError> {
        let (done, synced) = std::sync::mpsc::channel();
        self.syncer.when_synced(Box::new(move || _ = done.send(())));
        synced.recv().map_err(|_| AppendError::Stopped(self.syncer.failure().unwrap_or("fsync failed").to_owned()))
    }

    /// The next record's sequence.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Where the next record will stand, or in a segment after that.
    pub fn position(&self) -> Position {
        let segment = self.next_segment - u64::from(self.segment.is_some());
        Position { segment, sequence: self.next_sequence }
    }

    /// Why nothing is taken at the moment, if so.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    fn refuse(&mut self, reason: String) -> AppendError {
        if self.read_only.is_none() {
            tracing::error!("{reason}; taking no samples until there is room");
        }
        self.read_only = Some(reason.clone());
        AppendError::ReadOnly(reason)
    }

    fn look_for_room(&mut self) -> Result<(), AppendError> {
        let every_bytes = LOOK_EVERY_BYTES.min(self.options.free_floor_bytes / 4);
        if self.options.free_floor_bytes == 0
            || (self.read_only.is_none() && self.written_since_look_bytes < every_bytes)
        {
            return Ok(());
        }
        self.written_since_look_bytes = 0;
        let mut floor_bytes = self.options.free_floor_bytes;
        if self.read_only.is_some() {
            floor_bytes += floor_bytes / FLOOR_MARGIN;
        }
        match self.disk.free_bytes() {
            Ok(free_bytes) if free_bytes < floor_bytes => Err(self.refuse(format!(
                "{} MiB free on the disk, under the floor of {} MiB (--storage.min-free)",
                free_bytes >> 20,
                self.options.free_floor_bytes >> 20
            ))),
            // Who cannot be asked may still be written to.
            _ => Ok(()),
        }
    }

    fn try_append(&mut self, entry: Entry<'_>, now: Timestamp) -> io::Result<()> {
        if self.segment.as_ref().is_some_and(|open| open.bytes >= self.options.segment_limit_bytes) {
            self.segment = None;
        }
        if self.segment.is_none() {
            self.segment = Some(self.begin_segment(now)?);
        }
        let Some(open) = &mut self.segment else { return Ok(()) };
        let record = Record { sequence: self.next_sequence, kind: entry.kind, arrived_at: now, body: entry.body };
        let header = format::record_header(open.salt, &record, entry.body_sum);
        if let Err(error) = open.file.append(&[&header, entry.body]) {
            // A part of it may be there. What cannot be cut off ends the segment.
            if open.file.truncate(open.bytes).is_err() {
                self.segment = None;
            }
            return Err(error);
        }
        let bytes = (header.len() + entry.body.len()) as u64;
        open.bytes += bytes;
        self.written_since_look_bytes += bytes;
        Ok(())
    }

    fn begin_segment(&mut self, now: Timestamp) -> io::Result<Open> {
        let number = self.next_segment;
        let salt = xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), self.options.seed);
        let header = SegmentHeader { first_sequence: self.next_sequence, begun_at: now, salt };
        let name = Segment::name(number);
        let file = self.disk.create(&name)?;
        // From here on the number is taken, also by a file that could not be removed.
        self.next_segment += 1;
        if let Err(error) = file.append(&[&header.encode()]) {
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        self.syncer.opened(Arc::clone(&file));
        Ok(Open { file, bytes: SEGMENT_HEADER_BYTES as u64, salt })
    }
}
