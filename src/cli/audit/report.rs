//! `sloburn report`

use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::Context;

use super::args::{ReportFormat, ReportOptions};
use super::source::{Found, Source};
use crate::audit::{Filter, Line, Reporter};
use crate::cli::{Outcome, console};
use crate::clock;
use crate::types::Span;

/// What began so long before may end in the time that is asked for.
const LOOK_BACK: Span = Span::days(30);

pub(in crate::cli) fn run(options: &ReportOptions) -> anyhow::Result<Outcome> {
    let since = clock::now() - options.since;
    let mut reporter = Reporter::new(since);
    let source = Source::of(&options.source, &options.daemon);
    let filter = Filter { since: Some(since - LOOK_BACK), ..Filter::default() };
    source.each(&filter, &mut |Found { place, line, .. }| {
        if let Line::Entry(entry) = line
            // Evidence is most of a log, and says nothing here.
            && !entry.json.contains(r#""event":{"kind":"evidence""#)
        {
            let record = entry.record().with_context(|| format!("{place}: entry {}", entry.sequence))?;
            reporter.take(&record);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut report = reporter.finish();
    if let Source::Daemon(daemon) = source {
        match super::daemon::budgets(daemon) {
            Ok(budgets) => report.budgets = Some(budgets),
            Err(error) => console::message(&format!("warning: budgets left out: {error:#}")),
        }
    }
    let text = match options.format {
        ReportFormat::Text => report.to_text(),
        ReportFormat::Markdown => report.to_markdown(),
        ReportFormat::Json => format!("{:#}\n", report.to_json()),
    };
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    Ok(if report.cells.is_empty() { Outcome::NoData } else { Outcome::Ok })
}
