//! A receiver, the way to it, and the task that goes that way.

use std::fmt;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::Notify;
use url::Url;

use super::alertmanager::{self, Repetition, Roster};
use super::pace::{Jitter, Pace};
use super::queue::Queue;
use super::receiver::{Job, Plan, Receiver, Step, Webhook};
use super::relay::Command;
use super::webhook::{self, WebhookSecret};
use super::{AlertmanagerTarget, ReceiverKind, ReceiverStatus, Settings, StartError, WebhookTarget, http};
use crate::clock::{self, Steady};
use crate::types::Span;

#[derive(Debug)]
pub(super) enum Target {
    Alertmanager(AlertmanagerTarget),
    Webhook(WebhookTarget),
}

/// A receiver and the way to it.
pub(super) struct Channel {
    kind: ReceiverKind,
    name: String,
    /// Its name in the outbox.
    pub(super) key: Arc<str>,
    /// Where to post to.
    url: Url,
    validity: Span,
    target: Target,
    client: reqwest::Client,
    receiver: Mutex<Receiver>,
    pub(super) wake: Notify,
}

/// The URL may hold credentials.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("target", &self.target)
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

impl Channel {
    pub(super) fn open(target: Target, settings: &Settings, jitter: Jitter) -> Result<Self, StartError> {
        let limit = settings.queue_limit_alerts;
        let repetition = Repetition { resend_delay: settings.resend_delay, interval: settings.interval };
        let (kind, name, url, timeout, plan) = match &target {
            Target::Alertmanager(am) => {
                let name = http::without_credentials(&am.url).to_string();
                let mut url = am.url.clone();
                url.set_path(&format!("{}/api/v2/alerts", am.url.path().trim_end_matches('/')));
                let plan = Plan::Alertmanager(Roster::new(repetition, limit));
                (ReceiverKind::Alertmanager, name, url, am.timeout, plan)
            }
            Target::Webhook(hook) => {
                let plan = Webhook::new(Queue::new(limit), hook.send_resolved, settings.give_up_after);
                (ReceiverKind::Webhook, hook.name.clone(), hook.url.clone(), hook.timeout, Plan::Webhook(plan))
            }
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(StartError::Scheme { name });
        }
        if !settings.addresses.allows_host_of(&url) {
            return Err(StartError::Address { name });
        }
        let client = match http::client(&url, timeout, settings.addresses) {
            Ok(client) => client,
            Err(source) => return Err(StartError::Client { name, source }),
        };
        let receiver = Mutex::new(Receiver::new(name.clone(), plan, Pace::new(settings.backoff, jitter)));
        let validity = repetition.validity();
        let key = format!("{}/{name}", kind.as_str()).into();
        Ok(Self { kind, name, key, url, validity, target, client, receiver, wake: Notify::new() })
    }

    pub(super) fn receiver(&self) -> MutexGuard<'_, Receiver> {
        lock(&self.receiver)
    }

    fn request(&self, job: &Job) -> http::Request {
        let (url, now) = (self.url.clone(), clock::now());
        match (job, &self.target) {
            (Job::Alerts(batch), target) => {
                let bearer_token = match target {
                    Target::Alertmanager(am) => am.bearer_token.clone(),
                    Target::Webhook(_) => None,
                };
                let body = alertmanager::body(batch, now, self.validity);
                http::Request { url, headers: HeaderMap::new(), bearer_token, body }
            }
            (Job::Message(entry), target) => {
                let secrets: &[WebhookSecret] = match target {
                    Target::Webhook(hook) => &hook.secrets,
                    Target::Alertmanager(_) => &[],
                };
                let message = &entry.message;
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
                http::Request { url, headers, bearer_token: None, body: message.body.clone() }
            }
        }
    }

    pub(super) fn status(&self) -> ReceiverStatus {
        let receiver = self.receiver();
        let tally = receiver.tally().clone();
        ReceiverStatus {
            name: self.name.clone(),
            kind: self.kind,
            url: http::without_credentials(&self.url).into(),
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
                let reply = http::post(&channel.client, channel.request(&job)).await;
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
