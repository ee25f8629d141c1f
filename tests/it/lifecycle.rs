//! How the daemon starts and stops: what keeps it from starting, and what it finishes before it ends.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sloburn::clock::{self, Steady};
use sloburn::types::Span;

use crate::daemon::{Daemon, body_of, sloburn};
use crate::process::{PATIENCE, until};
use crate::receiver::Receiver;
use crate::traffic::{SHOP, last_hour, shop};

/// A folder of files to run the binary in.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Exit code, standard output and standard error of `sloburn serve`.
fn serve(folder: &tempfile::TempDir, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        sloburn().arg("serve").args(args).current_dir(folder.path()).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_keeps_it_from_starting_is_said() {
    let typo = SHOP.replace("objective:", "objectiv:");
    let folder = folder(&[("shop.yaml", SHOP), ("typo.yaml", &typo), ("empty.yml", "")]);
    let line = 1 + typo.lines().position(|line| line.contains("objectiv:")).unwrap();
    let place = format!("typo.yaml:{line}:");
    for (args, code, says) in [
        (&[][..], 2, "--rules"),
        (&["--rules=shop.yaml", "--no-such-flag"], 2, "--no-such-flag"),
        (&["--rules=shop.yaml", "--limit.body-bytes=12MB"], 2, "use KiB, MiB or GiB"),
        (&["--rules=shop.yaml", "--alertmanager=nowhere"], 2, "nowhere"),
        (&["--rules=shop.yaml", "--external-label=cluster"], 1, "takes name=value, not \"cluster\""),
        (&["--rules=missing.yaml"], 1, "no such file or folder: missing.yaml"),
        (&["--config.file=missing.yml"], 1, "no such file or folder: missing.yml"),
        (&["--config.file=empty.yml"], 1, "no service and no rule group in the rule files"),
        (&["--rules=typo.yaml"], 1, place.as_str()),
        (&["--rules=shop.yaml", "--web.listen-address=nowhere"], 1, "cannot listen on nowhere"),
        (&["--rules=shop.yaml", "--alertmanager=ftp://localhost"], 1, "only http and https"),
        (&["--rules=shop.yaml", "--webhook.secret-file=none"], 1, "cannot read the secret in none"),
    ] {
        let (exit, stdout, stderr) = serve(&folder, args);
        assert_eq!(exit, code, "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert_eq!(stdout, "", "{args:?}: messages go to standard error");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = folder(&[("shop.yaml", SHOP)]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (exit, _, stderr) = serve(&folder, &["--rules=shop.yaml", &format!("--web.listen-address={address}")]);
    assert_eq!(exit, 1);
    assert!(stderr.contains(&format!("cannot listen on {address}")) && stderr.contains("in use"), "{stderr}");
}

#[tokio::test]
async fn quit_works_only_where_it_is_enabled() {
    let mut open = Daemon::start(SHOP, &["--web.enable-lifecycle"]);
    let closed = Daemon::start(SHOP, &[]);
    let quit = async |daemon: &Daemon, method| daemon.send(method, "/-/quit", HeaderMap::new(), Vec::new()).await;
    assert_eq!(quit(&closed, "POST").await.status, 404);
    assert_eq!(quit(&open, "GET").await.status, 405);
    assert_eq!(closed.api("/api/v1/slos").await["slos"].as_array().unwrap().len(), 1, "it goes on");
    assert_eq!(quit(&open, "POST").await.status, 200);
    assert!(open.process.exit().success());
}

/// Reads to the end; the status line's code and the whole text.
fn answer(stream: &mut impl Read) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{text:?}"));
    (status, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_requests_at_hand_are_finished_and_new_ones_sent_elsewhere() {
    let mut receiver = Receiver::start().await;
    let mut daemon = Daemon::start(SHOP, &[&format!("--webhook={}", receiver.url("/"))]);
    // A whole outage in one request, of which half is on its way when the signal comes.
    let body = body_of(&last_hour(100, 50));
    let (head, rest) = body.split_at(body.len() / 2);
    let mut at_hand = daemon.begin(body.len(), head);
    let mut late = daemon.connect();
    late.write_all(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\n").unwrap();
    until("the first half to arrive", PATIENCE, async || {
        let reserved = daemon.metric("sloburn_ingest_reserved_bytes", &[]).await;
        if reserved > 0.0 { Ok(()) } else { Err(reserved.to_string()) }
    })
    .await;
    daemon.process.signal("TERM");
    daemon.process.line("that it is stopping", |line| line.contains("\"stopping\"").then_some(()));
    let write = body_of(&[shop("200", clock::now(), 1.0)]);
    late.write_all(format!("Content-Length: {}\r\n\r\n", write.len()).as_bytes()).unwrap();
    late.write_all(&write).unwrap();
    let (status, text) = answer(&mut late);
    assert_eq!(status, 503, "{text}");
    assert!(text.to_ascii_lowercase().contains("retry-after: 1"), "{text}");
    at_hand.write_all(rest).unwrap();
    let (status, text) = answer(&mut at_hand);
    assert_eq!(status, 204, "{text}");
    assert_eq!(receiver.next().await.json()["data"]["slo"], json!("shop/availability"), "and its page goes out");
    assert!(daemon.process.exit().success());
    assert!(daemon.process.log().last().unwrap().contains("\"stopped\""));
    assert!(!daemon.process.log().iter().any(|line| line.contains("undelivered")));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_alerts_on_their_way_are_delivered() {
    let mut receiver = Receiver::silent().await;
    let mut daemon = Daemon::start(SHOP, &[&format!("--webhook={}", receiver.url("/"))]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let alerts = daemon.api("/api/v1/alerts").await["alerts"].as_array().unwrap().len();
    receiver.next().await;
    daemon.process.signal("TERM");
    daemon.process.line("that it is stopping", |line| line.contains("\"stopping\"").then_some(()));
    receiver.answer();
    for _ in 1..alerts {
        receiver.next().await;
    }
    assert!(daemon.process.exit().success());
    assert!(!daemon.process.log().iter().any(|line| line.contains("undelivered")), "{:?}", daemon.process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_does_not_keep_the_process_alive() {
    let mut receiver = Receiver::silent().await;
    let mut daemon = Daemon::start(SHOP, &[&format!("--webhook={}", receiver.url("/"))]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    receiver.next().await;
    let clock = Steady::start();
    daemon.process.signal("TERM");
    assert!(daemon.process.exit().success());
    assert!(clock.elapsed() < Span::seconds(20), "the drain has a deadline of 10 s: {}", clock.elapsed());
    assert!(daemon.process.log().iter().any(|line| line.contains("undelivered")), "and what is lost is said");
}

/// Objective and revision of the shop's SLO.
async fn objective(daemon: &Daemon) -> (Value, Value) {
    let slo = &daemon.api("/api/v1/slos").await["slos"][0];
    (slo["objective"].clone(), slo["revision"].clone())
}

async fn until_objective(daemon: &Daemon, expected: f64) {
    until("the new objective", PATIENCE, async || {
        let found = objective(daemon).await.0;
        if found == json!(expected) { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn specs_are_reloaded_all_or_nothing() {
    let daemon = Daemon::start(SHOP, &["--web.enable-lifecycle"]);
    let spec = daemon.folder.path().join("spec.yaml");
    let reload = async || daemon.send("POST", "/-/reload", HeaderMap::new(), Vec::new()).await;
    let (before, revision) = objective(&daemon).await;
    assert_eq!(revision, 1);
    std::fs::write(&spec, SHOP.replace("objective:", "objectiv:")).unwrap();
    let refused = reload().await;
    assert_eq!(refused.status, 500);
    assert!(refused.text.contains("spec.yaml:") && refused.text.contains("objectiv"), "{}", refused.text);
    assert_eq!(objective(&daemon).await.0, before);
    assert_eq!(daemon.metric("sloburn_config_last_reload_successful", &[]).await, 0.0);
    std::fs::write(&spec, SHOP.replace("objective: 99.9", "objective: 98")).unwrap();
    assert_eq!(reload().await.status, 200);
    assert_eq!(objective(&daemon).await, (json!(98.0), json!(1)));
    assert_eq!(daemon.metric("sloburn_config_last_reload_successful", &[]).await, 1.0);
    // A signal does the same, and so does a change by itself.
    std::fs::write(&spec, SHOP.replace("objective: 99.9", "objective: 97")).unwrap();
    daemon.process.signal("HUP");
    until_objective(&daemon, 97.0).await;
    std::fs::write(&spec, SHOP.replace("objective: 99.9", "objective: 96")).unwrap();
    until_objective(&daemon, 96.0).await;
}

#[tokio::test]
async fn a_config_map_may_be_swapped() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[("config.yml", "rule_files: [rules]\n")]);
    let rules = folder.path().join("rules");
    let publish = |version: &str, text: &str| {
        std::fs::create_dir_all(rules.join(version)).unwrap();
        std::fs::write(rules.join(version).join("shop.yaml"), text).unwrap();
        symlink(version, rules.join("..tmp")).unwrap();
        std::fs::rename(rules.join("..tmp"), rules.join("..data")).unwrap();
    };
    publish("..1", SHOP);
    symlink("..data/shop.yaml", rules.join("shop.yaml")).unwrap();
    let config = folder.path().join("config.yml");
    let daemon = Daemon::configured(folder, &config, &[]);
    publish("..2", &SHOP.replace("objective: 99.9", "objective: 97"));
    until_objective(&daemon, 97.0).await;
}
