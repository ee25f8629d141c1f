//! Argo Rollouts as the examples configure it: its steps, its analyses by the web provider, its notifications.
//!
//! What the controller does with `argo.yaml` is done here by the file itself: the URL with its arguments put in, the
//! conditions, the limits, and the order of steps.

use serde::Deserialize;
use serde_json::{Value, json};
use sloburn::clock;
use sloburn::types::Span;

use super::example;
use super::live::Live;
use super::models::{CHECKOUT_MODEL, PAYROLL, PROGRESSIVE, TRANSFER, checkout, journeys, payroll, progressive};
use super::traffic::{Behave, Model};

/// What became of a Rollout.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Healthy,
    Degraded { weight: u64 },
    Paused { weight: u64 },
}

/// A measurement of an analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    Successful,
    Failed,
    Inconclusive,
}

/// The controller with one Rollout.
struct Argo {
    documents: Vec<Value>,
    live: Live,
    weight: u64,
}

/// `result.verdict == "promote"`
fn holds(condition: &str, result: &Value) -> bool {
    let mut words = condition.split_whitespace();
    let (subject, operator, literal) = (words.next(), words.next(), words.next());
    assert_eq!((subject, words.next()), (Some("result.verdict"), None), "{condition}");
    let is_equal = result["verdict"].as_str().unwrap() == literal.unwrap().trim_matches('"');
    match operator {
        Some("==") => is_equal,
        Some("!=") => !is_equal,
        _ => panic!("{condition}"),
    }
}

fn span(value: &Value) -> Span {
    value.as_str().unwrap().parse().unwrap()
}

impl Argo {
    async fn new(folder: &str, model: &Model, behave: Behave, boost: f64, samples: u32) -> Self {
        let yaml = example(&format!("{folder}/argo.yaml"));
        let documents = serde_yaml::Deserializer::from_str(&yaml).map(|d| Value::deserialize(d).unwrap()).collect();
        Self { documents, live: Live::start(model, behave, boost, samples).await, weight: 0 }
    }

    fn document(&self, kind: &str, name: Option<&str>) -> Value {
        let is_it = |d: &&Value| d["kind"] == kind && name.is_none_or(|name| d["metadata"]["name"] == name);
        self.documents.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name:?}")).clone()
    }

    /// The metric of an analysis, and its URL at the daemon with the arguments put in.
    fn metric(&self, analysis: &Value) -> (Value, String) {
        let name = analysis["templates"][0]["templateName"].as_str().unwrap();
        let template = self.document("AnalysisTemplate", Some(name));
        let metric = template["spec"]["metrics"][0].clone();
        let mut url = metric["provider"]["web"]["url"].as_str().unwrap().replace("{{args.sloburn}}", "");
        for arg in analysis["args"].as_array().unwrap() {
            let label = format!("spec.template.metadata.labels.{}", self.live.model.version_label);
            let value = match arg["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some(path) if path == label => self.live.model.candidate,
                Some(path) => panic!("{path} is not {label}"),
                None => arg["value"].as_str().unwrap(),
            };
            url = url.replace(&format!("{{{{args.{}}}}}", arg["name"].as_str().unwrap()), value);
        }
        assert!(!url.contains("{{"), "{url}");
        (metric, url)
    }

    async fn measure(&self, (metric, url): &(Value, String)) -> Measured {
        let result = self.live.get(url).await;
        let is = |condition: &str| holds(metric[condition].as_str().unwrap(), &result);
        match (is("successCondition"), is("failureCondition")) {
            (_, true) => Measured::Failed,
            (true, false) => Measured::Successful,
            (false, false) => Measured::Inconclusive,
        }
    }

    async fn notify(&self, event: &str, phase: &str) {
        let message = json!({
            "event": event, "service": self.live.model.service, "version": self.live.model.candidate,
            "weight": self.weight, "phase": phase, "message": "",
        });
        self.live.tell("/api/v1/argo/events", &message).await;
    }

    /// The Rollout from its new revision to its end.
    async fn roll_out(&mut self) -> Phase {
        let canary = self.document("Rollout", None)["spec"]["strategy"]["canary"].clone();
        let watch = self.metric(&canary["analysis"]);
        self.notify("on-rollout-updated", "Progressing").await;
        for step in canary["steps"].as_array().unwrap() {
            if let Some(weight) = step["setWeight"].as_u64() {
                self.weight = weight;
                let exposed = self.live.step_of(weight as f64);
                self.live.expose(Some(exposed));
                self.notify("on-rollout-step-completed", "Progressing").await;
                continue;
            }
            match self.analyse(&step["analysis"], &watch).await {
                Measured::Successful => {}
                Measured::Failed => {
                    self.live.expose(None);
                    self.notify("on-rollout-aborted", "Degraded").await;
                    return Phase::Degraded { weight: self.weight };
                }
                Measured::Inconclusive => {
                    self.notify("on-rollout-paused", "Paused").await;
                    return Phase::Paused { weight: self.weight };
                }
            }
        }
        self.notify("on-rollout-completed", "Healthy").await;
        Phase::Healthy
    }

    /// A step's analysis with the one in the background beside it.
    async fn analyse(&mut self, analysis: &Value, watch: &(Value, String)) -> Measured {
        let step = self.metric(analysis);
        let limit = step.0["inconclusiveLimit"].as_u64().unwrap();
        assert_eq!((&step.0["count"], &step.0["consecutiveSuccessLimit"]), (&json!(limit), &json!(1)));
        for _ in 0..limit {
            // Both start together, and measure at their interval.
            match self.measure(watch).await {
                Measured::Successful => {}
                stopped => return stopped,
            }
            match self.measure(&step).await {
                Measured::Inconclusive => self.live.pass(span(&step.0["interval"])).await,
                decided => return decided,
            }
        }
        Measured::Inconclusive
    }
}

