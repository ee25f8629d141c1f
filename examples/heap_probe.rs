//! scratch
#[path = "../benches/support/mod.rs"]
mod support;
use sloburn::engine::{Engine, Event, Settings};
use sloburn::types::Span;
use sloburn::wire::{Batch, Limits, Sample};
use support::{METRIC, START, service_name, services, wire_key};
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let ticks: usize = std::env::args().nth(2).map_or(0, |t| t.parse().unwrap());
    let key = wire_key();
    let services = services(n, METRIC);
    let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 5_000_000, ha: None };
    let mut engine = Engine::new(&services, settings, START);
    let mut batch = Batch::new();
    let mut now = START;
    let mut scrapes = 0;
    let mut write = |engine: &mut Engine, now| {
        batch.clear();
        scrapes += 1;
        for service in 0..n {
            let job = service_name(service);
            for (code, value) in [("200", scrapes * 100), ("500", scrapes / 8)] {
                let labels = [("__name__", METRIC), ("code", code), ("instance", "10.4.0.17:8080"), ("job", &job)];
                let sample = Sample { timestamp: now, value: value as f64 };
                batch.push(&key, labels, &[sample]);
            }
        }
        engine.step(Event::Write(&batch), now);
    };
    for _ in 0..10 {
        now = now + Span::seconds(15);
        write(&mut engine, now);
    }
    for _ in 0..ticks {
        now = now + Span::seconds(30);
        write(&mut engine, now);
        engine.step(Event::Tick, now + Span::seconds(7));
        engine.step(Event::Tick, now + Span::seconds(18));
    }
    let snapshot = engine.snapshot(now + Span::seconds(20));
    assert_eq!(snapshot.slos.len(), n);
    std::mem::forget((snapshot, engine));
}
