//! Label sets reduced to those that count for a grouping or a pairing, and numbered in the order of appearance.
#![expect(clippy::disallowed_types, reason = "looked up only, never iterated")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::types::{Labels, METRIC_NAME};

/// XXH3 in one shot: keys are single byte strings.
#[derive(Clone, Copy, Debug, Default)]
struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    fn write_usize(&mut self, _: usize) {
        // The length: the bytes that follow say as much.
    }
}

type Map = HashMap<Box<[u8]>, usize, BuildHasherDefault<Xxh3>>;

/// Which labels count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted<'a> {
    /// All.
    All,
    /// Only these, sorted.
    Only(&'a [Box<str>]),
    /// All but these, sorted, and the metric name.
    Without(&'a [Box<str>]),
}

impl Counted<'_> {
    fn counts(&self, name: &str) -> bool {
        let listed = |names: &[Box<str>]| names.binary_search_by(|n| (**n).cmp(name)).is_ok();
        match self {
            Self::All => true,
            Self::Only(names) => listed(names),
            Self::Without(names) => name != METRIC_NAME && !listed(names),
        }
    }

    /// The labels that count.
    pub fn of(&self, labels: &Labels) -> Labels {
        let pairs = labels.iter().filter(|(name, _)| self.counts(name));
        // Neither empty nor twice: they come from a label set.
        Labels::from_pairs(pairs).unwrap_or_default()
    }
}

/// Numbers given to label sets.
#[derive(Default)]
pub(super) struct Numbering {
    numbers: Map,
    key: Vec<u8>,
}

impl Numbering {
    /// The number of the labels that count, a new one if they were not seen before.
    pub fn number(&mut self, labels: &Labels, counted: Counted<'_>) -> usize {
        self.key.clear();
        for (name, value) in labels {
            if counted.counts(name) {
                for part in [name, value] {
                    self.key.extend_from_slice(part.as_bytes());
                    // No byte of UTF-8.
                    self.key.push(0xff);
                }
            }
        }
        if let Some(number) = self.numbers.get(self.key.as_slice()) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(self.key.as_slice().into(), number);
        number
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// The number of each row's label set, if two rows share one.
pub(super) fn duplicates(labels: &[&Labels]) -> Option<Vec<usize>> {
    if labels.len() < 2 {
        return None;
    }
    let mut numbering = Numbering::default();
    let numbers: Vec<usize> = labels.iter().map(|l| numbering.number(l, Counted::All)).collect();
    (numbering.len() < labels.len()).then_some(numbers)
}
