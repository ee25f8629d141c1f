//! How long a page takes: from sending the request that holds the crossing sample to its webhook's receipt, over
//! real HTTP on loopback, with 1,000 SLOs and other traffic going on.
//!
//! ```sh
//! cargo run --release --example page_latency
//! ```
//!
//! Each of 200 runs makes another SLO cross its 5m/1h tier with one request, on top of two hours of history, while a
//! second sender writes samples of all other SLOs without pause. The aim is p99 under 100 ms.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::print_stdout, reason = "a measurement prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use hdrhistogram::Histogram;
use serde_json::Value;
use sloburn::app::{Daemon, HttpSettings, Settings, default_external_url};
use sloburn::clock;
use sloburn::notify::{self, WebhookTarget};
use sloburn::spec::{self, Service, Source};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1};
use sloburn::wire::{Limits, WireKey};
use tokio::sync::mpsc;
use url::Url;

const SLOS: usize = 1_000;
const RUNS: usize = 200;
const AIM: Duration = Duration::from_millis(100);
/// Requests a service has served, errors aside, each minute of its history.
const PER_MINUTE: f64 = 600.0;
const HISTORY_MINUTES: i64 = 120;

fn services() -> Vec<Service> {
    let spec = |n: usize| {
        let text = format!(
            "apiVersion: sloburn/v1\nkind: Service\nmetadata: {{name: s{n}}}\nspec:\n  slis:\n    - name: errors\n      \
             events:\n        bad: requests_total{{job=\"s{n}\",code=\"500\"}}\n        total: requests_total{{job=\"s{n}\"}}\n  \
             slos:\n    - {{name: availability, sli: errors, objective: 99.9}}\n"
        );
        Source::new(format!("s{n}.yaml"), text)
    };
    let (services, report) = spec::parse(&(0..SLOS).map(spec).collect::<Vec<_>>());
    assert!(!report.has_errors(), "{}", report.render(false));
    services
}

/// The two counters of a service: good and bad requests.
fn series(n: usize, samples: &[(i64, f64, f64)]) -> [TimeSeries; 2] {
    let job = format!("s{n}");
    let one = |code: &str, of: fn(&(i64, f64, f64)) -> (i64, f64)| {
        let labels = [("__name__", "requests_total"), ("code", code), ("instance", "i"), ("job", &job)];
        let samples: Vec<(i64, f64)> = samples.iter().map(of).collect();
        TimeSeries::new(labels, &samples)
    };
    [one("200", |s| (s.0, s.1)), one("500", |s| (s.0, s.2))]
}

fn good_at(start: Timestamp, at: Timestamp) -> f64 {
    (at.since(start).as_secs_f64() * PER_MINUTE / 60.0).floor()
}

async fn send(client: &reqwest::Client, url: &str, timeseries: Vec<TimeSeries>) {
    let body = encode_v1(&WriteRequest { timeseries });
    let request =
        client.post(url).header("Content-Type", "application/x-protobuf").header("Content-Encoding", "snappy");
    let answer = request.body(body).send().await.expect("the daemon answers");
    assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap_or_default());
}

/// A webhook that notes when it hears of each service.
async fn sink() -> (Url, mpsc::UnboundedReceiver<(String, Instant)>) {
    let (heard, arrivals) = mpsc::unbounded_channel();
    let handler = move |body: axum::body::Bytes| {
        let (at, heard) = (Instant::now(), heard.clone());
        async move {
            let message: Value = serde_json::from_slice(&body).expect("a message is JSON");
            let slo = message["data"]["slo"].as_str().unwrap_or_default().to_owned();
            let _ = heard.send((slo, at));
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(handler))).await });
    (url.parse().expect("an address makes a URL"), arrivals)
}

async fn start(webhook: Url) -> (String, Arc<tokio::sync::Notify>) {
    let settings = Settings {
        listen_address: "127.0.0.1:0".to_owned(),
        http: HttpSettings::default(),
        enable_lifecycle: false,
        key: WireKey::new([42; 192]),
        limits: Limits::default(),
        series_limit: 100_000,
        in_flight_limit_bytes: 512 << 20,
        notify: notify::Settings::new(default_external_url("127.0.0.1:9797")),
        alertmanagers: Vec::new(),
        webhooks: vec![WebhookTarget {
            name: "sink".to_owned(),
            url: webhook,
            secrets: Vec::new(),
            timeout: Span::seconds(10),
            send_resolved: false,
        }],
    };
    let daemon = Daemon::start(&services(), settings).await.expect("the daemon starts");
    let url = format!("http://{}/api/v1/write", daemon.address());
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = Arc::clone(&stop);
    tokio::spawn(daemon.run(async move { stopped.notified().await }));
    (url, stop)
}

#[tokio::main]
async fn main() {
    let (webhook, mut arrivals) = sink().await;
    let (url, stop) = start(webhook).await;
    let client = reqwest::Client::new();
    let end = clock::now();
    let begin = end - Span::minutes(HISTORY_MINUTES);
    for minute in 0..HISTORY_MINUTES {
        let at = begin + Span::minutes(minute);
        let all = (0..SLOS).flat_map(|n| series(n, &[(at.as_millis(), good_at(begin, at), 0.0)]));
        send(&client, &url, all.collect()).await;
    }
    println!("{SLOS} SLOs, {HISTORY_MINUTES} min of history sent; {RUNS} runs");

    // Everybody but the services that are to cross goes on as before.
    let (running, background) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let noise = tokio::spawn({
        let (running, background, client, url) = (running.clone(), background.clone(), client.clone(), url.clone());
        async move {
            while running.load(Ordering::Relaxed) {
                let now = clock::now();
                let all = (RUNS..SLOS).flat_map(|n| series(n, &[(now.as_millis(), good_at(begin, now), 0.0)]));
                send(&client, &url, all.collect()).await;
                background.fetch_add(2 * (SLOS - RUNS) as u64, Ordering::Relaxed);
            }
        }
    });
    let mut latencies = Histogram::<u64>::new(3).expect("three digits are fine");
    let started = Instant::now();
    for run in 0..RUNS {
        let now = clock::now();
        let crossing = series(run, &[(now.as_millis(), good_at(begin, now), 50_000.0)]);
        let sent = Instant::now();
        send(&client, &url, crossing.to_vec()).await;
        let wanted = format!("s{run}/availability");
        let heard = loop {
            let wait = tokio::time::timeout(Duration::from_secs(10), arrivals.recv());
            let (slo, at) = wait.await.expect("a page within 10 s").expect("the sink runs");
            if slo == wanted {
                break at;
            }
        };
        latencies.saturating_record(heard.duration_since(sent).as_micros() as u64);
    }
    let elapsed = started.elapsed().as_secs_f64();
    running.store(false, Ordering::Relaxed);
    let _ = noise.await;
    stop.notify_one();

    let millis = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    println!("background     {:>8.0} samples/s", background.load(Ordering::Relaxed) as f64 / elapsed);
    println!("p50            {:>8.2} ms", millis(0.50));
    println!("p99            {:>8.2} ms", millis(0.99));
    println!("max            {:>8.2} ms", latencies.max() as f64 / 1000.0);
    let reached = Duration::from_micros(latencies.value_at_quantile(0.99)) < AIM;
    println!("aim            p99 under {} ms: {}", AIM.as_millis(), if reached { "reached" } else { "missed" });
    if !reached {
        std::process::exit(1);
    }
}
