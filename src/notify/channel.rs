//! A receiver, the way to it, and the task that goes that way.

use std::fmt;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use url::Url;

use super::alertmanager::{self, Repetition, Roster};
use super::argo::{self, Targets};
use super::form::Form;
use super::outbox::Address;
use super::pace::{Jitter, Pace};
use super::queue::Queue;
use super::receiver::{Job, Plan, Receiver, Step, Webhook};
use super::relay::Command;
use super::reply::Reply;
use super::slack::Links;
use super::webhook::{self, Message, WebhookSecret};
use super::{
    AlertmanagerTarget, ArgoTarget, ReceiverKind, ReceiverStatus, Settings, SlackTarget, StartError, WebhookTarget,
    http,
};
use crate::clock::{self, Steady};
use crate::types::{Span, Timestamp};

#[derive(Debug)]
pub(super) enum Target {
    Alertmanager(AlertmanagerTarget),
    Webhook(WebhookTarget),
    Slack(SlackTarget),
    Argo(ArgoTarget, Arc<Targets>),
}

/// How an attempt is made.
enum Exchange {
    Post { client: reqwest::Client, url: Url, target: Box<Target> },
    Argo(Arc<argo::Api>),
}

/// The URL may hold credentials.
impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Post { target, .. } => f.debug_tuple("Post").field(target).finish(),
            Self::Argo(api) => f.debug_tuple("Argo").field(api).finish(),
        }
    }
}

/// What is known of a target before it is reached for.
struct Way {
    kind: ReceiverKind,
    name: String,
    url: Url,
    shown: String,
    timeout: Span,
    plan: Plan,
}

fn way(target: &Target, settings: &Settings) -> Result<Way, StartError> {
    let limit = settings.queue_limit_alerts;
    let repetition = Repetition { resend_delay: settings.resend_delay, interval: settings.interval };
    let external_url = settings.external_url.clone();
    let messages = |form, send_resolved| {
        Plan::Webhook(Webhook::new(form, Queue::new(limit), send_resolved, settings.give_up_after))
    };
    let shown = |url: &Url| http::without_credentials(url).to_string();
    Ok(match target {
        Target::Alertmanager(am) => {
            let mut url = am.url.clone();
            url.set_path(&format!("{}/api/v2/alerts", am.url.path().trim_end_matches('/')));
            let plan = Plan::Alertmanager(Roster::new(repetition, limit));
            let name = shown(&am.url);
            Way { kind: ReceiverKind::Alertmanager, name, shown: shown(&url), url, timeout: am.timeout, plan }
        }
        Target::Webhook(WebhookTarget { name, url, timeout, send_resolved, .. }) => Way {
            kind: ReceiverKind::Webhook,
            name: name.clone(),
            url: url.clone(),
            shown: shown(url),
            timeout: *timeout,
            plan: messages(Form::Standard { external_url }, *send_resolved),
        },
        Target::Slack(SlackTarget { name, url, timeout, send_resolved, dashboard }) => {
            let url = url.expose_secret().parse::<Url>();
            let url = url.map_err(|_| StartError::Scheme { name: name.clone() })?;
            let links = Links { external_url, dashboard: dashboard.clone() };
            // The path is the secret.
            let shown = url.join("/").map_or_else(|_| String::new(), |root| http::without_credentials(&root).into());
            let plan = messages(Form::Slack(links), *send_resolved);
            Way { kind: ReceiverKind::Slack, name: name.clone(), url, shown, timeout: *timeout, plan }
        }
        Target::Argo(argo, targets) => Way {
            kind: ReceiverKind::Argo,
            name: argo.name(),
            url: argo.server.clone(),
            shown: shown(&argo.server),
            timeout: argo.timeout,
            plan: messages(Form::Argo(Arc::clone(targets)), false),
        },
    })
}

/// The headers of Standard Webhooks.
fn signed(message: &Message, secrets: &[WebhookSecret], now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: String| {
        // Identifiers, numbers and base64 are all visible ASCII.
        headers.insert(name, HeaderValue::from_str(&value).expect("header values are visible ASCII"));
    };
    set("webhook-id", message.id.clone());
    set("webhook-timestamp", webhook::unix_seconds(now).to_string());
    if !secrets.is_empty() {
        set("webhook-signature", webhook::signatures(secrets, &message.id, now, &message.body));
    }
    headers
}

/// A receiver and the way to it.
pub(super) struct Channel {
    kind: ReceiverKind,
    name: String,
    /// Its name in the outbox.
    pub(super) key: Arc<str>,
    /// Where it is, without what may be a secret.
    shown: String,
    validity: Span,
    exchange: Exchange,
    receiver: Mutex<Receiver>,
    pub(super) wake: Notify,
}

