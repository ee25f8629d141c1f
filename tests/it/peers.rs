//! The whole way with real peers: Prometheus scrapes an exporter and sends its samples by remote write, and the alerts
//! arrive in Alertmanager. The same Prometheus evaluates the rules that `sloburn generate` makes of the same specs, so
//! that both can be compared.

mod exporter;
pub mod programs;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use exporter::{Exporter, IDLE, Requests};
pub use programs::Peer;
use programs::{firing, key_of};
use serde_json::{Value, json};
use sloburn::clock;
use sloburn::generate::{self, Format};
use sloburn::spec::{Source, parse};
use sloburn::types::{Span, Timestamp};

use crate::daemon::Daemon;
use crate::process::{PATIENCE, until};
use crate::receiver::Receiver;
use crate::traffic::{SHOP, last_hour};

/// Windows short enough for a test: an outage of half of all requests pages within some six seconds.
const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: checkout, labels: {team: shop}}
spec:
  slis:
    - name: errors
      events:
        bad: http_requests_total{job="checkout",code=~"5.."}
        total: http_requests_total{job="checkout"}
    - name: latency
      latency:
        histogram: http_request_duration_seconds{job="checkout"}
        threshold: 250ms
  slos:
    - name: availability
      sli: errors
      objective: 99
      alerting: &alerting
        windows:
          - {severity: page, short: 10s, long: 30s, factor: 10}
          - {severity: ticket, short: 20s, long: 1m, factor: 5}
        minEvents: 100
        page:
          annotations:
            summary: "{{ $labels.sloth_service }} of {{ $labels.team }} burns at {{ $value | printf `%.0f` }}"
    - {name: fast, sli: latency, objective: 99, alerting: *alerting}
---
apiVersion: sloburn/v1
kind: Service
metadata: {name: search}
spec:
  slis:
    - name: errors
      events:
        bad: http_requests_total{job="search",code=~"5.."}
        total: http_requests_total{job="search"}
  slos:
    - name: availability
      sli: errors
      objective: 99
      alerting:
        windows: [{severity: page, short: 10s, long: 30s, factor: 10}]
        minEvents: 100
---
apiVersion: sloburn/v1
kind: Service
metadata: {name: invoices}
spec:
  slis:
    - name: errors
      events:
        bad: http_requests_total{job="invoices",code=~"5.."}
        total: http_requests_total{job="invoices"}
  slos:
    - {name: availability, sli: errors, objective: 99}
"#;

/// One in 200 fails, one in 200 is slow: a burn of 0.5 where one in 100 may.
const STEADY: Requests = Requests { good: 199, bad: 1, slow: 1 };
/// Half of all requests fail.
const OUTAGE: Requests = Requests { good: 100, bad: 100, slow: 1 };
/// Nothing fails.
const HEALTHY: Requests = Requests { good: 200, bad: 0, slow: 0 };

/// Everything that runs.
struct Stage {
    exporter: Exporter,
    alertmanager: Peer,
    prometheus: Peer,
    /// Two, fed by the same Prometheus: by the default queue, and by one that sends every second.
    daemons: [Daemon; 2],
    hooks: [Receiver; 2],
}

const QUEUES: [&str; 2] = ["default queue", "batch_send_deadline: 1s"];

fn prometheus_config(exporter: &Exporter, daemons: &[Daemon; 2]) -> String {
    let job = |name: &str, target: &str, more: &str| {
        format!("  - job_name: {name}\n    static_configs: [{{targets: ['{target}']}}]\n{more}")
    };
    let exporter = exporter.address.to_string();
    let jobs = ["checkout", "search"].map(|name| job(name, &exporter, &format!("    metrics_path: /{name}\n")));
    let invoices = job("invoices", &exporter, "    metrics_path: /invoices\n    scrape_interval: 15s\n");
    let ourselves = job("sloburn", daemons[0].url.authority(), "");
    let remote_write = |daemon: &Daemon, queue: &str| {
        format!("  - url: {}api/v1/write\n    metadata_config: {{send_interval: 5s}}\n{queue}", daemon.url)
    };
    format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yaml]\n\
         scrape_configs:\n{}{invoices}{ourselves}remote_write:\n{}{}",
        jobs.concat(),
        remote_write(&daemons[0], ""),
        remote_write(&daemons[1], "    queue_config: {batch_send_deadline: 1s}\n"),
    )
}

