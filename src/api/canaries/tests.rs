//! Answers to pipelines over snapshots made by hand: each state a rollout can be in, by each way of asking.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::flagger::{self, Hook};
use super::{argo, gate, shown, verdict};
use crate::canary::{Decision, Outcome, Ruling, State, Verdict};
use crate::engine::Snapshot;
use crate::rollout::{Actor, CanaryView, Ending, Exposure, Order, RolloutView, ServiceView, StepView};
use crate::spec::Origin;
use crate::types::{Span, Timestamp};

/// 2026-11-01T00:00:00Z
const START: Timestamp = Timestamp(1_793_491_200_000);

fn at(minutes: i64) -> Timestamp {
    START + Span::minutes(minutes)
}

fn judged(step: &str, decision: Decision, reason: &str) -> Arc<Ruling> {
    let outcome = Outcome {
        check: "errors".to_owned(),
        state: State::Undecided,
        effect: None,
        canary_events: 120.0,
        baseline_events: 2_400.0,
        ln_evidence: None,
        time_needed: Some(Span::minutes(3)),
        notice: None,
        reason: "errors: not yet decided".to_owned(),
    };
    let id = format!("{step}-{}", decision.as_str());
    let (step, reason) = (step.to_owned(), reason.to_owned());
    Arc::new(Verdict { id, step, at: at(2), decision, check: None, reason, checks: vec![outcome] }.into())
}

/// `v2` against `v1`, in the second of three steps; the first one has been promoted.
fn rollout() -> RolloutView {
    let step = |name: &str, weight, began, promoted| StepView { name: name.to_owned(), weight, began, promoted };
    RolloutView {
        id: "pay/v2@1793491200000".to_owned(),
        version: "v2".to_owned(),
        baseline: Some("v1".to_owned()),
        started: START,
        by: "discovery".to_owned(),
        committed_at: None,
        steps: vec![
            step("staff", None, Some(START), Some(at(1))),
            step("5%", Some(5.0), Some(at(1)), None),
            step("50%", Some(50.0), None, None),
        ],
        step: 1,
        policy: None,
        verdict: Some(judged("5%", Decision::Continue, "5% goes on")),
        paused: None,
        ended: None,
        records: 4,
    }
}

fn ended(ending: Ending) -> RolloutView {
    RolloutView { ended: Some((at(5), ending, format!("it ended {}", ending.as_str()))), ..rollout() }
}

fn canary(current: Option<RolloutView>, past: Vec<RolloutView>, stable: &str) -> CanaryView {
    CanaryView {
        stable: Some(stable.to_owned()),
        live: vec!["v1".to_owned()],
        argo: None,
        current: current.map(Arc::new),
        past: past.into_iter().map(Arc::new).collect(),
    }
}

fn snapshot(canary: CanaryView) -> Snapshot {
    let origin = Origin { file: Arc::new("pay.yaml".into()), line: 3 };
    let service =
        ServiceView { name: "pay".to_owned(), origin, freeze_below: Some(0.1), frozen: None, canary: Some(canary) };
    let only_gated = ServiceView { name: "gated".to_owned(), canary: None, ..service.clone() };
    Snapshot { at: at(6), services: vec![Arc::new(service), Arc::new(only_gated)], ..Snapshot::default() }
}

fn said(canary: CanaryView, query: &str) -> (String, String, String) {
    let value = verdict::said(&snapshot(canary), None, query);
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("state"), text("reason"))
}

fn whole(canary: CanaryView) -> (String, String) {
    let (verdict, state, _) = said(canary, "service=pay&version=v2");
    (verdict, state)
}

