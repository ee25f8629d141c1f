//! PromQL in YAML: errors of the query are shown where they stand in the file.

use std::sync::Arc;

use crate::promql::{ParseLimits, Position, Query, Suspicion, Type};
use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::source::Place;
use crate::spec::yaml::shown;

/// What follows when the rule of an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Every series of the result is kept.
    Record,
    /// Every series of the result is an alert.
    Alert,
}

/// The query in a field, with what can hardly be meant by it reported.
pub(crate) fn expression(field: Field<'_>, use_: Use, reporter: &mut Reporter<'_>) -> Option<Arc<Query>> {
    let text = field.text(reporter)?;
    let query = match Query::parse(text, &ParseLimits::default()) {
        Ok(query) => query,
        Err(error) => {
            let place = place(field, text, error.at, reporter);
            let hint = format!("the query is {}", shown(text.trim()));
            reporter.error(place, format!("not a PromQL expression: {}", error.message)).hint(hint);
            return None;
        }
    };
    if !matches!(query.value_type(), Type::Scalar | Type::Vector) {
        let what = query.value_type().documented();
        let message = format!("the expression is a {what}: every evaluation of the rule fails");
        let hint = "a rule needs an instant vector or a scalar: aggregate over the range, as in `rate(x[5m])`";
        reporter.warn(field.place(), message).hint(hint);
    }
    for suspicion in query.suspicions() {
        let at = place(field, text, suspicion.position(), reporter);
        match suspicion {
            Suspicion::ComplementOfErrors { errors, limit, .. } => {
                let message = format!(
                    "`1 - errors / total > {limit}` compares the share of successes with what looks like a limit on \
                     errors: it holds as long as anything succeeds"
                );
                let hint = format!("`{errors}` counts errors: leave out the `1 -`");
                reporter.warn(at, message).hint(hint);
            }
            Suspicion::SecondsAgainst { metric, limit, .. } => {
                let message = format!("`{metric}` is in seconds, and {limit} seconds are more than a minute");
                let hint = format!("compare with {} if milliseconds were meant", limit / 1000.0);
                reporter.warn(at, message).hint(hint);
            }
            Suspicion::AlwaysThere { .. } if use_ == Use::Alert => {
                let message = "`bool` turns the comparison into 0 or 1, and an alert fires for both";
                reporter.warn(at, message).hint("leave out `bool`");
            }
            Suspicion::AlwaysThere { .. } => {}
        }
    }
    Some(Arc::new(query))
}

/// Where a part of a query stands in the source; the whole value where YAML has folded or escaped it.
fn place(field: Field<'_>, text: &str, at: Position, reporter: &Reporter<'_>) -> Place {
    let (start, end) = (at.start as usize, (at.end as usize).min(text.len()));
    let start = start.min(end);
    if !text.trim_end().contains('\n') {
        return field.place_of(start..end);
    }
    let Some(before) = text.get(..start) else { return field.place() };
    // In a literal block every line of the text is a line of the source, indented.
    let line_of_text = before.matches('\n').count();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let number = field.key.line + 1 + line_of_text as u32;
    let source = reporter.line(number);
    let indent = source.len() - source.trim_start().len();
    let inner = line.len() - line.trim_start().len();
    if line.trim().is_empty() || source.trim() != line.trim() {
        return field.place();
    }
    let column = source[..indent].chars().count() + text[line_start..start].chars().count() + 1;
    let width = text[start..end].lines().next().unwrap_or_default().chars().count().max(1);
    Place { line: number, column: (column - inner.min(column - 1)) as u32, width: width as u32 }
}
