//! Prometheus' query API on the real binary: exact answers and errors, and what clients of Prometheus send, byte by byte.

mod clients;
mod differential;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sloburn::clock;
use sloburn::types::Timestamp;
use sloburn::wire::proto::TimeSeries;

use crate::daemon::{Answer, Daemon};
use crate::traffic::SHOP;

/// A whole second half an hour ago.
pub fn half_an_hour_ago() -> i64 {
    clock::now().as_millis().div_euclid(1_000) - 1_800
}

/// A daemon that keeps everything, with two series of `up` and one counter of 20 minutes.
pub async fn daemon(start: i64, options: &[&str]) -> Daemon {
    let daemon = Daemon::start(SHOP, &[&["--store.match={__name__=~\"up|requests_total|text\"}"], options].concat());
    let up = |job: &str, value: f64| {
        let samples: Vec<(i64, f64)> = (0..80).map(|i| ((start + 15 * i) * 1_000, value)).collect();
        TimeSeries::new([("__name__", "up"), ("instance", "a:80"), ("job", job)], &samples)
    };
    let count: Vec<(i64, f64)> = (0..80).map(|i| ((start + 15 * i) * 1_000, (30 * i) as f64)).collect();
    let requests = TimeSeries::new([("__name__", "requests_total"), ("code", "2\"x"), ("job", "a")], &count);
    let other = TimeSeries::new([("__name__", "not_kept"), ("job", "a")], &count);
    let answer = daemon.write(&[up("a", 1.0), up("b", 0.0), requests, other]).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    daemon
}

/// GET with these parameters.
pub async fn get(daemon: &Daemon, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    daemon.send("GET", &format!("{path}?{query}"), HeaderMap::new(), Vec::new()).await
}

/// POST of a form.
pub async fn post(daemon: &Daemon, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    daemon.send("POST", path, headers, form.into_bytes()).await
}

fn parsed(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text))
}

#[tokio::test]
async fn answers_are_prometheus_to_the_byte() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let at = start + 600;
    let time = format!("{at}.5");
    for (query, data) in [
        (
            "up",
            format!(
                r#"{{"resultType":"vector","result":[{{"metric":{{"__name__":"up","instance":"a:80","job":"a"}},"value":[{at}.500,"1"]}},{{"metric":{{"__name__":"up","instance":"a:80","job":"b"}},"value":[{at}.500,"0"]}}]}}"#
            ),
        ),
        (
            "sum(requests_total) / 600",
            format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"value":[{at}.500,"2"]}}]}}"#),
        ),
        (
            "requests_total[30s]",
            format!(
                r#"{{"resultType":"matrix","result":[{{"metric":{{"__name__":"requests_total","code":"2\"x","job":"a"}},"values":[[{},"1170"],[{at},"1200"]]}}]}}"#,
                at - 15
            ),
        ),
        ("1 / 0", format!(r#"{{"resultType":"scalar","result":[{at}.500,"+Inf"]}}"#)),
        ("\"a\\nb\"", format!(r#"{{"resultType":"string","result":[{at}.500,"a\nb"]}}"#)),
        ("not_kept", r#"{"resultType":"vector","result":[]}"#.to_owned()),
        (
            "vector(1e-7)",
            format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"value":[{at}.500,"1e-07"]}}]}}"#),
        ),
    ] {
        let expected = format!(r#"{{"status":"success","data":{data}}}"#);
        let parameters = [("query", query), ("time", &time)];
        for answer in
            [get(&daemon, "/api/v1/query", &parameters).await, post(&daemon, "/api/v1/query", &parameters).await]
        {
            assert_eq!((answer.status, answer.text), (200, expected.clone()), "{query}");
            assert_eq!(answer.headers["content-type"], "application/json");
        }
    }
    let (from, to) = (at.to_string(), Timestamp((at + 60) * 1_000).to_rfc3339());
    let parameters = [("query", "requests_total"), ("start", &from), ("end", &to), ("step", "30s")];
    let answer = post(&daemon, "/api/v1/query_range", &parameters).await;
    let expected = format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"requests_total","code":"2\"x","job":"a"}},"values":[[{at},"1200"],[{},"1260"],[{},"1320"]]}}]}}}}"#,
        at + 30,
        at + 60
    );
    assert_eq!(answer.text, expected);
    let warned = get(&daemon, "/api/v1/query", &[("query", "up"), ("time", &time), ("limit", "1")]).await;
    assert_eq!(parsed(&warned)["warnings"], json!(["results truncated due to limit"]));
    let noted = get(&daemon, "/api/v1/query", &[("query", "rate(up[5m])"), ("time", &time)]).await;
    let info =
        "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)";
    assert_eq!(parsed(&noted)["infos"], json!([info]));
    let looked_back =
        get(&daemon, "/api/v1/query", &[("query", "up"), ("time", &time), ("lookback_delta", "200ms")]).await;
    assert_eq!(parsed(&looked_back)["data"]["result"], json!([]));
}

