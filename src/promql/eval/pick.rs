//! `topk`, `bottomk`, `limitk` and `limit_ratio`: some of the series of each group, as they are.

use std::cmp::Ordering;
use std::sync::Arc;

use super::aggregate::{Extremes, Groups};
use super::{EvalError, Evaluator};
use crate::promql::ast::{Aggregate, AggregateOp, Position};
use crate::promql::go;
use crate::promql::value::{Cell, Matrix};
use crate::types::Labels;

impl Evaluator<'_> {
    pub(super) fn pick(
        &mut self,
        aggregate: &Aggregate,
        at: Position,
        param_at: Position,
        matrix: &Matrix,
        params: &[f64],
    ) -> Result<Matrix, EvalError> {
        let extremes = Extremes::of(params);
        let is_ratio = aggregate.op == AggregateOp::LimitRatio;
        let picks_none = if is_ratio { extremes.max == 0.0 && extremes.min == 0.0 } else { extremes.max < 1.0 };
        if picks_none {
            return Ok(Matrix::new(matrix.steps));
        }
        self.check_params(&extremes, is_ratio, param_at)?;
        let groups = Groups::of(aggregate, matrix);
        let sorts = matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk);
        // Cells to be kept, and with one step their order.
        let mut kept = vec![false; matrix.len() * matrix.steps];
        let mut order: Vec<usize> = Vec::new();
        let offsets: Vec<f64> =
            if is_ratio { matrix.rows.iter().map(|row| offset(&row.labels)).collect() } else { Vec::new() };
        for rows in &groups.rows {
            self.check_stop()?;
            for (step, param) in params.iter().enumerate() {
                let mut candidates: Vec<(usize, f64)> = Vec::with_capacity(rows.len());
                for &row in rows {
                    match matrix.get(row, step) {
                        Some(Cell::Float(value)) => candidates.push((row, value)),
                        Some(Cell::Histogram(_)) if sorts => {
                            self.notes.histogram_ignored_in_aggregation(at, aggregate.op.name());
                        }
                        Some(Cell::Histogram(_)) => candidates.push((row, 0.0)),
                        None => {}
                    }
                }
                let count = if *param < 1.0 { 0 } else { *param as usize };
                match aggregate.op {
                    AggregateOp::Topk => best(&mut candidates, count, |a, b| b.total_order(a)),
                    AggregateOp::Bottomk => best(&mut candidates, count, TotalOrder::total_order),
                    AggregateOp::Limitk => candidates.truncate(count),
                    _ => candidates.retain(|(row, _)| is_within(*param, offsets[*row])),
                }
                for (row, _) in candidates {
                    kept[row * matrix.steps + step] = true;
                    if matrix.steps == 1 {
                        order.push(row);
                    }
                }
            }
        }
        if matrix.steps == 1 {
            let mut result = matrix.clone();
            result.reorder(&order);
            return Ok(result);
        }
        let mut result = Matrix::new(matrix.steps);
        for (row, head) in matrix.rows.iter().enumerate() {
            let cells = &kept[row * matrix.steps..(row + 1) * matrix.steps];
            if !cells.contains(&true) {
                continue;
            }
            let out = result.push(Arc::clone(&head.labels), head.drop_name);
            for step in (0..matrix.steps).filter(|step| cells[*step]) {
                if let Some(cell) = matrix.get(row, step) {
                    result.set(out, step, cell.to_value());
                }
            }
        }
        Ok(result)
    }

    fn check_params(&mut self, extremes: &Extremes, is_ratio: bool, at: Position) -> Result<(), EvalError> {
        let problem = |text: String| Err(EvalError::Execution(text));
        if extremes.has_nan {
            return problem(format!("{} value is NaN", if is_ratio { "Ratio" } else { "Parameter" }));
        }
        if is_ratio {
            if extremes.max > 1.0 {
                self.notes.invalid_ratio(at, extremes.max, 1.0);
            }
            if extremes.min < -1.0 {
                self.notes.invalid_ratio(at, extremes.min, -1.0);
            }
            return Ok(());
        }
        if extremes.min <= i64::MIN as f64 {
            return problem(format!("Scalar value {} underflows int64", go::shortest(extremes.min)));
        }
        if extremes.max >= i64::MAX as f64 {
            return problem(format!("Scalar value {} overflows int64", go::shortest(extremes.max)));
        }
        Ok(())
    }
}

trait TotalOrder {
    /// By value; NaN last whichever way; then by row, so that the first of equals stays.
    fn total_order(&self, other: &Self) -> Ordering;
}

impl TotalOrder for (usize, f64) {
    fn total_order(&self, other: &Self) -> Ordering {
        self.1.partial_cmp(&other.1).unwrap_or(Ordering::Equal)
    }
}

/// The first `count` in that order, sorted. NaNs come last, equals stay in the order of rows.
fn best(candidates: &mut Vec<(usize, f64)>, count: usize, order: impl Fn(&(usize, f64), &(usize, f64)) -> Ordering) {
    let full = |a: &(usize, f64), b: &(usize, f64)| {
        a.1.is_nan().cmp(&b.1.is_nan()).then_with(|| order(a, b)).then(a.0.cmp(&b.0))
    };
    if count == 0 {
        candidates.clear();
    } else if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, full);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(full);
}

/// Where a series falls between 0 and 1: by the hash of its labels that Prometheus uses, so that both pick the
/// same.
fn offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for (name, value) in labels {
        for part in [name, value] {
            match u8::try_from(part.len()) {
                Ok(length) if length < 255 => bytes.push(length),
                _ => bytes.extend([255, part.len() as u8, (part.len() >> 8) as u8, (part.len() >> 16) as u8]),
            }
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

/// A positive ratio takes from the lower end, a negative one what the positive one leaves.
fn is_within(ratio: f64, offset: f64) -> bool {
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { ratio != 0.0 && offset < ratio } else { offset >= 1.0 + ratio }
}
