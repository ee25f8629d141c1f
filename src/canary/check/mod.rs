//! A check: harm, safe or undecided, from the blocks of its streams.
//!
//! | limit | sequential test | source |
//! |---|---|---|
//! | `above`, `below`, `burnRateOver` of a rate | likelihood ratios of one arm (slope 0) | Howard et al. 2021 |
//! | `dropOver`, `regressionOver` of a rate | half-plane projected on block by block | Turner and Grunwald 2023 |
//! | `regressionOver: 0%` of a rate ("above stable") | split of the harmful events | Lindon and Malek 2022 |
//! | `above` of a quantile | the tail above the limit as a rate | Howard and Ramdas 2022 |
//! | `regressionOver` of a quantile | the least of two, see `latency.rs` | both of them |
//!
//! Each is mixed over alternatives and, for harm, over the time of its onset. **Strata** (cohorts): a stratum's blocks
//! are compared only with its own baseline, so a change of the mix moves nothing. Evidence for harm is half the product
//! over strata (the harm is in all of them) and half the mean (it is in one): products of e-processes on separate
//! events and means of e-processes are e-processes for "every stratum keeps the limit". Safe needs the product, and no
//! stratum that leans to harm.

mod effect;
mod latency;
mod outcome;
mod rate;
mod spec;
mod standing;
mod threshold;

pub use effect::{Effect, Unit, short};
pub use outcome::{LnEvidence, Outcome, State};
pub use spec::{Action, Amount, Bound, CheckError, CheckSpec, Measure, Test};
pub use standing::Standing;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::canary::Block;
use crate::canary::evidence::onset::Onsets;
use crate::canary::evidence::plane::Limit;
use crate::canary::evidence::special::{ln_add, ln_sum};
use crate::types::{Span, Timestamp};
use latency::{LatencyEvidence, QuantileLimit};
use rate::{Arms, RateEvidence};
use threshold::{Streak, Window};

/// What a check takes from its rollout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The chance of a wrong alarm by this check, 0 to 1.
    pub alpha: f64,
    /// Steps of the rollout.
    pub steps: usize,
    /// From the start to the end at the latest.
    pub deadline: Span,
    /// Of threshold tests and of rates shown.
    pub window: Span,
    /// Between two looks of a threshold test.
    pub every: Span,
    /// Strata, at least 1.
    pub strata: usize,
}

