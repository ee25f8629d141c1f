//! Runs of floats in few bits, after Gorilla: a time is stored as the change of the distance to the one before, a value
//! as the bits in which it differs from the one before. Scrapes at a steady interval cost a bit or two for the time, and
//! counters some two bytes for the value.

use crate::promql::FloatSample;
use crate::store::bits::{BitReader, Bits};
use crate::types::Timestamp;

/// Widths of a time's second difference, each behind a prefix of one more 1; after them the whole difference.
const TIME_WIDTHS: [u32; 3] = [7, 14, 20];
/// Leading zeros are written in five bits.
const LEADING_LIMIT: u32 = 31;

/// Where an encoder or decoder stands: the sample before, and the bits in which values differed last.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    at: i64,
    distance: i64,
    value: u64,
    leading: u32,
    /// Of the differing bits; none yet when zero.
    length: u32,
}

/// A run that grows at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    bits: Bits,
    state: State,
    first: i64,
    count: u32,
}

/// A finished run.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    bits: Box<[u8]>,
    first: i64,
    last: i64,
    count: u32,
}

impl Head {
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The time of the first sample, if there is one.
    pub fn first(&self) -> Option<i64> {
        (self.count > 0).then_some(self.first)
    }

    /// The time of the newest sample, if there is one.
    pub fn last(&self) -> Option<i64> {
        (self.count > 0).then_some(self.state.at)
    }

    /// The newest value.
    pub const fn last_value(&self) -> f64 {
        f64::from_bits(self.state.value)
    }

    pub fn size_bytes(&self) -> usize {
        self.bits.capacity_bytes()
    }

    /// Appends a sample later than all before.
    pub fn push(&mut self, at: i64, value: f64) {
        let value = value.to_bits();
        if self.count == 0 {
            self.first = at;
            self.bits.push(value, 64);
            self.state = State { at, value, ..State::default() };
        } else {
            let distance = at.wrapping_sub(self.state.at);
            if distance == self.state.distance && value == self.state.value {
                // The same again after the same time: no change of either.
                self.bits.push(0, 2);
                self.state.at = at;
                self.count += 1;
                return;
            }
            push_time(&mut self.bits, distance.wrapping_sub(self.state.distance));
            (self.state.at, self.state.distance) = (at, distance);
            push_value(&mut self.bits, &mut self.state, value);
        }
        self.count += 1;
    }

    pub fn samples(&self) -> Samples<'_> {
        Samples::new(self.bits.reader(), self.first, self.count)
    }

    /// The finished run; the head is empty after.
    pub fn seal(&mut self) -> Chunk {
        let Self { bits, state, first, count } = std::mem::take(self);
        Chunk { bits: bits.into_bytes(), first, last: state.at, count }
    }
}

impl Chunk {
    pub const fn first(&self) -> i64 {
        self.first
    }

    pub const fn last(&self) -> i64 {
        self.last
    }

    pub const fn count(&self) -> u32 {
        self.count
    }

    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.bits.len()
    }

    pub fn samples(&self) -> Samples<'_> {
        Samples::new(BitReader::new(&self.bits), self.first, self.count)
    }
}

fn push_time(bits: &mut Bits, change: i64) {
    if change == 0 {
        bits.push(0, 1);
        return;
    }
    for (ones, width) in (1_u32..).zip(TIME_WIDTHS) {
        let limit = 1_i64 << (width - 1);
        if (-limit..limit).contains(&change) {
            // So many ones and a zero.
            bits.push((1 << (ones + 1)) - 2, ones + 1);
            bits.push(change.cast_unsigned(), width);
            return;
        }
    }
    bits.push(0b1111, 4);
    bits.push(change.cast_unsigned(), 64);
}

fn push_value(bits: &mut Bits, state: &mut State, value: u64) {
    let differing = value ^ state.value;
    state.value = value;
    if differing == 0 {
        bits.push(0, 1);
        return;
    }
    let (leading, trailing) = (differing.leading_zeros().min(LEADING_LIMIT), differing.trailing_zeros());
    let known_trailing = 64_u32.saturating_sub(state.leading + state.length);
    if state.length > 0 && leading >= state.leading && trailing >= known_trailing {
        bits.push(0b10, 2);
    } else {
        (state.leading, state.length) = (leading, 64 - leading - trailing);
        bits.push(0b11, 2);
        bits.push(u64::from(leading), 5);
        // 1 to 64 in six bits.
        bits.push(u64::from(state.length - 1), 6);
    }
    bits.push(differing >> (64 - state.leading - state.length), state.length);
}

