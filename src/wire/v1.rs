//! Remote write 1.0: `prometheus.WriteRequest`.
//!
//! ```proto
//! message WriteRequest { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
//! message TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2;
//!                        repeated Exemplar exemplars = 3; repeated Histogram histograms = 4; }
//! message Label        { string name = 1; string value = 2; }
//! message Sample       { double value = 1; int64 timestamp = 2; }
//! ```
//!
//! Metadata and exemplars are skipped. Labels are only stepped over: their bytes are handed out as they came, and
//! validated when someone decodes them; so are histograms, once walked. For the rest the decoder accepts and
//! refuses exactly what `prost` does: the last value of a scalar wins, missing fields are zero, unknown fields
//! are skipped by their wire type.

use std::ops::Range;

use super::batch::Sample;
use super::error::DecodeError;
use super::histogram;
use super::limits::Limits;
use super::protobuf::{NESTING_LIMIT, ProtobufError, Reader, delimited_key, fixed64_key, six_byte_varint, varint_key};
use crate::types::Timestamp;

const REQUEST_TIMESERIES: u32 = delimited_key(1);
const SERIES_LABELS: u32 = delimited_key(1);
const SERIES_SAMPLES: u32 = delimited_key(2);
const SERIES_HISTOGRAMS: u32 = delimited_key(4);
const SAMPLE_VALUE: u32 = fixed64_key(1);
const SAMPLE_TIMESTAMP: u32 = varint_key(2);

/// Levels left to unknown groups inside each message.
const REQUEST_NESTING: u32 = NESTING_LIMIT;
const SERIES_NESTING: u32 = REQUEST_NESTING - 1;
const SAMPLE_NESTING: u32 = SERIES_NESTING - 1;
/// The same for a label.
pub(super) const LABEL_NESTING: u32 = SERIES_NESTING - 1;

/// Walks the series of one decompressed request.
pub struct Decoder<'a> {
    rest: Reader<'a>,
    input_bytes: usize,
    limits: Limits,
    series_left: usize,
    samples_left: usize,
    histograms_left: usize,
}

/// Where one series lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSeries {
    /// From the key of the first label to the end of the last, as a range of the input, continued by
    /// the scattered bytes: an offset beyond the input counts from their start.
    pub labels: Range<usize>,
    /// Range of the samples decoded so far.
    pub samples: Range<usize>,
    /// Range of the histograms found so far.
    pub histograms: Range<usize>,
}

impl<'a> Decoder<'a> {
    /// A decoder at the first series of `input`.
    pub const fn new(input: &'a [u8], limits: &Limits) -> Self {
        Self {
            rest: Reader::new(input),
            input_bytes: input.len(),
            limits: *limits,
            series_left: limits.series_limit,
            samples_left: limits.samples_limit,
            histograms_left: limits.histograms_limit,
        }
    }

    /// The next series, with or without samples; `None` at the end of the request.
    ///
    /// Samples are appended to `samples`, histograms as ranges of the input to `histograms`. A series whose label
    /// fields are not contiguous (legal, though no real sender does it) has them copied to the end of `scattered`, so
    /// that its bytes are whole as well.
    ///
    /// # Errors
    /// When the request is not protobuf or has too many elements; the decoder is of no use afterwards.
    #[inline]
    pub fn next_series(
        &mut self,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<Range<usize>>,
        scattered: &mut Vec<u8>,
    ) -> Result<Option<RawSeries>, DecodeError> {
        while !self.rest.is_empty() {
            let key = self.rest.key()?;
            if key != REQUEST_TIMESERIES {
                self.rest.skip_unknown(key, 1..=1, REQUEST_NESTING)?;
                continue;
            }
            let message = self.rest.delimited()?;
            let limit = self.limits.series_limit;
            self.series_left = self.series_left.checked_sub(1).ok_or(DecodeError::TooManySeries { limit })?;
            return self.series(message, samples, histograms, scattered).map(Some);
        }
        Ok(None)
    }

    #[inline]
    fn series(
        &mut self,
        message: &'a [u8],
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<Range<usize>>,
        scattered: &mut Vec<u8>,
    ) -> Result<RawSeries, DecodeError> {
        let front = short_labels(message);
        // Nearly every series: labels, then one sample.
        if let Some(sample) = only_sample(&message[front..])
            && let Some(left) = self.samples_left.checked_sub(1)
        {
            self.samples_left = left;
            samples.push(sample);
            let offset = self.input_bytes - self.rest.remaining() - message.len();
            let (samples, histograms) = (samples.len() - 1..samples.len(), histograms.len()..histograms.len());
            return Ok(RawSeries { labels: offset..offset + front, samples, histograms });
        }
        self.any_series(message, front, samples, histograms, scattered)
    }

