//! Sums and differences of histograms of different layouts, compensated for rounding.

use std::sync::Arc;

use super::{Bucket, FloatHistogram, ResetHint, coarser_index, exponential_bound};
use crate::promql::kahan::Kahan;

/// Which operation a note about histograms names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Exponential and custom buckets do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IncompatibleSchemas;

/// What was noticed while merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merge {
    /// One histogram says it comes after a reset, the other that it does not.
    pub resets_collide: bool,
    /// Custom bounds differed and were reduced to those in common.
    pub bounds_reconciled: bool,
}

type Sums = Vec<(i32, Kahan)>;

/// A running sum of histograms.
#[derive(Clone, Debug)]
pub(crate) struct HistogramSum {
    hint: ResetHint,
    schema: i32,
    zero_threshold: f64,
    zero: Kahan,
    count: Kahan,
    sum: Kahan,
    positive: Sums,
    negative: Sums,
    bounds: Option<Arc<[f64]>>,
}

impl HistogramSum {
    pub fn new(first: &FloatHistogram) -> Self {
        let sums = |buckets: &[Bucket]| buckets.iter().map(|b| (b.index, Kahan::new(b.count))).collect();
        Self {
            hint: first.reset_hint,
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            zero: Kahan::new(first.zero_count),
            count: Kahan::new(first.count),
            sum: Kahan::new(first.sum),
            positive: sums(&first.positive),
            negative: sums(&first.negative),
            bounds: first.custom_bounds.clone(),
        }
    }

    pub fn add(&mut self, other: &FloatHistogram) -> Result<Merge, IncompatibleSchemas> {
        self.add_scaled(other, 1.0)
    }

    pub fn subtract(&mut self, other: &FloatHistogram) -> Result<Merge, IncompatibleSchemas> {
        self.add_scaled(other, -1.0)
    }

