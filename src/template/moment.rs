//! Go's `time.Time` and `time.Duration` in templates: what `toTime` and `toDuration` return, and their methods.
//!
//! A template value has no methods, so both are maps with one entry whose name no template can write; [`call`] is
//! what a field access on one becomes. Times are UTC, as Prometheus makes them.

use std::fmt::Write as _;

use gotmpl::{TemplateError, Value};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

const TIME: &str = " time";
const DURATION: &str = " duration";
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Nanoseconds since the Unix epoch as a `time.Time`.
pub(super) fn time(nanos: i64) -> Value {
    super::map([(TIME, Value::Int(nanos))])
}

/// Nanoseconds as a `time.Duration`.
pub(super) fn duration(nanos: i64) -> Value {
    super::map([(DURATION, Value::Int(nanos))])
}

fn time_nanos(value: &Value) -> Option<i64> {
    value.field(TIME).and_then(Value::as_int)
}

/// The nanoseconds of a duration made by [`duration`].
pub(super) fn duration_nanos(value: &Value) -> Option<i64> {
    value.field(DURATION).and_then(Value::as_int)
}

/// How Go prints it, if it is one of the two.
pub(super) fn text(value: &Value) -> Option<String> {
    time_nanos(value).map(time_text).or_else(|| duration_nanos(value).map(duration_text))
}