    /// A series whose first `front` bytes are labels.
    #[inline(never)]
    fn any_series(
        &mut self,
        message: &'a [u8],
        front: usize,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<Range<usize>>,
        scattered: &mut Vec<u8>,
    ) -> Result<RawSeries, DecodeError> {
        let mut fields = Reader::new(&message[front..]);
        let (first_sample, first_histogram) = (samples.len(), histograms.len());
        let offset = self.input_bytes - self.rest.remaining() - message.len();
        let (mut labels, mut contiguous) = (0..front, true);
        while !fields.is_empty() {
            let start = message.len() - fields.remaining();
            match fields.key()? {
                SERIES_LABELS => {
                    fields.delimited()?;
                    if labels.is_empty() {
                        labels.start = start;
                    } else {
                        contiguous &= labels.end == start;
                    }
                    labels.end = message.len() - fields.remaining();
                }
                SERIES_SAMPLES => {
                    let sample = sample(fields.delimited()?)?;
                    let limit = self.limits.samples_limit;
                    self.samples_left =
                        self.samples_left.checked_sub(1).ok_or(DecodeError::TooManySamples { limit })?;
                    samples.push(sample);
                }
                SERIES_HISTOGRAMS => {
                    let histogram = fields.delimited()?;
                    histogram::walk(histogram)?;
                    let limit = self.limits.histograms_limit;
                    self.histograms_left =
                        self.histograms_left.checked_sub(1).ok_or(DecodeError::TooManyHistograms { limit })?;
                    let end = offset + message.len() - fields.remaining();
                    histograms.push(end - histogram.len()..end);
                }
                key => skip_in_series(&mut fields, key)?,
            }
        }
        let labels = if contiguous {
            offset + labels.start..offset + labels.end
        } else {
            let start = self.input_bytes + scattered.len();
            gather_labels(message, scattered)?;
            start..self.input_bytes + scattered.len()
        };
        let histograms = first_histogram..histograms.len();
        Ok(RawSeries { labels, samples: first_sample..samples.len(), histograms })
    }
}

/// How far the labels reach that come first and are shorter than 128 bytes: nearly always all. None where the last of
/// them is cut off.
#[inline]
fn short_labels(message: &[u8]) -> usize {
    let Some((_, lengths)) = message.split_first() else { return 0 };
    let mut end = 0;
    while end < lengths.len() && message[end] == LABELS_KEY && lengths[end] < 0x80 {
        end += 2 + usize::from(lengths[end]);
    }
    if end <= message.len() { end } else { 0 }
}

#[cold]
fn skip_in_series(fields: &mut Reader<'_>, key: u32) -> Result<(), ProtobufError> {
    // Exemplars are not looked into.
    let known = if key >> 3 == 3 { 1..=2 } else { 1..=4 };
    fields.skip_unknown(key, known, SERIES_NESTING)
}

/// Appends the label fields of a series to `scattered`, in their order.
#[cold]
fn gather_labels(message: &[u8], scattered: &mut Vec<u8>) -> Result<(), ProtobufError> {
    let mut fields = Reader::new(message);
    while !fields.is_empty() {
        let start = message.len() - fields.remaining();
        let key = fields.key()?;
        if matches!(key, SERIES_LABELS | SERIES_SAMPLES | SERIES_HISTOGRAMS) {
            fields.delimited()?;
        } else {
            skip_in_series(&mut fields, key)?;
        }
        if key == SERIES_LABELS {
            scattered.extend_from_slice(&message[start..message.len() - fields.remaining()]);
        }
    }
    Ok(())
}

/// The sample that these bytes are the field of, and nothing else.
#[inline]
fn only_sample(field: &[u8]) -> Option<Sample> {
    let [SAMPLES_KEY, length @ ..0x80, message @ ..] = field else { return None };
    let (sample, rest) = usual_sample(message)?;
    (usize::from(*length) == message.len() && rest.is_empty()).then_some(sample)
}

