//! Binary expressions: between scalars, between a vector and a scalar, and the pairing of two vectors.

use std::sync::Arc;

use super::arithmetic::{Combined, Operation, compares, number_op};
use super::combine::Pairing;
use super::signature::{Counted, Numbering};
use super::{EvalError, Evaluator};
use crate::promql::ast::{Binary, BinaryOp, Position, Type};
use crate::promql::storage::{STALE, is_stale};
use crate::promql::value::{Cell, Grid, Matrix, Value, present};

impl Evaluator<'_> {
    pub(super) fn eval_binary(&mut self, binary: &Binary, at: Position, grid: &Grid) -> Result<Matrix, EvalError> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        let is_scalar = |expr: &crate::promql::ast::Expr| expr.value_type() == Type::Scalar;
        match (is_scalar(&binary.left), is_scalar(&binary.right)) {
            (true, true) => {
                Ok(Matrix::scalar(grid.steps, |step| number_op(binary.op, left.number(step), right.number(step))))
            }
            (false, true) => Ok(self.with_scalar(binary, at, left, &right, false)),
            (true, false) => Ok(self.with_scalar(binary, at, right, &left, true)),
            (false, false) if binary.op.is_set() => Ok(set_operation(binary, left, &right)),
            (false, false) => {
                self.charge(left.cells().max(right.cells()))?;
                let budget = self.setup.limits.samples - self.live_samples + left.cells().max(right.cells());
                let matrix = Pairing::new(binary, &left, &right).evaluate(&mut self.notes, at, budget)?;
                if matrix.steps > 1 { Self::joined(matrix) } else { Ok(matrix) }
            }
        }
    }

    /// `vector op scalar`, or with `swapped` `scalar op vector`. A comparison keeps the vector's value.
    fn with_scalar(
        &mut self,
        binary: &Binary,
        at: Position,
        mut vector: Matrix,
        scalar: &Matrix,
        swapped: bool,
    ) -> Matrix {
        let (op, steps) = (binary.op, vector.steps);
        let drops = op.changes_meaning() || binary.returns_bool;
        for row in &mut vector.rows {
            row.drop_name |= drops;
        }
        let is_trim = matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        if !vector.has_histograms() && !is_trim {
            float_rows(binary, &mut vector, scalar, swapped);
            vector.retain_filled();
            return vector;
        }
        let mut operation = Operation { op, at, notes: &mut self.notes };
        for row in 0..vector.len() {
            for step in 0..steps {
                let number = Cell::Float(scalar.number(step));
                let Some(own) = vector.get(row, step) else { continue };
                let own_value = own.to_value();
                let combined = if swapped { operation.combine(number, own) } else { operation.combine(own, number) };
                vector.clear(row, step);
                let Some(Combined { value, keep }) = combined else { continue };
                let value = if binary.returns_bool {
                    Value::Float(f64::from(u8::from(keep)))
                } else if !keep {
                    continue;
                } else if op.is_comparison() {
                    own_value
                } else {
                    value
                };
                vector.set(row, step, value);
            }
        }
        vector.retain_filled();
        vector
    }
}

/// The same without histograms: straight over the columns.
fn float_rows(binary: &Binary, vector: &mut Matrix, scalar: &Matrix, swapped: bool) {
    let (op, steps) = (binary.op, vector.steps);
    let filters = op.is_comparison() && !binary.returns_bool;
    vector.map_cells(|cell, value| {
        let number = scalar.number(cell % steps);
        let (l, r) = if swapped { (number, value) } else { (value, number) };
        if !filters {
            present(number_op(op, l, r))
        } else if compares(op, l, r) {
            value
        } else {
            STALE
        }
    });
}

/// `and`, `or`, `unless`.
fn set_operation(binary: &Binary, mut left: Matrix, right: &Matrix) -> Matrix {
    let mut labels = binary.matching.labels.clone();
    labels.sort_unstable();
    let counted = if binary.matching.on { Counted::Only(&labels) } else { Counted::Without(&labels) };
    let mut numbering = Numbering::default();
    let mut numbers = |matrix: &Matrix| -> Vec<usize> {
        matrix.rows.iter().map(|row| numbering.number(&row.labels, counted)).collect()
    };
    let (left_numbers, right_numbers) = (numbers(&left), numbers(right));
    let (steps, count) = (left.steps, numbering.len());
    // Whether a signature occurs on the other side, at each step.
    let occurs = |matrix: &Matrix, numbers: &[usize]| -> Vec<bool> {
        let mut occurs = vec![false; count * steps];
        for (row, number) in numbers.iter().enumerate() {
            for step in 0..steps {
                occurs[number * steps + step] |= matrix.get(row, step).is_some();
            }
        }
        occurs
    };
    match binary.op {
        BinaryOp::Or => {
            let taken = occurs(&left, &left_numbers);
            for (row, number) in right_numbers.iter().enumerate() {
                let head = &right.rows[row];
                let added = left.push(Arc::clone(&head.labels), head.drop_name);
                for step in (0..steps).filter(|step| !taken[number * steps + step]) {
                    if let Some(cell) = right.get(row, step) {
                        left.set(added, step, cell.to_value());
                    }
                }
                left.pop_if_empty();
            }
            merge_same_names(left)
        }
        op => {
            let present = occurs(right, &right_numbers);
            let keeps = op == BinaryOp::And;
            for (row, number) in left_numbers.iter().enumerate() {
                for step in (0..steps).filter(|step| present[number * steps + step] != keeps) {
                    left.clear(row, step);
                }
            }
            left.retain_filled();
            left
        }
    }
}

/// Rows of the same labels that never have a sample at the same step become one; others are left for the end of
/// the query to complain about.
fn merge_same_names(matrix: Matrix) -> Matrix {
    let labels: Vec<_> = matrix.rows.iter().map(|row| &*row.labels).collect();
    let Some(targets) = super::signature::duplicates(&labels) else { return matrix };
    let mut place: Vec<usize> = Vec::new();
    let mut merged = Matrix::with_rows(matrix.steps, matrix.len());
    for (row, &target) in targets.iter().enumerate() {
        let head = &matrix.rows[row];
        let is_new = target == place.len();
        let collides = !is_new
            && (0..matrix.steps).any(|s| matrix.get(row, s).is_some() && merged.get(place[target], s).is_some());
        let at = if is_new || collides { merged.push(Arc::clone(&head.labels), head.drop_name) } else { place[target] };
        if is_new {
            place.push(at);
        }
        for step in 0..matrix.steps {
            if let Some(cell) = matrix.get(row, step) {
                merged.set(at, step, cell.to_value());
            }
        }
    }
    merged
}

/// Whether a cell holds a float.
pub(super) fn holds(value: f64) -> bool {
    !is_stale(value)
}
