//! Remote write 2.0 over HTTP: what is taken, what is refused and for which reason, and the counts in the answer.

use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use sloburn::clock;
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::{Count, Histogram, v2};

use crate::daemon::{Answer, Daemon, write_headers};
use crate::process::{PATIENCE, until};
use crate::traffic::SHOP;

const CONTENT: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(CONTENT)),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
    ])
}

async fn send(daemon: &Daemon, body: Vec<u8>) -> Answer {
    daemon.send("POST", "/api/v1/write", headers(), body).await
}

/// Samples, histograms and exemplars written, as the answer has them.
fn written(answer: &Answer) -> Option<[u64; 3]> {
    let count = |what: &str| {
        let value = answer.headers.get(format!("x-prometheus-remote-write-{what}-written"))?;
        value.to_str().unwrap().parse().ok()
    };
    Some([count("samples")?, count("histograms")?, count("exemplars")?])
}

fn shop(builder: &mut v2::Builder, code: &str, at: Timestamp, value: f64) {
    let labels = [("__name__", "http_requests_total"), ("code", code), ("instance", "a:80"), ("job", "shop")];
    let sample = v2::Sample { value, timestamp: at.as_millis(), start_timestamp: 0 };
    builder.series(labels).samples.push(sample);
}

/// A request made of symbols and series.
fn request(symbols: &[&str], series: &[v2::TimeSeries]) -> Vec<u8> {
    let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    v2::encode(&v2::Request { symbols, timeseries: series.to_vec() })
}

fn series(labels_refs: &[u32], at: Timestamp) -> v2::TimeSeries {
    let sample = v2::Sample { value: 1.0, timestamp: at.as_millis(), start_timestamp: 0 };
    v2::TimeSeries { labels_refs: labels_refs.to_vec(), samples: vec![sample], ..v2::TimeSeries::default() }
}

#[tokio::test]
async fn each_fault_has_its_answer() {
    let daemon = Daemon::start(SHOP, &["--limit.body-bytes=1MiB"]);
    let now = clock::now();
    let symbols = ["", "__name__", "http_requests_total", "job", "shop", "", "x"];
    let one = |labels_refs: &[u32]| request(&symbols, &[series(labels_refs, now)]);
    let labels = [1, 2, 3, 4];
    let with = |change: fn(&mut v2::TimeSeries)| {
        let mut changed = series(&labels, now);
        change(&mut changed);
        request(&symbols, &[changed])
    };
    let native = |histogram: Histogram| {
        let histograms = vec![Histogram { timestamp: now.as_millis(), ..histogram }];
        request(&symbols, &[v2::TimeSeries { labels_refs: labels.to_vec(), histograms, ..v2::TimeSeries::default() }])
    };
    let not_text = {
        let message =
            v2::Request { symbols: symbols.map(str::to_owned).to_vec(), timeseries: vec![series(&[1, 2, 3, 6], now)] };
        let mut message = message.encode_to_vec();
        let place = message.windows(3).position(|bytes| bytes == b"\x22\x01x").unwrap();
        message[place + 2] = 0xff;
        snap::raw::Encoder::new().compress_vec(&message).unwrap()
    };
    for (case, body, status, says, counts) in [
        ("nothing", request(&[], &[]), 204, "", [0, 0, 0]),
        ("a sample", one(&labels), 204, "", [1, 0, 0]),
        ("the same again", one(&labels), 204, "", [1, 0, 0]),
        ("unsorted labels", one(&[3, 4, 1, 2]), 204, "", [1, 0, 0]),
        ("another value", with(|series| series.samples[0].value = 2.0), 400, "another value came first", [0, 0, 0]),
        (
            "two samples, one of them too early",
            with(|series| {
                let late = v2::Sample { timestamp: series.samples[0].timestamp + 1_000_000, ..series.samples[0] };
                series.samples.push(late);
            }),
            400,
            "1 sample refused (too_far_in_future)",
            [1, 0, 0],
        ),
        ("exemplars", with(|series| series.exemplars = vec![vec![8, 1]; 2]), 204, "", [1, 0, 2]),
        ("no metric name", one(&[3, 4]), 400, "missing metric name", [0, 0, 0]),
        ("an empty metric name", one(&[1, 0, 3, 4]), 400, "missing metric name", [0, 0, 0]),
        ("no labels", one(&[]), 400, "missing metric name", [0, 0, 0]),
        ("an empty label name", one(&[1, 2, 5, 6]), 400, "empty label name", [0, 0, 0]),
        ("a label twice", one(&[1, 2, 3, 4, 3, 6]), 400, "duplicate label name \"job\"", [0, 0, 0]),
        ("an odd number of references", one(&[1, 2, 3]), 400, "odd number of label references", [0, 0, 0]),
        ("a reference out of range", one(&[1, 2, 3, 7]), 400, "label reference 7 is out of range", [0, 0, 0]),
        ("a symbol that is not text", not_text, 400, "not valid UTF-8", [0, 0, 0]),
        ("too many labels", one(&[3, 4].repeat(41)), 400, "more than 40 labels", [0, 0, 0]),
        ("a first symbol", request(&["a", "b"], &[series(&[0, 1], now)]), 400, "first symbol", [0, 0, 0]),
        ("no samples", with(|series| series.samples.clear()), 400, "neither samples nor histograms", [0, 0, 0]),
        ("a histogram nobody asks for", native(Histogram { schema: 77, ..Histogram::default() }), 204, "", [0, 1, 0]),
        ("no protobuf", snap::raw::Encoder::new().compress_vec(b"\xff\xff\xff").unwrap(), 400, "protobuf", [0, 0, 0]),
        ("no snappy", b"no snappy".to_vec(), 400, "snappy", [0, 0, 0]),
        ("too large", vec![0; (1 << 20) + 1], 413, "over the limit", [0, 0, 0]),
    ] {
        let answer = send(&daemon, body).await;
        assert_eq!(answer.status, status, "{case}: {}", answer.text);
        assert!(answer.text.contains(says), "{case}: {}", answer.text);
        assert_eq!(written(&answer), Some(counts), "{case}");
    }
    let body = crate::daemon::body_of(&[crate::traffic::shop("200", now, 1.0)]);
    let answer = daemon.send("POST", "/api/v1/write", write_headers(), body).await;
    assert_eq!((answer.status, written(&answer)), (204, None), "remote write 1.0 has no such headers");
    let mut spaced = headers();
    spaced
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf; proto=io.prometheus.write.v2.Request"));
    let answer = daemon.send("POST", "/api/v1/write", spaced, one(&labels)).await;
    assert_eq!((answer.status, written(&answer)), (204, Some([1, 0, 0])));
}