/// A sample in the layout of every sender, and what follows it: value, unless that is zero, then a timestamp of today's
/// length. That of remote write 2.0 begins in the same way.
#[inline]
pub(super) fn usual_sample(message: &[u8]) -> Option<(Sample, &[u8])> {
    let (value, rest) = match message {
        [VALUE_KEY, rest @ ..] => {
            let (value, rest) = rest.split_first_chunk()?;
            (f64::from_le_bytes(*value), rest)
        }
        _ => (0.0, message),
    };
    let (timestamp, rest) = rest.split_first_chunk::<7>()?;
    let &[TIMESTAMP_KEY, ref timestamp @ ..] = timestamp else { return None };
    Some((Sample { timestamp: Timestamp(six_byte_varint(*timestamp)?.cast_signed()), value }, rest))
}

/// The keys as the one byte they are in the usual layout.
const LABELS_KEY: u8 = SERIES_LABELS as u8;
const SAMPLES_KEY: u8 = SERIES_SAMPLES as u8;
const VALUE_KEY: u8 = SAMPLE_VALUE as u8;
const TIMESTAMP_KEY: u8 = SAMPLE_TIMESTAMP as u8;

/// A sample in any layout.
fn sample(message: &[u8]) -> Result<Sample, ProtobufError> {
    let mut fields = Reader::new(message);
    let mut sample = Sample { timestamp: Timestamp(0), value: 0.0 };
    while !fields.is_empty() {
        match fields.key()? {
            SAMPLE_VALUE => sample.value = f64::from_le_bytes(fields.fixed64()?),
            SAMPLE_TIMESTAMP => sample.timestamp = Timestamp(fields.varint()?.cast_signed()),
            key => fields.skip_unknown(key, 1..=2, SAMPLE_NESTING)?,
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of one-byte key and length.
    fn field(key: u32, payload: &[u8]) -> Vec<u8> {
        [&[key as u8, payload.len() as u8], payload].concat()
    }

    const LABEL_A: &[u8] = b"\x0a\x06\x0a\x01a\x12\x011";
    const LABEL_B: &[u8] = b"\x0a\x06\x0a\x01b\x12\x012";
    /// 1.5 at 300 ms, as every sender lays it out.
    const SAMPLE: &[u8] = b"\x12\x0c\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02";

    #[derive(Debug, PartialEq)]
    struct Seen {
        label_bytes: Vec<u8>,
        samples: Vec<(i64, f64)>,
        histograms: Vec<Vec<u8>>,
    }

    fn decode(request: &[u8], limits: &Limits) -> Result<Vec<Seen>, DecodeError> {
        let mut decoder = Decoder::new(request, limits);
        let (mut samples, mut histograms, mut scattered, mut raw) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        while let Some(series) = decoder.next_series(&mut samples, &mut histograms, &mut scattered)? {
            raw.push(series);
        }
        let bytes = [request, &scattered].concat();
        let seen = raw.into_iter().map(|series| Seen {
            label_bytes: bytes[series.labels].to_vec(),
            samples: samples[series.samples].iter().map(|s| (s.timestamp.as_millis(), s.value)).collect(),
            histograms: histograms[series.histograms].iter().map(|range| request[range.clone()].to_vec()).collect(),
        });
        Ok(seen.collect())
    }

    fn decode_series(fields: &[&[u8]]) -> Seen {
        let mut seen = decode(&field(REQUEST_TIMESERIES, &fields.concat()), &Limits::default()).unwrap();
        assert_eq!(seen.len(), 1);
        seen.remove(0)
    }

    #[test]
    fn label_bytes_are_whole_wherever_the_labels_are() {
        let exemplar = &field(delimited_key(3), b"skipped")[..];
        let whole = [LABEL_A, LABEL_B].concat();
        for fields in [
            [LABEL_A, LABEL_B, SAMPLE, exemplar],
            [SAMPLE, exemplar, LABEL_A, LABEL_B],
            [LABEL_A, SAMPLE, LABEL_B, exemplar],
            [LABEL_A, exemplar, SAMPLE, LABEL_B],
        ] {
            let seen = decode_series(&fields);
            assert_eq!(seen.label_bytes, whole, "{fields:x?}");
            assert_eq!(seen.samples, [(300, 1.5)]);
        }
        assert_eq!(decode_series(&[SAMPLE]).label_bytes, b"");
    }

    #[test]
    fn scattered_series_do_not_mix() {
        let scattered = field(REQUEST_TIMESERIES, &[LABEL_A, SAMPLE, LABEL_B].concat());
        let usual = field(REQUEST_TIMESERIES, &[LABEL_B, SAMPLE].concat());
        let request = [&scattered[..], &usual, &scattered].concat();
        let label_bytes: Vec<_> =
            decode(&request, &Limits::default()).unwrap().into_iter().map(|seen| seen.label_bytes).collect();
        let both = [LABEL_A, LABEL_B].concat();
        assert_eq!(label_bytes, [&both[..], LABEL_B, &both]);
    }

    #[test]
    fn samples_decode_in_any_layout() {
        let stale = 0x7ff0_0000_0000_0002_u64;
        for (message, timestamp, bits) in [
            (&b""[..], 0, 0),
            (b"\x10\xac\x02", 300, 0),
            (b"\x09\0\0\0\0\0\0\xf8\x3f", 0, 1.5_f64.to_bits()),
            (b"\x10\xac\x02\x09\0\0\0\0\0\0\xf8\x3f", 300, 1.5_f64.to_bits()),
            (b"\x09\x02\0\0\0\0\0\xf0\x7f\x10\xac\x02", 300, stale),
            // The last of several wins; what follows is unknown.
            (b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x01\x10\x02\x1a\x01x", 2, 1.5_f64.to_bits()),
            (b"\x09\0\0\0\0\0\0\xf8\x3f\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -1, 1.5_f64.to_bits()),
        ] {
            let sample = sample(message).unwrap();
            assert_eq!((sample.timestamp, sample.value.to_bits()), (Timestamp(timestamp), bits), "{message:x?}");
        }
        assert_eq!(sample(b"\x09\0\0\0"), Err(ProtobufError::Truncated));
        assert_eq!(sample(b"\x08\x01"), Err(ProtobufError::WireType(1)));
        assert_eq!(sample(b"\x09\0\0\0\0\0\0\xf8\x3f\x10\xff"), Err(ProtobufError::Varint));
    }

    #[test]
    fn histograms_are_handed_out_as_they_came() {
        let [first, second] = [&b"\x08\x05\x78\x01"[..], b""];
        let fields = [LABEL_A, &field(SERIES_HISTOGRAMS, first), LABEL_B, &field(SERIES_HISTOGRAMS, second)];
        let seen = decode_series(&fields);
        assert_eq!(seen.histograms, [first, second]);
        assert_eq!((seen.label_bytes, seen.samples.len()), ([LABEL_A, LABEL_B].concat(), 0));
        let request = field(REQUEST_TIMESERIES, &field(SERIES_HISTOGRAMS, b"\x0a\x01x"));
        assert_eq!(decode(&request, &Limits::default()), Err(ProtobufError::WireType(1).into()));
        let request = field(REQUEST_TIMESERIES, &fields.concat());
        let limits = Limits { histograms_limit: 1, ..Limits::default() };
        assert_eq!(decode(&request, &limits), Err(DecodeError::TooManyHistograms { limit: 1 }));
    }

    #[test]
    fn metadata_is_skipped_and_an_empty_request_is_one() {
        let metadata = field(delimited_key(3), b"anything");
        assert_eq!(decode(&metadata, &Limits::default()), Ok(Vec::new()));
        assert_eq!(decode(b"", &Limits::default()), Ok(Vec::new()));
    }

    #[test]
    fn limits_count_across_the_request() {
        let series = field(REQUEST_TIMESERIES, &[LABEL_A, SAMPLE, SAMPLE].concat());
        let request = series.repeat(3);
        let limits = Limits { series_limit: 3, samples_limit: 6, ..Limits::default() };
        assert_eq!(decode(&request, &limits).unwrap().len(), 3);
        let fewer = Limits { series_limit: 2, ..limits };
        assert_eq!(decode(&request, &fewer), Err(DecodeError::TooManySeries { limit: 2 }));
        let fewer = Limits { samples_limit: 5, ..limits };
        assert_eq!(decode(&request, &fewer), Err(DecodeError::TooManySamples { limit: 5 }));
    }

    #[test]
    fn a_series_cannot_reach_beyond_its_own_bytes() {
        // The label claims one byte more than its series has, though the request has it.
        let request = [&field(REQUEST_TIMESERIES, b"\x0a\x03\x0a\x01")[..], &field(delimited_key(3), b"")].concat();
        assert_eq!(decode(&request, &Limits::default()), Err(ProtobufError::Truncated.into()));
    }
}
