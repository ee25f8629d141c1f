//! A release over HTTP: a real daemon, remote write, and whatever the pipeline says and asks.
//!
//! Requests decide, not time: the traffic is many times what was reported, scrapes are 2 s apart, and their times run ahead
//! of the clock (samples may be 10 minutes early), so nobody waits. Times of the week are left out of the spec here and
//! minimum holds are numbers of requests, for time is the clock's; `times.rs` keeps them.

use std::fmt::Write;
use std::fs;

use reqwest::header::HeaderMap;
use serde_json::Value;
use sloburn::clock;
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::TimeSeries;

use super::recorded::rules;
use super::traffic::{Behave, Exposure, Model, Traffic};
use crate::canaries::releases::say;
use crate::daemon::Daemon;

/// Between two scrapes.
pub const SCRAPE: Span = Span::seconds(2);
/// Scrapes of the stable version alone.
const BEFORE_ROUNDS: i64 = 4;
/// Further ahead of the clock the daemon takes no sample: 10 minutes, and something to spare.
const ROUNDS_LIMIT: usize = 280;

/// A daemon and the service it watches.
pub struct Live {
    pub daemon: Daemon,
    pub model: Model,
    traffic: Traffic,
    rounds: usize,
    /// When the synthetic check ran.
    pub probes: Vec<Timestamp>,
}

/// The spec of a service without what the clock decides: a step lasts for so many requests to the candidate, where it has a
/// minimum time.
fn timeless(service: &str, samples: u32) -> String {
    let text = fs::read_to_string(rules(service)).unwrap();
    let is_clocks =
        |line: &&str| line.trim_start().starts_with("notBetween:") || line.trim_start().starts_with("startBetween:");
    let mut spec = String::new();
    for line in text.lines().filter(|line| !is_clocks(line)) {
        match line.split_once("hold: ") {
            Some((before, _)) if line.trim_start().starts_with("- {") => {
                writeln!(spec, "{before}hold: 0s, minSamples: {samples}}}").unwrap();
            }
            _ => writeln!(spec, "{line}").unwrap(),
        }
    }
    spec
}

impl Live {
    /// The stable version has been there for a while. `boost` is how many times the reported traffic there is, `samples` how
    /// many requests to the candidate a step takes.
    pub async fn start(model: &Model, behave: Behave, boost: f64, samples: u32) -> Self {
        Self::start_with(model, behave, boost, samples, &[]).await
    }

    /// The same, with options of the daemon.
    pub async fn start_with(model: &Model, behave: Behave, boost: f64, samples: u32, options: &[&str]) -> Self {
        let model = Model { rps: model.rps * boost, scrape: SCRAPE, ..model.clone() };
        let daemon = Daemon::start(&timeless(model.service, samples), options);
        // Up to now: a release begins no earlier than the newest sample of the version before.
        let traffic = Traffic::new(&model, behave, 7, clock::now() - Span(BEFORE_ROUNDS * SCRAPE.as_millis()));
        let mut live = Self { daemon, model, traffic, rounds: 0, probes: Vec::new() };
        for _ in 0..BEFORE_ROUNDS {
            live.round().await;
        }
        live
    }

    /// One scrape of every process, sent.
    pub async fn round(&mut self) {
        self.rounds += 1;
        assert!(self.rounds <= ROUNDS_LIMIT, "not decided: {}", self.verdict(None).await);
        let scraped = self.traffic.round();
        let is_probe = |series: &&TimeSeries| series.labels.iter().any(|label| label.value == "probe_success");
        self.probes.extend(scraped.iter().filter(is_probe).map(|series| Timestamp(series.samples[0].timestamp)));
        let answer = self.daemon.write(&scraped).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }

    /// Scrapes for so long.
    pub async fn pass(&mut self, span: Span) {
        for _ in 0..(span.as_millis() / SCRAPE.as_millis()).max(1) {
            self.round().await;
        }
    }

    /// Whom the splitter sends to the candidate from now on; `None` is nobody.
    pub fn expose(&mut self, step: Option<usize>) {
        self.traffic.expose(step);
    }

    /// The step of this weight.
    pub fn step_of(&self, percent: f64) -> usize {
        let is_it = |step: &Exposure| matches!(step, Exposure::Weight(weight) if *weight == percent);
        self.model.steps.iter().position(is_it).unwrap_or_else(|| panic!("no step of {percent} %"))
    }

    /// What a pipeline is answered.
    pub async fn verdict(&self, step: Option<&str>) -> Value {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("service", self.model.service).append_pair("version", self.model.candidate);
        if let Some(step) = step {
            query.append_pair("step", step);
        }
        self.get(&format!("/api/v1/verdict?{}", query.finish())).await
    }

    /// The check that an answer depends on, as its reason says.
    pub fn check(answer: &Value) -> &str {
        answer["reason"].as_str().unwrap().split_once(": ").unwrap_or_default().0
    }

    /// JSON at a path of the daemon.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.daemon.send("GET", path, HeaderMap::new(), Vec::new()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text))
    }

    /// When the newest sample was scraped.
    pub fn now(&self) -> Timestamp {
        self.traffic.now()
    }

    /// Says something that must be taken.
    pub async fn tell(&self, path: &str, body: &Value) -> Value {
        let answer = say(&self.daemon, path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        serde_json::from_str(&answer.text).unwrap_or(Value::Null)
    }

    /// A month of the stable version, one scrape each ten minutes, in which so many of a thousand requests failed.
    pub async fn last_month(&self, bad_permille: f64) {
        let counter = self.model.counters[0];
        let (end, scrapes) = (clock::now().as_millis(), 30 * 24 * 6_i64);
        let series = |outcome: &str, permille: f64| {
            let at = |scrape: i64| (end - (scrapes - scrape + 1) * 600_000, scrape as f64 * permille * 10.0);
            let own = [("__name__", counter.metric), (counter.label, outcome), ("instance", "old-0:8080")];
            let labels =
                self.model.labels.iter().copied().chain(own).chain([(self.model.version_label, self.model.stable)]);
            TimeSeries::new(labels, &(0..=scrapes).map(at).collect::<Vec<_>>())
        };
        let all = [series(counter.good, 1_000.0 - bad_permille), series(counter.bad, bad_permille)];
        let answer = self.daemon.write(&all).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
}
