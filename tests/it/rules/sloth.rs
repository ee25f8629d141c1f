//! Sloth's output as it comes, and our own under Sloth's names: the rules run here as they would in Prometheus.

use std::fs;
use std::path::Path;

use sloburn::alert::AlertState;
use sloburn::generate::{self, Format};
use sloburn::spec::{Source, parse, read};
use sloburn::types::{Span, Timestamp};

use super::Bench;

const MINUTE: i64 = 60_000;
const COUNTER: &str = "http_request_duration_seconds_count{code=\"CODE\",job=\"myservice\"}";

/// Two hours of a request a second of which none fails, then two hours of which one in ten does.
fn outage(bench: &Bench, counter: &str) {
    let ok = counter.replace("CODE", "200");
    bench.load(&ok, "0+60x120 7254+54x120", Span::minutes(1));
    bench.load(&counter.replace("CODE", "500"), "0+0x120 6+6x120", Span::minutes(1));
}

fn value(bench: &Bench, query: &str, minute: i64) -> f64 {
    let samples = bench.query(query, Timestamp(minute * MINUTE));
    assert_eq!(samples.len(), 1, "{query}: {samples:?}");
    samples[0].1
}

#[test]
fn sloths_output_runs_unchanged() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/sloth.yaml");
    let mut bench = Bench::new(&fs::read_to_string(path).unwrap());
    outage(&bench, COUNTER);
    let mut told = Vec::new();
    for minute in 0..=240 {
        let changed = bench.evaluate(Timestamp(minute * MINUTE));
        told.extend(changed.into_iter().map(|alert| (minute, alert.state, alert)));
        assert_eq!(bench.errors(), [], "{minute}");
    }
    for (query, minute, expected) in [
        ("slo:sli_error:ratio_rate5m", 110, 0.0),
        ("slo:sli_error:ratio_rate5m", 140, 0.1),
        ("slo:sli_error:ratio_rate1h", 190, 0.1),
        ("slo:objective:ratio", 100, 0.999),
        ("slo:error_budget:ratio", 100, 0.001),
        ("slo:current_burn_rate:ratio", 140, 100.0),
        ("sloth_slo_info{sloth_objective=\"99.9\"}", 100, 1.0),
    ] {
        let found = value(&bench, query, minute);
        assert!((found - expected).abs() < 1e-9, "{query} at {minute}: {found}");
    }
    let period = value(&bench, "slo:sli_error:ratio_rate30d", 240);
    assert!(period > 0.04 && period < 0.06, "half of the time a tenth: {period}");
    // Of 128 minutes, which are all there is in six hours, eight with six errors are more than six times the budget.
    let [(minute, AlertState::Firing, alert)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*minute, 128);
    let labels = "{alertname=\"MyServiceHighErrorRate\",category=\"availability\",owner=\"myteam\",\
                  repo=\"myorg/myservice\",routing_key=\"myteam\",severity=\"pageteam\",\
                  sloth_id=\"myservice-requests-availability\",sloth_service=\"myservice\",sloth_severity=\"page\",\
                  sloth_slo=\"requests-availability\",tier=\"2\"}";
    assert_eq!(alert.labels.to_string(), labels);
    let title = "(page) myservice requests-availability SLO error budget burn rate is too fast.";
    assert_eq!(alert.annotations["title"], title);
}

const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis: [{name: errors, events: {bad: 'requests_total{code=~"5.."}', total: requests_total}}]
  slos: [{name: availability, sli: errors, objective: 99.9}]
"#;

#[test]
fn generated_rules_run_here_too() {
    let (services, report) = parse(&[Source::new("spec.yaml", SPEC)]);
    assert!(!report.has_errors(), "{}", report.render(false));
    for format in [Format::Prometheus, Format::Operator] {
        let text = generate::render(&services, format, "");
        let mut bench = Bench::new(&text);
        outage(&bench, "requests_total{code=\"CODE\"}");
        let mut firing = Vec::new();
        for minute in 0..=240 {
            firing.extend(bench.evaluate(Timestamp(minute * MINUTE)).into_iter().map(|alert| (minute, alert)));
            assert_eq!(bench.errors(), [], "{minute}");
        }
        let ratio = value(&bench, "slo:sli_error:ratio_rate5m", 140);
        assert!((ratio - 0.1).abs() < 1e-9, "{ratio}");
        let page = firing.iter().find(|(_, alert)| alert.labels.get("sloth_severity") == Some("page"));
        assert_eq!(page.map(|(minute, _)| *minute), Some(128), "{firing:?}");
    }
}

#[test]
fn a_folder_may_hold_everything() {
    let operator = generate::render(&parse(&[Source::new("spec.yaml", SPEC)]).0, Format::Operator, "");
    let several = format!("{SPEC}---\n{operator}---\ngroups: [{{name: more, rules: []}}]\n");
    let (specs, report) = read(&[Source::new("all.yaml", several)]);
    assert_eq!(report.render(false), "");
    assert_eq!((specs.services.len(), specs.groups.iter().filter(|group| group.object.is_empty()).count()), (1, 1));
    assert!(specs.groups.len() > 2);
}
