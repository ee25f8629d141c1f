//! One counter's recent samples, and what each new sample adds to the count.
//!
//! A count is the sum of the increases between neighbouring samples in time order. The last few samples are
//! kept so that a sample arriving late lands between its neighbours and moves the increase to where it
//! belongs; one older than all of them is absorbed, since a later sample already covers its increase.

use serde::{Deserialize, Serialize};

use crate::types::{Timestamp, compact};

/// Samples remembered for each counter: how late, in samples, one may arrive and still be placed exactly.
pub const RECENT_LIMIT_SAMPLES: usize = 4;

/// A counter's latest samples and whether its first value counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counter {
    /// Ascending in time; `len` of them are valid.
    recent: [Point; RECENT_LIMIT_SAMPLES],
    len: u8,
    /// The oldest of `recent` is the first sample the counter ever had.
    holds_first: bool,
    /// The first value was counted from zero.
    birth_counted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Point {
    at: Timestamp,
    #[serde(with = "compact")]
    value: f64,
}

/// Part of a count: `amount` events at `at`. Negative where a late sample moves an increase elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The later sample's time.
    pub at: Timestamp,
    /// Events.
    pub amount: f64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placed {
    /// The first of the counter as far as is known: counts only if it is a birth.
    First,
    /// Has a predecessor: its increase counts, and a live neighbour is proved at its time.
    Known(Change),
    /// Between two samples: its own increase, and the correction of the next one's.
    Between(Change, Change),
    /// Before what was the first sample: that one now has a predecessor (`Change` corrects it), and this is
    /// the first.
    BeforeFirst(Change),
    /// The same sample again.
    Duplicate,
    /// The same time with another value; the earlier arrival stays.
    Conflict,
    /// Older than everything remembered.
    Absorbed,
}

/// The increase from one sample of a counter to the next: after a reset, all of the new value.
///
/// Prometheus' rule (`promql.extrapolatedRate`): any decrease is a reset to zero.
pub fn increase(previous: f64, value: f64) -> f64 {
    if value >= previous { value - previous } else { value.max(0.0) }
}

impl Counter {
    /// A counter that has had no sample.
    pub fn new() -> Self {
        Self { recent: Default::default(), len: 0, holds_first: true, birth_counted: false }
    }

    fn points(&self) -> &[Point] {
        &self.recent[..usize::from(self.len)]
    }

    /// The time of the newest sample.
    pub fn newest(&self) -> Option<Timestamp> {
        self.points().last().map(|p| p.at)
    }

    /// The first sample ever, while it is still remembered: its time and value.
    pub fn first(&self) -> Option<(Timestamp, f64)> {
        self.points().first().filter(|_| self.holds_first).map(|p| (p.at, p.value))
    }

    /// Counts the first value from zero; returns the change, or `None` when it already counted or the
    /// sample at `at` is not the first any more.
    pub fn count_birth(&mut self, at: Timestamp) -> Option<Change> {
        let (first_at, value) = self.first()?;
        if self.birth_counted || first_at != at {
            return None;
        }
        self.birth_counted = true;
        Some(Change { at, amount: value.max(0.0) })
    }

    /// Places a finite sample among the others.
    pub fn place(&mut self, at: Timestamp, value: f64) -> Placed {
        let new = Point { at, value };
        let Some(&newest) = self.points().last() else {
            self.recent[0] = new;
            self.len = 1;
            return Placed::First;
        };
        if at > newest.at {
            self.push(new);
            return Placed::Known(Change { at, amount: increase(newest.value, value) });
        }
        let after = self.points().partition_point(|p| p.at < at);
        let next = self.recent[after];
        if next.at == at {
            let same = next.value.to_bits() == value.to_bits() || next.value == value;
            return if same { Placed::Duplicate } else { Placed::Conflict };
        }
        if after == 0 {
            return self.place_before_all(new, next);
        }
        let previous = self.recent[after - 1];
        self.insert(after, new);
        let correction = increase(value, next.value) - increase(previous.value, next.value);
        Placed::Between(
            Change { at, amount: increase(previous.value, value) },
            Change { at: next.at, amount: correction },
        )
    }

    fn place_before_all(&mut self, new: Point, first: Point) -> Placed {
        if !self.holds_first || usize::from(self.len) == RECENT_LIMIT_SAMPLES {
            return Placed::Absorbed;
        }
        self.insert(0, new);
        let counted = if std::mem::take(&mut self.birth_counted) { first.value.max(0.0) } else { 0.0 };
        Placed::BeforeFirst(Change { at: first.at, amount: increase(new.value, first.value) - counted })
    }

    fn push(&mut self, point: Point) {
        if usize::from(self.len) == RECENT_LIMIT_SAMPLES {
            self.recent.copy_within(1.., 0);
            self.recent[RECENT_LIMIT_SAMPLES - 1] = point;
            self.holds_first = false;
        } else {
            self.recent[usize::from(self.len)] = point;
            self.len += 1;
        }
    }

    /// Inserts before `index`; when full, the oldest sample makes room (`index` is then at least 1).
    fn insert(&mut self, index: usize, point: Point) {
        if usize::from(self.len) == RECENT_LIMIT_SAMPLES {
            self.recent.copy_within(1..index, 0);
            self.recent[index - 1] = point;
            self.holds_first = false;
        } else {
            self.recent.copy_within(index..usize::from(self.len), index + 1);
            self.recent[index] = point;
            self.len += 1;
        }
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn change(seconds: i64, amount: f64) -> Change {
        Change { at: at(seconds), amount }
    }

    #[test]
    fn increases_resets_and_duplicates() {
        let mut counter = Counter::new();
        assert_eq!(counter.place(at(0), 10.0), Placed::First);
        assert_eq!(counter.place(at(15), 14.0), Placed::Known(change(15, 4.0)));
        assert_eq!(counter.place(at(30), 3.0), Placed::Known(change(30, 3.0)));
        assert_eq!(counter.place(at(30), 3.0), Placed::Duplicate);
        assert_eq!(counter.place(at(30), 4.0), Placed::Conflict);
        assert_eq!(counter.place(at(45), -1.0), Placed::Known(change(45, 0.0)));
    }

    #[test]
    fn a_late_sample_moves_the_increase() {
        let mut counter = Counter::new();
        counter.place(at(0), 10.0);
        counter.place(at(30), 20.0);
        assert_eq!(counter.place(at(15), 12.0), Placed::Between(change(15, 2.0), change(30, -2.0)));
        // A reset hidden between two samples comes to light.
        counter.place(at(60), 25.0);
        assert_eq!(counter.place(at(45), 4.0), Placed::Between(change(45, 4.0), change(60, 16.0)));
    }

    #[test]
    fn a_sample_before_the_first_takes_back_a_birth() {
        let mut counter = Counter::new();
        counter.place(at(30), 7.0);
        assert_eq!(counter.count_birth(at(30)), Some(change(30, 7.0)));
        assert_eq!(counter.count_birth(at(30)), None);
        assert_eq!(counter.place(at(15), 5.0), Placed::BeforeFirst(change(30, -5.0)));
        assert_eq!(counter.first(), Some((at(15), 5.0)));
    }

    #[test]
    fn what_is_older_than_memory_is_absorbed() {
        let mut counter = Counter::new();
        for i in 1..=5 {
            counter.place(at(i * 15), i as f64);
        }
        assert_eq!(counter.place(at(1), 0.5), Placed::Absorbed);
        assert_eq!(counter.first(), None);
        assert_eq!(counter.newest(), Some(at(75)));
    }
}
