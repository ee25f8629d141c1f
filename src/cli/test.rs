//! `sloburn test`

use std::fs;
use std::io::{self, Write};

use anyhow::Context;

use crate::cli::args::TestOptions;
use crate::cli::{Outcome, check, sources};
use crate::spec::{self, Report, Source};
use crate::testing::{self, TestFile, Verdict};

pub(super) fn run(options: &TestOptions) -> anyhow::Result<Outcome> {
    let mut sources = sources::collect(&options.paths)?;
    // Specs and their tests may share a folder.
    sources.retain(|source| TestFile::is_like(source) || options.paths.contains(&*source.path));
    anyhow::ensure!(
        !sources.is_empty(),
        "no tests: a file of tests has `rule_files` and `tests`, see sloburn test --help"
    );
    let (mut results, mut text) = (Vec::new(), String::new());
    for source in &sources {
        let Some(verdicts) = test(source)? else { return Ok(Outcome::Failed) };
        text.extend(verdicts.iter().map(|verdict| describe(source, verdict)));
        results.push((source.path.display().to_string(), verdicts));
    }
    let verdicts = results.iter().flat_map(|(_, verdicts)| verdicts);
    let (total, failed) = (verdicts.clone().count(), verdicts.filter(|v| !v.failures.is_empty()).count());
    io::stdout().write_all(format!("{text}{} passed, {failed} failed\n", total - failed).as_bytes())?;
    if let Some(path) = &options.junit {
        fs::write(path, testing::junit(&results)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if failed == 0 { Outcome::Ok } else { Outcome::Failed })
}

/// The verdicts of one file; `None` when it or its specs have errors, which have been shown.
fn test(source: &Source) -> anyhow::Result<Option<Vec<Verdict>>> {
    let (file, report) = TestFile::parse(source);
    let Some(file) = shown(file, &report) else { return Ok(None) };
    let specs: Vec<Source> = sources::collect(&file.rule_files)
        .with_context(|| format!("rule_files of {}", source.path.display()))?
        .into_iter()
        .filter(|source| !TestFile::is_like(source))
        .collect();
    let (services, mut report) = spec::parse(&specs);
    report.drop_warnings();
    let Some(services) = shown(Some(services), &report) else { return Ok(None) };
    Ok(Some(file.cases.iter().map(|case| testing::run(&services, case)).collect()))
}

fn shown<T>(value: Option<T>, report: &Report) -> Option<T> {
    check::tell(report);
    value.filter(|_| !report.has_errors())
}

fn describe(source: &Source, verdict: &Verdict) -> String {
    let word = if verdict.failures.is_empty() { "ok  " } else { "FAIL" };
    let failures = verdict.failures.iter().map(|failure| format!("     {}\n", failure.replace('\n', "\n     ")));
    format!("{word} {}: {}\n{}", source.path.display(), verdict.name, failures.collect::<String>())
}
