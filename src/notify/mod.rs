//! Delivery of alerts to Alertmanagers and signed webhooks.
//!
//! The engine hands over each transition of an alert; [`Notifier::send`] renders it and puts it before every receiver
//! without waiting. Each receiver has its own bounded queue and its own task, so one that is slow or down delays
//! nobody else. What is sent when is decided without IO in `receiver` (of [`alertmanager`], [`queue`], [`pace`],
//! [`reply`]); `channel` and `http` are the shell around it.
//!
//! | answer | Alertmanager | webhook |
//! |---|---|---|
//! | 2xx | taken; repeated after the resend delay | taken |
//! | 408, 5xx, 3xx, timeout, no connection | retried with backoff, newest state only | retried with backoff, same id, for an hour |
//! | 429, 502, 503, 504 | as above, slower; `Retry-After` is kept | as above, slower; `Retry-After` is kept |
//! | 410 | refused | receiver disabled |
//! | other 4xx | refused: again after the resend delay | dead letter |
//!
//! Deliveries are at least once: a receiver that acted and then failed to say so hears the same again, from a webhook
//! under the same id.

pub mod alertmanager;
mod channel;
mod http;
pub mod notice;
pub mod pace;
pub mod queue;
mod receiver;
pub mod reply;
pub mod template;
pub mod webhook;

use std::fmt;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::task::JoinSet;
use url::Url;

use self::channel::{Channel, Target, lock, run};
use self::notice::Notice;
use self::pace::{Backoff, Jitter};
use self::receiver::Receiver;
use self::webhook::WebhookSecret;
use crate::alert::Alert;
use crate::clock::Steady;
use crate::types::{Labels, Span, Timestamp};

pub use self::http::{AddressPolicy, install_tls_provider};

/// Each receiver's queue holds at most this many alerts, unless set otherwise.
pub const QUEUE_LIMIT_ALERTS: usize = 10_000;

/// An Alertmanager instance. Of a cluster, every instance is to be listed.
#[derive(Clone)]
pub struct AlertmanagerTarget {
    /// Where it is, with its path prefix if it has one; `/api/v2/alerts` is added.
    pub url: Url,
    /// Over a whole exchange.
    pub timeout: Span,
    /// For the header `Authorization`.
    pub bearer_token: Option<SecretString>,
}

/// A receiver of Standard Webhooks.
#[derive(Clone)]
pub struct WebhookTarget {
    /// What it is called in logs, metrics and the API.
    pub name: String,
    /// Where messages are posted.
    pub url: Url,
    /// Every message is signed with each of these; without any, none is signed.
    pub secrets: Vec<WebhookSecret>,
    /// Over a whole exchange.
    pub timeout: Span,
    /// Whether it is told of the ends of alerts.
    pub send_resolved: bool,
}

impl fmt::Debug for AlertmanagerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertmanagerTarget")
            .field("url", &http::without_credentials(&self.url).as_str())
            .field("timeout", &self.timeout)
            .field("bearer_token", &self.bearer_token)
            .finish()
    }
}

impl fmt::Debug for WebhookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookTarget")
            .field("name", &self.name)
            .field("url", &http::without_credentials(&self.url).as_str())
            .field("secrets", &self.secrets)
            .field("timeout", &self.timeout)
            .field("send_resolved", &self.send_resolved)
            .finish()
    }
}

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
}

/// What a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// An Alertmanager instance.
    Alertmanager,
    /// A webhook.
    Webhook,
}

impl ReceiverKind {
    /// The word used in metrics and JSON: `alertmanager`, `webhook`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
        }
    }
}

/// How a receiver is doing. Counts are since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverStatus {
    /// A webhook's name, an Alertmanager's URL.
    pub name: String,
    /// What it is.
    pub kind: ReceiverKind,
    /// Without user, password and query.
    pub url: String,
    /// Alerts not yet taken.
    pub queued: usize,
    /// Alerts taken, repetitions included.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Alerts that had to go for newer ones, came after the receiver was disabled, or were over for too long before an
    /// Alertmanager could be reached.
    pub dropped: u64,
    /// Messages given up: refused, too old, or the receiver was gone.
    pub dead_letters: u64,
    /// When the last attempt failed, and why.
    pub last_error: Option<(Timestamp, String)>,
    /// When an attempt succeeded last.
    pub last_success: Option<Timestamp>,
    /// It answered 410 and is left alone until the configuration is loaded again.
    pub disabled: bool,
}

