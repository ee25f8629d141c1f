//! Native histograms of a target, and the classic series that give way to them.

use serde::{Deserialize, Serialize};

use super::sample::Arrival;
use super::{Increment, NO_TWIN, Special, Target};
use crate::series::index::Index;
use crate::series::native::Position;
use crate::series::shard::Step;
use crate::series::twin::Twin;
use crate::series::{Change, SampleError, SeriesId, Tag};
use crate::types::Timestamp;
use crate::wire::Histogram;

/// Histograms that have or may have two forms, by slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Twins {
    /// Follows from `all`.
    #[serde(skip)]
    slots: Index,
    all: Vec<(u128, Twin)>,
    free: Vec<u32>,
}

impl Twins {
    pub(super) fn rebuild(&mut self) {
        for (slot, (histogram, _)) in (0..).zip(&self.all).filter(|(_, (_, twin))| twin.members > 0) {
            self.slots.insert(*histogram, slot);
        }
    }

    /// One more series of this histogram.
    fn join(&mut self, histogram: u128) -> u32 {
        let slot = self.slots.get(histogram).unwrap_or_else(|| {
            let slot = self.free.pop().unwrap_or(self.all.len() as u32);
            let new = (histogram, Twin::new());
            match self.all.get_mut(slot as usize) {
                Some(free) => *free = new,
                None => self.all.push(new),
            }
            self.slots.insert(histogram, slot);
            slot
        });
        self.all[slot as usize].1.members += 1;
        slot
    }

    /// One series less.
    pub(super) fn leave(&mut self, slot: u32) {
        if slot == NO_TWIN {
            return;
        }
        let (histogram, twin) = &mut self.all[slot as usize];
        twin.members -= 1;
        if twin.members == 0 {
            self.slots.remove(*histogram);
            self.free.push(slot);
        }
    }

    pub(super) fn counts_classic(&mut self, slot: u32, at: Timestamp) -> bool {
        self.all[slot as usize].1.counts_classic(at)
    }

    pub(super) fn counts_native_birth(&mut self, slot: u32, at: Timestamp) -> bool {
        self.all[slot as usize].1.counts_native_birth(at)
    }

    pub(super) fn native_ended(&mut self, slot: u32, at: Timestamp) {
        self.all[slot as usize].1.native_ended(at);
    }
}

impl Target {
    /// Says that a series of native histograms is a form of `histogram`.
    pub(in crate::series) fn is_native_form(&mut self, index: u32, histogram: u128) {
        self.series[index as usize].twin = self.twins.join(histogram);
    }

    /// Says that a series is part of the classic form of `histogram`: what the native form counts is bound to
    /// `beside_native` instead of its own tag.
    pub(in crate::series) fn give_way_to_native(&mut self, index: u32, histogram: u128, beside_native: Tag) {
        let series = &mut self.series[index as usize];
        series.beside_native = beside_native;
        if series.twin == NO_TWIN {
            series.twin = self.twins.join(histogram);
        }
    }

    /// Takes one native histogram, decoded from `message`.
    ///
    /// # Errors
    /// When the series has another one at the same time.
    pub(in crate::series) fn histogram(
        &mut self,
        id: SeriesId,
        histogram: &Histogram,
        message: &[u8],
        step: &mut Step,
    ) -> Result<(), SampleError> {
        let at = histogram.timestamp;
        let series = &mut self.series[id.index as usize];
        series.seen = step.seen;
        if histogram.is_stale() {
            self.end(id, at, step);
            return Ok(());
        }
        let Some(Special::Native(native)) = series.special.as_deref_mut() else { return Ok(()) };
        let before = native.newest();
        let bytes = native.message_bytes();
        let position = native.place(histogram, message, &step.limits, &mut step.changes);
        step.native_bytes += native.message_bytes() as i64 - bytes as i64;
        let twin = &mut self.twins.all[series.twin as usize].1;
        let (counts, is_first, live_at) = match position {
            Position::Duplicate | Position::Absorbed => return Ok(()),
            Position::Conflict => return Err(SampleError::Conflict),
            Position::First => {
                twin.native_began(at);
                (true, true, None)
            }
            Position::Known { previous_at } => (twin.counts_native(previous_at, at), false, Some(at)),
            Position::Between { next_at } => (twin.counted_native(next_at), false, Some(at)),
            Position::BeforeFirst { next_at } => (twin.counts_native(at, next_at), true, Some(next_at)),
        };
        let (tag, target) = (series.tag, id.target);
        let arrival = Arrival { at, start: histogram.start, before, is_first, live_at };
        self.begin(id, arrival, step);
        // That it was watched is known in any case.
        let change = Change { at, since: at, amount: 0.0 };
        self.scrape.hold(Increment { tag, target, change, reading: None }, &mut step.out.increments);
        for change in step.changes.drain(..) {
            if counts {
                self.scrape.hold(Increment { target, ..change }, &mut step.out.increments);
            }
        }
        self.finish(id, arrival, step);
        Ok(())
    }
}
