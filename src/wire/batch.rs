//! One request, decoded.

use std::fmt;
use std::ops::Range;

use twox_hash::XxHash3_128;
use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

use super::error::DecodeError;
use super::labels::{WireLabels, encode_labels};
use super::limits::Limits;
use super::negotiate::Protocol;
use super::snappy;
use super::symbols::Symbols;
use super::{v1, v2};
use crate::types::Timestamp;

/// One value of a series at one time. Values are kept bit for bit: a staleness marker is a NaN like no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When the sender took it.
    pub timestamp: Timestamp,
    /// What it measured.
    pub value: f64,
}

/// Bytes of a [`WireKey`].
pub const WIRE_KEY_SIZE_BYTES: usize = 192;

/// Up to here XXH3 works without vectors, and one crate computes it as fast or faster; beyond, the other one uses those of
/// the processor it finds. They agree.
const SHORT_LABELS_BYTES: usize = 240;

/// The secret that makes label hashes unpredictable, so that no sender can make two series collide on purpose.
///
/// Draw it at random once, and keep it with the state: series are known by hashes under it. Tests and replays may
/// fix it, since results never depend on it.
#[derive(Clone)]
pub struct WireKey([u8; WIRE_KEY_SIZE_BYTES]);

impl WireKey {
    /// A key of these bytes; they should look random.
    pub const fn new(bytes: [u8; WIRE_KEY_SIZE_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be kept as secret as it is.
    pub const fn as_bytes(&self) -> &[u8; WIRE_KEY_SIZE_BYTES] {
        &self.0
    }

    /// As [`Self::hash`], in half the bits: for tables whose entries are compared.
    #[inline]
    pub fn short_hash(&self, bytes: &[u8]) -> u64 {
        xxh3_64_with_secret(bytes, &self.0)
    }

    /// Tells keys apart, and nothing of them.
    pub fn fingerprint(&self) -> u64 {
        self.short_hash(&[])
    }

    /// The 128-bit hash (XXH3 with this secret) of a series' label bytes.
    #[inline]
    pub fn hash(&self, label_bytes: &[u8]) -> u128 {
        if label_bytes.len() > SHORT_LABELS_BYTES
            && let Ok(hash) = XxHash3_128::oneshot_with_secret(&self.0, label_bytes)
        {
            return hash;
        }
        xxh3_128_with_secret(label_bytes, &self.0)
    }
}

impl fmt::Debug for WireKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireKey(..)")
    }
}

/// A request as flat columns over one buffer. Made to be reused: decoding into it again keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The decompressed request, then label bytes that had to be copied.
    bytes: Vec<u8>,
    /// Series with samples; of remote write 2.0 also those with nothing, which are to be refused.
    series: Vec<Entry>,
    samples: Vec<Sample>,
    /// Empty, or one for each sample.
    starts: Vec<Option<Timestamp>>,
    /// Series with histograms. One that has samples too is also in `series`.
    histogram_series: Vec<Entry>,
    /// Ranges of `bytes`.
    histograms: Vec<Range<usize>>,
    /// Of a request of remote write 2.0, whose series refer to them.
    symbols: Symbols,
    is_symbolic: bool,
    /// Label bytes on their way to the end of `bytes`, which is borrowed while decoding.
    scattered: Vec<u8>,
    empty_series: usize,
    exemplars: usize,
    /// Of the key of the hashes.
    key_fingerprint: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    wire_hash: u128,
    labels: Place,
    /// Of the samples, or of the histograms.
    values: Place,
}

/// A range in half the room: a request and what it holds is far smaller than 4 GiB.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    end: u32,
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Self {
        let end = u32::try_from(range.end).expect("a batch has less than 4 GiB of anything");
        Self { start: range.start as u32, end }
    }
}

