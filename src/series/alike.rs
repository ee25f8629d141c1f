//! What has been found out of series, by the values of the labels that decide on it: a new one among thousands alike is
//! not compared with every selector again.

use std::collections::BTreeMap;

use crate::series::Index;
use crate::types::{BorrowedLabels, METRIC_NAME, Selector};
use crate::wire::WireKey;

/// Combinations of values that are remembered; then they are worked out again.
const ALIKE_LIMIT_COUNT: usize = 1 << 16;
/// In place of a metric name, which is never empty.
const ANY_NAME: &str = "";

/// A number for each combination of values that was met. Not part of any state: what is missing is worked out again.
#[derive(Debug, Default)]
pub struct Alike {
    found: Index,
    buffer: Vec<u8>,
}

/// The labels on which it depends which of some selectors match a series, by the metric name that a selector pins;
/// under an empty one those of selectors that pin none.
#[derive(Clone, Debug, Default)]
pub struct Deciding(BTreeMap<Box<str>, Vec<Box<str>>>);

impl Alike {
    /// What stands for the values of these labels, and for the metric's name.
    pub fn hash(&mut self, key: &WireKey, labels: &BorrowedLabels<'_>, deciding: &[Box<str>]) -> u128 {
        self.buffer.clear();
        for name in [METRIC_NAME].into_iter().chain(deciding.iter().map(|name| &**name)) {
            self.buffer.extend_from_slice(labels.get(name).unwrap_or_default().as_bytes());
            // No text holds this byte.
            self.buffer.push(0xff);
        }
        key.hash(&self.buffer)
    }

    /// What was found out of series like this one.
    pub fn get(&self, hash: u128) -> Option<u32> {
        self.found.get(hash)
    }

    /// Remembers it.
    pub fn insert(&mut self, hash: u128, found: u32) {
        if self.found.len() >= ALIKE_LIMIT_COUNT {
            self.clear();
        }
        self.found.insert(hash, found);
    }

    /// Forgets all: it is so no more.
    pub fn clear(&mut self) {
        self.found = Index::default();
    }
}

impl Deciding {
    /// Adds a selector, and other labels that matter where it may match; see [`Self::done`].
    pub fn add<'a>(&mut self, selector: &'a Selector, others: impl IntoIterator<Item = &'a str>) {
        let names = self.0.entry(selector.metric_name().unwrap_or(ANY_NAME).into()).or_default();
        names.extend(selector.matchers().iter().map(|matcher| &*matcher.name).chain(others).map(Into::into));
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

    #[test]
    fn only_labels_that_decide_tell_series_apart() {
        let selector = |matchers: Vec<Matcher>| Selector::new(matchers);
        let mut deciding = Deciding::default();
        deciding.add(&selector(vec![Matcher::equal(METRIC_NAME, "up"), Matcher::equal("job", "a")]), ["version"]);
        assert_eq!(deciding.clone().done().of("down"), None);
        deciding.add(&selector(vec![Matcher::regex(METRIC_NAME, "u.*").unwrap(), Matcher::not_equal("zone", "")]), []);
        let deciding = deciding.done();
        let list = |name| deciding.of(name).unwrap().iter().map(|name| &**name).collect::<Vec<_>>();
        assert_eq!(
            (list("up"), list("down")),
            (vec![METRIC_NAME, "job", "version", "zone"], vec![METRIC_NAME, "zone"])
        );

        let (mut alike, key) = (Alike::default(), WireKey::new([7; 192]));
        let mut hash = |pairs: &[(&'static str, &'static str)]| {
            let mut labels = BorrowedLabels::default();
            labels.extend(pairs.iter().copied());
            labels.sort().unwrap();
            alike.hash(&key, &labels, deciding.of("up").unwrap())
        };
        let first = hash(&[(METRIC_NAME, "up"), ("job", "a"), ("pod", "1")]);
        assert_eq!(hash(&[(METRIC_NAME, "up"), ("job", "a"), ("pod", "2"), ("version", "")]), first);
        for other in [[("job", "b"), ("zone", "")], [("job", ""), ("zone", "a")], [("job", "a"), ("version", "a")]] {
            assert_ne!(hash(&[&[(METRIC_NAME, "up")][..], &other].concat()), first, "{other:?}");
        }
        assert_eq!(alike.get(first), None);
        alike.insert(first, 5);
        assert_eq!(alike.get(first), Some(5));
        (0..ALIKE_LIMIT_COUNT as u32).for_each(|n| alike.insert(u128::from(n) << 64 | u128::from(n), n));
        assert!(alike.found.len() <= ALIKE_LIMIT_COUNT && alike.get(first).is_none());
    }
}
