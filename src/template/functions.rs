//! The functions of Prometheus' templates, as `template/template.go` documents them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gotmpl::{FuncMap, TemplateError, Value};
use regex::{Regex, RegexBuilder};

use super::host::{strip_domain, strip_port};
use super::humanize::{humanize, humanize_1024, humanize_duration};
use super::query::Answers;
use super::rewrite::{ACCESS, PLAIN, PRINT, STEP, TEXT};
use super::text::{self, general, query_escape};
use super::{EXPANSION_LIMIT_STEPS, TEXT_LIMIT_BYTES, moment};
use crate::types::{Span, Timestamp};

/// A compiled regular expression is at most this large.
const REGEX_LIMIT_BYTES: usize = 1024 * 1024;

/// What functions without arguments answer with.
#[derive(Default)]
pub(super) struct Context {
    pub(super) now: Timestamp,
    pub(super) path_prefix: String,
    pub(super) external_url: String,
    /// Of `query`; without any it is an error.
    pub(super) answers: Option<Answers>,
}

/// Every function a template can name beyond Go's own.
pub(super) const NAMES: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

type Answer = Result<Value, TemplateError>;

/// Prometheus' functions, replacements of Go's that print or look into maps, and those the rewriting calls.
pub(super) fn all(context: Context) -> FuncMap {
    let mut functions = FuncMap::new();
    let mut add = |name: &str, function: fn(&[Value]) -> Answer| {
        functions.insert(name.to_owned(), Arc::new(function));
    };
    add("args", |args| Ok(super::map(numbered(args).iter().map(|(name, value)| (name.as_str(), value.clone())))));
    add("first", first);
    add("label", |args| pair(args).and_then(|(label, sample)| sample_label(sample, &string(label)?)));
    add("value", |args| one(args).and_then(|sample| sample.field("Value").cloned().ok_or_else(no_sample)));
    add("strvalue", |args| one(args).and_then(|sample| sample_label(sample, "__value__")));
    add("sortByLabel", sort_by_label);
    add("humanize", |args| one(args).and_then(float).map(humanize).map(to_value));
    add("humanize1024", |args| one(args).and_then(float).map(humanize_1024).map(to_value));
    add("humanizeDuration", |args| one(args).and_then(float).map(humanize_duration).map(to_value));
    add("humanizePercentage", |args| {
        one(args).and_then(float).map(|v| to_value(format!("{}%", general(v * 100.0, Some(4)))))
    });
    add("humanizeTimestamp", humanize_timestamp);
    add("toTime", |args| one(args).and_then(float).and_then(time_nanos).map(moment::time));
    add("toDuration", |args| one(args).and_then(float).map(|v| moment::duration((v * 1e9) as i64)));
    add("parseDuration", |args| one(args).and_then(string).and_then(|text| parse_duration(&text)));
    add("title", |args| one(args).and_then(string).map(|text| to_value(title(&text))));
    add("toUpper", |args| one(args).and_then(string).map(|text| to_value(by_char(&text, char::to_uppercase))));
    add("toLower", |args| one(args).and_then(string).map(|text| to_value(by_char(&text, char::to_lowercase))));
    add("match", |args| {
        let (pattern, text) = pair(args)?;
        Ok(Value::Bool(regex(&string(pattern)?)?.is_match(&string(text)?)))
    });
    add("reReplaceAll", replace_all);
    add("safeHtml", |args| one(args).and_then(string).map(Value::String));
    add("graphLink", |args| one(args).and_then(string).map(|expr| to_value(graph_link(&expr, 0))));
    add("tableLink", |args| one(args).and_then(string).map(|expr| to_value(graph_link(&expr, 1))));
    add("stripPort", |args| one(args).and_then(string).map(|text| to_value(strip_port(&text))));
    add("stripDomain", |args| one(args).and_then(string).map(|text| to_value(strip_domain(&text))));
    add("urlQueryEscape", |args| one(args).and_then(string).map(|text| to_value(query_escape(&text))));
    add("print", |args| text::join(args, false).map(to_value));
    add("println", |args| text::join(args, true).map(|line| to_value(line + "\n")));
    add("index", index);
    add(ACCESS, access);
    add(PLAIN, plain);
    add(TEXT, |args| match one(args)? {
        value @ Value::Float(_) => text::join(std::slice::from_ref(value), false).map(to_value),
        other => plain(std::slice::from_ref(other)),
    });
    add_bound(&mut functions, context);
    functions
}

