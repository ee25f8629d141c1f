//! The outbox' part for rollouts: records go into the audit log, and what receivers have to be told of them beside it.

use std::sync::Arc;

use redb::{Durability, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::{Backlog, META, META_NEXT, Outbox, OutboxError, PENDING, decode, encode};
use crate::audit::{Appended, Appender, Retention};
use crate::notify::ReceiverKind;
use crate::notify::notice::Notice;
use crate::notify::telling::{Surroundings, Taken, Telling};
use crate::rollout::{Happened, Record};
use crate::types::Timestamp;

use super::super::telling::Desk;

/// What a receiver has to be told: its name, the lane, the number, as in [`PENDING`]; JSON, as records are kept.
pub(super) const TELLINGS: TableDefinition<'_, (&str, u128, u64), &[u8]> = TableDefinition::new("tellings");
/// From a rollout's id to what is known of it while it is in progress; JSON.
const PROGRESS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rollouts");
/// Alerts about rollouts that stand, by their identity.
const ALERTS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("rollout_alerts");

/// A receiver as the outbox knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its name, unique among all receivers.
    pub key: String,
    /// Alertmanagers are told by alerts, all others by messages.
    pub kind: ReceiverKind,
}

/// What is put down beside the records.
#[derive(Debug)]
pub struct Rules<'a> {
    /// For alerts and messages.
    pub surroundings: &'a Surroundings,
    /// How much of the audit log is kept.
    pub retention: Retention,
    /// The wall clock.
    pub now: Timestamp,
}

/// One thing to tell, numbered.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// To Alertmanagers.
    Alert(Arc<Notice>),
    /// To all others.
    Telling(Arc<Telling>),
}

impl News {
    /// What comes of one record.
    pub fn of(taken: Taken) -> impl Iterator<Item = Self> {
        let alerts = taken.alerts.into_iter().map(|notice| Self::Alert(Arc::new(notice)));
        alerts.chain(taken.telling.map(|telling| Self::Telling(Arc::new(telling))))
    }
}

pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(TELLINGS)?;
    transaction.open_table(PROGRESS)?;
    transaction.open_table(ALERTS)?;
    Appender::open(transaction)?.finish()
}

pub(super) fn load(transaction: &ReadTransaction, backlog: &mut Backlog) -> Result<(), redb::Error> {
    for entry in transaction.open_table(TELLINGS)?.iter()? {
        let (key, value) = entry?;
        // The store has checksums of its own: what it returns is what was put in.
        let telling = serde_json::from_slice(value.value()).ok().map(Arc::new);
        backlog.tellings.extend(telling.map(|telling| (key.value().0.to_owned(), telling)));
    }
    backlog.tellings.sort_by_key(|(_, telling)| telling.number);
    for entry in transaction.open_table(PROGRESS)?.iter()? {
        let (rollout, progress) = entry?;
        let progress = serde_json::from_slice(progress.value()).ok();
        backlog.desk.rollouts.extend(progress.map(|progress| (rollout.value().to_owned(), progress)));
    }
    for entry in transaction.open_table(ALERTS)?.iter()? {
        let notice = decode(entry?.1.value()).map(|notice| (*notice).clone());
        backlog.desk.alerts.extend(notice.map(|notice| (notice.fingerprint, notice)));
    }
    Ok(())
}

impl Outbox {
    /// Appends records to the audit log and, in the same transaction, stores for every receiver what it has to be told
    /// of those that were not there before; returns that, numbered, in order. It is on disk when this returns, but for
    /// evidence alone, of which nobody is told: that is on disk with the next thing that is told, or lived through again.
    ///
    /// `desk` goes on with each record; after an error it is of no use.
    ///
    /// # Errors
    /// The store's own; nothing is stored then.
    pub fn put_down(
        &self,
        records: &[Record],
        desk: &mut Desk,
        receivers: &[Address],
        rules: &Rules<'_>,
    ) -> Result<Vec<News>, OutboxError> {
        self.run(|outbox| {
            let mut transaction = outbox.database.begin_write()?;
            let is_evidence = |record: &Record| matches!(record.event, Happened::Evidence { .. });
            if records.iter().all(is_evidence) {
                let _ = transaction.set_durability(Durability::None);
            }
            let mut log = Appender::open(&transaction)?;
            let mut desk = Bound { transaction: &transaction, desk };
            let mut news = Vec::new();
            for record in records {
                if let Appended::As(_) = log.append(record)? {
                    news.extend(News::of(desk.take(record, rules)?));
                }
            }
            log.prune(rules.retention, rules.now)?;
            log.finish()?;
            store(&transaction, &mut news, receivers)?;
            transaction.commit()?;
            Ok(news)
        })
    }
}

/// A desk and the tables that follow it.
struct Bound<'t> {
    transaction: &'t WriteTransaction,
    desk: &'t mut Desk,
}

impl Bound<'_> {
    fn take(&mut self, record: &Record, rules: &Rules<'_>) -> Result<Taken, redb::Error> {
        let taken = self.desk.take(record, rules.surroundings, rules.now);
        let mut rollouts = self.transaction.open_table(PROGRESS)?;
        match self.desk.rollouts.get(&record.rollout) {
            Some(progress) => {
                // Never fails: texts and words only.
                let json = serde_json::to_vec(progress).unwrap_or_default();
                let known = rollouts.get(record.rollout.as_str())?.is_some_and(|known| known.value() == json);
                if !known {
                    rollouts.insert(record.rollout.as_str(), json.as_slice())?;
                }
            }
            None => drop(rollouts.remove(record.rollout.as_str())?),
        }
        if !taken.alerts.is_empty() || !taken.over.is_empty() {
            let mut alerts = self.transaction.open_table(ALERTS)?;
            for fingerprint in taken.over.iter().chain(taken.alerts.iter().map(|notice| &notice.fingerprint)) {
                match self.desk.alerts.get(fingerprint) {
                    Some(notice) => drop(alerts.insert(fingerprint.0, &*encode(notice))?),
                    None => drop(alerts.remove(fingerprint.0)?),
                }
            }
        }
        Ok(taken)
    }
}

