//! Remote write: what a million samples cost.

use std::time::{Duration, Instant};

use prost::Message as _;
use sloburn::clock;
use sloburn::types::Span;
use sloburn::wire::proto::WriteRequest;

use crate::sender::{self, CONNECTIONS, Sent, V1, V2};
use crate::server::{BOTH_CORES, Kind, Peer, Peers, SERVER_CORE, Server, own_cpu, pin, pin_sender};
use crate::support::{Fleet, Floor, INTERVAL, Request, Size, in_v2, specs_text};

const SLOS: usize = 450;
const SMALL: Size = Size { services: SLOS, instances: 2, children: 110 };
const LARGE: Size = Size { services: SLOS, instances: 20, children: 110 };
/// Scrapes of known series, after the first: some six million samples, so that what a server puts off falls due while it
/// is measured. VictoriaMetrics takes a third more a sample for 60 scrapes than for 15, when it has not merged yet what
/// it has gathered.
const SMALL_SCRAPES: usize = 60;
const LARGE_SCRAPES: usize = 6;
/// Everybody takes turns so often, each time from an empty folder, and shows the least that it has used: what else the
/// machine does only ever adds to it (Chen and Revels, "Robust benchmarking in noisy environments", 2016).
const SMALL_ROUNDS: usize = 6;
const LARGE_ROUNDS: usize = 3;
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

    /// A scrape of what each deployment has started.
    fn of_deployments(size: Size, deployments: usize) -> Self {
        let start = clock::now() - Span(INTERVAL.as_millis() * (deployments as i64 + 1));
        let scrape =
            |number: usize| Fleet::deployed(size, number).scrape(0, start + Span(INTERVAL.as_millis() * number as i64));
        Self { first: scrape(0), rest: (1..=deployments).flat_map(scrape).collect() }
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
    fn of(server: &Server, content_type: &str, requests: &[Request], connections: usize) -> anyhow::Result<Self> {
        let messages: Vec<_> = requests.iter().map(|r| sender::message(content_type, &r.body)).collect();
        let before = server.cpu()?;
        let sent = sender::send(server.address, &messages, connections)?;
        std::thread::sleep(AFTERWARDS);
        Ok(Self { samples: samples(requests), cpu_seconds: server.cpu()? - before, sent })
    }

    fn cpu_seconds_a_million(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.samples as f64
    }
}

/// Who takes part, and how.
struct Contender<'a> {
    peer: &'a Peer,
    name: String,
    args: &'static [&'static str],
    content_type: &'static str,
    load: &'a Load,
}

/// All that there are to measure, and how.
fn contenders<'a>(peers: &'a Peers, load: &'a Load, in_v2: &'a Load) -> Vec<Contender<'a>> {
    let mut contenders = Vec::new();
    for peer in peers.iter() {
        let plain = |name: &str, args| Contender { peer, name: name.to_owned(), args, content_type: V1, load };
        contenders.push(plain(&peer.name, &[]));
        if peer.kind == Kind::Sloburn {
            let as_usual = plain("the same in remote write 2.0", &[]);
            contenders.push(Contender { content_type: V2, load: in_v2, ..as_usual });
            contenders.push(plain("sloburn without samples for queries", &["--store.slis=false"]));
        }
    }
    contenders
}

/// What a server takes for one load.
#[derive(Clone, Copy)]
struct Costs {
    /// CPU seconds a million samples of the first scrape, all of whose series are new, and of the rest.
    new: f64,
    rest: f64,
    p50_ms: f64,
    p99_ms: f64,
    resident_mib: f64,
}

