//! A real Prometheus and the real binary side by side: the same rule file, the same samples by remote write, the same
//! slots. What they record has the same times and values, and their alerts and rules read the same.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sloburn::clock::{self, Steady};
use sloburn::types::Span;
use sloburn::wire::proto::{Label, Sample, TimeSeries};
use tempfile::TempDir;
use url::Url;

use crate::daemon::{body_of, client, sloburn, write_headers};
use crate::process::{PATIENCE, Process, until};

/// Two groups with slots of their own; what they look at is older than the offset, so that it has arrived.
const RULES: &str = r"
groups:
  - name: first
    interval: 2s
    query_offset: 2s
    labels: {team: core}
    rules:
      - {record: 'x:sum', expr: sum by (job) (x)}
      - {record: 'x:rate', expr: 'rate(x[6s])', labels: {extra: '1'}}
      - alert: Odd
        expr: x:sum % 4 > 1
        for: 2s
        keep_firing_for: 4s
        labels: {level: '{{ if gt $value 2.0 }}high{{ else }}low{{ end }}'}
        annotations: {summary: '{{ $labels.job }}: {{ $value }}'}
      - {record: failing, expr: 'x * on (job) x:sum * on () group_left () nothing or x / on (job) x'}
  - name: second
    interval: 3s
    query_offset: 3s
    limit: 10
    rules:
      - {record: 'alerts:count', expr: count(ALERTS) or vector(0)}
      - {alert: Always, expr: vector(1), annotations: {at: '{{ $externalURL }}'}}
";

struct Peer {
    url: Url,
    _process: Process,
    _folder: TempDir,
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    let config = "global: {evaluation_interval: 1m, external_labels: {cluster: eu}}\nrule_files: [rules.yaml]\n";
    fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    folder
}

fn prometheus(binary: &OsString) -> Peer {
    let folder = folder();
    let mut command = Command::new(binary);
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]);
    command.args(["--web.enable-remote-write-receiver", "--web.external-url=http://same.example/"]);
    command.args(["--web.route-prefix=/"]);
    let process = Process::start("prometheus", command.current_dir(folder.path()));
    let address = process.line("the address it listens on", |line| {
        let (_, rest) = line.split_once("msg=\"Listening on\" ")?;
        Some(rest.split_once("address=")?.1.to_owned())
    });
    Peer { url: format!("http://{address}/").parse().unwrap(), _process: process, _folder: folder }
}

fn ours() -> Peer {
    let folder = folder();
    let mut command = sloburn();
    command.args(["serve", "--web.listen-address=127.0.0.1:0", "--log.format=json", "--rules=rules.yaml"]);
    command.args(["--storage.path=data", "--external-label=cluster=eu", "--web.external-url=http://same.example/"]);
    let process = Process::start("sloburn", command.current_dir(folder.path()));
    let url = process.line("the address it listens on", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["write_url"].as_str().map(str::to_owned)
    });
    let url = url.parse::<Url>().unwrap().join("/").unwrap();
    Peer { url, _process: process, _folder: folder }
}

impl Peer {
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let mut url = self.url.join(path).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer: Value =
            serde_json::from_str(&client().get(url).send().await.unwrap().text().await.unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    async fn write(&self, series: &[TimeSeries]) {
        let request = client().post(self.url.join("api/v1/write").unwrap()).headers(write_headers());
        let status = request.body(body_of(series)).send().await.unwrap().status();
        assert!(status.is_success(), "{status}");
    }

    /// Samples of a series by its labels: `time value` each.
    async fn recorded(&self, selector: &str, at: &str) -> Value {
        let query = format!("{selector}[60s]");
        let data = self.get("api/v1/query", &[("query", &query), ("time", at)]).await;
        let mut series = data["result"].as_array().unwrap().clone();
        series.sort_by_key(|series| series["metric"].to_string());
        Value::Array(series)
    }

    /// The rules without what differs from run to run.
    async fn rules(&self) -> Value {
        let mut data = self.get("api/v1/rules", &[]).await;
        strip(&mut data);
        data
    }
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for name in ["evaluationTime", "lastEvaluation", "alerts", "state"] {
                object.remove(name);
            }
            // Prometheus 3.5 leaves them out, later ones do not.
            if object.get("type").is_some_and(|kind| kind == "recording") {
                let labels =
                    object.remove("labels").filter(|labels| labels.as_object().is_some_and(|map| !map.is_empty()));
                object.extend(labels.map(|labels| ("labels".to_owned(), labels)));
            }
            object.values_mut().for_each(strip);
            object.sort_keys();
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Two series that go up and down within seconds.
fn samples(tick: i64) -> Vec<TimeSeries> {
    let at = clock::now().0;
    let one = |instance: &str, value: i64| {
        let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
        let labels = vec![label("__name__", "x"), label("instance", instance), label("job", "a")];
        TimeSeries { labels, samples: vec![Sample { value: value as f64, timestamp: at }], ..TimeSeries::default() }
    };
    vec![one("1", tick / 8), one("2", (tick / 12) * 2)]
}

#[tokio::test]
#[ignore = "needs PROMETHEUS3"]
#[expect(clippy::print_stdout, reason = "the counts are what this test is read for")]
async fn the_daemon_records_what_prometheus_records() {
    let binary = std::env::var_os("PROMETHEUS3").expect("PROMETHEUS3 names a Prometheus 3");
    assert!(Path::new(&binary).exists());
    let (theirs, ours) = (prometheus(&binary), ours());
    until("Prometheus to be ready", PATIENCE, async || {
        let answer = client().get(theirs.url.join("-/ready").unwrap()).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    // The first evaluations of both lie within the first seconds; compared is what comes after.
    let clock = Steady::start();
    let begun = clock.now() + Span::seconds(14);
    let mut tick = 0;
    let end = begun + Span::seconds(24);
    while clock.now() < end {
        let series = samples(tick);
        tokio::join!(theirs.write(&series), ours.write(&series));
        tick += 1;
        clock.sleep_until(clock.now() + Span::millis(250)).await;
    }
    let mut compared = 0;
    let at = format!("{:.3}", (end - Span::seconds(6)).as_secs_f64());
    let newer = |series: &Value| -> Vec<(String, Vec<Value>)> {
        let of = |series: &Value| {
            let values = series["values"].as_array().unwrap().iter();
            let newer = values.filter(|value| value[0].as_f64().unwrap() > begun.as_secs_f64());
            (series["metric"].to_string(), newer.cloned().collect::<Vec<_>>())
        };
        series.as_array().unwrap().iter().map(of).filter(|(_, values)| !values.is_empty()).collect()
    };
    for selector in ["x:sum", "x:rate", "failing", "ALERTS", "ALERTS_FOR_STATE", "alerts:count"] {
        let (expected, found) =
            (newer(&theirs.recorded(selector, &at).await), newer(&ours.recorded(selector, &at).await));
        assert_eq!(found, expected, "{selector}");
        compared += found.iter().map(|(_, values)| values.len()).sum::<usize>();
    }
    assert_eq!(ours.rules().await, theirs.rules().await);
    println!("{compared} samples of rules with equal times and values");
    assert!(compared > 40, "{compared}");
}
