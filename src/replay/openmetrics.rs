//! OpenMetrics text with timestamps, as `promtool tsdb dump-openmetrics` writes it.
//!
//! One line is one sample: `name{label="value",...} value timestamp`, the time in seconds. Lines may come in any
//! order, one series after the other or interleaved. Names in quotes inside the braces are read, exemplars and
//! comment lines are skipped. Label values take the escapes of OpenMetrics and those of Go's `%q`, which promtool
//! uses.
//!
//! `NaN` ends a series: text cannot tell the staleness marker from any other NaN, promtool writes `NaN` for it, and
//! a counter is never NaN otherwise.
//!
//! The text before the value is what tells a series: it is decoded when it is new, compared with the line before
//! and looked up by its hash after that.
//!
//! Source: OpenMetrics 1.0, "Text format"; Prometheus, `cmd/promtool/tsdb.go`.

mod labels;

use std::ops::Range;

use crate::replay::{Recorder, RecordingError, Slot};
use crate::series::{Index, STALE_NAN_BITS};
use crate::types::{LabelError, Timestamp};
use crate::wire::{WIRE_KEY_SIZE_BYTES, WireKey};

/// A longer line is no sample.
pub const LINE_LIMIT_BYTES: usize = 1 << 20;
/// Spellings of series remembered; over it all are forgotten and decoded once more.
const SPELLINGS_LIMIT_COUNT: usize = 10_000_000;
/// In the index of spellings: a series of no interest.
const IGNORED: u32 = u32::MAX;

/// Seconds from which on a number can only be a time in milliseconds: the year 5138, or 1973 in milliseconds.
const LIMIT_SECONDS: u64 = 100_000_000_000;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Over [`LINE_LIMIT_BYTES`].
    #[error("the line is longer than {LINE_LIMIT_BYTES} bytes: this is no OpenMetrics text")]
    TooLong,
    /// Label values are Unicode.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// The line starts with no name.
    #[error("expected a metric's name")]
    NoName,
    /// Something else stands where a label starts.
    #[error("expected a label's name")]
    NoLabelName,
    /// A label without `=`.
    #[error("expected `=` after the label's name")]
    NoEquals,
    /// A label whose value is not in quotes.
    #[error("expected the label's value in double quotes")]
    NoQuote,
    /// The quotes or braces do not end on this line.
    #[error("the labels are not closed")]
    Unclosed,
    /// An escape neither OpenMetrics nor Go knows.
    #[error("unknown escape in the quoted text")]
    Escape,
    /// Two labels without a comma.
    #[error("expected `,` or `}}` after the label's value")]
    NoComma,
    /// The labels are no label set.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The line ends after the labels.
    #[error("the sample has no value")]
    NoValue,
    /// The value is no number.
    #[error("the value is not a number")]
    Value,
    /// The line ends after the value.
    #[error("the sample has no timestamp")]
    NoTimestamp,
    /// The timestamp is no number, or none that a time can have.
    #[error("the timestamp is not a time in seconds")]
    Timestamp,
    /// The timestamp counts smaller units.
    #[error("the timestamp can only be {0}; OpenMetrics has seconds")]
    Unit(&'static str),
    /// Text after the timestamp that is no exemplar.
    #[error("unexpected text after the timestamp")]
    Trailing,
    /// The recording is full.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// A problem and the bytes of the line that have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// What is wrong.
    pub problem: Problem,
    /// Where, in bytes from the line's start; may be empty, at the line's end.
    pub at: Range<usize>,
}

/// One line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SampleLine {
    /// Where the series' text ends.
    series_end: usize,
    value: f64,
    at: Timestamp,
}

/// Reads the lines of one input.
#[derive(Debug)]
pub struct Reader {
    key: WireKey,
    spellings: Index,
    /// The series of the line before.
    last: Vec<u8>,
    last_slot: Option<Slot>,
    ended: bool,
}

impl Problem {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoTimestamp => {
                "a replay has to know when: add the time in seconds, as `promtool tsdb dump-openmetrics` writes it"
            }
            Self::Unit("milliseconds") => {
                "divide by 1000; `promtool tsdb dump-openmetrics` writes seconds, `promtool tsdb dump` does not"
            }
            Self::Escape => r"a backslash in a label's value is written `\\`",
            Self::TooLong => "a sample is one line: name{label=\"value\"} value timestamp",
            _ => return None,
        })
    }
}

impl Reader {
    /// A reader at the start of an input.
    pub fn new() -> Self {
        Self {
            // Any key will do: nobody sends these hashes, and results do not depend on them.
            key: WireKey::new([0x5b; WIRE_KEY_SIZE_BYTES]),
            spellings: Index::default(),
            last: Vec::new(),
            last_slot: None,
            ended: false,
        }
    }

