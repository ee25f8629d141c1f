//! Functions of histograms: native ones, and classic ones, whose buckets are series with a label `le`.

use std::sync::Arc;

use super::labels::text_of;
use super::signature::{Counted, Numbering};
use super::{EvalError, Evaluator, metric_name};
use crate::promql::annotation::ForcedMonotonicity;
use crate::promql::ast::{Call, Expr, Position};
use crate::promql::function::FunctionId;
use crate::promql::histogram::FloatHistogram;
use crate::promql::value::{Cell, Grid, Matrix, Value};
use crate::types::{Labels, format_value_exponent};

const BUCKET_LABEL: &str = "le";

/// Relative differences between neighbouring buckets below this are rounding, not a decrease.
const TOLERANCE: f64 = 1e-12;

/// What is asked of a histogram.
#[derive(Clone, Copy)]
enum Question {
    Quantile(f64),
    Fraction(f64, f64),
}

/// The rows of one classic histogram by ascending bound, and of a native one of the same labels.
struct Family {
    labels: Arc<Labels>,
    buckets: Vec<(f64, usize)>,
    native: Vec<usize>,
}

impl Evaluator<'_> {
    pub(super) fn histogram_statistic(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        let statistic: fn(&FloatHistogram) -> f64 = match call.function.id {
            FunctionId::HistogramAvg => |h| h.sum / h.count,
            FunctionId::HistogramCount => |h| h.count,
            FunctionId::HistogramSum => |h| h.sum,
            FunctionId::HistogramStddev => |h| h.variance().sqrt(),
            _ => FloatHistogram::variance,
        };
        let matrix = self.eval(&call.args[0], grid)?;
        let mut result = Matrix::new(grid.steps);
        for (row, head) in matrix.rows.iter().enumerate() {
            let out = result.push(Arc::clone(&head.labels), true);
            for step in 0..grid.steps {
                if let Some(Cell::Histogram(histogram)) = matrix.get(row, step) {
                    result.set(out, step, Value::Float(statistic(histogram)));
                }
            }
            result.pop_if_empty();
        }
        Ok(result)
    }

    /// `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`.
    pub(super) fn eval_histogram(&mut self, call: &Call, grid: &Grid) -> Result<Matrix, EvalError> {
        let id = call.function.id;
        let vector_arg = match id {
            FunctionId::HistogramQuantile => 1,
            FunctionId::HistogramQuantiles => 0,
            _ => 2,
        };
        let numbers: Vec<&Expr> = match id {
            FunctionId::HistogramQuantiles => call.args[2..].iter().collect(),
            _ => call.args[..vector_arg].iter().collect(),
        };
        let evaluated = numbers.iter().map(|arg| self.eval(arg, grid)).collect::<Result<Vec<_>, _>>()?;
        let source = &call.args[vector_arg];
        let matrix = self.eval(source, grid)?;
        let families = self.families(&matrix, source.at);
        self.note_mixed(&matrix, &families, source.at);
        let mut result = Matrix::with_rows(grid.steps, families.len());
        if id == FunctionId::HistogramFraction {
            let question = |step: usize| Question::Fraction(evaluated[0].number(step), evaluated[1].number(step));
            for family in &families {
                self.check_stop()?;
                self.answer(&mut result, &matrix, family, source.at, grid, (None, &question))?;
            }
            return Ok(result);
        }
        let label = (id == FunctionId::HistogramQuantiles).then(|| text_of(&call.args[1]));
        for (q, arg) in evaluated.iter().zip(&numbers) {
            for step in 0..grid.steps {
                let q = q.number(step);
                if !(0.0..=1.0).contains(&q) {
                    self.notes.invalid_quantile(arg.at, q);
                }
            }
            let question = |step: usize| Question::Quantile(q.number(step));
            for family in &families {
                self.check_stop()?;
                self.answer(&mut result, &matrix, family, source.at, grid, (label, &question))?;
            }
        }
        if label.is_some() && grid.steps > 1 { Self::joined(result) } else { Ok(result) }
    }

    /// Classic buckets gathered by the labels besides `le`, native histograms by all labels.
    fn families(&mut self, matrix: &Matrix, at: Position) -> Vec<Family> {
        let mut numbering = Numbering::default();
        let mut families: Vec<Family> = Vec::new();
        let mut family_of = |labels: &Labels, families: &mut Vec<Family>| -> usize {
            let number = numbering.number(labels, Counted::All);
            if number == families.len() {
                families.push(Family { labels: Arc::new(labels.clone()), buckets: Vec::new(), native: Vec::new() });
            }
            number
        };
        for (row, head) in matrix.rows.iter().enumerate() {
            let mut kinds = (false, false);
            for step in 0..matrix.steps {
                match matrix.get(row, step) {
                    Some(Cell::Float(_)) => kinds.0 = true,
                    Some(Cell::Histogram(_)) => kinds.1 = true,
                    None => {}
                }
            }
            if kinds.1 {
                let number = family_of(&head.labels, &mut families);
                families[number].native.push(row);
            }
            if kinds.0 {
                let label = head.labels.get(BUCKET_LABEL).unwrap_or("");
                let Some(bound) = bound(label) else {
                    self.notes.bad_bucket_label(at, metric_name(&head.labels), label);
                    continue;
                };
                let number = family_of(&(*head.labels).clone().with(BUCKET_LABEL, ""), &mut families);
                families[number].buckets.push((bound, row));
            }
        }
        for family in &mut families {
            family.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        families
    }

    fn note_mixed(&mut self, matrix: &Matrix, families: &[Family], at: Position) {
        for family in families.iter().filter(|f| !f.native.is_empty() && !f.buckets.is_empty()) {
            if (0..matrix.steps).any(|step| family.is_mixed(matrix, step)) {
                self.notes.mixed_classic_native(at, metric_name(&family.labels));
            }
        }
    }

    fn answer(
        &mut self,
        result: &mut Matrix,
        matrix: &Matrix,
        family: &Family,
        at: Position,
        grid: &Grid,
        (label, question): (Option<&str>, &dyn Fn(usize) -> Question),
    ) -> Result<(), EvalError> {
        let mut rows: Vec<(u64, usize)> = Vec::new();
        let mut buckets: Vec<(f64, f64)> = Vec::with_capacity(family.buckets.len());
        let metric = metric_name(&family.labels).to_owned();
        for step in 0..grid.steps {
            if family.is_mixed(matrix, step) {
                continue;
            }
            let question = question(step);
            let value = if let Some(histogram) = family.native_at(matrix, step) {
                let (value, note) = match question {
                    Question::Quantile(q) => histogram.quantile(q),
                    Question::Fraction(lower, upper) => histogram.fraction(lower, upper),
                };
                if let Some(note) = note {
                    self.notes.nan_observations(at, &metric, note);
                }
                value
            } else {
                buckets.clear();
                buckets.extend(family.buckets.iter().filter_map(|(bound, row)| match matrix.get(*row, step) {
                    Some(Cell::Float(count)) => Some((*bound, count)),
                    _ => None,
                }));
                if buckets.is_empty() {
                    continue;
                }
                match question {
                    Question::Fraction(lower, upper) => bucket_fraction(lower, upper, &mut buckets),
                    Question::Quantile(q) => {
                        let (value, forced) = bucket_quantile(q, &mut buckets);
                        if let Some(mut forced) = forced {
                            (forced.first, forced.last) = (grid.time(step), grid.time(step));
                            self.notes.forced_monotonicity(at, &metric, forced);
                        }
                        value
                    }
                }
            };
            let key = match (label, question) {
                (Some(_), Question::Quantile(q)) => q.to_bits(),
                _ => 0,
            };
            let out = if let Some((_, out)) = rows.iter().find(|(k, _)| *k == key) {
                *out
            } else {
                {
                    let labels = match (label, question) {
                        (Some(name), Question::Quantile(q)) => {
                            Arc::new((*family.labels).clone().with(name, &open_metrics(q)))
                        }
                        _ => Arc::clone(&family.labels),
                    };
                    self.charge(grid.steps)?;
                    let out = result.push(labels, true);
                    rows.push((key, out));
                    out
                }
            };
            result.set(out, step, Value::Float(value));
        }
        Ok(())
    }
}

