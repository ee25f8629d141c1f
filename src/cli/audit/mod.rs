//! `sloburn audit`

pub mod args;
mod daemon;
mod recount;
mod source;

pub mod report;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;

use crate::audit::{Filter, Line, Verifier, describe};
use crate::cli::canary::args::DaemonOptions;
use crate::cli::{Outcome, console};
use crate::rollout::Happened;
use args::{AuditCommand, AuditOptions, ExportOptions, FilterOptions, ShowFormat, ShowOptions, VerifyOptions};
use recount::Recounter;
use source::{Found, Source};

pub(super) fn run(options: &AuditOptions) -> anyhow::Result<Outcome> {
    match &options.command {
        AuditCommand::Show(show) => self::show(show, &options.daemon),
        AuditCommand::Export(export) => self::export(export, &options.daemon),
        AuditCommand::Verify(verify) => self::verify(verify, &options.daemon),
    }
}

impl From<&FilterOptions> for Filter {
    fn from(options: &FilterOptions) -> Self {
        let FilterOptions { service, rollout, since } = options;
        Self { service: service.clone(), rollout: rollout.clone(), since: *since }
    }
}

fn show(options: &ShowOptions, daemon: &DaemonOptions) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut shown = 0_u64;
    let filter = Filter::from(&options.filter);
    Source::of(&options.source, daemon).each(&filter, &mut |Found { place, text, line }| {
        let Line::Entry(entry) = line else { return Ok(ControlFlow::Continue(())) };
        if options.format == ShowFormat::Json {
            shown += 1;
            return put(&mut out, text);
        }
        let record = entry.record().with_context(|| format!("{place}: entry {}", entry.sequence))?;
        if matches!(record.event, Happened::Evidence { .. }) && !options.evidence {
            return Ok(ControlFlow::Continue(()));
        }
        shown += 1;
        put(&mut out, &describe(&record))
    })?;
    finish(out)?;
    if shown == 0 {
        console::message("nothing found");
        return Ok(Outcome::NoData);
    }
    Ok(Outcome::Ok)
}

fn export(options: &ExportOptions, daemon: &DaemonOptions) -> anyhow::Result<Outcome> {
    let output: Box<dyn Write> = if options.output == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        let cannot = || format!("cannot write {}", options.output.display());
        Box::new(File::create(&options.output).with_context(cannot)?)
    };
    let mut out = BufWriter::new(output);
    let (mut verifier, mut broken) = (Verifier::default(), None);
    Source::of(&options.source, daemon).each(&Filter::default(), &mut |Found { place, text, line }| {
        if broken.is_none() {
            broken = verifier.take(&line).err().map(|error| format!("{place}: {error}"));
        }
        put(&mut out, text)
    })?;
    finish(out)?;
    if let Some(broken) = broken {
        console::message(&format!("warning: {broken}\n  = hint: all of it is written; see `sloburn audit verify`"));
        return Ok(Outcome::Failed);
    }
    let verified = verifier.finish()?;
    if verified.entries == 0 {
        console::message("nothing to export");
        return Ok(Outcome::NoData);
    }
    let (sequence, hash) = verified.head;
    console::message(&format!("{} entries, the last one {sequence} with the hash {hash}", verified.entries));
    Ok(Outcome::Ok)
}

fn verify(options: &VerifyOptions, daemon: &DaemonOptions) -> anyhow::Result<Outcome> {
    let source = Source::of(&options.source, daemon);
    let wanted = if options.head.is_some() { options.head } else { source.head()? };
    let mut verifier = Verifier::new(wanted);
    let mut recounter = options.recompute.then(Recounter::default);
    let mut broken = None;
    source.each(&Filter::default(), &mut |Found { place, line, .. }| {
        if let Err(error) = verifier.take(&line) {
            broken = Some(format!("{place}: {error}"));
            return Ok(ControlFlow::Break(()));
        }
        if let (Some(recounter), Line::Entry(entry)) = (&mut recounter, &line) {
            recounter.take(entry).with_context(|| place.to_owned())?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let verified = match broken {
        Some(broken) => Err(broken),
        None => verifier.finish().map_err(|error| error.to_string()),
    };
    let verified = match verified {
        Ok(verified) => verified,
        Err(broken) => {
            console::message(&format!("error: the chain is broken: {broken}"));
            return Ok(Outcome::Failed);
        }
    };
    if verified.entries == 0 {
        console::message("nothing to verify");
        return Ok(Outcome::NoData);
    }
    let (sequence, hash) = verified.head;
    let pruned = verified.anchor.map_or_else(String::new, |anchor| format!(", {} pruned before them", anchor.sequence));
    let mut text = format!("{} entries, an intact chain{pruned}\nhead {sequence} {hash}\n", verified.entries);
    let mut outcome = Outcome::Ok;
    if let Some(recounter) = recounter {
        let (recounted, is_the_same) = recounter.finish();
        text += &recounted;
        if !is_the_same {
            outcome = Outcome::Failed;
        }
    }
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    Ok(outcome)
}

/// Writes a line; a reader who has seen enough ends it.
fn put(out: &mut impl Write, line: &str) -> anyhow::Result<ControlFlow<()>> {
    match out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error).context("cannot write"),
    }
}

fn finish(mut out: impl Write) -> anyhow::Result<()> {
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write"),
        _ => Ok(()),
    }
}
