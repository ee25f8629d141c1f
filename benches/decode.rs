//! Decoding remote write 1.0: samples a second on one core, between a floor and `prost`.
//!
//! The payload is what Prometheus sends by default: 2,000 series a request, one sample each, with the labels of a
//! counter scraped from Kubernetes pods. `floor` decompresses and reads every byte once; `sloburn` decompresses,
//! decodes and hashes; `prost` decompresses and decodes into its structs.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use prost::Message;
use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1};
use sloburn::wire::{Batch, Limits, WireKey, snappy};

const SERIES: usize = 2_000;

/// One scrape of 50 pods, each with 40 series. They come in no order, as a sender's shards mix them.
fn payload() -> Vec<u8> {
    let timeseries: Vec<TimeSeries> = (0..SERIES).map(|i| series(i * 769 % SERIES)).collect();
    encode_v1(&WriteRequest { timeseries })
}

fn series(i: usize) -> TimeSeries {
    let (pod, child) = (i / 40, i % 40);
    let scraped_after_ms = [0, 37, 1_204, 4_511, 8_096][pod % 5];
    let instance = format!("10.4.{}.{}:8080", pod / 16, 17 + pod % 16 * 13);
    let pod = format!("checkout-{:08x}-{:05x}", 0x6d9f_8c7b_u32, pod * 7_919 % 0xf_ffff);
    let code = ["200", "201", "404", "500"][child % 4];
    let method = ["GET", "POST"][child / 4 % 2];
    let handler = ["/api/v1/cart", "/api/v1/order", "/api/v1/pay", "/api/v1/refund", "/healthz"][child / 8];
    let labels = [
        ("__name__", "http_requests_total"),
        ("cluster", "eu-west-1"),
        ("code", code),
        ("container", "checkout"),
        ("handler", handler),
        ("instance", &instance),
        ("job", "checkout"),
        ("method", method),
        ("namespace", "shop"),
        ("pod", &pod),
        ("service", "checkout"),
    ];
    // Children for errors are often still at zero.
    let value = if code == "500" { 0.0 } else { (i * 104_729 % 1_000_003) as f64 };
    TimeSeries::new(labels, &[(1_793_545_200_000 + scraped_after_ms, value)])
}

fn main() {
    let body = payload();
    let limits = Limits::default();
    let key = WireKey::new(std::array::from_fn(|i| (i * 167 + 13) as u8));
    let mut decoded = Vec::new();
    snappy::decompress(&body, limits.decoded_limit_bytes, &mut decoded).expect("a valid body");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group(format!("decode/{}_bytes_a_series", decoded.len() / SERIES));
    group.throughput(Throughput::Elements(SERIES as u64));

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
            assert_eq!(batch.sample_count(), SERIES);
        });
    });
    group.bench_function("prost", |bencher| {
        let mut decoded = Vec::new();
        bencher.iter(|| {
            snappy::decompress(black_box(&body), limits.decoded_limit_bytes, &mut decoded).expect("a valid body");
            let request = WriteRequest::decode(&*decoded).expect("a valid message");
            assert_eq!(request.timeseries.len(), SERIES);
            request
        });
    });
    group.finish();
    criterion.final_summary();
}
