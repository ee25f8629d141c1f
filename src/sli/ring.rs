//! Slices of time in a ring: the counts of each, in the narrowest form that is exact.
//!
//! While all of a ring's counts are whole numbers below 2^32 it takes 8 bytes a slice, and 16 from the first count on
//! that is not. Which form it has shows nowhere: sums, answers and what is saved are the same to the bit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sli::Counts;
use crate::types::Timestamp;

/// The latest slices of one width.
///
/// Time mostly takes one slice after the other, so the place and the number of a slice are found from those of the newest,
/// without a division.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub(super) struct Ring {
    /// How long a slice is, in milliseconds.
    pub(super) width: i64,
    /// Number of the newest slice; slice `n` covers `(n * width, (n + 1) * width]`.
    pub(super) newest: i64,
    slices: Slices,
    /// The place of the newest: its number modulo the number of places.
    #[serde(skip)]
    head: usize,
    /// Before this moment time alone changes nothing; follows from the rest.
    #[serde(skip)]
    pub(super) unchanged_until: i64,
}

/// What a ring follows from.
#[derive(Deserialize)]
struct Saved {
    width: i64,
    newest: i64,
    slices: Slices,
}

impl From<Saved> for Ring {
    fn from(Saved { width, newest, slices }: Saved) -> Self {
        let head = newest.rem_euclid(slices.len().max(1) as i64) as usize;
        Self { width, newest, slices, head, unchanged_until: i64::MIN }
    }
}

#[derive(Clone, Debug)]
enum Slices {
    /// Numerator and total.
    Narrow(Box<[[u32; 2]]>),
    Wide(Box<[Counts]>),
}

/// The number, if it is whole and small.
fn whole(figure: f64) -> Option<u32> {
    let number = figure as u32;
    (f64::from(number).to_bits() == figure.to_bits()).then_some(number)
}

fn narrow(counts: Counts) -> Option<[u32; 2]> {
    Some([whole(counts.numerator)?, whole(counts.total)?])
}

fn widened([numerator, total]: [u32; 2]) -> Counts {
    Counts { numerator: f64::from(numerator), total: f64::from(total) }
}

impl Slices {
    fn len(&self) -> usize {
        match self {
            Self::Narrow(slices) => slices.len(),
            Self::Wide(slices) => slices.len(),
        }
    }

    fn get(&self, slot: usize) -> Counts {
        match self {
            Self::Narrow(slices) => widened(slices[slot]),
            Self::Wide(slices) => slices[slot],
        }
    }

    fn set(&mut self, slot: usize, counts: Counts) {
        match self {
            Self::Wide(slices) => slices[slot] = counts,
            Self::Narrow(slices) => {
                if let Some(pair) = narrow(counts) {
                    slices[slot] = pair;
                } else {
                    let mut wide: Box<[Counts]> = slices.iter().copied().map(widened).collect();
                    wide[slot] = counts;
                    *self = Self::Wide(wide);
                }
            }
        }
    }

    fn clear(&mut self, slot: usize) {
        match self {
            Self::Narrow(slices) => slices[slot] = [0; 2],
            Self::Wide(slices) => slices[slot] = Counts::default(),
        }
    }

    /// Goes back to the narrow form where that is possible again.
    fn settle(&mut self) {
        if let Self::Wide(slices) = self
            && let Some(pairs) = slices.iter().copied().map(narrow).collect::<Option<_>>()
        {
            *self = Self::Narrow(pairs);
        }
    }
}

/// As a list of counts, whatever the form.
impl Serialize for Slices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Narrow(slices) => serializer.collect_seq(slices.iter().copied().map(widened)),
            Self::Wide(slices) => serializer.collect_seq(slices.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Slices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut slices = Self::Wide(Box::deserialize(deserializer)?);
        slices.settle();
        Ok(slices)
    }
}

impl Ring {
    /// Slices of this width up to that of `now`, all empty.
    pub(super) fn new(width: i64, slices: usize, now: Timestamp) -> Self {
        let newest = (now.as_millis() - 1).div_euclid(width);
        Saved { width, newest, slices: Slices::Narrow(vec![[0; 2]; slices].into()) }.into()
    }

    /// How many slices are kept.
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    /// The number of the oldest slice that is kept.
    pub(super) fn oldest(&self) -> i64 {
        self.newest - self.len() as i64 + 1
    }

    /// The place of a slice that is kept.
    fn slot(&self, number: i64) -> usize {
        let back = (self.newest - number) as usize;
        if back <= self.head { self.head - back } else { self.head + self.len() - back }
    }

    /// The slice's counts, if it is one of those kept.
    pub(super) fn get(&self, number: i64) -> Counts {
        let kept = number <= self.newest && number >= self.oldest();
        if kept { self.slices.get(self.slot(number)) } else { Counts::default() }
    }

