//! A fleet of services as Prometheus sends it: what the benches and examples measure with.
//!
//! Every service runs as some instances, and each instance exposes the same counter with some children. A request
//! has 2,000 series with one sample each and the labels of a pod in Kubernetes, some 267 bytes a series. A tenth of
//! the series has changed since the scrape before. Nothing is random: two runs send the same bytes.
#![allow(dead_code, reason = "each bench and example includes this module and uses its part")]

mod floor;
mod resident;

use std::path::PathBuf;
use std::sync::Arc;

use prost::encoding::message;
use sloburn::spec::{
    Accounting, Alerting, Events, Numerator, Origin, Policy, Service, SeverityOptions, Sli, SliKind, Slo,
};
use sloburn::types::{Labels, METRIC_NAME, Matcher, Selector, Span, Timestamp};
use sloburn::wire::proto::{TimeSeries, WriteRequest, v2};
use sloburn::wire::{WIRE_KEY_SIZE_BYTES, WireKey};

#[allow(unused_imports, reason = "as above")]
pub use floor::Floor;
#[allow(unused_imports, reason = "as above")]
pub use resident::{resident_bytes, run_again};

/// Series in one request: Prometheus' `max_samples_per_send`.
pub const REQUEST_SERIES: usize = 2_000;
/// The time of the first scrape.
pub const START: Timestamp = Timestamp(1_793_545_200_000);
/// From one scrape of a target to the next.
pub const INTERVAL: Span = Span::seconds(15);
/// The counter that every instance exposes.
pub const METRIC: &str = "http_requests_total";

/// Queues over which Prometheus spreads the series: the scrape of one target arrives in as many requests.
const SHARDS: usize = 4;
/// A newborn child shows itself in one of this many scrapes.
const BIRTH_SCRAPES: usize = 64;

const CODES: [&str; 5] = ["200", "201", "404", "500", "503"];
const METHODS: [&str; 2] = ["GET", "POST"];

/// The same key in every run.
pub fn wire_key() -> WireKey {
    WireKey::new(std::array::from_fn::<u8, WIRE_KEY_SIZE_BYTES, _>(|i| (i * 167 + 13) as u8))
}

/// One request of a scrape.
pub struct Request {
    /// Protobuf in a snappy block.
    pub body: Vec<u8>,
    /// How many it holds.
    pub samples: usize,
    /// When it arrives.
    pub arrival: Timestamp,
}

/// How many of what.
#[derive(Clone, Copy)]
pub struct Size {
    pub services: usize,
    /// Scrape targets of each service.
    pub instances: usize,
    /// Series of each target; a multiple of ten.
    pub children: usize,
}

/// The senders' side: every series with its latest value.
pub struct Fleet {
    size: Size,
    series: Vec<TimeSeries>,
    /// How often each series was sent.
    scrapes: Vec<usize>,
    message: Vec<u8>,
}

impl Size {
    pub const fn series(self) -> usize {
        self.services * self.instances * self.children
    }

    const fn targets(self) -> usize {
        self.services * self.instances
    }

    /// A series of the pods of this deployment.
    fn new_series(self, deployment: usize, index: usize) -> TimeSeries {
        let (target, child) = (index / self.children, index % self.children);
        let (service, instance) = (target / self.instances, target % self.instances);
        let value = if is_error(child) { 0.0 } else { (index * 104_729 % 1_000_003) as f64 };
        let name = service_name(service);
        let (network, host) = (10 + deployment, 17 + target % 16 * 13);
        let address = format!("{network}.{}.{}.{host}:8080", 4 + target / 4_096, target / 16 % 256);
        let handler = format!("/api/v1/{:02}-order", child / (CODES.len() * METHODS.len()));
        let template = 0x6d9f_8c7b_u32.wrapping_mul(service as u32 | 1).wrapping_add(deployment as u32);
        let pod = format!("{name}-{template:08x}-{instance:05x}");
        let labels = [
            ("__name__", METRIC),
            ("cluster", "eu-west-1"),
            ("code", CODES[child % CODES.len()]),
            ("container", "checkout"),
            ("handler", &handler),
            ("instance", &address),
            ("job", &name),
            ("method", METHODS[child / CODES.len() % METHODS.len()]),
            ("namespace", "shop"),
            ("pod", &pod),
            ("service", "checkout"),
        ];
        TimeSeries::new(labels, &[(0, value)])
    }
}

/// Whether a child counts errors: it is often still at zero.
const fn is_error(child: usize) -> bool {
    child % CODES.len() >= 3
}

/// The value of the label `job`, and the name of the spec.
pub fn service_name(service: usize) -> String {
    format!("shop-{service:06}")
}

impl Fleet {
    pub fn new(size: Size) -> Self {
        Self::deployed(size, 0)
    }

    /// The same services after so many deployments: all pods are others, and so is every series.
    pub fn deployed(size: Size, deployments: usize) -> Self {
        let series: Vec<TimeSeries> = (0..size.series()).map(|i| size.new_series(deployments, i)).collect();
        Self { size, scrapes: vec![0; series.len()], series, message: Vec::new() }
    }

    /// Bytes of one series with its sample before compression, on average.
    pub fn series_bytes(&self) -> usize {
        let bytes: usize = self.series.iter().map(|series| message::encoded_len(1, series)).sum();
        bytes / self.series.len()
    }

