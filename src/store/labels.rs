//! The labels of series that are kept: each pair of a name and a value once, however many series bear it, and the pairs
//! that neighbours have in common once for all of them.

use std::cmp::Ordering;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::types::{BorrowedLabels, LabelSet, Labels};
use crate::wire::{Changes, WireKey, places};

/// A label with its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Its place among all, as long as some series of the store bears it.
    pub id: u32,
    name_bytes: u32,
    name_hash: u64,
    /// The name, and the value behind it.
    text: Box<str>,
}

/// The labels of a series, in order of their names: those of its base, but for a few.
#[derive(Clone, Debug)]
pub(super) struct SharedLabels {
    base: Arc<Base>,
    /// In order of their places, in which they stand instead of those of the base.
    own: Box<[(u32, Arc<Pair>)]>,
}

/// In which place a series has which pair instead of that of its base.
pub(super) type Own = (u32, u32);

/// The labels of a series behind which others came that differ in few of them.
#[derive(Debug)]
struct Base {
    /// Its place among all, as long as some series of the store has it.
    id: u32,
    pairs: Box<[Arc<Pair>]>,
}

/// All pairs, and all bases.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// From the text to the place.
    places: HashTable<u32>,
    bases: Vec<BaseUse>,
    free_bases: Vec<u32>,
    /// The labels that were borne last, by the places of their pairs.
    met: Vec<u32>,
    /// Their base, and ones for the places in which they differ from it.
    base: Option<Arc<Base>>,
    own: u64,
    /// So many pairs stood with series since the base was made that the series before had instead of the base's, too.
    repeated: u32,
    bytes: usize,
}

#[derive(Debug)]
struct BaseUse {
    /// While there are any.
    base: Option<Arc<Base>>,
    /// How many series of the store have it.
    uses: u32,
}

#[derive(Debug)]
struct Entry {
    pair: Arc<Pair>,
    hash: u64,
    /// Series and bases of the store that have it as their own.
    uses: u32,
    /// The pair that followed it last in its place: targets alike have the same labels in the same order.
    next: u32,
}

impl Pair {
    pub fn name(&self) -> &str {
        &self.text[..self.name_bytes as usize]
    }

    pub fn value(&self) -> &str {
        &self.text[self.name_bytes as usize..]
    }

    /// The bytes of the name and of the value: where the name ends needs no check for being between two characters.
    fn bytes(&self) -> (&[u8], &[u8]) {
        self.text.as_bytes().split_at(self.name_bytes as usize)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.bytes() == (name.as_bytes(), value.as_bytes())
    }

    /// What it takes, with its places in the tables, in the index, and what the allocator adds.
    fn size_bytes(&self) -> usize {
        3 * self.text.len() + size_of::<Self>() + size_of::<Entry>() + BOOKKEEPING_BYTES
    }
}

/// What the labels of a series take besides their base, by the number of its own.
pub(super) const fn own_labels_bytes(own_count: usize) -> usize {
    own_count * size_of::<(u32, Arc<Pair>)>()
}

/// Of a pair.
const BOOKKEEPING_BYTES: usize = 96;
/// What the allocator adds.
const ALLOCATION_BYTES: usize = 16;

impl SharedLabels {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.base.pairs.len()
    }

    pub fn pairs(&self) -> impl Iterator<Item = &Arc<Pair>> {
        let mut own = self.own.iter().peekable();
        (0..)
            .zip(&self.base.pairs)
            .map(move |(place, pair)| own.next_if(|(own, _)| *own == place).map_or(pair, |(_, own)| own))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().map(|pair| (pair.name(), pair.value()))
    }

    pub fn to_labels(&self) -> Arc<Labels> {
        // Names are in order, and there is one of each.
        Arc::new(Labels::from_pairs(self.iter()).unwrap_or_default())
    }

    /// As of [`Labels`].
    pub fn cmp(&self, other: &Self) -> Ordering {
        let differs = self.pairs().zip(other.pairs()).find(|(a, b)| !Arc::ptr_eq(a, b));
        let first = differs.map(|(a, b)| (a.name(), a.value()).cmp(&(b.name(), b.value())));
        first.unwrap_or_else(|| self.len().cmp(&other.len()))
    }

    /// How many it has of its own.
    pub fn own_count(&self) -> usize {
        self.own.len()
    }
}

impl LabelSet for SharedLabels {
    fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|pair| pair.name() == name).map(|pair| pair.value())
    }
}

