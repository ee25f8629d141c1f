//! Reading the log: of a running daemon, or of the store that a stopped one left.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, TableError};
use serde::Deserialize;

use super::log::{BY_ROLLOUT, ENTRIES, META, META_ANCHOR, META_HEAD, anchor, place, time_of, unpack};
use super::{Anchor, Entry, Hash};
use crate::types::Timestamp;

/// Entries read in one transaction: a reader that takes its time must not keep old states of the store alive.
pub const PAGE_LIMIT_ENTRIES: usize = 128;
/// Bytes of JSON read in one transaction, give or take an entry.
const PAGE_LIMIT_BYTES: usize = 1 << 20;

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is none.
    #[error("there is no audit log at {0}: name the folder of a daemon's --storage.path")]
    Missing(String),
    /// A daemon has it open.
    #[error("{0} is in use by a running daemon: ask it with --url")]
    InUse(String),
    /// The store's own words.
    #[error("the audit log {path} cannot be read: {reason}")]
    Store {
        /// The file.
        path: String,
        /// What the store says.
        reason: redb::Error,
    },
}

/// Which entries are wanted; empty for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this service.
    pub service: Option<String>,
    /// Of this rollout.
    pub rollout: Option<String>,
    /// Of what happened then or later.
    pub since: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Of {
    service: String,
    rollout: String,
}

impl Filter {
    /// Whether an entry is wanted.
    ///
    /// # Errors
    /// When its record says nothing of a service and a rollout.
    pub fn matches(&self, entry: &Entry) -> Result<bool, serde_json::Error> {
        if self.since.is_some_and(|since| entry.at < since) {
            return Ok(false);
        }
        if self.service.is_none() && self.rollout.is_none() {
            return Ok(true);
        }
        let of: Of = serde_json::from_str(&entry.json)?;
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        Ok(is(&self.service, &of.service) && is(&self.rollout, &of.rollout))
    }
}

/// The log, for reading; cheap to clone.
#[derive(Clone)]
pub struct Log {
    database: Arc<dyn ReadableDatabase + Send + Sync>,
    path: Arc<str>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Log {
    /// In a store that is open.
    pub fn new(database: Arc<Database>, path: &str) -> Self {
        Self { database, path: path.into() }
    }

    /// In the store of a daemon that does not run.
    ///
    /// # Errors
    /// When there is none, or a daemon runs.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let name = path.display().to_string();
        if !path.is_file() {
            return Err(LogError::Missing(name));
        }
        let database: Arc<dyn ReadableDatabase + Send + Sync> = match ReadOnlyDatabase::open(path) {
            Ok(database) => Arc::new(database),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(LogError::InUse(name)),
            // What a killed daemon left has to be repaired first.
            Err(DatabaseError::RepairAborted) => match Database::open(path) {
                Ok(database) => Arc::new(database),
                Err(DatabaseError::DatabaseAlreadyOpen) => return Err(LogError::InUse(name)),
                Err(reason) => return Err(LogError::Store { path: name, reason: reason.into() }),
            },
            Err(reason) => return Err(LogError::Store { path: name, reason: reason.into() }),
        };
        Ok(Self { database, path: name.into() })
    }

    /// What was pruned last, if anything was.
    ///
    /// # Errors
    /// The store's own.
    pub fn anchor(&self) -> Result<Option<Anchor>, LogError> {
        Ok(self.meta(META_ANCHOR)?.as_deref().and_then(anchor))
    }

    /// The place and the hash of the newest entry; 0 and zeros if there has been none.
    ///
    /// # Errors
    /// The store's own.
    pub fn head(&self) -> Result<(u64, Hash), LogError> {
        Ok(self.meta(META_HEAD)?.as_deref().and_then(place).unwrap_or((0, Hash::ZERO)))
    }

