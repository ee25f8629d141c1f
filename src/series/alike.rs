//! What has been found out of series, by the values of the labels that decide on it: a new one among thousands alike is
//! not compared with every selector again.

use std::collections::BTreeMap;

use crate::series::Index;
use crate::types::{BorrowedLabels, METRIC_NAME, Selector};
use crate::wire::{Changes, WireKey};

/// Combinations of values that are remembered; then they are worked out again.
const ALIKE_LIMIT_COUNT: usize = 1 << 16;
/// In place of a metric name, which is never empty.
const ANY_NAME: &str = "";

/// Hashes of values are put together as the digits of a number to this base; any large odd one does.
const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// A number for each combination of values that was met. Not part of any state: what is missing is worked out again.
#[derive(Debug, Default)]
pub struct Alike {
    found: Index,
    /// The labels that decide on the label set before this one, the metric's name first. Empty when that has to be worked
    /// out.
    deciders: Vec<Decider>,
    /// What was found out of it.
    last: Option<Met>,
}

/// A label that decides on a label set.
#[derive(Debug)]
struct Decider {
    /// Where it stands in the set.
    place: Option<usize>,
    /// Of its value; zero where there is none.
    hash: u128,
}

/// What is known of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// No selector can match it.
    Nothing,
    /// What was found out of one like it.
    Known(u32),
    /// Nothing yet; this stands for all like it.
    New(u128),
}

/// The labels on which it depends which of some selectors match a series, by the metric name that a selector pins;
/// under an empty one those of selectors that pin none.
#[derive(Clone, Debug, Default)]
pub struct Deciding(BTreeMap<Box<str>, Vec<Box<str>>>);

impl Alike {
    /// What was found out of series like this one, which differs from the one before in these places.
    pub fn meet(&mut self, key: &WireKey, labels: &BorrowedLabels<'_>, changes: Changes, deciding: &Deciding) -> Met {
        let is_named_anew = self.deciders.first().is_none_or(|metric_name| metric_name.may_be_other(changes));
        if changes.may_be_names() || is_named_anew {
            self.deciders.clear();
            self.deciders.push(Decider::new(METRIC_NAME, labels, key));
            let Some(names) = deciding.of(labels.get(METRIC_NAME).unwrap_or_default()) else {
                self.last = Some(Met::Nothing);
                return Met::Nothing;
            };
            self.deciders.extend(names.iter().map(|name| Decider::new(name, labels, key)));
            self.last = None;
        } else {
            for decider in self.deciders.iter_mut().filter(|decider| decider.may_be_other(changes)) {
                decider.hash = decider.hash_of_value(labels, key);
                self.last = None;
            }
        }
        if let Some(met) = self.last {
            return met;
        }
        let hash =
            self.deciders.iter().fold(0_u128, |all, decider| all.wrapping_mul(FACTOR).wrapping_add(decider.hash));
        self.last = self.found.get(hash).map(Met::Known);
        self.last.unwrap_or(Met::New(hash))
    }

    /// Remembers what was found out of the series that was met last, which was [`Met::New`].
    pub fn insert(&mut self, hash: u128, found: u32) {
        if self.found.len() >= ALIKE_LIMIT_COUNT {
            self.found = Index::default();
        }
        self.found.insert(hash, found);
        self.last = Some(Met::Known(found));
    }

    /// Forgets all: it is so no more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Decider {
    fn new(name: &str, labels: &BorrowedLabels<'_>, key: &WireKey) -> Self {
        let mut decider = Self { place: labels.place(name), hash: 0 };
        decider.hash = decider.hash_of_value(labels, key);
        decider
    }

    fn hash_of_value(&self, labels: &BorrowedLabels<'_>, key: &WireKey) -> u128 {
        let label = self.place.and_then(|place| labels.nth(place));
        label.map_or(0, |(_, value)| key.hash(value.as_bytes()))
    }

    fn may_be_other(&self, changes: Changes) -> bool {
        self.place.is_some_and(|place| changes.may_be(place))
    }
}

