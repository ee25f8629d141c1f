//! Functions of range vectors: a window over each series' samples that moves from step to step, without copying.

use std::borrow::Cow;
use std::sync::Arc;

use super::selector::{Lookup, first_after};
use super::{EvalError, Evaluator, metric_name, over_time, rate, resets};
use crate::promql::annotation::Annotations;
use crate::promql::ast::{Call, Expr, ExprKind, Extension, Position, VectorSelector};
use crate::promql::function::FunctionId;
use crate::promql::histogram::ResetHint;
use crate::promql::storage::{FloatSample, HistogramSample, SeriesView, is_stale};
use crate::promql::value::{Cell, Grid, Matrix, Value};
use crate::types::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};

/// The samples of one series that a function sees at one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'w> {
    /// Without stale markers. `anchored` and `smoothed` windows reach beyond the range.
    pub floats: &'w [FloatSample],
    /// Parallel to the floats, or empty.
    pub float_starts: &'w [Timestamp],
    pub histograms: &'w [HistogramSample],
    /// The range, start exclusive, in milliseconds.
    pub start: i64,
    pub end: i64,
    /// The step's time.
    pub time: i64,
}

/// What a function knows besides the samples.
pub(super) struct Context<'c> {
    pub notes: &'c mut Annotations,
    /// The series' metric name.
    pub metric: &'c str,
    /// Where the first argument stands.
    pub at: Position,
    /// The scalar arguments at this step.
    pub scalars: [f64; 2],
    pub extension: Option<Extension>,
    pub range_seconds: f64,
    /// Set where the arguments are wrong.
    pub failure: Option<String>,
}

pub(super) type Kernel = fn(&mut Context<'_>, &Window<'_>) -> Option<Value>;

/// One series' samples without stale markers.
struct Samples<'s> {
    labels: &'s Arc<Labels>,
    drop_name: bool,
    floats: Cow<'s, [FloatSample]>,
    float_starts: Cow<'s, [Timestamp]>,
    histograms: Cow<'s, [HistogramSample]>,
}

impl<'s> Samples<'s> {
    fn of(series: &SeriesView<'s>) -> Self {
        let mut samples = Self {
            labels: series.labels,
            drop_name: false,
            floats: Cow::Borrowed(series.floats),
            float_starts: Cow::Borrowed(series.float_starts),
            histograms: Cow::Borrowed(series.histograms),
        };
        if series.floats.iter().any(|s| is_stale(s.value)) {
            let live = |i: usize| !is_stale(series.floats[i].value);
            samples.floats = (0..series.floats.len()).filter(|i| live(*i)).map(|i| series.floats[i]).collect();
            samples.float_starts = (0..series.float_starts.len().min(series.floats.len()))
                .filter(|i| live(*i))
                .map(|i| series.float_starts[i])
                .collect();
        }
        if series.histograms.iter().any(|s| is_stale(s.histogram.sum)) {
            samples.histograms = series.histograms.iter().filter(|s| !is_stale(s.histogram.sum)).cloned().collect();
        }
        samples
    }
}

/// How the windows lie.
#[derive(Clone, Copy, Debug)]
struct Windows {
    lookup: Lookup,
    range: i64,
    extension: Option<Extension>,
    lookback: i64,
}

impl Windows {
    /// How far beyond the range a window reaches.
    fn reach(&self) -> (i64, i64) {
        match self.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (self.lookback, 0),
            Some(Extension::Smoothed) => (self.lookback, self.lookback),
        }
    }

    fn selection(&self) -> (i64, i64) {
        let (before, after) = self.reach();
        let first = self.lookup.first().saturating_sub(self.range).saturating_sub(before);
        (first, self.lookup.last().saturating_add(after))
    }
}

