//! SLIs by PromQL under the real binary, and as generated rules.

use std::path::PathBuf;

use serde_json::json;
use sloburn::clock;
use sloburn::generate::{self, Format};
use sloburn::spec::{Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::{Label, Sample, TimeSeries};

use super::Bench;
use crate::canaries::releases::say;
use crate::daemon::{Daemon, sloburn};
use crate::process::{PATIENCE, until};

const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: pay}
spec:
  slis:
    - name: settled
      events:
        bad: 'sum(increase(settlements_total{state=~"lost|late"}[$window]))'
        total: 'sum(increase(settlements_total[$window])) > 0'
        every: 1s
    - name: share
      ratio: {error: 'avg_over_time(broken[1m])', every: 1s}
  slos:
    - {name: settled, sli: settled, objective: 99}
    - {name: share, sli: share, objective: 99}
"#;

fn series(name: &str, state: &str, at: Timestamp, value: f64) -> TimeSeries {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let labels = vec![label("__name__", name), label("instance", "i"), label("job", "pay"), label("state", state)];
    TimeSeries { labels, samples: vec![Sample { value, timestamp: at.0 }], ..TimeSeries::default() }
}

#[tokio::test]
async fn events_by_promql_are_counted_once_and_survive_a_crash() {
    let daemon = Daemon::start(SPEC, &[]);
    let now = clock::now();
    let (mut ok, mut lost) = (1_000.0, 10.0);
    for second in 0..6 {
        let at = now + Span::millis(700 * second);
        let both = [series("settlements_total", "ok", at, ok), series("settlements_total", "lost", at, lost)];
        assert_eq!(daemon.write(&both).await.status, 204);
        (ok, lost) = (ok + 18.0, lost + 2.0);
    }
    assert_eq!(daemon.write(&[series("broken", "", now, 0.25)]).await.status, 204);
    let mut figures = json!(null);
    until("all hundred settlements to be counted", PATIENCE, async || {
        let slo = daemon.slo("pay/settled").await;
        figures = json!([slo["good"], slo["bad"], slo["total"]]);
        if slo["total"] == 100.0 { Ok(()) } else { Err(figures.to_string()) }
    })
    .await;
    let slo = daemon.slo("pay/settled").await;
    assert_eq!((&slo["good"], &slo["total"]), (&json!(90), &json!(100)), "{slo}");
    until("shares to be counted", PATIENCE, async || {
        let slo = daemon.slo("pay/share").await;
        let (good, total) = (slo["good"].as_f64().unwrap_or_default(), slo["total"].as_f64().unwrap_or_default());
        if total >= 2.0 && (good - 0.75 * total).abs() < 1e-9 { Ok(()) } else { Err(slo.to_string()) }
    })
    .await;
    // The counters are in the journal: nothing is evaluated again, and nothing is lost.
    let daemon = daemon.crash_and_restart(|_| {}, &[]);
    let slo = daemon.slo("pay/settled").await;
    assert_eq!((&slo["good"], &slo["total"]), (&json!(90), &json!(100)), "{slo}");
}

/// A release is judged by PromQL where its SLI is: by a query that keeps the version label.
#[tokio::test]
async fn a_check_by_promql_takes_a_version_back() {
    let spec = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: pay}
spec:
  versionLabel: version
  slis:
    - name: settled
      events:
        bad: 'sum by (version) (increase(settlements_total{state=~"lost|late"}[$window])) or sum by (version) (increase(settlements_total[$window])) * 0'
        total: 'sum by (version) (increase(settlements_total[$window]))'
        every: 1s
  slos:
    - {name: settled, sli: settled, objective: 90}
  canary:
    checks: [{sli: settled, above: 10%}]
    deadline: 1h
"#;
    let daemon = Daemon::start(spec, &[]);
    let of = |version: &str, state: &str, at, value| {
        let mut series = series("settlements_total", state, at, value);
        let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
        series.labels[1] = label("instance", version);
        series.labels.push(label("version", version));
        series
    };
    let command = json!({"service": "pay", "version": "v2", "baseline": "v1", "actor": "ci"});
    let answer = say(&daemon, "/api/v1/canaries", &command).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let now = clock::now();
    for second in 0..8 {
        let (at, more) = (now + Span::millis(700 * second), second as f64);
        let all = [
            of("v1", "ok", at, 1_000.0 + 20.0 * more),
            of("v1", "lost", at, 10.0),
            of("v2", "ok", at, 12.0 * more),
            of("v2", "lost", at, 8.0 * more),
        ];
        assert_eq!(daemon.write(&all).await.status, 204);
    }
    until("the version to be taken back", PATIENCE, async || {
        let headers = axum::http::HeaderMap::new();
        let verdict = daemon.send("GET", "/api/v1/verdict?service=pay&version=v2", headers, Vec::new()).await.text;
        if verdict.contains(r#""verdict":"rollback""#) { Ok(()) } else { Err(verdict) }
    })
    .await;
}

#[test]
fn generated_rules_say_the_same() {
    let spec = SPEC.replace("every: 1s", "every: 1m");
    let (services, report) = parse(&[Source::new("spec.yaml", spec)]);
    assert!(!report.has_errors(), "{}", report.render(false));
    let mut bench = Bench::new(&generate::render(&services, Format::Prometheus, ""));
    bench.load("settlements_total{state=\"ok\"}", "0+90x200", Span::minutes(1));
    bench.load("settlements_total{state=\"lost\"}", "0+10x200", Span::minutes(1));
    bench.load("broken", "0.25x200", Span::minutes(1));
    for minute in 0..=120 {
        bench.evaluate(Timestamp(minute * 60_000));
        assert_eq!(bench.errors(), [], "{minute}");
    }
    for (slo, expected) in [("settled", 0.1), ("share", 0.25)] {
        let query = format!("slo:sli_error:ratio_rate1h{{sloth_slo=\"{slo}\"}}");
        let found = bench.query(&query, Timestamp(120 * 60_000));
        assert!((found[0].1 - expected).abs() < 1e-9, "{slo}: {found:?}");
    }
}

#[test]
fn check_says_which_way_each_sli_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("spec.yaml");
    std::fs::write(&path, SPEC).unwrap();
    let output = sloburn().arg("check").arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("note: pay/settled is evaluated by PromQL every 1s on recent samples"), "{text}");
    assert!(text.contains("note: pay/share is evaluated by PromQL every 1s on recent samples"), "{text}");
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, "groups: [{name: g, rules: [{record: r, expr: up}, {alert: A, expr: up == 0}]}]").unwrap();
    let output = sloburn().arg("check").arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("2 files, 1 service, 2 SLOs, 1 rule group, 2 rules: 0 errors, 0 warnings"), "{text}");
}
