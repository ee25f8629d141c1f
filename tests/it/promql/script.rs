//! The commands of promqltest: `load`, `clear`, `eval` and what follows it.

use sloburn::types::{Labels, Span};

use super::notation::{self, Item};

/// A command and the line it starts at.
pub struct Command {
    pub line: usize,
    pub kind: Kind,
}

pub enum Kind {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// Series from time zero on, one value for each step.
pub struct Load {
    pub step: Span,
    pub as_native: bool,
    pub series: Vec<LoadedSeries>,
}

pub struct LoadedSeries {
    pub labels: Labels,
    pub items: Vec<Item>,
    pub starts: Vec<Option<i64>>,
}

/// A query and what it has to give.
#[derive(Default)]
pub struct Eval {
    pub query: String,
    /// At one moment, or from, to and step.
    pub range: Option<(Span, Span, Span)>,
    pub at: Span,
    pub fail: Option<Text>,
    pub ordered: bool,
    pub warn: Vec<Text>,
    pub info: Vec<Text>,
    pub no_warn: bool,
    pub no_info: bool,
    /// `expect range vector`: from, to and step of its points.
    pub points: Option<(Span, Span, Span)>,
    pub string: Option<String>,
    pub scalar: Option<f64>,
    pub series: Vec<(Labels, Vec<Item>)>,
}

/// What a message has to be.
pub enum Text {
    Any,
    Exactly(String),
    Matching(regex::Regex),
}

impl Text {
    pub fn fits(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text == message,
            Self::Matching(regex) => regex.is_match(message),
        }
    }
}

/// Reads a script.
pub fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let start = at;
        at += 1;
        if lines[start].is_empty() {
            continue;
        }
        let body_end = start + 1 + lines[start + 1..].iter().take_while(|line| !line.is_empty()).count();
        let word = lines[start].split_whitespace().next().unwrap_or("");
        let kind = if word == "clear" {
            Ok(Kind::Clear)
        } else if word.starts_with("load") {
            at = body_end;
            load(lines[start], &lines[start + 1..body_end]).map(Kind::Load)
        } else if word.starts_with("eval") {
            eval(lines[start], &lines[start + 1..body_end]).map(|(eval, used)| {
                at = start + 1 + used;
                Kind::Eval(Box::new(eval))
            })
        } else {
            Err(format!("invalid command {:?}", lines[start]))
        };
        let kind = kind.map_err(|e| format!("line {}: {e}", start + 1))?;
        commands.push(Command { line: start + 1, kind });
    }
    Ok(commands)
}

fn span(text: &str) -> Result<Span, String> {
    text.parse().map_err(|e: sloburn::types::DurationError| e.to_string())
}

fn load(head: &str, body: &[&str]) -> Result<Load, String> {
    let (command, step) = head.split_once(char::is_whitespace).ok_or("load without a step")?;
    let mut series = Vec::new();
    let mut starts = Vec::new();
    for line in body {
        let (labels, rest) = notation::metric(line)?;
        if let Some(offsets) = rest.strip_prefix("@st") {
            starts = notation::start_offsets(offsets)?;
            continue;
        }
        let (_, items) = notation::series(line)?;
        series.push(LoadedSeries { labels, items, starts: std::mem::take(&mut starts) });
    }
    Ok(Load { step: span(step.trim())?, as_native: command == "load_with_nhcb", series })
}

/// The command, and how many lines after it belong to it.
fn eval(head: &str, body: &[&str]) -> Result<(Eval, usize), String> {
    let (command, rest) = head.split_once(char::is_whitespace).ok_or("eval without a query")?;
    let mut eval = Eval::default();
    match command {
        "eval_fail" => eval.fail = Some(Text::Any),
        "eval_warn" => eval.warn.push(Text::Any),
        "eval_info" => eval.info.push(Text::Any),
        "eval_ordered" => eval.ordered = true,
        _ => {}
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let query_after = |count: usize| {
        let mut rest = rest.trim_start();
        for _ in 0..count {
            rest = rest[rest.find(char::is_whitespace).unwrap_or(rest.len())..].trim_start();
        }
        rest.to_owned()
    };
    match words.as_slice() {
        ["instant", "at", at, ..] => {
            eval.at = span(at)?;
            eval.query = query_after(3);
        }
        ["range", "from", from, "to", to, "step", step, ..] => {
            eval.range = Some((span(from)?, span(to)?, span(step)?));
            eval.query = query_after(7);
        }
        _ => return Err(format!("invalid evaluation: {head}")),
    }
    let mut used = 0;
    for line in body {
        used += 1;
        if !expectation(&mut eval, line)? {
            break;
        }
    }
    Ok((eval, used))
}

/// Reads one line; whether more can follow.
fn expectation(eval: &mut Eval, line: &str) -> Result<bool, String> {
    if let Some(text) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(Text::Exactly(text.trim().to_owned()));
        return Ok(false);
    }
    if let Some(text) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(Text::Matching(regex::Regex::new(text.trim()).map_err(|e| e.to_string())?));
        return Ok(false);
    }
    if let Some(text) = line.strip_prefix("expect string") {
        eval.string = Some(notation::quoted(text.trim())?.0);
        return Ok(true);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["expect", "range", "vector", "from", from, "to", to, "step", step] = words.as_slice() {
        eval.points = Some((span(from)?, span(to)?, span(step)?));
        return Ok(true);
    }
    if words.first() == Some(&"expect") {
        let rest = line["expect".len()..].trim_start();
        let (mode, message) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let message = message.trim();
        let text = if let Some(text) = message.strip_prefix("msg:") {
            Text::Exactly(text.trim().to_owned())
        } else if let Some(pattern) = message.strip_prefix("regex:") {
            Text::Matching(regex::Regex::new(pattern.trim()).map_err(|e| e.to_string())?)
        } else {
            Text::Any
        };
        match mode {
            "fail" => eval.fail = Some(text),
            "warn" => eval.warn.push(text),
            "info" => eval.info.push(text),
            "no_warn" => eval.no_warn = true,
            "no_info" => eval.no_info = true,
            "ordered" => eval.ordered = true,
            other => return Err(format!("unknown expectation: {other}")),
        }
        return Ok(true);
    }
    if let Ok(value) = notation::number(line) {
        eval.scalar = Some(value);
        return Ok(false);
    }
    eval.series.push(notation::series(line)?);
    Ok(true)
}
