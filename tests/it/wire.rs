//! Remote write decoding: equal to `prost` on any bytes, and bounded on hostile ones.

mod oracle;

use std::cell::Cell;
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1};
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
    let numbers = || prop_oneof![3 => Just(3_u32), 3 => 4_u32..40, 1 => Just((1 << 29) - 1)];
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

fn series() -> BoxedStrategy<Vec<u8>> {
    let labels = || field(1, 2, delimited(label()));
    let samples = || field(2, 2, delimited(sample()));
    let usual = (vec(labels(), 0..4), vec(samples(), 0..3));
    let usual = usual.prop_map(|(labels, samples)| [labels.concat(), samples.concat()].concat());
    let mixed = message(prop_oneof![4 => labels(), 3 => samples(), 1 => unknown()].boxed(), 0..7);
    prop_oneof![usual, mixed].boxed()
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
    let accepted = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(inputs, |input| {
        accepted.set(accepted.get() + u32::from(oracle::accepts(&input)));
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

#[test]
fn damaged_requests_are_refused_exactly_when_prost_refuses_them() {
    let damaged = (request(), vec(damage(), 1..4)).prop_map(|(mut message, damages)| {
        for damage in damages {
            damage.apply(&mut message);
        }
        message
    });
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
    let decoded_bytes = 32 << 20;
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
    let decoded: Vec<_> = batch.series().map(|series| decode_labels(series.label_bytes, &Limits::default())).collect();
    let [Ok(a), Err(error), Ok(b)] = decoded.as_slice() else { panic!("{decoded:?}") };
    assert_eq!((a.get("job"), b.get("job")), (Some("a"), Some("b")));
    assert_eq!(error.reason(), "missing_metric_name");
}
