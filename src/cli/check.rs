//! `sloburn check`

use crate::cli::args::{CheckOptions, Lint};
use crate::cli::{Outcome, console, sources};
use crate::config::Config;
use crate::spec::{self, Report, Source};

pub(super) fn run(options: &CheckOptions) -> anyhow::Result<Outcome> {
    let sources = sources::collect(&options.paths)?;
    anyhow::ensure!(!sources.is_empty(), "no *.yaml or *.yml file in {}", shown(options));
    let (configs, specs): (Vec<Source>, Vec<Source>) = sources.into_iter().partition(is_config);
    let (services, mut report) = spec::parse(&specs);
    for source in &configs {
        report.merge(Config::parse(source).1);
    }
    if options.lint == Lint::None {
        report.drop_warnings();
    }
    tell(&report);
    let slos: usize = services.iter().map(|s| s.slos.len()).sum();
    let files = specs.len() + configs.len();
    console::message(&format!(
        "{}, {}, {}: {}, {}",
        count(files, "file"),
        count(services.len(), "service"),
        count(slos, "SLO"),
        count(report.errors(), "error"),
        count(report.warnings(), "warning"),
    ));
    Ok(match (report.has_errors(), report.warnings() > 0) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Lint,
        (false, false) => Outcome::Ok,
    })
}

/// A daemon's configuration has no `apiVersion`; every spec has one.
fn is_config(source: &Source) -> bool {
    const KEYS: [&str; 6] =
        ["external_labels:", "rule_files:", "external_url:", "alertmanagers:", "webhooks:", "resend_delay:"];
    let mut lines = source.text.lines();
    !source.text.contains("apiVersion") && lines.any(|line| KEYS.iter().any(|key| line.starts_with(key)))
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
