//! Delivery over real HTTP on loopback. Servers report every request on a channel and answer as the test says, so
//! nothing here waits for time to pass except the delays under test.

mod argo;
mod rollouts;
mod story;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::Value;
use sloburn::alert::{Alert, AlertRule, AlertState};
use sloburn::clock;
use sloburn::notify::outbox::Outbox;
use sloburn::notify::pace::Backoff;
use sloburn::notify::webhook::{WebhookSecret, signatures};
use sloburn::notify::{
    AlertmanagerTarget, Notifier, ReceiverStatus, Receivers, Settings, StartError, WebhookTarget, install_tls_provider,
};
use sloburn::template::{Data, expand};
use sloburn::types::{Labels, Span, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

/// Nothing on loopback takes this long; reaching it is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request as a server saw it.
#[derive(Debug)]
struct Seen {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn alert_name(&self) -> String {
        self.json()["data"]["labels"]["alertname"].as_str().unwrap().to_owned()
    }
}

/// A status, and a header with it.
type Answer = (u16, Option<(&'static str, String)>);

#[derive(Clone)]
struct ServerState {
    seen: mpsc::UnboundedSender<Seen>,
    /// Answers in order; then 200 for ever.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// A request is answered once it gets a permit.
    permits: Arc<Semaphore>,
}

struct Server {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    permits: Arc<Semaphore>,
}

async fn handle(State(state): State<ServerState>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let _ = state.seen.send(Seen { path: uri.path().to_owned(), headers, body });
    state.permits.acquire().await.unwrap().forget();
    let (status, header) = state.answers.lock().unwrap().pop_front().unwrap_or((200, None));
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    if let Some((name, value)) = header {
        response.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    response
}

impl Server {
    async fn answering(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, answers, Semaphore::MAX_PERMITS)
    }

    async fn silent() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), &[], 0)
    }

    fn on(listener: TcpListener, answers: &[Answer], permits: usize) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(permits));
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        let state = ServerState { seen: sender, answers, permits: Arc::clone(&permits) };
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(handle).with_state(state);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, permits }
    }

    async fn next(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("no request came").unwrap()
    }

    fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }
}

fn secret() -> WebhookSecret {
    concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").parse().unwrap()
}

fn hook(name: &str, url: url::Url) -> WebhookTarget {
    WebhookTarget {
        name: name.to_owned(),
        url,
        secrets: vec![secret()],
        timeout: Span::seconds(10),
        send_resolved: true,
    }
}

fn alertmanager(url: url::Url) -> AlertmanagerTarget {
    AlertmanagerTarget { url, timeout: Span::seconds(10), bearer_token: None }
}

fn settings() -> Settings {
    Settings {
        external_labels: Labels::new().with("cluster", "eu"),
        backoff: Backoff { first: Span::millis(20), limit: Span::millis(100) },
        ..Settings::new("http://slo.example".parse().unwrap())
    }
}

fn start(settings: &Settings, alertmanagers: Vec<AlertmanagerTarget>, hooks: Vec<WebhookTarget>) -> Notifier {
    let receivers = Receivers { alertmanagers, webhooks: hooks, ..Receivers::default() };
    Notifier::start(settings, receivers, None).unwrap()
}

fn alert(name: &str, state: AlertState) -> Alert {
    let now = clock::now();
    Alert {
        rule: Arc::new(AlertRule {
            slo: "pay/availability".to_owned(),
            group: Labels::new(),
            labels: Labels::new().with("alertname", name).with("severity", "page"),
            annotations: vec![(
                "summary".to_owned(),
                "{{ $labels.alertname }} burns {{ $value | humanize }}x".to_owned(),
            )]
            .into(),
            expr: "slo:burn > 14.4".into(),
            for_: Span::ZERO,
            keep_firing_for: Span::ZERO,
        }),
        state,
        active_at: now - Span::minutes(2),
        fired_at: (state != AlertState::Pending).then_some(now - Span::minutes(1)),
        resolved_at: (state == AlertState::Resolved).then_some(now),
        value: 20.125,
        burn_rates: vec![(Span::minutes(5), 20.125)],
    }
}

fn firing(name: &str) -> Alert {
    alert(name, AlertState::Firing)
}

