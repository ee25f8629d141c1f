//! Two days in which a pod is replaced every minute and a version every ten: what an engine keeps levels off, and what it
//! has counted is right.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sloburn::engine::{Engine, Event, Inline, Settings};
use sloburn::series::STALE_NAN_BITS;
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::{BucketSpan, Count, Histogram, ZeroCount, v2};
use sloburn::wire::{Batch, CUSTOM_SCHEMA, Limits, WireKey};

const SPEC: &str = "
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  versionLabel: version
  slis:
    - {name: errors, events: {bad: 'requests_total{code=~\"5..\"}', total: requests_total}}
    - {name: latency, latency: {histogram: request_seconds, threshold: 250ms}}
    - {name: prober, probe: probe_success}
    - {name: any, events: {bad: '{__name__=~\"failed_.*\"}', total: '{__name__=~\".*ed_.*\"}'}}
  slos:
    - {name: availability, sli: errors, objective: 99.9, period: PERIOD}
    - {name: zones, sli: errors, objective: 99, period: PERIOD, groupBy: [zone]}
    - {name: speed, sli: latency, objective: 95, period: PERIOD}
    - {name: up, sli: prober, objective: 90, period: PERIOD, exclude: [{while: maintenance, reason: test}]}
    - {name: any, sli: any, objective: 90, period: PERIOD}
  canary:
    every: 1m
    steps: [{weight: 50, hold: 5m}]
    checks: [{sli: errors, above: 1%}, {sli: errors, dropOver: 1pp}, {sli: latency, dropOver: 1pp}]
";
const START: Timestamp = Timestamp(1_790_000_000_123);
const INTERVAL: Span = Span::minutes(1);
/// Pods at a time; the oldest is replaced every minute.
const PODS: u32 = 12;
const VERSION_MINUTES: u32 = 10;
const CODES: [&str; 3] = ["200", "500", "503"];
const HOURS: usize = 48;
/// Series are forgotten after an hour, their places used again after another, twenty rollouts are remembered, and the
/// windows of an SLO fill up until its period has passed: by then all that comes has gone.
const LEVEL_HOURS: usize = 27;
/// Hours are compared by so many, as chance has them differ a little.
const COMPARED_HOURS: usize = 9;

fn services(period: &str) -> Vec<Service> {
    let (services, report) = parse(&[Source::new("spec.yaml", SPEC.replace("PERIOD", period))]);
    assert!(!report.has_errors(), "\n{}", report.render(false));
    services
}

fn settings() -> Settings {
    Settings { key: WireKey::new([3; 192]), limits: Limits::default(), series_limit: 100_000, ha: None }
}

/// Numbered on: nobody ever comes back.
struct Pod {
    number: u32,
    version: String,
    counts: [f64; CODES.len()],
    is_new: bool,
}

impl Pod {
    fn new(number: u32, version: String) -> Self {
        Self { number, version, counts: [20.0; CODES.len()], is_new: true }
    }

    /// Adds its samples to a request, or the ends of its series; every other pod has a native histogram.
    fn write(&self, at: Timestamp, ends: bool, request: &mut v2::Builder) {
        let instance = format!("shop-{:06}:8080", self.number);
        let zone = ["a", "b"][self.number as usize % 2];
        let own = [("instance", instance.as_str()), ("job", "shop"), ("version", &self.version), ("zone", zone)];
        let total: f64 = self.counts.iter().sum();
        let value = |value: f64| if ends { f64::from_bits(STALE_NAN_BITS) } else { value };
        let mut add = |name: &str, label: Option<(&str, &str)>, number: f64| {
            let series = request.series([("__name__", name)].into_iter().chain(label).chain(own));
            series.samples.push(v2::Sample { value: value(number), timestamp: at.as_millis(), start_timestamp: 0 });
        };
        for (code, count) in CODES.iter().zip(self.counts) {
            add("requests_total", Some(("code", code)), count);
        }
        add("request_seconds_bucket", Some(("le", "0.25")), total / 2.0);
        add("request_seconds_bucket", Some(("le", "+Inf")), total);
        add("request_seconds_count", None, total);
        add("probe_success", None, f64::from(u8::from(!self.number.is_multiple_of(3))));
        add("maintenance", None, f64::from(u8::from(self.number.is_multiple_of(5))));
        // Names come and go, too.
        add(&format!("failed_{}_total", self.number / 40), None, total / 4.0);
        add(&format!("served_{}_total", self.number / 40), None, total);
        if self.number.is_multiple_of(2) {
            let series = request.series([("__name__", "request_seconds")].into_iter().chain(own));
            series.histograms.push(Histogram {
                timestamp: at.as_millis(),
                count: Some(Count::Float(total)),
                sum: value(total),
                schema: CUSTOM_SCHEMA,
                zero_count: Some(ZeroCount::Float(0.0)),
                positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
                positive_counts: vec![total / 2.0, total / 2.0],
                custom_values: vec![0.25],
                ..Histogram::default()
            });
        }
    }
}

