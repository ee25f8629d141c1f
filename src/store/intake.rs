//! The write side: which series a sample belongs to, and what has to go when there is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use crate::promql::{FloatHistogram, Value};
use crate::series::{Alike, Deciding, Findings, Found, LabelReading, Met};
use crate::store::labels::Pairs;
use crate::store::recent::Recents;
use crate::store::series::{Data, Fate, Message, Series};
use crate::store::{Counters, Inner, OutOfOrder, Settings};
use crate::types::{Blocks, BorrowedLabels, Labels, Selector, Selectors, Timestamp};
use crate::wire::{Batch, Changes, HISTOGRAM_HASH, Histogram, LabelReader, Limits, WireLabels, label_set_hash};

/// In place of a place: nothing is known of the wire key.
const UNKNOWN: u32 = u32::MAX;
/// Its series is not kept.
const IGNORED: u32 = u32::MAX - 1;
/// And from here on: its series found no room, with the generation in which that was so.
const REFUSED: u32 = IGNORED - GENERATIONS;
const GENERATIONS: u32 = 1 << 16;
/// The store's size is thought of in so many parts. When it is full, two of them are emptied at once. New series find
/// room while the last one is untouched: it is for the samples of those that are there. So series that are too many are
/// left out, and do not drive out each other and everything else in turn.
const PARTS: usize = 16;

/// What writers share, one at a time.
#[derive(Debug)]
pub(super) struct Intake {
    selection: Selectors<()>,
    deciding: Deciding,
    /// Whether series are selected, by what decides on it.
    alike: Alike,
    /// What wire keys stand for, by the places that they have with the engine.
    wire: Blocks<WireKeyUse>,
    pairs: Pairs,
    /// From identities, of which the lowest bits are here, to places.
    places: HashTable<(u32, u32)>,
    /// As in the index, which this spares a lock.
    slots: Vec<Option<Arc<Series>>>,
    /// New series, until the index is told.
    new: Vec<Arc<Series>>,
    recents: Recents,
    /// Places to use again.
    free: Vec<u32>,
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
struct Sent<'a> {
    wire_hash: u128,
    /// Of its label bytes, where that is known under our key.
    labels_hash: Option<u128>,
    labels: WireLabels<'a>,
    found: Found,
}

