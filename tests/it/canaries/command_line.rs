//! `sloburn canary` and `sloburn gate` against a real daemon.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::releases::{PAY, Traffic, decided, last_day, rollout, say, start};
use crate::daemon::{Daemon, sloburn};
use crate::process::{PATIENCE, Process, until};

fn command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = sloburn();
    command.args(arguments).env("SLOBURN_URL", daemon.url.as_str()).env("USER", "alice");
    command
}

/// What a command prints and how it ends; one that waits for too long is ended.
fn finished(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (tell, told) = mpsc::channel();
    let waiting = std::thread::spawn(move || tell.send(child.wait_with_output().unwrap()));
    let output = told.recv_timeout(PATIENCE.to_std());
    if output.is_err() {
        // A group of its own where it is a shell with children; they end with their pipe.
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL -- -{id} || kill -KILL {id}")]).status();
    }
    let _ = waiting.join();
    output.unwrap_or_else(|_| panic!("{command:?} has not ended in {PATIENCE}"))
}

fn run(daemon: &Daemon, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = finished(&mut command(daemon, arguments));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

const WAIT: [&str; 8] = ["canary", "wait", "--service", "pay", "--version", "v2", "--every", "50ms"];

#[tokio::test]
async fn a_pipeline_waits_for_the_promotion() {
    let daemon = Daemon::start(PAY, &[]);
    let mut traffic = Traffic::begin(&daemon).await;
    // It waits before anybody knows the version, and tells each thing that changes.
    let mut waiting = Process::start("wait", &mut command(&daemon, &[&WAIT[..], &["--format", "json"]].concat()));
    waiting.line("an unknown version", |line| line.contains("no rollout of v2 has begun yet").then_some(()));
    start(&daemon).await;
    waiting.line("the first step", |line| line.starts_with("continue at staff: ").then_some(()));
    traffic.go_on(&daemon, 12, 10.0).await;
    assert_eq!(waiting.exit().code(), Some(0));
    let last = waiting.log().into_iter().find(|line| line.starts_with('{')).unwrap();
    let result: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&result["verdict"], &result["version"]), (&json!("promote"), &json!("v2")));
    let (code, out, _) = run(&daemon, &["canary", "list"]);
    assert_eq!(code, 0);
    let row: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["pay", "v2", "v2", "promoted"], "{out}");
}

#[tokio::test]
async fn a_pipeline_is_told_of_a_rollback() {
    let daemon = Daemon::start(PAY, &[]);
    let mut traffic = Traffic::begin(&daemon).await;
    start(&daemon).await;
    traffic.go_on(&daemon, 3, 600.0).await;
    decided(&daemon, "rollback").await;
    let (code, out, _) = run(&daemon, &WAIT);
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("rollback pay v2: ") && out.contains("more than the limit of 20 %"), "{out}");
    let (code, out, _) = run(&daemon, &["canary", "get", "pay"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("pay v2 against v1: rolled-back\n"), "{out}");
    let check = out.lines().find(|line| line.contains("<= 20 %")).unwrap();
    assert!(check.contains(" harm "), "{out}");
}

