//! `POST /api/v1/flagger/{hook}`: the webhooks of a Flagger canary, one path for each type of hook.
//!
//! For Flagger a status of at most 202 is yes, and the body of any other answer goes into its events. It retries 5xx,
//! so no is 409. What yes means depends on the hook: see [`Hook`]. A judge that knows nothing blocks what it was asked
//! to confirm and condemns nothing: a refused `rollout` hook counts towards a rollback.
//!
//! Flagger names no version. Unless the hook's `metadata.version` does, a hook is about the rollout in progress, or
//! about the last one until Flagger goes on to another revision, which its checksum shows: what became of the last
//! release says nothing about the next one, even of the same version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::api::ApiState;
use crate::api::canaries::answer::{Answer, Standing};
use crate::api::canaries::gate::Gate;
use crate::api::canaries::request::{Speaker, line, parsed, refuse_browsers};
use crate::api::canaries::{canary, say, verdict};
use crate::api::error::ApiError;
use crate::canary::Decision;
use crate::clock;
use crate::engine::Snapshot;
use crate::rollout::{CanaryView, Command, Exposure, Order, RolloutView};
use crate::types::Timestamp;

const ACTOR: &str = "flagger";

/// A type of hook, and when it is answered with yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Before an analysis: the budget policy lets a release start.
    ConfirmRollout,
    /// Before the first traffic: unless the verdict is `rollback`.
    PreRollout,
    /// At every check: unless the verdict is `rollback`.
    Rollout,
    /// Before more traffic: the verdict is `continue` or `promote`.
    ConfirmTrafficIncrease,
    /// Before the promotion: the verdict is `promote`.
    ConfirmPromotion,
    /// At every check; yes takes the release back: the verdict is `rollback`.
    Rollback,
    /// After the end: always.
    PostRollout,
    /// Whatever happens: always.
    Event,
}

impl Hook {
    const ALL: [(&str, Self); 8] = [
        ("confirm-rollout", Self::ConfirmRollout),
        ("pre-rollout", Self::PreRollout),
        ("rollout", Self::Rollout),
        ("confirm-traffic-increase", Self::ConfirmTrafficIncrease),
        ("confirm-promotion", Self::ConfirmPromotion),
        ("rollback", Self::Rollback),
        ("post-rollout", Self::PostRollout),
        ("event", Self::Event),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, hook)| *hook)
    }

    const fn only_tells(self) -> bool {
        matches!(self, Self::PostRollout | Self::Event)
    }

    const fn says_yes_to(self, decision: Decision) -> bool {
        match self {
            Self::PreRollout | Self::Rollout => !matches!(decision, Decision::Rollback),
            Self::ConfirmTrafficIncrease => matches!(decision, Decision::Continue | Decision::Promote),
            Self::ConfirmPromotion => matches!(decision, Decision::Promote),
            Self::Rollback => matches!(decision, Decision::Rollback),
            Self::ConfirmRollout | Self::PostRollout | Self::Event => true,
        }
    }
}

/// What Flagger posts. Fields that later versions add are left alone.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Message {
    name: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    checksum: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl Message {
    fn service(&self) -> &str {
        self.metadata.get("service").map_or(self.name.as_str(), String::as_str)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.get("version").map(String::as_str).filter(|version| !version.is_empty())
    }
}

