//! `anchored` and `smoothed` windows: they look beyond the range instead of extrapolating.
//!
//! Anchored, the value at the start of the range is that of the last sample before it. Smoothed, the values at
//! both ends are interpolated between the samples around them.

use std::sync::Arc;

use super::range::{Context, Window};
use super::rate::{Change, merge};
use super::selector::Timed;
use crate::promql::annotation::Annotations;
use crate::promql::ast::{Extension, Position};
use crate::promql::histogram::{FloatHistogram, HistogramOperation, HistogramSum, IncompatibleSchemas, ResetHint};
use crate::promql::storage::{FloatSample, HistogramSample};
use crate::promql::value::Value;
use crate::types::Timestamp;

/// The value at `time` on the line between two samples. A counter that was reset starts from zero.
pub(super) fn interpolated(before: &FloatSample, after: &FloatSample, time: i64, of_counter: bool) -> f64 {
    let from = if of_counter && after.value < before.value { 0.0 } else { before.value };
    from + (after.value - from) * (time - before.at.0) as f64 / (after.at.0 - before.at.0) as f64
}

/// The same for histograms.
pub(super) fn interpolated_histogram(
    before: &HistogramSample,
    after: &HistogramSample,
    time: i64,
    of_counter: bool,
    at: Position,
    notes: &mut Annotations,
) -> Result<FloatHistogram, IncompatibleSchemas> {
    if time == before.at.0 {
        return Ok((*before.histogram).clone());
    }
    if time == after.at.0 {
        return Ok((*after.histogram).clone());
    }
    let fraction = (time - before.at.0) as f64 / (after.at.0 - before.at.0) as f64;
    if of_counter && after.histogram.is_reset_after(&before.histogram) {
        return Ok((*after.histogram).clone().scaled(fraction));
    }
    let mut sum = HistogramSum::new(&after.histogram);
    if sum.subtract(&before.histogram)?.bounds_reconciled {
        notes.bounds_reconciled(at, HistogramOperation::Subtraction);
    }
    sum.scale(fraction);
    if sum.add(&before.histogram)?.bounds_reconciled {
        notes.bounds_reconciled(at, HistogramOperation::Addition);
    }
    Ok(sum.finish())
}

/// The first and the last sample that matter; `None` when nothing is in the range.
fn ends<T: Timed>(samples: &[T], start: i64, end: i64, smoothed: bool) -> Option<(usize, usize)> {
    let newest = samples.len().checked_sub(1)?;
    let first = samples[..newest].partition_point(|s| s.time() <= start).saturating_sub(1);
    let last = if smoothed { samples[..newest].partition_point(|s| s.time() < end) } else { newest };
    let outside = samples[last].time() <= start || (smoothed && samples[first].time() > end);
    (!outside).then_some((first, last))
}

fn left_value(floats: &[FloatSample], first: usize, start: i64, smoothed: bool, of_counter: bool) -> f64 {
    match floats.get(first + 1) {
        Some(next) if smoothed && floats[first].at.0 < start => interpolated(&floats[first], next, start, of_counter),
        _ => floats[first].value,
    }
}

fn right_value(floats: &[FloatSample], last: usize, end: i64, smoothed: bool, of_counter: bool) -> f64 {
    if smoothed && last > 0 && floats[last].at.0 > end {
        return interpolated(&floats[last - 1], &floats[last], end, of_counter);
    }
    floats[last].value
}

/// The samples strictly inside the range, of those that matter.
fn inner(floats: &[FloatSample], first: usize, last: usize, start: i64, end: i64) -> &[FloatSample] {
    let from = first + usize::from(floats[first].at.0 <= start);
    let to = last + usize::from(floats[last].at.0 < end);
    floats.get(from..to).unwrap_or_default()
}

/// A range's samples with one at either end.
pub(super) fn extended_floats(floats: &[FloatSample], start: i64, end: i64, extension: Extension) -> Vec<FloatSample> {
    let smoothed = extension == Extension::Smoothed;
    let Some(newest) = floats.len().checked_sub(1) else { return Vec::new() };
    let first = floats[..newest].partition_point(|s| s.at.0 <= start).saturating_sub(1);
    let last = if smoothed { floats[..newest].partition_point(|s| s.at.0 < end) } else { newest };
    if floats[last].at.0 <= start {
        return Vec::new();
    }
    let left = FloatSample { at: Timestamp(start), value: left_value(floats, first, start, smoothed, false) };
    let right = FloatSample { at: Timestamp(end), value: right_value(floats, last, end, smoothed, false) };
    let mut extended = vec![left];
    extended.extend_from_slice(inner(floats, first, last, start, end));
    extended.push(right);
    extended
}

