//! Where a check stands: all that its outcome is made from, in numbers.
//!
//! Evidence changes with every block, and what follows for a rollout is decided each time; figures with their intervals
//! and sentences take a hundred times longer to make, and are made when somebody reads them.

use std::sync::Arc;

use super::effect::{Effect, Figures};
use super::latency::QuantileLimit;
use super::outcome::{LnEvidence, Outcome, State};
use super::rate::Arms;
use super::spec::tally;
use super::{Check, CheckSpec, Evidence, Measure, Test};
use crate::canary::Coarse;
use crate::canary::evidence::plane::{Limit, Tally};
use crate::types::Span;

/// What a check has come to at some moment.
#[derive(Clone, Debug)]
pub struct Standing {
    pub(super) spec: Arc<CheckSpec>,
    /// The chance of a wrong alarm.
    pub(super) alpha: f64,
    pub(super) state: State,
    pub(super) canary_events: f64,
    pub(super) baseline_events: f64,
    /// Of sequential tests.
    pub(super) ln_evidence: Option<LnEvidence>,
    pub(super) counted: Counted,
    /// Each arm has events, and no stratum has those of both.
    pub(super) is_apart: bool,
    pub(super) pace: Pace,
    /// A quantile's limit, and from where on harm shows.
    pub(super) visible: Option<(f64, f64)>,
}

/// Events of the canary and of the baseline.
#[derive(Clone, Debug)]
pub(super) enum Counted {
    /// Harmful of all.
    Rates(Tally, Tally),
    /// By bucket.
    Latencies(Vec<f64>, Vec<f64>),
}

/// What says how long it takes to decide.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// It is decided, or nobody can say.
    Unknown,
    /// So long, for the looks it lacks.
    Looks(Span),
    /// This many milliseconds, for events.
    Waits(f64),
    /// As long as the evidence takes at the window's rates.
    Rates { limit: Limit, canary: Tally, baseline: Tally, length_ms: f64 },
}

impl Standing {
    /// Harm, safety, or neither.
    pub fn state(&self) -> State {
        self.state
    }

    /// Events of the canary it has judged.
    pub fn canary_events(&self) -> f64 {
        self.canary_events
    }

    /// What it asks.
    pub fn spec(&self) -> &CheckSpec {
        &self.spec
    }
}

impl Check {
    /// Where it stands now.
    pub fn standing(&self) -> Standing {
        let is_sequential = self.spec.test == Test::Sequential;
        let ln_evidence =
            is_sequential.then(|| LnEvidence { harm: self.ln_harm(), safe: self.ln_safe(), needed: self.ln_needed() });
        let state = self.state(ln_evidence);
        let (canary_events, baseline_events) = self.events();
        Standing {
            spec: Arc::clone(&self.spec),
            alpha: self.terms.alpha,
            state,
            canary_events,
            baseline_events,
            ln_evidence,
            counted: self.counted(),
            is_apart: self.is_apart(),
            pace: if state == State::Undecided { self.pace() } else { Pace::Unknown },
            visible: self.visible(),
        }
    }

    /// What the check says now.
    pub fn outcome(&self) -> Outcome {
        self.standing().outcome()
    }

    /// Of the canary and of the baseline.
    fn events(&self) -> (f64, f64) {
        let sum = |counts: &[f64]| counts.iter().sum::<f64>();
        if let Test::Threshold { .. } = self.spec.test {
            return (sum(self.window.canary()), sum(self.window.baseline()));
        }
        match &self.evidence {
            Evidence::Rate { strata, .. } => {
                let total = |arm: fn(&Arms) -> Tally| strata.iter().map(|s| arm(&s.arms).total).sum();
                (total(|a| a.canary), total(|a| a.baseline))
            }
            Evidence::Latency { strata, .. } => {
                let total = |counts: fn(&super::LatencyEvidence) -> &[f64]| {
                    strata.iter().map(|s| sum(counts(&s.evidence))).sum()
                };
                (total(|e| &e.canary), total(|e| &e.baseline))
            }
        }
    }

    /// Whether events of a stratum are compared at all: relative checks need both arms in it.
    fn is_compared(&self, canary: f64, baseline: f64) -> bool {
        !self.spec.is_relative() || canary > 0.0 && baseline > 0.0
    }

    /// Each arm has events, and no stratum has those of both: all of a cohort went to the canary, say.
    fn is_apart(&self) -> bool {
        let sum = |counts: &[f64]| counts.iter().sum::<f64>();
        match &self.evidence {
            Evidence::Rate { strata, .. } if strata.len() > 1 => {
                !strata.iter().any(|s| self.is_compared(s.arms.canary.total, s.arms.baseline.total))
            }
            Evidence::Latency { strata, .. } if strata.len() > 1 => {
                !strata.iter().any(|s| self.is_compared(sum(&s.evidence.canary), sum(&s.evidence.baseline)))
            }
            Evidence::Rate { .. } | Evidence::Latency { .. } => false,
        }
    }

