//! The symbols of a remote write 2.0 request: every string once, referred to by its place.
//!
//! A symbol is hashed once a request. The wire key of a series is put together from the hashes of the symbols it
//! refers to, in order, so that no label is decoded for a series already known: with `h` the two 64-bit halves of a
//! symbol's hash and `k` odd keys by position, each half of the wire key is the sum of `h[i] * k[i]` modulo 2^64 (a
//! multilinear hash: Lemire and Kaser, "Strongly universal string hashing is fast", 2014). The hash and the keys by
//! position are keyed with the process's secret. Two different series collide with a chance of about 2^-120.
//!
//! Series that come behind each other differ in few references. Where those take the same bytes, the sums of the series
//! before become those of the next one by what these references change in them.

use std::ops::Range;

use super::batch::WireKey;
use super::error::{DecodeError, SeriesError};
use super::labels::common_prefix;
use super::limits::Limits;
use super::protobuf::{ProtobufError, Reader};

/// The wire key of series whose references are no label set: the sum of none. None is ever registered under it.
const FLAWED: u128 = 0;

/// The symbols of one request and what is worked out for them. Made to be reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    /// Ranges of the request.
    spans: Vec<Range<usize>>,
    /// By symbol.
    hashes: Vec<[u64; 2]>,
    /// By position among a series' references.
    positions: Vec<[u64; 2]>,
    previous: Previous,
}

/// The references that were hashed last, if they may be those of a label set; else none.
#[derive(Clone, Debug, Default)]
struct Previous {
    bytes: Vec<u8>,
    /// By position, where each reference ends.
    ends: Vec<u32>,
    /// Of none: [`FLAWED`].
    sums: [u64; 2],
}

impl Previous {
    const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), sums: halves(FLAWED) }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.sums = halves(FLAWED);
    }

    /// Becomes these references, if they only differ in some that take the same bytes; else it is of no use.
    #[inline]
    fn follow(&mut self, references: &[u8], hashes: &[[u64; 2]], positions: &[[u64; 2]]) -> Option<()> {
        if references.len() != self.bytes.len() {
            return None;
        }
        let mut from = 0;
        loop {
            let different = from + common_prefix(&references[from..], &self.bytes[from..]);
            if different == references.len() {
                return Some(());
            }
            let position = self.ends.partition_point(|end| *end as usize <= different);
            let start = position.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            let range = start..*self.ends.get(position)? as usize;
            let (new, old) = (&references[range.clone()], &mut self.bytes[range.clone()]);
            let (added, removed) = (hashes.get(only_reference(new)?)?, hashes.get(only_reference(old)?)?);
            for ((sum, key), (added, removed)) in
                self.sums.iter_mut().zip(positions.get(position)?).zip(added.iter().zip(removed))
            {
                *sum = sum.wrapping_add(added.wrapping_sub(*removed).wrapping_mul(*key));
            }
            old.copy_from_slice(new);
            from = range.end;
        }
    }
}

/// The reference that these bytes are, and nothing else.
#[inline]
fn only_reference(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [low @ ..0x80] => Some(low.into()),
        [low @ 0x80..=0xff, high @ ..0x80] => Some(usize::from(low & 0x7f) | usize::from(high) << 7),
        _ => {
            let mut reader = Reader::new(bytes);
            let reference = reader.varint().ok()? as u32;
            reader.is_empty().then_some(reference as usize)
        }
    }
}

/// Symbols and the text they are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SymbolTable<'a> {
    text: &'a [u8],
    spans: &'a [Range<usize>],
}

impl<'a> SymbolTable<'a> {
    pub(super) fn get(&self, reference: u32) -> Result<&'a [u8], SeriesError> {
        let span = self.spans.get(reference as usize);
        let span = span.ok_or(SeriesError::ReferenceOutOfRange { reference, symbols: self.spans.len() })?;
        Ok(&self.text[span.clone()])
    }
}