/// The change between the values at the ends of the range.
pub(super) fn change(context: &Context<'_>, window: &Window<'_>, change: Change, smoothed: bool) -> Option<f64> {
    let floats = window.floats;
    let (first, last) = ends(floats, window.start, window.end, smoothed)?;
    let left = left_value(floats, first, window.start, smoothed, change.of_counter);
    let right = right_value(floats, last, window.end, smoothed, change.of_counter);
    let mut result = right - left;
    if change.of_counter {
        let mut before = left;
        let inner = inner(floats, first, last, window.start, window.end).iter().map(|s| s.value);
        for value in inner.chain([right]) {
            if value < before {
                result += before;
            }
            before = value;
        }
    }
    Some(if change.per_second { result / context.range_seconds } else { result })
}

/// The same for histograms.
pub(super) fn histogram_change(
    context: &mut Context<'_>,
    window: &Window<'_>,
    change: Change,
    smoothed: bool,
) -> Option<Value> {
    let samples = window.histograms;
    let (first, last) = ends(samples, window.start, window.end, smoothed)?;
    let used = &samples[first..=last];
    let custom = used[0].histogram.has_custom_buckets();
    for sample in used {
        if sample.histogram.has_custom_buckets() != custom {
            context.notes.mixed_exponential_custom(context.at, context.metric);
            return None;
        }
        if change.of_counter && sample.histogram.reset_hint == ResetHint::Gauge {
            context.notes.histogram_not_counter(context.at, context.metric);
        }
    }
    let mut between = |before: usize, time: i64| {
        let (before, after) = (&samples[before], &samples[before + 1]);
        let result = interpolated_histogram(before, after, time, change.of_counter, context.at, context.notes);
        result.map_err(|_| context.notes.mixed_exponential_custom(context.at, context.metric)).ok()
    };
    let interpolates_left = smoothed && samples[first].at.0 < window.start && first + 1 < samples.len();
    let left = if interpolates_left { between(first, window.start)? } else { (*samples[first].histogram).clone() };
    let right = if smoothed && last > 0 && samples[last].at.0 > window.end {
        between(last - 1, window.end)?
    } else {
        (*samples[last].histogram).clone()
    };
    let both_gauges = left.reset_hint == ResetHint::Gauge && right.reset_hint == ResetHint::Gauge;
    if !change.of_counter && !both_gauges {
        context.notes.histogram_not_gauge(context.at, context.metric);
    }
    let mut sum = HistogramSum::new(&right);
    merge(context, &mut sum, &left, -1.0)?;
    if change.of_counter {
        for lost in lost_by_resets(samples, (first, last), (&left, &right), interpolates_left) {
            merge(context, &mut sum, lost, 1.0)?;
        }
    }
    let mut result = sum.finish();
    if change.per_second {
        result = result.divided(context.range_seconds);
    }
    result.reset_hint = ResetHint::Gauge;
    Some(Value::Histogram(Arc::new(result)))
}

/// The histograms before each reset within the range.
fn lost_by_resets<'h>(
    samples: &'h [HistogramSample],
    (first, last): (usize, usize),
    (left, right): (&'h FloatHistogram, &'h FloatHistogram),
    interpolates_left: bool,
) -> Vec<&'h FloatHistogram> {
    let (mut from, mut before) = (first + 1, left);
    if interpolates_left && samples[first + 1].histogram.is_reset_after(&samples[first].histogram) {
        // The interpolation has taken account of that reset.
        before = &samples[first + 1].histogram;
        from += 1;
    }
    // The last sample stands behind `right`, which has its hint: it would find itself.
    if from > last {
        return Vec::new();
    }
    let mut lost = Vec::new();
    for now in samples[from..last].iter().map(|s| &*s.histogram).chain([right]) {
        if now.is_reset_after(before) {
            lost.push(before);
        }
        before = now;
    }
    lost
}
