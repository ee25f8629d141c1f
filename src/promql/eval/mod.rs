//! Evaluation: every node gives a [`Matrix`] over the whole grid of steps at once.

mod aggregate;
mod arithmetic;
mod binary;
mod classic;
mod combine;
mod dates;
mod duration;
mod extended;
mod functions;
mod info;
mod labels;
mod over_time;
mod pick;
mod range;
mod rate;
mod resets;
mod selector;
mod signature;
mod sort;

use std::sync::Arc;

use crate::promql::Query;
use crate::promql::annotation::Annotations;
use crate::promql::ast::{Expr, ExprKind, Sign, Type};
use crate::promql::storage::{Storage, StorageError};
use crate::promql::value::{Cell, Data, Grid, Matrix, Output, Series, VectorSample};
use crate::types::{Labels, METRIC_NAME, Span, Timestamp};

/// What an evaluation runs on and under.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// Where the samples come from.
    pub storage: &'a dyn Storage,
    /// How far back a sample still counts as current: Prometheus' default is 5 m.
    pub lookback: Span,
    /// The step of a subquery that names none: Prometheus takes the evaluation interval, 1 m.
    pub subquery_step: Span,
    /// What it may use.
    pub limits: EvalLimits,
    /// Asked often; evaluation ends with [`EvalError::Stopped`] once it says yes.
    pub should_stop: &'a dyn Fn() -> bool,
}

/// What an evaluation may use.
#[derive(Clone, Copy, Debug)]
pub struct EvalLimits {
    /// Samples in memory at once: a cell of series by steps is one, a histogram as many as it is large.
    pub samples: usize,
}

impl Default for EvalLimits {
    fn default() -> Self {
        Self { samples: 50_000_000 }
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// More samples than allowed.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// The callback asked to stop: a deadline, or nobody waits any more.
    #[error("query stopped in expression evaluation")]
    Stopped,
    /// The storage failed.
    #[error("expanding series: {0}")]
    Storage(#[from] StorageError),
    /// The query cannot be evaluated on this data, in Prometheus' words.
    #[error("{0}")]
    Execution(String),
}

/// Evaluates at one moment.
///
/// # Errors
/// See [`EvalError`].
pub fn instant(query: &Query, at: Timestamp, evaluation: &Evaluation<'_>) -> Result<Output, EvalError> {
    let grid = Grid { start: at.0, interval: 1, steps: 1 };
    let mut evaluator = Evaluator::new(evaluation, grid, Span::ZERO);
    let data = evaluator.instant(&query.expr, &grid)?;
    Ok(evaluator.output(data, &query.text))
}

/// Evaluates at `start`, and every `step` after it until `end`.
///
/// # Errors
/// See [`EvalError`]; also when the query is a range vector or a string, and when the step is not positive.
pub fn range(
    query: &Query,
    start: Timestamp,
    end: Timestamp,
    step: Span,
    evaluation: &Evaluation<'_>,
) -> Result<Output, EvalError> {
    let value_type = query.value_type();
    if !matches!(value_type, Type::Scalar | Type::Vector) {
        let found = value_type.documented();
        let text = format!("invalid expression type {found:?} for range query, must be Scalar or instant Vector");
        return Err(EvalError::Execution(text));
    }
    if step.0 <= 0 {
        return Err(EvalError::Execution("zero or negative query resolution step widths are not accepted".to_owned()));
    }
    let span = end.0.saturating_sub(start.0);
    let steps = if span < 0 { 0 } else { usize::try_from(span / step.0).unwrap_or(usize::MAX).saturating_add(1) };
    let grid = Grid { start: start.0, interval: step.0, steps };
    let mut evaluator = Evaluator::new(evaluation, grid, step);
    evaluator.query_end = end.0;
    let matrix = evaluator.eval(&query.expr, &grid)?;
    let matrix = Evaluator::without_dropped_names(matrix)?;
    let data = Data::Matrix(sorted_series(&matrix, &grid));
    Ok(evaluator.output(data, &query.text))
}

/// The state of one evaluation.
pub(crate) struct Evaluator<'a> {
    setup: &'a Evaluation<'a>,
    query_start: i64,
    query_end: i64,
    /// Zero in an instant query.
    query_step: Span,
    notes: Annotations,
    /// Samples held by the matrices now alive.
    live_samples: usize,
}

impl<'a> Evaluator<'a> {
    fn new(setup: &'a Evaluation<'a>, grid: Grid, query_step: Span) -> Self {
        let notes = Annotations::default();
        Self { setup, query_start: grid.start, query_end: grid.end(), query_step, notes, live_samples: 0 }
    }

    fn output(&self, data: Data, query: &str) -> Output {
        let (warnings, infos) = self.notes.texts(query);
        Output { data, warnings, infos }
    }

    fn instant(&mut self, expr: &Expr, grid: &Grid) -> Result<Data, EvalError> {
        let at = Timestamp(grid.start);
        match &expr.without_parens().kind {
            ExprKind::String(text) => return Ok(Data::String(at, Arc::clone(&text.value))),
            ExprKind::Matrix(selector, extent) => {
                return Ok(Data::Matrix(self.raw_samples(selector, extent, grid)?));
            }
            ExprKind::Subquery(subquery) => {
                let grid = self.subquery_grid(subquery, grid)?;
                let matrix = self.eval(&subquery.expr, &grid)?;
                let matrix = Self::without_dropped_names(matrix)?;
                return Ok(Data::Matrix(sorted_series(&matrix, &grid)));
            }
            _ => {}
        }
        let matrix = self.eval(expr, grid)?;
        if expr.value_type() == Type::Scalar {
            return Ok(Data::Scalar(at, matrix.number(0)));
        }
        let matrix = Self::without_dropped_names(matrix)?;
        let samples = matrix.rows.iter().enumerate().filter_map(|(row, series)| {
            let value = matrix.get(row, 0)?.to_value();
            Some(VectorSample { labels: Arc::clone(&series.labels), at, value })
        });
        Ok(Data::Vector(samples.collect()))
    }