/// The samples of a run in order of time.
#[derive(Clone, Debug)]
pub(super) struct Samples<'a> {
    bits: BitReader<'a>,
    state: State,
    first: i64,
    count: u32,
    read: u32,
}

impl<'a> Samples<'a> {
    fn new(bits: BitReader<'a>, first: i64, count: u32) -> Self {
        Self { bits, state: State::default(), first, count, read: 0 }
    }

    fn time_change(&mut self) -> i64 {
        if !self.bits.bit() {
            return 0;
        }
        for width in TIME_WIDTHS {
            if !self.bits.bit() {
                return self.bits.take_signed(width);
            }
        }
        self.bits.take_signed(64)
    }

    fn value(&mut self) -> u64 {
        if self.bits.bit() {
            if self.bits.bit() {
                self.state.leading = self.bits.take(5) as u32;
                self.state.length = self.bits.take(6) as u32 + 1;
            }
            let differing = self.bits.take(self.state.length);
            self.state.value ^= differing << 64_u32.saturating_sub(self.state.leading + self.state.length);
        }
        self.state.value
    }
}

impl Iterator for Samples<'_> {
    type Item = FloatSample;

    fn next(&mut self) -> Option<FloatSample> {
        if self.read == self.count {
            return None;
        }
        if self.read == 0 {
            self.state = State { at: self.first, value: self.bits.take(64), ..State::default() };
        } else {
            self.state.distance = self.state.distance.wrapping_add(self.time_change());
            self.state.at = self.state.at.wrapping_add(self.state.distance);
            self.value();
        }
        self.read += 1;
        Some(FloatSample { at: Timestamp(self.state.at), value: f64::from_bits(self.state.value) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.count - self.read) as usize;
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits_of(samples: impl Iterator<Item = FloatSample>) -> Vec<(i64, u64)> {
        samples.map(|s| (s.at.0, s.value.to_bits())).collect()
    }

    fn distances() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let distance = prop_oneof![
            4 => Just(15_000_i64),
            3 => 14_900_i64..15_100,
            2 => 1_i64..10_000_000,
            1 => 1_i64..1 << 40,
        ];
        let value = prop_oneof![
            3 => (0_u32..1_000_000).prop_map(|v| f64::from(v).to_bits()),
            2 => any::<f64>().prop_map(f64::to_bits),
            1 => any::<u64>(),
            1 => Just(crate::promql::STALE.to_bits()),
        ];
        prop::collection::vec((distance, value), 0..200)
    }

    proptest! {
        #[test]
        fn a_run_is_the_list_it_was_made_of(start in -1_i64 << 50..1 << 50, steps in distances()) {
            let mut head = Head::default();
            let mut expected = Vec::new();
            let mut at = start;
            for (distance, bits) in steps {
                at += distance;
                expected.push((at, bits));
                head.push(at, f64::from_bits(bits));
                prop_assert_eq!(head.last(), Some(at));
                prop_assert_eq!(head.last_value().to_bits(), bits);
            }
            prop_assert_eq!(bits_of(head.samples()), expected.clone());
            let chunk = head.seal();
            prop_assert_eq!(bits_of(chunk.samples()), expected.clone());
            prop_assert_eq!((head.count(), chunk.count() as usize), (0, expected.len()));
            if let (Some(first), Some(last)) = (expected.first(), expected.last()) {
                prop_assert_eq!((chunk.first(), chunk.last()), (first.0, last.0));
            }
        }
    }

    #[test]
    fn a_steady_counter_takes_few_bytes() {
        let mut head = Head::default();
        for i in 0..120 {
            head.push(i * 15_000, (1_000 + 37 * i) as f64);
        }
        let bytes = head.seal().bits.len();
        assert!(bytes < 120 * 4, "{bytes} bytes for 120 samples");
        let mut head = Head::default();
        for i in 0..120 {
            head.push(i * 15_000, 1.0);
        }
        assert!(head.seal().bits.len() < 50, "what does not change costs two bits");
    }
}
