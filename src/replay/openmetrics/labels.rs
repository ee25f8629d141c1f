//! The text that tells a series: its name and the labels between the braces.

use std::ops::Range;

use crate::replay::openmetrics::{LineError, Problem};
use crate::types::{Labels, METRIC_NAME};

/// The labels of a series' text, the metric's name among them.
pub(super) fn read(text: &[u8]) -> Result<Labels, LineError> {
    let fail = |problem, at: Range<usize>| LineError { problem, at };
    let text = std::str::from_utf8(text)
        .map_err(|error| fail(Problem::NotUtf8, error.valid_up_to()..error.valid_up_to() + 1))?;
    let name_end = text.find('{').unwrap_or(text.len());
    let name = &text[..name_end];
    // Not only the classic alphabet: promtool writes names of UTF-8 as they are.
    if let Some(odd) = name.find(['"', '}', ',', '=', '#', '\\']) {
        return Err(fail(Problem::NoName, odd..odd + 1));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    if name_end < text.len() {
        Braces { text, at: name_end + 1 }.read(&mut pairs)?;
    }
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let labels = Labels::from_pairs(pairs).map_err(|error| fail(error.into(), 0..text.len()))?;
    if labels.get(METRIC_NAME).is_none() {
        return Err(fail(Problem::NoName, 0..text.len()));
    }
    Ok(labels)
}

/// What stands between the braces of a series' text.
struct Braces<'a> {
    text: &'a str,
    at: usize,
}

impl Braces<'_> {
    fn read(mut self, pairs: &mut Vec<(String, String)>) -> Result<(), LineError> {
        loop {
            self.skip_blanks();
            if self.take('}') {
                return Ok(());
            }
            let start = self.at;
            let name = if self.peek() == Some('"') { self.quoted()? } else { self.bare_name()? };
            let name_end = self.at;
            self.skip_blanks();
            if self.take('=') {
                self.skip_blanks();
                if self.peek() != Some('"') {
                    return Err(self.fail(Problem::NoQuote));
                }
                let value = self.quoted()?;
                pairs.push((name, value));
            } else if self.text[start..].starts_with('"') {
                // A name of its own is the metric's.
                pairs.push((METRIC_NAME.to_owned(), name));
            } else {
                return Err(LineError { problem: Problem::NoEquals, at: start..name_end });
            }
            self.skip_blanks();
            if !self.take(',') && self.peek() != Some('}') {
                return Err(self.fail(Problem::NoComma));
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn skip_blanks(&mut self) {
        while self.take(' ') || self.take('\t') {}
    }

    fn fail(&self, problem: Problem) -> LineError {
        LineError { problem, at: self.at..self.at + self.peek().map_or(0, char::len_utf8) }
    }

    fn bare_name(&mut self) -> Result<String, LineError> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.' | ':')).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.fail(Problem::NoLabelName));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    /// Text in double quotes, its escapes undone.
    fn quoted(&mut self) -> Result<String, LineError> {
        let start = self.at;
        self.take('"');
        let mut text = String::new();
        while let Some(c) = self.peek() {
            let from = self.at;
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => {
                    let Some(c) = self.escape() else {
                        return Err(LineError { problem: Problem::Escape, at: from..self.at.max(from + 1) });
                    };
                    text.push(c);
                }
                c => text.push(c),
            }
        }
        Err(LineError { problem: Problem::Unclosed, at: start..self.text.len() })
    }

    /// The character an escape stands for, after its backslash.
    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        let length = match letter {
            '\\' | '"' => return Some(letter),
            'n' => return Some('\n'),
            't' => return Some('\t'),
            'r' => return Some('\r'),
            'a' => return Some('\x07'),
            'b' => return Some('\x08'),
            'f' => return Some('\x0c'),
            'v' => return Some('\x0b'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let hex = self.text.get(self.at..self.at + length).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += length;
        let code = u32::from_str_radix(hex, 16).ok()?;
        // Two digits are a byte, and a byte over 7f alone is no text.
        char::from_u32(code).filter(|c| length > 2 || c.is_ascii())
    }
}
