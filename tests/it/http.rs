//! The write path of the real binary over real connections: each answer that remote write senders rely on, what
//! hostile requests cost, and what a slow or dead neighbour does to the others.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Request;
use hyper::body::Frame;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use sloburn::api::{About, ApiState, Metrics, Querier, QuerySettings, Readiness, router};
use sloburn::clock::{self, Steady};
use sloburn::engine::{Engine, Settings};
use sloburn::evaluation::{Parts, RulesHandle};
use sloburn::ingest::{Budget, Receiver};
use sloburn::live::EngineHandle;
use sloburn::notify::{self, Notifier, Receivers, install_tls_provider};
use sloburn::ruler::Setting;
use sloburn::spec::{Source, parse};
use sloburn::store::{self, Store};
use sloburn::types::{Labels, Span, Timestamp};
use sloburn::wire::proto::TimeSeries;
use sloburn::wire::{Limits, WireKey};
use tower::ServiceExt;

use crate::daemon::{Answer, Daemon, body_of, write_headers};
use crate::process::{PATIENCE, until};
use crate::traffic::{SHOP, last_hour, shop};

const MIB: usize = 1 << 20;

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// A length-delimited protobuf field; everything here is shorter than 128 bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A request with one series of these label bytes and one sample.
fn raw_series(labels: &[(&[u8], &[u8])]) -> Vec<u8> {
    let label = |(name, value): &(&[u8], &[u8])| field(1, &[field(1, name), field(2, value)].concat());
    let mut series: Vec<u8> = labels.iter().flat_map(label).collect();
    let sample = [&[0x09][..], &1_f64.to_le_bytes(), &[0x10, 0x01]].concat();
    series.extend(field(2, &sample));
    snappy(&field(1, &series))
}

/// One row of the table of answers.
struct Row {
    case: &'static str,
    method: &'static str,
    content_type: Option<&'static str>,
    encoding: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
    says: &'static str,
}

/// A row for a body sent with the right headers.
fn body(case: &'static str, body: Vec<u8>, status: u16, says: &'static str) -> Row {
    let (content_type, encoding) = (Some("application/x-protobuf"), Some("snappy"));
    Row { case, method: "POST", content_type, encoding, body, status, says }
}

