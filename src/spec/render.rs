//! Findings as text for people, in the manner of rustc: the message, the line, a caret, a hint.

use std::fmt::{self, Write};
use std::path::Path;

use crate::spec::diagnostic::{Diagnostic, Excerpt, Level, Related, Report};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const CYAN: &str = "\x1b[36m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

impl Report {
    /// All findings, an empty line between them; empty when there are none. `colour` adds ANSI sequences.
    ///
    /// Control characters of the sources are replaced, so that a file cannot write to the terminal.
    pub fn render(&self, colour: bool) -> String {
        let mut text = self.diagnostics().iter().map(|d| d.render(colour)).collect::<Vec<_>>().join("\n");
        if self.suppressed() > 0 {
            let _ = writeln!(text, "\nand {} more findings", self.suppressed());
        }
        text
    }
}

impl Diagnostic {
    /// This finding alone, with its last line ended.
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint(colour);
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, paint);
        out
    }

    fn write(&self, out: &mut String, paint: Paint) -> fmt::Result {
        let (word, hue) = match self.severity {
            Level::Error => ("error", RED),
            Level::Warning => ("warning", YELLOW),
        };
        let lines = self.related.iter().map(|r| r.line).chain([self.line]);
        let gutter = lines.max().unwrap_or(1).to_string().len();
        writeln!(out, "{}: {}", paint.of(hue, word), paint.of(BOLD, &clean(&self.message)))?;
        let main = Snippet {
            arrow: "-->",
            path: &self.path,
            line: self.line,
            column: self.column,
            width: self.width,
            excerpt: &self.excerpt,
            mark: '^',
            hue,
            note: "",
        };
        main.write(out, paint, gutter)?;
        for related in &self.related {
            Snippet::of(related).write(out, paint, gutter)?;
        }
        if let Some(hint) = &self.hint {
            let (bar, word) = (paint.of(BLUE, "="), paint.of(CYAN, "hint"));
            writeln!(out, "{:gutter$} {bar} {word}: {}", "", clean(hint))?;
        }
        Ok(())
    }
}

/// A place shown with its line.
struct Snippet<'a> {
    arrow: &'static str,
    path: &'a Path,
    line: u32,
    column: u32,
    width: u32,
    excerpt: &'a Excerpt,
    mark: char,
    hue: &'static str,
    note: &'a str,
}

impl<'a> Snippet<'a> {
    fn of(related: &'a Related) -> Self {
        Self {
            arrow: ":::",
            path: &related.path,
            line: related.line,
            column: related.column,
            width: related.width,
            excerpt: &related.excerpt,
            mark: '-',
            hue: BLUE,
            note: &related.message,
        }
    }

    fn write(&self, out: &mut String, paint: Paint, gutter: usize) -> fmt::Result {
        let path = clean(&self.path.display().to_string());
        let arrow = paint.of(BLUE, self.arrow);
        writeln!(out, "{:gutter$}{arrow} {path}:{}:{}", "", self.line, self.column)?;
        let bar = paint.of(BLUE, "|");
        writeln!(out, "{:gutter$} {bar}", "")?;
        let number = paint.of(BLUE, &format!("{:>gutter$}", self.line));
        writeln!(out, "{}", format!("{number} {bar} {}", clean(&self.excerpt.text)).trim_end())?;
        let room = self.excerpt.text.chars().count().saturating_sub(self.excerpt.lead).max(1);
        let marks = self.mark.to_string().repeat((self.width as usize).clamp(1, room));
        let note = if self.note.is_empty() { String::new() } else { format!(" {}", clean(self.note)) };
        let marks = paint.of(self.hue, &format!("{marks}{note}"));
        writeln!(out, "{:gutter$} {bar} {:lead$}{marks}", "", "", lead = self.excerpt.lead)
    }
}

/// Whether to colour.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn of(self, hue: &str, text: &str) -> String {
        if self.0 { format!("{hue}{text}{RESET}") } else { text.to_owned() }
    }
}

/// One visible character for each character, so that carets stay in line.
fn clean(text: &str) -> String {
    let visible = |c| match c {
        '\t' => ' ',
        // Direction overrides and isolates reorder what a reader sees.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use crate::spec::diagnostic::{Report, Reporter};
    use crate::spec::source::{Place, Source};

    #[test]
    fn a_finding_shows_its_line_and_the_other_place() {
        let source = Source::new("rules/a.yaml", "name: a\n\n\n\n\n\n\n\n\nname: b\n");
        let mut reporter = Reporter::new(&source);
        let first = reporter.related(Place { line: 1, column: 1, width: 4 }, "first here");
        reporter.error(Place { line: 10, column: 1, width: 4 }, "`name` twice").related(first).hint("keep one");
        let report = Report::new([reporter]);
        let text = "error: `name` twice
  --> rules/a.yaml:10:1
   |
10 | name: b
   | ^^^^
  ::: rules/a.yaml:1:1
   |
 1 | name: a
   | ---- first here
   = hint: keep one
";
        assert_eq!(report.render(false), text);
        assert!(report.render(true).starts_with("\x1b[1;31merror\x1b[0m: "));
    }

    #[test]
    fn a_file_cannot_write_to_the_terminal() {
        let source = Source::new("a\x1b[2J.yaml", "\tx: \x1b[31m\u{202e}\r\n");
        let mut reporter = Reporter::new(&source);
        reporter.error(Place { line: 1, column: 2, width: 900 }, "odd \x07");
        let text = Report::new([reporter]).render(false);
        assert!(!text.contains(['\x1b', '\x07', '\t', '\r', '\u{202e}']), "{text:?}");
        assert!(text.contains(" |  ^^^^^"), "{text}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let source = Source::new("a.yaml", format!("{}HERE{}", "x".repeat(5_000), "y".repeat(5_000)));
        let mut reporter = Reporter::new(&source);
        reporter.error(Place { line: 1, column: 5_001, width: 4 }, "long");
        let text = Report::new([reporter]).render(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3].find("HERE"), lines[4].find("^^^^"));
        assert!(lines.iter().all(|l| l.len() < 200));
    }

    #[test]
    fn findings_over_the_limit_are_counted() {
        let source = Source::new("a.yaml", "a");
        let mut reporter = Reporter::new(&source);
        for n in 0..300 {
            reporter.error(Place::START, format!("finding {n}"));
        }
        let report = Report::new([reporter]);
        assert_eq!((report.diagnostics().len(), report.errors(), report.suppressed()), (200, 300, 100));
        assert!(report.render(false).ends_with("and 100 more findings\n"));
    }
}
