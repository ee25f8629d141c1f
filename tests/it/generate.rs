//! Generated rules: their text, their PromQL, their YAML, and what Prometheus makes of them.

mod promtool;
mod releases;

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use sloburn::generate::{self, Format, Rule, RuleGroup};
use sloburn::spec::model::Origin;
use sloburn::spec::{
    Accounting, Alerting, Budgeting, Comparison, Condition, Events, Gauge, Latency, Numerator, Policy, Service,
    Severity, SeverityOptions, Sli, SliKind, Slo, Source, Sum, Summand, Tier, parse,
};
use sloburn::types::{Labels, METRIC_NAME, Matcher, Selector, Span};

/// A service `shop` with one SLO `availability` of 99.9 % over 30 d with the workbook's windows.
fn shop(kind: SliKind) -> Service {
    let origin = Origin { file: Arc::new(PathBuf::from("shop.yaml")), line: 1 };
    let period = Span::days(30);
    Service {
        name: "shop".to_owned(),
        labels: Labels::new().with("team", "payments"),
        version_label: None,
        slis: Arc::new([Sli { name: "requests".to_owned(), kind, origin: origin.clone() }]),
        budget_policy: None,
        canary: None,
        slos: Arc::new([Slo {
            name: "availability".to_owned(),
            description: String::new(),
            sli: 0,
            objective: "99.9".parse().unwrap(),
            period: period.into(),
            accounting: Accounting::default(),
            labels: Labels::new(),
            alerting: Alerting {
                name: "ShopErrors".to_owned(),
                policy: Policy::for_period(period),
                labels: Labels::new(),
                annotations: Vec::new(),
                page: SeverityOptions::default(),
                ticket: SeverityOptions::default(),
                for_: Span::ZERO,
                keep_firing_for: Span::ZERO,
                min_events: None,
                budget_remaining: Vec::new(),
            },
            origin: origin.clone(),
        }]),
        origin,
    }
}

/// The same with another period, and the workbook's windows for it.
fn shop_over(period: Span, kind: SliKind) -> Service {
    let mut service = shop(kind);
    Arc::make_mut(&mut service.slos)[0].period = period.into();
    Arc::make_mut(&mut service.slos)[0].alerting.policy = Policy::for_period(period);
    service
}

/// The same with a single tier, for short output.
fn shop_with_tier(severity: Severity, short: Span, long: Span, factor: f64, kind: SliKind) -> Service {
    let mut service = shop(kind);
    Arc::make_mut(&mut service.slos)[0].alerting.policy =
        Policy { tiers: vec![Tier { severity, short, long, factor }] };
    service
}

fn metric(name: &str, matchers: &[Matcher]) -> Selector {
    Selector::new([&[Matcher::equal(METRIC_NAME, name)], matchers].concat())
}

/// `bad` over `total`, as `http_requests_total` has them.
fn bad_events() -> SliKind {
    SliKind::Events(Events {
        numerator: Numerator::Bad(metric("http_requests_total", &[Matcher::regex("code", "5..").unwrap()]).into()),
        total: metric("http_requests_total", &[]).into(),
    })
}

/// `good` over `total`, as `auth_total` has them.
fn good_events() -> SliKind {
    SliKind::Events(Events {
        numerator: Numerator::Good(metric("auth_total", &[Matcher::equal("outcome", "approved")]).into()),
        total: metric("auth_total", &[]).into(),
    })
}

fn latency(threshold: f64) -> SliKind {
    SliKind::Latency(Latency { histogram: metric("latency_seconds", &[Matcher::equal("job", "shop")]), threshold })
}

/// Good is `answers_total` without retries; all is that and `rejections_total`.
fn sums() -> SliKind {
    let summand = |negative, selector| Summand { selector, negative };
    let retries = summand(true, metric("answers_total", &[Matcher::equal("retry", "true")]));
    let answers = summand(false, metric("answers_total", &[]));
    SliKind::Events(Events {
        numerator: Numerator::Good(Sum::new(answers.clone(), [retries.clone()])),
        total: Sum::new(answers, [retries, summand(false, metric("rejections_total", &[]))]),
    })
}

