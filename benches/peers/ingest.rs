//! Remote write: what a million samples cost.

use std::time::Duration;

use prost::Message as _;
use sloburn::clock;
use sloburn::types::Span;
use sloburn::wire::proto::WriteRequest;

use crate::sender::{self, CONNECTIONS, Sent, V1, V2};
use crate::server::{BOTH_CORES, Kind, Peer, Peers, SERVER_CORE, Server, cpu_of, pin, pin_sender};
use crate::support::{Fleet, Floor, INTERVAL, Request, Size, in_v2, specs_text};

const SLOS: usize = 450;
const SMALL: Size = Size { services: SLOS, instances: 2, children: 110 };
const LARGE: Size = Size { services: SLOS, instances: 20, children: 110 };
/// Scrapes of known series, after the first.
const SMALL_SCRAPES: usize = 40;
const LARGE_SCRAPES: usize = 5;
/// Work that a server does after its answer counts too.
const AFTERWARDS: Duration = Duration::from_secs(1);

const MIB: f64 = (1 << 20) as f64;

/// The requests of some scrapes: one in which every series is new, and the rest.
struct Load {
    first: Vec<Request>,
    rest: Vec<Request>,
}

/// What a server used for one load.
struct Used {
    samples: usize,
    cpu_seconds: f64,
    sent: Sent,
}

impl Load {
    fn new(size: Size, scrapes: usize) -> Self {
        let mut fleet = Fleet::new(size);
        // Up to now, so that every server takes them for recent.
        let start = clock::now() - Span(INTERVAL.as_millis() * (scrapes as i64 + 1));
        let mut scrape = |number: usize| fleet.scrape(number, start + Span(INTERVAL.as_millis() * number as i64));
        Self { first: scrape(0), rest: (1..=scrapes).flat_map(scrape).collect() }
    }

    fn in_v2(&self) -> Self {
        let again = |request: &Request| Request { body: v2(&request.body), ..*request };
        Self { first: self.first.iter().map(again).collect(), rest: self.rest.iter().map(again).collect() }
    }

    fn bytes_a_sample(&self) -> usize {
        self.rest.iter().map(|r| r.body.len()).sum::<usize>() / samples(&self.rest)
    }
}

fn v2(body: &[u8]) -> Vec<u8> {
    let bytes = snap::raw::Decoder::new().decompress_vec(body).expect("a valid body");
    in_v2(&WriteRequest::decode(&*bytes).expect("a valid message"), 0)
}

fn samples(requests: &[Request]) -> usize {
    requests.iter().map(|request| request.samples).sum()
}

impl Used {
    fn of(server: &Server, content_type: &str, requests: &[Request]) -> anyhow::Result<Self> {
        let messages: Vec<_> = requests.iter().map(|r| sender::message(content_type, &r.body)).collect();
        let before = server.cpu()?;
        let sent = sender::send(server.address, &messages, CONNECTIONS)?;
        std::thread::sleep(AFTERWARDS);
        Ok(Self { samples: samples(requests), cpu_seconds: server.cpu()? - before, sent })
    }

    fn cpu_seconds_a_million(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.samples as f64
    }
}

fn start(peer: &Peer, cores: &str) -> anyhow::Result<Server> {
    match peer.kind {
        Kind::Sloburn => peer.start(cores, &["--rules=specs.yaml"], &[("specs.yaml", specs_text(SLOS))]),
        Kind::Prometheus | Kind::VictoriaMetrics => peer.start(cores, &[], &[]),
    }
}

/// Samples a second of the floor on the servers' core, over known series.
fn floor(load: &Load) -> anyhow::Result<f64> {
    pin(SERVER_CORE)?;
    let mut floor = Floor::default();
    for request in &load.first {
        assert_eq!(floor.take(&request.body), request.samples);
    }
    // As of the servers: seconds that were run for, whether or not the machine is busy with other things.
    let before = cpu_of(std::process::id())?;
    for request in &load.rest {
        floor.take(&request.body);
    }
    let cpu_seconds = cpu_of(std::process::id())? - before;
    assert!(floor.sum > 0.0);
    pin_sender()?;
    Ok(samples(&load.rest) as f64 / cpu_seconds)
}

pub fn run(peers: &Peers) -> anyhow::Result<()> {
    for (size, scrapes) in [(SMALL, SMALL_SCRAPES), (LARGE, LARGE_SCRAPES)] {
        let load = Load::new(size, scrapes);
        let floor = floor(&load)?;
        println!("{} series, {} bytes a sample, {SLOS} SLOs on them", size.series(), load.bytes_a_sample());
        println!("floor: {:.2} M samples a core second\n", floor / 1e6);
        println!(
            "| | M samples a core second | of the floor | CPU s a million | p50 ms | p99 ms | resident MiB | sloburn is | new series, CPU s a million | sloburn is |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        let mut own: Option<[f64; 2]> = None;
        for peer in peers.iter() {
            let costs = measure(peer, &peer.name, V1, &load, floor, own)?;
            own = own.or(Some(costs));
            if peer.kind == Kind::Sloburn {
                measure(peer, "the same in remote write 2.0", V2, &load.in_v2(), floor, own)?;
            }
        }
        println!();
    }
    Ok(())
}

/// Prints a line; CPU seconds a million samples, of known and of new series.
fn measure(
    peer: &Peer,
    name: &str,
    content_type: &str,
    load: &Load,
    floor: f64,
    own: Option<[f64; 2]>,
) -> anyhow::Result<[f64; 2]> {
    let server = start(peer, SERVER_CORE)?;
    let new = Used::of(&server, content_type, &load.first)?;
    let known = Used::of(&server, content_type, &load.rest)?;
    let resident = server.resident_bytes()? as f64 / MIB;
    let costs = [known.cpu_seconds_a_million(), new.cpu_seconds_a_million()];
    let rate = 1.0 / costs[0];
    let times = |at: usize| own.map_or_else(String::new, |own| format!("{:.1}x", costs[at] / own[at]));
    let quantile = |q: f64| known.sent.latencies.value_at_quantile(q) as f64 / 1e3;
    println!(
        "| {name} | {rate:.2} | {:.0} % | {:.3} | {:.2} | {:.2} | {resident:.0} | {} | {:.2} | {} |",
        100.0 * rate * 1e6 / floor,
        costs[0],
        quantile(0.5),
        quantile(0.99),
        times(0),
        costs[1],
        times(1),
    );
    Ok(costs)
}

/// sloburn on one core and on two.
pub fn cores(peers: &Peers) -> anyhow::Result<()> {
    let Some(peer) = peers.get(Kind::Sloburn) else { return Ok(()) };
    let load = Load::new(SMALL, SMALL_SCRAPES);
    pin_sender()?;
    let mut rates = Vec::new();
    for cores in [SERVER_CORE, BOTH_CORES] {
        let server = start(peer, cores)?;
        Used::of(&server, V1, &load.first)?;
        let known = Used::of(&server, V1, &load.rest)?;
        let rate = known.samples as f64 / known.sent.took.as_secs_f64();
        println!("{cores:>4}: {:.2} M samples/s, {:.3} CPU s a million", rate / 1e6, known.cpu_seconds_a_million());
        rates.push(rate);
    }
    println!("on two cores {:.2} times as fast; the sender shares the second one\n", rates[1] / rates[0]);
    Ok(())
}
