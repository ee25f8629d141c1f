//! The read side: series by their labels, and their samples.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::promql::{
    Bucket, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, FloatSample, HistogramSample, ResetHint, Selection, SeriesView,
    Storage, StorageError,
};
use crate::store::Store;
use crate::store::series::{Data, Message, Series};
use crate::types::{Labels, Matcher, Timestamp};
use crate::wire::{self, Histogram, Limits};

impl Storage for Store {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let found = self.found(selection.matchers);
        let (after, until) = (selection.after.0, selection.until.0);
        let (mut floats, mut messages, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
        for series in found {
            floats.clear();
            messages.clear();
            histograms.clear();
            series.look(|data| data.read(after, until, &mut floats, &mut messages));
            for (at, message) in &messages {
                let histogram = decoded(message, &self.0.settings.limits)?;
                histograms.push(HistogramSample { at: *at, start: None, histogram });
            }
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            let labels = &series.labels.to_labels();
            let view = SeriesView { labels, floats: &floats, float_starts: &[], histograms: &histograms };
            if visit(view).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn decoded(message: &Message, limits: &Limits) -> Result<Arc<FloatHistogram>, StorageError> {
    match message {
        Message::Result(histogram) => Ok(Arc::clone(histogram)),
        Message::Wire(bytes) => {
            let histogram = Histogram::decode(bytes, limits).map_err(|error| StorageError(error.to_string()))?;
            Ok(Arc::new(float_histogram(&histogram)))
        }
    }
}

/// A received histogram as queries see it.
pub fn float_histogram(histogram: &Histogram) -> FloatHistogram {
    let buckets = |buckets: &[wire::Bucket]| {
        buckets.iter().map(|bucket| Bucket { index: bucket.index, count: bucket.count }).collect()
    };
    FloatHistogram {
        reset_hint: match histogram.hint {
            wire::ResetHint::Unknown => ResetHint::Unknown,
            wire::ResetHint::Reset => ResetHint::Reset,
            wire::ResetHint::NoReset => ResetHint::NotReset,
            wire::ResetHint::Gauge => ResetHint::Gauge,
        },
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        count: histogram.count,
        sum: histogram.sum,
        positive: buckets(&histogram.positive),
        negative: buckets(&histogram.negative),
        custom_bounds: (histogram.schema == CUSTOM_BUCKETS_SCHEMA).then(|| histogram.custom_bounds.as_slice().into()),
    }
}

/// So many series are made ready for a reader while writers wait.
const SETTLED_SERIES: usize = 1_024;

impl Store {
    /// The series that satisfy all matchers, with nothing left to be compressed.
    fn found(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        let found = self.0.lock_index().find(matchers);
        for some in found.chunks(SETTLED_SERIES) {
            self.0.lock_intake().settle_all(&self.0, some);
        }
        found
    }

    /// The label sets of series that satisfy all matchers and have samples between these times, sorted.
    pub fn label_sets(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<Arc<Labels>> {
        let found = self.found(matchers);
        let is_live = |series: &&Arc<Series>| series.look(|data| data.overlaps(from.0.saturating_sub(1), to.0));
        found.iter().filter(is_live).map(|series| series.labels.to_labels()).collect()
    }

    /// The names of all labels.
    pub fn label_names(&self) -> BTreeSet<String> {
        self.0.lock_index().names().map(str::to_owned).collect()
    }

    /// All values of a label.
    pub fn label_values(&self, name: &str) -> BTreeSet<String> {
        self.0.lock_index().values(name).map(|(value, _)| value.to_owned()).collect()
    }

    /// How many series bear each value of a label.
    pub fn value_counts(&self, name: &str) -> Vec<(String, usize)> {
        self.0.lock_index().values(name).map(|(value, count)| (value.to_owned(), count)).collect()
    }

    /// The newest value of each series that satisfies all matchers, if it is a float.
    pub fn newest(&self, matchers: &[Matcher]) -> Vec<(Arc<Labels>, FloatSample)> {
        let newest = |series: &Arc<Series>| Some((series.labels.to_labels(), series.look(Data::newest_float)?));
        self.found(matchers).iter().filter_map(newest).collect()
    }
}