/// Which revision Flagger is at with each service, by its checksum, and since when if that was seen. Only of services
/// that are known, so bounded by the specs.
#[derive(Debug, Default)]
pub(super) struct Revisions(Mutex<BTreeMap<String, Revision>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Revision {
    checksum: String,
    /// When another one came before it; `None` for the first that is known.
    since: Option<Timestamp>,
}

impl Revisions {
    /// Since when Flagger is at this revision; `None` if it may have been before this process knew.
    pub(super) fn since(&self, service: &str, checksum: &str, now: Timestamp) -> Option<Timestamp> {
        let mut revisions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let checksum = checksum.chars().take(64).collect::<String>();
        match revisions.get_mut(service) {
            Some(known) if known.checksum == checksum => known.since,
            Some(known) => {
                *known = Revision { checksum, since: Some(now) };
                known.since
            }
            None => {
                revisions.insert(service.to_owned(), Revision { checksum, since: None });
                None
            }
        }
    }
}

/// Yes or no, with a sentence for Flagger's events.
pub(super) async fn take(
    State((state, revisions)): State<(ApiState, Arc<Revisions>)>,
    Path(hook): Path<String>,
    speaker: Speaker,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> (StatusCode, String) {
    let Some(hook) = Hook::named(&hook) else {
        let names: Vec<&str> = Hook::ALL.iter().map(|(name, _)| *name).collect();
        return (StatusCode::NOT_FOUND, format!("no hook {hook:?}: there are {}\n", names.join(", ")));
    };
    let message = refuse_browsers(&headers).and_then(|()| parsed::<Message>(body));
    let (is_yes, reason) = match message {
        Ok(message) if hook.only_tells() => (true, told(&state, &speaker, hook, &message).await),
        Ok(message) => {
            let since = |service: &str| revisions.since(service, &message.checksum, clock::now());
            asked(&state.engine.snapshot(), verdict::recovering(&state), hook, &message, since)
        }
        Err(error) if hook.only_tells() => (true, error.to_string()),
        Err(error) => return (error.status().0, format!("{error}\n")),
    };
    (if is_yes { StatusCode::OK } else { StatusCode::CONFLICT }, format!("{reason}\n"))
}

/// The answer to a hook that asks.
pub(super) fn asked(
    snapshot: &Snapshot,
    recovering: Option<String>,
    hook: Hook,
    message: &Message,
    since: impl FnOnce(&str) -> Option<Timestamp>,
) -> (bool, String) {
    let service = message.service();
    if hook == Hook::ConfirmRollout {
        if let Some(reason) = recovering {
            return (false, reason);
        }
        return match Gate::of(snapshot, service) {
            Some(gate) => (gate.allowed, gate.reason),
            None => (false, format!("no service is named {service:?}: name it as metadata.service of the hook")),
        };
    }
    if let Some(reason) = recovering {
        return (knows_nothing(hook), reason);
    }
    match canary(snapshot, service) {
        Ok((_, canary)) => {
            let answer = answer(canary, message.version(), since(service));
            let reason = format!("{}: {}", answer.decision.as_str(), answer.reason);
            (hook.says_yes_to(answer.decision), reason)
        }
        Err(error) => {
            let yes = knows_nothing(hook);
            tracing::warn!(canary = message.name, ?hook, yes, %error, "a hook of Flagger about nothing known");
            (yes, error.to_string())
        }
    }
}

/// The answer of a judge that knows nothing: what is to be confirmed is not, and nothing is condemned.
fn knows_nothing(hook: Hook) -> bool {
    matches!(hook, Hook::PreRollout | Hook::Rollout)
}

/// The answer about a version, or about whichever there is: about the rollout in progress, else about the last one, if
/// that was of the revision Flagger is at. Where it may have been of the one before, it was taken back already unless
/// it still has samples.
fn answer<'r>(canary: &'r CanaryView, version: Option<&str>, since: Option<Timestamp>) -> Answer<'r> {
    let is_at_hand = |rollout: &RolloutView| match (&rollout.ended, since) {
        (None, _) => true,
        (Some((ended, ..)), Some(since)) => *ended >= since,
        (Some(_), None) => canary.live.contains(&rollout.version),
    };
    match (canary.rollout(version).filter(|rollout| is_at_hand(rollout)), version) {
        (Some(rollout), _) => Answer::of(canary, rollout, None),
        (None, Some(version)) => Answer::without_rollout(canary, version),
        (None, None) => Answer::unknown(Standing::UnknownVersion, "no rollout is in progress yet".to_owned()),
    }
}

/// What a hook that tells means for the rollout; `Err` says why nothing.
pub(super) fn order(hook: Hook, message: &Message, canary: &CanaryView) -> Result<Order, String> {
    let text = message.metadata.get("eventMessage").map_or("", String::as_str);
    let named = message.version();
    let current = canary.current.as_deref();
    // An event says the phase before it, which may be that of the release before.
    let end = match (hook, message.phase.as_str()) {
        (Hook::PostRollout, "Succeeded") => Some(true),
        (Hook::PostRollout, "Failed") => Some(false),
        (Hook::Event, "Succeeded") if text.starts_with("Promotion completed!") => Some(true),
        (Hook::Event, "Failed") if text.starts_with("Canary failed!") => Some(false),
        _ => None,
    };
    if text.starts_with("New revision detected!") {
        let Some(version) = named else { return Err("the version is discovered from its samples".to_owned()) };
        if canary.stable.as_deref() == Some(version) {
            return Err(format!("{version} is the stable version"));
        }
        return Ok(Order::Start { version: version.to_owned(), baseline: None, committed_at: None });
    }
    let weight = weight(text).filter(|_| hook == Hook::Event);
    if end.is_none() && weight.is_none() {
        return Err("nothing follows from it".to_owned());
    }
    match (current, named) {
        (None, _) => Err("no rollout is in progress".to_owned()),
        (Some(current), Some(version)) if current.version != version => {
            Err(format!("{} is being judged, not {version}", current.version))
        }
        _ => Ok(match (end, weight) {
            (Some(promoted), _) => Order::End { promoted },
            (None, weight) => Order::Step(Exposure::Weight(weight.unwrap_or_default())),
        }),
    }
}

/// `Advance podinfo.test canary weight 5`
fn weight(text: &str) -> Option<f64> {
    let (_, weight) = text.strip_prefix("Advance ")?.rsplit_once(" canary weight ")?;
    weight.trim().parse::<f64>().ok().filter(|weight| *weight > 0.0 && *weight <= 100.0)
}

/// Tells the engine; Flagger does nothing about the answer.
async fn told(state: &ApiState, speaker: &Speaker, hook: Hook, message: &Message) -> String {
    match tell(state, speaker, hook, message).await {
        Ok(()) => "taken".to_owned(),
        Err(reason) => {
            tracing::debug!(
                canary = message.name,
                phase = message.phase,
                reason,
                "a message of Flagger without effect"
            );
            reason
        }
    }
}

async fn tell(state: &ApiState, speaker: &Speaker, hook: Hook, message: &Message) -> Result<(), String> {
    if let Some(reason) = verdict::recovering(state) {
        return Err(reason);
    }
    let said = |error: ApiError| error.to_string();
    let service = message.service().to_owned();
    let order = order(hook, message, canary(&state.engine.snapshot(), &service).map_err(said)?.1)?;
    let reason = message.metadata.get("eventMessage").map_or_else(|| message.phase.clone(), String::clone);
    let actor = speaker.actor(Some(ACTOR)).unwrap_or_default();
    say(&state.engine, Command { service, order, actor, reason: line(&reason) }).await.map_err(said)
}
