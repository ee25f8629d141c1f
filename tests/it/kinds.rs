//! Every kind of SLI, budget and period against a naive recomputation from raw samples, in whichever order and however
//! cut into requests they arrive.

use std::sync::Arc;

use proptest::prelude::*;
use sloburn::engine::{Engine, Event, Settings, SloView};
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Labels, METRIC_NAME, Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};

const START: Timestamp = Timestamp(1_790_000_000_000);
const INTERVAL: Span = Span::seconds(15);
/// After this nothing is held back any more.
const AFTER: Span = Span::seconds(20);

/// One sample: series, time, value.
type Raw = (usize, Timestamp, f64);

/// A service `api` with one SLI and one SLO of 90 %, of these fields.
fn service(sli: &str, slo: &str) -> Service {
    let text = format!(
        "apiVersion: sloburn/v1\nkind: Service\nmetadata: {{name: api}}\nspec:\n  slis:\n    - {{name: sli, {sli}}}\n  \
         slos:\n    - {{name: slo, sli: sli, objective: 90, {slo}}}\n"
    );
    let (mut services, report) = parse(&[Source::new("api.yaml", text)]);
    assert!(!report.has_errors(), "{}", report.render(false));
    services.remove(0)
}

/// Labels from `name{a="b",c="d"}`.
fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let pairs = rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').map(|(name, value)| (name, value.trim_matches('"'))).unwrap());
    Labels::from_pairs(pairs.chain([(METRIC_NAME, name)])).unwrap()
}

/// How samples arrive.
#[derive(Clone, Debug)]
struct Arrival {
    /// Of each sample, in turn.
    lateness: Vec<i64>,
    /// Samples that are sent once more.
    repeated: Vec<prop::sample::Index>,
    /// Samples to a request, in turn.
    cuts: Vec<usize>,
}

fn arrival(latest: i64) -> impl Strategy<Value = Arrival> {
    let lateness = prop::collection::vec(0..latest, 1..40);
    let repeated = prop::collection::vec(any::<prop::sample::Index>(), 0..5);
    (lateness, repeated, prop::collection::vec(1_usize..9, 1..10)).prop_map(|(lateness, repeated, cuts)| Arrival {
        lateness,
        repeated,
        cuts,
    })
}

impl Arrival {
    /// The samples in the order of their arrival, repetitions among them.
    fn order(&self, samples: &[Raw]) -> Vec<Raw> {
        let repeated = self.repeated.iter().map(|at| samples[at.index(samples.len())]);
        let all = samples.iter().copied().chain(repeated).enumerate();
        let late = |i: usize| self.lateness[i % self.lateness.len()];
        let mut order: Vec<_> = all.map(|(i, raw)| (raw.1.as_millis() + late(i), raw)).collect();
        order.sort_by_key(|(arrival, (n, at, _))| (*arrival, *at, *n));
        order.into_iter().map(|(_, raw)| raw).collect()
    }
}

/// All SLOs after these samples of `series`, at `AFTER` the last.
fn judged(service: &Service, series: &[&str], samples: &[Raw], arrival: &Arrival) -> Vec<Arc<SloView>> {
    let settings = Settings { key: WireKey::new([7; 192]), limits: Limits::default(), series_limit: 1_000 };
    let key = settings.key.clone();
    let mut engine = Engine::new(std::slice::from_ref(service), settings, START);
    let (order, mut now) = (arrival.order(samples), START);
    let mut rest = &order[..];
    for cut in arrival.cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (request, later) = rest.split_at((*cut).min(rest.len()));
        rest = later;
        let mut batch = Batch::new();
        for &(n, timestamp, value) in request {
            batch.push(&key, labels(series[n]).iter(), &[Sample { timestamp, value }]);
            now = now.max(timestamp);
        }
        let effects = engine.step(Event::Write(&batch), now);
        assert!(effects.written.rejected.is_empty(), "{:?}", effects.written);
    }
    let now = now + AFTER;
    engine.step(Event::Review, now);
    engine.snapshot(now).slos
}

