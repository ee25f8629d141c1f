//! The query API beside a real Prometheus: both hold the same hour of samples and answer the same queries over HTTP,
//! each on one core. `PROMETHEUS3=/path/to/prometheus cargo bench --bench peers_promql`; does nothing without it.

#![expect(clippy::print_stdout, reason = "its report")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1};

const SCRAPES: i64 = 240;
const SCRAPES_A_REQUEST: i64 = 5;
const INTERVAL_MILLIS: i64 = 15_000;
const BOUNDS: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
/// Runs of each query on each server, in turn.
const RUNS: usize = 9;
/// The core both run on, one after the other.
const CORE: &str = "1";

const SPEC: &str = "
apiVersion: sloburn/v1
kind: Service
metadata: {name: bench}
spec:
  slis: [{name: errors, events: {bad: 'none_total{x=\"1\"}', total: none_total}}]
  slos: [{name: availability, sli: errors, objective: 99}]
";

struct Server {
    child: Child,
    base: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that keeps to one core, where the system can do that.
fn on_one_core(program: &Path) -> Command {
    let has_taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok();
    let mut command = if has_taskset { Command::new("taskset") } else { Command::new(program) };
    if has_taskset {
        command.args(["-c", CORE]).arg(program);
    }
    command
}

impl Server {
    fn start(mut command: Command, folder: &Path, ready: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(folder);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains(ready));
        assert!(is_ready, "the server ended before it was ready");
        // Nobody reads the rest, and nobody may wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, base: format!("http://127.0.0.1:{port}") }
    }
}

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

async fn write(client: &reqwest::Client, base: &str, body: Vec<u8>) {
    let request = client.post(format!("{base}/api/v1/write")).header("content-type", "application/x-protobuf");
    let response = request.header("content-encoding", "snappy").body(body).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
}

async fn ask(client: &reqwest::Client, base: &str, path: &str, form: &str) -> (Duration, serde_json::Value) {
    let request = client.post(format!("{base}/api/v1/{path}")).body(form.to_owned());
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

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(binary) = std::env::var_os("PROMETHEUS3") else {
        println!("skipped: PROMETHEUS3 is not the path of a Prometheus 3");
        return;
    };
    sloburn::notify::install_tls_provider();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), "").unwrap();
    std::fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    let mut command = on_one_core(Path::new(&binary));
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.enable-remote-write-receiver"]);
    let prometheus = Server::start(command, folder.path(), "Server is ready to receive web requests");
    let mut command = on_one_core(Path::new(env!("CARGO_BIN_EXE_sloburn")));
    command.args(["serve", "--rules=spec.yaml", "--storage.path=", "--store.retention.time=3h"]);
    command.args([
        "--store.match={__name__=~\"http_requests_total|latency_seconds_bucket\"}",
        "--store.retention.size=1GiB",
    ]);
    let sloburn = Server::start(command, folder.path(), "ready for samples");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    let (end, mut number) = (now / INTERVAL_MILLIS * INTERVAL_MILLIS - 60_000, 0);
    while number < SCRAPES {
        let scrapes = number..number + SCRAPES_A_REQUEST;
        let at = |number: i64| end - (SCRAPES - 1 - number) * INTERVAL_MILLIS;
        let timeseries = scrapes.flat_map(|number| scrape(number, at(number))).collect();
        let body = encode_v1(&WriteRequest { timeseries });
        write(&client, &prometheus.base, body.clone()).await;
        write(&client, &sloburn.base, body).await;
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
            for (server, times) in [&prometheus, &sloburn].into_iter().zip(&mut times) {
                let (took, answer) = ask(&client, &server.base, path, &form).await;
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
}
