//! What a query may cost.

use crate::types::Span;

/// A form or query string larger than this is refused.
pub(super) const FORM_LIMIT_BYTES: usize = 256 << 10;
/// A range query gives no more values of a series than this.
pub(super) const POINTS_LIMIT_COUNT: i64 = 11_000;
/// An answer larger than this is refused.
pub(super) const RESPONSE_LIMIT_BYTES: usize = 256 << 20;
/// Parsed queries kept.
pub(super) const PARSED_LIMIT_COUNT: usize = 256;

/// Bounds on queries, each as Prometheus' flag of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySettings {
    /// For a query, its wait for others included.
    pub timeout: Span,
    /// Queries evaluated at once; others wait.
    pub max_concurrency: usize,
    /// Samples that one query may hold in memory.
    pub max_samples: usize,
    /// How far back a sample still counts as current.
    pub lookback: Span,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self { timeout: Span::seconds(30), max_concurrency: 20, max_samples: 50_000_000, lookback: Span::minutes(5) }
    }
}
