//! Histogram buckets of one latency SLI: where a quantile or a limit falls among them.

use serde::{Deserialize, Serialize};

/// Buckets of one stream; more are refused.
pub const BUCKETS_MAX: usize = 512;

/// A bucket whose bounds differ by at most this factor is divided by a limit inside it, evenly on a logarithmic scale
/// as `histogram_quantile` does for native histograms (schema 2 and finer). A wider one is not divided: it counts
/// whole, for the release where harm is to be proved and against it where safety is.
pub const FINE_RATIO: f64 = 1.2;

/// Upper bounds of buckets in seconds, or in whatever unit the metric has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    bounds: Vec<f64>,
}

/// Why bounds are no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not ascending, not positive or not finite.
    #[error("bucket bounds must be positive, finite and ascending")]
    Order,
    /// None, or more than [`BUCKETS_MAX`].
    #[error("1 to {BUCKETS_MAX} bucket bounds are needed")]
    Number,
}

/// What a bucket counts that a limit cuts and that is not fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coarse {
    /// As not above the limit.
    Below,
    /// As above the limit.
    Above,
}

/// Events above a value: of one bucket at most, only a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Above {
    /// Events wholly above.
    pub whole: f64,
    /// Events of the bucket that the value cuts.
    pub cut: f64,
    /// The part of each of them that counts as above.
    pub share: f64,
    /// All events.
    pub total: f64,
}

impl Above {
    /// The number above, parts added up.
    pub fn sum(self) -> f64 {
        self.whole + self.cut * self.share
    }
}