    /// What the effect is made from: the whole rollout in the strata that are compared, or the window.
    fn counted(&self) -> Counted {
        let add = |sum: &mut Vec<f64>, counts: &[f64]| {
            sum.resize(counts.len(), 0.0);
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        };
        let is_window = matches!(self.spec.test, Test::Threshold { .. });
        match &self.evidence {
            Evidence::Rate { harmful_is_bad, .. } if is_window => {
                let of = |counts: &[f64]| tally(counts, *harmful_is_bad);
                Counted::Rates(of(self.window.canary()), of(self.window.baseline()))
            }
            Evidence::Latency { .. } if is_window => {
                Counted::Latencies(self.window.canary().to_vec(), self.window.baseline().to_vec())
            }
            Evidence::Rate { strata, .. } => {
                let (mut canary, mut baseline) = (Tally::default(), Tally::default());
                let is_single = strata.len() == 1;
                let is_in = |arms: &Arms| is_single || self.is_compared(arms.canary.total, arms.baseline.total);
                for stratum in strata.iter().filter(|stratum| is_in(&stratum.arms)) {
                    canary += stratum.arms.canary;
                    baseline += stratum.arms.baseline;
                }
                Counted::Rates(canary, baseline)
            }
            Evidence::Latency { strata, .. } => {
                let (mut canary, mut baseline) = (Vec::new(), Vec::new());
                let is_single = strata.len() == 1;
                let sum = |counts: &[f64]| counts.iter().sum::<f64>();
                let is_in =
                    |e: &super::LatencyEvidence| is_single || self.is_compared(sum(&e.canary), sum(&e.baseline));
                for stratum in strata.iter().filter(|stratum| is_in(&stratum.evidence)) {
                    add(&mut canary, &stratum.evidence.canary);
                    add(&mut baseline, &stratum.evidence.baseline);
                }
                Counted::Latencies(canary, baseline)
            }
        }
    }

    /// The effect in the window.
    pub(super) fn window_effect(&self) -> Option<Effect> {
        let figures = Figures { spec: &self.spec, alpha: self.terms.alpha };
        let (canary, baseline) = (self.window.canary(), self.window.baseline());
        match &self.evidence {
            Evidence::Rate { harmful_is_bad, .. } => {
                figures.of_rates(tally(canary, *harmful_is_bad), tally(baseline, *harmful_is_bad), false)
            }
            Evidence::Latency { .. } => figures.of_latencies(canary, baseline, false),
        }
    }

    fn pace(&self) -> Pace {
        let Some((begun, judged_to)) = self.begun.zip(self.judged_to) else { return Pace::Unknown };
        let length_ms = judged_to.since(begun).min(self.window.length()).as_millis() as f64;
        if let Test::Threshold { min_samples, consecutive, .. } = self.spec.test {
            let events = self.window.canary().iter().sum::<f64>();
            if self.has_samples(min_samples) {
                return Pace::Looks(Span(self.terms.every.as_millis() * i64::from(self.streak.missing(consecutive))));
            }
            let missing = min_samples as f64 - events;
            return Pace::Waits(missing.max(0.0) * length_ms / events);
        }
        if self.is_apart() {
            return Pace::Unknown;
        }
        self.window_tallies().map_or(Pace::Unknown, |(limit, canary, baseline)| Pace::Rates {
            limit,
            canary,
            baseline,
            length_ms,
        })
    }

    /// The window as a rate check: harmful events, and their limit.
    fn window_tallies(&self) -> Option<(Limit, Tally, Tally)> {
        let (canary, baseline) = (self.window.canary(), self.window.baseline());
        match &self.evidence {
            Evidence::Rate { harmful_is_bad, limit, .. } => {
                Some((*limit, tally(canary, *harmful_is_bad), tally(baseline, *harmful_is_bad)))
            }
            Evidence::Latency { limit, strata } => {
                let Measure::Latency { quantile, layout } = &self.spec.measure else { return None };
                let x = match limit {
                    QuantileLimit::Fixed(_) => 0.0,
                    QuantileLimit::OverBaseline(_) => {
                        strata.iter().find_map(|s| s.evidence.recent_quantile(layout, *quantile))?
                    }
                };
                let above = layout.above(canary, limit.at(x), Coarse::Below);
                let tail = Limit { intercept: 1.0 - quantile, slope: 0.0 };
                Some((tail, Tally::new(above.sum(), above.total), Tally::default()))
            }
        }
    }

    /// A quantile's limit, and the least value at which harm shows in its buckets.
    fn visible(&self) -> Option<(f64, f64)> {
        let Evidence::Latency { limit, strata } = &self.evidence else { return None };
        let Measure::Latency { quantile, layout } = &self.spec.measure else { return None };
        let (exact, from) = match limit {
            QuantileLimit::Fixed(limit) => (*limit, *limit),
            QuantileLimit::OverBaseline(_) => {
                let x = strata.iter().find_map(|s| s.evidence.recent_quantile(layout, *quantile))?;
                (limit.at(x), limit.at(layout.visible_from(x)))
            }
        };
        Some((exact, layout.visible_from(from)))
    }
}
