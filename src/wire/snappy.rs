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
    /// The blocks after the header are damaged, or do not add up to the declared length.
    #[error("{0}")]
    Corrupt(#[from] snap::Error),
}

impl SnappyError {
    /// One stable word, the value of a metric's `reason` label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Header => "snappy_header",
            Self::TooLarge { .. } => "decoded_too_large",
            Self::Impossible { .. } | Self::Corrupt(_) => "snappy_corrupt",
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
    // Not cleared first: what is already there need not be zeroed again, all of it is overwritten.
    decoded.resize(decompressed_len(body, limit_bytes)?, 0);
    snap::raw::Decoder::new().decompress(body, decoded)?;
    Ok(())
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