impl Evaluator<'_> {
    pub(super) fn eval_range_call(&mut self, call: &Call, kernel: Kernel, grid: &Grid) -> Result<Matrix, EvalError> {
        let mut scalars = Vec::new();
        let mut source = None;
        for arg in &call.args {
            match &arg.without_parens().kind {
                ExprKind::Matrix(..) | ExprKind::Subquery(_) => source = Some(arg.without_parens()),
                _ => scalars.push(self.eval(arg, grid)?),
            }
        }
        let Some(source) = source else {
            return Err(EvalError::Execution(format!("{} needs a range vector", call.function.name)));
        };
        let row = RangeCall { call, kernel, scalars: &scalars, grid };
        let mut matrix = Matrix::new(grid.steps);
        match &source.kind {
            ExprKind::Matrix(selector, extent) => {
                check_extension(call, selector.extension)?;
                let windows = Windows {
                    lookup: self.lookup(selector, grid)?,
                    range: self.positive_millis(extent)?,
                    extension: selector.extension,
                    lookback: self.setup.lookback.0,
                };
                self.for_each_selected(selector, windows.selection(), |evaluator, series| {
                    row.push(evaluator, &mut matrix, &Samples::of(&series), &windows)
                })?;
            }
            ExprKind::Subquery(subquery) => {
                let inner_grid = self.subquery_grid(subquery, grid)?;
                let inner = self.eval(&subquery.expr, &inner_grid)?;
                let (offset, pin) = self.shift(&subquery.time)?;
                let windows = Windows {
                    lookup: Lookup { grid: *grid, offset, pin },
                    range: self.positive_millis(&subquery.range)?,
                    extension: None,
                    lookback: self.setup.lookback.0,
                };
                for (i, head) in inner.rows.iter().enumerate() {
                    self.check_stop()?;
                    let (floats, histograms) = samples_of_row(&inner, i, &inner_grid);
                    let samples = Samples {
                        labels: &head.labels,
                        drop_name: head.drop_name,
                        floats: Cow::Owned(floats),
                        float_starts: Cow::Borrowed(&[]),
                        histograms: Cow::Owned(histograms),
                    };
                    row.push(self, &mut matrix, &samples, &windows)?;
                }
            }
            _ => {}
        }
        if call.function.id == FunctionId::AbsentOverTime {
            return Ok(absent(&matrix, source));
        }
        Ok(matrix)
    }
}

/// A function call about to be applied to series.
struct RangeCall<'r> {
    call: &'r Call,
    kernel: Kernel,
    scalars: &'r [Matrix],
    grid: &'r Grid,
}

impl RangeCall<'_> {
    fn push(
        &self,
        evaluator: &mut Evaluator<'_>,
        matrix: &mut Matrix,
        samples: &Samples<'_>,
        windows: &Windows,
    ) -> Result<(), EvalError> {
        use FunctionId as F;
        evaluator.charge(self.grid.steps)?;
        let id = self.call.function.id;
        let keeps_name = matches!(id, F::LastOverTime | F::FirstOverTime);
        let drop_name = samples.drop_name || !keeps_name;
        let row = matrix.push(Arc::clone(samples.labels), drop_name);
        let is_rate = matches!(id, F::Rate | F::Increase);
        let metric = metric_name(samples.labels);
        let is_plain = samples.histograms.is_empty() && samples.float_starts.is_empty() && windows.extension.is_none();
        let mut float_rates = (is_rate && is_plain).then(|| rate::FloatRates::new(&samples.floats, id == F::Rate));
        let mut context = Context {
            notes: &mut evaluator.notes,
            metric,
            at: self.call.args.first().map_or(Position::default(), |arg| arg.at),
            scalars: [0.0; 2],
            extension: windows.extension,
            range_seconds: windows.range as f64 / 1000.0,
            failure: None,
        };
        let (before, after) = windows.reach();
        let (mut float_from, mut float_to, mut histogram_from, mut histogram_to) = (0, 0, 0, 0);
        let (mut size, mut has_floats) = (0, false);
        for step in 0..self.grid.steps {
            let end = windows.lookup.time(step);
            let start = end.saturating_sub(windows.range);
            let (from, to) = (start.saturating_sub(before), end.saturating_add(after));
            float_from = first_after(&samples.floats, float_from, from);
            float_to = first_after(&samples.floats, float_to.max(float_from), to);
            if let Some(rates) = &mut float_rates {
                if let Some(value) = rates.at(float_from..float_to, start, end, context.range_seconds) {
                    matrix.set(row, step, Value::Float(value));
                    has_floats = true;
                }
                continue;
            }
            histogram_from = first_after(&samples.histograms, histogram_from, from);
            histogram_to = first_after(&samples.histograms, histogram_to.max(histogram_from), to);
            if float_from == float_to && histogram_from == histogram_to {
                continue;
            }
            for (slot, scalar) in context.scalars.iter_mut().zip(self.scalars) {
                *slot = scalar.number(step);
            }
            let window = Window {
                floats: &samples.floats[float_from..float_to],
                float_starts: samples.float_starts.get(float_from..float_to).unwrap_or_default(),
                histograms: &samples.histograms[histogram_from..histogram_to],
                start,
                end,
                time: self.grid.time(step),
            };
            let value = (self.kernel)(&mut context, &window);
            if let Some(text) = context.failure {
                return Err(EvalError::Execution(text));
            }
            let Some(value) = value else { continue };
            match &value {
                Value::Float(_) => has_floats = true,
                Value::Histogram(histogram) => size += histogram.size_samples(),
            }
            matrix.set(row, step, value);
        }
        if is_rate && has_floats && !metric.is_empty() && !is_counter_name(metric) {
            context.notes.possible_non_counter(context.at, metric);
        }
        matrix.pop_if_empty();
        evaluator.charge(size)
    }
}

