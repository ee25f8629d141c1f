//! Any bytes as a request's body: bounded memory, and what decompresses is what the snap crate makes of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sloburn::wire::{Batch, Limits, WIRE_KEY_SIZE_BYTES, WireKey, snappy};

const LIMIT_BYTES: usize = 1 << 20;

fuzz_target!(|body: &[u8]| {
    let mut decoded = Vec::new();
    let result = snappy::decompress(body, LIMIT_BYTES, &mut decoded);
    // A chunk more than was asked for.
    assert!(decoded.capacity() <= LIMIT_BYTES + 64);
    if result.is_ok() {
        assert_eq!(Ok(decoded), snap::raw::Decoder::new().decompress_vec(body));
    }

    let limits =
        Limits { decoded_limit_bytes: LIMIT_BYTES, series_limit: 1_000, samples_limit: 1_000, ..Limits::default() };
    let mut batch = Batch::new();
    let decoded = batch.decode_v1(body, &limits, &WireKey::new([0x5a; WIRE_KEY_SIZE_BYTES]));
    assert!(decoded.is_ok() || batch.is_empty());
    assert!(batch.sample_count() <= limits.samples_limit);
    // Twice the bytes where label fields are scattered, and room to grow.
    assert!(batch.capacity_bytes() <= 5 * LIMIT_BYTES);
});
