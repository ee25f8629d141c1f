//! Reading the log: from a place in it to its end, whatever state it is in.

use std::io;
use std::ops::ControlFlow;

use super::format::{FormatError, Item, Record, Records, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{Gap, Journal, Position, SEGMENT_SUFFIX};
use crate::types::Timestamp;

/// A segment in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Counts up; the file is called by it.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
}

impl Segment {
    pub(super) fn name(number: u64) -> String {
        format!("{number:08}{SEGMENT_SUFFIX}")
    }
}

/// How far a reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Numbers of the first, the last and the current segment.
    pub first: u64,
    /// See [`Self::first`].
    pub last: u64,
    /// See [`Self::first`].
    pub current: u64,
    /// Bytes read, damaged and skipped ones included.
    pub bytes: u64,
    /// Bytes to read in all.
    pub total_bytes: u64,
    /// Records told.
    pub records: u64,
}

/// What a reading found.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Where the next record will stand.
    pub end: Position,
    /// What is lost, in order.
    pub gaps: Vec<Gap>,
    /// Arrival of the last record told, or what the caller knew before.
    pub newest: Timestamp,
    /// How far it came.
    pub progress: Progress,
    /// The last segment and how much of it is whole, when it is not all.
    pub(super) torn: Option<(u64, u64)>,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk does not answer.
    #[error("cannot read {name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// It was written by a newer version.
    #[error("{name}: {source}")]
    Format {
        /// The file.
        name: String,
        /// What is unknown.
        source: FormatError,
    },
}

impl Journal {
    /// All segments in order.
    pub fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for name in self.disk.list()? {
            let number = name.strip_suffix(SEGMENT_SUFFIX).and_then(|digits| digits.parse().ok());
            if let Some(number) = number.filter(|number| Segment::name(*number) == name) {
                segments.push(Segment { number, bytes: self.disk.len(&name)? });
            }
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn list(&self) -> Result<Vec<Segment>, LogError> {
        self.segments().map_err(|source| LogError::Io { name: "the folder".to_owned(), source })
    }

    /// The beginning of a segment, if it means anything.
    pub(super) fn header(&self, number: u64) -> io::Result<Option<SegmentHeader>> {
        let mut bytes = Vec::new();
        self.disk.read(&Segment::name(number), SEGMENT_HEADER_BYTES as u64, &mut bytes)?;
        Ok(SegmentHeader::decode(&bytes).ok().flatten())
    }

    /// Where the oldest record that is kept stands.
    pub fn oldest(&self) -> io::Result<Position> {
        for segment in self.segments()? {
            if let Some(header) = self.header(segment.number)? {
                return Ok(Position { segment: segment.number, sequence: header.first_sequence });
            }
        }
        Ok(Position::default())
    }

    /// The beginning of the segment from which on all records stand that arrived at `at` or later.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn since(&self, at: Timestamp) -> Result<Position, LogError> {
        let mut found = Position::default();
        for segment in self.list()?.iter().rev() {
            // One that cannot be read, or is gone by now, says so when it is.
            let Ok(Some(header)) = self.header(segment.number) else { continue };
            found = Position { segment: segment.number, sequence: header.first_sequence };
            if header.begun_at <= at {
                break;
            }
        }
        Ok(found)
    }

