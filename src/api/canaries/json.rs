//! Releases as JSON: names in camel case, times in RFC 3339, lengths of time in Prometheus' syntax.

use serde_json::{Map, Value, json};

use crate::api::canaries::answer::{Answer, Standing};
use crate::canary::{Amount, Bound, CheckSpec, Effect, Measure, Outcome, Policy, PolicyCheck, Test, Verdict};
use crate::rollout::{CanaryView, RolloutView, ServiceView, StepView};
use crate::types::{Span, Timestamp};

/// A service's releases; `rollout` is the one in progress.
pub(super) fn canary(service: &ServiceView, canary: &CanaryView) -> Value {
    json!({
        "service": service.name,
        "file": service.origin.file.display().to_string(),
        "line": service.origin.line,
        "stable": canary.stable,
        "liveVersions": canary.live,
        "argo": canary.argo.as_ref().map(|argo| json!({"namespace": argo.namespace, "name": argo.name})),
        "freezeBelow": service.freeze_below,
        "frozen": service.frozen,
        "rollout": canary.current.as_ref().map(|current| rollout(current)),
        "past": canary.past.iter().map(|past| summary(past)).collect::<Vec<_>>(),
    })
}

/// What became of a rollout.
fn summary(rollout: &RolloutView) -> Value {
    json!({
        "id": rollout.id,
        "version": rollout.version,
        "baseline": rollout.baseline,
        "state": Standing::of(rollout).as_str(),
        "startedAt": rollout.started.to_rfc3339(),
        "startedBy": rollout.by,
        "committedAt": rollout.committed_at.map(Timestamp::to_rfc3339),
        "ended": ended(rollout),
    })
}

fn ended(rollout: &RolloutView) -> Value {
    let ended = rollout.ended.as_ref();
    json!(ended.map(|(at, ending, reason)| json!({
        "at": at.to_rfc3339(),
        "outcome": ending.as_str(),
        "reason": reason,
    })))
}

/// Everything about one rollout.
pub(super) fn rollout(rollout: &RolloutView) -> Value {
    let mut shown = summary(rollout);
    let more = json!({
        "step": rollout.step,
        "stepName": rollout.steps.get(rollout.step).map(|step| &step.name),
        "steps": rollout.steps.iter().map(step).collect::<Vec<_>>(),
        "paused": rollout.paused.as_ref().map(|by| json!({"actor": by.name, "reason": by.reason})),
        "verdict": rollout.verdict.as_deref().map(|ruling| verdict(ruling)),
        "policy": rollout.policy.as_deref().map(policy),
        "records": rollout.records,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

fn step(step: &StepView) -> Value {
    json!({
        "name": step.name,
        "weight": step.weight,
        "beganAt": step.began.map(Timestamp::to_rfc3339),
        "promotedAt": step.promoted.map(Timestamp::to_rfc3339),
    })
}

fn verdict(verdict: &Verdict) -> Value {
    json!({
        "id": verdict.id,
        "step": verdict.step,
        "at": verdict.at.to_rfc3339(),
        "verdict": verdict.decision.as_str(),
        "check": verdict.check,
        "reason": verdict.reason,
        "checks": verdict.checks.iter().map(outcome).collect::<Vec<_>>(),
    })
}

fn outcome(outcome: &Outcome) -> Value {
    let evidence = outcome.ln_evidence;
    let mut shown = json!({
        "check": outcome.check,
        "state": outcome.state,
        "canaryEvents": outcome.canary_events,
        "baselineEvents": outcome.baseline_events,
        "lnEvidence": evidence.map(|ln| json!({"harm": ln.harm, "safe": ln.safe, "needed": ln.needed})),
        "timeNeeded": outcome.time_needed.map(|span| span.to_string()),
        "timeNeededSeconds": outcome.time_needed.map(Span::as_secs_f64),
        "notice": outcome.notice,
        "reason": outcome.reason,
    });
    if let (Value::Object(shown), Some(of)) = (&mut shown, outcome.effect) {
        shown.extend(effect(&of));
    }
    shown
}

/// Figures of both arms, and the one that the limit is about.
fn effect(effect: &Effect) -> Map<String, Value> {
    let shown = json!({
        "canary": effect.canary,
        "baseline": effect.baseline,
        "value": effect.value,
        "interval": effect.interval.map(|interval| [interval.low, interval.high]),
        "limit": effect.limit,
        "isLowerLimit": effect.is_lower_limit,
        "unit": effect.unit,
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn policy(policy: &Policy) -> Value {
    let step = |step: &crate::canary::StepSpec| json!({"name": step.name, "hold": step.hold.to_string()});
    json!({
        "confidence": policy.confidence,
        "window": policy.window.to_string(),
        "every": policy.every.to_string(),
        "deadline": policy.deadline.to_string(),
        "steps": policy.steps.iter().map(step).collect::<Vec<_>>(),
        "checks": policy.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

fn check(check: &PolicyCheck) -> Value {
    let CheckSpec { name, measure, bound: limit, test: by, action } = &check.check;
    let (measure, quantile) = match measure {
        Measure::Success => ("success", None),
        Measure::Errors => ("errors", None),
        Measure::Latency { quantile, .. } => ("latency", Some(*quantile)),
    };
    json!({
        "name": name,
        "sli": check.sli,
        "strata": check.strata,
        "measure": measure,
        "quantile": quantile,
        "bound": bound(*limit),
        "test": test(*by),
        "action": action,
    })
}

fn bound(bound: Bound) -> Value {
    let amount = |amount| match amount {
        Amount::Absolute(amount) => json!({"absolute": amount}),
        Amount::Relative(amount) => json!({"relative": amount}),
    };
    match bound {
        Bound::Above(limit) => json!({"above": limit}),
        Bound::Below(limit) => json!({"below": limit}),
        Bound::DropOver(by) => json!({"dropOver": amount(by)}),
        Bound::RegressionOver(by) => json!({"regressionOver": amount(by)}),
        Bound::BurnRateOver { factor, budget, lasting } => {
            json!({"burnRateOver": factor, "budget": budget, "for": lasting.to_string()})
        }
    }
}

fn test(test: Test) -> Value {
    match test {
        Test::Sequential => json!({"kind": "sequential"}),
        Test::Threshold { min_samples, consecutive, ewma } => {
            json!({"kind": "threshold", "minSamples": min_samples, "consecutive": consecutive, "ewma": ewma})
        }
    }
}

/// What a pipeline is answered: flat, so that a condition can say `result.verdict`.
pub(super) fn answer(answer: &Answer<'_>, service: &str, version: &str) -> Value {
    let latest = answer.rollout.and_then(|rollout| rollout.verdict.as_deref());
    let named = answer.step.and_then(|step| Some(&answer.rollout?.steps.get(step)?.name));
    json!({
        "verdict": answer.decision.as_str(),
        "reason": answer.reason,
        "state": answer.standing.as_str(),
        "service": service,
        "version": version,
        "step": named,
        "id": latest.map(|verdict| &verdict.id),
        "rollout": answer.rollout.map(|rollout| &rollout.id),
        "baseline": answer.rollout.and_then(|rollout| rollout.baseline.as_ref()),
        "at": latest.map(|verdict| verdict.at.to_rfc3339()),
        "check": latest.and_then(|verdict| verdict.check.as_ref()),
        "checks": latest.map(|verdict| verdict.checks.iter().map(outcome).collect::<Vec<_>>()),
    })
}
