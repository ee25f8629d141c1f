//! Between the engine and the receivers: renders transitions, has them stored, and only then puts them before the
//! receivers. On a thread of its own, so that neither templates nor the disk hold up the engine.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot;

use super::channel::Channel;
use super::notice::{Fingerprint, Notice};
use super::outbox::{Address, News, Outbox, OutboxError, Rules, Settled};
use super::receiver;
use super::telling::{Desk, Surroundings};
use crate::alert::{Alert, AlertState};
use crate::audit::Retention;
use crate::clock::{self, Steady};
use crate::rollout::Record;
use crate::types::Timestamp;

/// Steps of the engine whose alerts may wait for the disk; the engine waits when there are more.
const QUEUE_LIMIT_COMMANDS: usize = 4_096;

/// What the thread is asked to do.
pub(super) enum Command {
    /// Tell of these transitions.
    Tell(Vec<Alert>),
    /// Tell of these.
    TellNotices(Vec<Notice>),
    /// Put these on record, and tell of them.
    Record(Vec<Record>),
    /// Of all alerts of SLOs, these fire: end what else was told to fire.
    Reconcile(Vec<Alert>),
    /// The same of all alerts of rules.
    ReconcileRules(Vec<Fingerprint>),
    /// The receiver of this name has taken these.
    Settled(Arc<str>, Vec<Settled>),
    /// Say when everything before is done and on disk.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Relay {
    pub(super) surroundings: Surroundings,
    pub(super) clock: Steady,
    pub(super) channels: Vec<Arc<Channel>>,
    pub(super) outbox: Option<Outbox>,
    pub(super) retention: Retention,
    /// Rollouts in progress, and the alerts about them.
    pub(super) desk: Desk,
    /// Why the outbox is not used any more.
    pub(super) failure: Arc<RwLock<Option<String>>>,
}

/// A way to a relay's thread, made before the thread is.
pub(super) fn queue() -> (SyncSender<Command>, Receiver<Command>) {
    mpsc::sync_channel(QUEUE_LIMIT_COMMANDS)
}

impl Relay {
    /// Puts what an earlier process left before the receivers.
    pub(super) fn resume(&mut self) {
        let names = self.names();
        let Some(outbox) = &self.outbox else { return };
        let backlog = outbox.forget_others(&names).and_then(|forgotten| {
            if forgotten > 0 {
                tracing::warn!(forgotten, "notices for receivers that are no longer configured dropped");
            }
            outbox.backlog()
        });
        let backlog = match backlog {
            Ok(backlog) => backlog,
            Err(error) => return self.give_up(&error.to_string()),
        };
        if !backlog.firing.is_empty() || !backlog.pending.is_empty() || !backlog.tellings.is_empty() {
            let (firing, pending) = (backlog.firing.len(), backlog.pending.len() + backlog.tellings.len());
            tracing::info!(firing, pending, "going on with what an earlier run had to tell");
        }
        self.desk = backlog.desk;
        let wall = clock::now();
        let standing = self.desk.alerts.values().filter(|notice| notice.resolved_at.is_none_or(|until| until > wall));
        let standing: Vec<Arc<Notice>> = standing.cloned().map(Arc::new).collect();
        self.each_receiver(|key, receiver, now| {
            for notice in &backlog.firing {
                receiver.resume(notice, now);
            }
            for notice in &standing {
                receiver.accept_rollout_alert(notice, now);
            }
            for (_, notice) in backlog.pending.iter().filter(|(name, _)| name == key) {
                receiver.repeat(notice, now);
            }
            for (_, telling) in backlog.tellings.iter().filter(|(name, _)| name == key) {
                receiver.accept_rollout(telling, now);
            }
        });
    }

