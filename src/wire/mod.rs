//! Remote write as it comes off the network: snappy, protobuf, limits.
//!
//! One request becomes one [`Batch`]: flat columns of series and samples over a single decompressed buffer.
//! A series keeps its label bytes as they came, with a keyed 128-bit hash of them, so that a series already
//! known costs no label decoding: its hash is looked up and that is all. Only a new series has its labels
//! decoded and validated ([`decode_labels`]), and a bad one loses only itself.
//!
//! Nothing here allocates by what a sender claims: the decoded length is read from the header first, and
//! elements are counted while they are decoded ([`Limits`]). The decoder is written by hand for speed and
//! held to `prost`'s answer on every input, valid or not, by a property test and a fuzz target.
//!
//! Remote write 1.0 is [`v1`], 2.0 is `v2` with its `symbols`; [`negotiate()`] tells them apart, and both decode into
//! the same [`Batch`]. Native histograms stay bytes there until a known series needs its [`Histogram`].

mod batch;
mod error;
mod histogram;
mod labels;
mod limits;
mod negotiate;
mod protobuf;
mod symbols;
mod v2;

pub mod proto;
pub mod snappy;
pub mod v1;

pub use batch::{Batch, HISTOGRAM_HASH, HistogramSeriesRef, Interned, Sample, SeriesRef, WIRE_KEY_SIZE_BYTES, WireKey};
pub use error::{DecodeError, SeriesError};
pub use histogram::{Bucket, CUSTOM_SCHEMA, Histogram, HistogramError, ResetHint};
pub use labels::{Changes, LabelPairs, LabelReader, WireLabels, decode_labels, label_set_hash, places};
pub use limits::Limits;
pub use negotiate::{NegotiationError, Protocol, negotiate};
pub use protobuf::ProtobufError;

/// The value that ends a series: Prometheus' `value.StaleNaN`, compared bitwise. A histogram has it as its sum.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
