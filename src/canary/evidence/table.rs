//! A3: equality of two proportions, betting on what earlier blocks showed (Turner, Ly and Grunwald 2024, "Generic
//! E-variables for exact sequential k-sample tests that allow for optional stopping").
//!
//! The bet is the posterior mean of each arm after the blocks before, so it needs no grid; it has no margin and learns
//! for some blocks before it earns. The checks use [`plane`](super::plane), of which this is the case of limit (0, 1)
//! and one adaptive alternative.

use serde::{Deserialize, Serialize};

use crate::canary::evidence::plane::{Limit, Tally};

/// Prior bad and good events of each arm.
const PRIOR: f64 = 0.18;

/// Evidence that the canary's rate of bad events is higher than the baseline's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    canary: Tally,
    baseline: Tally,
    ln_evidence: f64,
}

impl Table {
    /// Takes a block.
    pub fn step(&mut self, canary: Tally, baseline: Tally) {
        let mean = |arm: Tally| (arm.bad + PRIOR) / (arm.total + 2.0 * PRIOR);
        let (q_c, q_s) = (mean(self.canary), mean(self.baseline));
        let equal = Limit { intercept: 0.0, slope: 1.0 };
        if q_c > q_s
            && let Some((c, s)) = equal.stakes(canary.total, baseline.total, q_c, q_s)
        {
            self.ln_evidence += c.on(canary) + s.on(baseline);
        }
        self.canary += canary;
        self.baseline += baseline;
    }

    /// ln E; 0 before the first bet.
    pub fn ln_evidence(&self) -> f64 {
        self.ln_evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_written_out() {
        let mut table = Table::default();
        table.step(Tally::new(5.0, 20.0), Tally::new(10.0, 100.0));
        assert_eq!(table.ln_evidence(), 0.0, "equal priors: no bet");
        let (c, s) = (5.18_f64 / 20.36, 10.18 / 100.36);
        let pooled = (30.0 * c + 90.0 * s) / 120.0;
        let ln = |k: f64, n: f64, q: f64| k * (q / pooled).ln() + (n - k) * ((1.0 - q) / (1.0 - pooled)).ln();
        table.step(Tally::new(8.0, 30.0), Tally::new(7.0, 90.0));
        assert!((table.ln_evidence() - ln(8.0, 30.0, c) - ln(7.0, 90.0, s)).abs() < 1e-12);
    }

    #[test]
    fn a_better_canary_is_not_bet_on() {
        let mut table = Table::default();
        for _ in 0..20 {
            table.step(Tally::new(1.0, 100.0), Tally::new(50.0, 1000.0));
        }
        assert_eq!(table.ln_evidence(), 0.0);
    }
}
