//! From samples to increments: which series a sample belongs to, and what it adds to that series' count.
//!
//! Resets, births, late and duplicate samples, staleness and scrapes cut in two are settled here; what leaves
//! is a stream of [`Increment`]s whose sum over any set of series is the number of events that happened.

mod alike;
mod aside;
mod birth;
mod buckets;
mod cache;
mod counter;
mod findings;
mod gauge;
mod ha;
mod index;
mod job;
mod native;
mod scrape;
mod shard;
mod table;
mod target;
mod twin;

use serde::{Deserialize, Serialize};

use crate::types::Span;

pub use crate::wire::STALE_NAN_BITS;
pub use alike::{Alike, Deciding, Met};
pub use aside::{Aside, Piece, Save, Saves, encode};
pub use cache::Cache;
pub use counter::{Change, Counter, Placed, RECENT_LIMIT_SAMPLES, increase};
pub use findings::{Findings, Found, LabelReading};
pub use gauge::{Gauge, READINGS_LIMIT_SAMPLES, Taken};
pub use ha::{Elections, Ha, HaPairs, Heard, REPLICAS_LIMIT_COUNT};
pub use index::Index;
pub use native::NativeUse;
pub use scrape::SETTLE;
pub use shard::{Inline, Refused, Shard, Workers};
pub use table::{Liveness, Lookup, Output, RegisterError, SHARDS_LIMIT_COUNT, SampleError, SavedTable, Table};
pub use target::{Increment, Reading, Target};

/// A series without samples for this long is forgotten.
pub const IDLE: Span = Span::hours(1);

/// A tracked series: its target and its place there. Both are given in the order in which series are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId {
    /// The target's number among all.
    pub target: u32,
    /// Among the target's series.
    pub index: u32,
}

impl SeriesId {
    /// Of no series.
    const NONE: Self = Self { target: u32::MAX, index: u32::MAX };
}

/// What a series is bound to, opaque to this module: the caller's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(pub u32);

impl Tag {
    /// What a series is bound to that counts for nothing.
    pub const NOTHING: Self = Self(0);
}
