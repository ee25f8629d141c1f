//! The snappy block format: a declared length, then the bytes.

/// No block decodes to more than this many times its length: a copy of 64 bytes takes three.
const EXPANSION_LIMIT: usize = 64 / 3 + 1;

/// Why a body does not decompress.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The declared length is missing, cut off, or no 32-bit varint.
    #[error("snappy: no valid length header; the body must be one block, not a framed stream")]
    Header,
    /// The declared length is over the limit; nothing was allocated.
    #[error("snappy: body declares {declared_bytes} decoded bytes, over the limit of {limit_bytes}")]
    TooLarge {
        /// What the header claims.
        declared_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// The declared length is more than any body of this length decodes to; nothing was allocated.
    #[error("snappy: a body of {size_bytes} bytes declares {declared_bytes} decoded bytes, which no such body holds")]
    Impossible {
        /// What came.
        size_bytes: usize,
        /// What the header claims.
        declared_bytes: usize,
    },
    /// What follows the header is damaged, or does not add up to the declared length.
    #[error("snappy: corrupt at byte {at_byte} of the body: {fault}")]
    Corrupt {
        /// Where the element begins that is at fault.
        at_byte: usize,
        /// What is wrong there.
        fault: Fault,
    },
}

/// What is wrong with an element of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is longer than what came.
    #[error("it is cut off")]
    CutOff,
    /// It copies what there is not yet.
    #[error("a copy from where nothing was written")]
    Offset,
    /// It ends at another length than the declared one.
    #[error("more or fewer bytes than declared")]
    Length,
}

impl SnappyError {
    /// One stable word, the value of a metric's `reason` label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Header => "snappy_header",
            Self::TooLarge { .. } => "decoded_too_large",
            Self::Impossible { .. } | Self::Corrupt { .. } => "snappy_corrupt",
        }
    }
}

/// The decoded length that `body` declares; nothing is allocated.
///
/// # Errors
/// When there is no valid header, or the length is over `limit_bytes` or over what a body of this length can hold.
pub fn decompressed_len(body: &[u8], limit_bytes: usize) -> Result<usize, SnappyError> {
    if body.is_empty() {
        return Err(SnappyError::Header);
    }
    let declared_bytes = snap::raw::decompress_len(body).map_err(|_| SnappyError::Header)?;
    if declared_bytes > limit_bytes {
        return Err(SnappyError::TooLarge { declared_bytes, limit_bytes });
    }
    if declared_bytes / EXPANSION_LIMIT > body.len() {
        return Err(SnappyError::Impossible { size_bytes: body.len(), declared_bytes });
    }
    Ok(declared_bytes)
}

/// Decompresses `body` into `decoded`, replacing what it held and reusing its memory.
///
/// # Errors
/// The declared length is checked against `limit_bytes` before anything is allocated: six bytes that declare
/// 4 GiB cost nothing. After an error the content of `decoded` is unspecified.
pub fn decompress(body: &[u8], limit_bytes: usize, decoded: &mut Vec<u8>) -> Result<(), SnappyError> {
    let length = decompressed_len(body, limit_bytes)?;
    let header_bytes = 1 + body.iter().take_while(|byte| **byte >= 0x80).count();
    if decoded.capacity() < length + CHUNK_BYTES {
        // Not grown, which would copy what it holds; with some room, since the next one is about as long.
        let room = if length <= USUAL_LIMIT_BYTES { length / 8 } else { 0 };
        *decoded = Vec::with_capacity(length + CHUNK_BYTES + room);
    }
    // Not cleared first: what is already there need not be zeroed again, all of it is overwritten.
    decoded.resize(length + CHUNK_BYTES, 0);
    let expanded = expand(&body[header_bytes..], length, decoded);
    decoded.truncate(length);
    expanded.map_err(|(at, fault)| SnappyError::Corrupt { at_byte: header_bytes + at, fault })
}

/// What a usual element writes, needed or not: none is longer. A fixed size is copied without a branch on the length, which
/// is another one each time and would be guessed wrong.
const CHUNK_BYTES: usize = 64;
/// A sender's bodies are no longer than this, and each about as long as the one before.
const USUAL_LIMIT_BYTES: usize = 4 << 20;
/// Parts of a chunk.
const PART_BYTES: usize = 16;
/// A literal says its length in the tag, up to this.
const SHORT_LITERAL_LIMIT_BYTES: u8 = 60;

/// How far input has been read, and output written.
type Progress = (usize, usize);

/// Expands all elements of `input` to `length` bytes; `decoded` is a chunk longer. An error comes with the place of the
/// element.
fn expand(input: &[u8], length: usize, decoded: &mut [u8]) -> Result<(), (usize, Fault)> {
    let mut progress = (0, 0);
    loop {
        progress = expand_usual(input, decoded, progress);
        let (read, written) = progress;
        if read == input.len() {
            return if written == length { Ok(()) } else { Err((read, Fault::Length)) };
        }
        progress = expand_any(input, &mut decoded[..length], progress).map_err(|fault| (read, fault))?;
    }
}