async fn rolled_out(folder: &str, model: &Model, behave: Behave, boost: f64, samples: u32) -> (Phase, Value) {
    let mut argo = Argo::new(folder, model, behave, boost, samples).await;
    let phase = argo.roll_out().await;
    let verdict = argo.live.verdict(None).await;
    (phase, verdict)
}

#[tokio::test]
async fn argo_promotes_a_good_payroll_and_takes_back_a_bad_one() {
    let (phase, verdict) = rolled_out("payroll-api", &PAYROLL, payroll::good, 50.0, 8_000).await;
    assert_eq!((phase, &verdict["state"]), (Phase::Healthy, &json!("promoted")), "{verdict}");
    let (phase, verdict) = rolled_out("payroll-api", &PAYROLL, payroll::failing_at_5_percent, 50.0, 8_000).await;
    assert_eq!((phase, &verdict["state"]), (Phase::Degraded { weight: 5 }, &json!("rolled-back")), "{verdict}");
    let (phase, verdict) = rolled_out("payroll-api", &PAYROLL, payroll::slow, 50.0, 8_000).await;
    assert_eq!((phase, Live::check(&verdict)), (Phase::Degraded { weight: 1 }, "latency p95"), "{verdict}");
}

#[tokio::test]
async fn argo_promotes_a_good_checkout_and_takes_back_one_that_is_slow_at_scale() {
    let (phase, verdict) = rolled_out("checkout", &CHECKOUT_MODEL, checkout::good, 20.0, 2_000).await;
    assert_eq!((phase, &verdict["state"]), (Phase::Healthy, &json!("promoted")), "{verdict}");
    let (phase, verdict) = rolled_out("checkout", &CHECKOUT_MODEL, checkout::slow_at_25_percent, 20.0, 2_000).await;
    assert_eq!((phase, Live::check(&verdict)), (Phase::Degraded { weight: 25 }, "latency p95"), "{verdict}");
}

#[tokio::test]
async fn argo_promotes_a_good_transfer_and_takes_back_a_thrashing_one() {
    let mut argo = Argo::new("guardrails", &TRANSFER, journeys::good, 50.0, 3_000).await;
    argo.live.last_month(0.2).await;
    assert_eq!(argo.roll_out().await, Phase::Healthy);
    // The synthetic check is an SLI like any other: each of its results is an event.
    let now = clock::now();
    let journey = argo.live.daemon.slo("funds-transfer/journey").await;
    let past = argo.live.probes.iter().filter(|at| **at <= now).count();
    assert_eq!(
        (journey["good"].as_u64(), journey["total"].as_u64()),
        (Some(past as u64), Some(past as u64)),
        "{journey}"
    );
    let (phase, verdict) = rolled_out("guardrails", &TRANSFER, journeys::thrashing, 50.0, 3_000).await;
    assert_eq!((phase, &verdict["state"]), (Phase::Degraded { weight: 10 }, &json!("rolled-back")), "{verdict}");
}

/// Feature work pauses: the candidate may be as good as it likes.
#[tokio::test]
async fn argo_pauses_a_good_transfer_while_the_budget_is_spent() {
    let mut argo = Argo::new("guardrails", &TRANSFER, journeys::good, 50.0, 3_000).await;
    argo.live.last_month(3.0).await;
    assert_eq!(argo.roll_out().await, Phase::Paused { weight: 10 });
    let verdict = argo.live.verdict(None).await;
    let reason = verdict["reason"].as_str().unwrap();
    assert!(reason.contains("of its error budget left, and releases stop below 0 %"), "{verdict}");
}

#[tokio::test]
async fn argo_pauses_what_burns_the_budget_of_a_progressive_checkout() {
    let (phase, verdict) =
        rolled_out("checkout-progressive", &PROGRESSIVE, progressive::provider_down, 10.0, 2_000).await;
    assert_eq!((phase, Live::check(&verdict)), (Phase::Paused { weight: 5 }, "budget"), "{verdict}");
}
