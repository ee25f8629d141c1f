//! Releases of a real daemon over real HTTP: what people say, what pipelines ask, as the command line has it and as
//! Argo Rollouts and Flagger put it on the wire.

mod command_line;
mod exchange;
pub mod releases;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::daemon::{Daemon, client};
use crate::process::{PATIENCE, until};
use exchange::{replay, replay_json};
use releases::{PAY, Traffic, decided, json_headers, last_day, rollout, say, start, verdict};

#[tokio::test]
async fn a_good_release_is_promoted_step_by_step() {
    let daemon = Daemon::start(PAY, &[]);
    let mut traffic = Traffic::begin(&daemon).await;
    start(&daemon).await;
    assert_eq!(verdict(&daemon).await["verdict"], "continue");
    traffic.go_on(&daemon, 12, 10.0).await;
    let promoted = decided(&daemon, "promote").await;
    assert_eq!((&promoted["state"], &promoted["step"]), (&json!("promoted"), &json!("50%")));
    assert!(promoted["checks"][0]["canaryEvents"].as_f64().unwrap() > 1_000.0, "{promoted}");
    assert_eq!(promoted["id"].as_str().unwrap().len(), 64, "{promoted}");
    let shown = &daemon.api("/api/v1/canaries?").await["canaries"][0];
    assert_eq!((&shown["stable"], &shown["rollout"]), (&json!("v2"), &Value::Null));
    let past = &daemon.api("/api/v1/canaries/pay?version=v2").await["canary"]["rollout"];
    assert_eq!((&past["startedBy"], &past["ended"]["outcome"]), (&json!("ci"), &json!("promoted")));
    assert!(past["steps"].as_array().unwrap().iter().all(|step| step["promotedAt"].is_string()), "{past}");
    assert_eq!(past["policy"]["checks"][0]["bound"], json!({"above": 0.2}));
}

