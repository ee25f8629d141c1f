//! What happens in the simulated rollouts.

use sloburn::canary::evidence::plane::Limit;
use sloburn::canary::{
    Action, Amount, Arm, Block, Blocks, Bound, Check, CheckSpec, Layout, Measure, State, Terms, Test,
};
use sloburn::types::{Span, Timestamp};

use crate::Found;
use crate::traffic::{Lognormal, Random};

const SCRAPE: Span = Span::seconds(15);
const HORIZON: Span = Span::hours(6);
const ALPHA: f64 = 0.01;

/// What an arm does.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Share of bad events.
    Bad(f64),
    /// Latencies.
    Latency(Lognormal),
}

pub struct Scenario {
    pub name: &'static str,
    measure: Measure,
    bound: Bound,
    /// Requests a second of the canary and of the baseline.
    rps: (f64, f64),
    healthy: Behaviour,
    harmful: Behaviour,
}

/// What the canary of a run does once its time has come.
#[derive(Clone, Copy, PartialEq)]
pub enum Canary {
    Healthy,
    AtLimit,
    Harmful,
}

pub fn scenarios() -> Vec<Scenario> {
    let points = |d: f64| Bound::DropOver(Amount::Absolute(d));
    let rate = |name, measure: &Measure, bound, rps, healthy, harmful| Scenario {
        name,
        measure: measure.clone(),
        bound,
        rps,
        healthy: Behaviour::Bad(healthy),
        harmful: Behaviour::Bad(harmful),
    };
    let latency = |name, quantile, layout: &Layout, bound, usual: Lognormal, factor| Scenario {
        name,
        measure: Measure::Latency { quantile, layout: layout.clone() },
        bound,
        rps: (5.0, 95.0),
        healthy: Behaviour::Latency(usual),
        harmful: Behaviour::Latency(usual.scaled(factor)),
    };
    let native = Layout::native(3, 0.001, 20.0).expect("a layout");
    let classic = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let classic = Layout::new(classic).expect("a layout");
    let (ok, bad) = (Measure::Success, Measure::Errors);
    let narrow = Lognormal { median: 0.1, sigma: 0.5 };
    let wide = Lognormal { median: 0.08, sigma: 0.716 };
    let slower = |ms: f64| Bound::RegressionOver(Amount::Absolute(ms / 1000.0));
    let percent = |p: f64| Bound::RegressionOver(Amount::Relative(p / 100.0));
    let p99 = narrow.quantile(0.99);
    vec![
        rate("auth 99.4 -> 91.2 %, limit 0.3 points, 5 %", &ok, points(0.003), (1.0, 19.0), 0.006, 0.088),
        rate("auth 99.4 -> 91.2 %, limit 0.3 points, 2 %", &ok, points(0.003), (0.4, 19.6), 0.006, 0.088),
        rate("auth 99.4 -> 98.5 %, limit 0.3 points, 5 %", &ok, points(0.003), (1.0, 19.0), 0.006, 0.015),
        rate("5xx 0.1 -> 2 %, limit 0.1 %", &bad, Bound::Above(0.001), (10.0, 90.0), 0.001, 0.02),
        rate("5xx doubled, 0.1 -> 0.2 %, limit 0.1 %", &bad, Bound::Above(0.001), (10.0, 90.0), 0.001, 0.002),
        rate("settlement mismatches 0.02 -> 0.1 %, as stable", &bad, percent(0.0), (5.0, 95.0), 0.0002, 0.001),
        latency("p99 +80 ms, limit 50 ms, native buckets", 0.99, &native, slower(50.0), narrow, (p99 + 0.08) / p99),
        latency("p99 +80 ms, limit 50 ms, classic buckets", 0.99, &classic, slower(50.0), narrow, (p99 + 0.08) / p99),
        latency("p95 +25 %, limit 20 %, native buckets", 0.95, &native, percent(20.0), wide, 1.25),
        latency("p95 +25 %, limit 20 %, classic buckets", 0.95, &classic, percent(20.0), wide, 1.25),
        latency("p95 +60 %, limit 20 %, native buckets", 0.95, &native, percent(20.0), wide, 1.6),
    ]
}

