//! The log in its store, as part of a transaction of whoever owns the store.
//!
//! An entry is its hash, when it happened, and the record's JSON compressed (a record of evidence holds a scrape's counts
//! as numbers in text, which shrink to a third).

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Deserialize;

use super::{Anchor, Hash};
use crate::rollout::Record;
use crate::types::{Span, Timestamp};

/// From an entry's place to what [`pack`] makes of it.
pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
/// A rollout's entries, by its id and their place.
pub(super) const BY_ROLLOUT: TableDefinition<'_, (&str, u64), ()> = TableDefinition::new("audit_by_rollout");
/// From a rollout's id to the number of its next record.
const NEXT: TableDefinition<'_, &str, u64> = TableDefinition::new("audit_next");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("audit_meta");

pub(super) const META_HEAD: &str = "head";
pub(super) const META_ANCHOR: &str = "anchor";
const META_BYTES: &str = "bytes";

/// Entries that go at most each time something is appended, so that nobody waits for it: more than come.
const PRUNE_LIMIT_ENTRIES: usize = 256;
/// A hash and a time.
const HEAD_SIZE_BYTES: usize = 40;

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries older than this go.
    pub time: Span,
    /// With more than this, compressed, the oldest go.
    pub limit_bytes: u64,
}

impl Default for Retention {
    /// Two years, and 4 GiB.
    fn default() -> Self {
        Self { time: Span::days(730), limit_bytes: 4 << 30 }
    }
}

/// What came of appending a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is the entry of this place now.
    As(u64),
    /// It has been there.
    Known,
}

/// The log in a transaction that writes to it.
pub struct Appender<'t> {
    entries: Table<'t, u64, &'static [u8]>,
    by_rollout: Table<'t, (&'static str, u64), ()>,
    next: Table<'t, &'static str, u64>,
    meta: Table<'t, &'static str, &'static [u8]>,
    head: (u64, Hash),
    bytes: u64,
}

impl std::fmt::Debug for Appender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("head", &self.head).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<'t> Appender<'t> {
    /// The log as it stands; tables that are missing are made.
    ///
    /// # Errors
    /// The store's own.
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let meta = transaction.open_table(META)?;
        let head = meta.get(META_HEAD)?.and_then(|bytes| place(bytes.value())).unwrap_or((0, Hash::ZERO));
        let bytes = meta.get(META_BYTES)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.value().try_into().ok()?)));
        let bytes = bytes.unwrap_or(0);
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            by_rollout: transaction.open_table(BY_ROLLOUT)?,
            next: transaction.open_table(NEXT)?,
            meta,
            head,
            bytes,
        })
    }

    /// Adds a record, unless the rollout's record of this number is there already.
    ///
    /// # Errors
    /// The store's own.
    pub fn append(&mut self, record: &Record) -> Result<Appended, redb::Error> {
        let next = self.next.get(record.rollout.as_str())?.map_or(0, |next| next.value());
        if record.number < next {
            return Ok(Appended::Known);
        }
        if record.number > next {
            // A store that is younger than the rollout, or came back from a copy.
            let Record { rollout, number, .. } = record;
            tracing::warn!(rollout, number, next, "records are missing in the audit log");
        }
        let json = json(record);
        let sequence = self.head.0 + 1;
        let hash = self.head.1.next(json.as_bytes());
        let packed = pack(hash, record.at, &json);
        self.entries.insert(sequence, packed.as_slice())?;
        self.by_rollout.insert((record.rollout.as_str(), sequence), ())?;
        self.next.insert(record.rollout.as_str(), record.number + 1)?;
        self.head = (sequence, hash);
        self.bytes += packed.len() as u64;
        Ok(Appended::As(sequence))
    }

    /// Takes out, from the beginning, what is not to be kept any more, some of it; how many entries went.
    ///
    /// # Errors
    /// The store's own.
    pub fn prune(&mut self, retention: Retention, now: Timestamp) -> Result<usize, redb::Error> {
        let mut pruned = 0;
        let mut anchor = None;
        while pruned < PRUNE_LIMIT_ENTRIES {
            let Some((sequence, packed)) = self.entries.first()?.map(|(k, v)| (k.value(), v.value().to_vec())) else {
                break;
            };
            let is_last = sequence == self.head.0;
            let Some((hash, at, record)) = unpack(&packed) else { break };
            let is_old = now.since(at) > retention.time;
            // The newest stays: it is what the next one is chained to.
            if is_last || !(is_old || self.bytes > retention.limit_bytes) {
                break;
            }
            self.entries.remove(sequence)?;
            self.bytes = self.bytes.saturating_sub(packed.len() as u64);
            if let Ok(Identity { rollout, number }) = serde_json::from_str(&record) {
                self.by_rollout.remove((rollout.as_str(), sequence))?;
                let is_latest = self.next.get(rollout.as_str())?.is_some_and(|next| next.value() == number + 1);
                // A rollout of late may be lived through again.
                if is_latest && is_old {
                    self.next.remove(rollout.as_str())?;
                }
            }
            anchor = Some(Anchor { sequence, hash, pruned_at: now.max(at) });
            pruned += 1;
        }
        if let Some(anchor) = anchor {
            let mut bytes = put(anchor.sequence, anchor.hash);
            bytes.extend(anchor.pruned_at.as_millis().to_be_bytes());
            self.meta.insert(META_ANCHOR, bytes.as_slice())?;
        }
        Ok(pruned)
    }

    /// Puts the end of the log down; to be called before the transaction is committed.
    ///
    /// # Errors
    /// The store's own.
    pub fn finish(mut self) -> Result<(), redb::Error> {
        self.meta.insert(META_HEAD, put(self.head.0, self.head.1).as_slice())?;
        self.meta.insert(META_BYTES, self.bytes.to_be_bytes().as_slice())?;
        Ok(())
    }
}

