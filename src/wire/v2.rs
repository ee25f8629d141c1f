//! Remote write 2.0: `io.prometheus.write.v2.Request`.
//!
//! ```proto
//! message Request    { repeated string symbols = 4; repeated TimeSeries timeseries = 5; }
//! message TimeSeries { repeated uint32 labels_refs = 1; repeated Sample samples = 2; repeated Histogram histograms = 3;
//!                      repeated Exemplar exemplars = 4; Metadata metadata = 5; }
//! message Sample     { double value = 1; int64 timestamp = 2; int64 start_timestamp = 3; }
//! ```
//!
//! Field 6 of a series, the start timestamp of early drafts, is reserved and skipped. Metadata is skipped, exemplars
//! are counted, and neither is looked into. Histograms are walked and handed out as they came. For the rest the decoder
//! accepts and refuses exactly what `prost` does, except for text that is not UTF-8, which costs only the series that
//! refer to it.

use std::ops::Range;

use super::batch::{Sample, WireKey};
use super::error::DecodeError;
use super::histogram;
use super::limits::Limits;
use super::protobuf::{NESTING_LIMIT, ProtobufError, Reader, delimited_key, fixed64_key, six_byte_varint, varint_key};
use super::symbols::Symbols;
use super::v1::usual_sample;
use crate::types::Timestamp;

const REQUEST_SYMBOLS: u32 = delimited_key(4);
const REQUEST_TIMESERIES: u32 = delimited_key(5);
const SERIES_REFERENCES: u32 = delimited_key(1);
const SERIES_REFERENCE: u32 = varint_key(1);
const SERIES_SAMPLES: u32 = delimited_key(2);
const SERIES_HISTOGRAMS: u32 = delimited_key(3);
const SERIES_EXEMPLARS: u32 = delimited_key(4);
const SERIES_METADATA: u32 = delimited_key(5);
const SAMPLE_VALUE: u32 = fixed64_key(1);
const SAMPLE_TIMESTAMP: u32 = varint_key(2);
const SAMPLE_START: u32 = varint_key(3);

/// Levels left to unknown groups inside each message.
const REQUEST_NESTING: u32 = NESTING_LIMIT;
const SERIES_NESTING: u32 = REQUEST_NESTING - 1;
const SAMPLE_NESTING: u32 = SERIES_NESTING - 1;

/// Collects the symbols of a request, wherever they are in it.
///
/// # Errors
/// When the request is not protobuf, has too many symbols, or the first is not empty.
pub(super) fn symbols(
    message: &[u8],
    limits: &Limits,
    key: &WireKey,
    symbols: &mut Symbols,
) -> Result<(), DecodeError> {
    let mut fields = Reader::new(message);
    while !fields.is_empty() {
        match fields.key()? {
            REQUEST_SYMBOLS => {
                let symbol = fields.delimited()?;
                let start = message.len() - fields.remaining() - symbol.len();
                symbols.push(symbol, start, limits, key)?;
            }
            REQUEST_TIMESERIES => drop(fields.delimited()?),
            field => fields.skip_unknown(field, 4..=5, REQUEST_NESTING)?,
        }
    }
    Ok(())
}

/// Where the decoder puts what it finds.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    pub(super) samples: &'a mut Vec<Sample>,
    /// Start timestamps of the samples so far, from the first one on that has one; shorter than `samples` while none
    /// of the rest has.
    pub(super) starts: &'a mut Vec<Option<Timestamp>>,
    /// Ranges of the input.
    pub(super) histograms: &'a mut Vec<Range<usize>>,
    /// References that were not in one packed field, for which the input has no bytes.
    pub(super) scattered: &'a mut Vec<u8>,
}

/// Walks the series of one decompressed request.
pub(super) struct Decoder<'a> {
    rest: Reader<'a>,
    input_bytes: usize,
    limits: Limits,
    series_left: usize,
    samples_left: usize,
    histograms_left: usize,
}

