//! The bytes of a segment: a header, then records one after the other. All numbers are little-endian.
//!
//! | segment header, 48 bytes, written twice | |
//! |---|---|
//! | 0..8 | `SLOBJRNL` |
//! | 8..12 | version of the format |
//! | 12..16 | 0 |
//! | 16..24 | sequence of the segment's first record |
//! | 24..32 | when it was begun, in ms since 1970 |
//! | 32..40 | salt of the record headers' checksums |
//! | 40..48 | XXH3 (64 bits) of what comes before |
//!
//! | record header, 40 bytes, then the body | |
//! |---|---|
//! | 0..4 | `RCRD` |
//! | 4..8 | what the body is |
//! | 8..12 | bytes of the body |
//! | 12..20 | sequence |
//! | 20..28 | when it arrived, in ms since 1970 |
//! | 28..36 | XXH3 (64 bits) of the body |
//! | 36..40 | lower half of the XXH3 of what comes before, seeded with the salt |
//!
//! A header has a checksum of its own, so that a damaged body costs one record and not the place of the next. Where
//! a header is damaged the next one is searched for; the salt keeps a sender from planting records in bodies.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::types::Timestamp;
use crate::wire::Protocol;

/// The format written; later ones are refused.
pub const VERSION: u32 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"SLOBJRNL";
const RECORD_MAGIC: &[u8; 4] = b"RCRD";
const COPY_BYTES: usize = 48;
/// Bytes before the first record.
pub const SEGMENT_HEADER_BYTES: usize = 2 * COPY_BYTES;
/// Bytes before each body.
pub const RECORD_HEADER_BYTES: usize = 40;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The specs that hold from here on, as the caller writes them. A journal begins with such a record.
    Specs,
    /// A write request as it came, compressed.
    Write(Protocol),
    /// What somebody said about a rollout, as the caller writes it.
    Rollout,
}

impl Kind {
    const fn code(self) -> u32 {
        match self {
            Self::Specs => 0,
            Self::Write(Protocol::V1) => 1,
            Self::Write(Protocol::V2) => 2,
            Self::Rollout => 3,
        }
    }

    const fn of(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Specs),
            1 => Some(Self::Write(Protocol::V1)),
            2 => Some(Self::Write(Protocol::V2)),
            3 => Some(Self::Rollout),
            _ => None,
        }
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Sequence of its first record.
    pub first_sequence: u64,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// Of its records' checksums; should be hard to guess.
    pub salt: u64,
}

/// A format that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The version of a whole file.
    #[error(
        "format version {0}, and this sloburn reads up to {VERSION}: it was written by a newer sloburn; run that one"
    )]
    Newer(u32),
    /// A record among known ones.
    #[error("a record of kind {0}, which this sloburn does not know: it was written by a newer sloburn; run that one")]
    Kind(u32),
}

impl SegmentHeader {
    /// The bytes a segment begins with.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let copy = &mut bytes[..COPY_BYTES];
        copy[..8].copy_from_slice(SEGMENT_MAGIC);
        copy[8..12].copy_from_slice(&VERSION.to_le_bytes());
        copy[16..24].copy_from_slice(&self.first_sequence.to_le_bytes());
        copy[24..32].copy_from_slice(&self.begun_at.as_millis().to_le_bytes());
        copy[32..40].copy_from_slice(&self.salt.to_le_bytes());
        let sum = xxh3_64(&copy[..40]);
        copy[40..48].copy_from_slice(&sum.to_le_bytes());
        bytes.copy_within(..COPY_BYTES, COPY_BYTES);
        bytes
    }

    /// Reads the header of a segment; `None` when neither of its copies is whole.
    ///
    /// # Errors
    /// When the segment is of a newer version.
    pub fn decode(segment: &[u8]) -> Result<Option<Self>, FormatError> {
        for copy in segment.chunks_exact(COPY_BYTES).take(2) {
            if &copy[..8] != SEGMENT_MAGIC || u64_at(copy, 40) != xxh3_64(&copy[..40]) {
                continue;
            }
            let version = u32_at(copy, 8);
            if version > VERSION {
                return Err(FormatError::Newer(version));
            }
            let begun_at = Timestamp(u64_at(copy, 24) as i64);
            return Ok(Some(Self { first_sequence: u64_at(copy, 16), begun_at, salt: u64_at(copy, 32) }));
        }
        Ok(None)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number: one more than that of the record before.
    pub sequence: u64,
    /// What it is.
    pub kind: Kind,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// As it came.
    pub body: &'a [u8],
}

