//! Aggregations that give one series for each group: computed group by group, over the columns.

use std::sync::Arc;

use super::over_time::{histogram_mean, histogram_sum, quantile_of};
use super::signature::{Counted, Numbering};
use super::{EvalError, Evaluator, metric_name};
use crate::promql::ast::{Aggregate, AggregateOp, Position};
use crate::promql::histogram::{FloatHistogram, HistogramOperation, HistogramSum, ResetHint};
use crate::promql::kahan::{Kahan, Mean};
use crate::promql::value::{Cell, Grid, Matrix, Value};
use crate::types::{Labels, format_value};

/// Which rows make up which group, in the order of first appearance.
pub(super) struct Groups {
    pub rows: Vec<Vec<usize>>,
}

impl Groups {
    pub fn of(aggregate: &Aggregate, matrix: &Matrix) -> Self {
        let mut rows: Vec<Vec<usize>> = Vec::new();
        if aggregate.labels.is_empty() && !aggregate.without {
            if !matrix.is_empty() {
                rows.push((0..matrix.len()).collect());
            }
            return Self { rows };
        }
        let counted = counted(aggregate);
        let mut numbering = Numbering::default();
        for (row, head) in matrix.rows.iter().enumerate() {
            let group = numbering.number(&head.labels, counted);
            if group == rows.len() {
                rows.push(Vec::new());
            }
            rows[group].push(row);
        }
        Self { rows }
    }
}

fn counted(aggregate: &Aggregate) -> Counted<'_> {
    if aggregate.without { Counted::Without(&aggregate.labels) } else { Counted::Only(&aggregate.labels) }
}

