//! Which series there are, by their labels.
//!
//! Each value of each label has a list of the series that bear it. The list of a metric name is in order of the labels,
//! so that the most common query finds its series sorted; the others are in order of the series' places. New series stand
//! at the end of their name's list until somebody looks: then the lists that have grown are put in order, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::store::series::Series;
use crate::types::{METRIC_NAME, MatchOp, Matcher};

type Postings = BTreeMap<Box<str>, Vec<u32>>;

/// All series and where to find them.
#[derive(Debug, Default)]
pub(super) struct Index {
    slots: Vec<Option<Arc<Series>>>,
    labels: BTreeMap<Box<str>, Postings>,
    /// Metric names whose lists are not in order.
    grown: BTreeSet<Box<str>>,
    count: usize,
}

impl Index {
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Puts a series into a place, which is free or the next one.
    pub fn add(&mut self, slot: u32, series: &Arc<Series>) {
        let place = slot as usize;
        if place >= self.slots.len() {
            self.slots.resize(place + 1, None);
        }
        self.slots[place] = Some(Arc::clone(series));
        self.count += 1;
        for (name, value) in &*series.labels {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.into(), Postings::new());
            }
            let Some(values) = self.labels.get_mut(name) else { continue };
            if !values.contains_key(value) {
                values.insert(value.into(), Vec::new());
            }
            let Some(list) = values.get_mut(value) else { continue };
            if name == METRIC_NAME {
                if !self.grown.contains(value) {
                    self.grown.insert(value.into());
                }
                list.push(slot);
            } else {
                let at = list.partition_point(|other| *other < slot);
                list.insert(at, slot);
            }
        }
    }

    /// Whether all lists are in order.
    pub fn is_in_order(&self) -> bool {
        self.grown.is_empty()
    }

    /// Puts the lists that have grown in order.
    pub fn put_in_order(&mut self) {
        let Some(names) = self.labels.get_mut(METRIC_NAME) else { return };
        let labels_of = |slot: &u32| self.slots[*slot as usize].as_ref().map(|series| &series.labels);
        for name in std::mem::take(&mut self.grown) {
            if let Some(list) = names.get_mut(&name) {
                // Most of it is: this takes about as long as to look at it.
                list.sort_by(|a, b| labels_of(a).cmp(&labels_of(b)));
            }
        }
    }

    /// Empties these places.
    pub fn remove(&mut self, slots: &[u32]) {
        let mut touched: BTreeSet<(Box<str>, Box<str>)> = BTreeSet::new();
        for slot in slots {
            let Some(series) = self.slots.get_mut(*slot as usize).and_then(Option::take) else { continue };
            self.count -= 1;
            touched.extend(series.labels.iter().map(|(name, value)| (name.into(), value.into())));
        }
        for (name, value) in touched {
            let Some(values) = self.labels.get_mut(&name) else { continue };
            if let Some(list) = values.get_mut(&value) {
                list.retain(|slot| self.slots[*slot as usize].is_some());
                if list.is_empty() {
                    values.remove(&value);
                }
            }
            if values.is_empty() {
                self.labels.remove(&name);
            }
        }
    }

    /// The series that satisfy all matchers, in order of their labels.
    pub fn find(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        let Some((candidates, is_sorted)) = self.candidates(matchers) else { return Vec::new() };
        let matches = |series: &&Arc<Series>| {
            matchers.iter().all(|matcher| matcher.matches(series.labels.get(&matcher.name).unwrap_or("")))
        };
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
            let list = self.labels.get(&matcher.name)?.get(value)?;
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
        let values = self.labels.get(&matcher.name)?;
        let lists = values.iter().filter(|(value, _)| matcher.matches(value)).map(|(_, list)| list);
        let union: Vec<u32> = lists.flatten().copied().collect();
        // Metric names ascend, and so do the labels within each; but other labels may sort before the name.
        Some((Candidates::Union(union), false))
    }

    /// All label names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(|name| &**name)
    }

    /// All values of a label, and how many series bear each.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, usize)> {
        self.labels.get(name).into_iter().flatten().map(|(value, list)| (&**value, list.len()))
    }

    /// All series, in no order.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Arc<Series>)> {
        (0_u32..).zip(&self.slots).filter_map(|(slot, series)| Some((slot, series.as_ref()?)))
    }
}

enum Candidates<'a> {
    All,
    List(&'a [u32]),
    Union(Vec<u32>),
}
