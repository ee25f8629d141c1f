//! Any bytes as a checkpoint: no panic, memory bounded by the input, and a header made right does not help the rest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sloburn::journal::Checkpoint;
use xxhash_rust::xxh3::xxh3_64;

const HEADER_BYTES: usize = 56;
const SUM_BYTES: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let _ = Checkpoint::decode(bytes.to_vec());
    // With checksums that fit, so that what lies behind them is reached.
    let mut fitting = bytes.to_vec();
    if fitting.len() < HEADER_BYTES + SUM_BYTES {
        return;
    }
    fitting[..8].copy_from_slice(b"SLOBCKPT");
    fitting[8..12].copy_from_slice(&1_u32.to_le_bytes());
    let sum = xxh3_64(&fitting[..HEADER_BYTES - 8]);
    fitting[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    let end = fitting.len() - SUM_BYTES;
    let sum = xxh3_64(&fitting[HEADER_BYTES..end]);
    fitting[end..].copy_from_slice(&sum.to_le_bytes());
    if let Ok(Checkpoint { standing, state }) = Checkpoint::decode(fitting) {
        assert!(state.len() + standing.specs.len() + 24 * standing.gaps.len() == end - HEADER_BYTES);
    }
});
