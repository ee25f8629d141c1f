//! From a request's body to judged SLOs: all stages of a write but the network and the journal.
//!
//! 450 SLOs, 900 targets, 99,000 series, each scraped every 15 s; the scrape of a target arrives in four requests and
//! is counted when it is whole. Of the `bound` fleet every series counts for an SLO, of the `unbound` one none does.
//! One round is one scrape of the whole fleet.

use std::collections::VecDeque;

use sloburn::engine::{Engine, Event, Settings};
use sloburn::series::Index;
use sloburn::types::Span;
use sloburn::wire::{Batch, Limits, WireKey, snappy};

use crate::Stage;
use crate::support::{Fleet, INTERVAL, METRIC, Request, START, Size, services, wire_key};

const FLEET: Size = Size { services: 450, instances: 2, children: 110 };
/// Scrapes before the measurement, by number: the last children are born in the first, and in the ones up to 63.
const WARM_UP_SCRAPES: [usize; 4] = [0, 64, 65, 66];
/// Scrapes made ahead: the sender's work stays out of the caches while they are taken.
const AHEAD_SCRAPES: usize = 16;

pub struct Write {
    fleet: Fleet,
    next_scrape: usize,
    ahead: VecDeque<Vec<Request>>,
    scrape: Vec<Request>,
    batch: Batch,
    engine: Engine,
    key: WireKey,
    limits: Limits,
    floor: Plain,
}

impl Write {
    pub fn bound() -> Self {
        Self::new(METRIC)
    }

    pub fn unbound() -> Self {
        Self::new("grpc_server_handled_total")
    }

    fn new(metric: &str) -> Self {
        let (key, limits) = (wire_key(), Limits::default());
        let settings = Settings { key: key.clone(), limits, series_limit: 5_000_000, ha: None };
        let engine = Engine::new(&services(FLEET.services, metric), settings, START);
        let floor = Plain { key: key.clone(), decoded: Vec::new(), index: Index::default(), sums: Vec::new() };
        let (fleet, ahead, scrape, batch) = (Fleet::new(FLEET), VecDeque::new(), Vec::new(), Batch::new());
        let mut write = Self { fleet, next_scrape: 0, ahead, scrape, batch, engine, key, limits, floor };
        for number in WARM_UP_SCRAPES {
            write.next_scrape = number;
            write.make(1);
            write.prepare();
            write.run();
            write.floor();
        }
        write
    }

    fn make(&mut self, scrapes: usize) {
        for _ in 0..scrapes {
            let start = START + Span(INTERVAL.as_millis() * self.next_scrape as i64);
            self.ahead.push_back(self.fleet.scrape(self.next_scrape, start));
            self.next_scrape += 1;
        }
    }
}

impl Stage for Write {
    fn elements(&self) -> usize {
        self.scrape.iter().map(|request| request.samples).sum()
    }

    fn prepare(&mut self) {
        if self.ahead.is_empty() {
            self.make(AHEAD_SCRAPES);
        }
        self.scrape = self.ahead.pop_front().unwrap_or_default();
    }

    fn run(&mut self) {
        for request in &self.scrape {
            self.batch.decode_v1(&request.body, &self.limits, &self.key).expect("a valid body");
            let effects = self.engine.step(Event::Write(&self.batch), request.arrival);
            assert_eq!(effects.written.samples, request.samples as u64);
        }
    }

    fn floor(&mut self) {
        for request in &self.scrape {
            assert_eq!(self.floor.take(&request.body, self.limits.decoded_limit_bytes), request.samples);
        }
    }
}

/// The least receiver: it trusts its sender, which has no long fields, and adds up the values by series.
struct Plain {
    key: WireKey,
    decoded: Vec<u8>,
    index: Index,
    sums: Vec<f64>,
}

impl Plain {
    /// Returns the number of samples.
    fn take(&mut self, body: &[u8], limit_bytes: usize) -> usize {
        const LABEL: u8 = 0x0a;
        const VALUE: u8 = 0x09;
        snappy::decompress(body, limit_bytes, &mut self.decoded).expect("a valid body");
        let (mut rest, mut samples) = (&self.decoded[..], 0);
        while let [_, low, high, fields @ ..] = rest {
            let (length, fields) = if *low < 0x80 {
                (usize::from(*low), &rest[2..])
            } else {
                (usize::from(*low & 0x7f) | usize::from(*high) << 7, fields)
            };
            let (series, next) = fields.split_at(length);
            let mut labels = 0;
            while series[labels] == LABEL {
                labels += 2 + usize::from(series[labels + 1]);
            }
            // Zero is not written.
            let value = match &series[labels + 2..] {
                [VALUE, value @ ..] => f64::from_le_bytes(*value.first_chunk().expect("8 bytes")),
                _ => 0.0,
            };
            let hash = self.key.hash(&series[..labels]);
            let slot = self.index.get(hash).unwrap_or_else(|| {
                self.sums.push(0.0);
                self.index.insert(hash, self.sums.len() as u32 - 1);
                self.sums.len() as u32 - 1
            });
            self.sums[slot as usize] += value;
            (rest, samples) = (next, samples + 1);
        }
        samples
    }
}
