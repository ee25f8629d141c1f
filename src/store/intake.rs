//! The write side: the samples of series that are kept, and what has to go when there is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::promql::{FloatHistogram, Value};
use crate::series::{Findings, Found};
use crate::store::recent::Recents;
use crate::store::roster::{Meeting, Roster, Sent};
use crate::store::series::{Data, Fate, Message, Series};
use crate::store::{Counters, Inner, OutOfOrder, Settings};
use crate::types::{Labels, Selector, Timestamp};
use crate::wire::{Batch, HISTOGRAM_HASH, Histogram, Sample};

/// The store's size is thought of in so many parts. When it is full, two of them are emptied at once. New series find
/// room while the last one is untouched: it is for the samples of those that are there. So series that are too many are
/// left out, and do not drive out each other and everything else in turn.
const PARTS: usize = 16;

/// So many newborns become series before writers have a turn.
const TURN_NEWBORNS: usize = 1 << 12;

/// What writers share, one at a time.
#[derive(Debug)]
pub(super) struct Intake {
    roster: Roster,
    recents: Recents,
    run: Run,
}

/// Samples of a batch whose series stand in places that follow each other, one of each: put down at once.
#[derive(Debug, Default)]
struct Run {
    first: u32,
    samples: Vec<Sample>,
}

impl Run {
    /// Whether a sample of the series in this place would be the next.
    fn goes_on_at(&self, place: u32) -> bool {
        place == self.first + self.samples.len() as u32
    }
}

impl Intake {
    pub fn new(settings: &Settings, selectors: &[Selector]) -> Self {
        let limit_bytes = share(settings.limit_bytes, PARTS - 1);
        Self {
            roster: Roster::new(&settings.key, limit_bytes, selectors),
            recents: Recents::default(),
            run: Run::default(),
        }
    }

    /// From now on these are kept; what is there stays until it is too old.
    pub fn watch(&mut self, selectors: &[Selector]) {
        self.roster.watch(selectors);
    }

