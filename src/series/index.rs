//! Hash maps keyed by 128-bit hashes: the one place where a randomly ordered map is allowed, because nothing
//! ever iterates over one.
#![expect(clippy::disallowed_types, reason = "looked up only, never iterated; keys are already hashes")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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

/// A map that forgets what was not looked up for one to two rotations, at a cost that does not depend on its
/// size: entries live in two generations, and a use moves an entry to the young one.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    young: Map,
    old: Map,
    limit_entries: usize,
}

impl Cache {
    /// An empty cache with at most `limit_entries` in each generation.
    pub fn new(limit_entries: usize) -> Self {
        Self { young: Map::default(), old: Map::default(), limit_entries }
    }

    /// The value of `hash`, if it was used lately.
    pub fn get(&mut self, hash: u128) -> Option<u32> {
        let key = key(hash);
        if let Some(&value) = self.young.get(&key) {
            return Some(value);
        }
        let value = self.old.remove(&key)?;
        self.young.insert(key, value);
        Some(value)
    }

    /// Sets the value of `hash`; over the limit the entry is not kept and will be worked out again.
    pub fn insert(&mut self, hash: u128, value: u32) {
        if self.young.len() < self.limit_entries {
            self.young.insert(key(hash), value);
        }
    }

    /// Drops what was not used since the last rotation.
    pub fn rotate(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_what_is_used() {
        let mut cache = Cache::new(2);
        cache.insert(1, 10);
        cache.insert(2, 20);
        cache.insert(3, 30);
        assert_eq!((cache.get(1), cache.get(3), cache.len()), (Some(10), None, 2));
        cache.rotate();
        assert_eq!(cache.get(1), Some(10));
        cache.rotate();
        assert_eq!((cache.get(1), cache.get(2)), (Some(10), None));
    }
}
