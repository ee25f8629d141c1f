//! The labels of series that are kept: each pair of a name and a value once, however many series bear it.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::types::{LabelSet, Labels};
use crate::wire::{Changes, WireKey};

/// A label with its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Its place among all, as long as some series of the store bears it.
    pub id: u32,
    name_bytes: u32,
    /// The name, and the value behind it.
    text: Box<str>,
}

/// The labels of a series, in order of their names.
#[derive(Clone, Debug)]
pub(super) struct SharedLabels(Box<[Arc<Pair>]>);

/// All pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// From the text to the place.
    places: HashTable<u32>,
    /// Those of the label set that was met last.
    met: Vec<Arc<Pair>>,
    bytes: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    pair: Arc<Pair>,
    hash: u64,
    /// Series of the store.
    uses: u32,
}

impl Pair {
    pub fn name(&self) -> &str {
        &self.text[..self.name_bytes as usize]
    }

    pub fn value(&self) -> &str {
        &self.text[self.name_bytes as usize..]
    }

    fn is(&self, name: &str, value: &str) -> bool {
        // Byte by byte: where the name ends needs no check for being between two characters.
        let (own_name, own_value) = self.text.as_bytes().split_at(self.name_bytes as usize);
        own_name == name.as_bytes() && own_value == value.as_bytes()
    }

    /// What it takes, with its places in the tables, in the index, and what the allocator adds.
    fn size_bytes(&self) -> usize {
        3 * self.text.len() + size_of::<Self>() + size_of::<Entry>() + BOOKKEEPING_BYTES
    }
}

/// Of a pair.
const BOOKKEEPING_BYTES: usize = 96;

impl SharedLabels {
    pub fn pairs(&self) -> &[Arc<Pair>] {
        &self.0
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|pair| (pair.name(), pair.value()))
    }

    pub fn to_labels(&self) -> Arc<Labels> {
        // Names are in order, and there is one of each.
        Arc::new(Labels::from_pairs(self.iter()).unwrap_or_default())
    }

    /// As of [`Labels`].
    pub fn cmp(&self, other: &Self) -> Ordering {
        let differs = self.0.iter().zip(&other.0).find(|(a, b)| !Arc::ptr_eq(a, b));
        let first = differs.map(|(a, b)| (a.name(), a.value()).cmp(&(b.name(), b.value())));
        first.unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }

    fn is(&self, pairs: &[Arc<Pair>]) -> bool {
        self.0.len() == pairs.len() && self.0.iter().zip(pairs).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl LabelSet for SharedLabels {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|pair| pair.name() == name).map(|pair| pair.value())
    }
}