impl Base {
    /// What it takes, with its counter and what the allocator adds.
    fn size_bytes(&self) -> usize {
        size_of_val(&*self.pairs) + size_of::<Self>() + 2 * ALLOCATION_BYTES
    }
}

impl Pairs {
    /// One more series of the store with these labels, which differ in these places from those that were asked for before:
    /// the number of its base, and what it has of its own.
    pub fn bear(
        &mut self,
        key: &WireKey,
        labels: &BorrowedLabels<'_>,
        changes: Changes,
    ) -> (u32, impl Iterator<Item = Own>) {
        let count = labels.len();
        // There are others of them, or somebody was released meanwhile.
        let changes = if self.met.len() == count { changes } else { Changes::ALL };
        self.met.truncate(count);
        let base = self.base.take().filter(|base| base.pairs.len() == count && count <= u64::BITS as usize);
        for place in changes.places(count) {
            let Some((name, value)) = labels.nth(place) else { break };
            let old = self.met.get(place).and_then(|id| self.pair_in(*id));
            let is_named_so = |pair: &&Arc<Pair>| !changes.may_be_names() || pair.bytes().0 == name.as_bytes();
            let old = old.filter(is_named_so);
            if old.is_none_or(|pair| pair.bytes().1 != value.as_bytes()) {
                let pair = if let Some((old, name_hash)) = old.map(|old| (old.id, old.name_hash)) {
                    self.pair_behind(old, key, name_hash, name, value)
                } else {
                    self.pair(key, key.short_hash(name.as_bytes()), name, value)
                };
                if let Some(met) = self.met.get_mut(place) {
                    *met = pair;
                } else {
                    self.met.push(pair);
                }
            }
            if let Some(base) = &base {
                let is_own = base.pairs[place].id != self.met[place];
                self.own = self.own & !(1 << place) | u64::from(is_own) << place;
            }
        }
        self.repeated += changes.unchanged_of(self.own).count_ones();
        // What is repeated may cost as much as a new base, and no more.
        let limit = count as u32;
        let is_worth_it = |_: &Arc<Base>| self.repeated < limit && self.own.count_ones() <= limit / 2;
        let base = base.filter(is_worth_it).unwrap_or_else(|| self.make_base());
        let id = base.id;
        self.base = Some(base);
        self.bases[id as usize].uses += 1;
        for place in places(self.own) {
            self.use_pair(self.met[place]);
        }
        (id, places(self.own).map(|place| (place as u32, self.met[place])))
    }

    /// The labels of a series that was borne.
    pub fn share(&self, base: u32, own: &[Own]) -> Option<SharedLabels> {
        let base = Arc::clone(self.bases[base as usize].base.as_ref()?);
        let own = own.iter().filter_map(|(place, pair)| Some((*place, Arc::clone(self.pair_in(*pair)?))));
        Some(SharedLabels { base, own: own.collect() })
    }

    /// Makes the labels met last a base.
    fn make_base(&mut self) -> Arc<Base> {
        let id = self.free_bases.pop().unwrap_or_else(|| {
            self.bases.push(BaseUse { base: None, uses: 0 });
            self.bases.len() as u32 - 1
        });
        (0..self.met.len()).for_each(|place| self.use_pair(self.met[place]));
        let pairs = self.met.iter().filter_map(|pair| self.pair_in(*pair).cloned()).collect();
        let base = Arc::new(Base { id, pairs });
        self.bytes += base.size_bytes();
        self.bases[id as usize].base = Some(Arc::clone(&base));
        (self.own, self.repeated) = (0, 0);
        base
    }

    fn pair_in(&self, id: u32) -> Option<&Arc<Pair>> {
        self.entries[id as usize].as_ref().map(|entry| &entry.pair)
    }

    /// One more series or base has this pair.
    fn use_pair(&mut self, id: u32) {
        if let Some(entry) = &mut self.entries[id as usize] {
            entry.uses += 1;
        }
    }

    /// A series is gone.
    pub fn release(&mut self, labels: &SharedLabels) {
        labels.own.iter().for_each(|(_, pair)| self.release_pair(pair.id));
        let known = &mut self.bases[labels.base.id as usize];
        known.uses -= 1;
        if known.uses == 0 {
            known.base = None;
            labels.base.pairs.iter().for_each(|pair| self.release_pair(pair.id));
            self.bytes -= labels.base.size_bytes();
            self.free_bases.push(labels.base.id);
        }
        // They may be among what is gone.
        self.met.clear();
        self.base = None;
    }

