//! How fast and how safe the canary judge is, by simulation.
//!
//! ```sh
//! cargo run --release --example canary_power [-- --runs 200 --healthy 1000 --seed 1]
//! ```
//!
//! Every rollout is looked at on every scrape (15 s) by one check at 99 % confidence, for at most 6 hours. `wald` is the least
//! number of canary requests that any such test needs on average if it knows both rates, `ln 100 / KL(harm | limit)`; `median` and `p90`
//! are what the judge used, who knows neither, and the seconds that took; `rule` is the plain rule with a window of 5 min, 200 samples and
//! looks 30 s apart, which has no bound on wrong rollbacks. Everything is a function of the seed.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

#[path = "canary_power/traffic.rs"]
mod traffic;

use std::env;

use sloburn::canary::evidence::plane::Limit;
use sloburn::canary::{Action, Amount, Arm, Block, Blocks, Bound, Check, CheckSpec, Layout, Measure, State, Terms, Test};
use sloburn::types::{Span, Timestamp};
use traffic::{Lognormal, Random};

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

struct Scenario {
    name: &'static str,
    measure: Measure,
    bound: Bound,
    /// Requests a second of the canary and of the baseline.
    rps: (f64, f64),
    healthy: Behaviour,
    harmful: Behaviour,
}

/// Canary requests and seconds from the onset to the verdict.
type Found = Option<(f64, f64)>;

fn main() {
    let (mut runs, mut healthy, mut seed) = (200_usize, 1000_usize, 1_u64);
    let mut args = env::args().skip(1);
    while let (Some(name), value) = (args.next(), args.next()) {
        let number: u64 = value.and_then(|v| v.parse().ok()).expect("a number after each of --runs, --healthy, --seed");
        match name.as_str() {
            "--runs" => runs = number as usize,
            "--healthy" => healthy = number as usize,
            "--seed" => seed = number,
            _ => panic!("unknown option {name}; there are --runs, --healthy, --seed"),
        }
    }
    let scenarios = scenarios();
    println!("harm from the start, {runs} rollouts each; requests of the canary, and time");
    println!("{:<46} {:>7} {:>8} {:>8} {:>5} {:>8} {:>8} {:>6} {:>8}", "", "wald", "median", "p90", "x", "median", "p90", "missed", "rule");
    for scenario in &scenarios {
        let found = many(runs, seed, |random| scenario.run(random, Test::Sequential, 0, true));
        let rule = many(runs.min(100), seed, |random| scenario.run(random, RULE, 0, true));
        let wald = scenario.wald();
        let (median, p90) = (quantile(&found, 0.5), quantile(&found, 0.9));
        let ratio = median.map_or_else(|| "-".to_owned(), |m| format!("{:.2}", m.0 / wald));
        let missed = found.iter().filter(|f| f.is_none()).count();
        println!(
            "{:<46} {:>7.0} {:>8} {:>8} {:>5} {:>8} {:>8} {:>6} {:>8}",
            scenario.name,
            wald,
            requests(median),
            requests(p90),
            ratio,
            seconds(median),
            seconds(p90),
            missed,
            requests(quantile(&rule, 0.5)),
        );
    }
    println!("\nharm after 30 healthy minutes, against harm from the start; median seconds");
    for scenario in &scenarios {
        let early = quantile(&many(runs, seed, |random| scenario.run(random, Test::Sequential, 0, true)), 0.5);
        let late = quantile(&many(runs, seed, |random| scenario.run(random, Test::Sequential, 120, true)), 0.5);
        let step = quantile(&many(runs, seed, |random| scenario.run_step(random, 120)), 0.5);
        let begun = quantile(&many(runs, seed, |random| scenario.with_weight(5.0).run(random, Test::Sequential, 0, true)), 0.5);
        let ratio = |a: Found, b: Found| a.zip(b).map_or_else(|| "-".to_owned(), |(a, b)| format!("{:.2}", a.1 / b.1));
        println!(
            "{:<46} start {:>6}  late {:>6} ({}x)   at a step to 5x the weight {:>6} ({}x)",
            scenario.name,
            seconds(early),
            seconds(late),
            ratio(late, early),
            seconds(step),
            ratio(step, begun),
        );
    }
    println!("\nhealthy rollouts of 6 h, {healthy} each: rolled back");
    for scenario in &scenarios {
        let false_alarms = many(healthy, seed, |random| scenario.run(random, Test::Sequential, 0, false)).iter().flatten().count();
        let rule = many(healthy.min(100), seed, |random| scenario.run(random, RULE, 0, false)).iter().flatten().count();
        println!("{:<46} {false_alarms:>4} of {healthy}   rule {rule:>4} of {}", scenario.name, healthy.min(100));
    }
    println!("\nboth arms degrade together, scrapes skewed by 0 to 15 s, {runs} each: rolled back");
    for scenario in scenarios.iter().filter(|s| matches!(s.bound, Bound::DropOver(_) | Bound::RegressionOver(_))) {
        for (what, minutes) in [("for good", 600.0), ("for 5 min", 5.0), ("for 3 s", 0.05)] {
            let wrong = many(runs, seed, |random| scenario.run_skewed(random, 20.0, minutes)).iter().flatten().count();
            println!("{:<46} {what:<10} {wrong:>4} of {runs}", scenario.name);
        }
    }
}

