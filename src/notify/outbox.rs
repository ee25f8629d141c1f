//! What has to be told, on disk before anybody is told of it.
//!
//! An embedded ACID store holds, for each receiver, the notices it has not taken yet, and the alerts that fire. A
//! notice is stored once: its id is made of the alert's identity and of when it began or ended, so when a restarted
//! engine lives through its log again, what it repeats is recognised. Deliveries are at least once: what was taken
//! but not yet crossed off is sent again under the same id.
//!
//! In the same transaction go the records of rollouts, into the audit log ([`crate::audit`]), and what receivers have to be
//! told of them (`outbox/rollouts.rs`).
//!
//! Crossing off is not forced to disk by itself; the next notice or a clean end does that.

mod rollouts;

use std::path::Path;
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::notice::{Fingerprint, Notice};
use super::telling::{Desk, Telling};
use crate::audit;

pub use rollouts::{Address, News, Rules};

/// The layout of the tables below; raised with every change.
const VERSION: u64 = 1;
/// Ids of notices remembered, the latest ones: more than a log holds that is lived through again.
const TOLD_LIMIT_NOTICES: u64 = 100_000;
/// Memory for the store's pages.
const CACHE_LIMIT_BYTES: usize = 8 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// From a notice's id to its number.
const TOLD: TableDefinition<'_, u128, u64> = TableDefinition::new("told");
const TOLD_BY_NUMBER: TableDefinition<'_, u64, u128> = TableDefinition::new("told_by_number");
/// From an alert's identity to the notice of its beginning.
const FIRING: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("firing");
/// What a receiver has to be told: its name, the alert's identity, the notice's number.
const PENDING: TableDefinition<'_, (&str, u128, u64), &[u8]> = TableDefinition::new("pending");

const META_VERSION: &str = "version";
const META_NEXT: &str = "next";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The store's own words: another process has it open, the disk is full, the file is damaged.
    #[error("the outbox {path} cannot be used: {reason}")]
    Store {
        /// The file.
        path: String,
        /// What the store says.
        reason: redb::Error,
    },
    /// Written by another release.
    #[error("the outbox {path} has layout {found}, this release reads {VERSION}: use the release that wrote it")]
    Version {
        /// The file.
        path: String,
        /// What the file says.
        found: u64,
    },
}

/// The store; see the module.
#[derive(Debug)]
pub struct Outbox {
    database: Arc<Database>,
    path: String,
}

/// A receiver's last notice of an alert that it has taken, or that nobody will try to bring it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The alert.
    pub fingerprint: Fingerprint,
    /// The notice's [`Notice::number`]; earlier ones of the alert are settled too.
    pub number: u64,
}

/// What is in the store when it is opened.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Alerts that fire as far as receivers were to be told.
    pub firing: Vec<Arc<Notice>>,
    /// What receivers have not taken, by the receiver's name, in the order it was recorded.
    pub pending: Vec<(String, Arc<Notice>)>,
    /// What receivers have not been told of rollouts, in the same way.
    pub tellings: Vec<(String, Arc<Telling>)>,
    /// Rollouts in progress, and the alerts about them that stand.
    pub desk: Desk,
}

