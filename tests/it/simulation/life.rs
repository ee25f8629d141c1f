//! What happens in one simulated life: processes that are scraped, and what their senders and the clock do to it.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sloburn::engine::Settings;
use sloburn::series::STALE_NAN_BITS;
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::{BucketSpan, Count, Histogram, ZeroCount, v2};
use sloburn::wire::{Batch, CUSTOM_SCHEMA, Limits, WireKey};

pub const START: Timestamp = Timestamp(1_790_000_000_123);
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
  slos:
    - {name: availability, sli: errors, objective: 99.9, period: 30d, alerting: {for: 20s, keepFiringFor: 40s}}
    - {name: strict, sli: errors, objective: 99.99, period: 7d, alerting: {budgetRemaining: [50]}}
    - {name: hosts, sli: errors, objective: 99, period: 1d, groupBy: [instance]}
    - {name: speed, sli: latency, objective: 95, period: 1d}
    - {name: up, sli: prober, objective: 90, period: 1d, exclude: [{while: maintenance, reason: test}]}
  canary:
    every: 15s
    steps: [{weight: 50, hold: 2m}]
    checks: [{sli: errors, above: 1%}, {sli: errors, dropOver: 1pp}]
";
/// The bound of the latency's threshold.
const BOUND: f64 = 0.25;

/// The specs, or the same after an edit of an objective, a period, a label and a selector.
pub fn services(is_edited: bool) -> Vec<Service> {
    let edits = [("99.99, period: 7d", "99.9, period: 14d"), ("95,", "95, labels: {team: a},"), ("5..", "50.")];
    let edited = |text: String, (from, to)| text.replace(from, to);
    let text = if is_edited { edits.into_iter().fold(SPEC.to_owned(), edited) } else { SPEC.to_owned() };
    let (services, report) = parse(&[Source::new("spec.yaml", text)]);
    assert!(!report.has_errors(), "\n{}", report.render(false));
    services
}

pub fn settings() -> Settings {
    Settings { key: WireKey::new([3; 192]), limits: Limits::default(), series_limit: 1_000, ha: None }
}

/// One thing that happens to every engine.
#[expect(clippy::large_enum_variant, reason = "nearly all are writes")]
pub enum Happening {
    Write(Batch),
    /// The clock went back; every engine has to be told.
    ClockBack,
    Reload,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    /// 0 or 1.
    Gauge,
    /// The native form of the latency; it counts what its `value` does, half of it within the bound.
    Native,
}

/// One series of a simulated process.
struct Metric {
    kind: Kind,
    labels: Vec<(&'static str, String)>,
    value: f64,
    /// What it counts in: sums of tenths depend on their order.
    unit: f64,
    /// Since when it counts, if its sender says so.
    start: Option<Timestamp>,
    is_exposed: bool,
}

/// One value of a series at one time, or the end of the series.
#[derive(Clone)]
struct Scraped {
    metric: usize,
    at: Timestamp,
    value: f64,
    start: Option<Timestamp>,
}

fn metrics(rng: &mut SmallRng) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let (has_starts, has_native) = (rng.random_bool(0.5), rng.random_bool(0.5));
    for instance in 0..rng.random_range(1..4) {
        let mut add = |kind, name: &str, extra: &[(&'static str, &str)]| {
            let mut labels = vec![("__name__", name.to_owned()), ("job", "shop".to_owned())];
            labels.push(("instance", format!("host-{instance}")));
            labels.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
            let start = (has_starts && kind != Kind::Gauge).then_some(START);
            let unit = if kind == Kind::Counter && rng.random_bool(0.5) { 0.1 } else { 1.0 };
            let is_exposed = rng.random_bool(if kind == Kind::Counter { 0.7 } else { 0.3 });
            metrics.push(Metric { kind, labels, value: 7.0, unit, start, is_exposed });
        };
        for version in ["v1", "v2"] {
            for code in ["200", "500", "503"] {
                add(Kind::Counter, "requests_total", &[("code", code), ("version", version)]);
            }
        }
        add(Kind::Counter, "request_seconds_bucket", &[("le", "0.25")]);
        add(Kind::Counter, "request_seconds_bucket", &[("le", "+Inf")]);
        add(Kind::Counter, "request_seconds_count", &[]);
        if has_native {
            add(Kind::Native, "request_seconds", &[]);
        }
        add(Kind::Gauge, "probe_success", &[]);
        add(Kind::Gauge, "maintenance", &[]);
    }
    metrics
}

impl Metric {
    /// Time passes until a scrape.
    fn pass(&mut self, rng: &mut SmallRng, burns: bool, scraped: Timestamp) {
        match rng.random_range(0..30) {
            0 => {
                self.value = 0.0;
                self.start = self.start.map(|_| scraped - Span::millis(rng.random_range(0..20_000)));
                if let Some((_, version)) = self.labels.iter_mut().find(|(name, _)| *name == "version") {
                    // Most likely one that there has not been.
                    *version = format!("v{}", rng.random_range(1..60));
                }
            }
            1 => self.is_exposed = !self.is_exposed,
            _ => {}
        }
        if self.kind == Kind::Gauge {
            self.value = f64::from(rng.random_bool(0.8));
            return;
        }
        let is_error = self.labels.iter().any(|(_, value)| value.starts_with("50"));
        self.value += self.unit * f64::from(rng.random_range(0..if is_error && !burns { 2 } else { 50_u32 }));
    }

