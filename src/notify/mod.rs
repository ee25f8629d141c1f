//! Delivery of alerts and verdicts to Alertmanagers, signed webhooks, Slack and Argo Rollouts.
//!
//! The engine hands over each transition of an alert ([`Notifier::send`]) and each record of a rollout
//! ([`Notifier::record`]); both are rendered and put before every receiver without waiting. Each receiver has its own bounded queue and its own task, so one that is slow or down delays
//! nobody else. What is sent when is decided without IO in `receiver` (of [`alertmanager`], [`queue`], [`pace`],
//! [`reply`]); `channel` and `http` are the shell around it.
//!
//! | answer | Alertmanager | webhook, Slack, Argo |
//! |---|---|---|
//! | 2xx | taken; repeated after the resend delay | taken |
//! | 408, 5xx, 3xx, timeout, no connection | retried with backoff, newest state only | retried with backoff, same id, for an hour |
//! | 429, 502, 503, 504 | as above, slower; `Retry-After` is kept | as above, slower; `Retry-After` is kept |
//! | 410 | refused | receiver disabled; for Argo a dead letter |
//! | other 4xx | refused: again after the resend delay | dead letter |
//!
//! With an [`outbox::Outbox`] every transition and every record is on disk before anybody is told, and what was not
//! delivered when a process ended is delivered by the next. Deliveries are at least once: a receiver that acted and then
//! failed to say so hears the same again, a webhook under the same id. Argo is asked what it did ([`argo`]).

pub mod alertmanager;
pub mod argo;
pub mod canary_alert;
mod channel;
mod form;
mod http;
pub mod notice;
pub mod outbox;
pub mod pace;
pub mod queue;
mod receiver;
mod relay;
pub mod reply;
pub mod slack;
mod target;
pub mod telling;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use url::Url;

use self::argo::Targets;
use self::channel::{Channel, Target, lock, run as run_channel};
use self::notice::{Fingerprint, Notice};
use self::outbox::Outbox;
use self::pace::{Backoff, Jitter};
use self::relay::{Command, Relay};
use self::telling::{Desk, Surroundings};
use crate::alert::Alert;
use crate::audit::{self, Retention};
use crate::clock::Steady;
use crate::rollout::Record;
use crate::spec::ArgoRollout;
use crate::types::{Labels, Span};

pub use self::http::{AddressPolicy, install_tls_provider};
pub use self::target::{
    AlertmanagerTarget, ArgoTarget, ReceiverKind, ReceiverStatus, Receivers, SlackTarget, WebhookTarget,
};

/// Each receiver's queue holds at most this many alerts, unless set otherwise.
pub const QUEUE_LIMIT_ALERTS: usize = 10_000;

/// What all receivers share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Added to every alert that has no value of its own for them.
    pub external_labels: Labels,
    /// Where users reach this process.
    pub external_url: Url,
    /// Alertmanagers are told again of each alert after this long.
    pub resend_delay: Span,
    /// How often alerts are evaluated; zero when they are evaluated as data arrives.
    pub interval: Span,
    /// After failures.
    pub backoff: Backoff,
    /// A webhook's message that is older goes to the dead letters.
    pub give_up_after: Span,
    /// Each receiver's queue holds at most this many.
    pub queue_limit_alerts: usize,
    /// Where alerts may be sent to.
    pub addresses: AddressPolicy,
    /// How much of the audit log is kept.
    pub audit: Retention,
    /// Differs between processes, so that they do not retry in step.
    pub jitter_seed: u64,
}

impl Settings {
    /// The defaults, which are Prometheus' where it has them.
    pub fn new(external_url: Url) -> Self {
        Self {
            external_labels: Labels::new(),
            external_url,
            resend_delay: Span::minutes(1),
            interval: Span::ZERO,
            backoff: Backoff::default(),
            give_up_after: Span::hours(1),
            queue_limit_alerts: QUEUE_LIMIT_ALERTS,
            addresses: AddressPolicy::default(),
            audit: Retention::default(),
            jitter_seed: 0,
        }
    }
}

/// Why a receiver cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Neither `http` nor `https`.
    #[error("receiver {name}: only http and https URLs can be posted to")]
    Scheme {
        /// Which receiver.
        name: String,
    },
    /// The URL's host is an address that the policy refuses.
    #[error("receiver {name}: the address policy refuses this address")]
    Address {
        /// Which receiver.
        name: String,
    },
    /// The HTTP client could not be made, for example because an `https` URL needs root certificates and there are none.
    #[error("receiver {name}: no HTTP client: {source}")]
    Client {
        /// Which receiver.
        name: String,
        /// What the client says.
        source: reqwest::Error,
    },
    /// A file that belongs to the receiver.
    #[error("receiver {name}: {reason}")]
    File {
        /// Which receiver.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no thread left.
    #[error("no thread for the outbox: {0}")]
    Thread(std::io::Error),
}

/// Delivers alerts and verdicts. Dropping it stops all deliveries at once; [`Notifier::shutdown`] does so in order.
#[derive(Debug)]
pub struct Notifier {
    relay: SyncSender<Command>,
    channels: Vec<Arc<Channel>>,
    tasks: Mutex<JoinSet<()>>,
    failure: Arc<RwLock<Option<String>>>,
    audit: Option<audit::Log>,
    rollouts: Arc<Targets>,
}

