//! What judging releases costs: a whole engine with 1,000 rollouts in progress, scrape for scrape, beside the same engine
//! with the same samples and specs without `canary` blocks.
//!
//! Every service has two targets of the stable version and two of the canary, with 21 series each, and five checks of
//! different kinds. Targets are scraped every 15 s, spread over the interval as Prometheus does; requests hold 2,000
//! samples; time passes in ticks between them, and snapshots are taken as often as the daemon takes them. Counted is
//! the CPU time of the engine's thread: steps and snapshots, not the making of requests.
//!
//! ```sh
//! cargo bench --bench rollouts                      # 1,000 rollouts from the start, then 100 rollouts for six hours
//! cargo bench --bench rollouts -- ROLLOUTS MINUTES  # one run of that size
//! ```
//!
//! Bytes are resident ones, as the system counts them: good to a fifth at 1,000 rollouts, and of no use at 100. What is
//! saved of a rollout in a checkpoint is exact, and rises and falls with the inputs that wait to be put on record (256
//! at most). The digest is of all records and all verdicts shown: two builds that judge alike print the same.

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;

use criterion::measurement::{Measurement, WallTime};
use sha2::{Digest, Sha256};
use sloburn::engine::{Effects, Engine, Event, Settings, Snapshot};
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Interned, Limits, Sample, WireKey};
use support::{INTERVAL, REQUEST_SERIES, START, service_name, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of a core, at a scrape every 15 s of 1,000 rollouts.
const AIM_PERCENT: f64 = 5.0;
const AIM_ROLLOUTS: f64 = 1_000.0;

/// Scrapes of the stable version alone: the cold start is over, the baseline has been learnt.
const STABLE_SCRAPES: usize = 8;
/// Scrapes that are measured at a time.
const MEASURED_SCRAPES: usize = 16;
/// As the daemon has it.
const TICK: Span = Span::millis(250);
const SNAPSHOT_EVERY: Span = Span::millis(100);
const SNAPSHOT_SHARE: i64 = 20;
/// From a scrape to its request's arrival.
const LATENCY: Span = Span::millis(200);

/// Requests that each target of a version serves between two scrapes.
const VERSIONS: [(&str, f64); 2] = [("v1", 600.0), ("v2", 150.0)];
const REPLICAS: usize = 2;
/// The bounds of a client library's histogram, and the share of requests below each.
const BUCKETS: [(&str, f64); 12] = [
    ("0.005", 0.02),
    ("0.01", 0.11),
    ("0.025", 0.34),
    ("0.05", 0.61),
    ("0.1", 0.86),
    ("0.25", 0.984),
    ("0.5", 0.997),
    ("1", 0.9995),
    ("2.5", 1.0),
    ("5", 1.0),
    ("10", 1.0),
    ("+Inf", 1.0),
];

const SLIS: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: NAME}
spec:
  versionLabel: version
  slis:
    - name: authorization
      events: {good: 'auth_requests_total{job="NAME",outcome="approved"}', total: 'auth_requests_total{job="NAME"}'}
    - name: errors
      events: {bad: 'http_requests_total{job="NAME",code=~"5.."}', total: 'http_requests_total{job="NAME"}'}
    - name: latency
      latency: {histogram: 'http_request_duration_seconds{job="NAME"}', threshold: 250ms}
    - name: settlement
      events: {bad: 'settlements_total{job="NAME",result="mismatch"}', total: 'settlements_total{job="NAME"}'}
  slos:
    - {name: availability, sli: errors, objective: 99.5}
"#;
const CANARY: &str = r"
  canary:
    baseline: stable
    window: 5m
    confidence: 99
    minSamples: 200
    steps:
      - {weight: 20, hold: 12h}
      - {weight: 50, hold: 1h}
    checks:
      - {sli: authorization, dropOver: 0.3pp}
      - {sli: errors, above: 0.4%}
      - {sli: latency, quantile: 0.99, regressionOver: 50ms}
      - {sli: settlement, regressionOver: 20%}
      - {slo: availability, burnRateOver: 2, for: 5m, action: pause}
    deadline: 24h