/// Half a minute after its start a daemon has forgotten nothing of what it was sent; waits longer are failures.
async fn counted(daemon: &Daemon, id: &str, watched: Requests, bad: u64) -> Value {
    let expected = (json!(watched.total() - bad), json!(watched.total()));
    until(&format!("{id} to have counted {expected:?}"), PATIENCE, async || {
        let slo = daemon.slo(id).await;
        if (slo["good"].clone(), slo["total"].clone()) == expected { Ok(slo) } else { Err(slo.to_string()) }
    })
    .await
}

impl Stage {
    async fn set() -> Self {
        let before = Requests { good: 19_900, bad: 100, slow: 100 };
        let born_later = Requests { good: 5_000, bad: 0, slow: 0 };
        let services = [("checkout", before), ("search", before), ("invoices", born_later)];
        let exporter = Exporter::start(&services).await;
        let alertmanager = Peer::alertmanager(0);
        let hooks = [Receiver::start().await, Receiver::start().await];
        let page = format!("--alertmanager={}", alertmanager.url);
        let webhooks = [&hooks[0], &hooks[1]].map(|hook| format!("--webhook={}", hook.url("/")));
        let daemons = [
            Daemon::start(SPEC, &[&webhooks[0], &page, "--external-label=cluster=test"]),
            Daemon::start(SPEC, &[&webhooks[1]]),
        ];
        let (services, _) = parse(&[Source::new("spec.yaml", SPEC)]);
        let rules = generate::render(&services, Format::Prometheus, generate::DEFAULT_ADDRESS);
        let prometheus = Peer::prometheus(&prometheus_config(&exporter, &daemons), &rules);
        Self { exporter, alertmanager, prometheus, daemons, hooks }
    }

    /// Waits until both daemons have a first sample of the service: what happens from then on is counted.
    async fn watched(&self, service: &str) {
        for daemon in &self.daemons {
            until(&format!("a first sample of {service}"), PATIENCE, async || {
                let slo = daemon.slo(&format!("{service}/availability")).await;
                if slo["lastSample"].is_null() { Err(slo.to_string()) } else { Ok(()) }
            })
            .await;
        }
    }

    /// Waits for this many scrapes since the step was set.
    async fn scraped(&self, service: &str, scrapes: usize) {
        until(&format!("{scrapes} scrapes of {service}"), Span::minutes(1), async || {
            let so_far = self.exporter.scrapes(service);
            if so_far >= scrapes { Ok(()) } else { Err(so_far.to_string()) }
        })
        .await;
    }

    /// The burn rates of both, on traffic whose share of errors has never changed.
    async fn compare_burn_rates(&self) -> usize {
        let mut compared = 0;
        for (service, slo) in [("checkout", "availability"), ("checkout", "fast"), ("search", "availability")] {
            for daemon in &self.daemons {
                let view = daemon.slo(&format!("{service}/{slo}")).await;
                for (window, ours) in view["burnRates"].as_object().unwrap() {
                    let own = format!("{{sloth_service=\"{service}\",sloth_slo=\"{slo}\"}}");
                    let ratio = format!("slo:sli_error:ratio_rate{window}{own}");
                    let query = format!("sum({ratio}) / sum(slo:error_budget:ratio{own})");
                    let theirs = self.prometheus.value(&query).await.unwrap_or_else(|| panic!("no {query}"));
                    let ours = ours.as_f64().unwrap_or_else(|| panic!("no burn rate over {window}: {view}"));
                    let agree = (ours - theirs).abs() <= 0.01 * theirs.abs();
                    assert!(agree, "{service}/{slo} over {window}: {ours} here, {theirs} in Prometheus");
                    compared += 1;
                }
            }
        }
        compared
    }

    /// Waits until exactly these alerts fire in both daemons and in Prometheus.
    async fn all_fire(&self, expected: &[(&str, &str, &str)]) {
        let own = |(service, slo, severity): &(&str, &str, &str)| {
            ((*service).to_owned(), (*slo).to_owned(), (*severity).to_owned())
        };
        let expected: BTreeSet<_> = expected.iter().map(own).collect();
        until(&format!("{expected:?} to fire everywhere"), PATIENCE, async || {
            let theirs = firing(&self.prometheus.api("api/v1/alerts", &[]).await);
            let ours = [&self.daemons[0], &self.daemons[1]].map(|daemon| daemon.api("/api/v1/alerts"));
            let [first, second] = ours;
            let (first, second) = (firing(&first.await), firing(&second.await));
            let all = [&first, &second, &theirs].iter().all(|set| **set == expected);
            if all { Ok(()) } else { Err(format!("{first:?}, {second:?}, Prometheus {theirs:?}")) }
        })
        .await;
    }
}