/// Bad and total events of the period.
fn counted(slo: &SloView) -> (f64, f64) {
    (slo.budget.events.bad, slo.budget.events.total)
}

/// One sample of each series at each interval, unless left out.
fn scrapes(series: usize, most: usize) -> impl Strategy<Value = Vec<Vec<Option<u8>>>> {
    let one = prop::collection::vec(prop::option::weighted(0.9, 0_u8..6), 1..most);
    prop::collection::vec(one, series..=series)
}

fn at(scrape: usize) -> Timestamp {
    START + Span(INTERVAL.as_millis() * scrape as i64)
}

/// Samples of gauges: 5 stands for NaN.
fn gauges(scrapes: &[Vec<Option<u8>>]) -> Vec<Raw> {
    let value = |value: u8| if value == 5 { f64::NAN } else { f64::from(value) };
    let of = |(n, values): (usize, &Vec<Option<u8>>)| -> Vec<Raw> {
        let samples = values.iter().enumerate().filter_map(|(i, v)| Some((n, at(i), value((*v)?))));
        samples.collect()
    };
    scrapes.iter().enumerate().flat_map(of).collect()
}

/// Samples of counters that grow by these amounts, each from its own start.
fn counters(scrapes: &[Vec<Option<u8>>]) -> Vec<Raw> {
    let mut samples = Vec::new();
    for (n, grows) in scrapes.iter().enumerate() {
        let mut value = 100.0 * n as f64;
        for (i, grow) in grows.iter().enumerate() {
            value += f64::from(grow.unwrap_or(3));
            if grow.is_some() {
                samples.push((n, at(i), value));
            }
        }
    }
    samples
}

/// How much a counter grew from its first sample on.
fn growth(samples: &[Raw], series: usize) -> f64 {
    let values: Vec<f64> = samples.iter().filter(|(n, ..)| *n == series).map(|(_, _, value)| *value).collect();
    values.last().unwrap_or(&0.0) - values.first().unwrap_or(&0.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each sample counts once, however late and however often it arrives.
    #[test]
    fn every_sample_of_a_gauge_is_one_event(scrapes in scrapes(3, 20), arrival in arrival(400_000)) {
        let samples = gauges(&scrapes);
        prop_assume!(!samples.is_empty());
        let series = ["depth{instance=\"a\",q=\"1\"}", "depth{instance=\"a\",q=\"2\"}", "depth{instance=\"b\"}"];
        for (limit, good) in [("below: 2", 2.0), ("atMost: 1", 2.0)] {
            let service = service(&format!("gauge: {{metric: depth, {limit}}}"), "");
            let slos = judged(&service, &series, &samples, &arrival);
            let bad = samples.iter().filter(|(.., value)| value.is_nan() || *value >= good).count();
            prop_assert_eq!(counted(&slos[0]), (bad as f64, samples.len() as f64), "{}", limit);
        }
    }

    #[test]
    fn sums_add_up(scrapes in scrapes(4, 20), arrival in arrival(30_000)) {
        let samples = counters(&scrapes);
        prop_assume!(!samples.is_empty());
        // Each on a target of its own, so that no first value counts.
        let series = ["a{instance=\"a\"}", "b{instance=\"b\"}", "c{instance=\"c\"}", "d{instance=\"d\"}"];
        let slos = judged(&service("events: {bad: a - b, total: a + c + d}", ""), &series, &samples, &arrival);
        let [a, b, c, d] = [0, 1, 2, 3].map(|n| growth(&samples, n));
        let total = a + c + d;
        prop_assert_eq!(counted(&slos[0]), ((a - b).clamp(0.0, total), total));
        prop_assert_eq!(slos[0].budget.events.inconsistent, a < b || a - b > total);
    }
}