#[tokio::test]
async fn people_steer_from_the_command_line() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    let (code, _, err) = run(&daemon, &["canary", "pause", "pay", "--reason", "early"]);
    assert_eq!(code, 1, "nothing to pause: {err}");
    let started =
        ["canary", "start", "pay", "v2", "--baseline", "v1", "--commit-time", "1793491200", "--format", "json"];
    let (code, out, err) = run(&daemon, &started);
    assert_eq!(code, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["rollout"]["committedAt"], "2026-11-01T00:00:00.000Z");
    assert_eq!(shown["rollout"]["startedBy"], "alice");
    let (code, out, err) = run(&daemon, &["canary", "pause", "pay", "--reason", "lunch", "--actor", "bob"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("paused by bob: lunch"), "{out}");
    let (code, out, err) = run(&daemon, &WAIT);
    assert_eq!((code, out.as_str()), (4, "pause pay v2: paused by bob: lunch\n"), "{err}");
    let (code, ..) = run(&daemon, &[&WAIT[..], &["--through-pause", "--timeout", "100ms"]].concat());
    assert_eq!(code, 5);
    assert_eq!(run(&daemon, &["canary", "resume", "pay", "--reason", "back"]).0, 0);
    assert_eq!(run(&daemon, &["canary", "promote", "pay", "--reason", "known"]).0, 0);
    assert_eq!(rollout(&daemon).await["stepName"], "5%");
    assert_eq!(run(&daemon, &[&WAIT[..], &["--step", "staff"]].concat()).0, 0);
    assert_eq!(run(&daemon, &[&WAIT[..], &["--step", "75%"]].concat()).0, 2, "no such step");
    assert_eq!(run(&daemon, &["canary", "step", "pay", "30%"]).0, 0);
    assert_eq!(rollout(&daemon).await["stepName"], "50%");
    assert_eq!(run(&daemon, &["canary", "step", "pay", "staff"]).0, 0);
    let (code, _, err) = run(&daemon, &["canary", "step", "pay", "nobody"]);
    assert_eq!((code, err.contains("no step \"nobody\"")), (1, true), "{err}");
    assert_eq!(run(&daemon, &["canary", "abort", "pay", "--reason", "double bookings"]).0, 0);
    let (code, out, _) = run(&daemon, &WAIT);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("alice: double bookings"), "{out}");
    assert_eq!(run(&daemon, &["canary", "abort", "pay"]).0, 2, "without a reason");
    let nameless = ["canary", "abort", "pay", "--reason", "x"];
    let nameless = finished(sloburn().args(nameless).env("SLOBURN_URL", daemon.url.as_str()));
    assert_eq!(nameless.status.code(), Some(2));
    assert!(String::from_utf8(nameless.stderr).unwrap().contains("--actor or SLOBURN_ACTOR"));
    assert_eq!(run(&daemon, &["canary", "get", "nobody"]).0, 2);
    let nobody = ["canary", "wait", "--service", "nobody", "--version", "v2"];
    let (code, out, _) = run(&daemon, &nobody);
    assert_eq!(code, 4, "{out}");
}

#[tokio::test]
async fn each_change_is_watched() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    let watching = Process::start("watch", &mut command(&daemon, &["canary", "watch", "pay", "--every", "50ms"]));
    watching.line("the beginning", |line| (line == "pay: no rollout yet").then_some(()));
    start(&daemon).await;
    watching.line("the first step", |line| line.contains("pay v2 at staff: continue").then_some(()));
    let pause = json!({"actor": "alice", "reason": "lunch"});
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/pause", &pause).await.status, 200);
    watching.line("the pause", |line| line.contains("(paused by alice)").then_some(()));
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/abort", &pause).await.status, 200);
    watching.line("the end", |line| line.contains("pay v2: aborted: ").then_some(()));
}

fn example(name: &str) -> Vec<serde_yaml::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pipelines").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