    /// The entries that are wanted, the oldest first.
    ///
    /// # Errors
    /// The store's own.
    pub fn pages(&self, filter: Filter) -> Result<Pages, LogError> {
        let picked = self.run(|transaction| {
            let range = match (&filter.rollout, &filter.service) {
                (None, None) => return Ok(None),
                (Some(rollout), _) => (rollout.clone(), format!("{rollout}\0")),
                // A rollout's id is `service/version@time`, and `0` comes after `/`.
                (None, Some(service)) => (format!("{service}/"), format!("{service}0")),
            };
            let Some(table) = made(transaction.open_table(BY_ROLLOUT))? else { return Ok(Some(Vec::new())) };
            let keys = table.range((range.0.as_str(), 0)..(range.1.as_str(), 0))?;
            let mut places = keys.map(|entry| Ok(entry?.0.value().1)).collect::<Result<Vec<u64>, redb::Error>>()?;
            places.sort_unstable();
            Ok(Some(places))
        })?;
        Ok(Pages { log: self.clone(), filter, picked: picked.map(Vec::into_iter), after: 0 })
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, LogError> {
        self.run(|transaction| {
            let Some(table) = made(transaction.open_table(META))? else { return Ok(None) };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn run<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, LogError> {
        let result = self.database.begin_read().map_err(redb::Error::from).and_then(|transaction| work(&transaction));
        result.map_err(|reason| LogError::Store { path: self.path.to_string(), reason })
    }
}

/// Nothing for a table that nothing was ever put into.
fn made<T>(table: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Entries, some at a time.
#[derive(Debug)]
pub struct Pages {
    log: Log,
    filter: Filter,
    /// Places of those that are wanted; `None` for all.
    picked: Option<std::vec::IntoIter<u64>>,
    after: u64,
}

impl Pages {
    /// The next entries; none when there are no more.
    ///
    /// # Errors
    /// The store's own.
    pub fn next_page(&mut self) -> Result<Vec<Entry>, LogError> {
        let Self { log, filter, picked, after } = self;
        let since = filter.since.unwrap_or(Timestamp::MIN);
        log.run(|transaction| {
            let Some(table) = made(transaction.open_table(ENTRIES))? else { return Ok(Vec::new()) };
            let (mut page, mut bytes) = (Vec::new(), 0);
            // Of two neighbours the first one's hash is what the second is chained to.
            let mut before: Option<(u64, Hash)> = None;
            let mut take = |sequence: u64, packed: &[u8]| -> Result<bool, redb::Error> {
                if time_of(packed).is_none_or(|at| at < since) {
                    return Ok(true);
                }
                let previous = match before.filter(|(place, _)| place + 1 == sequence) {
                    Some((_, hash)) => hash,
                    None => previous_of(sequence, &table, transaction)?,
                };
                let Some((hash, at, json)) = unpack(packed) else { return Ok(true) };
                before = Some((sequence, hash));
                bytes += json.len();
                page.push(Entry { sequence, hash, previous, at, json });
                Ok(page.len() < PAGE_LIMIT_ENTRIES && bytes < PAGE_LIMIT_BYTES)
            };
            match picked {
                None => {
                    for entry in table.range(*after + 1..)? {
                        let (key, value) = entry?;
                        *after = key.value();
                        if !take(*after, value.value())? {
                            break;
                        }
                    }
                }
                Some(picked) => {
                    for sequence in picked {
                        let Some(value) = table.get(sequence)? else { continue };
                        if !take(sequence, value.value())? {
                            break;
                        }
                    }
                }
            }
            Ok(page)
        })
    }
}

fn previous_of(
    sequence: u64,
    table: &impl ReadableTable<u64, &'static [u8]>,
    transaction: &ReadTransaction,
) -> Result<Hash, redb::Error> {
    if let Some(value) = table.get(sequence.saturating_sub(1))? {
        return Ok(place(&[&[0; 8], value.value()].concat()).map_or(Hash::ZERO, |(_, hash)| hash));
    }
    let meta = made(transaction.open_table(META))?;
    let anchored = meta.map(|meta| Ok::<_, redb::Error>(meta.get(META_ANCHOR)?.map(|v| v.value().to_vec())));
    let anchor = anchored.transpose()?.flatten().as_deref().and_then(anchor);
    Ok(anchor.filter(|anchor| anchor.sequence + 1 == sequence).map_or(Hash::ZERO, |anchor| anchor.hash))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::{Appended, Appender, Line, Retention, Verifier};
    use crate::rollout::{Actor, Happened, Record};
    use crate::types::Span;

    pub(in crate::audit) fn record(rollout: &str, number: u64, at: i64) -> Record {
        let (service, rest) = rollout.split_once('/').unwrap();
        Record {
            rollout: rollout.to_owned(),
            number,
            at: Timestamp(at),
            service: service.to_owned(),
            version: rest.split_once('@').unwrap().0.to_owned(),
            baseline: Some("1".to_owned()),
            event: Happened::Held {
                paused: number.is_multiple_of(2),
                by: Actor { name: "kim".to_owned(), reason: format!("reason {number}: 0.1, \"quoted\", \u{e9}") },
            },
        }
    }

    fn database(folder: &tempfile::TempDir) -> (Arc<Database>, Log) {
        let path = folder.path().join("outbox.redb");
        let database = Arc::new(Database::create(&path).unwrap());
        (Arc::clone(&database), Log::new(database, &path.display().to_string()))
    }

    fn append(database: &Database, records: &[Record]) -> Vec<Appended> {
        append_and_prune(database, records, Retention::default(), Timestamp(0)).0
    }

    fn append_and_prune(
        database: &Database,
        records: &[Record],
        retention: Retention,
        now: Timestamp,
    ) -> (Vec<Appended>, usize) {
        let transaction = database.begin_write().unwrap();
        let mut appender = Appender::open(&transaction).unwrap();
        let appended = records.iter().map(|record| appender.append(record).unwrap()).collect();
        let pruned = appender.prune(retention, now).unwrap();
        appender.finish().unwrap();
        transaction.commit().unwrap();
        (appended, pruned)
    }

    fn read(log: &Log, filter: Filter) -> Vec<Entry> {
        let mut pages = log.pages(filter).unwrap();
        let mut entries = Vec::new();
        loop {
            let page = pages.next_page().unwrap();
            if page.is_empty() {
                return entries;
            }
            entries.extend(page);
        }
    }

    /// The place of the last entry, if the chain is intact.
    fn verified(log: &Log) -> u64 {
        let mut verifier = Verifier::new(Some(log.head().unwrap().1));
        let anchor = log.anchor().unwrap().map(Line::Anchor);
        let lines = anchor.into_iter().chain(read(log, Filter::default()).into_iter().map(Line::Entry));
        lines.for_each(|line| verifier.take(&line).unwrap());
        verifier.finish().unwrap().head.0
    }

    #[test]
    fn what_is_appended_twice_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let (database, log) = database(&folder);
        let records = [record("pay/2@0", 0, 1), record("pay/2@0", 1, 2), record("shop/7@0", 0, 3)];
        assert_eq!(append(&database, &records), [1, 2, 3].map(Appended::As));
        let more = [&records[1..], &[record("pay/2@0", 2, 4)]].concat();
        assert_eq!(append(&database, &more), [Appended::Known, Appended::Known, Appended::As(4)]);
        let read = read(&log, Filter::default());
        let expected = [&records[..], &more[2..]].concat();
        assert_eq!(read.iter().map(|entry| entry.record().unwrap()).collect::<Vec<_>>(), expected);
        assert_eq!(verified(&log), 4);
    }

    #[test]
    fn one_rollout_or_service_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let (database, log) = database(&folder);
        let rollouts = ["pay/2@0", "pay/3@9", "payment/2@0", "pay-auth/2@0"];
        let records: Vec<Record> = (0..400).map(|n| record(rollouts[n % 4], n as u64 / 4, n as i64)).collect();
        append(&database, &records);
        let places = |filter| read(&log, filter).iter().map(|e| e.sequence).collect::<Vec<u64>>();
        let of = |rollout: &str| Filter { rollout: Some(rollout.to_owned()), ..Filter::default() };
        assert_eq!(places(of("pay/3@9")), (0..100).map(|n| 4 * n + 2).collect::<Vec<_>>());
        assert!(places(of("pay/3")).is_empty());
        let service = Filter { service: Some("pay".to_owned()), since: Some(Timestamp(396)), ..Filter::default() };
        assert_eq!(places(service.clone()), [397, 398]);
        assert_eq!(places(Filter { since: None, ..service }).len(), 200);
        let all = read(&log, of("payment/2@0"));
        let chained = |entry: &Entry| entry.previous.next(entry.json.as_bytes()) == entry.hash;
        assert!(all.iter().all(chained), "each entry says what it is chained to");
    }

    #[test]
    fn the_old_go_and_the_chain_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (database, log) = database(&folder);
        let hour = |n: u64| i64::try_from(n).unwrap() * 3_600_000;
        let records: Vec<Record> = (0..20).map(|n| record("pay/2@0", n, hour(n))).collect();
        append(&database, &records);
        let (later, far) = (Retention { time: Span::hours(5), ..Retention::default() }, Timestamp(hour(19)));
        let (_, pruned) = append_and_prune(&database, &[record("shop/1@0", 0, hour(19))], later, far);
        assert_eq!((pruned, read(&log, Filter::default())[0].sequence), (14, 15));
        assert_eq!(log.anchor().unwrap().map(|anchor| (anchor.sequence, anchor.pruned_at)), Some((14, far)));
        assert_eq!(verified(&log), 21);
        assert_eq!(append(&database, &records), [Appended::Known; 20], "a rollout of which something is left is known");
        let small = Retention { limit_bytes: 0, ..Retention::default() };
        assert_eq!(append_and_prune(&database, &[], small, far).1, 6);
        assert_eq!(read(&log, Filter::default()).len(), 1, "the newest stays");
        assert_eq!(verified(&log), 21);
    }

    #[test]
    fn a_stopped_daemons_log_is_read_and_a_running_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.redb");
        assert!(matches!(Log::open(&path), Err(LogError::Missing(_))));
        let (open, log) = database(&folder);
        assert!(read(&log, Filter::default()).is_empty(), "before anything was put into it");
        append(&open, &[record("pay/2@0", 0, 1)]);
        assert!(matches!(Log::open(&path), Err(LogError::InUse(_))));
        drop((open, log));
        assert_eq!(verified(&Log::open(&path).unwrap()), 1);
    }
}
