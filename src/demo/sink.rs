//! A receiver of Standard Webhooks, as somebody's own would be: it checks the signature, then acts on the message.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use url::Url;

use crate::app::{HttpSettings, Server, ServerError};
use crate::clock;
use crate::notify::webhook::WebhookSecret;
use crate::types::{Span, Timestamp};

/// Messages not yet shown. A sender that meets a full queue tries again.
const QUEUE_LIMIT_MESSAGES: usize = 256;
/// A message signed longer ago, or later, is refused: it may be an old one sent again.
const AGE_LIMIT: Span = Span::minutes(5);
/// Bytes of the secret.
pub const KEY_SIZE_BYTES: usize = 32;

/// A message that was signed as it should be.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// What it says.
    pub message: Message,
}

/// What a webhook is told of.
#[derive(Clone, Debug)]
pub enum Message {
    /// An alert began or ended.
    Alert(AlertMessage),
    /// Something happened to a rollout.
    Rollout(RolloutMessage),
}

/// The parts of a message about a rollout that are shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutMessage {
    /// The service.
    pub service: String,
    /// The candidate.
    pub version: String,
    /// One sentence.
    pub reason: String,
    /// Of a verdict.
    pub step: Option<String>,
    /// Of a verdict: `promote`, `pause` or `rollback`.
    pub decision: Option<String>,
    /// Of an end: `promoted`, `rolled-back` or the like.
    pub outcome: Option<String>,
}

/// The parts of a message's `data` that are shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertMessage {
    /// `service/slo`
    pub slo: String,
    /// `page` or `ticket`.
    pub severity: String,
    /// `firing` or `resolved`.
    pub state: String,
    /// Of the alert, the windows that tripped included.
    pub labels: BTreeMap<String, String>,
    /// RFC 3339.
    pub starts_at: String,
    /// RFC 3339; only when resolved.
    pub ends_at: Option<String>,
    /// By window.
    pub burn_rates: BTreeMap<String, Option<f64>>,
}

/// The body of a message.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A sink that is ready to be served.
#[derive(Debug)]
pub struct Sink {
    /// Where it takes messages.
    pub url: Url,
    /// What senders are to sign with.
    pub secret: WebhookSecret,
    /// What arrives.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// To be run.
    pub server: Server,
}

#[derive(Debug)]
struct Desk {
    key: [u8; KEY_SIZE_BYTES],
    deliveries: mpsc::Sender<Delivery>,
}

impl Sink {
    /// A sink on a free port of the loopback interface that expects signatures made with `key`.
    ///
    /// # Errors
    /// When there is no free port.
    ///
    /// # Panics
    /// Never: the secret is as it should be.
    pub async fn bind(key: [u8; KEY_SIZE_BYTES]) -> Result<Self, ServerError> {
        let secret = format!("whsec_{}", STANDARD.encode(key));
        let secret = secret.parse().expect("a key of this size in base64 makes a secret");
        let (sender, deliveries) = mpsc::channel(QUEUE_LIMIT_MESSAGES);
        let router = Router::new().route("/", post(take)).with_state(Arc::new(Desk { key, deliveries: sender }));
        let server = Server::bind("127.0.0.1:0", router, HttpSettings::default()).await?;
        let url = crate::app::default_external_url(&server.address().to_string());
        Ok(Self { url, secret, deliveries, server })
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let arrived_at = clock::now();
    if !is_signed(&desk.key, &headers, &body, arrived_at) {
        tracing::error!("a webhook message with a bad signature was refused");
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(message) = Message::parse(&body) else { return StatusCode::BAD_REQUEST };
    match desk.deliveries.try_send(Delivery { arrived_at, message }) {
        // Nobody looks any more: the demo is ending, and what is still delivered has arrived.
        Ok(()) | Err(TrySendError::Closed(_)) => StatusCode::NO_CONTENT,
        Err(TrySendError::Full(_)) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether one of the signatures is the HMAC-SHA256 of `{id}.{seconds}.{body}`, and of our time.
/// Source: Standard Webhooks, "Verifying webhook authenticity".
fn is_signed(key: &[u8], headers: &HeaderMap, body: &[u8], now: Timestamp) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(seconds), Some(signatures)) =
        (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"))
    else {
        return false;
    };
    let age = seconds.parse::<i64>().map(|seconds| now.since(Timestamp(seconds.saturating_mul(1_000))));
    if !age.is_ok_and(|age| Span(-AGE_LIMIT.as_millis()) <= age && age <= AGE_LIMIT) {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    let given = signatures.split(' ').filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok());
    // Compares in constant time.
    given.into_iter().any(|signature| mac.clone().verify_slice(&signature).is_ok())
}

impl Message {
    /// Reads a message's body.
    ///
    /// # Errors
    /// When it is no such message.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let Envelope { kind, data } = serde_json::from_slice(body)?;
        if kind.starts_with("alert.") {
            serde_json::from_str(data.get()).map(Self::Alert)
        } else {
            serde_json::from_str(data.get()).map(Self::Rollout)
        }
    }
}

impl AlertMessage {
    /// Whether it tells of an end.
    pub fn is_resolved(&self) -> bool {
        self.state == "resolved"
    }

    /// Whether it is worth waking somebody.
    pub fn is_page(&self) -> bool {
        self.severity == "page"
    }

    /// How long the alert was firing, once it is over.
    pub fn duration(&self) -> Option<Span> {
        let millis = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        Some(Timestamp(millis(self.ends_at.as_deref()?)?).since(Timestamp(millis(&self.starts_at)?)))
    }

    /// A window by its label's name, with the burn rate over it.
    pub fn window(&self, label: &str) -> Option<(&str, f64)> {
        let window = self.labels.get(label)?;
        Some((window, (*self.burn_rates.get(window)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::webhook::{signatures, unix_seconds};

    const KEY: [u8; KEY_SIZE_BYTES] = [7; KEY_SIZE_BYTES];

    fn headers(signed_at: Timestamp, body: &str) -> HeaderMap {
        let secret = format!("whsec_{}", STANDARD.encode(KEY)).parse::<WebhookSecret>().unwrap();
        let mut headers = HeaderMap::new();
        let signature = signatures(&[secret], "msg_1", signed_at, body);
        for (name, value) in [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", &unix_seconds(signed_at).to_string()),
            ("webhook-signature", &format!("v1,AAAA {signature}")),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_what_was_signed_of_late_with_the_key_is_taken() {
        let now = Timestamp(1_790_000_000_000);
        let signed = headers(now, "{}");
        assert!(is_signed(&KEY, &signed, b"{}", now));
        assert!(!is_signed(&KEY, &signed, b"{ }", now), "another body");
        assert!(!is_signed(&[8; KEY_SIZE_BYTES], &signed, b"{}", now), "another key");
        assert!(!is_signed(&KEY, &signed, b"{}", now + Span::minutes(6)), "too old");
        assert!(!is_signed(&KEY, &signed, b"{}", now - Span::minutes(6)), "from the future");
        assert!(!is_signed(&KEY, &HeaderMap::new(), b"{}", now));
    }
}
