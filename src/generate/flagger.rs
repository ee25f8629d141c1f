//! What makes Flagger ask sloburn: the webhooks of its canary analysis, and the burn rates that stop a release.
//!
//! Flagger raises the weight at each interval as long as it may: `confirm-traffic-increase` and `confirm-promotion` say
//! whether it may, `rollback` takes the release back. Its own counter of failed checks is left some room, for an answer
//! that cannot be had counts as one.

use serde_json::{Value, json};

use crate::generate::argo::whole;
use crate::generate::render::{object_name, to_yaml};
use crate::spec::{Action, Bound, Canary, Service, Slo, naming};
use crate::types::{format_value, quote};

/// Checks in all that may fail: a judge that restarts condemns nobody, and a verdict is not counted.
const FAILED_CHECKS_LIMIT_COUNT: u32 = 10;
/// The types of webhook, in the order in which they are called.
const HOOKS: [&str; 7] = [
    "confirm-rollout",
    "rollout",
    "confirm-traffic-increase",
    "confirm-promotion",
    "rollback",
    "post-rollout",
    "event",
];

/// A patch for the Canary of each service with a `canary` block, and templates of the metrics it names.
pub(super) fn render(judged: &[(&Service, &Canary)], address: &str) -> String {
    let documents = judged.iter().flat_map(|(service, canary)| {
        let templates = burns(service, canary).map(move |(slo, _)| template(service, slo, address));
        std::iter::once(patch(service, canary, address)).chain(templates)
    });
    documents.collect::<Vec<_>>().join("---\n")
}

/// The SLOs whose burn rate takes a release back, and the factor.
fn burns<'s>(service: &'s Service, canary: &'s Canary) -> impl Iterator<Item = (&'s Slo, f64)> {
    canary.checks.iter().filter_map(|check| {
        let Bound::BurnRateOver { factor, budget, .. } = check.bound else { return None };
        let is_its = |slo: &&Slo| slo.sli == check.sli && slo.objective.budget() == budget;
        let slo = service.slos.iter().find(is_its)?;
        (check.action == Action::Rollback).then_some((slo, factor))
    })
}

fn template_name(service: &Service, slo: &Slo) -> String {
    object_name(&format!("sloburn-{}-burn-rate", naming::slo_id(service, slo)))
}

/// The burn rate of all versions together: what the candidate's share of it is the webhooks say.
fn template(service: &Service, slo: &Slo, address: &str) -> String {
    let id = quote(&naming::slo_id(service, slo));
    // Without data nothing burns, and Flagger would take a missing series for a failed check.
    let query = format!("max({}{{{}={id}}}) or vector(0)", naming::CURRENT_BURN_RATE, naming::LABEL_ID);
    to_yaml(
        &["The burn rate of the service as a whole, from sloburn's own series."],
        &json!({
            "apiVersion": "flagger.app/v1beta1",
            "kind": "MetricTemplate",
            "metadata": {"name": template_name(service, slo)},
            "spec": {"provider": {"type": "prometheus", "address": address}, "query": query},
        }),
    )
}

fn patch(service: &Service, canary: &Canary, address: &str) -> String {
    let name = object_name(&service.name);
    let mut comments = vec![
        format!("The analysis of the Canary: kubectl patch canary {name} --type merge --patch-file FILE"),
        "The traffic grows at each interval unless sloburn pauses the release or takes it back; it is promoted"
            .to_owned(),
        "when sloburn says so.".to_owned(),
    ];
    let mut weights: Vec<u64> = Vec::new();
    for step in &canary.steps {
        match step.weight.map(whole) {
            // Flagger looks for the weight it is at in the list.
            Some(weight) if weight > 0 && weights.last().is_none_or(|last| *last < weight) => weights.push(weight),
            Some(_) => {}
            None => {
                let message = format!("Step `{}` has no weight: for a cohort use an analysis with `match`.", step.name);
                comments.push(message);
            }
        }
    }
    let metrics: Vec<Value> = burns(service, canary)
        .map(|(slo, factor)| {
            json!({
                "name": format!("{} burn rate", slo.name),
                "templateRef": {"name": template_name(service, slo)},
                "thresholdRange": {"max": number(factor)},
                "interval": "1m",
            })
        })
        .collect();
    let hooks = HOOKS.map(|hook| {
        json!({
            "name": format!("sloburn {hook}"),
            "type": hook,
            "url": format!("{address}/api/v1/flagger/{hook}"),
            "timeout": "5s",
            "metadata": {"service": service.name},
        })
    });
    let mut analysis = json!({"interval": canary.every.to_string(), "threshold": FAILED_CHECKS_LIMIT_COUNT});
    if weights.is_empty() {
        analysis["iterations"] = json!(1);
    } else {
        analysis["stepWeights"] = json!(weights);
    }
    if !metrics.is_empty() {
        analysis["metrics"] = metrics.into();
    }
    analysis["webhooks"] = json!(hooks);
    let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
    to_yaml(
        &comments,
        &json!({
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": name},
            "spec": {"analysis": analysis},
        }),
    )
}

/// 2 for 2.0, as people write it.
fn number(value: f64) -> Value {
    serde_json::from_str(&format_value(value)).unwrap_or_else(|_| json!(value))
}
