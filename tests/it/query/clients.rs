//! What clients of Prometheus send, as they send it.

use std::io::{Read, Write};
use std::process::Command;

use serde_json::{Value, json};
use sloburn::wire::proto::TimeSeries;

use super::{daemon, half_an_hour_ago};
use crate::daemon::Daemon;

/// Sends these bytes and reads the answer, its head and its body.
fn exchange(daemon: &Daemon, request: &str) -> (u16, Value) {
    let mut stream = daemon.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

fn get(path: &str, agent: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: sloburn:9797\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n")
}

fn post(path: &str, agent: &str, form: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: sloburn:9797\r\nUser-Agent: {agent}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n{form}",
        form.len()
    )
}

/// A rate of two a second, extrapolated in floating point.
fn close_to_two(value: &Value) -> bool {
    value.as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(|rate| (rate - 2.0).abs() < 1e-9)
}

#[tokio::test]
async fn grafana_finds_a_prometheus() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let agent = "Grafana/12.1.0";
    // Its health check, then what it asks to find out whom it talks to.
    let (status, body) = exchange(&daemon, &post("/api/v1/query", agent, "query=1%2B1&time=4"));
    assert_eq!((status, &body["data"]), (200, &json!({"resultType": "scalar", "result": [4, "2"]})));
    let (status, body) = exchange(&daemon, &get("/api/v1/status/buildinfo", agent));
    assert_eq!((status, &body["data"]["version"]), (200, &json!("3.5.0")));
    // Its editor.
    let (end, form) = (start + 1_200, format!("start={start}&end={}&match%5B%5D=up", start + 1_200));
    let (_, body) = exchange(&daemon, &post("/api/v1/labels", agent, &form));
    assert_eq!(body["data"], json!(["__name__", "instance", "job"]));
    let (_, body) = exchange(&daemon, &get(&format!("/api/v1/label/__name__/values?{form}"), agent));
    assert_eq!(body["data"], json!(["up"]));
    let (_, body) = exchange(&daemon, &post("/api/v1/series", agent, &form));
    assert_eq!(body["data"].as_array().unwrap().len(), 2);
    let (status, body) = exchange(&daemon, &get("/api/v1/metadata?limit=5", agent));
    assert_eq!((status, &body["status"]), (200, &json!("success")));
    for path in ["rules", "alerts"] {
        let (status, body) = exchange(&daemon, &get(&format!("/api/v1/{path}"), agent));
        assert_eq!((status, body["data"][if path == "rules" { "groups" } else { "alerts" }].is_array()), (200, true));
    }
    // A panel, over a range and as of now.
    let panel = format!("query=sum%28rate%28requests_total%5B1m%5D%29%29&start={}&end={end}&step=15", start + 60);
    let (_, body) = exchange(&daemon, &post("/api/v1/query_range", agent, &panel));
    let values = body["data"]["result"][0]["values"].as_array().unwrap();
    assert_eq!((values.len(), &values[0][0]), (77, &json!(start + 60)));
    assert!(close_to_two(&values[0][1]), "{}", values[0]);
    let (_, body) = exchange(&daemon, &post("/api/v1/query", agent, &format!("query=up&time={end}.123")));
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 2);
    let exemplars = format!("query=up&start={start}&end={end}&step=15");
    assert_eq!(exchange(&daemon, &post("/api/v1/query_exemplars", agent, &exemplars)).1["data"], json!([]));
}

#[tokio::test]
async fn argo_rollouts_measures() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    // The Prometheus client of Go: POST, a time with three decimals.
    let form = format!("query=sum%28rate%28requests_total%5B5m%5D%29%29&time={}.250", start + 600);
    let (status, body) = exchange(&daemon, &post("/api/v1/query", "Go-http-client/1.1", &form));
    assert_eq!(status, 200);
    let value = &body["data"]["result"][0]["value"];
    assert_eq!(value[0], json!((start + 600) as f64 + 0.25));
    assert!(close_to_two(&value[1]), "{value}");
    // A query without data: Argo sees an empty vector, not an error.
    let form = format!("query=nothing&time={start}.000");
    let (status, body) = exchange(&daemon, &post("/api/v1/query", "Go-http-client/1.1", &form));
    assert_eq!((status, &body["data"]["result"]), (200, &json!([])));
    // A range query, as its `rangeQuery` sends it.
    let form = format!("end={}&query=up&start={start}&step=60", start + 600);
    let (_, body) = exchange(&daemon, &post("/api/v1/query_range", "Go-http-client/1.1", &form));
    assert_eq!(body["data"]["result"][0]["values"].as_array().unwrap().len(), 11);
}