const fn halves(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

impl Symbols {
    pub(super) const fn new() -> Self {
        Self { spans: Vec::new(), hashes: Vec::new(), positions: Vec::new(), previous: Previous::new() }
    }

    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.hashes.clear();
        self.positions.clear();
        self.previous.clear();
    }

    pub(super) fn push(
        &mut self,
        symbol: &[u8],
        start: usize,
        limits: &Limits,
        key: &WireKey,
    ) -> Result<(), DecodeError> {
        if self.spans.len() == limits.symbols_limit {
            return Err(DecodeError::TooManySymbols { limit: limits.symbols_limit });
        }
        if self.spans.is_empty() && !symbol.is_empty() {
            return Err(DecodeError::FirstSymbol);
        }
        self.spans.push(start..start + symbol.len());
        self.hashes.push(halves(key.hash(symbol)));
        Ok(())
    }

    pub(super) fn table<'a>(&'a self, text: &'a [u8]) -> SymbolTable<'a> {
        SymbolTable { text, spans: &self.spans }
    }

    /// The wire key of a series with these references. Those that no label set can have (an odd number, out of range,
    /// too many) share one that is never known, so that decoding their labels says what is wrong.
    #[inline]
    pub(super) fn wire_hash(
        &mut self,
        references: &[u8],
        limits: &Limits,
        key: &WireKey,
    ) -> Result<u128, ProtobufError> {
        let limit = limits.labels_per_series_limit.saturating_mul(2);
        // No reference is shorter than a byte.
        if self.positions.len() < references.len().min(limit) {
            self.add_positions(references.len().min(limit), key);
        }
        if self.previous.follow(references, &self.hashes, &self.positions).is_none() {
            self.previous.clear();
            let is_sound = self.add_up(references, limit);
            if !matches!(is_sound, Ok(true)) {
                self.previous.clear();
            }
            is_sound?;
        }
        let [low, high] = self.previous.sums;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    /// Makes these references the previous ones; whether a label set can have them.
    fn add_up(&mut self, bytes: &[u8], limit: usize) -> Result<bool, ProtobufError> {
        let Previous { bytes: previous, ends, sums: [low, high] } = &mut self.previous;
        let mut references = Reader::new(bytes);
        for position in self.positions.iter().take(limit) {
            if references.is_empty() {
                break;
            }
            let reference = references.varint()? as u32;
            let Some(hash) = self.hashes.get(reference as usize) else { break };
            *low = low.wrapping_add(hash[0].wrapping_mul(position[0]));
            *high = high.wrapping_add(hash[1].wrapping_mul(position[1]));
            ends.push((bytes.len() - references.remaining()) as u32);
        }
        let is_whole = ends.last().map_or(bytes.is_empty(), |end| *end as usize == bytes.len());
        while !references.is_empty() {
            references.varint()?;
        }
        previous.extend_from_slice(bytes);
        Ok(is_whole && ends.len().is_multiple_of(2))
    }

    #[cold]
    fn add_positions(&mut self, count: usize, key: &WireKey) {
        for position in self.positions.len()..count {
            // No symbol that is text starts with this byte.
            let mut name = [0xff; 9];
            name[1..].copy_from_slice(&(position as u64).to_le_bytes());
            self.positions.push(halves(key.hash(&name)).map(|half| half | 1));
        }
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Range<usize>>()
            + (self.hashes.capacity() + self.positions.capacity()) * size_of::<[u64; 2]>()
            + self.previous.bytes.capacity()
            + self.previous.ends.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: WireKey = WireKey::new([7; 192]);
    const SYMBOLS: usize = 300;

    fn symbols() -> Symbols {
        let mut symbols = Symbols::new();
        for number in 0..SYMBOLS {
            let text = if number == 0 { String::new() } else { number.to_string() };
            symbols.push(text.as_bytes(), 0, &Limits::default(), &KEY).unwrap();
        }
        symbols
    }

    /// In as many bytes as it needs, and some that say nothing.
    fn varint(mut number: u64, padding: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        for _ in 0..padding {
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.push(0);
        }
        bytes
    }

    #[derive(Clone, Debug)]
    enum Act {
        /// Another reference in this place.
        Change(usize, u64, usize),
        Push(u64),
        Pop,
        /// Any bytes once.
        Noise(Vec<u8>),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let reference = || prop_oneof![20 => 0..SYMBOLS as u64, 1 => any::<u64>()];
        let padding = prop_oneof![9 => Just(0_usize), 1 => 1..3_usize];
        let act = prop_oneof![
            12 => (any::<usize>(), reference(), padding).prop_map(|(place, to, padding)| Act::Change(place, to, padding)),
            4 => reference().prop_map(Act::Push),
            1 => Just(Act::Pop),
            1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Act::Noise),
        ];
        prop::collection::vec(act, 1..120)
    }

    proptest! {
        /// Whatever came before, references have the hash that they have alone.
        #[test]
        fn a_hash_does_not_depend_on_what_came_before(acts in acts()) {
            let (limits, mut together) = (Limits { labels_per_series_limit: 8, ..Limits::default() }, symbols());
            let (alone, mut references) = (symbols(), Vec::new());
            for act in acts {
                let mut noise = None;
                match act {
                    Act::Change(..) if references.is_empty() => {}
                    Act::Change(place, to, padding) => {
                        let place = place % references.len();
                        references[place] = varint(to, padding);
                    }
                    Act::Push(reference) => references.push(varint(reference, 0)),
                    Act::Pop => drop(references.pop()),
                    Act::Noise(bytes) => noise = Some(bytes),
                }
                let bytes = noise.unwrap_or_else(|| references.concat());
                let expected = alone.clone().wire_hash(&bytes, &limits, &KEY);
                prop_assert_eq!(together.wire_hash(&bytes, &limits, &KEY).is_ok(), expected.is_ok());
                if let Ok(expected) = expected {
                    prop_assert_eq!(together.wire_hash(&bytes, &limits, &KEY).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn a_hash_is_the_sum_of_its_references() {
        let (mut symbols, limits) = (symbols(), Limits::default());
        let mut hash = |references: &[u64]| {
            let bytes: Vec<u8> = references.iter().flat_map(|reference| varint(*reference, 0)).collect();
            symbols.wire_hash(&bytes, &limits, &KEY).unwrap()
        };
        let all = [hash(&[1, 2, 3, 200]), hash(&[1, 2, 3, 201]), hash(&[3, 2, 1, 201]), hash(&[1, 2])];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])) && !all.contains(&FLAWED));
        assert_eq!(all[0], hash(&[1, 2, 3, 200]));
        let flawed = [hash(&[1, 2, 3]), hash(&[1, 300]), hash(&[1; 82]), hash(&[])];
        assert_eq!(flawed, [FLAWED; 4]);
        assert!(symbols.wire_hash(&[1, 0x80], &limits, &KEY).is_err(), "cut off");
        assert_eq!(symbols.wire_hash(&[], &limits, &KEY).unwrap(), FLAWED, "and leaves nothing behind");
        let expected = |half: usize| {
            let hash = |text: &[u8]| halves(KEY.hash(text))[half];
            let key = |position: u8| hash(&[&[0xff, position][..], &[0; 7]].concat()) | 1;
            hash(b"1").wrapping_mul(key(0)).wrapping_add(hash(b"2").wrapping_mul(key(1)))
        };
        assert_eq!(all[3], u128::from(expected(1)) << 64 | u128::from(expected(0)));
    }
}
