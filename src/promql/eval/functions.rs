//! Function calls: those that change each value by itself, and the way to all others.

use super::range::{absent, kernel};
use super::selector::Wanted;
use super::{EvalError, Evaluator, dates};
use crate::promql::ast::{Call, ExprKind, Position};
use crate::promql::function::FunctionId;
use crate::promql::go;
use crate::promql::value::{Cell, Grid, Matrix, Value};

impl Evaluator<'_> {
    pub(super) fn eval_call(&mut self, call: &Call, at: Position, grid: &Grid) -> Result<Matrix, EvalError> {
        use FunctionId as F;
        let id = call.function.id;
        if let Some(kernel) = kernel(id) {
            return self.eval_range_call(call, kernel, grid);
        }
        if let Some(f) = number_function(id) {
            return Ok(self.floats_of_first(call, grid)?.mapped(f));
        }
        if let Some(part) = dates::part(id) {
            return self.eval_date(call, part, grid);
        }
        match id {
            F::LabelReplace => self.label_replace(call, grid),
            F::LabelJoin => self.label_join(call, grid),
            F::Info => self.eval_info(call, grid),
            F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => self.eval_sort(call, at, grid),
            F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => self.eval_histogram(call, grid),
            F::HistogramAvg | F::HistogramCount | F::HistogramSum | F::HistogramStddev | F::HistogramStdvar => {
                self.histogram_statistic(call, grid)
            }
            F::Timestamp | F::StartTimestamp => self.eval_timestamp(call, grid),
            F::Clamp | F::ClampMin | F::ClampMax | F::Round => self.eval_bounded(call, grid),
            F::Absent => {
                let matrix = self.eval(&call.args[0], grid)?;
                Ok(absent(&matrix, &call.args[0]).named())
            }
            F::Vector => self.eval(&call.args[0], grid),
            _ => self.eval_scalar_call(call, grid),
        }
    }

    fn eval_scalar_call(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        use FunctionId as F;
        let steps = grid.steps;
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let (start, end) = (self.query_start, self.query_end);
        Ok(match call.function.id {
            F::Time => Matrix::scalar(steps, |step| seconds(grid.time(step))),
            F::Pi => Matrix::scalar(steps, |_| std::f64::consts::PI),
            F::Start => Matrix::scalar(steps, |_| seconds(start)),
            F::End => Matrix::scalar(steps, |_| seconds(end)),
            F::Range => Matrix::scalar(steps, |_| seconds(end.saturating_sub(start))),
            F::Step => {
                let step = if start == end { 0.0 } else { self.query_step.as_secs_f64() };
                Matrix::scalar(steps, |_| step)
            }
            F::Scalar => {
                let matrix = self.eval(&call.args[0], grid)?;
                Matrix::scalar(steps, |step| {
                    let mut floats = (0..matrix.len()).filter_map(|row| match matrix.get(row, step) {
                        Some(Cell::Float(value)) => Some(value),
                        _ => None,
                    });
                    match (floats.next(), floats.next()) {
                        (Some(value), None) => value,
                        _ => f64::NAN,
                    }
                })
            }
            F::MinOf | F::MaxOf => {
                let (a, b) = (self.eval(&call.args[0], grid)?, self.eval(&call.args[1], grid)?);
                let least = call.function.id == F::MinOf;
                // Unlike Rust's, Go's minimum with a NaN is NaN.
                Matrix::scalar(steps, |step| match (a.number(step), b.number(step)) {
                    (x, y) if x.is_nan() || y.is_nan() => f64::NAN,
                    (x, y) => {
                        if least {
                            x.min(y)
                        } else {
                            x.max(y)
                        }
                    }
                })
            }
            _ => return Err(EvalError::Execution(format!("function {:?} is not supported", call.function.name))),
        })
    }

    /// The first argument without its histograms, its names to be dropped.
    pub(super) fn floats_of_first(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        let mut matrix = self.eval(&call.args[0], grid)?;
        if matrix.has_histograms() {
            matrix.drop_histograms();
            matrix.retain_filled();
        }
        for row in &mut matrix.rows {
            row.drop_name = true;
        }
        Ok(matrix)
    }

    fn eval_bounded(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        use FunctionId as F;
        let mut matrix = self.floats_of_first(call, grid)?;
        let scalars = call.args[1..].iter().map(|arg| self.eval(arg, grid)).collect::<Result<Vec<_>, _>>()?;
        let steps = grid.steps;
        let scalar = |i: usize, cell: usize| scalars.get(i).map(|m: &Matrix| m.number(cell % steps));
        let id = call.function.id;
        if id == F::Round {
            matrix.map_cells(|cell, value| {
                // The inverse costs less accuracy than a division.
                let inverse = 1.0 / scalar(0, cell).unwrap_or(1.0);
                crate::promql::value::present((value * inverse + 0.5).floor() / inverse)
            });
            return Ok(matrix);
        }
        matrix.map_cells(|cell, value| {
            let (least, most) = match id {
                F::Clamp => (scalar(0, cell), scalar(1, cell)),
                F::ClampMin => (scalar(0, cell), None),
                _ => (None, scalar(0, cell)),
            };
            let (least, most) = (least.unwrap_or(f64::NEG_INFINITY), most.unwrap_or(f64::INFINITY));
            if most < least {
                return crate::promql::storage::STALE;
            }
            go::max(least, go::min(most, value))
        });
        matrix.retain_filled();
        Ok(matrix)
    }

    fn eval_timestamp(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        let wants_start = call.function.id == FunctionId::StartTimestamp;
        let arg = call.args[0].without_parens();
        let mut matrix = match &arg.kind {
            ExprKind::Vector(selector) => {
                let wanted = if wants_start { Wanted::Start } else { Wanted::Time };
                self.eval_samples(selector, grid, wanted)?
            }
            // A computed sample has no start, and the time of its step.
            _ if wants_start => {
                self.eval(arg, grid)?;
                Matrix::new(grid.steps)
            }
            _ => {
                let mut matrix = self.eval(arg, grid)?;
                for row in 0..matrix.len() {
                    for step in 0..grid.steps {
                        if matrix.get(row, step).is_some() {
                            matrix.clear(row, step);
                            matrix.set(row, step, Value::Float(grid.time(step) as f64 / 1000.0));
                        }
                    }
                }
                matrix
            }
        };
        for row in &mut matrix.rows {
            row.drop_name = true;
        }
        Ok(matrix)
    }

    fn eval_date(&mut self, call: &Call, part: dates::Part, grid: &Grid) -> Result<Matrix, EvalError> {
        if call.args.is_empty() {
            return Ok(Matrix::scalar(grid.steps, |step| part(grid.time(step).div_euclid(1000))));
        }
        Ok(self.floats_of_first(call, grid)?.mapped(move |value| part(dates::seconds(value))))
    }
}