fn gauge() -> SliKind {
    let good = Condition { is: Comparison::Below, limit: 1000.0 };
    SliKind::Gauge(Gauge { metric: metric("queue_depth", &[Matcher::equal("job", "shop")]), good })
}

/// The same with an SLO for each value of `region`.
fn grouped(kind: SliKind) -> Service {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, kind);
    Arc::make_mut(&mut service.slos)[0].accounting.group_by = vec!["region".to_owned()];
    service
}

fn groups() -> Service {
    let mut service = grouped(bad_events());
    Arc::make_mut(&mut service.slos)[0].alerting.budget_remaining = vec![50.0];
    service
}

/// The same with slices as its events.
fn in_slices(budgeting: Budgeting) -> Service {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    Arc::make_mut(&mut service.slos)[0].accounting.budgeting = budgeting;
    service
}

/// A service whose SLO asks for more than rules can say.
fn monthly() -> Service {
    let text = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis:
    - {name: requests, events: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total}}
  slos:
    - name: availability
      sli: requests
      objective: 99.9
      calendar: {unit: month, timeZone: Europe/Berlin}
      noData: bad
      exclude:
        - {cron: "0 2 * * SUN", for: 2h, reason: maintenance}
        - {while: maintenance, reason: announced}
      resets: [{at: 2026-11-01T00:00:00Z, reason: contract}]
      alerting:
        budgetRemaining: [10]
        noData: ticket
        windows: [{severity: page, short: 5m, long: 1h, factor: 14.4}]
"#;
    let (mut services, report) = parse(&[Source::new("shop.yaml", text.to_owned())]);
    assert_eq!(report.render(false), "");
    services.remove(0)
}

#[test]
fn what_rules_cannot_say_is_told_with_its_place() {
    let mut service = monthly();
    let told = |service: &Service| -> Vec<String> {
        let line = |limit: generate::Limit| format!("{}:{}: {}", limit.slo, limit.origin.line, limit.message);
        generate::limits(service).into_iter().map(line).collect()
    };
    assert_eq!(
        told(&service),
        [
            "shop/availability:12: PromQL knows no month of a time zone: no ratio over the period, no remaining budget \
             and no alert on it",
            "shop/availability:15: `rate` cannot leave out the events of a schedule: they count in rules",
            "shop/availability:16: `rate` cannot leave out the events of a selector: they count in rules",
            "shop/availability:17: rules cannot begin a period anew: the reset has no effect on them",
            "shop/availability:9: `noData: bad` has no effect on rules: vanished metrics count nothing there",
        ]
    );
    Arc::make_mut(&mut service.slos)[0].accounting.group_by = vec!["region".to_owned()];
    assert!(told(&service)[5].contains("`absent` cannot tell"));
    assert_eq!(told(&shop(bad_events())), [] as [&str; 0]);
}