/// Expands elements as nearly all are, up to the first other one: short literals, and copies from not too near, not at
/// the end of either side.
///
/// The kinds of elements are told apart by branches, which can be guessed: so the next tag can be read before this one is
/// known, and that is what all else waits for.
fn expand_usual(input: &[u8], decoded: &mut [u8], (mut read, mut written): Progress) -> Progress {
    while let Some(window) = input.get(read..read + 1 + CHUNK_BYTES) {
        let Some([tag, next @ ..]) = window.first_chunk::<{ 1 + CHUNK_BYTES }>() else { break };
        let kind = tag & 3;
        let (size, offset, length);
        if kind == 2 {
            length = usize::from(tag >> 2) + 1;
            offset = usize::from(u16::from_le_bytes([next[0], next[1]]));
            size = 3;
        } else if kind == 1 {
            length = usize::from(tag >> 2 & 7) + 4;
            offset = usize::from(tag >> 5) << 8 | usize::from(next[0]);
            size = 2;
        } else if kind == 0 && *tag < SHORT_LITERAL_LIMIT_BYTES << 2 {
            let length = usize::from(tag >> 2) + 1;
            let Some(free) = decoded.get_mut(written..written + CHUNK_BYTES) else { break };
            free.copy_from_slice(next);
            (read, written) = (read + 1 + length, written + length);
            continue;
        } else {
            break;
        }
        let Some(from) = written.checked_sub(offset) else { break };
        if offset >= CHUNK_BYTES {
            let Some(copied) = decoded[from..].first_chunk::<CHUNK_BYTES>().copied() else { break };
            let Some(free) = decoded.get_mut(written..written + CHUNK_BYTES) else { break };
            free.copy_from_slice(&copied);
        } else {
            // As the series of remote write 2.0, which are short: part by part, as one may repeat what another has written.
            let Some(both) = decoded.get_mut(from..written + CHUNK_BYTES) else { break };
            if offset < PART_BYTES {
                break;
            }
            for part in (0..length).step_by(PART_BYTES) {
                both.copy_within(part..part + PART_BYTES, offset + part);
            }
        }
        (read, written) = (read + size, written + length);
    }
    (read, written)
}

