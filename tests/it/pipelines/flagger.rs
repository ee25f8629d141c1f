//! Flagger as `guardrails/flagger.yaml` configures it: the order in which its controller calls the hooks, and what it makes
//! of their answers (`pkg/controller/scheduler.go`).

use serde::Deserialize;
use serde_json::{Value, json};
use sloburn::types::Span;

use super::example;
use super::live::Live;
use super::models::{QUOTE, journeys};
use super::traffic::Behave;
use crate::canaries::releases::say;

/// What became of a Canary.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Succeeded,
    Failed { weight: u64 },
}

struct Flagger {
    analysis: Value,
    live: Live,
}

impl Flagger {
    async fn new(behave: Behave) -> Self {
        let yaml = example("guardrails/flagger.yaml");
        let documents = serde_yaml::Deserializer::from_str(&yaml).map(|d| Value::deserialize(d).unwrap());
        let canary: Value = documents.into_iter().find(|d: &Value| d["kind"] == "Canary").unwrap();
        Self { analysis: canary["spec"]["analysis"].clone(), live: Live::start(&QUOTE, behave, 50.0, 3_000).await }
    }

    /// Calls the hooks of a type; whether all say yes.
    async fn hooks(&self, kind: &str, phase: &str, message: Option<&str>) -> bool {
        let mut is_yes = true;
        for hook in self.analysis["webhooks"].as_array().unwrap().iter().filter(|hook| hook["type"] == kind) {
            let mut metadata = hook["metadata"].clone();
            if let Some(message) = message {
                metadata["eventMessage"] = json!(message);
                metadata["eventType"] = json!("Normal");
                metadata["timestamp"] = json!("1793491200000");
            }
            let body = json!({
                "name": "quote", "namespace": "payments", "phase": phase, "checksum": "85d557f47b", "metadata": metadata,
            });
            let url = url::Url::parse(hook["url"].as_str().unwrap()).unwrap();
            let answer = say(&self.live.daemon, url.path(), &body).await;
            assert!(matches!(answer.status, 200 | 409), "{kind}: {} {}", answer.status, answer.text);
            is_yes &= answer.status <= 202;
        }
        is_yes
    }

    async fn event(&self, message: &str) {
        assert!(self.hooks("event", "Progressing", Some(message)).await, "{message}");
    }

    /// A new revision, one round of the scheduler after the other.
    async fn roll_out(&mut self) -> Phase {
        let interval: Span = self.analysis["interval"].as_str().unwrap().parse().unwrap();
        let weights: Vec<u64> =
            self.analysis["stepWeights"].as_array().unwrap().iter().map(|weight| weight.as_u64().unwrap()).collect();
        if !self.hooks("confirm-rollout", "Initialized", None).await {
            return Phase::Waiting;
        }
        self.event("New revision detected! Scaling up quote.payments").await;
        // What built the revision announces it; discovery would within a minute.
        let start = json!({"service": "quote", "version": QUOTE.candidate, "baseline": QUOTE.stable, "actor": "ci"});
        self.live.tell("/api/v1/canaries", &start).await;
        let mut at: Option<usize> = None;
        loop {
            self.live.pass(interval).await;
            let weight = at.map_or(0, |at| weights[at]);
            let is_promoted = at == Some(weights.len() - 1);
            if self.hooks("rollback", "Progressing", None).await || !self.hooks("rollout", "Progressing", None).await {
                self.live.expose(None);
                self.event("Canary failed! Scaling down quote.payments").await;
                assert!(self.hooks("post-rollout", "Failed", None).await);
                return Phase::Failed { weight };
            }
            if is_promoted {
                if self.hooks("confirm-promotion", "WaitingPromotion", None).await {
                    assert!(self.hooks("post-rollout", "Succeeded", None).await);
                    return Phase::Succeeded;
                }
            } else if self.hooks("confirm-traffic-increase", "Progressing", None).await {
                let next = at.map_or(0, |at| at + 1);
                let exposed = self.live.step_of(weights[next] as f64);
                self.live.expose(Some(exposed));
                self.event(&format!("Advance quote.payments canary weight {}", weights[next])).await;
                at = Some(next);
            }
        }
    }
}

#[tokio::test]
async fn flagger_promotes_a_good_quote_and_takes_back_a_bad_one() {
    let mut flagger = Flagger::new(journeys::good).await;
    assert_eq!(flagger.roll_out().await, Phase::Succeeded);
    assert_eq!(flagger.live.verdict(None).await["state"], "promoted");
    let mut flagger = Flagger::new(journeys::failing).await;
    assert_eq!(flagger.roll_out().await, Phase::Failed { weight: 10 });
    let verdict = flagger.live.verdict(None).await;
    assert_eq!((&verdict["state"], Live::check(&verdict)), (&json!("rolled-back"), "errors"), "{verdict}");
}

#[tokio::test]
async fn flagger_does_not_begin_while_the_budget_is_spent() {
    let mut flagger = Flagger::new(journeys::good).await;
    flagger.live.last_month(3.0).await;
    flagger.live.round().await;
    assert_eq!(flagger.roll_out().await, Phase::Waiting);
}