/// The arguments of the Argo job among the examples, once the release has been promoted.
#[tokio::test]
async fn the_job_of_an_argo_analysis_ends_well() {
    let daemon = Daemon::start(PAY, &[]);
    let mut traffic = Traffic::begin(&daemon).await;
    start(&daemon).await;
    traffic.go_on(&daemon, 12, 0.0).await;
    let documents = example("payment-auth/argo-job.yaml");
    let container = &documents[0]["spec"]["metrics"][0]["provider"]["job"]["spec"]["template"]["spec"]["containers"][0];
    for step in ["5%", "50%"] {
        let arguments = container["args"].as_sequence().unwrap().iter().map(|argument| {
            let argument = argument.as_str().unwrap().replace("http://sloburn.monitoring:9797", daemon.url.as_str());
            argument.replace("{{args.service}}", "pay").replace("{{args.version}}", "v2").replace("{{args.step}}", step)
        });
        let output = finished(sloburn().args(arguments));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

/// The verdict is worth waiting for: a daemon that is away is asked again.
#[tokio::test]
async fn a_daemon_that_is_away_is_asked_again() {
    let daemon = Daemon::start(PAY, &[]);
    Traffic::begin(&daemon).await;
    start(&daemon).await;
    daemon.process.signal("STOP");
    let url = format!("--url={}", daemon.url);
    let mut waiting = Process::start("wait", sloburn().args(WAIT).arg(&url));
    let mut late = Process::start("gate", sloburn().args(["gate", "--service", "pay", "--timeout", "1ms"]).arg(&url));
    assert_eq!(late.exit().code(), Some(5));
    late.line("why", |line| line.contains("no answer from").then_some(()));
    daemon.process.signal("CONT");
    waiting.line("an answer", |line| line.starts_with("continue at staff").then_some(()));
    let abort = json!({"actor": "alice", "reason": "enough"});
    assert_eq!(say(&daemon, "/api/v1/canaries/pay/abort", &abort).await.status, 200);
    assert_eq!(waiting.exit().code(), Some(1));
    // Nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("--url=http://{}", listener.local_addr().unwrap());
    drop(listener);
    let nobody = finished(sloburn().args(WAIT).args(["--timeout", "10ms", &url]));
    assert_eq!(nobody.status.code(), Some(5));
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(said.contains("no answer from") && said.contains("not decided in 10ms"), "{said}");
}

#[tokio::test]
async fn the_gate_has_its_exit_codes() {
    let daemon = Daemon::start(PAY, &[]);
    let gate = ["gate", "--service", "pay"];
    let (code, out, _) = run(&daemon, &gate);
    assert_eq!((code, out.as_str()), (4, "no-data: no budget of pay is known yet\n"));
    last_day(&daemon, 100.0).await;
    until("the gate to open", PATIENCE, async || {
        let (code, out, err) = run(&daemon, &gate);
        if code == 0 { Ok(()) } else { Err(format!("{code} {out} {err}")) }
    })
    .await;
    let mut traffic = Traffic::begin(&daemon).await;
    traffic.go_on(&daemon, 100, 1_000.0).await;
    until("the gate to close", PATIENCE, async || {
        let (code, out, err) = run(&daemon, &[&gate[..], &["--format", "json"]].concat());
        if code == 1 && out.contains(r#""allowed":false"#) { Ok(()) } else { Err(format!("{code} {out} {err}")) }
    })
    .await;
    assert_eq!(run(&daemon, &["gate", "--service", "nobody"]).0, 2);
}

#[tokio::test]
async fn credentials_come_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let web = file("web.yml", &format!("basic_auth_users: {{alice: {hash}}}\n"));
    let (right, wrong) = (file("right", "open sesame\n"), file("wrong", "open says me\n"));
    let daemon = Daemon::start(PAY, &[&format!("--web.config.file={web}")]);
    let list = ["canary", "list", "--username", "alice"];
    assert_eq!(run(&daemon, &[&list[..], &["--password-file", &right]].concat()).0, 0);
    let from_environment = finished(command(&daemon, &list).env("SLOBURN_PASSWORD", "open sesame"));
    assert_eq!(from_environment.status.code(), Some(0));
    let (code, _, err) = run(&daemon, &[&list[..], &["--password-file", &wrong]].concat());
    assert_eq!(code, 2);
    assert!(err.contains("refuses the credentials") && !err.contains("says me"), "{err}");
    // A pipeline does not wait for hours for credentials to become right.
    assert_eq!(run(&daemon, &WAIT).0, 2);
    let (code, _, err) = run(&daemon, &list);
    assert_eq!(code, 1);
    assert!(err.contains("--username needs a password"), "{err}");
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let file = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    file("ca.crt", authority.pem());
    file("server.crt", certificate.pem());
    file("server.key", key.serialize_pem());
    file("web.yml", "tls_server_config: {cert_file: server.crt, key_file: server.key}\n".to_owned());
    let web = format!("--web.config.file={}", folder.path().join("web.yml").display());
    let rules = folder.path().join("spec.yaml");
    file("spec.yaml", PAY.to_owned());
    let mut serve = sloburn();
    serve.args(["serve", "--web.listen-address=127.0.0.1:0", "--log.format=json", "--storage.path=", &web]);
    let process = Process::start("sloburn", serve.arg(format!("--rules={}", rules.display())));
    let address = process.line("the address it listens on", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["address"].as_str().map(str::to_owned)
    });
    let list = |more: &[&str]| {
        let url = format!("--url=https://{address}");
        finished(sloburn().args(["gate", "--service", "pay", "--timeout", "10ms", &url]).args(more))
    };
    let known = list(&["--tls-ca-file", folder.path().join("ca.crt").to_str().unwrap()]);
    assert_eq!(known.status.code(), Some(4), "no budget is known: {known:?}");
    let stranger = list(&[]);
    assert_eq!(stranger.status.code(), Some(5), "{stranger:?}");
    let no_certificate = list(&["--tls-ca-file", rules.to_str().unwrap()]);
    assert_eq!(no_certificate.status.code(), Some(1));
    assert!(String::from_utf8(no_certificate.stderr).unwrap().contains("no certificate in"));
}
