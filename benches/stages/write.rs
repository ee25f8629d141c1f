//! From a request's body to judged SLOs: all stages of a write but the network and the journal; and the same of series that
//! were never seen, in the engine or in the store.
//!
//! 450 SLOs, 900 targets, 99,000 series, each scraped every 15 s; the scrape of a target arrives in four requests and
//! is counted when it is whole. Of the `bound` fleet every series counts for an SLO, of the `unbound` one none does.
//! A round is one request of each of the four queues.

use std::collections::VecDeque;

use sloburn::engine::{Engine, Event, Settings};
use sloburn::series::Findings;
use sloburn::store::{self, Store};
use sloburn::types::{METRIC_NAME, Matcher, Selector, Span};
use sloburn::wire::{Batch, Limits, WireKey};

use crate::Stage;
use crate::support::{Fleet, Floor, INTERVAL, METRIC, Request, START, Size, services, wire_key};

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
    floor: Floor,
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
        let floor = Floor::default();
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
            assert_eq!(self.floor.take(&request.body), request.samples);
        }
    }
}

/// First scrapes: every series of every request is new. In the engine from a request's body on, in the store from what the
/// engine has found out of it.
pub struct FirstScrape {
    requests: Vec<Request>,
    next: usize,
    engine: Engine,
    store: Option<Store>,
    batch: Batch,
    /// What the store takes next.
    found: Vec<(Batch, Findings)>,
    floor: Floor,
}

impl FirstScrape {
    pub fn in_engine() -> Self {
        Self::new(false)
    }

    pub fn in_store() -> Self {
        Self::new(true)
    }

    fn new(is_stored: bool) -> Self {
        let requests = Fleet::new(FLEET).scrape(0, START);
        let (engine, store) = (engine(), is_stored.then(store));
        let (batch, found, floor) = (Batch::new(), Vec::new(), Floor::default());
        Self { requests, next: 0, engine, store, batch, found, floor }
    }

    fn round(&self) -> &[Request] {
        &self.requests[self.next - ROUND_REQUESTS..self.next]
    }

    fn step(engine: &mut Engine, batch: &mut Batch, request: &Request) {
        batch.decode_v1(&request.body, &Limits::default(), &wire_key()).expect("a valid body");
        let effects = engine.step(Event::Write(batch), request.arrival);
        assert_eq!(effects.written.samples, request.samples as u64);
    }
}

/// One that has met nobody.
fn engine() -> Engine {
    let settings = Settings { key: wire_key(), limits: Limits::default(), series_limit: 5_000_000, ha: None };
    Engine::new(&services(FLEET.services, METRIC), settings, START)
}

fn store() -> Store {
    let settings = store::Settings { keeps_counted: true, ..store::Settings::new(wire_key()) };
    Store::new(settings, &[Selector::new(vec![Matcher::equal(METRIC_NAME, METRIC)])])
}

impl Stage for FirstScrape {
    fn elements(&self) -> usize {
        self.round().iter().map(|request| request.samples).sum()
    }

    fn prepare(&mut self) {
        self.next += ROUND_REQUESTS;
        if self.next > self.requests.len() {
            self.next = ROUND_REQUESTS;
            (self.engine, self.store, self.floor) = (engine(), self.store.take().map(|_| store()), Floor::default());
        }
        self.found.clear();
        if self.store.is_some() {
            for request in &self.requests[self.next - ROUND_REQUESTS..self.next] {
                let mut batch = Batch::new();
                Self::step(&mut self.engine, &mut batch, request);
                self.found.push((batch, self.engine.findings().clone()));
            }
        }
    }

    fn run(&mut self) {
        let requests = &self.requests[self.next - ROUND_REQUESTS..self.next];
        if let Some(store) = &self.store {
            for ((batch, findings), request) in self.found.iter().zip(requests) {
                store.write(batch, findings, request.arrival);
            }
        } else {
            for request in requests {
                Self::step(&mut self.engine, &mut self.batch, request);
            }
        }
    }

    fn floor(&mut self) {
        for request in &self.requests[self.next - ROUND_REQUESTS..self.next] {
            assert_eq!(self.floor.take(&request.body), request.samples);
        }
    }
}