#[test]
fn a_rollout_in_progress_goes_on_whatever_its_step_may() {
    let with = |verdict| canary(Some(RolloutView { verdict, ..rollout() }), vec![], "v1");
    let is = |verdict: &str, state: &str| (verdict.to_owned(), state.to_owned());
    assert_eq!(whole(with(None)), is("continue", "in-progress"));
    assert_eq!(whole(with(Some(judged("5%", Decision::Continue, "")))), is("continue", "in-progress"));
    assert_eq!(whole(with(Some(judged("5%", Decision::Promote, "")))), is("continue", "in-progress"));
    assert_eq!(whole(with(Some(judged("5%", Decision::Pause, "")))), is("pause", "paused"));
    assert_eq!(whole(with(Some(judged("5%", Decision::Rollback, "")))), is("rollback", "in-progress"));
    // Of the step before, which is promoted: nothing has been said about this one.
    assert_eq!(whole(with(Some(judged("staff", Decision::Promote, "")))), is("continue", "in-progress"));
    assert_eq!(whole(with(Some(judged("staff", Decision::Pause, "")))), is("continue", "in-progress"));
    assert_eq!(whole(with(Some(judged("staff", Decision::Rollback, "")))), is("rollback", "in-progress"));
}

#[test]
fn a_person_can_hold_what_is_promoted_but_not_what_is_harmful() {
    let by = Some(Actor { name: "alice".to_owned(), reason: "a look first".to_owned() });
    let with = |verdict| canary(Some(RolloutView { verdict, paused: by.clone(), ..rollout() }), vec![], "v1");
    for query in ["service=pay&version=v2", "service=pay&version=v2&step=5%25"] {
        let promoted = said(with(Some(judged("5%", Decision::Promote, ""))), query);
        assert_eq!((&*promoted.0, &*promoted.1, &*promoted.2), ("pause", "paused", "paused by alice: a look first"));
        assert_eq!(said(with(Some(judged("5%", Decision::Rollback, "worse"))), query).0, "rollback");
    }
}

#[test]
fn the_end_is_the_answer() {
    for (ending, verdict) in [
        (Ending::Promoted, "promote"),
        (Ending::RolledBack, "rollback"),
        (Ending::Aborted, "rollback"),
        // Nobody has decided: to take it back could take back its successor.
        (Ending::Superseded, "pause"),
    ] {
        let stable = if ending == Ending::Promoted { "v2" } else { "v1" };
        for step in ["", "&step=staff", "&step=5%25", "&step=50"] {
            let (said, state, reason) =
                said(canary(None, vec![ended(ending)], stable), &format!("service=pay&version=v2{step}"));
            assert_eq!((&*said, &*state), (verdict, ending.as_str()), "{step}");
            assert_eq!(reason, format!("it ended {}", ending.as_str()));
        }
    }
}

#[test]
fn a_version_promoted_long_ago_is_not_promoted_again() {
    let (verdict, state, reason) = said(canary(None, vec![ended(Ending::Promoted)], "v3"), "service=pay&version=v2");
    assert_eq!((&*verdict, &*state), ("continue", "promoted"));
    assert!(reason.contains("v3 is the stable version since"), "{reason}");
    // Being judged again, it is the new rollout that counts.
    let again = canary(Some(rollout()), vec![ended(Ending::RolledBack)], "v3");
    assert_eq!(whole(again).0, "continue");
}

#[test]
fn versions_without_a_rollout() {
    let none = || canary(None, vec![], "v1");
    let (verdict, state, _) = said(none(), "service=pay&version=v1");
    assert_eq!((&*verdict, &*state), ("promote", "stable"));
    let (verdict, state, reason) = said(none(), "service=pay&version=v9");
    assert_eq!((&*verdict, &*state, &*reason), ("continue", "unknown-version", "no rollout of v9 has begun yet"));
}

