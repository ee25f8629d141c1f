//! From what a spec says to what a judge judges by.

use crate::canary::{CheckSpec, Layout, Measure, Policy, PolicyCheck, StepSpec};
use crate::spec::{Bound, Canary, CanaryCheck, Service, strata_names};

/// The policy of a rollout; of each check that looks at a quantile the buckets.
pub(super) fn policy(service: &Service, canary: &Canary, layouts: &[Option<Layout>]) -> Policy {
    let step =
        |step: &crate::spec::Step| StepSpec { name: step.name.clone(), hold: step.hold, min_samples: step.min_samples };
    let check = |(check, layout): (&CanaryCheck, &Option<Layout>)| PolicyCheck {
        sli: service.slis[check.sli].name.clone(),
        strata: strata_names(&check.strata),
        check: CheckSpec {
            name: check.name.clone(),
            measure: measure(check, layout.as_ref()),
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
        checks: canary.checks.iter().zip(layouts).map(check).collect(),
    }
}

/// A limit from above is one of bad events, a limit from below one of good ones.
fn measure(check: &CanaryCheck, layout: Option<&Layout>) -> Measure {
    if let (Some(quantile), Some(layout)) = (check.quantile, layout) {
        return Measure::Latency { quantile, layout: layout.clone() };
    }
    match check.bound {
        Bound::Below(_) | Bound::DropOver(_) => Measure::Success,
        Bound::Above(_) | Bound::RegressionOver(_) | Bound::BurnRateOver { .. } => Measure::Errors,
    }
}