    /// Takes one line, without its line feed, and tells the recorder its sample.
    ///
    /// # Errors
    /// When the line is neither a sample with a timestamp nor a comment, or the recorder is full.
    pub fn line(&mut self, line: &[u8], recorder: &mut Recorder) -> Result<(), LineError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            None => return Ok(()),
            Some(b'#') => {
                self.ended |= line == b"# EOF";
                return Ok(());
            }
            Some(_) if line.len() > LINE_LIMIT_BYTES => return Err(LineError { problem: Problem::TooLong, at: 0..1 }),
            Some(_) => self.ended = false,
        }
        let same = !self.last.is_empty() && line.starts_with(&self.last) && line.get(self.last.len()) == Some(&b' ');
        let sample = parse(line, if same { self.last.len() } else { series_end(line)? })?;
        let text = &line[..sample.series_end];
        let full = |error: RecordingError| LineError { problem: error.into(), at: 0..sample.series_end };
        if !same {
            self.last_slot = self.find(text, recorder)?;
            self.last.clear();
            self.last.extend_from_slice(text);
        }
        recorder.sample(self.last_slot, sample.at, sample.value).map_err(full)
    }

    /// Whether the input ended with `# EOF`: without it, it may have been cut off.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn find(&mut self, text: &[u8], recorder: &mut Recorder) -> Result<Option<Slot>, LineError> {
        let hash = self.key.hash(text);
        if let Some(slot) = self.spellings.get(hash) {
            return Ok((slot != IGNORED).then_some(Slot(slot)));
        }
        let labels = labels::read(text)?;
        let slot = recorder.series(labels).map_err(|error| LineError { problem: error.into(), at: 0..text.len() })?;
        if self.spellings.len() == SPELLINGS_LIMIT_COUNT {
            self.spellings = Index::default();
        }
        self.spellings.insert(hash, slot.map_or(IGNORED, |slot| slot.0));
        Ok(slot)
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the text that tells the series ends: after the closing brace, or before the first blank.
fn series_end(line: &[u8]) -> Result<usize, LineError> {
    let fail = |problem, at: Range<usize>| Err(LineError { problem, at });
    let name_end = line.iter().position(|b| matches!(b, b'{' | b' ' | b'\t')).unwrap_or(line.len());
    if line.get(name_end) != Some(&b'{') {
        return if name_end == 0 { fail(Problem::NoName, 0..1) } else { Ok(name_end) };
    }
    let (mut at, mut is_quoted) = (name_end + 1, false);
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' if is_quoted => at += 1,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Ok(at + 1),
            _ => {}
        }
        at += 1;
    }
    fail(Problem::Unclosed, name_end..line.len())
}

fn parse(line: &[u8], series_end: usize) -> Result<SampleLine, LineError> {
    let fail = |problem, at: Range<usize>| LineError { problem, at };
    let word = word_after(line, series_end);
    if word.is_empty() {
        return Err(fail(Problem::NoValue, word));
    }
    let value = number(&line[word.clone()]).ok_or_else(|| fail(Problem::Value, word.clone()))?;
    let value = if value.is_nan() { f64::from_bits(STALE_NAN_BITS) } else { value };
    let word = word_after(line, word.end);
    if word.is_empty() || line[word.start] == b'#' {
        return Err(fail(Problem::NoTimestamp, word));
    }
    let at = timestamp(&line[word.clone()]).map_err(|problem| fail(problem, word.clone()))?;
    let rest = word_after(line, word.end);
    if !rest.is_empty() && line[rest.start] != b'#' {
        return Err(fail(Problem::Trailing, rest.start..line.len()));
    }
    Ok(SampleLine { series_end, value, at })
}

/// The next bytes without a blank; empty at the line's end.
fn word_after(line: &[u8], from: usize) -> Range<usize> {
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = from + line[from..].iter().take_while(|b| is_blank(b)).count();
    let end = start + line[start..].iter().take_while(|b| !is_blank(b)).count();
    start..end
}

/// A number as OpenMetrics writes it: `12`, `1.5e+06`, `+Inf`, `NaN`.
fn number(word: &[u8]) -> Option<f64> {
    /// Every number of so many digits is a whole f64.
    const EXACT_LIMIT_DIGITS: usize = 15;
    if word.len() <= EXACT_LIMIT_DIGITS
        && let Some(whole) = digits(word)
    {
        return Some(whole as f64);
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A whole number of 1 to 19 digits.
fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 19 {
        return None;
    }
    word.iter().try_fold(0, |whole, b| b.is_ascii_digit().then(|| whole * 10 + u64::from(b - b'0')))
}

/// Seconds, read exactly; what is finer than a millisecond is cut off, as Prometheus does.
fn timestamp(word: &[u8]) -> Result<Timestamp, Problem> {
    let (is_negative, plain) = word.strip_prefix(b"-").map_or((false, word), |rest| (true, rest));
    let (whole, fraction) = match plain.iter().position(|b| *b == b'.') {
        Some(dot) => (&plain[..dot], &plain[dot + 1..]),
        None => (plain, &[][..]),
    };
    let (seconds, millis) = match (digits(whole), fraction.iter().all(u8::is_ascii_digit)) {
        (Some(seconds), true) => {
            let place = |at: usize| u64::from(fraction.get(at).map_or(0, |b| b - b'0'));
            (seconds, place(0) * 100 + place(1) * 10 + place(2))
        }
        // With an exponent: `1.79e9`.
        _ => match number(plain) {
            Some(seconds) if (0.0..1e19).contains(&seconds) => {
                (seconds as u64, (seconds.fract() * 1000.0).round() as u64)
            }
            _ => return Err(Problem::Timestamp),
        },
    };
    if seconds >= LIMIT_SECONDS {
        let unit = match seconds / LIMIT_SECONDS {
            ..1_000 => "milliseconds",
            1_000..1_000_000 => "microseconds",
            _ => "nanoseconds",
        };
        return Err(Problem::Unit(unit));
    }
    let millis = (seconds * 1000 + millis) as i64;
    Ok(Timestamp(if is_negative { -millis } else { millis }))
}

#[cfg(test)]
mod tests;
