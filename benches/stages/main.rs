//! Every stage of the engine beside its floor: the least that any implementation must do on the same machine.
//!
//! ```sh
//! cargo bench --bench stages                      # all, with criterion's statistics, then the table
//! cargo bench --bench stages -- 'apply|lookup'    # some
//! benches/instructions                            # instruction counts, where timings are noise
//! ```
//!
//! A round of a stage and one of its floor come by turns, so that a busy machine slows both. Criterion judges the
//! stage's rounds; the table shows the first decile of both, what the code costs when its neighbours are quiet. Each
//! stage goes through a door of the library's API that the server uses too. Rows of the write path are in nanoseconds
//! a sample, so that they add up.
//!
//! | stage | its floor |
//! |---|---|
//! | `decompress` | a copy of the decoded bytes |
//! | `decode` | a copy and one read of every byte |
//! | `body ..`, decompression and decoding together | the stage `decompress` and one read of every byte |
//! | `lookup` | one probe of a plain hash table with 128-bit keys |
//! | `apply` | one addition to a number somewhere in an array of that size |
//! | `write ..`, from a body to judged SLOs, and `new ..`, from a body to series that were never seen | snappy, one walk over the fields, the hash of the labels, probe, addition |
//! | `window step` | one addition to each window's pair of sums |
//! | `evaluate` | one pass over the windows' sums that compares them |
//! | `judge` | one log-sum-exp of as many terms as the evidence mixes |
//! | `journal append` | the write of the same bytes to one file; with `durable` its fsync too |

#[path = "../support/mod.rs"]
mod support;

mod decode;
mod journal;
mod judge;
mod series;
mod slo;
mod write;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, WallTime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds before the counted ones under `--profile`, and those: one scrape of 99,000 series.
const PROFILE_ROUNDS: (usize, usize) = (2, 13);

/// A stage at work.
trait Stage {
    /// Samples, SLOs or judgements of one round.
    fn elements(&self) -> usize;
    /// Makes what the next round takes, unmeasured.
    fn prepare(&mut self) {}
    /// One round.
    fn run(&mut self);
    /// The floor's round on the same input.
    fn floor(&mut self);
}

/// A line of the table.
struct Row {
    name: &'static str,
    element: &'static str,
    make: fn() -> Box<dyn Stage>,
    /// Part of `benches/instructions`.
    is_profiled: bool,
}

const fn row(name: &'static str, element: &'static str, make: fn() -> Box<dyn Stage>) -> Row {
    Row { name, element, make, is_profiled: true }
}

const fn timed_row(name: &'static str, element: &'static str, make: fn() -> Box<dyn Stage>) -> Row {
    Row { name, element, make, is_profiled: false }
}

const ROWS: [Row; 20] = [
    row("decompress", "sample", || Box::new(decode::Decompress::new())),
    row("decode", "sample", || Box::new(decode::Decode::new())),
    timed_row("body 1.0", "sample", || Box::new(decode::Body::v1())),
    timed_row("body 1.0 by prost", "sample", || Box::new(decode::Body::prost())),
    row("body 2.0", "sample", || Box::new(decode::Body::v2(0))),
    timed_row("body 2.0 with starts", "sample", || Box::new(decode::Body::v2(support::START.as_millis()))),
    row("lookup", "sample", || Box::new(series::Lookups::new(99_000))),
    timed_row("lookup of 990,000", "sample", || Box::new(series::Lookups::new(990_000))),
    row("apply", "sample", || Box::new(series::Apply::new(99_000))),
    timed_row("apply to 990,000", "sample", || Box::new(series::Apply::new(990_000))),
    row("write bound", "sample", || Box::new(write::Write::bound())),
    row("write unbound", "sample", || Box::new(write::Write::unbound())),
    row("new in engine", "sample", || Box::new(write::FirstScrape::in_engine())),
    row("new in store", "sample", || Box::new(write::FirstScrape::in_store())),
    row("window step", "SLO", || Box::new(slo::WindowStep::new())),
    row("evaluate", "SLO", || Box::new(slo::Evaluate::new())),
    row("judge rate", "judgement", || Box::new(judge::Judgement::rate())),
    row("judge latency", "judgement", || Box::new(judge::Judgement::latency())),
    row("journal append", "sample", || Box::new(journal::Append::new())),
    timed_row("journal durable", "sample", || Box::new(journal::Durable::new())),
];

/// Nanoseconds an element, one for each round.
#[derive(Default)]
struct Costs {
    stage: Vec<f64>,
    floor: Vec<f64>,
}

fn timed(work: impl FnOnce()) -> Duration {
    let clock = WallTime.start();
    work();
    WallTime.end(clock)
}

fn first_decile(costs: &mut [f64]) -> Option<f64> {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 10).copied()
}

impl Row {
    fn measure(&self, criterion: &mut Criterion) -> Costs {
        let (mut stage, mut costs) = (None, Costs::default());
        let mut group = criterion.benchmark_group("stages");
        group.bench_function(self.name, |bencher| {
            let stage = stage.get_or_insert_with(self.make);
            bencher.iter_custom(|rounds| {
                let round = |_| {
                    stage.prepare();
                    let elements = stage.elements() as f64;
                    // Neither always finds in the caches what the other one read.
                    let is_first = costs.stage.len().is_multiple_of(2);
                    let [mut took, mut floor] = [Duration::ZERO; 2];
                    for is_stage in [is_first, !is_first] {
                        if is_stage {
                            took = timed(|| stage.run());
                        } else {
                            floor = timed(|| stage.floor());
                        }
                    }
                    costs.stage.push(took.as_secs_f64() * 1e9 / elements);
                    costs.floor.push(floor.as_secs_f64() * 1e9 / elements);
                    took
                };
                (0..rounds).map(round).sum()
            });
        });
        group.finish();
        costs
    }

    /// Does a fixed number of rounds, for a tool that counts in [`profiled_round`].
    fn profile(&self) -> usize {
        let mut stage = (self.make)();
        let (before, counted) = PROFILE_ROUNDS;
        let mut elements = 0;
        for round in 0..before + counted {
            stage.prepare();
            if round < before {
                stage.run();
            } else {
                profiled_round(&mut *stage);
                elements += stage.elements();
            }
        }
        elements
    }
}

#[inline(never)]
fn profiled_round(stage: &mut dyn Stage) {
    stage.run();
    // Not a jump: the function has to be there until its round is over.
    black_box(stage);
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, names @ ..] = &args[..]
        && mode == "--profile"
    {
        // Without a name: which there are.
        for row in ROWS.iter().filter(|row| row.is_profiled) {
            if names.is_empty() {
                println!("{}", row.name);
            } else if names.iter().any(|name| name == row.name) {
                println!("{} {}", row.profile(), row.element);
            }
        }
        return;
    }
    let criterion = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500));
    let mut criterion = criterion.measurement_time(Duration::from_secs(2)).configure_from_args();
    let costs: Vec<Costs> = ROWS.iter().map(|row| row.measure(&mut criterion)).collect();
    criterion.final_summary();
    println!("{:<22} {:<10} {:>10} {:>10} {:>8}", "stage", "element", "ns", "floor ns", "ratio");
    for (Row { name, element, .. }, mut costs) in ROWS.iter().zip(costs) {
        if let (Some(stage), Some(floor)) = (first_decile(&mut costs.stage), first_decile(&mut costs.floor)) {
            println!("{name:<22} {element:<10} {stage:>10.2} {floor:>10.2} {:>8.2}", stage / floor);
        }
    }
}