/// When the page of checkout changed to `state` in Prometheus' own rules: the first answer that shows it.
async fn in_prometheus(prometheus: &Peer, fires: bool) -> Timestamp {
    until("Prometheus' own page", PATIENCE, async || {
        let keys = firing(&prometheus.api("api/v1/alerts", &[]).await);
        let found = keys.iter().any(|(service, _, severity)| service == "checkout" && severity == "page");
        if found == fires { Ok(clock::now()) } else { Err(format!("{keys:?}")) }
    })
    .await
}

/// When Alertmanager first showed, or no longer showed, the page of checkout; and the page.
async fn in_alertmanager(alertmanager: &Peer, fires: bool) -> (Timestamp, Option<Value>) {
    until("the page in Alertmanager", PATIENCE, async || {
        let alerts = alertmanager.active_alerts().await?;
        let page = alerts.iter().find(|alert| alert["labels"]["sloth_severity"] == "page");
        if page.is_some() == fires { Ok((clock::now(), page.cloned())) } else { Err(json!(alerts).to_string()) }
    })
    .await
}

/// When a webhook was told of checkout's page. Nothing else but checkout may be told of.
async fn at_webhook(hook: &mut Receiver, event: &str) -> Timestamp {
    loop {
        let request = hook.next().await;
        let message = request.json();
        assert_eq!(message["data"]["slo"], "checkout/availability", "{message}");
        if message["type"] == event && message["data"]["labels"]["sloth_severity"] == "page" {
            return request.at;
        }
    }
}

