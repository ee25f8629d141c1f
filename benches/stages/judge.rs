//! One check of a rollout: a scrape of both arms is taken and the rollout judged. `benches/canary.rs` has whole rollouts.

use std::hint::black_box;

use sloburn::canary::{
    Action, Amount, Arm, Bound, CheckSpec, Judge, Layout, Measure, Policy, PolicyCheck, StepSpec, Test,
};
use sloburn::types::{Span, Timestamp};

use crate::Stage;
use crate::support::{INTERVAL, START};

const ROLLOUTS: usize = 100;
/// Scrapes before the measurement: a check of latency has laid three of its grids.
const WARM_UP_SCRAPES: usize = 20;
/// Events of a scrape, by arm.
const EVENTS: [(Arm, f64); 2] = [(Arm::Baseline, 1425.0), (Arm::Canary, 75.0)];
/// Seven alternatives for harm and seven for safety.
const RATE_TERMS: usize = 14;
/// Some 35 points with 26 alternatives each, and 13 that move with the baseline.
const LATENCY_TERMS: usize = 923;

/// Rollouts of one check each; each round begins with them as they were after the warm-up.
pub struct Judgement {
    warm: Judge,
    judges: Vec<Judge>,
    /// Of each arm in a scrape.
    counts: [Vec<f64>; 2],
    terms: Vec<f64>,
}

impl Judgement {
    /// Whether errors rose by a fifth.
    pub fn rate() -> Self {
        Self::new(Measure::Errors, RATE_TERMS, |events| vec![events, (events * 0.008).round()])
    }

    /// Whether the 95th percentile rose by a fifth, on 100 native buckets.
    pub fn latency() -> Self {
        let layout = Layout::native(3, 0.002, 10.0).expect("a layout");
        let kinds = layout.kinds();
        Self::new(Measure::Latency { quantile: 0.95, layout }, LATENCY_TERMS, |events| {
            let bell = |bucket: usize| (-((bucket as f64 - 45.0) / 8.0).powi(2)).exp();
            (0..kinds).map(|bucket| (events * bell(bucket) / 14.0).round()).collect()
        })
    }

    fn new(measure: Measure, terms: usize, counts: impl Fn(f64) -> Vec<f64>) -> Self {
        let bound = Bound::RegressionOver(Amount::Relative(0.2));
        let check =
            CheckSpec { name: "check".to_owned(), measure, bound, test: Test::Sequential, action: Action::Rollback };
        let policy = Policy {
            confidence: 0.99,
            window: Span::minutes(5),
            every: Span::seconds(30),
            deadline: Span::hours(6),
            steps: vec![StepSpec { name: "5%".to_owned(), hold: Span::hours(1), min_samples: 0 }],
            checks: vec![PolicyCheck { sli: "sli".to_owned(), strata: Vec::new(), check }],
        };
        let mut warm = Judge::new("service", "v2", policy, START).expect("a sound policy");
        let counts = EVENTS.map(|(_, events)| counts(events));
        (0..WARM_UP_SCRAPES).for_each(|number| scrape(&mut warm, &counts, number));
        Self { warm, judges: Vec::new(), counts, terms: (0..terms).map(|i| -(i as f64) / 100.0).collect() }
    }
}

fn scrape(judge: &mut Judge, counts: &[Vec<f64>; 2], number: usize) {
    let at = |scrape: usize| START + Span(scrape as i64 * INTERVAL.as_millis());
    let (from, to): (Timestamp, Timestamp) = (at(number), at(number + 1));
    for ((arm, _), counts) in EVENTS.into_iter().zip(counts) {
        judge.observe(0, arm, from, to, counts.clone()).expect("counts");
        judge.cover(0, arm, to);
    }
    black_box(judge.judge(to, None));
}

impl Stage for Judgement {
    fn elements(&self) -> usize {
        ROLLOUTS
    }

    fn prepare(&mut self) {
        self.judges.clear();
        self.judges.resize(ROLLOUTS, self.warm.clone());
    }

    fn run(&mut self) {
        for judge in &mut self.judges {
            scrape(judge, &self.counts, WARM_UP_SCRAPES);
        }
    }

    fn floor(&mut self) {
        for _ in 0..ROLLOUTS {
            let terms = black_box(&self.terms);
            let greatest = terms.iter().copied().fold(f64::MIN, f64::max);
            black_box(greatest + terms.iter().map(|term| (term - greatest).exp()).sum::<f64>().ln());
        }
    }
}
