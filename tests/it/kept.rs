//! What the engine has found out of a batch spares the store its own look, and changes nothing of what is kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sloburn::engine::{Engine, Event, HaPairs, Settings};
use sloburn::promql::{Selection, SeriesView, Storage};
use sloburn::series::Findings;
use sloburn::spec::{Source, parse};
use sloburn::store::{self, Store};
use sloburn::types::{METRIC_NAME, Matcher, Selector, Span, Timestamp};
use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1, v2};
use sloburn::wire::{Batch, Limits, Protocol, WireKey};

const SPEC: &str = "
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis:
    - {name: errors, events: {bad: 'requests_total{code=~\"5..\"}', total: 'requests_total{job=\"shop\"}'}}
  slos:
    - {name: availability, sli: errors, objective: 99.9}
";
const START: Timestamp = Timestamp(1_790_000_000_000);
const LIVES: u64 = 60;
const STEPS: usize = 120;

type Series = Vec<(String, String)>;
type Kept = BTreeMap<String, Vec<(i64, u64)>>;

fn kept(store: &Store) -> Kept {
    let selection = Selection { matchers: &[], after: Timestamp::MIN, until: Timestamp(i64::MAX) };
    let mut kept = Kept::new();
    let mut visit = |series: SeriesView<'_>| {
        let floats = series.floats.iter().map(|float| (float.at.0, float.value.to_bits())).collect();
        assert_eq!(kept.insert(series.labels.to_string(), floats), None, "one series of these labels");
        ControlFlow::Continue(())
    };
    store.select(&selection, &mut visit).unwrap();
    kept
}

/// Series of a few label sets, in various spellings.
fn series(rng: &mut SmallRng) -> Series {
    let name = ["requests_total", "requests_total", "up", "other"][rng.random_range(0..4)];
    let mut labels = vec![(METRIC_NAME.to_owned(), name.to_owned())];
    for (label, values) in [("code", ["200", "500", ""]), ("instance", ["a", "b", "c"]), ("job", ["shop", "shop", "x"])]
    {
        labels.push((label.to_owned(), values[rng.random_range(0..3)].to_owned()));
    }
    let pod = rng.random_range(0..6);
    labels.push(("pod".to_owned(), "x".repeat(pod * 30)));
    if rng.random_ratio(1, 5) {
        labels.swap(1, 3);
    }
    labels
}

fn body(protocol: Protocol, all: &[(Series, i64, f64)]) -> Vec<u8> {
    fn pairs(labels: &Series) -> impl Iterator<Item = (&str, &str)> {
        labels.iter().map(|(name, value)| (&**name, &**value))
    }
    match protocol {
        Protocol::V1 => {
            let timeseries = all.iter().map(|(labels, at, value)| TimeSeries::new(pairs(labels), &[(*at, *value)]));
            encode_v1(&WriteRequest { timeseries: timeseries.collect() })
        }
        Protocol::V2 => {
            let mut request = v2::Builder::default();
            for (labels, at, value) in all {
                let sample = v2::Sample { value: *value, timestamp: *at, start_timestamp: 0 };
                request.series(pairs(labels).filter(|(_, value)| !value.is_empty())).samples.push(sample);
            }
            v2::encode(&request.finish())
        }
    }
}

