//! The hand-written decoders against `prost`; the fuzz targets include this file.

use std::collections::BTreeMap;

use prost::Message;
use sloburn::types::Timestamp;
use sloburn::wire::proto::{self, WriteRequest, v2};
use sloburn::wire::{
    Batch, CUSTOM_SCHEMA, Histogram, LabelPairs, Limits, ResetHint, Sample, WIRE_KEY_SIZE_BYTES, WireKey, WireLabels,
    v1,
};

type Labels = Vec<(String, String)>;
/// Value as bits, so that every NaN equals itself; time; start.
type Values = Vec<(u64, i64, Option<i64>)>;
/// Labels where they can be read, samples, histograms.
type Series = (Option<Labels>, Values, Vec<Option<Seen>>);

/// A histogram that is valid: what it says, with floats as bits.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    times: (i64, Option<i64>),
    schema: i32,
    hint: i32,
    count: u64,
    sum: u64,
    zero: (u64, u64),
    negative: BTreeMap<i64, u64>,
    positive: BTreeMap<i64, u64>,
    bounds: Vec<u64>,
}

const NO_LIMITS: Limits = Limits {
    compressed_limit_bytes: usize::MAX,
    decoded_limit_bytes: usize::MAX,
    series_limit: usize::MAX,
    samples_limit: usize::MAX,
    histograms_limit: usize::MAX,
    symbols_limit: usize::MAX,
    histogram_limit_bytes: usize::MAX,
    buckets_per_histogram_limit: usize::MAX,
    labels_per_series_limit: usize::MAX,
    label_name_limit_bytes: usize::MAX,
    label_value_limit_bytes: usize::MAX,
};

/// Bytes that look random, as XXH3 wants its secret: under one of equal words the empty string hashes to zero.
fn key() -> WireKey {
    WireKey::new(std::array::from_fn::<u8, WIRE_KEY_SIZE_BYTES, _>(|i| (i * 167 + 13) as u8))
}

/// Decodes a message of remote write 1.0 both ways, and again as a batch; returns whether it is a request.
///
/// # Panics
/// When the two disagree on that or on the content.
#[allow(dead_code, reason = "each fuzz target uses its part")]
pub fn accepts(message: &[u8]) -> bool {
    let expected = by_prost(message);
    assert_eq!(by_hand(message), expected, "decoder and prost disagree on {message:x?}");
    match expected {
        Some(expected) => {
            let expected = in_a_batch(&expected, false);
            assert_eq!(by_batch(message), expected, "batch and prost disagree on {message:x?}");
            true
        }
        None => false,
    }
}

/// The same for remote write 2.0, as a batch only.
///
/// # Panics
/// As in [`accepts`].
#[allow(dead_code, reason = "each fuzz target uses its part")]
pub fn accepts_v2(message: &[u8]) -> bool {
    let expected = RawRequest::decode(message).ok().filter(|request| request.symbols.first().is_none_or(Vec::is_empty));
    let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
    let mut batch = Batch::new();
    let decoded = batch.decode_v2(&body, &NO_LIMITS, &key());
    assert_eq!(decoded.is_ok(), expected.is_some(), "decoder and prost disagree on {message:x?}: {decoded:?}");
    let Some(request) = expected else { return false };
    let exemplars: usize = request.timeseries.iter().map(|series| series.exemplars.len()).sum();
    assert_eq!(batch.exemplar_count(), exemplars);
    let series = request.timeseries.iter().map(|series| {
        let values = series
            .samples
            .iter()
            .map(|s| (s.value.to_bits(), s.timestamp, (s.start_timestamp > 0).then_some(s.start_timestamp)));
        (resolved(series, &request.symbols), values.collect(), series.histograms.iter().map(valid).collect())
    });
    let expected = in_a_batch(&series.collect::<Vec<_>>(), true);
    assert_eq!(content(&batch), expected, "batch and prost disagree on {message:x?}");
    check_hashes(&batch);
    true
}

/// As `v2::Request`, with symbols that need not be text.
#[derive(Clone, PartialEq, Message)]
struct RawRequest {
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<v2::TimeSeries>,
}

fn resolved(series: &v2::TimeSeries, symbols: &[Vec<u8>]) -> Option<Labels> {
    let text = |place: u32| String::from_utf8(symbols.get(place as usize)?.clone()).ok();
    let (pairs, rest) = series.labels_refs.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[name, value]| Some((text(*name)?, text(*value)?))).collect())?
}