/// Where one series lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawSeries {
    /// The label references as varints: a range of the input, continued by the scattered bytes.
    pub(super) references: Range<usize>,
    /// Range of the samples decoded so far.
    pub(super) samples: Range<usize>,
    /// Range of the histograms found so far.
    pub(super) histograms: Range<usize>,
    /// How many there are.
    pub(super) exemplars: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the first series of `input`.
    pub(super) const fn new(input: &'a [u8], limits: &Limits) -> Self {
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
    /// # Errors
    /// When the request is not protobuf or has too many elements; the decoder is of no use afterwards.
    #[inline]
    pub(super) fn next_series(&mut self, columns: &mut Columns<'_>) -> Result<Option<RawSeries>, DecodeError> {
        while !self.rest.is_empty() {
            let key = self.rest.key()?;
            match key {
                REQUEST_TIMESERIES => {
                    let message = self.rest.delimited()?;
                    let limit = self.limits.series_limit;
                    self.series_left = self.series_left.checked_sub(1).ok_or(DecodeError::TooManySeries { limit })?;
                    return self.series(message, columns).map(Some);
                }
                REQUEST_SYMBOLS => drop(self.rest.delimited()?),
                key => self.rest.skip_unknown(key, 4..=5, REQUEST_NESTING)?,
            }
        }
        Ok(None)
    }

    #[inline]
    fn series(&mut self, message: &'a [u8], columns: &mut Columns<'_>) -> Result<RawSeries, DecodeError> {
        let mut fields = Reader::new(message);
        let offset = self.input_bytes - self.rest.remaining() - message.len();
        let (first_sample, first_histogram) = (columns.samples.len(), columns.histograms.len());
        let (mut references, mut is_whole, mut exemplars) = (0..0, true, 0);
        while !fields.is_empty() {
            match fields.key()? {
                SERIES_REFERENCES => {
                    let packed = fields.delimited()?;
                    is_whole &= references.is_empty();
                    let end = offset + message.len() - fields.remaining();
                    references = end - packed.len()..end;
                }
                SERIES_REFERENCE => {
                    fields.varint()?;
                    is_whole = false;
                }
                SERIES_SAMPLES => {
                    let (sample, start) = sample(fields.delimited()?)?;
                    let limit = self.limits.samples_limit;
                    self.samples_left =
                        self.samples_left.checked_sub(1).ok_or(DecodeError::TooManySamples { limit })?;
                    if let Some(start) = start {
                        columns.starts.resize(columns.samples.len(), None);
                        columns.starts.push(Some(start));
                    }
                    columns.samples.push(sample);
                }
                SERIES_HISTOGRAMS => {
                    let histogram = fields.delimited()?;
                    histogram::walk(histogram)?;
                    let limit = self.limits.histograms_limit;
                    self.histograms_left =
                        self.histograms_left.checked_sub(1).ok_or(DecodeError::TooManyHistograms { limit })?;
                    let end = offset + message.len() - fields.remaining();
                    columns.histograms.push(end - histogram.len()..end);
                }
                SERIES_EXEMPLARS => {
                    fields.delimited()?;
                    exemplars += 1;
                }
                SERIES_METADATA => drop(fields.delimited()?),
                key => fields.skip_unknown(key, 1..=4, SERIES_NESTING)?,
            }
        }
        if !is_whole {
            let start = self.input_bytes + columns.scattered.len();
            gather_references(message, columns.scattered)?;
            references = start..self.input_bytes + columns.scattered.len();
        }
        let (samples, histograms) = (first_sample..columns.samples.len(), first_histogram..columns.histograms.len());
        Ok(RawSeries { references, samples, histograms, exemplars })
    }
}

/// Appends the references of a series to `scattered`, in their order.
#[cold]
fn gather_references(message: &[u8], scattered: &mut Vec<u8>) -> Result<(), ProtobufError> {
    let mut fields = Reader::new(message);
    while !fields.is_empty() {
        match fields.key()? {
            SERIES_REFERENCES => {
                let packed = fields.delimited()?;
                let mut references = Reader::new(packed);
                while !references.is_empty() {
                    references.varint()?;
                }
                scattered.extend_from_slice(packed);
            }
            SERIES_REFERENCE => {
                let start = message.len() - fields.remaining();
                fields.varint()?;
                scattered.extend_from_slice(&message[start..message.len() - fields.remaining()]);
            }
            SERIES_SAMPLES | SERIES_HISTOGRAMS | SERIES_EXEMPLARS => drop(fields.delimited()?),
            key => fields.skip_unknown(key, 1..=4, SERIES_NESTING)?,
        }
    }
    Ok(())
}

/// The key as the one byte it is in the usual layout.
const START_KEY: u8 = SAMPLE_START as u8;

#[inline]
fn sample(message: &[u8]) -> Result<(Sample, Option<Timestamp>), ProtobufError> {
    // Every sender writes value, timestamp, and then nothing or a start timestamp.
    match usual_sample(message) {
        Some((sample, [])) => return Ok((sample, None)),
        Some((sample, [START_KEY, start @ ..])) => {
            if let Some(start) = start.as_array().copied().and_then(six_byte_varint) {
                return Ok((sample, started(start)));
            }
        }
        _ => {}
    }
    sample_in_any_order(message)
}

fn sample_in_any_order(message: &[u8]) -> Result<(Sample, Option<Timestamp>), ProtobufError> {
    let mut fields = Reader::new(message);
    let (mut sample, mut start) = (Sample { timestamp: Timestamp(0), value: 0.0 }, None);
    while !fields.is_empty() {
        match fields.key()? {
            SAMPLE_VALUE => sample.value = f64::from_le_bytes(fields.fixed64()?),
            SAMPLE_TIMESTAMP => sample.timestamp = Timestamp(fields.varint()?.cast_signed()),
            SAMPLE_START => start = started(fields.varint()?),
            key => fields.skip_unknown(key, 1..=3, SAMPLE_NESTING)?,
        }
    }
    Ok((sample, start))
}

/// Zero is none.
fn started(varint: u64) -> Option<Timestamp> {
    let start = varint.cast_signed();
    (start > 0).then_some(Timestamp(start))
}