";

/// One series, and what it rises by.
struct Series {
    interned: Interned,
    value: f64,
    rise: Rise,
}

/// Of a target's requests.
#[derive(Clone, Copy)]
enum Rise {
    /// About this share.
    Share(f64),
    /// The rest of those whose other part is about this share.
    Rest(f64),
    /// All.
    All,
}

/// One request: some targets' series, or parts of them.
struct Request {
    batch: Batch,
    series: Vec<Series>,
    /// Of each series, its target's number.
    targets: Vec<usize>,
    /// From the beginning of a scrape.
    arrival: Span,
}

struct Run {
    engine: Engine,
    requests: Vec<Request>,
    services: usize,
    scrapes: usize,
    snapshot: Snapshot,
    next_snapshot: Timestamp,
    /// CPU nanoseconds.
    cost: u64,
    records: usize,
    digest: Sha256,
}

/// Per rollout.
#[derive(Clone, Copy)]
struct Figures {
    scrapes: usize,
    cpu_us: f64,
    resident_bytes: usize,
    saved_bytes: usize,
}

fn specs(count: usize, canary: &str) -> Vec<Service> {
    let text = |number: usize| format!("{SLIS}{canary}").replace("NAME", &service_name(number));
    let sources: Vec<Source> = (0..count).map(|number| Source::new("fleet.yaml", text(number))).collect();
    let (services, report) = parse(&sources);
    assert_eq!(services.len(), count, "{report:?}");
    services
}

/// A series of a target: its metric, its own label, and what it rises by.
type Exposed = (&'static str, (&'static str, &'static str), Rise);

/// What a target exposes.
fn exposed() -> Vec<Exposed> {
    let mut exposed = vec![
        ("auth_requests_total", ("outcome", "approved"), Rise::Rest(0.15)),
        ("auth_requests_total", ("outcome", "declined"), Rise::Share(0.15)),
        ("http_requests_total", ("code", "200"), Rise::Rest(0.001)),
        ("http_requests_total", ("code", "404"), Rise::Share(0.01)),
        ("http_requests_total", ("code", "500"), Rise::Share(0.001)),
        ("settlements_total", ("result", "match"), Rise::Rest(0.02)),
        ("settlements_total", ("result", "mismatch"), Rise::Share(0.02)),
        ("http_request_duration_seconds_count", ("handler", "/pay"), Rise::All),
        ("http_request_duration_seconds_sum", ("handler", "/pay"), Rise::All),
    ];
    let bucket = |(bound, share)| ("http_request_duration_seconds_bucket", ("le", bound), Rise::Share(share));
    exposed.extend(BUCKETS.map(bucket));
    exposed
}

/// In the order of their scrapes: the targets of a service lie a quarter of the interval apart.
fn requests(services: usize, key: &WireKey) -> Vec<Request> {
    let targets = services * VERSIONS.len() * REPLICAS;
    let exposed = exposed();
    let mut requests: Vec<Request> = Vec::new();
    for target in 0..targets {
        let (replica, service) = (target / services, target % services);
        let (job, instance) = (service_name(service), format!("10.{}.{}.{replica}:8080", service / 250, service % 250));
        for (name, (label, value), rise) in &exposed {
            let full = requests.last().is_none_or(|request| request.series.len() >= REQUEST_SERIES);
            if full {
                let arrival = Span::ZERO;
                requests.push(Request { batch: Batch::new(), series: Vec::new(), targets: Vec::new(), arrival });
            }
            let request = requests.last_mut().expect("one was added");
            let version = VERSIONS[replica % VERSIONS.len()].0;
            let mut labels =
                [("__name__", *name), ("instance", &instance), ("job", &job), (label, value), ("version", version)];
            labels.sort_unstable();
            let interned = request.batch.intern(key, labels);
            request.series.push(Series { interned, value: 0.0, rise: *rise });
            request.targets.push(target);
            request.arrival = offset(target, targets) + LATENCY;
        }
    }
    requests
}

fn offset(target: usize, targets: usize) -> Span {
    Span(INTERVAL.as_millis() * target as i64 / targets as i64)
}

/// A number in 0..1 that any of the three changes.
fn noise(target: usize, scrape: usize, kind: u64) -> f64 {
    let mut x = (target as u64) << 40 ^ (scrape as u64) << 8 ^ kind;
    for multiplier in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        x = (x ^ x >> 30).wrapping_mul(multiplier);
    }
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

impl Request {
    /// The next sample of every series whose version is there.
    fn fill(&mut self, services: usize, scrape: usize, start: Timestamp) {
        let all = services * VERSIONS.len() * REPLICAS;
        self.batch.clear_series();
        for (series, &target) in self.series.iter_mut().zip(&self.targets) {
            let version = target / services % VERSIONS.len();
            if version == 1 && scrape < STABLE_SCRAPES {
                continue;
            }
            let events = (VERSIONS[version].1 * (0.8 + 0.4 * noise(target, scrape, 0))).round();
            let part = |share: f64| (events * share + noise(target, scrape, share.to_bits())).floor().min(events);
            series.value += match series.rise {
                Rise::Share(share) => part(share),
                Rise::Rest(share) => events - part(share),
                Rise::All => events,
            };
            let timestamp = start + offset(target, all);
            self.batch.push_interned(&series.interned, Sample { timestamp, value: series.value });
        }
    }
}

/// The CPU time of this thread, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("this measurement needs Linux")
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("this measurement needs Linux");
    line.trim().strip_suffix(" kB").and_then(|kib| kib.trim().parse::<usize>().ok()).unwrap_or_default() * 1024
}