/// The URL may hold credentials.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("exchange", &self.exchange)
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

impl Channel {
    pub(super) fn open(target: Target, settings: &Settings, jitter: Jitter) -> Result<Self, StartError> {
        let repetition = Repetition { resend_delay: settings.resend_delay, interval: settings.interval };
        let way = way(&target, settings)?;
        let Way { kind, name, url, .. } = &way;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(StartError::Scheme { name: name.clone() });
        }
        if !settings.addresses.allows_host_of(url) {
            return Err(StartError::Address { name: name.clone() });
        }
        let key = format!("{}/{name}", kind.as_str()).into();
        let exchange = match target {
            Target::Argo(argo, _) => Exchange::Argo(Arc::new(argo::Api::new(argo, settings.addresses)?)),
            target => match http::client(url, way.timeout, settings.addresses, None) {
                Ok(client) => Exchange::Post { client, url: url.clone(), target: Box::new(target) },
                Err(source) => return Err(StartError::Client { name: name.clone(), source }),
            },
        };
        let Way { kind, name, shown, plan, .. } = way;
        let receiver = Mutex::new(Receiver::new(name.clone(), plan, Pace::new(settings.backoff, jitter)));
        Ok(Self { kind, name, key, shown, validity: repetition.validity(), exchange, receiver, wake: Notify::new() })
    }

    pub(super) fn receiver(&self) -> MutexGuard<'_, Receiver> {
        lock(&self.receiver)
    }

    /// One attempt.
    async fn attempt(&self, job: &Job) -> Reply {
        match (&self.exchange, job) {
            (Exchange::Argo(api), Job::Message(entry)) => api.carry_out(&entry.message.body).await,
            (Exchange::Argo(_), Job::Alerts(_)) => Reply::Accepted,
            (Exchange::Post { client, url, target }, job) => {
                http::post(client, self.request(url.clone(), target, job)).await
            }
        }
    }

    fn request(&self, url: Url, target: &Target, job: &Job) -> http::Request {
        let now = clock::now();
        match job {
            Job::Alerts(batch) => {
                let bearer_token = match target {
                    Target::Alertmanager(am) => am.bearer_token.clone(),
                    Target::Webhook(_) | Target::Slack(_) | Target::Argo(..) => None,
                };
                let body = alertmanager::body(batch, now, self.validity);
                http::Request { url, headers: HeaderMap::new(), bearer_token, body }
            }
            Job::Message(entry) => {
                let message = &entry.message;
                let headers = match target {
                    Target::Webhook(hook) => signed(message, &hook.secrets, now),
                    Target::Alertmanager(_) | Target::Slack(_) | Target::Argo(..) => HeaderMap::new(),
                };
                http::Request { url, headers, bearer_token: None, body: message.body.clone() }
            }
        }
    }

    /// Its name in the outbox, and how it is told.
    pub(super) fn address(&self) -> Address {
        Address { key: self.key.to_string(), kind: self.kind }
    }

    pub(super) fn status(&self) -> ReceiverStatus {
        let receiver = self.receiver();
        let tally = receiver.tally().clone();
        ReceiverStatus {
            name: self.name.clone(),
            kind: self.kind,
            url: self.shown.clone(),
            queued: receiver.backlog(),
            sent: tally.sent,
            failed: tally.failed,
            dropped: tally.dropped,
            dead_letters: tally.dead_letters,
            last_error: tally.last_error,
            last_success: tally.last_success,
            disabled: receiver.disabled(),
        }
    }
}

/// Receivers hold no invariant that a panic in the middle could break for good.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A receiver's task: one exchange at a time, so that messages of one alert stay in order.
pub(super) async fn run(channel: Arc<Channel>, clock: Steady, relay: SyncSender<Command>) {
    loop {
        let (step, settled) = {
            let mut receiver = channel.receiver();
            (receiver.step(clock.now()), receiver.take_settled())
        };
        if !settled.is_empty() {
            // What is not crossed off in time is sent once more after a restart.
            let _ = relay.try_send(Command::Settled(Arc::clone(&channel.key), settled));
        }
        match step {
            Step::Send(job) => {
                let reply = channel.attempt(&job).await;
                channel.receiver().report(job, &reply, clock.now(), clock::now());
            }
            Step::Wait(None) => channel.wake.notified().await,
            Step::Wait(Some(until)) => tokio::select! {
                () = channel.wake.notified() => {}
                () = clock.sleep_until(until) => {}
            },
            Step::Done => return,
        }
    }
}