/// Bounds that Prometheus' client libraries give a histogram of seconds unless told otherwise (`DefBuckets` in Go's).
const CLIENT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Layout {
    /// What a histogram of seconds has where nobody has chosen its bounds.
    pub fn client_default() -> Self {
        Self { bounds: CLIENT_BOUNDS.to_vec() }
    }

    /// Buckets with these finite upper bounds and one more for everything above.
    pub fn new(bounds: Vec<f64>) -> Result<Self, LayoutError> {
        if bounds.is_empty() || bounds.len() > BUCKETS_MAX {
            return Err(LayoutError::Number);
        }
        let is_ordered = bounds[0] > 0.0 && bounds.windows(2).all(|w| w[0] < w[1]);
        if !is_ordered || bounds.iter().any(|b| !b.is_finite()) {
            return Err(LayoutError::Order);
        }
        Ok(Self { bounds })
    }

    /// A native histogram's bounds at `schema` (each `2^(2^-schema)` times the one before) from `low` to past `high`.
    pub fn native(schema: i32, low: f64, high: f64) -> Result<Self, LayoutError> {
        let step = 2.0_f64.powf(2.0_f64.powi(-schema));
        let at = |value: f64| value.ln() / step.ln();
        let (first, last) = (at(low).floor(), at(high).ceil());
        if !(first <= last && last - first < BUCKETS_MAX as f64) {
            return Err(LayoutError::Number);
        }
        Self::new((0..=(last - first) as i32).map(|i| step.powf(first + f64::from(i))).collect())
    }

    /// Kinds of events: the buckets, with the one above all bounds.
    pub fn kinds(&self) -> usize {
        self.bounds.len() + 1
    }

    /// The bucket that holds `value`.
    pub fn bucket(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    /// A bucket's bounds.
    pub fn range(&self, bucket: usize) -> (f64, f64) {
        let low = if bucket == 0 { 0.0 } else { self.bounds[bucket - 1] };
        (low, self.bounds.get(bucket).copied().unwrap_or(f64::INFINITY))
    }

    fn is_fine(&self, bucket: usize) -> bool {
        let (low, high) = self.range(bucket);
        low > 0.0 && high <= low * FINE_RATIO
    }

    /// Events above `value`.
    pub fn above(&self, counts: &[f64], value: f64, coarse: Coarse) -> Above {
        let bucket = self.bucket(value);
        let total = counts.iter().sum();
        let whole = counts.iter().skip(bucket + 1).sum();
        let cut = counts.get(bucket).copied().unwrap_or(0.0);
        let (low, high) = self.range(bucket);
        let share = if value >= high {
            0.0
        } else if self.is_fine(bucket) {
            (high / value).ln() / (high / low).ln()
        } else {
            f64::from(u8::from(coarse == Coarse::Above))
        };
        Above { whole, cut, share, total }
    }

    /// The value below which `q` of the events lie; inside a bucket evenly on a logarithmic scale, in the first evenly.
    /// `None` without events, or where it lies above all bounds.
    pub fn quantile(&self, counts: &[f64], q: f64) -> Option<f64> {
        let total: f64 = counts.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let rank = q * total;
        let mut below = 0.0;
        for (bucket, count) in counts.iter().enumerate() {
            if below + count >= rank && *count > 0.0 {
                let (low, high) = self.range(bucket);
                let part = ((rank - below) / count).clamp(0.0, 1.0);
                let value = if low > 0.0 { low * (high / low).powf(part) } else { high * part };
                return high.is_finite().then_some(value);
            }
            below += count;
        }
        None
    }

    /// The points at which a limit of a quantile near `value` is tried: so many below and above, each `ratio` times the
    /// one before, where buckets are fine; bounds elsewhere.
    pub fn points_near(&self, value: f64, ratio: f64, below: i32, above: i32) -> Vec<f64> {
        let mut points = Vec::new();
        for i in -below..=above {
            let point = value * ratio.powi(i);
            let bucket = self.bucket(point);
            if self.is_fine(bucket) {
                points.push(point);
            } else {
                let (low, high) = self.range(bucket);
                points.extend([low, high].into_iter().filter(|bound| *bound > 0.0 && bound.is_finite()));
            }
        }
        points.sort_by(f64::total_cmp);
        points.dedup();
        points
    }

    /// The least value that shows as certainly above `value`: itself where buckets are fine, else the next bound.
    pub fn visible_from(&self, value: f64) -> f64 {
        let bucket = self.bucket(value);
        if self.is_fine(bucket) { value } else { self.range(bucket).1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classic() -> Layout {
        Layout::new(vec![0.1, 0.25, 0.5, 1.0]).unwrap()
    }

    #[test]
    fn coarse_buckets_count_whole() {
        let counts = [10.0, 20.0, 30.0, 40.0, 50.0];
        let above = |value, coarse| classic().above(&counts, value, coarse).sum();
        assert_eq!((above(0.5, Coarse::Below), above(0.5, Coarse::Above)), (90.0, 90.0), "a bound is exact");
        assert_eq!((above(0.3, Coarse::Below), above(0.3, Coarse::Above)), (90.0, 120.0));
        assert_eq!((above(2.0, Coarse::Below), above(2.0, Coarse::Above)), (0.0, 50.0));
        assert_eq!(classic().visible_from(0.3), 0.5);
    }

    #[test]
    fn fine_buckets_are_divided() {
        let native = Layout::native(3, 0.001, 10.0).unwrap();
        let bucket = native.bucket(0.2);
        let (low, high) = native.range(bucket);
        assert!((high / low - 1.090_507_7).abs() < 1e-6, "{low} {high}");
        let mut counts = vec![0.0; native.kinds()];
        counts[bucket] = 8.0;
        let above = native.above(&counts, (low * high).sqrt(), Coarse::Below);
        assert!((above.sum() - 4.0).abs() < 1e-9 && above.total == 8.0);
        let median = native.quantile(&counts, 0.5).unwrap();
        assert!((median - (low * high).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_quantile_above_all_bounds_has_no_value() {
        assert_eq!(classic().quantile(&[0.0, 0.0, 0.0, 0.0, 5.0], 0.5), None);
        assert_eq!(classic().quantile(&[0.0; 5], 0.5), None);
        assert_eq!(classic().quantile(&[10.0, 0.0, 0.0, 0.0, 0.0], 0.5), Some(0.05));
    }

    #[test]
    fn bounds_are_checked() {
        assert_eq!(Layout::new(vec![]), Err(LayoutError::Number));
        assert_eq!(Layout::new(vec![1.0, 1.0]), Err(LayoutError::Order));
        assert_eq!(Layout::new(vec![1.0, f64::INFINITY]), Err(LayoutError::Order));
        assert_eq!(Layout::native(8, 1e-9, 1e9), Err(LayoutError::Number));
    }
}
