//! Evidence for harm that may begin late: a mixture over onset times and over a grid of alternatives.
//!
//! For one alternative let `e_t` be the factor of block t, of conditional expectation at most 1 under the null. The
//! product of the factors from block i on is an e-process for "harm since i". Weights `w_i`, fixed before block i is
//! seen and adding to at most 1, make of them
//!
//! ```text
//! R_t = (R_(t-1) + w_t) e_t        E_t = R_t + 1 - sum_(i <= t) w_i
//! ```
//!
//! in O(1) a block. `E_t` is a convex combination of nonnegative supermartingales that start at 1 (the weight not yet
//! spent is cash), and so is its average over the grid; by Ville's inequality it ever reaches `1/alpha` with
//! probability at most alpha. Finding an onset that had weight w costs `ln(1/w)` more evidence than knowing it.

use serde::{Deserialize, Serialize};

use crate::canary::evidence::special::{LN_ZERO, ln_add, ln_sum};
use crate::types::{Span, Timestamp};

/// A mixture over a grid of alternatives, each of which may have begun at any block so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// ln of the prior weight of each alternative; they add to 1.
    ln_prior: Vec<f64>,
    /// ln R of each alternative.
    ln_wealth: Vec<f64>,
    /// The onset weight spent so far, 0 to 1.
    spent: f64,
}

impl Mixture {
    /// No evidence yet; `prior` holds positive weights of the alternatives, in proportion.
    pub fn new(prior: &[f64]) -> Self {
        let total: f64 = prior.iter().sum();
        let ln_prior: Vec<f64> = prior.iter().map(|w| (w / total).ln()).collect();
        Self { ln_wealth: vec![LN_ZERO; ln_prior.len()], ln_prior, spent: 0.0 }
    }

    /// Takes a block: `onset` is the weight of a beginning at this block, `ln_factors` the block's factor for each
    /// alternative. More weight than is left counts as what is left.
    pub fn step(&mut self, onset: f64, ln_factors: impl IntoIterator<Item = f64>) {
        let onset = onset.clamp(0.0, 1.0 - self.spent);
        self.spent += onset;
        let ln_onset = if onset > 0.0 { onset.ln() } else { LN_ZERO };
        for (wealth, factor) in self.ln_wealth.iter_mut().zip(ln_factors) {
            *wealth = ln_add(*wealth, ln_onset) + factor;
        }
    }

    /// ln of the evidence; 0 before any block.
    pub fn ln_evidence(&self) -> f64 {
        let cash = 1.0 - self.spent;
        let ln_cash = if cash > 1e-15 { cash.ln() } else { LN_ZERO };
        ln_add(ln_cash, ln_sum(self.ln_prior.iter().zip(&self.ln_wealth).map(|(prior, wealth)| prior + wealth)))
    }
}

/// How the weight of the onset is dealt out over a rollout, before any data.
///
/// A part for the beginning, a part in equal shares for each later step, and a part spread over the time to the
/// deadline with a density that falls as `1/(t + 10 min)`: harm from the start is found nearly as fast as by a test
/// that knows it, harm that comes with more traffic nearly as fast, and harm at any other moment is found too, the
/// sooner after the start the faster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Onsets {
    spread: f64,
    per_step: f64,
    deadline: Span,
    /// Weight of blocks without events and of steps begun, for the next block that has events.
    due: f64,
    /// Where the first block began, and the last one ended.
    seen: Option<(Timestamp, Timestamp)>,
}

/// The share of the beginning.
const START_SHARE: f64 = 0.65;
/// The share of later steps, together.
const STEPS_SHARE: f64 = 0.1;
/// After this time an onset is half as likely as at the start.
const HALF_DENSITY: Span = Span::minutes(10);

impl Onsets {
    /// For a rollout of this many steps that must be decided within `deadline`.
    pub fn new(steps: usize, deadline: Span) -> Self {
        let later_steps = steps.saturating_sub(1);
        let steps_share = if later_steps == 0 { 0.0 } else { STEPS_SHARE };
        Self {
            spread: 1.0 - START_SHARE - steps_share,
            per_step: steps_share / later_steps.max(1) as f64,
            deadline: deadline.max(Span::millis(1)),
            due: START_SHARE,
            seen: None,
        }
    }

    /// A further step began: harm may have come with it.
    pub fn step_began(&mut self) {
        self.due += self.per_step;
    }

    /// The weight of a block; call it once for each block that has events, in order.
    pub fn weight(&mut self, from: Timestamp, to: Timestamp) -> f64 {
        let (start, before) = self.seen.unwrap_or((from, from));
        let to = to.max(before);
        self.seen = Some((start, to));
        let spread = self.spread * (self.spread_until(to.since(start)) - self.spread_until(before.since(start)));
        std::mem::take(&mut self.due) + spread
    }

    /// The part of the spread weight that is dealt out after this time, 0 to 1.
    fn spread_until(&self, elapsed: Span) -> f64 {
        let ln = |span: Span| (span.as_millis() as f64 / HALF_DENSITY.as_millis() as f64).ln_1p();
        ln(elapsed.min(self.deadline)) / ln(self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: for each onset the product of the factors since, in plain numbers.
    fn naive(prior: &[f64], onsets: &[f64], factors: &[Vec<f64>]) -> f64 {
        let total: f64 = prior.iter().sum();
        let cash = 1.0 - onsets.iter().sum::<f64>();
        let begun = |alternative: usize| -> f64 {
            let since = |i: usize| factors[i..].iter().map(|f| f[alternative]).product::<f64>();
            onsets.iter().enumerate().map(|(i, w)| w * since(i)).sum()
        };
        cash + prior.iter().enumerate().map(|(j, w)| w / total * begun(j)).sum::<f64>()
    }

    #[test]
    fn the_recursion_is_the_mixture() {
        let prior = [1.0, 3.0];
        let onsets = [0.5, 0.0, 0.125, 0.25];
        let factors = vec![vec![1.2, 0.7], vec![3.0, 0.2], vec![0.5, 2.5], vec![4.0, 9.0]];
        let mut mixture = Mixture::new(&prior);
        assert_eq!(mixture.ln_evidence(), 0.0);
        for (t, (onset, block)) in onsets.iter().zip(&factors).enumerate() {
            mixture.step(*onset, block.iter().map(|f: &f64| f.ln()));
            let expected = naive(&prior, &onsets[..=t], &factors[..=t]).ln();
            assert!((mixture.ln_evidence() - expected).abs() < 1e-12, "block {t}");
        }
    }

    #[test]
    fn no_more_weight_is_spent_than_there_is() {
        let mut mixture = Mixture::new(&[1.0]);
        for _ in 0..3 {
            mixture.step(0.7, [0.0]);
        }
        assert!(mixture.ln_evidence().abs() < 1e-12, "factors of 1 leave the evidence at 1");
    }

    #[test]
    fn a_rollout_deals_out_all_its_weight() {
        let mut onsets = Onsets::new(3, Span::hours(1));
        let mut spent = 0.0;
        for minute in 0..60 {
            if minute == 20 || minute == 40 {
                onsets.step_began();
            }
            let at = |m: i64| Timestamp(m * 60_000);
            // Half of the blocks have no events; their weight falls to the next.
            if minute % 2 == 1 {
                spent += onsets.weight(at(minute - i64::from(minute == 1)), at(minute + 1));
            }
        }
        assert!((spent - 1.0).abs() < 1e-12, "{spent}");
    }
}
