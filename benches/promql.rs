//! PromQL on one core: rates and sums over 10,000 series, quantiles over 1,000 classic histograms, a range query
//! of 1,000 steps. An hour of samples every 15 s, uncompressed: what is measured is the evaluation.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sloburn::promql::{
    EvalLimits, Evaluation, FloatSample, ParseLimits, Query, Selection, SeriesView, Storage, StorageError, instant,
    range,
};
use sloburn::types::{Labels, METRIC_NAME, Span, Timestamp};

const SCRAPE: Span = Span::seconds(15);
const HOUR: Span = Span::hours(1);

struct Memory(Vec<(Arc<Labels>, Vec<FloatSample>)>);

impl Storage for Memory {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for (labels, samples) in &self.0 {
            if !selection.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))) {
                continue;
            }
            let from = samples.partition_point(|s| s.at <= selection.after);
            let to = samples.partition_point(|s| s.at <= selection.until);
            let view = SeriesView { labels, floats: &samples[from..to], float_starts: &[], histograms: &[] };
            if visit(view).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn counter(labels: Labels, per_scrape: f64, phase: i64) -> (Arc<Labels>, Vec<FloatSample>) {
    let samples = (0..HOUR.0 / SCRAPE.0)
        .map(|i| FloatSample {
            at: Timestamp(i * SCRAPE.0 + phase),
            // Every series restarts once an hour.
            value: ((i + phase) % 241) as f64 * per_scrape,
        })
        .collect();
    (Arc::new(labels), samples)
}

fn requests(series: usize) -> Memory {
    let of = |i: usize| {
        let pairs = [
            (METRIC_NAME, "http_requests_total".to_owned()),
            ("job", "api".to_owned()),
            ("instance", format!("10.0.{}.{}:9090", i / 200, i % 200)),
            ("code", ["200", "404", "500", "503"][i % 4].to_owned()),
            ("handler", format!("/v1/{}", i % 25)),
        ];
        let labels = pairs.iter().fold(Labels::new(), |labels, (name, value)| labels.with(name, value));
        counter(labels, (i % 7 + 1) as f64, (i as i64 * 37) % SCRAPE.0)
    };
    Memory((0..series).map(of).collect())
}

fn histograms(count: usize) -> Memory {
    let bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
    let of = |i: usize| {
        bounds.iter().enumerate().map(move |(b, bound)| {
            let labels = Labels::new()
                .with(METRIC_NAME, "latency_seconds_bucket")
                .with("instance", &format!("i{i}"))
                .with("le", bound);
            counter(labels, (b + 1) as f64, (i as i64 * 37) % SCRAPE.0)
        })
    };
    Memory((0..count).flat_map(of).collect())
}

fn query(text: &str) -> Query {
    Query::parse(text, &ParseLimits::default()).unwrap()
}

fn evaluation(storage: &Memory) -> Evaluation<'_> {
    Evaluation {
        storage,
        lookback: Span::minutes(5),
        subquery_step: Span::minutes(1),
        limits: EvalLimits::default(),
        should_stop: &|| false,
    }
}

fn promql(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("promql");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let end = Timestamp(HOUR.0);
    let many = requests(10_000);
    let latencies = histograms(1_000);
    for (name, storage, text) in [
        ("rate_10k_series", &many, "rate(http_requests_total[5m])"),
        ("sum_by_rate_10k_series", &many, "sum by (handler, code) (rate(http_requests_total[5m]))"),
        (
            "ratio_10k_series",
            &many,
            r#"sum(rate(http_requests_total{code=~"5.."}[30m])) / sum(rate(http_requests_total[30m]))"#,
        ),
        ("topk_10k_series", &many, "topk(10, http_requests_total)"),
        ("quantile_1k_histograms", &latencies, "histogram_quantile(0.99, rate(latency_seconds_bucket[5m]))"),
    ] {
        let (query, setup) = (query(text), evaluation(storage));
        group.bench_function(name, |b| b.iter(|| instant(black_box(&query), end, &setup).unwrap()));
    }
    let some = requests(100);
    for (name, text) in [
        ("range_1000_steps_100_series", "sum by (code) (rate(http_requests_total[5m]))"),
        (
            "range_1000_steps_binary",
            "rate(http_requests_total[5m]) / on (job) group_left () sum by (job) (rate(http_requests_total[5m]))",
        ),
        ("range_1000_steps_over_time", "max_over_time(http_requests_total[10m])"),
    ] {
        let (query, setup) = (query(text), evaluation(&some));
        let step = Span::millis(HOUR.0 / 1_000);
        group.bench_function(name, |b| b.iter(|| range(black_box(&query), Timestamp(0), end, step, &setup).unwrap()));
    }
    group.bench_function("parse", |b| {
        let text = r#"histogram_quantile(0.99, sum by (le, job) (rate(latency_seconds_bucket{job="api",code!~"5.."}[5m] offset 1h)))"#;
        b.iter(|| query(black_box(text)));
    });
    group.finish();
}

criterion_group!(benches, promql);
criterion_main!(benches);
