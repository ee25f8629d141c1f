//! What remote write 2.0 adds to counting: start timestamps, and latency from native histograms, against the events that
//! really happened.

mod observed;

use std::sync::Arc;

use observed::{Form, Observed};
use proptest::prelude::*;
use sloburn::engine::{Engine, Event, Settings, SloView, Written};
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::proto::{self, ResetHint, v2};
use sloburn::wire::{Batch, Limits, WireKey};

const START: Timestamp = Timestamp(1_790_000_000_000);

const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: api}
spec:
  slis:
    - name: errors
      events: {bad: 'requests_total{job="api",code="500"}', total: 'requests_total{job="api"}'}
    - {name: quick, latency: {histogram: 'latency_seconds{job="api"}', threshold: 250ms}}
    - {name: usual, latency: {histogram: 'latency_seconds{job="api"}', threshold: 1s}}
    # The classic series, counted for themselves.
    - name: counted
      events: {good: 'latency_seconds_bucket{job="api",le="1"}', total: 'latency_seconds_count{job="api"}'}
  slos:
    - {name: errors, sli: errors, objective: 99}
    - {name: quick, sli: quick, objective: 99}
    - {name: usual, sli: usual, objective: 99}
    - {name: counted, sli: counted, objective: 99}
"#;

struct Bench {
    engine: Engine,
    key: WireKey,
    now: Timestamp,
}

fn at(seconds: i64) -> Timestamp {
    START + Span::seconds(seconds)
}

fn services() -> Vec<Service> {
    let (services, report) = parse(&[Source::new("spec.yaml", SPEC)]);
    assert_eq!(report.errors(), 0);
    services
}

fn settings() -> Settings {
    let key = WireKey::new(std::array::from_fn(|i| (i * 167 + 13) as u8));
    Settings { key, limits: Limits::default(), series_limit: 1_000 }
}

impl Bench {
    fn new() -> Self {
        Self { engine: Engine::new(&services(), settings(), START), key: settings().key, now: START }
    }

    /// Sends series of one time, in remote write 2.0.
    fn send(&mut self, now: Timestamp, fill: impl FnOnce(&mut v2::Builder)) -> Written {
        let mut builder = v2::Builder::default();
        fill(&mut builder);
        let mut batch = Batch::new();
        batch.decode_v2(&v2::encode(&builder.finish()), &Limits::default(), &self.key).unwrap();
        self.now = self.now.max(now);
        self.engine.step(Event::Write(&batch), self.now).written
    }

    /// One sample of `requests_total`.
    fn count(&mut self, instance: &str, code: &str, time: i64, value: f64, start: Option<i64>) {
        let written = self.send(at(time), |builder| {
            let labels = [("__name__", "requests_total"), ("code", code), ("instance", instance), ("job", "api")];
            let start_timestamp = start.map_or(0, |start| at(start).as_millis());
            builder.series(labels).samples.push(v2::Sample { value, timestamp: at(time).as_millis(), start_timestamp });
        });
        assert_eq!((written.samples, written.rejected.len()), (1, 0), "{written:?}");
    }

    fn histogram(&mut self, instance: &str, time: i64, histogram: proto::Histogram) -> Written {
        let histogram = proto::Histogram { timestamp: at(time).as_millis(), ..histogram };
        self.send(at(time), |builder| {
            let labels = [("__name__", "latency_seconds"), ("instance", instance), ("job", "api")];
            builder.series(labels).histograms.push(histogram);
        })
    }

    fn slo(&mut self, name: &str) -> Arc<SloView> {
        let now = self.now + sloburn::series::SETTLE + Span::seconds(11);
        self.engine.step(Event::Tick, now);
        let slos = self.engine.snapshot(now).slos;
        Arc::clone(slos.iter().find(|slo| slo.name == name).unwrap())
    }

    /// Bad and all events of the period.
    fn counts(&mut self, name: &str) -> (f64, f64) {
        let events = self.slo(name).budget.events;
        (events.bad, events.total)
    }
}