#[tokio::test]
async fn a_bad_release_is_taken_back() {
    let daemon = Daemon::start(PAY, &[]);
    let mut traffic = Traffic::begin(&daemon).await;
    start(&daemon).await;
    traffic.go_on(&daemon, 3, 600.0).await;
    let harm = decided(&daemon, "rollback").await;
    assert_eq!(harm["state"], "rolled-back");
    assert!(harm["reason"].as_str().unwrap().contains("more than the limit of 20 %"), "{harm}");
    assert_eq!(harm["checks"][0]["state"], "harm");
    let step = daemon.send("GET", "/api/v1/verdict?service=pay&version=v2&step=50", HeaderMap::new(), vec![]).await;
    assert!(step.text.contains(r#""verdict":"rollback""#), "{}", step.text);
}

#[tokio::test]
async fn people_hold_resume_promote_and_abort() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    start(&daemon).await;
    let act = async |action: &str, body: Value| {
        let answer = say(&daemon, &format!("/api/v1/canaries/pay/{action}"), &body).await;
        assert_eq!(answer.status, 200, "{action}: {}", answer.text);
        serde_json::from_str::<Value>(&answer.text).unwrap()["data"]["canary"].clone()
    };
    let paused = act("pause", json!({"actor": "alice", "reason": "lunch"})).await;
    assert_eq!(paused["rollout"]["paused"], json!({"actor": "alice", "reason": "lunch"}));
    let held = verdict(&daemon).await;
    assert_eq!((&held["verdict"], &held["reason"]), (&json!("pause"), &json!("paused by alice: lunch")));
    assert_eq!(act("resume", json!({"actor": "alice"})).await["rollout"]["paused"], Value::Null);
    assert_eq!(act("promote", json!({"actor": "bob", "reason": "known"})).await["rollout"]["stepName"], "5%");
    let staff = daemon.send("GET", "/api/v1/verdict?service=pay&version=v2&step=staff", HeaderMap::new(), vec![]).await;
    assert!(staff.text.contains(r#""verdict":"promote""#), "{}", staff.text);
    assert_eq!(act("step", json!({"weight": 40})).await["rollout"]["stepName"], "50%");
    assert_eq!(act("step", json!({"step": 0})).await["rollout"]["stepName"], "staff");
    let aborted = act("abort", json!({"actor": "carol", "reason": "double bookings"})).await;
    assert_eq!((&aborted["rollout"], &aborted["past"][0]["state"]), (&Value::Null, &json!("aborted")));
    let over = verdict(&daemon).await;
    assert_eq!(over["verdict"], "rollback");
    assert!(over["reason"].as_str().unwrap().contains("carol: double bookings"), "{over}");
    let again = say(&daemon, "/api/v1/canaries/pay/abort", &json!({"actor": "carol"})).await;
    assert_eq!((again.status, again.text.contains("no rollout of \\\"pay\\\" is in progress")), (409, true));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_reason() {
    let daemon = Daemon::start(PAY, &[]);
    let to = "/api/v1/canaries";
    for (path, body, status, says) in [
        (to, r#"{"service":"pay","version":"v2","wersion":"v3"}"#, 400, "unknown field `wersion`"),
        (to, r#"{"service":"pay"}"#, 400, "missing field `version`"),
        (to, "", 400, "the body is empty"),
        (to, "{", 400, "not as expected"),
        (to, r#"{"service":"nobody","version":"v2"}"#, 404, "no service is named"),
        (to, r#"{"service":"pay","version":"v2","baseline":"v2"}"#, 409, "cannot be compared with itself"),
        ("/api/v1/canaries/pay/abort", r#"{"reason":"x"}"#, 400, "actor is missing: say who wants to abort"),
        ("/api/v1/canaries/pay/abort", r#"{"actor":"a","reason":"x"}"#, 409, "no rollout of"),
        ("/api/v1/canaries/nobody/abort", r#"{"actor":"a","reason":"x"}"#, 404, "no service is named"),
        ("/api/v1/canaries/pay/retry", r#"{"actor":"a"}"#, 404, "no action"),
    ] {
        let answer = daemon.send("POST", path, json_headers(), body.as_bytes().to_vec()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        assert!(answer.text.contains(says), "{path} {body}: {}", answer.text);
        assert!(answer.text.starts_with(r#"{"status":"error","errorType":""#), "{}", answer.text);
    }
    let untyped = daemon.send("POST", to, HeaderMap::new(), b"{}".to_vec()).await;
    assert_eq!((untyped.status, untyped.text.contains("Content-Type: application/json")), (415, true));
    for path in [to, "/api/v1/argo/events", "/api/v1/flagger/rollout"] {
        let large = daemon.send("POST", path, json_headers(), vec![b' '; (64 << 10) + 1]).await;
        assert_eq!((large.status, large.text.contains("65536 bytes")), (413, true), "{path}: {}", large.text);
    }
    let mut from_a_page = json_headers();
    from_a_page.insert("origin", "https://elsewhere.example".parse().unwrap());
    for path in ["/api/v1/argo/events", "/api/v1/flagger/rollback"] {
        assert_eq!(daemon.send("POST", path, from_a_page.clone(), b"{}".to_vec()).await.status, 403, "{path}");
    }
    for (path, status) in [
        ("/api/v1/canaries/nobody", 404),
        ("/api/v1/canaries/pay?version=v9", 404),
        ("/api/v1/canaries/pay?wersion=v9", 400),
        ("/api/v1/gate?service=nobody", 404),
        ("/api/v1/gate", 400),
        ("/api/v1/verdict", 200),
        ("/api/v1/verdict?service=nobody&version=v2", 200),
        ("/api/v1/verdict?service=pay&version=v2&step=%", 200),
        ("/api/v1/verdict?x", 200),
    ] {
        let answer = daemon.send("GET", path, HeaderMap::new(), Vec::new()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert_eq!(status == 200, answer.text.contains(r#""verdict":"continue""#), "{path}: {}", answer.text);
    }
}

/// Where users are known, it is they who act, whoever the body names.
#[tokio::test]
async fn the_actor_is_the_user_who_logged_in() {
    let folder = tempfile::tempdir().unwrap();
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let web = folder.path().join("web.yml");
    std::fs::write(&web, format!("basic_auth_users: {{alice: {hash}}}\n")).unwrap();
    let daemon = Daemon::start(PAY, &[&format!("--web.config.file={}", web.display())]);
    let send = async |path: &str, body: Value, password: &str| {
        let url = daemon.url.join(path).unwrap();
        client().post(url).basic_auth("alice", Some(password)).json(&body).send().await.unwrap()
    };
    let body = json!({"service": "pay", "version": "v2", "actor": "bob"});
    assert_eq!(send("/api/v1/canaries", body.clone(), "wrong").await.status(), 401);
    let started: Value = send("/api/v1/canaries", body, "open sesame").await.json().await.unwrap();
    assert_eq!(started["data"]["canary"]["rollout"]["startedBy"], "alice (on behalf of bob)");
    let paused = send("/api/v1/canaries/pay/pause", json!({"reason": "lunch"}), "open sesame").await;
    let paused: Value = paused.json().await.unwrap();
    assert_eq!(paused["data"]["canary"]["rollout"]["paused"]["actor"], "alice");
}

#[tokio::test]
async fn argo_rollouts_is_answered_and_heard() {
    let daemon = Daemon::start(PAY, &[]);
    let asked = || replay_json(&daemon, "argo-web-provider");
    assert_eq!((&asked()["verdict"], &asked()["state"]), (&json!("continue"), &json!("unknown-version")));
    let mut traffic = Traffic::begin(&daemon).await;
    assert_eq!(replay_json(&daemon, "argo-notification-updated"), json!({"taken": true}));
    assert_eq!(rollout(&daemon).await["startedBy"], "argo");
    assert_eq!(replay_json(&daemon, "argo-notification-updated")["taken"], false, "said again");
    assert_eq!(asked()["state"], "in-progress");
    assert_eq!(replay_json(&daemon, "argo-notification-step-completed"), json!({"taken": true}));
    assert_eq!(rollout(&daemon).await["stepName"], "5%");
    assert_eq!(replay_json(&daemon, "argo-notification-paused")["taken"], false);
    let raw = replay_json(&daemon, "argo-web-provider-raw-percent");
    assert_eq!((&raw["verdict"], &raw["step"]), (&json!("continue"), &json!("5%")));
    // Argo moves the steps itself: this one may be left, and stays until Argo says so.
    traffic.go_on(&daemon, 6, 0.0).await;
    until("the step to be promoted", PATIENCE, async || {
        let answer = replay_json(&daemon, "argo-web-provider-raw-percent");
        if answer["verdict"] == "promote" { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    assert_eq!(rollout(&daemon).await["stepName"], "5%");
    assert_eq!(replay_json(&daemon, "argo-notification-completed"), json!({"taken": true}));
    let over = verdict(&daemon).await;
    assert_eq!((&over["verdict"], &over["state"]), (&json!("promote"), &json!("promoted")));
    assert_eq!(replay_json(&daemon, "argo-notification-aborted")["taken"], false, "nothing is left to abort");
    assert_eq!(verdict(&daemon).await["verdict"], "promote");
}

#[tokio::test]
async fn an_abort_in_argo_ends_the_rollout() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    // An update that was missed.
    assert_eq!(replay_json(&daemon, "argo-notification-step-completed"), json!({"taken": true}));
    assert_eq!(replay_json(&daemon, "argo-notification-aborted"), json!({"taken": true}));
    let over = verdict(&daemon).await;
    assert_eq!((&over["verdict"], &over["state"]), (&json!("rollback"), &json!("aborted")));
    assert!(over["reason"].as_str().unwrap().contains("Rollout aborted update to revision 2"), "{over}");
}

/// Hooks and whether each is answered with yes: a status of at most 202.
fn hooks(daemon: &Daemon) -> [bool; 6] {
    ["confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "rollback"].map(
        |hook| {
            let (status, reason) = replay(daemon, &format!("flagger-{hook}"));
            assert!(matches!(status, 200 | 409), "{hook}: {status} {reason}");
            assert!(reason.len() > 1, "{hook} says why");
            status == 200
        },
    )
}

#[tokio::test]
async fn flagger_is_answered_and_heard() {
    let daemon = Daemon::start(PAY, &[]);
    let nothing_known = [true, true, true, true, false, false];
    assert_eq!(hooks(&daemon), nothing_known);
    let mut traffic = Traffic::begin(&daemon).await;
    start(&daemon).await;
    assert_eq!(hooks(&daemon), [true, true, true, true, false, false]);
    assert_eq!(replay(&daemon, "flagger-event-weight"), (200, "taken\n".to_owned()));
    assert_eq!(rollout(&daemon).await["stepName"], "5%");
    // Of the release before, though its phase says that something ended.
    assert_eq!(replay(&daemon, "flagger-event-confirmed"), (200, "nothing follows from it\n".to_owned()));
    let pause = json!({"actor": "alice", "reason": "lunch"});
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/pause", &pause).await.status, 200);
    assert_eq!(hooks(&daemon), [true, true, true, false, false, false]);
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/resume", &pause).await.status, 200);
    traffic.go_on(&daemon, 3, 600.0).await;
    decided(&daemon, "rollback").await;
    // The candidate's errors are the service's too: they may have frozen its budget.
    let [_, rest @ ..] = hooks(&daemon);
    assert_eq!(rest, [false, false, false, false, true]);
    assert_eq!(replay(&daemon, "flagger-post-rollout-failed"), (200, "no rollout is in progress\n".to_owned()));
    assert_eq!(replay(&daemon, "flagger-event-failed").0, 200);
}

#[tokio::test]
async fn flaggers_end_is_the_rollouts() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    for (message, state, confirms) in
        [("flagger-post-rollout-succeeded", "promoted", true), ("flagger-post-rollout-failed", "aborted", false)]
    {
        start(&daemon).await;
        assert_eq!(replay(&daemon, message), (200, "taken\n".to_owned()));
        let over = verdict(&daemon).await;
        assert_eq!(over["state"], state, "{over}");
        assert_eq!(replay(&daemon, "flagger-confirm-promotion").0 == 200, confirms);
    }
    let garbage = daemon.send("POST", "/api/v1/flagger/event", HeaderMap::new(), b"garbage".to_vec()).await;
    assert_eq!(garbage.status, 200, "an event is only told: {}", garbage.text);
    let garbage = daemon.send("POST", "/api/v1/flagger/rollout", HeaderMap::new(), b"garbage".to_vec()).await;
    assert_eq!(garbage.status, 400, "{}", garbage.text);
    let unknown = daemon.send("POST", "/api/v1/flagger/rolout", HeaderMap::new(), b"{}".to_vec()).await;
    assert_eq!((unknown.status, unknown.text.contains("confirm-promotion")), (404, true));
}

#[tokio::test]
async fn the_gate_closes_when_the_budget_is_spent() {
    let daemon = Daemon::start(PAY, &[]);
    let gate = async || {
        let answer = daemon.send("GET", "/api/v1/gate?service=pay", HeaderMap::new(), Vec::new()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        serde_json::from_str::<Value>(&answer.text).unwrap()
    };
    let unknown = gate().await;
    assert_eq!((&unknown["allowed"], &unknown["state"]), (&json!(true), &json!("no-data")));
    last_day(&daemon, 100.0).await;
    let open = until("the budget to be known", PATIENCE, async || {
        let gate = gate().await;
        if gate["state"] == "allowed" { Ok(gate) } else { Err(gate.to_string()) }
    })
    .await;
    assert_eq!((&open["allowed"], &open["budgets"][0]["slo"]), (&json!(true), &json!("pay/availability")));
    assert!(open["reason"].as_str().unwrap().ends_with("and releases stop below 10 %"), "{open}");
    assert_eq!(replay(&daemon, "flagger-confirm-rollout").0, 200);
    let mut traffic = Traffic::begin(&daemon).await;
    traffic.go_on(&daemon, 100, 1_000.0).await;
    let frozen = until("the budget to be spent", PATIENCE, async || {
        let gate = gate().await;
        if gate["allowed"] == false { Ok(gate) } else { Err(gate.to_string()) }
    })
    .await;
    assert_eq!(frozen["state"], "frozen");
    let (status, reason) = replay(&daemon, "flagger-confirm-rollout");
    assert_eq!((status, reason.trim_end()), (409, frozen["reason"].as_str().unwrap()));
}

#[tokio::test]
async fn a_held_rollout_is_held_after_a_crash() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    start(&daemon).await;
    let pause = json!({"actor": "alice", "reason": "lunch"});
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/pause", &pause).await.status, 200);
    let before = verdict(&daemon).await;
    let daemon = daemon.crash_and_restart(|_| {}, &[]);
    let after = verdict(&daemon).await;
    assert_eq!((&after["verdict"], &after["reason"]), (&json!("pause"), &json!("paused by alice: lunch")));
    assert_eq!(after["rollout"], before["rollout"]);
    let abort = json!({"actor": "alice", "reason": "enough"});
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/abort", &abort).await.status, 200);
    assert_eq!(verdict(&daemon).await["verdict"], "rollback");
}

/// A judge that comes back condemns nobody and confirms nothing.
#[tokio::test]
async fn while_it_recovers_pipelines_are_told_to_go_on_as_they_are() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    start(&daemon).await;
    let folder = daemon.stop();
    // A segment that cannot be read before somebody writes it: the recovery stands still there.
    let pipe = folder.path().join("data/journal/00000002.segment");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let daemon = Daemon::listening(folder);
    let answer = replay_json(&daemon, "argo-web-provider");
    assert_eq!((&answer["verdict"], &answer["state"]), (&json!("continue"), &json!("recovering")));
    assert_eq!(hooks(&daemon), [false, true, true, false, false, false]);
    assert_eq!(replay(&daemon, "flagger-post-rollout-failed").0, 200);
    assert_eq!(replay(&daemon, "argo-notification-aborted").0, 503, "it is to be said again");
    for path in ["/api/v1/canaries", "/api/v1/canaries/pay", "/api/v1/gate?service=pay"] {
        let answer = daemon.send("GET", path, HeaderMap::new(), Vec::new()).await;
        assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "1"), "{path}");
    }
    let abort = say(&daemon, "/api/v1/canaries/pay/abort", &json!({"actor": "alice"})).await;
    assert_eq!(abort.status, 503, "{}", abort.text);
    drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
    daemon.process.line("that it is ready", |line| line.contains("ready for samples").then_some(()));
    assert_eq!(verdict(&daemon).await["state"], "in-progress");
}