impl Place {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The same labels name a counter and a native histogram: two series, with a wire key and an identity each. This is
/// the difference between the two.
pub const HISTOGRAM_HASH: u128 = 0x6e61_7469_7665_2068_6973_746f_6772_616d;

/// A series whose label bytes a batch keeps, for [`Batch::push_interned`].
#[derive(Clone, Debug)]
pub struct Interned {
    wire_hash: u128,
    labels: Range<usize>,
}

/// One series of a batch; of remote write 1.0 it has at least one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeriesRef<'a> {
    /// Keyed hash of `labels`. An alias: the same series has another one when its labels come in another order or
    /// encoding, so identity is the decoded label set.
    pub wire_hash: u128,
    /// For [`decode_labels`](super::decode_labels).
    pub labels: WireLabels<'a>,
    /// In the sender's order.
    pub samples: &'a [Sample],
    /// When the counter began, by sample; empty when that is said of none in the request.
    pub starts: &'a [Option<Timestamp>],
}

/// One series of native histograms.
#[derive(Clone, Copy, Debug)]
pub struct HistogramSeriesRef<'a> {
    /// As [`SeriesRef::wire_hash`]; never that of a series of samples.
    pub wire_hash: u128,
    /// For [`decode_labels`](super::decode_labels).
    pub labels: WireLabels<'a>,
    bytes: &'a [u8],
    histograms: &'a [Range<usize>],
}

impl<'a> HistogramSeriesRef<'a> {
    /// For [`Histogram::decode`](super::Histogram::decode), in the sender's order; at least one.
    pub fn messages(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.histograms.iter().map(move |range| &self.bytes[range.clone()])
    }
}

