//! `info`: labels of info series, such as `target_info`, added to the series of the same target.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::combine::spelled;
use super::selector::{Lookup, Wanted};
use super::{EvalError, Evaluator, metric_name};
use crate::promql::ast::{Call, Expr, ExprKind, TimeShift};
use crate::promql::value::{Cell, Grid, Matrix};
use crate::types::{Labels, METRIC_NAME, MatchOp, Matcher, Selector};

const TARGET_INFO: &str = "target_info";

/// The labels that say which target a series belongs to.
const IDENTIFYING_LABELS: [&str; 2] = ["instance", "job"];

impl Evaluator<'_> {
    pub(super) fn eval_info(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        let conditions: &[Matcher] = match call.args.get(1).map(|arg| &arg.without_parens().kind) {
            Some(ExprKind::Vector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (names, data): (Vec<Matcher>, Vec<Matcher>) =
            conditions.iter().cloned().partition(|m| &*m.name == METRIC_NAME);
        let names = info_names(names)?;
        let base = self.eval(&call.args[0], grid)?;
        let is_info = |labels: &Labels| names.iter().all(|m| m.matches(metric_name(labels)));
        let plain: Vec<bool> = base.rows.iter().map(|row| is_info(&row.labels)).collect();
        let info = self.info_series(call, &base, &plain, (&names, &data), grid)?;
        let result = self.enriched(&base, &plain, &info, &data)?;
        if grid.steps > 1 { Self::joined(result) } else { Ok(result) }
    }

    /// The info series of the targets that occur: at each step the time of the current sample.
    fn info_series(
        &mut self,
        call: &Call,
        base: &Matrix,
        plain: &[bool],
        (names, data): (&[Matcher], &[Matcher]),
        grid: &Grid,
    ) -> Result<Matrix, EvalError> {
        let mut matchers: Vec<Matcher> = Vec::new();
        for label in IDENTIFYING_LABELS {
            let mut values: Vec<&str> = base
                .rows
                .iter()
                .zip(plain)
                .filter(|(_, plain)| !**plain)
                .filter_map(|(row, _)| row.labels.get(label))
                .collect();
            values.sort_unstable();
            values.dedup();
            match values.as_slice() {
                [] => {}
                [one] => matchers.push(Matcher::equal(label, one)),
                several => {
                    let pattern = several.iter().map(|v| regex::escape(v)).collect::<Vec<_>>().join("|");
                    // Too many targets for one expression: what is selected too much finds no partner.
                    if let Ok(matcher) = Matcher::regex(label, &pattern) {
                        matchers.push(matcher);
                    }
                }
            }
        }
        let mut info = Matrix::new(grid.steps);
        if matchers.is_empty()
            && !base
                .rows
                .iter()
                .zip(plain)
                .any(|(row, plain)| !plain && IDENTIFYING_LABELS.iter().any(|label| row.labels.get(label).is_some()))
        {
            return Ok(info);
        }
        matchers.extend_from_slice(data);
        matchers.extend_from_slice(names);
        let (offset, pin) = self.reference_time(&call.args[0])?;
        let lookup = Lookup { grid: *grid, offset, pin };
        let selector = Selector::new(matchers);
        let range = (lookup.first().saturating_sub(self.setup.lookback.0), lookup.last());
        self.for_each_series(selector.matchers(), range, |evaluator, series| {
            evaluator.charge(grid.steps)?;
            if series.histograms.iter().any(|s| s.at.0 > range.0 && s.at.0 <= range.1) {
                let labels = spelled(series.labels);
                let text = format!("this should be an info metric, with float samples: {labels}");
                return Err(EvalError::Execution(text));
            }
            evaluator.push_current(&mut info, &series, &lookup, Wanted::Time)
        })?;
        Ok(info)
    }

    /// Info series are looked at when the first selector in the first argument looks at its samples.
    fn reference_time(&self, expr: &Expr) -> Result<(i64, Option<i64>), EvalError> {
        let mut shifts = Vec::new();
        first_selector(expr, &mut shifts);
        let (mut offset, mut pin) = (0, None);
        for shift in shifts {
            if pin.is_some() {
                break;
            }
            let (more, pinned) = self.shift(shift)?;
            offset += more;
            pin = pinned;
        }
        Ok((offset, pin))
    }

    fn enriched(
        &mut self,
        base: &Matrix,
        plain: &[bool],
        info: &Matrix,
        data: &[Matcher],
    ) -> Result<Matrix, EvalError> {
        // Targets and metric names to the info rows.
        let mut rows: BTreeMap<(&str, [&str; 2]), Vec<usize>> = BTreeMap::new();
        let mut names: Vec<&str> = Vec::new();
        for (row, head) in info.rows.iter().enumerate() {
            let name = metric_name(&head.labels);
            rows.entry((name, target(&head.labels))).or_default().push(row);
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        let needs_match = data.iter().any(|m| !m.matches(""));
        let mut result = Matrix::with_rows(base.steps, base.len());
        for (row, head) in base.rows.iter().enumerate() {
            self.check_stop()?;
            // Info rows found to the row of the result.
            let mut outs: Vec<(Vec<usize>, usize)> = Vec::new();
            for step in 0..base.steps {
                let Some(cell) = base.get(row, step) else { continue };
                let mut found = Vec::new();
                if !plain[row] {
                    for name in &names {
                        let candidates = rows.get(&(*name, target(&head.labels))).map_or(&[][..], Vec::as_slice);
                        found.extend(newest(info, candidates, step)?);
                    }
                    if found.is_empty() && needs_match {
                        continue;
                    }
                }
                let out = if let Some((_, out)) = outs.iter().find(|(rows, _)| *rows == found) {
                    *out
                } else {
                    {
                        self.charge(base.steps)?;
                        let labels = with_info(&head.labels, info, &found, data)?;
                        let out = result.push(Arc::new(labels), head.drop_name);
                        outs.push((found, out));
                        out
                    }
                };
                result.set(out, step, cell.to_value());
            }
        }
        Ok(result)
    }
}

/// The conditions on the info metric's name: `target_info` when there are none, some `…_info` when there are
/// only negative ones.
fn info_names(given: Vec<Matcher>) -> Result<Vec<Matcher>, EvalError> {
    if given.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, TARGET_INFO)]);
    }
    let is_positive = |m: &Matcher| matches!(m.op, MatchOp::Equal(_) | MatchOp::Regex(..));
    if given.iter().any(is_positive) {
        return Ok(given);
    }
    let any = Matcher::regex(METRIC_NAME, ".+_info").map_err(|e| EvalError::Execution(e.to_string()))?;
    Ok(std::iter::once(any).chain(given).collect())
}

