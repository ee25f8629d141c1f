//! Any bytes as a remote write 2.0 message: the decoder and `prost` agree on whether it is one and what it says,
//! native histograms included.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../it/wire/oracle.rs"]
mod oracle;

fuzz_target!(|message: &[u8]| {
    oracle::accepts_v2(message);
});