impl Outbox {
    /// Opens the store, which nobody else may have open, or makes it.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let name = path.display().to_string();
        let database = Database::builder().set_cache_size(CACHE_LIMIT_BYTES).create(path);
        let database = database.map_err(|reason| OutboxError::Store { path: name.clone(), reason: reason.into() })?;
        let outbox = Self { database: Arc::new(database), path: name };
        let found = outbox.run(|outbox| {
            let transaction = outbox.database.begin_write()?;
            let found = {
                let mut meta = transaction.open_table(META)?;
                let found = meta.get(META_VERSION)?.map(|version| version.value());
                if found.is_none() {
                    meta.insert(META_VERSION, VERSION)?;
                }
                transaction.open_table(TOLD)?;
                transaction.open_table(TOLD_BY_NUMBER)?;
                transaction.open_table(FIRING)?;
                transaction.open_table(PENDING)?;
                rollouts::make_tables(&transaction)?;
                found.unwrap_or(VERSION)
            };
            transaction.commit()?;
            Ok(found)
        })?;
        if found != VERSION {
            return Err(OutboxError::Version { path: outbox.path, found });
        }
        Ok(outbox)
    }

    /// The audit log, for reading.
    pub fn audit(&self) -> audit::Log {
        audit::Log::new(Arc::clone(&self.database), &self.path)
    }

    /// Everything that a notifier has to go on with.
    pub fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.run(|outbox| {
            let transaction = outbox.database.begin_read()?;
            let mut backlog = Backlog::default();
            for entry in transaction.open_table(FIRING)?.iter()? {
                backlog.firing.extend(decode(entry?.1.value()));
            }
            for entry in transaction.open_table(PENDING)?.iter()? {
                let (key, value) = entry?;
                backlog.pending.extend(decode(value.value()).map(|notice| (key.value().0.to_owned(), notice)));
            }
            rollouts::load(&transaction, &mut backlog)?;
            backlog.firing.sort_by_key(|notice| notice.number);
            backlog.pending.sort_by_key(|(_, notice)| notice.number);
            Ok(backlog)
        })
    }

    /// Stores, for every receiver, the notices not stored before, and returns them numbered and, where they end an
    /// alert, under the labels it began with. They are on disk when this returns. The end of an alert that is not
    /// known to fire is nobody's news and left out.
    pub fn record(&self, notices: &[Notice], receivers: &[String]) -> Result<Vec<Arc<Notice>>, OutboxError> {
        self.run(|outbox| {
            let transaction = outbox.database.begin_write()?;
            let mut fresh = Vec::new();
            {
                let mut meta = transaction.open_table(META)?;
                let mut told = transaction.open_table(TOLD)?;
                let mut told_by_number = transaction.open_table(TOLD_BY_NUMBER)?;
                let mut firing = transaction.open_table(FIRING)?;
                let mut pending = transaction.open_table(PENDING)?;
                let mut next = meta.get(META_NEXT)?.map_or(1, |next| next.value());
                for notice in notices {
                    if told.get(notice.id())?.is_some() {
                        continue;
                    }
                    let mut notice = Notice { number: next, ..notice.clone() };
                    if notice.resolved_at.is_none() {
                        firing.insert(notice.fingerprint.0, &*encode(&notice))?;
                    } else {
                        let Some(began) = firing.remove(notice.fingerprint.0)? else { continue };
                        if let Some(began) = decode(began.value()) {
                            notice = notice.under_labels_of(&began);
                        }
                    }
                    for receiver in receivers {
                        pending.insert((receiver.as_str(), notice.fingerprint.0, next), &*encode(&notice))?;
                    }
                    told.insert(notice.id(), next)?;
                    told_by_number.insert(next, notice.id())?;
                    if let Some(old) = next.checked_sub(TOLD_LIMIT_NOTICES)
                        && let Some(id) = told_by_number.remove(old)?
                    {
                        told.remove(id.value())?;
                    }
                    fresh.push(Arc::new(notice));
                    next += 1;
                }
                meta.insert(META_NEXT, next)?;
            }
            transaction.commit()?;
            Ok(fresh)
        })
    }

    /// Crosses off what receivers have taken.
    pub fn settle<'a>(&self, settled: impl IntoIterator<Item = (&'a str, Settled)>) -> Result<(), OutboxError> {
        self.run(|outbox| {
            let mut transaction = outbox.database.begin_write()?;
            // Another attempt after a crash is all that can come of it.
            let _ = transaction.set_durability(Durability::None);
            {
                let mut pending = transaction.open_table(PENDING)?;
                let mut tellings = transaction.open_table(rollouts::TELLINGS)?;
                for (receiver, Settled { fingerprint, number }) in settled {
                    let range = (receiver, fingerprint.0, 0)..=(receiver, fingerprint.0, number);
                    pending.retain_in(range.clone(), |_, _| false)?;
                    tellings.retain_in(range, |_, _| false)?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Crosses off everything for receivers that are not among these; how much there was.
    pub fn forget_others(&self, receivers: &[String]) -> Result<usize, OutboxError> {
        self.run(|outbox| {
            let transaction = outbox.database.begin_write()?;
            let mut forgotten = 0;
            let mut is_known = |receiver: &str| {
                let is_known = receivers.iter().any(|known| known == receiver);
                forgotten += usize::from(!is_known);
                is_known
            };
            transaction.open_table(PENDING)?.retain(|(receiver, _, _), _| is_known(receiver))?;
            transaction.open_table(rollouts::TELLINGS)?.retain(|(receiver, _, _), _| is_known(receiver))?;
            transaction.commit()?;
            Ok(forgotten)
        })
    }

    /// Forces to disk what is not there yet.
    pub fn sync(&self) -> Result<(), OutboxError> {
        self.run(|outbox| Ok(outbox.database.begin_write()?.commit()?))
    }

    fn run<T>(&self, work: impl FnOnce(&Self) -> Result<T, redb::Error>) -> Result<T, OutboxError> {
        work(self).map_err(|reason| OutboxError::Store { path: self.path.clone(), reason })
    }
}

fn encode(notice: &Notice) -> Vec<u8> {
    postcard::to_stdvec(notice).expect("a vector takes everything")
}

fn decode(bytes: &[u8]) -> Option<Arc<Notice>> {
    // The store has checksums of its own: what it returns is what was put in.
    postcard::from_bytes(bytes).map(Arc::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertState::{Firing, Resolved};
    use crate::notify::notice::tests::notice;
    use crate::types::Timestamp;

    fn receivers() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    fn open(folder: &tempfile::TempDir) -> Outbox {
        Outbox::open(&folder.path().join("outbox.redb")).unwrap()
    }

    fn pending(outbox: &Outbox) -> Vec<(String, u64)> {
        outbox.backlog().unwrap().pending.iter().map(|(name, notice)| (name.clone(), notice.number)).collect()
    }

    #[test]
    fn a_notice_is_stored_once_and_until_each_receiver_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(&folder);
        let firing = notice("A", Firing);
        let fresh = outbox.record(&[firing.clone(), notice("B", Firing)], &receivers()).unwrap();
        assert_eq!(fresh.iter().map(|notice| notice.number).collect::<Vec<_>>(), [1, 2]);
        assert!(outbox.record(std::slice::from_ref(&firing), &receivers()).unwrap().is_empty());
        outbox.settle([("a", Settled { fingerprint: firing.fingerprint, number: 1 })]).unwrap();
        outbox.sync().unwrap();
        drop(outbox);
        let outbox = open(&folder);
        assert_eq!(pending(&outbox), [("b".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 2)]);
        assert!(outbox.record(&[firing], &receivers()).unwrap().is_empty(), "after a restart too");
        assert_eq!(outbox.forget_others(&["a".to_owned()]).unwrap(), 2);
        assert_eq!(pending(&outbox), [("a".to_owned(), 2)]);
    }

    #[test]
    fn an_end_is_told_once_and_of_what_was_told_to_fire() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(&folder);
        let end = notice("A", Resolved);
        assert!(outbox.record(std::slice::from_ref(&end), &receivers()).unwrap().is_empty());
        outbox.record(&[notice("A", Firing)], &receivers()).unwrap();
        assert_eq!(outbox.backlog().unwrap().firing.len(), 1);
        let mut relabelled = end.clone();
        relabelled.labels.set("zone", "elsewhere");
        let told = outbox.record(&[relabelled], &receivers()).unwrap();
        assert_eq!((told.len(), &told[0].labels), (1, &end.labels), "under the labels it began with");
        assert!(outbox.backlog().unwrap().firing.is_empty());
        let again = Notice { starts_at: Timestamp(9_000), ..notice("A", Firing) };
        assert_eq!(outbox.record(&[again], &receivers()).unwrap().len(), 1, "another beginning is news");
        outbox.settle([("b", Settled { fingerprint: end.fingerprint, number: 2 })]).unwrap();
        assert_eq!(pending(&outbox).iter().filter(|(name, _)| name == "b").count(), 1);
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(&folder);
        let transaction = outbox.database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(META_VERSION, 2).unwrap();
        transaction.commit().unwrap();
        drop(outbox);
        let error = Outbox::open(&folder.path().join("outbox.redb")).unwrap_err().to_string();
        assert!(error.ends_with("has layout 2, this release reads 1: use the release that wrote it"), "{error}");
    }
}
