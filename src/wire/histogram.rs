//! Native histograms: the message is the same in remote write 1.0 (`prometheus.Histogram`) and 2.0
//! (`io.prometheus.write.v2.Histogram`, which adds the start timestamp).
//!
//! ```proto
//! message Histogram {
//!   oneof count { uint64 count_int = 1; double count_float = 2; }
//!   double sum = 3; sint32 schema = 4; double zero_threshold = 5;
//!   oneof zero_count { uint64 zero_count_int = 6; double zero_count_float = 7; }
//!   repeated BucketSpan negative_spans = 8; repeated sint64 negative_deltas = 9; repeated double negative_counts = 10;
//!   repeated BucketSpan positive_spans = 11; repeated sint64 positive_deltas = 12; repeated double positive_counts = 13;
//!   ResetHint reset_hint = 14; int64 timestamp = 15; repeated double custom_values = 16; int64 start_timestamp = 17; }
//! message BucketSpan { sint32 offset = 1; uint32 length = 2; }
//! ```
//!
//! A request's histograms are only walked while it is decoded: they stay bytes until somebody asks for a known
//! series' buckets, so that a bucket costs no memory in a batch.

use super::limits::Limits;
use super::protobuf::{NESTING_LIMIT, ProtobufError, Reader, delimited_key, fixed64_key, varint_key, zigzag};
use crate::types::Timestamp;

/// The schema of custom buckets.
pub const CUSTOM_SCHEMA: i32 = -53;
/// The schemas of exponential buckets, from the coarsest to the finest.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// Levels left to unknown groups inside a histogram: it lies in a series of a request.
const NESTING: u32 = NESTING_LIMIT - 2;

/// One native histogram, its buckets by index and not empty. Made to be reused.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// When the sender took it.
    pub timestamp: Timestamp,
    /// When it began to count, if the sender says so.
    pub start: Option<Timestamp>,
    /// What the sender knows of resets.
    pub hint: ResetHint,
    /// -4 to 8: a power of two holds `2^schema` buckets; or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// All observations, NaN included.
    pub count: f64,
    /// Their sum; a staleness marker is here.
    pub sum: f64,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Ascending. Bucket `i` ends at `2^(i * 2^-schema)`, or at custom bound `i`.
    pub positive: Vec<Bucket>,
    /// Ascending in magnitude.
    pub negative: Vec<Bucket>,
    /// Upper bounds of custom buckets, ascending; one more reaches to infinity.
    pub custom_bounds: Vec<f64>,
}

/// Observations of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Which bucket.
    pub index: i32,
    /// Observations, those of other buckets not included.
    pub count: f64,
}

/// What the sender knows of resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing: look at the counts.
    #[default]
    Unknown,
    /// The first after a reset.
    Reset,
    /// No reset since the one before.
    NoReset,
    /// A gauge, which may go down without a reset.
    Gauge,
}

/// Why a histogram is refused. The rest of its request is not affected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Not protobuf.
    #[error(transparent)]
    Malformed(#[from] ProtobufError),
    /// Neither an exponential schema nor the one of custom buckets.
    #[error("unknown schema {0}: known are -4 to 8 and -53")]
    Schema(i32),
    /// Over [`Limits::histogram_limit_bytes`].
    #[error("native histogram of {size_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// What came.
        size_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// Over [`Limits::buckets_per_histogram_limit`].
    #[error("native histogram has more than {limit} buckets or bounds")]
    TooManyBuckets {
        /// What is allowed.
        limit: usize,
    },
    /// Spans and buckets do not fit together.
    #[error("spans need {spans} buckets, there are {buckets}")]
    Spans {
        /// The sum of the spans' lengths.
        spans: u64,
        /// How many came.
        buckets: usize,
    },
    /// A span that starts before the one before ends.
    #[error("a span has the negative offset {0}")]
    Offset(i32),
    /// A bucket index that does not fit 32 bits, or is beyond the custom bounds.
    #[error("a span reaches beyond the last bucket")]
    Index,
    /// A count that is negative or no number.
    #[error("a count is negative, not finite, or over 64 bits")]
    Count,
    /// The count is not the sum of the buckets.
    #[error("the buckets hold {buckets} observations, the count is {count}")]
    Sum {
        /// In all buckets.
        buckets: u64,
        /// As the sender says.
        count: u64,
    },
    /// A zero bucket whose width is negative or no number.
    #[error("the zero threshold is {0}")]
    ZeroThreshold(f64),
    /// Bounds that do not ascend or are not finite, or bounds of exponential buckets.
    #[error("custom bounds must ascend, be finite and belong to schema -53")]
    Bounds,
    /// Custom buckets have neither a zero bucket nor negative ones.
    #[error("custom buckets with a zero bucket or negative buckets")]
    CustomZero,
}

