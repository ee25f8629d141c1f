//! Hash maps keyed by 128-bit hashes: the one place where a randomly ordered map is allowed, because nothing
//! that depends on the order in one ever leaves it.
#![expect(clippy::disallowed_types, reason = "looked up only, never iterated; keys are already hashes")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashTable;

/// Uses a key's first eight bytes as its hash: the key is one already.
#[derive(Clone, Copy, Debug, Default)]
struct Passthrough(u64);

impl Hasher for Passthrough {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are pairs of u64");
    }
    fn write_u64(&mut self, word: u64) {
        // The second word of a pair arrives last; one well-mixed word is enough.
        self.0 = word;
    }
}

type Map = HashMap<(u64, u64), u32, BuildHasherDefault<Passthrough>>;

const fn key(hash: u128) -> (u64, u64) {
    ((hash >> 64) as u64, hash as u64)
}

/// From hash to slot.
#[derive(Clone, Debug, Default)]
pub struct Index(Map);

impl Index {
    /// The slot of `hash`.
    pub fn get(&self, hash: u128) -> Option<u32> {
        self.0.get(&key(hash)).copied()
    }

    /// Sets the slot of `hash`.
    pub fn insert(&mut self, hash: u128, slot: u32) {
        self.0.insert(key(hash), slot);
    }

    /// Forgets `hash`.
    pub fn remove(&mut self, hash: u128) {
        self.0.remove(&key(hash));
    }

    /// How many hashes are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no hash is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// From the identity of a series to its place in a list. The identity itself is there, at no further cost here:
/// `identity_of` says what it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Identities(HashTable<u32>);

impl Identities {
    /// The place of the series with this identity.
    pub(super) fn get(&self, identity: u128, identity_of: impl Fn(u32) -> u128) -> Option<u32> {
        self.0.find(identity as u64, |place| identity_of(*place) == identity).copied()
    }

    /// Adds the place of a series whose identity is not there yet.
    pub(super) fn insert(&mut self, identity: u128, place: u32, identity_of: impl Fn(u32) -> u128) {
        self.0.insert_unique(identity as u64, place, |place| identity_of(*place) as u64);
    }

    /// Forgets the place of a series with this identity.
    pub(super) fn remove(&mut self, identity: u128, place: u32) {
        if let Ok(entry) = self.0.find_entry(identity as u64, |other| *other == place) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_checked_with_its_series() {
        let mut identities = Identities::default();
        // Some differ in what does not decide on their place in the table.
        let all: Vec<u128> = (0..100).map(|i: u128| (i / 2) | ((i % 2) << 100)).collect();
        let identity_of = |place: u32| all[place as usize];
        for (place, identity) in (0..).zip(&all) {
            identities.insert(*identity, place, identity_of);
        }
        assert!((0..).zip(&all).all(|(place, identity)| identities.get(*identity, identity_of) == Some(place)));
        assert_eq!(identities.get(5 | 1 << 99, identity_of), None);
        identities.remove(all[6], 6);
        assert_eq!([6, 7].map(|place| identities.get(identity_of(place), identity_of)), [None, Some(7)]);
    }
}