/// Series with the same labels in the same order have the same wire key, and no others.
fn check_hashes(batch: &Batch) {
    let mut hashes: BTreeMap<u128, Labels> = BTreeMap::new();
    let mut labelled: BTreeMap<Labels, u128> = BTreeMap::new();
    for series in batch.series() {
        if let Some(labels) = labels(series.labels) {
            assert_eq!(hashes.entry(series.wire_hash).or_insert_with(|| labels.clone()), &labels);
            assert_eq!(*labelled.entry(labels).or_insert(series.wire_hash), series.wire_hash);
        }
    }
}

#[allow(dead_code, reason = "each fuzz target uses its part")]
fn by_prost(message: &[u8]) -> Option<Vec<Series>> {
    let request = WriteRequest::decode(message).ok()?;
    let series = request.timeseries.into_iter().map(|series| {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        let values = series.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp, None)).collect();
        (Some(labels), values, series.histograms.iter().map(valid).collect())
    });
    Some(series.collect())
}

#[allow(dead_code, reason = "each fuzz target uses its part")]
fn by_hand(message: &[u8]) -> Option<Vec<Series>> {
    let mut decoder = v1::Decoder::new(message, &NO_LIMITS);
    let (mut samples, mut histograms, mut scattered, mut all) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    while let Some(series) = decoder.next_series(&mut samples, &mut histograms, &mut scattered).ok()? {
        let label_bytes = match series.labels.start.checked_sub(message.len()) {
            None => &message[series.labels],
            Some(start) => &scattered[start..series.labels.end - message.len()],
        };
        let histograms = histograms[series.histograms].iter().map(|range| seen(&message[range.clone()]));
        all.push((Some(labels(label_bytes.into())?), bits(&samples[series.samples], &[]), histograms.collect()));
    }
    Some(all)
}

#[allow(dead_code, reason = "each fuzz target uses its part")]
fn by_batch(message: &[u8]) -> Vec<Series> {
    let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
    let mut batch = Batch::new();
    batch.decode_v1(&body, &NO_LIMITS, &key()).unwrap();
    content(&batch)
}

/// Series with samples, then series with histograms.
fn content(batch: &Batch) -> Vec<Series> {
    let with_samples =
        batch.series().map(|series| (labels(series.labels), bits(series.samples, series.starts), Vec::new()));
    let with_histograms = batch
        .histogram_series()
        .map(|series| (labels(series.labels), Vec::new(), series.messages().map(seen).collect::<Vec<_>>()));
    with_samples.chain(with_histograms).collect()
}

/// What a batch is to make of series; those with nothing are kept for the sake of an error, or dropped.
fn in_a_batch(series: &[Series], keep_empty: bool) -> Vec<Series> {
    let with_samples = series.iter().filter(|s| !s.1.is_empty() || keep_empty && s.2.is_empty());
    let with_samples = with_samples.map(|(labels, values, _)| (labels.clone(), values.clone(), Vec::new()));
    let with_histograms = series.iter().filter(|s| !s.2.is_empty());
    let with_histograms = with_histograms.map(|(labels, _, all)| (labels.clone(), Vec::new(), all.clone()));
    with_samples.chain(with_histograms).collect()
}