    /// Adds to a slice that is kept.
    pub(super) fn add(&mut self, number: i64, counts: Counts) {
        let slot = self.slot(number);
        let mut sum = self.slices.get(slot);
        sum += counts;
        self.slices.set(slot, sum);
    }

    /// Says what a slice that is kept holds.
    pub(super) fn set(&mut self, number: i64, counts: Counts) {
        self.slices.set(self.slot(number), counts);
    }

    /// The number of the slice that holds `at`.
    pub(super) fn holding(&self, at: Timestamp) -> i64 {
        let into = (at.as_millis() - 1).saturating_sub(self.newest * self.width);
        match into {
            _ if into < 0 || into >= 2 * self.width => (at.as_millis() - 1).div_euclid(self.width),
            _ if into < self.width => self.newest,
            _ => self.newest + 1,
        }
    }

    /// Whether the first place is used again on the way to this slice, which is not older than the newest.
    pub(super) fn turns_until(&self, newest: i64) -> bool {
        self.head as i64 + (newest - self.newest) >= self.len() as i64
    }

    /// Makes `newest` the newest slice. Later slices, which exist only after the clock went back, are folded
    /// into it: their events did happen.
    pub(super) fn move_to(&mut self, newest: i64) {
        let len = self.len() as i64;
        if newest - self.newest >= len || self.newest - newest >= len {
            (0..self.len()).for_each(|slot| self.slices.clear(slot));
            self.head = newest.rem_euclid(len) as usize;
        } else if newest >= self.newest {
            for _ in self.newest..newest {
                self.head = if self.head + 1 == self.len() { 0 } else { self.head + 1 };
                self.slices.clear(self.head);
            }
        } else {
            let head = self.slot(newest);
            for number in newest + 1..=self.newest {
                let slot = self.slot(number);
                let mut sum = self.slices.get(head);
                sum += self.slices.get(slot);
                self.slices.clear(slot);
                self.slices.set(head, sum);
            }
            self.head = head;
        }
        self.newest = newest;
    }

    /// Takes the narrow form if all counts fit it again.
    pub(super) fn settle(&mut self) {
        self.slices.settle();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_narrow(ring: &Ring) -> bool {
        matches!(ring.slices, Slices::Narrow(_))
    }

    fn ring() -> Ring {
        Ring::new(10, 8, Timestamp(75))
    }

    #[test]
    fn counts_that_do_not_fit_widen_a_ring_until_they_are_gone() {
        for total in [0.5, -1.0, 4_294_967_296.0, f64::INFINITY] {
            let mut ring = ring();
            ring.add(3, Counts { numerator: 1.0, total: 4_294_967_295.0 });
            assert!(is_narrow(&ring), "the largest that fits");
            ring.add(5, Counts { numerator: 0.0, total });
            assert!(!is_narrow(&ring), "{total}");
            assert_eq!(ring.get(3), Counts { numerator: 1.0, total: 4_294_967_295.0 });
            assert_eq!(ring.get(5), Counts { numerator: 0.0, total });
            ring.settle();
            assert!(!is_narrow(&ring));
            ring.move_to(13);
            ring.settle();
            assert!(is_narrow(&ring));
        }
    }

    proptest! {
        /// Whatever is added, in whatever order: what is told and saved is what plain sums are.
        #[test]
        fn the_form_shows_nowhere(
            changes in prop::collection::vec((-9_i64..12, 0_i64..8, -3_i32..6, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let (mut ring, mut naive) = (ring(), std::collections::BTreeMap::<i64, Counts>::new());
            for (step, late, amount, is_fraction, settles) in changes {
                let (before, newest) = (ring.newest, ring.newest + step);
                ring.move_to(newest);
                if step.abs() >= 8 {
                    naive.clear();
                }
                for number in newest + 1..=before {
                    let future = naive.remove(&number).unwrap_or_default();
                    *naive.entry(newest).or_default() += future;
                }
                let total = f64::from(amount) * if is_fraction { 0.1 } else { 1e9 };
                let counts = Counts { numerator: f64::from(amount), total };
                ring.add(newest - late, counts);
                *naive.entry(newest - late).or_default() += counts;
                naive.retain(|number, _| *number > newest - 8);
                if settles {
                    ring.settle();
                }
                for number in newest - 9..=newest + 1 {
                    let expected = naive.get(&number).copied().unwrap_or_default();
                    prop_assert_eq!(ring.get(number), expected);
                }
                let saved = postcard::to_stdvec(&ring).unwrap();
                let restored: Ring = postcard::from_bytes(&saved).unwrap();
                prop_assert_eq!(&postcard::to_stdvec(&restored).unwrap(), &saved);
                let mut wide = ring.clone();
                let all: Box<[Counts]> = (0..wide.len()).map(|slot| wide.slices.get(slot)).collect();
                wide.slices = Slices::Wide(all);
                prop_assert_eq!(postcard::to_stdvec(&wide).unwrap(), saved);
            }
        }
    }
}
