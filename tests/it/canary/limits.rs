//! The spec's parser refuses the limits that the judge refuses, and no others.

use proptest::prelude::*;
use sloburn::canary::{Amount, Bound, CHECKS_MAX, Check, CheckSpec, Layout, Measure, STRATA_MAX, State, Test};
use sloburn::spec::{CanaryCheck, Service, Source, parse};
use sloburn::types::Span;

use super::{block, spec, terms};

fn service(checks: &str) -> Option<Service> {
    let text = format!(
        "apiVersion: sloburn/v1\n\
         kind: Service\n\
         metadata: {{name: shop}}\n\
         spec:\n\
         \x20 versionLabel: version\n\
         \x20 slis:\n\
         \x20   - {{name: good, events: {{good: good_total, total: all_total}}}}\n\
         \x20   - {{name: bad, events: {{bad: bad_total, total: all_total}}}}\n\
         \x20   - {{name: latency, latency: {{histogram: answer_seconds, threshold: 1s}}}}\n\
         \x20 slos:\n\
         \x20   - {{name: slo, sli: bad, objective: 99}}\n\
         \x20 canary:\n\
         \x20   checks:\n{checks}"
    );
    let (mut services, report) = parse(&[Source::new("shop.yaml", text)]);
    assert_eq!(services.is_empty(), report.has_errors(), "{}", report.render(false));
    services.pop()
}

/// What a judge is asked by a check of a spec.
fn asked(check: &CanaryCheck) -> CheckSpec {
    let measure = match (check.quantile, check.bound) {
        (Some(quantile), _) => Measure::Latency { quantile, layout: Layout::new(vec![0.1, 1.0]).unwrap() },
        (None, Bound::Below(_) | Bound::DropOver(_)) => Measure::Success,
        (None, _) => Measure::Errors,
    };
    CheckSpec { name: check.name.clone(), action: check.action, ..spec(measure, check.bound, check.test) }
}