/// `time.Time.String` of a time in UTC: `2015-06-23 13:19:44.128 +0000 UTC`.
pub(super) fn time_text(nanos: i64) -> String {
    format(nanos, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// `time.Duration.String`: `1h30m0s`, `1.5s`, `200ms`, `0s`.
fn duration_text(nanos: i64) -> String {
    let (sign, total) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let decimal = |unit: u64, name: &str| {
        let (whole, rest) = (total / unit, total % unit);
        let digits = format!("{rest:0width$}", width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() || rest == 0 { String::new() } else { format!(".{digits}") };
        format!("{sign}{whole}{point}{name}")
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let seconds = total / NANOS_PER_SECOND.unsigned_abs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let mut out = sign.to_owned();
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if seconds >= 60 {
                let _ = write!(out, "{minutes}m");
            }
            let fraction = format!("{:09}", total % NANOS_PER_SECOND.unsigned_abs());
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            let _ = write!(out, "{}{point}{fraction}s", seconds % 60);
            out
        }
    }
}

/// A method call on a time or a duration; `None` when `value` is neither.
pub(super) fn call(value: &Value, method: &str, args: &[Value]) -> Option<Result<Value, TemplateError>> {
    if let Some(nanos) = time_nanos(value) {
        return Some(time_method(nanos, method, args));
    }
    duration_nanos(value).map(|nanos| duration_method(nanos, method, args))
}

fn unknown(receiver: &str, method: &str) -> TemplateError {
    TemplateError::Exec(format!("can't evaluate method {method} of {receiver} with these arguments"))
}

fn time_method(nanos: i64, method: &str, args: &[Value]) -> Result<Value, TemplateError> {
    let at = zoned(nanos);
    let int = |n: i64| Ok(Value::Int(n));
    let text = |s: &str| Ok(Value::String(s.into()));
    match (method, args) {
        ("Format", [Value::String(layout)]) => text(&format(nanos, layout)),
        ("String", []) => text(&time_text(nanos)),
        ("Unix", []) => int(nanos.div_euclid(NANOS_PER_SECOND)),
        ("UnixMilli", []) => int(nanos.div_euclid(1_000_000)),
        ("UnixMicro", []) => int(nanos.div_euclid(1_000)),
        ("UnixNano", []) => int(nanos),
        ("UTC", []) => Ok(time(nanos)),
        ("Year", []) => int(i64::from(at.year())),
        ("Month", []) => text(&format(nanos, "January")),
        ("Weekday", []) => text(&format(nanos, "Monday")),
        ("Day", []) => int(i64::from(at.day())),
        ("YearDay", []) => int(i64::from(at.day_of_year())),
        ("Hour", []) => int(i64::from(at.hour())),
        ("Minute", []) => int(i64::from(at.minute())),
        ("Second", []) => int(i64::from(at.second())),
        ("Nanosecond", []) => int(nanos.rem_euclid(NANOS_PER_SECOND)),
        ("Add", [by]) => {
            let by = duration_nanos(by).ok_or_else(|| unknown("a time", method))?;
            Ok(time(nanos.saturating_add(by)))
        }
        ("Sub" | "Before" | "After" | "Equal", [other]) => {
            let other = time_nanos(other).ok_or_else(|| unknown("a time", method))?;
            Ok(match method {
                "Sub" => duration(nanos.saturating_sub(other)),
                "Before" => Value::Bool(nanos < other),
                "After" => Value::Bool(nanos > other),
                _ => Value::Bool(nanos == other),
            })
        }
        _ => Err(unknown("a time", method)),
    }
}

fn duration_method(nanos: i64, method: &str, args: &[Value]) -> Result<Value, TemplateError> {
    match (method, args) {
        ("String", []) => Ok(Value::String(duration_text(nanos).into())),
        ("Hours", []) => Ok(Value::Float(nanos as f64 / 3.6e12)),
        ("Minutes", []) => Ok(Value::Float(nanos as f64 / 6e10)),
        ("Seconds", []) => Ok(Value::Float(nanos as f64 / 1e9)),
        ("Milliseconds", []) => Ok(Value::Int(nanos / 1_000_000)),
        ("Microseconds", []) => Ok(Value::Int(nanos / 1_000)),
        ("Nanoseconds", []) => Ok(Value::Int(nanos)),
        ("Abs", []) => Ok(duration(nanos.saturating_abs())),
        ("Truncate" | "Round", [unit]) => {
            let unit = duration_nanos(unit).ok_or_else(|| unknown("a duration", method))?;
            if unit <= 0 {
                return Ok(duration(nanos));
            }
            let below = nanos - nanos % unit;
            let away = if method == "Round" && (nanos % unit).unsigned_abs() >= unit.unsigned_abs().div_ceil(2) {
                unit * nanos.signum()
            } else {
                0
            };
            Ok(duration(below.saturating_add(away)))
        }
        _ => Err(unknown("a duration", method)),
    }
}

fn zoned(nanos: i64) -> Zoned {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC)
}

/// Parts of Go's reference time `Mon Jan 2 15:04:05 MST 2006`, the longest first where one begins another, and what
/// prints them (`strftime`). The zone is always UTC.
const LAYOUT: [(&str, &str); 30] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("2006", "%Y"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("__2", "%_3j"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("-07:00:00", "+00:00:00"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("-07", "+00"),
    ("Z07:00", "Z"),
    ("Z0700", "Z"),
    ("Z07", "Z"),
];

/// `time.Time.Format` in UTC.
fn format(nanos: i64, layout: &str) -> String {
    let at = zoned(nanos);
    let (mut out, mut rest) = (String::new(), layout);
    while let Some(first) = rest.chars().next() {
        if let Some((length, text)) = fraction(nanos, rest) {
            out.push_str(&text);
            rest = &rest[length..];
        } else if rest.starts_with("_2006") {
            // An underscore before the year is a literal one, not the day padded with it.
            out.push('_');
            rest = &rest[1..];
        } else if let Some((part, directive)) = LAYOUT.iter().find(|(part, _)| starts_with_part(rest, part)) {
            out.push_str(&at.strftime(directive).to_string());
            rest = &rest[part.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// `Jan` must not be followed by a small letter (`Janet` is a word).
fn starts_with_part(layout: &str, part: &str) -> bool {
    layout.strip_prefix(part).is_some_and(|tail| {
        !(matches!(part, "Jan" | "Mon") && tail.starts_with(|next: char| next.is_ascii_lowercase()))
    })
}

/// A fraction of a second at the head of the layout: `.000` keeps trailing zeros, `.999` does not.
fn fraction(nanos: i64, layout: &str) -> Option<(usize, String)> {
    let separator = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = layout[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = layout[1..].chars().take_while(|c| *c == digit).count();
    if layout[1 + count..].starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{:09}", nanos.rem_euclid(NANOS_PER_SECOND));
    let kept = &digits[..count.min(9)];
    let kept = if digit == '9' { kept.trim_end_matches('0') } else { kept };
    let text = if kept.is_empty() { String::new() } else { format!("{separator}{kept}") };
    Some((1 + count, text))
}
