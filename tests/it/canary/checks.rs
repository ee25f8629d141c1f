//! What single checks make of their blocks.

use sloburn::canary::{Amount, Bound, Check, CheckError, Layout, Measure, Outcome, State, Terms, Test};
use sloburn::types::Span;

use super::{block, drop_over, spec, terms};

fn sequential(measure: Measure, bound: Bound) -> Check {
    Check::new(spec(measure, bound, Test::Sequential), terms()).unwrap()
}

/// The same two counts of good and bad events, scrape after scrape.
fn after(check: &mut Check, scrapes: i64, canary: [f64; 2], baseline: [f64; 2]) -> Outcome {
    (0..scrapes).for_each(|i| check.observe(0, &block(i, &canary, &baseline)));
    check.outcome()
}

fn classic() -> Layout {
    Layout::new(vec![0.1, 0.25, 0.5, 1.0, 2.5]).unwrap()
}

fn slower(seconds: f64, quantile: f64, layout: Layout) -> Check {
    sequential(Measure::Latency { quantile, layout }, Bound::RegressionOver(Amount::Absolute(seconds)))
}

#[test]
fn without_events_of_both_arms_nothing_is_said() {
    for (canary, baseline, missing) in [
        ([0.0, 0.0], [0.0, 0.0], "no events of either version yet"),
        ([0.0, 0.0], [900.0, 9.0], "no events of the canary yet"),
        ([10.0, 10.0], [0.0, 0.0], "no events of the baseline yet"),
    ] {
        let mut check = sequential(Measure::Success, drop_over(0.003));
        let outcome = after(&mut check, 500, canary, baseline);
        assert_eq!((outcome.state, outcome.time_needed), (State::Undecided, None), "{missing}");
        if outcome.effect.is_none() {
            assert!(outcome.reason.contains(missing), "{}", outcome.reason);
        }
        assert_eq!(check.ln_harm(), 0.0, "{missing}");
    }
}

#[test]
fn harm_is_said_with_its_size_and_counts() {
    let mut check = sequential(Measure::Success, drop_over(0.003));
    let outcome = after(&mut check, 10, [55.0, 5.0], [1133.0, 7.0]);
    assert_eq!(outcome.state, State::Harm);
    let effect = outcome.effect.unwrap();
    let interval = effect.interval.unwrap();
    assert!(interval.low > 0.0 && interval.low < effect.value && effect.value < interval.high);
    assert_eq!((outcome.canary_events, outcome.baseline_events), (600.0, 11_400.0));
    let start = "check: drop of 7.72 points (";
    assert!(outcome.reason.starts_with(start), "{}", outcome.reason);
    assert!(outcome.reason.contains("more than the limit of 0.3 points, after 600 canary"), "{}", outcome.reason);
}

#[test]
fn a_healthy_canary_becomes_safe_in_the_time_it_says() {
    let mut check = sequential(Measure::Success, drop_over(0.01));
    let mut predicted = None;
    for i in 0..1000 {
        check.observe(0, &block(i, &[149.0, 1.0], &[1490.0, 10.0]));
        let outcome = check.outcome();
        assert_ne!(outcome.state, State::Harm);
        if i == 3 {
            predicted = outcome.time_needed;
        }
        if outcome.state == State::Safe {
            let needed = predicted.unwrap().as_secs_f64();
            let took = (i - 3) as f64 * 15.0;
            assert!(took > needed / 2.0 && took < needed * 2.0, "{took} s, {needed} s said");
            return;
        }
    }
    panic!("never safe");
}

#[test]
fn what_moves_both_arms_moves_no_relative_check() {
    let relative = [
        (Measure::Success, drop_over(0.003)),
        (Measure::Errors, Bound::RegressionOver(Amount::Relative(0.2))),
        (Measure::Errors, Bound::RegressionOver(Amount::Relative(0.0))),
        (Measure::Success, Bound::RegressionOver(Amount::Relative(0.01))),
    ];
    for (measure, bound) in relative {
        let mut check = sequential(measure, bound);
        after(&mut check, 20, [99.0, 1.0], [990.0, 10.0]);
        let outcome = after(&mut check, 100, [60.0, 40.0], [600.0, 400.0]);
        assert_ne!(outcome.state, State::Harm, "{}", outcome.reason);
    }
    let mut absolute = sequential(Measure::Errors, Bound::Above(0.1));
    assert_eq!(after(&mut absolute, 100, [60.0, 40.0], [600.0, 400.0]).state, State::Harm);
}