fn is_counter_name(metric: &str) -> bool {
    ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix))
}

/// A subquery's row as samples. Its steps may have jumped over a reset, or seen one twice: hints no longer hold.
fn samples_of_row(matrix: &Matrix, row: usize, grid: &Grid) -> (Vec<FloatSample>, Vec<HistogramSample>) {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for step in 0..matrix.steps {
        let at = Timestamp(grid.time(step));
        match matrix.get(row, step) {
            Some(Cell::Float(value)) => floats.push(FloatSample { at, value }),
            Some(Cell::Histogram(histogram)) => {
                let histogram = match histogram.reset_hint {
                    ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
                    ResetHint::Reset | ResetHint::NotReset => {
                        let mut unknown = (**histogram).clone();
                        unknown.reset_hint = ResetHint::Unknown;
                        Arc::new(unknown)
                    }
                };
                histograms.push(HistogramSample { at, start: None, histogram });
            }
            None => {}
        }
    }
    (floats, histograms)
}

fn check_extension(call: &Call, extension: Option<Extension>) -> Result<(), EvalError> {
    use FunctionId as F;
    let id = call.function.id;
    let (name, fits, allowed) = match extension {
        None => return Ok(()),
        Some(Extension::Anchored) => (
            "anchored",
            matches!(id, F::Changes | F::Delta | F::Increase | F::Rate | F::Resets),
            "changes, delta, increase, rate, resets",
        ),
        Some(Extension::Smoothed) => {
            ("smoothed", matches!(id, F::Delta | F::Increase | F::Rate), "delta, increase, rate")
        }
    };
    if fits {
        return Ok(());
    }
    let function = call.function.name;
    Err(EvalError::Execution(format!("{name} modifier can only be used with: {allowed} - not with {function}")))
}

/// 1 at each step at which no row has a sample.
pub(super) fn absent(matrix: &Matrix, source: &Expr) -> Matrix {
    let is_absent = |step: usize| (0..matrix.len()).all(|row| matrix.get(row, step).is_none());
    let mut result = Matrix::new(matrix.steps);
    let row = result.push(Arc::new(absent_labels(source)), true);
    for step in (0..matrix.steps).filter(|step| is_absent(*step)) {
        result.set(row, step, Value::Float(1.0));
    }
    result.pop_if_empty();
    result
}

/// The labels that the selector pins, each by one `=`.
fn absent_labels(source: &Expr) -> Labels {
    let (ExprKind::Vector(VectorSelector { matchers, .. }) | ExprKind::Matrix(VectorSelector { matchers, .. }, _)) =
        &source.without_parens().kind
    else {
        return Labels::new();
    };
    let mut labels = Labels::new();
    let mut seen: Vec<&str> = Vec::new();
    for Matcher { name, op } in matchers.iter().filter(|m| &*m.name != METRIC_NAME) {
        match op {
            MatchOp::Equal(value) if !seen.contains(&&**name) => {
                labels.set(name, value);
                seen.push(name);
            }
            _ => labels.set(name, ""),
        }
    }
    labels
}

/// The function over windows behind a name, if it is one.
pub(super) fn kernel(id: FunctionId) -> Option<Kernel> {
    use FunctionId as F;
    Some(match id {
        F::Rate => rate::rate,
        F::Increase => rate::increase,
        F::Delta => rate::delta,
        F::Irate => rate::irate,
        F::Idelta => rate::idelta,
        F::Resets => resets::resets,
        F::Changes => resets::changes,
        F::AbsentOverTime | F::PresentOverTime => |_, _| Some(Value::Float(1.0)),
        F::AvgOverTime => over_time::avg,
        F::CountOverTime => |_, window| Some(Value::Float((window.floats.len() + window.histograms.len()) as f64)),
        F::FirstOverTime => over_time::first,
        F::LastOverTime => over_time::last,
        F::MadOverTime => over_time::mad,
        F::MaxOverTime => over_time::max,
        F::MinOverTime => over_time::min,
        F::QuantileOverTime => over_time::quantile,
        F::StddevOverTime => over_time::stddev,
        F::StdvarOverTime => over_time::stdvar,
        F::SumOverTime => over_time::sum,
        F::TsOfFirstOverTime => over_time::time_of_first,
        F::TsOfLastOverTime => over_time::time_of_last,
        F::TsOfMaxOverTime => over_time::time_of_max,
        F::TsOfMinOverTime => over_time::time_of_min,
        F::Deriv => over_time::deriv,
        F::PredictLinear => over_time::predict_linear,
        F::DoubleExponentialSmoothing => over_time::double_exponential_smoothing,
        _ => return None,
    })
}
