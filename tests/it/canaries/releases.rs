//! A service whose releases are judged, and its traffic: two versions, scraped together.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sloburn::clock;
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::TimeSeries;

use crate::daemon::{Answer, Daemon};
use crate::process::{PATIENCE, until};

/// A service `pay` with three steps without a minimum, one check, and a budget of a fifth of a day's requests.
pub const PAY: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: pay}
spec:
  versionLabel: version
  slis:
    - name: errors
      events:
        bad: pay_requests_total{code="500"}
        total: pay_requests_total
  slos:
    - {name: availability, sli: errors, objective: 80, period: 1d}
  budgetPolicy: {freezeBelow: 10}
  canary:
    minSamples: 1
    steps:
      - {name: staff, hold: 0s}
      - {weight: 5, hold: 0s}
      - {weight: 50, hold: 0s}
    checks:
      - {sli: errors, above: 20%}
"#;

/// Between two scrapes. Samples may lie ahead of the clock by some minutes: nobody waits for them here.
const INTERVAL: Span = Span::seconds(5);
/// Requests of a version from one scrape to the next.
const REQUESTS: f64 = 2_000.0;

/// Scrapes of `pay`.
pub struct Traffic {
    at: Timestamp,
    /// Good and bad requests of the stable version and of the candidate.
    counts: [[f64; 2]; 2],
}

impl Traffic {
    /// The first scrape of the stable version, and of the candidate.
    pub async fn begin(daemon: &Daemon) -> Self {
        let traffic = Self { at: clock::now(), counts: [[100.0, 10.0]; 2] };
        traffic.send(daemon).await;
        traffic
    }

    async fn send(&self, daemon: &Daemon) {
        let millis = self.at.as_millis();
        let series = |version: &'static str, counts: [f64; 2]| {
            ["200", "500"].into_iter().zip(counts).map(move |(code, count)| {
                let labels = [
                    ("__name__", "pay_requests_total"),
                    ("code", code),
                    ("instance", version),
                    ("job", "pay"),
                    ("version", version),
                ];
                TimeSeries::new(labels, &[(millis, count)])
            })
        };
        let all: Vec<TimeSeries> =
            ["v1", "v2"].into_iter().zip(self.counts).flat_map(|(version, counts)| series(version, counts)).collect();
        let answer = daemon.write(&all).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }

    /// Further scrapes, with so many bad ones among a thousand requests of the candidate.
    pub async fn go_on(&mut self, daemon: &Daemon, scrapes: usize, bad_permille: f64) {
        for _ in 0..scrapes {
            self.at = self.at + INTERVAL;
            let bad = REQUESTS * bad_permille / 1_000.0;
            self.counts[0][0] += REQUESTS;
            self.counts[1][0] += REQUESTS - bad;
            self.counts[1][1] += bad;
            self.send(daemon).await;
        }
    }
}

/// The last day of the stable version, with little traffic: so many bad ones among a thousand requests.
pub async fn last_day(daemon: &Daemon, bad_permille: f64) {
    let (end, scrapes) = (clock::now().as_millis(), 1_440_i64);
    let series = |code: &'static str, permille: f64| {
        let at = |scrape: i64| (end - (scrapes - scrape) * 60_000, scrape as f64 * REQUESTS * permille / 10_000.0);
        let labels =
            [("__name__", "pay_requests_total"), ("code", code), ("instance", "v1"), ("job", "pay"), ("version", "v1")];
        TimeSeries::new(labels, &(0..=scrapes).map(at).collect::<Vec<_>>())
    };
    let answer = daemon.write(&[series("200", 1_000.0 - bad_permille), series("500", bad_permille)]).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
}

pub fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// Says something about a rollout.
pub async fn say(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    daemon.send("POST", path, json_headers(), body.to_string().into_bytes()).await
}

/// Has `v2` judged against `v1`.
pub async fn start(daemon: &Daemon) {
    let body = json!({"service": "pay", "version": "v2", "baseline": "v1", "actor": "ci"});
    let answer = say(daemon, "/api/v1/canaries", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// What a pipeline is answered about `v2`.
pub async fn verdict(daemon: &Daemon) -> Value {
    let answer = daemon.send("GET", "/api/v1/verdict?service=pay&version=v2", HeaderMap::new(), Vec::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

/// The answer about `v2` once it is this one.
pub async fn decided(daemon: &Daemon, wanted: &str) -> Value {
    until(wanted, PATIENCE, async || {
        let verdict = verdict(daemon).await;
        if verdict["verdict"] == wanted { Ok(verdict) } else { Err(verdict.to_string()) }
    })
    .await
}

/// The rollout in progress.
pub async fn rollout(daemon: &Daemon) -> Value {
    daemon.api("/api/v1/canaries/pay").await["canary"]["rollout"].clone()
}
