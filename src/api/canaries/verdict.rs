//! `GET /api/v1/verdict?service=&version=[&step=]`: what Argo's web provider asks, and `sloburn canary wait`.
//!
//! The status is always 200. For Argo any other one is an error of the measurement, and five in a row take the release
//! back, whether or not it did anything wrong.

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::Value;

use crate::api::ApiState;
use crate::api::canaries::answer::{Answer, Standing};
use crate::api::canaries::{canary, json};
use crate::engine::Snapshot;
use crate::live::{Phase, describe};

/// The question. A value may be empty: templates leave them so.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    service: String,
    version: String,
    step: Option<String>,
}

impl Question {
    /// Says what is wrong with it, with as much as could be read.
    fn parse(query: &str) -> (Self, Result<(), String>) {
        let mut question = Self::default();
        let mut wrong = Ok(());
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "service" => question.service = value.into_owned(),
                "version" => question.version = value.into_owned(),
                "step" => question.step = Some(value.into_owned()).filter(|step| !step.is_empty()),
                _ => wrong = Err(format!("unknown parameter {key:?}: use service, version and step")),
            }
        }
        let parameters = [("service", &question.service), ("version", &question.version)];
        if let Some((name, _)) = parameters.iter().find(|(_, value)| value.is_empty()) {
            wrong = wrong.and(Err(format!("the parameter {name} is missing")));
        }
        (question, wrong)
    }
}

/// Always an answer.
pub(super) async fn show(State(state): State<ApiState>, RawQuery(query): RawQuery) -> Json<Value> {
    let recovering = recovering(&state);
    Json(said(&state.engine.snapshot(), recovering, query.as_deref().unwrap_or_default()))
}

/// Why figures would be those of a part.
pub(super) fn recovering(state: &ApiState) -> Option<String> {
    match state.engine.phase() {
        Phase::Recovering(progress) => Some(format!("recovering from the journal: {}", describe(&progress))),
        Phase::Running | Phase::Failed(_) => None,
    }
}

pub(super) fn said(snapshot: &Snapshot, recovering: Option<String>, query: &str) -> Value {
    let (question, valid) = Question::parse(query);
    let answer = match (valid, recovering) {
        (Err(reason), _) => Answer::unknown(Standing::BadRequest, reason),
        (Ok(()), Some(reason)) => Answer::unknown(Standing::Recovering, reason),
        (Ok(()), None) => match canary(snapshot, &question.service) {
            Ok((_, canary)) => Answer::about(canary, &question.version, question.step.as_deref()),
            Err(error) => {
                let is_known = snapshot.slos.iter().any(|slo| slo.service == question.service);
                let is_known = is_known || snapshot.services.iter().any(|known| known.name == question.service);
                let standing = if is_known { Standing::NoCanary } else { Standing::UnknownService };
                Answer::unknown(standing, error.to_string())
            }
        },
    };
    json::answer(&answer, &question.service, &question.version)
}