#[derive(Deserialize)]
struct Identity {
    rollout: String,
    number: u64,
}

/// A record's JSON: the same bytes for the same record.
fn json(record: &Record) -> String {
    serde_json::to_string(record).expect("records are structs of texts and numbers")
}

fn pack(hash: Hash, at: Timestamp, json: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_SIZE_BYTES + json.len() / 2);
    bytes.extend(hash.0);
    bytes.extend(at.as_millis().to_be_bytes());
    bytes.extend(snap::raw::Encoder::new().compress_vec(json.as_bytes()).expect("a record is not 4 GiB long"));
    bytes
}

/// When an entry happened.
pub(super) fn time_of(packed: &[u8]) -> Option<Timestamp> {
    let (_, rest) = packed.split_first_chunk::<32>()?;
    Some(Timestamp(i64::from_be_bytes(*rest.first_chunk()?)))
}

/// Hash, time and JSON. The store has checksums of its own: what it returns is what was put in.
pub(super) fn unpack(packed: &[u8]) -> Option<(Hash, Timestamp, String)> {
    let (hash, rest) = packed.split_first_chunk::<32>()?;
    let (_, compressed) = rest.split_first_chunk::<8>()?;
    let json = snap::raw::Decoder::new().decompress_vec(compressed).ok()?;
    Some((Hash(*hash), time_of(packed)?, String::from_utf8(json).ok()?))
}

fn put(sequence: u64, hash: Hash) -> Vec<u8> {
    [&sequence.to_be_bytes()[..], &hash.0].concat()
}

/// An entry's place and hash, and what follows them.
pub(super) fn place(bytes: &[u8]) -> Option<(u64, Hash)> {
    let (sequence, hash) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*sequence), Hash(*hash.first_chunk()?)))
}

/// What [`Appender::prune`] put down.
pub(super) fn anchor(bytes: &[u8]) -> Option<Anchor> {
    let (sequence, hash) = place(bytes)?;
    let pruned_at = Timestamp(i64::from_be_bytes(*bytes.get(HEAD_SIZE_BYTES..)?.first_chunk()?));
    Some(Anchor { sequence, hash, pruned_at })
}
