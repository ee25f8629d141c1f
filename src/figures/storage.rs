//! Everything a query can see: the store, and the figures of a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::Snapshot;
use crate::figures;
use crate::promql::{FloatSample, Selection, SeriesView, Storage, StorageError};
use crate::store::Store;
use crate::types::{Labels, Matcher, Timestamp};

/// The store with the figures of one snapshot on top: a figure that was recorded goes on to the snapshot's time.
#[derive(Clone, Debug)]
pub struct Queryable {
    store: Store,
    snapshot: Arc<Snapshot>,
}

impl Queryable {
    /// What is to be asked from now on, as of this snapshot.
    pub fn new(store: Store, snapshot: Arc<Snapshot>) -> Self {
        Self { store, snapshot }
    }

    fn figures(&self, matchers: &[Matcher], after: Timestamp, until: Timestamp) -> BTreeMap<Arc<Labels>, f64> {
        let mut found = BTreeMap::new();
        if after < self.snapshot.at && self.snapshot.at <= until {
            figures::each(&self.snapshot, matchers, |labels, value| {
                found.insert(Arc::new(labels), value);
            });
        }
        found
    }

    /// The label sets of series that satisfy all matchers and have samples between these times, sorted.
    pub fn label_sets(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<Arc<Labels>> {
        let mut sets = self.store.label_sets(matchers, from, to);
        let figures = self.figures(matchers, Timestamp(from.0.saturating_sub(1)), to);
        if !figures.is_empty() {
            sets.extend(figures.into_keys());
            sets.sort_unstable();
            sets.dedup();
        }
        sets
    }

    /// The names of all labels.
    pub fn label_names(&self) -> BTreeSet<String> {
        let mut names = self.store.label_names();
        figures::each(&self.snapshot, &[], |labels, _| {
            for (name, _) in &labels {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        });
        names
    }

    /// All values of a label.
    pub fn label_values(&self, name: &str) -> BTreeSet<String> {
        let mut values = self.store.label_values(name);
        figures::each(&self.snapshot, &[], |labels, _| {
            if let Some(value) = labels.get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        });
        values
    }
}

impl Storage for Queryable {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let mut figures = self.figures(selection.matchers, selection.after, selection.until).into_iter().peekable();
        if figures.peek().is_none() {
            return self.store.select(selection, visit);
        }
        let sample = |value: f64| FloatSample { at: self.snapshot.at, value };
        let mut ended = false;
        let mut joined: Vec<FloatSample> = Vec::new();
        self.store.select(selection, &mut |series| {
            // Both come in order of labels.
            while let Some((labels, value)) = figures.next_if(|(labels, _)| labels < series.labels) {
                if visit(alone(&labels, &[sample(value)])).is_break() {
                    ended = true;
                    return ControlFlow::Break(());
                }
            }
            let mut shown = series;
            if let Some((_, value)) = figures.next_if(|(labels, _)| labels == series.labels)
                && series.floats.last().is_none_or(|last| last.at < self.snapshot.at)
            {
                joined.clear();
                joined.extend_from_slice(series.floats);
                joined.push(sample(value));
                shown = SeriesView { floats: &joined, ..series };
            }
            let flow = visit(shown);
            ended = flow.is_break();
            flow
        })?;
        if !ended {
            for (labels, value) in figures {
                if visit(alone(&labels, &[sample(value)])).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn alone<'a>(labels: &'a Arc<Labels>, floats: &'a [FloatSample]) -> SeriesView<'a> {
    SeriesView { labels, floats, float_starts: &[], histograms: &[] }
}
