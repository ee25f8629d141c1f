//! Webhooks after the Standard Webhooks specification (standardwebhooks.com): the message and its signature.
//!
//! A message is one transition of one alert, or what happened to a rollout (`rollout.rs`), and its body is fixed when it
//! is queued: every attempt, also of another replica, carries the same `webhook-id` and bytes. Only `webhook-timestamp`, and so the signature, is new each time.
//!
//! The body for an alert:
//!
//! ```json
//! {
//!   "type": "alert.firing",                   // or "alert.resolved"
//!   "timestamp": "2026-11-01T00:00:00.000Z",  // when the alert began to fire, or ended
//!   "data": {
//!     "fingerprint": "9f86d081884c7d659a2feaa0c55ad015",  // the alert's, the same from its beginning to its end
//!     "slo": "payment-auth/availability",
//!     "severity": "page",                     // the label of that name, or null
//!     "state": "firing",                      // or "resolved"
//!     "labels": {"alertname": "PaymentAuthAvailability", "severity": "page"},
//!     "annotations": {"summary": "payment-auth burns 20.1x"},
//!     "startsAt": "2026-11-01T00:00:00.000Z",
//!     "endsAt": "2026-11-01T00:10:00.000Z",   // only when resolved
//!     "value": 20.1,                          // null when not a finite number, as all numbers
//!     "burnRates": {"5m": 20.1, "1h": 15.2},  // by window, the shortest first
//!     "generatorURL": "https://slo.example/graph?g0.expr=..."
//!   }
//! }
//! ```

mod rollout;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use sha2::Sha256;

use super::notice::{Fingerprint, Notice};
use super::telling::What;
use crate::types::{Labels, Span, Timestamp};

/// What a message says of its alert or rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `alert.firing`
    Firing,
    /// `alert.resolved`
    Resolved,
    /// `rollout.started`
    Started,
    /// `verdict.promote`
    Promote,
    /// `verdict.pause`
    Pause,
    /// `verdict.rollback`
    Rollback,
    /// `rollout.paused`
    Paused,
    /// `rollout.resumed`
    Resumed,
    /// `rollout.ended`
    Ended,
}

impl Event {
    /// The message's `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "alert.firing",
            Self::Resolved => "alert.resolved",
            Self::Started => "rollout.started",
            Self::Promote => "verdict.promote",
            Self::Pause => "verdict.pause",
            Self::Rollback => "verdict.rollback",
            Self::Paused => "rollout.paused",
            Self::Resumed => "rollout.resumed",
            Self::Ended => "rollout.ended",
        }
    }

    /// What is said of a rollout, if it is.
    pub const fn of(what: What) -> Option<Self> {
        Some(match what {
            What::Started => Self::Started,
            What::Promote => Self::Promote,
            What::Pause => Self::Pause,
            What::Rollback => Self::Rollback,
            What::Paused => Self::Paused,
            What::Resumed => Self::Resumed,
            What::Ended => Self::Ended,
            What::GoesOn => return None,
        })
    }
}

/// One message, the same at every attempt; plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: a verdict's id, or `msg_` and 32 hexadecimal digits, of an alert made of its identity, when it
    /// began and, at its end, when it ended.
    pub id: String,
    /// The notice's [`Notice::number`].
    pub number: u64,
    /// Whose transition this is: messages of one alert or rollout are delivered in order.
    pub fingerprint: Fingerprint,
    /// What happened.
    pub event: Event,
    /// JSON.
    pub body: String,
}

impl Message {
    /// The message that tells of `notice`.
    pub fn of(notice: &Notice) -> Self {
        let event = if notice.resolved_at.is_some() { Event::Resolved } else { Event::Firing };
        let happened = notice.resolved_at.unwrap_or(notice.starts_at);
        let payload = Payload {
            kind: event.as_str(),
            timestamp: happened.to_rfc3339(),
            data: PayloadData {
                fingerprint: notice.fingerprint.to_string(),
                slo: &notice.slo,
                severity: notice.labels.get("severity"),
                state: notice.state().as_str(),
                labels: &notice.labels,
                annotations: &notice.annotations,
                starts_at: notice.starts_at.to_rfc3339(),
                ends_at: notice.resolved_at.map(Timestamp::to_rfc3339),
                value: notice.value,
                burn_rates: BurnRates(&notice.burn_rates),
                generator_url: &notice.generator_url,
            },
        };
        Self {
            id: format!("msg_{:032x}", notice.id()),
            number: notice.number,
            fingerprint: notice.fingerprint,
            event,
            // Strings, numbers and maps with string keys cannot fail to serialize.
            body: serde_json::to_string(&payload).unwrap_or_default(),
        }
    }
}

/// The body of any message, as Standard Webhooks has it.
#[derive(Serialize)]
struct Payload<D> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadData<'a> {
    fingerprint: String,
    /// Absent for an alert of a rule.
    #[serde(skip_serializing_if = "str::is_empty")]
    slo: &'a str,
    severity: Option<&'a str>,
    state: &'static str,
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    value: f64,
    burn_rates: BurnRates<'a>,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

struct BurnRates<'a>(&'a [(Span, f64)]);

impl Serialize for BurnRates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (window, rate) in self.0 {
            map.serialize_entry(&window.to_string(), rate)?;
        }
        map.end()
    }
}

