//! The lines of a log, wherever it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, bail};

use crate::app::outbox_file;
use crate::audit::{Filter, Hash, LINE_LIMIT_BYTES, Line, Log};
use crate::cli::audit::args::SourceOptions;
use crate::cli::audit::daemon;
use crate::cli::canary::args::DaemonOptions;
use crate::cli::sources;

/// A line of a log.
pub(super) struct Found<'a> {
    /// Where it stands, for messages.
    pub(super) place: &'a str,
    /// As it stands there.
    pub(super) text: &'a str,
    /// What it says.
    pub(super) line: Line,
}

/// Where a log is.
pub(super) enum Source<'a> {
    File(&'a Path),
    Storage(&'a Path),
    Daemon(&'a DaemonOptions),
}

type Take<'t> = &'t mut dyn FnMut(Found<'_>) -> anyhow::Result<ControlFlow<()>>;

impl<'a> Source<'a> {
    /// A file first, then a folder, else a daemon.
    pub(super) fn of(options: &'a SourceOptions, daemon: &'a DaemonOptions) -> Self {
        match options {
            SourceOptions { file: Some(path), .. } => Self::File(path),
            SourceOptions { storage: Some(path), .. } => Self::Storage(path),
            SourceOptions { file: None, storage: None } => Self::Daemon(daemon),
        }
    }

    /// The hash its last entry has to have, where that is kept beside the entries.
    pub(super) fn head(&self) -> anyhow::Result<Option<Hash>> {
        let Self::Storage(folder) = self else { return Ok(None) };
        let (sequence, hash) = Log::open(&outbox_file(folder))?.head()?;
        Ok((sequence > 0).then_some(hash))
    }

    /// Tells every line that is wanted, in order, until `take` breaks off.
    pub(super) fn each(&self, filter: &Filter, take: Take<'_>) -> anyhow::Result<()> {
        match self {
            Self::File(path) if path.as_os_str() == sources::STDIN => {
                lines("standard input", &mut io::stdin().lock(), filter, take)
            }
            Self::File(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
                lines(&name, &mut BufReader::new(file), filter, take)
            }
            Self::Storage(path) => stored(path, filter, take),
            Self::Daemon(options) => {
                let answer = daemon::audit(options, filter)?;
                lines(options.url.as_str(), &mut BufReader::new(answer), filter, take)
            }
        }
    }
}

fn stored(folder: &Path, filter: &Filter, take: Take<'_>) -> anyhow::Result<()> {
    let log = Log::open(&outbox_file(folder))?;
    let name = folder.display().to_string();
    let anchor = if *filter == Filter::default() { log.anchor()? } else { None };
    if let Some(anchor) = anchor {
        let found = Found { place: &name, text: &anchor.line(), line: Line::Anchor(anchor) };
        if take(found)?.is_break() {
            return Ok(());
        }
    }
    let mut pages = log.pages(filter.clone())?;
    loop {
        let page = pages.next_page()?;
        if page.is_empty() {
            return Ok(());
        }
        for entry in page {
            let found = Found { place: &name, text: &entry.line(), line: Line::Entry(entry) };
            if take(found)?.is_break() {
                return Ok(());
            }
        }
    }
}

fn lines(name: &str, input: &mut impl BufRead, filter: &Filter, take: Take<'_>) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    for number in 1_u64.. {
        buffer.clear();
        let place = format!("{name}:{number}");
        let mut limited = input.by_ref().take(LINE_LIMIT_BYTES as u64 + 1);
        if limited.read_until(b'\n', &mut buffer).with_context(|| format!("cannot read {place}"))? == 0 {
            break;
        }
        if buffer.len() > LINE_LIMIT_BYTES {
            bail!("{place}: a line of more than {} MiB", LINE_LIMIT_BYTES >> 20);
        }
        let text = std::str::from_utf8(&buffer).with_context(|| format!("{place}: not text"))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            continue;
        }
        let line = text.parse::<Line>().with_context(|| place.clone())?;
        let is_wanted = match &line {
            Line::Anchor(_) => *filter == Filter::default(),
            Line::Entry(entry) => filter.matches(entry).with_context(|| place.clone())?,
        };
        if is_wanted && take(Found { place: &place, text, line })?.is_break() {
            break;
        }
    }
    Ok(())
}