    fn release_pair(&mut self, id: u32) {
        let place = &mut self.entries[id as usize];
        let Some(entry) = place else { return };
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        self.bytes -= entry.pair.size_bytes();
        if let Ok(found) = self.places.find_entry(entry.hash, |other| *other == id) {
            found.remove();
        }
        *place = None;
        self.free.push(id);
    }

    /// What the pairs and the base take that only this series has.
    pub fn own_bytes(&self, labels: &SharedLabels) -> usize {
        let has_base = self.bases[labels.base.id as usize].uses == 1;
        let base = has_base.then_some(&labels.base);
        let pairs = labels.own.iter().map(|(_, pair)| pair).chain(base.into_iter().flat_map(|base| &base.pairs));
        let entries = pairs.filter_map(|pair| self.entries[pair.id as usize].as_ref());
        let pairs_bytes: usize = entries.filter(|entry| entry.uses == 1).map(|entry| entry.pair.size_bytes()).sum();
        pairs_bytes + base.map_or(0, |base| base.size_bytes())
    }

    /// What they all take.
    pub const fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The place of a pair, found or made.
    fn pair(&mut self, key: &WireKey, name_hash: u64, name: &str, value: &str) -> u32 {
        let hash = name_hash.rotate_left(u64::BITS / 2) ^ key.short_hash(value.as_bytes());
        let is_it = |id: &u32| self.pair_in(*id).is_some_and(|pair| pair.is(name, value));
        let known = self.places.find(hash, is_it).copied();
        known.unwrap_or_else(|| self.make(hash, name_hash, name, value))
    }

    /// The same of a pair that follows one of the same name in its place: looked for first where that was last followed.
    fn pair_behind(&mut self, before: u32, key: &WireKey, name_hash: u64, name: &str, value: &str) -> u32 {
        let next = self.entries[before as usize].as_ref().map_or(before, |entry| entry.next);
        if self.pair_in(next).is_some_and(|pair| pair.is(name, value)) {
            return next;
        }
        let next = self.pair(key, name_hash, name, value);
        if let Some(before) = &mut self.entries[before as usize] {
            before.next = next;
        }
        next
    }