fn labels(labels: WireLabels<'_>) -> Option<Labels> {
    LabelPairs::new(labels).map(|pair| pair.ok().map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

fn bits(samples: &[Sample], starts: &[Option<Timestamp>]) -> Values {
    let start = |i: usize| starts.get(i).copied().flatten().map(Timestamp::as_millis);
    let values = samples.iter().enumerate();
    values.map(|(i, sample)| (sample.value.to_bits(), sample.timestamp.as_millis(), start(i))).collect()
}

/// A histogram as the decoder reads it.
fn seen(message: &[u8]) -> Option<Seen> {
    let histogram = Histogram::decode(message, &NO_LIMITS).ok()?;
    let times = (histogram.timestamp.as_millis(), histogram.start.map(Timestamp::as_millis));
    let sum = histogram.sum.to_bits();
    if histogram.is_stale() {
        return Some(Seen { times, sum, ..Seen::default() });
    }
    let hint = match histogram.hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NoReset => 2,
        ResetHint::Gauge => 3,
    };
    let buckets = |buckets: &[sloburn::wire::Bucket]| {
        buckets.iter().map(|bucket| (i64::from(bucket.index), bucket.count.to_bits())).collect()
    };
    Some(Seen {
        times,
        schema: histogram.schema,
        hint,
        count: histogram.count.to_bits(),
        sum,
        zero: (histogram.zero_threshold.to_bits(), histogram.zero_count.to_bits()),
        negative: buckets(&histogram.negative),
        positive: buckets(&histogram.positive),
        bounds: histogram.custom_bounds.iter().map(|bound| bound.to_bits()).collect(),
    })
}

/// The rules of Prometheus' `Validate` for what `prost` has decoded, written down once more.
fn valid(histogram: &proto::Histogram) -> Option<Seen> {
    let start = (histogram.start_timestamp > 0).then_some(histogram.start_timestamp);
    let (times, sum) = ((histogram.timestamp, start), histogram.sum.to_bits());
    if sum == sloburn::wire::STALE_NAN_BITS {
        return Some(Seen { times, sum, ..Seen::default() });
    }
    let is_count = |count: &f64| count.is_finite() && *count >= 0.0;
    let is_float = matches!(histogram.count, Some(proto::Count::Float(_)));
    let side = |spans: &[proto::BucketSpan], deltas: &[i64], absolute: &[f64]| {
        let counts: Option<Vec<f64>> = if is_float {
            absolute.iter().map(|count| is_count(count).then_some(*count)).collect()
        } else {
            let sums = deltas.iter().scan(0_i128, |sum, delta| {
                *sum += i128::from(*delta);
                Some((0..=i128::from(i64::MAX)).contains(sum).then_some(*sum as f64))
            });
            sums.collect()
        };
        let (counts, mut indices, mut index) = (counts?, Vec::new(), 0_i64);
        if spans.iter().map(|span| i128::from(span.length)).sum::<i128>() != counts.len() as i128 {
            return None;
        }
        for (i, span) in spans.iter().enumerate() {
            index += i64::from(span.offset);
            let length = i64::from(span.length);
            let range = i64::from(i32::MIN)..=i64::from(i32::MAX);
            if i > 0 && span.offset < 0 || !range.contains(&index) || !range.contains(&(index + length)) {
                return None;
            }
            indices.extend(index..index + length);
            index += length;
        }
        let whole: u128 = if is_float {
            0
        } else {
            deltas
                .iter()
                .scan(0, |s, d| {
                    *s += d;
                    Some(*s as u128)
                })
                .sum()
        };
        let buckets = indices.into_iter().zip(counts.iter().map(|count| count.to_bits()));
        Some((
            buckets.filter(|(_, count)| *count != 0 && *count != (-0.0_f64).to_bits()).collect::<BTreeMap<_, _>>(),
            whole,
        ))
    };
    let (negative, below) = side(&histogram.negative_spans, &histogram.negative_deltas, &histogram.negative_counts)?;
    let (positive, above) = side(&histogram.positive_spans, &histogram.positive_deltas, &histogram.positive_counts)?;
    let bounds = &histogram.custom_values;
    let (count, zero) = match (histogram.count, histogram.zero_count) {
        (Some(proto::Count::Float(count)), Some(proto::ZeroCount::Float(zero))) => (count, zero),
        (Some(proto::Count::Float(count)), _) => (count, 0.0),
        (count, zero) => {
            let count = if let Some(proto::Count::Int(count)) = count { count } else { 0 };
            let zero = if let Some(proto::ZeroCount::Int(zero)) = zero { zero } else { 0 };
            let sum = below + above + u128::from(zero);
            if sum > u128::from(count) || sum < u128::from(count) && !histogram.sum.is_nan() {
                return None;
            }
            (count as f64, zero as f64)
        }
    };
    let threshold = histogram.zero_threshold;
    let fits = if histogram.schema == CUSTOM_SCHEMA {
        let within = positive.keys().all(|index| (0..=bounds.len() as i64).contains(index));
        let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.iter().all(|bound| bound.is_finite());
        within && ascending && zero == 0.0 && threshold == 0.0 && negative.is_empty()
    } else {
        (-4..=8).contains(&histogram.schema) && bounds.is_empty() && threshold.is_finite() && threshold >= 0.0
    };
    let hint = if (0..=3).contains(&histogram.reset_hint) { histogram.reset_hint } else { 0 };
    (fits && is_count(&count) && is_count(&zero)).then(|| Seen {
        times,
        schema: histogram.schema,
        hint,
        count: count.to_bits(),
        sum,
        zero: (threshold.to_bits(), zero.to_bits()),
        negative,
        positive,
        bounds: bounds.iter().map(|bound| bound.to_bits()).collect(),
    })
}
