//! The write side: which series a sample belongs to, and what has to go when there is no room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::promql::{FloatHistogram, Value};
use crate::series::{self, Cache, Ha, Heard, identity_bytes};
use crate::store::recent::Recent;
use crate::store::series::{Data, Fate, Message, Series};
use crate::store::{Counters, Inner, OutOfOrder, Settings};
use crate::types::{Labels, Selector, Selectors, Span, Timestamp};
use crate::wire::{Batch, Histogram, WireLabels, decode_labels};

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
    /// From wire key to place.
    wire: Cache<u32>,
    /// From identity to place.
    identities: series::Index,
    /// As in the index, which this spares a lock.
    slots: Vec<Option<Slot>>,
    /// By place.
    recents: Vec<Recent>,
    /// Places to use again, with the rotation from which on no wire key stands for their last series.
    free: VecDeque<(u64, u32)>,
    rotation: u64,
    rotated_at: Option<Timestamp>,
    /// Counts how often room was made: then series that found none are looked at again.
    generation: u32,
    ha: Option<Ha>,
    buffer: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Slot {
    series: Arc<Series>,
    identity: u128,
}

impl Slot {
    /// Changes what is kept of the series, and accounts for what that takes.
    fn change<R>(&self, inner: &Inner, change: impl FnOnce(&mut Data) -> R) -> R {
        let mut data = self.series.lock();
        let before = data.size_bytes();
        let result = change(&mut data);
        let after = data.size_bytes();
        drop(data);
        inner.resized(before, after);
        result
    }
}

