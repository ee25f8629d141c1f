//! Native histograms, with exponential or custom buckets, as PromQL sees them: float counts, sparse buckets.
//!
//! The semantics (schemas, zero bucket, reset hints) are those of the Prometheus native histogram
//! specification; a bucket list here is sorted by index instead of cut into spans.

mod quantile;
mod reset;
mod sum;
mod trim;

use std::fmt;
use std::sync::Arc;

pub use quantile::NanNote;
pub(crate) use sum::{HistogramOperation, HistogramSum, IncompatibleSchemas};
pub(crate) use trim::Keep;

use crate::promql::go;
use crate::promql::kahan::Kahan;

/// The schema of histograms with custom buckets; others have exponential buckets and a schema from -4 to 8
/// (up to 52 are computed with).
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What is known about a counter reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing: buckets have to be compared.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// The histogram is not a counter.
    Gauge,
}

/// One bucket's observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Its place in the schema: exponential bucket `i` ends at `2^(i / 2^schema)`, custom bucket `i` at bound `i`.
    pub index: i32,
    /// How many observations.
    pub count: f64,
}

/// A native histogram.
#[derive(Clone, Debug, Default)]
pub struct FloatHistogram {
    /// What is known about a reset just before.
    pub reset_hint: ResetHint,
    /// Resolution of exponential buckets, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations, those that are NaN included.
    pub count: f64,
    /// Their sum. A stale marker has the stale NaN here.
    pub sum: f64,
    /// Buckets of positive values, or the custom buckets, by ascending index, each once.
    pub positive: Vec<Bucket>,
    /// Buckets of negative values, by ascending index (away from zero), each once.
    pub negative: Vec<Bucket>,
    /// Upper bounds of custom buckets, ascending, without the infinite one.
    pub custom_bounds: Option<Arc<[f64]>>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketRange {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// How many observations.
    pub count: f64,
}

impl FloatHistogram {
    /// Whether the buckets have custom bounds.
    pub const fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// The custom bounds; none for exponential buckets.
    pub fn bounds(&self) -> &[f64] {
        self.custom_bounds.as_deref().unwrap_or_default()
    }

    /// The same without buckets: enough for count and sum.
    pub(crate) fn without_buckets(&self, reset_hint: ResetHint) -> Self {
        Self { reset_hint, schema: self.schema, count: self.count, sum: self.sum, ..Self::default() }
    }

    /// How many float samples it weighs in the budget.
    pub fn size_samples(&self) -> usize {
        11 + (self.positive.len() + self.negative.len() + self.bounds().len()) / 2
    }

    /// Drops empty buckets.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        self.positive.retain(|b| b.count != 0.0);
        self.negative.retain(|b| b.count != 0.0);
        self
    }