/// New series of a batch, as they are met.
struct Meeting<'a> {
    /// What the engine has read last, and what it has found out of it if that is the series at hand.
    labels: BorrowedLabels<'a>,
    reading: Option<LabelReading>,
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
    /// The engine has read the labels of the series that comes next.
    fn follow(&mut self, findings: &'a Findings, reading: LabelReading, labels: WireLabels<'a>, limits: &Limits) {
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

impl Intake {
    pub fn new(settings: &Settings, selectors: &[Selector]) -> Self {
        let (selection, deciding) = selection(selectors);
        Self {
            selection,
            deciding,
            alike: Alike::default(),
            wire: Blocks::default(),
            pairs: Pairs::default(),
            places: HashTable::new(),
            slots: Vec::new(),
            new: Vec::new(),
            recents: Recents::default(),
            free: Vec::new(),
            generation: 0,
            key_fingerprint: settings.key.fingerprint(),
            buffer: Vec::new(),
        }
    }

    /// From now on these are kept; what is there stays until it is too old.
    pub fn watch(&mut self, selectors: &[Selector]) {
        (self.selection, self.deciding) = selection(selectors);
        self.alike.clear();
        self.wire = Blocks::default();
    }

    /// Adds the samples of a batch that arrives at `now`, of which this was found.
    pub fn write(&mut self, inner: &Inner, batch: &Batch, findings: &Findings, now: Timestamp) {
        if self.selection.is_empty() && !inner.settings.keeps_counted {
            return;
        }
        let (mut fates, mut meeting) = (Fates::default(), Meeting::default());
        // Where a label of them is left out they are not those that the engine has read.
        let mut readings = findings.readings().filter(|_| inner.settings.ha.is_none()).peekable();
        let mut found = findings.series();
        let is_ours = batch.is_hashed_with(self.key_fingerprint);
        for (source, series) in (0..).zip(batch.series()) {
            meeting.reading = None;
            if let Some(reading) = readings.next_if(|reading| reading.source == source) {
                meeting.follow(findings, reading, series.labels, &inner.settings.limits);
            }
            let (labels_hash, found) = (is_ours.then_some(series.wire_hash), found.next().unwrap_or(Found::Unknown));
            if series.samples.is_empty() {
                continue;
            }
            let sent = Sent { wire_hash: series.wire_hash, labels_hash, labels: series.labels, found };
            let Some(slot) = self.place_of(inner, sent, &mut meeting) else { continue };
            for sample in series.samples {
                if inner.is_timely(sample.timestamp, now) {
                    self.push(inner, slot, sample.timestamp, sample.value, &mut fates);
                }
            }
            self.make_room(inner);
        }
        inner.counters.count(fates, &inner.counters.floats);
        let (mut fates, mut found) = (Fates::default(), findings.histogram_series());
        for series in batch.histogram_series() {
            meeting.reading = None;
            let labels_hash = is_ours.then_some(series.wire_hash ^ HISTOGRAM_HASH);
            let found = found.next().unwrap_or(Found::Unknown);
            let sent = Sent { wire_hash: series.wire_hash, labels_hash, labels: series.labels, found };
            let Some(slot) = self.place_of(inner, sent, &mut meeting) else { continue };
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

    /// The place of a series, if it is kept and listened to.
    #[inline]
    fn place_of<'a>(&mut self, inner: &Inner, sent: Sent<'a>, meeting: &mut Meeting<'a>) -> Option<u32> {
        if let Found::At(wire_place) = sent.found
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
    fn meet_sent<'a>(&mut self, inner: &Inner, sent: Sent<'a>, meeting: &mut Meeting<'a>) -> Option<u32> {
        if sent.found == Found::Unheard {
            return None;
        }
        let place = self.meet(inner, sent, meeting);
        if let Found::At(wire_place) = sent.found {
            while self.wire.len() <= wire_place as usize {
                self.wire.push(WireKeyUse::default());
            }
            self.wire[wire_place as usize] = WireKeyUse { key: key_of(sent.wire_hash), place };
        }
        (place < REFUSED).then_some(place)
    }

    /// The place of a series whose labels have to be looked at, or what stands for one without.
    fn meet<'a>(&mut self, inner: &Inner, sent: Sent<'a>, meeting: &mut Meeting<'a>) -> u32 {
        let settings = &inner.settings;
        let (mut own, is_followed) = (LabelReader::default(), meeting.reading.is_some());
        if !is_followed {
            // The engine knows it, or does not want it.
            if own.read(sent.labels, &settings.limits).is_err() {
                return IGNORED;
            }
            if let Some(pairs) = &settings.ha {
                pairs.keep_common(own.set_mut());
            }
            // What the engine reads next differs from what it has read before, and not from this.
            (meeting.unasked, meeting.unadded) = (Changes::ALL, Changes::ALL);
        }
        let labels = if is_followed { &meeting.labels } else { own.set() };
        let since = |changes: &mut Changes| if is_followed { std::mem::take(changes) } else { Changes::ALL };
        let is_counted = settings.keeps_counted && meeting.reading.is_some_and(|reading| reading.is_counted);
        if !is_counted && !self.selects(inner, labels, since(&mut meeting.unasked)) {
            return IGNORED;
        }
        let identity = match meeting.reading.and_then(|reading| reading.identity) {
            Some(identity) if sent.labels_hash.is_some() => identity,
            _ if is_followed => label_set_hash(labels.iter(), &settings.key, &mut self.buffer),
            _ => own.identity(sent.labels_hash, &settings.key),
        };
        if let Some(known) = self.known(identity) {
            return known;
        }
        if inner.used_bytes() > share(settings.limit_bytes, PARTS - 1) {
            inner.counters.refused.fetch_add(1, Ordering::Relaxed);
            return self.refused();
        }
        let labels = if is_followed { &meeting.labels } else { own.set() };
        self.add(inner, identity, labels, since(&mut meeting.unadded))
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
        let place = self.free.pop().unwrap_or(self.slots.len() as u32);
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
            // Their places may be others' from now on.
            for known in self.wire.iter_mut().filter(|known| known.place < REFUSED) {
                if self.slots[known.place as usize].is_none() {
                    known.place = UNKNOWN;
                }
            }
            self.free.append(&mut emptied);
        }
        dropped
    }

    /// Series.
    pub fn len(&self) -> usize {
        self.places.len()
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
