//! From wire key to value, as long as the key is used: what finds a known series in every request.
//!
//! Senders send the same series in the same order again and again. So the entries stand in a list in the order in which
//! their keys were first seen, and a key is looked for behind the one before it. There it is nearly always, and then
//! memory is read in its order. Where it is not, a hash table says where it is, once: the entry before it remembers.

use crate::types::{Blocks, Places};

/// Parts of the list, of which each [`Cache::rotate`] goes through one.
const PARTS: usize = 32;
/// Neighbours in the list that belong to one part.
const BLOCK_ENTRIES: usize = 1_024;
/// Words of 32 bits of a hash that are kept. Without [`USED`] and [`VACANT`] that is 94 bits: among ten million keys two
/// are the same with a chance of three in 10^15.
const KEY_WORDS: usize = 3;
/// In the last word of a key: the entry was used since its part was last gone through. Keys lose this bit.
const USED: u32 = 1 << 31;
/// In the last word of a key: there is no entry here. Keys lose this bit, too.
const VACANT: u32 = 1 << 30;

/// A map that forgets what is not used: the parts of the list take turns, and in its turn a part loses what was not used
/// since the turn before.
#[derive(Clone, Debug)]
pub struct Cache<V> {
    entries: Blocks<Entry<V>>,
    /// By the first word of the key.
    places: Places,
    /// Places without an entry.
    vacant: Vec<u32>,
    /// The place that was found last.
    last: usize,
    /// The part whose turn comes.
    turn: usize,
    limit_entries: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry<V> {
    /// Small words, so that an entry needs no padding.
    key: Key,
    value: V,
    /// The place that was found after this one when it was not the next.
    next: u32,
}

type Key = [u32; KEY_WORDS];

/// The key of an entry in use.
fn key_of(hash: u128) -> Key {
    let word = |at: u32| (hash >> (32 * at)) as u32;
    [word(0), word(1), (word(2) | USED) & !VACANT]
}

impl<V> Entry<V> {
    const fn is(&self, key: Key) -> bool {
        self.key[0] == key[0] && self.key[1] == key[1] && self.key[2] | USED == key[2]
    }
}

impl<V: Copy + Default> Cache<V> {
    /// After so many rotations nothing is left of an entry that was not used.
    pub const LIFE_ROTATIONS: u64 = 2 * PARTS as u64;

    /// An empty cache of at most `limit_entries`.
    pub fn new(limit_entries: usize) -> Self {
        let (entries, places) = (Blocks::default(), Places::default());
        Self { entries, places, vacant: Vec::new(), last: 0, turn: 0, limit_entries }
    }

    /// The value of `hash`, if it was used lately.
    #[inline]
    pub fn get(&mut self, hash: u128) -> Option<V> {
        let key = key_of(hash);
        let place = match self.entries.get(self.last + 1) {
            Some(entry) if entry.is(key) => self.last + 1,
            _ => self.find_behind(key)?,
        };
        self.last = place;
        let found = &mut self.entries[place];
        // Most are used often: no need to write again what is there.
        if found.key[2] & USED == 0 {
            found.key[2] |= USED;
        }
        Some(found.value)
    }

    /// The place of a key that is not the next one.
    fn find_behind(&mut self, key: Key) -> Option<usize> {
        let expected = self.entries.get(self.last)?.next as usize;
        if self.entries.get(expected).is_some_and(|entry| entry.is(key)) {
            return Some(expected);
        }
        let place = self.find(key)?;
        self.entries[self.last].next = place as u32;
        Some(place)
    }

    fn find(&self, key: Key) -> Option<usize> {
        let place = self.places.find(key[0], |place| self.entries[place as usize].is(key))?;
        Some(place as usize)
    }

    /// The place of the key that was found or set last: no other has it as long as the key is used.
    pub const fn last(&self) -> u32 {
        self.last as u32
    }

    /// Sets the value of `hash`; over the limit the entry is not kept and will be worked out again. Whether it was.
    pub fn insert(&mut self, hash: u128, value: V) -> bool {
        let (key, is_full) = (key_of(hash), self.len() >= self.limit_entries);
        let free = self.vacant.last().copied().unwrap_or(self.entries.len() as u32);
        let is_it = |place: u32| self.entries[place as usize].is(key);
        let known =
            if is_full { self.places.find(key[0], is_it) } else { self.places.find_or_insert(key[0], is_it, free) };
        if let Some(place) = known {
            let known = &mut self.entries[place as usize];
            (known.key, known.value) = (key, value);
            self.last = place as usize;
            return true;
        }
        if is_full {
            return false;
        }
        let entry = Entry { key, value, next: 0 };
        match self.vacant.pop() {
            Some(place) => self.entries[place as usize] = entry,
            None => self.entries.push(entry),
        }
        // The first of all comes after itself, which says nothing.
        self.entries[self.last].next = free;
        self.last = free as usize;
        true
    }