/// Analyses as teams have published them: the query, when a measurement succeeds, and what it is of a healthy version and
/// of one that fails 5 % of its requests and answers half of them in up to half a second. The last one compares seconds
/// with milliseconds, and so never fails; that is for `check` and the judge to say, the query's answer is what it is.
type Analysis = (&'static str, fn(f64) -> bool, [(f64, bool); 2]);

const ANALYSES: [Analysis; 3] = [
    (
        "sum(rate(http_requests_total{service=\"payroll-calc\",status=~\"2..|3..\"}[5m]))\n/\n\
         sum(rate(http_requests_total{service=\"payroll-calc\"}[5m]))\n",
        |result| result >= 0.999,
        [(1.0, true), (0.95, false)],
    ),
    (
        "sum(rate(http_requests_total{job='checkout',status=~'5..',version='canary'}[1m]))\n/\n\
         sum(rate(http_requests_total{job='checkout',version='canary'}[1m]))\n",
        |result| result < 0.02,
        [(0.0, true), (0.05, false)],
    ),
    (
        "histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket{job='checkout',version='canary'}[1m])) by (le))\n",
        |result| result < 300.0,
        [(0.2375, true), (0.475, true)],
    ),
];

/// Argo evaluates an `AnalysisTemplate`'s query as it stands, through a passing and a failing canary.
#[tokio::test]
async fn published_analyses_measure_a_passing_and_a_failing_canary() {
    let start = half_an_hour_ago();
    let keep = "--store.match={__name__=~\"http_requests_total|http_request_duration_seconds_bucket\"}";
    let daemon = daemon(start, &[keep]).await;
    // Ten minutes of a healthy version, ten of a failing one.
    let series = |name: &str, label: (&str, &str), (healthy, failing): (f64, f64)| {
        let sample = |i: i64| (i.min(40) as f64 * healthy) + ((i - 40).max(0) as f64 * failing);
        let samples: Vec<(i64, f64)> = (0..=80).map(|i| ((start + 15 * i) * 1_000, sample(i))).collect();
        let labels = [
            ("__name__", name),
            ("instance", "a:80"),
            ("job", "checkout"),
            label,
            ("service", "payroll-calc"),
            ("version", "canary"),
        ];
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        TimeSeries::new(labels, &samples)
    };
    let bucket = |bound, counts| series("http_request_duration_seconds_bucket", ("le", bound), counts);
    let all = [
        series("http_requests_total", ("status", "200"), (1_000.0, 950.0)),
        series("http_requests_total", ("status", "500"), (0.0, 50.0)),
        bucket("0.25", (1_000.0, 500.0)),
        bucket("0.5", (1_000.0, 1_000.0)),
        bucket("+Inf", (1_000.0, 1_000.0)),
    ];
    assert_eq!(daemon.write(&all).await.status, 204);
    for (query, succeeds, expected) in ANALYSES {
        for (at, (result, success)) in [start + 540, start + 1_140].into_iter().zip(expected) {
            let pairs = [("query", query), ("time", &format!("{at}.000"))];
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            let (status, body) = exchange(&daemon, &post("/api/v1/query", "Go-http-client/1.1", &form));
            assert_eq!(status, 200, "{body}");
            let measured: f64 = body["data"]["result"][0]["value"][1].as_str().unwrap().parse().unwrap();
            assert!((measured - result).abs() < 1e-9, "{query}: {measured}");
            assert_eq!(succeeds(measured), success, "{query}: {measured}");
        }
    }
}

#[tokio::test]
async fn flagger_measures() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let (status, body) = exchange(&daemon, &get("/api/v1/query?query=vector(1)", "Go-http-client/1.1"));
    assert_eq!((status, &body["data"]["resultType"]), (200, &json!("vector")));
    assert_eq!(body["data"]["result"][0]["value"][1], json!("1"));
    // What a metric template becomes: several lines, percent-encoded.
    let query =
        "%0A++100+-+sum%28%0A++++rate%28requests_total%7Bcode%3D~%225..%22%7D%5B1m%5D%29%0A++%29+or+vector%28100%29";
    let (_, body) = exchange(&daemon, &get(&format!("/api/v1/query?query={query}"), "Go-http-client/1.1"));
    assert_eq!(body["data"]["result"][0]["value"][1], json!("100"));
    let (status, _) = exchange(&daemon, &get("/-/healthy", "Go-http-client/1.1"));
    assert_eq!(status, 200);
}

#[tokio::test]
async fn status_pages_have_prometheus_fields() {
    let daemon = daemon(half_an_hour_ago(), &["--query.timeout=7s"]).await;
    assert_eq!(daemon.api("/api/v1/status/config").await, json!({"yaml": ""}));
    assert_eq!(daemon.api("/api/v1/status/flags").await["query.timeout"], json!("7s"));
    let runtime = daemon.api("/api/v1/status/runtimeinfo").await;
    for field in ["startTime", "CWD", "hostname", "serverTime", "lastConfigTime", "storageRetention"] {
        assert!(runtime[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {runtime}");
    }
    assert_eq!(runtime["reloadConfigSuccess"], json!(true));
    assert_eq!(daemon.api("/api/v1/status/walreplay").await["state"], json!("done"));
}

/// Runs promtool against the daemon.
fn promtool(daemon: &Daemon, arguments: &[&str]) -> String {
    let binary = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    let output = Command::new(binary).args(arguments).output().unwrap();
    let _ = daemon;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs promtool, or its path in PROMTOOL"]
async fn promtool_queries() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let url = daemon.url.as_str().trim_end_matches('/');
    let time = format!("--time={}", start + 600);
    let instant = promtool(&daemon, &["query", "instant", &time, url, "up{job=\"a\"}"]);
    assert_eq!(instant.trim(), format!("up{{instance=\"a:80\", job=\"a\"}} => 1 @[{}]", start + 600));
    let (from, to) = (format!("--start={start}"), format!("--end={}", start + 30));
    let range = promtool(&daemon, &["query", "range", &from, &to, "--step=15s", url, "requests_total"]);
    let expected = format!(
        "requests_total{{code=\"2\\\"x\", job=\"a\"}} =>\n0 @[{start}]\n30 @[{}]\n60 @[{}]",
        start + 15,
        start + 30
    );
    assert_eq!(range.trim(), expected);
    let series = promtool(&daemon, &["query", "series", "--match=up", &from, &to, url]);
    assert_eq!(series.lines().count(), 2, "{series}");
    let names = promtool(&daemon, &["query", "labels", &from, &to, url, "job"]);
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
}