#[test]
fn figures_may_be_too_low_or_too_high() {
    let harm = |measure, bound, canary| after(&mut sequential(measure, bound), 40, canary, [95.0, 5.0]).state;
    assert_eq!(harm(Measure::Success, Bound::Below(0.9), [80.0, 20.0]), State::Harm);
    assert_eq!(harm(Measure::Success, Bound::Below(0.9), [98.0, 2.0]), State::Safe);
    assert_eq!(harm(Measure::Success, Bound::Above(0.9), [98.0, 2.0]), State::Harm);
    assert_eq!(harm(Measure::Errors, Bound::Above(0.1), [80.0, 20.0]), State::Harm);
    assert_eq!(harm(Measure::Errors, Bound::Below(0.1), [80.0, 20.0]), State::Safe);
    assert_eq!(harm(Measure::Errors, Bound::DropOver(Amount::Absolute(0.01)), [100.0, 0.0]), State::Harm);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let error = |measure, bound| Check::new(spec(measure, bound, Test::Sequential), terms()).unwrap_err();
    let latency = || Measure::Latency { quantile: 0.99, layout: classic() };
    assert!(matches!(error(Measure::Errors, Bound::Above(1.0)), CheckError::Limit { .. }));
    assert!(matches!(error(Measure::Errors, Bound::Above(f64::NAN)), CheckError::Limit { .. }));
    assert!(matches!(error(Measure::Success, drop_over(1.5)), CheckError::Limit { .. }));
    assert_eq!(
        error(latency(), drop_over(0.1)).to_string(),
        "check check: dropOver does not apply to a latency; use above or regressionOver"
    );
    let quantile = Measure::Latency { quantile: 99.0, layout: classic() };
    let message = error(quantile, Bound::Above(0.3)).to_string();
    assert_eq!(message, "check check: a limit of 99 can never be a quantile; write one between 0 and 1");
}

#[test]
fn coarse_buckets_are_noticed_and_never_guessed_in() {
    // The 99th percentile lies between 250 and 500 ms; 50 ms more shows only above 1 s.
    let usual = [500.0, 450.0, 45.0, 5.0, 0.0, 0.0];
    let mut check = slower(0.05, 0.99, classic());
    for i in 0..200 {
        check.observe(0, &block(i, &[45.0, 42.0, 12.0, 1.0, 0.0, 0.0], &usual));
    }
    let outcome = check.outcome();
    assert_eq!(outcome.state, State::Undecided);
    let notice = outcome.notice.unwrap();
    assert!(notice.starts_with("the buckets are too coarse for a limit of "), "{notice}");
    assert!(notice.ends_with("harm can be shown only above 1 s"), "{notice}");
    for i in 200..300 {
        check.observe(0, &block(i, &[40.0, 32.0, 12.0, 6.0, 8.0, 2.0], &usual));
    }
    assert_eq!(check.outcome().state, State::Harm);
}

#[test]
fn a_burn_rate_must_last() {
    let burn = Bound::BurnRateOver { factor: 2.0, budget: 0.001, lasting: Span::minutes(5) };
    let mut check = sequential(Measure::Errors, burn);
    for i in 0..20 {
        assert_eq!(check.outcome().state, State::Undecided, "scrape {i}");
        check.observe(0, &block(i, &[50.0, 50.0], &[1000.0, 0.0]));
    }
    assert_eq!(check.outcome().state, State::Harm, "{}", check.outcome().reason);
    for i in 20..41 {
        check.observe(0, &block(i, &[100.0, 0.0], &[1000.0, 0.0]));
    }
    assert_ne!(check.outcome().state, State::Harm, "it is over");
}

#[test]
fn the_plain_rule_waits_for_its_samples_and_agreement() {
    let test = Test::Threshold { min_samples: 200, consecutive: 3, ewma: None };
    let mut check = Check::new(spec(Measure::Success, drop_over(0.003), test), terms()).unwrap();
    // 15 requests with two declines, as in the article.
    check.observe(0, &block(0, &[13.0, 2.0], &[1000.0, 6.0]));
    assert_eq!(check.outcome().state, State::Undecided);
    assert!(check.outcome().time_needed.is_some());
    let mut harmful = None;
    for i in 1..40 {
        check.observe(0, &block(i, &[18.0, 2.0], &[1000.0, 6.0]));
        if check.outcome().state == State::Harm {
            harmful = Some(i);
            break;
        }
    }
    // 200 requests after 11 scrapes, then three looks 30 s apart.
    assert_eq!(harmful, Some(14));
    for i in 15..60 {
        check.observe(0, &block(i, &[20.0, 0.0], &[1000.0, 6.0]));
    }
    assert_eq!(check.outcome().state, State::Safe);
}

#[test]
fn cohorts_are_compared_within_themselves() {
    let check = |strata| {
        let terms = Terms { strata, ..terms() };
        Check::new(spec(Measure::Success, drop_over(0.01), Test::Sequential), terms).unwrap()
    };
    // The canary gets the difficult cohort: pooled it looks worse, within each it is not.
    let (easy, hard) = ([[20.0, 0.0], [990.0, 10.0]], [[90.0, 10.0], [90.0, 10.0]]);
    let (mut pooled, mut split) = (check(1), check(2));
    for i in 0..100 {
        for (stratum, [canary, baseline]) in [easy, hard].iter().enumerate() {
            pooled.observe(0, &block(i, canary, baseline));
            split.observe(stratum, &block(i, canary, baseline));
        }
    }
    assert_ne!(split.outcome().state, State::Harm);
    // Harm in one cohort of three is found.
    let mut check = check(3);
    for i in 0..60 {
        for stratum in 0..3 {
            let canary = if stratum == 1 { [40.0, 10.0] } else { [49.5_f64.floor(), 1.0] };
            check.observe(stratum, &block(i, &canary, &[490.0, 10.0]));
        }
    }
    assert_eq!(check.outcome().state, State::Harm);
}