/// The time shifts from the first selector outwards.
fn first_selector<'e>(expr: &'e Expr, shifts: &mut Vec<&'e TimeShift>) -> bool {
    match &expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => {
            shifts.push(&selector.time);
            true
        }
        ExprKind::Subquery(subquery) => {
            let found = first_selector(&subquery.expr, shifts);
            if found {
                shifts.push(&subquery.time);
            }
            found
        }
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => first_selector(inner, shifts),
        ExprKind::Call(call) => call.args.iter().any(|arg| first_selector(arg, shifts)),
        ExprKind::Aggregate(aggregate) => {
            first_selector(&aggregate.expr, shifts)
                || aggregate.param.as_ref().is_some_and(|param| first_selector(param, shifts))
        }
        ExprKind::Binary(binary) => first_selector(&binary.left, shifts) || first_selector(&binary.right, shifts),
        ExprKind::Number(_) | ExprKind::String(_) => false,
    }
}

fn target(labels: &Labels) -> [&str; 2] {
    IDENTIFYING_LABELS.map(|label| labels.get(label).unwrap_or(""))
}

/// The info series with the newest sample.
fn newest(info: &Matrix, candidates: &[usize], step: usize) -> Result<Option<usize>, EvalError> {
    let mut best: Option<(f64, usize)> = None;
    for &row in candidates {
        let Some(Cell::Float(at)) = info.get(row, step) else { continue };
        match best {
            Some((newest, other)) if newest == at => {
                let (old, new) = (spelled(&info.rows[other].labels), spelled(&info.rows[row].labels));
                let millis = (at * 1000.0).round();
                return Err(EvalError::Execution(format!(
                    "found duplicate series for info metric: existing {old} @ {millis}, new {new} @ {millis}"
                )));
            }
            Some((newest, _)) if newest > at => {}
            _ => best = Some((at, row)),
        }
    }
    Ok(best.map(|(_, row)| row))
}

/// The labels with those of the info series: all of them, or with conditions only the ones named there. Labels
/// the series has already stay.
fn with_info(base: &Labels, info: &Matrix, found: &[usize], data: &[Matcher]) -> Result<Labels, EvalError> {
    let mut added = Labels::new();
    for &row in found {
        for (name, value) in &*info.rows[row].labels {
            if name == METRIC_NAME || !(data.is_empty() || data.iter().any(|m| &*m.name == name)) {
                continue;
            }
            if added.get(name).is_some_and(|other| other != value) {
                return Err(EvalError::Execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                added.set(name, value);
            }
        }
    }
    Ok(base.clone().merged(&added))
}