/// The pods and what they have counted.
struct Fleet {
    pods: Vec<Pod>,
    rng: SmallRng,
    /// Increases from one scrape to the next: good ones, bad ones.
    events: (f64, f64),
}

impl Fleet {
    fn new() -> Self {
        let pods = (0..PODS).map(|number| Pod::new(number, "v0".to_owned())).collect();
        Self { pods, rng: SmallRng::seed_from_u64(7), events: (0.0, 0.0) }
    }

    /// Replaces a pod, has all of them count, and scrapes them at `at`.
    fn scrape(&mut self, minute: u32, at: Timestamp) -> Batch {
        let mut request = v2::Builder::default();
        let gone = self.pods.remove(0);
        if !gone.number.is_multiple_of(4) {
            gone.write(at, true, &mut request);
        }
        self.pods.push(Pod::new(PODS + minute, format!("v{}", minute / VERSION_MINUTES)));
        for pod in &mut self.pods {
            for (count, code) in pod.counts.iter_mut().zip(CODES) {
                let more = f64::from(self.rng.random_range(0..if code == "200" { 50_u32 } else { 2 }));
                *count += more;
                // Nobody has seen a new pod's first ones happen.
                let more = if pod.is_new { 0.0 } else { more };
                if code == "200" { self.events.0 += more } else { self.events.1 += more }
            }
            pod.is_new = false;
            pod.write(at, false, &mut request);
        }
        let mut batch = Batch::new();
        batch.decode_v2(&v2::encode(&request.finish()), &Limits::default(), &settings().key).unwrap();
        batch
    }
}

/// An engine through so many hours, with SLOs of this period.
struct Churn {
    services: Vec<Service>,
    engine: Engine,
    fleet: Fleet,
    minute: u32,
}

impl Churn {
    fn new(period: &str, shards: usize) -> Self {
        let services = services(period);
        let mut engine = Engine::new(&services, settings(), START);
        engine.spread(shards, Box::new(Inline));
        Self { services, engine, fleet: Fleet::new(), minute: 0 }
    }

    fn pass_hour(&mut self) {
        for _ in 0..60 {
            let at = START + Span(INTERVAL.as_millis() * i64::from(self.minute));
            let batch = self.fleet.scrape(self.minute, at);
            let effects = self.engine.step(Event::Write(&batch), at + Span::millis(100));
            assert!(effects.written.rejected.is_empty(), "{:?}", effects.written);
            self.minute += 1;
        }
    }

    fn restart(&mut self) {
        let saved = self.engine.save();
        self.engine = Engine::restore(&self.services, &settings(), &saved).unwrap();
        assert!(self.engine.save() == saved, "minute {}", self.minute);
    }
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let mut churn = Churn::new("1d", 1);
    let mut sizes = Vec::new();
    for _ in 0..HOURS {
        churn.pass_hour();
        sizes.push(churn.engine.save().len());
        let series = churn.engine.snapshot(churn.engine.now()).stats.series;
        assert!(series < 11 * (PODS as usize + 62), "{series}: more than those of an hour");
    }
    let mean = |hours: &[usize]| hours.iter().sum::<usize>() / COMPARED_HOURS;
    let (level, end) = (mean(&sizes[LEVEL_HOURS..][..COMPARED_HOURS]), mean(&sizes[HOURS - COMPARED_HOURS..]));
    let pods = (HOURS - LEVEL_HOURS - COMPARED_HOURS) * 60;
    assert!(end < level + pods, "a byte for each pod: {sizes:?}");
}

#[test]
fn what_comes_and_goes_is_counted() {
    let mut states = Vec::new();
    for (shards, restarts) in [(1, false), (3, false), (1, true)] {
        let mut churn = Churn::new("30d", shards);
        for _ in 0..10 {
            churn.pass_hour();
            if restarts {
                churn.restart();
            }
        }
        let now = churn.engine.now() + Span::seconds(20);
        churn.engine.step(Event::Review, now);
        let snapshot = churn.engine.snapshot(now);
        let events = snapshot.slos[0].budget.events;
        assert_eq!((events.good(), events.bad), churn.fleet.events);
        states.push(churn.engine.save());
    }
    assert!(states[1] == states[0], "shards change nothing");
    assert!(states[2] == states[0], "restarts change nothing");
}