/// Ends the notifier, so that every answer has been taken in, and returns its receivers' status.
async fn finished(notifier: &Notifier) -> Vec<ReceiverStatus> {
    assert_eq!(notifier.shutdown(Span::seconds(20)).await, 0);
    notifier.status()
}

/// Until an attempt at every receiver has failed.
async fn each_has_failed(notifier: &Notifier) {
    let failed = async {
        while !notifier.status().iter().all(|receiver| receiver.failed > 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failed).await.expect("no attempt failed");
}

#[tokio::test]
async fn a_failed_message_comes_again_with_its_id_and_a_new_signature() {
    let mut server = Server::answering(&[(500, None)]).await;
    // Longer than a second, so that the second attempt has another timestamp; jitter takes up to half.
    let backoff = Backoff { first: Span::millis(2_200), limit: Span::millis(2_200) };
    let notifier = start(&Settings { backoff, ..settings() }, vec![], vec![hook("ops", server.url("/hook?token=t"))]);
    assert!(!format!("{notifier:?}").contains("token=t"));
    notifier.send(&[alert("A", AlertState::Pending), firing("A")]);
    let (first, second) = (server.next().await, server.next().await);
    for name in ["webhook-id", "user-agent", "content-type"] {
        assert_eq!(first.header(name), second.header(name));
    }
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("user-agent"), concat!("sloburn/", env!("CARGO_PKG_VERSION")));
    assert_ne!(first.header("webhook-timestamp"), second.header("webhook-timestamp"));
    for seen in [&first, &second] {
        let seconds: i64 = seen.header("webhook-timestamp").parse().unwrap();
        assert!((clock::now().as_millis() / 1000 - seconds).abs() < 20);
        let body = std::str::from_utf8(&seen.body).unwrap();
        let expected = signatures(&[secret()], seen.header("webhook-id"), Timestamp(seconds * 1000), body);
        assert_eq!(seen.header("webhook-signature"), expected);
    }
    assert_eq!(first.json()["type"], "alert.firing");
    assert_eq!(first.json()["data"]["annotations"]["summary"], "A burns 20.12x");
    let status = &finished(&notifier).await[0];
    assert_eq!((status.sent, status.failed, status.queued), (1, 1, 0));
    assert_eq!(status.last_error.as_ref().unwrap().1, "status 500");
    assert_eq!(status.url, server.url("/hook").as_str(), "without the token");
}