/// Delivers alerts. Dropping it stops all deliveries at once; [`Notifier::shutdown`] does so in order.
#[derive(Debug)]
pub struct Notifier {
    external_labels: Labels,
    external_url: Url,
    clock: Steady,
    channels: Vec<Arc<Channel>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Notifier {
    /// Starts a task for each receiver, on the current tokio runtime.
    ///
    /// # Errors
    /// When a receiver's URL cannot be posted to, or an HTTP client cannot be made.
    pub fn start(
        settings: &Settings,
        alertmanagers: Vec<AlertmanagerTarget>,
        webhooks: Vec<WebhookTarget>,
    ) -> Result<Self, StartError> {
        install_tls_provider();
        let mut jitter = Jitter::seeded(settings.jitter_seed);
        let targets = alertmanagers.into_iter().map(Target::Alertmanager);
        let targets = targets.chain(webhooks.into_iter().map(Target::Webhook));
        let channels = targets.map(|target| {
            let seed = jitter.next_unit().to_bits();
            Channel::open(target, settings, Jitter::seeded(seed)).map(Arc::new)
        });
        let channels: Vec<Arc<Channel>> = channels.collect::<Result<_, _>>()?;
        let (clock, mut tasks) = (Steady::start(), JoinSet::new());
        for channel in &channels {
            tasks.spawn(run(Arc::clone(channel), clock));
        }
        Ok(Self {
            external_labels: settings.external_labels.clone(),
            external_url: settings.external_url.clone(),
            clock,
            channels,
            tasks: Mutex::new(tasks),
        })
    }

    /// Puts transitions before every receiver, in order; pending alerts are left out. Never waits for a receiver: a
    /// full queue drops its oldest alert and counts it.
    pub fn send(&self, alerts: &[Alert]) {
        self.each_notice(alerts, Receiver::accept);
    }

    /// Tells of alerts that were firing before this notifier was started, after a restart or a reload. Alertmanagers
    /// are told of them as always; webhooks have been told already, and will only be told of their ends.
    pub fn resume(&self, alerts: &[Alert]) {
        self.each_notice(alerts, Receiver::resume);
    }

    fn each_notice(&self, alerts: &[Alert], take: fn(&mut Receiver, &Arc<Notice>, Timestamp)) {
        let render = |alert| Notice::render(alert, &self.external_labels, &self.external_url).map(Arc::new);
        let notices: Vec<Arc<Notice>> = alerts.iter().filter_map(render).collect();
        if notices.is_empty() {
            return;
        }
        let now = self.clock.now();
        for channel in &self.channels {
            let mut receiver = channel.receiver();
            for notice in &notices {
                take(&mut receiver, notice, now);
            }
            drop(receiver);
            channel.wake.notify_one();
        }
    }

    /// How each receiver is doing, in the order they were given.
    pub fn status(&self) -> Vec<ReceiverStatus> {
        self.channels.iter().map(|channel| channel.status()).collect()
    }

    /// Delivers what is queued, trying at once what waits for its next attempt, and ends the tasks; those that are
    /// not done after `deadline` are cut off. Returns how many alerts are left undelivered.
    pub async fn shutdown(&self, deadline: Span) -> usize {
        for channel in &self.channels {
            channel.receiver().drain();
            channel.wake.notify_one();
        }
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all_done = async { while tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(deadline.to_std(), all_done).await.is_ok();
        drop(tasks);
        let undelivered = self.channels.iter().map(|channel| channel.receiver().backlog()).sum();
        if !in_time {
            tracing::warn!(undelivered, "alerts left undelivered at shutdown");
        }
        undelivered
    }
}
