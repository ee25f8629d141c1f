//! Who is told, and how they are doing.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::http;
use super::webhook::WebhookSecret;
use crate::types::{Span, Timestamp};

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

/// A Slack channel's incoming webhook.
#[derive(Clone, Debug)]
pub struct SlackTarget {
    /// What it is called in logs, metrics and the API.
    pub name: String,
    /// Where messages are posted; its path is the secret.
    pub url: SecretString,
    /// Over a whole exchange.
    pub timeout: Span,
    /// Whether it is told of the ends of alerts.
    pub send_resolved: bool,
    /// A dashboard's address to link to, `{service}` in it becomes the service's name.
    pub dashboard: Option<String>,
}

/// The Kubernetes API in which Argo's Rollouts are.
#[derive(Clone, Debug)]
pub struct ArgoTarget {
    /// Where it is.
    pub server: Url,
    /// A file with a bearer token, read anew for each order.
    pub token_file: Option<PathBuf>,
    /// A file with the certificates of the authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// For one request.
    pub timeout: Span,
}

impl ArgoTarget {
    /// What it is called in logs, metrics and the API.
    pub fn name(&self) -> String {
        http::without_credentials(&self.server).to_string()
    }
}

/// Everybody who is told.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// Each gets every alert.
    pub alertmanagers: Vec<AlertmanagerTarget>,
    /// Each gets everything.
    pub webhooks: Vec<WebhookTarget>,
    /// Each gets everything.
    pub slacks: Vec<SlackTarget>,
    /// Each carries out verdicts.
    pub argos: Vec<ArgoTarget>,
}

impl Receivers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.alertmanagers.len() + self.webhooks.len() + self.slacks.len() + self.argos.len()
    }

    /// Whether nobody is told.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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

/// What a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// An Alertmanager instance.
    Alertmanager,
    /// A webhook.
    Webhook,
    /// A Slack channel.
    Slack,
    /// The Kubernetes API, for Argo's Rollouts.
    Argo,
}

impl ReceiverKind {
    /// The word used in metrics and JSON: `alertmanager`, `webhook`, `slack`, `argo`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Argo => "argo",
        }
    }
}

/// How a receiver is doing. Counts are since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverStatus {
    /// A webhook's or Slack channel's name, an Alertmanager's or Kubernetes API's URL.
    pub name: String,
    /// What it is.
    pub kind: ReceiverKind,
    /// Without user, password and query.
    pub url: String,
    /// Alerts and messages not yet taken.
    pub queued: usize,
    /// Alerts and messages taken, repetitions included.
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
