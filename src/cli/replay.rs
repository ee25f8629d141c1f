//! `sloburn replay`

mod journal;
mod remote;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::cli::args::{ReplayFormat, ReplayOptions};
use crate::cli::progress::Progress;
use crate::cli::{Outcome, check, console, sources};
use crate::replay::compare::pairs;
use crate::replay::openmetrics::{LINE_LIMIT_BYTES, LineError, Reader};
use crate::replay::summary::{SloSummary, summarize};
use crate::replay::{self, Recorder, Recording, json, text};
use crate::spec::{self, Diagnostic, Place, Service};
use crate::types::Timestamp;

/// Bytes read from a file at once.
const READ_SIZE_BYTES: usize = 1 << 20;
/// Findings of one kind shown; the rest is counted.
const SHOWN_LIMIT_COUNT: usize = 10;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// A set of specs and what came of it.
struct Judged {
    outcome: replay::Outcome,
    summaries: Vec<SloSummary>,
}

pub(super) fn run(options: &ReplayOptions) -> anyhow::Result<Outcome> {
    let (from, to) = (options.from.unwrap_or(Timestamp::MIN), options.to.unwrap_or(Timestamp(i64::MAX)));
    if from > to {
        console::message(&format!("error: --from {from} is later than --to {to}"));
        return Ok(Outcome::Usage);
    }
    let Some(rules) = read_specs(&options.rules)? else { return Ok(Outcome::Failed) };
    let against = match &options.against[..] {
        [] => None,
        paths => match read_specs(paths)? {
            Some(services) => Some(services),
            None => return Ok(Outcome::Failed),
        },
    };
    if let Some(folder) = journal::folder(&options.input)? {
        return run_journal(&folder, &rules, against.as_deref(), options);
    }
    let all: Vec<Service> = rules.iter().chain(against.iter().flatten()).cloned().collect();
    let mut recorder = Recorder::new(all.clone(), from..=to);
    if let Some(url) = &options.from_url {
        remote::read(url, &all, options, &mut recorder)?;
    }
    for path in &options.input {
        if let Err(diagnostic) = read_input(path, options, &mut recorder)? {
            console::message(diagnostic.render(console::colour()).trim_end());
            return Ok(Outcome::Failed);
        }
    }
    let recording = recorder.finish();
    if !recording.has_matches() {
        tell_no_data(&recording, options);
        return Ok(Outcome::NoData);
    }
    tell_unused(&recording);
    let of_rules = if against.is_some() { "--rules: " } else { "" };
    let rules = judge(&rules, &recording, options, of_rules)?;
    let against = against.map(|services| judge(&services, &recording, options, "--against: ")).transpose()?;
    show(&rules, against.as_ref(), options)
}

/// Judges a daemon's own journal.
fn run_journal(
    folder: &Path,
    rules: &[Service],
    against: Option<&[Service]>,
    options: &ReplayOptions,
) -> anyhow::Result<Outcome> {
    let of_rules = if against.is_some() { "--rules: " } else { "" };
    let (census, judged) = journal::judge(rules, folder, options, of_rules)?;
    let (true, Some(rules)) = (census.has_matches(), judged) else {
        tell_no_data(&census, options);
        return Ok(Outcome::NoData);
    };
    tell_unused(&census);
    let against = match against {
        Some(services) => journal::judge(services, folder, options, "--against: ")?.1,
        None => None,
    };
    show(&rules, against.as_ref(), options)
}

fn show(rules: &Judged, against: Option<&Judged>, options: &ReplayOptions) -> anyhow::Result<Outcome> {
    tell_surprises(&rules.outcome);
    let out = BufWriter::new(io::stdout().lock());
    match options.format {
        ReplayFormat::Json => write_json(out, rules, against),
        ReplayFormat::Text => write_text(out, rules, against),
    }
    .context("cannot write to standard output")?;
    Ok(Outcome::Ok)
}

/// The services of these specs; `None` when they have errors, which have been shown.
fn read_specs(paths: &[PathBuf]) -> anyhow::Result<Option<Vec<Service>>> {
    let sources = sources::collect(paths)?;
    let (services, mut report) = spec::parse(&sources);
    // What is hardly meant is `check`'s business.
    report.drop_warnings();
    check::tell(&report);
    if report.has_errors() {
        return Ok(None);
    }
    let shown = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(services.iter().any(|s| !s.slos.is_empty()), "no SLO in {shown}");
    Ok(Some(services))
}

