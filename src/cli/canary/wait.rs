//! `sloburn canary wait`: a pipeline's question until there is an answer.

use serde_json::Value;

use crate::cli::canary::args::{OutputFormat, WaitOptions};
use crate::cli::canary::refused;
use crate::cli::client::{Client, ClientError};
use crate::cli::{Outcome, console};
use crate::clock::Steady;
use crate::types::{Span, Timestamp};

/// New figures in a reason are told so often at most; another verdict, step or state at once.
const FIGURES_EVERY: Span = Span::minutes(1);

/// What has been told on standard error.
#[derive(Default)]
struct Told {
    text: String,
    key: Option<[String; 3]>,
    at: Option<Timestamp>,
}

impl Told {
    /// Tells an answer if it is news.
    fn answer(&mut self, answer: &Value, now: Timestamp) {
        let [verdict, state, step, reason] = ["verdict", "state", "step", "reason"].map(|key| said(answer, key));
        let head = if step.is_empty() { verdict.clone() } else { format!("{verdict} at {step}") };
        let key = [verdict, state, step];
        let text = format!("{head}: {reason}");
        let is_due = self.at.is_none_or(|at| now.since(at) >= FIGURES_EVERY);
        if self.key.as_ref() != Some(&key) || (is_due && text != self.text) {
            console::message(&text);
            *self = Self { text, key: Some(key), at: Some(now) };
        }
    }

    /// Tells what is in the way, each thing once.
    fn obstacle(&mut self, reason: &str) {
        if reason != self.text {
            console::message(reason);
            *self = Self { text: reason.to_owned(), key: None, at: None };
        }
    }
}

fn said(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_default().to_owned()
}

/// What an answer means for the exit code; `None` to go on waiting.
fn outcome(answer: &Value, through_pause: bool) -> Option<Outcome> {
    match (answer["verdict"].as_str(), answer["state"].as_str()) {
        (Some("promote"), _) => Some(Outcome::Ok),
        (Some("rollback"), _) => Some(Outcome::Failed),
        // Nobody will decide it any more.
        (_, Some("superseded" | "vanished" | "unknown-service" | "no-canary")) => Some(Outcome::NoData),
        (_, Some("bad-request" | "unknown-step")) => Some(Outcome::Usage),
        (Some("pause"), _) if !through_pause => Some(Outcome::NoData),
        _ => None,
    }
}

pub(super) async fn run(client: &Client, options: &WaitOptions, format: OutputFormat) -> anyhow::Result<Outcome> {
    let clock = Steady::start();
    let deadline = clock.now() + options.timeout;
    let mut query = vec![("service", options.service.as_str()), ("version", options.version.as_str())];
    query.extend(options.step.as_deref().map(|step| ("step", step)));
    let mut told = Told::default();
    let mut last = Value::Null;
    loop {
        match client.get_until(&["verdict"], &query, (&clock, deadline), |reason| told.obstacle(reason)).await {
            Ok(answer) => {
                told.answer(&answer, clock.now());
                if let Some(outcome) = outcome(&answer, options.through_pause) {
                    report(&answer, format);
                    return Ok(outcome);
                }
                last = answer;
            }
            Err(ClientError::Later(reason)) => told.obstacle(&reason),
            Err(error) => return refused(error),
        }
        let now = clock.now();
        if now >= deadline {
            console::message(&format!("error: not decided in {}", options.timeout));
            if !last.is_null() {
                report(&last, format);
            }
            return Ok(Outcome::Timeout);
        }
        clock.sleep_until((now + options.every).min(deadline)).await;
    }
}

fn report(answer: &Value, format: OutputFormat) {
    match format {
        OutputFormat::Json => console::data(&answer.to_string()),
        OutputFormat::Text => {
            let [verdict, service, version, reason] =
                ["verdict", "service", "version", "reason"].map(|key| said(answer, key));
            console::data(&format!("{verdict} {service} {version}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn doubt_is_neither_success_nor_failure() {
        let of = |verdict: &str, state: &str, through_pause| {
            outcome(&json!({"verdict": verdict, "state": state}), through_pause)
        };
        for through_pause in [false, true] {
            assert_eq!(of("promote", "promoted", through_pause), Some(Outcome::Ok));
            assert_eq!(of("rollback", "aborted", through_pause), Some(Outcome::Failed));
            assert_eq!(of("continue", "in-progress", through_pause), None);
            assert_eq!(of("continue", "unknown-version", through_pause), None);
            assert_eq!(of("continue", "recovering", through_pause), None);
            assert_eq!(of("pause", "superseded", through_pause), Some(Outcome::NoData));
            assert_eq!(of("continue", "unknown-service", through_pause), Some(Outcome::NoData));
            assert_eq!(of("continue", "unknown-step", through_pause), Some(Outcome::Usage));
        }
        assert_eq!(of("pause", "paused", false), Some(Outcome::NoData));
        assert_eq!(of("pause", "paused", true), None);
    }
}