/// A symmetric signing secret, `whsec_` and base64. Never printed.
#[derive(Clone)]
pub struct WebhookSecret(SecretSlice<u8>);

/// A secret's key is this long, as the specification has it.
const SECRET_LIMIT_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a text is not a webhook secret. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Another prefix, or none.
    #[error("a webhook secret begins with whsec_")]
    Prefix,
    /// Not base64 after the prefix.
    #[error("a webhook secret is base64 after whsec_")]
    Base64,
    /// Too short or too long a key.
    #[error("a webhook secret's key has 24 to 64 bytes; this one has {0}")]
    Length(usize),
}

impl FromStr for WebhookSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix("whsec_").ok_or(SecretError::Prefix)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?;
        if !SECRET_LIMIT_BYTES.contains(&key.len()) {
            return Err(SecretError::Length(key.len()));
        }
        Ok(Self(key.into()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(whsec_...)")
    }
}

impl WebhookSecret {
    /// `v1,` and the base64 of HMAC-SHA256 over `{id}.{seconds}.{body}`.
    fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("HMAC takes keys of any length");
        for part in [id, ".", &seconds.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The header `webhook-signature`: one signature for each secret, separated by spaces, so that a receiver accepts the
/// message under the old or the new secret while one replaces the other.
pub fn signatures(secrets: &[WebhookSecret], id: &str, now: Timestamp, body: &str) -> String {
    let seconds = unix_seconds(now);
    let each: Vec<String> = secrets.iter().map(|secret| secret.signature(id, seconds, body)).collect();
    each.join(" ")
}

/// The header `webhook-timestamp`.
pub fn unix_seconds(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertState::{Firing, Resolved};
    use crate::notify::notice::tests::notice;

    /// Public, from the specification; in two parts because secret scanners know the shape.
    const SECRET: &str = concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

    /// The known answer of the specification's reference libraries.
    #[test]
    fn the_signature_is_the_standard_one() {
        let secret: WebhookSecret = SECRET.parse().unwrap();
        let (id, now, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp(1_614_265_330_999), r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(std::slice::from_ref(&secret), id, now, body), expected);
        let other: WebhookSecret = concat!("whsec_", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").parse().unwrap();
        let both = signatures(&[secret, other], id, now, body);
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(first, expected);
        assert!(second.starts_with("v1,") && second != expected);
    }

    #[test]
    fn bad_secrets_are_refused_without_quoting_them() {
        let error = |text: &str| text.parse::<WebhookSecret>().unwrap_err();
        assert_eq!(error("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SecretError::Prefix);
        assert_eq!(error("whsec_***"), SecretError::Base64);
        assert_eq!(error("whsec_c2hvcnQ="), SecretError::Length(5));
        assert!(!format!("{:?}", SECRET.parse::<WebhookSecret>().unwrap()).contains("MfKQ"));
    }

    #[test]
    fn the_body_says_all_of_the_alert() {
        let message = Message::of(&notice("A", Firing));
        assert_eq!(
            message.body,
            format!(
                concat!(
                    r#"{{"type":"alert.firing","timestamp":"1970-01-01T00:00:02.000Z","data":{{"#,
                    r#""fingerprint":"{}","slo":"pay/availability","severity":"page","state":"firing","#,
                    r#""labels":{{"alertname":"A","cluster":"eu","severity":"page","zone":"local"}},"#,
                    r#""annotations":{{"summary":"A burns 20.1x"}},"startsAt":"1970-01-01T00:00:02.000Z","#,
                    r#""value":20.1,"burnRates":{{"5m":20.1,"1h":15.25}},"#,
                    r#""generatorURL":"http://slo.example:9797/x/graph?g0.expr=slo%3Aburn+%3E+14.4&g0.tab=1"}}}}"#
                ),
                message.fingerprint
            )
        );
        let end: serde_json::Value = serde_json::from_str(&Message::of(&notice("A", Resolved)).body).unwrap();
        assert_eq!((&end["type"], &end["data"]["state"]), (&"alert.resolved".into(), &"resolved".into()));
        assert_eq!(end["timestamp"], "1970-01-01T00:00:03.000Z");
        assert_eq!(end["data"]["endsAt"], end["timestamp"]);
    }

    #[test]
    fn numbers_json_cannot_hold_are_null() {
        let endless =
            Notice { value: f64::INFINITY, burn_rates: vec![(Span::minutes(5), f64::NAN)], ..notice("A", Firing) };
        let body: serde_json::Value = serde_json::from_str(&Message::of(&endless).body).unwrap();
        assert!(body["data"]["value"].is_null() && body["data"]["burnRates"]["5m"].is_null());
    }

    #[test]
    fn an_id_stands_for_one_transition() {
        let id = |notice: &Notice| Message::of(notice).id;
        let firing = notice("A", Firing);
        assert_eq!(id(&firing), id(&notice("A", Firing)), "the same in every process");
        assert_eq!(id(&firing).len(), 36);
        let again = Notice { starts_at: Timestamp(9_000), ..firing.clone() };
        let ids = [id(&firing), id(&again), id(&notice("B", Firing)), id(&notice("A", Resolved))];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