impl HistogramError {
    /// One stable word, the value of a metric's `reason` label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::TooManyBuckets { .. } => "histogram_too_large",
            _ => "invalid_histogram",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Int(u64),
    Float(f64),
}

impl Number {
    const fn as_f64(self) -> f64 {
        match self {
            Self::Int(count) => count as f64,
            Self::Float(count) => count,
        }
    }
}

/// A run of neighbouring buckets.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    /// From the end of the span before.
    offset: i32,
    length: u32,
}

#[derive(Clone, Copy)]
enum Sign {
    Negative,
    Positive,
}

#[derive(Clone, Copy)]
enum Field {
    Count(Number),
    Sum(f64),
    Schema(i32),
    ZeroThreshold(f64),
    ZeroCount(Number),
    Span(Sign, Span),
    Delta(Sign, i64),
    Absolute(Sign, f64),
    Hint(i32),
    Timestamp(i64),
    CustomBound(f64),
    Start(i64),
}

/// Steps over a histogram.
///
/// # Errors
/// When it is not protobuf.
pub(super) fn walk(message: &[u8]) -> Result<(), ProtobufError> {
    fields(message, |_| ())
}

/// Hands out every field; of scalars the last one wins, as `prost` has it.
fn fields(message: &[u8], mut visit: impl FnMut(Field)) -> Result<(), ProtobufError> {
    use Sign::{Negative, Positive};
    let mut rest = Reader::new(message);
    while !rest.is_empty() {
        let key = rest.key()?;
        let field = match key {
            COUNT_INT => Field::Count(Number::Int(rest.varint()?)),
            COUNT_FLOAT => Field::Count(Number::Float(double(&mut rest)?)),
            SUM => Field::Sum(double(&mut rest)?),
            SCHEMA => Field::Schema(sint32(rest.varint()?)),
            ZERO_THRESHOLD => Field::ZeroThreshold(double(&mut rest)?),
            ZERO_COUNT_INT => Field::ZeroCount(Number::Int(rest.varint()?)),
            ZERO_COUNT_FLOAT => Field::ZeroCount(Number::Float(double(&mut rest)?)),
            NEGATIVE_SPANS => Field::Span(Negative, span(rest.delimited()?)?),
            POSITIVE_SPANS => Field::Span(Positive, span(rest.delimited()?)?),
            RESET_HINT => Field::Hint(rest.varint()? as i32),
            TIMESTAMP => Field::Timestamp(rest.varint()?.cast_signed()),
            START => Field::Start(rest.varint()?.cast_signed()),
            _ => {
                let mut all = |wire_type, read: Read| repeated(&mut rest, key, wire_type, &mut visit, read);
                match key >> 3 {
                    9 => all(VARINT, |reader| Ok(Field::Delta(Negative, zigzag(reader.varint()?))))?,
                    10 => all(FIXED64, |reader| Ok(Field::Absolute(Negative, double(reader)?)))?,
                    12 => all(VARINT, |reader| Ok(Field::Delta(Positive, zigzag(reader.varint()?))))?,
                    13 => all(FIXED64, |reader| Ok(Field::Absolute(Positive, double(reader)?)))?,
                    16 => all(FIXED64, |reader| Ok(Field::CustomBound(double(reader)?)))?,
                    _ => rest.skip_unknown(key, 1..=17, NESTING)?,
                }
                continue;
            }
        };
        visit(field);
    }
    Ok(())
}

const COUNT_INT: u32 = varint_key(1);
const COUNT_FLOAT: u32 = fixed64_key(2);
const SUM: u32 = fixed64_key(3);
const SCHEMA: u32 = varint_key(4);
const ZERO_THRESHOLD: u32 = fixed64_key(5);
const ZERO_COUNT_INT: u32 = varint_key(6);
const ZERO_COUNT_FLOAT: u32 = fixed64_key(7);
const NEGATIVE_SPANS: u32 = delimited_key(8);
const POSITIVE_SPANS: u32 = delimited_key(11);
const RESET_HINT: u32 = varint_key(14);
const TIMESTAMP: u32 = varint_key(15);
const START: u32 = varint_key(17);