    /// Works until nobody has a way here any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            match command {
                Command::Tell(alerts) => {
                    let notices = self.render(&alerts);
                    self.tell(notices);
                }
                Command::Record(records) => self.record(&records),
                Command::TellNotices(notices) => self.tell(notices),
                Command::Reconcile(alerts) => {
                    let firing = alerts.iter().filter(|alert| alert.state == AlertState::Firing);
                    self.reconcile(&firing.map(Fingerprint::of).collect::<Vec<_>>(), false);
                }
                Command::ReconcileRules(firing) => self.reconcile(&firing, true),
                Command::Settled(receiver, settled) => {
                    let settled = settled.into_iter().map(|settled| (&*receiver, settled));
                    self.store(|outbox| outbox.settle(settled));
                }
                Command::Flush(done) => {
                    self.store(Outbox::sync);
                    let _ = done.send(());
                }
            }
        }
    }

    /// Has the outbox do something, if there is one, and goes on without it when that fails.
    fn store(&mut self, work: impl FnOnce(&Outbox) -> Result<(), OutboxError>) {
        let failed = self.outbox.as_ref().and_then(|outbox| work(outbox).err());
        if let Some(error) = failed {
            self.give_up(&error.to_string());
        }
    }

    fn names(&self) -> Vec<String> {
        self.channels.iter().map(|channel| channel.key.to_string()).collect()
    }

    fn render(&self, alerts: &[Alert]) -> Vec<Notice> {
        let Surroundings { external_labels, external_url } = &self.surroundings;
        let render = |alert| Notice::render(alert, external_labels, external_url);
        alerts.iter().filter_map(render).collect()
    }

    /// Ends what was told to fire and does not.
    fn reconcile(&mut self, firing: &[Fingerprint], of_rules: bool) {
        let Some(Ok(backlog)) = self.outbox.as_ref().map(Outbox::backlog) else { return };
        let of_kind = backlog.firing.iter().filter(|notice| notice.is_of_rule() == of_rules);
        let over = of_kind.filter(|notice| !firing.contains(&notice.fingerprint));
        let now = clock::now();
        let ends: Vec<Notice> =
            over.map(|notice| Notice { resolved_at: Some(now.max(notice.starts_at)), ..(**notice).clone() }).collect();
        self.tell(ends);
    }

    fn tell(&mut self, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let fresh = match &self.outbox {
            None => notices.into_iter().map(Arc::new).collect(),
            Some(outbox) => match outbox.record(&notices, &self.names()) {
                Ok(fresh) => fresh,
                Err(error) => {
                    // Better told twice after a restart than not at all.
                    self.give_up(&error.to_string());
                    notices.into_iter().map(Arc::new).collect()
                }
            },
        };
        self.each_receiver(|_, receiver, now| {
            for notice in &fresh {
                receiver.accept(notice, now);
            }
        });
    }

    /// Puts records down, and then tells of them.
    fn record(&mut self, records: &[Record]) {
        let receivers: Vec<Address> = self.channels.iter().map(|channel| channel.address()).collect();
        let (now, mut desk) = (clock::now(), self.desk.clone());
        let recorded = self.outbox.as_ref().map(|outbox| {
            let rules = Rules { surroundings: &self.surroundings, retention: self.retention, now };
            outbox.put_down(records, &mut desk, &receivers, &rules)
        });
        let news = match recorded {
            Some(Ok(news)) => {
                self.desk = desk;
                news
            }
            recorded => {
                if let Some(Err(error)) = recorded {
                    // Better told twice after a restart than not at all.
                    self.give_up(&error.to_string());
                }
                let taken = records.iter().map(|record| self.desk.take(record, &self.surroundings, now));
                taken.flat_map(News::of).collect()
            }
        };
        if news.is_empty() {
            return;
        }
        self.each_receiver(|_, receiver, now| {
            for news in &news {
                match news {
                    News::Alert(notice) => receiver.accept_rollout_alert(notice, now),
                    News::Telling(telling) => receiver.accept_rollout(telling, now),
                }
            }
        });
    }

    /// Has every receiver, by its name in the outbox, take something in, and wakes its task.
    fn each_receiver(&self, mut take: impl FnMut(&str, &mut receiver::Receiver, Timestamp)) {
        let now = self.clock.now();
        for channel in &self.channels {
            take(&channel.key, &mut channel.receiver(), now);
            channel.wake.notify_one();
        }
    }

    /// Goes on without the outbox: alerts are more important than their record.
    fn give_up(&mut self, error: &str) {
        tracing::error!(
            error,
            "alerts and verdicts are sent but no longer stored: they may come twice, or be lost, if this process ends"
        );
        self.outbox = None;
        *self.failure.write().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }
}
