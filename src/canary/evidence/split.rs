//! How the bad events of a block split between the arms.
//!
//! Given their number, the split does not depend on the level of the rate: what moves both arms cancels exactly, and
//! nothing about the baseline needs to be known. A1 is the mixture for a fixed split of the traffic (Lindon and Malek
//! 2022, "Anytime-valid inference for multinomial count data"); A2 takes a new split each block.

use crate::canary::evidence::plane::Tally;
use crate::canary::evidence::special::{LN_ZERO, ln_add, ln_beta_of, ln_choose, times_ln};

/// Strength of A1's Dirichlet prior in events.
pub const PRIOR_EVENTS: f64 = 100.0;

/// A1: ln E that events fall on the arms in other proportions than the traffic's `split`, for a prior of `strength`
/// events. Counts of each arm, split adding to 1.
pub fn ln_dirichlet(counts: &[f64], split: &[f64], strength: f64) -> f64 {
    ln_dirichlet_mixed(counts, split, strength)
        - counts.iter().zip(split).map(|(&k, &rho)| times_ln(k, rho)).sum::<f64>()
}

/// ln of the mixture's likelihood: the numerator of [`ln_dirichlet`].
fn ln_dirichlet_mixed(counts: &[f64], split: &[f64], strength: f64) -> f64 {
    let prior: Vec<f64> = split.iter().map(|rho| strength * rho).collect();
    let posterior: Vec<f64> = prior.iter().zip(counts).map(|(a, k)| a + k).collect();
    ln_beta_of(&posterior) - ln_beta_of(&prior)
}

