//! What happened between two native histograms of one series: how many events, and how many within a threshold.
//!
//! Both are brought to a common layout first, so that the difference of two counts is the count of what was added. A
//! reset shows in any bucket that went down, not only in the total: a histogram with fewer quick and more slow events
//! than before began anew in between. Unlike Prometheus (`FloatHistogram.DetectReset`) a finer schema or a narrower zero
//! bucket alone is no reset: an exporter that really began anew shows it in its counts as well, and a scraper that is
//! set to another resolution must not make all of the past count again.

use std::borrow::Cow;

use crate::wire::{Bucket, Histogram, ResetHint};

/// A threshold this near to a bucket's bound, in bucket widths, is on it: bounds are powers of two rounded by whoever
/// wrote them down.
const BOUND_TOLERANCE: f64 = 1e-9;

/// What was added from one histogram to the next.
#[derive(Debug)]
pub(super) struct Added<'a> {
    /// `None`: everything in `new` was added.
    previous: Option<Cow<'a, Histogram>>,
    new: Cow<'a, Histogram>,
}

impl<'a> Added<'a> {
    /// Everything in a histogram.
    pub(super) const fn all(new: &'a Histogram) -> Self {
        Self { previous: None, new: Cow::Borrowed(new) }
    }

    /// What was added since `previous`: everything after a reset.
    pub(super) fn since(previous: &'a Histogram, new: &'a Histogram) -> Self {
        let restarted = new.start.is_some_and(|start| start > previous.timestamp && start <= new.timestamp);
        if restarted || new.hint == ResetHint::Reset || new.count < previous.count {
            return Self::all(new);
        }
        let (before, after) = match (previous.has_custom_buckets(), new.has_custom_buckets()) {
            (true, true) => {
                let went_down = previous.custom_bounds != new.custom_bounds && common_bounds_decrease(previous, new);
                let is_same = previous.custom_bounds == new.custom_bounds;
                if went_down || is_same && decreases(previous, new) {
                    return Self::all(new);
                }
                return Self { previous: Some(Cow::Borrowed(previous)), new: Cow::Borrowed(new) };
            }
            (false, false) => common_layout(previous, new),
            // Nothing to compare but the count.
            _ => return Self { previous: Some(Cow::Borrowed(previous)), new: Cow::Borrowed(new) },
        };
        if decreases(&before, &after) {
            return Self::all(new);
        }
        Self { previous: Some(before), new: after }
    }

    /// Events.
    pub(super) fn total(&self) -> f64 {
        self.new.count - self.previous.as_ref().map_or(0.0, |previous| previous.count)
    }

    /// Events of at most `threshold`, which is above zero: exact on a bucket's bound, else interpolated as in
    /// Prometheus' `histogram_fraction`.
    pub(super) fn within(&self, threshold: f64) -> f64 {
        let has_negative = !self.new.negative.is_empty();
        let before = self.previous.as_ref().map_or(0.0, |previous| within(previous, threshold, has_negative));
        (within(&self.new, threshold, has_negative) - before).clamp(0.0, self.total())
    }
}

fn within(histogram: &Histogram, threshold: f64, has_negative: bool) -> f64 {
    if histogram.has_custom_buckets() {
        let bounds = &histogram.custom_bounds;
        let share = |bucket: &Bucket| custom_share(bounds, bucket.index as usize, threshold);
        return histogram.positive.iter().map(|bucket| bucket.count * share(bucket)).sum();
    }
    let negative: f64 = histogram.negative.iter().map(|bucket| bucket.count).sum();
    let zero = if threshold >= histogram.zero_threshold {
        1.0
    } else {
        let lower = if has_negative { -histogram.zero_threshold } else { 0.0 };
        (threshold - lower) / (histogram.zero_threshold - lower)
    };
    let place = place(threshold, histogram.schema);
    let share = |bucket: &Bucket| (place - f64::from(bucket.index) + 1.0).clamp(0.0, 1.0);
    let positive: f64 = histogram.positive.iter().map(|bucket| bucket.count * share(bucket)).sum();
    negative + histogram.zero_count * zero + positive
}

