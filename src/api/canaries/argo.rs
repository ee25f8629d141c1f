//! `POST /api/v1/argo/events`: how far an Argo Rollout is, as its notifications tell.
//!
//! Argo's notifications engine posts what its template says, with no media type unless one is configured; the template
//! is what `generate --format argo` writes. Steps follow the weight: Argo's own steps are of many kinds and are counted
//! otherwise. What has no effect is no error: Argo tells everything, and retries 5xx.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::api::ApiState;
use crate::api::canaries::request::{Speaker, line, parsed, refuse_browsers};
use crate::api::canaries::{canary, say};
use crate::api::error::ApiError;
use crate::rollout::{CanaryView, Command, Exposure, Order};

const ACTOR: &str = "argo";

/// What the template posts. `step` is Argo's own count, for people.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Message {
    event: String,
    service: String,
    version: String,
    #[serde(default, deserialize_with = "number")]
    weight: Option<f64>,
    #[serde(default)]
    phase: Option<String>,
    #[serde(default, rename = "message")]
    text: Option<String>,
}

/// A number, as a template writes it: bare, between quotes, or nothing.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "weight takes a percentage")]
    enum Written {
        Number(f64),
        Text(String),
    }
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(number)) => Ok(Some(number)),
        // As Go's templates write what is not there.
        Some(Written::Text(text)) if matches!(text.trim(), "" | "null" | "<nil>" | "<no value>") => Ok(None),
        Some(Written::Text(text)) => {
            text.trim().parse().map(Some).map_err(|_| serde::de::Error::custom(format!("weight {text:?} is no number")))
        }
    }
}

impl Message {
    fn weight(&self) -> Option<f64> {
        self.weight.filter(|weight| *weight > 0.0 && *weight <= 100.0)
    }

    fn reason(&self) -> String {
        let said = [Some(self.event.as_str()), self.phase.as_deref(), self.text.as_deref()];
        let said: Vec<&str> = said.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        line(&said.join(": "))
    }
}

/// What an event means, in order; `Err` says why nothing.
pub(super) fn orders(message: &Message, canary: &CanaryView) -> Result<Vec<Order>, String> {
    let version = message.version.as_str();
    let current = canary.current.as_deref().map(|current| current.version.as_str());
    let is_current = current == Some(version);
    let is_stable = canary.stable.as_deref() == Some(version);
    let start = || Order::Start { version: version.to_owned(), baseline: None, committed_at: None };
    let other = || match current {
        Some(current) => format!("{current} is being judged, not {version}"),
        None => format!("no rollout of {version} is in progress"),
    };
    match message.event.strip_prefix("on-rollout-").unwrap_or(&message.event) {
        // The weight is that of the revision before.
        "updated" | "started" | "step-completed" if is_stable => Err(format!("{version} is the stable version")),
        "updated" | "started" if is_current => Err(format!("{version} is being judged already")),
        "updated" | "started" => Ok(vec![start()]),
        "step-completed" => {
            let step = message.weight().map(|weight| Order::Step(Exposure::Weight(weight)));
            let orders: Vec<Order> = (!is_current).then(start).into_iter().chain(step).collect();
            if orders.is_empty() { Err("it has no weight".to_owned()) } else { Ok(orders) }
        }
        "aborted" if is_current => Ok(vec![Order::End { promoted: false }]),
        "completed" if is_current => Ok(vec![Order::End { promoted: true }]),
        // Gone back to the stable version, without an abort.
        "completed" if is_stable && current.is_some() => Ok(vec![Order::End { promoted: false }]),
        "aborted" | "completed" => Err(other()),
        event => Err(format!("nothing follows from {event}")),
    }
}

/// Tells the engine.
pub(super) async fn take(
    State(state): State<ApiState>,
    speaker: Speaker,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    refuse_browsers(&headers)?;
    let message = parsed::<Message>(body)?;
    for (field, value) in [("event", &message.event), ("service", &message.service), ("version", &message.version)] {
        if value.trim().is_empty() || value == "<no value>" {
            return Err(ApiError::BadData(format!("{field} is empty: see the template of the notification")));
        }
    }
    let nothing = |reason: String| Json(json!({"taken": false, "reason": reason}));
    let orders = match orders(&message, canary(&state.engine.snapshot(), &message.service)?.1) {
        Ok(orders) => orders,
        Err(reason) => return Ok(nothing(reason)),
    };
    for order in orders {
        let actor = speaker.actor(Some(ACTOR)).unwrap_or_default();
        let command = Command { service: message.service.clone(), order, actor, reason: message.reason() };
        match say(&state.engine, command).await {
            Ok(()) => {}
            Err(ApiError::Conflict(reason)) => return Ok(nothing(reason)),
            Err(error) => return Err(error),
        }
    }
    Ok(Json(json!({"taken": true})))
}
