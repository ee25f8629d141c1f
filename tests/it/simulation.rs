//! Seeded lives of an engine: scrapes late, twice and cut in two, gaps, resets, series that come and go, a clock
//! that steps both ways. One engine lives through them undisturbed. Others are looked at, ticked, saved and restored
//! at random moments, and must raise the same alerts and end in the same state to the byte.
//!
//! `SLOBURN_SIMULATION_SEEDS=20000 cargo test --test it simulation` runs more lives; a failure names its seed.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sloburn::engine::{Engine, Event, Settings};
use sloburn::series::STALE_NAN_BITS;
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};

const START: Timestamp = Timestamp(1_790_000_000_123);
const SPEC: &str = "
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  versionLabel: version
  slis:
    - {name: errors, events: {bad: 'requests_total{code=~\"5..\"}', total: requests_total}}
    - {name: latency, latency: {histogram: request_seconds, threshold: 250ms}}
  slos:
    - {name: availability, sli: errors, objective: 99.9, period: 30d, alerting: {for: 20s, keepFiringFor: 40s}}
    - {name: strict, sli: errors, objective: 99.99, period: 7d, alerting: {budgetRemaining: [50]}}
    - {name: speed, sli: latency, objective: 95, period: 1d}
";

/// The specs, or the same after an edit of an objective, a period, a label and a selector.
fn services(is_edited: bool) -> Vec<Service> {
    let edits = [("99.99, period: 7d", "99.9, period: 14d"), ("95,", "95, labels: {team: a},"), ("5..", "50.")];
    let edited = |text: String, (from, to)| text.replace(from, to);
    let text = if is_edited { edits.into_iter().fold(SPEC.to_owned(), edited) } else { SPEC.to_owned() };
    let (services, report) = parse(&[Source::new("spec.yaml", text)]);
    assert!(!report.has_errors(), "\n{}", report.render(false));
    services
}

fn settings() -> Settings {
    Settings { key: WireKey::new([3; 192]), limits: Limits::default(), series_limit: 1_000 }
}

/// One thing that happens to every engine.
#[expect(clippy::large_enum_variant, reason = "nearly all are writes")]
enum Happening {
    Write(Batch),
    /// The clock went back; every engine has to be told.
    ClockBack,
    Reload,
}

/// One counter of a simulated process.
struct Counter {
    labels: Vec<(&'static str, String)>,
    value: f64,
    is_exposed: bool,
}

fn counters(rng: &mut SmallRng) -> Vec<Counter> {
    let mut counters = Vec::new();
    for instance in 0..rng.random_range(1..4) {
        let mut add = |name: &str, extra: &[(&'static str, &str)]| {
            let mut labels = vec![("__name__", name.to_owned()), ("job", "shop".to_owned())];
            labels.push(("instance", format!("host-{instance}")));
            labels.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
            counters.push(Counter { labels, value: 7.0, is_exposed: rng.random_bool(0.7) });
        };
        for version in ["v1", "v2"] {
            for code in ["200", "500", "503"] {
                add("requests_total", &[("code", code), ("version", version)]);
            }
        }
        add("request_seconds_bucket", &[("le", "0.25")]);
        add("request_seconds_bucket", &[("le", "+Inf")]);
        add("request_seconds_count", &[]);
    }
    counters
}

/// What happens in one life, each with the time of its arrival.
fn life(seed: u64) -> Vec<(Timestamp, Happening)> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let key = settings().key;
    let mut counters = counters(rng);
    let (mut now, mut happenings, mut late) = (START, Vec::new(), Vec::new());
    for _ in 0..rng.random_range(5..60) {
        now = now + Span::millis(rng.random_range(1_000..20_000));
        match rng.random_range(0..40) {
            0 => now = now + Span::millis(rng.random_range(0..8_000_000)),
            1 => {
                now = now - Span::millis(rng.random_range(0..4_000_000));
                happenings.push((now, Happening::ClockBack));
            }
            2 => happenings.push((now, Happening::Reload)),
            _ => {}
        }
        let scraped = now - Span::millis(rng.random_range(0..300));
        let mut samples = Vec::new();
        let burns = rng.random_bool(0.3);
        for (n, counter) in counters.iter_mut().enumerate() {
            match rng.random_range(0..30) {
                0 => counter.value = 0.0,
                1 => counter.is_exposed = !counter.is_exposed,
                _ => {}
            }
            let is_error = counter.labels.iter().any(|(_, value)| value.starts_with("50"));
            counter.value += f64::from(rng.random_range(0..if is_error && !burns { 2 } else { 50_u32 }));
            let value = if counter.is_exposed { counter.value } else { f64::from_bits(STALE_NAN_BITS) };
            samples.push((n, Sample { timestamp: scraped, value }));
        }
        if rng.random_bool(0.1) {
            late = samples;
            continue;
        }
        samples.append(&mut late);
        let twice = rng.random_range(0..samples.len());
        samples.push(samples[twice]);
        let cut = rng.random_range(0..samples.len());
        for part in [&samples[..cut], &samples[cut..]] {
            let mut batch = Batch::new();
            for (n, sample) in part {
                let labels = counters[*n].labels.iter().map(|(name, value)| (*name, value.as_str()));
                batch.push(&key, labels, &[*sample]);
            }
            happenings.push((now, Happening::Write(batch)));
            now = now + Span::millis(rng.random_range(0..9_000));
        }
    }
    happenings
}

/// Alerts and final state.
type End = (Vec<String>, Vec<u8>);

struct Run {
    engine: Engine,
    services: Vec<Service>,
    is_edited: bool,
    alerts: Vec<String>,
}

impl Run {
    fn new() -> Self {
        let services = services(false);
        let engine = Engine::new(&services, settings(), START);
        Self { engine, services, is_edited: false, alerts: Vec::new() }
    }

