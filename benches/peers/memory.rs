//! What the whole process takes: a million series, each counted by one of ten thousand SLOs.
//!
//! sloburn with its journal and its store as they are by default, and once more while it makes one checkpoint after the
//! other. Its SLOs are as old as their period, or the slices of their windows would not have been written yet: first each is
//! sent a month of one series, which is too old for the store. Its peers take the same million series and have no rules.

use std::time::Duration;

use sloburn::clock;
use sloburn::types::{Span, Timestamp};

use crate::sender::{self, CONNECTIONS, V1};
use crate::server::{BOTH_CORES, Kind, Peer, Peers, Server};
use crate::support::{Fleet, INTERVAL, REQUEST_SERIES, Size, specs_text};

const SIZE: Size = Size { services: 10_000, instances: 1, children: 100 };
const SCRAPES: usize = 5;
/// Of sloburn, at any time.
const LIMIT_BYTES: u64 = 1 << 30;
/// By then what was freed has been given back.
const AFTERWARDS: Duration = Duration::from_secs(15);
const CHECKPOINTS: &str = "--storage.checkpoint-interval=100ms";

const MIB: f64 = (1 << 20) as f64;

/// For a month, from the oldest on: how long ago each sample of an SLO's first series is, as dense as the slices of the
/// windows that reach back so far.
fn ages() -> impl Iterator<Item = Span> {
    const STRETCHES: [(i64, i64, i64); 4] =
        [(30 * 24 * 60, 72 * 60, 240), (72 * 60, 360, 60), (360, 90, 10), (90, 60, 1)];
    let minutes = STRETCHES.into_iter().flat_map(|(from, to, step)| (to + 1..=from).rev().step_by(step as usize));
    minutes.map(Span::minutes)
}

/// Whether sloburn keeps to the limit.
pub fn run(peers: &Peers) -> anyhow::Result<bool> {
    println!("{} series, {} SLOs, {SCRAPES} scrapes\n", SIZE.series(), SIZE.services);
    println!("| | resident MiB | at most MiB |");
    println!("|---|---|---|");
    let mut is_within = true;
    for peer in peers.iter() {
        let peak = measure(peer, &peer.name, &[])?;
        if peer.kind == Kind::Sloburn {
            let with_checkpoints = measure(peer, "the same, making checkpoints", &[CHECKPOINTS])?;
            is_within = peak.max(with_checkpoints) <= LIMIT_BYTES;
        }
    }
    println!("\n{}: the limit is {:.0} MiB\n", if is_within { "pass" } else { "FAIL" }, LIMIT_BYTES as f64 / MIB);
    Ok(is_within)
}

/// Prints a line; the most that it took.
fn measure(peer: &Peer, name: &str, args: &[&str]) -> anyhow::Result<u64> {
    let server = match peer.kind {
        Kind::Sloburn => {
            let args = [&["--rules=specs.yaml"], args].concat();
            peer.start(BOTH_CORES, &args, &[("specs.yaml", specs_text(SIZE.services))])?
        }
        Kind::Prometheus | Kind::VictoriaMetrics => peer.start(BOTH_CORES, args, &[])?,
    };
    let (mut fleet, now) = (Fleet::new(SIZE), clock::now());
    if peer.kind == Kind::Sloburn {
        for age in ages() {
            let first_series: Vec<usize> = (0..SIZE.series()).step_by(SIZE.children).collect();
            send(&server, &mut fleet, &first_series, now - age)?;
        }
    }
    let all: Vec<usize> = (0..SIZE.series()).collect();
    for scrape in (0..SCRAPES as i64).rev() {
        send(&server, &mut fleet, &all, now - Span(INTERVAL.as_millis() * scrape))?;
    }
    std::thread::sleep(AFTERWARDS);
    let (resident, peak) = (server.resident_bytes()?, server.peak_bytes()?);
    println!("| {name} | {:.0} | {:.0} |", resident as f64 / MIB, peak as f64 / MIB);
    Ok(peak)
}

/// A scrape of these series.
fn send(server: &Server, fleet: &mut Fleet, series: &[usize], at: Timestamp) -> anyhow::Result<()> {
    let bodies = series.chunks(REQUEST_SERIES).map(|chunk| fleet.request(chunk.iter().copied(), |_, _| at));
    let messages: Vec<_> = bodies.map(|body| sender::message(V1, &body)).collect();
    sender::send(server.address, &messages, CONNECTIONS)?;
    Ok(())
}
