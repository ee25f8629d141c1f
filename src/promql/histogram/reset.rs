//! Counter resets between two histograms.

use super::sum::{bucket_of_common, common_bounds};
use super::{Bucket, FloatHistogram, ResetHint, coarser_index, exponential_bound};

impl FloatHistogram {
    /// Whether a counter was reset between `previous` and this one: something that can only grow became less.
    /// A hint, where there is one, decides.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_buckets() {
            if !previous.has_custom_buckets() {
                return true;
            }
            let common = common_bounds(self.bounds(), previous.bounds());
            let mapped = |h: &Self| {
                let map = |b: &Bucket| Bucket { index: bucket_of_common(b.index, h.bounds(), &common), count: b.count };
                merged(h.positive.iter().map(map))
            };
            return some_bucket_shrank(&mapped(self), &mapped(previous));
        }
        // A finer resolution or a narrower zero bucket comes only with a reset.
        if self.schema > previous.schema
            || previous.has_custom_buckets()
            || self.zero_threshold < previous.zero_threshold
        {
            return true;
        }
        let (previous_zero, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < previous_zero {
            return true;
        }
        [(&self.positive, &previous.positive), (&self.negative, &previous.negative)].into_iter().any(|(now, before)| {
            let now = merged(now.iter().copied().filter(|b| self.lies_outside_zero(b.index)));
            let before = before
                .iter()
                .map(|b| Bucket { index: coarser_index(b.index, previous.schema, self.schema), count: b.count })
                .filter(|b| self.lies_outside_zero(b.index));
            some_bucket_shrank(&now, &merged(before))
        })
    }

    fn lies_outside_zero(&self, index: i32) -> bool {
        self.zero_threshold == 0.0 || exponential_bound(index, self.schema) > self.zero_threshold
    }
}

/// Neighbours of the same index become one.
fn merged(buckets: impl Iterator<Item = Bucket>) -> Vec<Bucket> {
    let mut merged: Vec<Bucket> = Vec::with_capacity(buckets.size_hint().1.unwrap_or(0));
    for bucket in buckets {
        match merged.last_mut() {
            Some(last) if last.index == bucket.index => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    merged
}

fn some_bucket_shrank(now: &[Bucket], before: &[Bucket]) -> bool {
    let mut now = now.iter().peekable();
    before.iter().any(|old| {
        while now.next_if(|new| new.index < old.index).is_some() {}
        match now.peek() {
            Some(new) if new.index == old.index => new.count < old.count,
            _ => old.count != 0.0,
        }
    })
}