impl Scenario {
    pub fn with_weight(&self, factor: f64) -> Self {
        let rps = (self.rps.0 * factor, self.rps.0 + self.rps.1 - self.rps.0 * factor);
        Self { measure: self.measure.clone(), rps, ..*self }
    }

    fn check(&self, test: Test, steps: usize) -> Check {
        let spec = CheckSpec {
            name: self.name.to_owned(),
            measure: self.measure.clone(),
            bound: self.bound,
            test,
            action: Action::Rollback,
        };
        let (window, every) = (Span::minutes(5), Span::seconds(30));
        let terms = Terms { alpha: ALPHA, steps, deadline: HORIZON, window, every, strata: 1 };
        Check::new(spec, terms).expect("a sound check")
    }

    /// Counts of `seconds` of an arm, half a table at each end.
    fn counts(&self, random: &mut Random, rps: f64, seconds: f64, behaviour: Behaviour) -> Vec<f64> {
        let events = rps * seconds;
        match (behaviour, &self.measure) {
            (Behaviour::Latency(of), Measure::Latency { layout, .. }) => {
                let share = |bucket: usize| {
                    let (low, high) = layout.range(bucket);
                    of.below(high) - of.below(low)
                };
                (0..layout.kinds()).map(|bucket| random.poisson(events * share(bucket))).collect()
            }
            (Behaviour::Bad(p), _) => vec![random.poisson(events * (1.0 - p)), random.poisson(events * p)],
            (Behaviour::Latency(_), _) => unreachable!("latencies are counted in buckets"),
        }
    }

    fn block(&self, random: &mut Random, i: i64, rps: (f64, f64), canary: Behaviour) -> Block {
        let seconds = SCRAPE.as_secs_f64();
        let (from, to) = (Timestamp(i * SCRAPE.as_millis()), Timestamp((i + 1) * SCRAPE.as_millis()));
        let canary = self.counts(random, rps.0, seconds, canary);
        Block::aligned(from, to, canary, self.counts(random, rps.1, seconds, self.healthy))
    }

    /// One rollout; the canary is healthy for `onset` scrapes.
    pub fn run(&self, random: &mut Random, test: Test, onset: i64, canary: Canary) -> Found {
        let mut check = self.check(test, 1);
        let later = match canary {
            Canary::Healthy => self.healthy,
            Canary::AtLimit => self.at_limit(),
            Canary::Harmful => self.harmful,
        };
        let (mut used, scrapes) = (0.0, HORIZON.as_millis() / SCRAPE.as_millis());
        for i in 0..scrapes {
            let block = self.block(random, i, self.rps, if i >= onset { later } else { self.healthy });
            used += if i >= onset { block.canary.iter().sum::<f64>() } else { 0.0 };
            check.observe(0, &block);
            if is_harm(&check) {
                // Before the onset it is a false alarm, and no detection.
                let since = (i + 1 - onset) as f64 * SCRAPE.as_secs_f64();
                return (i >= onset).then_some((used, since));
            }
        }
        None
    }

    /// Healthy until a step to five times the weight brings harm.
    pub fn run_step(&self, random: &mut Random, step_at: i64) -> Found {
        let mut check = self.check(Test::Sequential, 4);
        let more = self.with_weight(5.0).rps;
        let mut used = 0.0;
        for i in 0..HORIZON.as_millis() / SCRAPE.as_millis() {
            let is_late = i >= step_at;
            if i == step_at {
                check.step_began();
            }
            let behaviour = if is_late { self.harmful } else { self.healthy };
            let block = self.block(random, i, if is_late { more } else { self.rps }, behaviour);
            used += if is_late { block.canary.iter().sum::<f64>() } else { 0.0 };
            check.observe(0, &block);
            if is_harm(&check) {
                return is_late.then_some((used, (i + 1 - step_at) as f64 * SCRAPE.as_secs_f64()));
            }
        }
        None
    }

