//! Any bytes as a checkpoint: no panic, memory bounded by the input, and a header made right does not help the rest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sloburn::journal::Checkpoint;
use xxhash_rust::xxh3::xxh3_64;

const HEADER_BYTES: usize = 72;

fuzz_target!(|bytes: &[u8]| {
    let _ = Checkpoint::decode(bytes);
    // With checksums that fit, so that what lies behind them is reached.
    let mut fitting = bytes.to_vec();
    if fitting.len() < HEADER_BYTES {
        return;
    }
    fitting[..8].copy_from_slice(b"SLOBCKPT");
    fitting[8..12].copy_from_slice(&1_u32.to_le_bytes());
    let (length, sum) = ((fitting.len() - HEADER_BYTES) as u64, xxh3_64(&fitting[HEADER_BYTES..]));
    fitting[48..56].copy_from_slice(&length.to_le_bytes());
    fitting[56..64].copy_from_slice(&sum.to_le_bytes());
    let sum = xxh3_64(&fitting[..64]);
    fitting[64..72].copy_from_slice(&sum.to_le_bytes());
    if let Ok(checkpoint) = Checkpoint::decode(&fitting) {
        assert!(checkpoint.state.len() + checkpoint.specs.len() + 24 * checkpoint.gaps.len() == length as usize);
    }
});
