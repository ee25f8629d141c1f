//! `rate`, `increase` and `delta`: the change over a window, extrapolated to its ends; `irate` and `idelta`: the
//! change between the last two samples.

use std::ops::Range;
use std::sync::Arc;

use super::extended;
use super::range::{Context, Window};
use crate::promql::ast::Extension;
use crate::promql::histogram::{FloatHistogram, HistogramOperation, HistogramSum, ResetHint};
use crate::promql::storage::{FloatSample, HistogramSample};
use crate::promql::value::Value;

/// What of the change is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// A counter: decreases are resets.
    pub of_counter: bool,
    /// Per second of the range.
    pub per_second: bool,
}

pub(super) fn rate(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    change(context, window, Change { of_counter: true, per_second: true })
}

pub(super) fn increase(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    change(context, window, Change { of_counter: true, per_second: false })
}

pub(super) fn delta(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    change(context, window, Change { of_counter: false, per_second: false })
}

fn change(context: &mut Context<'_>, window: &Window<'_>, change: Change) -> Option<Value> {
    let (floats, histograms) = (window.floats, window.histograms);
    if !floats.is_empty() && !histograms.is_empty() {
        context.notes.mixed_floats_histograms(context.at, context.metric);
        return None;
    }
    if let Some(extension) = context.extension {
        let smoothed = extension == Extension::Smoothed;
        return if histograms.is_empty() {
            extended::change(context, window, change, smoothed).map(Value::Float)
        } else {
            extended::histogram_change(context, window, change, smoothed)
        };
    }
    if histograms.is_empty() {
        float_change(context, window, change)
    } else {
        histogram_change(context, window, change)
    }
}

/// A window's samples as the extrapolation sees them; times in milliseconds.
struct Sampled {
    first: i64,
    last: i64,
    gaps: usize,
    start: i64,
    end: i64,
    /// The start timestamp of the first sample, where it lies in the window: the counter was zero then.
    zero_at: Option<i64>,
    /// The first value over the change: how many sampled intervals before the first sample the counter was zero.
    to_zero: Option<f64>,
}

impl Sampled {
    /// What the change between the samples is multiplied with to be the change over the whole range.
    ///
    /// The sampled interval is extended to an end of the range if that is no farther than 1.1 average gaps away,
    /// else by half a gap; a counter not beyond where it would have been zero.
    fn factor(&self) -> f64 {
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let mut interval = seconds(self.last - self.first);
        let gap = if self.gaps > 0 { interval / self.gaps as f64 } else { 0.0 };
        let threshold = gap * 1.1;
        let mut to_start = seconds(self.first - self.start);
        if let Some(zero_at) = self.zero_at {
            to_start = 0.0;
            interval = seconds(self.last - zero_at);
        } else {
            if to_start >= threshold {
                to_start = gap / 2.0;
            }
            if let Some(ratio) = self.to_zero {
                let to_zero = interval * ratio;
                if to_zero < to_start {
                    to_start = to_zero;
                }
            }
        }
        let mut to_end = seconds(self.end - self.last);
        if to_end >= threshold {
            to_end = gap / 2.0;
        }
        if interval == 0.0 { 1.0 } else { (interval + to_start + to_end) / interval }
    }
}

/// The rates of a series of floats without start timestamps, window by window: its resets are looked up once.
pub(super) struct FloatRates<'f> {
    floats: &'f [FloatSample],
    /// Numbers of the samples that are less than the one before.
    resets: Vec<usize>,
    /// The first reset not before the current window.
    next_reset: usize,
    per_second: bool,
}

impl<'f> FloatRates<'f> {
    pub fn new(floats: &'f [FloatSample], per_second: bool) -> Self {
        let resets = (1..floats.len()).filter(|i| floats[*i].value < floats[*i - 1].value).collect();
        Self { floats, resets, next_reset: 0, per_second }
    }

    /// The rate over the samples of `window`, which never moves back.
    pub fn at(&mut self, window: Range<usize>, start: i64, end: i64, range_seconds: f64) -> Option<f64> {
        if window.len() < 2 {
            return None;
        }
        let (first, last) = (&self.floats[window.start], &self.floats[window.end - 1]);
        while self.resets.get(self.next_reset).is_some_and(|reset| *reset <= window.start) {
            self.next_reset += 1;
        }
        let mut result = last.value - first.value;
        for &reset in self.resets[self.next_reset..].iter().take_while(|reset| **reset < window.end) {
            result += self.floats[reset - 1].value;
        }
        let sampled = Sampled {
            first: first.at.0,
            last: last.at.0,
            gaps: window.len() - 1,
            start,
            end,
            zero_at: None,
            to_zero: (result > 0.0 && first.value >= 0.0).then(|| first.value / result),
        };
        let factor = sampled.factor();
        Some(result * if self.per_second { factor / range_seconds } else { factor })
    }
}

