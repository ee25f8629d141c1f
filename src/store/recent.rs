//! The latest floats of all series before they are compressed.
//!
//! Compressing a float touches several places in memory that belong to its series alone. So some are gathered first, the
//! n-th of all series behind each other in the order of their places, which is the order in which requests name them:
//! a scrape is written to memory in its order, many series at once, and a series that was met once takes a fraction of
//! the room.

use crate::types::Timestamp;
use crate::wire::Sample;

/// Floats of a series that wait at most.
const ROOM_COUNT: usize = 10;
/// Series in a block.
const BLOCK_SERIES: usize = 1 << 10;

/// By place.
#[derive(Debug, Default)]
pub(super) struct Recents {
    blocks: Vec<Block>,
}

/// Of some series.
#[derive(Debug)]
struct Block {
    /// Of a series of which nothing waits, the newest time.
    newest: Box<[i64]>,
    counts: Box<[u8]>,
    /// The first of each series, then the second of each, as far as there are any.
    rows: Vec<Row>,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            newest: vec![i64::MIN; BLOCK_SERIES].into_boxed_slice(),
            counts: vec![0; BLOCK_SERIES].into_boxed_slice(),
            rows: Vec::new(),
        }
    }
}

/// One float of each series of a block.
#[derive(Debug)]
struct Row {
    /// What times are after; those of a scrape are near each other.
    base: i64,
    after: Box<[u32]>,
    values: Box<[f64]>,
}

impl Row {
    /// With times of some weeks around this one.
    fn around(at: i64) -> Self {
        Self {
            base: at.saturating_sub(i64::from(u32::MAX / 2)),
            after: vec![0; BLOCK_SERIES].into_boxed_slice(),
            values: vec![0.0; BLOCK_SERIES].into_boxed_slice(),
        }
    }

    fn at(&self, place: usize) -> i64 {
        self.base + i64::from(self.after[place])
    }
}

impl Block {
    fn newest(&self, place: usize) -> i64 {
        let last = usize::from(self.counts[place]).checked_sub(1);
        last.map_or(self.newest[place], |last| self.rows[last].at(place))
    }

    /// As [`Recents::push`], within the block.
    fn push(&mut self, first: usize, samples: &[Sample]) -> usize {
        let end = BLOCK_SERIES.min(first + samples.len());
        let Some((before, sample)) = self.counts.get(first).zip(samples.first()) else { return 0 };
        let (before, count) = (*before, usize::from(*before));
        if count == ROOM_COUNT {
            return 0;
        }
        if count == self.rows.len() {
            self.rows.push(Row::around(sample.timestamp.0));
        }
        let (earlier, rest) = self.rows.split_at_mut(count);
        let row = Put {
            base: rest[0].base,
            after: &mut rest[0].after[first..end],
            values: &mut rest[0].values[first..end],
            counts: &mut self.counts[first..end],
        };
        match earlier.last() {
            None => row.put(before, &self.newest[first..end], |newest| *newest, samples),
            Some(last) => row.put(before, &last.after[first..end], |after| last.base + i64::from(*after), samples),
        }
    }
}

/// A row at some series of which equally many floats wait.
struct Put<'a> {
    base: i64,
    after: &'a mut [u32],
    values: &'a mut [f64],
    counts: &'a mut [u8],
}

impl Put<'_> {
    /// Puts samples down up to the first one that is not later than the `newest` of its series, or has no place here.
    #[inline]
    fn put<T>(self, before: u8, newest: &[T], newest_of: impl Fn(&T) -> i64, samples: &[Sample]) -> usize {
        let row = self.after.iter_mut().zip(self.values).zip(self.counts);
        let mut taken = 0;
        for (((after, value), count), (newest, sample)) in row.zip(newest.iter().zip(samples)) {
            let at = sample.timestamp.0;
            let Ok(since_base) = u32::try_from(at.wrapping_sub(self.base)) else { break };
            if *count != before || at <= newest_of(newest) || at < self.base {
                break;
            }
            (*after, *value, *count) = (since_base, sample.value, before + 1);
            taken += 1;
        }
        taken
    }
}

impl Recents {
    /// The series in this place is gone, and there may be another.
    pub fn forget(&mut self, place: u32) {
        if let Some(block) = self.blocks.get_mut(place as usize / BLOCK_SERIES) {
            let place = place as usize % BLOCK_SERIES;
            (block.newest[place], block.counts[place]) = (i64::MIN, 0);
        }
    }

    /// Takes the floats of series whose places follow each other, one of each, up to the first for which there is no room,
    /// or that is not later than everything of its series. How many it took; fewer where a block ends, too.
    pub fn push(&mut self, first: u32, samples: &[Sample]) -> usize {
        let (block, place) = self.block_mut(first);
        block.push(place, samples)
    }

    /// Something of this time went to a series of which nothing waits.
    pub fn passed(&mut self, place: u32, at: Timestamp) {
        let (block, place) = self.block_mut(place);
        block.newest[place] = at.0.max(block.newest[place]);
    }

