//! From a request's body to counted events: samples a second on one core, beside decoding alone.
//!
//! 450 SLOs, 900 targets, 99,000 series, each scraped every 15 s; the scrape of a target arrives in four requests and
//! is counted when it is whole; some series are born. `decode` stops after the batch, `bound` counts every series
//! for an SLO, `unbound` meets a fleet that no SLO refers to. One iteration is one scrape of the whole fleet.

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput};
use sloburn::engine::{Engine, Event, Settings};
use sloburn::types::Span;
use sloburn::wire::{Batch, Limits, WireKey};
use support::{Fleet, INTERVAL, METRIC, Request, START, Size, services, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FLEET: Size = Size { services: 450, instances: 2, children: 110 };
/// Scrapes before the measurement: every series known, every child born, every window in use.
const WARM_UP_SCRAPES: usize = 70;

/// Scrapes made ahead: the sender's work stays out of the caches while they are taken.
const AHEAD_SCRAPES: usize = 16;

/// The stages of one run, over one stream of scrapes.
struct Path {
    fleet: Fleet,
    next_scrape: usize,
    key: WireKey,
    limits: Limits,
    batch: Batch,
    engine: Option<Engine>,
    /// Seconds a sample, one for each scrape.
    costs: Vec<f64>,
}

impl Path {
    fn new(metric: Option<&str>) -> Self {
        let (key, limits) = (wire_key(), Limits::default());
        let settings = Settings { key: key.clone(), limits, series_limit: 5_000_000, ha: None };
        let engine = metric.map(|metric| Engine::new(&services(FLEET.services, metric), settings, START));
        let fleet = Fleet::new(FLEET);
        Self { fleet, next_scrape: 0, key, limits, batch: Batch::new(), engine, costs: Vec::new() }
    }

    /// The fleet's next scrapes.
    fn make(&mut self, scrapes: usize) -> Vec<Vec<Request>> {
        let numbers = self.next_scrape..self.next_scrape + scrapes;
        self.next_scrape = numbers.end;
        let start = |number: usize| START + Span(INTERVAL.as_millis() * number as i64);
        numbers.map(|number| self.fleet.scrape(number, start(number))).collect()
    }

    fn take(&mut self, requests: &[Request]) -> Duration {
        let clock = WallTime.start();
        for request in requests {
            self.batch.decode_v1(&request.body, &self.limits, &self.key).expect("a valid body");
            if let Some(engine) = &mut self.engine {
                let effects = engine.step(Event::Write(&self.batch), request.arrival);
                assert_eq!(effects.written.samples, request.samples as u64);
            }
        }
        let took = WallTime.end(clock);
        let samples: usize = requests.iter().map(|request| request.samples).sum();
        self.costs.push(took.as_secs_f64() / samples as f64);
        took
    }

    fn make_and_take(&mut self, scrapes: usize) -> Duration {
        let firsts = (0..scrapes).step_by(AHEAD_SCRAPES);
        firsts
            .map(|first| {
                let ahead = self.make(AHEAD_SCRAPES.min(scrapes - first));
                ahead.iter().map(|requests| self.take(requests)).sum::<Duration>()
            })
            .sum()
    }

    fn run(&mut self, name: &str, group: &mut BenchmarkGroup<'_, WallTime>) {
        let mut warm = false;
        group.bench_function(name, |bencher| {
            if !std::mem::replace(&mut warm, true) {
                self.make_and_take(WARM_UP_SCRAPES);
                self.costs.clear();
            }
            bencher.iter_custom(|scrapes| self.make_and_take(scrapes as usize));
        });
    }

    /// Samples a second in the first decile of all scrapes: what the code costs when its neighbours are quiet.
    fn rate(&mut self) -> Option<f64> {
        self.costs.sort_by(f64::total_cmp);
        self.costs.get(self.costs.len() / 10).map(|cost| 1.0 / cost)
    }
}

#[expect(clippy::print_stdout, reason = "the ratio is the result")]
fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group(format!("ingest/{}_series", FLEET.series()));
    group.throughput(Throughput::Elements(FLEET.series() as u64));
    let paths = [("decode", None), ("bound", Some(METRIC)), ("unbound", Some("grpc_server_handled_total"))];
    let rates = paths.map(|(name, metric)| {
        let mut path = Path::new(metric);
        path.run(name, &mut group);
        (name, path.rate())
    });
    group.finish();
    criterion.final_summary();
    for (name, rate) in rates {
        if let (Some(rate), (_, Some(decode))) = (rate, rates[0]) {
            println!("{name:>8}: {:5.2} M samples/s, {:3.0} % of decoding alone", rate / 1e6, 100.0 * rate / decode);
        }
    }
}