const RULE: Test = Test::Threshold { min_samples: 200, consecutive: 1, ewma: None };

fn many(runs: usize, seed: u64, mut run: impl FnMut(&mut Random) -> Found) -> Vec<Found> {
    (0..runs as u64).map(|i| run(&mut Random::new(seed.wrapping_mul(1_000_003).wrapping_add(i)))).collect()
}

/// Those that found nothing count as infinitely late.
fn quantile(found: &[Found], q: f64) -> Found {
    let mut sorted: Vec<(f64, f64)> = found.iter().flatten().copied().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    sorted.get((q * found.len() as f64) as usize).copied()
}

fn requests(found: Found) -> String {
    found.map_or_else(|| "-".to_owned(), |(requests, _)| format!("{requests:.0}"))
}

fn seconds(found: Found) -> String {
    found.map_or_else(|| "-".to_owned(), |(_, seconds)| format!("{seconds:.0} s"))
}

fn scenarios() -> Vec<Scenario> {
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
    fn with_weight(&self, factor: f64) -> Self {
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

    /// One rollout whose harm, if any, begins after `onset` scrapes.
    fn run(&self, random: &mut Random, test: Test, onset: i64, is_harmful: bool) -> Found {
        let mut check = self.check(test, 1);
        let (mut used, scrapes) = (0.0, HORIZON.as_millis() / SCRAPE.as_millis());
        for i in 0..scrapes {
            let is_late = is_harmful && i >= onset;
            let block = self.block(random, i, self.rps, if is_late { self.harmful } else { self.healthy });
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
    fn run_step(&self, random: &mut Random, step_at: i64) -> Found {
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
    fn run_skewed(&self, random: &mut Random, minute: f64, minutes: f64) -> Found {
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
            blocks.observe(arm, at(from), at(to), &counts).expect("counts");
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

    /// Wald's bound for known rates.
    fn wald(&self) -> f64 {
        let (healthy, harmful, limit) = match (self.healthy, self.harmful, &self.measure) {
            (Behaviour::Latency(healthy), Behaviour::Latency(harmful), Measure::Latency { quantile, .. }) => {
                let usual = healthy.quantile(*quantile);
                let allowed = match self.bound {
                    Bound::RegressionOver(Amount::Absolute(d)) => usual + d,
                    Bound::RegressionOver(Amount::Relative(d)) => usual * (1.0 + d),
                    _ => usual,
                };
                (0.0, 1.0 - harmful.below(allowed), Limit { intercept: 1.0 - quantile, slope: 0.0 })
            }
            (Behaviour::Bad(healthy), Behaviour::Bad(harmful), _) => {
                let limit = match self.bound {
                    Bound::Above(l) => l,
                    Bound::DropOver(Amount::Absolute(d)) | Bound::RegressionOver(Amount::Absolute(d)) => healthy + d,
                    Bound::RegressionOver(Amount::Relative(d)) => healthy * (1.0 + d),
                    _ => healthy,
                };
                (healthy, harmful, Limit { intercept: limit, slope: 0.0 })
            }
            _ => return f64::NAN,
        };
        (1.0 / ALPHA).ln() / limit.growth(1.0, 0.0, harmful, healthy)
    }
}

fn is_harm(check: &Check) -> bool {
    match check.spec().test {
        // The cheap part of the outcome.
        Test::Sequential => check.ln_harm() >= check.ln_needed(),
        Test::Threshold { .. } => check.outcome().state == State::Harm,
    }
}