impl Costs {
    fn of(Contender { peer, args, content_type, load, .. }: &Contender<'_>) -> anyhow::Result<Self> {
        let server = start(peer, SERVER_CORE, args)?;
        let new = Used::of(&server, content_type, &load.first, CONNECTIONS)?;
        let rest = Used::of(&server, content_type, &load.rest, CONNECTIONS)?;
        let quantile = |q: f64| rest.sent.latencies.value_at_quantile(q) as f64 / 1e3;
        Ok(Self {
            new: new.cpu_seconds_a_million(),
            rest: rest.cpu_seconds_a_million(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            resident_mib: server.resident_bytes()? as f64 / MIB,
        })
    }

    /// The least of each but memory, of which it is the most.
    fn best(self, other: Self) -> Self {
        Self {
            new: self.new.min(other.new),
            rest: self.rest.min(other.rest),
            p50_ms: self.p50_ms.min(other.p50_ms),
            p99_ms: self.p99_ms.min(other.p99_ms),
            resident_mib: self.resident_mib.max(other.resident_mib),
        }
    }
}

/// Everybody once: what each has used at least so far.
fn take_turns(contenders: &[Contender<'_>], costs: &mut [Option<Costs>]) -> anyhow::Result<()> {
    for (contender, best) in contenders.iter().zip(costs) {
        let new = Costs::of(contender)?;
        *best = Some(best.map_or(new, |best| best.best(new)));
    }
    Ok(())
}

fn start(peer: &Peer, cores: &str, args: &[&str]) -> anyhow::Result<Server> {
    match peer.kind {
        Kind::Sloburn => {
            let args = [&["--rules=specs.yaml"], args].concat();
            peer.start(cores, &args, &[("specs.yaml", specs_text(SLOS))])
        }
        Kind::Prometheus | Kind::VictoriaMetrics => peer.start(cores, args, &[]),
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
    let before = own_cpu();
    for request in &load.rest {
        floor.take(&request.body);
    }
    let cpu_seconds = own_cpu() - before;
    assert!(floor.sum > 0.0);
    pin_sender()?;
    Ok(samples(&load.rest) as f64 / cpu_seconds)
}

pub fn run(peers: &Peers) -> anyhow::Result<()> {
    for (size, scrapes, rounds) in [(SMALL, SMALL_SCRAPES, SMALL_ROUNDS), (LARGE, LARGE_SCRAPES, LARGE_ROUNDS)] {
        let load = Load::new(size, scrapes);
        let in_v2 = load.in_v2();
        println!("{} series, {} bytes a sample, {SLOS} SLOs on them", size.series(), load.bytes_a_sample());
        let contenders = contenders(peers, &load, &in_v2);
        let (mut floor_rate, mut costs) = (0.0_f64, vec![None::<Costs>; contenders.len()]);
        for round in 1..=rounds {
            floor_rate = floor_rate.max(floor(&load)?);
            take_turns(&contenders, &mut costs)?;
            eprintln!("round {round} of {rounds} is done");
        }
        println!("floor: {:.2} M samples a core second\n", floor_rate / 1e6);
        println!(
            "| | M samples a core second | of the floor | CPU s a million | p50 ms | p99 ms | resident MiB | sloburn is | new series, CPU s a million | sloburn is |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        let own = costs.first().copied().flatten();
        for (place, (contender, costs)) in contenders.iter().zip(&costs).enumerate() {
            let (Some(costs), Some(own)) = (costs, own) else { continue };
            print(&contender.name, costs, floor_rate, (place > 0).then_some(&own));
        }
        println!();
    }
    Ok(())
}

/// Prints a line, beside our own.
fn print(name: &str, costs: &Costs, floor_rate: f64, own: Option<&Costs>) {
    let Costs { new, rest, p50_ms, p99_ms, resident_mib } = *costs;
    println!(
        "| {name} | {:.2} | {:.0} % | {rest:.3} | {p50_ms:.2} | {p99_ms:.2} | {resident_mib:.0} | {} | {new:.2} | {} |",
        1.0 / rest,
        100.0 * 1e6 / rest / floor_rate,
        times(rest, own.map(|own| own.rest)),
        times(new, own.map(|own| own.new)),
    );
}

/// How many times our own cost it is.
fn times(cost: f64, own: Option<f64>) -> String {
    own.map_or_else(String::new, |own| format!("{:.1}x", cost / own))
}

/// Deployments that follow each other, each of which replaces every pod, and with it every series: together so many new
/// series that what a server puts off falls due while it is measured.
const DEPLOYMENTS: usize = 6;
const DEPLOYMENTS_ROUNDS: usize = 4;

/// What new series cost while one deployment after another replaces all that there are.
pub fn deployments(peers: &Peers) -> anyhow::Result<()> {
    let load = Load::of_deployments(SMALL, DEPLOYMENTS);
    let in_v2 = load.in_v2();
    println!("{DEPLOYMENTS} deployments after the first, each of {} new series, {SLOS} SLOs on them", SMALL.series());
    let contenders = contenders(peers, &load, &in_v2);
    let mut costs = vec![None::<Costs>; contenders.len()];
    for round in 1..=DEPLOYMENTS_ROUNDS {
        take_turns(&contenders, &mut costs)?;
        eprintln!("round {round} of {DEPLOYMENTS_ROUNDS} is done");
    }
    println!(
        "\n| | CPU s a million new series | sloburn is | p50 ms | p99 ms | resident MiB |\n|---|---|---|---|---|---|"
    );
    let own = costs.first().copied().flatten();
    for (place, (contender, costs)) in contenders.iter().zip(&costs).enumerate() {
        let Some(Costs { rest, p50_ms, p99_ms, resident_mib, .. }) = *costs else { continue };
        let ratio = times(rest, own.filter(|_| place > 0).map(|own| own.rest));
        println!("| {} | {rest:.2} | {ratio} | {p50_ms:.2} | {p99_ms:.2} | {resident_mib:.0} |", contender.name);
    }
    println!();
    Ok(())
}

/// Scrapes of known series for one core beside two: long enough for connections to be of no account.
const CORES_SCRAPES: usize = 30;
const CORES_ROUNDS: usize = 8;
/// More than are taken at the same time, so that no thread of the server waits for the sender.
const CORES_CONNECTIONS: usize = 16;

/// How fast samples are taken, and by whom the cores are used meanwhile.
#[derive(Clone, Copy)]
struct Pace {
    /// Samples a second.
    rate: f64,
    /// CPU seconds a second.
    server: f64,
    sender: f64,
}

impl Pace {
    fn of(peer: &Peer, cores: &str, load: &Load) -> anyhow::Result<Self> {
        let server = start(peer, cores, &[])?;
        Used::of(&server, V1, &load.first, CORES_CONNECTIONS)?;
        let before = own_cpu();
        let known = Used::of(&server, V1, &load.rest, CORES_CONNECTIONS)?;
        let (seconds, sender) = (known.sent.took.as_secs_f64(), own_cpu() - before);
        let rate = known.samples as f64 / seconds;
        Ok(Self { rate, server: known.cpu_seconds / seconds, sender: sender / seconds })
    }

    /// Samples a second if it had all of `cores` as it had its part.
    fn whole(self, cores: f64) -> f64 {
        self.rate / self.server.min(cores) * cores
    }
}

/// Samples a second of so many floors at the same time, each on the whole load.
fn floors(load: &Load, threads: usize) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut floor = Floor::default();
                let requests = load.first.iter().chain(&load.rest);
                let taken: usize = requests.map(|request| floor.take(&request.body)).sum();
                assert_eq!(taken, samples(&load.first) + samples(&load.rest));
            });
        }
    });
    (threads * (samples(&load.first) + samples(&load.rest))) as f64 / start.elapsed().as_secs_f64()
}

