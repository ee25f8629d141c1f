//! Instant vector selectors: at each step the newest sample that is not too old.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::extended::{interpolated, interpolated_histogram};
use super::{EvalError, Evaluator, metric_name};
use crate::promql::ast::{Extension, Extent, Position, Subquery, VectorSelector};
use crate::promql::histogram::ResetHint;
use crate::promql::storage::{FloatSample, HistogramSample, STALE, Selection, SeriesView, is_stale};
use crate::promql::value::{Grid, Matrix, Series, Value};
use crate::types::Timestamp;

/// What of a sample is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Value,
    /// Its time in seconds.
    Time,
    /// Its start timestamp in seconds; zero if not known.
    Start,
}

/// The moments a selector looks at: those of a grid, shifted, or one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    pub grid: Grid,
    pub offset: i64,
    pub pin: Option<i64>,
}

impl Lookup {
    pub fn time(&self, step: usize) -> i64 {
        self.pin.unwrap_or_else(|| self.grid.time(step)).saturating_sub(self.offset)
    }

    pub fn first(&self) -> i64 {
        self.time(0)
    }

    pub fn last(&self) -> i64 {
        self.time(self.grid.steps.saturating_sub(1))
    }
}

impl Evaluator<'_> {
    pub(super) fn lookup(&self, selector: &VectorSelector, grid: &Grid) -> Result<Lookup, EvalError> {
        let (offset, pin) = self.shift(&selector.time)?;
        Ok(Lookup { grid: *grid, offset, pin })
    }

    /// Shows `visit` every selected series with samples in `(after, until]`.
    pub(super) fn for_each_series(
        &mut self,
        matchers: &[crate::types::Matcher],
        (after, until): (i64, i64),
        mut visit: impl FnMut(&mut Self, SeriesView<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let storage = self.setup.storage;
        let mut result = Ok(());
        let selection = Selection { matchers, after: Timestamp(after), until: Timestamp(until) };
        storage.select(&selection, &mut |series| {
            result = self.check_stop().and_then(|()| visit(self, series));
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }

    /// The same for a selector, without the buckets it does not need.
    pub(super) fn for_each_selected(
        &mut self,
        selector: &VectorSelector,
        range: (i64, i64),
        mut visit: impl FnMut(&mut Self, SeriesView<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        self.for_each_series(&selector.matchers, range, |evaluator, series| {
            if !selector.without_buckets || series.histograms.is_empty() {
                return visit(evaluator, series);
            }
            let histograms = without_buckets(series.histograms);
            visit(evaluator, SeriesView { histograms: &histograms, ..series })
        })
    }

    pub(super) fn eval_selector(
        &mut self,
        selector: &VectorSelector,
        at: Position,
        grid: &Grid,
    ) -> Result<Matrix, EvalError> {
        if selector.extension == Some(Extension::Smoothed) {
            return self.eval_smoothed(selector, at, grid);
        }
        self.eval_samples(selector, grid, Wanted::Value)
    }

    pub(super) fn eval_samples(
        &mut self,
        selector: &VectorSelector,
        grid: &Grid,
        wanted: Wanted,
    ) -> Result<Matrix, EvalError> {
        let lookup = self.lookup(selector, grid)?;
        let lookback = self.setup.lookback.0;
        let range = (lookup.first().saturating_sub(lookback), lookup.last());
        let mut matrix = Matrix::new(grid.steps);
        self.for_each_selected(selector, range, |evaluator, series| {
            evaluator.charge(grid.steps)?;
            evaluator.push_current(&mut matrix, &series, &lookup, wanted)
        })?;
        Ok(matrix)
    }

    /// A row of each step's current sample.
    pub(super) fn push_current(
        &mut self,
        matrix: &mut Matrix,
        series: &SeriesView<'_>,
        lookup: &Lookup,
        wanted: Wanted,
    ) -> Result<(), EvalError> {
        let lookback = self.setup.lookback.0;
        let steps = lookup.grid.steps;
        if series.histograms.is_empty() && wanted == Wanted::Value {
            let mut next = 0;
            let floats = (0..steps).map(|step| {
                let time = lookup.time(step);
                next = first_after(series.floats, next, time);
                match next.checked_sub(1).map(|last| series.floats[last]) {
                    Some(sample) if sample.at.0 > time.saturating_sub(lookback) => sample.value,
                    _ => STALE,
                }
            });
            matrix.push_floats(Arc::clone(series.labels), false, floats);
            matrix.pop_if_empty();
            return Ok(());
        }
        let row = matrix.push(Arc::clone(series.labels), false);
        let (mut float, mut histogram) = (0, 0);
        for step in 0..steps {
            let time = lookup.time(step);
            float = first_after(series.floats, float, time);
            histogram = first_after(series.histograms, histogram, time);
            let oldest = time.saturating_sub(lookback);
            let newest_float = float.checked_sub(1).map(|i| (i, &series.floats[i])).filter(|(_, s)| s.at.0 > oldest);
            let newest_histogram = histogram.checked_sub(1).map(|i| &series.histograms[i]).filter(|s| s.at.0 > oldest);
            let value = match (newest_float, newest_histogram) {
                (Some((_, f)), Some(h)) if h.at > f.at => of_histogram(h, wanted),
                (Some((i, f)), _) => of_float(f, series.float_starts.get(i), wanted),
                (None, Some(h)) => of_histogram(h, wanted),
                (None, None) => None,
            };
            let Some(value) = value else { continue };
            if let Value::Histogram(h) = &value {
                self.charge(h.size_samples())?;
            }
            matrix.set(row, step, value);
        }
        matrix.pop_if_empty();
        Ok(())
    }

    /// `smoothed`: the value between the samples around each step.
    fn eval_smoothed(&mut self, selector: &VectorSelector, at: Position, grid: &Grid) -> Result<Matrix, EvalError> {
        let lookup = self.lookup(selector, grid)?;
        let lookback = self.setup.lookback.0;
        let range = (lookup.first().saturating_sub(lookback), lookup.last().saturating_add(lookback));
        let mut matrix = Matrix::new(grid.steps);
        self.for_each_selected(selector, range, |evaluator, series| {
            evaluator.charge(grid.steps)?;
            let metric = metric_name(series.labels);
            let floats: Vec<&FloatSample> = series.floats.iter().filter(|s| !is_stale(s.value)).collect();
            let histograms: Vec<&HistogramSample> =
                series.histograms.iter().filter(|s| !is_stale(s.histogram.sum)).collect();
            let row = matrix.push(Arc::clone(series.labels), false);
            for step in 0..grid.steps {
                let time = lookup.time(step);
                let (from, to) = (time.saturating_sub(lookback), time.saturating_add(lookback));
                let floats = within(&floats, from, to, |s| s.at.0);
                let histograms = within(&histograms, from, to, |s| s.at.0);
                if !floats.is_empty() && !histograms.is_empty() {
                    evaluator.notes.mixed_floats_histograms(at, metric);
                    continue;
                }
                if histograms.is_empty() {
                    let next = floats.partition_point(|s| s.at.0 < time);
                    let value = match (next.checked_sub(1).map(|i| floats[i]), floats.get(next)) {
                        (_, Some(exact)) if exact.at.0 == time => exact.value,
                        (Some(before), Some(after)) => interpolated(before, after, time, false),
                        (Some(before), None) => before.value,
                        (None, _) => continue,
                    };
                    matrix.set(row, step, Value::Float(value));
                    continue;
                }
                let next = histograms.partition_point(|s| s.at.0 < time);
                let value = match (next.checked_sub(1).map(|i| histograms[i]), histograms.get(next)) {
                    (_, Some(exact)) if exact.at.0 == time => Arc::clone(&exact.histogram),
                    (Some(before), Some(after)) => {
                        let gauges = [before, after].iter().all(|s| s.histogram.reset_hint == ResetHint::Gauge);
                        let fit = before.histogram.has_custom_buckets() == after.histogram.has_custom_buckets();
                        match interpolated_histogram(before, after, time, !gauges, at, &mut evaluator.notes) {
                            Ok(histogram) if fit => Arc::new(histogram),
                            _ => {
                                evaluator.notes.mixed_exponential_custom(at, metric);
                                continue;
                            }
                        }
                    }
                    (Some(before), None) => {
                        let mut histogram = (*before.histogram).clone();
                        histogram.reset_hint = ResetHint::Unknown;
                        Arc::new(histogram)
                    }
                    (None, _) => continue,
                };
                evaluator.charge(value.size_samples())?;
                matrix.set(row, step, Value::Histogram(value));
            }
            matrix.pop_if_empty();
            Ok(())
        })?;
        Ok(matrix)
    }

    /// The samples of a range vector at the first step, as they are.
    pub(super) fn raw_samples(
        &mut self,
        selector: &VectorSelector,
        extent: &Extent,
        grid: &Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let lookup = self.lookup(selector, grid)?;
        let until = lookup.first();
        let after = until.saturating_sub(self.positive_millis(extent)?);
        let lookback = self.setup.lookback.0;
        let range = match selector.extension {
            None => (after, until),
            Some(Extension::Anchored) => (after.saturating_sub(lookback), until),
            Some(Extension::Smoothed) => (after.saturating_sub(lookback), until.saturating_add(lookback)),
        };
        let mut all = Vec::new();
        self.for_each_series(&selector.matchers, range, |evaluator, series| {
            let inside = |at: Timestamp| at.0 > range.0 && at.0 <= range.1;
            let floats: Vec<FloatSample> =
                series.floats.iter().filter(|s| inside(s.at) && !is_stale(s.value)).copied().collect();
            let histograms: Vec<_> = series
                .histograms
                .iter()
                .filter(|s| inside(s.at) && !is_stale(s.histogram.sum))
                .map(|s| (s.at, Arc::clone(&s.histogram)))
                .collect();
            let size: usize = histograms.iter().map(|(_, h)| h.size_samples()).sum();
            evaluator.charge(floats.len() + size)?;
            let floats = match selector.extension {
                Some(extension) if !histograms.is_empty() => {
                    let name = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
                    let text = format!("{name} modifier is not supported with histograms");
                    return Err(EvalError::Execution(text));
                }
                Some(extension) => super::extended::extended_floats(&floats, after, until, extension),
                None => floats,
            };
            if !floats.is_empty() || !histograms.is_empty() {
                let floats = floats.iter().map(|s| (s.at, s.value)).collect();
                all.push(Series { labels: Arc::clone(series.labels), floats, histograms });
            }
            Ok(())
        })?;
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }

    /// The steps at which a subquery evaluates its expression: multiples of its step.
    pub(super) fn subquery_grid(&self, subquery: &Subquery, outer: &Grid) -> Result<Grid, EvalError> {
        let (offset, pin) = self.shift(&subquery.time)?;
        let range = self.positive_millis(&subquery.range)?;
        let interval = match &subquery.step {
            Some(step) => self.positive_millis(step)?,
            None => self.setup.subquery_step.0.max(1),
        };
        let first = pin.unwrap_or(outer.start).saturating_sub(offset);
        let last = pin.unwrap_or_else(|| outer.end()).saturating_sub(offset);
        let after = first.saturating_sub(range);
        let start = (after.div_euclid(interval)).saturating_add(1).saturating_mul(interval);
        let steps = if last < start { 0 } else { ((last - start) / interval) as usize + 1 };
        Ok(Grid { start, interval, steps })
    }
}

/// Histograms reduced to count and sum. Without buckets a reset could no longer be seen: the hints say it.
fn without_buckets(samples: &[HistogramSample]) -> Vec<HistogramSample> {
    let mut before: Option<&HistogramSample> = None;
    let mut reduced = Vec::with_capacity(samples.len());
    for sample in samples {
        let hint = match (sample.histogram.reset_hint, before) {
            (ResetHint::Unknown, Some(before)) if sample.histogram.is_reset_after(&before.histogram) => {
                ResetHint::Reset
            }
            (ResetHint::Unknown, Some(_)) => ResetHint::NotReset,
            (hint, _) => hint,
        };
        if !is_stale(sample.histogram.sum) {
            before = Some(sample);
        }
        reduced.push(HistogramSample { histogram: Arc::new(sample.histogram.without_buckets(hint)), ..*sample });
    }
    reduced
}

/// A sample's time, for searching.
pub(super) trait Timed {
    fn time(&self) -> i64;
}

impl Timed for FloatSample {
    fn time(&self) -> i64 {
        self.at.0
    }
}

impl Timed for HistogramSample {
    fn time(&self) -> i64 {
        self.at.0
    }
}

/// The first sample later than `time`, from `from` on: near ones are found by stepping, far ones by halving.
pub(super) fn first_after<T: Timed>(samples: &[T], mut from: usize, time: i64) -> usize {
    const NEAR_SAMPLES: usize = 16;
    for _ in 0..NEAR_SAMPLES {
        match samples.get(from) {
            Some(sample) if sample.time() <= time => from += 1,
            _ => return from,
        }
    }
    from + samples[from..].partition_point(|sample| sample.time() <= time)
}

fn within<T>(samples: &[T], after: i64, until: i64, time: impl Fn(&T) -> i64) -> &[T] {
    let from = samples.partition_point(|s| time(s) <= after);
    let to = samples.partition_point(|s| time(s) <= until);
    &samples[from..to]
}

fn of_float(sample: &FloatSample, start: Option<&Timestamp>, wanted: Wanted) -> Option<Value> {
    if is_stale(sample.value) {
        return None;
    }
    Some(Value::Float(match wanted {
        Wanted::Value => sample.value,
        Wanted::Time => sample.at.as_secs_f64(),
        Wanted::Start => start.map_or(0.0, |s| s.as_secs_f64()),
    }))
}

fn of_histogram(sample: &HistogramSample, wanted: Wanted) -> Option<Value> {
    if is_stale(sample.histogram.sum) {
        return None;
    }
    Some(match wanted {
        Wanted::Value => Value::Histogram(Arc::clone(&sample.histogram)),
        Wanted::Time => Value::Float(sample.at.as_secs_f64()),
        Wanted::Start => Value::Float(sample.start.map_or(0.0, Timestamp::as_secs_f64)),
    })
}
