//! The audit log: every record of every rollout, in the order they came, each chained to the one before.
//!
//! An entry's hash is SHA-256 over the hash of the entry before (32 bytes, zeros before the first) and the record's JSON.
//! The JSON is what is hashed, kept, served and exported, byte for byte; serde writes a record's fields in their order and
//! numbers so that they come back exactly, so the same record always makes the same bytes. Whoever changes, removes or
//! swaps entries breaks the chain; whoever cuts its end off is found out by a head hash noted elsewhere.
//!
//! The log is in the same embedded store as what receivers have still to be told, and is written in the same
//! transaction: what is told is on the record, and what is on the record is told ([`crate::notify::outbox`]). Appending
//! is idempotent: a rollout's records are numbered, and a restarted engine that lives through its journal again repeats
//! them. Overrides are records like all others.
//!
//! The log is bounded by age and by size ([`Retention`]). What goes, goes from the beginning, and an [`Anchor`] keeps the
//! place and the hash of the last entry that went, so that the rest can still be verified.
//!
//! | what | file |
//! |---|---|
//! | hashes, entries as lines of text | `chain.rs` |
//! | whether a chain is intact | `verify.rs` |
//! | the log in its store | `log.rs` |
//! | reading it, whole or one rollout | `read.rs` |
//! | how releases went, by service and week | `report.rs`, `table.rs` |
//! | records for people | `text.rs` |

mod chain;
mod log;
mod read;
mod report;
mod table;
mod text;
mod verify;

pub use chain::{Anchor, Entry, Hash, HashError, LINE_LIMIT_BYTES, Line, LineError};
pub use log::{Appended, Appender, Retention};
pub use read::{Filter, Log, LogError, PAGE_LIMIT_ENTRIES, Pages};
pub use report::{Budget, Cell, Report, Reporter, Week};
pub use text::describe;
pub use verify::{Broken, Verified, Verifier};
