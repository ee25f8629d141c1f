//! Confidence sequences: intervals that hold at every look together.
//!
//! For one proportion the set of rates that a beta-binomial mixture does not reject (Howard, Ramdas, `McAuliffe` and
//! Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences", the two-sided beta-binomial
//! mixture). For a difference the two arms' sequences at half the error each.

use crate::canary::evidence::plane::Tally;
use crate::canary::evidence::special::{ln_beta, times_ln};

/// An interval with its ends included.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// The lower end.
    #[serde(with = "crate::types::any_f64")]
    pub low: f64,
    /// The upper end.
    #[serde(with = "crate::types::any_f64")]
    pub high: f64,
}

/// Halvings when an end is looked for: below 1e-15.
const HALVINGS: usize = 52;

/// `rho` that is best for a two-sided normal mixture at the intrinsic time `v`.
pub fn best_rho(v: f64, alpha: f64) -> f64 {
    let ln = 2.0 * (1.0 / alpha).ln();
    v / (ln + (1.0 + ln).ln())
}

/// ln of the beta-binomial mixture's wealth against the rate `p` after `tally`, tuned for `t_opt` events. Rates 0 and 1
/// are refuted by one event of the other kind, and never otherwise.
pub fn ln_wealth_against(p: f64, tally: Tally, t_opt: f64, alpha: f64) -> f64 {
    let (bad, good) = (tally.bad, tally.total - tally.bad);
    if p <= 0.0 || p >= 1.0 {
        let against = if p <= 0.0 { bad } else { good };
        return if against > 0.0 { f64::INFINITY } else { 0.0 };
    }
    let variance = p * (1.0 - p);
    let r = (best_rho(t_opt * variance, alpha) - variance).max(1e-3 * variance);
    let (a, b) = (r / (1.0 - p), r / p);
    ln_beta(a + bad, b + good) - ln_beta(a, b) - times_ln(bad, p) - times_ln(good, 1.0 - p)
}

/// The rates that the events so far do not refute; `alpha` is the chance that the true rate is ever outside.
/// Without events all of 0..1.
pub fn proportion(tally: Tally, t_opt: f64, alpha: f64) -> Interval {
    let Some(mean) = tally.rate() else { return Interval { low: 0.0, high: 1.0 } };
    let bound = (1.0 / alpha).ln();
    let kept = |p: f64| ln_wealth_against(p, tally, t_opt, alpha) < bound;
    let end = |outer: f64| {
        if kept(outer) {
            return outer;
        }
        let (mut outside, mut inside) = (outer, mean);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(outside, inside);
            if kept(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        inside
    };
    Interval { low: end(0.0), high: end(1.0) }
}

impl Interval {
    /// The differences of a value of this and one of `other`, each at half of the error.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { low: self.low - other.high, high: self.high - other.low }
    }
}

/// Radius of the asymptotic confidence sequence for a difference of proportions (Waudby-Smith and others 2024) at the
/// information `i = 1/(p_c q_c/n_c + p_s q_s/n_s)`, tightest near `i_opt`. An approximation: for display beside the
/// exact one, never for a verdict.
pub fn asymptotic_radius(i: f64, i_opt: f64, alpha: f64) -> f64 {
    let rho = best_rho(i_opt, alpha);
    ((i + rho) * (((i + rho) / rho).ln() + 2.0 * (1.0 / alpha).ln())).sqrt() / i
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_intervals() {
        for (bad, total, t_opt, low, high) in [
            (700.0, 1000.0, 100.0, 0.651_629, 0.745_949),
            (15.0, 50.0, 50.0, 0.129_556, 0.511_896),
            (0.0, 1.0, 50.0, 0.0, 1.0),
        ] {
            let found = proportion(Tally::new(bad, total), t_opt, 0.05);
            assert!((found.low - low).abs() < 1e-6 && (found.high - high).abs() < 1e-6, "{bad}/{total}: {found:?}");
        }
        assert_eq!(proportion(Tally::default(), 100.0, 0.05), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn the_asymptotic_radius() {
        assert!((best_rho(100.0, 0.05) - 12.600_56).abs() < 1e-5, "{}", best_rho(100.0, 0.05));
        assert!((100.0 * asymptotic_radius(100.0, 100.0, 0.05) - 30.352_09).abs() < 1e-5);
    }

    #[test]
    fn a_difference_takes_the_far_ends() {
        let (c, s) = (Interval { low: 0.2, high: 0.5 }, Interval { low: 0.1, high: 0.25 });
        let difference = c.minus(s);
        assert!((difference.low + 0.05).abs() < 1e-15 && (difference.high - 0.4).abs() < 1e-15);
    }
}