/// A check at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    spec: Arc<CheckSpec>,
    terms: Terms,
    evidence: Evidence,
    window: Window,
    streak: Streak,
    begun: Option<Timestamp>,
    judged_to: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Evidence {
    Rate { harmful_is_bad: bool, limit: Limit, together: RateEvidence, onsets: Onsets, strata: Vec<RateStratum> },
    Latency { limit: QuantileLimit, strata: Vec<LatencyStratum> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RateStratum {
    arms: Arms,
    onsets: Onsets,
    evidence: RateEvidence,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LatencyStratum {
    onsets: Onsets,
    evidence: LatencyEvidence,
}

impl Check {
    /// A check that has seen nothing.
    pub fn new(spec: CheckSpec, terms: Terms) -> Result<Self, CheckError> {
        spec.validate()?;
        let onsets = Onsets::new(terms.steps, terms.deadline);
        let (evidence, kinds) = match &spec.measure {
            Measure::Latency { layout, .. } => {
                let limit = match spec.bound {
                    Bound::RegressionOver(amount) => QuantileLimit::OverBaseline(amount),
                    Bound::Above(limit) | Bound::Below(limit) => QuantileLimit::Fixed(limit),
                    Bound::DropOver(_) | Bound::BurnRateOver { .. } => QuantileLimit::Fixed(f64::INFINITY),
                };
                let stratum = LatencyStratum { onsets, evidence: LatencyEvidence::new(layout) };
                (Evidence::Latency { limit, strata: vec![stratum; terms.strata.max(1)] }, layout.kinds())
            }
            Measure::Success | Measure::Errors => {
                let (harmful_is_bad, limit) = spec.rate_limit();
                let evidence = RateEvidence::new();
                let arms = Arms::new(limit);
                let stratum = RateStratum { arms, onsets: onsets.clone(), evidence: evidence.clone() };
                let strata = vec![stratum; terms.strata.max(1)];
                (Evidence::Rate { harmful_is_bad, limit, together: evidence, onsets, strata }, 2)
            }
        };
        let length = match spec.bound {
            Bound::BurnRateOver { lasting, .. } if lasting > Span::ZERO => lasting,
            _ => terms.window,
        };
        let window = Window::new(kinds, length);
        let spec = Arc::new(spec);
        Ok(Self { spec, terms, evidence, window, streak: Streak::default(), begun: None, judged_to: None })
    }

    /// What it asks.
    pub fn spec(&self) -> &CheckSpec {
        &self.spec
    }

    /// What the baseline did before the rollout, so that the check knows where to look from the first block on. No
    /// evidence.
    pub fn learn(&mut self, stratum: usize, baseline: &[f64]) {
        match &mut self.evidence {
            Evidence::Rate { harmful_is_bad, strata, .. } => {
                if let Some(stratum) = strata.get_mut(stratum) {
                    stratum.arms.level.learn(spec::tally(baseline, *harmful_is_bad), 0.0);
                }
            }
            Evidence::Latency { strata, .. } => {
                if let Some(stratum) = strata.get_mut(stratum) {
                    stratum.evidence.learn(baseline);
                }
            }
        }
    }

    /// A further step of the rollout began.
    pub fn step_began(&mut self) {
        match &mut self.evidence {
            Evidence::Rate { onsets, strata, .. } => {
                onsets.step_began();
                for stratum in strata {
                    stratum.onsets.step_began();
                }
            }
            Evidence::Latency { strata, .. } => {
                for stratum in strata {
                    stratum.onsets.step_began();
                }
            }
        }
    }

    /// Takes a block of one stratum.
    pub fn observe(&mut self, stratum: usize, block: &Block) {
        self.begun.get_or_insert(block.from);
        self.judged_to = self.judged_to.max(Some(block.to));
        self.window.step(block);
        let is_empty = |counts: &[f64]| counts.iter().all(|count| *count == 0.0);
        let is_idle = is_empty(&block.canary) || self.spec.is_relative() && is_empty(&block.baseline);
        let weight = |onsets: &mut Onsets| if is_idle { 0.0 } else { onsets.weight(block.from, block.to) };
        match &mut self.evidence {
            Evidence::Rate { harmful_is_bad, limit, together, onsets, strata } => {
                let is_single = strata.len() == 1;
                let Some(stratum) = strata.get_mut(stratum) else { return };
                let factors = stratum.arms.step(block, *harmful_is_bad, *limit);
                together.step(weight(onsets), &factors);
                if !is_single {
                    stratum.evidence.step(weight(&mut stratum.onsets), &factors);
                }
            }
            Evidence::Latency { limit, strata } => {
                let Some(stratum) = strata.get_mut(stratum) else { return };
                if let Measure::Latency { quantile, layout } = &self.spec.measure {
                    let weight = weight(&mut stratum.onsets);
                    stratum.evidence.step(block, layout, *quantile, *limit, weight);
                }
            }
        }
        if let Test::Threshold { min_samples, ewma, .. } = self.spec.test {
            let figure = self.window_effect().filter(|_| self.has_samples(min_samples));
            let (value, limit) = figure.map_or((None, None), |e| (Some(e.excess()), Some(0.0)));
            self.streak.look(block.to, self.terms.every, value, limit, ewma);
        }
    }

    fn has_samples(&self, min_samples: u64) -> bool {
        let enough = |counts: &[f64]| counts.iter().sum::<f64>() >= min_samples.max(1) as f64;
        enough(self.window.canary()) && (!self.spec.is_relative() || enough(self.window.baseline()))
    }

    /// ln of the evidence that the limit is exceeded.
    pub fn ln_harm(&self) -> f64 {
        match &self.evidence {
            Evidence::Rate { together, strata, .. } => {
                if strata.len() == 1 {
                    return together.ln_harm();
                }
                halves(together.ln_harm(), strata.iter().map(|s| s.evidence.ln_harm()), strata.len())
            }
            Evidence::Latency { limit, strata } => {
                let each = || strata.iter().map(|s| s.evidence.ln_harm(*limit));
                if strata.len() == 1 { each().sum() } else { halves(each().sum(), each(), strata.len()) }
            }
        }
    }

    /// ln of the evidence that the limit is kept.
    pub fn ln_safe(&self) -> f64 {
        match &self.evidence {
            Evidence::Rate { together, .. } => together.ln_safe(),
            Evidence::Latency { limit, strata } => strata.iter().map(|s| s.evidence.ln_safe(*limit)).sum(),
        }
    }

    /// One stratum alone shows more for harm than against it.
    fn leans_to_harm(&self) -> bool {
        match &self.evidence {
            Evidence::Rate { strata, .. } if strata.len() > 1 => strata.iter().any(|s| s.evidence.ln_harm() > 0.0),
            Evidence::Latency { limit, strata } if strata.len() > 1 => {
                strata.iter().any(|s| s.evidence.ln_harm(*limit) > 0.0)
            }
            Evidence::Rate { .. } | Evidence::Latency { .. } => false,
        }
    }

    /// ln of the evidence that decides.
    pub fn ln_needed(&self) -> f64 {
        (1.0 / self.terms.alpha).ln()
    }

    fn state(&self, evidence: Option<LnEvidence>) -> State {
        match self.spec.test {
            Test::Sequential => {
                let Some(LnEvidence { harm, safe, needed }) = evidence else { return State::Undecided };
                if harm >= needed && self.burns_still() {
                    State::Harm
                } else if safe >= needed && !self.leans_to_harm() && harm < 0.0 {
                    State::Safe
                } else {
                    State::Undecided
                }
            }
            Test::Threshold { consecutive, .. } => {
                if self.streak.is_over(consecutive) && self.burns_still() {
                    State::Harm
                } else if self.streak.is_within(consecutive) {
                    State::Safe
                } else {
                    State::Undecided
                }
            }
        }
    }

    /// With `burnRateOver .. for`: the last while was watched whole and burnt too fast. Other checks ask for nothing
    /// more.
    fn burns_still(&self) -> bool {
        match self.spec.bound {
            Bound::BurnRateOver { lasting, .. } if lasting > Span::ZERO => {
                self.window.is_whole() && self.window_effect().is_some_and(|effect| effect.excess() > 0.0)
            }
            _ => true,
        }
    }
}

/// Half the product, half the mean.
fn halves(ln_product: f64, each: impl Iterator<Item = f64>, number: usize) -> f64 {
    ln_add(ln_product, ln_sum(each) - (number as f64).ln()) - 2.0_f64.ln()
}
