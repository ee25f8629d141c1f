//! What is wrong with a file: where, and what to do about it.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use crate::spec::source::{Place, Source};

/// More findings than this in one file are counted, not kept.
const FINDINGS_LIMIT_COUNT: usize = 200;
/// A longer line is cut around the place a finding points at.
const EXCERPT_LIMIT_CHARS: usize = 160;
/// How much of a cut line stays visible in front of that place.
const EXCERPT_LEAD_CHARS: usize = 60;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The file cannot be used.
    Error,
    /// The file says something it hardly means.
    Warning,
}

/// One finding. Messages are one sentence: lower case, no full stop, names in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Level,
    /// What is wrong.
    pub message: String,
    /// The file, as the user named it.
    pub path: Arc<PathBuf>,
    /// One-based.
    pub line: u32,
    /// One-based, in characters.
    pub column: u32,
    /// Characters concerned, at least 1.
    pub width: u32,
    /// What to do about it.
    pub hint: Option<String>,
    /// Other places that explain the finding.
    pub related: Vec<Related>,
    /// The part of the line to show.
    pub(super) excerpt: Excerpt,
}

/// Another place that explains a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// What is there.
    pub message: String,
    /// The file, as the user named it.
    pub path: Arc<PathBuf>,
    /// One-based.
    pub line: u32,
    /// One-based, in characters.
    pub column: u32,
    /// Characters concerned, at least 1.
    pub width: u32,
    /// The part of the line to show.
    pub(super) excerpt: Excerpt,
}

/// A line, or the readable part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub text: String,
    /// Characters in front of the place pointed at.
    pub lead: usize,
}

impl Excerpt {
    /// The readable part of `line` around a one-based column.
    fn of(line: &str, column: u32) -> Self {
        let at = (column as usize).saturating_sub(1);
        // Only as far as needed: a line may be as long as the file.
        if line.chars().nth(EXCERPT_LIMIT_CHARS).is_none() {
            return Self { text: line.to_owned(), lead: at };
        }
        let skip = at.saturating_sub(EXCERPT_LEAD_CHARS);
        let text: String = line.chars().skip(skip).take(EXCERPT_LIMIT_CHARS).collect();
        let cut = if skip > 0 { "..." } else { "" };
        Self { text: format!("{cut}{text}..."), lead: at - skip + cut.len() }
    }

    /// Replaces the characters of `secret`, on the line whose column `column` has [`Self::lead`] before it.
    fn hide(&mut self, column: u32, secret: Place) {
        let (lead, hidden) = (self.lead, secret.column..secret.column + secret.width);
        // Where the line is cut the dots stand for columns before it, which does no harm.
        let column_of = |at: usize| (column as usize + at).saturating_sub(lead) as u32;
        let shown = |(at, c): (usize, char)| if hidden.contains(&column_of(at)) { '*' } else { c };
        self.text = self.text.chars().enumerate().map(shown).collect();
    }
}

impl Diagnostic {
    /// An error at a place of a file that is no [`Source`], given the text of the line.
    pub fn of_line(path: &Arc<PathBuf>, place: Place, line: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Level::Error,
            message: message.into(),
            path: Arc::clone(path),
            line: place.line,
            column: place.column,
            width: place.width,
            hint: None,
            related: Vec::new(),
            excerpt: Excerpt::of(line, place.column),
        }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(&mut self, text: impl Into<String>) -> &mut Self {
        self.hint = Some(text.into());
        self
    }

    /// Adds the other place.
    pub(crate) fn related(&mut self, related: Related) -> &mut Self {
        self.related.push(related);
        self
    }
}

/// Collects the findings of one source.
pub(crate) struct Reporter<'s> {
    pub source: &'s Source,
    lines: OnceCell<Vec<&'s str>>,
    findings: Vec<Diagnostic>,
    /// Values no excerpt may show.
    secrets: Vec<Place>,
    errors: usize,
    suppressed: usize,
    /// Takes the place of findings over the limit.
    scratch: Diagnostic,
}