#[test]
fn steps_by_name_weight_and_place() {
    let with = |verdict| canary(Some(RolloutView { verdict, ..rollout() }), vec![], "v1");
    let may = || with(Some(judged("5%", Decision::Promote, "5% is safe")));
    let ask = |canary, step: &str| {
        let (verdict, _, reason) = said(canary, &format!("service=pay&version=v2&step={step}"));
        (verdict, reason)
    };
    for promoted in ["staff", "0"] {
        let (verdict, reason) = ask(with(Some(judged("5%", Decision::Continue, ""))), promoted);
        assert_eq!(verdict, "promote", "{promoted}");
        assert_eq!(reason, "the step staff was promoted at 2026-11-01T00:01:00.000Z");
    }
    for at_hand in ["5%25", "5%", "5", "5.0", "1"] {
        assert_eq!(ask(may(), at_hand), ("promote".to_owned(), "5% is safe".to_owned()), "{at_hand}");
        assert_eq!(ask(with(Some(judged("5%", Decision::Continue, ""))), at_hand).0, "continue", "{at_hand}");
        assert_eq!(ask(with(Some(judged("5%", Decision::Pause, ""))), at_hand).0, "pause", "{at_hand}");
        // A verdict about the step before is none about this one.
        assert_eq!(ask(with(Some(judged("staff", Decision::Promote, ""))), at_hand).0, "continue", "{at_hand}");
    }
    for later in ["50%", "50", "2"] {
        let (verdict, reason) = ask(may(), later);
        assert_eq!((&*verdict, &*reason), ("continue", "the step 50% has not begun: 5% is at hand"), "{later}");
    }
    for unknown in ["3", "25%", "nobody", "-1", "5%%"] {
        let (verdict, reason) = ask(may(), unknown);
        assert_eq!(verdict, "continue", "{unknown}");
        assert!(reason.ends_with("its steps are staff, 5%, 50%"), "{reason}");
    }
    let left = RolloutView { step: 2, ..rollout() };
    let (verdict, reason) = ask(canary(Some(left), vec![], "v1"), "5%");
    assert_eq!((&*verdict, &*reason), ("continue", "the step 5% was left before it was decided"));
}

#[test]
fn a_number_that_could_be_two_steps_is_none() {
    let mut two = rollout();
    two.steps[1].weight = Some(2.0);
    two.steps[1].name = "2%".to_owned();
    two.verdict = Some(judged("2%", Decision::Promote, "2% is safe"));
    let ask =
        |step: &str| said(canary(Some(two.clone()), vec![], "v1"), &format!("service=pay&version=v2&step={step}"));
    let (verdict, state, reason) = ask("2");
    assert_eq!((&*verdict, &*state), ("continue", "unknown-step"));
    assert_eq!(reason, "the step \"2\" could be any of 2%, 50%: give its name");
    assert_eq!(ask("2%25").0, "promote");
}

#[test]
fn a_question_without_sense_is_answered_too() {
    for (query, state, says) in [
        ("", "bad-request", "the parameter service is missing"),
        ("service=pay", "bad-request", "the parameter version is missing"),
        ("service=pay&version=", "bad-request", "the parameter version is missing"),
        ("service=pay&version=v2&stp=5", "bad-request", "unknown parameter \"stp\""),
        ("service=nobody&version=v2", "unknown-service", "no service is named \"nobody\""),
        ("service=gated&version=v2", "no-canary", "no `canary` block"),
    ] {
        let (verdict, found, reason) = said(canary(Some(rollout()), vec![], "v1"), query);
        assert_eq!((&*verdict, &*found), ("continue", state), "{query}");
        assert!(reason.contains(says), "{query}: {reason}");
    }
    let recovering = verdict::said(&Snapshot::default(), Some("recovering: 4 %".to_owned()), "service=pay&version=v2");
    assert_eq!((&recovering["verdict"], &recovering["state"]), (&json!("continue"), &json!("recovering")));
}

#[test]
fn an_answer_has_its_figures() {
    let value = verdict::said(&snapshot(canary(Some(rollout()), vec![], "v1")), None, "service=pay&version=v2");
    assert_eq!(value["id"], "5%-continue");
    assert_eq!(value["step"], "5%");
    assert_eq!(value["baseline"], "v1");
    assert_eq!(value["checks"][0]["canaryEvents"], json!(120.0));
    assert_eq!(value["checks"][0]["timeNeededSeconds"], json!(180.0));
}

