//! A metrics endpoint in Prometheus' protobuf format, with created timestamps and native histograms, whose every event is
//! known: each scrape moves a service on by the step set for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prost::Message;
use sloburn::clock;
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::BucketSpan;
use tokio::net::TcpListener;

/// What happens between two scrapes, or has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub good: u64,
    pub bad: u64,
    /// Of all of them, those that took 700 ms; the others took 100 ms.
    pub slow: u64,
}

pub const IDLE: Step = Step { good: 0, bad: 0, slow: 0 };

impl Step {
    fn add(&mut self, step: Self) {
        self.good += step.good;
        self.bad += step.bad;
        self.slow += step.slow;
    }
}

struct Service {
    counters: Step,
    step: Step,
    /// Events since the first scrape.
    watched: Step,
    /// The process before the next scrape is a new one, which has done this.
    restart: Option<Step>,
    created: Timestamp,
    errors_created: Timestamp,
    scraped_at: Option<Timestamp>,
    scrapes: usize,
}

type Services = Arc<Mutex<BTreeMap<String, Service>>>;

/// Serves `/<service>`.
pub struct Exporter {
    pub address: SocketAddr,
    services: Services,
}

impl Exporter {
    /// Each service has done something before it is watched, all of it well.
    pub async fn start(names: &[&str]) -> Self {
        let created = clock::now() - Span::minutes(1);
        let service = || Service {
            counters: Step { good: 5_000, bad: 0, slow: 10 },
            step: IDLE,
            watched: IDLE,
            restart: None,
            created,
            errors_created: created,
            scraped_at: None,
            scrapes: 0,
        };
        let services = names.iter().map(|name| ((*name).to_owned(), service())).collect();
        let services: Services = Arc::new(Mutex::new(services));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/{service}", get(scrape)).with_state(Arc::clone(&services));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, services }
    }

    fn with<T>(&self, service: &str, act: impl FnOnce(&mut Service) -> T) -> T {
        act(self.services.lock().unwrap().get_mut(service).unwrap())
    }

    /// From the next scrape on.
    pub fn set(&self, service: &str, step: Step, restart: Option<Step>) {
        self.with(service, |service| {
            (service.step, service.restart, service.scrapes) = (step, restart, 0);
        });
    }

    /// Scrapes since the step was set.
    pub fn scrapes(&self, service: &str) -> usize {
        self.with(service, |service| service.scrapes)
    }

    /// What all scrapes after the first have shown to happen.
    pub fn watched(&self, service: &str) -> Step {
        self.with(service, |service| service.watched)
    }
}

impl Service {
    fn scrape(&mut self) -> Vec<u8> {
        if let Some(previous) = self.scraped_at {
            // Between two scrapes: surely after the time of the one before.
            let between = previous + Span::millis(100);
            if let Some(done) = self.restart.take() {
                (self.counters, self.created, self.errors_created) = (done, between, between);
                self.watched.add(done);
            }
            if self.counters.bad == 0 {
                self.errors_created = between;
            }
            self.counters.add(self.step);
            self.watched.add(self.step);
        }
        self.scraped_at = Some(clock::now());
        self.scrapes += 1;
        self.families().iter().flat_map(Message::encode_length_delimited_to_vec).collect()
    }

    fn families(&self) -> [MetricFamily; 2] {
        let counter = |code: &str, value: u64, created| Metric {
            label: vec![LabelPair { name: "code".to_owned(), value: code.to_owned() }],
            counter: Some(Counter { value: value as f64, created: Some(created) }),
            histogram: None,
        };
        let Step { good, bad, slow } = self.counters;
        let mut counters = vec![counter("200", good, self.created.into())];
        if bad > 0 {
            counters.push(counter("500", bad, self.errors_created.into()));
        }
        let quick = good + bad - slow;
        let cumulative = [(0.1, quick), (0.25, quick), (1.0, good + bad)];
        // 100 ms are in bucket -26 of schema 3, which ends at 2^(-26/8), 700 ms in bucket -4.
        let native = Histogram {
            sample_count: good + bad,
            sample_sum: quick as f64 * 0.1 + slow as f64 * 0.7,
            bucket: cumulative.map(|(upper_bound, count)| Bucket { cumulative_count: count, upper_bound }).to_vec(),
            schema: 3,
            zero_threshold: f64::powi(2.0, -128),
            positive_span: vec![BucketSpan { offset: -26, length: 1 }, BucketSpan { offset: 21, length: 1 }],
            positive_delta: vec![quick as i64, slow as i64 - quick as i64],
            created: Some(self.created.into()),
        };
        let histogram = Metric { label: Vec::new(), counter: None, histogram: Some(native) };
        [
            MetricFamily { name: "http_requests_total".to_owned(), kind: 0, metric: counters },
            MetricFamily { name: "http_request_duration_seconds".to_owned(), kind: 4, metric: vec![histogram] },
        ]
    }
}

async fn scrape(State(services): State<Services>, Path(name): Path<String>) -> impl IntoResponse {
    let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    ([(CONTENT_TYPE, kind)], services.lock().unwrap().get_mut(&name).unwrap().scrape())
}

/// `io.prometheus.client.MetricFamily`, as much of it as is used here, and what it is made of.
#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Counter {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    created: Option<Moment>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created: Option<Moment>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

/// `google.protobuf.Timestamp`
#[derive(Clone, PartialEq, Message)]
struct Moment {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        let millis = time.as_millis();
        Self { seconds: millis.div_euclid(1_000), nanos: (millis.rem_euclid(1_000) * 1_000_000) as i32 }
    }
}