    /// One scrape of every target, spread over the interval from `start` as Prometheus does, in requests in the
    /// order of their arrival. `number` counts scrapes from zero; the last children are born over the first of them.
    pub fn scrape(&mut self, number: usize, start: Timestamp) -> Vec<Request> {
        let born = |i: &usize| {
            let (target, child) = (i / self.size.children, i % self.size.children);
            child + 2 < self.size.children || target % BIRTH_SCRAPES <= number
        };
        let shards = (0..SHARDS).map(|shard| (shard..self.series.len()).step_by(SHARDS).filter(born).collect());
        let shards: Vec<Vec<usize>> = shards.collect();
        let longest = shards.iter().map(Vec::len).max().unwrap_or_default();
        let mut requests: Vec<Request> = Vec::new();
        let mut arrival = start;
        for first in (0..longest).step_by(REQUEST_SERIES) {
            for shard in &shards {
                let chunk = &shard[first.min(shard.len())..shard.len().min(first + REQUEST_SERIES)];
                let Some(last) = chunk.last() else { continue };
                arrival = arrival.max(self.scraped_at(*last, start) + Span::millis(200));
                let body = self.request(chunk.iter().copied(), |fleet, i| fleet.scraped_at(i, start));
                requests.push(Request { body, samples: chunk.len(), arrival });
            }
        }
        requests
    }

    fn scraped_at(&self, index: usize, start: Timestamp) -> Timestamp {
        let target = index / self.size.children;
        start + Span(INTERVAL.as_millis() * target as i64 / self.size.targets() as i64)
    }

    /// A request with the series of these indices, moved on and sampled at these times.
    pub fn request(&mut self, indices: impl Iterator<Item = usize>, at: impl Fn(&Self, usize) -> Timestamp) -> Vec<u8> {
        self.message.clear();
        for i in indices {
            let timestamp = at(self, i).as_millis();
            // Of six that do not count errors, which are six of ten, one moves.
            let moves = (i / CODES.len() + self.scrapes[i]).is_multiple_of(6) && !is_error(i % self.size.children);
            self.scrapes[i] += 1;
            let sample = &mut self.series[i].samples[0];
            sample.timestamp = timestamp;
            sample.value += if moves { 10.0 } else { 0.0 };
            message::encode(1, &self.series[i], &mut self.message);
        }
        snap::raw::Encoder::new().compress_vec(&self.message).expect("a request is far below 4 GiB")
    }

    /// Adds events to a service, errors or good ones; the next request carries them.
    pub fn add_events(&mut self, service: usize, events: f64, errors: bool) {
        let child = if errors { 3 } else { 0 };
        self.series[service * self.size.instances * self.size.children + child].samples[0].value += events;
    }
}

/// As a file: one document for each of so many services, with the SLO of [`services`] on [`METRIC`].
pub fn specs_text(count: usize) -> String {
    let document = |n: usize| {
        let job = service_name(n);
        format!(
            "---\napiVersion: sloburn/v1\nkind: Service\nmetadata: {{name: {job}}}\nspec:\n  slis:\n    - name: errors\n      \
             events:\n        bad: '{METRIC}{{job=\"{job}\",code=~\"5..\"}}'\n        total: '{METRIC}{{job=\"{job}\"}}'\n  \
             slos:\n    - {{name: availability, sli: errors, objective: 99.9}}\n"
        )
    };
    (0..count).map(document).collect()
}

/// The same request in remote write 2.0.
pub fn in_v2(request: &WriteRequest, start_timestamp: i64) -> Vec<u8> {
    let mut builder = v2::Builder::default();
    for series in &request.timeseries {
        let labels = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        let samples = series.samples.iter();
        builder.series(labels).samples =
            samples.map(|s| v2::Sample { value: s.value, timestamp: s.timestamp, start_timestamp }).collect();
    }
    v2::encode(&builder.finish())
}

/// `count` services with one SLO each, 99.9 % over 30 d with the workbook's windows; service `n` watches `metric` of
/// the job of that number.
pub fn services(count: usize, metric: &str) -> Vec<Service> {
    (0..count).map(|n| service(n, metric)).collect()
}

fn service(number: usize, metric: &str) -> Service {
    let origin = Origin { file: Arc::new(PathBuf::from("fleet.yaml")), line: 1 };
    let name = service_name(number);
    let total = Selector::new(vec![Matcher::equal(METRIC_NAME, metric), Matcher::equal("job", &name)]);
    let bad = total.and(Matcher::regex("code", "5..").expect("a valid expression"));
    let kind = SliKind::Events(Events { numerator: Numerator::Bad(bad.into()), total: total.into() });
    let period = Span::days(30);
    let severity =
        |word: &str| SeverityOptions { labels: Labels::new().with("severity", word), ..SeverityOptions::default() };
    let slo = Slo {
        name: "availability".to_owned(),
        description: "Requests are answered without a server error.".to_owned(),
        sli: 0,
        objective: "99.9".parse().expect("a valid objective"),
        period: period.into(),
        accounting: Accounting::default(),
        labels: Labels::new(),
        alerting: Alerting {
            name: "ErrorBudgetBurn".to_owned(),
            policy: Policy::for_period(period),
            labels: Labels::new(),
            annotations: vec![("runbook_url".to_owned(), format!("https://runbooks.example/{name}"))],
            page: severity("page"),
            ticket: severity("ticket"),
            for_: Span::ZERO,
            keep_firing_for: Span::ZERO,
            min_events: None,
            budget_remaining: Vec::new(),
        },
        origin: origin.clone(),
    };
    Service {
        name,
        labels: Labels::new().with("team", "shop"),
        version_label: None,
        slis: Arc::new([Sli { name: "errors".to_owned(), kind, origin: origin.clone() }]),
        slos: Arc::new([slo]),
        budget_policy: None,
        canary: None,
        origin,
    }
}