impl Run {
    fn new(services: usize, canary: &str) -> Self {
        let key = wire_key();
        let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 5_000_000, ha: None };
        let engine = Engine::new(&specs(services, canary), settings, START);
        let requests = requests(services, &key);
        let (snapshot, next_snapshot) = (Snapshot::default(), START);
        let (cost, records, digest) = (0, 0, Sha256::new());
        Self { engine, requests, services, scrapes: 0, snapshot, next_snapshot, cost, records, digest }
    }

    fn step(&mut self, event: Event<'_>, now: Timestamp) -> Effects {
        let effects = self.engine.step(event, now);
        let is_news = !effects.alerts.is_empty() || !effects.records.is_empty();
        if is_news || now >= self.next_snapshot {
            let clock = WallTime.start();
            self.snapshot = self.engine.snapshot(now);
            let cost = Span(WallTime.end(clock).as_millis() as i64 * SNAPSHOT_SHARE);
            self.next_snapshot = now + cost.max(SNAPSHOT_EVERY);
        }
        effects
    }

    fn scrape(&mut self) {
        let start = START + Span(INTERVAL.as_millis() * self.scrapes as i64);
        let mut requests = std::mem::take(&mut self.requests);
        for request in &mut requests {
            request.fill(self.services, self.scrapes, start);
        }
        let mut told = Vec::new();
        let begun = cpu_ns();
        let mut now = start;
        for request in requests.iter().filter(|request| !request.batch.is_empty()) {
            let arrival = start + request.arrival;
            while now + TICK <= arrival {
                now = now + TICK;
                told.append(&mut self.step(Event::Tick, now).records);
            }
            let mut effects = self.step(Event::Write(&request.batch), arrival);
            assert_eq!(effects.written.samples, request.batch.sample_count() as u64);
            told.append(&mut effects.records);
        }
        self.cost += cpu_ns() - begun;
        self.requests = requests;
        self.scrapes += 1;
        for record in told {
            self.digest.update(serde_json::to_vec(&record).expect("a record"));
            self.records += 1;
        }
    }

    /// Goes on to this many scrapes, of which the last ones are measured.
    fn measure(&mut self, scrapes: usize) -> Figures {
        while self.scrapes + MEASURED_SCRAPES < scrapes {
            self.scrape();
        }
        self.cost = 0;
        let first = self.scrapes;
        while self.scrapes < scrapes {
            self.scrape();
        }
        let measured = (self.scrapes - first) * self.services;
        let verdicts = self.snapshot.services.iter().filter_map(|service| service.canary.as_ref()?.current.clone());
        for rollout in verdicts {
            self.digest.update(format!("{:?}", rollout.verdict));
        }
        Figures {
            scrapes: self.scrapes,
            cpu_us: self.cost as f64 / 1e3 / measured as f64,
            resident_bytes: resident_bytes(),
            saved_bytes: self.engine.save().len() / self.services,
        }
    }
}