impl Notifier {
    /// Starts a task for each receiver, on the current tokio runtime. With an outbox, what there is to tell outlives the
    /// process: what an earlier one left is taken up first, and what happened to rollouts is on record.
    ///
    /// # Errors
    /// When a receiver's URL cannot be posted to, or an HTTP client cannot be made.
    pub fn start(settings: &Settings, receivers: Receivers, outbox: Option<Outbox>) -> Result<Self, StartError> {
        install_tls_provider();
        let mut jitter = Jitter::seeded(settings.jitter_seed);
        let Receivers { alertmanagers, webhooks, slacks, argos } = receivers;
        let rollouts = Arc::<Targets>::default();
        let targets = alertmanagers.into_iter().map(Target::Alertmanager);
        let targets = targets.chain(webhooks.into_iter().map(Target::Webhook));
        let targets = targets.chain(slacks.into_iter().map(Target::Slack));
        let targets = targets.chain(argos.into_iter().map(|argo| Target::Argo(argo, Arc::clone(&rollouts))));
        let channels = targets.map(|target| {
            let seed = jitter.next_unit().to_bits();
            Channel::open(target, settings, Jitter::seeded(seed)).map(Arc::new)
        });
        let channels: Vec<Arc<Channel>> = channels.collect::<Result<_, _>>()?;
        let (clock, mut tasks) = (Steady::start(), JoinSet::new());
        let (relay, commands) = relay::queue();
        let failure = Arc::new(RwLock::new(None));
        let audit = outbox.as_ref().map(Outbox::audit);
        let mut thread = Relay {
            surroundings: Surroundings {
                external_labels: settings.external_labels.clone(),
                external_url: settings.external_url.clone(),
            },
            clock,
            channels: channels.clone(),
            outbox,
            retention: settings.audit,
            desk: Desk::default(),
            failure: Arc::clone(&failure),
        };
        thread.resume();
        let run = move || thread.run(&commands);
        std::thread::Builder::new().name("relay".to_owned()).spawn(run).map_err(StartError::Thread)?;
        for channel in &channels {
            tasks.spawn(run_channel(Arc::clone(channel), clock, relay.clone()));
        }
        Ok(Self { relay, channels, tasks: Mutex::new(tasks), failure, audit, rollouts })
    }

    /// From now on orders about these services go to these Rollouts.
    pub fn set_rollouts(&self, rollouts: BTreeMap<String, ArgoRollout>) {
        self.rollouts.set(rollouts);
    }

    /// What happened to rollouts, if it is kept.
    pub fn audit(&self) -> Option<&audit::Log> {
        self.audit.as_ref()
    }

    /// Puts what happened to rollouts on record, and what there is to tell of it before the receivers, in order. What is
    /// on record is known by its rollout and number, so that nothing is told again when a restarted engine repeats it.
    pub fn record(&self, records: &[Record]) {
        self.ask(Command::Record(records.to_vec()));
    }

    /// Puts transitions before every receiver, in order; pending alerts are left out. Never waits for a receiver: a
    /// full queue drops its oldest alert and counts it.
    pub fn send(&self, alerts: &[Alert]) {
        self.ask(Command::Tell(alerts.to_vec()));
    }

    /// Of all alerts of SLOs, these stand after a restart: what an earlier process told to fire and is not among them ends.
    pub fn reconcile(&self, alerts: &[Alert]) {
        self.ask(Command::Reconcile(alerts.to_vec()));
    }

    /// The same as [`Self::send`] for what is rendered already: alerts of rules.
    pub fn send_notices(&self, notices: Vec<Notice>) {
        if !notices.is_empty() {
            self.ask(Command::TellNotices(notices));
        }
    }

    /// Of all alerts of rules, these fire after a restart: what an earlier process told to fire and is not among them
    /// ends.
    pub fn reconcile_rules(&self, firing: Vec<Fingerprint>) {
        self.ask(Command::ReconcileRules(firing));
    }

    fn ask(&self, command: Command) {
        // The thread lives as long as there is a way to it.
        let _ = self.relay.send(command);
    }

    /// Completes when everything sent so far is stored and before the receivers, and what they have taken is crossed
    /// off.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let relay = self.relay.clone();
        let _ = tokio::task::spawn_blocking(move || relay.send(Command::Flush(done))).await;
        let _ = flushed.await;
    }

    /// The same for threads that may wait.
    pub fn flush_blocking(&self) {
        let (done, flushed) = oneshot::channel();
        self.ask(Command::Flush(done));
        let _ = flushed.blocking_recv();
    }

    /// Why alerts are no longer stored before they are sent, if so.
    pub fn outbox_failure(&self) -> Option<String> {
        self.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How each receiver is doing, in the order they were given.
    pub fn status(&self) -> Vec<ReceiverStatus> {
        self.channels.iter().map(|channel| channel.status()).collect()
    }

    /// Delivers what is queued, trying at once what waits for its next attempt, and ends the tasks; those that are
    /// not done after `deadline` are cut off. Returns how many alerts are left undelivered.
    pub async fn shutdown(&self, deadline: Span) -> usize {
        self.flush().await;
        for channel in &self.channels {
            channel.receiver().drain();
            channel.wake.notify_one();
        }
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all_done = async { while tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(deadline.to_std(), all_done).await.is_ok();
        drop(tasks);
        self.flush().await;
        let undelivered = self.channels.iter().map(|channel| channel.receiver().backlog()).sum();
        if !in_time {
            tracing::warn!(undelivered, "alerts left undelivered at shutdown");
        }
        undelivered
    }
}
