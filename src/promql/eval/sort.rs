//! `sort` and `sort_by_label`: the order of an instant query's result.

use std::cmp::Ordering;

use super::labels::text_of;
use super::{EvalError, Evaluator};
use crate::promql::ast::{Call, Position};
use crate::promql::function::FunctionId;
use crate::promql::value::{Grid, Matrix};

impl Evaluator<'_> {
    pub(super) fn eval_sort(&mut self, call: &Call, at: Position, grid: &Grid) -> Result<Matrix, EvalError> {
        let id = call.function.id;
        if grid.steps > 1 {
            self.notes.sort_in_range_query(at);
        }
        let mut matrix = self.eval(&call.args[0], grid)?;
        let by_value = matches!(id, FunctionId::Sort | FunctionId::SortDesc);
        if by_value && matrix.has_histograms() {
            matrix.drop_histograms();
            matrix.retain_filled();
        }
        if grid.steps > 1 {
            return Ok(matrix);
        }
        let mut order: Vec<usize> = (0..matrix.len()).collect();
        if by_value {
            let descends = id == FunctionId::SortDesc;
            order.sort_by(|a, b| {
                let (a, b) = (matrix.floats(*a)[0], matrix.floats(*b)[0]);
                let by_value = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                // NaN goes to the end whichever way.
                a.is_nan().cmp(&b.is_nan()).then(if descends { by_value.reverse() } else { by_value })
            });
        } else {
            let names: Vec<&str> = call.args[1..].iter().map(text_of).collect();
            let descends = id == FunctionId::SortByLabelDesc;
            order.sort_by(|a, b| {
                let (a, b) = (&matrix.rows[*a].labels, &matrix.rows[*b].labels);
                let value = |labels: &'_ crate::types::Labels, name: &str| labels.get(name).unwrap_or("").to_owned();
                let by_labels = names
                    .iter()
                    .map(|name| natural(&value(a, name), &value(b, name)))
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| a.cmp(b));
                if descends { by_labels.reverse() } else { by_labels }
            });
        }
        matrix.reorder(&order);
        Ok(matrix)
    }
}

/// Natural order: runs of digits compare as numbers.
fn natural(first: &str, second: &str) -> Ordering {
    let (mut a, mut b) = (first, second);
    loop {
        let (Some(x), Some(y)) = (chunk(a), chunk(b)) else { return a.len().cmp(&b.len()) };
        let both_digits = x.as_bytes()[0].is_ascii_digit() && y.as_bytes()[0].is_ascii_digit();
        let order = if both_digits {
            let [left, right] = [x, y].map(|digits| digits.trim_start_matches('0'));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right)).then_with(|| x.len().cmp(&y.len()))
        } else {
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (&a[x.len()..], &b[y.len()..]);
    }
}

/// The leading run of digits, or of other characters.
fn chunk(text: &str) -> Option<&str> {
    let is_digit = text.as_bytes().first()?.is_ascii_digit();
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() == is_digit).count();
    Some(&text[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_compare_as_numbers() {
        for (less, more) in [("node2", "node10"), ("", "a"), ("a", "b"), ("a1b", "a1c"), ("v1.9", "v1.10"), ("1", "01")]
        {
            assert_eq!(natural(less, more), Ordering::Less, "{less} {more}");
            assert_eq!(natural(more, less), Ordering::Greater, "{more} {less}");
        }
    }
}
