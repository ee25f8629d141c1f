//! The terminal: lines that stay, and below them a few that are redrawn in place.
//!
//! Without a terminal there is nothing to redraw: the lower part is then printed like the rest, now and then.

use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use crate::types::{Span, Timestamp};

/// How often the lower part is printed when it cannot be redrawn.
const PRINT_EVERY: Span = Span::seconds(30);
/// Lines of the upper part that must stay in view for the lower one to be redrawn.
const UPPER_LEAST_LINES: usize = 4;

/// Before the second and later lines of one that did not fit.
const CONTINUATION_INDENT: usize = 4;

/// How a piece of text stands out. Never the only carrier of a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Not at all.
    Plain,
    /// Bold.
    Bold,
    /// Faint.
    Faint,
    /// For what is bad.
    Red,
    /// For what is not good.
    Yellow,
    /// For what is good.
    Green,
    /// For what the story does.
    Cyan,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Red => "\x1b[1;31m",
            Self::Yellow => "\x1b[33m",
            Self::Green => "\x1b[32m",
            Self::Cyan => "\x1b[36m",
        }
    }
}

/// One line, as pieces.
pub type Row = Vec<(Ink, String)>;

/// A line in one ink.
pub fn row(ink: Ink, text: impl Into<String>) -> Row {
    vec![(ink, text.into())]
}

/// The signs that the locale can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// `#` and `!`
    Ascii,
    /// Blocks and bullets.
    Unicode,
}

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    colour: bool,
    signs: Signs,
    /// The lower part as it was drawn last.
    lower: Vec<Row>,
    /// Lines of it on the screen.
    drawn_lines: usize,
    printed_at: Timestamp,
}

impl Screen {
    /// Standard output, as far as the environment says what it can do.
    pub fn open() -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| set(name)).map(env::var);
        let locale = locale.and_then(Result::ok).unwrap_or_default().to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        let signs = if terminal && utf8 { Signs::Unicode } else { Signs::Ascii };
        Self {
            terminal,
            colour: terminal && !set("NO_COLOR"),
            signs,
            lower: Vec::new(),
            drawn_lines: 0,
            printed_at: Timestamp::MIN,
        }
    }

    /// The signs to use.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// Adds a line to the upper part.
    pub fn say(&mut self, line: &Row) -> io::Result<()> {
        let mut text = self.erased();
        let width = if self.terminal { width() } else { usize::MAX };
        for part in wrapped(line, width) {
            paint(&part, self.colour, None, &mut text);
        }
        self.draw_lower(&mut text);
        write(&text)
    }

    /// Shows the lower part: in place, or on its own if the last time is long ago.
    pub fn show(&mut self, lower: Vec<Row>, now: Timestamp) -> io::Result<()> {
        let mut text = self.erased();
        if self.fits(lower.len()) {
            self.lower = lower;
            self.draw_lower(&mut text);
        } else {
            self.lower.clear();
            if now.since(self.printed_at) >= PRINT_EVERY {
                self.printed_at = now;
                for line in &lower {
                    paint(line, self.colour, None, &mut text);
                }
            }
        }
        write(&text)
    }

    /// Shows one line in place, and nothing without a terminal.
    pub fn progress(&mut self, line: Row) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let mut text = self.erased();
        self.lower = vec![line];
        self.draw_lower(&mut text);
        write(&text)
    }

    /// Takes the lower part away.
    pub fn clear(&mut self) -> io::Result<()> {
        let text = self.erased();
        self.lower.clear();
        write(&text)
    }

    /// Lets the lower part stay where it is: what comes next goes below it.
    pub fn keep(&mut self) {
        self.lower.clear();
        self.drawn_lines = 0;
    }

    fn fits(&self, lines: usize) -> bool {
        let height = terminal_size::terminal_size().map_or(0, |(_, height)| usize::from(height.0));
        self.terminal && lines + UPPER_LEAST_LINES <= height
    }

    /// What takes the lower part off the screen.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn_lines) {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A\x1b[J"),
        }
    }

    fn draw_lower(&mut self, text: &mut String) {
        // A wrapped line would take two, and be erased by half.
        for line in &self.lower {
            paint(line, self.colour, Some(width()), text);
        }
        self.drawn_lines = self.lower.len();
    }
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// A line broken between words where it would not fit; what follows is indented.
fn wrapped(line: &Row, width: usize) -> Vec<Row> {
    let mut rows = vec![Row::new()];
    let mut used = 0;
    for (ink, text) in line {
        for word in text.split_inclusive(' ') {
            if used > CONTINUATION_INDENT && used + word.trim_end().chars().count() > width {
                rows.push(row(Ink::Plain, " ".repeat(CONTINUATION_INDENT)));
                used = CONTINUATION_INDENT;
            }
            used += word.chars().count();
            let Some(last) = rows.last_mut() else { continue };
            match last.last_mut().filter(|(same, _)| same == ink) {
                Some((_, text)) => text.push_str(word),
                None => last.push((*ink, word.to_owned())),
            }
        }
    }
    rows
}

