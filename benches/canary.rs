//! The canary judge by the number of rollouts: a scrape of each, with five checks (three of rates, two of latencies on
//! 100 native buckets), taken and judged.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use sloburn::canary::{
    Action, Amount, Arm, Bound, CheckSpec, Judge, Layout, Measure, Policy, PolicyCheck, StepSpec, StreamSpec, Test,
};
use sloburn::types::{Span, Timestamp};

const ROLLOUTS: usize = 1_000;
/// Scrapes before the measurement: the latency checks have laid all their grids.
const WARM_UP_SCRAPES: i64 = 20;
const SCRAPE: Span = Span::seconds(15);

fn policy() -> Policy {
    let layout = Layout::native(3, 0.002, 10.0).expect("a layout");
    let latency = |quantile| Measure::Latency { quantile, layout: layout.clone() };
    let slower = Bound::RegressionOver(Amount::Relative(0.2));
    let checks = [
        ("authorization", Measure::Success, Bound::DropOver(Amount::Absolute(0.003))),
        ("errors", Measure::Errors, Bound::Above(0.001)),
        ("settlement", Measure::Errors, Bound::RegressionOver(Amount::Relative(0.0))),
        ("latency", latency(0.99), Bound::RegressionOver(Amount::Absolute(0.05))),
        ("latency", latency(0.95), slower),
    ];
    let check = |(sli, measure, bound): (&str, Measure, Bound)| {
        let (test, action) = (Test::Sequential, Action::Rollback);
        let check = CheckSpec { name: sli.to_owned(), measure, bound, test, action };
        PolicyCheck { sli: sli.to_owned(), strata: Vec::new(), check }
    };
    Policy {
        confidence: 0.99,
        window: Span::minutes(5),
        every: Span::seconds(30),
        deadline: Span::hours(6),
        steps: vec![StepSpec { name: "5%".to_owned(), hold: Span::hours(1), min_samples: 0 }],
        checks: checks.map(check).to_vec(),
    }
}

/// Counts with a little change from scrape to scrape.
fn counts(stream: &StreamSpec, scrape: i64, events: f64) -> Vec<f64> {
    let wobble = 1.0 + 0.05 * ((scrape * 7 % 5) as f64 - 2.0);
    match &stream.measure {
        Measure::Success | Measure::Errors => vec![events * wobble, (events * wobble * 0.0008).round()],
        Measure::Latency { layout, .. } => {
            let bell = |bucket: usize| (-((bucket as f64 - 45.0) / 8.0).powi(2)).exp();
            (0..layout.kinds()).map(|bucket| (events * wobble * bell(bucket) / 14.0).round()).collect()
        }
    }
}

fn scrape(judge: &mut Judge, streams: &[StreamSpec], i: i64) {
    let (from, to) = (Timestamp(i * SCRAPE.as_millis()), Timestamp((i + 1) * SCRAPE.as_millis()));
    for (at, stream) in streams.iter().enumerate() {
        for (arm, events) in [(Arm::Baseline, 1425.0), (Arm::Canary, 75.0)] {
            judge.observe(at, arm, from, to, counts(stream, i, events)).expect("counts");
            judge.cover(at, arm, to);
        }
    }
}

fn main() {
    let mut judge = Judge::new("service", "v2", policy(), Timestamp(0)).expect("a sound policy");
    let streams: Vec<StreamSpec> = judge.streams().cloned().collect();
    (0..WARM_UP_SCRAPES).for_each(|i| scrape(&mut judge, &streams, i));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(8))
        .sample_size(10)
        .configure_from_args();
    let mut group = criterion.benchmark_group("canary");
    group.throughput(Throughput::Elements(ROLLOUTS as u64));
    group.bench_function("scrape and judge 1,000 rollouts with 5 checks", |bencher| {
        let fresh = || vec![judge.clone(); ROLLOUTS];
        let round = |judges: &mut Vec<Judge>| {
            for judge in judges {
                scrape(judge, &streams, WARM_UP_SCRAPES);
                let now = Timestamp((WARM_UP_SCRAPES + 1) * SCRAPE.as_millis());
                std::hint::black_box(judge.judge(now, None));
            }
        };
        bencher.iter_batched_ref(fresh, round, BatchSize::PerIteration);
    });
    group.finish();
    criterion.final_summary();
}