    /// Forgets `hash`.
    pub fn remove(&mut self, hash: u128) {
        if let Some(place) = self.find(key_of(hash)) {
            self.vacate(place);
        }
    }

    fn vacate(&mut self, place: usize) {
        self.places.remove(self.entries[place].key[0], place as u32);
        self.entries[place].key = [0, 0, VACANT];
        self.vacant.push(place as u32);
    }

    /// Drops from the next part what was not used since its last turn.
    pub fn rotate(&mut self) {
        let turn = self.turn;
        self.turn = (turn + 1) % PARTS;
        for block in (turn..self.entries.len().div_ceil(BLOCK_ENTRIES)).step_by(PARTS) {
            let first = block * BLOCK_ENTRIES;
            for place in first..self.entries.len().min(first + BLOCK_ENTRIES) {
                let last_word = &mut self.entries[place].key[2];
                if *last_word & USED != 0 {
                    *last_word &= !USED;
                } else if *last_word & VACANT == 0 {
                    self.vacate(place);
                }
            }
        }
        if self.turn == 0 {
            self.shrink();
        }
    }

    /// Gives back the memory of a list that is mostly vacant: whoever is still used moves up, in order.
    fn shrink(&mut self) {
        if self.len() >= self.entries.len() / 4 || self.entries.len() <= BLOCK_ENTRIES {
            return;
        }
        let used = self.entries.iter().filter(|entry| entry.key[2] & VACANT == 0);
        self.entries = used.copied().collect();
        self.vacant = Vec::new();
        self.last = 0;
        self.places = Places::default();
        for (place, Entry { key, .. }) in (0..).zip(self.entries.iter()) {
            self.places.insert(key[0], place);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

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
        for bit in 0..94 {
            assert_eq!(cache.get(1 << bit), None, "{bit}");
            cache.insert(1 << bit, bit);
        }
        assert!((0..94).all(|bit| cache.get(1 << bit) == Some(bit)));
        assert_eq!(cache.get(0), Some(0));
    }

    #[test]
    fn entries_are_small() {
        assert_eq!(size_of::<Entry<SeriesId>>(), 24);
    }

    #[test]
    fn a_list_that_has_emptied_gives_its_memory_back() {
        let mut cache = Cache::new(100_000);
        (0..100_000_u32).for_each(|i| assert!(cache.insert(u128::from(i) << 20, i)));
        let used = |i: &u32| i.is_multiple_of(10);
        for _ in 0..2 {
            assert!((0..100_000).filter(used).all(|i| cache.get(u128::from(i) << 20) == Some(i)));
            turn(&mut cache);
        }
        assert_eq!((cache.len(), cache.entries.len()), (10_000, 10_000));
        assert!((0..100_000).all(|i| cache.get(u128::from(i) << 20) == Some(i).filter(used)));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Get(u8),
        Insert(u8, u32),
        Remove(u8),
        Turn,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            8 => any::<u8>().prop_map(Act::Get),
            6 => any::<(u8, u32)>().prop_map(|(key, value)| Act::Insert(key, value)),
            2 => any::<u8>().prop_map(Act::Remove),
            1 => Just(Act::Turn),
        ];
        prop::collection::vec(act, 0..400)
    }

    proptest! {
        /// Whatever the order, it is a map with two lives for each entry.
        #[test]
        fn a_cache_is_a_map(acts in acts()) {
            let hash = |key: u8| u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let mut cache = Cache::new(usize::MAX);
            let mut map: BTreeMap<u8, (u32, bool)> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Get(key) => {
                        let expected = map.get_mut(&key).map(|(value, used)| {
                            *used = true;
                            *value
                        });
                        prop_assert_eq!(cache.get(hash(key)), expected);
                    }
                    Act::Insert(key, value) => {
                        cache.insert(hash(key), value);
                        map.insert(key, (value, true));
                    }
                    Act::Remove(key) => {
                        cache.remove(hash(key));
                        map.remove(&key);
                    }
                    Act::Turn => {
                        turn(&mut cache);
                        map.retain(|_, (_, used)| std::mem::replace(used, false));
                    }
                }
                prop_assert_eq!(cache.len(), map.len());
            }
        }
    }
}
