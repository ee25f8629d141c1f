//! The write side: which series a sample belongs to, and what has to go when there is no room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use crate::promql::{FloatHistogram, Value};
use crate::series::{Alike, Cache, Deciding, Ha, Heard, Met};
use crate::store::labels::Pairs;
use crate::store::recent::Recents;
use crate::store::series::{Data, Fate, Message, Series};
use crate::store::{Counters, Inner, OutOfOrder, Settings};
use crate::types::{BorrowedLabels, Labels, Selector, Selectors, Span, Timestamp};
use crate::wire::{Batch, Changes, HISTOGRAM_HASH, Histogram, LabelReader, WireLabels, label_set_hash};

/// In the cache of wire keys: a series that is not kept.
const IGNORED: u32 = u32::MAX;
/// And from here on: one that found no room, with the generation in which that was so.
const REFUSED: u32 = u32::MAX - GENERATIONS;
const GENERATIONS: u32 = 1 << 16;
/// The store's size is thought of in so many parts. When it is full, two of them are emptied at once. New series find
/// room while the last one is untouched: it is for the samples of those that are there. So series that are too many are
/// left out, and do not drive out each other and everything else in turn.
const PARTS: usize = 16;
/// A part of the wire keys that were not used is forgotten this often.
const ROTATE_EVERY: Span = Span::minutes(1);

/// What writers share, one at a time.
#[derive(Debug)]
pub(super) struct Intake {
    selection: Selectors<()>,
    deciding: Deciding,
    /// Whether series are selected, by what decides on it.
    alike: Alike,
    /// From wire key to place.
    wire: Cache<u32>,
    pairs: Pairs,
    /// From identities, of which the lowest bits are here, to places.
    places: HashTable<(u32, u32)>,
    /// As in the index, which this spares a lock.
    slots: Vec<Option<Arc<Series>>>,
    /// New series, until the index is told.
    new: Vec<Arc<Series>>,
    recents: Recents,
    /// Places to use again, with the rotation from which on no wire key stands for their last series.
    free: VecDeque<(u64, u32)>,
    rotation: u64,
    rotated_at: Option<Timestamp>,
    /// Counts how often room was made: then series that found none are looked at again.
    generation: u32,
    ha: Option<Ha>,
    buffer: Vec<u8>,
}

impl Intake {
    pub fn new(settings: &Settings, selectors: &[Selector]) -> Self {
        let (selection, deciding) = selection(selectors);
        Self {
            selection,
            deciding,
            alike: Alike::default(),
            wire: Cache::new(settings.series_limit.saturating_mul(2)),
            pairs: Pairs::default(),
            places: HashTable::new(),
            slots: Vec::new(),
            new: Vec::new(),
            recents: Recents::default(),
            free: VecDeque::new(),
            rotation: 0,
            rotated_at: None,
            generation: 0,
            ha: settings.ha.clone().map(|pairs| Ha::new(pairs, settings.series_limit)),
            buffer: Vec::new(),
        }
    }

    /// From now on these are kept; what is there stays until it is too old.
    pub fn watch(&mut self, selectors: &[Selector], settings: &Settings) {
        (self.selection, self.deciding) = selection(selectors);
        self.alike.clear();
        self.wire = Cache::new(settings.series_limit.saturating_mul(2));
    }

    /// Adds the samples of a batch that arrives at `now`.
    pub fn write(&mut self, inner: &Inner, batch: &Batch, now: Timestamp) {
        if self.selection.is_empty() {
            return;
        }
        let (mut fates, mut reader) = (Fates::default(), LabelReader::default());
        for series in batch.series() {
            if series.samples.is_empty() {
                continue;
            }
            let place = self.place_of(inner, series.wire_hash, series.wire_hash, series.labels, &mut reader);
            let Some(slot) = place else { continue };
            if !self.hears(inner, series.wire_hash, series.labels, now) {
                continue;
            }
            for sample in series.samples {
                if inner.is_timely(sample.timestamp, now) {
                    self.push(inner, slot, sample.timestamp, sample.value, &mut fates);
                }
            }
            self.make_room(inner);
        }
        inner.counters.count(fates, &inner.counters.floats);
        let mut fates = Fates::default();
        for series in batch.histogram_series() {
            let labels_hash = series.wire_hash ^ HISTOGRAM_HASH;
            let place = self.place_of(inner, series.wire_hash, labels_hash, series.labels, &mut reader);
            let Some(slot) = place else { continue };
            if !self.hears(inner, series.wire_hash, series.labels, now) {
                continue;
            }
            for message in series.messages() {
                // Only what the engine takes is kept, so that reading it never fails.
                let Ok(histogram) = Histogram::decode(message, &inner.settings.limits) else { continue };
                if inner.is_timely(histogram.timestamp, now) {
                    let message = Message::Wire(message.into());
                    self.push_histogram(inner, slot, histogram.timestamp, message, &mut fates);
                }
            }
            self.make_room(inner);
        }
        inner.counters.count(fates, &inner.counters.histograms);
        self.tell_index(inner);
    }

