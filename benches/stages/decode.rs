//! From a request's body to a batch: decompression, decoding, and both; remote write 2.0 and `prost` beside 1.0.
//!
//! The payload is what Prometheus sends by default: 2,000 series a request, one sample each, with the labels of a
//! counter scraped from Kubernetes pods. Decoding alone is measured on a body that snappy did not compress: one literal,
//! of which decompression is a copy.

use std::hint::black_box;

use prost::Message;
use sloburn::types::Span;
use sloburn::wire::proto::WriteRequest;
use sloburn::wire::{Batch, Limits, Protocol, WireKey, snappy};

use crate::Stage;
use crate::support::{Fleet, REQUEST_SERIES, START, Size, in_v2, wire_key};

/// One scrape of 50 pods, each with 40 series. They come in no order, as a sender's shards mix them.
const FLEET: Size = Size { services: 50, instances: 1, children: 40 };
/// Requests of a round: a single one is short beside the clock.
const REQUESTS: usize = 8;
/// A snappy literal whose length, less one, follows in four bytes.
const LONG_LITERAL: u8 = 63 << 2;

fn body() -> Vec<u8> {
    let mixed = (0..REQUEST_SERIES).map(|i| i * 769 % REQUEST_SERIES);
    Fleet::new(FLEET).request(mixed, |_, i| START + Span::millis((i / FLEET.children) as i64 * 37))
}

fn decompressed(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).expect("a valid body")
}

/// The sum of all words: every byte is read.
fn read_all(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    words.fold(0, u64::wrapping_add)
}

/// Decompression alone.
pub struct Decompress {
    body: Vec<u8>,
    decoded: Vec<u8>,
    copy: Vec<u8>,
}

impl Decompress {
    pub fn new() -> Self {
        Self { body: body(), decoded: Vec::new(), copy: Vec::new() }
    }
}

impl Stage for Decompress {
    fn elements(&self) -> usize {
        REQUESTS * REQUEST_SERIES
    }

    fn run(&mut self) {
        for _ in 0..REQUESTS {
            let limit_bytes = Limits::default().decoded_limit_bytes;
            snappy::decompress(black_box(&self.body), limit_bytes, &mut self.decoded).expect("a valid body");
        }
    }

    fn floor(&mut self) {
        for _ in 0..REQUESTS {
            self.copy.clear();
            self.copy.extend_from_slice(black_box(&self.decoded));
            black_box(&self.copy);
        }
    }
}

/// Decoding alone.
pub struct Decode {
    body: Body,
    message: Vec<u8>,
}

impl Decode {
    pub fn new() -> Self {
        let message = decompressed(&body());
        let len = message.len() as u32;
        let mut literal = Vec::new();
        prost::encoding::encode_varint(u64::from(len), &mut literal);
        literal.push(LONG_LITERAL);
        literal.extend_from_slice(&(len - 1).to_le_bytes());
        literal.extend_from_slice(&message);
        Self { body: Body::new(literal, Decoder::Own(Protocol::V1)), message }
    }
}

impl Stage for Decode {
    fn elements(&self) -> usize {
        REQUESTS * REQUEST_SERIES
    }

    fn run(&mut self) {
        self.body.run();
    }

    fn floor(&mut self) {
        for _ in 0..REQUESTS {
            self.body.decoded.clear();
            self.body.decoded.extend_from_slice(black_box(&self.message));
            black_box(read_all(&self.body.decoded));
        }
    }
}

/// Who decodes.
#[derive(Clone, Copy)]
enum Decoder {
    Own(Protocol),
    Prost,
}

/// Decompression and decoding.
pub struct Body {
    compressed: Vec<u8>,
    decoder: Decoder,
    key: WireKey,
    limits: Limits,
    batch: Batch,
    decoded: Vec<u8>,
}

impl Body {
    fn new(compressed: Vec<u8>, decoder: Decoder) -> Self {
        let (key, limits) = (wire_key(), Limits::default());
        Self { compressed, decoder, key, limits, batch: Batch::new(), decoded: Vec::new() }
    }

    pub fn v1() -> Self {
        Self::new(body(), Decoder::Own(Protocol::V1))
    }

    /// As structs of labels, not hashes.
    pub fn prost() -> Self {
        Self::new(body(), Decoder::Prost)
    }

    /// The same samples in remote write 2.0; a start timestamp of 0 is none.
    pub fn v2(start_timestamp: i64) -> Self {
        let request = WriteRequest::decode(&*decompressed(&body())).expect("a valid message");
        Self::new(in_v2(&request, start_timestamp), Decoder::Own(Protocol::V2))
    }

    fn decompress(&mut self) {
        let limit_bytes = self.limits.decoded_limit_bytes;
        snappy::decompress(black_box(&self.compressed), limit_bytes, &mut self.decoded).expect("a valid body");
    }
}

impl Stage for Body {
    fn elements(&self) -> usize {
        REQUESTS * REQUEST_SERIES
    }

    fn run(&mut self) {
        for _ in 0..REQUESTS {
            if let Decoder::Own(protocol) = self.decoder {
                self.batch
                    .decode(protocol, black_box(&self.compressed), &self.limits, &self.key)
                    .expect("a valid body");
                assert_eq!(self.batch.sample_count(), REQUEST_SERIES);
            } else {
                self.decompress();
                let request = WriteRequest::decode(&*self.decoded).expect("a valid message");
                assert_eq!(request.timeseries.len(), REQUEST_SERIES);
            }
        }
    }

    fn floor(&mut self) {
        for _ in 0..REQUESTS {
            self.decompress();
            black_box(read_all(&self.decoded));
        }
    }
}
