//! Who the series of a batch are: those that are kept have a place each.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::series::{Alike, Deciding, Findings, Found, LabelReading, Met};
use crate::store::Inner;
use crate::store::labels::Pairs;
use crate::store::newborns::Newborns;
use crate::store::series::{Series, overhead_bytes};
use crate::types::{Blocks, BorrowedLabels, Labels, Places, Selector, Selectors};
use crate::wire::{Batch, Changes, LabelReader, Limits, WireKey, WireLabels, label_set_hash};

/// In place of a place: nothing is known of the wire key.
const UNKNOWN: u32 = u32::MAX;
/// Its series is not kept.
const IGNORED: u32 = u32::MAX - 1;
/// And from here on: its series found no room, with the generation in which that was so.
const REFUSED: u32 = IGNORED - GENERATIONS;
const GENERATIONS: u32 = 1 << 16;

/// All series that are kept.
#[derive(Debug)]
pub(super) struct Roster {
    selection: Selectors<()>,
    deciding: Deciding,
    /// Whether series are selected, by what decides on it.
    alike: Alike,
    /// What wire keys stand for, by the places that they have with the engine.
    wire: Blocks<WireKeyUse>,
    pairs: Pairs,
    /// By the lowest bits of identities.
    places: Places,
    /// By place; none where there is a newborn, or no series.
    slots: Blocks<Option<Arc<Series>>>,
    /// By place, the two halves of each; [`VACANT`] where there is no series.
    identities: Blocks<(u64, u64)>,
    newborns: Newborns,
    /// New series, until the index is told.
    new: Vec<Arc<Series>>,
    /// Places to use again.
    free: Vec<u32>,
    /// What all series take, their samples included, but for labels that they share.
    used_bytes: usize,
    /// Over it new series find no room.
    limit_bytes: usize,
    /// Counts how often room was made: then series that found none are looked at again.
    generation: u32,
    key_fingerprint: u64,
    buffer: Vec<u8>,
}

/// What the wire key stands for that has a place with the engine.
#[derive(Clone, Copy, Debug)]
struct WireKeyUse {
    /// Of the hash, in words that need no padding: another key may have got the place since.
    key: [u32; 2],
    place: u32,
}

impl Default for WireKeyUse {
    fn default() -> Self {
        Self { key: [0; 2], place: UNKNOWN }
    }
}

/// A series of a batch.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub wire_hash: u128,
    /// Of its label bytes, where that is known under our key.
    pub labels_hash: Option<u128>,
    pub labels: WireLabels<'a>,
    pub found: Found,
}

/// New series of a batch, as they are met.
pub(super) struct Meeting<'a> {
    /// What the engine has read last, and what it has found out of it if that is the series at hand.
    labels: BorrowedLabels<'a>,
    reading: Option<&'a LabelReading>,
    /// Where labels differ from those that were last asked about, and from those of the last series that was added.
    unasked: Changes,
    unadded: Changes,
}

impl Default for Meeting<'_> {
    fn default() -> Self {
        Self { labels: BorrowedLabels::default(), reading: None, unasked: Changes::ALL, unadded: Changes::ALL }
    }
}

impl<'a> Meeting<'a> {
    /// Of the series that comes next nothing is known but what was found.
    pub fn pass(&mut self) {
        self.reading = None;
    }

    /// The engine has read the labels of the series that comes next.
    pub fn follow(
        &mut self,
        findings: &'a Findings,
        reading: &'a LabelReading,
        labels: WireLabels<'a>,
        limits: &Limits,
    ) {
        if reading.changes.may_be_names() {
            let mut reader = LabelReader::default();
            // What the engine could read can be read, within the same limits.
            let read = reader.read(labels, limits);
            self.labels = read.map_or_else(|_| BorrowedLabels::default(), |()| std::mem::take(reader.set_mut()));
        } else {
            findings.follow(reading, &mut self.labels);
        }
        self.reading = (!self.labels.is_empty()).then_some(reading);
        self.unasked = self.unasked.and(reading.changes);
        self.unadded = self.unadded.and(reading.changes);
    }
}

impl Roster {
    pub fn new(key: &WireKey, limit_bytes: usize, selectors: &[Selector]) -> Self {
        let (selection, deciding) = selection(selectors);
        Self {
            selection,
            deciding,
            alike: Alike::default(),
            wire: Blocks::default(),
            pairs: Pairs::default(),
            places: Places::default(),
            slots: Blocks::default(),
            identities: Blocks::default(),
            newborns: Newborns::default(),
            new: Vec::new(),
            free: Vec::new(),
            used_bytes: 0,
            limit_bytes,
            generation: 0,
            key_fingerprint: key.fingerprint(),
            buffer: Vec::new(),
        }
    }

    /// From now on these are kept; what is there stays.
    pub fn watch(&mut self, selectors: &[Selector]) {
        (self.selection, self.deciding) = selection(selectors);
        self.alike.clear();
        self.wire = Blocks::default();
    }

    /// Whether nothing is asked for.
    pub fn selects_none(&self) -> bool {
        self.selection.is_empty()
    }

