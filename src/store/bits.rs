//! Strings of bits: written at the end, read from the start.

/// Bits so far: whole words, and the beginning of the next one beside them, so that most additions touch nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Filled from its high end.
    tail: u64,
    /// Bits of `tail` in use, less than 64.
    used: u32,
}

impl Bits {
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn into_bytes(self) -> Box<[u8]> {
        let Self { mut bytes, tail, used } = self;
        bytes.extend_from_slice(&tail.to_be_bytes()[..used.div_ceil(8) as usize]);
        bytes.into_boxed_slice()
    }

    pub fn reader(&self) -> BitReader<'_> {
        BitReader { bytes: &self.bytes, tail: self.tail, at: 0 }
    }

    /// Appends the lowest `count` bits of `value`, 64 at most, the highest of them first.
    #[inline]
    pub fn push(&mut self, value: u64, count: u32) {
        if count == 0 {
            return;
        }
        let bits = value << (64 - count);
        self.tail |= bits >> self.used;
        let used = self.used + count;
        if used < 64 {
            self.used = used;
            return;
        }
        self.bytes.extend_from_slice(&self.tail.to_be_bytes());
        self.used = used - 64;
        // What did not fit; a shift by all 64 bits would be none.
        self.tail = if self.used == 0 { 0 } else { bits << (count - self.used) };
    }
}

/// Reads what [`Bits`] wrote. Past the end there are zeros.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Behind the bytes.
    tail: u64,
    /// Of the next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, tail: 0, at: 0 }
    }

    pub fn bit(&mut self) -> bool {
        self.take(1) == 1
    }

    /// The next `count` bits, 64 at most, as the lowest of a number.
    #[inline]
    pub fn take(&mut self, count: u32) -> u64 {
        let (first, shift) = (self.at / 8, (self.at % 8) as u32);
        self.at += count as usize;
        if count == 0 {
            return 0;
        }
        // Nine bytes hold any 64 bits wherever they begin.
        let window = match self.bytes.get(first..).and_then(|rest| rest.first_chunk::<9>()) {
            Some(nine) => {
                u128::from(u64::from_be_bytes(nine[..8].try_into().unwrap_or_default())) << 64
                    | u128::from(nine[8]) << 56
            }
            None => self.window_at_end(first),
        };
        (window << shift >> (128 - count)) as u64
    }

    /// Sixteen bytes from here on.
    fn window_at_end(&self, first: usize) -> u128 {
        let mut window = [0_u8; 16];
        let kept = self.bytes.get(first..).unwrap_or_default();
        let kept = &kept[..kept.len().min(16)];
        window[..kept.len()].copy_from_slice(kept);
        let tail = self.tail.to_be_bytes();
        let tail = tail.get(first.saturating_sub(self.bytes.len())..).unwrap_or_default();
        let room = &mut window[kept.len()..];
        let length = tail.len().min(room.len());
        room[..length].copy_from_slice(&tail[..length]);
        u128::from_be_bytes(window)
    }

    /// A signed number of `count` bits.
    pub fn take_signed(&mut self, count: u32) -> i64 {
        let unused = 64 - count;
        (self.take(count) << unused).cast_signed() >> unused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(parts in prop::collection::vec((any::<u64>(), 0_u32..=64), 0..50)) {
            let mut bits = Bits::default();
            for (value, count) in &parts {
                bits.push(*value, *count);
            }
            let mut reader = bits.reader();
            for (value, count) in parts {
                let expected = if count == 0 { 0 } else { value << (64 - count) >> (64 - count) };
                prop_assert_eq!(reader.take(count), expected);
            }
            prop_assert_eq!(reader.take(64), 0, "zeros follow");
        }

        #[test]
        fn signs_survive(value: i64, count in 1_u32..=64) {
            let value = value >> (64 - count);
            let mut bits = Bits::default();
            bits.push(value.cast_unsigned(), count);
            prop_assert_eq!(bits.reader().take_signed(count), value);
            prop_assert_eq!(BitReader::new(&bits.into_bytes()).take_signed(count), value);
        }
    }
}