impl Evaluator<'_> {
    pub(super) fn eval_aggregate(
        &mut self,
        aggregate: &Aggregate,
        at: Position,
        grid: &Grid,
    ) -> Result<Matrix, EvalError> {
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(aggregate, grid);
        }
        let param = aggregate.param.as_ref().map(|param| self.eval(param, grid)).transpose()?;
        let matrix = self.eval(&aggregate.expr, grid)?;
        let params: Vec<f64> = param.map_or_else(Vec::new, |p| (0..grid.steps).map(|step| p.number(step)).collect());
        let param_at = aggregate.param.as_ref().map_or(at, |param| param.at);
        match aggregate.op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                self.pick(aggregate, at, param_at, &matrix, &params)
            }
            AggregateOp::Quantile => {
                self.check_quantiles(&params, param_at);
                self.by_group(aggregate, &matrix, &params)
            }
            _ => self.by_group(aggregate, &matrix, &params),
        }
    }

    fn check_quantiles(&mut self, params: &[f64], at: Position) {
        let extremes = Extremes::of(params);
        if extremes.has_nan {
            self.notes.invalid_quantile(at, f64::NAN);
        }
        if extremes.max > 1.0 {
            self.notes.invalid_quantile(at, extremes.max);
        }
        if extremes.min < 0.0 {
            self.notes.invalid_quantile(at, extremes.min);
        }
    }

    fn by_group(&mut self, aggregate: &Aggregate, matrix: &Matrix, params: &[f64]) -> Result<Matrix, EvalError> {
        let groups = Groups::of(aggregate, matrix);
        let counted = counted(aggregate);
        let mut result = Matrix::with_rows(matrix.steps, groups.rows.len());
        let mut column = Column::new(aggregate.op, matrix.steps);
        for rows in &groups.rows {
            self.check_stop()?;
            let labels = Arc::new(counted.of(&matrix.rows[rows[0]].labels));
            let out = result.push(labels, false);
            match aggregate.op {
                AggregateOp::Quantile => self.quantile_of_group(aggregate, matrix, rows, params, &mut result, out),
                op => {
                    column.clear();
                    for &row in rows {
                        column.add_row(matrix, row);
                    }
                    self.finish_column(&column, op, aggregate, matrix, rows, &mut result, out);
                }
            }
            let is_dropped = |row: &&usize| {
                matrix.rows[**row].drop_name && (0..matrix.steps).any(|step| matrix.get(**row, step).is_some())
            };
            result.rows[out].drop_name = rows.iter().any(|row| is_dropped(&row));
            result.pop_if_empty();
        }
        Ok(result)
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one loop, written out")]
    fn finish_column(
        &mut self,
        column: &Column,
        op: AggregateOp,
        aggregate: &Aggregate,
        matrix: &Matrix,
        rows: &[usize],
        result: &mut Matrix,
        out: usize,
    ) {
        let at = aggregate.expr.at;
        for step in 0..matrix.steps {
            let (floats, histograms) = (column.floats[step] > 0, column.histograms[step] > 0);
            let value = match op {
                AggregateOp::Sum | AggregateOp::Avg if floats && histograms => {
                    self.notes.mixed_in_aggregation(at);
                    continue;
                }
                AggregateOp::Sum | AggregateOp::Avg if histograms => {
                    self.merged_histogram(op, aggregate, matrix, rows, step)
                }
                AggregateOp::Count | AggregateOp::Group if floats || histograms => {
                    Some(Value::Float(column.value(step)))
                }
                _ => {
                    if histograms && !matches!(op, AggregateOp::Count | AggregateOp::Group) {
                        self.notes.histogram_ignored_in_aggregation(at, op.name());
                    }
                    floats.then(|| Value::Float(column.value(step)))
                }
            };
            if let Some(value) = value {
                result.set(out, step, value);
            }
        }
    }

    fn merged_histogram(
        &mut self,
        op: AggregateOp,
        aggregate: &Aggregate,
        matrix: &Matrix,
        rows: &[usize],
        step: usize,
    ) -> Option<Value> {
        let at = aggregate.expr.at;
        let cells = rows.iter().filter_map(|row| match matrix.get(*row, step) {
            Some(Cell::Histogram(h)) => Some((*row, &**h)),
            _ => None,
        });
        let (own_rows, all): (Vec<usize>, Vec<&FloatHistogram>) = cells.unzip();
        let hinted = |hint: ResetHint| all.iter().any(|h| h.reset_hint == hint);
        if hinted(ResetHint::Reset) && hinted(ResetHint::NotReset) {
            self.notes.resets_collide(at, HistogramOperation::Aggregation);
        }
        let merge = if op == AggregateOp::Sum { histogram_sum } else { histogram_mean };
        if let Ok((histogram, reconciled)) = merge(&all) {
            if reconciled {
                self.notes.bounds_reconciled(at, HistogramOperation::Aggregation);
            }
            return Some(Value::Histogram(Arc::new(histogram)));
        }
        // The note names the series that does not fit.
        let mut sum = HistogramSum::new(all[0]);
        for (row, histogram) in own_rows.iter().zip(&all).skip(1) {
            match sum.add(histogram) {
                Ok(merge) if merge.bounds_reconciled => {
                    self.notes.bounds_reconciled(at, HistogramOperation::Aggregation);
                }
                Ok(_) => {}
                Err(_) => {
                    self.notes.mixed_exponential_custom(at, metric_name(&matrix.rows[*row].labels));
                    break;
                }
            }
        }
        None
    }

    fn quantile_of_group(
        &mut self,
        aggregate: &Aggregate,
        matrix: &Matrix,
        rows: &[usize],
        params: &[f64],
        result: &mut Matrix,
        out: usize,
    ) {
        let mut values = Vec::with_capacity(rows.len());
        for step in 0..matrix.steps {
            values.clear();
            for row in rows {
                match matrix.get(*row, step) {
                    Some(Cell::Float(value)) => values.push(value),
                    Some(Cell::Histogram(_)) => {
                        self.notes.histogram_ignored_in_aggregation(aggregate.expr.at, aggregate.op.name());
                    }
                    None => {}
                }
            }
            if !values.is_empty() {
                let q = params.get(step).copied().unwrap_or(f64::NAN);
                result.set(out, step, Value::Float(quantile_of(q, &mut values)));
            }
        }
    }

    /// One series for each value in each group.
    fn count_values(&mut self, aggregate: &Aggregate, grid: &Grid) -> Result<Matrix, EvalError> {
        let Some(crate::promql::ast::ExprKind::String(label)) =
            aggregate.param.as_ref().map(|param| &param.without_parens().kind)
        else {
            return Err(EvalError::Execution("count_values needs a label name".to_owned()));
        };
        if !label.is_utf8 || label.value.is_empty() {
            let written = label.source.as_deref().unwrap_or("\"\"");
            return Err(EvalError::Execution(format!("invalid label name {written}")));
        }
        let matrix = self.eval(&aggregate.expr, grid)?;
        let mut names = aggregate.labels.clone();
        if !aggregate.without {
            names.push(label.value.as_ref().into());
            names.sort_unstable();
            names.dedup();
        }
        let counted = if aggregate.without { Counted::Without(&names) } else { Counted::Only(&names) };
        let mut result = Matrix::new(grid.steps);
        let mut numbering = Numbering::default();
        for (row, head) in matrix.rows.iter().enumerate() {
            self.check_stop()?;
            let mut last: Option<(u64, usize)> = None;
            for step in 0..grid.steps {
                let (bits, text) = match matrix.get(row, step) {
                    Some(Cell::Float(value)) => (value.to_bits(), None),
                    Some(Cell::Histogram(histogram)) => (0, Some(histogram.to_string())),
                    None => continue,
                };
                let out = match last {
                    Some((before, out)) if before == bits && text.is_none() => out,
                    _ => {
                        let is_float = text.is_none();
                        let text = text.unwrap_or_else(|| plain(f64::from_bits(bits)));
                        let labels: Labels = (*head.labels).clone().with(&label.value, &text);
                        let out = numbering.number(&labels, counted);
                        if out == result.len() {
                            self.charge(grid.steps)?;
                            result.push(Arc::new(counted.of(&labels)), false);
                        }
                        last = is_float.then_some((bits, out));
                        out
                    }
                };
                let before = match result.get(out, step) {
                    Some(Cell::Float(count)) => count,
                    _ => 0.0,
                };
                result.set(out, step, Value::Float(before + 1.0));
            }
        }
        Ok(result)
    }
}

