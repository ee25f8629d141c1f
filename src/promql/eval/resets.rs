//! `resets` and `changes`: how often neighbouring samples differ.

use super::range::{Context, Window};
use super::rate::is_start_reset;
use crate::promql::ast::Extension;
use crate::promql::histogram::FloatHistogram;
use crate::promql::value::Value;

/// A sample of either kind.
#[derive(Clone, Copy)]
enum Point<'p> {
    Float(f64),
    Histogram(&'p FloatHistogram),
}

/// A sample, its time and its start timestamp.
type Timed<'p> = (i64, i64, Point<'p>);

pub(super) fn resets(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    count(context, window, |before, now| {
        is_start_reset(before.1, before.0, now.1, now.0)
            || match (before.2, now.2) {
                (Point::Float(before), Point::Float(now)) => now < before,
                (Point::Histogram(before), Point::Histogram(now)) => now.is_reset_after(before),
                _ => true,
            }
    })
}

pub(super) fn changes(context: &mut Context<'_>, window: &Window<'_>) -> Option<Value> {
    count(context, window, |before, now| match (before.2, now.2) {
        (Point::Float(before), Point::Float(now)) => now != before && !(now.is_nan() && before.is_nan()),
        (Point::Histogram(before), Point::Histogram(now)) => !now.same(before),
        _ => true,
    })
}

fn count(context: &Context<'_>, window: &Window<'_>, differ: impl Fn(&Timed<'_>, &Timed<'_>) -> bool) -> Option<Value> {
    let mut points: Vec<Timed<'_>> = Vec::with_capacity(window.floats.len() + window.histograms.len());
    points.extend(window.floats.iter().enumerate().map(|(i, s)| {
        let start = window.float_starts.get(i).map_or(0, |start| start.0);
        (s.at.0, start, Point::Float(s.value))
    }));
    points.extend(window.histograms.iter().map(|s| {
        let start = s.start.map_or(0, |start| start.0);
        (s.at.0, start, Point::Histogram(&s.histogram))
    }));
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        points.sort_by_key(|(at, ..)| *at);
    }
    let mut used = points.as_slice();
    if context.extension == Some(Extension::Anchored) {
        // From the last sample at or before the start of the range.
        let inside = points.partition_point(|(at, ..)| *at <= window.start);
        if inside == points.len() {
            return None;
        }
        used = &points[inside.saturating_sub(1)..];
    }
    let count = used.windows(2).filter(|pair| differ(&pair[0], &pair[1])).count();
    Some(Value::Float(count as f64))
}
