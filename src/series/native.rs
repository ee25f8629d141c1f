//! One series of native histograms: its recent ones, and what each new one adds to the counts of events.
//!
//! The same rules as for a [`Counter`](super::Counter), with events counted twice: all of them, and those within each
//! threshold that somebody asks for. The messages are kept as they came (a few hundred bytes each, against 64 for a
//! counter: but one such series stands for ten to fifty buckets of a classic histogram), because a reset is seen in
//! any bucket and a late histogram needs both its neighbours.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::series::buckets::Added;
use crate::series::{Change, Increment, RECENT_LIMIT_SAMPLES, Tag};
use crate::types::Timestamp;
use crate::wire::{Histogram, Limits};

/// What a series of native histograms counts for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NativeUse {
    /// Takes all events.
    pub total: Tag,
    /// Takes the events of at most this value, in the histogram's own unit.
    pub within: Vec<(f64, Tag)>,
}

/// The latest histograms of a series and whether the first of all counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Native {
    /// Ascending in time, up to [`RECENT_LIMIT_SAMPLES`].
    recent: VecDeque<Point>,
    holds_first: bool,
    birth_counted: bool,
    uses: Arc<NativeUse>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Point {
    at: Timestamp,
    message: Box<[u8]>,
}

/// What became of a histogram; as [`Placed`](super::Placed), with the changes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    First,
    Known { previous_at: Timestamp },
    Between { next_at: Timestamp },
    BeforeFirst { next_at: Timestamp },
    Duplicate,
    Conflict,
    Absorbed,
}

impl Native {
    pub(super) fn new(uses: Arc<NativeUse>) -> Self {
        Self { recent: VecDeque::new(), holds_first: true, birth_counted: false, uses }
    }

    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.recent.back().map(|point| point.at)
    }

    pub(super) fn uses(&mut self, uses: Arc<NativeUse>) {
        self.uses = uses;
    }

    /// Tells every tag that it counts for.
    pub(super) fn each_tag(&self, tell: &mut impl FnMut(Tag)) {
        tell(self.uses.total);
        self.uses.within.iter().for_each(|(_, tag)| tell(*tag));
    }

    /// Counts for nothing until it is bound anew.
    pub(super) fn unbind(&mut self) {
        self.uses = Arc::new(NativeUse { total: Tag::NOTHING, within: Vec::new() });
    }

    /// Places a histogram among the others; `message` is what it was decoded from, within these limits.
    pub(super) fn place(
        &mut self,
        new: &Histogram,
        message: &[u8],
        limits: &Limits,
        changes: &mut Vec<Increment>,
    ) -> Position {
        let at = new.timestamp;
        let after = self.recent.partition_point(|point| point.at < at);
        let decode = |i: usize| Histogram::decode(&self.recent[i].message, limits).ok();
        let previous = after.checked_sub(1).and_then(decode);
        let next = (after < self.recent.len()).then(|| decode(after)).flatten();
        if let Some(next) = next.as_ref().filter(|next| next.timestamp == at) {
            return if is_same(new, next) { Position::Duplicate } else { Position::Conflict };
        }
        let is_full = self.recent.len() == RECENT_LIMIT_SAMPLES;
        let position = match (previous, next) {
            (None, None) => Position::First,
            (Some(previous), None) => {
                self.emit((previous.timestamp, at), 1.0, &Added::since(&previous, new), changes);
                Position::Known { previous_at: previous.timestamp }
            }
            (Some(previous), Some(next)) => {
                let later = (next.timestamp, next.timestamp);
                self.emit((at, at), 1.0, &Added::since(&previous, new), changes);
                self.emit(later, 1.0, &Added::since(new, &next), changes);
                self.emit(later, -1.0, &Added::since(&previous, &next), changes);
                Position::Between { next_at: next.timestamp }
            }
            (None, Some(_)) if is_full || !self.holds_first => return Position::Absorbed,
            (None, Some(first)) => {
                let was_counted = std::mem::take(&mut self.birth_counted);
                let since = if was_counted { first.timestamp } else { at };
                self.emit((since, first.timestamp), 1.0, &Added::since(new, &first), changes);
                if was_counted {
                    self.emit((since, first.timestamp), -1.0, &Added::all(&first), changes);
                }
                Position::BeforeFirst { next_at: first.timestamp }
            }
        };
        self.recent.insert(after, Point { at, message: message.into() });
        if is_full {
            self.recent.pop_front();
            self.holds_first = false;
        }
        position
    }

    /// The time of the first histogram ever, while it is remembered.
    pub(super) fn first_at(&self) -> Option<Timestamp> {
        self.recent.front().filter(|_| self.holds_first).map(|point| point.at)
    }

    /// Whether the first value, of this time, could still be counted from zero.
    pub(super) fn may_be_born(&self, at: Timestamp) -> bool {
        !self.birth_counted && self.first_at() == Some(at)
    }

    /// Counts the first value from zero.
    pub(super) fn count_birth(
        &mut self,
        since: Timestamp,
        at: Timestamp,
        limits: &Limits,
        changes: &mut Vec<Increment>,
    ) {
        if self.may_be_born(at)
            && let Some(Ok(first)) = self.recent.front().map(|point| Histogram::decode(&point.message, limits))
        {
            self.birth_counted = true;
            self.emit((since, at), 1.0, &Added::all(&first), changes);
        }
    }

    /// Whoever takes the changes knows the target.
    fn emit(&self, (since, at): (Timestamp, Timestamp), sign: f64, added: &Added<'_>, changes: &mut Vec<Increment>) {
        let change = |tag, amount: f64| {
            let change = Change { at, since, amount: sign * amount };
            Increment { tag, target: 0, change, reading: None }
        };
        changes.push(change(self.uses.total, added.total()));
        let within = self.uses.within.iter();
        changes.extend(within.map(|(threshold, tag)| change(*tag, added.within(*threshold))));
    }

    /// Bytes of the messages kept.
    pub(super) fn message_bytes(&self) -> usize {
        self.recent.iter().map(|point| point.message.len()).sum()
    }
}

/// The same observations, whatever the sender says of resets, and in whichever protocol.
fn is_same(a: &Histogram, b: &Histogram) -> bool {
    (a.schema, a.count, a.zero_count, a.zero_threshold) == (b.schema, b.count, b.zero_count, b.zero_threshold)
        && a.sum.to_bits() == b.sum.to_bits()
        && a.positive == b.positive
        && a.negative == b.negative
        && a.custom_bounds == b.custom_bounds
}
