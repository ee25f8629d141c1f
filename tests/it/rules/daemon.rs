//! Rule files under the real binary: from remote write to recorded series, alerts and a restart.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sloburn::clock;
use sloburn::wire::proto::{Label, Sample, TimeSeries};

use crate::daemon::Daemon;
use crate::process::{PATIENCE, until};
use crate::receiver::Receiver;

const RULES: &str = r"
groups:
  - name: jobs
    interval: 1s
    rules:
      - record: job:x:sum
        expr: sum by (job) (x)
        labels: {made: here}
      - alert: High
        expr: job:x:sum > 10
        for: 2s
        labels: {severity: 'page-{{ $labels.job }}'}
        annotations: {summary: '{{ $labels.job }} is at {{ $value }}'}
";

fn x(instance: &str, value: f64) -> TimeSeries {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let labels = vec![label("__name__", "x"), label("instance", instance), label("job", "a")];
    TimeSeries { labels, samples: vec![Sample { value, timestamp: clock::now().0 }], ..TimeSeries::default() }
}

async fn value(daemon: &Daemon, query: &str) -> Option<String> {
    let data = daemon.api(&format!("/api/v1/query?query={query}")).await;
    data["result"][0]["value"][1].as_str().map(str::to_owned)
}

async fn until_alert(daemon: &Daemon, state: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("an alert {state}"), PATIENCE, async || {
        let alerts = daemon.api("/api/v1/alerts").await["alerts"].clone();
        found = alerts[0].clone();
        if found["state"] == state { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    found
}

#[tokio::test]
async fn rules_record_alert_and_survive_a_crash() {
    let mut receiver = Receiver::start().await;
    let hook = format!("--webhook={}", receiver.url("/hook"));
    let options = [hook.as_str(), "--external-label=cluster=eu"];
    let daemon = Daemon::start(RULES, &options);
    assert_eq!(daemon.write(&[x("1", 8.0), x("2", 12.5)]).await.status, 204);
    let firing = until_alert(&daemon, "firing").await;
    assert_eq!(value(&daemon, "job:x:sum%7Bmade=\"here\"%7D").await.as_deref(), Some("20.5"));
    assert_eq!(value(&daemon, "ALERTS%7Balertstate=\"firing\"%7D").await.as_deref(), Some("1"));
    let since = value(&daemon, "ALERTS_FOR_STATE").await.unwrap();
    let active_at: jiff::Timestamp = firing["activeAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(since, active_at.as_second().to_string());
    let labels = json!({"alertname": "High", "job": "a", "made": "here", "severity": "page-a"});
    assert_eq!((&firing["labels"], &firing["value"]), (&labels, &json!("2.05e+01")));
    let message = receiver.next().await.json();
    assert_eq!(message["data"]["annotations"], json!({"summary": "a is at 20.5"}));
    assert_eq!(message["data"]["labels"]["cluster"], "eu");
    assert_eq!(message["data"].get("slo"), None, "{message}");

    let groups = daemon.api("/api/v1/rules").await["groups"].clone();
    let group = &groups[0];
    assert_eq!((&group["name"], &group["interval"], &group["limit"]), (&json!("jobs"), &json!(1), &json!(0)));
    let [recording, alerting] = &group["rules"].as_array().unwrap()[..] else { panic!("{groups}") };
    let keys = |rule: &Value| rule.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(recording), "name query labels health evaluationTime lastEvaluation type");
    let expected = "state name query duration keepFiringFor labels annotations alerts health evaluationTime \
                    lastEvaluation type";
    assert_eq!(keys(alerting), expected);
    assert_eq!(
        (&alerting["state"], &alerting["health"], &alerting["duration"]),
        (&json!("firing"), &json!("ok"), &json!(2))
    );
    let records = daemon.api("/api/v1/rules?type=record&rule_group[]=jobs").await["groups"][0]["rules"].clone();
    assert_eq!(records.as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.api("/api/v1/rules?match[]=%7Bmade=\"other\"%7D").await["groups"], json!([]));

    // Without the log nothing is left of the samples; the alert goes on as it was.
    let lose_log = |folder: &Path| fs::remove_dir_all(folder.join("data/journal")).unwrap();
    let daemon = daemon.crash_and_restart(lose_log, &options);
    let after = until_alert(&daemon, "firing").await;
    assert_eq!(after["activeAt"], firing["activeAt"]);
    assert_eq!(daemon.write(&[x("1", 1.0), x("2", 1.0)]).await.status, 204);
    until("the rule to be evaluated on new samples", PATIENCE, async || {
        let found = value(&daemon, "job:x:sum").await;
        if found.as_deref() == Some("2") { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    // Held for a while for want of its series; that it comes back high and low again ends it.
    assert_eq!(daemon.write(&[x("1", 30.0)]).await.status, 204);
    until("the alert to have its new value", PATIENCE, async || {
        let alerts = daemon.api("/api/v1/alerts").await["alerts"].clone();
        if alerts[0]["value"] == "3.1e+01" { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    assert_eq!(daemon.write(&[x("1", 1.0)]).await.status, 204);
    loop {
        // What was delivered just before the crash may come once more.
        let next = receiver.next().await.json();
        for field in ["fingerprint", "startsAt", "labels"] {
            assert_eq!(next["data"][field], message["data"][field], "{field}");
        }
        if next["type"] == "alert.resolved" {
            break;
        }
        assert_eq!(next, message);
    }
}

#[tokio::test]
async fn samples_of_before_a_crash_are_evaluated_again() {
    let mut receiver = Receiver::start().await;
    let hook = format!("--webhook={}", receiver.url("/hook"));
    let daemon = Daemon::start(RULES, &[hook.as_str()]);
    assert_eq!(daemon.write(&[x("1", 8.0), x("2", 12.5)]).await.status, 204);
    let firing = until_alert(&daemon, "firing").await;
    let message = receiver.next().await.json();
    let daemon = daemon.crash_and_restart(|_| {}, &[hook.as_str()]);
    let until_sum = async |sum: &str| {
        until(&format!("the sum {sum}"), PATIENCE, async || {
            let found = value(&daemon, "job:x:sum").await;
            if found.as_deref() == Some(sum) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    // What was recorded is not in the log: this is new.
    until_sum("20.5").await;
    let after = until_alert(&daemon, "firing").await;
    assert_eq!((&after["activeAt"], &after["value"]), (&firing["activeAt"], &json!("2.05e+01")));
    // It was seen on its series again, so that it ends as soon as they say so.
    assert_eq!(daemon.write(&[x("1", 1.0), x("2", 1.0)]).await.status, 204);
    until_sum("2").await;
    loop {
        // What was delivered just before the crash may come once more.
        let next = receiver.next().await.json();
        if next["type"] == "alert.resolved" {
            assert_eq!(next["data"]["startsAt"], message["data"]["startsAt"]);
            break;
        }
        assert_eq!(next, message);
    }
}

#[tokio::test]
async fn a_reload_takes_all_or_nothing() {
    let daemon = Daemon::start(RULES, &["--web.enable-lifecycle"]);
    let spec = daemon.folder.path().join("spec.yaml");
    let reload = async || daemon.send("POST", "/-/reload", reqwest::header::HeaderMap::new(), Vec::new()).await;
    fs::write(&spec, RULES.replace("sum by (job) (x)", "sum by (job (x)")).unwrap();
    let answer = reload().await;
    assert_eq!(answer.status, 500);
    assert!(answer.text.contains("spec.yaml:7:") && answer.text.contains("not a PromQL expression"), "{}", answer.text);
    let names = async || {
        let data = daemon.api("/api/v1/rules").await;
        let rules = data["groups"][0]["rules"].as_array().unwrap().clone();
        rules.iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["job:x:sum", "High"]);
    fs::write(&spec, RULES.replace("job:x:sum", "job:y:sum").replace("(x)", "(y)")).unwrap();
    assert_eq!(reload().await.status, 200);
    assert_eq!(names().await, ["job:y:sum", "High"]);
    // What the new rules ask for is kept from now on.
    let mut sample = x("1", 3.0);
    sample.labels[0].value = "y".to_owned();
    assert_eq!(daemon.write(&[sample]).await.status, 204);
    until("the new rule to record", PATIENCE, async || {
        let found = value(&daemon, "job:y:sum").await;
        if found.as_deref() == Some("3") { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}
