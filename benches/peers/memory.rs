//! What the whole process takes: a million series, each counted by one of ten thousand SLOs.
//!
//! sloburn with its journal and its store as they are by default, and once more while it makes a checkpoint, which it does
//! every half an hour: then a second engine lives beside the first. Its peers take the same series and have no rules.

use std::time::Duration;

use sloburn::clock;
use sloburn::types::Span;

use crate::sender::{self, V1};
use crate::server::{BOTH_CORES, Kind, Peer, Peers};
use crate::support::{Fleet, INTERVAL, REQUEST_SERIES, Size, specs_text};

const SIZE: Size = Size { services: 10_000, instances: 1, children: 100 };
const SCRAPES: usize = 5;
/// Of sloburn, while it takes samples.
const LIMIT_BYTES: u64 = 1 << 30;
/// By then what was freed has been given back, and a checkpoint made.
const AFTERWARDS: Duration = Duration::from_secs(15);
const CHECKPOINT: &str = "--storage.checkpoint-interval=10s";
const CHECKPOINTED: Duration = Duration::from_secs(45);

const MIB: f64 = (1 << 20) as f64;

/// Whether sloburn keeps to the limit.
pub fn run(peers: &Peers) -> anyhow::Result<bool> {
    println!("{} series, {} SLOs, {SCRAPES} scrapes\n", SIZE.series(), SIZE.services);
    println!("| | resident MiB | at most MiB |");
    println!("|---|---|---|");
    let mut is_within = true;
    for peer in peers.iter() {
        let peak = measure(peer, &peer.name, &[], AFTERWARDS)?;
        if peer.kind == Kind::Sloburn {
            is_within = peak <= LIMIT_BYTES;
            measure(peer, "the same, and a checkpoint", &[CHECKPOINT], CHECKPOINTED)?;
        }
    }
    println!("\n{}: the limit is {:.0} MiB\n", if is_within { "pass" } else { "FAIL" }, LIMIT_BYTES as f64 / MIB);
    Ok(is_within)
}

/// Prints a line; the most that it took.
fn measure(peer: &Peer, name: &str, args: &[&str], afterwards: Duration) -> anyhow::Result<u64> {
    let server = match peer.kind {
        Kind::Sloburn => {
            let args = [&["--rules=specs.yaml"], args].concat();
            peer.start(BOTH_CORES, &args, &[("specs.yaml", specs_text(SIZE.services))])?
        }
        Kind::Prometheus | Kind::VictoriaMetrics => peer.start(BOTH_CORES, args, &[])?,
    };
    let mut fleet = Fleet::new(SIZE);
    let start = clock::now() - Span(INTERVAL.as_millis() * SCRAPES as i64);
    for scrape in 0..SCRAPES as i64 {
        let at = start + Span(INTERVAL.as_millis() * scrape);
        let requests = (0..SIZE.series()).step_by(REQUEST_SERIES).map(|first| {
            let body = fleet.request(first..SIZE.series().min(first + REQUEST_SERIES), |_, _| at);
            sender::message(V1, &body)
        });
        sender::send(server.address, &requests.collect::<Vec<_>>())?;
    }
    std::thread::sleep(afterwards);
    let (resident, peak) = (server.resident_bytes()?, server.peak_bytes()?);
    println!("| {name} | {:.0} | {:.0} |", resident as f64 / MIB, peak as f64 / MIB);
    Ok(peak)
}