/// In one piece, so that nothing flickers.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Appends a line, cut to `width` characters if one is given.
fn paint(line: &Row, colour: bool, width: Option<usize>, out: &mut String) {
    let mut left = width.unwrap_or(usize::MAX);
    for (ink, text) in line {
        let end = text.char_indices().nth(left).map_or(text.len(), |(at, _)| at);
        left -= text[..end].chars().count();
        // A string takes everything.
        let _ = if colour && *ink != Ink::Plain {
            write!(out, "{}{}\x1b[0m", ink.code(), &text[..end])
        } else {
            write!(out, "{}", &text[..end])
        };
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(colour: bool, width: Option<usize>) -> String {
        let mut out = String::new();
        paint(&vec![(Ink::Red, "firing ●".to_owned()), (Ink::Plain, " now  ".to_owned())], colour, width, &mut out);
        out
    }

    #[test]
    fn colour_changes_no_text() {
        assert_eq!(painted(false, None), "firing ● now\n");
        assert_eq!(painted(true, None), "\x1b[1;31mfiring ●\x1b[0m now\n");
    }

    #[test]
    fn lines_are_cut_by_characters() {
        assert_eq!(painted(false, Some(10)), "firing ● n\n");
        assert_eq!(painted(false, Some(8)), "firing ●\n");
        assert_eq!(painted(true, Some(3)), "\x1b[1;31mfir\x1b[0m\n");
        assert_eq!(painted(false, Some(0)), "\n");
    }

    #[test]
    fn long_lines_break_between_words() {
        let line = vec![(Ink::Red, "PAGE firing  ".to_owned()), (Ink::Plain, "burns 31x over 5m".to_owned())];
        let text = |width| {
            let mut out = String::new();
            for part in wrapped(&line, width) {
                paint(&part, false, None, &mut out);
            }
            out
        };
        assert_eq!(text(30), "PAGE firing  burns 31x over 5m\n");
        assert_eq!(text(29), "PAGE firing  burns 31x over\n    5m\n");
        assert_eq!(text(12), "PAGE firing\n    burns\n    31x over\n    5m\n");
    }

    #[test]
    fn the_lower_part_is_erased_line_by_line() {
        let mut screen = Screen {
            terminal: true,
            colour: false,
            signs: Signs::Ascii,
            lower: vec![row(Ink::Plain, "a"), row(Ink::Plain, "b")],
            drawn_lines: 0,
            printed_at: Timestamp::MIN,
        };
        let mut text = screen.erased();
        screen.draw_lower(&mut text);
        assert_eq!(text, "a\nb\n");
        assert_eq!(screen.erased(), "\r\x1b[2A\x1b[J");
        assert_eq!(screen.erased(), "");
    }
}