#[test]
fn a_service_is_shown_with_a_versions_rollout() {
    let view = snapshot(canary(
        Some(rollout()),
        vec![RolloutView { version: "v0".to_owned(), ..ended(Ending::Aborted) }],
        "v1",
    ));
    let value = shown(&view, "pay", None).unwrap();
    assert_eq!(value["canary"]["rollout"]["version"], "v2");
    assert_eq!(value["canary"]["rollout"]["verdict"]["verdict"], "continue");
    assert_eq!(value["canary"]["past"][0]["ended"]["outcome"], "aborted");
    assert_eq!(shown(&view, "pay", Some("v0")).unwrap()["canary"]["rollout"]["state"], "aborted");
    for (service, version) in [("nobody", None), ("gated", None), ("pay", Some("v9"))] {
        assert_eq!(shown(&view, service, version).unwrap_err().status().0, 404, "{service}");
    }
}

#[test]
fn the_gate_is_the_budget_policys() {
    let mut view = snapshot(canary(Some(rollout()), vec![], "v1"));
    let open = gate::said(&view, "pay").unwrap();
    assert_eq!((&open["allowed"], &open["state"]), (&json!(true), &json!("no-data")));
    let frozen = ServiceView { frozen: Some("8 % of the budget left".to_owned()), ..(*view.services[0]).clone() };
    view.services[0] = Arc::new(frozen);
    let frozen = gate::said(&view, "pay").unwrap();
    assert_eq!((&frozen["allowed"], &frozen["reason"]), (&json!(false), &json!("8 % of the budget left")));
    assert_eq!(gate::said(&view, "nobody").unwrap_err().status().0, 404);
}

/// As Flagger posts it.
fn hook(phase: &str, metadata: &[(&str, &str)]) -> flagger::Message {
    let metadata: BTreeMap<&str, &str> = metadata.iter().copied().collect();
    let value = json!({
        "name": "pay", "namespace": "shop", "phase": phase, "checksum": "85d557f47b", "metadata": metadata,
    });
    serde_json::from_value(value).unwrap()
}

fn hooks(canary: &CanaryView, since: Option<Timestamp>) -> Vec<(Hook, bool)> {
    let all = [
        Hook::ConfirmRollout,
        Hook::PreRollout,
        Hook::Rollout,
        Hook::ConfirmTrafficIncrease,
        Hook::ConfirmPromotion,
        Hook::Rollback,
    ];
    let view = snapshot(canary.clone());
    let message = hook("Progressing", &[]);
    all.map(|hook| (hook, flagger::asked(&view, None, hook, &message, |_| since).0)).to_vec()
}

fn yes(canary: &CanaryView, since: Option<Timestamp>) -> Vec<Hook> {
    hooks(canary, since).into_iter().filter(|(_, yes)| *yes).map(|(hook, _)| hook).collect()
}

#[test]
fn each_hook_says_yes_to_its_own_verdicts() {
    use Hook::{ConfirmPromotion, ConfirmRollout, ConfirmTrafficIncrease, PreRollout, Rollback, Rollout};
    let going_on = canary(Some(rollout()), vec![], "v1");
    assert_eq!(yes(&going_on, None), [ConfirmRollout, PreRollout, Rollout, ConfirmTrafficIncrease]);
    let with =
        |decision| canary(Some(RolloutView { verdict: Some(judged("5%", decision, "")), ..rollout() }), vec![], "v1");
    assert_eq!(yes(&with(Decision::Pause), None), [ConfirmRollout, PreRollout, Rollout]);
    assert_eq!(yes(&with(Decision::Rollback), None), [ConfirmRollout, Rollback]);
    let promoted = canary(None, vec![ended(Ending::Promoted)], "v2");
    let all_but_rollback = [ConfirmRollout, PreRollout, Rollout, ConfirmTrafficIncrease, ConfirmPromotion];
    assert_eq!(yes(&promoted, Some(at(0))), all_but_rollback);
    let nothing = canary(None, vec![], "v1");
    assert_eq!(yes(&nothing, None), [ConfirmRollout, PreRollout, Rollout, ConfirmTrafficIncrease]);
}

