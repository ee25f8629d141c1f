//! Where the evaluator gets its samples from.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::promql::histogram::FloatHistogram;
use crate::types::{Labels, Matcher, Timestamp};

/// A source of series.
///
/// The evaluator asks once for each selector in a query, for all the time the query needs, and looks at one
/// series after the other: an implementation can unpack each into the same buffer.
pub trait Storage {
    /// Shows `visit` every series that satisfies all matchers, with its samples in the range; each label set
    /// once. The order should not change between calls; sorted by labels is best, since it decides which series
    /// `limitk` keeps and the order of an instant query's result. Stops early when `visit` breaks.
    ///
    /// # Errors
    /// When the series cannot be read.
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError>;
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// All have to hold. An absent label has the value `""`.
    pub matchers: &'a [Matcher],
    /// Samples after this moment …
    pub after: Timestamp,
    /// … up to and including this one. More than that may be shown.
    pub until: Timestamp,
}

/// One series.
#[derive(Clone, Copy, Debug)]
pub struct SeriesView<'a> {
    /// Its labels, the metric name among them.
    pub labels: &'a Arc<Labels>,
    /// Float samples, ascending in time. A stale marker is the stale NaN ([`is_stale`]).
    pub floats: &'a [FloatSample],
    /// The start timestamp of each float sample, or nothing when none is known.
    pub float_starts: &'a [Timestamp],
    /// Native histogram samples, ascending in time, at other times than the floats. A stale marker has the stale
    /// NaN as sum.
    pub histograms: &'a [HistogramSample],
}

/// A number at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatSample {
    /// When.
    pub at: Timestamp,
    /// What.
    pub value: f64,
}

/// A histogram at a time.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// When.
    pub at: Timestamp,
    /// Since when its counts run; `None` if not known.
    pub start: Option<Timestamp>,
    /// What.
    pub histogram: Arc<FloatHistogram>,
}

/// Why series cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(pub String);

/// The bits of a stale marker.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The value of a stale marker: the series ended here.
pub const STALE: f64 = f64::from_bits(STALE_BITS);

/// Whether a value marks the end of a series. Other NaNs are values.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}
