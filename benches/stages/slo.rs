//! The windows of SLOs that go on, and all SLOs judged: 2,000 of them, each with eight windows up to 30 d, some 60 MB.
//! `benches/engine.rs` has the engine's step by the number of SLOs.

use std::hint::black_box;

use sloburn::engine::{Engine, Event, Settings};
use sloburn::sli::{Counts, Ledger};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample};

use crate::Stage;
use crate::support::{INTERVAL, METRIC, START, service_name, services, wire_key};

const SLOS: usize = 2_000;
/// Those of the workbook, and the period.
const WINDOWS: [Span; 8] = [
    Span::minutes(5),
    Span::minutes(30),
    Span::hours(1),
    Span::hours(2),
    Span::hours(6),
    Span::days(1),
    Span::days(3),
    Span::days(30),
];
/// The width of the finest slices: with each step one begins and one leaves some windows.
const STEP: Span = Span::seconds(10);
/// Steps before the measurement: slices leave the shorter windows.
const WARM_UP_STEPS: usize = 400;
/// Scrapes before the measurement.
const WARM_UP_SCRAPES: usize = 4;

/// The running sums of one SLO's windows: numerator and total of each.
type Sums = [[f64; 2]; WINDOWS.len()];

/// A ledger goes on by one slice and takes what happened in it.
pub struct WindowStep {
    ledgers: Vec<Ledger>,
    now: Timestamp,
    sums: Vec<Sums>,
}

impl WindowStep {
    pub fn new() -> Self {
        let mut ledger = Ledger::new(&WINDOWS, START);
        let mut now = START;
        for _ in 0..WARM_UP_STEPS {
            now = now + STEP;
            step(&mut ledger, now);
        }
        Self { ledgers: vec![ledger; SLOS], now, sums: vec![Sums::default(); SLOS] }
    }
}

fn step(ledger: &mut Ledger, now: Timestamp) {
    ledger.advance(now);
    ledger.add(now, Counts { numerator: 1.0, total: 1_000.0 });
}

impl Stage for WindowStep {
    fn elements(&self) -> usize {
        SLOS
    }

    fn prepare(&mut self) {
        self.now = self.now + STEP;
    }

    fn run(&mut self) {
        for ledger in &mut self.ledgers {
            step(ledger, self.now);
        }
    }

    fn floor(&mut self) {
        let counts = black_box([1.0, 1_000.0]);
        for window in self.sums.iter_mut().flatten() {
            window[0] += counts[0];
            window[1] += counts[1];
        }
        black_box(&self.sums);
    }
}

/// Every SLO of an engine is judged.
pub struct Evaluate {
    engine: Engine,
    now: Timestamp,
    sums: Vec<Sums>,
}

impl Evaluate {
    pub fn new() -> Self {
        let key = wire_key();
        let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 2 * SLOS, ha: None };
        let mut engine = Engine::new(&services(SLOS, METRIC), settings, START);
        let (mut now, mut batch) = (START, Batch::new());
        for scrape in 1..=WARM_UP_SCRAPES {
            now = now + INTERVAL;
            batch.clear();
            for service in 0..SLOS {
                let job = service_name(service);
                for (code, value) in [("200", scrape * 100_000), ("500", scrape)] {
                    let labels = [("__name__", METRIC), ("code", code), ("instance", "10.4.0.17:8080"), ("job", &job)];
                    batch.push(&key, labels, &[Sample { timestamp: now, value: value as f64 }]);
                }
            }
            assert_eq!(engine.step(Event::Write(&batch), now).written.samples, 2 * SLOS as u64);
        }
        Self { engine, now, sums: vec![[[1.0, 1_000.0]; WINDOWS.len()]; SLOS] }
    }
}

impl Stage for Evaluate {
    fn elements(&self) -> usize {
        SLOS
    }

    fn run(&mut self) {
        let effects = self.engine.step(Event::Review, self.now);
        assert!(effects.alerts.is_empty(), "nothing burns");
    }

    fn floor(&mut self) {
        let factor = black_box(0.0144);
        let burning = self.sums.iter().flatten().filter(|[bad, total]| *bad > factor * total).count();
        assert_eq!(burning, 0);
    }
}