/// Go's `FormatFloat(v, 'f', -1, 64)`: never an exponent.
fn plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { format_value(value) }
}

/// The least and the largest parameter.
pub(super) struct Extremes {
    pub min: f64,
    pub max: f64,
    pub has_nan: bool,
}

impl Extremes {
    pub fn of(params: &[f64]) -> Self {
        // A NaN is passed over.
        let min = params.iter().copied().fold(f64::NAN, f64::min);
        let max = params.iter().copied().fold(f64::NAN, f64::max);
        Self { min, max, has_nan: params.iter().any(|p| p.is_nan()) }
    }
}

/// One group's running values, step by step.
struct Column {
    op: AggregateOp,
    floats: Vec<u32>,
    histograms: Vec<u32>,
    values: Vec<Running>,
}

/// The state of one group at one step.
#[derive(Clone, Copy)]
enum Running {
    Sum(Kahan),
    Mean(Mean),
    Best(f64),
    /// Welford's: mean and sum of squared distances.
    Spread(f64, f64),
}

impl Column {
    fn new(op: AggregateOp, steps: usize) -> Self {
        let initial = match op {
            AggregateOp::Avg => Running::Mean(Mean::new(0.0)),
            AggregateOp::Min | AggregateOp::Max => Running::Best(f64::NAN),
            AggregateOp::Stddev | AggregateOp::Stdvar => Running::Spread(0.0, 0.0),
            _ => Running::Sum(Kahan::default()),
        };
        Self { op, floats: vec![0; steps], histograms: vec![0; steps], values: vec![initial; steps] }
    }

    fn clear(&mut self) {
        self.floats.fill(0);
        self.histograms.fill(0);
    }

    fn add_row(&mut self, matrix: &Matrix, row: usize) {
        for step in 0..matrix.steps {
            match matrix.get(row, step) {
                Some(Cell::Float(value)) => self.add(step, value),
                Some(Cell::Histogram(_)) => self.histograms[step] += 1,
                None => {}
            }
        }
    }

    #[inline]
    fn add(&mut self, step: usize, value: f64) {
        let is_first = self.floats[step] == 0;
        self.floats[step] += 1;
        let running = &mut self.values[step];
        match self.op {
            AggregateOp::Sum => match running {
                Running::Sum(sum) if !is_first => sum.add(value),
                _ => *running = Running::Sum(Kahan::new(value)),
            },
            AggregateOp::Avg => match running {
                Running::Mean(mean) if !is_first => mean.add(value),
                _ => *running = Running::Mean(Mean::new(value)),
            },
            AggregateOp::Min | AggregateOp::Max => {
                let wins = |best: f64| if self.op == AggregateOp::Max { value > best } else { value < best };
                match running {
                    Running::Best(best) if !is_first && !best.is_nan() && !wins(*best) => {}
                    _ => *running = Running::Best(value),
                }
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => match running {
                Running::Spread(mean, squares) if !is_first => {
                    let delta = value - *mean;
                    *mean += delta / f64::from(self.floats[step]);
                    *squares += delta * (value - *mean);
                }
                _ => *running = Running::Spread(value, if value.is_finite() { 0.0 } else { f64::NAN }),
            },
            _ => {}
        }
    }

    fn value(&self, step: usize) -> f64 {
        let floats = f64::from(self.floats[step]);
        match (self.op, self.values[step]) {
            (AggregateOp::Group, _) => 1.0,
            (AggregateOp::Count, _) => floats + f64::from(self.histograms[step]),
            (AggregateOp::Stddev, Running::Spread(_, squares)) => (squares / floats).sqrt(),
            (_, Running::Spread(_, squares)) => squares / floats,
            (_, Running::Sum(sum)) => sum.sum + sum.error,
            (_, Running::Mean(mean)) => mean.value(),
            (_, Running::Best(best)) => best,
        }
    }
}
