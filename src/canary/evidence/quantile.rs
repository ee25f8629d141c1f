//! B2: quantiles by beta-binomial mixtures (Howard and Ramdas 2022, "Sequential estimation of quantiles with
//! applications to A/B testing and best-arm identification").
//!
//! Whether the q-quantile is x is a question about one proportion: the share of events at or below x. Two quantiles are
//! equal if some x is the quantile of both, so the evidence against it is the least over x of the sum of both arms'
//! evidence against x. An arm with an atom at x is minimised over the shares below and at x. The latency checks use the
//! same construction with one-sided grids and a margin (`check/latency.rs`); this is the plain test, and the reference
//! for it.

use crate::canary::evidence::interval::{best_rho, ln_wealth_against};
use crate::canary::evidence::plane::Tally;
use crate::canary::evidence::special::ln_beta;

/// One arm at one x: events below x, events at or below x, all events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtOrBelow {
    /// Below x.
    pub below: f64,
    /// At or below x.
    pub at_or_below: f64,
    /// All.
    pub total: f64,
}

impl AtOrBelow {
    /// The least evidence against "x is the q-quantile" over the arm's own interval.
    fn ln_evidence(self, q: f64, t_opt: f64, alpha: f64) -> f64 {
        // The evidence falls up to the expected count and rises after it.
        let count = (q * self.total).clamp(self.below, self.at_or_below);
        ln_wealth_against(q, Tally::new(count, self.total), t_opt, alpha)
    }
}

/// ln E that the q-quantiles of two arms differ: the least over the candidates, which must contain every value at which
/// either arm's count changes.
pub fn ln_differ(candidates: &[(AtOrBelow, AtOrBelow)], q: f64, t_opt: f64, alpha: f64) -> f64 {
    let at = |(a, b): &(AtOrBelow, AtOrBelow)| a.ln_evidence(q, t_opt, alpha) + b.ln_evidence(q, t_opt, alpha);
    candidates.iter().map(at).fold(f64::INFINITY, f64::min)
}

/// ln of the two-sided beta-binomial mixture supermartingale at the sum `s` and intrinsic time `v`, for increments in
/// [-g, h], tuned for `v_opt` (Howard and others 2021, proposition 7).
#[expect(clippy::many_single_char_names, reason = "the paper's letters")]
pub fn ln_mixture(s: f64, v: f64, v_opt: f64, g: f64, h: f64, alpha: f64) -> f64 {
    let r = (best_rho(v_opt, alpha) - g * h).max(1e-3 * g * h);
    let (low, high) = (g * (g + h), h * (g + h));
    v / (g * h) * (g + h).ln() - (v + h * s) / high * g.ln() - (v - g * s) / low * h.ln()
        + ln_beta((r + v - g * s) / low, (r + v + h * s) / high)
        - ln_beta(r / low, r / high)
}

/// The sum that [`ln_mixture`] reaches `ln(1/alpha)` at.
pub fn mixture_bound(v: f64, v_opt: f64, g: f64, h: f64, alpha: f64) -> f64 {
    let (mut below, mut above) = (0.0, v / g);
    for _ in 0..100 {
        let middle = f64::midpoint(below, above);
        if ln_mixture(middle, v, v_opt, g, h, alpha) < (1.0 / alpha).ln() {
            below = middle;
        } else {
            above = middle;
        }
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two arms of 1..=1000, the second shifted.
    fn shifted(shift: u32) -> Vec<(AtOrBelow, AtOrBelow)> {
        let arm = |x: f64| {
            let count = |x: f64| x.clamp(0.0, 1000.0);
            AtOrBelow { below: count(x - 1.0), at_or_below: count(x), total: 1000.0 }
        };
        (1..=1000 + shift).map(|x| (arm(f64::from(x)), arm(f64::from(x) - f64::from(shift)))).collect()
    }

    #[test]
    fn known_answers_of_shifted_samples() {
        for (q, shift, p, digits) in [
            (0.5, 70, 0.814_704, 1e-6),
            (0.5, 85, 0.083_805_5, 1e-7),
            (0.5, 100, 0.005_494_7, 1e-7),
            (0.9, 55, 0.034_046_3, 1e-7),
        ] {
            let found = (-ln_differ(&shifted(shift), q, 100.0, 0.05)).exp().min(1.0);
            assert!((found - p).abs() < digits, "{q} +{shift}: {found}");
        }
        assert!(ln_differ(&shifted(0), 0.5, 100.0, 0.05) < 0.0);
    }

    #[test]
    fn known_answers_of_the_boundary() {
        assert!((ln_mixture(10.0, 100.0, 100.0, 0.2, 0.8, 0.05) + 0.694_101_2).abs() < 1e-7);
        let bound = mixture_bound(100.0, 100.0, 0.2, 0.8, 0.05);
        assert!((bound - 31.430_8).abs() < 1e-4, "{bound}");
    }
}
