//! Hashes, and entries as lines of JSON: `{"sequence":7,"hash":"...","previous":"...","record":{...}}`.
//!
//! A log whose beginning has been pruned starts with a line of its own:
//! `{"anchor":{"sequence":6,"hash":"...","prunedAt":1793491200000}}`, the last entry that is not there any more.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::rollout::Record;
use crate::types::Timestamp;

/// A line is not longer: a record of everything a scrape of a large service told the judge is a hundredth of it.
pub const LINE_LIMIT_BYTES: usize = 16 << 20;

/// SHA-256; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// Not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct HashError;

impl Hash {
    /// What the first entry is chained to.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of a record's JSON after the entry with this hash.
    #[must_use]
    pub fn next(self, json: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(json).finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(HashError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| HashError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| HashError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A record and its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 1.
    pub sequence: u64,
    /// Over `previous` and `json`.
    pub hash: Hash,
    /// The hash of the entry before.
    pub previous: Hash,
    /// When what it tells happened.
    pub at: Timestamp,
    /// The record, as it was hashed.
    pub json: String,
}

/// The last entry that has been pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Anchor {
    /// Its place in the log.
    pub sequence: u64,
    /// Its hash, which the next entry is chained to.
    pub hash: Hash,
    /// When it went.
    pub pruned_at: Timestamp,
}

impl Entry {
    /// As a line of text, without its end.
    pub fn line(&self) -> String {
        let Self { sequence, hash, previous, json, .. } = self;
        format!(r#"{{"sequence":{sequence},"hash":"{hash}","previous":"{previous}","record":{json}}}"#)
    }

    /// The record.
    ///
    /// # Errors
    /// When a later release wrote it, in other words.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        serde_json::from_str(&self.json)
    }
}

impl Anchor {
    /// As a line of text, without its end.
    pub fn line(&self) -> String {
        let Self { sequence, hash, pruned_at: Timestamp(pruned_at) } = self;
        format!(r#"{{"anchor":{{"sequence":{sequence},"hash":"{hash}","prunedAt":{pruned_at}}}}}"#)
    }
}

/// One line of an exported log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The log begins after this.
    Anchor(Anchor),
    /// An entry.
    Entry(Entry),
}

/// Why a line is none of a log.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or not of this form.
    #[error("not a line of an audit log: {0}")]
    Form(serde_json::Error),
    /// The record is not one.
    #[error("entry {sequence} holds no record: {reason}")]
    Record {
        /// The entry.
        sequence: u64,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry<'l> {
    sequence: u64,
    hash: Hash,
    previous: Hash,
    #[serde(borrow)]
    record: &'l RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchored {
    anchor: Anchor,
}

#[derive(Deserialize)]
struct At {
    at: Timestamp,
}

impl FromStr for Line {
    type Err = LineError;

    /// Keeps the record's bytes as they stand.
    fn from_str(line: &str) -> Result<Self, LineError> {
        if line.starts_with("{\"anchor\"") {
            let Anchored { anchor } = serde_json::from_str(line).map_err(LineError::Form)?;
            return Ok(Self::Anchor(anchor));
        }
        let RawEntry { sequence, hash, previous, record } = serde_json::from_str(line).map_err(LineError::Form)?;
        let json = record.get().to_owned();
        let At { at } = serde_json::from_str(&json).map_err(|reason| LineError::Record { sequence, reason })?;
        Ok(Self::Entry(Entry { sequence, hash, previous, at, json }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::read::tests::record;

    /// Entries of a log, chained.
    pub(in crate::audit) fn entries(records: &[Record]) -> Vec<Entry> {
        let mut previous = Hash::ZERO;
        let chain = (1..).zip(records).map(|(sequence, record)| {
            let json = serde_json::to_string(record).unwrap();
            let hash = previous.next(json.as_bytes());
            let entry = Entry { sequence, hash, previous, at: record.at, json };
            previous = hash;
            entry
        });
        chain.collect()
    }

    #[test]
    fn the_hash_is_sha_256_of_the_hash_before_and_the_json() {
        // printf '%064d' 0 | xxd -r -p | cat - <(printf '{}') | sha256sum
        let expected = "fb1634c4e6cd4b1f1afe3ce2d6ef080f7ac5d1f357d723ad4dfca782733b62db";
        assert_eq!(Hash::ZERO.next(b"{}").to_string(), expected);
        assert_eq!(expected.parse::<Hash>().unwrap(), Hash::ZERO.next(b"{}"));
        for wrong in ["", "fb16", &expected.replace('f', "+"), &format!("{expected}0")] {
            assert_eq!(wrong.parse::<Hash>(), Err(HashError), "{wrong}");
        }
    }

    #[test]
    fn lines_come_back_byte_for_byte() {
        let entry = entries(&[record("pay/2@0", 0, 5)]).remove(0);
        assert_eq!(entry.line().parse::<Line>().unwrap(), Line::Entry(entry.clone()));
        let spaced = entry.line().replace(r#""number":0"#, r#""number": 0"#);
        let Line::Entry(read) = spaced.parse::<Line>().unwrap() else { panic!("{spaced}") };
        assert_ne!(read.json, entry.json, "what stands there is what is hashed");
        let anchor = Anchor { sequence: 7, hash: entry.hash, pruned_at: Timestamp(9) };
        assert_eq!(anchor.line().parse::<Line>().unwrap(), Line::Anchor(anchor));
    }

    #[test]
    fn what_is_no_line_is_said() {
        for (line, expected) in [
            ("", "not a line of an audit log: EOF while parsing a value at line 1 column 0"),
            ("{\"sequence\":1}", "not a line of an audit log: missing field `hash` at line 1 column 14"),
            ("{\"anchor\":{\"sequence\":1,\"hash\":\"00\"}}", "not a line of an audit log: a hash is 64"),
        ] {
            let error = line.parse::<Line>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let line = entries(&[record("pay/2@0", 0, 5)])[0].line().replace(r#""at":5"#, r#""at":"x""#);
        let error = line.parse::<Line>().unwrap_err().to_string();
        assert!(error.starts_with("entry 1 holds no record: "), "{error}");
    }
}