/// Functions that answer from the context, and those that count.
fn add_bound(functions: &mut FuncMap, context: Context) {
    let Context { now, path_prefix, external_url, answers } = context;
    functions.insert(
        "query".to_owned(),
        Arc::new(move |args| {
            let text = one(args).and_then(string)?;
            let none = || fail("query is not available here");
            answers.as_ref().ok_or_else(none)?.look_up(&text)
        }),
    );
    let steps = Arc::new(AtomicU32::new(0));
    let count = move || {
        if steps.fetch_add(1, Ordering::Relaxed) < EXPANSION_LIMIT_STEPS {
            return Ok(());
        }
        Err(fail(&format!("more than {EXPANSION_LIMIT_STEPS} values printed and templates invoked")))
    };
    let count_prints = count.clone();
    functions.insert("now".to_owned(), Arc::new(move |_| Ok(Value::Float(now.as_secs_f64()))));
    functions.insert("pathPrefix".to_owned(), Arc::new(move |_| Ok(to_value(path_prefix.clone()))));
    functions.insert("externalURL".to_owned(), Arc::new(move |_| Ok(to_value(external_url.clone()))));
    functions
        .insert(STEP.to_owned(), Arc::new(move |args| count().map(|()| args.first().cloned().unwrap_or(Value::Nil))));
    functions.insert(
        PRINT.to_owned(),
        Arc::new(move |args| {
            count_prints()?;
            match args {
                [Value::Nil] | [] => Ok(Value::Nil),
                values => text::join(values, false).map(to_value),
            }
        }),
    );
}

/// `<url>/graph?g0.expr=...&g0.tab=N` without the URL: `tab` is 0 for the graph, 1 for the table.
pub(super) fn graph_link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", query_escape(expr))
}

fn fail(message: &str) -> TemplateError {
    TemplateError::Exec(message.to_owned())
}

fn to_value(text: String) -> Value {
    Value::String(text.into())
}

fn one(args: &[Value]) -> Result<&Value, TemplateError> {
    match args {
        [value] => Ok(value),
        _ => Err(fail(&format!("wrong number of args: want 1 got {}", args.len()))),
    }
}

fn pair(args: &[Value]) -> Result<(&Value, &Value), TemplateError> {
    match args {
        [first, second] => Ok((first, second)),
        _ => Err(fail(&format!("wrong number of args: want 2 got {}", args.len()))),
    }
}

/// A string argument, refused beyond the limit: what is made of it may be a few times longer.
fn string(value: &Value) -> Result<Arc<str>, TemplateError> {
    match value {
        Value::String(text) if text.len() > TEXT_LIMIT_BYTES => Err(text::too_long()),
        Value::String(text) => Ok(Arc::clone(text)),
        other => Err(fail(&format!("wrong type for value; expected string; got {}", other.type_name()))),
    }
}

/// `ConvertToFloat`: numbers, texts of numbers, durations in seconds.
fn float(value: &Value) -> Result<f64, TemplateError> {
    match value {
        Value::Float(v) => Ok(*v),
        Value::Int(v) => Ok(*v as f64),
        Value::Uint(v) => Ok(*v as f64),
        Value::String(text) => text.parse().map_err(|_| fail(&format!("parsing {text:?}: invalid syntax"))),
        other => match moment::duration_nanos(other) {
            Some(nanos) => Ok(nanos as f64 / 1e9),
            None => Err(fail(&format!("can't convert {} to float", other.type_name()))),
        },
    }
}

fn numbered(args: &[Value]) -> Vec<(String, Value)> {
    args.iter().enumerate().map(|(at, value)| (format!("arg{at}"), value.clone())).collect()
}

/// `value.A.b`, or a method called with `args`.
fn access(operands: &[Value]) -> Answer {
    let [receiver, Value::String(path), args @ ..] = operands else { return Err(fail("field access without a field")) };
    let (mut value, mut names) = (receiver.clone(), path.split('.').peekable());
    while let Some(name) = names.next() {
        let args = if names.peek().is_none() { args } else { &[] };
        value = match moment::call(&value, name, args) {
            Some(result) => result?,
            None if args.is_empty() => field(&value, name)?,
            None => return Err(fail(&format!("{name} has arguments but cannot be invoked as function"))),
        };
    }
    Ok(value)
}

/// A map's entry. Label maps hold strings, and an absent label is the empty one.
fn field(value: &Value, name: &str) -> Answer {
    match value {
        Value::Map(entries) => match entries.get(name) {
            Some(entry) => Ok(entry.clone()),
            None if entries.values().all(|entry| matches!(entry, Value::String(_))) => Ok(Value::String("".into())),
            None if entries.contains_key("Labels") => Err(fail(&format!("can't evaluate field {name} in the data"))),
            None => Ok(Value::Nil),
        },
        Value::Nil => Err(fail(&format!("nil pointer evaluating {name}"))),
        other => Err(fail(&format!("can't evaluate field {name} in type {}", other.type_name()))),
    }
}

/// Go's `index`, with absent labels empty.
fn index(args: &[Value]) -> Answer {
    let Some((value, keys)) = args.split_first() else { return Err(fail("wrong number of args for index")) };
    keys.iter().try_fold(value.clone(), |value, key| match (&value, key) {
        (Value::Map(_), Value::String(name)) => field(&value, name),
        _ => value.index(key),
    })
}