    /// Multiplies every count and the sum. By a negative factor the result is a gauge.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.map(|v| v * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
        self
    }

    /// Divides every count and the sum. Division by zero removes all buckets.
    #[must_use]
    pub fn divided(mut self, divisor: f64) -> Self {
        self.map(|v| v / divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        } else if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
        self
    }

    fn map(&mut self, f: impl Fn(f64) -> f64) {
        self.zero_count = f(self.zero_count);
        self.count = f(self.count);
        self.sum = f(self.sum);
        for bucket in self.positive.iter_mut().chain(&mut self.negative) {
            bucket.count = f(bucket.count);
        }
    }

    /// The sum with another, or the difference; nothing when one has custom buckets and the other has not.
    #[must_use]
    pub fn plus(&self, other: &Self, subtracts: bool) -> Option<Self> {
        let mut sum = HistogramSum::new(self);
        sum.add_scaled(other, if subtracts { -1.0 } else { 1.0 }).ok()?;
        Some(sum.finish())
    }

    /// Whether layout and values are the same; the reset hint and empty buckets do not count.
    pub fn same(&self, other: &Self) -> bool {
        let filled = |buckets: &'_ [Bucket]| -> Vec<(i32, u64)> {
            buckets.iter().filter(|b| b.count != 0.0).map(|b| (b.index, b.count.to_bits())).collect()
        };
        self.schema == other.schema
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && self.bounds() == other.bounds()
            && self.zero_threshold == other.zero_threshold
            && self.zero_count.to_bits() == other.zero_count.to_bits()
            && filled(&self.positive) == filled(&other.positive)
            && filled(&self.negative) == filled(&other.negative)
    }

    /// All buckets from the lowest to the highest. Those next to the zero bucket end at its threshold.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = BucketRange> {
        let threshold = self.zero_threshold;
        let negative = self.negative.iter().rev().map(move |b| {
            let mut range = self.negative_range(*b);
            if range.upper < 0.0 && range.upper > -threshold {
                range.upper = -threshold;
            }
            range
        });
        let zero = (self.zero_count > 0.0).then(|| self.zero_range());
        let positive = self.positive.iter().map(move |b| {
            let mut range = self.positive_range(*b);
            if range.lower > 0.0 && range.lower < threshold {
                range.lower = threshold;
            }
            range
        });
        negative.chain(zero).chain(positive)
    }

    /// The zero bucket.
    pub fn zero_range(&self) -> BucketRange {
        BucketRange {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    fn positive_range(&self, bucket: Bucket) -> BucketRange {
        let custom = self.has_custom_buckets();
        let (lower, upper) = (self.bound(bucket.index.saturating_sub(1)), self.bound(bucket.index));
        BucketRange {
            lower,
            upper,
            lower_inclusive: if custom { bucket.index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count: bucket.count,
        }
    }

    fn negative_range(&self, bucket: Bucket) -> BucketRange {
        let (lower, upper) = (-self.bound(bucket.index), -self.bound(bucket.index.saturating_sub(1)));
        BucketRange { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count: bucket.count }
    }

    fn bound(&self, index: i32) -> f64 {
        if self.has_custom_buckets() {
            return match usize::try_from(index) {
                Err(_) => f64::NEG_INFINITY,
                Ok(at) => self.bounds().get(at).copied().unwrap_or(f64::INFINITY),
            };
        }
        exponential_bound(index, self.schema)
    }

    /// Mean of the squared distances from the mean, each bucket's observations taken at its middle: the
    /// geometric one of exponential buckets.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut total = Kahan::default();
        for bucket in self.buckets().filter(|b| b.count != 0.0) {
            let middle = if self.has_custom_buckets() {
                f64::midpoint(bucket.upper, bucket.lower)
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let delta = middle - mean;
            total.add(bucket.count * delta * delta);
        }
        total.value() / self.count
    }
}

/// The end of exponential bucket `index` away from zero. The last bucket before the one for infinities ends at
/// the largest float.
fn exponential_bound(index: i32, schema: i32) -> f64 {
    let index = i64::from(index);
    if schema < 0 {
        let exponent = index << (-schema).min(32);
        return if exponent == 1024 { f64::MAX } else { (exponent as f64).exp2() };
    }
    let schema = schema.min(52);
    if index == 1024 << schema {
        return f64::MAX;
    }
    // Whole powers are exact; the fraction of one comes rounded once.
    let per_power = 1_i64 << schema;
    let fraction = index.rem_euclid(per_power) as f64 / per_power as f64;
    (index.div_euclid(per_power) as f64).exp2() * fraction.exp2()
}

/// The bucket of a coarser schema that contains bucket `index`.
fn coarser_index(index: i32, from: i32, to: i32) -> i32 {
    (index.saturating_sub(1) >> from.saturating_sub(to).clamp(0, 31)) + 1
}

/// As `count_values` labels it: `{count:3, sum:4, (1,2]:3}`.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", go::shortest(self.count), go::shortest(self.sum))?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_range());
        let negative = self.negative.iter().rev().map(|b| self.negative_range(*b));
        let positive = self.positive.iter().map(|b| self.positive_range(*b));
        for bucket in negative.chain(zero).chain(positive).filter(|b| b.count != 0.0) {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (go::shortest(bucket.lower), go::shortest(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", go::shortest(bucket.count))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_two_and_their_roots() {
        for (index, schema, bound) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, -1, 4.0),
            (2, 1, 2.0),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
            (-1074, 0, 5e-324),
        ] {
            assert_eq!(exponential_bound(index, schema), bound, "{index} {schema}");
        }
        assert!((exponential_bound(1, 1) - std::f64::consts::SQRT_2).abs() < 1e-15);
    }

    #[test]
    fn coarser_buckets_contain_the_finer_ones() {
        for index in -20..20 {
            let coarse = coarser_index(index, 3, 1);
            assert!(exponential_bound(index, 3) <= exponential_bound(coarse, 1) * (1.0 + 1e-12));
            assert!(exponential_bound(index - 1, 3) >= exponential_bound(coarse - 1, 1) * (1.0 - 1e-12));
        }
    }
}