impl Family {
    fn native_at<'m>(&self, matrix: &'m Matrix, step: usize) -> Option<&'m FloatHistogram> {
        self.native.iter().find_map(|row| match matrix.get(*row, step) {
            Some(Cell::Histogram(histogram)) => Some(&**histogram),
            _ => None,
        })
    }

    fn is_mixed(&self, matrix: &Matrix, step: usize) -> bool {
        !self.native.is_empty()
            && !self.buckets.is_empty()
            && self.native_at(matrix, step).is_some()
            && self.buckets.iter().any(|(_, row)| matches!(matrix.get(*row, step), Some(Cell::Float(_))))
    }
}

fn bound(label: &str) -> Option<f64> {
    match label {
        "+Inf" | "Inf" | "+inf" | "inf" => Some(f64::INFINITY),
        "-Inf" | "-inf" => Some(f64::NEG_INFINITY),
        _ => label.parse().ok(),
    }
}

/// A float as OpenMetrics writes it: always with a point or an exponent.
fn open_metrics(value: f64) -> String {
    if !value.is_finite() {
        return format_value_exponent(value);
    }
    let text = crate::promql::go::shortest(value);
    if text.contains(['e', '.']) { text } else { format!("{text}.0") }
}

/// Equal bounds become one. Whether a bucket holds less than one below it is undone, and said.
fn cumulative(buckets: &mut Vec<(f64, f64)>) -> Option<ForcedMonotonicity> {
    coalesce(buckets);
    let mut forced: Option<ForcedMonotonicity> = None;
    let mut before = buckets.first()?.1;
    for (bound, count) in buckets.iter_mut().skip(1) {
        if *count == before {
            continue;
        }
        if nearly_equal(before, *count) {
            *count = before;
        } else if *count < before {
            let fixed = forced.get_or_insert(ForcedMonotonicity {
                first: 0,
                last: 0,
                lowest_bucket: f64::INFINITY,
                highest_bucket: f64::NEG_INFINITY,
                largest_difference: 0.0,
                samples: 1,
            });
            fixed.lowest_bucket = fixed.lowest_bucket.min(*bound);
            fixed.highest_bucket = fixed.highest_bucket.max(*bound);
            fixed.largest_difference = fixed.largest_difference.max(before - *count);
            *count = before;
        } else {
            before = *count;
        }
    }
    forced
}

