//! The hand-written decoder against `prost`; the fuzz target includes this file.

use prost::Message;
use sloburn::wire::proto::WriteRequest;
use sloburn::wire::{Batch, LabelPairs, Limits, Sample, WIRE_KEY_SIZE_BYTES, WireKey, v1};

/// Labels, then samples as bits, so that every NaN equals itself.
type Series = (Vec<(String, String)>, Vec<(u64, i64)>);

const NO_LIMITS: Limits = Limits {
    compressed_limit_bytes: usize::MAX,
    decoded_limit_bytes: usize::MAX,
    series_limit: usize::MAX,
    samples_limit: usize::MAX,
    labels_per_series_limit: usize::MAX,
    label_name_limit_bytes: usize::MAX,
    label_value_limit_bytes: usize::MAX,
};

/// Decodes `message` both ways, and again as a batch; returns whether it is a request.
///
/// # Panics
/// When the two disagree on that or on the content.
pub fn accepts(message: &[u8]) -> bool {
    let expected = by_prost(message);
    assert_eq!(by_hand(message), expected, "decoder and prost disagree on {message:x?}");
    match expected {
        Some(expected) => {
            assert_eq!(by_batch(message), with_samples(expected), "batch and prost disagree on {message:x?}");
            true
        }
        None => false,
    }
}

fn by_prost(message: &[u8]) -> Option<Vec<Series>> {
    let request = WriteRequest::decode(message).ok()?;
    let series = request.timeseries.into_iter().map(|series| {
        let labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        (labels, series.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp)).collect())
    });
    Some(series.collect())
}

fn by_hand(message: &[u8]) -> Option<Vec<Series>> {
    let mut decoder = v1::Decoder::new(message, &NO_LIMITS);
    let (mut samples, mut scattered, mut all) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(series) = decoder.next_series(&mut samples, &mut scattered).ok()? {
        let label_bytes = match series.labels.start.checked_sub(message.len()) {
            None => &message[series.labels],
            Some(start) => &scattered[start..series.labels.end - message.len()],
        };
        all.push((labels(label_bytes)?, bits(&samples[series.samples])));
    }
    Some(all)
}

fn by_batch(message: &[u8]) -> Vec<Series> {
    let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
    let key = WireKey::new([0x5a; WIRE_KEY_SIZE_BYTES]);
    let mut batch = Batch::new();
    batch.decode_v1(&body, &NO_LIMITS, &key).unwrap();
    let series = batch.series().map(|series| {
        assert_eq!(series.wire_hash, key.hash(series.label_bytes));
        (labels(series.label_bytes).expect("accepted before"), bits(series.samples))
    });
    series.collect()
}

fn with_samples(series: Vec<Series>) -> Vec<Series> {
    series.into_iter().filter(|(_, samples)| !samples.is_empty()).collect()
}

fn labels(label_bytes: &[u8]) -> Option<Vec<(String, String)>> {
    LabelPairs::new(label_bytes)
        .map(|pair| pair.ok().map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect()
}

fn bits(samples: &[Sample]) -> Vec<(u64, i64)> {
    samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp.as_millis())).collect()
}