impl Matrix {
    fn mapped(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.map_floats(f);
        self
    }

    /// Keeps the names.
    fn named(mut self) -> Self {
        for row in &mut self.rows {
            row.drop_name = false;
        }
        self
    }
}

fn number_function(id: FunctionId) -> Option<fn(f64) -> f64> {
    use FunctionId as F;
    Some(match id {
        F::Abs => f64::abs,
        F::Ceil => f64::ceil,
        F::Floor => f64::floor,
        F::Exp => f64::exp,
        F::Sqrt => f64::sqrt,
        F::Ln => f64::ln,
        F::Log2 => f64::log2,
        F::Log10 => f64::log10,
        F::Sin => f64::sin,
        F::Cos => f64::cos,
        F::Tan => f64::tan,
        F::Asin => f64::asin,
        F::Acos => f64::acos,
        F::Atan => f64::atan,
        F::Sinh => f64::sinh,
        F::Cosh => f64::cosh,
        F::Tanh => f64::tanh,
        F::Asinh => f64::asinh,
        F::Acosh => f64::acosh,
        F::Atanh => f64::atanh,
        F::Rad => |v| v * std::f64::consts::PI / 180.0,
        F::Deg => |v| v * 180.0 / std::f64::consts::PI,
        F::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return None,
    })
}
