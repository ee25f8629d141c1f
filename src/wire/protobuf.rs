//! Protobuf's wire format over a slice: as much of it as remote write needs, with `prost`'s idea of an error.

use std::ops::RangeInclusive;

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// A varint that is cut off, longer than ten bytes, or over 64 bits.
    #[error("protobuf: invalid varint")]
    Varint,
    /// A field key over 32 bits, with field number zero, or with a wire type that does not exist.
    #[error("protobuf: invalid field key {0:#x}")]
    Key(u64),
    /// A known field with another wire type than its own.
    #[error("protobuf: wrong wire type for field {0}")]
    WireType(u32),
    /// A length that reaches beyond its message.
    #[error("protobuf: message is cut off")]
    Truncated,
    /// A group that ends without its start, or with another number.
    #[error("protobuf: unexpected end of group")]
    EndGroup,
    /// Messages and groups nested deeper than 100 levels.
    #[error("protobuf: nested deeper than {NESTING_LIMIT} levels")]
    Nesting,
}

/// How deep messages and groups may nest; `prost` and the C++ implementation have the same limit.
pub(super) const NESTING_LIMIT: u32 = 100;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/// The key of a varint field.
pub(super) const fn varint_key(field: u32) -> u32 {
    field << 3 | VARINT
}

/// The key of a 64-bit field.
pub(super) const fn fixed64_key(field: u32) -> u32 {
    field << 3 | FIXED64
}

/// The key of a string, bytes or message field.
pub(super) const fn delimited_key(field: u32) -> u32 {
    field << 3 | LENGTH_DELIMITED
}

/// A `sint64` from its varint; a `sint32` is one of 32 bits.
pub(super) const fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A varint's seven bits of each byte, moved together: two bytes, then four, then eight.
const fn joined(bytes: u64) -> u64 {
    let pairs = (bytes & 0x007f_007f_007f_007f) | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    (fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4
}

/// A varint and what follows it, unless it is none: one of up to eight bytes at once, where there are as many. Not a reader's method, so that
/// a reader need not be in memory.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let Some(eight) = bytes.first_chunk() else { return any_varint(bytes) };
    let word = u64::from_le_bytes(*eight);
    let last_bytes = !word & 0x8080_8080_8080_8080;
    if last_bytes == 0 {
        return any_varint(bytes);
    }
    let length = last_bytes.trailing_zeros() / 8 + 1;
    Some((joined(word & u64::MAX >> (64 - 8 * length)), &bytes[length as usize..]))
}

#[cold]
fn any_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            // The tenth byte holds the last of 64 bits.
            if i == 9 && byte > 1 {
                break;
            }
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// The varint that these bytes are as a whole, as a time in ms is from 1971 to 2109.
#[inline]
pub(super) fn six_byte_varint(bytes: [u8; 6]) -> Option<u64> {
    let mut padded = [0; 8];
    padded[..6].copy_from_slice(&bytes);
    let word = u64::from_le_bytes(padded);
    (word & 0x8080_8080_8080 == 0x0080_8080_8080).then(|| joined(word))
}