#[test]
fn the_last_release_condemns_the_next_one_in_no_hook() {
    use Hook::{ConfirmRollout, ConfirmTrafficIncrease, PreRollout, Rollback, Rollout};
    let past = |live: bool| {
        let mut canary = canary(None, vec![ended(Ending::RolledBack)], "v1");
        canary.live.extend(live.then(|| "v2".to_owned()));
        canary
    };
    let condemned = [ConfirmRollout, Rollback];
    let next = [ConfirmRollout, PreRollout, Rollout, ConfirmTrafficIncrease];
    assert_eq!(yes(&past(false), Some(at(1))), condemned, "of the revision that Flagger is at");
    assert_eq!(yes(&past(true), Some(at(6))), next, "Flagger has gone on, though samples still come");
    assert_eq!(yes(&past(true), None), condemned, "nobody knows, but it still runs");
    assert_eq!(yes(&past(false), None), next, "nobody knows, and it is gone");
    // Nor does it where both have the same version.
    let named = |since: Option<Timestamp>| {
        let message = hook("Progressing", &[("version", "v2")]);
        let view = snapshot(past(false));
        [Rollback, Rollout].map(|hook| flagger::asked(&view, None, hook, &message, |_| since).0)
    };
    assert_eq!((named(Some(at(1))), named(Some(at(6)))), ([true, false], [false, true]));
    // The promotion of the last one does not confirm the next one's.
    assert_eq!(yes(&canary(None, vec![ended(Ending::Promoted)], "v2"), Some(at(6))), next);
}

#[test]
fn a_judge_that_knows_nothing_confirms_and_condemns_nothing() {
    let view = snapshot(canary(Some(rollout()), vec![], "v1"));
    for hook_type in [
        Hook::ConfirmRollout,
        Hook::PreRollout,
        Hook::Rollout,
        Hook::ConfirmTrafficIncrease,
        Hook::ConfirmPromotion,
        Hook::Rollback,
    ] {
        let is_yes = matches!(hook_type, Hook::PreRollout | Hook::Rollout);
        let unknown = hook("Progressing", &[("service", "nobody")]);
        assert_eq!(flagger::asked(&view, None, hook_type, &unknown, |_| None).0, is_yes, "{hook_type:?}");
        let recovering = Some("recovering".to_owned());
        let known = hook("Progressing", &[]);
        assert_eq!(flagger::asked(&view, recovering, hook_type, &known, |_| None).0, is_yes, "{hook_type:?}");
    }
}

#[test]
fn events_of_flagger_move_and_end_the_rollout() {
    let going_on = canary(Some(rollout()), vec![], "v1");
    let event = |phase: &str, text: &str, more: &[(&str, &str)]| {
        let metadata = [&[("eventMessage", text), ("eventType", "Normal")], more].concat();
        flagger::order(Hook::Event, &hook(phase, &metadata), &going_on)
    };
    assert_eq!(event("Progressing", "Advance pay.shop canary weight 50", &[]), Ok(Order::Step(Exposure::Weight(50.0))));
    assert_eq!(
        event("Succeeded", "Promotion completed! Scaling down pay.shop", &[]),
        Ok(Order::End { promoted: true })
    );
    assert_eq!(event("Failed", "Canary failed! Scaling down pay.shop", &[]), Ok(Order::End { promoted: false }));
    let start = Order::Start { version: "v3".to_owned(), baseline: None, committed_at: None };
    assert_eq!(event("Progressing", "New revision detected! Scaling up pay.shop", &[("version", "v3")]), Ok(start));
    for (phase, text, version) in [
        // The phase is that of the release before.
        ("Succeeded", "Confirm-rollout check gate passed", ""),
        ("Failed", "New revision detected! Scaling up pay.shop", ""),
        ("Progressing", "Advance pay.shop primary weight 50", ""),
        ("Progressing", "Advance pay.shop canary iteration 1/10", ""),
        ("Progressing", "Advance pay.shop canary weight x", ""),
        ("Progressing", "Advance pay.shop canary weight 50", "v3"),
        ("Progressing", "New revision detected! Scaling up pay.shop", "v1"),
        ("Initialized", "Initialization done! pay.shop", ""),
    ] {
        assert!(event(phase, text, &[("version", version)]).is_err(), "{phase} {text}");
    }
    let after = |phase: &str, canary: &CanaryView| flagger::order(Hook::PostRollout, &hook(phase, &[]), canary);
    assert_eq!(after("Succeeded", &going_on), Ok(Order::End { promoted: true }));
    assert_eq!(after("Failed", &going_on), Ok(Order::End { promoted: false }));
    assert!(after("Failed", &canary(None, vec![], "v1")).is_err());
}

