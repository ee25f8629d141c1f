//! Which series there are, by their labels.
//!
//! Each value of each label has a list of the series that bear it. The list of a metric name is in order of the labels,
//! so that the most common query finds its series sorted; the others are in order of the series' places. Nobody but
//! readers needs the lists: new series wait until somebody looks, and a name's list is put in order then, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::store::series::Series;
use crate::types::{METRIC_NAME, MatchOp, Matcher};

/// All series and where to find them.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<Option<Arc<Series>>>,
    /// By the pair's place among all.
    lists: Vec<Vec<u32>>,
    /// The pairs with a list, by name and value.
    labels: BTreeMap<Box<str>, BTreeMap<Box<str>, u32>>,
}

impl Index {
    /// Adds new series, and puts the lists in order.
    pub fn add(&mut self, new: impl IntoIterator<Item = Arc<Series>>) {
        // The lists of metric names that are not in order any more.
        let mut grown = BTreeSet::new();
        for series in new {
            let (slot, place) = (series.place, series.place as usize);
            if place >= self.slots.len() {
                self.slots.resize(place + 1, None);
            }
            for pair in series.labels.pairs() {
                let id = pair.id as usize;
                if id >= self.lists.len() {
                    self.lists.resize(id + 1, Vec::new());
                }
                let list = &mut self.lists[id];
                if list.is_empty() {
                    self.labels.entry(pair.name().into()).or_default().insert(pair.value().into(), pair.id);
                }
                if pair.name() == METRIC_NAME {
                    list.push(slot);
                    grown.insert(pair.id);
                } else {
                    let at = list.partition_point(|other| *other < slot);
                    list.insert(at, slot);
                }
            }
            self.slots[place] = Some(series);
        }
        for id in grown {
            let labels_of = |slot: &u32| self.slots[*slot as usize].as_ref().map(|series| &series.labels);
            // Most of it is: this takes about as long as to look at it.
            self.lists[id as usize].sort_by(|a, b| match (labels_of(a), labels_of(b)) {
                (Some(a), Some(b)) => a.cmp(b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            });
        }
    }

    /// Empties these places.
    pub fn remove(&mut self, slots: &[u32]) {
        let mut touched = BTreeMap::new();
        for slot in slots {
            let Some(series) = self.slots.get_mut(*slot as usize).and_then(Option::take) else { continue };
            touched.extend(series.labels.pairs().map(|pair| (pair.id, Arc::clone(pair))));
        }
        for (id, pair) in touched {
            let list = &mut self.lists[id as usize];
            list.retain(|slot| self.slots[*slot as usize].is_some());
            if !list.is_empty() {
                continue;
            }
            *list = Vec::new();
            if let Some(values) = self.labels.get_mut(pair.name()) {
                values.remove(pair.value());
                if values.is_empty() {
                    self.labels.remove(pair.name());
                }
            }
        }
    }

    /// The series that satisfy all matchers, in order of their labels.
    pub fn find(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        let Some((candidates, is_sorted)) = self.candidates(matchers) else { return Vec::new() };
        let matches = |series: &&Arc<Series>| matchers.iter().all(|matcher| matcher.matches_in(&series.labels));
        let of = |slot: &u32| self.slots.get(*slot as usize).and_then(Option::as_ref);
        let mut found: Vec<Arc<Series>> = match &candidates {
            Candidates::All => self.slots.iter().flatten().filter(matches).cloned().collect(),
            Candidates::List(list) => list.iter().filter_map(of).filter(matches).cloned().collect(),
            Candidates::Union(list) => list.iter().filter_map(of).filter(matches).cloned().collect(),
        };
        if !is_sorted {
            found.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        }
        found
    }

    /// As few as cheaply possible, the sought ones among them, and whether they are in order of labels; nothing when
    /// there can be none.
    fn candidates(&self, matchers: &[Matcher]) -> Option<(Candidates<'_>, bool)> {
        let mut best: Option<(&[u32], bool)> = None;
        for matcher in matchers {
            let MatchOp::Equal(value) = &matcher.op else { continue };
            if value.is_empty() {
                continue;
            }
            let list = &self.lists[*self.labels.get(&matcher.name)?.get(value)? as usize];
            if best.is_none_or(|(other, _)| list.len() < other.len()) {
                best = Some((list, &*matcher.name == METRIC_NAME));
            }
        }
        if let Some((list, is_sorted)) = best {
            return Some((Candidates::List(list), is_sorted));
        }
        // Without an equality the values of one label are gone through, the name's if possible.
        let narrowing = || matchers.iter().filter(|matcher| !matcher.matches(""));
        let named = narrowing().find(|matcher| &*matcher.name == METRIC_NAME);
        let Some(matcher) = named.or_else(|| narrowing().next()) else { return Some((Candidates::All, false)) };
        let values = self.labels.get(&matcher.name)?.iter().filter(|(value, _)| matcher.matches(value));
        let union: Vec<u32> = values.flat_map(|(_, id)| &self.lists[*id as usize]).copied().collect();
        // Metric names ascend, and so do the labels within each; but other labels may sort before the name.
        Some((Candidates::Union(union), false))
    }

    /// All label names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(|name| &**name)
    }

    /// All values of a label, and how many series bear each.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, usize)> {
        let values = self.labels.get(name).into_iter().flatten();
        values.map(|(value, id)| (&**value, self.lists[*id as usize].len()))
    }

    /// All series, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.slots.iter().flatten()
    }
}

enum Candidates<'a> {
    All,
    List(&'a [u32]),
    Union(Vec<u32>),
}
