//! Random traffic from a seed.

use sloburn::canary::evidence::special::ln_gamma;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    #[expect(clippy::many_single_char_names, reason = "the paper's letters")]
    /// Poisson, exact: by inversion for small means, else by Hormann's transformed rejection (1993, PTRS).
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean < 10.0 {
            let (mut k, mut p, u) = (0.0, (-mean).exp(), self.uniform());
            let mut sum = p;
            while u > sum && k < 1000.0 {
                k += 1.0;
                p *= mean / k;
                sum += p;
            }
            return k;
        }
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let v_r = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = (self.uniform() - 0.5, self.uniform());
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= v_r {
                return k;
            }
            if k < 0.0 || us < 0.013 && v > us {
                continue;
            }
            let ln_accept = (v * inverse_alpha / (a / (us * us) + b)).ln();
            if ln_accept <= k * mean.ln() - mean - ln_gamma(k + 1.0) {
                return k;
            }
        }
    }
}

/// Latencies whose logarithm is normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lognormal {
    pub median: f64,
    pub sigma: f64,
}

impl Lognormal {
    /// All latencies longer by a factor.
    pub fn scaled(self, factor: f64) -> Self {
        Self { median: self.median * factor, ..self }
    }

    /// The share below `x`.
    pub fn below(self, x: f64) -> f64 {
        if x <= 0.0 {
            return 0.0;
        }
        normal_below((x / self.median).ln() / self.sigma)
    }

    /// By bisection.
    pub fn quantile(self, q: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.median * 1e6);
        for _ in 0..200 {
            let middle = f64::midpoint(low, high);
            if self.below(middle) < q {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

/// The normal distribution function: Taylor's series within 6, else 0 or 1 (Marsaglia 2004).
fn normal_below(z: f64) -> f64 {
    if z.abs() > 6.0 {
        return if z < 0.0 { 0.0 } else { 1.0 };
    }
    let (mut sum, mut term, mut i) = (z, z, 1.0);
    while f64::abs(term) > 1e-18 {
        i += 2.0;
        term *= z * z / i;
        sum += term;
    }
    0.5 + sum * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}
