//! `sloburn check`

use crate::app::web;
use crate::canary::{Layout, short};
use crate::cli::args::{CheckOptions, Lint};
use crate::cli::{Outcome, console, sources};
use crate::config::{self, Config};
use crate::spec::{self, Amount, Bound, CanaryCheck, Measure, Report, Service, Source};
use crate::testing::TestFile;

pub(super) fn run(options: &CheckOptions) -> anyhow::Result<Outcome> {
    let sources = sources::collect(&options.paths)?;
    anyhow::ensure!(!sources.is_empty(), "no *.yaml or *.yml file in {}", shown(options));
    let files = sources.len();
    let (mut specs, mut others) = (Vec::new(), Report::default());
    for source in sources {
        match kind(&source) {
            Kind::Spec => specs.push(source),
            Kind::Config => others.merge(Config::parse(&source).1),
            Kind::WebConfig => others.merge(web::check(source)),
            Kind::Tests => others.merge(TestFile::parse(&source).1),
        }
    }
    let (spec::Specs { services, groups }, mut report) = spec::read(&specs);
    report.merge(others);
    if options.lint == Lint::None {
        report.drop_warnings();
    }
    tell(&report);
    for (service, sli, query) in
        services.iter().flat_map(|s| s.slis.iter().filter_map(move |sli| Some((&s.name, &sli.name, sli.query()?))))
    {
        let why = match query.measure {
            Measure::Events { .. } => "its queries are over `$window`",
            Measure::Ratio { .. } => "it is a ratio: each evaluation is one event",
        };
        console::message(&format!(
            "note: {service}/{sli} is evaluated by PromQL every {} on recent samples, as {why}; SLIs of selectors are \
             counted as samples arrive",
            query.every
        ));
    }
    let checks = services.iter().flat_map(|service| {
        service
            .canary
            .iter()
            .flat_map(move |canary| canary.checks.iter().filter_map(move |check| coarse(service, check)))
    });
    checks.filter(|_| options.lint != Lint::None).for_each(|note| console::message(&note));
    let slos: usize = services.iter().map(|s| s.slos.len()).sum();
    let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
    let mut found = vec![count(files, "file"), count(services.len(), "service"), count(slos, "SLO")];
    if !groups.is_empty() {
        found.extend([count(groups.len(), "rule group"), count(rules, "rule")]);
    }
    console::message(&format!(
        "{}: {}, {}",
        found.join(", "),
        count(report.errors(), "error"),
        count(report.warnings(), "warning"),
    ));
    Ok(match (report.has_errors(), report.warnings() > 0) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Lint,
        (false, false) => Outcome::Ok,
    })
}

/// What a quantile check could not see in the buckets that client libraries have unless told otherwise, near the SLI's
/// threshold. Which buckets there are is known only when they arrive; the verdict says it then.
fn coarse(service: &Service, check: &CanaryCheck) -> Option<String> {
    let sli = &service.slis[check.sli];
    let latency = sli.inputs().native.filter(|_| check.quantile.is_some())?;
    if !latency.histogram.metric_name()?.ends_with("_seconds") {
        return None;
    }
    let layout = Layout::client_default();
    let near = latency.threshold;
    let limit = |quantile: f64| match check.bound {
        Bound::Above(limit) => Some(limit),
        Bound::RegressionOver(Amount::Absolute(more)) => Some(quantile + more),
        Bound::RegressionOver(Amount::Relative(part)) => Some(quantile * (1.0 + part)),
        Bound::Below(_) | Bound::DropOver(_) | Bound::BurnRateOver { .. } => None,
    };
    let (exact, visible) = (limit(near)?, layout.visible_from(limit(layout.visible_from(near))?));
    let millis = |seconds: f64| short(1_000.0 * seconds);
    let shows = if visible.is_finite() { format!("only above {} ms", millis(visible)) } else { "never".to_owned() };
    (visible > exact * 1.000_001).then(|| {
        format!(
            "note: {}: {}: where buckets are those that client libraries have by themselves, harm beyond {} ms near {} ms shows \
             {shows}; native histograms, or bounds at most 20 % apart there, show it",
            service.name,
            check.name,
            millis(exact),
            millis(near),
        )
    })
}

/// The kinds of files there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Spec,
    Config,
    WebConfig,
    Tests,
}

/// Every spec has an `apiVersion`; the others are told by their sections.
fn kind(source: &Source) -> Kind {
    const CONFIG: [&str; 9] = [
        "external_labels",
        "rule_files",
        "external_url",
        "alertmanagers",
        "webhooks",
        "slack",
        "argo",
        "audit",
        "resend_delay",
    ];
    let has = |sections: &[&str]| {
        let begins = |line: &str| {
            sections.iter().any(|section| line.strip_prefix(section).is_some_and(|rest| rest.starts_with(':')))
        };
        source.text.lines().any(begins)
    };
    if TestFile::is_like(source) {
        Kind::Tests
    } else if source.text.contains("apiVersion") {
        Kind::Spec
    } else if has(&config::web::SECTIONS) {
        Kind::WebConfig
    } else if has(&CONFIG) {
        Kind::Config
    } else {
        Kind::Spec
    }
}

/// Prints the findings, if any.
pub(super) fn tell(report: &Report) {
    let text = report.render(console::colour());
    if !text.is_empty() {
        console::message(text.trim_end());
    }
}

fn shown(options: &CheckOptions) -> String {
    options.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_sections() {
        for (text, expected) in [
            ("apiVersion: sloburn/v1\nrule_files:\n", Kind::Spec),
            ("# who\nrule_files: [rules]\n", Kind::Config),
            ("tls_server_config:\n  cert_file: a\n", Kind::WebConfig),
            ("basic_auth_users: {}\n", Kind::WebConfig),
            ("basic_auth_users_: {}\n", Kind::Spec),
            ("rule_files: [shop.yaml]\ntests:\n", Kind::Tests),
            ("", Kind::Spec),
        ] {
            assert_eq!(kind(&Source::new("a.yaml", text)), expected, "{text}");
        }
    }
}
