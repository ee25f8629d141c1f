//! How figures are stored: an `f64` as a variable-length integer of its bits in reverse, so that counts, which
//! are mostly small whole numbers with many trailing zero bits, take a few bytes and lose nothing.
//!
//! For fields: `#[serde(with = "crate::types::compact")]`.

use serde::{Deserialize, Deserializer, Serializer};

/// Writes the reversed bits.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(value.to_bits().reverse_bits())
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    u64::deserialize(deserializer).map(|bits| f64::from_bits(bits.reverse_bits()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Figure(#[serde(with = "super")] f64);

    fn stored(value: f64) -> Vec<u8> {
        postcard::to_stdvec(&Figure(value)).unwrap()
    }

    #[test]
    fn counts_are_small() {
        assert_eq!([0.0, 1.0, 1000.0, 1e6].map(|value| stored(value).len()), [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(bits: u64) {
            let back: Figure = postcard::from_bytes(&stored(f64::from_bits(bits))).unwrap();
            prop_assert_eq!(back.0.to_bits(), bits);
        }
    }
}