    /// The block that a series stands in, and where.
    fn block_mut(&mut self, place: u32) -> (&mut Block, usize) {
        let (number, place) = (place as usize / BLOCK_SERIES, place as usize % BLOCK_SERIES);
        if number >= self.blocks.len() {
            self.blocks.resize_with(number + 1, Block::default);
        }
        (&mut self.blocks[number], place)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self, place: u32) -> bool {
        let block = self.blocks.get(place as usize / BLOCK_SERIES);
        block.is_none_or(|block| block.counts[place as usize % BLOCK_SERIES] == 0)
    }

    /// Whether everything of the series is older.
    pub fn is_before(&self, place: u32, at: i64) -> bool {
        let block = self.blocks.get(place as usize / BLOCK_SERIES);
        block.is_none_or(|block| block.newest(place as usize % BLOCK_SERIES) < at)
    }

    /// What waits of a series, in order; nothing does afterwards.
    pub fn take(&mut self, place: u32) -> impl Iterator<Item = (i64, f64)> {
        let (block, place) = self.block_mut(place);
        block.newest[place] = block.newest(place);
        let count = usize::from(std::mem::take(&mut block.counts[place]));
        block.rows.iter().take(count).map(move |row| (row.at(place), row.values[place]))
    }
}

/// Memory of a series here.
pub(super) const RECENT_SIZE_BYTES: usize = size_of::<i64>() + 1 + ROOM_COUNT * (size_of::<u32>() + size_of::<f64>());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    fn sample(at: i64, value: f64) -> Sample {
        Sample { timestamp: Timestamp(at), value }
    }

    #[test]
    fn only_what_is_later_waits() {
        let mut recents = Recents::default();
        let other = BLOCK_SERIES as u32 + 3;
        assert!(recents.is_before(2, i64::MIN + 1) && recents.push(other, &[sample(100, 9.0)]) == 1);
        recents.passed(2, Timestamp(-6));
        let push = |recents: &mut Recents, at, value| recents.push(2, &[sample(at, value)]) == 1;
        assert!(!push(&mut recents, -6, 1.0) && push(&mut recents, -5, 1.0) && !push(&mut recents, -5, 2.0));
        assert!(push(&mut recents, 6, 3.0) && push(&mut recents, 10, 5.0));
        assert!(recents.is_before(2, 11) && !recents.is_before(2, 10));
        assert_eq!(recents.take(2).collect::<Vec<_>>(), [(-5, 1.0), (6, 3.0), (10, 5.0)]);
        assert!(recents.is_before(2, 11) && !recents.is_before(2, 10));
        assert!(recents.is_empty(2) && !push(&mut recents, 10, 6.0));
        assert_eq!((11..30).take_while(|at| push(&mut recents, *at, 0.0)).count(), ROOM_COUNT);
        recents.forget(2);
        assert!(recents.is_empty(2) && push(&mut recents, 1, 1.0));
        for at in [i64::MIN + 1, i64::MAX] {
            let mut recents = Recents::default();
            assert_eq!(recents.push(0, &[sample(at, 1.0)]), 1);
            assert_eq!(recents.take(0).collect::<Vec<_>>(), [(at, 1.0)]);
        }
        assert_eq!(recents.take(other).collect::<Vec<_>>(), [(100, 9.0)]);
        for far in [i64::from(u32::MAX), i64::MAX - 100] {
            assert_eq!(recents.push(other, &[sample(100 + far, 1.0)]), 0, "times of a row are near each other");
        }
    }

    proptest! {
        /// However samples are cut into runs, each series has its own, in order.
        #[test]
        fn runs_are_samples_one_by_one(
            runs in prop::collection::vec((BLOCK_SERIES as u32 - 6..BLOCK_SERIES as u32 + 3, 0_i64..9, 1..8_usize), 0..60),
        ) {
            let mut recents = Recents::default();
            let mut waiting: BTreeMap<u32, Vec<(i64, f64)>> = BTreeMap::new();
            for (number, (first, at, length)) in runs.into_iter().enumerate() {
                let samples: Vec<Sample> = (0..length as i64).map(|i| sample(at + i % 2, number as f64)).collect();
                let (mut first, mut left) = (first, &samples[..]);
                while let Some(Sample { timestamp: Timestamp(at), value }) = left.first().copied() {
                    let taken = recents.push(first, left);
                    for (place, Sample { timestamp: Timestamp(at), value }) in (first..).zip(&left[..taken]) {
                        waiting.entry(place).or_default().push((*at, *value));
                    }
                    (first, left) = (first + taken as u32, &left[taken..]);
                    if taken > 0 {
                        continue;
                    }
                    let known = waiting.get(&first);
                    prop_assert!(known.is_some_and(|all| all.len() == ROOM_COUNT || all.last() >= Some(&(at, value))
                        || all.last().is_some_and(|last| last.0 == at)));
                    (first, left) = (first + 1, &left[1..]);
                }
            }
            for (place, all) in waiting {
                prop_assert!(all.is_sorted_by(|a, b| a.0 < b.0) && all.len() <= ROOM_COUNT);
                prop_assert_eq!(recents.take(place).collect::<Vec<_>>(), all);
            }
        }
    }
}
