//! Remote write decoding: equal to `prost` on any bytes, and bounded on hostile ones.

mod oracle;

use std::cell::Cell;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message;
use sloburn::wire::proto::{BucketSpan, Count, Histogram, TimeSeries, WriteRequest, ZeroCount, encode_v1, v2};
use sloburn::wire::{Batch, DecodeError, Limits, WIRE_KEY_SIZE_BYTES, WireKey, decode_labels};

/// A varint with `padding` more bytes than it needs, where they fit into ten.
fn varint(value: u64, padding: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = value;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    for _ in 0..padding.min(10 - bytes.len()) {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// Mostly none, sometimes as much as a varint can carry, rarely more.
fn padding() -> impl Strategy<Value = usize> {
    prop_oneof![12 => Just(0), 1 => 1_usize..10]
}

fn field(number: u32, wire_type: u32, payload: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let key = u64::from(number << 3 | wire_type);
    (padding(), payload).prop_map(move |(padding, payload)| [varint(key, padding), payload].concat()).boxed()
}

fn number() -> BoxedStrategy<Vec<u8>> {
    (prop_oneof![Just(1_793_491_200_123), any::<u64>(), 0_u64..300], padding())
        .prop_map(|(value, padding)| varint(value, padding))
        .boxed()
}

fn delimited(payload: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    (padding(), payload)
        .prop_map(|(padding, payload)| [varint(payload.len() as u64, padding), payload].concat())
        .boxed()
}

fn text() -> BoxedStrategy<Vec<u8>> {
    let valid = prop_oneof![Just("__name__".to_owned()), "[a-z_]{0,8}", ".{0,4}"].prop_map(String::into_bytes);
    delimited(prop_oneof![40 => valid, 1 => vec(any::<u8>(), 0..6)].boxed())
}

fn fixed(bytes: usize) -> BoxedStrategy<Vec<u8>> {
    vec(any::<u8>(), bytes).boxed()
}

/// A field of a number no message here uses, of each wire type, groups in groups included.
fn unknown() -> BoxedStrategy<Vec<u8>> {
    // Field 3 of a series, exemplars, is known in histograms only, and 4 are histograms there.
    let numbers = || prop_oneof![3 => Just(3_u32), 3 => 18_u32..40, 1 => Just((1 << 29) - 1)];
    let of = |wire_type: u32, payload: fn() -> BoxedStrategy<Vec<u8>>| {
        numbers().prop_flat_map(move |number| field(number, wire_type, payload())).boxed()
    };
    let leaf = prop_oneof![
        of(0, number),
        of(1, || fixed(8)),
        of(2, || delimited(vec(any::<u8>(), 0..12).boxed())),
        of(5, || fixed(4)),
    ];
    leaf.prop_recursive(4, 12, 3, move |inner| {
        (numbers(), vec(inner, 0..3)).prop_map(|(number, fields)| {
            let (start, end) = (u64::from(number << 3 | 3), u64::from(number << 3 | 4));
            [varint(start, 0), fields.concat(), varint(end, 0)].concat()
        })
    })
    .boxed()
}

fn message(fields: BoxedStrategy<Vec<u8>>, count: Range<usize>) -> BoxedStrategy<Vec<u8>> {
    vec(fields, count).prop_map(|fields| fields.concat()).boxed()
}

fn label() -> BoxedStrategy<Vec<u8>> {
    message(prop_oneof![8 => field(1, 2, text()), 8 => field(2, 2, text()), 1 => unknown()].boxed(), 0..4)
}

fn sample() -> BoxedStrategy<Vec<u8>> {
    let usual = (field(1, 1, fixed(8)), field(2, 0, number())).prop_map(|(value, time)| [value, time].concat());
    let fields = prop_oneof![4 => field(1, 1, fixed(8)), 4 => field(2, 0, number()), 1 => unknown()].boxed();
    prop_oneof![usual, message(fields, 0..4)].boxed()
}

/// A small double or any.
fn double() -> BoxedStrategy<Vec<u8>> {
    let values = prop_oneof![8 => (0_u8..5).prop_map(f64::from), 1 => any::<f64>(), 1 => Just(STALE)];
    values.prop_map(|value| value.to_le_bytes().to_vec()).boxed()
}

const STALE: f64 = f64::from_bits(sloburn::wire::STALE_NAN_BITS);

fn small() -> BoxedStrategy<Vec<u8>> {
    (prop_oneof![8 => 0_u64..7, 1 => any::<u64>()], padding()).prop_map(|(n, padding)| varint(n, padding)).boxed()
}

/// Numbers packed into one field, or one by one.
fn repeated(number: u32, wire_type: u32, value: fn() -> BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let packed = field(number, 2, delimited(vec(value(), 0..5).prop_map(|values| values.concat()).boxed()));
    prop_oneof![3 => packed, 1 => field(number, wire_type, value())].boxed()
}

fn span() -> BoxedStrategy<Vec<u8>> {
    message(prop_oneof![4 => field(1, 0, small()), 4 => field(2, 0, small()), 1 => unknown()].boxed(), 0..3)
}

/// Any fields, which hardly ever make a valid one.
fn any_histogram() -> BoxedStrategy<Vec<u8>> {
    let fields = prop_oneof![
        field(1, 0, small()),
        field(2, 1, double()),
        field(3, 1, double()),
        field(4, 0, small()),
        field(5, 1, double()),
        field(6, 0, small()),
        field(7, 1, double()),
        field(8, 2, delimited(span())),
        repeated(9, 0, small),
        repeated(10, 1, double),
        field(11, 2, delimited(span())),
        repeated(12, 0, small),
        repeated(13, 1, double),
        field(14, 0, small()),
        field(15, 0, number()),
        repeated(16, 1, double),
        field(17, 0, number()),
        unknown(),
    ];
    message(fields.boxed(), 0..8)
}

/// Valid ones, of all kinds, and some that miss by little.
fn usual_histogram() -> BoxedStrategy<Vec<u8>> {
    let side = || vec((0_i32..4, vec(0_u8..5, 0..4)), 0..3);
    let rest = (
        prop_oneof![-4_i32..9, Just(-53)],
        0_u64..5,
        0_i32..4,
        prop_oneof![9 => Just(0), 1 => 1_u64..3],
        any::<bool>(),
    );
    (side(), side(), rest)
        .prop_map(|(positive, negative, (schema, zero, reset_hint, off, is_float))| {
            let is_custom = schema == -53;
            let spans = |side: &[(i32, Vec<u8>)]| {
                let spans =
                    side.iter().map(|(offset, counts)| BucketSpan { offset: *offset, length: counts.len() as u32 });
                spans.collect::<Vec<_>>()
            };
            let counts =
                |side: &[(i32, Vec<u8>)]| side.iter().flat_map(|(_, c)| c.clone()).map(i64::from).collect::<Vec<_>>();
            let deltas = |counts: &[i64]| {
                let before = [0].into_iter().chain(counts.iter().copied());
                counts.iter().zip(before).map(|(count, before)| count - before).collect::<Vec<_>>()
            };
            let negative = if is_custom { Vec::new() } else { negative };
            let zero = if is_custom { 0 } else { zero };
            let (above, below) = (counts(&positive), counts(&negative));
            let count = (above.iter().sum::<i64>() + below.iter().sum::<i64>()) as u64 + zero + off;
            let float =
                |counts: &[i64]| if is_float { counts.iter().map(|c| *c as f64 / 2.0).collect() } else { Vec::new() };
            Histogram {
                count: Some(if is_float { Count::Float(count as f64) } else { Count::Int(count) }),
                sum: if off > 1 { f64::NAN } else { 4.5 },
                schema,
                zero_threshold: if is_custom { 0.0 } else { 0.001 },
                zero_count: Some(if is_float { ZeroCount::Float(zero as f64) } else { ZeroCount::Int(zero) }),
                negative_spans: spans(&negative),
                negative_deltas: if is_float { Vec::new() } else { deltas(&below) },
                negative_counts: float(&below),
                positive_spans: spans(&positive),
                positive_deltas: if is_float { Vec::new() } else { deltas(&above) },
                positive_counts: float(&above),
                reset_hint,
                timestamp: 1_793_491_200_123,
                custom_values: if is_custom { (0..24).map(f64::from).collect() } else { Vec::new() },
                start_timestamp: i64::from(reset_hint) * 1_000,
            }
            .encode_to_vec()
        })
        .boxed()
}

fn histogram() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![2 => usual_histogram(), 1 => any_histogram()].boxed()
}

fn series() -> BoxedStrategy<Vec<u8>> {
    let labels = || field(1, 2, delimited(label()));
    let samples = || field(2, 2, delimited(sample()));
    let histograms = || field(4, 2, delimited(histogram()));
    let usual = (vec(labels(), 0..4), vec(samples(), 0..3));
    let usual = usual.prop_map(|(labels, samples)| [labels.concat(), samples.concat()].concat());
    let mixed = prop_oneof![4 => labels(), 3 => samples(), 2 => histograms(), 1 => unknown()];
    prop_oneof![usual, message(mixed.boxed(), 0..7)].boxed()
}

/// Remote write 2.0: references into a handful of symbols, sometimes one too many or too far.
fn series_v2() -> BoxedStrategy<Vec<u8>> {
    let reference = || prop_oneof![12 => 0_u64..5, 1 => 0_u64..8].prop_map(|place| varint(place, 0)).boxed();
    let pairs = vec((reference(), reference()), 0..3)
        .prop_map(|pairs| pairs.into_iter().flat_map(|(name, value)| [name, value]).collect::<Vec<_>>().concat());
    let references = || field(1, 2, delimited(pairs.clone().boxed()));
    let start = prop_oneof![2 => Just(Vec::new()), 1 => field(3, 0, number())];
    let sample = (sample(), start).prop_map(|(sample, start)| [sample, start].concat()).boxed();
    let samples = || field(2, 2, delimited(sample.clone()));
    let histograms = || field(3, 2, delimited(histogram()));
    let exemplars = || field(4, 2, delimited(vec(any::<u8>(), 0..4).boxed()));
    let metadata = || field(5, 2, delimited(vec(any::<u8>(), 0..4).boxed()));
    let usual = (references(), vec(samples(), 0..3), metadata());
    let usual = usual.prop_map(|(labels, samples, metadata)| [labels, samples.concat(), metadata].concat());
    let mixed = prop_oneof![
        3 => references(),
        1 => field(1, 0, reference()),
        3 => samples(),
        2 => histograms(),
        1 => exemplars(),
        1 => metadata(),
        1 => field(6, 0, number()),
        1 => unknown_v2(),
    ];
    prop_oneof![usual, message(mixed.boxed(), 0..7)].boxed()
}

/// An unknown field that no message of 2.0 knows either.
fn unknown_v2() -> BoxedStrategy<Vec<u8>> {
    field(19, 0, number())
}

fn request_v2() -> BoxedStrategy<Vec<u8>> {
    let symbols = || field(4, 2, text());
    let series = || field(5, 2, delimited(series_v2()));
    let first = prop_oneof![20 => Just(vec![0x22, 0x00]), 1 => symbols()];
    let rest = prop_oneof![5 => symbols(), 4 => series(), 1 => field(19, 0, number())].boxed();
    (first, vec(symbols(), 0..5), vec(rest, 0..6))
        .prop_map(|(first, symbols, rest)| [first, symbols.concat(), rest.concat()].concat())
        .boxed()
}

fn request() -> BoxedStrategy<Vec<u8>> {
    message(prop_oneof![6 => field(1, 2, delimited(series())), 1 => unknown()].boxed(), 0..4)
}

/// Damage to a message; positions are taken modulo its length.
#[derive(Clone, Debug)]
enum Damage {
    Cut(usize),
    Flip { at: usize, bits: u8 },
    Insert { at: usize, bytes: Vec<u8> },
    Remove { at: usize, bytes: usize },
    Copy { from: usize, bytes: usize, to: usize },
}

impl Damage {
    fn apply(&self, message: &mut Vec<u8>) {
        let length = message.len();
        let place = |at: usize| at % (length + 1);
        let span = |at: usize, bytes: usize| place(at)..(place(at) + bytes).min(length);
        match self {
            Self::Cut(at) => message.truncate(place(*at)),
            Self::Flip { at, bits } => {
                if let Some(byte) = message.get_mut(place(*at)) {
                    *byte ^= bits;
                }
            }
            Self::Insert { at, bytes } => drop(message.splice(place(*at)..place(*at), bytes.iter().copied())),
            Self::Remove { at, bytes } => drop(message.drain(span(*at, *bytes))),
            Self::Copy { from, bytes, to } => {
                let copied = message[span(*from, *bytes)].to_vec();
                drop(message.splice(place(*to)..place(*to), copied));
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Damage::Flip { at, bits }),
        (any::<usize>(), prop_oneof![vec(any::<u8>(), 1..4), unknown(), vec(Just(0x80), 1..12)])
            .prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        (any::<usize>(), 1_usize..6).prop_map(|(at, bytes)| Damage::Remove { at, bytes }),
        (any::<usize>(), 1_usize..30, any::<usize>()).prop_map(|(from, bytes, to)| Damage::Copy { from, bytes, to }),
    ]
}

/// Holds the decoder to `prost` on `cases` inputs, and returns how many were requests.
fn accepted(cases: u32, inputs: &impl Strategy<Value = Vec<u8>>) -> u32 {
    accepted_by(oracle::accepts, cases, inputs)
}

fn accepted_by(accepts: fn(&[u8]) -> bool, cases: u32, inputs: &impl Strategy<Value = Vec<u8>>) -> u32 {
    let accepted = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(inputs, |input| {
        accepted.set(accepted.get() + u32::from(accepts(&input)));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    accepted.get()
}

#[test]
fn any_layout_of_a_request_decodes_as_in_prost() {
    let accepted = accepted(5_000, &request());
    assert!(accepted > 2_500, "only {accepted} of 5000 were valid: the generator is broken");
}

fn damaged(requests: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (requests, vec(damage(), 1..4)).prop_map(|(mut message, damages)| {
        for damage in damages {
            damage.apply(&mut message);
        }
        message
    })
}

#[test]
fn any_layout_of_a_request_of_2_0_decodes_as_in_prost() {
    let accepted = accepted_by(oracle::accepts_v2, 5_000, &request_v2());
    assert!(accepted > 2_500, "only {accepted} of 5000 were valid: the generator is broken");
}

#[test]
fn no_references_at_the_end_are_not_those_of_another_series() {
    // One whose references are in two fields, so that they are copied; and one whose last field has none.
    let series = [&b"\x2a\x08\x0a\x02\x00\x01\x0a\x02\x01\x00"[..], b"\x2a\x04\x12\x00\x0a\x00"].concat();
    assert!(oracle::accepts_v2(&[&b"\x22\x00\x22\x01a"[..], &series].concat()));
}

#[test]
fn damaged_requests_of_2_0_are_refused_exactly_when_prost_refuses_them() {
    let accepted = accepted_by(oracle::accepts_v2, 20_000, &damaged(request_v2()));
    assert!((2_000..18_000).contains(&accepted), "{accepted} of 20000 were valid: one side is hardly tested");
}

#[test]
fn histograms_are_valid_when_prometheus_says_so() {
    let (valid, all) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 5_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&usual_histogram(), |message| {
        all.set(all.get() + 1);
        valid.set(valid.get() + u32::from(sloburn::wire::Histogram::decode(&message, &Limits::default()).is_ok()));
        let series = [vec![0x22], varint(message.len() as u64, 0), message].concat();
        oracle::accepts(&[vec![0x0a], varint(series.len() as u64, 0), series].concat());
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(valid.get() * 10 > all.get() * 7, "{} of {} were valid: the generator is broken", valid.get(), all.get());
}

#[test]
fn damaged_requests_are_refused_exactly_when_prost_refuses_them() {
    let damaged = damaged(request());
    let accepted = accepted(20_000, &damaged);
    assert!((2_000..18_000).contains(&accepted), "{accepted} of 20000 were valid: one side is hardly tested");
}

#[test]
fn arbitrary_bytes_decode_as_in_prost() {
    // Inside a series, so that most bytes reach the inner messages.
    let bytes = prop_oneof![0_u8..0x30, any::<u8>()];
    let wrapped = vec(bytes, 0..40).prop_map(|bytes| [vec![0x0a, bytes.len() as u8], bytes].concat());
    accepted(20_000, &wrapped);
}

#[test]
fn groups_nest_as_deep_as_in_prost() {
    // An unknown field in the request, in a series, in a label and in a sample: in `depth` groups, with or
    // without content.
    for (keys, expected_depth) in [(&[][..], 100), (&[0x0a], 99), (&[0x0a, 0x0a], 98), (&[0x12, 0x0a], 98)] {
        for (content, deepest) in [(&[][..], expected_depth), (&[0x50, 0x01], expected_depth - 1)] {
            for depth in deepest - 1..=deepest + 1 {
                let mut message = [vec![0x4b; depth], content.to_vec(), vec![0x4c; depth]].concat();
                for &key in keys {
                    message = [vec![key], varint(message.len() as u64, 0), message].concat();
                }
                assert_eq!(oracle::accepts(&message), depth <= deepest, "{depth} groups inside {keys:x?}");
            }
        }
    }
}

fn key() -> WireKey {
    WireKey::new(std::array::from_fn::<u8, WIRE_KEY_SIZE_BYTES, _>(|i| (i * 167 + 13) as u8))
}

#[test]
fn a_length_bomb_costs_nothing() {
    let mut batch = Batch::new();
    let error = batch.decode_v1(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00], &Limits::default(), &key()).unwrap_err();
    assert_eq!(error.reason(), "decoded_too_large");
    assert_eq!(batch.capacity_bytes(), 0);
}

/// `count` times `element`, compressed.
fn bomb(element: &[u8], count: usize) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&element.repeat(count)).unwrap()
}

#[test]
fn a_structure_bomb_is_refused_before_it_takes_memory() {
    // 16 Mi empty series: 1.5 MiB on the wire, 800 MiB as vectors of structs.
    let body = bomb(&[0x0a, 0x00], 16 << 20);
    assert!(body.len() < 1_600_000, "{} bytes", body.len());
    let mut batch = Batch::new();
    let limits = Limits::default();
    assert_eq!(batch.decode_v1(&body, &limits, &key()), Err(DecodeError::TooManySeries { limit: 1 << 20 }));
    assert!(batch.is_empty());
    // With room for one copy more than is needed.
    let decoded_bytes = (32 << 20) + 64;
    assert!(batch.capacity_bytes() <= decoded_bytes, "{} bytes", batch.capacity_bytes());
}

#[test]
fn a_bomb_of_samples_is_refused_at_the_limit() {
    // One series of empty samples, two bytes each.
    let samples = [0x12, 0x00].repeat(1_000_000);
    let message = [vec![0x0a], varint(samples.len() as u64, 0), samples].concat();
    let limits = Limits { samples_limit: 10_000, ..Limits::default() };
    let mut batch = Batch::new();
    let error = batch.decode_v1(&bomb(&message, 1), &limits, &key()).unwrap_err();
    assert_eq!(error, DecodeError::TooManySamples { limit: 10_000 });
    assert!(batch.capacity_bytes() < message.len() + 16 * 32_768, "{} bytes", batch.capacity_bytes());
}

#[test]
fn a_bad_series_loses_only_itself() {
    let good = |job: &str| TimeSeries::new([("__name__", "up"), ("job", job)], &[(1_000, 1.0)]);
    let nameless = TimeSeries::new([("job", "x")], &[(1_000, 1.0)]);
    let body = encode_v1(&WriteRequest { timeseries: vec![good("a"), nameless, good("b")] });
    let mut batch = Batch::new();
    batch.decode_v1(&body, &Limits::default(), &key()).unwrap();
    let decoded: Vec<_> = batch.series().map(|series| decode_labels(series.labels, &Limits::default())).collect();
    let [Ok(a), Err(error), Ok(b)] = decoded.as_slice() else { panic!("{decoded:?}") };
    assert_eq!((a.get("job"), b.get("job")), (Some("a"), Some("b")));
    assert_eq!(error.reason(), "missing_metric_name");
}

#[test]
fn a_series_has_the_same_key_whatever_the_order_of_symbols() {
    let labels = [("__name__", "up"), ("job", "a"), ("zone", "job")];
    let key_of = |before: &[(&str, &str)], labels: &[(&str, &str)]| {
        let mut builder = v2::Builder::default();
        builder.series(before.iter().copied()).samples.push(v2::Sample::default());
        builder.series(labels.iter().copied()).samples.push(v2::Sample::default());
        let mut batch = Batch::new();
        batch.decode_v2(&v2::encode(&builder.finish()), &Limits::default(), &key()).unwrap();
        batch.series().last().unwrap().wire_hash
    };
    let expected = key_of(&[], &labels);
    assert_eq!(key_of(&[("zone", "job"), ("a", "b")], &labels), expected);
    // The same strings in another order, or cut elsewhere.
    for other in [
        [("job", "a"), ("__name__", "up"), ("zone", "job")],
        [("__name__", "up"), ("a", "job"), ("zone", "job")],
        [("__name__", "up"), ("job", "a"), ("job", "zone")],
    ] {
        assert_ne!(key_of(&[], &other), expected, "{other:?}");
    }
}

#[test]
fn bombs_of_2_0_are_refused_before_they_take_memory() {
    let limits = Limits {
        symbols_limit: 1_000,
        series_limit: 1_000,
        samples_limit: 1_000,
        histograms_limit: 1_000,
        ..Limits::default()
    };
    let in_series = |element: &[u8]| {
        let elements = element.repeat(1 << 20);
        [vec![0x2a], varint(elements.len() as u64, 0), elements].concat()
    };
    for (message, reason) in [
        ([0x22, 0x00].repeat(1 << 20), "too_many_symbols"),
        ([0x2a, 0x00].repeat(1 << 20), "too_many_series"),
        (in_series(&[0x12, 0x00]), "too_many_samples"),
        (in_series(&[0x1a, 0x00]), "too_many_histograms"),
    ] {
        let mut batch = Batch::new();
        let error = batch.decode_v2(&bomb(&message, 1), &limits, &key()).unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(batch.is_empty());
        assert!(batch.capacity_bytes() < message.len() + 400_000, "{reason}: {} bytes", batch.capacity_bytes());
    }
    // A million references, and a million buckets in one histogram: only bytes until somebody looks.
    for message in [in_series(&[0x08, 0x00]), in_series(&[0x0a, 0x02, 0x00, 0x00])] {
        let mut batch = Batch::new();
        batch.decode_v2(&bomb(&message, 1), &limits, &key()).unwrap();
        assert!(batch.capacity_bytes() < 4 * message.len() + 100_000, "{} bytes", batch.capacity_bytes());
        let error = decode_labels(batch.series().next().unwrap().labels, &limits).unwrap_err();
        assert_eq!(error.reason(), "label_references");
    }
    let buckets = [vec![0x62, 0x80, 0x80, 0x40], vec![0; 1 << 20]].concat();
    assert_eq!(sloburn::wire::Histogram::decode(&buckets, &limits).unwrap_err().reason(), "histogram_too_large");
    let spans =
        Histogram { positive_spans: vec![BucketSpan { offset: 0, length: u32::MAX }; 3], ..Histogram::default() };
    let error = sloburn::wire::Histogram::decode(&spans.encode_to_vec(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "spans need 12884901885 buckets, there are 0");
}