/// A value a built-in may turn into text: bounded, times and durations as text already.
fn plain(args: &[Value]) -> Answer {
    match one(args)? {
        Value::String(text) => string(&Value::String(Arc::clone(text))).map(Value::String),
        value @ (Value::Map(_) | Value::List(_)) => text::join(std::slice::from_ref(value), false).map(to_value),
        other => Ok(other.clone()),
    }
}

fn first(args: &[Value]) -> Answer {
    match one(args)? {
        Value::List(samples) => {
            samples.first().cloned().ok_or_else(|| fail("first() called on vector with no elements"))
        }
        other => Err(fail(&format!("wrong type for value; expected a query's result; got {}", other.type_name()))),
    }
}

fn no_sample() -> TemplateError {
    fail("wrong type for value; expected a sample of a query's result")
}

fn sample_label(sample: &Value, label: &str) -> Answer {
    field(sample.field("Labels").ok_or_else(no_sample)?, label)
}

fn sort_by_label(args: &[Value]) -> Answer {
    let (label, samples) = pair(args)?;
    let (label, Value::List(samples)) = (string(label)?, samples) else { return Err(no_sample()) };
    let keyed = samples.iter().map(|sample| Ok((string(&sample_label(sample, &label)?)?, sample.clone())));
    let mut keyed: Vec<_> = keyed.collect::<Result<_, TemplateError>>()?;
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Value::List(keyed.into_iter().map(|(_, sample)| sample).collect()))
}

fn humanize_timestamp(args: &[Value]) -> Answer {
    let v = one(args).and_then(float)?;
    if !v.is_finite() {
        return Ok(to_value(general(v, Some(4))));
    }
    time_nanos(v).map(|nanos| to_value(moment::time_text(nanos)))
}

/// Seconds since the epoch as nanoseconds, cut to whole milliseconds as Prometheus does.
fn time_nanos(v: f64) -> Result<i64, TemplateError> {
    if !v.is_finite() {
        return Err(fail("value is NaN or Inf"));
    }
    let nanos = v * 1e9;
    if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
        let v = general(v, None);
        return Err(fail(&format!("{v} cannot be represented as a nanoseconds timestamp since it overflows int64")));
    }
    Ok(nanos as i64 / 1_000_000 * 1_000_000)
}

/// Prometheus' duration, with an optional minus, in seconds.
fn parse_duration(text: &str) -> Answer {
    let (sign, length) = text.strip_prefix('-').map_or((1.0, text), |length| (-1.0, length));
    let span: Span = length.parse().map_err(|error| fail(&format!("{error}")))?;
    Ok(Value::Float(sign * span.as_secs_f64()))
}

fn regex(pattern: &str) -> Result<Regex, TemplateError> {
    RegexBuilder::new(pattern).size_limit(REGEX_LIMIT_BYTES).build().map_err(|error| fail(&error.to_string()))
}

fn replace_all(args: &[Value]) -> Answer {
    let [pattern, replacement, text] = args else {
        return Err(fail(&format!("wrong number of args: want 3 got {}", args.len())));
    };
    let (pattern, replacement, text) = (regex(&string(pattern)?)?, string(replacement)?, string(text)?);
    // Go's and the regex crate's `$1`, `${name}` and `$$` mean the same.
    let mut out = text::Bounded::default();
    let (mut end, mut piece) = (0, String::new());
    for captures in pattern.captures_iter(&text) {
        let Some(whole) = captures.get(0) else { continue };
        piece.clear();
        piece.push_str(&text[end..whole.start()]);
        captures.expand(&replacement, &mut piece);
        out.push(&piece)?;
        end = whole.end();
    }
    out.push(&text[end..])?;
    Ok(to_value(out.into_text()))
}

/// Go's `strings.ToUpper` and `ToLower`: letter by letter, where one letter becomes one letter (so not `ß`).
fn by_char<I: ExactSizeIterator<Item = char>>(text: &str, map: fn(char) -> I) -> String {
    text.chars().map(|c| if map(c).len() == 1 { map(c).next().unwrap_or(c) } else { c }).collect()
}

/// The first cased letter of each word as a capital, the rest as it is. Words end at everything but letters,
/// digits, underscores and single apostrophes, full stops or colons within.
fn title(text: &str) -> String {
    let (mut out, mut in_word, mut after_mid) = (String::with_capacity(text.len()), false, false);
    for c in text.chars() {
        let mid = matches!(c, '\'' | '.' | ':' | '\u{b7}' | '\u{2019}' | '\u{2027}');
        if after_mid && mid {
            in_word = false;
        }
        if c.is_lowercase() || c.is_uppercase() {
            if in_word {
                out.push(c);
            } else {
                // Capital ß is two letters, of which one is small.
                let mut capital = c.to_uppercase();
                out.extend(capital.next());
                out.extend(capital.flat_map(char::to_lowercase));
            }
            in_word = true;
        } else {
            out.push(c);
            in_word = in_word && (mid || c == '_' || c.is_alphanumeric());
        }
        after_mid = mid;
    }
    out
}
