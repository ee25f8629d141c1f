//! The messages of remote write 1.0 for `prost`: what senders of our own encode, and the oracle of the decoder's
//! tests. Requests are received by [`v1`](super::v1), not by these.
//!
//! Source: `prompb/remote.proto` and `prompb/types.proto` in Prometheus. Metadata and exemplars are left out, so that
//! they are unknown fields here. Those of remote write 2.0 are in [`v2`].

pub mod v2;

use prost::{Enumeration, Message, Oneof};

/// `prometheus.WriteRequest`
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// Series with their samples.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name in requests of a well-behaved sender.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Sorted by timestamp in requests of a well-behaved sender.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histograms.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// `prometheus.Label`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// The label's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The label's value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// What was measured.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// `prometheus.Histogram` and `io.prometheus.write.v2.Histogram`, which adds the start timestamp.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// All observations.
    #[prost(oneof = "Count", tags = "1, 2")]
    pub count: Option<Count>,
    /// Their sum.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// -4 to 8, or -53 for custom buckets.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Half the width of the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub zero_count: Option<ZeroCount>,
    /// Where the negative buckets are.
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// Whole counts, each as the difference to the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    /// Fractional counts.
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    /// Where the positive buckets are.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Whole counts, each as the difference to the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Fractional counts.
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    /// What the sender knows of resets.
    #[prost(enumeration = "ResetHint", tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    /// Upper bounds of custom buckets.
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    /// When the histogram began, in milliseconds since the Unix epoch; zero is unknown.
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

/// The kind of a histogram: of whole or fractional counts.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum Count {
    /// Whole.
    #[prost(uint64, tag = "1")]
    Int(u64),
    /// Fractional.
    #[prost(double, tag = "2")]
    Float(f64),
}

/// As [`Count`], of the zero bucket.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum ZeroCount {
    /// Whole.
    #[prost(uint64, tag = "6")]
    Int(u64),
    /// Fractional.
    #[prost(double, tag = "7")]
    Float(f64),
}

/// `Histogram.ResetHint`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum ResetHint {
    /// Nothing is known.
    Unknown = 0,
    /// The first after a reset.
    Yes = 1,
    /// No reset.
    No = 2,
    /// A gauge.
    Gauge = 3,
}

/// `BucketSpan`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSpan {
    /// From the end of the span before, or the index of the first bucket.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// Neighbouring buckets.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

impl TimeSeries {
    /// A series of these labels and `(timestamp in ms, value)` samples, in the given order.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, samples: &[(i64, f64)]) -> Self {
        let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
        let sample = |&(timestamp, value): &(i64, f64)| Sample { value, timestamp };
        Self {
            labels: labels.into_iter().map(label).collect(),
            samples: samples.iter().map(sample).collect(),
            histograms: Vec::new(),
        }
    }
}

/// A request as the body of an HTTP request: protobuf in one snappy block.
///
/// # Panics
/// On a request of 4 GiB or more, which the snappy format cannot hold.
pub fn encode_v1(request: &WriteRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).expect("requests are far below 4 GiB")
}