/// Limits with their units, as the judge has them.
fn limits() -> impl Strategy<Value = (String, CheckSpec)> {
    let amount = prop_oneof![Just(0_u32), 1_u32..99, Just(100), 101_u32..100_000];
    (amount, 0_usize..12).prop_map(|(amount, form)| {
        let part = f64::from(amount) / 100.0;
        let rate = |measure, bound| spec(measure, bound, Test::Sequential);
        let latency = |quantile: f64, bound| {
            rate(Measure::Latency { quantile, layout: Layout::new(vec![0.1, 1.0]).unwrap() }, bound)
        };
        let (absolute, relative) = (Amount::Absolute(part), Amount::Relative(part));
        let seconds = f64::from(amount) / 1000.0;
        match form {
            0 => (format!("{{sli: good, below: {amount}%}}"), rate(Measure::Success, Bound::Below(part))),
            1 => (format!("{{sli: bad, above: {amount}%}}"), rate(Measure::Errors, Bound::Above(part))),
            2 => (format!("{{sli: good, dropOver: {amount}pp}}"), rate(Measure::Success, Bound::DropOver(absolute))),
            3 => (format!("{{sli: good, dropOver: {amount}%}}"), rate(Measure::Success, Bound::DropOver(relative))),
            4 => (
                format!("{{sli: bad, regressionOver: {amount}pp}}"),
                rate(Measure::Errors, Bound::RegressionOver(absolute)),
            ),
            5 => (
                format!("{{sli: bad, regressionOver: {amount}%}}"),
                rate(Measure::Errors, Bound::RegressionOver(relative)),
            ),
            6 => (
                format!("{{sli: good, regressionOver: {amount}%}}"),
                rate(Measure::Errors, Bound::RegressionOver(relative)),
            ),
            7 => {
                let bound = Bound::BurnRateOver { factor: f64::from(amount), budget: 0.01, lasting: Span::ZERO };
                (format!("{{slo: slo, burnRateOver: {amount}}}"), rate(Measure::Errors, bound))
            }
            8 => (format!("{{sli: latency, quantile: 0.9, above: {amount}ms}}"), latency(0.9, Bound::Above(seconds))),
            9 => {
                let bound = Bound::RegressionOver(Amount::Absolute(seconds));
                (format!("{{sli: latency, quantile: 0.9, regressionOver: {amount}ms}}"), latency(0.9, bound))
            }
            10 => {
                let bound = Bound::RegressionOver(relative);
                (format!("{{sli: latency, quantile: 0.9, regressionOver: {amount}%}}"), latency(0.9, bound))
            }
            _ => (format!("{{sli: latency, quantile: {part}, above: 1s}}"), latency(part, Bound::Above(1.0))),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spec_and_judge_refuse_the_same_limits((text, expected) in limits()) {
        let service = service(&format!("      - {text}\n"));
        prop_assert_eq!(service.is_some(), expected.validate().is_ok(), "{}", text);
        if let Some(service) = service {
            let check = asked(&service.canary.as_ref().unwrap().checks[0]);
            prop_assert_eq!((check.measure, check.bound), (expected.measure, expected.bound), "{}", text);
        }
    }
}

#[test]
fn bounds_a_latency_has_not_are_refused_by_both() {
    let measure = || Measure::Latency { quantile: 0.9, layout: Layout::new(vec![0.1, 1.0]).unwrap() };
    for (text, bound) in [
        ("below: 1s", Bound::Below(1.0)),
        ("dropOver: 1s", Bound::DropOver(Amount::Absolute(1.0))),
        ("burnRateOver: 2", Bound::BurnRateOver { factor: 2.0, budget: 0.01, lasting: Span::ZERO }),
    ] {
        assert!(service(&format!("      - {{sli: latency, quantile: 0.9, {text}}}\n")).is_none(), "{text}");
        assert!(spec(measure(), bound, Test::Sequential).validate().is_err(), "{text}");
    }
}

#[test]
fn spec_and_judge_take_as_many_checks_and_cohorts() {
    let checks = |count: usize| {
        let check = |i: usize| format!("      - {{sli: good, below: 90%, name: check {i}}}\n");
        (0..count).map(check).collect::<String>()
    };
    assert!(service(&checks(CHECKS_MAX)).is_some() && service(&checks(CHECKS_MAX + 1)).is_none());
    let strata = |count: usize| {
        let cohorts: Vec<String> = (0..count).map(|i| format!("'tenant=\"{i}\"'")).collect();
        format!("      - {{sli: good, below: 90%, strata: [{}]}}\n", cohorts.join(", "))
    };
    assert!(service(&strata(STRATA_MAX)).is_some() && service(&strata(STRATA_MAX + 1)).is_none());
    // Cohorts of steps are strata too.
    let steps = |count: usize| {
        let steps: Vec<String> = (0..count).map(|i| format!("{{cohort: 'tenant=\"{i}\"'}}")).collect();
        format!("      - {{sli: good, below: 90%}}\n    steps: [{}]\n", steps.join(", "))
    };
    let most = service(&steps(STRATA_MAX)).unwrap().canary.unwrap();
    assert_eq!(most.checks[0].strata.len(), STRATA_MAX);
    assert!(service(&steps(STRATA_MAX + 1)).is_none());
}

/// Why the lint warns of a margin of 0.
#[test]
fn only_with_a_margin_is_an_equal_release_known_to_be_safe() {
    let state = |points: f64| {
        let bound = Bound::DropOver(Amount::Absolute(points));
        let mut check = Check::new(spec(Measure::Success, bound, Test::Sequential), terms()).unwrap();
        (0..5_000).for_each(|i| check.observe(0, &block(i, &[99.0, 1.0], &[990.0, 10.0])));
        check.outcome().state
    };
    assert_eq!((state(0.0), state(0.01)), (State::Undecided, State::Safe));
}