/// A1's interval for ln of the ratio of the second arm's rate to the first's, of two arms.
pub fn dirichlet_log_ratio(counts: [f64; 2], split: [f64; 2], strength: f64, alpha: f64) -> (f64, f64) {
    let bound = ln_dirichlet_mixed(&counts, &split, strength) + alpha.ln();
    let ln_likelihood = |delta: f64| {
        let second = split[1] * delta.exp() / (split[0] + split[1] * delta.exp());
        times_ln(counts[0], 1.0 - second) + times_ln(counts[1], second)
    };
    let observed = ((counts[1].max(1e-9) / split[1]) / (counts[0].max(1e-9) / split[0])).ln();
    let end = |direction: f64| {
        let (mut inside, mut outside) = (observed, observed + direction * 60.0);
        for _ in 0..100 {
            let middle = f64::midpoint(inside, outside);
            if ln_likelihood(middle) >= bound {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        inside
    };
    (end(-1.0), end(1.0))
}

/// A2: ln of a block's factor for the canary's rate at `ratio` times the baseline's, against at most the same rate.
///
/// Each bad event falls to the canary with probability `theta(r) = rho r / (rho r + 1 - rho)`, rho its share of the
/// events. The factor's mean given the number of bad events is `(1 + (theta - rho) (...))^K` with a base linear in the
/// true theta and 1 at `ratio = 1`: at most 1 for every lower ratio, in Poisson streams at any level. Given the number
/// of bad events in finite blocks the split at equal rates is hypergeometric, which is less spread than binomial
/// (Hoeffding 1963, theorem 4): the mean of the convex factor is lower still, so it is valid at every rate; it only
/// wastes power at high ones, where [`ln_odds_factor`] stands.
pub fn ln_split_factor(canary: Tally, baseline: Tally, ratio: f64) -> f64 {
    let rho = canary.total / (canary.total + baseline.total);
    let theta = rho * ratio / (rho * ratio + 1.0 - rho);
    times_ln(canary.bad, theta / rho) + times_ln(baseline.bad, (1.0 - theta) / (1.0 - rho))
}

/// A2 at rates above a few percent: ln of the ratio of Fisher's noncentral hypergeometric likelihoods of the split at
/// odds ratio `odds` and at 1. The likelihood ratio rises with the canary's count, so it is valid for every odds ratio
/// up to 1. Takes time in proportion to the bad events; whole counts.
pub fn ln_odds_factor(canary: Tally, baseline: Tally, odds: f64) -> f64 {
    let bad = canary.bad + baseline.bad;
    let least = (bad - baseline.total).max(0.0);
    let most = bad.min(canary.total);
    // ln of sum C(n_c, y) C(n_s, K - y) odds^y over y, by the ratio of neighbours.
    let mut ln_term = ln_choose(canary.total, least) + ln_choose(baseline.total, bad - least) + least * odds.ln();
    let mut ln_total = LN_ZERO;
    let mut y = least;
    loop {
        ln_total = ln_add(ln_total, ln_term);
        if y + 0.5 > most {
            break;
        }
        let up = (canary.total - y) * (bad - y) / ((y + 1.0) * (baseline.total - bad + y + 1.0));
        ln_term += (up * odds).ln();
        y += 1.0;
    }
    canary.bad * odds.ln() - ln_total + ln_choose(canary.total + baseline.total, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_dirichlet_mixture() {
        let p = (-ln_dirichlet(&[148.0, 62.0], &[0.8, 0.2], 100.0)).exp();
        assert!((p - 0.045_579_631_759_3).abs() < 1e-12, "{p}");
        let (low, high) = dirichlet_log_ratio([148.0, 62.0], [0.8, 0.2], 100.0, 0.05);
        assert!((low - 0.004_646_25).abs() < 1e-8 && (high - 0.994_506).abs() < 1e-6, "{low} {high}");
    }

    #[test]
    fn known_answers_of_a_flat_prior() {
        // Dir(1,1,1) is not in proportion to the split: written out.
        let ln = |counts: [f64; 3]| {
            let posterior = counts.map(|k| k + 1.0);
            let null: f64 = counts.iter().zip([0.4_f64, 0.4, 0.2]).map(|(k, rho)| k * rho.ln()).sum();
            ln_beta_of(&posterior) - ln_beta_of(&[1.0; 3]) - null
        };
        assert!((ln([2.0, 2.0, 1.0]) + 1.171_118_979).abs() < 1e-9, "{}", ln([2.0, 2.0, 1.0]));
        assert!((ln([60.0, 63.0, 32.0]) + 4.183_813_982).abs() < 1e-9, "{}", ln([60.0, 63.0, 32.0]));
    }

    /// Mean of a factor over the hypergeometric or binomial-by-binomial outcomes.
    fn mean(n: (u32, u32), p: (f64, f64), ln_factor: impl Fn(Tally, Tally) -> f64) -> f64 {
        let ln_binomial = |k: u32, n: u32, p: f64| {
            let (k, n) = (f64::from(k), f64::from(n));
            ln_choose(n, k) + times_ln(k, p) + times_ln(n - k, 1.0 - p)
        };
        let mut sum = 0.0;
        for k_c in 0..=n.0 {
            for k_s in 0..=n.1 {
                let (c, s) = (Tally::new(f64::from(k_c), f64::from(n.0)), Tally::new(f64::from(k_s), f64::from(n.1)));
                sum += (ln_binomial(k_c, n.0, p.0) + ln_binomial(k_s, n.1, p.1) + ln_factor(c, s)).exp();
            }
        }
        sum
    }

    #[test]
    fn neither_factor_gains_at_any_level_of_equal_or_lower_rates() {
        for p_s in [0.01, 0.1, 0.4, 0.9] {
            for share in [0.3, 0.8, 1.0] {
                for r in [1.1, 2.0, 20.0] {
                    let p = (p_s * share, p_s);
                    let split = mean((9, 30), p, |c, s| ln_split_factor(c, s, r));
                    let odds = mean((9, 30), p, |c, s| ln_odds_factor(c, s, r));
                    assert!(split < 1.0 + 1e-9 && odds < 1.0 + 1e-9, "{p:?} {r}: {split} {odds}");
                }
            }
            let exact = mean((9, 30), (p_s, p_s), |c, s| ln_odds_factor(c, s, 3.0));
            assert!((exact - 1.0).abs() < 1e-9, "{exact}");
        }
    }

    #[test]
    fn at_low_rates_both_agree() {
        let (c, s) = (Tally::new(3.0, 20_000.0), Tally::new(5.0, 80_000.0));
        assert!((ln_split_factor(c, s, 2.0) - ln_odds_factor(c, s, 2.0)).abs() < 1e-3);
    }
}