    /// Evaluates an expression of type scalar or vector on a grid.
    pub(crate) fn eval(&mut self, expr: &Expr, grid: &Grid) -> Result<Matrix, EvalError> {
        self.check_stop()?;
        if grid.steps == 0 {
            return Ok(Matrix::new(0));
        }
        let before = self.live_samples;
        // Even one row may be too much.
        self.charge(grid.steps)?;
        let matrix = if expr.constant && grid.steps > 1 {
            let once = self.eval_node(expr, &grid.first())?;
            self.charge(once.len().saturating_mul(grid.steps))?;
            once.repeated(grid.steps)
        } else {
            self.eval_node(expr, grid)?
        };
        // What was alive in between is gone; what remains is the result.
        self.live_samples = before;
        self.charge(matrix.cells())?;
        Ok(matrix)
    }

    fn eval_node(&mut self, expr: &Expr, grid: &Grid) -> Result<Matrix, EvalError> {
        match &expr.kind {
            ExprKind::Number(number) => Ok(Matrix::scalar(grid.steps, |_| number.value)),
            ExprKind::Paren(inner) | ExprKind::Unary(Sign::Plus, inner) => self.eval(inner, grid),
            ExprKind::Unary(Sign::Minus, inner) => {
                let is_scalar = inner.value_type() == Type::Scalar;
                let mut matrix = self.eval(inner, grid)?;
                matrix.map_floats(|v| -v);
                matrix.map_histograms(|h| Some(h.clone().scaled(-1.0)));
                for row in &mut matrix.rows {
                    row.drop_name |= !is_scalar;
                }
                Ok(matrix)
            }
            ExprKind::Vector(selector) => self.eval_selector(selector, expr.at, grid),
            ExprKind::Call(call) => self.eval_call(call, expr.at, grid),
            ExprKind::Aggregate(aggregate) => self.eval_aggregate(aggregate, expr.at, grid),
            ExprKind::Binary(binary) => self.eval_binary(binary, expr.at, grid),
            ExprKind::String(_) | ExprKind::Matrix(..) | ExprKind::Subquery(_) => {
                Err(EvalError::Execution(format!("unexpected {} in expression", expr.value_type().documented())))
            }
        }
    }

    /// Counts samples against the limit.
    fn charge(&mut self, samples: usize) -> Result<(), EvalError> {
        self.live_samples = self.live_samples.saturating_add(samples);
        if self.live_samples > self.setup.limits.samples { Err(EvalError::TooManySamples) } else { Ok(()) }
    }

    fn check_stop(&self) -> Result<(), EvalError> {
        if (self.setup.should_stop)() { Err(EvalError::Stopped) } else { Ok(()) }
    }

    /// Carries out the dropping of names, and joins the series that became one by it.
    fn without_dropped_names(mut matrix: Matrix) -> Result<Matrix, EvalError> {
        for row in &mut matrix.rows {
            if row.drop_name && METADATA_LABELS.iter().any(|name| row.labels.get(name).is_some()) {
                row.labels = Arc::new(without_metadata(&row.labels));
            }
        }
        Self::joined(matrix)
    }

    /// Series of the same labels become one.
    ///
    /// # Errors
    /// When two of them have a sample at the same moment.
    fn joined(matrix: Matrix) -> Result<Matrix, EvalError> {
        let labels: Vec<&Labels> = matrix.rows.iter().map(|row| &*row.labels).collect();
        let Some(targets) = signature::duplicates(&labels) else {
            return Ok(matrix);
        };
        let mut joined = Matrix::with_rows(matrix.steps, matrix.len());
        let mut place: Vec<usize> = Vec::new();
        for (row, &target) in targets.iter().enumerate() {
            if target == place.len() {
                place.push(joined.push(Arc::clone(&matrix.rows[row].labels), matrix.rows[row].drop_name));
            }
            for step in 0..matrix.steps {
                let Some(cell) = matrix.get(row, step) else { continue };
                if joined.get(place[target], step).is_some() {
                    return Err(same_labelset());
                }
                joined.set(place[target], step, cell.to_value());
            }
        }
        Ok(joined)
    }
}

fn same_labelset() -> EvalError {
    EvalError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// The labels that say what a metric is, and no longer hold for a quantity derived from it.
const METADATA_LABELS: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

fn without_metadata(labels: &Labels) -> Labels {
    METADATA_LABELS.iter().fold(labels.clone(), |labels, name| labels.with(name, ""))
}

fn metric_name(labels: &Labels) -> &str {
    labels.get(METRIC_NAME).unwrap_or("")
}

fn sorted_series(matrix: &Matrix, grid: &Grid) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::with_capacity(matrix.len());
    for (row, head) in matrix.rows.iter().enumerate() {
        let mut one = Series { labels: Arc::clone(&head.labels), ..Series::default() };
        for step in 0..matrix.steps {
            let at = Timestamp(grid.time(step));
            match matrix.get(row, step) {
                Some(Cell::Float(value)) => one.floats.push((at, value)),
                Some(Cell::Histogram(histogram)) => one.histograms.push((at, Arc::clone(histogram))),
                None => {}
            }
        }
        if !one.floats.is_empty() || !one.histograms.is_empty() {
            series.push(one);
        }
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}