/// How much of custom bucket `index` is at most `threshold`. The bucket around zero is taken to begin there.
fn custom_share(bounds: &[f64], index: usize, threshold: f64) -> f64 {
    let upper = bounds.get(index).copied().unwrap_or(f64::INFINITY);
    let lower = index.checked_sub(1).map_or(f64::NEG_INFINITY, |below| bounds[below]);
    let lower = if lower <= 0.0 && upper >= 0.0 { 0.0 } else { lower };
    if threshold >= upper {
        1.0
    } else if threshold <= lower {
        0.0
    } else {
        (threshold - lower) / (upper - lower)
    }
}

/// A value in bucket widths: bucket `i` reaches from `i - 1` to `i`.
fn place(value: f64, schema: i32) -> f64 {
    let place = value.log2() * f64::powi(2.0, schema);
    if (place - place.round()).abs() < BOUND_TOLERANCE { place.round() } else { place }
}

/// Both at the coarser schema and with the wider zero bucket.
fn common_layout<'a>(a: &'a Histogram, b: &'a Histogram) -> (Cow<'a, Histogram>, Cow<'a, Histogram>) {
    if a.schema == b.schema && a.zero_threshold == b.zero_threshold {
        return (Cow::Borrowed(a), Cow::Borrowed(b));
    }
    let schema = a.schema.min(b.schema);
    let (mut a, mut b) = (coarser(a, schema), coarser(b, schema));
    let mut zero_threshold = a.zero_threshold.max(b.zero_threshold);
    let edge = place(zero_threshold, schema);
    // A zero bucket that ends inside a bucket with events swallows it.
    let cut = |h: &Histogram| h.positive.iter().chain(&h.negative).any(|bucket| cuts(edge, bucket.index));
    let edge = if cut(&a) || cut(&b) {
        zero_threshold = f64::powf(2.0, edge.ceil() * f64::powi(2.0, -schema));
        edge.ceil()
    } else {
        edge
    };
    for histogram in [&mut a, &mut b] {
        histogram.zero_threshold = zero_threshold;
        for side in [&mut histogram.positive, &mut histogram.negative] {
            let swallowed = side.partition_point(|bucket| f64::from(bucket.index) <= edge);
            histogram.zero_count += side.drain(..swallowed).map(|bucket| bucket.count).sum::<f64>();
        }
    }
    (Cow::Owned(a), Cow::Owned(b))
}

fn cuts(edge: f64, index: i32) -> bool {
    f64::from(index) - 1.0 < edge && edge < f64::from(index)
}

/// The histogram at a schema no finer than its own.
fn coarser(histogram: &Histogram, schema: i32) -> Histogram {
    let shift = histogram.schema - schema;
    let merge = |buckets: &[Bucket]| {
        let mut merged: Vec<Bucket> = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            // Bucket 1 ends where bucket 1 of the finer schema's 2^shift does.
            let index = ((bucket.index - 1) >> shift) + 1;
            match merged.last_mut() {
                Some(last) if last.index == index => last.count += bucket.count,
                _ => merged.push(Bucket { index, count: bucket.count }),
            }
        }
        merged
    };
    let (positive, negative) = (merge(&histogram.positive), merge(&histogram.negative));
    Histogram { schema, positive, negative, ..histogram.clone() }
}

/// Whether any bucket has fewer events than before; both have the same layout.
fn decreases(before: &Histogram, after: &Histogram) -> bool {
    let side_decreases = |before: &[Bucket], after: &[Bucket]| {
        let mut rest = after.iter().peekable();
        before.iter().any(|bucket| {
            while rest.next_if(|other| other.index < bucket.index).is_some() {}
            let count = rest.next_if(|other| other.index == bucket.index).map_or(0.0, |other| other.count);
            count < bucket.count
        })
    };
    after.zero_count < before.zero_count
        || side_decreases(&before.positive, &after.positive)
        || side_decreases(&before.negative, &after.negative)
}