/// sloburn on one core and on two, and what two cores of this machine give to whom needs nothing from the other.
pub fn cores(peers: &Peers) -> anyhow::Result<()> {
    let Some(peer) = peers.get(Kind::Sloburn) else { return Ok(()) };
    let load = Load::new(SMALL, CORES_SCRAPES);
    let (mut best, mut floor) = ([None::<Pace>; 2], [0.0_f64; 2]);
    for _ in 0..CORES_ROUNDS {
        pin(BOTH_CORES)?;
        for (threads, floor) in (1..).zip(&mut floor) {
            *floor = floor.max(floors(&load, threads));
        }
        pin_sender()?;
        for ((count, cores), best) in [(1.0, SERVER_CORE), (2.0, BOTH_CORES)].into_iter().zip(&mut best) {
            let pace = Pace::of(peer, cores, &load)?;
            *best = Some(best.filter(|best| best.whole(count) > pace.whole(count)).unwrap_or(pace));
        }
    }
    let [Some(one), Some(two)] = best else { return Ok(()) };
    for (cores, Pace { rate, server, sender }) in [SERVER_CORE, BOTH_CORES].into_iter().zip([one, two]) {
        println!("{cores:>4}: {:.2} M samples/s; cores used: {server:.2} by it, {sender:.2} by the sender", rate / 1e6);
    }
    println!(
        "on two cores {:.2} times as fast with the sender on the second; {:.2} times if it had both as it had its part; \
         two floors at once {:.2} times one\n",
        two.rate / one.rate,
        two.whole(2.0) / one.whole(1.0),
        floor[1] / floor[0],
    );
    Ok(())
}
