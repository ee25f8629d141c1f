//! A list that grows without moving what is in it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Elements of a block, unless told otherwise.
pub const BLOCK_COUNT: usize = 1 << 10;

/// Places of the first block to begin with: some lists have but one or two elements.
const FIRST_COUNT: usize = 2;

/// Blocks of `COUNT` elements: to grow costs one more block, however long the list is, and never twice its memory.
#[derive(Clone, Debug)]
pub struct Blocks<T, const COUNT: usize = BLOCK_COUNT> {
    /// All full but the last.
    blocks: Vec<Vec<T>>,
}

impl<T, const COUNT: usize> Default for Blocks<T, COUNT> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T, const COUNT: usize> Blocks<T, COUNT> {
    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |last| (self.blocks.len() - 1) * COUNT + last.len())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The element in this place.
    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        self.blocks.get(place / COUNT)?.get(place % COUNT)
    }

    /// The element in this place, to be changed.
    #[inline]
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.blocks.get_mut(place / COUNT)?.get_mut(place % COUNT)
    }

    /// Adds one at the end.
    #[inline]
    pub fn push(&mut self, element: T) {
        match self.blocks.last_mut() {
            // A vector may have got more room than it asked for.
            Some(last) if last.len() < last.capacity().min(COUNT) => last.push(element),
            _ => self.push_to_grow(element),
        }
    }

    #[inline(never)]
    fn push_to_grow(&mut self, element: T) {
        match self.blocks.last_mut() {
            Some(first) if first.len() < COUNT => {
                first.reserve_exact(first.len().min(COUNT - first.len()));
                first.push(element);
            }
            last => {
                let mut block = Vec::with_capacity(if last.is_some() { COUNT } else { FIRST_COUNT.min(COUNT) });
                block.push(element);
                self.blocks.push(block);
            }
        }
    }

    /// All in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.blocks.iter_mut().flatten()
    }

    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

impl<T, const COUNT: usize> FromIterator<T> for Blocks<T, COUNT> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut blocks = Self::default();
        elements.into_iter().for_each(|element| blocks.push(element));
        blocks
    }
}

/// Panics where there is no element.
impl<T, const COUNT: usize> Index<usize> for Blocks<T, COUNT> {
    type Output = T;

    #[inline]
    fn index(&self, place: usize) -> &T {
        &self.blocks[place / COUNT][place % COUNT]
    }
}

impl<T, const COUNT: usize> IndexMut<usize> for Blocks<T, COUNT> {
    #[inline]
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.blocks[place / COUNT][place % COUNT]
    }
}

/// As any list.
impl<T: Serialize, const COUNT: usize> Serialize for Blocks<T, COUNT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        self.iter().try_for_each(|element| list.serialize_element(element))?;
        list.end()
    }
}

impl<'de, T: Deserialize<'de>, const COUNT: usize> Deserialize<'de> for Blocks<T, COUNT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const COUNT: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const COUNT: usize> Visitor<'de> for List<T, COUNT> {
            type Value = Blocks<T, COUNT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut blocks = Blocks::default();
                while let Some(element) = list.next_element()? {
                    blocks.push(element);
                }
                Ok(blocks)
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_a_list<const COUNT: usize>() {
        for count in [0, 1, 2, 3, COUNT - 1, COUNT, COUNT + 1, 5 * COUNT + 7] {
            let mut blocks: Blocks<usize, COUNT> = (0..count).collect();
            assert_eq!((blocks.len(), blocks.is_empty()), (count, count == 0));
            assert!((0..count).all(|i| blocks.get(i) == Some(&i) && blocks[i] == i));
            assert_eq!((blocks.get(count), blocks.get(count + COUNT)), (None, None));
            assert!(blocks.iter().copied().eq(0..count));
            if let Some(last) = count.checked_sub(1) {
                blocks[last] = 9;
                assert_eq!(blocks.get(last), Some(&9));
                assert_eq!(blocks.get_mut(last), Some(&mut 9));
            }
            let (stored, list) = (postcard::to_stdvec(&blocks).unwrap(), blocks.iter().copied().collect::<Vec<_>>());
            assert_eq!(stored, postcard::to_stdvec(&list).unwrap());
            let read: Blocks<usize, COUNT> = postcard::from_bytes(&stored).unwrap();
            assert!(read.iter().eq(blocks.iter()));
        }
    }

    #[test]
    fn blocks_are_a_list() {
        is_a_list::<8>();
        is_a_list::<BLOCK_COUNT>();
    }
}
