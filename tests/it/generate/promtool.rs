//! Generated rules in Prometheus itself: `promtool check rules` and `promtool test rules` with known numbers.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use sloburn::generate::{self, Format};
use sloburn::spec::{Budgeting, Service, Severity, SliKind};
use sloburn::types::{Labels, Span};

use super::{
    YAML_WORDS, bad_events, every_kind, gauge, good_events, grouped, in_slices, latency, metric, monthly, shop,
    shop_over, shop_with_tier, sums,
};

/// Runs `promtool` in a fresh folder that holds `files`.
#[track_caller]
fn promtool(args: &[&str], files: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new("promtool").args(args).current_dir(folder.path()).output().expect("promtool runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}: {}\n{stdout}{stderr}", output.status);
}

/// A `promtool test rules` case: one sample a minute, rules evaluated every minute.
struct Scenario {
    rules: String,
    groups: Vec<String>,
    series: Vec<Value>,
    expressions: Vec<Value>,
    alerts: Vec<Value>,
}

impl Scenario {
    fn new(service: &Service) -> Self {
        let rules = generate::render(std::slice::from_ref(service), Format::Prometheus, generate::DEFAULT_ADDRESS);
        let groups = generate::rules(service).into_iter().map(|group| group.name).collect();
        Self { rules, groups, series: Vec::new(), expressions: Vec::new(), alerts: Vec::new() }
    }

    fn series(mut self, series: &str, values: &str) -> Self {
        self.series.push(json!({"series": series, "values": values}));
        self
    }

    fn expect(mut self, minute: u32, expr: &str, samples: &Value) -> Self {
        self.expressions.push(json!({"expr": expr, "eval_time": format!("{minute}m"), "exp_samples": samples}));
        self
    }

    /// `series` is one series of this value, within a relative error of 1e-9.
    fn value(self, minute: u32, series: &str, value: f64) -> Self {
        let expr = format!("abs({series} - {value}) <= bool {}", 1e-9 * value.abs());
        self.expect(minute, &format!("sum({expr})"), &json!([{"labels": "{}", "value": 1}]))
    }

    fn absent(self, minute: u32, series: &str) -> Self {
        self.expect(minute, series, &json!([]))
    }

    fn alerts(mut self, minute: u32, alert: &str, alerts: &Value) -> Self {
        self.alerts.push(json!({"alertname": alert, "eval_time": format!("{minute}m"), "exp_alerts": alerts}));
        self
    }