/// What a person wants to know of a run.
#[expect(clippy::print_stdout, reason = "shown with --nocapture: the times are the result, and are not asserted")]
fn show(what: &str, since: Timestamp, times: &[(&str, Timestamp)]) {
    println!("{what}, after the first scrape that showed it:");
    for (who, at) in times {
        println!("  {:>5.1} s  {who}", at.since(since).as_secs_f64());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus and prometheus-alertmanager"]
async fn an_outage_pages_and_resolves_as_in_prometheus() {
    let mut stage = Stage::set().await;
    // Nothing happens before everybody watches: only what is counted from then on is known exactly.
    for (service, step) in [("checkout", STEADY), ("search", HEALTHY)] {
        stage.watched(service).await;
        stage.exporter.set(service, step);
    }
    // One daemon is stopped for five scrapes, which its sender keeps and sends late.
    stage.scraped("checkout", 5).await;
    stage.daemons[1].process.signal("STOP");
    stage.scraped("checkout", 10).await;
    stage.daemons[1].process.signal("CONT");
    stage.watched("invoices").await;
    stage.exporter.set("invoices", Requests { good: 1_000, bad: 7, slow: 0 });
    stage.scraped("checkout", 32).await;
    // Windows: 10s, 20s, 30s, 1m and 5m for each SLO of checkout, 10s, 30s and 5m for search; two daemons.
    assert_eq!(stage.compare_burn_rates().await, 2 * (5 + 5 + 3));
    stage.all_fire(&[]).await;

    stage.exporter.set("checkout", OUTAGE);
    let (prometheus, alertmanager) = (&stage.prometheus, &stage.alertmanager);
    let [first, second] = &mut stage.hooks;
    let (in_default, in_quick, (shown, page), theirs) = tokio::join!(
        at_webhook(first, "alert.firing"),
        at_webhook(second, "alert.firing"),
        in_alertmanager(alertmanager, true),
        in_prometheus(prometheus, true),
    );
    let since = stage.exporter.first_scrape("checkout").unwrap();
    show(
        "Page",
        since,
        &[
            (&format!("at sloburn's webhook, {}", QUEUES[1]), in_quick),
            (&format!("at sloburn's webhook, {}", QUEUES[0]), in_default),
            ("in Alertmanager, from the latter", shown),
            ("firing in Prometheus, rules evaluated every second", theirs),
        ],
    );
    let page = page.unwrap();
    let labels = json!({
        "alertname": "ErrorBudgetBurn", "cluster": "test", "team": "shop", "short": "10s", "long": "30s",
        "sloth_id": "checkout-availability", "sloth_service": "checkout", "sloth_slo": "availability",
        "sloth_severity": "page",
    });
    assert_eq!(page["labels"], labels);
    // A burn over the factor of 10 and under the outage's 50, once rounded.
    let summary = page["annotations"]["summary"].as_str().unwrap();
    let burn: f64 = summary.strip_prefix("checkout of shop burns at ").unwrap().parse().unwrap();
    assert!((10.0..50.0).contains(&burn), "{summary}");
    assert!(page["annotations"]["title"].as_str().unwrap().starts_with("(page) checkout availability SLO"), "{page}");

    stage.all_fire(&[("checkout", "availability", "page"), ("checkout", "availability", "ticket")]).await;
    for daemon in &stage.daemons {
        assert_eq!(daemon.slo("checkout/availability").await["state"], "burning");
        assert_eq!(rule_states(daemon, &stage.prometheus).await, ["firing", "firing", "inactive", "inactive"]);
    }

    stage.exporter.set("checkout", STEADY);
    let (prometheus, alertmanager) = (&stage.prometheus, &stage.alertmanager);
    let [first, second] = &mut stage.hooks;
    let (in_default, in_quick, (gone, _), theirs) = tokio::join!(
        at_webhook(first, "alert.resolved"),
        at_webhook(second, "alert.resolved"),
        in_alertmanager(alertmanager, false),
        in_prometheus(prometheus, false),
    );
    let since = stage.exporter.first_scrape("checkout").unwrap();
    show(
        "Resolved",
        since,
        &[
            (&format!("at sloburn's webhook, {}", QUEUES[1]), in_quick),
            (&format!("at sloburn's webhook, {}", QUEUES[0]), in_default),
            ("gone from Alertmanager", gone),
            ("no longer firing in Prometheus", theirs),
        ],
    );
    stage.all_fire(&[]).await;
    until("Alertmanager to be empty", PATIENCE, async || {
        let alerts = stage.alertmanager.active_alerts().await?;
        if alerts.is_empty() { Ok(()) } else { Err(json!(alerts).to_string()) }
    })
    .await;
    stage.check_counts().await;
    stage.check_senders().await;
    for hook in &mut stage.hooks {
        while let Ok(request) = hook.requests.try_recv() {
            assert_eq!(request.json()["data"]["slo"], "checkout/availability", "the others stay silent");
        }
    }
}

/// The states of checkout's rules, whose queries Prometheus must be able to run.
async fn rule_states(daemon: &Daemon, prometheus: &Peer) -> Vec<String> {
    let groups = daemon.api("/api/v1/rules").await["groups"].clone();
    let groups = groups.as_array().unwrap();
    let names: Vec<&Value> = groups.iter().map(|group| &group["name"]).collect();
    assert_eq!(names, ["checkout/availability", "checkout/fast", "search/availability", "invoices/availability"]);
    let mut states = Vec::new();
    for rule in groups
        .iter()
        .filter(|g| g["name"].as_str().unwrap().starts_with("checkout"))
        .flat_map(|g| g["rules"].as_array().unwrap())
    {
        let state = rule["state"].as_str().unwrap();
        let result = prometheus.api("api/v1/query", &[("query", rule["query"].as_str().unwrap())]).await;
        let theirs = !result["result"].as_array().unwrap().is_empty();
        assert_eq!(theirs, state == "firing", "{rule}: {result}");
        assert_eq!(rule["alerts"].as_array().unwrap().len(), usize::from(theirs), "{rule}");
        states.push(state.to_owned());
    }
    states
}

impl Stage {
    /// Lets everything come to rest and compares all counts with what was served.
    async fn check_counts(&self) {
        // At least three scrapes of 15 s, of which the first one that shows errors brings a series that was not there.
        self.scraped("invoices", 3).await;
        for service in ["checkout", "search", "invoices"] {
            self.exporter.set(service, IDLE);
        }
        for daemon in &self.daemons {
            for service in ["checkout", "search", "invoices"] {
                let watched = self.exporter.watched(service);
                let slo = counted(daemon, &format!("{service}/availability"), watched, watched.bad).await;
                assert_eq!(slo["state"], "warming", "{slo}");
                let allowed = watched.total() as f64 / 100.0;
                let remaining = slo["budgetRemaining"].as_f64().unwrap();
                assert!((remaining - (1.0 - watched.bad as f64 / allowed)).abs() < 1e-9, "{slo}");
            }
            let watched = self.exporter.watched("checkout");
            counted(daemon, "checkout/fast", watched, watched.slow).await;
            let listed = daemon.api("/api/v1/slos?state=warming").await["slos"].as_array().unwrap().len();
            assert_eq!(listed, 4);
        }
        assert!(self.exporter.watched("invoices").bad >= 21);
    }

    /// Nothing was refused, lost or sent twice, and nobody complained.
    async fn check_senders(&self) {
        for name in ["samples_failed", "samples_dropped", "samples_retried", "metadata_failed", "metadata_retried"] {
            let count = self.prometheus.own_metric(&format!("prometheus_remote_storage_{name}_total")).await;
            assert_eq!(count, 0.0, "{name}");
        }
        assert!(
            self.prometheus.own_metric("prometheus_remote_storage_metadata_total").await > 0.0,
            "metadata was sent"
        );
        assert_eq!(self.prometheus.value("up{job=\"sloburn\"}").await, Some(1.0), "/metrics is scraped");
        assert_eq!(self.prometheus.value("sloburn_slos{state=\"no-data\"}").await, Some(0.0));
        for daemon in &self.daemons {
            assert_eq!(daemon.metric("sloburn_ingest_rejected_samples_total", &[]).await, 0.0);
            assert_eq!(daemon.metric("sloburn_notify_failed_attempts_total", &[]).await, 0.0);
            let complaints = ["\"WARN\"", "\"ERROR\""];
            let log = daemon.process.log();
            let complained = log.iter().find(|line| complaints.iter().any(|level| line.contains(level)));
            assert_eq!(complained, None);
        }
    }
}

/// Alertmanager keeps alerts in memory and is told again; two replicas of sloburn are one to it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus-alertmanager"]
async fn an_alertmanager_that_comes_late_or_restarts_hears_of_everything_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let series = last_hour(100, 50);
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let config =
            format!("rule_files: [shop.yaml]\nresend_delay: 1s\nalertmanagers: [{{url: 'http://127.0.0.1:{port}'}}]\n");
        std::fs::write(folder.path().join("shop.yaml"), SHOP).unwrap();
        std::fs::write(folder.path().join("sloburn.yml"), config).unwrap();
        let path = folder.path().join("sloburn.yml");
        let daemon = Daemon::configured(folder, &path, &[]);
        assert_eq!(daemon.write(&series).await.status, 204);
        until("an attempt to fail", PATIENCE, async || {
            let failed = daemon.metric("sloburn_notify_failed_attempts_total", &[]).await;
            if failed > 0.0 { Ok(()) } else { Err(failed.to_string()) }
        })
        .await;
        replicas.push(daemon);
    }
    let tiers = BTreeSet::from(["1h", "6h", "1d", "3d"].map(str::to_owned));
    for start in ["late", "restarted"] {
        let alertmanager = Peer::alertmanager(port);
        until(&format!("each alert in the {start} Alertmanager, once"), PATIENCE, async || {
            let alerts = alertmanager.active_alerts().await?;
            let long: BTreeSet<String> =
                alerts.iter().map(|alert| alert["labels"]["long"].as_str().unwrap().to_owned()).collect();
            if long == tiers && alerts.len() == tiers.len() { Ok(()) } else { Err(json!(alerts).to_string()) }
        })
        .await;
        let alerts = alertmanager.active_alerts().await.unwrap();
        assert!(alerts.iter().all(|alert| key_of(&alert["labels"]).0 == "shop"), "{alerts:?}");
    }
}

#[tokio::test]
#[ignore = "needs promtool"]
async fn promtool_finds_nothing_wrong_with_our_metrics() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let daemon = Daemon::start(SHOP, &[&format!("--webhook=http://{closed}/")]);
    daemon.write(&last_hour(100, 50)).await;
    let metrics = daemon.send("GET", "/metrics", reqwest::header::HeaderMap::new(), Vec::new()).await.text;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{metrics}");
}
