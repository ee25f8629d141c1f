//! `</` and `>/`: a histogram cut at a value.
//!
//! The observations of the bucket that holds the value are divided as a quantile would divide them; count and
//! sum are estimated anew from what is left.

use super::{Bucket, BucketRange, FloatHistogram};

/// Which observations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Below,
    Above,
}

impl FloatHistogram {
    /// The histogram of the observations on one side of `at`.
    pub(crate) fn trimmed(&self, at: f64, keep: Keep) -> Self {
        let linear = self.has_custom_buckets();
        let mut total = Total::default();
        let side = |buckets: &[Bucket], is_positive: bool, total: &mut Total| -> Vec<Bucket> {
            buckets
                .iter()
                .filter(|b| b.count != 0.0)
                .filter_map(|bucket| {
                    let range = if is_positive { self.positive_range(*bucket) } else { self.negative_range(*bucket) };
                    let (count, middle) = kept(&range, at, keep, is_positive, linear);
                    total.take(range.count, count, middle);
                    (count != 0.0).then_some(Bucket { index: bucket.index, count })
                })
                .collect()
        };
        let mut trimmed = Self {
            positive: side(&self.positive, true, &mut total),
            negative: side(&self.negative, false, &mut total),
            ..self.clone()
        };
        if self.zero_count > 0.0 {
            let filled = |buckets: &[Bucket]| buckets.iter().any(|b| b.count != 0.0);
            let mut zero = self.zero_range();
            match (filled(&self.negative), filled(&self.positive)) {
                (true, false) => zero.upper = 0.0,
                (false, true) => zero.lower = 0.0,
                _ => {}
            }
            let (count, middle) = kept_of_zero(&zero, at, keep);
            total.take(self.zero_count, count, middle);
            trimmed.zero_count = count;
        }
        if !total.is_cut {
            return self.clone();
        }
        trimmed.count = total.count;
        trimmed.sum = total.sum;
        trimmed
    }
}

#[derive(Default)]
struct Total {
    count: f64,
    sum: f64,
    is_cut: bool,
}

impl Total {
    fn take(&mut self, before: f64, count: f64, middle: f64) {
        self.count += count;
        self.sum += middle * count;
        self.is_cut |= before != count;
    }
}

/// How many of a bucket's observations stay, and where their middle lies.
fn kept(bucket: &BucketRange, at: f64, keep: Keep, is_positive: bool, linear: bool) -> (f64, f64) {
    let (lower, upper) = (bucket.lower, bucket.upper);
    let (whole, partly) = match keep {
        Keep::Below => (upper <= at, lower < at),
        Keep::Above => (lower >= at, upper > at),
    };
    if whole {
        return (bucket.count, middle(lower, upper, is_positive, linear));
    }
    if !partly {
        return (0.0, 0.0);
    }
    if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
        return kept_of_unbounded(bucket, at, keep);
    }
    let below = bucket.count * bucket.fraction_below(at, linear);
    match keep {
        Keep::Below => (below, middle(lower, at, is_positive, linear)),
        Keep::Above => (bucket.count - below, middle(at, upper, is_positive, linear)),
    }
}

/// A bucket without an end: its observations are spread in no known way, so all or none of them stay, unless it
/// reaches from below to a positive bound and is taken to begin at zero.
fn kept_of_unbounded(bucket: &BucketRange, at: f64, keep: Keep) -> (f64, f64) {
    let finite = |v: f64| if v.is_infinite() { 0.0 } else { v };
    let begins_at_zero = bucket.upper > 0.0 && bucket.upper.is_finite();
    if bucket.lower == f64::NEG_INFINITY {
        return match keep {
            Keep::Below if begins_at_zero && at > 0.0 => (bucket.count * at / bucket.upper, at / 2.0),
            Keep::Below if bucket.upper <= 0.0 => (bucket.count, at),
            Keep::Above if begins_at_zero && at >= 0.0 => {
                (bucket.count * (1.0 - at / bucket.upper), f64::midpoint(at, bucket.upper))
            }
            _ => (0.0, finite(bucket.upper)),
        };
    }
    match keep {
        Keep::Above if at >= bucket.lower => (bucket.count, at),
        _ => (0.0, finite(bucket.lower)),
    }
}

fn kept_of_zero(zero: &BucketRange, at: f64, keep: Keep) -> (f64, f64) {
    let (lower, upper) = (zero.lower, zero.upper);
    let all = (zero.count, f64::midpoint(lower, upper));
    match keep {
        Keep::Below if at <= lower => (0.0, 0.0),
        Keep::Below if at >= upper => all,
        Keep::Below => (zero.count * ((at - lower) / (upper - lower)), f64::midpoint(lower, at)),
        Keep::Above if at <= lower => all,
        Keep::Above if at >= upper => (0.0, 0.0),
        Keep::Above => (zero.count * ((upper - at) / (upper - lower)), f64::midpoint(at, upper)),
    }
}

fn middle(lower: f64, upper: f64, is_positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => f64::midpoint(lower, upper),
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if is_positive { mean } else { -mean }
        }
    }
}
