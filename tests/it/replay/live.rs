//! A replay against a daemon's life: the same samples, written as they are scraped, with a tick every 250 ms.

use sloburn::alert::AlertState;
use sloburn::engine::{Engine, Event, Settings};
use sloburn::replay::{Recorder, run};
use sloburn::series::STALE_NAN_BITS;
use sloburn::spec::{self, Service, Source};
use sloburn::types::{Labels, Span, Timestamp};
use sloburn::wire::{self, Batch, Limits, WireKey};

use super::{SCRAPE_SECONDS, SPEC, START_SECONDS};

const TICK_MILLIS: i64 = 250;
const TARGETS: i64 = 5;
const HOURS: i64 = 12;
const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

/// What happened: time, window, state.
type Seen = Vec<(Timestamp, String, AlertState)>;

/// Samples of one moment: labels and value.
type Moment = (Timestamp, Vec<(Labels, f64)>);

fn services(alerting: &str) -> Vec<Service> {
    let text = SPEC.replace("objective: 99}", &format!("objective: 99, alerting: {alerting}}}"));
    let (services, report) = spec::parse(&[Source::new("api.yaml", text)]);
    assert!(!report.has_errors(), "{}", report.render(false));
    services
}

/// Five targets, each scraped at its own offset; errors come in outbursts of their own length and strength, and
/// one target goes away for an hour.
fn moments(seed: u64) -> Vec<Moment> {
    let mut state = seed;
    let mut random = move |below: u64| {
        // Knuth's constants; the high bits are good enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let labels = |code: &str, target: i64| {
        let instance = format!("host-{target}");
        let pairs = [("__name__", "http_requests_total"), ("code", code), ("instance", &*instance), ("job", "api")];
        Labels::from_pairs(pairs).unwrap()
    };
    let mut counts = [[0_u64; 2]; TARGETS as usize];
    let (mut burst_left, mut percent) = (0, 0);
    let mut moments = Vec::new();
    for scrape in 0..HOURS * 3600 / SCRAPE_SECONDS {
        if burst_left == 0 {
            (burst_left, percent) = (20 + random(400), if random(2) == 0 { 0 } else { random(60) });
        }
        burst_left -= 1;
        for target in 0..TARGETS {
            let at = Timestamp((START_SECONDS + scrape * SCRAPE_SECONDS) * 1000 + target * 2_750);
            let (gone, back) = (3 * 3600 / SCRAPE_SECONDS, 4 * 3600 / SCRAPE_SECONDS);
            if target == 0 && (gone..back).contains(&scrape) {
                if scrape == gone {
                    moments.push((at, vec![(labels("200", target), STALE), (labels("500", target), STALE)]));
                }
                continue;
            }
            let count = &mut counts[target as usize];
            let bad = 20 * percent / 100 + random(2);
            *count = [count[0] + 20 - bad.min(20), count[1] + bad];
            moments
                .push((at, vec![(labels("200", target), count[0] as f64), (labels("500", target), count[1] as f64)]));
        }
    }
    moments
}

fn settings(key: &WireKey) -> Settings {
    Settings { key: key.clone(), limits: Limits::default(), series_limit: 1_000 }
}

fn live(services: &[Service], moments: &[Moment]) -> Seen {
    let key = WireKey::new([9; 192]);
    let (first, last) = (moments[0].0, moments[moments.len() - 1].0);
    let mut engine = Engine::new(services, settings(&key), first);
    let (mut seen, mut batch, mut next) = (Vec::new(), Batch::new(), 0);
    let mut now = first;
    while now <= last {
        let mut alerts = Vec::new();
        while next < moments.len() && moments[next].0 == now {
            batch.clear();
            for (labels, value) in &moments[next].1 {
                batch.push(&key, labels, &[wire::Sample { timestamp: now, value: *value }]);
            }
            alerts.extend(engine.step(Event::Write(&batch), now).alerts);
            next += 1;
        }
        alerts.extend(engine.step(Event::Tick, now).alerts);
        seen.extend(
            alerts.into_iter().map(|a| (a.changed_at(), a.rule.labels.get("long").unwrap().to_owned(), a.state)),
        );
        now = now + Span(TICK_MILLIS);
    }
    seen
}

fn replayed(services: &[Service], moments: &[Moment]) -> Seen {
    let mut recorder = Recorder::new(services.to_vec(), Timestamp::MIN..=Timestamp(i64::MAX));
    // Series by series would need a sort here; backwards is as far from the order of time.
    for (at, samples) in moments.iter().rev() {
        for (labels, value) in samples {
            let slot = recorder.series(labels.clone()).unwrap();
            recorder.sample(slot, *at, *value).unwrap();
        }
    }
    let outcome = run(services, &recorder.finish(), &mut |_, _| {}).unwrap();
    let seen = outcome.transitions.into_iter();
    seen.map(|t| (t.at, t.alert.rule.labels.get("long").unwrap().to_owned(), t.alert.state)).collect()
}

#[test]
fn a_replay_alerts_when_the_daemon_did() {
    let mut changes = 0;
    for (seed, alerting) in [(1, "{}"), (2, "{for: 2m}"), (3, "{keepFiringFor: 7m}"), (4, "{}"), (5, "{for: 90s}")] {
        let (services, moments) = (services(alerting), moments(seed));
        let (live, replayed) = (live(&services, &moments), replayed(&services, &moments));
        assert_eq!(replayed, live, "seed {seed}");
        changes += live.len();
    }
    assert!(changes > 50, "{changes} changes of alerts are too few to show anything");
}