    /// Adds a sample of it to a request.
    fn write(&self, Scraped { at, value, start, .. }: &Scraped, request: &mut v2::Builder) {
        let series = request.series(self.labels.iter().map(|(name, value)| (*name, value.as_str())));
        let (timestamp, start_timestamp) = (at.as_millis(), start.map_or(0, Timestamp::as_millis));
        if self.kind != Kind::Native {
            return series.samples.push(v2::Sample { value: *value, timestamp, start_timestamp });
        }
        if value.to_bits() == STALE_NAN_BITS {
            return series.histograms.push(Histogram { sum: *value, timestamp, ..Histogram::default() });
        }
        let within = (value / 2.0).floor();
        series.histograms.push(Histogram {
            timestamp,
            start_timestamp,
            count: Some(Count::Float(*value)),
            sum: *value,
            schema: CUSTOM_SCHEMA,
            zero_count: Some(ZeroCount::Float(0.0)),
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive_counts: vec![within, value - within],
            custom_values: vec![BOUND],
            ..Histogram::default()
        });
    }
}

/// What happens in one life, each with the time of its arrival.
pub fn life(seed: u64) -> Vec<(Timestamp, Happening)> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let key = settings().key;
    let mut metrics = metrics(rng);
    let (mut now, mut happenings, mut late) = (START, Vec::new(), Vec::new());
    for _ in 0..rng.random_range(5..60) {
        now = now + Span::millis(rng.random_range(1_000..20_000));
        match rng.random_range(0..40) {
            0 => now = now + Span::millis(rng.random_range(0..8_000_000)),
            1 => {
                now = now - Span::millis(rng.random_range(0..4_000_000));
                happenings.push((now, Happening::ClockBack));
            }
            2 => happenings.push((now, Happening::Reload)),
            _ => {}
        }
        let scraped = now - Span::millis(rng.random_range(0..300));
        let burns = rng.random_bool(0.3);
        let mut samples = Vec::new();
        for (n, metric) in metrics.iter_mut().enumerate() {
            metric.pass(rng, burns, scraped);
            let value = if metric.is_exposed { metric.value } else { f64::from_bits(STALE_NAN_BITS) };
            samples.push(Scraped { metric: n, at: scraped, value, start: metric.start });
        }
        if rng.random_bool(0.1) {
            late = samples;
            continue;
        }
        samples.append(&mut late);
        let twice = rng.random_range(0..samples.len());
        samples.push(samples[twice].clone());
        if rng.random_bool(0.3) {
            // Another value at a time that is taken.
            let taken = rng.random_range(0..samples.len());
            samples.push(Scraped { value: 3.0, ..samples[taken].clone() });
        }
        let cut = rng.random_range(0..samples.len());
        for part in [&samples[..cut], &samples[cut..]] {
            let mut request = v2::Builder::default();
            for sample in part {
                metrics[sample.metric].write(sample, &mut request);
            }
            let mut batch = Batch::new();
            batch.decode_v2(&v2::encode(&request.finish()), &Limits::default(), &key).unwrap();
            happenings.push((now, Happening::Write(batch)));
            now = now + Span::millis(rng.random_range(0..9_000));
        }
    }
    happenings
}
