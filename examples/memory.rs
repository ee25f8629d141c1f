//! What a series and an SLO cost in memory, beside the aims.
//!
//! ```sh
//! cargo run --release --example memory
//! ```
//!
//! Resident memory (`VmRSS`, Linux) before and after an engine takes on 400,000 series of one SLO, 400,000 series that
//! no SLO refers to, and 4,000 SLOs with two series each, all scraped a few times, judged and shown in a snapshot.
//! The SLOs are as old as their period: it passes in a few long steps with traffic in between, so that every slice of
//! every window has been written. Their specs are made in between and count as theirs. The series of the SLOs are
//! subtracted at the price just found. Hash tables double when they fill up, so that the price of a series depends on
//! their number: within a factor of two for the tables, not for the rest.

#[path = "../benches/support/mod.rs"]
mod support;

use std::process::ExitCode;

use sloburn::engine::{Engine, Event, Settings, Snapshot};
use sloburn::spec::Service;
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};
use support::{INTERVAL, METRIC, REQUEST_SERIES, START, resident_bytes, run_again, service_name, services, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERIES: usize = 400_000;
/// Series of one scrape target, as of a busy service.
const TARGET_SERIES: usize = 100;
const SLOS: usize = 4_000;
const SCRAPES: usize = 6;
/// Steps in which the SLOs' period passes.
const JUMPS: i64 = 2;
/// Events of a scrape: more than 2^16, as an hour of a busy service has.
const EVENTS: usize = 100_000;

/// Bytes at most: of a series that counts, of one that does not, of an SLO.
const AIMS: [usize; 3] = [200, 64, 32 << 10];

struct Load {
    key: WireKey,
    batch: Batch,
}

impl Load {
    /// An engine that has seen these series for some scrapes after each of these jumps of its clock, and what it shows.
    fn run<const N: usize>(
        &mut self,
        services: &[Service],
        series: usize,
        jumps: &[Span],
        labels: impl Fn(usize) -> [(&'static str, String); N],
    ) -> (Engine, Snapshot) {
        let settings = Settings { key: self.key.clone(), limits: Limits::default(), series_limit: 5_000_000, ha: None };
        let mut engine = Engine::new(services, settings, START);
        let mut now = START;
        for (scrape, jump) in
            (0..).zip(jumps.iter().flat_map(|jump| [*jump].into_iter().chain([Span::ZERO; SCRAPES - 1])))
        {
            now = now + jump;
            for first in (0..series).step_by(REQUEST_SERIES) {
                self.batch.clear();
                for i in first..series.min(first + REQUEST_SERIES) {
                    let sample = Sample { timestamp: now, value: (scrape * (i % 7) * EVENTS) as f64 };
                    let labels = labels(i);
                    let pairs = labels.iter().map(|(name, value)| (*name, value.as_str()));
                    self.batch.push(&self.key, pairs, &[sample]);
                }
                engine.step(Event::Write(&self.batch), now + Span::millis(200));
            }
            now = now + INTERVAL;
        }
        let snapshot = tick(&mut engine, now);
        (engine, snapshot)
    }
}

fn tick(engine: &mut Engine, now: Timestamp) -> Snapshot {
    engine.step(Event::Tick, now);
    engine.snapshot(now)
}

/// Series of 1,000 targets of one job.
fn many_series(i: usize) -> [(&'static str, String); 5] {
    let (target, child) = (i / TARGET_SERIES, i % TARGET_SERIES);
    [
        ("__name__", METRIC.to_owned()),
        ("code", ["200", "201", "404", "500"][child % 4].to_owned()),
        ("handler", format!("/api/v1/{child:02}-order")),
        ("instance", format!("10.4.{}.{}:8080", target / 200, target % 200)),
        ("job", service_name(0)),
    ]
}

/// One good and one bad series for each job.
fn two_series(i: usize) -> [(&'static str, String); 4] {
    [
        ("__name__", METRIC.to_owned()),
        ("code", ["200", "500"][i % 2].to_owned()),
        ("instance", format!("10.4.{}.{}:8080", i / 400, i / 2 % 200)),
        ("job", service_name(i / 2)),
    ]
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is the result")]
fn main() -> ExitCode {
    if let Some(done) = run_again() {
        return done;
    }
    let (one, other) = (services(1, METRIC), services(1, "grpc_server_handled_total"));
    let period = [Span(Span::days(30).as_millis() / JUMPS); JUMPS as usize];
    let mut load = Load { key: wire_key(), batch: Batch::new() };
    // The first run brings up what all runs share: the batch, the regular expressions' scratch space.
    let warm_up = load.run(&one, REQUEST_SERIES, &[Span::ZERO], many_series);
    let points = [resident_bytes()];
    // All of them stay until the end, so that none takes the space another has left.
    let bound = load.run(&one, SERIES, &[Span::ZERO], many_series);
    let points = [points[0], resident_bytes()];
    let unbound = load.run(&other, SERIES, &[Span::ZERO], many_series);
    let points = [points[0], points[1], resident_bytes()];
    let many = services(SLOS, METRIC);
    let slos = load.run(&many, 2 * SLOS, &period, two_series);
    let [Some(start), Some(after_bound), Some(after_unbound), Some(end)] =
        [points[0], points[1], points[2], resident_bytes()]
    else {
        eprintln!("error: no VmRSS in /proc/self/status: this measurement needs Linux");
        return ExitCode::FAILURE;
    };
    drop((warm_up, bound, unbound, many, slos));
    let a_series = (after_bound - start) / SERIES;
    let costs = [
        ("series that counts", a_series),
        ("series that does not", (after_unbound - after_bound) / SERIES),
        ("SLO, 8 windows, 30 d", ((end - after_unbound) / SLOS).saturating_sub(2 * a_series)),
    ];
    println!("{:<22} {:>8} {:>8}", "", "bytes", "aim");
    for ((what, bytes), aim) in costs.into_iter().zip(AIMS) {
        let verdict = if bytes <= aim { "pass" } else { "FAIL" };
        println!("{what:<22} {bytes:>8} {aim:>8}  {verdict}");
    }
    ExitCode::from(u8::from(costs.iter().zip(AIMS).any(|((_, bytes), aim)| *bytes > aim)))
}
