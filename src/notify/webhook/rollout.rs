//! The messages about rollouts.
//!
//! ```json
//! {
//!   "type": "verdict.rollback",               // see below
//!   "timestamp": "2026-11-01T00:00:00.000Z",  // when it happened
//!   "data": {
//!     "rollout": "pay/2.1@1793491200000",     // the same from its start to its end
//!     "service": "pay", "version": "2.1", "baseline": "2.0",
//!     "reason": "errors: regression of 2 points (1.2 to 3.4 points), more than the limit of 0.3 points",
//!     "by": {"name": "kim", "reason": "..."}, // who gave the order; null for the checks
//!     "step": "5%", "decision": "rollback",   // of verdicts
//!     "check": "errors",                      // of verdicts: the one it came to depend on; null where it was none
//!     "checks": [{                            // of verdicts
//!       "check": "errors", "state": "harm",   // or "safe", "undecided"
//!       "effect": {                           // null without events
//!         "canary": 0.021, "baseline": 0.001, // the figures that are compared; baseline null without events
//!         "value": 0.02,                      // what the limit is about, and
//!         "interval": {"low": 0.012, "high": 0.034},  // where it lies; null for a window
//!         "limit": 0.003, "unit": "points"    // or "percent", "relative", "seconds", "burn"; fractions, not percent
//!       },
//!       "canaryEvents": 1000.0, "baselineEvents": 19000.0,
//!       "reason": "..."
//!     }],
//!     "steps": ["5%", "50%"], "committedAt": null,  // of starts
//!     "outcome": "rolled-back",               // of ends; or "promoted", "aborted", "superseded"
//!     "url": "https://slo.example/canaries/pay"
//!   }
//! }
//! ```
//!
//! | `type` | when | `webhook-id` |
//! |---|---|---|
//! | `rollout.started` | it is judged from now on | of the rollout |
//! | `verdict.promote`, `verdict.pause`, `verdict.rollback` | the checks, or a person, say so | the verdict's |
//! | `rollout.paused`, `rollout.resumed` | a person says so | of the rollout and the moment |
//! | `rollout.ended` | it is over | of the rollout and its outcome |

use serde::Serialize;
use url::Url;

use super::{Event, Message, Payload};
use crate::canary::{Effect, Outcome, State};
use crate::notify::telling::{Telling, page};
use crate::rollout::{Actor, Happened};
use crate::types::Timestamp;

impl Message {
    /// The message that tells of a rollout; `None` for what webhooks are not told.
    pub fn of_rollout(telling: &Telling, external_url: &Url) -> Option<Self> {
        let event = Event::of(telling.what)?;
        let record = &telling.record;
        let payload = Payload {
            kind: event.as_str(),
            timestamp: record.at.to_rfc3339(),
            data: Data {
                rollout: &record.rollout,
                service: &record.service,
                version: &record.version,
                baseline: record.baseline.as_deref(),
                reason: telling.reason(),
                by: telling.by(),
                particulars: Particulars::of(&record.event),
                url: page(external_url, &record.service).to_string(),
            },
        };
        Some(Self {
            id: telling.id(),
            number: telling.number,
            fingerprint: telling.lane(),
            event,
            // Strings, numbers and lists of them cannot fail to serialize.
            body: serde_json::to_string(&payload).unwrap_or_default(),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    rollout: &'a str,
    service: &'a str,
    version: &'a str,
    baseline: Option<&'a str>,
    reason: String,
    by: Option<&'a Actor>,
    #[serde(flatten)]
    particulars: Particulars<'a>,
    url: String,
}

/// What is said of some events only.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Particulars<'a> {
    Verdict { step: &'a str, decision: &'static str, check: Option<&'a str>, checks: Vec<Check<'a>> },
    Start { steps: &'a [String], committed_at: Option<String> },
    End { outcome: &'static str },
    None {},
}

impl<'a> Particulars<'a> {
    fn of(event: &'a Happened) -> Self {
        match event {
            Happened::Verdict { verdict, .. } => Self::Verdict {
                step: &verdict.step,
                decision: verdict.decision.as_str(),
                check: verdict.check.as_deref(),
                checks: verdict.checks.iter().map(Check::of).collect(),
            },
            Happened::Started { steps, committed_at, .. } => {
                Self::Start { steps, committed_at: committed_at.map(Timestamp::to_rfc3339) }
            }
            Happened::Ended { outcome, .. } => Self::End { outcome: outcome.as_str() },
            _ => Self::None {},
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Check<'a> {
    #[serde(rename = "check")]
    name: &'a str,
    state: State,
    effect: Option<Figures<'a>>,
    canary_events: f64,
    baseline_events: f64,
    reason: &'a str,
}

/// Of an effect, what a receiver can use.
#[derive(Serialize)]
struct Figures<'a> {
    canary: f64,
    baseline: Option<f64>,
    value: f64,
    interval: Option<Ends>,
    limit: f64,
    unit: &'a crate::canary::Unit,
}

#[derive(Serialize)]
struct Ends {
    low: f64,
    high: f64,
}

impl<'a> Check<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let figures = |effect: &'a Effect| Figures {
            canary: effect.canary,
            baseline: effect.baseline,
            value: effect.value,
            interval: effect.interval.map(|interval| Ends { low: interval.low, high: interval.high }),
            limit: effect.limit,
            unit: &effect.unit,
        };
        Self {
            name: &outcome.check,
            state: outcome.state,
            effect: outcome.effect.as_ref().map(figures),
            canary_events: outcome.canary_events,
            baseline_events: outcome.baseline_events,
            reason: &outcome.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::Decision;
    use crate::notify::telling::Desk;
    use crate::notify::telling::tests::{Story, surroundings, told};
    use crate::rollout::Ending;

    fn message(desk: &mut Desk, record: &crate::rollout::Record) -> Message {
        Message::of_rollout(&told(desk, record), &surroundings().external_url).unwrap()
    }

    #[test]
    fn the_bodies() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2.1"));
        let records = [
            story.started(),
            story.held(true),
            story.held(false),
            story.verdict(Decision::Promote, "5%"),
            story.verdict(Decision::Rollback, "50%"),
            story.ended(Ending::RolledBack),
        ];
        let bodies: Vec<String> = records.iter().map(|record| message(&mut desk, record).body).collect();
        insta::assert_snapshot!("rollout_bodies", bodies.join("\n"));
    }

    #[test]
    fn a_verdicts_message_has_the_verdicts_id() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2.1"));
        let record = story.verdict(Decision::Pause, "5%");
        let Happened::Verdict { verdict, .. } = &record.event else { panic!("a verdict") };
        let message = message(&mut desk, &record);
        assert_eq!((&message.id, message.event.as_str()), (&verdict.id, "verdict.pause"));
        let goes_on = told(&mut desk, &story.verdict(Decision::Continue, "5%"));
        assert_eq!(Message::of_rollout(&goes_on, &surroundings().external_url), None);
    }
}
