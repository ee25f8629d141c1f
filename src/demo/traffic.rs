//! Six simulated services: what each counts, how often it fails, and when.
//!
//! Pure and seeded: [`Traffic::scrape`] is told the time and returns the counters a scrape would have read, so two
//! runs that scrape at the same distances from their start see the same events. Rates follow a daily curve that is
//! anchored to the start, not to the clock on the wall.

use crate::notify::pace::Jitter;
use crate::series::STALE_NAN_BITS;
use crate::types::{Span, Timestamp};
use crate::wire::proto::{Sample, TimeSeries};

/// How far the history reaches back: the period of the demo's SLOs.
pub const HISTORY: Span = Span::days(30);
/// The history begins this much earlier, so that the period is whole.
const HISTORY_LEAD: Span = Span::minutes(10);
/// Most of the history is this coarse; ...
const COARSE_EVERY: Span = Span::minutes(5);
/// ... the last hours are as fine as a usual scrape.
const FINE_EVERY: Span = Span::seconds(15);
const FINE_FOR: Span = Span::hours(2);
/// Scrapes in one request of the coarse part.
const REQUEST_LIMIT_SCRAPES: usize = 120;

/// Requests a second vary by this share over a day, and from one scrape to the next.
const DAY_SWING: f64 = 0.35;
const NOISE: f64 = 0.1;
/// A release takes over the traffic in this time.
const RAMP: Span = Span::seconds(3);
/// Chosen so that few invoices happen to be made in the last hour of the history.
const SEED: u64 = 5;

/// The release that goes wrong, and the one before it.
pub const STABLE: &str = "v1.4.1";
/// See [`STABLE`].
pub const BAD: &str = "v1.4.2";
/// The share of its requests that fail.
pub const BAD_FAILING: f64 = 0.9;
/// Whose release it is.
pub const RELEASED: &str = "checkout";
/// The service whose release fails on trial, the release, and the share of its requests that fail.
pub const TRIED_IN_VAIN: (&str, &str, f64) = ("payments", "v3.1.0", 0.1);
/// The service whose release passes, the release, and the share of its requests that fail.
pub const TRIED_WELL: (&str, &str, f64) = ("catalog", "v8.3.0", 0.000_1);
/// A service with a few events an hour.
pub const LOW_TRAFFIC: &str = "invoices";

/// Ends a series.
const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

/// What a service counts.
#[derive(Clone, Copy, Debug)]
enum Instrument {
    /// Events told apart by one label with two values.
    Outcomes { metric: &'static str, label: &'static str, good: &'static str, bad: &'static str, per_request: f64 },
    /// How long requests took: a classic histogram.
    Durations,
}

/// A service while nothing is wrong.
#[derive(Debug)]
struct Profile {
    job: &'static str,
    version: Option<&'static str>,
    requests_per_second: f64,
    /// Shares of the requests.
    failing: f64,
    slow: f64,
    instruments: &'static [Instrument],
}

const fn http(bad: &'static str) -> Instrument {
    Instrument::Outcomes { metric: "http_requests_total", label: "code", good: "200", bad, per_request: 1.0 }
}

const fn outcomes(metric: &'static str, label: &'static str, good: &'static str, bad: &'static str) -> Instrument {
    Instrument::Outcomes { metric, label, good, bad, per_request: 1.0 }
}

const ORDERS: Instrument = Instrument::Outcomes {
    metric: "checkout_orders_total",
    label: "result",
    good: "placed",
    bad: "failed",
    per_request: 0.25,
};