impl Pairs {
    /// Finds or makes the pairs of a label set that is to be borne, which differs from the one before in these places; a
    /// hash of which they are.
    pub fn meet<'a>(
        &mut self,
        key: &WireKey,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        changes: Changes,
    ) -> u32 {
        let mut count = 0;
        for (at, (name, value)) in labels.enumerate() {
            count = at + 1;
            if self.is_other(at, name, value, changes) {
                let hash = self.hash(key, name, value);
                let pair = self.known(hash, name, value).unwrap_or_else(|| self.make(hash, name, value));
                self.set_met(at, pair);
            }
        }
        self.met.truncate(count);
        self.hash_of_met(key)
    }

    /// The same for a label set that may be borne already: `None` when no series bears one of the pairs.
    pub fn find<'a>(
        &mut self,
        key: &WireKey,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        changes: Changes,
    ) -> Option<u32> {
        let mut count = 0;
        for (at, (name, value)) in labels.enumerate() {
            count = at + 1;
            if self.is_other(at, name, value, changes) {
                let hash = self.hash(key, name, value);
                let Some(pair) = self.known(hash, name, value) else {
                    // What comes behind is of no use to the next one.
                    self.met.truncate(at);
                    return None;
                };
                self.set_met(at, pair);
            }
        }
        self.met.truncate(count);
        Some(self.hash_of_met(key))
    }

    /// New series of a target come behind each other and differ in a label or two.
    fn is_other(&self, at: usize, name: &str, value: &str, changes: Changes) -> bool {
        self.met.get(at).is_none_or(|pair| changes.may_be(at) && !pair.is(name, value))
    }

    fn set_met(&mut self, at: usize, pair: Arc<Pair>) {
        if let Some(place) = self.met.get_mut(at) {
            *place = pair;
        } else {
            self.met.push(pair);
        }
    }

    fn hash_of_met(&mut self, key: &WireKey) -> u32 {
        self.buffer.clear();
        self.met.iter().for_each(|pair| self.buffer.extend_from_slice(&pair.id.to_le_bytes()));
        key.hash(&self.buffer) as u32
    }

    /// Whether these are the labels met last.
    pub fn are(&self, labels: &SharedLabels) -> bool {
        labels.is(&self.met)
    }

    /// The labels met last, for one more series.
    pub fn bear(&mut self) -> SharedLabels {
        for pair in &self.met {
            if let Some(entry) = &mut self.entries[pair.id as usize] {
                entry.uses += 1;
            }
        }
        SharedLabels(self.met.as_slice().into())
    }

    /// A series is gone.
    pub fn release(&mut self, labels: &SharedLabels) {
        for pair in labels.pairs() {
            if let Some(entry) = &mut self.entries[pair.id as usize] {
                entry.uses -= 1;
            }
            self.forget_unused(pair.id);
        }
        self.met.clear();
    }

    /// What the pairs take that only this series bears.
    pub fn own_bytes(&self, labels: &SharedLabels) -> usize {
        let entries = labels.pairs().iter().filter_map(|pair| self.entries[pair.id as usize].as_ref());
        entries.filter(|entry| entry.uses == 1).map(|entry| entry.pair.size_bytes()).sum()
    }

    /// What they all take.
    pub const fn size_bytes(&self) -> usize {
        self.bytes
    }

    fn hash(&mut self, key: &WireKey, name: &str, value: &str) -> u64 {
        self.buffer.clear();
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.push(0xff);
        self.buffer.extend_from_slice(value.as_bytes());
        key.hash(&self.buffer) as u64
    }

    fn known(&self, hash: u64, name: &str, value: &str) -> Option<Arc<Pair>> {
        let of = |id: &u32| self.entries[*id as usize].as_ref().map(|entry| &entry.pair);
        self.places.find(hash, |id| of(id).is_some_and(|pair| pair.is(name, value))).and_then(of).cloned()
    }

    fn make(&mut self, hash: u64, name: &str, value: &str) -> Arc<Pair> {
        let id = self.free.pop().unwrap_or(self.entries.len() as u32);
        let pair = Arc::new(Pair { id, name_bytes: name.len() as u32, text: [name, value].concat().into() });
        self.bytes += pair.size_bytes();
        let entry = Some(Entry { pair: Arc::clone(&pair), hash, uses: 0 });
        if let Some(place) = self.entries.get_mut(id as usize) {
            *place = entry;
        } else {
            self.entries.push(entry);
        }
        let hash_of = |id: &u32| self.entries[*id as usize].as_ref().map_or(0, |entry| entry.hash);
        self.places.insert_unique(hash, id, hash_of);
        pair
    }

    fn forget_unused(&mut self, id: u32) {
        let place = &mut self.entries[id as usize];
        let Some(entry) = place.take_if(|entry| entry.uses == 0) else { return };
        self.bytes -= entry.pair.size_bytes();
        if let Ok(found) = self.places.find_entry(entry.hash, |other| *other == id) {
            found.remove();
        }
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: WireKey = WireKey::new([7; 192]);

    #[test]
    fn pairs_live_as_long_as_some_series_bears_them() {
        let mut pairs = Pairs::default();
        let (a, b) = ([("job", "api"), ("pod", "1")], [("job", "api"), ("pod", "2")]);
        let hash = pairs.meet(&KEY, a.into_iter(), Changes::ALL);
        let first = pairs.bear();
        assert_ne!(pairs.meet(&KEY, b.into_iter(), Changes::ALL), hash);
        let second = pairs.bear();
        assert!(pairs.are(&second) && !pairs.are(&first));
        assert!(Arc::ptr_eq(&first.pairs()[0], &second.pairs()[0]));
        assert_eq!(*second.to_labels(), Labels::from_pairs(b).unwrap());
        assert_eq!((first.cmp(&second), first.cmp(&first.clone())), (Ordering::Less, Ordering::Equal));
        // The name and the value are told apart, and what is only looked for takes no room.
        let bytes = pairs.size_bytes();
        assert_eq!(pairs.find(&KEY, [("job", "api"), ("podd", "1")].into_iter(), Changes::ALL), None);
        assert_eq!(pairs.find(&KEY, a.into_iter(), Changes::ALL), Some(hash));
        assert!(pairs.are(&first) && pairs.size_bytes() == bytes);
        assert_eq!(pairs.own_bytes(&first), second.pairs()[1].size_bytes());
        pairs.release(&first);
        assert_eq!(
            pairs.meet(&KEY, b.into_iter(), Changes::ALL),
            pairs.meet(&KEY, second.iter().collect::<Vec<_>>().into_iter(), Changes::ALL)
        );
        assert!(pairs.are(&second));
        pairs.release(&second);
        assert_eq!((pairs.size_bytes(), pairs.places.len()), (0, 0));
        assert_eq!(second.get("pod"), Some("2"), "a reader may still hold it");
        pairs.meet(&KEY, a.into_iter(), Changes::ALL);
        assert_eq!(pairs.entries.len(), 3, "places are used again");
    }
}