    /// Adds the samples of a batch that arrives at `now`, of which this was found.
    pub fn write(&mut self, inner: &Inner, batch: &Batch, findings: &Findings, now: Timestamp) {
        if self.roster.selects_none() && !inner.settings.keeps_counted {
            return;
        }
        let (mut fates, mut meeting) = (Fates::default(), Meeting::default());
        // Where a label of them is left out they are not those that the engine has read.
        let mut readings = findings.readings().filter(|_| inner.settings.ha.is_none()).peekable();
        let mut found = findings.series();
        let is_ours = self.roster.has_key_of(batch);
        for (source, series) in (0..).zip(batch.series()) {
            meeting.pass();
            if let Some(reading) = readings.next_if(|reading| reading.source == source) {
                meeting.follow(findings, reading, series.labels, &inner.settings.limits);
            }
            let (labels_hash, found) = (is_ours.then_some(series.wire_hash), found.next().unwrap_or(Found::UNKNOWN));
            if series.samples.is_empty() {
                continue;
            }
            let sent = Sent { wire_hash: series.wire_hash, labels_hash, labels: series.labels, found };
            let Some(slot) = self.roster.place_of(inner, sent, &mut meeting) else { continue };
            for sample in series.samples {
                if inner.is_timely(sample.timestamp, now) {
                    self.gather(inner, slot, *sample, &mut fates);
                }
            }
            if self.is_over_limit(inner) {
                self.put_run(inner, &mut fates);
                self.make_room(inner);
            }
        }
        self.put_run(inner, &mut fates);
        self.make_room(inner);
        inner.counters.count(fates, &inner.counters.floats);
        let (mut fates, mut found) = (Fates::default(), findings.histogram_series());
        for series in batch.histogram_series() {
            meeting.pass();
            let labels_hash = is_ours.then_some(series.wire_hash ^ HISTOGRAM_HASH);
            let found = found.next().unwrap_or(Found::UNKNOWN);
            let sent = Sent { wire_hash: series.wire_hash, labels_hash, labels: series.labels, found };
            let Some(slot) = self.roster.place_of(inner, sent, &mut meeting) else { continue };
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

    /// Adds a sample to those that are to be put down at once.
    #[inline]
    fn gather(&mut self, inner: &Inner, slot: u32, sample: Sample, fates: &mut Fates) {
        if !self.run.goes_on_at(slot) {
            self.put_run(inner, fates);
            self.run.first = slot;
        }
        self.run.samples.push(sample);
    }

    /// Puts those down.
    fn put_run(&mut self, inner: &Inner, fates: &mut Fates) {
        let samples = std::mem::take(&mut self.run.samples);
        self.push(inner, self.run.first, &samples, fates);
        self.run.samples = samples;
        self.run.samples.clear();
    }

    /// Adds a sample each of series whose places follow each other.
    fn push(&mut self, inner: &Inner, mut first: u32, mut samples: &[Sample], fates: &mut Fates) {
        while let Some(sample) = samples.first() {
            let mut taken = self.recents.push(first, samples);
            fates.stored += taken as u64;
            if taken == 0 {
                self.push_past_recent(inner, first, *sample, fates);
                taken = 1;
            }
            (first, samples) = (first + taken as u32, &samples[taken..]);
        }
    }

    fn push_past_recent(&mut self, inner: &Inner, slot: u32, sample: Sample, fates: &mut Fates) {
        self.settle(inner, slot);
        let (at, window) = (sample.timestamp, inner.settings.out_of_order_window);
        self.change(slot, fates, |data| data.push(at.0, sample.value, window));
        self.recents.passed(slot, at);
    }

    fn push_histogram(&mut self, inner: &Inner, slot: u32, at: Timestamp, message: Message, fates: &mut Fates) {
        self.settle(inner, slot);
        let window = inner.settings.out_of_order_window;
        self.change(slot, fates, |data| data.push_histogram(at.0, message, window));
        self.recents.passed(slot, at);
    }

    /// Compresses what waits of a series.
    fn settle(&mut self, inner: &Inner, slot: u32) {
        if self.recents.is_empty(slot) {
            return;
        }
        let Self { roster, recents, .. } = self;
        change(roster, slot, |data| {
            for (at, value) in recents.take(slot) {
                // Later than all before it: nothing is refused.
                data.push(at, value, inner.settings.out_of_order_window);
            }
        });
    }

    /// Does so for series that somebody is about to read.
    pub fn settle_all(&mut self, inner: &Inner, all: &[Arc<Series>]) {
        for series in all {
            if self.roster.look_at(series.place).is_some_and(|own| Arc::ptr_eq(own, series)) {
                self.settle(inner, series.place);
            }
        }
    }

    fn change(&mut self, slot: u32, fates: &mut Fates, push: impl FnOnce(&mut Data) -> Fate) {
        match change(&mut self.roster, slot, push) {
            Some(Fate::Stored) => fates.stored += 1,
            Some(Fate::Duplicate) => fates.duplicates += 1,
            Some(Fate::Late) => fates.late += 1,
            None => {}
        }
    }

    /// Some newborns become series that readers find; whether there are more.
    pub fn tell_index(&mut self, inner: &Inner) -> bool {
        self.roster.tell_index(inner, TURN_NEWBORNS)
    }

    /// Compresses everything that waits.
    pub fn settle_everything(&mut self, inner: &Inner) {
        (0..self.roster.places()).for_each(|slot| self.settle(inner, slot));
    }

    /// Puts the samples of these series before what there is of them, as far as there is room.
    pub fn put_before(&mut self, inner: &Inner, all: &[(u128, Arc<Series>)]) {
        for (identity, series) in all {
            let Some(place) = self.roster.place_like(inner, *identity, series) else { continue };
            self.settle(inner, place);
            let earlier = series.take();
            let newest = earlier.newest();
            change(&mut self.roster, place, |data| data.put_before(earlier));
            if let Some(newest) = newest {
                self.recents.passed(place, Timestamp(newest));
            }
            self.make_room(inner);
        }
    }

    /// Adds a sample of a series of our own, selected or not.
    pub fn push_own(&mut self, inner: &Inner, labels: &Labels, at: Timestamp, value: f64) {
        let (slot, mut fates) = (self.roster.own_place(&inner.settings.key, labels), Fates::default());
        self.push(inner, slot, &[Sample { timestamp: at, value }], &mut fates);
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
        let (slot, mut fates) = (self.roster.own_place(&inner.settings.key, labels), Fates::default());
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
        let slot = self.roster.own_place(&inner.settings.key, labels);
        self.settle(inner, slot);
        if let Some(series) = self.roster.look_at(slot) {
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
                self.push(inner, slot, &[Sample { timestamp: at, value: *value }], &mut fates);
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
        if self.is_over_limit(inner) {
            self.evict(inner);
        }
    }

    fn is_over_limit(&self, inner: &Inner) -> bool {
        self.roster.used_bytes() > inner.settings.limit_bytes
    }

    fn evict(&mut self, inner: &Inner) {
        let (used, target) = (self.roster.used_bytes(), share(inner.settings.limit_bytes, PARTS - 2));
        self.settle_everything(inner);
        let mut parts: Vec<(i64, usize)> = Vec::new();
        for (_, series) in self.roster.iter() {
            // Without samples the series goes, too.
            let bytes = self.roster.own_bytes(series);
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
        let (mut dropped, mut emptied) = (0, Vec::new());
        for place in 0..self.roster.places() {
            if self.recents.is_before(place, cutoff) {
                self.settle(inner, place);
            }
            // Of newborns there is nothing that is old but what waits.
            let has_waiting = !self.recents.is_empty(place);
            let series = if has_waiting { self.roster.look_at(place) } else { self.roster.get(place) };
            let Some(series) = series else { continue };
            if series.look(Data::oldest).is_some_and(|oldest| oldest < cutoff) {
                dropped += change(&mut self.roster, place, |data| data.drop_before(cutoff)).unwrap_or(0);
            }
            let is_empty = |series: &Arc<Series>| series.look(Data::is_empty);
            if !has_waiting && self.roster.look_at(place).is_some_and(is_empty) {
                self.recents.forget(place);
                emptied.push(place);
            }
        }
        if dropped > 0 {
            self.roster.has_room();
        }
        if !emptied.is_empty() {
            self.roster.tell_index(inner, 0);
            inner.lock_index_to_change().remove(&emptied);
            self.roster.remove(&emptied);
        }
        dropped
    }

    /// The series that are kept.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }
}

/// Changes what is kept of the series in this place, and accounts for what that takes.
fn change<R>(roster: &mut Roster, place: u32, change: impl FnOnce(&mut Data) -> R) -> Option<R> {
    let (before, result, after) = roster.get(place)?.change(|data| {
        let before = data.size_bytes();
        let result = change(data);
        (before, result, data.size_bytes())
    });
    roster.resized(before, after);
    Some(result)
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
