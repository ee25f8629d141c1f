//! When a group is evaluated: `EvalTimestamp` of `rules/group.go`, in nanoseconds as there.
//!
//! Groups of one interval would all be due at once; a hash of file and name spreads them. The hash is Prometheus' own, so
//! the same file under the same path has the same slots there and here.

use xxhash_rust::xxh64::xxh64;

use crate::types::{Span, Timestamp};

const NANOS_PER_MILLI: i128 = 1_000_000;

/// How far the slots of a group are moved from the multiples of its interval, in nanoseconds.
pub fn offset_nanos(file: &str, name: &str, interval: Span) -> i64 {
    let mut bytes = Vec::with_capacity(file.len() + name.len() + 20);
    for (label, value) in [("file", file), ("name", name)] {
        sized(label, &mut bytes);
        sized(value, &mut bytes);
    }
    let nanos = (interval.0.max(1) as u64).saturating_mul(NANOS_PER_MILLI as u64);
    (xxh64(&bytes, 0) % nanos) as i64
}

/// A text behind its length: one byte, or three after a 255.
fn sized(text: &str, bytes: &mut Vec<u8>) {
    match text.len() {
        short @ 0..255 => bytes.push(short as u8),
        long => bytes.extend([255, long as u8, (long >> 8) as u8, (long >> 16) as u8]),
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// The last slot not after `now`.
pub fn slot_before(now: Timestamp, interval: Span, offset_nanos: i64) -> Timestamp {
    let (now, offset) = (i128::from(now.0) * NANOS_PER_MILLI, i128::from(offset_nanos));
    let interval = i128::from(interval.0.max(1)) * NANOS_PER_MILLI;
    let moved = now - offset;
    // Go's remainder has the sign of the dividend.
    let slot = moved - moved % interval + offset;
    Timestamp(slot.div_euclid(NANOS_PER_MILLI) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_multiples_of_the_interval_moved_by_the_hash() {
        let minute = Span::minutes(1);
        let offset = offset_nanos("rules.yaml", "a", minute);
        assert!((0..60_000_000_000).contains(&offset));
        assert_ne!(offset, offset_nanos("rules.yaml", "b", minute));
        assert_ne!(offset, offset_nanos("other.yaml", "a", minute));
        let slot = slot_before(Timestamp(1_793_491_234_567), minute, offset);
        assert!(slot <= Timestamp(1_793_491_234_567) && Timestamp(1_793_491_234_567).since(slot) < minute);
        assert_eq!(slot.0.rem_euclid(60_000), offset / 1_000_000);
        // A slot lies within its millisecond.
        for (ahead, slots) in [(1, 0), (59_999, 0), (60_001, 1), (120_001, 2)] {
            assert_eq!(slot_before(Timestamp(slot.0 + ahead), minute, offset).0, slot.0 + slots * 60_000);
        }
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let mut bytes = Vec::new();
        sized(&"x".repeat(300), &mut bytes);
        assert_eq!(bytes[..4], [255, 44, 1, 0]);
    }
}