/// One service for each kind of SLI and each option of alerting.
fn every_kind() -> Vec<(&'static str, Service)> {
    let (page, ticket) = (Severity::Page, Severity::Ticket);
    let mut options = shop_with_tier(ticket, Span::hours(2), Span::days(1), 3.0, bad_events());
    Arc::make_mut(&mut options.slos)[0].labels = Labels::new().with("tier", "1");
    let alerting = &mut Arc::make_mut(&mut options.slos)[0].alerting;
    alerting.min_events = Some(1000);
    alerting.for_ = Span::minutes(2);
    alerting.keep_firing_for = Span::minutes(90);
    alerting.budget_remaining = vec![33.3, 10.0];
    alerting.labels = Labels::new().with("channel", "shop");
    alerting.annotations = vec![("title".to_owned(), "Shop is {{$labels.team}}'s".to_owned())];
    alerting.ticket.annotations = vec![("runbook_url".to_owned(), "https://example.com/a#b".to_owned())];
    let mut no_budget = shop_with_tier(page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    Arc::make_mut(&mut no_budget.slos)[0].objective = "100".parse().unwrap();
    Arc::make_mut(&mut no_budget.slos)[0].alerting.budget_remaining = vec![10.0];
    vec![
        ("bad_events", shop(bad_events())),
        ("good_events", shop_with_tier(page, Span::minutes(5), Span::hours(1), 14.4, good_events())),
        ("latency", shop_with_tier(page, Span::minutes(5), Span::hours(1), 14.4, latency(1.0))),
        ("custom_windows", shop_with_tier(ticket, Span::minutes(90), Span::hours(36), 2.5, bad_events())),
        ("period_28d", shop_over(Span::days(28), bad_events())),
        ("options", options),
        ("no_budget", no_budget),
        ("sums", shop_with_tier(page, Span::minutes(5), Span::hours(1), 14.4, sums())),
        ("probe", shop_with_tier(page, Span::minutes(5), Span::hours(1), 14.4, SliKind::Probe(metric("up", &[])))),
        ("gauge", shop_with_tier(page, Span::minutes(5), Span::hours(1), 14.4, gauge())),
        ("groups", groups()),
        ("groups_good", grouped(good_events())),
        ("timeslices", in_slices(Budgeting::Timeslices { slice: Span::minutes(1), target: "95".parse().unwrap() })),
        ("ratio_timeslices", in_slices(Budgeting::RatioTimeslices { slice: Span::minutes(1) })),
        ("calendar", monthly()),
    ]
}

fn exprs(groups: &[RuleGroup]) -> impl Iterator<Item = &str> {
    groups.iter().flat_map(|group| &group.rules).map(Rule::expr)
}

fn expr_of<'a>(groups: &'a [RuleGroup], name: &str) -> &'a str {
    let mut rules = groups.iter().flat_map(|group| &group.rules);
    let named = rules.find(|rule| match rule {
        Rule::Recording { record, .. } => record == name,
        Rule::Alerting { alert, .. } => alert == name,
    });
    named.unwrap_or_else(|| panic!("no rule {name}")).expr()
}

fn without_version(yaml: &str) -> String {
    yaml.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn rules_are_as_recorded() {
    for (name, service) in every_kind() {
        let yaml = without_version(&generate::render(&[service], Format::Prometheus, generate::DEFAULT_ADDRESS));
        insta::assert_snapshot!(name, yaml);
    }
}

#[test]
fn operator_objects_are_one_document_a_service() {
    let mut second = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, latency(0.25));
    second.name = "Shop_EU".to_owned();
    second.labels = Labels::new().with("release", "stable").with("motto", "not a label value");
    let first = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    let yaml = generate::render(&[first, second], Format::Operator, generate::DEFAULT_ADDRESS);
    let documents: Vec<serde_yaml::Value> =
        serde_yaml::Deserializer::from_str(&yaml).map(|d| serde::Deserialize::deserialize(d).unwrap()).collect();
    assert_eq!(documents.len(), 2);
    let yaml = without_version(yaml.split("---\n").nth(1).unwrap());
    insta::assert_snapshot!("operator", yaml);
}

#[test]
fn every_expression_is_promql() {
    for (name, service) in every_kind() {
        for expr in exprs(&generate::rules(&service)) {
            promql_parser::parser::parse(expr).unwrap_or_else(|e| panic!("{name}: {e}\n{expr}"));
        }
    }
}

