//! `POST /api/v1/canaries` and `/api/v1/canaries/{service}/{action}`: what people and scripts say.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use crate::api::ApiState;
use crate::api::canaries::request::{Speaker, line, parsed, require_json};
use crate::api::canaries::{canary, say, shown};
use crate::api::error::{ApiError, success};
use crate::rollout::{Command, Exposure, Order, TEXT_LIMIT_CHARS};
use crate::types::Timestamp;

/// Who says so where nobody is named and nobody need be.
const NOBODY: &str = "api";
const ACTIONS: &str = "promote, abort, pause, resume and step";

/// A new rollout.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Start {
    service: String,
    version: String,
    baseline: Option<String>,
    commit_time: Option<String>,
    actor: Option<String>,
    reason: Option<String>,
}

impl Start {
    fn command(self, speaker: &Speaker) -> Result<Command, ApiError> {
        let commit = |text: String| match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Timestamp(at.as_millisecond())),
            Err(_) => Err(ApiError::BadData(format!("commitTime {text:?} is no time: write 2026-11-01T12:00:00Z"))),
        };
        Ok(Command {
            service: self.service,
            order: Order::Start {
                version: version("version", self.version)?,
                baseline: self.baseline.map(|baseline| version("baseline", baseline)).transpose()?,
                committed_at: self.commit_time.map(commit).transpose()?,
            },
            actor: speaker.actor(self.actor.as_deref()).unwrap_or_else(|| NOBODY.to_owned()),
            reason: line(&self.reason.unwrap_or_default()),
        })
    }
}

/// A value of the version label that a series can have.
fn version(field: &str, text: String) -> Result<String, ApiError> {
    match text.chars().count() {
        0 => Err(ApiError::BadData(format!("{field} is empty"))),
        1..=TEXT_LIMIT_CHARS => Ok(text),
        _ => Err(ApiError::BadData(format!("{field} is longer than {TEXT_LIMIT_CHARS} characters"))),
    }
}

/// Judges a version from now on.
pub(super) async fn start(
    State(state): State<ApiState>,
    speaker: Speaker,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_json(&headers)?;
    let command = parsed::<Start>(body)?.command(&speaker)?;
    taken(&state, command).await
}

/// What is said about a rollout in progress.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Act {
    actor: Option<String>,
    reason: Option<String>,
    full: Option<bool>,
    step: Option<StepName>,
    weight: Option<f64>,
}

/// A step by its name or its place.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "step takes a name, or a place from 0")]
enum StepName {
    Name(String),
    Index(usize),
}

impl Act {
    fn command(self, service: String, action: &str, speaker: &Speaker) -> Result<Command, ApiError> {
        let bad = |message: String| Err(ApiError::BadData(message));
        let only = |field: &str, of: &str| bad(format!("{field} belongs to {of}, not to {action}"));
        if self.full.is_some() && action != "promote" {
            return only("full", "promote");
        }
        if (self.step.is_some() || self.weight.is_some()) && action != "step" {
            return only(if self.step.is_some() { "step" } else { "weight" }, "step");
        }
        let order = match action {
            "promote" => Order::Promote { full: self.full.unwrap_or_default() },
            "abort" => Order::Abort,
            "pause" => Order::Pause,
            "resume" => Order::Resume,
            "step" => Order::Step(match (self.step, self.weight) {
                (Some(StepName::Name(name)), None) => Exposure::Name(name),
                (Some(StepName::Index(index)), None) => Exposure::Index(index),
                (None, Some(weight)) if (0.0..=100.0).contains(&weight) => Exposure::Weight(weight),
                (None, Some(weight)) => return bad(format!("weight is a percentage from 0 to 100, not {weight}")),
                _ => return bad("give either step, a name or a place from 0, or weight, a percentage".to_owned()),
            }),
            other => return Err(ApiError::NotFound(format!("no action {other:?}: there are {ACTIONS}"))),
        };
        let nobody = matches!(order, Order::Step(_)).then(|| NOBODY.to_owned());
        let Some(actor) = speaker.actor(self.actor.as_deref()).or(nobody) else {
            return bad(format!("actor is missing: say who wants to {action} the rollout"));
        };
        Ok(Command { service, order, actor, reason: line(&self.reason.unwrap_or_default()) })
    }
}

