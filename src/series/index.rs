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

/// Parts of a [`Cache`], of which each [`Cache::rotate`] goes through one.
const PARTS: usize = 32;
/// Words of 32 bits of a hash that are kept. Without the bit of [`USED`] it is 95 bits: among ten million keys two are
/// the same with a chance of one in 10^15.
const KEY_WORDS: usize = 3;
/// In the last word of a key: the entry was used since its part was last gone through. Keys lose this bit.
const USED: u32 = 1 << 31;

/// A map that forgets what is not used: the entries are in parts, the parts take turns, and in its turn a part loses
/// what was not used since the turn before.
#[derive(Clone, Debug)]
pub struct Cache<V> {
    parts: Vec<HashTable<Entry<V>>>,
    next: usize,
    len: usize,
    limit_entries: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry<V> {
    /// Small words, so that an entry needs no padding.
    key: [u32; KEY_WORDS],
    value: V,
}

impl<V> Entry<V> {
    fn position(&self) -> u64 {
        u64::from(self.key[1]) << 32 | u64::from(self.key[0])
    }

    fn is(&self, key: [u32; KEY_WORDS]) -> bool {
        self.key[..2] == key[..2] && self.key[2] | USED == key[2] | USED
    }
}

fn entry<V>(hash: u128, value: V) -> Entry<V> {
    let word = |at: u32| (hash >> (32 * at)) as u32;
    Entry { key: [word(0), word(1), word(2) | USED], value }
}

impl<V: Copy> Cache<V> {
    /// After so many rotations nothing is left of an entry that was not used.
    pub const LIFE_ROTATIONS: u64 = 2 * PARTS as u64;

    /// An empty cache of at most `limit_entries`.
    pub fn new(limit_entries: usize) -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect(), next: 0, len: 0, limit_entries }
    }

    fn part(&mut self, key: [u32; KEY_WORDS]) -> &mut HashTable<Entry<V>> {
        &mut self.parts[key[2] as usize % PARTS]
    }

    /// The value of `hash`, if it was used lately.
    pub fn get(&mut self, hash: u128) -> Option<V> {
        let sought = entry(hash, ());
        let found = self.part(sought.key).find_mut(sought.position(), |entry| entry.is(sought.key))?;
        // Most are used often: no need to write again what is there.
        if found.key[2] & USED == 0 {
            found.key[2] |= USED;
        }
        Some(found.value)
    }

    /// Sets the value of `hash`; over the limit the entry is not kept and will be worked out again.
    pub fn insert(&mut self, hash: u128, value: V) {
        let (new, has_room) = (entry(hash, value), self.len < self.limit_entries);
        let part = self.part(new.key);
        if let Some(known) = part.find_mut(new.position(), |entry| entry.is(new.key)) {
            *known = new;
        } else if has_room {
            part.insert_unique(new.position(), new, Entry::position);
            self.len += 1;
        }
    }

    /// Forgets `hash`.
    pub fn remove(&mut self, hash: u128) {
        let sought = entry(hash, ());
        if let Ok(found) = self.part(sought.key).find_entry(sought.position(), |entry| entry.is(sought.key)) {
            found.remove();
            self.len -= 1;
        }
    }

    /// Drops from the next part what was not used since its last turn.
    pub fn rotate(&mut self) {
        let part = &mut self.parts[self.next];
        self.next = (self.next + 1) % PARTS;
        let before = part.len();
        part.retain(|entry| {
            let was_used = entry.key[2] & USED != 0;
            entry.key[2] &= !USED;
            was_used
        });
        self.len -= before - part.len();
        if part.len() < part.capacity() / 4 {
            part.shrink_to(2 * part.len(), Entry::position);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::SeriesId;

    fn turn(cache: &mut Cache<u32>) {
        (0..PARTS).for_each(|_| cache.rotate());
    }

    #[test]
    fn a_cache_keeps_what_is_used() {
        let mut cache = Cache::new(2);
        cache.insert(1, 10);
        cache.insert(2 << 64, 20);
        cache.insert(3, 30);
        assert_eq!((cache.get(1), cache.get(3), cache.len()), (Some(10), None, 2));
        turn(&mut cache);
        assert_eq!((cache.get(1), cache.len()), (Some(10), 2));
        turn(&mut cache);
        assert_eq!((cache.get(1), cache.get(2 << 64), cache.len()), (Some(10), None, 1));
        cache.insert(1, 11);
        cache.insert(3, 30);
        assert_eq!((cache.get(1), cache.get(3), cache.len()), (Some(11), Some(30), 2));
        cache.remove(1);
        assert_eq!((cache.get(1), cache.len()), (None, 1));
        turn(&mut cache);
        turn(&mut cache);
        assert!(cache.is_empty());
    }

    #[test]
    fn keys_differ_in_any_bit_that_is_kept() {
        let mut cache = Cache::new(1_000);
        cache.insert(0, 0);
        for bit in 0..95 {
            assert_eq!(cache.get(1 << bit), None, "{bit}");
            cache.insert(1 << bit, bit);
        }
        assert!((0..95).all(|bit| cache.get(1 << bit) == Some(bit)));
        assert_eq!(cache.get(0), Some(0));
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<Entry<SeriesId>>(), 20);
    }

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
