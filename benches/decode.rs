//! Decoding remote write 1.0 and 2.0: samples a second on one core, between a floor and `prost`.
//!
//! The payload is what Prometheus sends by default: 2,000 series a request, one sample each, with the labels of a
//! counter scraped from Kubernetes pods. `floor` decompresses and reads every byte once; `sloburn` decompresses,
//! decodes and hashes; `prost` decompresses and decodes into its structs. The same samples in remote write 2.0, without
//! and with start timestamps, come after it, and how long they take against 1.0 in the same run.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use prost::Message;
use sloburn::wire::proto::WriteRequest;
use sloburn::wire::{Batch, Limits, snappy};
use support::{Fleet, REQUEST_SERIES, START, Size, in_v2, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One scrape of 50 pods, each with 40 series. They come in no order, as a sender's shards mix them.
const FLEET: Size = Size { services: 50, instances: 1, children: 40 };

#[expect(clippy::print_stdout, reason = "the ratios are the result")]
fn main() {
    let mut fleet = Fleet::new(FLEET);
    let mixed = (0..REQUEST_SERIES).map(|i| i * 769 % REQUEST_SERIES);
    let body = fleet.request(mixed, |_, i| START + sloburn::types::Span::millis((i / FLEET.children) as i64 * 37));
    let limits = Limits::default();
    let key = wire_key();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group(format!("decode/{}_bytes_a_series", fleet.series_bytes()));
    group.throughput(Throughput::Elements(REQUEST_SERIES as u64));

    group.bench_function("floor", |bencher| {
        let mut decoded = Vec::new();
        bencher.iter(|| {
            snappy::decompress(black_box(&body), limits.decoded_limit_bytes, &mut decoded).expect("a valid body");
            let words = decoded.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
            words.fold(0, u64::wrapping_add)
        });
    });
    group.bench_function("sloburn", |bencher| {
        let mut batch = Batch::new();
        bencher.iter(|| {
            batch.decode_v1(black_box(&body), &limits, &key).expect("a valid body");
            assert_eq!(batch.sample_count(), REQUEST_SERIES);
        });
    });
    group.bench_function("prost", |bencher| {
        let mut decoded = Vec::new();
        bencher.iter(|| {
            snappy::decompress(black_box(&body), limits.decoded_limit_bytes, &mut decoded).expect("a valid body");
            let request = WriteRequest::decode(&*decoded).expect("a valid message");
            assert_eq!(request.timeseries.len(), REQUEST_SERIES);
            request
        });
    });
    let request = WriteRequest::decode(&*snap::raw::Decoder::new().decompress_vec(&body).expect("a valid body"));
    let request = request.expect("a valid message");
    let bodies = [("2.0", in_v2(&request, 0)), ("2.0_with_starts", in_v2(&request, START.as_millis()))];
    for (name, body) in &bodies {
        group.bench_function(format!("sloburn_{name}"), |bencher| {
            let mut batch = Batch::new();
            bencher.iter(|| {
                batch.decode_v2(black_box(body), &limits, &key).expect("a valid body");
                assert_eq!(batch.sample_count(), REQUEST_SERIES);
            });
        });
    }
    group.finish();
    criterion.final_summary();
    for (name, v2_body) in &bodies {
        let (mut v1_batch, mut v2_batch) = (Batch::new(), Batch::new());
        let ratio = ratio(
            || v2_batch.decode_v2(black_box(v2_body), &limits, &key).expect("a valid body"),
            || v1_batch.decode_v1(black_box(&body), &limits, &key).expect("a valid body"),
        );
        println!("{name}: {} bytes for {}, {ratio:.2} of the time of 1.0", v2_body.len(), body.len());
    }
}

/// How long `a` takes for each of `b`, by turns, so that a busy machine slows both: the best of many rounds.
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn ratio(mut a: impl FnMut(), mut b: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..20).for_each(|_| run());
        start.elapsed()
    };
    let mut best = [Duration::MAX; 2];
    for _ in 0..200 {
        best = [best[0].min(time(&mut a)), best[1].min(time(&mut b))];
    }
    best[0].as_secs_f64() / best[1].as_secs_f64()
}
