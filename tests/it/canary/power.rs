//! A small version of `examples/canary_power.rs`: how often healthy rollouts are condemned, how soon harmful ones are.

use sloburn::canary::{Amount, Arm, Blocks, Bound, Check, Layout, Measure, Test};
use sloburn::types::Timestamp;

use super::traffic::{Lognormal, Random};
use super::{block, drop_over, spec, terms};

fn check(measure: &Measure, bound: Bound) -> Check {
    Check::new(spec(measure.clone(), bound, Test::Sequential), terms()).unwrap()
}

fn events(random: &mut Random, mean: f64, bad: f64) -> [f64; 2] {
    [random.poisson(mean * (1.0 - bad)), random.poisson(mean * bad)]
}

fn latencies(random: &mut Random, layout: &Layout, mean: f64, of: Lognormal) -> Vec<f64> {
    let share = |bucket| {
        let (low, high) = layout.range(bucket);
        of.below(high) - of.below(low)
    };
    (0..layout.kinds()).map(|bucket| random.poisson(mean * share(bucket))).collect()
}

/// Canary requests until harm is shown, when it begins after `onset` scrapes.
fn used(seed: u64, means: [f64; 2], rates: [f64; 2], onset: i64, scrapes: i64, check: &mut Check) -> Option<f64> {
    let mut random = Random::new(seed);
    let mut used = 0.0;
    for i in 0..scrapes {
        let canary = events(&mut random, means[0], if i >= onset { rates[1] } else { rates[0] });
        let baseline = events(&mut random, means[1], rates[0]);
        used += if i >= onset { canary[0] + canary[1] } else { 0.0 };
        check.observe(0, &block(i, &canary, &baseline));
        if check.ln_harm() >= check.ln_needed() {
            return Some(used);
        }
    }
    None
}

fn median(mut found: Vec<Option<f64>>) -> f64 {
    found.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
    found[found.len() / 2].unwrap()
}

#[test]
fn the_payment_incident_takes_twice_walds_bound_at_most() {
    let run = |onset| {
        let one = |seed| {
            used(seed, [15.0, 285.0], [0.006, 0.088], onset, 400, &mut check(&Measure::Success, drop_over(0.003)))
        };
        median((0..100).map(one).collect())
    };
    let (early, late) = (run(0), run(120));
    assert!(early <= 2.0 * 36.9, "{early} requests");
    assert!(late <= 2.5 * early, "{late} requests after half an hour, {early} at the start");
}

#[test]
fn canaries_at_their_limit_are_condemned_as_seldom_as_promised() {
    // Worst for a bound: exactly at the limit. 1 % of 250 is 2.5; 11 or more would be one seed in 10,000 for each.
    let cases = [
        (Measure::Success, drop_over(0.01), 0.02, 0.03),
        (Measure::Errors, Bound::Above(0.02), 0.01, 0.02),
        (Measure::Errors, Bound::RegressionOver(Amount::Relative(0.0)), 0.01, 0.01),
        (Measure::Errors, Bound::RegressionOver(Amount::Relative(0.5)), 0.1, 0.15),
    ];
    for (measure, bound, healthy, limit) in cases {
        let condemned =
            |seed: &u64| used(*seed, [40.0, 200.0], [healthy, limit], 0, 240, &mut check(&measure, bound)).is_some();
        let wrong = (0..250_u64).filter(condemned).count();
        assert!(wrong <= 10, "{bound:?}: {wrong} of 250");
    }
}

#[test]
fn healthy_latencies_are_not_condemned_and_slow_ones_are() {
    let layout = Layout::native(3, 0.01, 10.0).unwrap();
    let usual = Lognormal { median: 0.1, sigma: 0.5 };
    let measure = Measure::Latency { quantile: 0.95, layout: layout.clone() };
    let run = |seed, factor: f64, scrapes| {
        let mut random = Random::new(seed);
        let mut check = check(&measure, Bound::RegressionOver(Amount::Relative(0.2)));
        let found = (0..scrapes).find(|i| {
            let canary = latencies(&mut random, &layout, 75.0, usual.scaled(factor));
            let baseline = latencies(&mut random, &layout, 700.0, usual);
            check.observe(0, &block(*i, &canary, &baseline));
            check.ln_harm() >= check.ln_needed()
        });
        let effect = check.outcome().effect.unwrap();
        let interval = effect.interval.unwrap();
        assert!(interval.low < factor - 1.0 && factor - 1.0 < interval.high, "seed {seed}: {effect:?}");
        if found.is_none() {
            assert!((effect.baseline.unwrap() / usual.quantile(0.95) - 1.0).abs() < 0.02, "seed {seed}: {effect:?}");
        }
        found
    };
    let wrong = (0..20).filter(|seed| run(*seed, 1.2, 200).is_some()).count();
    assert!(wrong <= 2, "{wrong} of 20 at the limit");
    let slow: Vec<Option<f64>> = (0..10).map(|seed| run(seed, 1.6, 200).map(|i| i as f64)).collect();
    assert!(median(slow.clone()) < 12.0, "{slow:?}");
}

/// Both arms turn bad together, for a while or for good, at any moment, with scrapes at different moments.
#[test]
fn a_disturbance_of_both_arms_condemns_nobody_however_their_scrapes_are_skewed() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (skew, begins) = (15.0 * random.uniform(), 600.0 + 15.0 * random.uniform());
        let ends = begins + [3.0, 60.0, 1e9][seed as usize % 3];
        let mut blocks = Blocks::new(2, Timestamp(0));
        let mut checks =
            [drop_over(0.003), Bound::RegressionOver(Amount::Relative(0.0))].map(|b| check(&Measure::Success, b));
        for i in 0..240 {
            for (arm, rps, offset) in [(Arm::Canary, 20.0, 0.0), (Arm::Baseline, 100.0, skew)] {
                let from = f64::from(i * 15) + offset;
                let bad = ((from + 15.0).min(ends) - from.max(begins)).max(0.0);
                let mut counts = events(&mut random, rps * (15.0 - bad), 0.006);
                let more = events(&mut random, rps * bad, 0.4);
                counts.iter_mut().zip(more).for_each(|(sum, count)| *sum += count);
                let at = |seconds: f64| Timestamp((seconds * 1000.0).round() as i64);
                blocks.observe(arm, at(from), at(from + 15.0), counts).unwrap();
                blocks.cover(arm, at(from + 15.0));
            }
            while let Some(block) = blocks.next_block() {
                for check in &mut checks {
                    check.observe(0, &block);
                    let (harm, needed) = (check.ln_harm(), check.ln_needed());
                    assert!(harm < needed, "seed {seed}, {} s after it: {harm}", block.to.as_secs_f64() - begins);
                }
            }
        }
    }
}