    fn hears(&mut self, inner: &Inner, wire_hash: u128, labels: WireLabels<'_>, now: Timestamp) -> bool {
        let Some(ha) = &mut self.ha else { return true };
        ha.hears(wire_hash, labels, &inner.settings.limits, now) == Heard::Yes
    }

    /// The place of a series, if it is kept; `labels_hash` is that of its label bytes.
    fn place_of<'a>(
        &mut self,
        inner: &Inner,
        wire_hash: u128,
        labels_hash: u128,
        labels: WireLabels<'a>,
        reader: &mut LabelReader<'a>,
    ) -> Option<u32> {
        match self.wire.get(wire_hash) {
            Some(IGNORED) => return None,
            Some(refused) if refused == self.refused() => return None,
            Some(slot) if self.slots.get(slot as usize).is_some_and(Option::is_some) => return Some(slot),
            _ => {}
        }
        let place = self.meet(inner, labels_hash, labels, reader);
        self.wire.insert(wire_hash, place);
        (place < REFUSED).then_some(place)
    }

    /// The place of a series whose label bytes were not seen lately, or what stands for one without.
    fn meet<'a>(
        &mut self,
        inner: &Inner,
        labels_hash: u128,
        labels: WireLabels<'a>,
        reader: &mut LabelReader<'a>,
    ) -> u32 {
        if reader.read(labels, &inner.settings.limits).is_err() {
            return IGNORED;
        }
        if let Some(ha) = &self.ha {
            ha.keep_common(reader.set_mut());
        }
        if !self.selects(inner, reader.set(), reader.changes()) {
            return IGNORED;
        }
        let identity = reader.identity(labels_hash, &inner.settings.key);
        if let Some(known) = self.known(identity) {
            return known;
        }
        if inner.used_bytes() > share(inner.settings.limit_bytes, PARTS - 1) {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            return self.refused();
        }
        let changes = reader.take_changes();
        self.add(inner, identity, reader.set(), changes)
    }

    fn selects(&mut self, inner: &Inner, labels: &BorrowedLabels<'_>, changes: Changes) -> bool {
        match self.alike.meet(&inner.settings.key, labels, changes, &self.deciding) {
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

    /// The place of the series with this identity.
    fn known(&self, identity: u128) -> Option<u32> {
        let has_it = |place: u32| self.slots[place as usize].as_ref().is_some_and(|own| own.identity() == identity);
        let is_it = |(low, place): &(u32, u32)| *low == identity as u32 && has_it(*place);
        self.places.find(spread(identity as u32), is_it).map(|(_, place)| *place)
    }

    /// The place of a series of our own.
    fn own_place(&mut self, inner: &Inner, labels: &Labels) -> u32 {
        let identity = label_set_hash(labels, &inner.settings.key, &mut self.buffer);
        self.known(identity).unwrap_or_else(|| {
            let place = self.add(inner, identity, &labels.into(), Changes::ALL);
            self.tell_index(inner);
            place
        })
    }

    fn tell_index(&mut self, inner: &Inner) {
        if !self.new.is_empty() {
            inner.lock_unlisted().append(&mut self.new);
        }
    }

    /// Adds a series, whose labels differ in these places from those of the one that was added before.
    fn add(&mut self, inner: &Inner, identity: u128, labels: &BorrowedLabels<'_>, changes: Changes) -> u32 {
        let place = match self.free.front() {
            Some((from, place)) if *from <= self.rotation => {
                let place = *place;
                self.free.pop_front();
                place
            }
            _ => self.slots.len() as u32,
        };
        let before = self.pairs.size_bytes();
        let labels = self.pairs.bear(&inner.settings.key, labels, changes);
        inner.resized(before, self.pairs.size_bytes());
        let series = Arc::new(Series::new(labels, place, identity));
        inner.grow(series.overhead_bytes());
        self.new.push(Arc::clone(&series));
        if let Some(slot) = self.slots.get_mut(place as usize) {
            *slot = Some(series);
        } else {
            self.slots.push(Some(series));
        }
        self.recents.reset(place);
        let low = identity as u32;
        self.places.insert_unique(spread(low), (low, place), |(low, _)| spread(*low));
        place
    }

    #[inline]
    fn push(&mut self, inner: &Inner, slot: u32, at: Timestamp, value: f64, fates: &mut Fates) {
        if self.recents.push(slot, at.0, value) {
            fates.stored += 1;
        } else {
            self.push_past_recent(inner, slot, at, value, fates);
        }
    }

    fn push_past_recent(&mut self, inner: &Inner, slot: u32, at: Timestamp, value: f64, fates: &mut Fates) {
        self.settle(inner, slot);
        let window = inner.settings.out_of_order_window;
        self.change(inner, slot, fates, |data| data.push(at.0, value, window));
        self.recents.passed(slot, at.0);
    }

    fn push_histogram(&mut self, inner: &Inner, slot: u32, at: Timestamp, message: Message, fates: &mut Fates) {
        self.settle(inner, slot);
        let window = inner.settings.out_of_order_window;
        self.change(inner, slot, fates, |data| data.push_histogram(at.0, message, window));
        self.recents.passed(slot, at.0);
    }

    /// Compresses what waits of a series.
    fn settle(&mut self, inner: &Inner, slot: u32) {
        if self.recents.is_empty(slot) {
            return;
        }
        let Some(series) = &self.slots[slot as usize] else { return };
        inner.change(series, |data| {
            for (at, value) in self.recents.take(slot) {
                // Later than all before it: nothing is refused.
                data.push(at, value, inner.settings.out_of_order_window);
            }
        });
    }

    /// Does so for series that somebody is about to read.
    pub fn settle_all(&mut self, inner: &Inner, all: &[Arc<Series>]) {
        for series in all {
            let is_there = self.slots.get(series.place as usize).and_then(Option::as_ref);
            if is_there.is_some_and(|own| Arc::ptr_eq(own, series)) {
                self.settle(inner, series.place);
            }
        }
    }

    fn change(&mut self, inner: &Inner, slot: u32, fates: &mut Fates, push: impl FnOnce(&mut Data) -> Fate) {
        let Some(Some(series)) = self.slots.get(slot as usize) else { return };
        match inner.change(series, push) {
            Fate::Stored => fates.stored += 1,
            Fate::Duplicate => fates.duplicates += 1,
            Fate::Late => fates.late += 1,
        }
    }

    /// Adds a sample of a series of our own, selected or not.
    pub fn push_own(&mut self, inner: &Inner, labels: &Labels, at: Timestamp, value: f64) {
        let (slot, mut fates) = (self.own_place(inner, labels), Fates::default());
        self.push(inner, slot, at, value, &mut fates);
        inner.counters.count(fates, &inner.counters.floats);
        self.make_room(inner);
    }

    /// The same for a histogram.
    pub fn push_own_histogram(
        &mut self,
        inner: &Inner,
        labels: &Labels,
        at: Timestamp,
        histogram: Arc<FloatHistogram>,
    ) {
        let (slot, mut fates) = (self.own_place(inner, labels), Fates::default());
        self.push_histogram(inner, slot, at, Message::Result(histogram), &mut fates);
        inner.counters.count(fates, &inner.counters.histograms);
        self.make_room(inner);
    }

    /// Adds a sample of a series of our own that comes after all of its series.
    pub fn push_own_in_order(
        &mut self,
        inner: &Inner,
        labels: &Labels,
        at: Timestamp,
        value: &Value,
    ) -> Result<(), OutOfOrder> {
        let slot = self.own_place(inner, labels);
        self.settle(inner, slot);
        if let Some(Some(series)) = self.slots.get(slot as usize) {
            let (newest, newest_float) = series.look(|data| (data.newest(), data.newest_float()));
            if newest.is_some_and(|newest| at.0 < newest) {
                return Err(OutOfOrder::Late);
            }
            if newest == Some(at.0) {
                let same = match value {
                    Value::Float(value) => newest_float.is_some_and(|f| f.value.to_bits() == value.to_bits()),
                    Value::Histogram(_) => false,
                };
                return if same { Ok(()) } else { Err(OutOfOrder::Duplicate) };
            }
        }
        let mut fates = Fates::default();
        let stored = match value {
            Value::Float(value) => {
                self.push(inner, slot, at, *value, &mut fates);
                &inner.counters.floats
            }
            Value::Histogram(histogram) => {
                self.push_histogram(inner, slot, at, Message::Result(Arc::clone(histogram)), &mut fates);
                &inner.counters.histograms
            }
        };
        inner.counters.count(fates, stored);
        self.make_room(inner);
        Ok(())
    }

    /// Drops what is older than the retention, and series without samples.
    pub fn expire(&mut self, inner: &Inner, now: Timestamp) {
        let expired = self.drop_before(inner, (now - inner.settings.retention).0);
        inner.counters.expired.fetch_add(expired, Ordering::Relaxed);
        if self.rotated_at.is_some_and(|at| now.since(at) < ROTATE_EVERY) {
            return;
        }
        self.rotated_at = Some(now);
        self.rotation += 1;
        self.wire.rotate();
        if let Some(ha) = &mut self.ha {
            ha.rotate();
        }
    }

    /// Over the limit, the oldest samples of all series go, some more than needed so that it is not needed again at once.
    fn make_room(&mut self, inner: &Inner) {
        let limit = inner.settings.limit_bytes;
        let used = inner.used_bytes();
        if used <= limit {
            return;
        }
        let target = share(limit, PARTS - 2);
        (0..self.slots.len() as u32).for_each(|slot| self.settle(inner, slot));
        let mut parts: Vec<(i64, usize)> = Vec::new();
        for series in self.slots.iter().flatten() {
            // Without samples the series goes, too.
            let bytes = series.overhead_bytes() + self.pairs.own_bytes(&series.labels);
            series.look(|data| {
                data.parts(|last, bytes| parts.push((last, bytes)));
                parts.push((data.newest().unwrap_or(i64::MIN), bytes));
            });
        }
        parts.sort_unstable();
        let mut left = used;
        let gone = parts.iter().take_while(|(_, bytes)| {
            let goes = left > target;
            left = left.saturating_sub(*bytes);
            goes
        });
        let Some((last, _)) = gone.last() else { return };
        let evicted = self.drop_before(inner, last.saturating_add(1));
        inner.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    fn drop_before(&mut self, inner: &Inner, cutoff: i64) -> u64 {
        let mut dropped = 0;
        let (mut emptied, mut gone) = (Vec::new(), Vec::new());
        for place in 0..self.slots.len() as u32 {
            if self.slots[place as usize].is_none() {
                continue;
            }
            if self.recents.is_before(place, cutoff) {
                self.settle(inner, place);
            }
            let Some(series) = &self.slots[place as usize] else { continue };
            if series.look(Data::oldest).is_some_and(|oldest| oldest < cutoff) {
                dropped += inner.change(series, |data| data.drop_before(cutoff));
            }
            if self.recents.is_empty(place) && series.look(Data::is_empty) {
                gone.extend(self.slots[place as usize].take());
                emptied.push(place);
            }
        }
        self.generation = self.generation.wrapping_add(u32::from(dropped > 0));
        if !emptied.is_empty() {
            self.tell_index(inner);
            inner.lock_index_to_change().remove(&emptied);
            let before = self.pairs.size_bytes();
            for series in gone {
                inner.resized(series.overhead_bytes(), 0);
                self.pairs.release(&series.labels);
                let is_it = |(_, place): &(u32, u32)| *place == series.place;
                if let Ok(found) = self.places.find_entry(spread(series.identity() as u32), is_it) {
                    found.remove();
                }
            }
            inner.resized(before, self.pairs.size_bytes());
            // By then no wire key stands for the place; one used meanwhile finds it empty.
            let from = self.rotation + Cache::<u32>::LIFE_ROTATIONS;
            self.free.extend(emptied.iter().map(|slot| (from, *slot)));
        }
        dropped
    }

    /// Series.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn wire_keys(&self) -> usize {
        self.wire.len()
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

/// 32 bits of a hash as one of 64 whose upper bits matter, too.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// So many of [`PARTS`] parts of a size.
const fn share(size: usize, parts: usize) -> usize {
    size / PARTS * parts + size % PARTS * parts / PARTS
}

/// What became of the samples of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    stored: u64,
    duplicates: u64,
    late: u64,
}

impl Counters {
    fn count(&self, fates: Fates, stored: &AtomicU64) {
        for (counter, count) in [(stored, fates.stored), (&self.duplicates, fates.duplicates), (&self.late, fates.late)]
        {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
impl Intake {
    pub fn places(&self) -> usize {
        self.slots.len()
    }
}
