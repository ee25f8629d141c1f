//! Specs as files: what is accepted, and every message as the user reads it.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sloburn::cli::sources::collect;
use sloburn::config::Config;
use sloburn::spec::{Accounting, Baseline, Exclusion, Source, WeekTime, When, parse};
use sloburn::types::{Matcher, Timestamp};

/// Files of a folder under the package, sorted, with paths as a user in the package would name them.
fn files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    names.sort();
    let read = |name: String| (format!("{folder}/{name}"), fs::read_to_string(root.join(folder).join(&name)).unwrap());
    names.into_iter().map(read).collect()
}

fn snapshot(path: &str, rendered: &str) {
    let name = Path::new(path).file_stem().unwrap().to_str().unwrap();
    assert!(!rendered.is_empty(), "{path} has nothing wrong");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(format!("spec-{name}"), rendered);
    });
}

#[test]
fn every_finding_reads_well() {
    let files = files("tests/specs/bad");
    assert!(files.len() >= 20, "{} files", files.len());
    for (path, text) in files {
        let (_, report) = parse(&[Source::new(&path, text)]);
        snapshot(&path, &report.render(false));
    }
}

#[test]
fn every_finding_about_the_configuration_reads_well() {
    for (path, text) in files("tests/specs/config") {
        let (config, report) = Config::parse(&Source::new(&path, text));
        assert!(config.is_none());
        snapshot(&path, &report.render(false));
    }
}

#[test]
fn findings_across_files_name_the_other_file() {
    let (_, text) = files("rules").into_iter().find(|(path, _)| path.ends_with("search.yaml")).unwrap();
    let again = text.replace("name: answered", "name: found").replace("sli: answered", "sli: found");
    let (services, report) = parse(&[Source::new("rules/search.yaml", text), Source::new("rules/again.yaml", again)]);
    assert_eq!(services.len(), 1);
    snapshot("across-files", &report.render(false));
}

#[test]
fn the_rules_folder_is_clean() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let (services, report) = parse(&collect(&[root.join("rules")]).unwrap());
    assert_eq!(report.render(false), "");
    let names: Vec<&str> = services.iter().map(|s| s.name.as_str()).collect();
    let expected = [
        "api-gateway",
        "checkout-progressive",
        "checkout",
        "funds-transfer",
        "invoice-batch",
        "mail-queue",
        "payment-auth",
        "payroll-api",
        "payroll-tenants",
        "quote",
        "search",
        "shop-front",
    ];
    assert_eq!(names, expected);
    let judged = services.iter().filter(|service| service.canary.is_some()).count();
    assert_eq!(judged, 7, "the pipelines people run, and the flags of one");
}

/// Every field this version has.
#[test]
fn a_service_is_read_as_written() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/full.yaml")).unwrap();
    let (services, report) = parse(&[Source::new("full.yaml", text)]);
    assert_eq!(report.render(false), "");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("spec-full", summary(&services[0]));
    });
}

/// Every field of `canary` and `budgetPolicy`, and what they are by default.
#[test]
fn a_canary_is_read_as_written() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/canary.yaml")).unwrap();
    let (services, report) = parse(&[Source::new("canary.yaml", text.clone())]);
    assert_eq!(report.render(false), "");
    let before = text.split("  budgetPolicy:").next().unwrap();
    let plain = format!("{before}  canary: {{checks: [{{sli: errors, above: 1%}}]}}\n");
    let (defaults, report) = parse(&[Source::new("defaults.yaml", plain)]);
    assert_eq!(report.render(false), "");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("spec-canary", format!("{}\n{}", releases(&services[0]), releases(&defaults[0])));
    });
}

/// How a service's releases are judged, one part a line.
fn releases(service: &sloburn::spec::Service) -> String {
    let canary = service.canary.as_ref().unwrap();
    let cohort = |cohort: &[Matcher]| cohort.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let baseline = match &canary.baseline {
        Baseline::Selector(matchers) => cohort(matchers),
        other => format!("{other:?}"),
    };
    let freeze = service.budget_policy.map(|policy| policy.freeze_below);
    let mut lines = vec![format!("line {}: baseline {baseline}, frozen below {freeze:?}", canary.origin.line)];
    let (every, window, deadline) = (canary.every, canary.window, canary.deadline);
    lines.push(format!("every {every}, window {window}, confidence {}, deadline {deadline}", canary.confidence));
    for step in &canary.steps {
        let (weight, cohort, least) = (step.weight, cohort(&step.cohort), step.min_samples);
        lines.push(format!("step {}: {weight:?} [{cohort}] for {}, {least} samples", step.name, step.hold));
    }
    for check in &canary.checks {
        let strata: Vec<String> = check.strata.iter().map(|stratum| cohort(stratum)).collect();
        let sli = &service.slis[check.sli].name;
        lines
            .push(format!("check {} line {}: {sli} {:?} in {strata:?}", check.name, check.origin.line, check.quantile));
        lines.push(format!("  {:?} by {:?}, {:?}", check.bound, check.test, check.action));
    }
    let times = |times: &[WeekTime]| times.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (not, start) = (times(&canary.not_between), times(&canary.start_between));
    let weight = canary.weight.as_ref().map(ToString::to_string);
    lines.push(format!("not between [{not}], start [{start}], weight {weight:?}, {:?}", canary.argo));
    lines.join("\n")
}

