//! How fast and how safe the canary judge is, by simulation.
//!
//! ```sh
//! cargo run --release --example canary_power [-- --runs 200 --healthy 1000 --seed 1]
//! ```
//!
//! Every rollout is looked at on every scrape (15 s) by one check at 99 % confidence, for at most 6 hours. `wald` is
//! the least number of canary requests that any such test needs on average if it knows both rates, `ln 100 / KL(harm |
//! limit)`; `median` and `p90` are what the judge used, who knows neither, and the seconds that took; `rule` is the
//! plain rule with a window of 5 min, 200 samples and looks 30 s apart, which has no bound on wrong rollbacks.
//! Everything is a function of the seed.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

mod scenario;
mod traffic;

use std::env;

use scenario::{Canary, scenarios};
use sloburn::canary::Test;
use traffic::Random;

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
    println!(
        "{:<46} {:>7} {:>8} {:>8} {:>5} {:>8} {:>8} {:>6} {:>8}",
        "", "wald", "median", "p90", "x", "median", "p90", "missed", "rule"
    );
    for scenario in &scenarios {
        let found = many(runs, seed, |random| scenario.run(random, Test::Sequential, 0, Canary::Harmful));
        let rule = many(runs.min(100), seed, |random| scenario.run(random, RULE, 0, Canary::Harmful));
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
        let early =
            quantile(&many(runs, seed, |random| scenario.run(random, Test::Sequential, 0, Canary::Harmful)), 0.5);
        let late =
            quantile(&many(runs, seed, |random| scenario.run(random, Test::Sequential, 120, Canary::Harmful)), 0.5);
        let step = quantile(&many(runs, seed, |random| scenario.run_step(random, 120)), 0.5);
        let begun = quantile(
            &many(runs, seed, |random| scenario.with_weight(5.0).run(random, Test::Sequential, 0, Canary::Harmful)),
            0.5,
        );
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
    println!("\nrollouts of 6 h without harm, {healthy} each: rolled back; 1 % are promised");
    for scenario in &scenarios {
        let wrong = |runs: usize, test, canary| {
            many(runs, seed, |random| scenario.run(random, test, 0, canary)).iter().flatten().count()
        };
        let (few, many) = (healthy.min(100), healthy);
        println!(
            "{:<46} as the baseline {:>3} of {many}   exactly at the limit {:>3} of {many}   rule {:>3} of {few}",
            scenario.name,
            wrong(many, Test::Sequential, Canary::Healthy),
            wrong(many, Test::Sequential, Canary::AtLimit),
            wrong(few, RULE, Canary::Healthy),
        );
    }
    println!("\nboth arms degrade together, scrapes skewed by 0 to 15 s, {runs} each: rolled back");
    for scenario in scenarios.iter().filter(|s| s.is_relative()) {
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