    fn make(&mut self, hash: u64, name_hash: u64, name: &str, value: &str) -> u32 {
        let id = self.free.pop().unwrap_or(self.entries.len() as u32);
        let text = [name, value].concat().into();
        let pair = Arc::new(Pair { id, name_bytes: name.len() as u32, name_hash, text });
        self.bytes += pair.size_bytes();
        let entry = Some(Entry { pair, hash, uses: 0, next: id });
        if let Some(place) = self.entries.get_mut(id as usize) {
            *place = entry;
        } else {
            self.entries.push(entry);
        }
        let hash_of = |id: &u32| self.entries[*id as usize].as_ref().map_or(0, |entry| entry.hash);
        self.places.insert_unique(hash, id, hash_of);
        id
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: WireKey = WireKey::new([7; 192]);

    fn borrowed<'a>(pairs: &[(&'a str, &'a str)]) -> BorrowedLabels<'a> {
        let mut labels = BorrowedLabels::default();
        labels.extend(pairs.iter().copied());
        labels
    }

    fn bear(pairs: &mut Pairs, labels: &BorrowedLabels<'_>, changes: Changes) -> SharedLabels {
        let (base, own) = pairs.bear(&KEY, labels, changes);
        let own: Vec<Own> = own.collect();
        pairs.share(base, &own).unwrap()
    }

    #[test]
    fn pairs_live_as_long_as_some_series_bears_them() {
        let mut pairs = Pairs::default();
        let (a, b) = ([("job", "api"), ("pod", "1")], [("job", "api"), ("pod", "2")]);
        let first = bear(&mut pairs, &borrowed(&a), Changes::ALL);
        let alone_bytes = pairs.size_bytes();
        assert_eq!(pairs.own_bytes(&first), alone_bytes);
        let second = bear(&mut pairs, &borrowed(&b), Changes::ALL);
        let all = |labels: &SharedLabels| labels.pairs().cloned().collect::<Vec<_>>();
        assert!(Arc::ptr_eq(&all(&first)[0], &all(&second)[0]));
        assert_eq!((*first.to_labels()).clone(), Labels::from_pairs(a).unwrap());
        assert_eq!((*second.to_labels()).clone(), Labels::from_pairs(b).unwrap());
        assert_eq!((first.cmp(&second), first.cmp(&first.clone())), (Ordering::Less, Ordering::Equal));
        assert_eq!((second.get("pod"), second.get("podd")), (Some("2"), None));
        assert_eq!((pairs.own_bytes(&first), pairs.own_bytes(&second)), (0, all(&second)[1].size_bytes()));
        pairs.release(&second);
        assert_eq!((pairs.own_bytes(&first), pairs.size_bytes()), (alone_bytes, alone_bytes));
        let third = bear(&mut pairs, &borrowed(&b), Changes::ALL);
        pairs.release(&first);
        assert_eq!(pairs.own_bytes(&third), pairs.size_bytes());
        pairs.release(&third);
        assert_eq!((pairs.size_bytes(), pairs.places.len()), (0, 0));
        assert_eq!(third.get("pod"), Some("2"), "a reader may still hold it");
        bear(&mut pairs, &borrowed(&a), Changes::ALL);
        assert_eq!((pairs.entries.len(), pairs.bases.len()), (3, 2), "places are used again");
    }

    #[test]
    fn neighbours_share_what_they_have_in_common() {
        let mut pairs = Pairs::default();
        let codes: Vec<String> = (0..100).map(|code| code.to_string()).collect();
        let all: Vec<SharedLabels> = ["api", "web"]
            .into_iter()
            .flat_map(|job| {
                codes.iter().map(move |code| [("code", &**code), ("job", job), ("pod", job), ("zone", "a")])
            })
            .map(|labels| {
                let shared = bear(&mut pairs, &borrowed(&labels), Changes::ALL);
                assert_eq!(*shared.to_labels(), Labels::from_pairs(labels).unwrap());
                shared
            })
            .collect();
        assert_eq!(pairs.bases.iter().filter(|known| known.uses > 0).count(), 2);
        assert!(all.iter().map(|labels| labels.own.len()).sum::<usize>() <= all.len());
        for labels in &all {
            pairs.release(labels);
        }
        assert_eq!((pairs.size_bytes(), pairs.free_bases.len()), (0, pairs.bases.len()));
    }

    #[derive(Clone, Debug)]
    enum Act {
        /// Values of three labels; an empty one is absent.
        Bear([u8; 3]),
        Release(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            3 => prop::array::uniform3(0..4_u8).prop_map(Act::Bear),
            1 => any::<usize>().prop_map(Act::Release),
        ];
        prop::collection::vec(act, 0..200)
    }

    proptest! {
        /// Whoever comes and goes, everybody has their labels, and what is left takes nothing in the end.
        #[test]
        fn everybody_has_their_labels(acts in acts()) {
            let (mut pairs, mut borne, mut before) = (Pairs::default(), Vec::new(), Vec::new());
            let values = ["", "1", "2", "3"];
            for act in acts {
                match act {
                    Act::Bear(of) => {
                        let named = ["a", "b", "c"].into_iter().zip(of.map(|value| values[usize::from(value)]));
                        let labels: Vec<(&str, &str)> = named.filter(|(_, value)| !value.is_empty()).collect();
                        let same_names = labels.iter().map(|(name, _)| name).eq(before.iter().map(|(name, _)| name));
                        let mut changes = Changes::default();
                        let pairs_before = labels.iter().zip(&before).enumerate();
                        pairs_before.filter(|(_, (new, old))| new != old).for_each(|(place, _)| changes.add(place));
                        let changes = if same_names { changes } else { Changes::ALL };
                        let shared = bear(&mut pairs, &borrowed(&labels), changes);
                        borne.push((shared, Labels::from_pairs(labels.iter().copied()).unwrap()));
                        before = labels;
                    }
                    Act::Release(_) if borne.is_empty() => {}
                    Act::Release(which) => {
                        let (shared, _) = borne.swap_remove(which % borne.len());
                        pairs.release(&shared);
                    }
                }
                prop_assert!(borne.iter().all(|(shared, labels)| *shared.to_labels() == *labels));
                let mut sorted: Vec<_> = borne.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                prop_assert!(sorted.is_sorted_by_key(|(_, labels)| labels));
            }
            for (shared, _) in &borne {
                pairs.release(shared);
            }
            prop_assert_eq!((pairs.size_bytes(), pairs.places.len()), (0, 0));
        }
    }
}
