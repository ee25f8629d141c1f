//! Compensated summation: Kahan's, with Neumaier's improvement.

/// A sum and the rounding error it has gathered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kahan {
    pub sum: f64,
    pub error: f64,
}

impl Kahan {
    pub const fn new(sum: f64) -> Self {
        Self { sum, error: 0.0 }
    }

    #[inline]
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.error = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.error += (self.sum - total) + value;
        } else {
            self.error += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub fn scale(&mut self, factor: f64) {
        self.sum *= factor;
        self.error *= factor;
    }

    pub fn value(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.error }
    }
}

/// The mean of a growing list: the sum over the count, or an incremental mean once the sum would overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    total: Kahan,
    count: f64,
    is_incremental: bool,
}

impl Mean {
    pub const fn new(first: f64) -> Self {
        Self { total: Kahan::new(first), count: 1.0, is_incremental: false }
    }

    #[inline]
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_incremental {
            let mut next = self.total;
            next.add(value);
            if !next.sum.is_infinite() {
                self.total = next;
                return;
            }
            self.is_incremental = true;
            let before = self.count - 1.0;
            self.total = Kahan { sum: self.total.sum / before, error: self.total.error / before };
        }
        self.total.scale((self.count - 1.0) / self.count);
        self.total.add(value / self.count);
    }

    pub fn value(&self) -> f64 {
        if self.is_incremental {
            return self.total.sum + self.total.error;
        }
        self.total.sum / self.count + self.total.error / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Kahan::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn a_mean_of_huge_values_does_not_overflow() {
        let mut mean = Mean::new(f64::MAX);
        mean.add(f64::MAX);
        mean.add(f64::MAX);
        assert!((mean.value() / f64::MAX - 1.0).abs() < 1e-12);
    }
}