#[tokio::test]
async fn a_slow_receiver_does_not_delay_another() {
    let (mut slow, mut quick) = (Server::silent().await, Server::answering(&[]).await);
    let hooks = vec![hook("slow", slow.url("/")), hook("quick", quick.url("/"))];
    let notifier = start(&settings(), vec![alertmanager(slow.url("/am"))], hooks);
    for n in 0..50 {
        notifier.send(&[firing(&format!("A{n}"))]);
    }
    for n in 0..50 {
        assert_eq!(quick.next().await.alert_name(), format!("A{n}"));
    }
    let _ = slow.next().await;
    let status = notifier.status();
    assert_eq!((status[1].name.as_str(), status[1].sent, status[1].queued), ("slow", 0, 50));
    slow.permits.add_permits(1_000);
    assert!(finished(&notifier).await.iter().all(|receiver| receiver.queued == 0));
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_everything_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url: url::Url = format!("http://{address}/").parse().unwrap();
    let notifier = start(&settings(), vec![alertmanager(url.clone())], vec![hook("ops", url)]);
    notifier.send(&[firing("A")]);
    notifier.send(&[alert("A", AlertState::Resolved)]);
    each_has_failed(&notifier).await;
    let mut server = Server::on(TcpListener::bind(address).await.unwrap(), &[], Semaphore::MAX_PERMITS);
    let status = finished(&notifier).await;
    let mut events = Vec::new();
    let mut posted = Vec::new();
    while let Ok(seen) = server.seen.try_recv() {
        match seen.path.as_str() {
            "/api/v2/alerts" => posted.push(seen.json()),
            _ => events.push(seen.json()["type"].as_str().unwrap().to_owned()),
        }
    }
    assert_eq!(events, ["alert.firing", "alert.resolved"]);
    assert_eq!(posted.len(), 1, "an Alertmanager hears of the newest state only");
    let (sent, ends_at) = (&posted[0][0], posted[0][0]["endsAt"].as_str().unwrap());
    assert!(ends_at <= clock::now().to_rfc3339().as_str(), "it is over: {sent}");
    assert!(status.iter().all(|receiver| receiver.last_error.as_ref().unwrap().1.contains("refused")));
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let mut server = Server::answering(&[(429, Some(("retry-after", "1".to_owned())))]).await;
    let notifier = start(&settings(), vec![], vec![hook("ops", server.url("/"))]);
    notifier.send(&[firing("A"), firing("B")]);
    server.next().await;
    let asked = clock::Steady::start();
    server.next().await;
    server.next().await;
    assert!(asked.elapsed() >= Span::millis(950), "the backoff alone is at most 100 ms");
    assert_eq!(finished(&notifier).await[0].sent, 2);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone() {
    let mut server = Server::answering(&[(410, None)]).await;
    let notifier = start(&settings(), vec![], vec![hook("ops", server.url("/"))]);
    notifier.send(&[firing("A"), firing("B")]);
    server.next().await;
    let status = &finished(&notifier).await[0];
    assert!(status.disabled);
    assert_eq!((status.dead_letters, status.queued), (2, 0));
    notifier.send(&[firing("C")]);
    notifier.flush().await;
    assert_eq!(notifier.status()[0].dropped, 1);
    assert!(server.seen.try_recv().is_err());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut elsewhere = Server::answering(&[]).await;
    let location = Some(("location", elsewhere.url("/stolen").to_string()));
    let mut server = Server::answering(&[(307, location.clone()), (302, location)]).await;
    let notifier = start(&settings(), vec![], vec![hook("ops", server.url("/"))]);
    notifier.send(&[firing("A")]);
    for _ in 0..3 {
        server.next().await;
    }
    let status = &finished(&notifier).await[0];
    assert_eq!((status.failed, status.sent), (2, 1));
    assert!(elsewhere.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_refused_message_does_not_stop_the_next() {
    let mut server = Server::answering(&[(400, None)]).await;
    let notifier = start(&settings(), vec![], vec![hook("ops", server.url("/"))]);
    notifier.send(&[firing("A"), firing("B")]);
    assert_eq!(server.next().await.alert_name(), "A");
    assert_eq!(server.next().await.alert_name(), "B");
    let status = &finished(&notifier).await[0];
    assert_eq!((status.dead_letters, status.failed, status.sent), (1, 1, 1));
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_them() {
    let mut server = Server::silent().await;
    let notifier = start(&Settings { queue_limit_alerts: 3, ..settings() }, vec![], vec![hook("ops", server.url("/"))]);
    notifier.send(&[firing("A0")]);
    assert_eq!(server.next().await.alert_name(), "A0");
    for n in 1..=10 {
        notifier.send(&[firing(&format!("A{n}"))]);
    }
    notifier.flush().await;
    let status = &notifier.status()[0];
    assert_eq!((status.dropped, status.queued), (7, 4), "three waiting and one on its way");
    server.permits.add_permits(1_000);
    assert_eq!(finished(&notifier).await[0].sent, 4);
    let mut names = Vec::new();
    while let Ok(seen) = server.seen.try_recv() {
        names.push(seen.alert_name());
    }
    assert_eq!(names, ["A8", "A9", "A10"]);
}

#[tokio::test]
async fn shutdown_delivers_what_is_queued() {
    let server = Server::answering(&[(503, None), (503, None)]).await;
    // The backoff is longer than the deadline: only a drain that hurries gets through in time.
    let backoff = Backoff { first: Span::hours(1), limit: Span::hours(1) };
    let hooks = vec![hook("ops", server.url("/"))];
    let notifier = start(&Settings { backoff, ..settings() }, vec![alertmanager(server.url("/am"))], hooks);
    let alerts: Vec<Alert> = (0..300).map(|n| firing(&format!("A{n:03}"))).collect();
    notifier.send(&alerts);
    each_has_failed(&notifier).await;
    assert_eq!(notifier.shutdown(Span::seconds(20)).await, 0);
    let status = notifier.status();
    assert_eq!((status[0].sent, status[1].sent), (300, 300));
}

#[tokio::test]
async fn shutdown_ends_at_its_deadline() {
    let mut server = Server::silent().await;
    let notifier = start(&settings(), vec![alertmanager(server.url("/"))], vec![hook("ops", server.url("/"))]);
    notifier.send(&[firing("A"), firing("B")]);
    server.next().await;
    assert_eq!(notifier.shutdown(Span::millis(100)).await, 4, "two for each receiver");
}

#[tokio::test]
async fn every_alertmanager_gets_every_alert_under_its_prefix() {
    let (mut one, mut two) = (Server::answering(&[]).await, Server::answering(&[]).await);
    let with_token = AlertmanagerTarget {
        bearer_token: Some(SecretString::from("s3cret-token")),
        ..alertmanager(two.url("/prefix/"))
    };
    assert!(!format!("{with_token:?}").contains("s3cret"));
    let notifier = start(&settings(), vec![alertmanager(one.url("")), with_token], vec![]);
    let alerts: Vec<Alert> = (0..300).map(|n| firing(&format!("A{n:03}"))).collect();
    notifier.send(&alerts);
    let (first, second) = (one.next().await, two.next().await);
    assert_eq!((first.path.as_str(), second.path.as_str()), ("/api/v2/alerts", "/prefix/api/v2/alerts"));
    assert_eq!(second.header("authorization"), "Bearer s3cret-token");
    assert!(first.headers.get("authorization").is_none());
    let (first, rest) = (first.json(), one.next().await.json());
    assert_eq!((first.as_array().unwrap().len(), rest.as_array().unwrap().len()), (256, 44));
    let labels = &first[0]["labels"];
    assert_eq!(labels, &serde_json::json!({"alertname": "A000", "cluster": "eu", "severity": "page"}));
    finished(&notifier).await;
}

#[tokio::test]
async fn addresses_of_metadata_services_are_refused() {
    let start = |url: &str| {
        let receivers = Receivers { webhooks: vec![hook("ops", url.parse().unwrap())], ..Receivers::default() };
        Notifier::start(&settings(), receivers, None)
    };
    let error = start("http://169.254.169.254/latest").unwrap_err();
    assert!(matches!(error, StartError::Address { .. }), "{error}");
    assert!(matches!(start("ftp://127.0.0.1/"), Err(StartError::Scheme { .. })));
}

/// Ends the process when dropped.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Asks until the answer is as wanted; each question is an exchange with the peer.
async fn poll(url: url::Url, wanted: impl Fn(u16, &str) -> bool) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            let Ok(response) = client.get(url.clone()).send().await else { continue };
            let (status, body) = (response.status().as_u16(), response.text().await.unwrap_or_default());
            if wanted(status, &body) {
                return body;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the peer never answered as wanted")
}

#[tokio::test]
#[ignore = "needs prometheus-alertmanager"]
async fn a_real_alertmanager_shows_the_alert_and_then_its_end() {
    install_tls_provider();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let child = Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", dir.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _peer = Peer(child);
    let base: url::Url = format!("http://{address}/").parse().unwrap();
    poll(base.join("-/ready").unwrap(), |status, _| status == 200).await;

    let notifier = start(&settings(), vec![alertmanager(base.clone())], vec![]);
    let alert_firing = firing("Burns");
    notifier.send(std::slice::from_ref(&alert_firing));
    let active = base.join("api/v2/alerts?active=true").unwrap();
    let body = poll(active.clone(), |_, body| body.contains("Burns")).await;
    let shown: Value = serde_json::from_str(&body).unwrap();
    let shown = &shown[0];
    assert_eq!(shown["labels"], serde_json::json!({"alertname": "Burns", "cluster": "eu", "severity": "page"}));
    assert_eq!(shown["annotations"], serde_json::json!({"summary": "Burns burns 20.12x"}));
    assert_eq!(shown["startsAt"], alert_firing.fired_at.unwrap().to_rfc3339());
    assert_eq!(shown["generatorURL"], "http://slo.example/graph?g0.expr=slo%3Aburn+%3E+14.4&g0.tab=1");
    let ends_at: jiff::Timestamp = shown["endsAt"].as_str().unwrap().parse().unwrap();
    let stands = Timestamp(ends_at.as_millisecond()).since(clock::now());
    assert!(stands > Span::minutes(3) && stands <= Span::minutes(4), "{stands}");

    notifier.send(&[alert("Burns", AlertState::Resolved)]);
    poll(active, |status, body| status == 200 && body.trim() == "[]").await;
    assert_eq!(finished(&notifier).await[0].failed, 0);
}

/// Templates whose text does not depend on when or where they are expanded.
const TEMPLATES: &[&str] = &[
    "{{ $value }} {{ $labels.job }} [{{ $labels.nope }}] {{ .Labels.job }}",
    "{{ $labels }}",
    "{{ humanize $value }} {{ humanize1024 $value }} {{ humanizePercentage $value }} {{ humanizeDuration $value }}",
    "{{ humanizeTimestamp $value }} {{ humanize 999.999 }} {{ humanize .00012345 }} {{ humanize 1e30 }}",
    "{{ printf \"%.3f %g %v %e %6.1f|%-8s|%q|%d\" $value $value $value $value $value \"ab\" \"c\" 7 }}",
    "{{ print 1 2 \"a\" \"b\" 3.0 4.0 }}{{ println $value true }}",
    "{{ if gt $value 5.0 }}high{{ else }}low{{ end }} {{ if eq $labels.nope \"\" }}none{{ end }}",
    "{{ range $k, $v := $labels }}{{ $k }}={{ $v }},{{ end }}{{ with $labels.job }}{{ . }}{{ end }}",
    "{{ $labels.instance | stripPort }} {{ stripDomain $labels.instance }} {{ \"[::1]:80\" | stripDomain }}",
    "{{ reReplaceAll \"(.*):([0-9]+)\" \"$2-${1}\" $labels.instance }} {{ match \"^web\" $labels.instance }}",
    "{{ \"a_b c-d aB ccc\" | title }} {{ toUpper \"straße\" }} {{ toLower \"ÀB\" }}",
    "{{ graphLink \"sum(x) by (y)\" }} {{ tableLink \"a*b ~c\" }}",
    "{{ define \"x\" }}{{ .arg0 }}/{{ .arg1 }}{{ end }}{{ template \"x\" (args $value \"b\") }}",
    "{{ len $labels.job }} {{ index $labels \"job\" }} {{ or $labels.nope \"other\" }} {{ slice \"abcdef\" 1 3 }}",
    "{{ parseDuration \"1h30m\" }} {{ \"<&>\" | html }} {{ urlquery \"a b\" }} {{ \"x\" | safeHtml }}",
    "{{- \" trimmed \" -}}   end {{/* comment */}}{{ 0x10 }} {{ 'a' }} {{ 1.5e3 }} {{ true }}",
    "{{ (toTime $value).Format \"Mon Jan _2 15:04:05.000 2006 Z07:00 PM __2 002 01/02 03:4:5pm 06 -0700 MST .999\" }} {{ (toTime 1e9).Year }} {{ toTime 0.5 }}",
];

/// promtool expands the same templates in a rule's unit test and compares them with ours.
#[test]
#[ignore = "needs promtool"]
fn promtool_expands_templates_alike() {
    let labels = Labels::new().with("job", "api").with("instance", "web-1.example.com:9090");
    for value in [20.125, 1_234_567.0, 0.000_123] {
        let sample_labels = labels.clone().with("__name__", "m");
        let external_url = "http://x".parse().unwrap();
        let data = Data {
            labels: &sample_labels,
            external_labels: &Labels::new(),
            external_url: &external_url,
            value,
            now: Timestamp(0),
        };
        let annotations: Vec<(String, &str)> =
            TEMPLATES.iter().enumerate().map(|(n, template)| (format!("t{n:02}"), *template)).collect();
        let ours: Vec<(String, String)> =
            annotations.iter().map(|(name, template)| (name.clone(), expand("__alert_T", template, &data))).collect();
        let as_map = |pairs: Vec<(String, Value)>| Value::Object(pairs.into_iter().collect());
        let rules = serde_json::json!({"groups": [{"name": "g", "rules": [{
            "alert": "T",
            "expr": "m",
            "annotations": as_map(annotations.iter().map(|(n, t)| (n.clone(), Value::from(*t))).collect()),
        }]}]});
        let expected = serde_json::json!({
            "exp_labels": as_map(labels.iter().map(|(n, v)| (n.to_owned(), v.into())).collect()),
            "exp_annotations": as_map(ours.into_iter().map(|(n, t)| (n, t.into())).collect()),
        });
        let series = format!("m{labels}");
        let test = serde_json::json!({"rule_files": ["rules.json"], "tests": [{
            "interval": "1m",
            "input_series": [{"series": series, "values": format!("{value}")}],
            "alert_rule_test": [{"eval_time": "0m", "alertname": "T", "exp_alerts": [expected]}],
        }]});
        let dir = tempfile::tempdir().unwrap();
        // JSON is YAML.
        std::fs::write(dir.path().join("rules.json"), rules.to_string()).unwrap();
        std::fs::write(dir.path().join("test.json"), test.to_string()).unwrap();
        let output =
            Command::new("promtool").args(["test", "rules", "test.json"]).current_dir(dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{value}: {text}");
    }
}

/// A notifier with an outbox in this folder.
fn start_with_outbox(folder: &tempfile::TempDir, hooks: Vec<WebhookTarget>, ams: Vec<AlertmanagerTarget>) -> Notifier {
    let outbox = Outbox::open(&folder.path().join("outbox.redb")).unwrap();
    let receivers = Receivers { alertmanagers: ams, webhooks: hooks, ..Receivers::default() };
    Notifier::start(&settings(), receivers, Some(outbox)).unwrap()
}

/// Ends the notifier at once, as if the process were killed, and waits until its thread has let go of the outbox.
async fn killed(notifier: Notifier, folder: &tempfile::TempDir) {
    drop(notifier);
    let path = folder.path().join("outbox.redb");
    let free = async {
        while Outbox::open(&path).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("the outbox is still open");
}

#[tokio::test]
async fn what_a_killed_process_left_is_delivered_by_the_next_one_once_and_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (firing("A"), firing("B"));
    let mut failing = Server::answering(&[&[(204, None)][..], &vec![(500, None); 1_000]].concat()).await;
    let first = start_with_outbox(&folder, vec![hook("ops", failing.url("/hook"))], vec![]);
    first.send(&[a.clone(), b.clone()]);
    each_has_failed(&first).await;
    let status = &first.status()[0];
    assert_eq!((status.sent, status.queued), (1, 1));
    first.flush().await;
    killed(first, &folder).await;
    let (delivered, failed) = (failing.next().await, failing.next().await);
    let mut server = Server::answering(&[]).await;
    let mut seen = Vec::new();
    // The engine lives through its log again: A is known, and has ended meanwhile.
    let second = start_with_outbox(&folder, vec![hook("ops", server.url("/hook"))], vec![]);
    let end = Alert { state: AlertState::Resolved, resolved_at: Some(clock::now()), ..a.clone() };
    second.send(&[a, b, end]);
    finished(&second).await;
    while let Ok(request) = server.seen.try_recv() {
        seen.push((request.header("webhook-id").to_owned(), request.json()["type"] == "alert.resolved"));
    }
    assert!(seen.iter().all(|(id, _)| id != delivered.header("webhook-id")), "A was told: {seen:?}");
    assert!(seen.iter().any(|(id, _)| id == failed.header("webhook-id")), "B had to come again: {seen:?}");
    assert_eq!(seen.iter().filter(|(_, is_end)| *is_end).count(), 1, "{seen:?}");
}

#[tokio::test]
async fn what_fires_no_more_after_a_restart_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::answering(&[]).await;
    let hooks = || vec![hook("ops", server.url("/hook"))];
    let first = start_with_outbox(&folder, hooks(), vec![]);
    let (a, b) = (firing("A"), firing("B"));
    first.send(&[a.clone(), b]);
    finished(&first).await;
    killed(first, &folder).await;
    let second = start_with_outbox(&folder, hooks(), vec![]);
    second.reconcile(&[a]);
    finished(&second).await;
    let mut told = Vec::new();
    while let Ok(request) = server.seen.try_recv() {
        told.push((request.alert_name(), request.json()["data"]["state"].clone()));
    }
    let expected = [("A", "firing"), ("B", "firing"), ("B", "resolved")];
    assert_eq!(told, expected.map(|(name, state)| (name.to_owned(), Value::from(state))));
}