    fn step(&mut self, event: Event<'_>, now: Timestamp) {
        let effects = self.engine.step(event, now);
        self.alerts.extend(effects.alerts.iter().map(|alert| format!("{alert:?}")));
    }

    fn take(&mut self, happening: &Happening, now: Timestamp) {
        match happening {
            Happening::Write(batch) => self.step(Event::Write(batch), now),
            Happening::ClockBack => self.step(Event::Tick, now),
            Happening::Reload => {
                self.is_edited = !self.is_edited;
                self.services = services(self.is_edited);
                let services = std::mem::take(&mut self.services);
                self.step(Event::Reload(&services), now);
                self.services = services;
            }
        }
    }

    fn end(mut self) -> End {
        let now = self.engine.now() + Span::hours(3);
        self.step(Event::Tick, now);
        (self.alerts, self.engine.save())
    }
}

fn undisturbed(life: &[(Timestamp, Happening)]) -> End {
    let mut run = Run::new();
    for (now, happening) in life {
        run.take(happening, *now);
    }
    run.end()
}

/// What may be wrong with a restart.
#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// The last write before a restart is lost.
    WriteLost,
    /// It is told twice, by a recovery whose checkpoint already holds it, under a later time.
    WriteRepeatedLater,
}

fn disturbed(life: &[(Timestamp, Happening)], seed: u64, bug: Bug) -> End {
    let rng = &mut SmallRng::seed_from_u64(!seed);
    let mut run = Run::new();
    for (now, happening) in life {
        let before = run.engine.now();
        while *now > before && rng.random_bool(0.4) {
            let between = before + Span::millis(rng.random_range(0..now.since(before).as_millis()));
            if between > run.engine.now() {
                run.step(Event::Tick, between);
            }
        }
        if rng.random_bool(0.1) {
            run.engine.snapshot(*now);
        }
        let is_write = matches!(happening, Happening::Write(_));
        let saved = (is_write && rng.random_bool(0.2)).then(|| run.engine.save());
        if bug != Bug::WriteLost || saved.is_none() {
            run.take(happening, *now);
        }
        if let Some(saved) = saved {
            // What was saved, and the log since.
            run.engine = Engine::restore(&run.services, &settings(), &saved).unwrap();
            if bug != Bug::WriteLost {
                let again = run.alerts.len();
                let later = if bug == Bug::WriteRepeatedLater { Span::seconds(20) } else { Span::ZERO };
                run.take(happening, *now + later);
                let repeated = run.alerts.split_off(again);
                assert!(bug != Bug::None || run.alerts.ends_with(&repeated), "seed {seed}");
            }
        }
    }
    run.end()
}

fn seeds() -> u64 {
    std::env::var("SLOBURN_SIMULATION_SEEDS").map_or(1_000, |seeds| seeds.parse().expect("a number of seeds"))
}

#[test]
fn restarts_and_onlookers_change_nothing() {
    let mut alerts = 0;
    for seed in 0..seeds() {
        let life = life(seed);
        let (calm, rough) = (undisturbed(&life), disturbed(&life, seed, Bug::None));
        assert_eq!(calm.0, rough.0, "seed {seed}: alerts differ");
        assert!(calm.1 == rough.1, "seed {seed}: the final states differ");
        alerts += calm.0.len();
    }
    assert!(alerts > 500, "{alerts} alerts are too few to show anything");
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::WriteLost, Bug::WriteRepeatedLater] {
        let differs = |seed| {
            let life = life(seed);
            undisturbed(&life) != disturbed(&life, seed, bug)
        };
        assert!((0..20).any(differs));
    }
}

#[test]
fn a_state_is_refused_with_its_reason() {
    use sloburn::engine::{RestoreError, STATE_VERSION};
    let saved = Run::new().engine.save();
    let restore = |services: &[Service], saved: &[u8]| Engine::restore(services, &settings(), saved).err();
    assert_eq!(restore(&services(false), &saved), None);
    assert_eq!(restore(&services(false), &saved[..saved.len() / 2]), Some(RestoreError::Damaged));
    assert_eq!(restore(&services(false), &[]), Some(RestoreError::Damaged));
    assert_eq!(restore(&[], &saved), Some(RestoreError::OtherSpecs));
    let newer = [&[STATE_VERSION as u8 + 1], &saved[1..]].concat();
    assert_eq!(restore(&services(false), &newer), Some(RestoreError::Version(STATE_VERSION + 1)));
}
