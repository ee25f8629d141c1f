//! A list that grows without moving what is in it.

use std::ops::{Index, IndexMut};

/// Elements of a block.
const BLOCK_COUNT: usize = 1 << 10;

/// Blocks of elements: to grow costs one more block, however long the list is, and never twice its memory.
#[derive(Clone, Debug)]
pub struct Blocks<T> {
    /// The last one is filled up with defaults.
    blocks: Vec<Box<[T; BLOCK_COUNT]>>,
    count: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), count: 0 }
    }
}

impl<T: Copy + Default> Blocks<T> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The element in this place.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        if place < self.count { Some(&self[place]) } else { None }
    }

    /// Adds one at the end.
    pub fn push(&mut self, element: T) {
        if self.count == self.blocks.len() * BLOCK_COUNT {
            let block = vec![T::default(); BLOCK_COUNT].try_into();
            self.blocks.push(block.unwrap_or_else(|_| unreachable!("a block has its length")));
        }
        self.count += 1;
        let last = self.count - 1;
        self[last] = element;
    }

    /// All in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().flat_map(|block| block.iter_mut()).take(self.count)
    }

    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.iter()).take(self.count)
    }
}

impl<T: Copy + Default> FromIterator<T> for Blocks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut blocks = Self::default();
        elements.into_iter().for_each(|element| blocks.push(element));
        blocks
    }
}

/// Panics where there is no block.
impl<T> Index<usize> for Blocks<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: usize) -> &T {
        &self.blocks[place / BLOCK_COUNT][place % BLOCK_COUNT]
    }
}

impl<T> IndexMut<usize> for Blocks<T> {
    #[inline]
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.blocks[place / BLOCK_COUNT][place % BLOCK_COUNT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_a_list() {
        for count in [0, 1, BLOCK_COUNT - 1, BLOCK_COUNT, BLOCK_COUNT + 1, 5 * BLOCK_COUNT + 7] {
            let mut blocks: Blocks<usize> = (0..count).collect();
            assert_eq!((blocks.len(), blocks.is_empty()), (count, count == 0));
            assert!((0..count).all(|i| blocks.get(i) == Some(&i) && blocks[i] == i));
            assert_eq!(blocks.get(count), None);
            assert!(blocks.iter().copied().eq(0..count));
            if count > 0 {
                blocks[count - 1] = 9;
                assert_eq!(blocks.get(count - 1), Some(&9));
            }
        }
    }
}
