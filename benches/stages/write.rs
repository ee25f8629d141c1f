//! From a request's body to judged SLOs: all stages of a write but the network and the journal.
//!
//! 450 SLOs, 900 targets, 99,000 series, each scraped every 15 s; the scrape of a target arrives in four requests and
//! is counted when it is whole. Of the `bound` fleet every series counts for an SLO, of the `unbound` one none does.
//! A round is one request of each of the four queues.

use std::collections::VecDeque;

use sloburn::engine::{Engine, Event, Settings};
use sloburn::series::Index;
use sloburn::types::Span;
use sloburn::wire::{Batch, Limits, WireKey, snappy};

use crate::Stage;
use crate::support::{Fleet, INTERVAL, METRIC, Request, START, Size, services, wire_key};

const FLEET: Size = Size { services: 450, instances: 2, children: 110 };
/// Scrapes before the measurement, by number: with the one of 64 the last children are born.
const WARM_UP_SCRAPES: [usize; 4] = [0, 64, 65, 66];
/// Scrapes made ahead: the sender's work stays out of the caches while they are taken.
const AHEAD_SCRAPES: usize = 3;
const ROUND_REQUESTS: usize = 4;

pub struct Write {
    fleet: Fleet,
    next_scrape: usize,
    ahead: VecDeque<Request>,
    round: Vec<Request>,
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
        let (fleet, ahead, round, batch) = (Fleet::new(FLEET), VecDeque::new(), Vec::new(), Batch::new());
        let mut write = Self { fleet, next_scrape: 0, ahead, round, batch, engine, key, limits, floor };
        for number in WARM_UP_SCRAPES {
            write.next_scrape = number;
            write.make(1);
            while !write.ahead.is_empty() {
                write.prepare();
                write.run();
                write.floor();
            }
        }
        write
    }

    fn make(&mut self, scrapes: usize) {
        for _ in 0..scrapes {
            let start = START + Span(INTERVAL.as_millis() * self.next_scrape as i64);
            self.ahead.extend(self.fleet.scrape(self.next_scrape, start));
            self.next_scrape += 1;
        }
    }
}

impl Stage for Write {
    fn elements(&self) -> usize {
        self.round.iter().map(|request| request.samples).sum()
    }

    fn prepare(&mut self) {
        if self.ahead.is_empty() {
            self.make(AHEAD_SCRAPES);
        }
        let requests = self.ahead.len().min(ROUND_REQUESTS);
        self.round = self.ahead.drain(..requests).collect();
    }

    fn run(&mut self) {
        for request in &self.round {
            self.batch.decode_v1(&request.body, &self.limits, &self.key).expect("a valid body");
            let effects = self.engine.step(Event::Write(&self.batch), request.arrival);
            assert_eq!(effects.written.samples, request.samples as u64);
        }
    }

    fn floor(&mut self) {
        for request in &self.round {
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
            let mut sample = series;
            while let [LABEL, length, after @ ..] = sample {
                sample = &after[usize::from(*length)..];
            }
            // Zero is not written.
            let value = match sample {
                [_, _, VALUE, value @ ..] => f64::from_le_bytes(*value.first_chunk().expect("8 bytes")),
                _ => 0.0,
            };
            let hash = self.key.hash(&series[..series.len() - sample.len()]);
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
