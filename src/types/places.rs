//! From hashes to places in a list.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Tables, so that one that grows holds up who adds by little, and never takes much memory twice.
const TABLES: usize = 32;

/// A map from hashes to places in a list that has what is looked for: who looks says whether it is in a place.
///
/// With each place are 32 bits of its hash, so that nearly no other place is looked at, and none to grow.
#[derive(Clone, Debug)]
pub struct Places(Box<[HashTable<(u32, u32)>; TABLES]>);

impl Default for Places {
    fn default() -> Self {
        Self(Box::new([const { HashTable::new() }; TABLES]))
    }
}

/// All bits of it matter in a table, the upper ones most.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "tables pass what they hold by reference")]
const fn spread_of((hash, _): &(u32, u32)) -> u64 {
    spread(*hash)
}

impl Places {
    /// The upper bits decide, of which a table makes no use by itself.
    const fn table(hash: u32) -> usize {
        (hash >> (u32::BITS - TABLES.ilog2())) as usize
    }

    /// The place with this hash that is the one.
    #[inline]
    pub fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let is_it = |(other, place): &(u32, u32)| *other == hash && is_it(*place);
        self.0[Self::table(hash)].find(spread(hash), is_it).map(|(_, place)| *place)
    }

    /// The same; if there is none, `place` is from now on.
    #[inline]
    pub fn find_or_insert(&mut self, hash: u32, is_it: impl Fn(u32) -> bool, place: u32) -> Option<u32> {
        let is_it = |(other, place): &(u32, u32)| *other == hash && is_it(*place);
        match self.0[Self::table(hash)].entry(spread(hash), is_it, spread_of) {
            Entry::Occupied(known) => Some(known.get().1),
            Entry::Vacant(slot) => {
                slot.insert((hash, place));
                None
            }
        }
    }

    /// Adds a place that is not there yet.
    #[inline]
    pub fn insert(&mut self, hash: u32, place: u32) {
        self.0[Self::table(hash)].insert_unique(spread(hash), (hash, place), spread_of);
    }

    /// Forgets a place.
    pub fn remove(&mut self, hash: u32, place: u32) {
        if let Ok(found) = self.0[Self::table(hash)].find_entry(spread(hash), |(_, other)| *other == place) {
            found.remove();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(HashTable::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(HashTable::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_by_who_looks() {
        let mut places = Places::default();
        // Two of each hash.
        let hash = |place: u32| (place / 2).wrapping_mul(0x0110_0101);
        for place in 0..1_000 {
            assert_eq!(places.find_or_insert(hash(place), |other| other == place, place), None);
            assert_eq!(places.find_or_insert(hash(place), |other| other == place, 9_999), Some(place));
        }
        places.insert(7, 1_000);
        places.remove(hash(500), 500);
        let found = |place| places.find(hash(place), |other| other == place);
        assert_eq!([499, 500, 501].map(found), [Some(499), None, Some(501)]);
        assert_eq!(places.find(7, |_| true), Some(1_000));
        assert_eq!((places.len(), places.is_empty()), (1_000, false));
    }
}