#[test]
fn births_by_start_timestamp() {
    // Scrapes of a target every 15 s, the first at 0.
    /// Instance, code, time, value, start.
    type Sample = (&'static str, &'static str, i64, f64, Option<i64>);
    let cases: [(&str, &[Sample], (f64, f64)); 9] = [
        ("the first scrape of all counts nothing", &[("a", "200", 0, 50.0, Some(-5))], (0.0, 0.0)),
        (
            "a series that began since the scrape before",
            &[("a", "200", 0, 50.0, Some(-90)), ("a", "500", 15, 3.0, Some(7))],
            (3.0, 3.0),
        ),
        (
            "one that is older, without a neighbour at its time",
            &[("a", "200", 0, 50.0, Some(-90)), ("a", "500", 15, 3.0, Some(-1))],
            (0.0, 0.0),
        ),
        (
            "one that is older, among live ones: absent in the scrape before, as without start timestamps",
            &[("a", "200", 0, 50.0, Some(-90)), ("a", "200", 15, 51.0, Some(-90)), ("a", "500", 15, 3.0, Some(-1))],
            (3.0, 4.0),
        ),
        (
            "a target of a watched job that has just started",
            &[("a", "200", 0, 50.0, Some(-90)), ("b", "200", 20, 8.0, Some(12)), ("b", "500", 20, 2.0, Some(14))],
            (2.0, 10.0),
        ),
        (
            "a target that was there before its job was watched",
            &[("a", "200", 0, 50.0, Some(-90)), ("b", "200", 20, 8.0, Some(-1))],
            (0.0, 0.0),
        ),
        (
            "a target that nobody scraped for ten minutes",
            &[("a", "200", 0, 50.0, None), ("b", "200", 900, 8.0, Some(300))],
            (0.0, 0.0),
        ),
        (
            "a restart hidden by a fast counter",
            &[("a", "200", 0, 50.0, Some(-90)), ("a", "200", 15, 70.0, Some(3)), ("a", "200", 30, 75.0, Some(3))],
            (0.0, 75.0),
        ),
        (
            "a sample older than the birth takes it back",
            &[("a", "200", 0, 1.0, None), ("a", "500", 30, 5.0, Some(20)), ("a", "500", 25, 3.0, Some(20))],
            (5.0, 5.0),
        ),
    ];
    for (case, samples, expected) in cases {
        let mut bench = Bench::new();
        for &(instance, code, time, value, start) in samples {
            bench.count(instance, code, time, value, start);
        }
        assert_eq!(bench.counts("errors"), expected, "{case}");
    }
}

#[test]
fn written_counts_what_was_kept() {
    let mut bench = Bench::new();
    let sample = |seconds: i64| v2::Sample { value: 1.0, timestamp: at(seconds).as_millis(), start_timestamp: 0 };
    let mut native = Observed::default().message(Form::Exponential(3));
    native.timestamp = at(0).as_millis();
    let written = bench.send(at(0), |builder| {
        let known = builder.series([("__name__", "requests_total"), ("job", "api")]);
        known.samples.extend([sample(0), sample(1)]);
        known.exemplars.push(vec![1, 2, 3]);
        builder.series([("__name__", "ignored")]).histograms.extend([native.clone(), native.clone()]);
        builder.series([("__name__", "latency_seconds"), ("job", "api")]).histograms.push(native.clone());
        builder.series([("job", "nameless")]).samples.push(sample(0));
        builder.series([("__name__", "requests_total"), ("job", "empty")]);
        for references in [vec![1, 2, 3], vec![1, 999]] {
            let series = builder.series([]);
            (series.labels_refs, series.samples) = (references, vec![sample(0)]);
        }
        let gauge = proto::Histogram { reset_hint: ResetHint::Gauge.into(), ..native.clone() };
        let invalid = proto::Histogram { schema: 9, ..native.clone() };
        let future = proto::Histogram { timestamp: at(3_600).as_millis(), ..native.clone() };
        let series = builder.series([("__name__", "latency_seconds"), ("job", "api")]);
        series.histograms.extend([gauge, invalid, future]);
    });
    assert_eq!((written.samples, written.histograms, written.exemplars), (2, 3, 1));
    let reasons: Vec<_> = written.rejected.iter().map(|(reason, r)| (*reason, r.samples, r.example.as_str())).collect();
    insta::assert_debug_snapshot!(reasons);
}

#[test]
fn classic_and_native_histograms_are_one() {
    let forms: [(&str, &[&[Form]]); 6] = [
        ("classic only", &[&[Form::Classic]]),
        ("native only", &[&[Form::Exponential(3)]]),
        ("both", &[&[Form::Classic, Form::Exponential(3)]]),
        ("both, the native one first", &[&[Form::Exponential(3), Form::Classic]]),
        (
            "the native one switched on, and off again",
            &[&[Form::Classic], &[Form::Classic, Form::Custom], &[Form::Classic]],
        ),
        ("from one to the other", &[&[Form::Exponential(3)], &[Form::Exponential(3), Form::Classic], &[Form::Classic]]),
    ];
    for (case, phases) in forms {
        let mut bench = Bench::new();
        let mut observed = Observed::default();
        observed.add(&[0.1; 7]);
        let mut scrape = 0;
        let mut classic_from = None;
        for (i, phase) in phases.iter().enumerate() {
            if let Some(before) = i.checked_sub(1).map(|i| phases[i])
                && before.iter().any(|form| !matches!(form, Form::Classic))
                && phase.iter().all(|form| matches!(form, Form::Classic))
            {
                // The sender says that the native series has ended.
                bench.histogram("a", scrape * 15 - 1, observed::stale());
            }
            for _ in 0..4 {
                for form in *phase {
                    let written = observed.send(&mut bench, scrape * 15, *form);
                    assert!(written.rejected.is_empty(), "{case}: {written:?}");
                }
                if phase.iter().any(|form| matches!(form, Form::Classic)) {
                    classic_from.get_or_insert(scrape);
                }
                scrape += 1;
                observed.add(&[0.1, 0.2, 0.3, 2.0]);
            }
        }
        let intervals = (scrape - 1) as f64;
        assert_eq!(bench.counts("quick"), (2.0 * intervals, 4.0 * intervals), "{case}");
        assert_eq!(bench.counts("usual"), (intervals, 4.0 * intervals), "{case}");
        let classic = classic_from.map_or(0.0, |from| (scrape - 1 - from) as f64);
        assert_eq!(bench.counts("counted"), (classic, 4.0 * classic), "{case}: an SLI on the buckets is not affected");
    }
}