#[tokio::test]
async fn errors_are_prometheus() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &["--query.max-samples=50"]).await;
    let (time, later) = (start.to_string(), (start + 600).to_string());
    let range = |query: &'static str, step: &'static str| {
        vec![("query", query), ("start", "0"), ("end", "12000"), ("step", step)]
    };
    let to = [("query", "up"), ("start", "10"), ("end", "5"), ("step", "1")].to_vec();
    let heavy = [("query", "up"), ("start", &*time), ("end", &*later), ("step", "15")].to_vec();
    let query = |text: &'static str| vec![("query", text)];
    for (path, parameters, status, kind, says) in [
        (
            "query",
            query(""),
            400,
            "bad_data",
            r#"invalid parameter "query": unknown position: parse error: no expression found in input"#,
        ),
        (
            "query",
            query("up +"),
            400,
            "bad_data",
            r#"invalid parameter "query": 1:5: parse error: unexpected end of input"#,
        ),
        (
            "query",
            vec![("query", "up"), ("time", "x")],
            400,
            "bad_data",
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "x" to a valid timestamp"#,
        ),
        (
            "query",
            vec![("query", "up"), ("timeout", "x")],
            400,
            "bad_data",
            r#"invalid parameter "timeout": cannot parse "x" to a valid duration"#,
        ),
        (
            "query",
            vec![("query", "up"), ("limit", "-1")],
            400,
            "bad_data",
            r#"invalid parameter "limit": limit must be non-negative"#,
        ),
        (
            "query",
            vec![("query", "up"), ("lookback_delta", "x")],
            400,
            "bad_data",
            r#"error parsing lookback delta duration: cannot parse "x" to a valid duration"#,
        ),
        ("query", vec![("query", "up"), ("timeout", "0")], 503, "timeout", "query timed out in "),
        (
            "query",
            vec![("query", "up + on() up"), ("time", &later)],
            422,
            "execution",
            "found duplicate series for the match group {} on the ",
        ),
        (
            "query_range",
            range("up", "1"),
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range",
            range("up", "0"),
            400,
            "bad_data",
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            "query_range",
            range("up[5m]", "60"),
            400,
            "bad_data",
            r#"invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector"#,
        ),
        ("query_range", to, 400, "bad_data", r#"invalid parameter "end": end timestamp must not be before start time"#),
        (
            "query_range",
            vec![("query", "up")],
            400,
            "bad_data",
            r#"invalid parameter "start": cannot parse "" to a valid timestamp"#,
        ),
        (
            "query_range",
            heavy,
            422,
            "execution",
            "query processing would load too many samples into memory in query execution",
        ),
        ("series", vec![], 400, "bad_data", "no match[] parameter provided"),
        (
            "series",
            vec![("match[]", "{a=\"\"}")],
            400,
            "bad_data",
            r#"invalid parameter "match[]": match[] must contain at least one non-empty matcher"#,
        ),
        ("metadata", vec![("limit", "x")], 400, "bad_data", "limit must be a number"),
        ("rules", vec![("type", "x")], 400, "bad_data", r#"invalid parameter "type": not supported value "x""#),
        (
            "rules",
            vec![("exclude_alerts", "maybe")],
            400,
            "bad_data",
            r#"invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "maybe": invalid syntax"#,
        ),
        ("labels", vec![("match[]", "up + 1")], 400, "bad_data", "1:4: parse error: unexpected <op:+>"),
        ("status/tsdb", vec![("limit", "0")], 400, "bad_data", "limit must be a positive number"),
        (
            "format_query",
            query("("),
            400,
            "bad_data",
            r#"invalid parameter "query": 1:2: parse error: unclosed left parenthesis"#,
        ),
        ("nowhere", vec![], 404, "not_found", "no such path"),
    ] {
        let answer = get(&daemon, &format!("/api/v1/{path}"), &parameters).await;
        let body = parsed(&answer);
        assert_eq!(
            (answer.status, &body["status"], &body["errorType"]),
            (status, &json!("error"), &json!(kind)),
            "{path} {parameters:?}: {body}"
        );
        let error = body["error"].as_str().unwrap();
        assert!(error.starts_with(says), "{path} {parameters:?}: {error}");
    }
    let refused = daemon.send("DELETE", "/api/v1/query", HeaderMap::new(), Vec::new()).await;
    assert_eq!(refused.status, 405);
    let long = "x".repeat(300 << 10);
    let too_long = post(&daemon, "/api/v1/query", &[("query", &long)]).await;
    assert_eq!((too_long.status, parsed(&too_long)["errorType"].clone()), (400, json!("bad_data")));
}

#[tokio::test]
async fn series_and_labels_are_listed() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let up = |job: &str| json!({"__name__": "up", "instance": "a:80", "job": job});
    let answer =
        post(&daemon, "/api/v1/series", &[("match[]", "up"), ("match[]", "{job=\"a\",code=\"\",sloth_id=\"\"}")]).await;
    assert_eq!(parsed(&answer)["data"], json!([up("a"), up("b")]));
    let early = (start - 10).to_string();
    let answer = get(&daemon, "/api/v1/series", &[("match[]", "up"), ("end", &early)]).await;
    assert_eq!(parsed(&answer)["data"], json!([]));
    let answer = get(&daemon, "/api/v1/series", &[("match[]", "up"), ("limit", "1")]).await;
    assert_eq!(parsed(&answer)["warnings"], json!(["results truncated due to limit"]));
    let answer = get(&daemon, "/api/v1/labels", &[("match[]", "requests_total")]).await;
    assert_eq!(parsed(&answer)["data"], json!(["__name__", "code", "job"]));
    let names = daemon.api("/api/v1/labels").await;
    for name in ["__name__", "code", "instance", "job", "sloth_service"] {
        assert!(names.as_array().unwrap().contains(&json!(name)), "{names}");
    }
    assert_eq!(daemon.api("/api/v1/label/job/values").await, json!(["a", "b"]));
    let answer = get(&daemon, "/api/v1/label/job/values", &[("match[]", "requests_total")]).await;
    assert_eq!(parsed(&answer)["data"], json!(["a"]));
    assert_eq!(daemon.api("/api/v1/label/nothing/values").await, json!([]));
    let metadata = daemon.api("/api/v1/metadata?metric=slo:objective:ratio").await;
    assert_eq!(metadata["slo:objective:ratio"][0]["type"], "gauge");
    assert_eq!(daemon.api("/api/v1/query_exemplars?query=up&start=1&end=2").await, json!([]));
    assert_eq!(daemon.api("/api/v1/format_query?query=sum(up)by(job)").await, json!("sum by (job) (up)"));
    assert_eq!(daemon.api("/api/v1/parse_query?query=up").await["type"], json!("vectorSelector"));
    let tsdb = daemon.api("/api/v1/status/tsdb?limit=1").await;
    assert_eq!(tsdb["seriesCountByMetricName"].as_array().unwrap().len(), 1);
    assert_eq!(tsdb["headStats"]["minTime"], json!(start * 1_000));
    assert!(tsdb["headStats"]["numSeries"].as_u64().unwrap() >= 3, "{tsdb}");
}