    /// Tells `visit` every record from `from` on, in order. `newest` is the arrival of the record before.
    ///
    /// Damage is logged, skipped, and shows as a gap where a record's number is missing. The end of the last segment
    /// may be torn: what stands there was never acknowledged, or lost with the power.
    ///
    /// # Errors
    /// When a segment cannot be read or is of a newer version; damage is no error.
    pub fn read(
        &self,
        from: Position,
        newest: Timestamp,
        visit: &mut dyn FnMut(&Progress, Record<'_>) -> ControlFlow<()>,
    ) -> Result<Reading, LogError> {
        self.read_until(from, u64::MAX, newest, visit)
    }

    /// The same up to a segment, while others may be written.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub fn read_until(
        &self,
        from: Position,
        last_segment: u64,
        newest: Timestamp,
        visit: &mut dyn FnMut(&Progress, Record<'_>) -> ControlFlow<()>,
    ) -> Result<Reading, LogError> {
        let is_asked_for = |segment: &Segment| (from.segment..=last_segment).contains(&segment.number);
        let segments: Vec<Segment> = self.list()?.into_iter().filter(is_asked_for).collect();
        let (first, last) = (segments.first().map_or(0, |s| s.number), segments.last().map_or(0, |s| s.number));
        let total_bytes = segments.iter().map(|s| s.bytes).sum();
        let progress = Progress { first, last, current: first, total_bytes, ..Progress::default() };
        let mut reading = Reading { end: from, gaps: Vec::new(), newest, progress, torn: None };
        let mut bytes = Vec::new();
        let mut done_bytes = 0;
        for segment in segments {
            let name = Segment::name(segment.number);
            match self.disk.read(&name, u64::MAX, &mut bytes) {
                Ok(()) => {}
                // Removed since it was listed; a gap shows by the numbers.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(LogError::Io { name, source }),
            }
            reading.progress.current = segment.number;
            let flow = reading.segment(segment.number, &bytes, done_bytes, visit);
            done_bytes += segment.bytes;
            reading.progress.bytes = done_bytes;
            if flow.map_err(|source| LogError::Format { name, source })?.is_break() {
                break;
            }
        }
        Ok(reading)
    }
}

impl Reading {
    fn segment(
        &mut self,
        number: u64,
        bytes: &[u8],
        done_bytes: u64,
        visit: &mut dyn FnMut(&Progress, Record<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FormatError> {
        let is_last = number == self.progress.last;
        self.torn = None;
        let Some(header) = SegmentHeader::decode(bytes)? else {
            if is_last && bytes.len() <= SEGMENT_HEADER_BYTES {
                tracing::info!(segment = number, "the last segment has not got its header yet");
            } else {
                tracing::warn!(segment = number, bytes = bytes.len(), "a segment is unreadable: its header is damaged");
            }
            self.torn = Some((number, 0));
            return Ok(ControlFlow::Continue(()));
        };
        let mut records = Records::new(bytes, &header);
        loop {
            let offset = records.offset() as u64;
            let Some(item) = records.next_item()? else { return Ok(ControlFlow::Continue(())) };
            self.progress.bytes = done_bytes + records.offset() as u64;
            let record = match item {
                Item::Record(record) => record,
                Item::Damage(damage) => {
                    if damage.at_end && is_last {
                        self.torn = Some((number, offset));
                    }
                    tracing::warn!(
                        segment = number,
                        offset,
                        bytes = damage.bytes,
                        sequence = damage.lost.map(|(sequence, _)| sequence),
                        "{}",
                        if damage.at_end { "the end of a segment is torn" } else { "part of a segment is damaged" }
                    );
                    // At the end no later record tells that this one is missing.
                    if let Some((sequence, at)) =
                        damage.lost.filter(|(s, _)| self.torn.is_some() && *s >= self.end.sequence)
                    {
                        self.lose_until(sequence + 1, at);
                    }
                    continue;
                }
            };
            // Already told, or part of a checkpoint.
            if record.sequence < self.end.sequence {
                continue;
            }
            self.lose_until(record.sequence, record.arrived_at);
            self.end = Position { segment: number, sequence: record.sequence + 1 };
            self.newest = record.arrived_at;
            self.progress.records += 1;
            if visit(&self.progress, record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// The records from the expected one up to, but not at, `sequence` are missing.
    fn lose_until(&mut self, sequence: u64, seen_at: Timestamp) {
        let records = sequence - self.end.sequence;
        if records == 0 {
            return;
        }
        // A clock that went back must not make an empty gap.
        let (from, to) = (self.newest.min(seen_at), self.newest.max(seen_at));
        tracing::error!(records, %from, %to, "the log lacks records: what arrived between these times may not be counted");
        self.gaps.push(Gap { from, to, records });
        self.end.sequence = sequence;
    }
}
