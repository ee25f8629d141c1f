//! Simulated releases: two versions of a service, what they serve, and what a scrape of them reads.
//!
//! Counters live: requests are drawn (Poisson, seeded) for every stretch of time in which the exposure stays the same, and
//! a scrape reads one process at its own moment, as Prometheus does. Two processes of the stable version and one of the
//! candidate are scraped apart from each other. The candidate takes traffic from its deployment on, before its first scrape.

use sloburn::types::{Labels, Span, Timestamp};
use sloburn::wire::proto::TimeSeries;

pub use crate::canary::traffic::{Lognormal, Random};

/// A service as its metrics show it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name, and that of its file in `rules/`.
    pub service: &'static str,
    /// The label that tells versions apart, and the values of both.
    pub version_label: &'static str,
    pub stable: &'static str,
    pub candidate: &'static str,
    /// Requests a second of customers, all versions together.
    pub rps: f64,
    /// Between two scrapes of a process.
    pub scrape: Span,
    /// Labels of every series.
    pub labels: &'static [(&'static str, &'static str)],
    /// Cohorts: a label and its value, and the share of the customers' requests.
    pub strata: &'static [(&'static str, &'static str, f64)],
    /// What is counted once a request.
    pub counters: &'static [Counter],
    /// The base name of the histogram of latencies.
    pub histogram: &'static str,
    /// Journeys walked from outside, one a minute.
    pub probe: Option<&'static [(&'static str, &'static str)]>,
    /// What reaches the candidate at each step.
    pub steps: &'static [Exposure],
}

/// Good and bad events.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    pub metric: &'static str,
    pub label: &'static str,
    pub good: &'static str,
    pub bad: &'static str,
    /// One series a cohort.
    pub by_stratum: bool,
}

/// What reaches the candidate.
#[derive(Clone, Copy, Debug)]
pub enum Exposure {
    /// Percent of the customers' requests.
    Weight(f64),
    /// Requests a second of a cohort, from elsewhere; the stable version gets as many, to be compared with.
    Cohort(usize, f64),
}

/// What a version does to a cohort.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// The share of bad events of each counter, in order.
    pub bad: &'static [f64],
    pub latency: Lognormal,
}

/// Who is asked how it behaves, and when.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub is_candidate: bool,
    pub step: usize,
    pub stratum: usize,
}

pub type Behave = fn(&Place) -> Behaviour;

/// Bounds of the classic buckets, in seconds: as fine around the quantiles that are judged as their margins ask for.
pub const BOUNDS: [f64; 26] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.275, 0.3, 0.325, 0.35, 0.375, 0.4, 0.425,
    0.45, 0.5, 0.6, 0.75, 1.0, 1.5, 2.5, 5.0,
];

const MINUTE: Span = Span::minutes(1);

/// A counter or gauge as it stands.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Labels,
    pub value: f64,
}

/// One process.
#[derive(Debug)]
struct Target {
    is_candidate: bool,
    /// Its share of its version's requests.
    share: f64,
    series: Vec<Series>,
}

/// A service's life.
pub struct Traffic {
    model: Model,
    behave: Behave,
    random: Random,
    now: Timestamp,
    start: Timestamp,
    turn: i64,
    probed: i64,
    targets: Vec<Target>,
    step: Option<usize>,
    /// Requests the candidate has served.
    pub served: f64,
    /// Shares of requests in each bucket.
    shares: Vec<(Lognormal, Vec<f64>)>,
}

impl Target {
    fn new(model: &Model, instance: &str, is_candidate: bool, share: f64) -> Self {
        let version = if is_candidate { model.candidate } else { model.stable };
        let named = |name: &str| {
            let labels = model.labels.iter().fold(Labels::new(), |labels, (name, value)| labels.with(name, value));
            labels.with("__name__", name).with("instance", instance).with(model.version_label, version)
        };
        let mut series = Vec::new();
        let mut push = |labels: Labels| series.push(Series { labels, value: 0.0 });
        for counter in model.counters {
            let strata = if counter.by_stratum { model.strata } else { &[("", "", 1.0)] };
            for (name, value, _) in strata {
                for outcome in [counter.good, counter.bad] {
                    let labels = named(counter.metric).with(counter.label, outcome);
                    push(if name.is_empty() { labels } else { labels.with(name, value) });
                }
            }
        }
        let bucket = format!("{}_bucket", model.histogram);
        for bound in BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]) {
            push(named(&bucket).with("le", &bound));
        }
        push(named(&format!("{}_count", model.histogram)));
        Self { is_candidate, share, series }
    }
}