#[test]
fn a_newborn_native_histogram_counts_from_zero() {
    for both in [false, true] {
        let mut bench = Bench::new();
        let mut observed = Observed::default();
        bench.count("a", "200", 0, 1.0, None);
        observed.add(&[0.1, 0.5]);
        observed.started = Some(at(20));
        let mut form = vec![Form::Exponential(2)];
        if both {
            form.insert(0, Form::Classic);
        }
        for time in [30, 45] {
            for form in &form {
                observed.send(&mut bench, time, *form);
            }
            observed.add(&[3.0]);
        }
        assert_eq!(bench.counts("quick"), (2.0, 3.0), "both: {both}");
    }
}

#[test]
fn a_restart_or_a_reload_between_two_histograms_loses_nothing() {
    for reload in [false, true] {
        let mut bench = Bench::new();
        let mut observed = Observed::default();
        observed.add(&[0.1; 9]);
        for scrape in 0..6 {
            for form in [Form::Classic, Form::Exponential(2)] {
                observed.send(&mut bench, scrape * 15, form);
            }
            observed.add(&[0.1, 0.1, 0.5]);
            if reload {
                bench.engine.step(Event::Reload(&services()), bench.now);
            } else {
                bench.engine = Engine::restore(&services(), &settings(), &bench.engine.save()).unwrap();
            }
        }
        assert_eq!(bench.counts("quick"), (5.0, 15.0), "reload: {reload}");
        assert_eq!(bench.counts("counted"), (0.0, 15.0), "reload: {reload}");
    }
}

#[test]
fn a_gauge_or_a_contradiction_is_refused() {
    let mut bench = Bench::new();
    let mut observed = Observed::default();
    let first = observed.message(Form::Exponential(0));
    assert!(bench.histogram("a", 0, first.clone()).rejected.is_empty());
    assert!(bench.histogram("a", 0, first.clone()).rejected.is_empty(), "the same again");
    observed.add(&[1.0]);
    let other = observed.message(Form::Exponential(0));
    assert!(bench.histogram("a", 0, other.clone()).rejected.contains_key("duplicate_timestamp"));
    let gauge = proto::Histogram { reset_hint: ResetHint::Gauge.into(), ..other };
    assert!(bench.histogram("a", 15, gauge).rejected.contains_key("gauge_histogram"));
    assert_eq!(bench.counts("quick"), (0.0, 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Any observations, restarts, resolutions and lateness of up to two scrapes: every event once.
    #[test]
    fn every_observation_counts_once(
        scrapes in prop::collection::vec((prop::collection::vec(0.01_f64..4.0, 0..6), 0_i32..4, 0_u8..8), 2..14),
        lateness in prop::collection::vec(0_usize..3, 14),
        floats in any::<bool>(),
    ) {
        let (mut observed, mut expected) = (Observed::default(), (0.0, 0.0, 0.0));
        observed.floats = floats;
        let mut messages = Vec::new();
        for (i, (values, schema, dice)) in scrapes.into_iter().enumerate() {
            if dice == 0 && i > 0 {
                observed = Observed { started: Some(at(i as i64 * 15 - 7)), floats, ..Observed::default() };
            }
            observed.add(&values);
            if i > 0 {
                expected.0 += values.iter().filter(|value| **value > 0.25).count() as f64;
                expected.1 += values.iter().filter(|value| **value > 1.0).count() as f64;
                expected.2 += values.len() as f64;
            }
            messages.push((i, observed.message(Form::Exponential(schema))));
        }
        messages.sort_by_key(|(i, _)| i + lateness[*i]);
        let mut bench = Bench::new();
        for (i, message) in messages {
            let written = bench.histogram("a", i as i64 * 15, message);
            prop_assert_eq!((written.histograms, written.rejected.len()), (1, 0));
        }
        prop_assert_eq!(bench.counts("quick"), (expected.0, expected.2));
        prop_assert_eq!(bench.counts("usual"), (expected.1, expected.2));
    }
}