/// Tells the recorder everything in one file; the inner error is a line that cannot be read.
fn read_input(
    path: &Path,
    options: &ReplayOptions,
    recorder: &mut Recorder,
) -> anyhow::Result<Result<(), Box<Diagnostic>>> {
    let is_stdin = path.as_os_str() == "-";
    let name = Arc::new(if is_stdin { PathBuf::from("<stdin>") } else { path.to_owned() });
    let cannot = || format!("cannot read {}", name.display());
    let (input, size): (Box<dyn Read>, u64) = if is_stdin {
        (Box::new(io::stdin().lock()), 0)
    } else {
        let file = File::open(path).with_context(cannot)?;
        let metadata = file.metadata().with_context(cannot)?;
        anyhow::ensure!(!metadata.is_dir(), "{} is a folder: --input takes files", name.display());
        (Box::new(file), metadata.len())
    };
    let mut input = BufReader::with_capacity(READ_SIZE_BYTES, input);
    anyhow::ensure!(
        !input.fill_buf().with_context(cannot)?.starts_with(GZIP_MAGIC),
        "{} is compressed: gunzip -c {0} | sloburn replay --input - ...",
        name.display()
    );
    let mut progress = Progress::start(options.progress, "reading", size);
    let mut reader = Reader::new();
    let (mut line, mut number, mut bytes) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read =
            input.by_ref().take(LINE_LIMIT_BYTES as u64 + 2).read_until(b'\n', &mut line).with_context(cannot)?;
        if read == 0 {
            break;
        }
        number += 1;
        bytes += read as u64;
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Err(error) = reader.line(text, recorder) {
            progress.finish();
            return Ok(Err(Box::new(diagnostic(&name, number, text, &error))));
        }
        progress.at(bytes, |seconds| {
            let samples = recorder.samples_read();
            format!("{} samples, {} samples/s", short(samples as f64), short(samples as f64 / seconds))
        });
    }
    progress.finish();
    if !reader.has_ended() {
        console::message(&format!("warning: {} does not end with `# EOF`: it may have been cut off", name.display()));
    }
    Ok(Ok(()))
}

fn diagnostic(path: &Arc<PathBuf>, number: u32, line: &[u8], error: &LineError) -> Diagnostic {
    let chars = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().count() as u32;
    let (start, end) = (error.at.start.min(line.len()), error.at.end.min(line.len()));
    let place =
        Place { line: number, column: chars(&line[..start]) + 1, width: chars(&line[start..end.max(start)]).max(1) };
    let mut diagnostic = Diagnostic::of_line(path, place, &String::from_utf8_lossy(line), error.problem.to_string());
    if let Some(hint) = error.problem.hint() {
        diagnostic.hint(hint);
    }
    diagnostic
}

/// Judges and says how that went, after `prefix`.
fn judge(services: &[Service], recording: &Recording, options: &ReplayOptions, prefix: &str) -> anyhow::Result<Judged> {
    let totals = recording.totals();
    let mut progress = Progress::start(options.progress, "judging", totals.samples_kept);
    let start = recording.span().map_or(Timestamp::MIN, |(from, _)| from);
    let outcome = replay::run(services, recording, &mut |done, at| {
        progress.at(done, |seconds| speed(done, at.since(start).as_millis() as f64 / 1000.0, seconds));
    })?;
    let seconds = progress.finish();
    told(prefix, &outcome, totals.samples_kept, totals.samples_read, totals.series_kept, seconds);
    let summaries = summarize(&outcome);
    Ok(Judged { outcome, summaries })
}

/// Says how judging went.
fn told(prefix: &str, outcome: &replay::Outcome, judged: u64, read: u64, series: usize, seconds: f64) {
    let length = outcome.to.since(outcome.from);
    console::message(&format!(
        "{prefix}judged {} of {} samples ({} series) from {} to {} ({}) in {seconds:.1}s: {}",
        text::thousands(judged as f64),
        text::thousands(read as f64),
        text::thousands(series as f64),
        text::moment(outcome.from),
        text::moment(outcome.to),
        text::rounded(length),
        speed(judged, length.as_millis() as f64 / 1000.0, seconds),
    ));
}

/// `1.3M samples/s, 500k times real time`
fn speed(samples: u64, data_seconds: f64, seconds: f64) -> String {
    format!("{} samples/s, {} times real time", short(samples as f64 / seconds), short(data_seconds / seconds))
}

fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1}G", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.0}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn tell_no_data(recording: &Recording, options: &ReplayOptions) {
    let totals = recording.totals();
    let mut lines = Vec::new();
    match totals.read {
        None => lines.push("error: no data: the input holds no samples".to_owned()),
        Some((first, last)) => {
            lines.push("error: no data: no sample matches any SLI".to_owned());
            let what = format!("the input holds {} samples", text::thousands(totals.samples_read as f64));
            lines.push(format!("  {what} from {first} to {last}"));
            let range = [("from", options.from), ("to", options.to)];
            let range = range.iter().filter_map(|(name, at)| at.map(|at| format!("--{name} {at}")));
            lines.extend(range.map(|bound| format!("  judged is what {bound} leaves of it")));
            let names: Vec<&str> = totals.names.iter().take(SHOWN_LIMIT_COUNT).map(AsRef::as_ref).collect();
            let more = if totals.names.len() > names.len() { ", ..." } else { "" };
            lines.push(format!("  its metrics: {}{more}", names.join(", ")));
        }
    }
    let selectors: Vec<String> = recording.unused_selectors().iter().map(described).collect();
    lines.extend(limited(&selectors, "  matched nothing: "));
    console::message(&lines.join("\n"));
}

fn tell_unused(recording: &Recording) {
    let selectors: Vec<String> = recording.unused_selectors().iter().map(described).collect();
    for line in limited(&selectors, "warning: no sample matches ") {
        console::message(&line);
    }
}

fn described(unused: &replay::UnusedSelector) -> String {
    let origin = &unused.origin;
    format!("{} of SLI {} ({}:{})", unused.selector, unused.sli, origin.file.display(), origin.line)
}

/// The first few, each after the prefix, and how many more there are.
fn limited(items: &[String], prefix: &str) -> Vec<String> {
    let mut lines: Vec<String> = items.iter().take(SHOWN_LIMIT_COUNT).map(|item| format!("{prefix}{item}")).collect();
    if items.len() > SHOWN_LIMIT_COUNT {
        lines.push(format!("{prefix}{} more selectors", items.len() - SHOWN_LIMIT_COUNT));
    }
    lines
}

/// What a reader of the result has to know: refused samples, and times without any.
fn tell_surprises(outcome: &replay::Outcome) {
    for (reason, rejection) in &outcome.rejected {
        let (samples, plural) = (rejection.samples, if rejection.samples == 1 { "" } else { "s" });
        console::message(&format!("warning: {samples} sample{plural} refused ({reason}): {}", rejection.example));
    }
    for gap in outcome.gaps.iter().take(SHOWN_LIMIT_COUNT) {
        let length = text::rounded(gap.to.since(gap.from));
        console::message(&format!(
            "warning: no samples for {length} from {} to {}: alerts stay as they were",
            text::moment(gap.from),
            text::moment(gap.to)
        ));
    }
    if outcome.gaps.len() > SHOWN_LIMIT_COUNT {
        console::message(&format!("warning: {} more gaps like these", outcome.gaps.len() - SHOWN_LIMIT_COUNT));
    }
}

fn write_json(mut out: impl Write, rules: &Judged, against: Option<&Judged>) -> io::Result<()> {
    let lines = |judged: &Judged| {
        let happenings = json::happenings(&judged.outcome).into_iter();
        happenings.chain(judged.outcome.slos.iter().map(|view| json::slo(view))).collect::<Vec<_>>()
    };
    for line in lines(rules) {
        writeln!(out, "{line}")?;
    }
    if let Some(against) = against {
        for line in lines(against) {
            writeln!(out, "{}", json::of_against(line))?;
        }
        for pair in pairs(&rules.summaries, &against.summaries) {
            writeln!(out, "{}", json::comparison(&pair))?;
        }
    }
    out.flush()
}

fn write_text(mut out: impl Write, rules: &Judged, against: Option<&Judged>) -> io::Result<()> {
    write!(out, "{}", text::timeline(&rules.outcome, &rules.summaries))?;
    write!(out, "{}", text::rollouts(&rules.outcome))?;
    match against {
        None => write!(out, "{}", text::summary(&rules.summaries))?,
        Some(against) => write!(out, "{}", text::comparison(&pairs(&rules.summaries, &against.summaries)))?,
    }
    out.flush()
}