/// Measures at each of these numbers of scrapes; whether the aim is met.
#[expect(clippy::print_stdout, reason = "the table is the result")]
fn run(services: usize, at: &[usize]) -> bool {
    let samples = services * VERSIONS.len() * REPLICAS * exposed().len();
    println!("{services} rollouts, {samples} samples a scrape:");
    println!(
        "{:>8} {:>10} {:>10} {:>10} {:>8} {:>6} {:>10} {:>9}",
        "scrapes", "samples us", "with us", "judging us", "% core", "aim", "bytes", "saved"
    );
    let mut runs = ["", CANARY].map(|canary| Run::new(services, canary));
    let mut met = true;
    let mut table: Vec<Vec<Figures>> = Vec::new();
    for run in &mut runs {
        let before = resident_bytes();
        let figures = at.iter().map(|scrapes| {
            let figures = run.measure(*scrapes);
            Figures { resident_bytes: figures.resident_bytes.saturating_sub(before) / services, ..figures }
        });
        table.push(figures.collect());
    }
    for (plain, judged) in table[0].iter().zip(&table[1]) {
        // Microseconds a rollout and scrape, of a scrape's time, for so many rollouts.
        let percent = judged.cpu_us * AIM_ROLLOUTS / (INTERVAL.as_millis() as f64 * 1e3) * 100.0;
        met &= percent < AIM_PERCENT;
        let verdict = if percent < AIM_PERCENT { "pass" } else { "FAIL" };
        println!(
            "{:>8} {:>10.1} {:>10.1} {:>10.1} {percent:>8.2} {AIM_PERCENT:>5}% {:>10} {:>9}  {verdict}",
            judged.scrapes,
            plain.cpu_us,
            judged.cpu_us,
            judged.cpu_us - plain.cpu_us,
            judged.resident_bytes.saturating_sub(plain.resident_bytes),
            judged.saved_bytes.saturating_sub(plain.saved_bytes),
        );
    }
    let [_, judged] = &runs;
    let states = judged.snapshot.services.iter().filter_map(|service| service.canary.as_ref()?.current.clone());
    let digest: [u8; 8] = std::array::from_fn(|at| judged.digest.clone().finalize()[at]);
    let digest = u64::from_be_bytes(digest);
    println!("{} records, {} rollouts in progress, digest {digest:016x}", judged.records, states.count());
    met
}

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let per_hour = (3_600_000 / INTERVAL.as_millis()) as usize;
    let met = if let [services, minutes] = numbers[..] {
        run(services, &[STABLE_SCRAPES + minutes * per_hour / 60])
    } else {
        let early = run(1_000, &[STABLE_SCRAPES + MEASURED_SCRAPES, STABLE_SCRAPES + 3 * MEASURED_SCRAPES]);
        let late = run(100, &[per_hour / 6, per_hour, 6 * per_hour]);
        early && late
    };
    ExitCode::from(u8::from(!met))
}