impl Batch {
    /// An empty batch without memory of its own.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            series: Vec::new(),
            samples: Vec::new(),
            starts: Vec::new(),
            histogram_series: Vec::new(),
            histograms: Vec::new(),
            symbols: Symbols::new(),
            is_symbolic: false,
            scattered: Vec::new(),
            empty_series: 0,
            exemplars: 0,
            key_fingerprint: 0,
        }
    }

    /// Replaces the content with that of `body`, a request that speaks this protocol.
    ///
    /// # Errors
    /// As of [`Self::decode_v1`] and [`Self::decode_v2`].
    pub fn decode(
        &mut self,
        protocol: Protocol,
        body: &[u8],
        limits: &Limits,
        key: &WireKey,
    ) -> Result<(), DecodeError> {
        match protocol {
            Protocol::V1 => self.decode_v1(body, limits, key),
            Protocol::V2 => self.decode_v2(body, limits, key),
        }
    }

    /// Replaces the content with that of `body`, a remote write 1.0 request compressed with snappy.
    ///
    /// Series without samples are dropped and counted. Labels are not looked into: errors in them show up per
    /// series in [`decode_labels`](super::decode_labels).
    ///
    /// # Errors
    /// When the body is no such request or over a limit; the batch is empty then.
    pub fn decode_v1(&mut self, body: &[u8], limits: &Limits, key: &WireKey) -> Result<(), DecodeError> {
        self.clear_columns();
        self.key_fingerprint = key.fingerprint();
        let decoded = self.decompress(body, limits).and_then(|()| self.decode_v1_columns(limits, key));
        if decoded.is_err() {
            self.clear();
        }
        decoded
    }

    /// Replaces the content with that of `body`, a remote write 2.0 request compressed with snappy.
    ///
    /// Series with neither samples nor histograms are kept, to be refused with the labels they have. Labels are not
    /// looked into, as in [`Self::decode_v1`].
    ///
    /// # Errors
    /// When the body is no such request or over a limit; the batch is empty then.
    pub fn decode_v2(&mut self, body: &[u8], limits: &Limits, key: &WireKey) -> Result<(), DecodeError> {
        self.clear_columns();
        self.key_fingerprint = key.fingerprint();
        let decoded = self.decompress(body, limits).and_then(|()| self.decode_v2_columns(limits, key));
        if decoded.is_err() {
            self.clear();
        }
        decoded
    }

    fn decompress(&mut self, body: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        let (size_bytes, limit_bytes) = (body.len(), limits.compressed_limit_bytes);
        if size_bytes > limit_bytes {
            return Err(DecodeError::BodyTooLarge { size_bytes, limit_bytes });
        }
        Ok(snappy::decompress(body, limits.decoded_limit_bytes, &mut self.bytes)?)
    }

    fn decode_v1_columns(&mut self, limits: &Limits, key: &WireKey) -> Result<(), DecodeError> {
        let mut decoder = v1::Decoder::new(&self.bytes, limits);
        let mut hashed = 0;
        while let Some(series) = decoder.next_series(&mut self.samples, &mut self.histograms, &mut self.scattered)? {
            if series.samples.is_empty() && series.histograms.is_empty() {
                self.empty_series += 1;
            }
            if !series.histograms.is_empty() {
                let wire_hash = key.hash(piece(&self.bytes, &self.scattered, &series.labels)) ^ HISTOGRAM_HASH;
                let (labels, values) = (series.labels.clone().into(), series.histograms.into());
                self.histogram_series.push(Entry { wire_hash, labels, values });
            }
            if !series.samples.is_empty() {
                let (labels, values) = (series.labels.into(), series.samples.into());
                self.series.push(Entry { wire_hash: 0, labels, values });
            }
            // Some behind each other: finding where labels end waits for one byte after the other, and hashing need not
            // wait for that. Not all, so that their bytes are still near.
            if self.series.len() == hashed + HASHED_TOGETHER {
                hash(&mut self.series[hashed..], &self.bytes, &self.scattered, key);
                hashed = self.series.len();
            }
        }
        hash(&mut self.series[hashed..], &self.bytes, &self.scattered, key);
        self.bytes.append(&mut self.scattered);
        Ok(())
    }

    fn decode_v2_columns(&mut self, limits: &Limits, key: &WireKey) -> Result<(), DecodeError> {
        self.is_symbolic = true;
        v2::symbols(&self.bytes, limits, key, &mut self.symbols)?;
        let mut decoder = v2::Decoder::new(&self.bytes, limits);
        loop {
            let mut columns = v2::Columns {
                samples: &mut self.samples,
                starts: &mut self.starts,
                histograms: &mut self.histograms,
                scattered: &mut self.scattered,
            };
            let Some(series) = decoder.next_series(&mut columns)? else { break };
            let references = piece(&self.bytes, &self.scattered, &series.references);
            let wire_hash = self.symbols.wire_hash(references, limits, key)?;
            self.exemplars += series.exemplars;
            let has_histograms = !series.histograms.is_empty();
            if has_histograms {
                let (labels, values) = (series.references.clone().into(), series.histograms.into());
                self.histogram_series.push(Entry { wire_hash: wire_hash ^ HISTOGRAM_HASH, labels, values });
            }
            if !has_histograms || !series.samples.is_empty() {
                let (labels, values) = (series.references.into(), series.samples.into());
                self.series.push(Entry { wire_hash, labels, values });
            }
        }
        if !self.starts.is_empty() {
            self.starts.resize(self.samples.len(), None);
        }
        self.bytes.append(&mut self.scattered);
        Ok(())
    }

    /// Adds a series as if a sender had written it, with the same label bytes and hash. For replay and tests,
    /// which have no request to decode: not into a request of remote write 2.0, whose labels are references. As on
    /// the wire, a series without samples is dropped and counted.
    pub fn push<'a>(
        &mut self,
        key: &WireKey,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        samples: &[Sample],
    ) {
        if samples.is_empty() {
            self.empty_series += 1;
            return;
        }
        debug_assert!(!self.is_symbolic, "pushed into a request of remote write 2.0");
        let (first_byte, first_sample) = (self.bytes.len(), self.samples.len());
        encode_labels(labels, &mut self.bytes);
        self.samples.extend_from_slice(samples);
        let wire_hash = key.hash(&self.bytes[first_byte..]);
        self.key_fingerprint = key.fingerprint();
        let (labels, values) = (first_byte..self.bytes.len(), first_sample..self.samples.len());
        self.series.push(Entry { wire_hash, labels: labels.into(), values: values.into() });
    }

    /// Keeps the label bytes of a series that is to be pushed again and again, until the batch is cleared. For
    /// replay, which would otherwise encode and hash the labels of every sample.
    pub fn intern<'a>(&mut self, key: &WireKey, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Interned {
        let start = self.bytes.len();
        encode_labels(labels, &mut self.bytes);
        self.key_fingerprint = key.fingerprint();
        Interned { wire_hash: key.hash(&self.bytes[start..]), labels: start..self.bytes.len() }
    }

    /// Adds one sample of a series interned in this batch, as [`Self::push`] would.
    pub fn push_interned(&mut self, series: &Interned, sample: Sample) {
        let values = self.samples.len()..self.samples.len() + 1;
        self.samples.push(sample);
        let (labels, values) = (series.labels.clone().into(), values.into());
        self.series.push(Entry { wire_hash: series.wire_hash, labels, values });
    }

    /// Removes all series and keeps the label bytes of interned ones.
    pub fn clear_series(&mut self) {
        self.clear_columns();
    }

    /// Removes everything and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.clear_columns();
    }

    fn clear_columns(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.starts.clear();
        self.histogram_series.clear();
        self.histograms.clear();
        self.symbols.clear();
        self.is_symbolic = false;
        self.scattered.clear();
        self.empty_series = 0;
        self.exemplars = 0;
    }

    /// The series in the sender's order; a series may occur twice.
    pub fn series(&self) -> impl ExactSizeIterator<Item = SeriesRef<'_>> {
        self.series.iter().map(|entry| SeriesRef {
            wire_hash: entry.wire_hash,
            labels: self.labels(entry),
            samples: &self.samples[entry.values.range()],
            starts: if self.starts.is_empty() { &[] } else { &self.starts[entry.values.range()] },
        })
    }

    /// The series of native histograms in the sender's order; a series may occur twice.
    pub fn histogram_series(&self) -> impl ExactSizeIterator<Item = HistogramSeriesRef<'_>> {
        self.histogram_series.iter().map(|entry| HistogramSeriesRef {
            wire_hash: entry.wire_hash,
            labels: self.labels(entry),
            bytes: &self.bytes,
            histograms: &self.histograms[entry.values.range()],
        })
    }

    fn labels(&self, entry: &Entry) -> WireLabels<'_> {
        let bytes = &self.bytes[entry.labels.range()];
        if self.is_symbolic { WireLabels::references(bytes, self.symbols.table(&self.bytes)) } else { bytes.into() }
    }

    /// Whether its hashes are under the key with this fingerprint.
    pub const fn is_hashed_with(&self, key_fingerprint: u64) -> bool {
        self.key_fingerprint == key_fingerprint
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.histogram_series.is_empty()
    }

    /// Samples of all series.
    pub fn sample_count(&self) -> usize {
        self.samples.len()
    }

    /// Native histograms of all series.
    pub fn histogram_count(&self) -> usize {
        self.histograms.len()
    }

    /// Exemplars of all series; only remote write 2.0 counts them.
    pub fn exemplar_count(&self) -> usize {
        self.exemplars
    }

    /// Series of remote write 1.0 dropped because they had neither samples nor histograms.
    pub fn empty_series_count(&self) -> usize {
        self.empty_series
    }

    /// Bytes of memory held, used or not: a pool drops a batch that one large request has blown up.
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.scattered.capacity()
            + (self.series.capacity() + self.histogram_series.capacity()) * size_of::<Entry>()
            + self.samples.capacity() * size_of::<Sample>()
            + self.starts.capacity() * size_of::<Option<Timestamp>>()
            + self.histograms.capacity() * size_of::<Range<usize>>()
            + self.symbols.capacity_bytes()
    }
}