/// Reads one message from front to back. Nested messages are readers of their own over a part of the slice, so
/// that no read leaves its message.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not yet read.
    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, ProtobufError> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            // The length of a series.
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*high) << 7 | u64::from(low & 0x7f))
            }
            _ => {
                let (value, rest) = long_varint(self.rest).ok_or(ProtobufError::Varint)?;
                self.rest = rest;
                Ok(value)
            }
        }
    }

    /// A field's key, number and wire type as they come. Known fields compare it with [`delimited_key`] and its
    /// siblings; every other key must go to [`Self::skip_unknown`], which validates it.
    #[inline]
    pub(super) fn key(&mut self) -> Result<u32, ProtobufError> {
        let key = self.varint()?;
        u32::try_from(key).map_err(|_| ProtobufError::Key(key))
    }

    #[inline]
    pub(super) fn delimited(&mut self) -> Result<&'a [u8], ProtobufError> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
        let (body, rest) = self.rest.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(body)
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<[u8; 8], ProtobufError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Skips a field that no arm matched. A key with the number of one of the message's `known` fields got here by
    /// its wire type and is an error. `nesting` is how many levels may still open.
    #[cold]
    pub(super) fn skip_unknown(
        &mut self,
        key: u32,
        known: RangeInclusive<u32>,
        nesting: u32,
    ) -> Result<(), ProtobufError> {
        let field = key >> 3;
        if known.contains(&field) {
            return Err(ProtobufError::WireType(field));
        }
        self.skip(key, nesting)
    }

    fn skip(&mut self, key: u32, nesting: u32) -> Result<(), ProtobufError> {
        if key >> 3 == 0 {
            return Err(ProtobufError::Key(u64::from(key)));
        }
        if nesting == 0 {
            return Err(ProtobufError::Nesting);
        }
        match key & 7 {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            LENGTH_DELIMITED => self.delimited().map(drop),
            START_GROUP => self.skip_group(key >> 3, nesting),
            END_GROUP => Err(ProtobufError::EndGroup),
            FIXED32 => {
                self.rest = self.rest.get(4..).ok_or(ProtobufError::Truncated)?;
                Ok(())
            }
            _ => Err(ProtobufError::Key(u64::from(key))),
        }
    }

    fn skip_group(&mut self, field: u32, nesting: u32) -> Result<(), ProtobufError> {
        loop {
            let key = self.key()?;
            if key & 7 == END_GROUP {
                return if key >> 3 == field { Ok(()) } else { Err(ProtobufError::EndGroup) };
            }
            self.skip(key, nesting - 1)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_at_their_bounds() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xac, 0x02], 300),
            (&[0x80, 0x00], 0),
            (&[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 1),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], u64::MAX),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.varint(), Ok(value), "{bytes:x?}");
            assert!(reader.is_empty());
        }
        // The same with something behind them.
        for length in 1..=10_u32 {
            for value in [0, 1, 0x7f, u64::MAX / 3, u64::MAX] {
                let value = value & ((1_u128 << (7 * length)) - 1) as u64;
                let mut bytes: Vec<u8> = (0..length).map(|i| (value >> (7 * i)) as u8 & 0x7f | 0x80).collect();
                bytes[length as usize - 1] &= 0x7f;
                for behind in 0..9 {
                    let mut reader = Reader::new(&bytes);
                    assert_eq!((reader.varint(), reader.remaining()), (Ok(value), behind), "{bytes:x?}");
                    bytes.push(0x81);
                }
            }
        }
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(Reader::new(bytes).varint(), Err(ProtobufError::Varint), "{bytes:x?}");
        }
    }

    #[test]
    fn unknown_fields_are_skipped_by_their_wire_type() {
        for (message, left) in [
            (&[0x48, 0x96, 0x01, 0xaa][..], 1),
            (&[0x49, 1, 2, 3, 4, 5, 6, 7, 8], 0),
            (&[0x4a, 2, 1, 2, 0xaa, 0xbb], 2),
            (&[0x4d, 1, 2, 3, 4, 0xaa], 1),
            (&[0x4b, 0x08, 0x01, 0x13, 0x14, 0x4c, 0xaa], 1),
        ] {
            let mut reader = Reader::new(message);
            let key = reader.key().unwrap();
            assert_eq!(reader.skip_unknown(key, 1..=2, NESTING_LIMIT), Ok(()), "{message:x?}");
            assert_eq!(reader.remaining(), left, "{message:x?}");
        }
    }

    #[test]
    fn what_cannot_be_skipped_is_an_error() {
        for (message, error) in [
            (&[0x08, 0x01][..], ProtobufError::WireType(1)),
            (&[0x02, 0x00], ProtobufError::Key(0x02)),
            (&[0x4e], ProtobufError::Key(0x4e)),
            (&[0x4c], ProtobufError::EndGroup),
            (&[0x4b, 0x54], ProtobufError::EndGroup),
            (&[0x4b], ProtobufError::Varint),
            (&[0x4a, 2, 1], ProtobufError::Truncated),
            (&[0x4a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], ProtobufError::Truncated),
            (&[0x49, 1, 2, 3, 4, 5, 6, 7], ProtobufError::Truncated),
            (&[0x4d, 1, 2, 3], ProtobufError::Truncated),
        ] {
            let mut reader = Reader::new(message);
            let key = reader.key().unwrap();
            assert_eq!(reader.skip_unknown(key, 1..=2, NESTING_LIMIT), Err(error), "{message:x?}");
        }
        let over_32_bits = [0xff, 0xff, 0xff, 0xff, 0x10];
        assert_eq!(Reader::new(&over_32_bits).key(), Err(ProtobufError::Key((1 << 32) + 0x0fff_ffff)));
    }
}
