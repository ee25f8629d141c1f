//! Series that were met and of which nothing else is known yet.
//!
//! Many series are gone before anybody looks or anything of them is compressed. Until then a series is a place, an
//! identity and the numbers of its labels.

use std::collections::VecDeque;

use crate::store::labels::Own;

/// Newborns that are put down together.
const LITTER_COUNT: usize = 1 << 10;

/// In the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct Newborns {
    litters: VecDeque<Litter>,
}

#[derive(Debug)]
struct Litter {
    all: Vec<Newborn>,
    /// Of all of them, behind each other.
    own: Vec<Own>,
    /// How many of either are gone.
    gone: usize,
    gone_own: usize,
}

/// A series to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newborn {
    /// Among all series.
    pub place: u32,
    /// The number of what its labels are based on.
    pub base: u32,
    /// How many labels of its own it has.
    own_count: u32,
}

impl Default for Litter {
    fn default() -> Self {
        Self { all: Vec::with_capacity(LITTER_COUNT), own: Vec::with_capacity(LITTER_COUNT), gone: 0, gone_own: 0 }
    }
}

impl Newborns {
    /// One more, with these labels of its own; so many are those.
    pub fn push(&mut self, place: u32, base: u32, own: impl Iterator<Item = Own>) -> usize {
        if self.litters.back().is_none_or(|litter| litter.all.len() == LITTER_COUNT) {
            self.litters.push_back(Litter::default());
        }
        let Some(litter) = self.litters.back_mut() else { return 0 };
        let before = litter.own.len();
        litter.own.extend(own);
        let own_count = litter.own.len() - before;
        litter.all.push(Newborn { place, base, own_count: own_count as u32 });
        own_count
    }

    /// The one that was met first, and its own labels.
    pub fn pop<R>(&mut self, take: impl FnOnce(Newborn, &[Own]) -> R) -> Option<R> {
        let litter = self.litters.front_mut()?;
        let newborn = *litter.all.get(litter.gone)?;
        let own = litter.gone_own..litter.gone_own + newborn.own_count as usize;
        let taken = take(newborn, &litter.own[own.clone()]);
        (litter.gone, litter.gone_own) = (litter.gone + 1, own.end);
        if litter.gone == litter.all.len() {
            self.litters.pop_front();
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newborns_leave_in_the_order_in_which_they_came() {
        let (mut newborns, mut next) = (Newborns::default(), 0);
        for number in 0..3 * LITTER_COUNT as u32 {
            newborns.push(number, number % 7, (0..number % 3).map(|place| (place, number)));
            if number % 3 == 0 {
                let left = newborns.pop(|newborn, own| (newborn.place, newborn.base, own.len() as u32));
                assert_eq!(left, Some((next, next % 7, next % 3)));
                next += 1;
            }
        }
        while let Some(is_next) = newborns.pop(|newborn, own| {
            newborn.place == next && own.iter().copied().eq((0..next % 3).map(|place| (place, next)))
        }) {
            assert!(is_next);
            next += 1;
        }
        assert_eq!((next, newborns.litters.len()), (3 * LITTER_COUNT as u32, 0));
    }
}