    /// Adds `factor` times `other`.
    pub fn add_scaled(&mut self, other: &FloatHistogram, factor: f64) -> Result<Merge, IncompatibleSchemas> {
        let custom = self.schema == super::CUSTOM_BUCKETS_SCHEMA;
        if custom != other.has_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let mut merge = Merge { resets_collide: self.merge_hints(other.reset_hint), bounds_reconciled: false };
        self.count.add(other.count * factor);
        self.sum.add(other.sum * factor);
        if custom {
            if self.bounds.as_deref().unwrap_or_default() == other.bounds() {
                add_buckets(&mut self.positive, other.positive.iter().map(|b| (b.index, b.count * factor)));
            } else {
                merge.bounds_reconciled = true;
                self.add_to_common_bounds(other, factor);
            }
            return Ok(merge);
        }
        let other_zero = self.reconcile_zero_buckets(other);
        self.zero.add(other_zero * factor);
        if other.schema < self.schema {
            self.reduce_to(other.schema);
        }
        let (schema, threshold) = (self.schema, self.zero_threshold);
        for (sums, buckets) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            let mapped = buckets.iter().map(|b| (coarser_index(b.index, other.schema, schema), b.count * factor));
            add_buckets(sums, mapped.skip_while(|(index, _)| exponential_bound(*index, schema) <= threshold));
        }
        Ok(merge)
    }

    /// The hint of a sum; whether the two contradict each other.
    fn merge_hints(&mut self, other: ResetHint) -> bool {
        match (self.hint, other) {
            (a, b) if a == b => {}
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => self.hint = ResetHint::Gauge,
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => self.hint = ResetHint::Unknown,
            _ => {
                self.hint = ResetHint::Unknown;
                return true;
            }
        }
        false
    }

    /// Widens the zero bucket until it swallows the other's and ends in no filled bucket of either; the other's
    /// zero count under that width.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> f64 {
        let (mut other_count, mut other_threshold) = (other.zero_count, other.zero_threshold);
        while other_threshold != self.zero_threshold {
            if self.zero_threshold > other_threshold {
                (other_count, other_threshold) = other.zero_count_within(self.zero_threshold);
            }
            if other_threshold > self.zero_threshold {
                self.widen_zero_bucket(other_threshold);
            }
            if other_threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        other_count
    }

    fn widen_zero_bucket(&mut self, threshold: f64) {
        let values = |sums: &Sums| sums.iter().map(|(i, k)| Bucket { index: *i, count: k.value() }).collect::<Vec<_>>();
        let (positive, negative) = (values(&self.positive), values(&self.negative));
        let (count, threshold) = widened_zero(self.zero.value(), &positive, &negative, self.schema, threshold);
        self.zero = Kahan::new(count);
        self.zero_threshold = threshold;
        let schema = self.schema;
        for sums in [&mut self.positive, &mut self.negative] {
            sums.retain(|(index, _)| exponential_bound(index.saturating_sub(1), schema) >= threshold);
        }
    }

    /// Merges buckets until they have that resolution.
    pub fn reduce_to(&mut self, schema: i32) {
        let from = self.schema;
        for sums in [&mut self.positive, &mut self.negative] {
            let mut reduced: Sums = Vec::with_capacity(sums.len());
            for (index, count) in sums.drain(..) {
                let index = coarser_index(index, from, schema);
                match reduced.last_mut() {
                    Some((last, total)) if *last == index => {
                        total.add(count.sum);
                        total.add(count.error);
                    }
                    _ => reduced.push((index, count)),
                }
            }
            *sums = reduced;
        }
        self.schema = schema;
    }

    fn add_to_common_bounds(&mut self, other: &FloatHistogram, factor: f64) {
        let own = self.bounds.take().unwrap_or_default();
        let common: Arc<[f64]> = common_bounds(&own, other.bounds()).into();
        let mut sums: Sums = Vec::new();
        for (index, count) in std::mem::take(&mut self.positive) {
            let index = bucket_of_common(index, &own, &common);
            add_buckets(&mut sums, [(index, count.sum), (index, count.error)].into_iter());
        }
        let mapped =
            other.positive.iter().map(|b| (bucket_of_common(b.index, other.bounds(), &common), b.count * factor));
        add_buckets(&mut sums, mapped);
        self.positive = sums;
        self.bounds = Some(common);
    }

    /// Multiplies everything.
    pub fn scale(&mut self, factor: f64) {
        for value in [&mut self.zero, &mut self.count, &mut self.sum] {
            value.scale(factor);
        }
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            count.scale(factor);
        }
    }

    /// Whether some number left the range of floats.
    pub fn overflows(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, count)| count);
        [&self.zero, &self.count, &self.sum].into_iter().chain(buckets).any(|k| k.sum.is_infinite())
    }

    /// The sum, compacted.
    pub fn finish(self) -> FloatHistogram {
        let buckets = |sums: Sums| {
            sums.into_iter()
                .map(|(index, count)| Bucket { index, count: count.value() })
                .filter(|b| b.count != 0.0)
                .collect()
        };
        FloatHistogram {
            reset_hint: self.hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero.value(),
            count: self.count.value(),
            sum: self.sum.value(),
            positive: buckets(self.positive),
            negative: buckets(self.negative),
            custom_bounds: self.bounds,
        }
    }
}

impl FloatHistogram {
    /// The zero count if the zero bucket were at least that wide, and how wide it is then: a filled bucket is
    /// swallowed whole.
    pub(super) fn zero_count_within(&self, threshold: f64) -> (f64, f64) {
        widened_zero(self.zero_count, &self.positive, &self.negative, self.schema, threshold)
    }
}

fn widened_zero(zero: f64, positive: &[Bucket], negative: &[Bucket], schema: i32, mut threshold: f64) -> (f64, f64) {
    loop {
        let (mut count, before) = (Kahan::new(zero), threshold);
        for side in [positive, negative] {
            for bucket in side {
                if exponential_bound(bucket.index.saturating_sub(1), schema) >= threshold {
                    break;
                }
                count.add(bucket.count);
                let end = exponential_bound(bucket.index, schema);
                if end > threshold && bucket.count != 0.0 {
                    threshold = end;
                }
            }
        }
        if threshold == before {
            return (count.value(), threshold);
        }
    }
}

