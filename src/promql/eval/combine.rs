//! Pairs of series under an arithmetic or comparison operator.
//!
//! Signatures and result labels are computed once for each pair of series. Where a signature belongs to one
//! series of the side of one, the pair is worked off as two columns; else, and with fill values, step by step.

use std::sync::Arc;

use super::EvalError;
use super::arithmetic::{Combined, Operation, compares, number_op};
use super::binary::holds;
use super::signature::{Counted, Numbering};
use crate::promql::annotation::Annotations;
use crate::promql::ast::{Binary, BinaryOp, Many, Matching, Position};
use crate::promql::storage::STALE;
use crate::promql::value::{Cell, Matrix, Value, present};
use crate::types::{Labels, METRIC_NAME};

/// Two sides to be paired. `many` is the left side, or with `group_right` the right one.
pub(super) struct Pairing<'p> {
    binary: &'p Binary,
    many: &'p Matrix,
    one: &'p Matrix,
    matching_labels: Vec<Box<str>>,
    many_numbers: Vec<usize>,
    one_numbers: Vec<usize>,
    signatures: usize,
}

/// Result rows by the pair of rows they come from.
type ResultRows = std::collections::BTreeMap<(usize, usize), usize>;

/// Instead of a row: the fill value.
const FILLED: usize = usize::MAX;

impl<'p> Pairing<'p> {
    pub fn new(binary: &'p Binary, left: &'p Matrix, right: &'p Matrix) -> Self {
        let (many, one) = if binary.matching.many == Many::Right { (right, left) } else { (left, right) };
        let mut matching_labels = binary.matching.labels.clone();
        matching_labels.sort_unstable();
        matching_labels.dedup();
        let counted =
            if binary.matching.on { Counted::Only(&matching_labels) } else { Counted::Without(&matching_labels) };
        let mut numbering = Numbering::default();
        let mut numbers = |matrix: &Matrix| -> Vec<usize> {
            matrix.rows.iter().map(|row| numbering.number(&row.labels, counted)).collect()
        };
        let (many_numbers, one_numbers) = (numbers(many), numbers(one));
        let signatures = numbering.len();
        Self { binary, many, one, matching_labels, many_numbers, one_numbers, signatures }
    }

    fn matching(&self) -> &Matching {
        &self.binary.matching
    }

    /// Gives at most `budget_samples` cells.
    pub fn evaluate(&self, notes: &mut Annotations, at: Position, budget_samples: usize) -> Result<Matrix, EvalError> {
        let matching = self.matching();
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let mut operation = Operation { op: self.binary.op, at, notes };
        match self.unique_partners().filter(|_| !fills) {
            Some(partners) => Ok(self.by_columns(&partners, &mut operation)),
            None => self.by_steps(&mut operation, budget_samples),
        }
    }

    /// The row on the side of one for each signature, if no signature has several; and on the side of many
    /// neither, unless it may.
    fn unique_partners(&self) -> Option<Vec<usize>> {
        let unique = |numbers: &[usize]| {
            let mut rows = vec![FILLED; self.signatures];
            numbers
                .iter()
                .enumerate()
                .all(|(row, number)| std::mem::replace(&mut rows[*number], row) == FILLED)
                .then_some(rows)
        };
        if !self.many_may_repeat() {
            unique(&self.many_numbers)?;
        }
        unique(&self.one_numbers)
    }

    /// Whether several rows of the side of many may share a signature without their results being able to
    /// collide: they keep all their labels.
    fn many_may_repeat(&self) -> bool {
        let matching = self.matching();
        let keeps_name = !self.binary.op.changes_meaning();
        let keeps_labels = matching.include.is_empty();
        matching.many != Many::None && keeps_labels && (keeps_name || self.names_are_the_same())
    }

    fn names_are_the_same(&self) -> bool {
        let mut names = self.many.rows.iter().map(|row| row.labels.get(METRIC_NAME));
        names.next().is_none_or(|first| names.all(|name| name == first))
    }

