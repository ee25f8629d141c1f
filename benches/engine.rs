//! The engine's step by the number of SLOs, each with eight windows up to 30 d.
//!
//! `tick` judges every SLO after 10 s without data, and nothing else: what was held of the scrape before has been
//! counted. Some hours have passed by then, so that the slices that come and go are in memory. `write` takes one request
//! that touches some SLOs among 10,000 and judges those; `snapshot` shows all of them after some have changed.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput};
use sloburn::engine::{Engine, Event, Settings};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};
use support::{METRIC, START, service_name, services, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From a scrape until all of it is counted and judged.
const SETTLED: Span = Span::seconds(7);
/// From there until every SLO has been looked at again, once.
const SILENCE: Span = Span::seconds(11);
/// From one scrape to the next.
const EVERY: Span = Span::seconds(30);
/// From one snapshot to the next.
const SOON: Span = Span::millis(50);
/// Passes before the measurement, after the first data: all slices under ten minutes have been used then.
const WARM_UP: Span = Span::hours(7);
/// Scrapes after that.
const WARM_UP_SCRAPES: usize = 10;

/// An engine with SLOs that all have data.
struct Bench {
    engine: Engine,
    slos: usize,
    key: WireKey,
    batch: Batch,
    now: Timestamp,
    scrapes: usize,
}

impl Bench {
    fn new(slos: usize) -> Self {
        let key = wire_key();
        let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 5_000_000, ha: None };
        let engine = Engine::new(&services(slos, METRIC), settings, START);
        let mut bench = Self { engine, slos, key, batch: Batch::new(), now: START, scrapes: 0 };
        for _ in 0..2 {
            bench.prepare(slos);
            bench.write();
        }
        bench.now = bench.now + WARM_UP;
        for _ in 0..WARM_UP_SCRAPES {
            bench.prepare(slos);
            bench.write();
        }
        bench
    }

    /// The next scrape of the first `slos` services: one good series and one of errors each.
    fn prepare(&mut self, slos: usize) {
        self.now = self.now + EVERY;
        self.scrapes += 1;
        self.batch.clear();
        for service in 0..slos {
            let job = service_name(service);
            for (code, value) in [("200", self.scrapes * 100), ("500", self.scrapes / 8)] {
                let labels = [("__name__", METRIC), ("code", code), ("instance", "10.4.0.17:8080"), ("job", &job)];
                let sample = Sample { timestamp: self.now, value: value as f64 };
                self.batch.push(&self.key, labels, &[sample]);
            }
        }
    }

    fn write(&mut self) {
        let effects = self.engine.step(Event::Write(&self.batch), self.now);
        assert_eq!(effects.written.samples, self.batch.sample_count() as u64);
    }

    fn tick(&mut self) -> Duration {
        self.prepare(self.slos);
        self.write();
        self.engine.step(Event::Tick, self.now + SETTLED);
        timed(|| drop(self.engine.step(Event::Tick, self.now + SETTLED + SILENCE)))
    }

    fn write_some(&mut self, slos: usize) -> Duration {
        self.prepare(slos);
        timed(|| self.write())
    }

    fn snapshot(&mut self, changed: usize) -> Duration {
        // Soon after the one before, so that few of the others are judged meanwhile.
        self.now = self.now + SOON - EVERY;
        self.prepare(changed);
        self.write();
        timed(|| drop(self.engine.snapshot(self.now)))
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let clock = WallTime.start();
    work();
    WallTime.end(clock)
}

fn main() {
    // What is not measured takes longer than what is: short measurements still have hundreds of steps.
    let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_millis(500));
    let criterion = Criterion::default().sample_size(10).warm_up_time(warm_up).measurement_time(measurement);
    let mut criterion = criterion.configure_from_args();
    let mut group = criterion.benchmark_group("engine/tick");
    for slos in [1_000, 10_000, 100_000] {
        let mut bench = None;
        group.throughput(Throughput::Elements(slos as u64));
        group.bench_function(BenchmarkId::from_parameter(slos), |bencher| {
            let bench = bench.get_or_insert_with(|| Bench::new(slos));
            bencher.iter_custom(|ticks| (0..ticks).map(|_| bench.tick()).sum());
        });
    }
    group.finish();

    let mut bench = None;
    let mut group = criterion.benchmark_group("engine/write_among_10000");
    for slos in [1, 100] {
        group.throughput(Throughput::Elements(slos as u64));
        group.bench_function(BenchmarkId::from_parameter(slos), |bencher| {
            let bench = bench.get_or_insert_with(|| Bench::new(10_000));
            bencher.iter_custom(|writes| (0..writes).map(|_| bench.write_some(slos)).sum());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("engine/snapshot_of_10000_changed");
    for changed in [0, 100, 10_000] {
        group.bench_function(BenchmarkId::from_parameter(changed), |bencher| {
            let bench = bench.get_or_insert_with(|| Bench::new(10_000));
            bencher.iter_custom(|snapshots| (0..snapshots).map(|_| bench.snapshot(changed)).sum());
        });
    }
    group.finish();
    criterion.final_summary();
}
