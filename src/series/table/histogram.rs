//! Native histograms in the table, and the classic series that give way to them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Arrival, NATIVE_LIMIT_BYTES, NO_TWIN, Output, RegisterError, SampleError, Table, Track};
use crate::series::index::Index;
use crate::series::native::{Native, NativeUse, Position};
use crate::series::twin::Twin;
use crate::series::{Change, Increment, SeriesId, Tag};
use crate::types::{Labels, Timestamp};
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

impl Table {
    /// Finds or adds the series of native histograms with this identity and makes the wire key an alias of it.
    /// `histogram` names it among the histograms of which there may be a classic form.
    ///
    /// # Errors
    /// When the series is new and the table is full.
    pub fn register_native(
        &mut self,
        wire_key: u128,
        identity: u128,
        histogram: u128,
        labels: &Labels,
        uses: NativeUse,
    ) -> Result<SeriesId, RegisterError> {
        let (tag, uses) = (uses.total, Arc::new(uses));
        let slot = match self.identities.get(identity) {
            Some(slot) => {
                if let Track::Native(native) = &mut self.series[slot as usize].track {
                    native.uses(uses);
                }
                slot
            }
            None if self.native_bytes >= NATIVE_LIMIT_BYTES => {
                return Err(RegisterError::NativeFull(NATIVE_LIMIT_BYTES));
            }
            None => {
                let slot = self.add(identity, labels, Track::Native(Box::new(Native::new(uses))))?;
                self.series[slot as usize].twin = self.twins.join(histogram);
                slot
            }
        };
        self.series[slot as usize].tag = tag;
        self.wire.insert(wire_key, slot);
        Ok(SeriesId(slot))
    }

    /// Says that a series is part of the classic form of `histogram`: what the native form counts is bound to
    /// `beside_native` instead of its own tag.
    pub fn give_way_to_native(&mut self, id: SeriesId, histogram: u128, beside_native: Tag) {
        let series = &mut self.series[id.0 as usize];
        series.beside_native = beside_native;
        if series.twin == NO_TWIN {
            series.twin = self.twins.join(histogram);
        }
    }

    /// Takes one native histogram, decoded from `message`; `now` is its arrival.
    ///
    /// # Errors
    /// When the series has another one at the same time.
    pub fn histogram(
        &mut self,
        id: SeriesId,
        histogram: &Histogram,
        message: &[u8],
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), SampleError> {
        let at = histogram.timestamp;
        let series = &mut self.series[id.0 as usize];
        series.seen = now;
        if histogram.is_stale() {
            self.end(id, at, now, out);
            return Ok(());
        }
        let Track::Native(native) = &mut series.track else { return Ok(()) };
        let before = native.newest();
        self.native_bytes -= native.message_bytes();
        let position = native.place(histogram, message, &self.limits, &mut self.changes);
        self.native_bytes += native.message_bytes();
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
        let tag = series.tag;
        let arrival = Arrival { at, start: histogram.start, before, is_first, live_at };
        let was_holding = self.begin(id, arrival, now, out);
        let target_id = self.series[id.0 as usize].target;
        let target = &mut self.targets[target_id as usize];
        // That it was watched is known in any case.
        let change = Change { at, since: at, amount: 0.0 };
        target.hold(Increment { tag, target: target_id, change, reading: None }, &mut out.increments);
        for change in self.changes.drain(..) {
            if counts {
                target.hold(Increment { target: target_id, ..change }, &mut out.increments);
            }
        }
        self.finish(id, arrival, was_holding, out);
        Ok(())
    }
}
