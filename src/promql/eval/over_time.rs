//! `…_over_time` and the other statistics of one series' samples in a window.

use std::sync::Arc;

use super::range::{Context, Window};
use crate::promql::go;
use crate::promql::histogram::{FloatHistogram, HistogramOperation, HistogramSum, IncompatibleSchemas, ResetHint};
use crate::promql::kahan::{Kahan, Mean};
use crate::promql::storage::{FloatSample, HistogramSample};
use crate::promql::value::Value;

pub(super) fn first(_: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    match (window.floats.first(), window.histograms.first()) {
        (Some(f), Some(h)) if f.at >= h.at => Some(Value::Histogram(Arc::clone(&h.histogram))),
        (Some(f), _) => Some(Value::Float(f.value)),
        (None, h) => h.map(|h| Value::Histogram(Arc::clone(&h.histogram))),
    }
}

pub(super) fn last(_: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    match (window.floats.last(), window.histograms.last()) {
        (Some(f), Some(h)) if f.at <= h.at => Some(Value::Histogram(Arc::clone(&h.histogram))),
        (Some(f), _) => Some(Value::Float(f.value)),
        (None, h) => h.map(|h| Value::Histogram(Arc::clone(&h.histogram))),
    }
}

pub(super) fn time_of_first(_: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    let times = [window.floats.first().map(|s| s.at), window.histograms.first().map(|s| s.at)];
    times.into_iter().flatten().min().map(|at| Value::Float(at.as_secs_f64()))
}

pub(super) fn time_of_last(_: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    let times = [window.floats.last().map(|s| s.at), window.histograms.last().map(|s| s.at)];
    times.into_iter().flatten().max().map(|at| Value::Float(at.as_secs_f64()))
}

/// Whether there are floats; histograms beside them are noted as ignored.
fn has_floats(context: &mut Context<'_>, window: &Window<'_>) -> bool {
    let has = !window.floats.is_empty();
    if has && !window.histograms.is_empty() {
        context.notes.histogram_ignored_in_range(context.at, context.metric);
    }
    has
}

/// Folds the floats with `replaces`, which says whether a value takes the place of the best so far.
fn best(
    context: &mut Context<'_>,
    window: &Window<'_>,
    replaces: impl Fn(f64, f64) -> bool,
    result: impl Fn(&FloatSample) -> f64,
) -> Option<Value> {
    if !has_floats(context, window) {
        return None;
    }
    let mut best = &window.floats[0];
    for sample in window.floats {
        if replaces(sample.value, best.value) || best.value.is_nan() {
            best = sample;
        }
    }
    Some(Value::Float(result(best)))
}

pub(super) fn max(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    best(context, window, |new, old| new > old, |s| s.value)
}

pub(super) fn min(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    best(context, window, |new, old| new < old, |s| s.value)
}

pub(super) fn time_of_max(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    best(context, window, |new, old| new >= old, |s| s.at.as_secs_f64())
}

pub(super) fn time_of_min(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    best(context, window, |new, old| new <= old, |s| s.at.as_secs_f64())
}

pub(super) fn sum(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    if mixed(context, window) {
        return None;
    }
    if window.floats.is_empty() {
        return of_histograms(context, window, histogram_sum);
    }
    let mut total = Kahan::default();
    for sample in window.floats {
        total.add(sample.value);
    }
    Some(Value::Float(total.value()))
}

pub(super) fn avg(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    if mixed(context, window) {
        return None;
    }
    let Some((first, rest)) = window.floats.split_first() else {
        return of_histograms(context, window, histogram_mean);
    };
    let mut mean = Mean::new(first.value);
    for sample in rest {
        mean.add(sample.value);
    }
    Some(Value::Float(mean.value()))
}

fn mixed(context: &mut Context<'_>, window: &Window<'_>) -> bool {
    let mixed = !window.floats.is_empty() && !window.histograms.is_empty();
    if mixed {
        context.notes.mixed_floats_histograms(context.at, context.metric);
    }
    mixed
}

/// A sum or a mean of histograms, and whether custom bounds had to be reconciled.
type Merged = Result<(FloatHistogram, bool), IncompatibleSchemas>;

fn of_histograms(
    context: &mut Context<'_>,
    window: &Window<'_>,
    merge: fn(&[&FloatHistogram]) -> Merged,
) -> Option<Value> {
    let all: Vec<&FloatHistogram> = window.histograms.iter().map(|s: &HistogramSample| &*s.histogram).collect();
    let hinted = |hint: ResetHint| all.iter().any(|h| h.reset_hint == hint);
    match merge(&all) {
        Err(IncompatibleSchemas) => {
            context.notes.mixed_exponential_custom(context.at, context.metric);
            None
        }
        Ok((histogram, reconciled)) => {
            if hinted(ResetHint::Reset) && hinted(ResetHint::NotReset) {
                context.notes.resets_collide(context.at, HistogramOperation::Aggregation);
            }
            if reconciled {
                context.notes.bounds_reconciled(context.at, HistogramOperation::Aggregation);
            }
            Some(Value::Histogram(Arc::new(histogram)))
        }
    }
}

fn running_sum(all: &[&FloatHistogram]) -> Result<(HistogramSum, bool), IncompatibleSchemas> {
    let empty = FloatHistogram::default();
    let (first, rest) = all.split_first().map_or((&empty, &[][..]), |(first, rest)| (*first, rest));
    let (mut sum, mut reconciled) = (HistogramSum::new(first), false);
    for histogram in rest {
        reconciled |= sum.add(histogram)?.bounds_reconciled;
    }
    Ok((sum, reconciled))
}