fn coalesce(buckets: &mut Vec<(f64, f64)>) {
    buckets.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (difference, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The quantile of a classic histogram, its buckets by ascending bound: linear within a bucket, the lowest
/// starting at zero; in the highest, the bound below it.
fn bucket_quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> (f64, Option<ForcedMonotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return (f64::NAN, None);
    }
    let forced = cumulative(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].1;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let rank = q * observations;
    // Not a partition point: a count may be NaN, and then the first bucket that reaches the rank is meant.
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = usize::midpoint(low, high);
        if buckets[middle].1 >= rank { high = middle } else { low = middle + 1 }
    }
    if low == last {
        return (buckets[last - 1].0, forced);
    }
    if low == 0 && buckets[0].0 <= 0.0 {
        return (buckets[0].0, forced);
    }
    let (start, before) = if low == 0 { (0.0, 0.0) } else { buckets[low - 1] };
    let (end, count) = (buckets[low].0, buckets[low].1 - before);
    (start + (end - start) * ((rank - before) / count), forced)
}

/// The share of a classic histogram's observations between two values.
fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    let total = buckets[buckets.len() - 1].1;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |value: f64| -> f64 {
        let mut start = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        let mut rank = 0.0;
        for &(end, count) in buckets.iter() {
            if start >= value {
                return rank;
            }
            if end > value {
                if start == f64::NEG_INFINITY {
                    return count;
                }
                return rank + (count - rank) * (value - start) / (end - start);
            }
            rank = count;
            start = end;
        }
        total
    };
    let (lower, upper) = (rank_of(lower), rank_of(upper));
    let capped = |rank: f64| if rank > total { total } else { rank };
    (capped(upper) - capped(lower)) / total
}