#[tokio::test]
async fn both_versions_meet_in_one_series() {
    let daemon = Daemon::start(SHOP, &[]);
    let start = clock::now() - Span::seconds(60);
    for (i, value) in [100.0, 110.0, 130.0, 160.0].into_iter().enumerate() {
        let at = start + Span::seconds(i as i64 * 15);
        let answer = if i % 2 == 0 {
            daemon.write(&[crate::traffic::shop("200", at, value), crate::traffic::shop("500", at, value / 10.0)]).await
        } else {
            let mut builder = v2::Builder::default();
            shop(&mut builder, "500", at, value / 10.0);
            shop(&mut builder, "200", at, value);
            builder.series([("job", "shop")]).samples.push(v2::Sample::default());
            send(&daemon, v2::encode(&builder.finish())).await
        };
        // The bad series of 2.0 loses only itself.
        let expected = if i % 2 == 0 { (204, None) } else { (400, Some([2, 0, 0])) };
        assert_eq!((answer.status, written(&answer)), expected, "{}", answer.text);
    }
    let slo = until("all events to be counted", PATIENCE, async || {
        let slo = daemon.slo("shop/availability").await;
        if slo["total"] == 66 { Ok(slo) } else { Err(slo.to_string()) }
    })
    .await;
    assert_eq!(slo["bad"], json!(6));
}

/// A latency SLO whose histogram arrives in remote write 1.0.
#[tokio::test]
async fn native_histograms_of_remote_write_1_0_count_too() {
    let spec = "apiVersion: sloburn/v1\nkind: Service\nmetadata: {name: shop}\nspec:\n  slis: [{name: quick, latency: \
                {histogram: latency_seconds, threshold: 250ms}}]\n  slos: [{name: quick, sli: quick, objective: 99}]\n";
    let daemon = Daemon::start(spec, &[]);
    let start = clock::now() - Span::seconds(60);
    for (i, [quick, slow]) in [[1, 1], [5, 2], [9, 4]].into_iter().enumerate() {
        let mut series = sloburn::wire::proto::TimeSeries::new([("__name__", "latency_seconds")], &[]);
        series.histograms.push(Histogram {
            count: Some(Count::Int(quick as u64 + slow as u64)),
            // Buckets -2, which ends at 0.25, and -1.
            positive_spans: vec![sloburn::wire::proto::BucketSpan { offset: -2, length: 2 }],
            positive_deltas: vec![quick, slow - quick],
            timestamp: (start + Span::seconds(i as i64 * 15)).as_millis(),
            ..Histogram::default()
        });
        let answer = daemon.write(&[series]).await;
        assert_eq!((answer.status, written(&answer)), (204, None), "{}", answer.text);
    }
    let slo = until("all events to be counted", PATIENCE, async || {
        let slo = daemon.slo("shop/quick").await;
        if slo["total"] == 11 { Ok(slo) } else { Err(slo.to_string()) }
    })
    .await;
    assert_eq!(slo["bad"], json!(3));
    assert_eq!(daemon.metric("sloburn_ingest_histograms_total", &[]).await, 3.0);
}
