//! The latest floats of all series before they are compressed.
//!
//! Compressing a float touches several places in memory that belong to its series alone. So some are gathered first, the
//! n-th of all series behind each other in the order of their places, which is the order in which requests name them:
//! a scrape is written to memory in its order, and a series that was met once takes a fraction of the room.

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
    /// The newest time of the series, whether or not it waits here.
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
}

impl Recents {
    /// The series in this place is gone, and there may be another.
    pub fn forget(&mut self, place: u32) {
        if let Some(block) = self.blocks.get_mut(place as usize / BLOCK_SERIES) {
            let place = place as usize % BLOCK_SERIES;
            (block.newest[place], block.counts[place]) = (i64::MIN, 0);
        }
    }

    /// Takes a float that is later than everything of its series, if there is room; whether it did.
    #[inline]
    pub fn push(&mut self, place: u32, at: i64, value: f64) -> bool {
        let (block, place) = self.block_mut(place);
        let count = usize::from(block.counts[place]);
        if at <= block.newest[place] || count >= ROOM_COUNT {
            return false;
        }
        if count == block.rows.len() {
            block.rows.push(Row::around(at));
        }
        let row = &mut block.rows[count];
        let after = at.checked_sub(row.base).and_then(|after| u32::try_from(after).ok());
        let Some(after) = after else { return false };
        (row.after[place], row.values[place]) = (after, value);
        (block.newest[place], block.counts[place]) = (at, count as u8 + 1);
        true
    }

    /// Something of this time went to the series another way.
    pub fn passed(&mut self, place: u32, at: i64) {
        let (block, place) = self.block_mut(place);
        block.newest[place] = at.max(block.newest[place]);
    }

    /// The block that a series stands in, and where.
    #[inline]
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
        block.is_none_or(|block| block.newest[place as usize % BLOCK_SERIES] < at)
    }

    /// What waits of a series, in order; nothing does afterwards.
    pub fn take(&mut self, place: u32) -> impl Iterator<Item = (i64, f64)> {
        let (block, place) = self.block_mut(place);
        let count = usize::from(std::mem::take(&mut block.counts[place]));
        block.rows.iter().take(count).map(move |row| (row.base + i64::from(row.after[place]), row.values[place]))
    }
}

/// Memory of a series here.
pub(super) const RECENT_SIZE_BYTES: usize = size_of::<i64>() + 1 + ROOM_COUNT * (size_of::<u32>() + size_of::<f64>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_later_waits() {
        let mut recents = Recents::default();
        let other = BLOCK_SERIES as u32 + 3;
        assert!(recents.is_before(2, i64::MIN + 1) && recents.push(other, 100, 9.0));
        let mut push = |at, value| recents.push(2, at, value);
        assert!(push(-5, 1.0) && !push(-5, 2.0) && !push(-6, 2.0) && push(6, 3.0));
        recents.passed(2, 9);
        assert!(!recents.push(2, 8, 4.0) && recents.push(2, 10, 5.0));
        assert!(recents.is_before(2, 11) && !recents.is_before(2, 10));
        assert_eq!(recents.take(2).collect::<Vec<_>>(), [(-5, 1.0), (6, 3.0), (10, 5.0)]);
        assert!(recents.is_empty(2) && !recents.push(2, 10, 6.0));
        assert_eq!((11..30).take_while(|at| recents.push(2, *at, 0.0)).count(), ROOM_COUNT);
        recents.forget(2);
        assert!(recents.is_empty(2) && recents.push(2, 1, 1.0));
        for at in [i64::MIN + 1, i64::MAX] {
            let mut recents = Recents::default();
            assert!(recents.push(0, at, 1.0));
            assert_eq!(recents.take(0).collect::<Vec<_>>(), [(at, 1.0)]);
        }
        assert_eq!(recents.take(other).collect::<Vec<_>>(), [(100, 9.0)]);
        let is_taken = recents.push(other, 100 + i64::from(u32::MAX), 1.0);
        assert!(!is_taken, "times of a row are near each other");
    }
}
