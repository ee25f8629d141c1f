//! `label_replace` and `label_join`: functions of labels only.

use std::sync::Arc;

use super::{EvalError, Evaluator};
use crate::promql::ast::{Call, Expr, ExprKind};
use crate::promql::value::{Grid, Matrix};
use crate::types::METRIC_NAME;

/// The value of a string argument.
pub(super) fn text_of(expr: &Expr) -> &str {
    match &expr.without_parens().kind {
        ExprKind::String(text) => &text.value,
        _ => "",
    }
}

/// Whether a string argument is a label name: not empty, and UTF-8.
fn is_label_name(expr: &Expr) -> bool {
    matches!(&expr.without_parens().kind, ExprKind::String(text) if text.is_utf8 && !text.value.is_empty())
}

const REGEX_SIZE_LIMIT_BYTES: usize = 1 << 20;

impl Evaluator<'_> {
    pub(super) fn label_replace(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        let [_, target_arg, replacement, source, pattern] = &call.args[..] else {
            return Err(EvalError::Execution("label_replace needs five arguments".to_owned()));
        };
        let (target, source, pattern) = (text_of(target_arg), text_of(source), text_of(pattern));
        let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_SIZE_LIMIT_BYTES).build();
        let Ok(regex) = regex else {
            return Err(EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}")));
        };
        if !is_label_name(target_arg) {
            return Err(EvalError::Execution(format!("invalid destination label name in label_replace(): {target}")));
        }
        let replacement = text_of(replacement);
        let mut matrix = self.eval(&call.args[0], grid)?;
        for row in &mut matrix.rows {
            let Some(found) = regex.captures(row.labels.get(source).unwrap_or("")) else { continue };
            let mut value = String::new();
            found.expand(replacement, &mut value);
            row.labels = Arc::new((*row.labels).clone().with(target, &value));
            row.drop_name &= target != METRIC_NAME;
        }
        Self::joined(matrix)
    }

    pub(super) fn label_join(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        for source in &call.args[3..] {
            if !is_label_name(source) {
                let text = format!("invalid source label name in label_join(): {}", text_of(source));
                return Err(EvalError::Execution(text));
            }
        }
        let target = text_of(&call.args[1]);
        if !is_label_name(&call.args[1]) {
            return Err(EvalError::Execution(format!("invalid destination label name in label_join(): {target}")));
        }
        let separator = text_of(&call.args[2]);
        let sources: Vec<&str> = call.args[3..].iter().map(text_of).collect();
        let mut matrix = self.eval(&call.args[0], grid)?;
        for row in &mut matrix.rows {
            let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source).unwrap_or("")).collect();
            let value = values.join(separator);
            row.labels = Arc::new((*row.labels).clone().with(target, &value));
            row.drop_name &= target != METRIC_NAME;
        }
        Self::joined(matrix)
    }
}
