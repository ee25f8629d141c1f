//! sloburn beside its peers, on the same payloads and the same core, in one run.
//!
//! ```sh
//! benches/peers/run                  # everything, with Prometheus and VictoriaMetrics from Debian's packages
//! benches/peers/run ingest rules     # some of it
//! ```
//!
//! - `ingest`: each server alone on one core takes the same requests of 2,000 samples over loopback from a sender on
//!   another core: a fleet of 99,000 series and one of 990,000, as Prometheus sends them. First every series is new, then
//!   all are known. sloburn judges 450 SLOs on them meanwhile and writes its journal, synced every second. CPU time is
//!   the process', a second after the last request included. Everybody takes turns some times, each time from an empty
//!   folder, and the least that each has used is shown. The *floor* is the least that any receiver does with these
//!   bytes on that core: decompress, find labels and sample, hash the labels, look them up, add.
//! - `deployments`: new series, while one deployment after another replaces every pod of the small fleet. The first scrape
//!   of `ingest` is over before a server with a garbage collector has collected, or merged what it has gathered.
//! - `cores`: sloburn on one core and on two; the sender shares the second one.
//! - `rules`: Prometheus evaluates N SLOs as the rules that `sloburn generate` writes for them, beside what the engine
//!   takes for the same SLOs, samples included.
//! - `promql`: queries over an hour of data (needs a Prometheus 3).
//! - `memory`: what each takes with a million series, sloburn with 10,000 SLOs on them; fails if that is over 1 GiB.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its report")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

mod ingest;
mod memory;
mod promql;
mod rules;
mod sender;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use server::Peers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTS: [&str; 6] = ["ingest", "deployments", "cores", "rules", "promql", "memory"];

fn main() -> anyhow::Result<ExitCode> {
    // `cargo bench` passes `--bench`.
    let mut asked: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some(unknown) = asked.iter().find(|part| !PARTS.contains(&part.as_str())) {
        println!("{unknown:?} is none of {}", PARTS.join(", "));
        return Ok(ExitCode::from(2));
    }
    if asked.is_empty() {
        asked = PARTS.map(str::to_owned).to_vec();
    }
    let peers = Peers::from_environment()?;
    println!("{}\n", server::machine());
    let mut is_within = true;
    for part in asked {
        match part.as_str() {
            "ingest" => ingest::run(&peers)?,
            "deployments" => ingest::deployments(&peers)?,
            "cores" => ingest::cores(&peers)?,
            "rules" => rules::run(&peers)?,
            "memory" => is_within = memory::run(&peers)?,
            _ => promql::run(&peers)?,
        }
    }
    Ok(ExitCode::from(u8::from(!is_within)))
}
