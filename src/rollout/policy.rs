//! From what a spec says to what a judge judges by.

use crate::canary::{CheckSpec, Layout, Measure, Policy, PolicyCheck, StepSpec};
use crate::spec::{Bound, Canary, CanaryCheck, Service, strata_names};

/// The policy of a rollout; `layout` knows the buckets of a latency SLI by the SLI's index.
pub(super) fn policy(service: &Service, canary: &Canary, layout: impl Fn(&CanaryCheck) -> Layout) -> Policy {
    let step =
        |step: &crate::spec::Step| StepSpec { name: step.name.clone(), hold: step.hold, min_samples: step.min_samples };
    let check = |check: &CanaryCheck| PolicyCheck {
        sli: service.slis[check.sli].name.clone(),
        strata: strata_names(&check.strata),
        check: CheckSpec {
            name: check.name.clone(),
            measure: measure(check, &layout),
            bound: check.bound,
            test: check.test,
            action: check.action,
        },
    };
    Policy {
        confidence: canary.confidence,
        window: canary.window,
        every: canary.every,
        deadline: canary.deadline,
        steps: canary.steps.iter().map(step).collect(),
        checks: canary.checks.iter().map(check).collect(),
    }
}

/// A limit from above is one of bad events, a limit from below one of good ones.
fn measure(check: &CanaryCheck, layout: impl Fn(&CanaryCheck) -> Layout) -> Measure {
    match (check.quantile, check.bound) {
        (Some(quantile), _) => Measure::Latency { quantile, layout: layout(check) },
        (None, Bound::Below(_) | Bound::DropOver(_)) => Measure::Success,
        (None, Bound::Above(_) | Bound::RegressionOver(_) | Bound::BurnRateOver { .. }) => Measure::Errors,
    }
}