/// The checksum of a body, which may be taken ahead of the record.
pub fn body_sum(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// The header of a record. The body follows it.
pub fn record_header(salt: u64, record: &Record<'_>, body_sum: u64) -> [u8; RECORD_HEADER_BYTES] {
    let mut bytes = [0; RECORD_HEADER_BYTES];
    bytes[..4].copy_from_slice(RECORD_MAGIC);
    bytes[4..8].copy_from_slice(&record.kind.code().to_le_bytes());
    bytes[8..12].copy_from_slice(&(record.body.len() as u32).to_le_bytes());
    bytes[12..20].copy_from_slice(&record.sequence.to_le_bytes());
    bytes[20..28].copy_from_slice(&record.arrived_at.as_millis().to_le_bytes());
    bytes[28..36].copy_from_slice(&body_sum.to_le_bytes());
    let sum = xxh3_64_with_seed(&bytes[..36], salt) as u32;
    bytes[36..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// A part of a segment that holds no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Bytes from the segment's start.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
    /// Sequence and arrival of the record whose body is all there and wrong, where its header is right.
    pub lost: Option<(u64, Timestamp)>,
    /// Whether no record follows.
    pub at_end: bool,
}

/// What stands at a place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// No record; the next item is one, if there is one.
    Damage(Damage),
}

/// The records of a segment in order, and what is damaged between them.
#[derive(Debug)]
pub struct Records<'a> {
    segment: &'a [u8],
    salt: u64,
    at: usize,
}

struct Header {
    kind: u32,
    length: usize,
    sequence: u64,
    arrived_at: Timestamp,
    body_sum: u64,
}

impl<'a> Records<'a> {
    /// Reads a whole segment whose header is `header`.
    pub fn new(segment: &'a [u8], header: &SegmentHeader) -> Self {
        Self { segment, salt: header.salt, at: SEGMENT_HEADER_BYTES }
    }

    /// Where the next item begins, in bytes from the segment's start.
    pub fn offset(&self) -> usize {
        self.at
    }

    fn header(&self, at: usize) -> Option<Header> {
        let bytes = self.segment.get(at..at + RECORD_HEADER_BYTES)?;
        let sum = xxh3_64_with_seed(&bytes[..36], self.salt) as u32;
        (&bytes[..4] == RECORD_MAGIC && u32_at(bytes, 36) == sum).then(|| Header {
            kind: u32_at(bytes, 4),
            length: u32_at(bytes, 8) as usize,
            sequence: u64_at(bytes, 12),
            arrived_at: Timestamp(u64_at(bytes, 20) as i64),
            body_sum: u64_at(bytes, 28),
        })
    }