#[test]
fn names_and_labels_are_sloths() {
    let groups = generate::rules(&shop(bad_events()));
    let names: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "sloth-slo-sli-recordings-shop-availability",
            "sloth-slo-meta-recordings-shop-availability",
            "sloth-slo-alerts-shop-availability"
        ]
    );
    let recorded: Vec<(&str, Option<&str>)> = groups[..2]
        .iter()
        .flat_map(|group| &group.rules)
        .filter_map(|rule| match rule {
            Rule::Recording { record, labels, .. } => Some((record.as_str(), labels.get("sloth_window"))),
            Rule::Alerting { .. } => None,
        })
        .filter(|(record, _)| !record.starts_with("slo:sli_events:"))
        .collect();
    assert_eq!(
        recorded,
        [
            ("slo:sli_error:ratio_rate5m", Some("5m")),
            ("slo:sli_error:ratio_rate30m", Some("30m")),
            ("slo:sli_error:ratio_rate1h", Some("1h")),
            ("slo:sli_error:ratio_rate2h", Some("2h")),
            ("slo:sli_error:ratio_rate6h", Some("6h")),
            ("slo:sli_error:ratio_rate1d", Some("1d")),
            ("slo:sli_error:ratio_rate3d", Some("3d")),
            ("slo:sli_error:ratio_rate30d", Some("30d")),
            ("slo:objective:ratio", None),
            ("slo:error_budget:ratio", None),
            ("slo:time_period:days", None),
            ("slo:current_burn_rate:ratio", Some("5m")),
            ("slo:period_burn_rate:ratio", Some("30d")),
            ("slo:period_error_budget_remaining:ratio", Some("30d")),
            ("sloth_slo_info", None),
        ]
    );
}

#[test]
fn numbers_are_exact() {
    let mut service = shop_over(Span::days(28), bad_events());
    Arc::make_mut(&mut service.slos)[0].objective = "99.99".parse().unwrap();
    let groups = generate::rules(&service);
    assert_eq!(expr_of(&groups, "slo:error_budget:ratio"), "vector(0.0001)");
    assert_eq!(expr_of(&groups, "slo:objective:ratio"), "vector(0.9999)");
    let ticket = exprs(&groups).last().unwrap();
    assert!(ticket.contains("> (2.8 * 0.0001)") && ticket.contains("> (0.9333333333333333 * 0.0001)"), "{ticket}");
}

#[test]
fn tiers_that_cannot_fire_are_left_out() {
    let mut service = shop(bad_events());
    let alerts =
        |service: &Service| generate::rules(service).into_iter().nth(2).map_or(Vec::new(), |group| group.rules);
    Arc::make_mut(&mut service.slos)[0].objective = "90".parse().unwrap();
    let rules = alerts(&service);
    assert_eq!(rules.len(), 2);
    assert!(!rules[0].expr().contains("14.4") && !rules[0].expr().contains("\nor\n"), "{}", rules[0].expr());

    Arc::make_mut(&mut service.slos)[0].objective = "80".parse().unwrap();
    assert_eq!(alerts(&service).len(), 1, "no page tier is reachable");

    Arc::make_mut(&mut service.slos)[0].alerting.ticket.disabled = true;
    assert!(alerts(&service).is_empty());
    assert_eq!(generate::rules(&service).len(), 2, "an empty group is not written");
}

#[test]
fn a_window_as_long_as_the_period_is_recorded_once() {
    let service = shop_with_tier(Severity::Ticket, Span::days(1), Span::days(30), 1.0, bad_events());
    let groups = generate::rules(&service);
    let recorded = groups[0]
        .rules
        .iter()
        .filter(|rule| matches!(rule, Rule::Recording { record, .. } if record == "slo:sli_error:ratio_rate30d"));
    assert_eq!(recorded.count(), 1);
}

/// Words that some YAML reader takes for something other than a string.
const YAML_WORDS: [&str; 58] = [
    "y",
    "Y",
    "yes",
    "Yes",
    "YES",
    "n",
    "N",
    "no",
    "No",
    "NO",
    "on",
    "On",
    "ON",
    "off",
    "Off",
    "OFF",
    "true",
    "True",
    "false",
    "FALSE",
    "null",
    "Null",
    "NULL",
    "~",
    "",
    "1",
    "-1",
    "+1",
    "0o7",
    "07",
    "0x1F",
    "0b1",
    "1_000",
    "1e3",
    "1.5",
    ".5",
    "5.",
    ".inf",
    "-.INF",
    ".nan",
    "12:30",
    "12:30:45",
    "190:20:30.15",
    "2026-01-01",
    "2026-1-1",
    "2026-01-01T00:00:00Z",
    "2026-01-01 00:00:00",
    "=",
    "<<",
    "-",
    "---",
    "...",
    "? a",
    "- a",
    "a: b",
    "a #b",
    "*a",
    "&a",
];