/// Adds buckets of ascending index to sums of ascending index.
fn add_buckets(sums: &mut Sums, buckets: impl Iterator<Item = (i32, f64)>) {
    let mut at = 0;
    for (index, count) in buckets {
        while sums.get(at).is_some_and(|(i, _)| *i < index) {
            at += 1;
        }
        match sums.get_mut(at) {
            Some((i, total)) if *i == index => total.add(count),
            _ => sums.insert(at, (index, Kahan::new(count))),
        }
    }
}

/// The bounds in both lists.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.binary_search_by(|other| other.total_cmp(bound)).is_ok()).collect()
}

/// The bucket of `common` that contains bucket `index` of `bounds`.
pub(super) fn bucket_of_common(index: i32, bounds: &[f64], common: &[f64]) -> i32 {
    let bound = usize::try_from(index).ok().and_then(|i| bounds.get(i)).copied().unwrap_or(f64::INFINITY);
    common.partition_point(|c| *c < bound) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(schema: i32, zero: (f64, f64), positive: &[(i32, f64)]) -> FloatHistogram {
        let positive: Vec<Bucket> =
            positive.iter().map(|(index, count)| Bucket { index: *index, count: *count }).collect();
        FloatHistogram {
            schema,
            zero_threshold: zero.0,
            zero_count: zero.1,
            count: zero.1 + positive.iter().map(|b| b.count).sum::<f64>(),
            positive,
            ..FloatHistogram::default()
        }
    }

    fn added(a: &FloatHistogram, b: &FloatHistogram) -> FloatHistogram {
        let mut sum = HistogramSum::new(a);
        sum.add(b).unwrap();
        sum.finish()
    }

    #[test]
    fn a_finer_histogram_is_added_at_the_coarser_resolution() {
        let coarse = exponential(0, (0.0, 0.0), &[(1, 1.0)]);
        let fine = exponential(1, (0.0, 0.0), &[(1, 2.0), (2, 3.0), (3, 4.0)]);
        for sum in [added(&coarse, &fine), added(&fine, &coarse)] {
            assert!(sum.same(&exponential(0, (0.0, 0.0), &[(1, 6.0), (2, 4.0)])), "{sum}");
        }
    }

    #[test]
    fn a_wider_zero_bucket_swallows_buckets_whole() {
        let wide = exponential(0, (1.5, 1.0), &[(3, 1.0)]);
        let narrow = exponential(0, (0.0, 0.0), &[(1, 2.0), (3, 5.0)]);
        for sum in [added(&wide, &narrow), added(&narrow, &wide)] {
            assert!(sum.same(&exponential(0, (2.0, 3.0), &[(3, 6.0)])), "{sum}");
        }
    }

    #[test]
    fn custom_bounds_are_reduced_to_those_in_common() {
        let custom = |bounds: &[f64], counts: &[(i32, f64)]| FloatHistogram {
            schema: super::super::CUSTOM_BUCKETS_SCHEMA,
            custom_bounds: Some(bounds.into()),
            ..exponential(0, (0.0, 0.0), counts)
        };
        let a = custom(&[1.0, 2.0, 3.0], &[(0, 1.0), (1, 2.0), (3, 4.0)]);
        let b = custom(&[1.0, 3.0], &[(1, 10.0)]);
        let mut sum = HistogramSum::new(&a);
        assert_eq!(sum.add(&b), Ok(Merge { resets_collide: false, bounds_reconciled: true }));
        assert!(sum.finish().same(&custom(&[1.0, 3.0], &[(0, 1.0), (1, 12.0), (2, 4.0)])));
        assert_eq!(HistogramSum::new(&a).add(&exponential(0, (0.0, 0.0), &[])), Err(IncompatibleSchemas));
    }
}