const FLEET: [Profile; 6] = [
    Profile {
        job: RELEASED,
        version: Some(STABLE),
        requests_per_second: 40.0,
        failing: 0.000_1,
        slow: 0.002,
        instruments: &[http("500"), Instrument::Durations, ORDERS],
    },
    Profile {
        job: "payments",
        version: Some("v3.0.7"),
        requests_per_second: 25.0,
        failing: 0.000_15,
        slow: 0.003,
        instruments: &[http("503"), Instrument::Durations],
    },
    Profile {
        job: "search",
        version: None,
        requests_per_second: 120.0,
        failing: 0.0,
        slow: 0.003_5,
        instruments: &[Instrument::Durations],
    },
    Profile {
        job: "catalog",
        version: Some("v8.2.4"),
        requests_per_second: 300.0,
        failing: 0.000_1,
        slow: 0.0,
        instruments: &[outcomes("grpc_server_handled_total", "grpc_code", "OK", "Unavailable")],
    },
    Profile {
        job: "login",
        version: None,
        requests_per_second: 15.0,
        failing: 0.000_4,
        slow: 0.0,
        instruments: &[http("500")],
    },
    Profile {
        job: LOW_TRAFFIC,
        version: None,
        requests_per_second: 4.0 / 3_600.0,
        failing: 0.0,
        slow: 0.0,
        instruments: &[outcomes("invoices_processed_total", "status", "rendered", "failed")],
    },
];

/// A time during which a service does worse.
#[derive(Debug)]
struct Trouble {
    job: &'static str,
    /// From the start; negative is in the history. The second is exclusive.
    between: (Span, Span),
    failing: f64,
    slow: f64,
}

const TROUBLES: [Trouble; 2] = [
    // Half an hour of errors eleven days ago took a third of the month's budget.
    Trouble { job: "payments", between: (ago(15_840), ago(15_810)), failing: 0.45, slow: 0.0 },
    // For three and a half days queries have been slower than they should be: a ticket, not a page.
    Trouble { job: "search", between: (ago(5_040), Span::days(1)), failing: 0.0, slow: 0.017 },
];

const fn ago(minutes: i64) -> Span {
    Span::minutes(-minutes)
}

/// Upper bounds of the histogram's buckets in seconds, with the shares of fast and of slow requests at or under
/// each. A request under 250 ms is fast.
const BUCKETS: [(&str, f64, f64); 7] = [
    ("0.05", 0.45, 0.0),
    ("0.1", 0.8, 0.0),
    ("0.25", 1.0, 0.0),
    ("0.5", 1.0, 0.6),
    ("1", 1.0, 0.9),
    ("2.5", 1.0, 0.99),
    ("+Inf", 1.0, 1.0),
];
const FAST_MEAN_SECONDS: f64 = 0.07;
const SLOW_MEAN_SECONDS: f64 = 0.6;

/// The times of the scrapes before `start`, ascending, in groups that make one request each.
///
/// The last group holds all of the last hours: SLOs are judged after each request, and no short window is to be
/// judged half filled.
pub fn history(start: Timestamp) -> Vec<Vec<Timestamp>> {
    let steps = |from: Timestamp, to: Timestamp, every: Span| {
        (from.as_millis()..to.as_millis()).step_by(every.as_millis() as usize).map(Timestamp).collect::<Vec<_>>()
    };
    let fine_from = start - FINE_FOR;
    let coarse = steps(start - HISTORY - HISTORY_LEAD, fine_from, COARSE_EVERY);
    let mut groups: Vec<Vec<Timestamp>> = coarse.chunks(REQUEST_LIMIT_SCRAPES).map(<[Timestamp]>::to_vec).collect();
    groups.push(steps(fine_from, start, FINE_EVERY));
    groups
}

/// All services.
#[derive(Debug)]
pub struct Traffic {
    start: Timestamp,
    dice: Jitter,
    scraped_at: Option<Timestamp>,
    rolled_out_at: Option<Timestamp>,
    rolled_back_at: Option<Timestamp>,
    services: Vec<Service>,
}

/// A release that gets a share of the requests.
#[derive(Clone, Copy, Debug)]
struct Trial {
    version: &'static str,
    failing: f64,
    share: f64,
}

#[derive(Debug)]
struct Service {
    profile: &'static Profile,
    /// One for each version that takes requests.
    processes: Vec<Process>,
    /// Requests that fail with the next scrape, besides the usual ones.
    failures_due: f64,
    trial: Option<Trial>,
}

/// What one version of a service has counted since it was started.
#[derive(Debug)]
struct Process {
    version: Option<&'static str>,
    /// In the order of the instruments, each with one sample.
    series: Vec<TimeSeries>,
}

/// What happened to a process between two scrapes.
#[derive(Clone, Copy, Debug)]
struct Load {
    requests: f64,
    failing: f64,
    slow: f64,
}

