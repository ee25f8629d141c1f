//! What survives the process: the real binary is killed, its disk filled and its files damaged, and an oracle outside
//! holds its figures against what was acknowledged.

mod disk;
mod kill;
mod oracle;

use std::path::{Path, PathBuf};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sloburn::clock;

use crate::daemon::Daemon;
use crate::process::{PATIENCE, until};
use crate::receiver::Receiver;
use crate::traffic::{SHOP, last_hour, last_hour_counts, shop};

/// The files of a storage folder whose names end so, in order.
fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let journal = folder.join("data/journal");
    let mut files: Vec<PathBuf> = std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(suffix));
    files.sort();
    files
}

/// Flips the bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn counts(slo: &Value) -> (i64, i64) {
    (slo["good"].as_i64().unwrap(), slo["total"].as_i64().unwrap())
}

#[tokio::test]
async fn a_killed_daemon_goes_on_where_it_was() {
    let daemon = Daemon::start(SHOP, &[]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    // The sender has its answer before readers have the new figures.
    until("the samples to count", PATIENCE, async || {
        let slo = daemon.slo("shop/availability").await;
        if counts(&slo) == last_hour_counts(100, 50) { Ok(()) } else { Err(slo.to_string()) }
    })
    .await;
    let before = daemon.slo("shop/availability").await;
    let alerts = daemon.api("/api/v1/alerts").await["alerts"].as_array().unwrap().len();
    assert!(alerts > 0);
    let daemon = daemon.crash_and_restart(|_| {}, &[]);
    let after = daemon.slo("shop/availability").await;
    for field in ["good", "bad", "total", "budgetRemaining", "state", "lastSample"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let stands =
        |slo: &Value| slo["alerts"].as_array().unwrap().iter().map(|a| a["activeAt"].clone()).collect::<Vec<_>>();
    assert_eq!(stands(&after), stands(&before), "alerts keep the time they began");
    let replay = daemon.api("/api/v1/status/walreplay").await;
    assert_eq!(replay, json!({"min": 1, "max": 1, "current": 1, "state": "done"}));
    // And counting goes on from the last sample.
    let now = clock::now();
    let series = [("200", 100.0, 7.0), ("500", 50.0, 0.0)];
    let series = series.map(|(code, step, more)| shop(code, now, 1_000.0 + 240.0 * step + more));
    assert_eq!(daemon.write(&series).await.status, 204);
    until("the new sample to count", PATIENCE, async || {
        let slo = daemon.slo("shop/availability").await;
        let (good, total) = last_hour_counts(100, 50);
        if counts(&slo) == (good + 7, total + 7) { Ok(()) } else { Err(slo.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn with_an_empty_path_nothing_is_kept() {
    let daemon = Daemon::start(SHOP, &["--storage.path="]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let mut no_files = false;
    let daemon = daemon.crash_and_restart(|folder| no_files = !folder.join("data").exists(), &["--storage.path="]);
    assert!(no_files);
    assert_eq!(counts(&daemon.slo("shop/availability").await), (0, 0));
}

#[tokio::test]
async fn a_spec_changed_while_it_was_down_keeps_its_history() {
    let daemon = Daemon::start(SHOP, &[]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let change = |folder: &Path| {
        std::fs::write(folder.join("spec.yaml"), SHOP.replace("objective: 99.9", "objective: 90")).unwrap();
    };
    let daemon = daemon.crash_and_restart(change, &[]);
    let slo = daemon.slo("shop/availability").await;
    assert_eq!((counts(&slo), &slo["objective"]), (last_hour_counts(100, 50), &json!(90.0)));
    // The change itself is in the log by now, and is found there again.
    let now = clock::now();
    assert_eq!(daemon.write(&[shop("200", now, 1e6), shop("500", now, 1e5)]).await.status, 204);
    let daemon = daemon.crash_and_restart(|_| {}, &[]);
    let slo = daemon.slo("shop/availability").await;
    assert_eq!(counts(&slo), (1_000_000 - 1_000, 1_100_000 - 2_000), "counters that began at 1,000");
}

#[tokio::test]
async fn one_folder_is_for_one_process() {
    let daemon = Daemon::start(SHOP, &[]);
    let data = daemon.folder.path().join("data");
    let rules = daemon.folder.path().join("spec.yaml");
    let output = crate::daemon::sloburn()
        .args(["serve", "--web.listen-address=127.0.0.1:0"])
        .args([format!("--rules={}", rules.display()), format!("--storage.path={}", data.display())])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("data is in use by another sloburn"), "{stderr}");
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_refused() {
    let daemon = Daemon::start(SHOP, &[]);
    assert_eq!(daemon.write(&[shop("200", clock::now(), 1.0)]).await.status, 204);
    let folder = daemon.stop();
    let name = "0".repeat(19) + "9.checkpoint";
    let mut header = b"SLOBCKPT".to_vec();
    header.extend(99_u32.to_le_bytes());
    header.resize(48, 0);
    header.extend(xxhash_rust::xxh3::xxh3_64(&header).to_le_bytes());
    std::fs::write(folder.path().join("data/journal").join(name), header).unwrap();
    let output = crate::daemon::sloburn()
        .args(["serve", "--web.listen-address=127.0.0.1:0", "--rules=spec.yaml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("written by a newer sloburn"), "{stderr}");
}

/// The last line of a replay in JSON.
fn replayed(folder: &Path, options: &[&str]) -> (Value, String) {
    let output = crate::daemon::sloburn()
        .args(["replay", "--rules=spec.yaml", "--input=data", "--format=json"])
        .args(options)
        .current_dir(folder)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let last = stdout.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    (last, stderr)
}

#[tokio::test]
async fn the_journal_of_a_running_daemon_is_replayed() {
    let daemon = Daemon::start(SHOP, &[]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let folder = daemon.folder.path();
    let (good, total) = last_hour_counts(100, 50);
    let (slo, stderr) = replayed(folder, &[]);
    let shown = daemon.slo("shop/availability").await;
    assert_eq!((&slo["kind"], counts(&slo)), (&json!("slo"), (good, total)), "{stderr}");
    assert_eq!(slo["budgetRemaining"], shown["budgetRemaining"]);
    assert!(stderr.contains("judged 482 of 482 samples (2 series)"), "{stderr}");
    let (nothing, stderr) = replayed(folder, &["--to=2026-01-01T00:00:00Z"]);
    assert_eq!(nothing, Value::Null);
    assert!(stderr.contains("no data") && stderr.contains("the journal holds what arrived from 20"), "{stderr}");
    // Other specs: half the budget.
    std::fs::write(folder.join("spec.yaml"), SHOP.replace("objective: 99.9", "objective: 99.95")).unwrap();
    let (stricter, _) = replayed(folder, &[]);
    assert!(stricter["budgetRemaining"].as_f64() < slo["budgetRemaining"].as_f64());
}

#[tokio::test]
async fn while_it_recovers_it_says_how_far_it_is() {
    let daemon = Daemon::start(SHOP, &[]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let folder = daemon.stop();
    // A segment that cannot be read before somebody writes it: the recovery stands still there.
    let pipe = folder.path().join("data/journal/00000002.segment");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let daemon = Daemon::listening(folder);
    let ready = daemon.send("GET", "/-/ready", HeaderMap::new(), Vec::new()).await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    until("the first segment to be read", PATIENCE, async || {
        let replay = daemon.api("/api/v1/status/walreplay").await;
        let expected = json!({"min": 1, "max": 2, "current": 1, "state": "in progress"});
        if replay == expected { Ok(()) } else { Err(replay.to_string()) }
    })
    .await;
    let ready = daemon.send("GET", "/-/ready", HeaderMap::new(), Vec::new()).await;
    assert!(
        ready.text.contains("recovering from the journal") && ready.text.contains("segment 1 of 1 to 2"),
        "{}",
        ready.text
    );
    let write = daemon.write(&[shop("200", clock::now(), 1.0)]).await;
    assert_eq!((write.status, write.headers["retry-after"].to_str().unwrap()), (503, "1"), "{}", write.text);
    let slos = daemon.send("GET", "/api/v1/slos", HeaderMap::new(), Vec::new()).await;
    assert_eq!(slos.status, 503, "figures of a part are none: {}", slos.text);
    assert_eq!(daemon.send("GET", "/-/healthy", HeaderMap::new(), Vec::new()).await.status, 200);
    // Its writer comes and goes: an empty segment.
    drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
    daemon.process.line("that it is ready", |line| line.contains("ready for samples").then_some(()));
    assert_eq!(counts(&daemon.slo("shop/availability").await), last_hour_counts(100, 50));
    assert_eq!(daemon.send("GET", "/-/ready", HeaderMap::new(), Vec::new()).await.status, 200);
}

/// What an outage has told is not told again by the next process, and its end is told under the id of its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_fired_before_a_crash_is_known_after_it() {
    let mut receiver = Receiver::start().await;
    let webhook = format!("--webhook={}", receiver.url("/"));
    let daemon = Daemon::start(SHOP, &[&webhook]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let alerts = daemon.api("/api/v1/alerts").await["alerts"].as_array().unwrap().len();
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..alerts {
        told.insert(receiver.next().await.header("webhook-id").to_owned());
    }
    assert_eq!(told.len(), alerts);
    let mut daemon = daemon;
    for _ in 0..3 {
        daemon = daemon.crash_and_restart(|_| {}, &[&webhook]);
    }
    std::fs::write(daemon.folder.path().join("spec.yaml"), SHOP.replace("99.9", "10")).unwrap();
    let mut ends = std::collections::BTreeSet::new();
    while ends.len() < alerts {
        let message = receiver.next().await;
        let (kind, id) = (message.json()["type"].to_string(), message.header("webhook-id").to_owned());
        if kind.contains("resolved") {
            ends.insert(id);
        } else {
            assert!(told.contains(&id), "a beginning is told again under its own id only: {}", message.text);
        }
    }
}
