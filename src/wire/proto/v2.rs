//! The messages of remote write 2.0.
//!
//! Source: `prompb/io/prometheus/write/v2/types.proto` in Prometheus. Exemplars are left as bytes, and metadata is
//! left out.

use std::collections::BTreeMap;

use prost::Message;

use super::Histogram;

/// `io.prometheus.write.v2.Request`
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Every string once; the first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// Series with their samples.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// `io.prometheus.write.v2.TimeSeries`
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Places of symbols: name, value, name, value.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Sorted by timestamp in requests of a well-behaved sender.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histograms.
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    /// Messages of exemplars.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub exemplars: Vec<Vec<u8>>,
}

/// `io.prometheus.write.v2.Sample`
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// What was measured.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// When the counter began, in milliseconds since the Unix epoch; zero is unknown.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// Puts together a request: every string becomes a symbol.
#[derive(Debug)]
pub struct Builder {
    request: Request,
    places: BTreeMap<String, u32>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            request: Request { symbols: vec![String::new()], timeseries: Vec::new() },
            places: BTreeMap::from([(String::new(), 0)]),
        }
    }
}

impl Builder {
    /// Adds a series with nothing but labels, for the caller to fill.
    pub fn series<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> &mut TimeSeries {
        let labels_refs = labels.into_iter().flat_map(|(name, value)| [name, value]).map(|text| self.place(text));
        let labels_refs = labels_refs.collect();
        self.request.timeseries.push(TimeSeries { labels_refs, ..TimeSeries::default() });
        self.request.timeseries.last_mut().expect("just pushed")
    }

    fn place(&mut self, text: &str) -> u32 {
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        let place = self.request.symbols.len() as u32;
        self.request.symbols.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }

    /// The request.
    pub fn finish(self) -> Request {
        self.request
    }
}

/// A request as the body of an HTTP request: protobuf in one snappy block.
///
/// # Panics
/// On a request of 4 GiB or more, which the snappy format cannot hold.
pub fn encode(request: &Request) -> Vec<u8> {
    let message = request.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&message).expect("requests are far below 4 GiB")
}
