//! `sloburn generate`

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::cli::args::GenerateOptions;
use crate::cli::{Outcome, check, console, sources};
use crate::{generate, spec};

pub(super) fn run(options: &GenerateOptions) -> anyhow::Result<Outcome> {
    let sources = sources::collect(&options.input)?;
    let (services, report) = spec::parse(&sources);
    check::tell(&report);
    if report.has_errors() {
        return Ok(Outcome::Failed);
    }
    anyhow::ensure!(!services.is_empty(), "no service in the input: nothing to generate");
    if options.format.is_about_releases() {
        let (judged, others): (Vec<_>, Vec<_>) = services.iter().partition(|service| service.canary.is_some());
        anyhow::ensure!(!judged.is_empty(), "no service in the input has a `canary` block: nothing to generate");
        for service in others {
            console::message(&format!("{}: left out, it has no `canary` block", service.name));
        }
    } else {
        for limit in services.iter().flat_map(generate::limits) {
            let place = format!("{}:{}", limit.origin.file.display(), limit.origin.line);
            console::message(&format!("warning: {}: {}\n  --> {place}", limit.slo, limit.message));
        }
    }
    let rules = generate::render(&services, options.format, options.address.as_str());
    if options.output == Path::new("-") {
        std::io::stdout().lock().write_all(rules.as_bytes()).context("cannot write to standard output")?;
        return Ok(Outcome::Ok);
    }
    replace(&options.output, &rules).with_context(|| format!("cannot write {}", options.output.display()))?;
    Ok(Outcome::Ok)
}

/// Writes beside the file and renames: a reader sees the old rules or the new ones, never half of them.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)
}