fn double(reader: &mut Reader<'_>) -> Result<f64, ProtobufError> {
    reader.fixed64().map(f64::from_le_bytes)
}

type Read = fn(&mut Reader<'_>) -> Result<Field, ProtobufError>;

/// Keys of field zero, for the wire types of numbers.
const VARINT: u32 = varint_key(0);
const FIXED64: u32 = fixed64_key(0);

/// A repeated number, packed or one by one with its own wire type.
fn repeated(
    rest: &mut Reader<'_>,
    key: u32,
    wire_type: u32,
    visit: &mut impl FnMut(Field),
    read: Read,
) -> Result<(), ProtobufError> {
    if key & 7 == wire_type {
        visit(read(rest)?);
        return Ok(());
    }
    if key != delimited_key(key >> 3) {
        return Err(ProtobufError::WireType(key >> 3));
    }
    let mut packed = Reader::new(rest.delimited()?);
    while !packed.is_empty() {
        visit(read(&mut packed)?);
    }
    Ok(())
}

const fn sint32(varint: u64) -> i32 {
    zigzag(varint as u32 as u64) as i32
}

fn span(message: &[u8]) -> Result<Span, ProtobufError> {
    const OFFSET: u32 = varint_key(1);
    const LENGTH: u32 = varint_key(2);
    let mut fields = Reader::new(message);
    let mut span = Span::default();
    while !fields.is_empty() {
        match fields.key()? {
            OFFSET => span.offset = sint32(fields.varint()?),
            LENGTH => span.length = fields.varint()? as u32,
            key => fields.skip_unknown(key, 1..=2, NESTING - 1)?,
        }
    }
    Ok(span)
}

/// One side of a histogram while it is read.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    absolute: Vec<f64>,
}

impl Histogram {
    /// Reads and validates a histogram, as Prometheus does (`Histogram.Validate` in `model/histogram`).
    ///
    /// A staleness marker is not looked into further: see [`Self::is_stale`].
    ///
    /// # Errors
    /// When it is no histogram, contradicts itself, or is over a limit.
    pub fn decode(message: &[u8], limits: &Limits) -> Result<Self, HistogramError> {
        let (size_bytes, limit_bytes) = (message.len(), limits.histogram_limit_bytes);
        if size_bytes > limit_bytes {
            return Err(HistogramError::TooLarge { size_bytes, limit_bytes });
        }
        let mut histogram = Self::default();
        let (mut count, mut zero_count) = (Number::Int(0), Number::Int(0));
        let (mut negative, mut positive) = (Side::default(), Side::default());
        fields(message, |field| match field {
            Field::Count(value) => count = value,
            Field::Sum(value) => histogram.sum = value,
            Field::Schema(value) => histogram.schema = value,
            Field::ZeroThreshold(value) => histogram.zero_threshold = value,
            Field::ZeroCount(value) => zero_count = value,
            Field::Span(sign, value) => side(sign, &mut negative, &mut positive).spans.push(value),
            Field::Delta(sign, value) => side(sign, &mut negative, &mut positive).deltas.push(value),
            Field::Absolute(sign, value) => side(sign, &mut negative, &mut positive).absolute.push(value),
            Field::Hint(value) => histogram.hint = hint(value),
            Field::Timestamp(value) => histogram.timestamp = Timestamp(value),
            Field::CustomBound(value) => histogram.custom_bounds.push(value),
            Field::Start(value) => histogram.start = (value > 0).then_some(Timestamp(value)),
        })?;
        if histogram.is_stale() {
            return Ok(histogram);
        }
        let is_float = matches!(count, Number::Float(_));
        // A zero bucket of the other kind is none.
        let zero_count = match zero_count {
            Number::Int(_) if is_float => Number::Float(0.0),
            Number::Float(_) if !is_float => Number::Int(0),
            same => same,
        };
        (histogram.count, histogram.zero_count) = (count.as_f64(), zero_count.as_f64());
        let mut total = 0_u64;
        for (side, buckets) in [(negative, &mut histogram.negative), (positive, &mut histogram.positive)] {
            let limit = limits.buckets_per_histogram_limit;
            total = side.read(is_float, limit, buckets)?.checked_add(total).ok_or(HistogramError::Count)?;
        }
        histogram.validate(limits)?;
        if let (Number::Int(count), Number::Int(zero)) = (count, zero_count) {
            let buckets = total.checked_add(zero).ok_or(HistogramError::Count)?;
            // Observations of NaN are in no bucket.
            let fits = if histogram.sum.is_nan() { buckets <= count } else { buckets == count };
            if !fits {
                return Err(HistogramError::Sum { buckets, count });
            }
        }
        Ok(histogram)
    }