impl Intake {
    pub fn new(settings: &Settings, selectors: &[Selector]) -> Self {
        Self {
            selection: selection(selectors),
            wire: Cache::new(settings.series_limit.saturating_mul(2)),
            identities: series::Index::default(),
            slots: Vec::new(),
            recents: Vec::new(),
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
        self.selection = selection(selectors);
        self.wire = Cache::new(settings.series_limit.saturating_mul(2));
    }

    /// Adds the samples of a batch that arrives at `now`.
    pub fn write(&mut self, inner: &Inner, batch: &Batch, now: Timestamp) {
        if self.selection.is_empty() {
            return;
        }
        let mut fates = Fates::default();
        for series in batch.series() {
            if series.samples.is_empty() {
                continue;
            }
            let Some(slot) = self.place_of(inner, series.wire_hash, series.labels) else { continue };
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
            let Some(slot) = self.place_of(inner, series.wire_hash, series.labels) else { continue };
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
    }

    fn hears(&mut self, inner: &Inner, wire_hash: u128, labels: WireLabels<'_>, now: Timestamp) -> bool {
        let Some(ha) = &mut self.ha else { return true };
        ha.hears(wire_hash, labels, &inner.settings.limits, now) == Heard::Yes
    }

    /// The place of a series, if it is kept.
    fn place_of(&mut self, inner: &Inner, wire_hash: u128, labels: WireLabels<'_>) -> Option<u32> {
        match self.wire.get(wire_hash) {
            Some(IGNORED) => return None,
            Some(refused) if refused == self.refused() => return None,
            Some(slot) if self.slots.get(slot as usize).is_some_and(Option::is_some) => return Some(slot),
            _ => {}
        }
        let labels = decode_labels(labels, &inner.settings.limits).ok();
        let labels =
            labels.map(|labels| self.ha.as_ref().map_or_else(|| labels.clone(), |ha| ha.common(labels.clone())));
        let place = match labels {
            Some(labels) if self.selects(&labels) => {
                let identity = self.identity(inner, &labels);
                let known = self.identities.get(identity);
                if known.is_none() && inner.used_bytes() > share(inner.settings.limit_bytes, PARTS - 1) {
                    inner.counters.refused.fetch_add(1, Ordering::Relaxed);
                    self.refused()
                } else {
                    known.unwrap_or_else(|| self.add(inner, &labels, identity))
                }
            }
            _ => IGNORED,
        };
        self.wire.insert(wire_hash, place);
        (place < REFUSED).then_some(place)
    }

    fn selects(&self, labels: &Labels) -> bool {
        self.selection.candidates(labels).any(|(selector, ())| selector.matches(labels))
    }

    /// What stands for a series that has found no room since some was made last.
    const fn refused(&self) -> u32 {
        REFUSED + self.generation % GENERATIONS
    }

    fn identity(&mut self, inner: &Inner, labels: &Labels) -> u128 {
        identity_bytes(labels, &mut self.buffer);
        inner.settings.key.hash(&self.buffer)
    }

    /// The place of a series with these labels, which is made if need be.
    fn place(&mut self, inner: &Inner, labels: &Labels) -> u32 {
        let identity = self.identity(inner, labels);
        self.identities.get(identity).unwrap_or_else(|| self.add(inner, labels, identity))
    }

    fn add(&mut self, inner: &Inner, labels: &Labels, identity: u128) -> u32 {
        let slot = match self.free.front() {
            Some((from, slot)) if *from <= self.rotation => {
                let slot = *slot;
                self.free.pop_front();
                slot
            }
            _ => self.slots.len() as u32,
        };
        let series = Arc::new(Series::new(labels.clone(), slot));
        let entry = Slot { series: Arc::clone(&series), identity };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            (*place, self.recents[slot as usize]) = (Some(entry), Recent::default());
        } else {
            self.slots.push(Some(entry));
            self.recents.push(Recent::default());
        }
        self.identities.insert(identity, slot);
        inner.grow(series.overhead_bytes());
        inner.lock_index_to_change().add(slot, &series);
        slot
    }

    #[inline]
    fn push(&mut self, inner: &Inner, slot: u32, at: Timestamp, value: f64, fates: &mut Fates) {
        let is_taken = self.recents.get_mut(slot as usize).is_some_and(|recent| recent.push(at.0, value));
        if is_taken {
            fates.stored += 1;
        } else {
            self.push_past_recent(inner, slot, at, value, fates);
        }
    }

    fn push_past_recent(&mut self, inner: &Inner, slot: u32, at: Timestamp, value: f64, fates: &mut Fates) {
        self.settle(inner, slot);
        let window = inner.settings.out_of_order_window;
        self.change(inner, slot, fates, |data| data.push(at.0, value, window));
        self.recents[slot as usize].passed(at.0);
    }

    fn push_histogram(&mut self, inner: &Inner, slot: u32, at: Timestamp, message: Message, fates: &mut Fates) {
        self.settle(inner, slot);
        let window = inner.settings.out_of_order_window;
        self.change(inner, slot, fates, |data| data.push_histogram(at.0, message, window));
        self.recents[slot as usize].passed(at.0);
    }

    /// Compresses what waits of a series.
    fn settle(&mut self, inner: &Inner, slot: u32) {
        let Some((Some(slot), recent)) = self.slots.get(slot as usize).zip(self.recents.get_mut(slot as usize)) else {
            return;
        };
        if recent.is_empty() {
            return;
        }
        slot.change(inner, |data| {
            for (at, value) in recent.take() {
                // Later than all before it: nothing is refused.
                data.push(at, value, inner.settings.out_of_order_window);
            }
        });
    }

    /// Does so for series that somebody is about to read.
    pub fn settle_all(&mut self, inner: &Inner, all: &[Arc<Series>]) {
        for series in all {
            let is_there = self.slots.get(series.place as usize).and_then(Option::as_ref);
            if is_there.is_some_and(|slot| Arc::ptr_eq(&slot.series, series)) {
                self.settle(inner, series.place);
            }
        }
    }

    fn change(&mut self, inner: &Inner, slot: u32, fates: &mut Fates, push: impl FnOnce(&mut Data) -> Fate) {
        let Some(Some(slot)) = self.slots.get(slot as usize) else { return };
        match slot.change(inner, push) {
            Fate::Stored => fates.stored += 1,
            Fate::Duplicate => fates.duplicates += 1,
            Fate::Late => fates.late += 1,
        }
    }

    /// Adds a sample of a series of our own, selected or not.
    pub fn push_own(&mut self, inner: &Inner, labels: &Labels, at: Timestamp, value: f64) {
        let (slot, mut fates) = (self.place(inner, labels), Fates::default());
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
        let (slot, mut fates) = (self.place(inner, labels), Fates::default());
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
        let slot = self.place(inner, labels);
        self.settle(inner, slot);
        if let Some(Some(entry)) = self.slots.get(slot as usize) {
            let data = entry.series.lock();
            let newest = data.newest();
            if newest.is_some_and(|newest| at.0 < newest) {
                return Err(OutOfOrder::Late);
            }
            if newest == Some(at.0) {
                let same = match value {
                    Value::Float(value) => data.newest_float().is_some_and(|f| f.value.to_bits() == value.to_bits()),
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
        for slot in self.slots.iter().flatten() {
            let data = slot.series.lock();
            data.parts(|last, bytes| parts.push((last, bytes)));
            // Without samples the series goes, too.
            parts.push((data.newest().unwrap_or(i64::MIN), slot.series.overhead_bytes()));
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
        let mut emptied = Vec::new();
        for slot in 0..self.slots.len() as u32 {
            if self.recents[slot as usize].newest() < cutoff {
                self.settle(inner, slot);
            }
            let (place, recent) = (&mut self.slots[slot as usize], &self.recents[slot as usize]);
            let Some(entry) = place else { continue };
            let (gone, is_empty) = entry.change(inner, |data| (data.drop_before(cutoff), data.is_empty()));
            dropped += gone;
            let is_empty = is_empty && recent.is_empty();
            if is_empty {
                inner.resized(entry.series.overhead_bytes(), 0);
                self.identities.remove(entry.identity);
                *place = None;
                emptied.push(slot);
            }
        }
        self.generation = self.generation.wrapping_add(u32::from(dropped > 0));
        if !emptied.is_empty() {
            inner.lock_index_to_change().remove(&emptied);
            // By then no wire key stands for the place; one used meanwhile finds it empty.
            let from = self.rotation + Cache::<u32>::LIFE_ROTATIONS;
            self.free.extend(emptied.iter().map(|slot| (from, *slot)));
        }
        dropped
    }

    pub fn wire_keys(&self) -> usize {
        self.wire.len()
    }
}

fn selection(selectors: &[Selector]) -> Selectors<()> {
    let mut selection = Selectors::default();
    for selector in selectors {
        selection.add(selector.clone(), ());
    }
    selection
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
