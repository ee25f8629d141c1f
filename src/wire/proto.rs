//! The messages of remote write 1.0 for `prost`: what senders of our own encode, and the oracle of the decoder's
//! tests. Requests are received by [`v1`](super::v1), not by these.
//!
//! Source: `prompb/remote.proto` and `prompb/types.proto` in Prometheus. Metadata, exemplars and histograms are
//! left out, so that they are unknown fields here.

use prost::Message;

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

impl TimeSeries {
    /// A series of these labels and `(timestamp in ms, value)` samples, in the given order.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, samples: &[(i64, f64)]) -> Self {
        let label = |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
        let sample = |&(timestamp, value): &(i64, f64)| Sample { value, timestamp };
        Self { labels: labels.into_iter().map(label).collect(), samples: samples.iter().map(sample).collect() }
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