    fn by_columns(&self, partners: &[usize], operation: &mut Operation<'_>) -> Matrix {
        let mut result = Matrix::with_rows(self.many.steps, self.many.len().min(self.one.len().max(1)));
        for (row, number) in self.many_numbers.iter().enumerate() {
            let partner = partners[*number];
            if partner == FILLED {
                continue;
            }
            let labels = self.result_labels(Some(row), Some(partner));
            if self.many.has_histograms() || self.one.has_histograms() {
                let at = result.push(labels, self.drops_name(Some(row)));
                for step in 0..self.many.steps {
                    let (Some(many), Some(one)) = (self.many.get(row, step), self.one.get(partner, step)) else {
                        continue;
                    };
                    if let Some(value) = self.value(operation, many, one) {
                        result.set(at, step, value);
                    }
                }
            } else {
                self.float_row(&mut result, labels, (row, partner), operation);
            }
            result.pop_if_empty();
        }
        result
    }

    /// Whether the result of this row loses its name at the end.
    fn drops_name(&self, many: Option<usize>) -> bool {
        self.binary.returns_bool || many.is_some_and(|row| self.many.rows[row].drop_name)
    }

    fn float_row(
        &self,
        result: &mut Matrix,
        labels: Arc<Labels>,
        (row, partner): (usize, usize),
        operation: &mut Operation<'_>,
    ) {
        let op = self.binary.op;
        if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            operation.combine(Cell::Float(0.0), Cell::Float(0.0));
            return;
        }
        let swapped = self.matching().many == Many::Right;
        let filters = op.is_comparison() && !self.binary.returns_bool;
        let pairs = self.many.floats(row).iter().zip(self.one.floats(partner));
        let values = pairs.map(|(many, one)| {
            if !holds(*many) || !holds(*one) {
                return STALE;
            }
            let (l, r) = if swapped { (*one, *many) } else { (*many, *one) };
            if !filters {
                present(number_op(op, l, r))
            } else if compares(op, l, r) {
                l
            } else {
                STALE
            }
        });
        result.push_floats(labels, self.drops_name(Some(row)), values);
    }

    /// The value of a pair, if there is one and the comparison keeps it.
    fn value(&self, operation: &mut Operation<'_>, many: Cell<'_>, one: Cell<'_>) -> Option<Value> {
        let (l, r) = if self.matching().many == Many::Right { (one, many) } else { (many, one) };
        let Combined { value, keep } = operation.combine(l, r)?;
        if self.binary.returns_bool {
            return Some(Value::Float(f64::from(u8::from(keep))));
        }
        keep.then_some(value)
    }

    fn by_steps(&self, operation: &mut Operation<'_>, budget_samples: usize) -> Result<Matrix, EvalError> {
        let mut result = Matrix::new(self.many.steps);
        let mut rows = ResultRows::new();
        // As Prometheus does: with `group_right` too, `fill_left` fills the side of many.
        let (fill_many, fill_one) = (self.matching().fill_left, self.matching().fill_right);
        let mut partners = vec![FILLED; self.signatures];
        for step in 0..self.many.steps {
            let lives = |matrix: &Matrix| (0..matrix.len()).any(|row| matrix.get(row, step).is_some());
            let (many_lives, one_lives) = (lives(self.many), lives(self.one));
            if !(many_lives && one_lives) && (fill_many.is_none() && fill_one.is_none() || !(many_lives || one_lives)) {
                continue;
            }
            if result.cells() > budget_samples {
                return Err(EvalError::TooManySamples);
            }
            partners.fill(FILLED);
            for (row, &number) in self.one_numbers.iter().enumerate() {
                if self.one.get(row, step).is_some() && std::mem::replace(&mut partners[number], row) != FILLED {
                    return Err(self.duplicate_on_one_side(number, step));
                }
            }
            let mut matched: Vec<Vec<usize>> = vec![Vec::new(); self.signatures];
            for (row, &number) in self.many_numbers.iter().enumerate() {
                let Some(many) = self.many.get(row, step) else { continue };
                let partner = partners[number];
                let one = match (self.one_cell(partner, step), fill_one) {
                    (Some(cell), _) => cell,
                    (None, Some(fill)) => Cell::Float(fill),
                    (None, None) => continue,
                };
                let Some(value) = self.combined(operation, many, one) else { continue };
                let at = self.result_row(&mut result, &mut rows, row, partner);
                self.check_unique(&result, &mut matched[number], at)?;
                if let Some(value) = value {
                    result.set(at, step, value);
                }
            }
            let Some(fill) = fill_many else { continue };
            for (row, &number) in self.one_numbers.iter().enumerate() {
                let Some(one) = self.one.get(row, step).filter(|_| matched[number].is_empty()) else { continue };
                let Some(value) = self.combined(operation, Cell::Float(fill), one) else { continue };
                let at = self.result_row(&mut result, &mut rows, FILLED, row);
                self.check_unique(&result, &mut matched[number], at)?;
                if let Some(value) = value {
                    result.set(at, step, value);
                }
            }
        }
        result.retain_filled();
        Ok(result)
    }

    fn one_cell(&self, partner: usize, step: usize) -> Option<Cell<'p>> {
        if partner == FILLED { None } else { self.one.get(partner, step) }
    }

    /// `None` where the operator does not apply, `Some(None)` where a comparison does not hold: that pair still
    /// counts as matched.
    #[expect(clippy::option_option, reason = "three outcomes, of which two look alike to the caller's caller")]
    fn combined(&self, operation: &mut Operation<'_>, many: Cell<'_>, one: Cell<'_>) -> Option<Option<Value>> {
        let (l, r) = if self.matching().many == Many::Right { (one, many) } else { (many, one) };
        let Combined { value, keep } = operation.combine(l, r)?;
        if self.binary.returns_bool {
            return Some(Some(Value::Float(f64::from(u8::from(keep)))));
        }
        Some(keep.then_some(value))
    }

    fn result_row(&self, result: &mut Matrix, rows: &mut ResultRows, many: usize, one: usize) -> usize {
        *rows.entry((many, one)).or_insert_with(|| {
            let row = |row: usize| (row != FILLED).then_some(row);
            result.push(self.result_labels(row(many), row(one)), self.drops_name(row(many)))
        })
    }

    /// No two pairs of one signature may give the same series.
    fn check_unique(&self, result: &Matrix, matched: &mut Vec<usize>, row: usize) -> Result<(), EvalError> {
        let text = if self.matching().many == Many::None {
            if matched.is_empty() {
                None
            } else {
                Some("many-to-one matching must be explicit (group_left/group_right)")
            }
        } else {
            let labels = &result.rows[row].labels;
            let repeats = matched.iter().any(|other| result.rows[*other].labels == *labels);
            repeats.then_some("grouping labels must ensure unique matches")
        };
        matched.push(row);
        text.map_or(Ok(()), |text| Err(EvalError::Execution(format!("multiple matches for labels: {text}"))))
    }

    fn duplicate_on_one_side(&self, number: usize, step: usize) -> EvalError {
        let mut rows =
            self.one_numbers.iter().enumerate().filter(|(row, n)| **n == number && self.one.get(*row, step).is_some());
        let mut next = || rows.next().map_or(0, |(row, _)| row);
        let (first, second) = (next(), next());
        let side = if self.matching().many == Many::Right { "left" } else { "right" };
        let group = spelled(&self.counted().of(&self.one.rows[second].labels));
        let mut pair = [first, second].map(|row| spelled(&self.one.rows[row].labels));
        pair.sort();
        EvalError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}];many-to-many matching not allowed: matching labels must be unique on one side",
            pair.join(", ")
        ))
    }

    fn counted(&self) -> Counted<'_> {
        if self.matching().on { Counted::Only(&self.matching_labels) } else { Counted::Without(&self.matching_labels) }
    }

    /// The labels of a pair's result. An absent row is one of fill values: it has the labels of the signature.
    fn result_labels(&self, many: Option<usize>, one: Option<usize>) -> Arc<Labels> {
        let matching = self.matching();
        let row_labels = |matrix: &Matrix, row: Option<usize>| row.map(|row| Arc::clone(&matrix.rows[row].labels));
        let (many, one) = (row_labels(self.many, many), row_labels(self.one, one));
        let signature_of = |other: &Option<Arc<Labels>>| {
            Arc::new(other.as_ref().map_or_else(Labels::new, |labels| self.counted().of(labels)))
        };
        let many_labels = many.clone().unwrap_or_else(|| signature_of(&one));
        let one_labels = one.unwrap_or_else(|| signature_of(&many));
        let mut labels = (*many_labels).clone();
        if self.binary.op.changes_meaning() {
            labels = super::without_metadata(&labels);
        }
        if matching.many == Many::None {
            labels = match self.counted() {
                Counted::Without(names) => names.iter().fold(labels, |labels, name| labels.with(name, "")),
                counted => counted.of(&labels),
            };
        }
        for name in &matching.include {
            labels.set(name, one_labels.get(name).unwrap_or(""));
        }
        Arc::new(labels)
    }
}

/// Labels as Prometheus' errors spell them: `{a="b", c="d"}`.
pub(super) fn spelled(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", crate::types::quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
