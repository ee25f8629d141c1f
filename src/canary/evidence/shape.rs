//! B1: whether two latency distributions have the same shape, from buckets.
//!
//! The bet is on the bucket shares of earlier blocks, the canary's shrunk toward the baseline's, against their
//! traffic-weighted mean. The factor is a likelihood ratio of the two multinomials against the common one that is
//! nearest to them, so for equal shares its mean is at most 1 (the argument of [`plane`](super::plane) for many
//! categories). It finds any change, better ones too, and has no margin: evidence to show, not a limit.

use serde::{Deserialize, Serialize};

/// Events of the baseline's shape that the canary's estimate starts with.
const SHRINK_EVENTS: f64 = 50.0;
/// Prior events in each bucket of the baseline.
const PRIOR: f64 = 0.5;

/// Evidence that the shapes differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    canary: Vec<f64>,
    baseline: Vec<f64>,
    ln_evidence: f64,
}

impl Shape {
    /// For this many buckets.
    pub fn new(buckets: usize) -> Self {
        Self { canary: vec![0.0; buckets], baseline: vec![0.0; buckets], ln_evidence: 0.0 }
    }

    /// Takes a block: counts of each bucket, not cumulative.
    pub fn step(&mut self, canary: &[f64], baseline: &[f64]) {
        let sum = |counts: &[f64]| counts.iter().sum::<f64>();
        let (n_c, n_s) = (sum(canary), sum(baseline));
        if n_c > 0.0 && n_s > 0.0 {
            let all_s = sum(&self.baseline) + PRIOR * self.baseline.len() as f64;
            let all_c = sum(&self.canary) + SHRINK_EVENTS;
            for b in 0..self.canary.len().min(canary.len()).min(baseline.len()) {
                let p_s = (self.baseline[b] + PRIOR) / all_s;
                let p_c = (self.canary[b] + SHRINK_EVENTS * p_s) / all_c;
                let p_0 = (n_c * p_c + n_s * p_s) / (n_c + n_s);
                self.ln_evidence += canary[b] * (p_c / p_0).ln() + baseline[b] * (p_s / p_0).ln();
            }
        }
        for (seen, new) in self.canary.iter_mut().zip(canary).chain(self.baseline.iter_mut().zip(baseline)) {
            *seen += new;
        }
    }

    /// ln E.
    pub fn ln_evidence(&self) -> f64 {
        self.ln_evidence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_found_and_sameness_is_not() {
        let (mut same, mut shifted) = (Shape::new(4), Shape::new(4));
        for _ in 0..20 {
            same.step(&[5.0, 30.0, 10.0, 5.0], &[50.0, 300.0, 100.0, 50.0]);
            shifted.step(&[3.0, 20.0, 18.0, 9.0], &[50.0, 300.0, 100.0, 50.0]);
        }
        assert!(same.ln_evidence() < 0.0 && shifted.ln_evidence() > 20.0, "{shifted:?}");
    }

    #[test]
    fn equal_shares_do_not_gain() {
        // Two buckets, one event in the canary and two in the baseline: all outcomes of the second block.
        let mut start = Shape::new(2);
        start.step(&[2.0, 9.0], &[30.0, 5.0]);
        let before = start.ln_evidence();
        for p in [0.05_f64, 0.3, 0.8] {
            let mut mean = 0.0;
            for k in 0..8_u32 {
                let slow: Vec<f64> = (0..3).map(|i| f64::from(k >> i & 1)).collect();
                let probability: f64 = slow.iter().map(|s| if *s == 1.0 { p } else { 1.0 - p }).product();
                let mut next = start.clone();
                let s = slow[1] + slow[2];
                next.step(&[1.0 - slow[0], slow[0]], &[2.0 - s, s]);
                mean += probability * (next.ln_evidence() - before).exp();
            }
            assert!(mean <= 1.0 + 1e-12, "{p}: {mean}");
        }
    }
}