#[tokio::test]
async fn figures_of_slos_are_series() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let objective = daemon.api("/api/v1/query?query=slo:objective:ratio").await;
    let [series] = &objective["result"].as_array().unwrap()[..] else { panic!("one SLO: {objective}") };
    let labels = json!({
        "__name__": "slo:objective:ratio", "sloth_id": "shop-availability", "sloth_service": "shop",
        "sloth_slo": "availability",
    });
    assert_eq!((&series["metric"], &series["value"][1]), (&labels, &json!("0.999")));
    let info = daemon.api("/api/v1/query?query=sloth_slo_info%7Bsloth_objective=%2299.9%22%7D").await;
    assert_eq!(info["result"][0]["value"][1], json!("1"));
    // Its history: the first sample is taken at once.
    let recorded = crate::process::until("a recorded figure", crate::process::PATIENCE, async || {
        let range = daemon.api("/api/v1/query?query=slo:error_budget:ratio[10m]").await;
        let samples = range["result"][0]["values"].as_array().map_or(0, Vec::len);
        if samples > 0 { Ok(range) } else { Err(range.to_string()) }
    })
    .await;
    assert_eq!(recorded["result"][0]["values"][0][1], json!("0.001"));
    let series = daemon.metric("sloburn_store_series", &[]).await;
    assert!(series >= 7.0, "{series}");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let start = half_an_hour_ago();
    let daemon = daemon(start, &[]).await;
    let mut headers = HeaderMap::new();
    headers.insert("accept-encoding", HeaderValue::from_static("gzip"));
    let path = format!("/api/v1/query_range?query=up&start={start}&end={}&step=15", start + 1_200);
    let plain = daemon.send("GET", &path, HeaderMap::new(), Vec::new()).await;
    let mut stream = daemon.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
    let head = String::from_utf8_lossy(&bytes[..200.min(bytes.len())]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-encoding: gzip"), "{head}");
    assert!(bytes.windows(2).any(|pair| pair == [0x1f, 0x8b]), "gzip's magic bytes");
    assert!(bytes.len() * 3 < plain.text.len(), "{} of {}", bytes.len(), plain.text.len());
}