    /// The body that belongs to a header at `at`, if it is whole.
    fn body(&self, at: usize, header: &Header) -> Option<&'a [u8]> {
        let start = at + RECORD_HEADER_BYTES;
        let body = self.segment.get(start..start.checked_add(header.length)?)?;
        (body_sum(body) == header.body_sum).then_some(body)
    }

    /// Where the next whole record begins, from `at` on.
    fn search(&self, mut at: usize) -> Option<usize> {
        loop {
            let rest = self.segment.get(at..)?;
            at += rest.windows(RECORD_MAGIC.len()).position(|bytes| bytes == RECORD_MAGIC)?;
            if let Some(header) = self.header(at) {
                if self.body(at, &header).is_some() {
                    return Some(at);
                }
                // A whole header says where its record ends.
                at = at.saturating_add(RECORD_HEADER_BYTES).saturating_add(header.length);
            } else {
                at += 1;
            }
        }
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// On a record that only a newer version knows.
    pub fn next_item(&mut self) -> Result<Option<Item<'a>>, FormatError> {
        if self.at >= self.segment.len() {
            return Ok(None);
        }
        let header = self.header(self.at);
        if let Some((header, body)) = header.as_ref().and_then(|header| Some((header, self.body(self.at, header)?))) {
            let kind = Kind::of(header.kind).ok_or(FormatError::Kind(header.kind))?;
            self.at += RECORD_HEADER_BYTES + body.len();
            let (sequence, arrived_at) = (header.sequence, header.arrived_at);
            return Ok(Some(Item::Record(Record { sequence, kind, arrived_at, body })));
        }
        let past = match &header {
            Some(header) => self.at.saturating_add(RECORD_HEADER_BYTES).saturating_add(header.length),
            None => self.at + 1,
        };
        let next = self.search(past);
        let (offset, end) = (self.at, next.unwrap_or(self.segment.len()));
        self.at = end;
        // What ends before its length was never acknowledged.
        let lost = header.filter(|_| past <= self.segment.len()).map(|header| (header.sequence, header.arrived_at));
        Ok(Some(Item::Damage(Damage { offset, bytes: end - offset, lost, at_end: next.is_none() })))
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { first_sequence: 7, begun_at: Timestamp(1_000), salt: 0x5eed };
    const BODIES: [&[u8]; 4] = [b"", b"first", &[0; 100], b"RCRD is no record"];

    fn segment() -> Vec<u8> {
        let mut bytes = HEADER.encode().to_vec();
        for (i, body) in BODIES.into_iter().enumerate() {
            let (kind, sequence) = (if i == 0 { Kind::Specs } else { Kind::Write(Protocol::V1) }, 7 + i as u64);
            let record = Record { sequence, kind, arrived_at: Timestamp(2_000 + i as i64), body };
            bytes.extend(record_header(HEADER.salt, &record, body_sum(body)));
            bytes.extend(body);
        }
        bytes
    }

    /// Sequences of the whole records, and the damage between them.
    fn read(bytes: &[u8]) -> (Vec<u64>, Vec<Damage>) {
        let header = SegmentHeader::decode(bytes).unwrap().unwrap();
        let (mut sequences, mut damages) = (Vec::new(), Vec::new());
        let mut records = Records::new(bytes, &header);
        while let Some(item) = records.next_item().unwrap() {
            match item {
                Item::Record(record) => {
                    assert_eq!(record.body, BODIES[record.sequence as usize - 7]);
                    sequences.push(record.sequence);
                }
                Item::Damage(damage) => damages.push(damage),
            }
        }
        (sequences, damages)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = segment();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(Some(HEADER)));
        assert_eq!(read(&bytes), (vec![7, 8, 9, 10], Vec::new()));
    }

    #[test]
    fn one_flipped_bit_costs_one_record_at_most() {
        let whole = segment();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (sequences, damages) = read(&bytes);
            if bit / 8 < SEGMENT_HEADER_BYTES {
                assert_eq!((sequences.len(), damages.len()), (4, 0), "the header's other copy serves: bit {bit}");
            } else {
                assert_eq!((sequences.len(), damages.len()), (3, 1), "bit {bit}");
                assert_eq!(damages[0].at_end, !sequences.contains(&10), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_segment_cut_anywhere_keeps_what_is_whole() {
        let whole = segment();
        let mut ends = vec![SEGMENT_HEADER_BYTES];
        for body in BODIES {
            ends.push(ends[ends.len() - 1] + RECORD_HEADER_BYTES + body.len());
        }
        for length in SEGMENT_HEADER_BYTES..whole.len() {
            let (sequences, damages) = read(&whole[..length]);
            let kept = ends.iter().filter(|end| **end <= length).count() - 1;
            assert_eq!(sequences.len(), kept, "cut at {length}");
            let torn = length - ends[kept];
            let expected = (torn > 0).then(|| (ends[kept], torn, true));
            assert_eq!(damages.first().map(|d| (d.offset, d.bytes, d.at_end)), expected, "cut at {length}");
        }
        for length in 0..SEGMENT_HEADER_BYTES {
            let header = SegmentHeader::decode(&whole[..length]).unwrap();
            assert_eq!(header.is_some(), length >= COPY_BYTES, "cut at {length}");
        }
    }

    #[test]
    fn a_record_planted_in_a_body_is_never_read() {
        let planted = Record { sequence: 9, kind: Kind::Write(Protocol::V1), arrived_at: Timestamp(0), body: b"evil" };
        let mut body = record_header(0, &planted, body_sum(planted.body)).to_vec();
        body.extend(planted.body);
        let carrier = Record { sequence: 7, body: &body, ..planted };
        let mut bytes = HEADER.encode().to_vec();
        bytes.extend(record_header(HEADER.salt, &carrier, body_sum(&body)));
        bytes.extend(&body);
        // The carrier's header is lost, so that its body is searched.
        bytes[SEGMENT_HEADER_BYTES] ^= 1;
        assert!(read(&bytes).0.is_empty());
    }

    #[test]
    fn what_only_a_newer_version_knows_is_refused() {
        let mut header = HEADER.encode();
        header[8] = 2;
        for copy in header.chunks_exact_mut(COPY_BYTES) {
            copy[8] = 2;
            let sum = xxh3_64(&copy[..40]);
            copy[40..].copy_from_slice(&sum.to_le_bytes());
        }
        assert_eq!(SegmentHeader::decode(&header), Err(FormatError::Newer(2)));
        let mut bytes = HEADER.encode().to_vec();
        let record = Record { sequence: 7, kind: Kind::Specs, arrived_at: Timestamp(0), body: b"" };
        let mut header = record_header(HEADER.salt, &record, body_sum(b""));
        header[4] = 9;
        let sum = xxh3_64_with_seed(&header[..36], HEADER.salt) as u32;
        header[36..].copy_from_slice(&sum.to_le_bytes());
        bytes.extend(header);
        assert_eq!(Records::new(&bytes, &HEADER).next_item(), Err(FormatError::Kind(9)));
    }
}
