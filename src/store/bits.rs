//! Strings of bits: written at the end, read from the start.

/// Bits so far, the last byte filled from its high end.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

impl Bits {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub fn into_bytes(self) -> Box<[u8]> {
        self.bytes.into_boxed_slice()
    }

    /// Appends the lowest `count` bits of `value`, 64 at most, the highest of them first.
    pub fn push(&mut self, value: u64, count: u32) {
        if count == 0 {
            return;
        }
        // Behind the bits that the last byte already has: nine bytes hold 64 bits wherever they begin.
        let used = (8 - self.free) % 8;
        let first = if used == 0 { 0 } else { self.bytes.pop().unwrap_or_default() };
        let bits = u128::from(value) << (128 - count) >> used | u128::from(first) << 120;
        let length = (used + count).div_ceil(8);
        self.bytes.extend_from_slice(&bits.to_be_bytes()[..length as usize]);
        self.free = 8 * length - used - count;
    }
}

/// Reads what [`Bits`] wrote. Past the end there are zeros.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Of the next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn bit(&mut self) -> bool {
        let byte = self.bytes.get(self.at / 8).copied().unwrap_or(0);
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        bit == 1
    }

    /// The next `count` bits, 64 at most, as the lowest of a number.
    pub fn take(&mut self, count: u32) -> u64 {
        let (first, shift) = (self.at / 8, (self.at % 8) as u32);
        self.at += count as usize;
        if count == 0 {
            return 0;
        }
        // Nine bytes hold any 64 bits wherever they begin.
        let mut window = [0_u8; 16];
        let rest = self.bytes.get(first..).unwrap_or_default();
        let length = rest.len().min(9);
        window[..length].copy_from_slice(&rest[..length]);
        (u128::from_be_bytes(window) << shift >> (128 - count)) as u64
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
            let mut reader = BitReader::new(bits.bytes());
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
            prop_assert_eq!(BitReader::new(bits.bytes()).take_signed(count), value);
        }
    }
}