    /// Whether the hashes of the batch are what identities are.
    pub fn has_key_of(&self, batch: &Batch) -> bool {
        batch.is_hashed_with(self.key_fingerprint)
    }

    /// The place of a series, if it is kept and listened to.
    #[inline]
    pub fn place_of<'a>(&mut self, inner: &Inner, sent: Sent<'a>, meeting: &mut Meeting<'a>) -> Option<u32> {
        if let Some(wire_place) = sent.found.place()
            && let Some(known) = self.wire.get(wire_place as usize)
            && known.key == key_of(sent.wire_hash)
        {
            let place = known.place;
            if place < REFUSED {
                return Some(place);
            }
            if place == IGNORED || place == self.refused() {
                return None;
            }
        }
        self.meet_sent(inner, sent, meeting)
    }

    /// The same where the wire key says nothing.
    #[inline(never)]
    fn meet_sent<'a>(&mut self, inner: &Inner, sent: Sent<'a>, meeting: &mut Meeting<'a>) -> Option<u32> {
        if sent.found == Found::UNHEARD {
            return None;
        }
        let place = match meeting.reading {
            Some(reading) => self.meet_read(inner, sent, reading, meeting),
            None => self.meet_unread(inner, sent, meeting),
        };
        if let Some(wire_place) = sent.found.place() {
            while self.wire.len() <= wire_place as usize {
                self.wire.push(WireKeyUse::default());
            }
            self.wire[wire_place as usize] = WireKeyUse { key: key_of(sent.wire_hash), place };
        }
        (place < REFUSED).then_some(place)
    }

    /// The place of a series that the engine has read, or what stands for one without.
    fn meet_read(&mut self, inner: &Inner, sent: Sent<'_>, reading: &LabelReading, meeting: &mut Meeting<'_>) -> u32 {
        let (labels, settings) = (&meeting.labels, &inner.settings);
        let is_counted = settings.keeps_counted && reading.is_counted;
        if !is_counted && !self.selects(&settings.key, labels, std::mem::take(&mut meeting.unasked)) {
            return IGNORED;
        }
        let identity = reading.identity.filter(|_| sent.labels_hash.is_some());
        let identity = identity.unwrap_or_else(|| label_set_hash(labels.iter(), &settings.key, &mut self.buffer));
        match self.known_or_refused(inner, identity) {
            Some(place) => place,
            None => self.add(&settings.key, identity, labels, std::mem::take(&mut meeting.unadded)),
        }
    }

    /// The same of one that the engine knows or does not want.
    #[inline(never)]
    fn meet_unread<'a>(&mut self, inner: &Inner, sent: Sent<'a>, meeting: &mut Meeting<'a>) -> u32 {
        let (settings, mut reader) = (&inner.settings, LabelReader::default());
        if reader.read(sent.labels, &settings.limits).is_err() {
            return IGNORED;
        }
        if let Some(pairs) = &settings.ha {
            pairs.keep_common(reader.set_mut());
        }
        // What the engine reads next differs from what it has read before, and not from this.
        (meeting.unasked, meeting.unadded) = (Changes::ALL, Changes::ALL);
        if !self.selects(&settings.key, reader.set(), Changes::ALL) {
            return IGNORED;
        }
        let identity = reader.identity(sent.labels_hash, &settings.key);
        let place = self.known_or_refused(inner, identity);
        place.unwrap_or_else(|| self.add(&settings.key, identity, reader.set(), Changes::ALL))
    }

    fn selects(&mut self, key: &WireKey, labels: &BorrowedLabels<'_>, changes: Changes) -> bool {
        match self.alike.meet(key, labels, changes, &self.deciding) {
            Met::Nothing => false,
            Met::Known(is_selected) => is_selected > 0,
            Met::New(hash) => {
                let is_selected = self.selection.candidates(labels).any(|(selector, ())| selector.matches(labels));
                self.alike.insert(hash, is_selected.into());
                is_selected
            }
        }
    }

    /// What stands for a series that has found no room since some was made last.
    const fn refused(&self) -> u32 {
        REFUSED + self.generation % GENERATIONS
    }

    /// The place of the series with this identity, or what stands for one if there is no room for it.
    fn known_or_refused(&self, inner: &Inner, identity: u128) -> Option<u32> {
        let known = self.known(identity);
        if known.is_none() && self.used_bytes > self.limit_bytes {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Some(self.refused());
        }
        known
    }

    /// The place of the series with this identity.
    fn known(&self, identity: u128) -> Option<u32> {
        self.places.find(identity as u32, |place| self.identities[place as usize] == halves_of(identity))
    }

    /// The place of a series of our own.
    pub fn own_place(&mut self, key: &WireKey, labels: &Labels) -> u32 {
        let identity = label_set_hash(labels, key, &mut self.buffer);
        self.known(identity).unwrap_or_else(|| self.add(key, identity, &labels.into(), Changes::ALL))
    }

    /// The place of the series that has this one's labels in another store of the same key, if there is one or room.
    pub fn place_like(&mut self, inner: &Inner, identity: u128, other: &Series) -> Option<u32> {
        let place = self.known_or_refused(inner, identity).unwrap_or_else(|| {
            let labels = other.labels.to_labels();
            self.add(&inner.settings.key, identity, &(&*labels).into(), Changes::ALL)
        });
        (place < REFUSED).then_some(place)
    }

    /// Adds a series, whose labels differ in these places from those of the one that was added before.
    fn add(&mut self, key: &WireKey, identity: u128, labels: &BorrowedLabels<'_>, changes: Changes) -> u32 {
        let place = self.free.pop().unwrap_or(self.slots.len() as u32);
        let before = self.pairs.size_bytes();
        let (base, own) = self.pairs.bear(key, labels, changes);
        let own_count = self.newborns.push(place, base, own);
        self.resized(before, self.pairs.size_bytes() + overhead_bytes(labels.len(), own_count));
        if let Some(known) = self.identities.get_mut(place as usize) {
            *known = halves_of(identity);
        } else {
            self.identities.push(halves_of(identity));
            self.slots.push(None);
        }
        self.places.insert(identity as u32, place);
        place
    }

    /// The series in this place; one that was a newborn becomes one.
    pub fn get(&mut self, place: u32) -> Option<&Arc<Series>> {
        if self.identities[place as usize] != VACANT {
            while self.slots[place as usize].is_none() && self.grow_up() {}
        }
        self.look_at(place)
    }

    /// The series in this place, if it is no newborn.
    pub fn look_at(&self, place: u32) -> Option<&Arc<Series>> {
        self.slots[place as usize].as_ref()
    }

    /// The first newborn becomes a series; whether there was one.
    fn grow_up(&mut self) -> bool {
        let Self { newborns, pairs, slots, new, .. } = self;
        let grown = newborns.pop(|newborn, own| {
            let labels = pairs.share(newborn.base, own)?;
            let series = Arc::new(Series::new(labels, newborn.place));
            new.push(Arc::clone(&series));
            slots[newborn.place as usize] = Some(series);
            Some(())
        });
        grown.is_some()
    }

    /// All series but newborns, with their identities.
    pub fn iter(&self) -> impl Iterator<Item = (u128, &Arc<Series>)> {
        let all = self.identities.iter().zip(self.slots.iter());
        all.filter_map(|(identity, series)| Some((identity_of(*identity), series.as_ref()?)))
    }

    /// At most so many newborns become series; whether there are more. Readers find those that have become series since
    /// this was asked last.
    pub fn tell_index(&mut self, inner: &Inner, limit_newborns: usize) -> bool {
        let has_more = (0..limit_newborns).all(|_| self.grow_up());
        if !self.new.is_empty() {
            inner.lock_unlisted().push(std::mem::take(&mut self.new));
        }
        has_more
    }

    /// Forgets the series in these places.
    pub fn remove(&mut self, places: &[u32]) {
        for place in places {
            let Some(series) = self.slots[*place as usize].take() else { continue };
            let before = self.pairs.size_bytes() + series.overhead_bytes();
            self.pairs.release(&series.labels);
            self.resized(before, self.pairs.size_bytes());
            let identity = identity_of(std::mem::replace(&mut self.identities[*place as usize], VACANT));
            self.places.remove(identity as u32, *place);
        }
        // Their places may be others' from now on.
        for known in self.wire.iter_mut().filter(|known| known.place < REFUSED) {
            if self.identities[known.place as usize] == VACANT {
                known.place = UNKNOWN;
            }
        }
        self.free.extend(places);
    }

    /// There is room again for series that found none.
    pub fn has_room(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Something takes `after` bytes that took `before`.
    pub fn resized(&mut self, before: usize, after: usize) {
        self.used_bytes = self.used_bytes - before + after;
    }

    /// What all of it takes.
    pub const fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// What a series takes that would take nothing without it, besides samples.
    pub fn own_bytes(&self, series: &Series) -> usize {
        series.overhead_bytes() + self.pairs.own_bytes(&series.labels)
    }

    /// Series.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Places, used or not.
    pub fn places(&self) -> u32 {
        self.slots.len() as u32
    }
}

fn selection(selectors: &[Selector]) -> (Selectors<()>, Deciding) {
    let (mut selection, mut deciding) = (Selectors::default(), Deciding::default());
    for selector in selectors {
        deciding.add(selector, []);
        selection.add(selector.clone(), ());
    }
    (selection, deciding.done())
}

/// The part of a wire key that is kept.
const fn key_of(wire_hash: u128) -> [u32; 2] {
    [wire_hash as u32, (wire_hash >> 32) as u32]
}

/// Of a place without a series: no hash of labels under a key is zero, as far as anybody can tell.
const VACANT: (u64, u64) = (0, 0);

/// An identity in words that need no padding.
const fn halves_of(identity: u128) -> (u64, u64) {
    ((identity >> 64) as u64, identity as u64)
}

const fn identity_of((upper, lower): (u64, u64)) -> u128 {
    (upper as u128) << 64 | lower as u128
}