/// The sum of histograms.
pub(super) fn histogram_sum(all: &[&FloatHistogram]) -> Merged {
    running_sum(all).map(|(sum, reconciled)| (sum.finish(), reconciled))
}

/// Their mean: the sum over the count, or an incremental mean when the sum overflows.
pub(super) fn histogram_mean(all: &[&FloatHistogram]) -> Merged {
    let (sum, reconciled) = running_sum(all)?;
    if !sum.overflows() {
        return Ok((sum.finish().divided(all.len() as f64), reconciled));
    }
    let (first, rest) = all.split_at(1.min(all.len()));
    let (mut mean, _) = running_sum(first)?;
    for (i, histogram) in rest.iter().enumerate() {
        let count = (i + 2) as f64;
        mean.scale((count - 1.0) / count);
        mean.add(&(*histogram).clone().divided(count))?;
    }
    Ok((mean.finish(), reconciled))
}

fn variance(context: &mut Context<'_>, window: &Window<'_>) -> Option<f64> {
    if !has_floats(context, window) {
        return None;
    }
    let (mut mean, mut squares, mut count) = (Kahan::default(), Kahan::default(), 0.0);
    for sample in window.floats {
        count += 1.0;
        let delta = sample.value - (mean.sum + mean.error);
        mean.add(delta / count);
        squares.add(delta * (sample.value - (mean.sum + mean.error)));
    }
    Some((squares.sum + squares.error) / count)
}

pub(super) fn stdvar(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    variance(context, window).map(Value::Float)
}

pub(super) fn stddev(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    variance(context, window).map(|v| Value::Float(v.sqrt()))
}

pub(super) fn quantile(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    let q = context.scalars[0];
    if window.floats.is_empty() {
        return None;
    }
    if !(0.0..=1.0).contains(&q) {
        context.notes.invalid_quantile(context.at, q);
    }
    has_floats(context, window);
    let mut values: Vec<f64> = window.floats.iter().map(|s| s.value).collect();
    Some(Value::Float(quantile_of(q, &mut values)))
}

pub(super) fn mad(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    if !has_floats(context, window) {
        return None;
    }
    let mut values: Vec<f64> = window.floats.iter().map(|s| s.value).collect();
    if values.iter().any(|v| v.is_nan()) {
        return Some(Value::Float(f64::NAN));
    }
    let median = quantile_of(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Some(Value::Float(quantile_of(0.5, &mut values)))
}

/// The quantile of a list of values, which it orders; NaN is the smallest. Linear between neighbours.
pub(super) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let weight = rank - rank.floor();
    let by_value =
        |a: &f64, b: &f64| b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let (_, at, above) = values.select_nth_unstable_by(lower, by_value);
    let at = *at;
    let next = above.iter().copied().min_by(by_value).unwrap_or(at);
    at * (1.0 - weight) + next * weight
}

/// Least squares: the slope in units per second, and the value at `time`.
fn regression(floats: &[FloatSample], time: i64) -> (f64, f64) {
    let first = floats[0].value;
    if floats.iter().all(|s| s.value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut x2_sum) =
        (Kahan::default(), Kahan::default(), Kahan::default(), Kahan::default());
    for sample in floats {
        let x = (sample.at.0 - time) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(sample.value);
        xy_sum.add(x * sample.value);
        x2_sum.add(x * x);
    }
    let total = |k: Kahan| k.sum + k.error;
    let (n, x, y) = (floats.len() as f64, total(x_sum), total(y_sum));
    let covariance = total(xy_sum) - x * y / n;
    let variance = total(x2_sum) - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// Whether there are two floats; one beside histograms is noted.
fn has_two_floats(context: &mut Context<'_>, window: &Window<'_>) -> bool {
    has_floats(context, window) && window.floats.len() > 1
}

pub(super) fn deriv(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    if !has_two_floats(context, window) {
        return None;
    }
    Some(Value::Float(regression(window.floats, window.floats[0].at.0).0))
}

pub(super) fn predict_linear(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    if !has_two_floats(context, window) {
        return None;
    }
    let (slope, now) = regression(window.floats, window.time);
    Some(Value::Float(slope * context.scalars[0] + now))
}

/// Holt's linear method.
pub(super) fn double_exponential_smoothing(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    let [smoothing, trend_factor] = context.scalars;
    for (name, short, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend_factor)] {
        if factor <= 0.0 || factor >= 1.0 {
            let got = go::fixed(factor);
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {got}");
            context.failure = Some(text);
            return None;
        }
    }
    if !has_two_floats(context, window) {
        return None;
    }
    let floats = window.floats;
    let (mut before, mut level) = (0.0, floats[0].value);
    let mut trend = floats[1].value - floats[0].value;
    for (i, sample) in floats.iter().enumerate().skip(1) {
        if i > 1 {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * sample.value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    Some(Value::Float(level))
}

#[cfg(test)]
mod tests {
    use super::quantile_of;

    #[test]
    fn quantiles_interpolate_and_put_nan_first() {
        assert_eq!(quantile_of(0.5, &mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile_of(0.25, &mut [1.0, 2.0]), 1.25);
        assert!(quantile_of(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert_eq!(quantile_of(1.0, &mut [f64::NAN, 1.0]), 1.0);
    }
}
