//! The symbols of a remote write 2.0 request: every string once, referred to by its place.
//!
//! A symbol is hashed once a request. The wire key of a series is put together from the hashes of the symbols it
//! refers to, in order, so that no label is decoded for a series already known: with `h` the two 64-bit halves of a
//! symbol's hash and `k` odd keys by position, each half of the wire key is the sum of `h[i] * k[i]` modulo 2^64 (a
//! multilinear hash: Lemire and Kaser, "Strongly universal string hashing is fast", 2014). The hash and the keys by
//! position are keyed with the process's secret. Two different series collide with a chance of about 2^-120.

use std::ops::Range;

use super::batch::WireKey;
use super::error::{DecodeError, SeriesError};
use super::limits::Limits;
use super::protobuf::{ProtobufError, Reader};

/// The wire key of series whose references are no label set. None is ever registered under it.
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
        Self { spans: Vec::new(), hashes: Vec::new(), positions: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.hashes.clear();
        self.positions.clear();
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
        let mut references = Reader::new(references);
        let (mut low, mut high, mut is_odd) = (0_u64, 0_u64, false);
        for position in self.positions.iter().take(limit) {
            if references.is_empty() {
                break;
            }
            let reference = references.varint()? as u32;
            let Some(hash) = self.hashes.get(reference as usize) else { return flawed(references) };
            low = low.wrapping_add(hash[0].wrapping_mul(position[0]));
            high = high.wrapping_add(hash[1].wrapping_mul(position[1]));
            is_odd = !is_odd;
        }
        if is_odd || !references.is_empty() {
            return flawed(references);
        }
        Ok(u128::from(high) << 64 | u128::from(low))
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
    }
}

/// The wire key of references that are no label set, if they are references at all.
#[cold]
fn flawed(mut rest: Reader<'_>) -> Result<u128, ProtobufError> {
    while !rest.is_empty() {
        rest.varint()?;
    }
    Ok(FLAWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: WireKey = WireKey::new([7; 192]);

    fn varint(number: u16) -> Vec<u8> {
        if number < 0x80 { vec![number as u8] } else { vec![number as u8 | 0x80, (number >> 7) as u8] }
    }

    #[test]
    fn a_hash_is_the_sum_of_its_references() {
        let (mut symbols, limits) = (Symbols::new(), Limits::default());
        for number in 0..300 {
            let text = if number == 0 { String::new() } else { number.to_string() };
            symbols.push(text.as_bytes(), 0, &limits, &KEY).unwrap();
        }
        let mut hash = |references: &[u16]| {
            let bytes: Vec<u8> = references.iter().copied().flat_map(varint).collect();
            symbols.wire_hash(&bytes, &limits, &KEY).unwrap()
        };
        let all = [hash(&[1, 2, 3, 200]), hash(&[1, 2, 3, 201]), hash(&[3, 2, 1, 201]), hash(&[1, 2])];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])) && !all.contains(&FLAWED));
        assert_eq!(all[0], hash(&[1, 2, 3, 200]));
        let flawed = [hash(&[1, 2, 3]), hash(&[1, 300]), hash(&[1; 82]), hash(&[])];
        assert_eq!(flawed, [FLAWED; 4]);
        assert!(symbols.wire_hash(&[1, 0x80], &limits, &KEY).is_err(), "cut off");
        assert_eq!(symbols.wire_hash(&[], &limits, &KEY).unwrap(), FLAWED);
        let expected = |half: usize| {
            let hash = |text: &[u8]| halves(KEY.hash(text))[half];
            let key = |position: u8| hash(&[&[0xff, position][..], &[0; 7]].concat()) | 1;
            hash(b"1").wrapping_mul(key(0)).wrapping_add(hash(b"2").wrapping_mul(key(1)))
        };
        assert_eq!(all[3], u128::from(expected(1)) << 64 | u128::from(expected(0)));
    }
}
