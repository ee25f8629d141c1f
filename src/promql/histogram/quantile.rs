//! Quantiles and fractions of native histograms.
//!
//! Within an exponential bucket observations are taken to be spread evenly on a logarithmic scale, within a
//! custom bucket and the zero bucket linearly.

use super::{BucketRange, FloatHistogram};

/// What observations of NaN did to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanNote {
    /// The quantile lies among them.
    QuantileIsNan,
    /// They count as larger than all others.
    QuantileIsSkewed,
    /// They belong to no fraction.
    FractionExcludes,
}

impl BucketRange {
    /// The share of the bucket at or below `v`, which lies inside it.
    pub(super) fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, at) = (self.lower.abs().log2(), self.upper.abs().log2(), v.abs().log2());
        if v > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

impl FloatHistogram {
    /// The value that a share of `q` of the observations does not exceed.
    pub fn quantile(&self, q: f64) -> (f64, Option<NanNote>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // Observations of NaN are in no bucket, so with them the search has to start from below; else it starts
        // from the nearer end.
        let ascends = self.sum.is_nan() || q < 0.5;
        let rank = if ascends { q * self.count } else { (1.0 - q) * self.count };
        let mut buckets: Box<dyn Iterator<Item = BucketRange>> =
            if ascends { Box::new(self.buckets()) } else { Box::new(self.buckets().rev()) };
        let nowhere =
            BucketRange { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
        let (mut bucket, mut count) = (nowhere, 0.0);
        for next in buckets.by_ref().filter(|b| b.count != 0.0) {
            bucket = next;
            count += bucket.count;
            if count >= rank {
                break;
            }
        }
        if self.has_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.bound_zero_bucket(&mut bucket);
        }
        // The sum over the buckets may exceed the count by rounding.
        count = count.min(self.count);
        if count < rank {
            if self.sum.is_nan() {
                return (f64::NAN, Some(NanNote::QuantileIsNan));
            }
            return (bucket.upper, None);
        }
        let within = if ascends { rank - (count - bucket.count) } else { count - rank };
        let mut note = None;
        if self.sum.is_nan() && count + buckets.map(|b| b.count).sum::<f64>() < self.count {
            note = Some(NanNote::QuantileIsSkewed);
        }
        (self.interpolated(&bucket, within / bucket.count), note)
    }

    fn interpolated(&self, bucket: &BucketRange, fraction: f64) -> f64 {
        if self.has_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        }
    }

    /// With buckets on one side only, the zero bucket lies on that side too.
    fn bound_zero_bucket(&self, zero: &mut BucketRange) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => zero.lower = 0.0,
            (false, true) => zero.upper = 0.0,
            _ => {}
        }
    }

    /// The share of observations between two values.
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<NanNote>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let (mut lower_rank, mut upper_rank, mut rank, mut seen) = (None, None, 0.0, 0.0);
        let mut buckets = self.buckets();
        for mut bucket in buckets.by_ref() {
            seen += bucket.count;
            let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if is_zero {
                self.bound_zero_bucket(&mut bucket);
            }
            for (value, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
                if found.is_some() {
                    continue;
                }
                if bucket.lower >= value {
                    *found = Some(rank);
                } else if bucket.upper > value {
                    *found = Some(if self.has_custom_buckets() && bucket.lower == f64::NEG_INFINITY {
                        bucket.count
                    } else {
                        rank + bucket.count * bucket.fraction_below(value, self.has_custom_buckets() || is_zero)
                    });
                }
            }
            if lower_rank.is_some() && upper_rank.is_some() {
                break;
            }
            rank += bucket.count;
        }
        let (mut total, mut note) = (self.count, None);
        if self.sum.is_nan() {
            total = seen + buckets.map(|b| b.count).sum::<f64>();
            note = (total < self.count).then_some(NanNote::FractionExcludes);
        }
        let upper_rank = upper_rank.unwrap_or(total).min(total);
        let lower_rank = lower_rank.unwrap_or(total).min(total);
        ((upper_rank - lower_rank) / self.count, note)
    }
}

#[cfg(test)]
mod tests {
    use crate::promql::histogram::{Bucket, FloatHistogram};

    #[test]
    fn the_median_of_one_bucket_is_its_geometric_middle() {
        let h = FloatHistogram {
            count: 10.0,
            sum: 15.0,
            positive: vec![Bucket { index: 1, count: 10.0 }],
            ..FloatHistogram::default()
        };
        assert!((h.quantile(0.5).0 - std::f64::consts::SQRT_2).abs() < 1e-12);
        assert!((h.fraction(1.0, std::f64::consts::SQRT_2).0 - 0.5).abs() < 1e-12);
        assert_eq!(h.quantile(-1.0).0, f64::NEG_INFINITY);
    }
}
