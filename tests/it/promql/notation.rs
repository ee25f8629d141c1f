//! The series notation of promqltest: `metric{label="value"} 1+2x3 _ stale {{schema:0 buckets:[1 2]}}`.

use std::sync::Arc;

use sloburn::promql::{Bucket, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ParseLimits, Query, ResetHint, STALE, Value};
use sloburn::types::{Labels, METRIC_NAME};

/// One value of a sequence; absent where the notation has `_`.
#[derive(Clone, Debug)]
pub struct Item {
    pub value: Option<Value>,
    /// Whether a histogram names its counter reset hint: only then is it compared.
    pub has_hint: bool,
}

impl Item {
    fn float(value: f64) -> Self {
        Self { value: Some(Value::Float(value)), has_hint: false }
    }

    const fn gap() -> Self {
        Self { value: None, has_hint: false }
    }
}

/// A line: labels and values.
pub fn series(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (labels, rest) = metric(line)?;
    Ok((labels, values(rest)?))
}

/// The labels at the start of a line, and what follows.
pub fn metric(line: &str) -> Result<(Labels, &str), String> {
    let line = line.trim();
    let name_length = line.find(|c: char| c == '{' || c.is_whitespace() || c == '@').unwrap_or(line.len());
    let (name, rest) = line.split_at(name_length);
    let mut labels = Labels::new();
    if !name.is_empty() {
        labels.set(METRIC_NAME, name);
    }
    let Some(inside) = rest.strip_prefix('{') else { return Ok((labels, rest)) };
    if inside.starts_with('{') {
        return Ok((labels, rest));
    }
    let mut rest = inside.trim_start();
    while !rest.starts_with('}') {
        let (label, after) = if rest.starts_with(['"', '\'', '`']) {
            quoted(rest)?
        } else {
            let length = rest.find(|c: char| c == '=' || c.is_whitespace()).ok_or("label without a value")?;
            (rest[..length].to_owned(), &rest[length..])
        };
        let after = after.trim_start();
        let after = if let Some(after) = after.strip_prefix('=') {
            let (value, after) = quoted(after.trim_start())?;
            labels.set(&label, &value);
            after
        } else {
            labels.set(METRIC_NAME, &label);
            after
        };
        let after = after.trim_start();
        rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        if rest.is_empty() {
            return Err(format!("unclosed braces: {line}"));
        }
    }
    Ok((labels, &rest[1..]))
}

/// A string literal, read by the parser under test, and what follows it.
pub fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| "\"'`".contains(*c)).ok_or_else(|| format!("no string: {text}"))?;
    let mut escaped = false;
    let end = text[1..]
        .char_indices()
        .find(|(_, c)| {
            let ends = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped && quote != '`';
            ends
        })
        .map(|(at, _)| at + 2)
        .ok_or_else(|| format!("unclosed string: {text}"))?;
    let query = Query::parse(&text[..end], &ParseLimits::default()).map_err(|e| e.to_string())?;
    Ok((query.as_string().ok_or("not a string")?.to_owned(), &text[end..]))
}

fn values(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let length = if rest.starts_with("{{") { histogram_item_length(rest)? } else { word_length(rest) };
        let (item, after) = rest.split_at(length);
        items.extend(if item.starts_with("{{") { histograms(item)? } else { floats(item)? });
        rest = after.trim_start();
    }
    Ok(items)
}

fn word_length(text: &str) -> usize {
    text.find(char::is_whitespace).unwrap_or(text.len())
}

fn floats(item: &str) -> Result<Vec<Item>, String> {
    let repeats = |text: &str| text.parse::<usize>().map_err(|_| format!("bad repetition: {item}"));
    if let Some(count) = item.strip_prefix("_x") {
        return Ok(vec![Item::gap(); repeats(count)?]);
    }
    match item {
        "_" => return Ok(vec![Item::gap()]),
        "stale" => return Ok(vec![Item::float(STALE)]),
        _ => {}
    }
    let (pattern, count) = match item.split_once('x') {
        Some((pattern, count)) => (pattern, repeats(count)?),
        None => (item, 0),
    };
    let start = if pattern == "stale" { (STALE, "") } else { number_prefix(pattern)? };
    let (mut value, step) = start;
    let step = if step.is_empty() { 0.0 } else { number(step)? };
    let mut items = Vec::with_capacity(count + 1);
    for _ in 0..=count {
        items.push(Item::float(value));
        value = if step == 0.0 { value } else { value + step };
    }
    Ok(items)
}

/// `1.5e3`, `-Inf`, up to the sign of a step.
fn number_prefix(text: &str) -> Result<(f64, &str), String> {
    let bytes = text.as_bytes();
    let end = (1..bytes.len())
        .find(|at| {
            let is_exponent =
                bytes[at - 1].eq_ignore_ascii_case(&b'e') && bytes[..at - 1].iter().any(u8::is_ascii_digit);
            matches!(bytes[*at], b'+' | b'-') && !is_exponent
        })
        .unwrap_or(text.len());
    Ok((number(&text[..end])?, &text[end..]))
}