impl Traffic {
    /// Services whose history ends at `start`.
    pub fn new(start: Timestamp) -> Self {
        let services = FLEET
            .iter()
            .map(|profile| Service { profile, processes: Vec::new(), failures_due: 0.0, trial: None })
            .collect();
        Self {
            start,
            dice: Jitter::seeded(SEED),
            scraped_at: None,
            rolled_out_at: None,
            rolled_back_at: None,
            services,
        }
    }

    /// Where the history ends.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// [`BAD`] begins to replace [`STABLE`].
    pub fn roll_out(&mut self, at: Timestamp) {
        self.rolled_out_at = Some(at);
    }

    /// [`STABLE`] begins to replace [`BAD`].
    pub fn roll_back(&mut self, at: Timestamp) {
        self.rolled_back_at = Some(at);
    }

    /// A release of a service gets this share of its requests from now on.
    pub fn expose(&mut self, (job, version, failing): (&str, &'static str, f64), share: f64) {
        for service in self.services.iter_mut().filter(|service| service.profile.job == job) {
            service.trial = Some(Trial { version, failing, share });
        }
    }

    /// One event of a service fails before the next scrape.
    pub fn fail_once(&mut self, job: &str) {
        for service in self.services.iter_mut().filter(|service| service.profile.job == job) {
            service.failures_due += 1.0;
        }
    }

    /// Adds what a scrape of every service at `at` reads; nothing if that is not after the last one.
    pub fn scrape(&mut self, at: Timestamp, out: &mut Vec<TimeSeries>) {
        if self.scraped_at.is_some_and(|last| at <= last) {
            return;
        }
        let seconds = self.scraped_at.map_or(0.0, |last| at.since(last).as_secs_f64());
        self.scraped_at = Some(at);
        let since_start = at.since(self.start);
        let bad_share = self.bad_share(at);
        for service in &mut self.services {
            let profile = service.profile;
            let released =
                (profile.job == RELEASED).then_some(Trial { version: BAD, failing: BAD_FAILING, share: bad_share });
            let trial = service.trial.or(released);
            let share = trial.map_or(0.0, |trial| trial.share);
            let versions = std::iter::once((profile.version, 1.0 - share, profile.failing))
                .chain(trial.map(|trial| (Some(trial.version), trial.share, trial.failing)));
            for (version, share, failing) in versions {
                let trouble = trouble(profile.job, since_start);
                let expected = profile.requests_per_second * daily(since_start) * seconds * share;
                let noise = 1.0 + NOISE * (2.0 * self.dice.next_unit() - 1.0);
                let load = Load {
                    requests: whole(expected * noise, &mut self.dice),
                    failing: trouble.map_or(failing, |t| t.failing.max(failing)),
                    slow: trouble.map_or(profile.slow, |t| t.slow.max(profile.slow)),
                };
                service.run(version, share > 0.0, load, at, &mut self.dice, out);
            }
        }
    }

    /// The share of requests that the bad release serves.
    fn bad_share(&self, at: Timestamp) -> f64 {
        let ramp = |begun: Option<Timestamp>| {
            let passed = begun.map_or(0.0, |begun| at.since(begun).as_secs_f64());
            (passed / RAMP.as_secs_f64()).clamp(0.0, 1.0)
        };
        ramp(self.rolled_out_at) * (1.0 - ramp(self.rolled_back_at))
    }
}

impl Service {
    /// Lets a version serve its load and report; one that no longer serves ends.
    fn run(
        &mut self,
        version: Option<&'static str>,
        serves: bool,
        load: Load,
        at: Timestamp,
        dice: &mut Jitter,
        out: &mut Vec<TimeSeries>,
    ) {
        let running = self.processes.iter().position(|process| process.version == version);
        match (running, serves) {
            (None, false) => {}
            (Some(index), false) => self.processes.swap_remove(index).end(at, out),
            (running, true) => {
                let index = running.unwrap_or_else(|| {
                    self.processes.push(Process::start(self.profile, version));
                    self.processes.len() - 1
                });
                let failures = std::mem::take(&mut self.failures_due);
                self.processes[index].serve(self.profile.instruments, load, failures, dice);
                self.processes[index].report(at, out);
            }
        }
    }
}

impl Process {
    fn start(profile: &Profile, version: Option<&'static str>) -> Self {
        let instance = format!("{}-0:8080", profile.job);
        let mut series = Vec::new();
        let mut add = |metric: &str, extra: Option<(&str, &str)>| {
            let mut labels = vec![("__name__", metric), ("instance", &instance), ("job", profile.job)];
            labels.extend(extra);
            labels.extend(version.map(|version| ("version", version)));
            labels.sort_unstable();
            series.push(TimeSeries::new(labels, &[(0, 0.0)]));
        };
        for instrument in profile.instruments {
            match *instrument {
                Instrument::Outcomes { metric, label, good, bad, .. } => {
                    add(metric, Some((label, good)));
                    add(metric, Some((label, bad)));
                }
                Instrument::Durations => {
                    for (bound, ..) in BUCKETS {
                        add("http_request_duration_seconds_bucket", Some(("le", bound)));
                    }
                    add("http_request_duration_seconds_count", None);
                    add("http_request_duration_seconds_sum", None);
                }
            }
        }
        Self { version, series }
    }