#[test]
fn revisions_of_flagger_begin_when_the_checksum_changes() {
    let revisions = flagger::Revisions::default();
    assert_eq!(revisions.since("pay", "a", at(0)), None);
    assert_eq!(revisions.since("pay", "a", at(1)), None);
    assert_eq!(revisions.since("pay", "b", at(2)), Some(at(2)));
    assert_eq!(revisions.since("pay", "b", at(3)), Some(at(2)));
    assert_eq!(revisions.since("other", "b", at(4)), None);
}

#[test]
fn events_of_argo_start_move_and_end_the_rollout() {
    let message = |event: &str, version: &str, weight: Value| {
        let value = json!({"event": event, "service": "pay", "version": version, "step": 1, "weight": weight});
        serde_json::from_value::<argo::Message>(value).unwrap()
    };
    let orders = |canary: &CanaryView, event: &str, version: &str, weight: Value| {
        argo::orders(&message(event, version, weight), canary)
    };
    let start = |version: &str| Order::Start { version: version.to_owned(), baseline: None, committed_at: None };
    let step = |weight| Order::Step(Exposure::Weight(weight));
    let (idle, busy) = (canary(None, vec![], "v1"), canary(Some(rollout()), vec![], "v1"));
    assert_eq!(orders(&idle, "on-rollout-updated", "v2", json!(25)), Ok(vec![start("v2")]));
    assert_eq!(orders(&idle, "on-rollout-step-completed", "v2", json!(5)), Ok(vec![start("v2"), step(5.0)]));
    assert_eq!(orders(&busy, "on-rollout-step-completed", "v2", json!("50")), Ok(vec![step(50.0)]));
    assert_eq!(orders(&busy, "on-rollout-aborted", "v2", json!(0)), Ok(vec![Order::End { promoted: false }]));
    assert_eq!(orders(&busy, "on-rollout-completed", "v2", Value::Null), Ok(vec![Order::End { promoted: true }]));
    // Gone back to what was there.
    assert_eq!(orders(&busy, "on-rollout-completed", "v1", Value::Null), Ok(vec![Order::End { promoted: false }]));
    for (canary, event, version, weight) in [
        (&busy, "on-rollout-updated", "v2", json!(5)),
        (&idle, "on-rollout-updated", "v1", json!(5)),
        (&idle, "on-rollout-completed", "v1", json!(0)),
        (&busy, "on-rollout-completed", "v3", json!(100)),
        (&busy, "on-rollout-aborted", "v3", json!(0)),
        (&busy, "on-rollout-step-completed", "v2", json!("<no value>")),
        (&busy, "on-rollout-step-completed", "v2", json!(0)),
        (&busy, "on-rollout-paused", "v2", json!(5)),
        (&busy, "on-analysis-run-failed", "v2", json!(5)),
    ] {
        assert!(orders(canary, event, version, weight).is_err(), "{event} {version}");
    }
    let wrong = json!({"event": "e", "service": "s", "version": "v", "weight": "five"});
    let error = serde_json::from_value::<argo::Message>(wrong).unwrap_err();
    assert!(error.to_string().contains("weight \"five\" is no number"), "{error}");
}