impl<'s> Reporter<'s> {
    pub fn new(source: &'s Source) -> Self {
        let scratch = Diagnostic {
            severity: Level::Error,
            message: String::new(),
            path: Arc::clone(&source.path),
            line: 1,
            column: 1,
            width: 1,
            hint: None,
            related: Vec::new(),
            excerpt: Excerpt::default(),
        };
        Self {
            source,
            lines: OnceCell::new(),
            findings: Vec::new(),
            secrets: Vec::new(),
            errors: 0,
            suppressed: 0,
            scratch,
        }
    }

    pub fn error(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.errors += 1;
        self.add(Level::Error, place, message.into())
    }

    pub fn warn(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Level::Warning, place, message.into())
    }

    /// Errors so far; unchanged over a stretch of work means the stretch is sound.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Points at a place of this source from a finding elsewhere.
    pub fn related(&self, place: Place, message: impl Into<String>) -> Related {
        Related {
            message: message.into(),
            path: Arc::clone(&self.source.path),
            line: place.line,
            column: place.column,
            width: place.width,
            excerpt: self.excerpt(place),
        }
    }

    /// Hides a value in every excerpt of its line, those of earlier findings included.
    pub fn conceal(&mut self, place: Place) {
        self.secrets.push(place);
    }

    /// What was found, with the secrets hidden.
    fn finish(mut self) -> Vec<Diagnostic> {
        for finding in &mut self.findings {
            for secret in &self.secrets {
                if finding.line == secret.line {
                    finding.excerpt.hide(finding.column, *secret);
                }
                for related in finding.related.iter_mut().filter(|r| r.line == secret.line) {
                    related.excerpt.hide(related.column, *secret);
                }
            }
        }
        self.findings
    }

    pub fn line(&self, number: u32) -> &'s str {
        let lines = self.lines.get_or_init(|| lines(&self.source.text));
        lines.get((number as usize).saturating_sub(1)).copied().unwrap_or("")
    }

    fn add(&mut self, severity: Level, place: Place, message: String) -> &mut Diagnostic {
        if self.findings.len() == FINDINGS_LIMIT_COUNT {
            self.suppressed += 1;
            self.scratch.related.clear();
            return &mut self.scratch;
        }
        self.findings.push(Diagnostic {
            severity,
            message,
            path: Arc::clone(&self.source.path),
            line: place.line,
            column: place.column,
            width: place.width,
            hint: None,
            related: Vec::new(),
            excerpt: self.excerpt(place),
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn excerpt(&self, place: Place) -> Excerpt {
        Excerpt::of(self.line(place.line), place.column)
    }
}

/// Lines as YAML counts them: ended by `\n`, `\r\n` or `\r`.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        lines.extend(line.strip_suffix('\r').unwrap_or(line).split('\r'));
    }
    lines
}

/// All findings of a run, by file and line.
#[derive(Clone, Debug, Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    suppressed: usize,
}

impl Report {
    pub(crate) fn new<'s>(reporters: impl IntoIterator<Item = Reporter<'s>>) -> Self {
        let mut report = Self::default();
        for reporter in reporters {
            report.errors += reporter.errors;
            report.suppressed += reporter.suppressed;
            report.diagnostics.extend(reporter.finish());
        }
        report.diagnostics.sort_by(|a, b| {
            let place = |d: &Diagnostic| (d.line, d.column, d.severity);
            a.path.cmp(&b.path).then_with(|| place(a).cmp(&place(b))).then_with(|| a.message.cmp(&b.message))
        });
        // An aliased node is decoded, and found wanting, once for each alias.
        let found = report.kept_errors();
        report.diagnostics.dedup();
        report.errors -= found - report.kept_errors();
        report
    }

    fn kept_errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Level::Error).count()
    }

    /// Adds another run's findings after these.
    pub fn merge(&mut self, other: Self) {
        self.diagnostics.extend(other.diagnostics);
        self.errors += other.errors;
        self.suppressed += other.suppressed;
    }

    /// Forgets everything that is no error.
    pub fn drop_warnings(&mut self) {
        self.diagnostics.retain(|d| d.severity == Level::Error);
    }

    /// By file, line and column.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many errors there are, those left out of [`Self::diagnostics`] included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether anything must be mended before the files can be used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many warnings there are among [`Self::diagnostics`].
    pub fn warnings(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Level::Warning).count()
    }

    /// How many findings were counted but not kept: a file holds at most 200.
    pub fn suppressed(&self) -> usize {
        self.suppressed
    }
}
