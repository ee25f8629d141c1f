//! Reading a daemon's own journal.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::{Judged, speed, told};
use crate::app::journal_folder;
use crate::cli::args::ReplayOptions;
use crate::cli::console;
use crate::cli::progress::Progress;
use crate::journal::{Folder, Journal, Kind, Options, Record};
use crate::replay::stream::{Stream, StreamError};
use crate::replay::summary::summarize;
use crate::replay::{Recording, RunError};
use crate::spec::Service;
use crate::types::Timestamp;
use crate::wire::Batch;

/// The folder of a journal among the inputs, which then is the only one.
pub(super) fn folder(inputs: &[PathBuf]) -> anyhow::Result<Option<PathBuf>> {
    let Some(folder) = inputs.iter().find(|path| path.is_dir()) else { return Ok(None) };
    anyhow::ensure!(inputs.len() == 1, "{} is a folder: a journal is judged alone", folder.display());
    let inner = journal_folder(folder);
    let folder = if inner.is_dir() { inner } else { folder.clone() };
    let journal = open(&folder);
    let segments = journal.segments().with_context(|| format!("cannot read {}", folder.display()))?;
    anyhow::ensure!(
        !segments.is_empty(),
        "{} holds no journal: name the folder given to --storage.path",
        folder.display()
    );
    Ok(Some(folder))
}

fn open(folder: &Path) -> Journal {
    Journal::new(Arc::new(Folder::new(folder)), Options::default())
}

/// Judges what the daemon received between `--from` and `--to`, by arrival; `None` when that is nothing.
pub(super) fn judge(
    services: &[Service],
    folder: &Path,
    options: &ReplayOptions,
    prefix: &str,
) -> anyhow::Result<(Recording, Option<Judged>)> {
    let journal = open(folder);
    let total_bytes = journal.segments()?.iter().map(|segment| segment.bytes).sum();
    let mut progress = Progress::start(options.progress, "judging", total_bytes);
    let mut stream = Stream::new(services.to_vec());
    let mut batch = Batch::new();
    let mut failure: Option<StreamError> = None;
    let mut unreadable = 0_u64;
    let mut held: Option<(Timestamp, Timestamp)> = None;
    let visit = &mut |at: &crate::journal::Progress, record: Record<'_>| {
        let Kind::Write(protocol) = record.kind else { return ControlFlow::Continue(()) };
        let arrived = record.arrived_at;
        held = Some((held.map_or(arrived, |(first, _)| first), arrived));
        if options.to.is_some_and(|to| arrived > to) || options.from.is_some_and(|from| arrived < from) {
            return ControlFlow::Continue(());
        }
        let settings = stream.settings();
        if batch.decode(protocol, record.body, &settings.limits, &settings.key).is_err() {
            unreadable += 1;
            return ControlFlow::Continue(());
        }
        if let Err(error) = stream.write(&batch, arrived) {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        let (samples, length) = (stream.samples(), arrived.since(stream.from()));
        progress.at(at.bytes, |seconds| speed(samples, length.as_millis() as f64 / 1000.0, seconds));
        ControlFlow::Continue(())
    };
    let reading = journal.read(journal.oldest()?, Timestamp::MIN, visit)?;
    let seconds = progress.finish();
    if let Some(error) = failure {
        return Err(error.into());
    }
    if unreadable > 0 {
        console::message(&format!("warning: {unreadable} requests of the journal cannot be read"));
    }
    for gap in &reading.gaps {
        let what = format!("{} requests between {} and {}", gap.records, gap.from, gap.to);
        console::message(&format!("warning: the journal lacks {what}"));
    }
    let samples = stream.samples();
    let (census, outcome) = stream.finish();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(StreamError::Run(RunError::Empty)) => {
            if let Some((first, last)) = held {
                console::message(&format!("the journal holds what arrived from {first} to {last}"));
            }
            return Ok((census, None));
        }
        Err(error) => return Err(error.into()),
    };
    told(prefix, &outcome, samples, samples, census.totals().series_kept, seconds);
    let summaries = summarize(&outcome);
    Ok((census, Some(Judged { outcome, summaries })))
}