/// Moves, holds or ends a rollout.
pub(super) async fn act(
    State(state): State<ApiState>,
    Path((service, action)): Path<(String, String)>,
    speaker: Speaker,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_json(&headers)?;
    let command = parsed::<Act>(body)?.command(service, &action, &speaker)?;
    taken(&state, command).await
}

/// Says it, and shows what the service is like then.
async fn taken(state: &ApiState, command: Command) -> Result<Response, ApiError> {
    let service = command.service.clone();
    // Nothing is put down about a service that nobody knows.
    canary(&state.engine.snapshot(), &service)?;
    say(&state.engine, command).await?;
    shown(&state.engine.snapshot(), &service, None).map(success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn start(body: &Value) -> Result<Command, String> {
        let start = parsed::<Start>(Ok(body.to_string().into())).map_err(|error| error.to_string())?;
        start.command(&Speaker::default()).map_err(|error| error.to_string())
    }

    fn act(action: &str, body: &Value) -> Result<Command, String> {
        let act = parsed::<Act>(Ok(body.to_string().into())).map_err(|error| error.to_string())?;
        act.command("pay".to_owned(), action, &Speaker::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_start_is_read() {
        let body =
            json!({"service": "pay", "version": "v2", "baseline": "v1", "commitTime": "2026-11-01T12:00:00+01:00"});
        let order = Order::Start {
            version: "v2".to_owned(),
            baseline: Some("v1".to_owned()),
            committed_at: Some(Timestamp(1_793_530_800_000)),
        };
        let expected = Command { service: "pay".to_owned(), order, actor: NOBODY.to_owned(), reason: String::new() };
        assert_eq!(start(&body), Ok(expected));
        for (body, says) in [
            (json!({"service": "pay"}), "missing field `version`"),
            (json!({"service": "pay", "version": ""}), "version is empty"),
            (json!({"service": "pay", "version": "v2", "baseline": "x".repeat(501)}), "baseline is longer than 500"),
            (json!({"service": "pay", "version": "v2", "committime": "x"}), "unknown field `committime`"),
            (json!({"service": "pay", "version": "v2", "commitTime": "noon"}), "commitTime \"noon\" is no time"),
            (json!([1]), "not as expected"),
        ] {
            let error = start(&body).unwrap_err();
            assert!(error.contains(says), "{body}: {error}");
        }
    }

    #[test]
    fn actions_take_only_what_belongs_to_them() {
        let by = |mut body: Value| {
            body["actor"] = json!("alice");
            body
        };
        let order = |action, body| act(action, &by(body)).map(|command| command.order);
        assert_eq!(order("promote", json!({})), Ok(Order::Promote { full: false }));
        assert_eq!(order("promote", json!({"full": true})), Ok(Order::Promote { full: true }));
        assert_eq!(order("abort", json!({"reason": "errors"})), Ok(Order::Abort));
        assert_eq!(order("step", json!({"step": "5%"})), Ok(Order::Step(Exposure::Name("5%".to_owned()))));
        assert_eq!(order("step", json!({"step": 2})), Ok(Order::Step(Exposure::Index(2))));
        assert_eq!(order("step", json!({"weight": 12.5})), Ok(Order::Step(Exposure::Weight(12.5))));
        assert_eq!(act("step", &json!({"step": 2})).unwrap().actor, NOBODY);
        for (action, body, says) in [
            ("abort", json!({"full": true}), "full belongs to promote, not to abort"),
            ("pause", json!({"weight": 5}), "weight belongs to step, not to pause"),
            ("step", json!({}), "give either step"),
            ("step", json!({"step": 1, "weight": 5}), "give either step"),
            ("step", json!({"step": -1}), "step takes a name, or a place from 0"),
            ("step", json!({"weight": 101}), "from 0 to 100, not 101"),
            ("retry", json!({}), "no action \"retry\""),
            ("abort", json!({"why": "errors"}), "unknown field `why`"),
        ] {
            let error = act(action, &by(body)).unwrap_err();
            assert!(error.contains(says), "{action}: {error}");
        }
        for action in ["promote", "abort", "pause", "resume"] {
            let error = act(action, &json!({"reason": "x"})).unwrap_err();
            assert_eq!(error, format!("actor is missing: say who wants to {action} the rollout"));
        }
    }
}