fn float_change(context: &mut Context<'_>, window: &Window<'_>, change: Change) -> Option<Value> {
    let floats = window.floats;
    let (first, last) = (floats.first()?, floats.last()?);
    let mut result = last.value - first.value;
    let mut zero_at = None;
    if change.of_counter {
        let start_of = |i: usize| window.float_starts.get(i).map_or(0, |s| s.0);
        let mut overlaps = false;
        for (i, pair) in floats.windows(2).enumerate() {
            let (before, now) = (start_of(i), start_of(i + 1));
            overlaps |= starts_overlap(before, pair[0].at.0, now);
            if pair[1].value < pair[0].value || is_start_reset(before, pair[0].at.0, now, pair[1].at.0) {
                result += pair[0].value;
            }
        }
        if overlaps {
            context.notes.start_time_overlap(context.at, context.metric);
        }
        zero_at = zero_in_window(start_of(0), window.start, first.at.0);
    }
    if zero_at.is_some() {
        result += first.value;
    } else if floats.len() < 2 {
        return None;
    }
    let sampled = Sampled {
        first: first.at.0,
        last: last.at.0,
        gaps: floats.len() - 1,
        start: window.start,
        end: window.end,
        zero_at,
        to_zero: (change.of_counter && result > 0.0 && first.value >= 0.0).then(|| first.value / result),
    };
    let factor = sampled.factor();
    Some(Value::Float(result * if change.per_second { factor / context.range_seconds } else { factor }))
}

fn histogram_change(context: &mut Context<'_>, window: &Window<'_>, change: Change) -> Option<Value> {
    let samples = window.histograms;
    let (first, last) = (samples.first()?, samples.last()?);
    let zero_at = change.of_counter.then(|| zero_in_window(start_of(first), window.start, first.at.0)).flatten();
    let mut result = match samples.len() {
        1 => None,
        _ => Some(histogram_increase(context, samples, change.of_counter)?),
    };
    if zero_at.is_some() {
        result = Some(match result {
            None => (*first.histogram).clone(),
            Some(result) => {
                let mut sum = HistogramSum::new(&result);
                merge(context, &mut sum, &first.histogram, 1.0)?;
                sum.finish()
            }
        });
    }
    let result = result?;
    let to_zero = (change.of_counter && result.count > 0.0 && first.histogram.count >= 0.0)
        .then(|| first.histogram.count / result.count);
    let sampled = Sampled {
        first: first.at.0,
        last: last.at.0,
        gaps: samples.len() - 1,
        start: window.start,
        end: window.end,
        zero_at,
        to_zero,
    };
    let factor = sampled.factor();
    let factor = if change.per_second { factor / context.range_seconds } else { factor };
    Some(Value::Histogram(Arc::new(result.scaled(factor))))
}

/// Last minus first, plus the one before each reset. `None`, with a note, when the layouts do not fit.
fn histogram_increase(
    context: &mut Context<'_>,
    samples: &[HistogramSample],
    of_counter: bool,
) -> Option<FloatHistogram> {
    let (first, second, last) = (&samples[0], &samples[1], &samples[samples.len() - 1]);
    let is_gauge = |s: &HistogramSample| s.histogram.reset_hint == ResetHint::Gauge;
    // After a reset between the first two, the layout of the first does not matter: it counts as empty.
    let starts_with_reset = of_counter && is_reset(first, second);
    let custom = if starts_with_reset { second } else { first }.histogram.has_custom_buckets();
    let relevant = if starts_with_reset || !of_counter { &samples[1..] } else { samples };
    let ends = [first, last];
    let checked: Vec<&HistogramSample> = if of_counter { relevant.iter().collect() } else { ends.to_vec() };
    if checked.iter().any(|s| s.histogram.has_custom_buckets() != custom) {
        context.notes.mixed_exponential_custom(context.at, context.metric);
        return None;
    }
    if of_counter && samples.iter().any(is_gauge) {
        context.notes.histogram_not_counter(context.at, context.metric);
    }
    let ends_are_gauges = is_gauge(first) && is_gauge(last);
    if !(of_counter || ends_are_gauges) {
        context.notes.histogram_not_gauge(context.at, context.metric);
    }
    // The result has the lowest resolution of all.
    let coarsest = checked.iter().map(|s| s.histogram.schema).min().unwrap_or(last.histogram.schema);
    let mut sum = HistogramSum::new(&last.histogram);
    if !custom && coarsest < last.histogram.schema {
        sum.reduce_to(coarsest);
    }
    if !starts_with_reset {
        merge(context, &mut sum, &first.histogram, -1.0)?;
    }
    if of_counter {
        let mut overlaps = false;
        for (i, pair) in samples.windows(2).enumerate() {
            overlaps |= starts_overlap(start_of(&pair[0]), pair[0].at.0, start_of(&pair[1]));
            if is_reset(&pair[0], &pair[1]) && !(i == 0 && starts_with_reset) {
                merge(context, &mut sum, &pair[0].histogram, 1.0)?;
            }
        }
        if overlaps {
            context.notes.start_time_overlap(context.at, context.metric);
        }
    }
    let mut result = sum.finish();
    result.reset_hint = ResetHint::Gauge;
    Some(result)
}