/// Renders a service whose SLO and alerts carry `label` and `annotation`, in both formats, and reads both back.
fn read_back(name: &str, label: &str, annotation: &str) -> Vec<(Option<String>, Option<String>)> {
    let mut service = shop_with_tier(Severity::Page, Span::minutes(5), Span::hours(1), 14.4, bad_events());
    Arc::make_mut(&mut service.slos)[0].alerting.labels = Labels::new().with(name, label);
    Arc::make_mut(&mut service.slos)[0].alerting.annotations = vec![(name.to_owned(), annotation.to_owned())];
    let groups = generate::rules(&service);
    let text = |value: &serde_yaml::Value| value.as_str().map(str::to_owned);
    [(Format::Prometheus, &["groups"][..]), (Format::Operator, &["spec", "groups"])]
        .map(|(format, path)| {
            let yaml = generate::render(std::slice::from_ref(&service), format, generate::DEFAULT_ADDRESS);
            let document: serde_yaml::Value = serde_yaml::from_str(&yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
            let read = path.iter().fold(&document, |value, key| &value[*key]);
            let read_exprs = read.as_sequence().unwrap().iter().flat_map(|g| g["rules"].as_sequence().unwrap());
            assert!(read_exprs.map(|rule| rule["expr"].as_str().unwrap()).eq(exprs(&groups)));
            let alert = &read[2]["rules"][0];
            (text(&alert["labels"][name]), text(&alert["annotations"][name]))
        })
        .to_vec()
}

#[test]
fn words_that_yaml_1_1_reads_otherwise_are_quoted() {
    for word in YAML_WORDS {
        let mut service = shop(bad_events());
        Arc::make_mut(&mut service.slos)[0].alerting.annotations = vec![("word".to_owned(), word.to_owned())];
        let yaml = generate::render(&[service], Format::Prometheus, generate::DEFAULT_ADDRESS);
        let line = yaml.lines().find(|line| line.trim_start().starts_with("word:")).unwrap();
        let value = line.trim_start().trim_start_matches("word:").trim();
        assert!(value == format!("'{word}'") || value == format!("\"{word}\""), "{line}");
    }
    for key in ["y", "no", "on", "null", "true", "_"] {
        for (label, annotation) in read_back(key, "a", "b") {
            assert_eq!((label.as_deref(), annotation.as_deref()), (Some("a"), Some("b")), "{key}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_label_and_annotation_survives(
        label in prop_oneof![any::<String>(), proptest::sample::select(&YAML_WORDS[..]).prop_map(str::to_owned)],
        annotation in prop_oneof![any::<String>(), "[ \t\na:#|>-]{0,12}", "([ -~]{0,40}\n){0,4}"],
    ) {
        let present = Some(label.clone()).filter(|label| !label.is_empty());
        for (read_label, read_annotation) in read_back("key", &label, &annotation) {
            prop_assert_eq!(&read_label, &present);
            prop_assert_eq!(read_annotation.as_ref(), Some(&annotation));
        }
    }

    #[test]
    fn any_matcher_value_stays_promql(value in any::<String>()) {
        let service = shop(SliKind::Events(Events {
            numerator: Numerator::Bad(metric("errors_total", &[Matcher::equal("path", &value)]).into()),
            total: metric("requests_total", &[Matcher::not_equal("path", &value)]).into(),
        }));
        for expr in exprs(&generate::rules(&service)) {
            prop_assert!(promql_parser::parser::parse(expr).is_ok(), "{}", expr);
        }
    }
}