/// Numbers the news, and stores each for everybody it is for.
fn store(transaction: &WriteTransaction, news: &mut [News], receivers: &[Address]) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let mut pending = transaction.open_table(PENDING)?;
    let mut tellings = transaction.open_table(TELLINGS)?;
    let mut next = meta.get(META_NEXT)?.map_or(1, |next| next.value());
    for news in news {
        match news {
            News::Alert(notice) => {
                let notice = Arc::make_mut(notice);
                notice.number = next;
                let bytes = encode(notice);
                for Address { key, .. } in receivers.iter().filter(|to| to.kind == ReceiverKind::Alertmanager) {
                    pending.insert((key.as_str(), notice.fingerprint.0, next), &*bytes)?;
                }
            }
            News::Telling(telling) => {
                let telling = Arc::make_mut(telling);
                telling.number = next;
                // Never fails: records are structs of texts and numbers.
                let json = serde_json::to_vec(telling).unwrap_or_default();
                for Address { key, kind } in receivers.iter().filter(|to| to.kind != ReceiverKind::Alertmanager) {
                    let lane = if *kind == ReceiverKind::Argo { telling.service_lane() } else { telling.lane() };
                    tellings.insert((key.as_str(), lane.0, next), json.as_slice())?;
                }
            }
        }
        next += 1;
    }
    meta.insert(META_NEXT, next)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::Decision;
    use crate::notify::outbox::Settled;
    use crate::notify::telling::What;
    use crate::notify::telling::tests::{Story, surroundings};
    use crate::rollout::Ending;

    fn receivers() -> [Address; 3] {
        let address = |key: &str, kind| Address { key: key.to_owned(), kind };
        [
            address("alertmanager/a", ReceiverKind::Alertmanager),
            address("webhook/w", ReceiverKind::Webhook),
            address("argo/k", ReceiverKind::Argo),
        ]
    }

    fn open(folder: &tempfile::TempDir) -> Outbox {
        Outbox::open(&folder.path().join("outbox.redb")).unwrap()
    }

    fn put_down(outbox: &Outbox, desk: &mut Desk, records: &[Record]) -> Vec<News> {
        let surroundings = surroundings();
        let now = records.last().map_or(Timestamp(0), |record| record.at);
        let rules = Rules { surroundings: &surroundings, retention: Retention::default(), now };
        outbox.put_down(records, desk, &receivers(), &rules).unwrap()
    }

    fn words(backlog: &Backlog, receiver: &str) -> Vec<What> {
        let of = backlog.tellings.iter().filter(|(name, _)| name == receiver);
        of.map(|(_, telling)| telling.what).collect()
    }

    #[test]
    fn a_record_and_what_is_told_of_it_are_stored_together_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, mut desk, mut story) = (open(&folder), Desk::default(), Story::of("2"));
        let records = [story.started(), story.verdict(Decision::Pause, "5%"), story.verdict(Decision::Rollback, "5%")];
        let news = put_down(&outbox, &mut desk, &records);
        assert_eq!(news.len(), 6, "three tellings, a pause that begins and ends, and a rollback");
        drop(outbox);
        let outbox = open(&folder);
        let backlog = outbox.backlog().unwrap();
        let expected = [What::Started, What::Pause, What::Rollback];
        assert_eq!((words(&backlog, "webhook/w"), words(&backlog, "argo/k")), (expected.to_vec(), expected.to_vec()));
        assert_eq!(backlog.pending.len(), 3, "alerts for the Alertmanager");
        assert_eq!((&backlog.desk.rollouts, &backlog.desk.alerts), (&desk.rollouts, &desk.alerts));
        let mut desk = backlog.desk;
        let more = [&records[..], &[story.ended(Ending::RolledBack)]].concat();
        let [News::Telling(end)] = &put_down(&outbox, &mut desk, &more)[..] else { panic!("only the end is new") };
        assert_eq!((end.what, end.number), (What::Ended, 7));
        assert_eq!(outbox.audit().head().unwrap().0, 4);
    }

    #[test]
    fn what_is_settled_is_gone_for_that_receiver() {
        let folder = tempfile::tempdir().unwrap();
        let (outbox, mut desk, mut story) = (open(&folder), Desk::default(), Story::of("2"));
        let news = put_down(&outbox, &mut desk, &[story.started(), story.verdict(Decision::Promote, "5%")]);
        let News::Telling(first) = &news[0] else { panic!("{news:?}") };
        let settled = Settled { fingerprint: first.lane(), number: first.number };
        outbox
            .settle([("webhook/w", settled), ("argo/k", Settled { fingerprint: first.service_lane(), number: 2 })])
            .unwrap();
        let backlog = outbox.backlog().unwrap();
        assert_eq!(words(&backlog, "webhook/w"), [What::Promote]);
        assert!(words(&backlog, "argo/k").is_empty());
        assert_eq!(outbox.forget_others(&[]).unwrap(), 1);
        assert!(outbox.backlog().unwrap().tellings.is_empty());
    }
}