/// Series whose label bytes are hashed behind each other.
const HASHED_TOGETHER: usize = 32;

fn hash(series: &mut [Entry], bytes: &[u8], scattered: &[u8], key: &WireKey) {
    for entry in series {
        entry.wire_hash = key.hash(piece(bytes, scattered, &entry.labels.range()));
    }
}

/// A range of the input, or of what will stand behind it.
#[inline]
fn piece<'a>(bytes: &'a [u8], scattered: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    let behind = || &scattered[range.start - bytes.len()..range.end - bytes.len()];
    bytes.get(range.clone()).unwrap_or_else(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::{TimeSeries, WriteRequest, encode_v1};
    use crate::wire::{LabelPairs, decode_labels};

    const LABELS: [(&str, &str); 3] = [("__name__", "http_requests_total"), ("code", "200"), ("empty", "")];

    fn key() -> WireKey {
        WireKey::new(std::array::from_fn(|i| (i * 167 + 13) as u8))
    }

    fn sample(timestamp: i64, value: f64) -> Sample {
        Sample { timestamp: Timestamp(timestamp), value }
    }

    fn decoded(timeseries: Vec<TimeSeries>) -> Batch {
        let mut batch = Batch::new();
        batch.decode_v1(&encode_v1(&WriteRequest { timeseries }), &Limits::default(), &key()).unwrap();
        batch
    }

    #[test]
    fn a_request_becomes_its_series_in_order() {
        let batch = decoded(vec![
            TimeSeries::new(LABELS, &[(1_000, 1.0), (2_000, 0.0)]),
            TimeSeries::new([("__name__", "up")], &[(1_000, 1.0)]),
        ]);
        let [requests, up] = batch.series().collect::<Vec<_>>()[..] else { panic!("{batch:?}") };
        assert_eq!(requests.samples, [sample(1_000, 1.0), sample(2_000, 0.0)]);
        assert_eq!(LabelPairs::new(requests.labels).collect::<Result<Vec<_>, _>>().unwrap(), LABELS);
        assert_eq!(up.samples, [sample(1_000, 1.0)]);
        assert_eq!(decode_labels(up.labels, &Limits::default()).unwrap().to_string(), r#"{__name__="up"}"#);
        assert_ne!(requests.wire_hash, up.wire_hash);
        assert_eq!(batch.sample_count(), 3);
    }

    #[test]
    fn a_pushed_series_has_the_bytes_and_hash_of_a_received_one() {
        let long = "x".repeat(300);
        let labels = [("__name__", "up"), ("long", &long), ("empty", ""), ("", "nameless")];
        let received = decoded(vec![TimeSeries::new(labels, &[(5, 1.0)]), TimeSeries::new(LABELS, &[(6, 2.0)])]);
        let mut pushed = Batch::new();
        pushed.push(&key(), labels, &[sample(5, 1.0)]);
        pushed.push(&key(), LABELS, &[sample(6, 2.0)]);
        assert!(pushed.series().eq(received.series()), "{pushed:?}\n{received:?}");
    }

    #[test]
    fn an_interned_series_is_like_a_pushed_one() {
        let mut interned = Batch::new();
        let series = [interned.intern(&key(), LABELS), interned.intern(&key(), [("__name__", "up")])];
        for round in 1..3 {
            interned.clear_series();
            let mut pushed = Batch::new();
            for (series, labels) in series.iter().zip([&LABELS[..], &[("__name__", "up")]]) {
                interned.push_interned(series, sample(round, 2.0));
                pushed.push(&key(), labels.iter().copied(), &[sample(round, 2.0)]);
            }
            assert!(interned.series().eq(pushed.series()), "{interned:?}\n{pushed:?}");
        }
    }

    #[test]
    fn the_hash_depends_on_the_key_and_on_every_byte() {
        let other = WireKey::new([1; WIRE_KEY_SIZE_BYTES]);
        assert_ne!(key().hash(b"labels"), other.hash(b"labels"));
        assert_ne!(key().hash(b"labels"), key().hash(b"label5"));
        assert_eq!(format!("{:?}", key()), "WireKey(..)");
    }

    #[test]
    fn the_hash_is_the_same_however_it_is_computed() {
        let bytes: Vec<u8> = (0..1_200_u32).map(|i| (i * i / 7) as u8).collect();
        for length in 0..bytes.len() {
            let bytes = &bytes[..length];
            assert_eq!(key().hash(bytes), xxh3_128_with_secret(bytes, key().as_bytes()), "{length}");
        }
    }

    #[test]
    fn series_without_samples_are_dropped_and_counted() {
        let mut batch = decoded(vec![TimeSeries::new(LABELS, &[]), TimeSeries::new(LABELS, &[(1, 1.0)])]);
        assert_eq!((batch.series().len(), batch.empty_series_count()), (1, 1));
        batch.push(&key(), LABELS, &[]);
        assert_eq!((batch.series().len(), batch.empty_series_count()), (1, 2));
    }

    #[test]
    fn histograms_are_series_of_their_own() {
        // A series of one label and two histograms, one of them empty; and the same with a sample.
        let message = b"\x0a\x0e\x0a\x06\x0a\x01a\x12\x011\x22\x02\x78\x05\x22\x00\x0a\x0e\x0a\x06\x0a\x01a\x12\x011\x22\x00\x12\x02\x10\x01";
        let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
        let mut batch = Batch::new();
        batch.decode_v1(&body, &Limits::default(), &key()).unwrap();
        assert_eq!((batch.histogram_count(), batch.sample_count(), batch.empty_series_count()), (3, 1, 0));
        let [first, second] = batch.histogram_series().collect::<Vec<_>>()[..] else { panic!("{batch:?}") };
        assert_eq!(first.messages().collect::<Vec<_>>(), [&b"\x78\x05"[..], b""]);
        assert_eq!((first.wire_hash, first.labels), (second.wire_hash, second.labels));
        let [samples] = batch.series().collect::<Vec<_>>()[..] else { panic!("{batch:?}") };
        assert_eq!((samples.labels, samples.wire_hash), (first.labels, first.wire_hash ^ HISTOGRAM_HASH));
    }

    #[test]
    fn scattered_labels_hash_like_whole_ones() {
        // label a, sample, label b; twice, so that the second is not at the start of the copied bytes.
        let series = b"\x0a\x14\x0a\x06\x0a\x01a\x12\x011\x12\x02\x10\x01\x0a\x06\x0a\x01b\x12\x012";
        let body = snap::raw::Encoder::new().compress_vec(&series.repeat(2)).unwrap();
        let mut scattered = Batch::new();
        scattered.decode_v1(&body, &Limits::default(), &key()).unwrap();
        let mut whole = Batch::new();
        for _ in 0..2 {
            whole.push(&key(), [("a", "1"), ("b", "2")], &[sample(1, 0.0)]);
        }
        assert!(scattered.series().eq(whole.series()), "{scattered:?}\n{whole:?}");
        // More series may follow the copied bytes.
        scattered.push(&key(), LABELS, &[sample(2, 0.0)]);
        whole.push(&key(), LABELS, &[sample(2, 0.0)]);
        assert!(scattered.series().eq(whole.series()));
    }

    #[test]
    fn decoding_again_replaces_the_content_and_keeps_the_memory() {
        let request = |n| WriteRequest { timeseries: vec![TimeSeries::new(LABELS, &[(1, 1.0), (2, 2.0)]); n] };
        let (large, small) = (encode_v1(&request(100)), encode_v1(&request(1)));
        let mut batch = Batch::new();
        batch.decode_v1(&large, &Limits::default(), &key()).unwrap();
        let held = batch.capacity_bytes();
        batch.decode_v1(&small, &Limits::default(), &key()).unwrap();
        assert_eq!((batch.series().len(), batch.sample_count()), (1, 2));
        batch.decode_v1(&large, &Limits::default(), &key()).unwrap();
        assert_eq!((batch.series().len(), batch.sample_count()), (100, 200));
        assert_eq!(batch.capacity_bytes(), held);
    }

    #[test]
    fn after_an_error_the_batch_is_empty() {
        let mut batch = decoded(vec![TimeSeries::new(LABELS, &[(1, 1.0)])]);
        // A good series, then a message that is cut off.
        let message = b"\x0a\x0c\x0a\x06\x0a\x01a\x12\x011\x12\x02\x10\x01\x0a\x05";
        let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
        assert_eq!(batch.decode_v1(&body, &Limits::default(), &key()).unwrap_err().reason(), "protobuf");
        assert!(batch.is_empty());
        assert_eq!(batch.sample_count(), 0);
        let limits = Limits { compressed_limit_bytes: body.len() - 1, ..Limits::default() };
        assert_eq!(batch.decode_v1(&body, &limits, &key()).unwrap_err().reason(), "body_too_large");
    }
}