/// The parts of a service, one a line.
fn summary(service: &sloburn::spec::Service) -> String {
    let mut lines = vec![
        format!("service {} {} line {}", service.name, service.labels, service.origin.line),
        format!("version label {:?}", service.version_label),
    ];
    for sli in service.slis.iter() {
        let inputs = sli.inputs();
        lines.push(format!("sli {} line {}: {:?}", sli.name, sli.origin.line, inputs.counting));
        for term in &inputs.terms {
            let sign = if term.negative { "-" } else { "+" };
            lines.push(format!("  {:?} {sign} {} {:?}", term.role, term.selector, term.reads));
        }
    }
    for slo in service.slos.iter() {
        let alerting = &slo.alerting;
        let head = format!("slo {} {} line {}", slo.name, slo.labels, slo.origin.line);
        lines.push(format!("{head}: {} of sli {}, {} over {}", slo.objective, slo.sli, slo.description, slo.period));
        let Accounting { budgeting, group_by, no_data, exclude, resets, alert_no_data } = &slo.accounting;
        lines.push(format!("  {budgeting:?} by {group_by:?}, no data {no_data:?} {alert_no_data:?}"));
        for Exclusion { when, reason, origin } in exclude {
            let when = match when {
                When::Between { from, to } => format!("{from} to {to}"),
                When::Scheduled(schedule) => format!("{} from {}", schedule.lasts(), schedule.next(Timestamp(0))),
                When::While(selector) => format!("while {selector}"),
            };
            lines.push(format!("  exclude {when}: {reason} line {}", origin.line));
        }
        lines.extend(
            resets.iter().map(|reset| format!("  reset {}: {} line {}", reset.at, reset.reason, reset.origin.line)),
        );
        lines.push(format!("  alert {} {} {:?}", alerting.name, alerting.labels, alerting.annotations));
        lines.push(format!("  for {} keep {} min {:?}", alerting.for_, alerting.keep_firing_for, alerting.min_events));
        lines.push(format!("  budget {:?}", alerting.budget_remaining));
        for (name, options) in [("page", &alerting.page), ("ticket", &alerting.ticket)] {
            let off = if options.disabled { " disabled" } else { "" };
            lines.push(format!("  {name}{off} {} {:?}", options.labels, options.annotations));
        }
        for tier in &alerting.policy.tiers {
            lines.push(format!("  {} {}/{} x {:.3}", tier.severity, tier.short, tier.long, tier.factor));
        }
    }
    lines.join("\n")
}

#[test]
fn documents_stand_alone() {
    let good = &files("rules")[0].1;
    let text = format!("broken: [\n---\n{good}\n---\napiVersion: sloburn/v2\nkind: Service\n");
    let (services, report) = parse(&[Source::new("many.yaml", text)]);
    assert_eq!(services.len(), 1);
    assert_eq!(report.errors(), 2, "{}", report.render(false));
}

#[test]
fn aliases_stand_for_their_values() {
    let (_, text) = files("rules").into_iter().find(|(path, _)| path.ends_with("search.yaml")).unwrap();
    let text = text.replacen("labels: {team: discovery}", "labels: &labels {team: discovery}", 1);
    let text = text.replacen("labels: {severity: page}", "labels: *labels", 1);
    let (services, report) = parse(&[Source::new("a.yaml", text)]);
    assert_eq!(report.render(false), "");
    assert_eq!(services[0].slos[0].alerting.page.labels.to_string(), r#"{team="discovery"}"#);
}

#[test]
fn aliases_are_followed_within_bounds() {
    let laughs: String = (1..40).fold("a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let before = n - 1;
        text + &format!("a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n")
    });
    let deep: String =
        (1..2_000).fold("a0: &a0 x\n".to_owned(), |text, n| text + &format!("a{n}: &a{n} [*a{}]\n", n - 1));
    for (text, message) in [
        (laughs, "with its aliases followed"),
        (deep, "nested deeper than 64 levels"),
        ("[".repeat(100_000), "nested too deep"),
        ("- ".repeat(100_000), "nested too deep"),
        ("a: &a [*a]\n".to_owned(), "an alias cannot stand inside the value it names"),
        (format!("a: {}", "x".repeat(5 << 20)), "larger than 4 MiB"),
    ] {
        let (_, report) = parse(&[Source::new("a.yaml", text)]);
        assert!(report.render(false).contains(message), "{message}: {}", report.render(false));
    }
}

/// One edit of a text: at a share of its length, replace some characters.
fn mutated(text: &str, edits: &[(f64, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (share, removed, inserted) in edits {
        let at = ((chars.len() as f64 * share) as usize).min(chars.len());
        let end = (at + removed).min(chars.len());
        chars.splice(at..end, inserted.chars());
    }
    chars.into_iter().collect()
}

fn edit() -> impl Strategy<Value = (f64, usize, String)> {
    let inserted = prop_oneof![
        r#"[ \t\n\r:\-{}\[\]&*!|>'"%@`#,?~0-9a-zé\u{0}-\u{1f}]{0,6}"#,
        prop::sample::select(vec![
            "null",
            "&a",
            "*a",
            "\n---\n",
            "<<: ",
            "99999999999999999999",
            "[5m]",
            "rate(",
            "-1",
            "1e999"
        ])
        .prop_map(str::to_owned),
    ];
    (0.0..1.0, 0_usize..12, inserted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(which in 0_usize..12, edits in prop::collection::vec(edit(), 1..6)) {
        let text = mutated(&files("rules")[which].1, &edits);
        let source = Source::new("mutated.yaml", text);
        let (services, report) = parse(std::slice::from_ref(&source));
        let _ = (report.render(true), Config::parse(&source));
        // A document yields a service or an error, never neither.
        prop_assert!(!services.is_empty() || report.has_errors() || report.warnings() > 0);
        for d in report.diagnostics() {
            prop_assert!(d.line >= 1 && d.column >= 1 && d.width >= 1);
            prop_assert!(d.line as usize <= source.text.split(['\n', '\r']).count() + 1);
            prop_assert!(!d.message.ends_with('.') && !d.message.contains('\n'));
        }
    }
}