/// Adds a multiple, noting what that took. Hints may collide: resets are dealt with here.
pub(super) fn merge(
    context: &mut Context<'_>,
    sum: &mut HistogramSum,
    other: &FloatHistogram,
    factor: f64,
) -> Option<()> {
    let operation = if factor < 0.0 { HistogramOperation::Subtraction } else { HistogramOperation::Addition };
    match sum.add_scaled(other, factor) {
        Err(_) => {
            context.notes.mixed_exponential_custom(context.at, context.metric);
            None
        }
        Ok(merge) => {
            if merge.bounds_reconciled {
                context.notes.bounds_reconciled(context.at, operation);
            }
            Some(())
        }
    }
}

fn start_of(sample: &HistogramSample) -> i64 {
    sample.start.map_or(0, |start| start.0)
}

fn is_reset(before: &HistogramSample, now: &HistogramSample) -> bool {
    is_start_reset(start_of(before), before.at.0, start_of(now), now.at.0)
        || now.histogram.is_reset_after(&before.histogram)
}

/// The start timestamp, where the counter then was zero within the window.
fn zero_in_window(start: i64, window_start: i64, first: i64) -> Option<i64> {
    (start != 0 && start > window_start && start < first).then_some(start)
}

/// Whether the start timestamps say that the counter was reset between two samples. Zero is an unknown start,
/// as is one that equals the sample's own time.
pub(super) const fn is_start_reset(before_start: i64, before: i64, now_start: i64, now: i64) -> bool {
    if now_start == 0 || now_start >= now || now_start < before {
        return false;
    }
    if now_start > before {
        return true;
    }
    // It starts where the sample before ends: a delta, unless the one before has an unknown start.
    before_start <= before && before_start != 0 && before_start != before
}

/// Whether a sample starts before the one before it ended, and not where that started.
const fn starts_overlap(before_start: i64, before: i64, now_start: i64) -> bool {
    now_start != 0 && now_start < before && now_start != before_start
}

pub(super) fn irate(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    instant_change(context, window, true)
}

pub(super) fn idelta(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    instant_change(context, window, false)
}

/// One of the last two samples.
enum Last<'l> {
    Float(&'l FloatSample, i64),
    Histogram(&'l HistogramSample),
}

impl Last<'_> {
    fn at(&self) -> i64 {
        match self {
            Self::Float(sample, _) => sample.at.0,
            Self::Histogram(sample) => sample.at.0,
        }
    }
}

fn instant_change(context: &mut Context<'_>, window: &Window<'_>, of_counter: bool) -> Option<Value> {
    let floats = window.floats.iter().enumerate().rev().take(2);
    let starts = window.float_starts;
    let mut last: Vec<Last<'_>> = floats
        .map(|(i, sample)| Last::Float(sample, starts.get(i).map_or(0, |s| s.0)))
        .chain(window.histograms.iter().rev().take(2).map(Last::Histogram))
        .collect();
    last.sort_by_key(|sample| std::cmp::Reverse(sample.at()));
    let [now, before, ..] = last.as_slice() else { return None };
    let interval = (now.at() - before.at()) as f64 / 1000.0;
    if interval == 0.0 {
        return None;
    }
    match (before, now) {
        (Last::Float(before, before_start), Last::Float(now, now_start)) => {
            let reset = of_counter
                && (now.value < before.value || is_start_reset(*before_start, before.at.0, *now_start, now.at.0));
            let change = if reset { now.value } else { now.value - before.value };
            Some(Value::Float(if of_counter { change / interval } else { change }))
        }
        (Last::Histogram(before), Last::Histogram(now)) => {
            let gauges = [before, now].map(|s| s.histogram.reset_hint == ResetHint::Gauge);
            if of_counter && gauges.contains(&true) {
                context.notes.histogram_not_counter(context.at, context.metric);
            }
            if !of_counter && gauges.contains(&false) {
                context.notes.histogram_not_gauge(context.at, context.metric);
            }
            let mut sum = HistogramSum::new(&now.histogram);
            if !of_counter || !is_reset(before, now) {
                merge(context, &mut sum, &before.histogram, -1.0)?;
            }
            let mut change = sum.finish();
            change.reset_hint = ResetHint::Gauge;
            let change = if of_counter { change.divided(interval) } else { change };
            Some(Value::Histogram(Arc::new(change)))
        }
        _ => {
            context.notes.mixed_floats_histograms(context.at, context.metric);
            None
        }
    }
}