impl Deciding {
    /// Adds a selector, and other labels that matter where it may match; see [`Self::done`].
    pub fn add<'a>(&mut self, selector: &'a Selector, others: impl IntoIterator<Item = &'a str>) {
        let names = self.0.entry(selector.metric_name().unwrap_or(ANY_NAME).into()).or_default();
        let others = selector.matchers().iter().map(|matcher| &*matcher.name).chain(others);
        names.extend(others.filter(|name| *name != METRIC_NAME).map(Into::into));
        // There are thousands of services of the same metric: the list is to stay short on the way, too.
        names.sort_unstable();
        names.dedup();
    }

    /// All selectors are there: what has a name may also be of interest to those that name none.
    #[must_use]
    pub fn done(mut self) -> Self {
        let unnamed = self.0.get(ANY_NAME).cloned().unwrap_or_default();
        for names in self.0.values_mut() {
            names.extend_from_slice(&unnamed);
            names.sort_unstable();
            names.dedup();
        }
        self
    }

    /// The labels that decide on a series of this metric, besides its name; `None` where no selector can match.
    pub fn of(&self, metric_name: &str) -> Option<&[Box<str>]> {
        let names = self.0.get(metric_name).or_else(|| self.0.get(ANY_NAME))?;
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Matcher;
    use crate::wire::{LabelReader, Limits};

    #[test]
    fn only_labels_that_decide_tell_series_apart() {
        let selector = |matchers: Vec<Matcher>| Selector::new(matchers);
        let mut deciding = Deciding::default();
        deciding.add(&selector(vec![Matcher::equal(METRIC_NAME, "up"), Matcher::equal("job", "a")]), ["version"]);
        assert_eq!(deciding.clone().done().of("down"), None);
        deciding.add(&selector(vec![Matcher::regex(METRIC_NAME, "u.*").unwrap(), Matcher::not_equal("zone", "")]), []);
        let deciding = deciding.done();
        let list = |name| deciding.of(name).unwrap().iter().map(|name| &**name).collect::<Vec<_>>();
        assert_eq!((list("up"), list("down")), (vec!["job", "version", "zone"], vec!["zone"]));
    }

    fn labels(pairs: &[(&'static str, &'static str)]) -> BorrowedLabels<'static> {
        let mut labels = BorrowedLabels::default();
        labels.extend(pairs.iter().copied());
        labels.sort().unwrap();
        labels
    }

    #[test]
    fn what_is_alike_is_known() {
        let mut deciding = Deciding::default();
        for name in ["up", "down"] {
            deciding
                .add(&Selector::new(vec![Matcher::equal(METRIC_NAME, name), Matcher::equal("job", "a")]), ["version"]);
        }
        let deciding = deciding.done();
        let (mut alike, key) = (Alike::default(), WireKey::new([7; 192]));
        let meet = |alike: &mut Alike, name: &'static str, rest: &[(&'static str, &'static str)]| {
            alike.meet(&key, &labels(&[&[(METRIC_NAME, name)][..], rest].concat()), Changes::ALL, &deciding)
        };
        let Met::New(first) = meet(&mut alike, "up", &[("job", "a"), ("pod", "1")]) else { panic!("it is new") };
        assert_eq!(meet(&mut alike, "up", &[("job", "a"), ("pod", "2"), ("version", "")]), Met::New(first));
        alike.insert(first, 5);
        assert_eq!(meet(&mut alike, "up", &[("job", "a")]), Met::Known(5));
        for (name, other) in [("up", [("job", "b")]), ("up", [("version", "a")]), ("down", [("job", "a")])] {
            assert!(matches!(meet(&mut alike, name, &other), Met::New(hash) if hash != first), "{name} {other:?}");
        }
        assert_eq!(meet(&mut alike, "other", &[("job", "a")]), Met::Nothing);
        alike.insert(first, 6);
        alike.clear();
        assert_eq!(meet(&mut alike, "up", &[("job", "a")]), Met::New(first));
        (0..ALIKE_LIMIT_COUNT as u32).for_each(|n| alike.insert(u128::from(n) << 64 | u128::from(n), n));
        assert!(alike.found.len() <= ALIKE_LIMIT_COUNT);
    }

    /// Behind each other, with only the changed places looked at, series are what they are alone.
    #[test]
    fn series_behind_each_other_are_what_they_are_alone() {
        let mut deciding = Deciding::default();
        deciding.add(&Selector::new(vec![Matcher::equal(METRIC_NAME, "up"), Matcher::equal("job", "a")]), ["version"]);
        let (deciding, key) = (deciding.done(), WireKey::new([7; 192]));
        let sets = ["up", "down"].into_iter().flat_map(|name| {
            let jobs = ["a", "b"].into_iter().flat_map(|job| ["1", "2"].map(|pod| (job, pod)));
            jobs.flat_map(move |(job, pod)| {
                ["", "1"].map(|version| {
                    let pairs = [(METRIC_NAME, name), ("job", job), ("pod", pod), ("version", version)];
                    encoded(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
                })
            })
        });
        let sets: Vec<Vec<u8>> = sets.collect();
        let (mut alike, limits) = (Alike::default(), Limits::default());
        let mut found = BTreeMap::new();
        let mut reader = LabelReader::default();
        for (first, second) in (0..sets.len()).flat_map(|first| (0..sets.len()).map(move |second| (first, second))) {
            for set in [&sets[first], &sets[second]] {
                reader.read(&**set, &limits).unwrap();
                let met = alike.meet(&key, reader.set(), reader.changes(), &deciding);
                let alone = Alike::default().meet(&key, reader.set(), Changes::ALL, &deciding);
                match (met, alone) {
                    (Met::Nothing, Met::Nothing) => {}
                    (Met::Known(number), Met::New(hash)) => assert_eq!(found.get(&hash), Some(&number)),
                    (Met::New(met), Met::New(hash)) => {
                        let number = found.len() as u32;
                        assert_eq!((met, found.insert(hash, number)), (hash, None));
                        alike.insert(hash, number);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(found.len(), 4);
    }

    fn encoded<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
        let field = |key: u8, text: &[u8]| [&[key, text.len() as u8], text].concat();
        let label = |(name, value): (&str, &str)| {
            field(0x0a, &[field(0x0a, name.as_bytes()), field(0x12, value.as_bytes())].concat())
        };
        labels.flat_map(label).collect()
    }
}
