//! The query API beside a real Prometheus: both hold the same hour of samples and answer the same queries over HTTP.

use std::time::{Duration, Instant, SystemTime};

use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1};

use crate::server::{Kind, Peers, SERVER_CORE, Server, pin_sender};

const SCRAPES: i64 = 240;
const SCRAPES_A_REQUEST: i64 = 5;
const INTERVAL_MILLIS: i64 = 15_000;
const BOUNDS: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
/// Runs of each query on each server, in turn.
const RUNS: usize = 9;
const SPEC: &str = "
apiVersion: sloburn/v1
kind: Service
metadata: {name: bench}
spec:
  slis: [{name: errors, events: {bad: 'none_total{x=\"1\"}', total: none_total}}]
  slos: [{name: availability, sli: errors, objective: 99}]
";

/// All series at one scrape.
fn scrape(number: i64, at: i64) -> Vec<TimeSeries> {
    let mut series = Vec::new();
    for id in 0..10_000_i64 {
        let (job, instance, code) = (format!("j{}", id % 10), format!("i{}", id / 10 % 100), format!("{}", id / 1_000));
        let labels = [("__name__", "http_requests_total"), ("code", &code), ("instance", &instance), ("job", &job)];
        series.push(TimeSeries::new(labels, &[(at, ((number + id) % 233 * (id % 17 + 1)) as f64)]));
    }
    for id in 0..1_000_i64 {
        let instance = format!("i{id}");
        for (place, le) in (1_i64..).zip(BOUNDS) {
            let labels = [("__name__", "latency_seconds_bucket"), ("instance", &*instance), ("le", le)];
            series.push(TimeSeries::new(labels, &[(at, (number * place * (id % 7 + 1)) as f64)]));
        }
    }
    series
}

async fn write(client: &reqwest::Client, server: &Server, body: Vec<u8>) {
    let request =
        client.post(format!("http://{}/api/v1/write", server.address)).header("content-type", "application/x-protobuf");
    let response = request.header("content-encoding", "snappy").body(body).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
}

async fn ask(client: &reqwest::Client, server: &Server, path: &str, form: &str) -> (Duration, serde_json::Value) {
    let request = client.post(format!("http://{}/api/v1/{path}", server.address)).body(form.to_owned());
    let start = Instant::now();
    let response = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    let bytes = response.bytes().await.unwrap();
    let took = start.elapsed();
    (took, serde_json::from_slice(&bytes).unwrap())
}

/// How many series, and the sum of all values: enough to see that both answer the same.
fn digest(answer: &serde_json::Value) -> (usize, f64) {
    assert_eq!(answer["status"], "success", "{answer}");
    let result = answer["data"]["result"].as_array().unwrap();
    let number = |point: &serde_json::Value| point[1].as_str().unwrap().parse::<f64>().unwrap();
    let of = |series: &serde_json::Value| match series["values"].as_array() {
        Some(values) => values.iter().map(number).sum(),
        None => number(&series["value"]),
    };
    (result.len(), result.iter().map(of).sum::<f64>())
}

pub fn run(peers: &Peers) -> anyhow::Result<()> {
    let (Some(sloburn), Some(prometheus)) = (peers.get(Kind::Sloburn), peers.get(Kind::Prometheus)) else {
        println!("promql: skipped without a Prometheus");
        return Ok(());
    };
    let args = [
        "--rules=spec.yaml",
        "--store.retention.time=3h",
        "--store.match={__name__=~\"http_requests_total|latency_seconds_bucket\"}",
        "--store.retention.size=1GiB",
    ];
    let sloburn = sloburn.start(SERVER_CORE, &args, &[("spec.yaml", SPEC.to_owned())])?;
    let prometheus = prometheus.start(SERVER_CORE, &[], &[])?;
    pin_sender()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(&prometheus, &sloburn))
}

async fn compare(prometheus: &Server, sloburn: &Server) -> anyhow::Result<()> {
    sloburn::notify::install_tls_provider();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let (end, mut number) = (now / INTERVAL_MILLIS * INTERVAL_MILLIS - 60_000, 0);
    while number < SCRAPES {
        let scrapes = number..number + SCRAPES_A_REQUEST;
        let at = |number: i64| end - (SCRAPES - 1 - number) * INTERVAL_MILLIS;
        let timeseries = scrapes.flat_map(|number| scrape(number, at(number))).collect();
        let body = encode_v1(&WriteRequest { timeseries });
        write(&client, prometheus, body.clone()).await;
        write(&client, sloburn, body).await;
        number += SCRAPES_A_REQUEST;
    }
    let end = end / 1_000;
    let queries = [
        ("rate over 10,000 series", "rate(http_requests_total[5m])", None),
        ("sum by over 10,000 rates", "sum by (job) (rate(http_requests_total[5m]))", None),
        (
            "quantile of 1,000 histograms",
            "histogram_quantile(0.99, sum by (instance, le) (rate(latency_seconds_bucket[5m])))",
            None,
        ),
        (
            "1,000 steps over 1,000 series",
            "sum by (code) (rate(http_requests_total{job=\"j0\"}[5m]))",
            Some((end - 2_997, 3)),
        ),
    ];
    println!("{:<32} {:>12} {:>12} {:>8}", "median of 9, one core", "Prometheus", "sloburn", "ratio");
    for (title, query, range) in queries {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", query);
        let path = match range {
            None => {
                form.append_pair("time", &end.to_string());
                "query"
            }
            Some((start, step)) => {
                let numbers: [(&str, i64); 3] = [("start", start), ("end", end), ("step", step)];
                form.extend_pairs(numbers.map(|(name, number)| (name, number.to_string())));
                "query_range"
            }
        };
        let form = form.finish();
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            let mut digests = Vec::new();
            for (server, times) in [prometheus, sloburn].into_iter().zip(&mut times) {
                let (took, answer) = ask(&client, server, path, &form).await;
                times.push(took);
                digests.push(digest(&answer));
            }
            let [(series, sum), (our_series, our_sum)] = digests[..] else { unreachable!("two servers") };
            let is_same = series == our_series && (sum - our_sum).abs() <= 1e-9 * sum.abs();
            assert!(is_same, "{title}: {series} series, sum {sum}; here {our_series}, {our_sum}");
        }
        let [theirs, ours] = times.map(|mut times| {
            times.sort_unstable();
            times[RUNS / 2].as_secs_f64() * 1_000.0
        });
        println!("{title:<32} {theirs:>9.1} ms {ours:>9.1} ms {:>8.2}", theirs / ours);
    }
    println!();
    Ok(())
}