    fn validate(&self, limits: &Limits) -> Result<(), HistogramError> {
        let counts = [self.count, self.zero_count];
        if counts.iter().any(|count| !count.is_finite() || *count < 0.0) {
            return Err(HistogramError::Count);
        }
        let limit = limits.buckets_per_histogram_limit;
        if self.positive.len() + self.negative.len() > limit || self.custom_bounds.len() > limit {
            return Err(HistogramError::TooManyBuckets { limit });
        }
        if self.has_custom_buckets() {
            if self.zero_count != 0.0 || self.zero_threshold != 0.0 || !self.negative.is_empty() {
                return Err(HistogramError::CustomZero);
            }
            let ascends = self.custom_bounds.is_sorted_by(|a, b| a < b);
            if !ascends || self.custom_bounds.iter().any(|bound| !bound.is_finite()) {
                return Err(HistogramError::Bounds);
            }
            let beyond = |bucket: &Bucket| bucket.index as usize > self.custom_bounds.len();
            return if self.positive.iter().any(beyond) { Err(HistogramError::Index) } else { Ok(()) };
        }
        if !SCHEMAS.contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        }
        if !self.custom_bounds.is_empty() {
            return Err(HistogramError::Bounds);
        }
        if !(self.zero_threshold.is_finite() && self.zero_threshold >= 0.0) {
            return Err(HistogramError::ZeroThreshold(self.zero_threshold));
        }
        Ok(())
    }

    /// Whether it is a marker that its series has ended.
    pub const fn is_stale(&self) -> bool {
        self.sum.to_bits() == super::STALE_NAN_BITS
    }

    /// Whether its buckets are those of a classic histogram.
    pub const fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }
}

fn side<'a>(sign: Sign, negative: &'a mut Side, positive: &'a mut Side) -> &'a mut Side {
    match sign {
        Sign::Negative => negative,
        Sign::Positive => positive,
    }
}

const fn hint(value: i32) -> ResetHint {
    match value {
        1 => ResetHint::Reset,
        2 => ResetHint::NoReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

impl Side {
    /// Puts the buckets that are not empty into `buckets` and returns the sum of whole counts.
    fn read(self, is_float: bool, limit: usize, buckets: &mut Vec<Bucket>) -> Result<u64, HistogramError> {
        let length = if is_float { self.absolute.len() } else { self.deltas.len() };
        let spans = self.spans.iter().map(|span| u64::from(span.length)).sum();
        if spans != length as u64 {
            return Err(HistogramError::Spans { spans, buckets: length });
        }
        if length > limit {
            return Err(HistogramError::TooManyBuckets { limit });
        }
        let (mut index, mut at, mut whole, mut total) = (0_i32, 0, 0_i64, 0_u64);
        for (i, span) in self.spans.iter().enumerate() {
            if i > 0 && span.offset < 0 {
                return Err(HistogramError::Offset(span.offset));
            }
            index = index.checked_add(span.offset).ok_or(HistogramError::Index)?;
            for _ in 0..span.length {
                let count = if is_float {
                    self.absolute[at]
                } else {
                    whole = whole.checked_add(self.deltas[at]).filter(|w| *w >= 0).ok_or(HistogramError::Count)?;
                    total = total.checked_add(whole.unsigned_abs()).ok_or(HistogramError::Count)?;
                    whole as f64
                };
                if !count.is_finite() || count < 0.0 {
                    return Err(HistogramError::Count);
                }
                if count > 0.0 {
                    buckets.push(Bucket { index, count });
                }
                at += 1;
                index = index.checked_add(1).ok_or(HistogramError::Index)?;
            }
        }
        Ok(total)
    }
}
