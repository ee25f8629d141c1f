//! Verdicts of a rollout.

use sloburn::canary::{
    Action, Arm, Bound, Decision, Hold, Judge, Measure, Policy, PolicyCheck, PolicyError, StepSpec, Test,
};
use sloburn::types::{Span, Timestamp};

use super::{drop_over, spec};

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn policy(checks: Vec<PolicyCheck>) -> Policy {
    Policy {
        confidence: 0.99,
        window: Span::minutes(5),
        every: Span::seconds(30),
        deadline: Span::hours(1),
        steps: ["5%", "25%"]
            .map(|name| StepSpec { name: name.to_owned(), hold: Span::minutes(10), min_samples: 0 })
            .to_vec(),
        checks,
    }
}

fn check(sli: &str, measure: Measure, bound: Bound, action: Action) -> PolicyCheck {
    let check = sloburn::canary::CheckSpec { name: sli.to_owned(), action, ..spec(measure, bound, Test::Sequential) };
    PolicyCheck { sli: sli.to_owned(), strata: Vec::new(), check }
}

fn judge() -> Judge {
    let authorization = check("authorization", Measure::Success, drop_over(0.02), Action::Rollback);
    let errors = check("errors", Measure::Errors, Bound::Above(0.02), Action::Pause);
    Judge::new("payment-auth", "v2", policy(vec![authorization, errors]), at(0)).unwrap()
}

/// One scrape of 15 s of both streams.
fn scrape(judge: &mut Judge, i: i64, authorization: [f64; 2], errors: [f64; 2]) {
    let (from, to) = (at(i * 15), at((i + 1) * 15));
    for (stream, canary) in [authorization, errors].iter().enumerate() {
        judge.observe(stream, Arm::Canary, from, to, canary).unwrap();
        judge.observe(stream, Arm::Baseline, from, to, [995.0, 5.0]).unwrap();
        judge.cover(stream, Arm::Canary, to);
        judge.cover(stream, Arm::Baseline, to);
    }
}

#[test]
fn harm_rolls_back_at_once_and_for_good() {
    let mut judge = judge();
    scrape(&mut judge, 0, [199.0, 1.0], [199.0, 1.0]);
    assert_eq!(judge.judge(at(15), None).decision, Decision::Continue);
    scrape(&mut judge, 1, [120.0, 80.0], [199.0, 1.0]);
    let verdict = judge.judge(at(30), None);
    assert_eq!(verdict.decision, Decision::Rollback);
    assert!(verdict.reason.starts_with("authorization: drop of 19.8 points"), "{}", verdict.reason);
    for i in 2..400 {
        scrape(&mut judge, i, [200.0, 0.0], [200.0, 0.0]);
    }
    assert_eq!(judge.judge(at(6000), None), verdict, "terminal for its step");
}

#[test]
fn a_check_may_ask_for_a_pause() {
    let mut judge = judge();
    for i in 0..4 {
        scrape(&mut judge, i, [199.0, 1.0], [150.0, 50.0]);
    }
    assert_eq!(judge.judge(at(60), None).decision, Decision::Pause);
}

#[test]
fn promotion_needs_safety_and_exposure_and_a_budget() {
    let mut judge = judge();
    let mut promoted = None;
    for i in 0..80 {
        scrape(&mut judge, i, [199.0, 1.0], [199.0, 1.0]);
        let now = at((i + 1) * 15);
        assert_eq!(
            judge.clone().judge(now, Some(&Hold::Pause("no budget".to_owned()))).decision,
            Decision::Pause,
            "frozen"
        );
        let verdict = judge.judge(now, None);
        if verdict.decision == Decision::Promote {
            promoted = Some(((i + 1) * 15, verdict));
            break;
        }
        assert_eq!(verdict.decision, Decision::Continue, "{}", verdict.reason);
    }
    let (seconds, verdict) = promoted.unwrap();
    assert_eq!((seconds, verdict.step.as_str()), (600, "5%"), "as soon as the step has held");
    judge.begin_step(1, at(600));
    let next = judge.judge(at(615), None);
    assert_eq!((next.decision, next.step.as_str()), (Decision::Continue, "25%"));
    assert!(next.reason.contains("the step holds for 10m"), "{}", next.reason);
}

#[test]
fn doubt_continues_and_then_pauses() {
    let nothing = |judge: &mut Judge, now| judge.judge(at(now), None).decision;
    let mut silent = judge();
    assert_eq!((nothing(&mut silent, 0), nothing(&mut silent, 3599)), (Decision::Continue, Decision::Continue));
    assert_eq!(nothing(&mut silent, 3600), Decision::Pause);
    assert!(silent.judge(at(3600), None).reason.starts_with("the deadline of 1h passed; authorization: no events"));
    let mut unchecked = Judge::new("a", "b", policy(Vec::new()), at(0)).unwrap();
    assert_eq!((nothing(&mut unchecked, 1800), nothing(&mut unchecked, 3600)), (Decision::Continue, Decision::Pause));
    // One arm's source is lost.
    let mut half = judge();
    for i in 0..240 {
        half.observe(0, Arm::Canary, at(i * 15), at(i * 15 + 15), [0.0, 500.0]).unwrap();
        half.cover(0, Arm::Canary, at(i * 15 + 15));
    }
    assert_eq!((nothing(&mut half, 3599), nothing(&mut half, 3600)), (Decision::Continue, Decision::Pause));
}

#[test]
fn the_id_is_the_same_for_the_same_decision() {
    let id = |revision: &str, confidence: f64, step: usize| {
        let policy = Policy { confidence, ..policy(Vec::new()) };
        let mut judge = Judge::new("payment-auth", revision, policy, at(0)).unwrap();
        if step > 0 {
            judge.begin_step(step, at(0));
        }
        let (early, late) = (judge.judge(at(1), None), judge.judge(at(2), None));
        assert_eq!(early.id, late.id);
        early.id
    };
    let ids = [id("v2", 0.99, 0), id("v3", 0.99, 0), id("v2", 0.95, 0), id("v2", 0.99, 1)];
    assert_eq!(id("v2", 0.99, 0), ids[0]);
    assert!((0..4).all(|i| (0..i).all(|j| ids[i] != ids[j])), "{ids:?}");
}

#[test]
fn a_policy_without_sense_is_refused() {
    let new = |policy| Judge::new("a", "b", policy, at(0)).unwrap_err();
    assert_eq!(new(Policy { confidence: 99.0, ..policy(Vec::new()) }), PolicyError::Confidence(99.0));
    assert_eq!(new(Policy { steps: Vec::new(), ..policy(Vec::new()) }), PolicyError::NoStep);
    let many = vec![check("a", Measure::Success, drop_over(0.1), Action::Pause); 65];
    assert_eq!(new(policy(many)), PolicyError::TooMany { what: "checks", found: 65, limit: 64 });
}

#[test]
fn checks_of_one_sli_share_its_stream() {
    let success = check("a", Measure::Success, drop_over(0.1), Action::Rollback);
    let errors = check("a", Measure::Errors, Bound::Above(0.1), Action::Rollback);
    let cohorts = PolicyCheck { strata: vec!["x".to_owned(), "y".to_owned()], ..success.clone() };
    let judge = Judge::new("a", "b", policy(vec![success, errors, cohorts]), at(0)).unwrap();
    let strata: Vec<Option<&str>> = judge.streams().map(|stream| stream.stratum.as_deref()).collect();
    assert_eq!(strata, [None, Some("x"), Some("y")]);
    let alpha = judge.checks()[0].ln_needed();
    assert!((alpha - 300.0_f64.ln()).abs() < 1e-9, "the error is split among three checks");
}