impl Traffic {
    /// The stable version alone, from `start` on.
    pub fn new(model: &Model, behave: Behave, seed: u64, start: Timestamp) -> Self {
        let target = |instance: &str, is_candidate, share| Target::new(model, instance, is_candidate, share);
        let targets = vec![
            target("stable-0:8080", false, 0.5),
            target("next-0:8080", true, 1.0),
            target("stable-1:8080", false, 0.5),
        ];
        Self {
            model: model.clone(),
            behave,
            random: Random::new(seed),
            now: start,
            start,
            turn: 0,
            probed: 0,
            targets,
            step: None,
            served: 0.0,
            shares: Vec::new(),
        }
    }

    /// Its clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// From now on the candidate gets this step's traffic; `None` takes it back.
    pub fn expose(&mut self, step: Option<usize>) {
        self.step = step;
    }

    /// Lets time pass up to the next scrape: its time, the place of its process, and what it reads.
    pub fn scrape(&mut self) -> (Timestamp, usize, &[Series]) {
        let period = self.model.scrape.as_millis();
        loop {
            let (round, slot) = (self.turn / 3, (self.turn % 3) as usize);
            let at = self.start + Span(round * period + [0, period / 3, period / 2][slot]);
            self.turn += 1;
            if slot != 1 || self.step.is_some() {
                self.pass(at);
                return (at, slot, &self.targets[slot].series);
            }
        }
    }

    /// The synthetic check's result, once a minute.
    pub fn probe(&mut self) -> Option<(Timestamp, Series)> {
        let labels = self.model.probe?;
        let at = self.start + Span(self.probed * MINUTE.as_millis());
        if at > self.now {
            return None;
        }
        self.probed += 1;
        let labels = labels.iter().fold(Labels::new(), |all, (name, value)| all.with(name, value));
        let labels = labels.with("__name__", "probe_success").with("instance", "prober:9115");
        Some((at, Series { labels, value: 1.0 }))
    }

    /// One scrape of every process, as remote write sends it.
    pub fn round(&mut self) -> Vec<TimeSeries> {
        let mut all = Vec::new();
        loop {
            let (at, _, series) = self.scrape();
            all.extend(series.iter().map(|s| TimeSeries::new(&s.labels, &[(at.as_millis(), s.value)])));
            if let Some((at, series)) = self.probe() {
                all.push(TimeSeries::new(&series.labels, &[(at.as_millis(), series.value)]));
            }
            if self.turn % 3 == 0 {
                return all;
            }
        }
    }

    /// Requests a second of a cohort that reach each version: stable, candidate.
    fn rates(&self, stratum: usize) -> [f64; 2] {
        let customers = self.model.rps * self.model.strata[stratum].2;
        match self.step.map(|step| self.model.steps[step]) {
            Some(Exposure::Weight(percent)) => [customers * (1.0 - percent / 100.0), customers * percent / 100.0],
            Some(Exposure::Cohort(cohort, rps)) if cohort == stratum => [customers + rps, rps],
            Some(Exposure::Cohort(..)) | None => [customers, 0.0],
        }
    }

    fn pass(&mut self, to: Timestamp) {
        let seconds = to.since(self.now).as_secs_f64();
        self.now = to;
        let strata = self.model.strata.len();
        for at in 0..self.targets.len() {
            let (is_candidate, share) = (self.targets[at].is_candidate, self.targets[at].share);
            for stratum in 0..strata {
                let mean = self.rates(stratum)[usize::from(is_candidate)] * share * seconds;
                if mean <= 0.0 {
                    continue;
                }
                let behaviour = (self.behave)(&Place { is_candidate, step: self.step.unwrap_or(0), stratum });
                self.serve(at, stratum, mean, &behaviour);
            }
        }
    }

    fn serve(&mut self, target: usize, stratum: usize, mean: f64, behaviour: &Behaviour) {
        let shares = self.shares_of(behaviour.latency);
        let Self { model, random, targets, served, .. } = self;
        let series = &mut targets[target].series;
        let mut at = 0;
        for (counter, bad) in model.counters.iter().zip(behaviour.bad) {
            let own = at + if counter.by_stratum { 2 * stratum } else { 0 };
            series[own].value += random.poisson(mean * (1.0 - bad));
            series[own + 1].value += random.poisson(mean * bad);
            at += if counter.by_stratum { 2 * model.strata.len() } else { 2 };
        }
        let mut sum = 0.0;
        for share in shares {
            sum += random.poisson(mean * share);
            series[at].value += sum;
            at += 1;
        }
        series[at].value += sum;
        *served += if targets[target].is_candidate { sum } else { 0.0 };
    }

    fn shares_of(&mut self, latency: Lognormal) -> Vec<f64> {
        if let Some((_, shares)) = self.shares.iter().find(|(known, _)| *known == latency) {
            return shares.clone();
        }
        let below = BOUNDS.iter().map(|bound| latency.below(*bound)).chain([1.0]);
        let shares: Vec<f64> =
            below.scan(0.0, |before, below| Some(below - std::mem::replace(before, below))).collect();
        self.shares.push((latency, shares.clone()));
        shares
    }
}