    #[track_caller]
    fn run(self) {
        let test = json!({
            "rule_files": ["rules.yaml"],
            "evaluation_interval": "1m",
            // Otherwise promtool's order is random, and alerts may see the recordings of the minute before.
            "group_eval_order": self.groups,
            "tests": [{
                "interval": "1m",
                "input_series": self.series,
                "promql_expr_test": self.expressions,
                "alert_rule_test": self.alerts,
            }],
        });
        // JSON is YAML, but for the characters that only JSON takes unescaped.
        let escaped = |c: char| c.is_control() || c == '\u{feff}';
        let escape = |c: char| if escaped(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        let test: String = test.to_string().chars().map(escape).collect();
        promtool(&["test", "rules", "test.json"], &[("rules.yaml", &self.rules), ("test.json", &test)]);
    }
}

const RATIO_5M: &str = "slo:sli_error:ratio_rate5m";
const RATIO_1D: &str = "slo:sli_error:ratio_rate1d";

/// `shop` over one day.
fn shop_1d() -> Service {
    shop_over(Span::days(1), bad_events())
}

fn page_alert(more: &[(&str, &str)]) -> Value {
    let mut labels = json!({
        "sloth_id": "shop-availability", "sloth_service": "shop", "sloth_slo": "availability",
        "team": "payments", "sloth_severity": "page",
    });
    for (name, value) in more {
        labels[name] = json!(value);
    }
    json!({
        "exp_labels": labels,
        "exp_annotations": {
            "title": "(page) shop availability SLO error budget burn rate is too fast.",
            "summary": "shop availability SLO error budget burn rate is over expected.",
        },
    })
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_accepts_every_rule() {
    for (_, service) in every_kind() {
        let rules = generate::render(std::slice::from_ref(&service), Format::Prometheus, generate::DEFAULT_ADDRESS);
        promtool(&["check", "rules", "--lint-fatal", "rules.yaml"], &[("rules.yaml", &rules)]);
        let object = generate::render(&[service], Format::Operator, generate::DEFAULT_ADDRESS);
        let object: Value = serde_yaml::from_str(&object).unwrap();
        promtool(&["check", "rules", "--lint-fatal", "spec.json"], &[("spec.json", &object["spec"].to_string())]);
    }
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_reads_odd_strings_as_written() {
    let mut texts: Vec<&str> = YAML_WORDS.into_iter().filter(|word| !word.is_empty()).collect();
    texts.extend([
        "a\nb",
        "a\n\tb\n",
        "a\n\n b\n\n",
        "\n\ta",
        "\t\n",
        "\ta\nb\n",
        " a ",
        "\u{1}\u{7f}\u{85}\u{2028}\u{feff}",
        "😀é",
    ]);
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    let (mut labels, mut annotations) = (Labels::new(), Vec::new());
    let mut expected = page_alert(&[]);
    for (i, text) in texts.iter().enumerate() {
        labels.set(&format!("text{i}"), text);
        annotations.push((format!("text{i}"), (*text).to_owned()));
        expected["exp_labels"][format!("text{i}")] = json!(text);
        expected["exp_annotations"][format!("text{i}")] = json!(text);
    }
    Arc::make_mut(&mut service.slos)[0].alerting.labels = labels;
    Arc::make_mut(&mut service.slos)[0].alerting.annotations = annotations;
    Scenario::new(&service)
        .series(r#"http_requests_total{code="500"}"#, "0+100x60")
        .alerts(60, "ShopErrors", &json!([expected]))
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn steady_traffic_gives_the_true_ratio_in_every_window() {
    let mut scenario = Scenario::new(&shop(bad_events()))
        .series(r#"http_requests_total{code="200"}"#, "0+900x400")
        .series(r#"http_requests_total{code="500"}"#, "0+60x400")
        .series(r#"http_requests_total{code="503"}"#, "0+40x400")
        .value(400, "slo:current_burn_rate:ratio", 100.0)
        .value(400, "slo:period_burn_rate:ratio", 100.0)
        .value(400, "slo:period_error_budget_remaining:ratio", -99.0)
        .value(400, "slo:sli_events:total_rate5m * 300", 5000.0)
        .value(400, "slo:sli_events:bad_rate5m * 300", 500.0);
    for window in ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"] {
        let series = format!("slo:sli_error:ratio_rate{window}{{sloth_window=\"{window}\", team=\"payments\"}}");
        scenario = scenario.value(400, &series, 0.1);
    }
    scenario.run();
}

#[test]
#[ignore = "needs promtool"]
fn the_period_weighs_events_and_not_minutes() {
    // 22 h at 6,000/min clean, 2 h at 6/min with half of them errors: an average of 5m ratios says 4.03 %.
    Scenario::new(&shop_1d())
        .series(r#"http_requests_total{code="200"}"#, "0+6000x1320 7920003+3x119")
        .series(r#"http_requests_total{code="500"}"#, "0x1320 3+3x119")
        .value(1440, RATIO_1D, 360.0 / 7_920_720.0)
        .run();
    // A day at 60/min with ten minutes at 60,000/min, a tenth of them errors: an average says 0.097 %.
    Scenario::new(&shop_1d())
        .series(r#"http_requests_total{code="200"}"#, "0+60x603 90180+54000x9 576240+60x826")
        .series(r#"http_requests_total{code="500"}"#, "0x603 6000+6000x9 60000x826")
        .value(1440, RATIO_1D, 60_000.0 / 685_800.0)
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn idle_minutes_have_no_ratio_and_leave_the_period_alone() {
    Scenario::new(&shop_1d())
        .series(r#"http_requests_total{code="200"}"#, "0+90x60 5400x10 5490+90x60")
        .series(r#"http_requests_total{code="500"}"#, "0+10x60 600x10 610+10x60")
        .value(60, RATIO_5M, 0.1)
        .absent(67, RATIO_5M)
        .absent(67, "slo:current_burn_rate:ratio")
        .value(67, RATIO_1D, 0.1)
        .value(130, RATIO_5M, 0.1)
        .value(130, RATIO_1D, 0.1)
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn vanished_metrics_add_nothing() {
    Scenario::new(&shop_1d())
        .series(r#"http_requests_total{code="200"}"#, "0+90x60 stale _x59 5400+90x60")
        .series(r#"http_requests_total{code="500"}"#, "0+10x60 stale _x59 600+10x60")
        .absent(90, RATIO_5M)
        .absent(90, "slo:sli_events:bad_rate5m")
        .value(90, RATIO_1D, 0.1)
        .value(180, RATIO_1D, 0.1)
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn no_bad_series_yet_is_zero_errors() {
    // The first value of a new series is lost to `rate`: of the two errors it sees one.
    Scenario::new(&shop_1d())
        .series(r#"http_requests_total{code="200"}"#, "0+1000x1440")
        .series(r#"http_requests_total{code="500"}"#, "_x1382 1 2x57")
        .value(1300, RATIO_5M, 0.0)
        .value(1300, RATIO_1D, 0.0)
        .value(1300, "slo:period_error_budget_remaining:ratio", 1.0)
        .expect(1440, "slo:sli_error:ratio_rate1d < bool 2e-6", &one_of_1d())
        .expect(1440, "slo:sli_error:ratio_rate1d > bool 0.6e-6", &one_of_1d())
        .run();
}

fn one_of_1d() -> Value {
    let labels = r#"{sloth_id="shop-availability", sloth_service="shop", sloth_slo="availability", sloth_window="1d", team="payments"}"#;
    json!([{"labels": labels, "value": 1}])
}

#[test]
#[ignore = "needs promtool"]
fn a_service_that_emits_only_errors_is_all_bad() {
    let service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, good_events());
    Scenario::new(&service)
        .series(r#"auth_total{outcome="declined"}"#, "0+10x120")
        .value(120, RATIO_5M, 1.0)
        .value(120, "slo:sli_error:ratio_rate30d", 1.0)
        .alerts(120, "ShopErrors", &json!([page_alert(&[])]))
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn thresholds_match_every_spelling_of_a_bound() {
    for (threshold, spellings) in [(1.0, ["1", "1.0"]), (0.25, ["0.25", "0.25"]), (1e6, ["1e+06", "1000000.0"])] {
        let service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, latency(threshold));
        for le in spellings {
            Scenario::new(&service)
                .series(&format!("latency_seconds_bucket{{job=\"shop\",le=\"{le}\"}}"), "0+95x60")
                .series(r#"latency_seconds_bucket{job="shop",le="10"}"#, "0+99x60")
                .series(r#"latency_seconds_count{job="shop"}"#, "0+100x60")
                .value(60, RATIO_5M, 0.05)
                .run();
        }
    }
}

#[test]
#[ignore = "needs promtool"]
fn history_survives_an_edited_label() {
    let old = |name: &str| {
        format!(
            "slo:sli_events:{name}_rate5m{{sloth_id=\"shop-availability\", sloth_service=\"shop\", \
             sloth_slo=\"availability\", sloth_window=\"5m\", team=\"checkout\"}}"
        )
    };
    // 5 h at 10/s with a tenth of errors under the old label, then 5 h at 10/s clean.
    Scenario::new(&shop_1d())
        .series(&old("total"), "_ 10x299 stale")
        .series(&old("bad"), "_ 1x299 stale")
        .series(r#"http_requests_total{code="200"}"#, "_x300 0+600x300")
        .series(r#"http_requests_total{code="500"}"#, "_x300 0x300")
        .expect(600, "abs(slo:sli_error:ratio_rate1d - 0.05) < bool 0.001", &one_of_1d())
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn without_a_budget_any_error_pages_and_nothing_is_nan() {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    Arc::make_mut(&mut service.slos)[0].objective = "100".parse().unwrap();
    Scenario::new(&service)
        .series(r#"http_requests_total{code="200"}"#, "0+100x120")
        .series(r#"http_requests_total{code="500"}"#, "0x90 1x30")
        .value(90, RATIO_5M, 0.0)
        .alerts(90, "ShopErrors", &json!([]))
        .alerts(92, "ShopErrors", &json!([page_alert(&[])]))
        .expect(
            90,
            r#"count({__name__=~"slo:.*"}) - count({__name__=~"slo:.*"} >= 0)"#,
            &json!([{"labels": "{}", "value": 0}]),
        )
        .absent(90, r#"{__name__=~"slo:.*burn_rate.*"}"#)
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn pages_fire_and_resolve() {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    Arc::make_mut(&mut service.slos)[0].alerting.labels = Labels::new().with("channel", "shop");
    let page = json!([page_alert(&[("channel", "shop")])]);
    // An hour clean, an hour at 10 %, then clean: 1h is over the limit of 1.44 % from minute 69 on, 5m until 124.
    Scenario::new(&service)
        .series(r#"http_requests_total{code="200"}"#, "0+100x60 6090+90x59 11500+100x120")
        .series(r#"http_requests_total{code="500"}"#, "0x60 10+10x59 600x120")
        .alerts(68, "ShopErrors", &json!([]))
        .alerts(69, "ShopErrors", &page)
        .alerts(124, "ShopErrors", &page)
        .alerts(125, "ShopErrors", &json!([]))
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn one_error_at_low_traffic_pages_nobody() {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    // 60 events an hour, the last one an error.
    let night = |service: &Service, alerts: &Value| {
        Scenario::new(service)
            .series(r#"http_requests_total{code="200"}"#, "0+1x119 119")
            .series(r#"http_requests_total{code="500"}"#, "0x119 1")
            .alerts(120, "ShopErrors", alerts)
            .run();
    };
    night(&service, &json!([]));
    Arc::make_mut(&mut service.slos)[0].alerting.min_events = Some(0);
    night(&service, &json!([page_alert(&[])]));
    // Exactly as many events as asked for are enough.
    Arc::make_mut(&mut service.slos)[0].alerting.min_events = Some(60);
    night(&service, &json!([page_alert(&[])]));
    Arc::make_mut(&mut service.slos)[0].alerting.min_events = Some(61);
    night(&service, &json!([]));
}

#[test]
#[ignore = "needs promtool"]
fn alerts_wait_for_and_outlive_as_asked() {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    Arc::make_mut(&mut service.slos)[0].alerting.for_ = Span::minutes(10);
    Arc::make_mut(&mut service.slos)[0].alerting.keep_firing_for = Span::minutes(20);
    // As above, the condition holds from minute 69 to 124.
    Scenario::new(&service)
        .series(r#"http_requests_total{code="200"}"#, "0+100x60 6090+90x59 11500+100x120")
        .series(r#"http_requests_total{code="500"}"#, "0x60 10+10x59 600x120")
        .alerts(78, "ShopErrors", &json!([]))
        .alerts(79, "ShopErrors", &json!([page_alert(&[])]))
        .alerts(144, "ShopErrors", &json!([page_alert(&[])]))
        .alerts(145, "ShopErrors", &json!([]))
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn budgets_alert_at_each_threshold() {
    let mut service = shop(bad_events());
    Arc::make_mut(&mut service.slos)[0].alerting.budget_remaining = vec![50.0, 12.5];
    let low = |percent: &str, left: &str| {
        let mut alert = page_alert(&[("sloth_severity", "ticket"), ("budget_remaining", percent)]);
        alert["exp_annotations"] = json!({
            "title": format!("shop availability SLO has less than {percent}% of its error budget left."),
            "summary": format!("shop availability SLO has {left} of its error budget left."),
        });
        alert
    };
    // 6 errors in 10,000: 40 % of the budget left; then 9.5 in 10,000: 5 %.
    let spent = |errors: &str, alerts: &Value| {
        Scenario::new(&service)
            .series(r#"http_requests_total{code="200"}"#, "0+100000x60")
            .series(r#"http_requests_total{code="500"}"#, errors)
            .alerts(60, "ErrorBudgetLow", alerts)
            .run();
    };
    spent("0+10x60", &json!([]));
    spent("0+60x60", &json!([low("50", "40.04%")]));
    spent("0+95x60", &json!([low("50", "5.09%"), low("12.5", "5.09%")]));
}

#[test]
#[ignore = "needs promtool"]
fn summands_that_are_missing_count_nothing() {
    // 30 answers that are no retry, and 20 rejections until minute 60.
    Scenario::new(&shop(sums()))
        .series(r#"answers_total{retry="false"}"#, "0+30x120")
        .series(r#"answers_total{retry="true"}"#, "0+10x120")
        .series("rejections_total", "0+20x60")
        .value(60, RATIO_5M, 0.4)
        .value(90, RATIO_5M, 0.0)
        .value(90, "slo:sli_events:total_rate5m", 0.5)
        .absent(180, RATIO_5M)
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn samples_of_gauges_are_events() {
    // One of two probes fails for five minutes.
    Scenario::new(&shop(SliKind::Probe(metric("probe_success", &[]))))
        .series(r#"probe_success{instance="a"}"#, "1x60 0x10 1x60")
        .series(r#"probe_success{instance="b"}"#, "1x130")
        .value(60, RATIO_5M, 0.0)
        .value(68, RATIO_5M, 0.5)
        .value(100, RATIO_5M, 0.0)
        .run();
    Scenario::new(&shop(gauge()))
        .series(r#"queue_depth{job="shop"}"#, &format!("999x60 1000x10{}", " NaN".repeat(20)))
        .value(60, RATIO_5M, 0.0)
        .value(68, RATIO_5M, 1.0)
        .value(88, RATIO_5M, 1.0)
        .run();
}

/// Series that exist, with the value 1 for each.
fn ones(labels: &[&str]) -> Value {
    labels.iter().map(|labels| json!({"labels": labels, "value": 1})).collect()
}

#[test]
#[ignore = "needs promtool"]
fn groups_have_their_own_ratios_budgets_and_alerts() {
    let us = page_alert(&[("region", "us")]);
    for (kind, name) in [(bad_events(), "http_requests_total"), (good_events(), "auth_total")] {
        let is_good = name == "auth_total";
        let (ok, failed) =
            if is_good { ("outcome=\"approved\"", "outcome=\"declined\"") } else { ("code=\"200\"", "code=\"500\"") };
        Scenario::new(&grouped(kind))
            .series(&format!("{name}{{region=\"eu\",{ok}}}"), "0+1000x120")
            .series(&format!("{name}{{region=\"us\",{ok}}}"), "0+90x120")
            .series(&format!("{name}{{region=\"us\",{failed}}}"), "0+10x120")
            // No region, and nothing but errors in this one.
            .series(&format!("{name}{{{failed}}}"), "0+1x120")
            .expect(
                100,
                "sum by (region) (abs(slo:sli_error:ratio_rate5m{region=\"eu\"} - 0) < bool 1e-9) \
                 or sum by (region) (abs(slo:sli_error:ratio_rate5m{region=\"us\"} - 0.1) < bool 1e-9) \
                 or sum by (region) (abs(slo:sli_error:ratio_rate5m{region=\"\"} - 1) < bool 1e-9)",
                &ones(&["{region=\"eu\"}", "{region=\"us\"}", "{}"]),
            )
            .expect(
                100,
                "count by (region) (slo:period_error_budget_remaining:ratio)",
                &ones(&["{region=\"eu\"}", "{region=\"us\"}", "{}"]),
            )
            .alerts(100, "ShopErrors", &json!([us]))
            .run();
    }
}

#[test]
#[ignore = "needs promtool"]
fn slices_are_judged_minute_by_minute() {
    // Ten minutes with 3 % of errors, ten with 10 %, then none: with a target of 95 % the latter are bad.
    let good = "0+100x60 6097+97x9 7060+90x9 7970+100x60";
    let bad = "0x60 3+3x9 40+10x9 130x61";
    let slices = |budgeting| {
        // A sample every 30 s: a rate over a minute needs two.
        Scenario::new(&in_slices(budgeting))
            .series(r#"http_requests_total{code="200"}"#, good)
            .series(r#"http_requests_total{code="500"}"#, bad)
    };
    let target = "95".parse().unwrap();
    slices(Budgeting::Timeslices { slice: Span::minutes(2), target })
        .value(69, RATIO_5M, 0.0)
        .value(79, RATIO_5M, 1.0)
        .value(100, RATIO_5M, 0.0)
        .alerts(79, "ShopErrors", &json!([page_alert(&[])]))
        .run();
    slices(Budgeting::RatioTimeslices { slice: Span::minutes(2) })
        .value(69, RATIO_5M, 0.03)
        .value(79, RATIO_5M, 0.1)
        .value(100, RATIO_5M, 0.0)
        .run();
}

#[test]
#[ignore = "needs promtool"]
fn missing_data_alerts() {
    let missing = json!([{
        "exp_labels": {
            "sloth_id": "shop-availability", "sloth_service": "shop", "sloth_slo": "availability",
            "sloth_severity": "ticket",
        },
        "exp_annotations": {
            "title": "shop availability SLO has no data.",
            "summary": "shop availability SLO has had no sample of its events for 5 minutes.",
        },
    }]);
    Scenario::new(&monthly())
        .series(r#"http_requests_total{code="200"}"#, "0+100x60")
        .alerts(60, "SLONoData", &json!([]))
        .alerts(80, "SLONoData", &missing)
        .run();
}
