//! The audit log of a real daemon: what is on record, what the command line makes of it, and what a kill leaves.

use std::fs;
use std::path::Path;
use std::process::Output;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sloburn::audit::{Entry, Hash, Line};

use crate::canaries::releases::{PAY, Traffic, decided, say, start};
use crate::daemon::{Daemon, sloburn};
use crate::receiver::Receiver;

/// A release that is taken back.
async fn bad_release(daemon: &Daemon) {
    let mut traffic = Traffic::begin(daemon).await;
    start(daemon).await;
    traffic.go_on(daemon, 3, 600.0).await;
    decided(daemon, "rollback").await;
}

fn run(arguments: &[&str]) -> Output {
    sloburn().args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Exit code, and what was said to people.
fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

async fn log(daemon: &Daemon, query: &str) -> Vec<Entry> {
    let answer = daemon.send("GET", &format!("/api/v1/audit{query}"), HeaderMap::new(), Vec::new()).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/x-ndjson".parse().unwrap()));
    let entry = |line: &str| match line.parse() {
        Ok(Line::Entry(entry)) => entry,
        other => panic!("{other:?}"),
    };
    answer.text.lines().map(entry).collect()
}

fn kinds(entries: &[Entry]) -> Vec<String> {
    let kind = |entry: &Entry| {
        let record: Value = serde_json::from_str(&entry.json).unwrap();
        record["event"]["kind"].as_str().unwrap().to_owned()
    };
    entries.iter().map(kind).collect()
}

/// The log is on the disk a moment after the verdict shows.
async fn ended(daemon: &Daemon) -> Vec<Entry> {
    crate::process::until("the end on record", crate::process::PATIENCE, async || {
        let entries = log(daemon, "").await;
        if kinds(&entries).last().is_some_and(|kind| kind == "ended") {
            Ok(entries)
        } else {
            Err(format!("{entries:?}"))
        }
    })
    .await
}

/// Chains entries anew, as somebody would who wants a change to go unnoticed.
fn chained(entries: &[Entry]) -> Vec<Entry> {
    let mut previous = Hash::ZERO;
    let mut anew = entries.to_vec();
    for (entry, sequence) in anew.iter_mut().zip(1..) {
        let hash = previous.next(entry.json.as_bytes());
        (entry.sequence, entry.previous, entry.hash) = (sequence, previous, hash);
        previous = hash;
    }
    anew
}

fn text(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.line() + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_on_record_and_its_verdicts_can_be_reached_again() {
    let daemon = Daemon::start(PAY, &[]);
    bad_release(&daemon).await;
    let entries = ended(&daemon).await;
    let kinds = kinds(&entries);
    assert_eq!((kinds[0].as_str(), kinds[1].as_str()), ("started", "judged"), "{kinds:?}");
    assert!(kinds.contains(&"evidence".to_owned()) && kinds.contains(&"verdict".to_owned()), "{kinds:?}");
    let rollout = serde_json::from_str::<Value>(&entries[0].json).unwrap()["rollout"].as_str().unwrap().to_owned();
    assert_eq!(log(&daemon, "?service=pay&limit=2").await.len(), 2);
    assert_eq!(log(&daemon, &format!("?rollout={rollout}")).await, entries);
    assert!(
        log(&daemon, "?service=p").await.is_empty() && log(&daemon, "?since=2100-01-01T00:00:00Z").await.is_empty()
    );
    let wrong = daemon.send("GET", "/api/v1/audit?since=monday", HeaderMap::new(), Vec::new()).await;
    assert_eq!((wrong.status, wrong.text.contains("write 2026-11-01T00:00:00Z")), (400, true), "{}", wrong.text);

    let url = format!("--url={}", daemon.url);
    let shown = run(&["audit", "show", &url, "--service=pay"]);
    let lines = out(&shown);
    assert_eq!(said(&shown), (0, String::new()));
    assert!(lines.contains("started by ci against v1, steps staff, 5%, 50%"), "{lines}");
    assert!(lines.contains("verdict rollback at staff: ") && lines.contains("\n    harm       errors"), "{lines}");
    assert!(!lines.contains("evidence:"), "{lines}");
    assert_eq!(said(&run(&["audit", "show", &url, "--service=nobody"])), (4, "nothing found\n".to_owned()));

    let file = daemon.folder.path().join("audit.jsonl");
    let file = file.to_str().unwrap();
    let exported = run(&["audit", "export", &url, "-o", file]);
    assert_eq!(exported.status.code(), Some(0), "{exported:?}");
    assert_eq!(fs::read_to_string(file).unwrap(), text(&entries));
    let head = entries.last().unwrap().hash.to_string();
    let verified = run(&["audit", "verify", file, "--recompute", "--head", &head]);
    assert_eq!(said(&verified), (0, String::new()), "{}", out(&verified));
    let lines = out(&verified);
    assert!(lines.contains(&format!("head {} {head}", entries.len())), "{lines}");
    assert!(lines.contains("1 rollouts recomputed: ") && !lines.contains(": 0 verdicts reached again"), "{lines}");
    assert_eq!(run(&["audit", "verify", &url]).status.code(), Some(0));

    let report = run(&["report", &url, "--format=json"]);
    assert_eq!(report.status.code(), Some(0), "{report:?}");
    let report: Value = serde_json::from_str(&out(&report)).unwrap();
    assert_eq!((&report["total"]["ended"], &report["total"]["changeFailureRate"]), (&json!(1), &json!(1.0)));
    assert!(report["total"]["timeToRollBackFromStart"].as_f64().unwrap() >= 0.0, "{report}");
    assert_eq!((&report["budgets"][0]["slo"], &report["budgets"][0]["period"]), (&json!("availability"), &json!("1d")));
    let markdown = out(&run(&["report", file, "--format=markdown"]));
    assert!(markdown.contains("| pay | ") && markdown.contains("- Budget spent: unknown"), "{markdown}");

    let data = format!("--storage.path={}", daemon.folder.path().join("data").display());
    let (code, message) = said(&run(&["audit", "show", &data]));
    assert_eq!((code, message.contains("is in use by a running daemon: ask it with --url")), (1, true), "{message}");
    let folder = daemon.stop();
    let data = format!("--storage.path={}", folder.path().join("data").display());
    let kept = run(&["audit", "export", &data]);
    assert_eq!((kept.status.code(), out(&kept)), (Some(0), text(&entries)));
    tampering(folder.path(), &entries);
    // In the store itself, too, the end is noted beside the entries.
    let database = redb::Database::open(folder.path().join("data/outbox.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<u64, &[u8]>::new("audit");
    transaction.open_table(table).unwrap().pop_last().unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (code, message) = said(&run(&["audit", "verify", &data]));
    assert_eq!((code, message.contains("its end has been cut off")), (1, true), "{message}");
}

/// Every change of an exported log is found, with its line.
fn tampering(folder: &Path, entries: &[Entry]) {
    let head = entries.last().unwrap().hash.to_string();
    let verify = |text: &str, more: &[&str]| {
        let path = folder.join("tampered.jsonl");
        fs::write(&path, text).unwrap();
        let output = run(&[&["audit", "verify", path.to_str().unwrap()], more].concat());
        (output.status.code().unwrap(), out(&output) + &said(&output).1)
    };
    let whole = text(entries);
    assert_eq!(verify(&whole, &["--head", &head]).0, 0);
    let is_broken = |(code, said): (i32, String), expected: &str| {
        assert_eq!((code, said.contains(expected)), (1, true), "{expected}\n{said}");
    };
    is_broken(
        verify(&whole.replacen("\"version\":\"v2\"", "\"version\":\"v3\"", 1), &[]),
        "tampered.jsonl:1: entry 1 has been changed",
    );
    let lines: Vec<&str> = whole.lines().collect();
    let removed = [&lines[..1], &lines[2..]].concat().join("\n");
    is_broken(verify(&removed, &[]), "tampered.jsonl:2: entry 3 comes where 2 should be");
    let swapped = [&[lines[1], lines[0]], &lines[2..]].concat().join("\n");
    is_broken(verify(&swapped, &[]), "tampered.jsonl:1: the log begins with entry 2");
    let cut = lines[..lines.len() - 1].join("\n");
    assert_eq!(verify(&cut, &[]).0, 0, "by itself it is a log");
    is_broken(verify(&cut, &["--head", &head]), "its end has been cut off or replaced");
    is_broken(verify(&whole.replace("{\"sequence\":2,", "{\"sequence\":two,"), &[]), "tampered.jsonl:2");
    assert_eq!(verify("", &[]).0, 4);
    // A chain made anew is intact; what it says is not what its evidence leads to.
    let mut changed = entries.to_vec();
    let verdict = changed.iter_mut().rfind(|entry| entry.json.contains("\"decision\":\"rollback\"")).unwrap();
    verdict.json = verdict.json.replace("\"decision\":\"rollback\"", "\"decision\":\"promote\"");
    let changed = text(&chained(&changed));
    assert_eq!(verify(&changed, &[]).0, 0);
    is_broken(verify(&changed, &["--head", &head]), "cut off or replaced");
    is_broken(verify(&changed, &["--recompute"]), "says promote");
}

/// Killed between the record and the answer of a receiver, a daemon tells it once more, under the same id, and has each
/// record once.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_outlives_a_kill() {
    let mut silent = Receiver::silent().await;
    let webhook = format!("--webhook=http://{}/", silent.address);
    let daemon = Daemon::start(PAY, &[&webhook]);
    bad_release(&daemon).await;
    let entries = ended(&daemon).await;
    let started = silent.next().await;
    assert_eq!(started.json()["type"], "rollout.started", "it is on its way, and nobody answers");
    let daemon = daemon.crash_and_restart(|_| {}, &[&webhook]);
    silent.answer();
    let mut told = Vec::new();
    while told.last().is_none_or(|(kind, _)| kind != "rollout.ended") {
        let message = silent.next().await;
        told.push((message.json()["type"].as_str().unwrap().to_owned(), message.header("webhook-id").to_owned()));
    }
    let verdict = entries.iter().find(|entry| entry.json.contains("\"decision\":\"rollback\"")).unwrap();
    let verdict: Value = serde_json::from_str(&verdict.json).unwrap();
    let id = verdict["event"]["verdict"]["id"].as_str().unwrap();
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["rollout.started", "verdict.rollback", "rollout.ended"]);
    assert_eq!((told[0].1.as_str(), told[1].1.as_str()), (started.header("webhook-id"), id));
    assert_eq!(log(&daemon, "").await, entries, "each record once, and the chain as it was");
    // And it goes on.
    let body = json!({"service": "pay", "version": "v2", "baseline": "v1", "actor": "ci"});
    assert_eq!(say(&daemon, "/api/v1/canaries", &body).await.status, 200);
    assert_eq!(silent.next().await.json()["type"], "rollout.started");
    let data = daemon.stop();
    let storage = format!("--storage.path={}", data.path().join("data").display());
    let verified = run(&["audit", "verify", &storage, "--recompute"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

#[tokio::test]
async fn without_storage_there_is_no_log() {
    let daemon = Daemon::start(PAY, &["--storage.path="]);
    let (code, message) = said(&run(&["audit", "show", &format!("--url={}", daemon.url)]));
    assert_eq!((code, message.contains("the daemon runs without a --storage.path")), (1, true), "{message}");
    let (code, message) = said(&run(&["audit", "show", "--storage.path=/nowhere"]));
    assert_eq!((code, message.contains("there is no audit log at /nowhere/outbox.redb")), (1, true), "{message}");
}