    /// Counts what happened, `failures` in addition to the load.
    fn serve(&mut self, instruments: &[Instrument], load: Load, failures: f64, dice: &mut Jitter) {
        let mut values = self.series.iter_mut().flat_map(|series| &mut series.samples).map(|sample| &mut sample.value);
        let mut add = |amount: f64| {
            if let Some(value) = values.next() {
                *value += amount;
            }
        };
        for instrument in instruments {
            match *instrument {
                Instrument::Outcomes { per_request, .. } => {
                    let events = whole(load.requests * per_request, dice);
                    let failed = whole(events * load.failing, dice).min(events);
                    add(events - failed);
                    add(failed + failures);
                }
                Instrument::Durations => {
                    let slow = whole(load.requests * load.slow, dice).min(load.requests);
                    let fast = load.requests - slow;
                    for (_, of_fast, of_slow) in BUCKETS {
                        add((fast * of_fast).round() + (slow * of_slow).round());
                    }
                    add(load.requests);
                    add(fast * FAST_MEAN_SECONDS + slow * SLOW_MEAN_SECONDS);
                }
            }
        }
    }

    fn report(&mut self, at: Timestamp, out: &mut Vec<TimeSeries>) {
        self.series.iter_mut().flat_map(|s| &mut s.samples).for_each(|sample| sample.timestamp = at.as_millis());
        out.extend_from_slice(&self.series);
    }

    fn end(mut self, at: Timestamp, out: &mut Vec<TimeSeries>) {
        for series in &mut self.series {
            series.samples = vec![Sample { value: STALE, timestamp: at.as_millis() }];
        }
        out.append(&mut self.series);
    }
}

fn trouble(job: &str, since_start: Span) -> Option<&'static Trouble> {
    TROUBLES.iter().find(|t| t.job == job && t.between.0 <= since_start && since_start < t.between.1)
}

/// The daily curve: 1 at the start.
fn daily(since_start: Span) -> f64 {
    1.0 + DAY_SWING * (since_start.as_days_f64() * std::f64::consts::TAU).sin()
}

