//! Series in memory, and what a store does to histograms on the way: it works out their counter reset hints.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use sloburn::promql::{
    Bucket, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, FloatSample, HistogramSample, ResetHint, Selection, SeriesView,
    Storage, StorageError, Value, is_stale,
};
use sloburn::types::{Labels, METRIC_NAME, Timestamp};

#[derive(Default)]
pub struct Memory {
    series: BTreeMap<Arc<Labels>, Samples>,
}

#[derive(Default)]
struct Samples {
    floats: Vec<FloatSample>,
    starts: Vec<Timestamp>,
    histograms: Vec<HistogramSample>,
    newest: Option<i64>,
}

impl Memory {
    /// Adds a sample; one not later than the newest of its series is ignored.
    pub fn push(&mut self, labels: &Labels, at: i64, start: Option<i64>, value: Value) {
        let samples = match self.series.get_mut(labels) {
            Some(samples) => samples,
            None => self.series.entry(Arc::new(labels.clone())).or_default(),
        };
        if samples.newest.is_some_and(|newest| at <= newest) {
            return;
        }
        let follows_float = samples.floats.last().map(|s| s.at.0) == samples.newest && samples.newest.is_some();
        samples.newest = Some(at);
        let at = Timestamp(at);
        match value {
            Value::Float(value) => {
                samples.floats.push(FloatSample { at, value });
                samples.starts.push(Timestamp(start.unwrap_or(0)));
            }
            Value::Histogram(histogram) => {
                let before = samples.histograms.last().filter(|_| !follows_float).map(|s| &*s.histogram);
                let histogram = Arc::new(with_hint(&histogram, before));
                samples.histograms.push(HistogramSample { at, start: start.map(Timestamp), histogram });
            }
        }
    }
}

/// The hint a store gives a histogram by the one before it. Where its chunk begins, as after a reset, it knows
/// none; within a chunk there is no reset.
fn with_hint(histogram: &FloatHistogram, before: Option<&FloatHistogram>) -> FloatHistogram {
    let mut hinted = histogram.clone();
    if hinted.reset_hint == ResetHint::Gauge {
        return hinted;
    }
    let continues = before.is_some_and(|before| {
        hinted.reset_hint != ResetHint::Reset
            && before.reset_hint != ResetHint::Gauge
            && !is_stale(before.sum)
            && hinted.schema == before.schema
            && hinted.zero_threshold == before.zero_threshold
            && hinted.custom_bounds.as_deref() == before.custom_bounds.as_deref()
    });
    hinted.reset_hint = ResetHint::Unknown;
    if continues && (is_stale(hinted.sum) || before.is_some_and(|before| !hinted.is_reset_after(before))) {
        hinted.reset_hint = ResetHint::NotReset;
    }
    hinted
}

impl Storage for Memory {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for (labels, samples) in &self.series {
            if !selection.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))) {
                continue;
            }
            let (after, until) = (selection.after, selection.until);
            let floats =
                samples.floats.partition_point(|s| s.at <= after)..samples.floats.partition_point(|s| s.at <= until);
            let histograms = samples.histograms.partition_point(|s| s.at <= after)
                ..samples.histograms.partition_point(|s| s.at <= until);
            let starts = &samples.starts[floats.clone()];
            let view = SeriesView {
                labels,
                floats: &samples.floats[floats],
                float_starts: if starts.iter().all(|s| s.0 == 0) { &[] } else { starts },
                histograms: &samples.histograms[histograms],
            };
            if visit(view).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// `load_with_nhcb`: classic histograms also as native ones with custom buckets.
pub fn classic_as_native(loaded: &[(Labels, Vec<(i64, f64)>)]) -> Vec<(Labels, i64, FloatHistogram)> {
    #[derive(Default)]
    struct Classic {
        buckets: Vec<(f64, f64)>,
        count: Option<f64>,
        sum: f64,
    }
    let mut classics: BTreeMap<(Labels, i64), Classic> = BTreeMap::new();
    for (labels, samples) in loaded {
        let name = labels.get(METRIC_NAME).unwrap_or("");
        let Some((base, part)) = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).map(|base| (base, *suffix)))
        else {
            continue;
        };
        let bound = sloburn_bound(labels.get("le").unwrap_or(""));
        let key = labels.clone().with(METRIC_NAME, base).with("le", "");
        for (at, value) in samples {
            if part == "_bucket" && bound.is_none() {
                continue;
            }
            let classic = classics.entry((key.clone(), *at)).or_default();
            match (part, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("_count", _) => classic.count = Some(*value),
                ("_sum", _) => classic.sum = *value,
                _ => {}
            }
        }
    }
    let convert = |((labels, at), mut classic): ((Labels, i64), Classic)| {
        classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest = classic.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = classic.count.unwrap_or(highest);
        if classic.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            classic.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut positive = Vec::new();
        for (index, (_, cumulative)) in classic.buckets.iter().enumerate() {
            positive.push(Bucket { index: index as i32, count: cumulative - before });
            before = *cumulative;
        }
        let bounds: Vec<f64> = classic.buckets.iter().map(|(b, _)| *b).filter(|b| b.is_finite()).collect();
        let histogram = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: classic.sum,
            positive,
            custom_bounds: Some(bounds.into()),
            ..FloatHistogram::default()
        };
        (labels, at, histogram.compacted())
    };
    classics.into_iter().map(convert).collect()
}

fn sloburn_bound(label: &str) -> Option<f64> {
    super::notation::number(label).ok().filter(|bound| !bound.is_nan())
}