/// The same for custom buckets of different bounds: compared are the events up to each bound that both have.
fn common_bounds_decrease(before: &Histogram, after: &Histogram) -> bool {
    let common = before.custom_bounds.iter().filter(|bound| after.custom_bounds.contains(bound));
    let up_to = |histogram: &Histogram, bound: f64| -> f64 {
        let buckets = histogram.positive.iter();
        buckets
            .filter(|b| histogram.custom_bounds.get(b.index as usize).is_some_and(|upper| *upper <= bound))
            .map(|b| b.count)
            .sum()
    };
    common.into_iter().any(|&bound| up_to(after, bound) < up_to(before, bound))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Timestamp;
    use crate::wire::CUSTOM_SCHEMA;

    fn buckets(counts: &[(i32, f64)]) -> Vec<Bucket> {
        counts.iter().map(|&(index, count)| Bucket { index, count }).collect()
    }

    /// At a schema, with events in the zero bucket (of up to 0.001) and in positive ones.
    fn exponential(schema: i32, zero_count: f64, positive: &[(i32, f64)]) -> Histogram {
        let count = zero_count + positive.iter().map(|(_, count)| count).sum::<f64>();
        Histogram {
            schema,
            zero_threshold: 0.001,
            zero_count,
            count,
            positive: buckets(positive),
            ..Histogram::default()
        }
    }

    fn custom(bounds: &[f64], counts: &[(i32, f64)]) -> Histogram {
        Histogram { zero_threshold: 0.0, custom_bounds: bounds.to_vec(), ..exponential(CUSTOM_SCHEMA, 0.0, counts) }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_threshold_on_a_bound_is_exact() {
        // Schema 0: bucket i ends at 2^i.
        let histogram = exponential(0, 2.0, &[(-2, 3.0), (-1, 5.0), (0, 7.0), (1, 11.0)]);
        let all = Added::all(&histogram);
        for (threshold, events) in
            [(0.001, 2.0), (0.125, 2.0), (0.25, 5.0), (0.5, 10.0), (1.0, 17.0), (2.0, 28.0), (9.0, 28.0)]
        {
            assert_eq!(all.within(threshold), events, "{threshold}");
        }
        // Schema 3: 2^(-7/8), as a person writes it.
        let finer = exponential(3, 0.0, &[(-7, 4.0), (-6, 4.0)]);
        assert_eq!(Added::all(&finer).within(0.545_253_866_332), 4.0);
        let classic = custom(&[0.1, 0.25, 1.0], &[(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0)]);
        for (threshold, events) in [(0.1, 1.0), (0.25, 3.0), (1.0, 7.0), (50.0, 7.0)] {
            assert_eq!(Added::all(&classic).within(threshold), events, "{threshold}");
        }
    }

    #[test]
    fn between_bounds_it_is_interpolated_as_in_prometheus() {
        // 2^0.5 is half way through (1, 2] on a logarithmic scale.
        let histogram = exponential(0, 0.0, &[(1, 10.0)]);
        assert!(near(Added::all(&histogram).within(f64::sqrt(2.0)), 5.0));
        // Linear in custom buckets, the first of which starts at zero; nothing of the last, which has no end.
        let classic = custom(&[0.2, 1.0], &[(0, 4.0), (1, 8.0), (2, 5.0)]);
        for (threshold, events) in [(0.1, 2.0), (0.4, 6.0), (0.6, 8.0), (2.0, 12.0)] {
            assert!(near(Added::all(&classic).within(threshold), events), "{threshold}");
        }
        // Linear in the zero bucket, which starts at zero without negative buckets.
        assert!(near(Added::all(&exponential(0, 8.0, &[(1, 1.0)])).within(0.000_25), 2.0));
        let negative = Histogram { negative: buckets(&[(1, 3.0)]), count: 12.0, ..exponential(0, 8.0, &[(1, 1.0)]) };
        assert!(near(Added::all(&negative).within(0.000_5), 3.0 + 6.0));
    }

    #[test]
    fn any_bucket_that_goes_down_is_a_reset() {
        let before = exponential(0, 1.0, &[(0, 5.0), (1, 5.0)]);
        for (after, total, within) in [
            (exponential(0, 1.0, &[(0, 6.0), (1, 7.0)]), 3.0, 1.0),
            // More events than before, but fewer quick ones.
            (exponential(0, 1.0, &[(0, 4.0), (1, 70.0)]), 75.0, 5.0),
            (exponential(0, 0.0, &[(0, 20.0), (1, 20.0)]), 40.0, 20.0),
            (exponential(0, 1.0, &[(0, 5.0), (2, 50.0)]), 56.0, 6.0),
            (exponential(0, 0.0, &[(0, 2.0)]), 2.0, 2.0),
        ] {
            let added = Added::since(&before, &after);
            assert_eq!((added.total(), added.within(1.0)), (total, within), "{after:?}");
        }
        let after = exponential(0, 1.0, &[(0, 6.0), (1, 7.0)]);
        let hinted = Histogram { hint: ResetHint::Reset, ..after.clone() };
        assert_eq!(Added::since(&before, &hinted).total(), 14.0);
        let restarted = Histogram { timestamp: Timestamp(9), start: Some(Timestamp(5)), ..after };
        assert_eq!(Added::since(&before, &restarted).total(), 14.0);
        assert_eq!(Added::since(&Histogram { timestamp: Timestamp(5), ..before }, &restarted).total(), 3.0);
    }

    #[test]
    fn another_resolution_is_no_reset() {
        // Schema 1: buckets 1 and 2 make up bucket 1 of schema 0.
        let fine = exponential(1, 1.0, &[(0, 2.0), (1, 3.0), (2, 4.0)]);
        let coarse = exponential(0, 1.0, &[(0, 3.0), (1, 8.0)]);
        let added = Added::since(&fine, &coarse);
        assert_eq!((added.total(), added.within(1.0)), (2.0, 1.0));
        let fine_again = exponential(1, 1.0, &[(0, 3.0), (1, 5.0), (2, 4.0)]);
        let added = Added::since(&coarse, &fine_again);
        assert_eq!((added.total(), added.within(1.0)), (1.0, 0.0));
        let anew = exponential(1, 1.0, &[(0, 2.0), (1, 50.0)]);
        assert_eq!(Added::since(&coarse, &anew).total(), 53.0, "bucket 0 went down");
        // A wider zero bucket swallows what is inside it, and a bucket that it cuts whole.
        let wide = Histogram { zero_threshold: 0.75, zero_count: 4.0, count: 9.0, ..exponential(0, 0.0, &[(1, 5.0)]) };
        let before = exponential(0, 1.0, &[(-3, 1.0), (0, 1.0), (1, 5.0)]);
        let added = Added::since(&before, &wide);
        assert_eq!((added.total(), added.within(1.0)), (1.0, 1.0));
    }

    #[test]
    fn custom_bounds_may_change() {
        let before = custom(&[0.1, 1.0], &[(0, 5.0), (1, 5.0)]);
        let after = custom(&[0.1, 0.5, 1.0], &[(0, 6.0), (1, 2.0), (2, 4.0)]);
        let added = Added::since(&before, &after);
        assert_eq!((added.total(), added.within(1.0), added.within(0.1)), (2.0, 2.0, 1.0));
        let anew = custom(&[0.1, 0.5, 1.0], &[(0, 4.0), (1, 2.0), (2, 40.0)]);
        assert_eq!(Added::since(&before, &anew).total(), 46.0);
        // From one kind to the other there is only the count.
        let native = exponential(0, 0.0, &[(0, 12.0)]);
        assert_eq!(Added::since(&before, &native).total(), 2.0);
    }

    proptest! {
        /// However the observations are cut into scrapes and resolutions, those on or under a bound that all have in
        /// common are counted exactly.
        #[test]
        fn resolutions_and_scrapes_do_not_change_the_count(
            scrapes in prop::collection::vec((0_i32..5, prop::collection::vec(0.01_f64..40.0, 0..20)), 1..8),
            power in -3_i32..4,
        ) {
            let threshold = f64::powi(2.0, power);
            let (mut observed, mut total, mut good) = (Vec::<f64>::new(), 0.0, 0.0);
            let mut previous = exponential(4, 0.0, &[]);
            for (schema, new) in scrapes {
                observed.extend(new);
                let mut counts = std::collections::BTreeMap::new();
                for value in &observed {
                    *counts.entry(place(*value, schema).ceil() as i32).or_insert(0.0) += 1.0;
                }
                let now = exponential(schema, 0.0, &counts.into_iter().collect::<Vec<_>>());
                let added = Added::since(&previous, &now);
                total += added.total();
                good += added.within(threshold);
                previous = now;
            }
            prop_assert_eq!(total, observed.len() as f64);
            prop_assert_eq!(good, observed.iter().filter(|value| **value <= threshold).count() as f64);
        }
    }
}