#[test]
fn the_store_keeps_the_same_whether_or_not_the_engine_has_looked_before() {
    for seed in 0..LIVES {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (services, report) = parse(&[Source::new("spec.yaml", SPEC)]);
        assert!(!report.has_errors(), "\n{}", report.render(false));
        let key = WireKey::new(std::array::from_fn(|place| (place * 7 + 1) as u8));
        // Some stores were made for another key.
        let store_key = if rng.random() { key.clone() } else { WireKey::new(std::array::from_fn(|place| place as u8)) };
        let limits = Limits::default();
        let settings = Settings { key: key.clone(), limits, series_limit: 1_000, ha: None };
        let mut engine = Engine::new(&services, settings, START);
        let matches = |name: &str| Selector::new(vec![Matcher::equal(METRIC_NAME, name)]);
        let slis = vec![
            Selector::new(vec![Matcher::equal(METRIC_NAME, "requests_total"), Matcher::equal("job", "shop")]),
            Selector::new(vec![Matcher::equal(METRIC_NAME, "requests_total"), Matcher::regex("code", "5..").unwrap()]),
        ];
        let parts = store::Settings { keeps_counted: true, ..store::Settings::new(store_key) };
        let [told, untold] = [parts.clone(), parts].map(|parts| Store::new(parts, &slis));
        let (mut now, mut batch) = (START, Batch::new());
        for step in 0..STEPS {
            now = now + Span::seconds(rng.random_range(1..120));
            let count = rng.random_range(1..25);
            let all: Vec<_> = (0..count).map(|_| (series(&mut rng), now.as_millis(), rng.random())).collect();
            let protocol = if rng.random() { Protocol::V1 } else { Protocol::V2 };
            batch.decode(protocol, &body(protocol, &all), &limits, &key).unwrap();
            engine.step(Event::Write(&batch), now);
            told.write(&batch, engine.findings(), now);
            untold.write(&batch, &Findings::default(), now);
            match rng.random_range(0..40) {
                0 => _ = engine.step(Event::Reload(&services), now),
                1 | 2 => {
                    let others = ["up", "other"].iter().filter(|_| rng.random()).map(|name| matches(name));
                    let selectors: Vec<Selector> = slis.iter().cloned().chain(others).collect();
                    for store in [&told, &untold] {
                        store.watch(&selectors);
                    }
                }
                3 => {
                    // Everything that is not sent meanwhile is forgotten.
                    now = now + Span::minutes(rng.random_range(10..200));
                    engine.step(Event::Tick, now);
                }
                _ => {}
            }
            for store in [&told, &untold] {
                store.expire(now);
            }
            assert_eq!(kept(&told), kept(&untold), "seed {seed}, step {step}");
        }
        assert_eq!(told.stats(), untold.stats(), "seed {seed}");
    }
}

#[test]
fn of_a_pair_of_senders_the_store_keeps_whom_the_engine_hears() {
    let (services, _) = parse(&[Source::new("spec.yaml", SPEC)]);
    let (key, limits, ha) = (WireKey::new([7; 192]), Limits::default(), Some(HaPairs::default()));
    let settings = Settings { key: key.clone(), limits, series_limit: 1_000, ha: ha.clone() };
    let mut engine = Engine::new(&services, settings, START);
    let parts = store::Settings { keeps_counted: true, ha, ..store::Settings::new(key.clone()) };
    let selector = Selector::new(vec![Matcher::equal(METRIC_NAME, "requests_total")]);
    let store = Store::new(parts, &[selector]);
    let mut batch = Batch::new();
    // The first one is silent after a minute; the other one is heard when it has been so for half a minute.
    for second in (0..150).step_by(15) {
        for (replica, after) in [("a", 0), ("b", 3)] {
            if replica == "a" && second >= 60 {
                continue;
            }
            let now = START + Span::seconds(second + after);
            let labels =
                [(METRIC_NAME, "requests_total"), ("__replica__", replica), ("cluster", "eu"), ("job", "shop")];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            batch.decode(Protocol::V1, &body(Protocol::V1, &[(labels, now.as_millis(), 1.0)]), &limits, &key).unwrap();
            engine.step(Event::Write(&batch), now);
            store.write(&batch, engine.findings(), now);
        }
    }
    let kept = kept(&store);
    let [(labels, floats)] = &kept.iter().collect::<Vec<_>>()[..] else { panic!("{kept:?}") };
    assert_eq!(*labels, "{__name__=\"requests_total\",cluster=\"eu\",job=\"shop\"}");
    let seconds: Vec<i64> = floats.iter().map(|(at, _)| (at - START.as_millis()) / 1_000).collect();
    assert_eq!(seconds, [0, 15, 30, 45, 78, 93, 108, 123, 138]);
}