    /// Both arms turn bad at a random moment near `minute` for some minutes; each is scraped at its own times.
    pub fn run_skewed(&self, random: &mut Random, minute: f64, minutes: f64) -> Found {
        let mut check = self.check(Test::Sequential, 1);
        let kinds = match &self.measure {
            Measure::Latency { layout, .. } => layout.kinds(),
            Measure::Success | Measure::Errors => 2,
        };
        let mut blocks = Blocks::new(kinds, Timestamp(0));
        let begins = minute * 60.0 + 60.0 * random.uniform();
        let ends = begins + minutes * 60.0;
        // Much worse than the harm of the scenario.
        let degraded = match (self.harmful, self.healthy) {
            (Behaviour::Bad(_), Behaviour::Bad(p)) => Behaviour::Bad((p * 30.0).clamp(0.2, 0.6)),
            (Behaviour::Latency(_), Behaviour::Latency(of)) => Behaviour::Latency(of.scaled(4.0)),
            (other, _) => other,
        };
        let period = SCRAPE.as_secs_f64();
        let skews = [0.0, period * random.uniform()];
        let mut scrapes: Vec<(f64, Arm)> = Vec::new();
        for i in 1..=240 {
            scrapes.push((f64::from(i) * period + skews[0], Arm::Canary));
            scrapes.push((f64::from(i) * period + skews[1], Arm::Baseline));
        }
        scrapes.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (to, arm) in scrapes {
            let from = to - period;
            let bad = (to.min(ends) - from.max(begins)).max(0.0);
            let rps = if arm == Arm::Canary { self.rps.0 } else { self.rps.1 };
            let mut counts = self.counts(random, rps, period - bad, self.healthy);
            let more = self.counts(random, rps, bad, degraded);
            counts.iter_mut().zip(more).for_each(|(sum, count)| *sum += count);
            let at = |seconds: f64| Timestamp((seconds * 1000.0).round() as i64);
            blocks.observe(arm, at(from), at(to), counts).expect("counts");
            blocks.cover(arm, at(to));
            while let Some(block) = blocks.next_block() {
                check.observe(0, &block);
                if is_harm(&check) {
                    return Some((0.0, to - begins));
                }
            }
        }
        None
    }

    pub fn is_relative(&self) -> bool {
        matches!(self.bound, Bound::DropOver(_) | Bound::RegressionOver(_))
    }

    /// The worst canary that keeps the limit.
    fn at_limit(&self) -> Behaviour {
        match (self.healthy, &self.measure, self.bound) {
            (Behaviour::Bad(_), _, Bound::Above(limit)) => Behaviour::Bad(limit),
            (Behaviour::Bad(p), _, Bound::DropOver(Amount::Absolute(d))) => Behaviour::Bad(p + d),
            (Behaviour::Bad(p), _, Bound::RegressionOver(Amount::Relative(d))) => Behaviour::Bad(p * (1.0 + d)),
            (Behaviour::Latency(of), Measure::Latency { quantile, .. }, Bound::RegressionOver(Amount::Absolute(d))) => {
                let usual = of.quantile(*quantile);
                Behaviour::Latency(of.scaled((usual + d) / usual))
            }
            (Behaviour::Latency(of), _, Bound::RegressionOver(Amount::Relative(d))) => {
                Behaviour::Latency(of.scaled(1.0 + d))
            }
            (other, ..) => other,
        }
    }

    /// Wald's bound for known rates.
    pub fn wald(&self) -> f64 {
        let (limit, rate) = match (self.at_limit(), self.harmful, &self.measure) {
            (Behaviour::Latency(allowed), Behaviour::Latency(harmful), Measure::Latency { quantile, .. }) => {
                (1.0 - quantile, 1.0 - harmful.below(allowed.quantile(*quantile)))
            }
            (Behaviour::Bad(allowed), Behaviour::Bad(harmful), _) => (allowed, harmful),
            _ => return f64::NAN,
        };
        (1.0 / ALPHA).ln() / Limit { intercept: limit, slope: 0.0 }.growth(1.0, 0.0, rate, 0.0)
    }
}

fn is_harm(check: &Check) -> bool {
    match check.spec().test {
        // The cheap part of the outcome.
        Test::Sequential => check.ln_harm() >= check.ln_needed(),
        Test::Threshold { .. } => check.outcome().state == State::Harm,
    }
}
