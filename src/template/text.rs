//! Values as text, as Go's `fmt` prints them.

use std::fmt::{self, Write};

use gotmpl::{TemplateError, Value};

use super::{TEXT_LIMIT_BYTES, moment};

/// A string that refuses to grow beyond [`TEXT_LIMIT_BYTES`].
#[derive(Default)]
pub(super) struct Bounded {
    text: String,
    overflowed: bool,
}

impl Bounded {
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Appends, or says that the text would be too long.
    pub(super) fn push(&mut self, part: &str) -> Result<(), TemplateError> {
        self.write_str(part).map_err(|_| too_long())
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if part.len() > TEXT_LIMIT_BYTES - self.text.len() {
            self.overflowed = true;
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// The text of `values` after each other: with `spaced`, a space between all of them (`fmt.Sprintln`), else only
/// between two that are not strings (`fmt.Sprint`).
pub(super) fn join(values: &[Value], spaced: bool) -> Result<String, TemplateError> {
    let mut out = Bounded::default();
    let is_text = |value: &Value| matches!(value, Value::String(_));
    for (at, value) in values.iter().enumerate() {
        let gap = at > 0 && (spaced || (!is_text(value) && !is_text(&values[at - 1])));
        if gap {
            out.write_char(' ').map_err(|_| too_long())?;
        }
        write_value(&mut out, value).map_err(|_| too_long())?;
    }
    Ok(out.into_text())
}

pub(super) fn too_long() -> TemplateError {
    TemplateError::Exec(format!("a text is longer than {TEXT_LIMIT_BYTES} bytes"))
}

/// Go's `%v`.
fn write_value(out: &mut Bounded, value: &Value) -> fmt::Result {
    match value {
        Value::Float(number) => out.write_str(&general(*number, None)),
        Value::List(items) => {
            out.write_char('[')?;
            for (at, item) in items.iter().enumerate() {
                out.write_str(if at == 0 { "" } else { " " })?;
                write_value(out, item)?;
            }
            out.write_char(']')
        }
        Value::Map(entries) => {
            if let Some(text) = moment::text(value) {
                return out.write_str(&text);
            }
            out.write_str("map[")?;
            for (at, (name, item)) in entries.iter().enumerate() {
                out.write_str(if at == 0 { "" } else { " " })?;
                write!(out, "{name}:")?;
                write_value(out, item)?;
            }
            out.write_char(']')
        }
        other => write!(out, "{other}"),
    }
}

/// Go's `%g`, or `%.{digits}g`: at most `digits` significant ones (else the fewest that read back as the same
/// number), an exponent below 1e-4 and from 1e`digits` (else 1e6) on, no trailing zeros.
pub(super) fn general(number: f64, digits: Option<u8>) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific =
        digits.map_or_else(|| format!("{number:e}"), |n| format!("{number:.*e}", usize::from(n.max(1) - 1)));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let written = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let threshold = digits.map_or(6, |n| i32::from(n.max(1)));
    if exponent < -4 || exponent >= threshold {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    // The digits are already rounded: printing them again with the right number of decimals changes none.
    let decimals = i64::try_from(written).map_or(0, |n| (n - 1 - i64::from(exponent)).max(0)) as usize;
    let rounded: f64 = scientific.parse().unwrap_or(number);
    format!("{rounded:.decimals$}")
}

/// Go's `url.QueryEscape`: all but letters, digits and `-_.~` as `%XX`, a space as `+`.
pub fn query_escape(text: &str) -> String {
    gotmpl::url_encode(text)
}