/// Expands one element of any kind, byte for byte as the format has it.
fn expand_any(input: &[u8], decoded: &mut [u8], (read, written): Progress) -> Result<Progress, Fault> {
    let (tag, rest) = input[read..].split_first().ok_or(Fault::CutOff)?;
    let high = usize::from(tag >> 2);
    let number = |size: usize| {
        let mut bytes = [0; size_of::<u32>()];
        bytes[..size].copy_from_slice(rest.get(..size).ok_or(Fault::CutOff)?);
        Ok(u32::from_le_bytes(bytes) as usize)
    };
    let (size, offset, length) = match tag & 3 {
        0 => {
            let size = (high + 1).saturating_sub(SHORT_LITERAL_LIMIT_BYTES.into());
            let length = if size == 0 { high } else { number(size)? } + 1;
            let literal = rest[size..].get(..length).ok_or(Fault::CutOff)?;
            decoded.get_mut(written..written + length).ok_or(Fault::Length)?.copy_from_slice(literal);
            return Ok((read + 1 + size + length, written + length));
        }
        1 => (1, high >> 3 << 8 | number(1)?, high % 8 + 4),
        2 => (2, number(2)?, high + 1),
        _ => (4, number(4)?, high + 1),
    };
    let from = written.checked_sub(offset).filter(|_| offset > 0).ok_or(Fault::Offset)?;
    if decoded.len() < written + length {
        return Err(Fault::Length);
    }
    // A copy may reach into itself: what it has written so far is repeated.
    let mut done = 0;
    while done < length {
        let count = (offset + done).min(length - done);
        decoded.copy_within(from..from + count, written + done);
        done += count;
    }
    Ok((read + 1 + size, written + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(bytes: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(bytes).unwrap()
    }

    #[test]
    fn a_block_replaces_what_the_buffer_held() {
        let mut decoded = b"something longer than what follows".to_vec();
        decompress(&compress(b"remote write"), 12, &mut decoded).unwrap();
        assert_eq!(decoded, b"remote write");
        decompress(&[0], 0, &mut decoded).unwrap();
        assert_eq!(decoded, b"");
    }

    #[test]
    fn a_length_bomb_allocates_nothing() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let mut decoded = Vec::new();
        let declared_bytes = u32::MAX as usize;
        let expected = SnappyError::TooLarge { declared_bytes, limit_bytes: 128 << 20 };
        assert_eq!(decompress(&bomb, 128 << 20, &mut decoded), Err(expected));
        let within_the_limit = [0x80, 0x80, 0x80, 0x40, 0x00, 0x00];
        let expected = SnappyError::Impossible { size_bytes: 6, declared_bytes: 128 << 20 };
        assert_eq!(decompress(&within_the_limit, 128 << 20, &mut decoded), Err(expected));
        assert_eq!(decoded.capacity(), 0);
    }

    #[test]
    fn what_compresses_best_is_still_possible() {
        for length in [1, 63, 64, 65, 1_000, 1 << 20] {
            let bytes = vec![0; length];
            let mut decoded = Vec::new();
            decompress(&compress(&bytes), length, &mut decoded).unwrap();
            assert_eq!(decoded, bytes);
        }
    }

    /// Elements of every kind and length, wherever in the block they stand.
    #[test]
    fn every_element_is_what_the_other_decoder_makes_of_it() {
        let seed: Vec<u8> = (0..200).collect();
        let mut elements: Vec<(usize, Vec<u8>)> = Vec::new();
        for length in 1..=64_u8 {
            let mut add = |element: Vec<u8>| elements.push((usize::from(length), element));
            for offset in [0_u16, 1, 2, 3, 7, 8, 15, 16, 31, 63, 64, 65, 100, 199, 200, 201, 1_000] {
                let [low, high] = offset.to_le_bytes();
                add(vec![(length - 1) << 2 | 2, low, high]);
                add(vec![(length - 1) << 2 | 3, low, high, 0, 0]);
                if (4..12).contains(&length) {
                    add(vec![high << 5 | (length - 4) << 2 | 1, low]);
                }
            }
            let mut literal = |tag: &[u8]| add([tag, &seed[..usize::from(length)]].concat());
            if length <= SHORT_LITERAL_LIMIT_BYTES {
                literal(&[(length - 1) << 2]);
            }
            for size in 0..4 {
                literal(&[&[(60 + size) << 2, length - 1], &[0; 3][..usize::from(size)]].concat());
            }
        }
        let first = [&[60 << 2, 199], &*seed].concat();
        for (length, element) in &elements {
            let cut = &element[..element.len() - 1];
            for (element, behind) in [(&element[..], 0), (cut, 0), (element, 1), (element, 40), (element, 200)] {
                let last =
                    if behind > 0 { [&[60 << 2, behind - 1], &seed[..usize::from(behind)]].concat() } else { vec![] };
                let whole = 200 + length + usize::from(behind);
                for declared in [200, whole - 1, whole, whole + 1] {
                    check(&[&[declared as u8 | 0x80, (declared >> 7) as u8], &*first, element, &last].concat());
                }
            }
        }
    }

    fn check(body: &[u8]) {
        let mut decoded = Vec::new();
        let own = decompress(body, 1 << 20, &mut decoded).map(|()| decoded).ok();
        assert_eq!(own, snap::raw::Decoder::new().decompress_vec(body).ok(), "{body:?}");
    }

    proptest::proptest! {
        #[test]
        fn texts_and_damaged_texts_are_what_the_other_decoder_makes_of_them(
            words in proptest::collection::vec(0..40_u8, 0..400),
            damages in proptest::collection::vec(proptest::prelude::any::<(u16, u8)>(), 0..4),
        ) {
            let text: Vec<u8> = words.iter().flat_map(|word| vec![*word; 1 + usize::from(word % 7)]).collect();
            let mut body = compress(&text.repeat(3));
            check(&body);
            for (at, byte) in damages {
                let place = usize::from(at) % body.len();
                body[place] = byte;
                check(&body);
            }
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let body = compress(&[7; 100]);
        assert!(decompress(&body, 100, &mut Vec::new()).is_ok());
        assert_eq!(decompress(&body, 99, &mut Vec::new()).unwrap_err().reason(), "decoded_too_large");
    }

    #[test]
    fn damaged_bodies_are_refused() {
        // Nothing at all; a header that never ends; one over 32 bits; the frame format's magic.
        let magic = b"\xff\x06\x00\x00sNaPpY".as_slice();
        for body in [&[][..], &[0x80; 4], &[0xff; 11], &[0x80, 0x80, 0x80, 0x80, 0x10]] {
            assert_eq!(decompress(body, usize::MAX, &mut Vec::new()), Err(SnappyError::Header), "{body:?}");
        }
        let whole = compress(b"one block, cut off and stretched");
        let mut longer = whole.clone();
        longer.push(0);
        for body in [magic, &whole[..whole.len() - 1], &longer] {
            let error = decompress(body, 1 << 20, &mut Vec::new()).unwrap_err();
            assert_eq!(error.reason(), "snappy_corrupt", "{body:?}");
        }
    }
}
