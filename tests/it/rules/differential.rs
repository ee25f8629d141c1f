//! The same groups over the same series in `promtool test rules`, whose clock is simulated, and here: every recorded
//! value and every alert at every minute, and the same errors.
//!
//! `PROMTOOL3` names a promtool of Prometheus 3, or `PROMETHEUS3` a Prometheus that has one beside it. The alerts and
//! values that this side finds are written down as what the test file expects.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sloburn::alert::AlertState;
use sloburn::types::{Labels, METRIC_NAME, Span, Timestamp};

use super::Bench;
use super::case::Case;

/// How many random cases; set `SLOBURN_RULE_CASES` for more.
const CASES: u64 = 300;
/// Test files of one run of promtool.
const BATCH: usize = 25;
const MINUTES: i64 = 40;

fn promtool() -> OsString {
    if let Some(path) = std::env::var_os("PROMTOOL3") {
        return path;
    }
    let prometheus = std::env::var_os("PROMETHEUS3").expect("PROMTOOL3 or PROMETHEUS3 names a program");
    Path::new(&prometheus).with_file_name("promtool").into()
}

/// What this side makes of a case.
struct Expected {
    test: Value,
    values: usize,
    alerts: usize,
    /// The first errors, at one time: rule and text.
    errors: Vec<(String, String)>,
}

fn expected(case: &Case, name: &str) -> Expected {
    let minute = Span::minutes(1);
    let mut bench = Bench::new(&case.rules);
    for (series, values) in &case.series {
        bench.load(series, values, minute);
    }
    let mut found = Expected { test: Value::Null, values: 0, alerts: 0, errors: Vec::new() };
    let (mut expressions, mut alert_tests) = (Vec::new(), Vec::new());
    for at in 0..=MINUTES {
        let now = Timestamp(at * minute.0);
        bench.evaluate(now);
        found.errors = bench.errors();
        if !found.errors.is_empty() {
            // Promtool ends a test here.
            break;
        }
        let time = format!("{at}m");
        for name in &case.alerts {
            let firing = bench.groups.iter().flat_map(sloburn::ruler::Group::firing);
            let of_name = firing.filter(|alert| alert.labels.get("alertname") == Some(name));
            let alerts: Vec<Value> = of_name
                .map(|alert| {
                    let labels = Labels::clone(&alert.labels).with("alertname", "");
                    json!({"exp_labels": labels, "exp_annotations": alert.annotations})
                })
                .collect();
            found.alerts += alerts.len();
            alert_tests.push(json!({"alertname": name, "eval_time": time, "exp_alerts": alerts}));
        }
    }
    let until = if found.errors.is_empty() { MINUTES } else { -1 };
    for at in 0..=until {
        for name in case.records.iter().map(String::as_str).chain(["ALERTS", "ALERTS_FOR_STATE"]) {
            let samples = bench.query(name, Timestamp(at * minute.0));
            // NaN is not equal to itself there.
            if samples.iter().any(|(_, value)| value.is_nan()) {
                continue;
            }
            found.values += samples.len();
            let shown =
                samples.iter().map(|(labels, value)| json!({"labels": series(labels), "value": number(*value)}));
            let samples: Vec<Value> = shown.collect();
            expressions.push(json!({"expr": name, "eval_time": format!("{at}m"), "exp_samples": samples}));
        }
    }
    let input: Vec<Value> =
        case.series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    if expressions.is_empty() {
        // So that the run reaches the error.
        expressions.push(json!({"expr": "vector(1)", "eval_time": format!("{MINUTES}m"), "exp_samples": []}));
    }
    found.test = json!({
        "rule_files": [format!("{name}.rules.yaml")],
        "evaluation_interval": "1m",
        "fuzzy_compare": true,
        "group_eval_order": case.groups,
        "tests": [{
            "interval": "1m",
            "input_series": input,
            "promql_expr_test": expressions,
            "alert_rule_test": alert_tests,
            "external_labels": {"cluster": "eu"},
            "external_url": "http://slo.example",
        }],
    });
    found
}

fn series(labels: &Labels) -> String {
    let name = labels.get(METRIC_NAME).unwrap_or_default();
    format!("{name}{}", labels.clone().with(METRIC_NAME, ""))
}

/// JSON has no infinities; YAML has: [`yaml`] writes them.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(if value > 0.0 { "<inf>" } else { "<-inf>" }) }
}

fn yaml(test: &Value) -> String {
    test.to_string().replace("\"<inf>\"", ".inf").replace("\"<-inf>\"", "-.inf")
}

#[test]
#[ignore = "needs PROMTOOL3 or PROMETHEUS3"]
#[expect(clippy::print_stdout, reason = "the counts are what this test is read for")]
fn groups_give_what_they_give_in_prometheus() {
    let cases = std::env::var("SLOBURN_RULE_CASES").map_or(CASES, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (mut agreeing, mut failing) = (Vec::new(), BTreeMap::new());
    let (mut values, mut alerts) = (0, 0);
    for seed in 0..cases {
        let (case, name) = (Case::new(seed), format!("seed{seed}"));
        let found = expected(&case, &name);
        fs::write(folder.path().join(format!("{name}.rules.yaml")), &case.rules).unwrap();
        fs::write(folder.path().join(format!("{name}.json")), yaml(&found.test)).unwrap();
        if found.errors.is_empty() {
            (values, alerts) = (values + found.values, alerts + found.alerts);
            agreeing.push(name);
        } else {
            failing.insert(name, found.errors);
        }
    }
    for batch in agreeing.chunks(BATCH) {
        let (ok, output) = run(folder.path(), batch);
        assert!(ok, "{output}");
    }
    for (name, errors) in &failing {
        let (ok, output) = run(folder.path(), std::slice::from_ref(name));
        let (rule, error) = &errors[0];
        assert!(
            !ok && output.contains(&format!("rule: {rule}, ")) && output.contains(error),
            "{name}: {errors:?}\n{output}"
        );
    }
    println!(
        "{} cases agree: {values} recorded values, {alerts} firing alerts; {} cases fail alike",
        agreeing.len(),
        failing.len()
    );
    assert!(values > 50 * cases as usize && alerts > 10 * cases as usize, "{values} {alerts}");
    assert!(failing.len() as u64 > cases / 50 && (agreeing.len() as u64) > cases / 2);
    assert_eq!(AlertState::Firing.as_str(), "firing");
}

fn run(folder: &Path, names: &[String]) -> (bool, String) {
    let files = names.iter().map(|name| format!("{name}.json"));
    let output = Command::new(promtool()).args(["test", "rules"]).args(files).current_dir(folder).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}
