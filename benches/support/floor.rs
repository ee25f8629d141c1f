//! The least that any receiver does with a request: decompress it, find each series' labels and sample, hash the labels,
//! look them up, add the increase. Nothing is checked, nothing is kept beyond a value and a sum.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::wire_key;

/// Everything a receiver has to remember.
#[derive(Default)]
pub struct Floor {
    decoded: Vec<u8>,
    places: HashTable<(u128, u32)>,
    last: Vec<f64>,
    pub sum: f64,
}

impl Floor {
    /// Takes one request of remote write 1.0; how many samples it has.
    pub fn take(&mut self, body: &[u8]) -> usize {
        let key = wire_key();
        let length = snap::raw::decompress_len(body).expect("a valid body");
        let mut decoded = std::mem::take(&mut self.decoded);
        decoded.resize(length, 0);
        snap::raw::Decoder::new().decompress(body, &mut decoded).expect("a valid body");
        let (mut rest, mut samples) = (&decoded[..], 0);
        while !rest.is_empty() {
            let series = field(&mut rest);
            // All labels come first, then the one sample: a key, a length, a key, eight bytes; nothing where it is zero.
            let (mut fields, mut labels) = (series, 0);
            while fields[0] == 0x0a {
                field(&mut fields);
                labels = series.len() - fields.len();
            }
            let value = if fields[2] == 0x09 { fields[3..11].try_into().expect("eight bytes") } else { [0; 8] };
            let value = f64::from_le_bytes(value);
            self.add(xxh3_128_with_secret(&series[..labels], key.as_bytes()), value);
            samples += 1;
        }
        self.decoded = decoded;
        samples
    }

    fn add(&mut self, hash: u128, value: f64) {
        if let Some((_, place)) = self.places.find(hash as u64, |(known, _)| *known == hash) {
            let last = &mut self.last[*place as usize];
            self.sum += value - *last;
            *last = value;
        } else {
            self.places.insert_unique(hash as u64, (hash, self.last.len() as u32), |(known, _)| *known as u64);
            self.last.push(value);
        }
    }
}

/// The message of a field whose key is one byte.
fn field<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (mut length, mut at, mut shift) = (0, 1, 0);
    loop {
        let byte = rest[at];
        length |= usize::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte < 0x80 {
            break;
        }
    }
    let (body, after) = rest[at..].split_at(length);
    *rest = after;
    body
}