/// All of a cohort goes to the canary: its figures are compared with nobody's, whatever others do.
#[test]
fn a_cohort_without_a_baseline_is_not_compared_with_others() {
    let layout = classic();
    let buckets = [5.0, 40.0, 5.0, 0.0, 0.0, 0.0];
    for measure in [Measure::Success, Measure::Latency { quantile: 0.95, layout }] {
        let bound =
            if measure == Measure::Success { drop_over(0.003) } else { Bound::RegressionOver(Amount::Relative(2.0)) };
        let (events, none) =
            if measure == Measure::Success { (&[99.0, 1.0][..], &[0.0; 2][..]) } else { (&buckets[..], &[0.0; 6][..]) };
        let terms = Terms { strata: 2, ..terms() };
        let mut check = Check::new(spec(measure.clone(), bound, Test::Sequential), terms).unwrap();
        let scrape = |check: &mut Check, i, baseline: &[f64]| {
            check.observe(0, &block(i, events, baseline));
            check.observe(1, &block(i, none, events));
        };
        (0..500).for_each(|i| scrape(&mut check, i, none));
        let outcome = check.outcome();
        assert_eq!((outcome.state, outcome.effect, outcome.time_needed), (State::Undecided, None, None), "{measure:?}");
        let why = "check: the canary's cohorts have no events of the baseline to be compared with";
        assert_eq!(outcome.reason, why);
        // Some of it with the version before is enough.
        (500..1_500).for_each(|i| scrape(&mut check, i, events));
        assert_eq!(check.outcome().state, State::Safe, "{}", check.outcome().reason);
    }
}

#[test]
fn a_check_goes_on_from_a_checkpoint() {
    let layout = Layout::native(3, 0.01, 10.0).unwrap();
    let kinds = layout.kinds();
    let counts = |shift: usize, scale: f64| -> Vec<f64> {
        (0..kinds).map(|b| (scale * (-((b as f64 - 30.0 - shift as f64) / 8.0).powi(2)).exp()).round()).collect()
    };
    let mut check = slower(0.05, 0.9, layout);
    for i in 0..20 {
        check.observe(0, &block(i, &counts(6, 5.0), &counts(0, 50.0)));
    }
    let text = serde_json::to_string(&check).unwrap();
    let mut resumed: Check = serde_json::from_str(&text).unwrap();
    for i in 20..40 {
        let block = block(i, &counts(6, 5.0), &counts(0, 50.0));
        check.observe(0, &block);
        resumed.observe(0, &block);
    }
    assert!((check.ln_harm() - resumed.ln_harm()).abs() < 1e-9, "{} {}", check.ln_harm(), resumed.ln_harm());
    assert_eq!(check.outcome().state, resumed.outcome().state);
}

/// What judges by Mann-Whitney let pass: sparse errors, and a slow majority whose ranks tie.
#[test]
fn blind_spots_of_rank_tests() {
    let mut errors = sequential(Measure::Errors, Bound::RegressionOver(Amount::Relative(0.0)));
    for (i, bad) in [0.0, 1.0, 2.0, 1.0, 0.0, 0.0].into_iter().enumerate() {
        errors.observe(0, &block(i as i64, &[60.0 - bad, bad], &[1140.0, 0.0]));
    }
    assert_eq!(errors.outcome().state, State::Harm, "{{0,1,2,1,0,0}} against zeros");

    let layout = || Layout::native(3, 0.5, 200.0).unwrap();
    let latencies = |layout: &Layout, values: &[(f64, f64)]| {
        let mut counts = vec![0.0; layout.kinds()];
        for (value, count) in values {
            counts[layout.bucket(*value)] += count;
        }
        counts
    };
    for (canary, quantile, scrapes) in [([(1.0, 3.0), (100.0, 7.0)], 0.5, 14), ([(1.0, 4.0), (10.0, 1.0)], 0.9, 45)] {
        let layout = layout();
        let mut check = slower(0.5, quantile, layout.clone());
        check.learn(0, &latencies(&layout, &[(1.0, 100.0)]));
        for i in 0..scrapes {
            check.observe(0, &block(i, &latencies(&layout, &canary), &latencies(&layout, &[(1.0, 95.0)])));
        }
        let outcome = check.outcome();
        assert_eq!(outcome.state, State::Harm, "{canary:?}: {outcome:?}");
    }
}