fn answers(now: Timestamp) -> Vec<Row> {
    let good = || body_of(&[shop("200", now, 1.0)]);
    let large = || vec![0; MIB + 1];
    let one = |labels: &[(&str, &str)]| body_of(&[TimeSeries::new(labels.iter().copied(), &[(1, 1.0)])]);
    let many: Vec<String> = (0..40).map(|n| format!("l{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).chain([("__name__", "m")]).collect();
    let (protobuf, snappy_encoding) = (Some("application/x-protobuf"), Some("snappy"));
    let headers = |case, content_type, encoding, status, says| Row {
        case,
        method: "POST",
        content_type,
        encoding,
        body: good(),
        status,
        says,
    };
    vec![
        Row { method: "GET", ..headers("not a POST", protobuf, snappy_encoding, 405, "POST only") },
        Row { method: "PUT", ..headers("405 comes before 415", Some("text/plain"), Some("gzip"), 405, "POST only") },
        headers("another media type", Some("application/json"), snappy_encoding, 415, "application/x-protobuf"),
        headers(
            "an unknown message",
            Some("application/x-protobuf;proto=prometheus.ReadRequest"),
            snappy_encoding,
            415,
            "unknown message",
        ),
        headers("another encoding", protobuf, Some("gzip"), 415, "snappy"),
        Row { body: large(), ..headers("415 comes before 413", Some("text/plain"), snappy_encoding, 415, "") },
        headers("an old sender without headers", None, None, 204, ""),
        headers(
            "the message named",
            Some("application/x-protobuf;proto=prometheus.WriteRequest"),
            snappy_encoding,
            204,
            "",
        ),
        body("a body over the limit", large(), 413, "over the limit of 1048576"),
        body("a body at the limit, which is no snappy", vec![0xff; MIB], 400, "snappy"),
        body("no snappy", b"no snappy".to_vec(), 400, "snappy"),
        body("an empty body, which is no snappy either", Vec::new(), 400, "snappy"),
        body("a decoded length over the limit", snappy(&vec![0; 4 * MIB + 1]), 400, "4194304"),
        body("snappy, but no protobuf", snappy(b"\xff\xff\xff"), 400, "protobuf"),
        body("nothing", snappy(b""), 204, ""),
        body("no metric name", one(&[("job", "shop")]), 400, "missing metric name"),
        body("an empty metric name", one(&[("__name__", ""), ("job", "shop")]), 400, "missing metric name"),
        body("a label without a name", one(&[("", "x"), ("__name__", "m")]), 400, "empty label name"),
        body("a label twice", one(&[("__name__", "m"), ("a", "1"), ("a", "2")]), 400, "duplicate label name \"a\""),
        body("too many labels", one(&many), 400, "more than 40 labels"),
        body("a label that is not UTF-8", raw_series(&[(b"__name__", b"m"), (b"a", b"\xff")]), 400, "UTF-8"),
        body("a sample", body_of(&[shop("200", now, 1.0)]), 204, ""),
        body("the same sample again", body_of(&[shop("200", now, 1.0)]), 204, ""),
        body("the same time with another value", body_of(&[shop("200", now, 2.0)]), 400, "another value came first"),
    ]
}

#[tokio::test]
async fn every_answer_is_the_one_senders_rely_on() {
    let daemon = Daemon::start(SHOP, &["--limit.body-bytes=1MiB", "--limit.decoded-bytes=4MiB"]);
    for row in answers(clock::now()) {
        let mut headers = HeaderMap::new();
        for (name, value) in [(CONTENT_TYPE, row.content_type), (CONTENT_ENCODING, row.encoding)] {
            headers.extend(value.map(|value| (name, HeaderValue::from_static(value))));
        }
        let answer = daemon.send(row.method, "/api/v1/write", headers, row.body).await;
        assert_eq!(answer.status, row.status, "{}: {}", row.case, answer.text);
        assert!(answer.text.contains(row.says), "{}: {}", row.case, answer.text);
        assert_eq!(answer.text.is_empty(), row.status == 204, "{}", row.case);
        let allow = answer.headers.get("allow").map(HeaderValue::as_bytes);
        assert_eq!(allow, (row.status == 405).then_some(&b"POST"[..]), "{}", row.case);
    }
    for (code, least) in [("204", 5.0), ("400", 10.0), ("405", 2.0), ("413", 1.0), ("415", 4.0)] {
        let code = format!("code=\"{code}\"");
        let counted = daemon.metric("sloburn_http_requests_total", &[r#"handler="/api/v1/write""#, &code]).await;
        assert!(counted >= least, "{code}: {counted}");
    }
    let none_over = HeaderValue::from_static("100-continue");
    let mut patient = write_headers();
    patient.insert("expect", none_over);
    let answer = daemon.send("POST", "/api/v1/write", patient, body_of(&[shop("200", clock::now(), 3.0)])).await;
    assert_eq!(answer.status, 204, "a sender that asks before it sends: {}", answer.text);
}

#[tokio::test]
async fn a_bad_series_loses_only_itself() {
    let daemon = Daemon::start(SHOP, &[]);
    let start = clock::now();
    let series = |at: Timestamp, good: f64| {
        let bad_time = at + Span::minutes(11);
        vec![
            TimeSeries::new([("job", "shop")], &[(at.as_millis(), 1.0)]),
            shop("200", at, good),
            shop("503", bad_time, 7.0),
            TimeSeries::new(
                [("__name__", "http_requests_total"), ("job", "shop"), ("job", "x")],
                &[(at.as_millis(), 1.0), (at.as_millis() + 1, 2.0)],
            ),
            shop("500", at, 10.0 + good / 10.0),
        ]
    };
    for (scrape, good) in [(0, 100.0), (1, 150.0), (2, 170.0)] {
        let answer = daemon.write(&series(start + Span::millis(scrape), good)).await;
        assert_eq!(answer.status, 400);
        for says in ["1 sample refused (missing_metric_name)", "2 samples refused (duplicate_label_name)"] {
            assert!(answer.text.contains(says), "{}", answer.text);
        }
        assert!(answer.text.contains("1 sample refused (too_far_in_future)"), "{}", answer.text);
    }
    let slo = settled(&daemon, 77).await;
    assert_eq!((&slo["good"], &slo["bad"], &slo["total"]), (&json!(70), &json!(7), &json!(77)));
    for (reason, samples) in [("missing_metric_name", 3.0), ("duplicate_label_name", 6.0), ("too_far_in_future", 3.0)] {
        let reason_label = format!("reason=\"{reason}\"");
        assert_eq!(daemon.metric("sloburn_ingest_rejected_samples_total", &[&reason_label]).await, samples, "{reason}");
    }
    assert_eq!(daemon.metric("sloburn_ingest_samples_total", &[]).await, 6.0);
}

/// `shop/availability` once it has counted this many events: what a scrape may still bring is waited for.
async fn settled(daemon: &Daemon, total: i64) -> serde_json::Value {
    until("all events to be counted", PATIENCE, async || {
        let slo = daemon.slo("shop/availability").await;
        if slo["total"] == total { Ok(slo) } else { Err(slo.to_string()) }
    })
    .await
}

#[tokio::test]
async fn times_that_cannot_be_meant_are_refused_with_a_hint() {
    let daemon = Daemon::start(SHOP, &[]);
    let now = clock::now();
    let millis = now.as_millis();
    for (case, at, says) in [
        ("11 minutes ahead", millis + 11 * 60_000, "ahead of the clock here, more than 10m: check the clocks"),
        ("microseconds", millis * 1_000, "check the sender's unit"),
        ("nanoseconds", millis * 1_000_000, "check the sender's unit"),
        ("seconds", millis / 1_000, "check the sender's unit"),
        ("no time", 0, "check the sender's unit"),
        ("the end of time", i64::MAX, "check the sender's unit"),
        ("the beginning of time", i64::MIN, "check the sender's unit"),
        ("100 days ago", millis - 100 * 86_400_000, "older than any period"),
    ] {
        let answer = daemon.write(&[shop("200", Timestamp(at), 5.0), shop("500", Timestamp(at), 5.0)]).await;
        assert_eq!(answer.status, 400, "{case}: {}", answer.text);
        assert!(answer.text.contains(says), "{case}: {}", answer.text);
        assert!(answer.text.starts_with("2 samples refused"), "{case}: {}", answer.text);
    }
    // What was refused has left no trace: the first scrape is still the first.
    for (at, good, bad) in
        [(now, 100.0, 0.0), (now + Span::millis(1), 110.0, 1.0), (now + Span::minutes(9), 120.0, 1.0)]
    {
        let answer = daemon.write(&[shop("200", at, good), shop("500", at, bad)]).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
    let slo = settled(&daemon, 21).await;
    assert_eq!((&slo["good"], &slo["state"]), (&json!(20), &json!("warming")));
    assert!(slo["covered"].as_str().unwrap().ends_with("s of 30 d"), "{slo}");
}

#[tokio::test]
async fn over_the_memory_for_requests_senders_are_told_to_wait() {
    let daemon = Daemon::start(SHOP, &["--limit.in-flight-bytes=64KiB"]);
    let write = body_of(&[shop("200", clock::now(), 1.0)]);
    // Incompressible, so that the body is as long as what it holds: an unknown field of random-looking bytes.
    let noise: Vec<u8> =
        (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(50_000).collect();
    let large = snappy(&[&[0x7a, 0xd0, 0x86, 0x03][..], &noise].concat());
    assert!(large.len() > 50_000);
    let (head, rest) = large.split_at(40_000);
    let held = daemon.begin(large.len(), head);
    until("the first body to be held", PATIENCE, async || {
        let reserved = daemon.metric("sloburn_ingest_reserved_bytes", &[]).await;
        if reserved >= 40_000.0 { Ok(()) } else { Err(reserved.to_string()) }
    })
    .await;
    let refused = daemon.send("POST", "/api/v1/write", write_headers(), large.clone()).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.text.contains("65536 bytes"), "{}", refused.text);
    let small = daemon.send("POST", "/api/v1/write", write_headers(), write).await;
    assert_eq!(small.status, 204, "what still fits is taken: {}", small.text);
    drop((held, rest));
    until("what was held to come back", PATIENCE, async || {
        let reserved = daemon.metric("sloburn_ingest_reserved_bytes", &[]).await;
        if reserved == 0.0 { Ok(()) } else { Err(reserved.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn bombs_are_refused_and_cost_nothing() {
    let daemon = Daemon::start(SHOP, &[]);
    assert_eq!(daemon.write(&[shop("200", clock::now(), 1.0)]).await.status, 204);
    let before = daemon.process.peak_memory_kib();
    // Lengths in six bytes: over the limit, and at the limit of 128 MiB, which no six bytes can decode to.
    let four_gib = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let at_the_limit = vec![0x80, 0x80, 0x80, 0x40, 0x00, 0x00];
    for _ in 0..8 {
        for bomb in [&four_gib, &at_the_limit] {
            let answer = daemon.send("POST", "/api/v1/write", write_headers(), bomb.clone()).await;
            assert_eq!(answer.status, 400, "{}", answer.text);
        }
    }
    let grown = daemon.process.peak_memory_kib() - before;
    assert!(grown < 4 << 10, "{grown} KiB more");
    // 16 million series of two bytes each: 800 MiB if each were given a place.
    let empty_series = snappy(&[0x0a, 0x00].repeat(16 * MIB));
    assert!(empty_series.len() < 2 * MIB, "{}", empty_series.len());
    for _ in 0..8 {
        let structure_bomb = daemon.send("POST", "/api/v1/write", write_headers(), empty_series.clone()).await;
        assert_eq!(structure_bomb.status, 400, "{}", structure_bomb.text);
        assert!(structure_bomb.text.contains("series in one request"), "{}", structure_bomb.text);
    }
    let grown = daemon.process.peak_memory_kib() - before;
    // What one of them decodes to, 32 MiB, a few times over: freed memory goes back late.
    assert!(grown < 150 << 10, "{grown} KiB more");
    assert_eq!(daemon.metric("sloburn_ingest_reserved_bytes", &[]).await, 0.0);
}

/// A sender that reads nothing before it has sent everything, as some do: a connection closed with unread data on it
/// is reset, the answer is lost, and the sender tries the same again for ever.
#[tokio::test]
async fn a_sender_of_too_much_gets_its_answer() {
    let daemon = Daemon::start(SHOP, &[]);
    let before = daemon.process.peak_memory_kib();
    let large = vec![0; 48 * MIB];
    let mut stream = daemon.begin(large.len(), &large);
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let grown = daemon.process.peak_memory_kib() - before;
    // 32 MiB may be kept; what the buffer outgrew on its way there goes back late.
    assert!(grown < 128 << 10, "{grown} KiB more");
    assert_eq!(daemon.metric("sloburn_ingest_reserved_bytes", &[]).await, 0.0);
}

/// Connections that say nothing, half a header or half a body. They are closed after minutes (header) or half a minute
/// (body), which is tested with a paused clock; here they are just there.
#[tokio::test]
async fn stalled_senders_hold_up_nobody() {
    let daemon = Daemon::start(SHOP, &[]);
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let silent = daemon.connect();
        let mut half_header = daemon.connect();
        half_header.write_all(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-").unwrap();
        stalled.push([silent, half_header, daemon.begin(1_000, b"half of the")]);
    }
    let next = clock::now() + Span::seconds(1);
    for series in [last_hour(100, 0), vec![shop("200", next, 26_000.0), shop("500", next, 1_000.0)]] {
        let answer = daemon.write(&series).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
    settled(&daemon, 25_000).await;
    for stream in stalled.iter().flatten() {
        stream.set_nonblocking(true).unwrap();
        let error = stream.peek(&mut [0]).expect_err("neither an answer nor an end yet");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// The routes of a daemon without the daemon: its readiness is the test's.
fn routes(readiness: &Readiness) -> axum::Router {
    install_tls_provider();
    let (services, _) = parse(&[Source::new("shop.yaml", SHOP)]);
    let (key, limits) = (WireKey::new([7; 192]), Limits::default());
    let settings = Settings { key: key.clone(), limits, series_limit: 1_000, ha: None };
    let (engine, _) = EngineHandle::start(Engine::new(&services, settings, clock::now()), |_| {});
    let store = Store::new(store::Settings::new(key.clone()), &[]);
    let url: url::Url = "http://localhost:9797".parse().unwrap();
    let notifier = Notifier::start(&notify::Settings::new(url.clone()), Receivers::default(), None).unwrap();
    let notifier = Arc::new(notifier);
    let rules = RulesHandle::start(Parts {
        groups: Vec::new(),
        setting: Setting::new(url.clone()),
        store: Arc::new(store.clone()),
        notifier: Arc::clone(&notifier),
        record: None,
    })
    .unwrap();
    router(ApiState {
        engine: engine.clone(),
        notifier,
        external_labels: Arc::new(Labels::new()),
        external_url: Arc::new(url),
        receiver: Arc::new(Receiver::new(engine, limits, key, Budget::default())),
        querier: Arc::new(Querier::new(store, QuerySettings::default(), About::default())),
        readiness: readiness.clone(),
        reload: sloburn::api::ReloadStatus::default(),
        rules,
        metrics: Arc::new(Metrics::default()),
    })
}

async fn asked(routes: &axum::Router, request: Request<Body>) -> Answer {
    let response = routes.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), MIB).await.unwrap();
    Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

#[tokio::test]
async fn before_it_is_ready_nothing_else_is_looked_at() {
    let readiness = Readiness::default();
    let routes = routes(&readiness);
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    for path in ["/api/v1/write", "/-/ready"] {
        let answer = asked(&routes, get(path)).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(asked(&routes, get("/-/healthy")).await.status, 200);
    readiness.set(true);
    assert_eq!(asked(&routes, get("/-/ready")).await.status, 200);
    assert_eq!(asked(&routes, get("/api/v1/write")).await.status, 405);
    let nowhere = asked(&routes, get("/api/v1/nowhere")).await;
    assert_eq!((nowhere.status, nowhere.text.contains("not_found")), (404, true));
}

/// A body of which nothing ever arrives.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up_after_half_a_minute() {
    let readiness = Readiness::default();
    readiness.set(true);
    let routes = routes(&readiness);
    let clock = Steady::start();
    let answer = asked(&routes, Request::post("/api/v1/write").body(Body::new(Endless)).unwrap()).await;
    assert_eq!((answer.status, clock.elapsed()), (408, Span::seconds(30)), "{}", answer.text);
}
