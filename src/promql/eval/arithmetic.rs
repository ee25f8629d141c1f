//! Binary operators on single values.

use std::sync::Arc;

use crate::promql::annotation::Annotations;
use crate::promql::ast::{BinaryOp, Position};
use crate::promql::histogram::{FloatHistogram, HistogramOperation, HistogramSum, Keep, ResetHint};
use crate::promql::value::{Cell, Value};

/// Arithmetic; a comparison gives 1 or 0.
#[inline]
pub(super) fn number_op(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        // The remainder of Rust and of C's fmod, with the dividend's sign.
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => f64::from(u8::from(compares(op, left, right))),
    }
}

/// Whether a comparison holds.
#[inline]
pub(super) fn compares(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Less => left < right,
        BinaryOp::LessOrEqual => left <= right,
        BinaryOp::Greater => left > right,
        BinaryOp::GreaterOrEqual => left >= right,
        _ => false,
    }
}

/// A result, and whether a filtering comparison keeps it.
pub(super) struct Combined {
    pub value: Value,
    pub keep: bool,
}

/// An operation about to be carried out on pairs of values.
pub(super) struct Operation<'o> {
    pub op: BinaryOp,
    pub at: Position,
    pub notes: &'o mut Annotations,
}

impl Operation<'_> {
    /// `None`, with a note, where the operator does not apply to values of these kinds.
    pub fn combine(&mut self, left: Cell<'_>, right: Cell<'_>) -> Option<Combined> {
        let histogram =
            |h: FloatHistogram| Some(Combined { value: Value::Histogram(Arc::new(h.compacted())), keep: true });
        match (left, right) {
            (Cell::Float(l), Cell::Float(r)) => {
                if self.op.is_comparison() {
                    return Some(Combined { value: Value::Float(l), keep: compares(self.op, l, r) });
                }
                if matches!(self.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
                    return self.incompatible("float", "float");
                }
                Some(Combined { value: Value::Float(number_op(self.op, l, r)), keep: true })
            }
            (Cell::Float(factor), Cell::Histogram(h)) => match self.op {
                BinaryOp::Multiply => histogram((**h).clone().scaled(factor)),
                _ => self.incompatible("float", "histogram"),
            },
            (Cell::Histogram(h), Cell::Float(number)) => match self.op {
                BinaryOp::Multiply => histogram((**h).clone().scaled(number)),
                BinaryOp::Divide => histogram((**h).clone().divided(number)),
                BinaryOp::TrimUpper => histogram(h.trimmed(number, Keep::Below)),
                BinaryOp::TrimLower => histogram(h.trimmed(number, Keep::Above)),
                _ => self.incompatible("histogram", "float"),
            },
            (Cell::Histogram(l), Cell::Histogram(r)) => match self.op {
                BinaryOp::Add => self.merged(l, r, HistogramOperation::Addition),
                BinaryOp::Subtract => self.merged(l, r, HistogramOperation::Subtraction),
                BinaryOp::Equal => Some(Combined { value: Value::Histogram(Arc::clone(l)), keep: l.same(r) }),
                BinaryOp::NotEqual => Some(Combined { value: Value::Histogram(Arc::clone(l)), keep: !l.same(r) }),
                _ => self.incompatible("histogram", "histogram"),
            },
        }
    }

    fn merged(&mut self, l: &FloatHistogram, r: &FloatHistogram, operation: HistogramOperation) -> Option<Combined> {
        let subtracts = operation == HistogramOperation::Subtraction;
        let mut sum = HistogramSum::new(l);
        let Ok(merge) = sum.add_scaled(r, if subtracts { -1.0 } else { 1.0 }) else {
            self.notes.incompatible_layout(self.at, self.op.symbol());
            return None;
        };
        if merge.resets_collide {
            self.notes.resets_collide(self.at, operation);
        }
        if merge.bounds_reconciled {
            self.notes.bounds_reconciled(self.at, operation);
        }
        let mut result = sum.finish();
        if subtracts {
            result.reset_hint = ResetHint::Gauge;
        }
        Some(Combined { value: Value::Histogram(Arc::new(result)), keep: true })
    }

    fn incompatible(&mut self, left: &str, right: &str) -> Option<Combined> {
        self.notes.incompatible_types(self.at, left, self.op.symbol(), right);
        None
    }
}