pub fn number(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let parsed = match digits.to_ascii_lowercase().as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        _ if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            digits.parse().map_err(|_| format!("bad number: {text}"))?
        }
        _ => return Err(format!("bad number: {text}")),
    };
    Ok(sign * parsed)
}

/// `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3`.
fn histogram_item_length(text: &str) -> Result<usize, String> {
    let close = |from: usize| text[from..].find("}}").map(|at| from + at + 2).ok_or(format!("unclosed {{{{: {text}"));
    let first = close(0)?;
    let end = match &text[first..] {
        rest if rest.starts_with("+{{") || rest.starts_with("-{{") => close(first)?,
        _ => first,
    };
    Ok(end + word_length(&text[end..]))
}

fn histograms(item: &str) -> Result<Vec<Item>, String> {
    let first_end = item.find("}}").map_or(item.len(), |at| at + 2);
    let (base, base_hint) = histogram(&item[..first_end])?;
    let mut rest = &item[first_end..];
    let mut step = None;
    let subtracts = rest.starts_with('-');
    if rest.starts_with(['+', '-']) {
        let end = 1 + rest.find("}}").map_or(rest.len() - 1, |at| at + 1);
        step = Some(histogram(&rest[1..end])?);
        rest = &rest[end..];
    }
    let count = match rest.strip_prefix('x') {
        Some(count) => count.parse::<usize>().map_err(|_| format!("bad repetition: {item}"))?,
        None => 0,
    };
    let has_hint = step.as_ref().map_or(base_hint, |(_, hint)| *hint);
    let mut items = Vec::with_capacity(count + 1);
    let mut current = base;
    for i in 0..=count {
        if i > 0
            && let Some((step, _)) = &step
        {
            current = current.plus(step, subtracts).ok_or_else(|| format!("histograms do not add up: {item}"))?;
        }
        items.push(Item { value: Some(Value::Histogram(Arc::new(current.clone()))), has_hint });
    }
    Ok(items)
}

/// `{{schema:1 sum:2 count:3 buckets:[1 2] offset:-1 counter_reset_hint:gauge}}`
fn histogram(text: &str) -> Result<(FloatHistogram, bool), String> {
    let body = text.trim_start_matches("{{").trim_end_matches("}}");
    let mut h = FloatHistogram::default();
    let (mut has_hint, mut offset, mut negative_offset) = (false, 0, 0);
    let (mut positive, mut negative): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("no value: {rest}"))?;
        let (value, next) = if let Some(list) = after.strip_prefix('[') {
            list.split_once(']').ok_or_else(|| format!("unclosed list: {rest}"))?
        } else {
            after.split_at(word_length(after))
        };
        let list = || value.split_whitespace().map(number).collect::<Result<Vec<f64>, String>>();
        let whole = || value.parse::<i32>().map_err(|_| format!("bad whole number: {value}"));
        match key.trim() {
            "schema" => h.schema = whole()?,
            "sum" => h.sum = number(value)?,
            "count" => h.count = number(value)?,
            "z_bucket" => h.zero_count = number(value)?,
            "z_bucket_w" => h.zero_threshold = number(value)?,
            "custom_values" => h.custom_bounds = Some(list()?.into()),
            "buckets" => positive = list()?,
            "offset" => offset = whole()?,
            "n_buckets" => negative = list()?,
            "n_offset" => negative_offset = whole()?,
            "counter_reset_hint" => {
                has_hint = true;
                h.reset_hint = match value {
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            other => return Err(format!("unknown key: {other}")),
        }
        rest = next.trim_start();
    }
    let buckets = |counts: Vec<f64>, offset: i32| {
        counts.into_iter().enumerate().map(|(i, count)| Bucket { index: offset + i as i32, count }).collect()
    };
    h.positive = buckets(positive, offset);
    h.negative = buckets(negative, negative_offset);
    if h.schema == CUSTOM_BUCKETS_SCHEMA && h.custom_bounds.is_none() {
        h.custom_bounds = Some(Arc::new([]));
    }
    Ok((h, has_hint))
}

/// Start timestamps relative to their samples, in milliseconds: `-30s-1mx2 _ 0s`.
pub fn start_offsets(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut offsets = Vec::new();
    for item in text.split_whitespace() {
        let problem = || format!("bad start timestamp: {item}");
        if item == "_" {
            offsets.push(None);
            continue;
        }
        if let Some(count) = item.strip_prefix("_x") {
            offsets.extend(vec![None; count.parse().map_err(|_| problem())?]);
            continue;
        }
        let (pattern, count) = match item.rsplit_once('x') {
            Some((pattern, count)) => (pattern, count.parse::<usize>().map_err(|_| problem())?),
            None => (item, 0),
        };
        let cut = pattern[1..].find(['+', '-']).map_or(pattern.len(), |at| at + 1);
        let (mut offset, step) = (signed_span(&pattern[..cut])?, &pattern[cut..]);
        let step = if step.is_empty() { 0 } else { signed_span(step)? };
        for _ in 0..=count {
            offsets.push(Some(offset));
            offset += step;
        }
    }
    Ok(offsets)
}

fn signed_span(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    digits.parse::<sloburn::types::Span>().map(|span| sign * span.0).map_err(|e| e.to_string())
}