/// A whole number whose mean over many calls is `expected`.
fn whole(expected: f64, dice: &mut Jitter) -> f64 {
    (expected + dice.next_unit()).floor()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const START: Timestamp = Timestamp(1_790_000_000_000);

    fn scrape(traffic: &mut Traffic, at: Timestamp) -> BTreeMap<String, f64> {
        let mut out = Vec::new();
        traffic.scrape(at, &mut out);
        let name = |series: &TimeSeries| {
            series.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect::<Vec<_>>().join(",")
        };
        out.iter().map(|series| (name(series), series.samples[0].value)).collect()
    }

    /// The sum of the series with all these `name=value` parts.
    fn sum(series: &BTreeMap<String, f64>, parts: &[&str]) -> f64 {
        let has = |name: &str| parts.iter().all(|part| name.split(',').any(|own| own == *part));
        series.iter().filter(|(name, _)| has(name)).map(|(_, value)| value).sum()
    }

    /// Whether all series of a version hold the marker, bit for bit.
    fn ended(series: &BTreeMap<String, f64>, version: &str) -> bool {
        let mut own = series.iter().filter(|(name, _)| name.contains(version)).peekable();
        own.peek().is_some() && own.all(|(_, value)| value.to_bits() == STALE.to_bits())
    }

    #[test]
    fn the_history_is_whole_and_in_order() {
        let requests = history(START);
        let times: Vec<Timestamp> = requests.iter().flatten().copied().collect();
        assert!(times.is_sorted_by(|a, b| a < b));
        assert!(START.since(times[0]) > HISTORY && START.since(*times.last().unwrap()) <= FINE_EVERY);
        assert_eq!(requests.last().unwrap()[0], START - FINE_FOR);
        assert!(requests.iter().rev().skip(1).all(|request| request.len() <= REQUEST_LIMIT_SCRAPES));
    }

    #[test]
    fn the_same_times_give_the_same_events() {
        let run = || {
            let mut traffic = Traffic::new(START);
            (0..50).map(|i| scrape(&mut traffic, START + Span::seconds(i))).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn counters_only_grow_and_histograms_hold_together() {
        let mut traffic = Traffic::new(START);
        let mut before = scrape(&mut traffic, START);
        for second in 1..100 {
            let now = scrape(&mut traffic, START + Span::seconds(second));
            assert!(now.iter().all(|(name, value)| before[name] <= *value));
            let bucket = |le: &str| sum(&now, &["job=search", &format!("le={le}")]);
            assert!(BUCKETS.is_sorted_by(|a, b| bucket(a.0) <= bucket(b.0)));
            assert_eq!(bucket("+Inf"), sum(&now, &["__name__=http_request_duration_seconds_count", "job=search"]));
            before = now;
        }
    }

    #[test]
    fn troubles_show_only_while_they_last() {
        let failing = |from: Span, to: Span| {
            let mut traffic = Traffic::new(START);
            scrape(&mut traffic, START + from);
            let end = scrape(&mut traffic, START + to);
            sum(&end, &["job=payments", "code=503"]) / sum(&end, &["job=payments", "__name__=http_requests_total"])
        };
        assert!((failing(ago(15_840), ago(15_811)) - 0.45).abs() < 0.01);
        assert!(failing(ago(15_900), ago(15_841)) < 0.001);
        assert!(failing(ago(15_810), ago(15_780)) < 0.001);
    }

    #[test]
    fn releases_take_over_and_end() {
        let mut traffic = Traffic::new(START);
        let at = |second| START + Span::seconds(second);
        scrape(&mut traffic, at(0));
        traffic.roll_out(at(0));
        let both = scrape(&mut traffic, at(1));
        let old = ["__name__=http_requests_total", "version=v1.4.1"];
        let new = ["__name__=http_requests_total", "version=v1.4.2"];
        assert!(sum(&both, &old) > 0.0 && sum(&both, &new) > 0.0);
        let after = scrape(&mut traffic, at(4));
        assert!(ended(&after, "v1.4.1"));
        let failed = sum(&after, &["version=v1.4.2", "code=500"]) / sum(&after, &new);
        assert!((failed - BAD_FAILING).abs() < 0.03, "{failed}");
        let gone = scrape(&mut traffic, at(5));
        assert!(gone.keys().all(|name| !name.contains("v1.4.1")));
        traffic.roll_back(at(5));
        let back = scrape(&mut traffic, at(9));
        assert!(sum(&back, &old) > 0.0, "counts anew");
        assert!(ended(&back, "v1.4.2"));
    }

    #[test]
    fn a_failure_is_counted_once() {
        let mut traffic = Traffic::new(START);
        scrape(&mut traffic, START);
        traffic.fail_once(LOW_TRAFFIC);
        let failed = ["job=invoices", "status=failed"];
        assert_eq!(sum(&scrape(&mut traffic, START + Span::seconds(1)), &failed), 1.0);
        assert_eq!(sum(&scrape(&mut traffic, START + Span::seconds(2)), &failed), 1.0);
    }
}
