//! Whether memory grows while pods and versions come and go.
//!
//! ```sh
//! cargo run --release --example churn                 # 100,000 series of 1,000 SLOs
//! cargo run --release --example churn -- 100 48       # 100 SLOs of 100 series each, for two days
//! ```
//!
//! An engine and a store live through ten simulated hours, scraped every minute. Each minute two of a hundred pods are
//! replaced, with their series; every ten minutes each service gets a new version, by which its SLI is told apart. Resident
//! memory (`VmRSS`, Linux) and sizes are printed every half an hour. Series stay for an hour after their last sample, and
//! their places are used again when no sender can mean them any more, another hour later. Three times round, and the gaps
//! that the allocator leaves are as many as they will be: then everything has to be level. Fails when the last half an hour
//! ends more than 5 % above that.

#[path = "../benches/support/mod.rs"]
mod support;

use std::process::ExitCode;

use sloburn::engine::{Engine, Event, Settings};
use sloburn::store::{self, Store};
use sloburn::types::{METRIC_NAME, Matcher, Selector, Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};
use support::{METRIC, REQUEST_SERIES, START, resident_bytes, run_again, service_name, services, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVICES: usize = 1_000;
const SERVICE_PODS: usize = 10;
const POD_SERIES: usize = 10;
/// One pod in so many is replaced each minute.
const REPLACED_OF_PODS: usize = 50;
const VERSION_MINUTES: usize = 10;
const HOURS: usize = 10;
/// The SLOs are as old as their period: every slice of every window has been written.
const SCRAPED_DAYS_BEFORE: [i64; 2] = [30, 15];
/// By then all that comes has gone, and its place has been used again.
const LEVEL_MINUTES: usize = 360;
const FIGURE_MINUTES: usize = 30;
const LIMIT: f64 = 1.05;
const MIB: f64 = (1 << 20) as f64;

/// What the series of one pod have in common, and since when they count.
struct Pod {
    job: String,
    name: String,
    instance: String,
    version: String,
    born: usize,
}

impl Pod {
    fn new(service: usize, number: usize, minute: usize) -> Self {
        let job = service_name(service);
        Self {
            name: format!("{job}-{number:08x}"),
            instance: format!("10.{}.{}.{}:8080", number >> 16 & 255, number >> 8 & 255, number & 255),
            version: format!("v{}", minute / VERSION_MINUTES),
            born: minute,
            job,
        }
    }

    /// Adds its series to a batch.
    fn push(&self, minute: usize, at: Timestamp, key: &WireKey, batch: &mut Batch) {
        const HANDLERS: [&str; POD_SERIES / 2] = ["/cart", "/order", "/pay", "/search", "/user"];
        for series in 0..POD_SERIES {
            let labels = [
                ("__name__", METRIC),
                ("code", ["200", "500"][series % 2]),
                ("handler", HANDLERS[series / 2]),
                ("instance", &self.instance),
                ("job", &self.job),
                ("namespace", "shop"),
                ("pod", &self.name),
                ("version", &self.version),
            ];
            let rate = if series.is_multiple_of(2) { 600 } else { series / 9 };
            let value = (rate * (minute - self.born)) as f64;
            batch.push(key, labels, &[Sample { timestamp: at, value }]);
        }
    }
}

/// An engine, a store and what is sent to them.
struct Churn {
    engine: Engine,
    store: Store,
    key: WireKey,
    pods: Vec<Pod>,
    /// How many there have been.
    born: usize,
    batch: Batch,
}

impl Churn {
    fn new(count: usize) -> Self {
        let key = wire_key();
        let mut services = services(count, METRIC);
        for service in &mut services {
            service.version_label = Some("version".to_owned());
        }
        let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 5_000_000, ha: None };
        let selector = Selector::new(vec![Matcher::equal(METRIC_NAME, METRIC)]);
        Self {
            engine: Engine::new(&services, settings, START - Span::days(SCRAPED_DAYS_BEFORE[0])),
            store: Store::new(store::Settings::new(key.clone()), &[selector]),
            pods: (0..count * SERVICE_PODS).map(|number| Pod::new(number / SERVICE_PODS, number, 0)).collect(),
            born: count * SERVICE_PODS,
            batch: Batch::new(),
            key,
        }
    }

    /// Replaces some pods and scrapes all.
    fn pass(&mut self, minute: usize) {
        for place in (minute % REPLACED_OF_PODS..self.pods.len()).step_by(REPLACED_OF_PODS) {
            self.pods[place] = Pod::new(place / SERVICE_PODS, self.born, minute);
            self.born += 1;
        }
        self.scrape(minute, START + Span::minutes(minute as i64));
    }

    fn scrape(&mut self, minute: usize, at: Timestamp) {
        for pods in self.pods.chunks(REQUEST_SERIES / POD_SERIES) {
            self.batch.clear();
            for pod in pods {
                pod.push(minute, at, &self.key, &mut self.batch);
            }
            let now = at + Span::millis(200);
            self.engine.step(Event::Write(&self.batch), now);
            self.store.write(&self.batch, self.engine.findings(), now);
        }
        self.store.expire(at + Span::seconds(30));
        self.engine.step(Event::Tick, at + Span::seconds(30));
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is the result")]
fn main() -> ExitCode {
    if let Some(done) = run_again() {
        return done;
    }
    let argument = |place, default| std::env::args().nth(place).map_or(Ok(default), |number| number.parse::<usize>());
    let (Ok(count @ 1..), Ok(hours @ 7..)) = (argument(1, SERVICES), argument(2, HOURS)) else {
        eprintln!("usage: churn [SLOS [HOURS]], of hours at least 7");
        return ExitCode::from(2);
    };
    let mut churn = Churn::new(count);
    println!("{} live series, {count} SLOs", churn.pods.len() * POD_SERIES);
    println!("simulated  resident MiB  series  wire keys  state MB | of the store: series  MB");
    for days in SCRAPED_DAYS_BEFORE {
        churn.scrape(0, START - Span::days(days));
    }
    let (mut level, mut end) = (None, 0.0);
    for minute in 0..=hours * 60 {
        churn.pass(minute);
        if minute == 0 || !minute.is_multiple_of(FIGURE_MINUTES) {
            continue;
        }
        let snapshot = churn.engine.snapshot(churn.engine.now());
        let Some(resident) = resident_bytes().map(|bytes| bytes as f64 / MIB) else {
            eprintln!("error: no VmRSS in /proc/self/status: this measurement needs Linux");
            return ExitCode::FAILURE;
        };
        let (stats, stored) = (&snapshot.stats, churn.store.stats());
        println!(
            "{:>7}:{:02} {resident:>13.0} {:>7} {:>10} {:>9.1} {:>22} {:>4}",
            minute / 60,
            minute % 60,
            stats.series,
            stats.wire_keys,
            churn.engine.save().len() as f64 / 1e6,
            stored.series,
            stored.used_bytes / 1_000_000,
        );
        if minute >= LEVEL_MINUTES {
            level = level.or(Some(resident));
        }
        end = resident;
    }
    let growth = end / level.unwrap_or(end);
    let verdict = if growth <= LIMIT { "pass" } else { "FAIL" };
    println!("{verdict}: at the end {:+.1} % beside what it was after {LEVEL_MINUTES} min", 100.0 * (growth - 1.0));
    ExitCode::from(u8::from(growth > LIMIT))
}
