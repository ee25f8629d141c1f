//! Every kind of SLI, budget and period against a naive recomputation from raw samples, in whichever order and however
//! cut into requests they arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sloburn::engine::{Engine, Event, GROUPS_LIMIT_COUNT, HaPairs, Settings, SloView};
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
    let settings = Settings { key: WireKey::new([7; 192]), limits: Limits::default(), series_limit: 1_000, ha: None };
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

    /// Each group for itself, and one without the label.
    #[test]
    fn groups_are_counted_apart(scrapes in scrapes(3, 20), arrival in arrival(400_000)) {
        let samples = gauges(&scrapes);
        prop_assume!(!samples.is_empty());
        let series = ["depth{instance=\"a\",q=\"1\"}", "depth{instance=\"b\",q=\"1\"}", "depth{instance=\"c\"}"];
        let service = service("gauge: {metric: depth, below: 2}", "groupBy: [q]");
        let slos = judged(&service, &series, &samples, &arrival);
        for (group, members) in [("", 2..3), ("1", 0..2)] {
            let bad = |sample: &&Raw| sample.2.is_nan() || sample.2 >= 2.0;
            let own: Vec<&Raw> = samples.iter().filter(|sample| members.contains(&sample.0)).collect();
            let expected = (own.iter().filter(|sample| bad(sample)).count() as f64, own.len() as f64);
            let slo = slos.iter().find(|slo| slo.group.get("q").unwrap_or_default() == group);
            prop_assert_eq!(slo.map_or((0.0, 0.0), |slo| counted(slo)), expected, "{:?}", group);
        }
    }

    /// A slice is bad by its own events, and counts as one, whenever they arrive.
    #[test]
    fn slices_are_judged_by_their_events(scrapes in scrapes(2, 40), arrival in arrival(900_000), ratios: bool) {
        let samples = gauges(&scrapes);
        prop_assume!(!samples.is_empty());
        let budgeting = if ratios { "{ratioTimeslices: {slice: 1m}}" } else { "{timeslices: {slice: 1m, target: 60}}" };
        let service = service("gauge: {metric: depth, below: 2}", &format!("budgeting: {budgeting}"));
        let slos = judged(&service, &["depth{instance=\"a\"}", "depth{instance=\"b\"}"], &samples, &arrival);
        let mut slices: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for (_, at, value) in &samples {
            let slice = slices.entry((at.as_millis() - 1) / 60_000).or_default();
            slice.0 += f64::from(value.is_nan() || *value >= 2.0);
            slice.1 += 1.0;
        }
        let of = |(bad, total): &(f64, f64)| if ratios { bad / total } else { f64::from(bad / total > 0.4) };
        let expected = slices.values().map(of).sum::<f64>();
        let (bad, total) = counted(&slos[0]);
        prop_assert!((bad - expected).abs() < 1e-9, "{} {}", bad, expected);
        prop_assert_eq!(total, slices.len() as f64);
    }

    /// By an interval, and from a reset on: both by the time of the data.
    #[test]
    fn what_is_left_out_is_counted_apart(scrapes in scrapes(2, 20), arrival in arrival(100_000), from in 0_i64..200) {
        let samples = gauges(&scrapes);
        prop_assume!(!samples.is_empty());
        let moment = |seconds: i64| (START + Span::seconds(seconds)).to_rfc3339();
        let exclude = format!("exclude: [{{from: {}, to: {}, reason: test}}]", moment(from), moment(from + 70));
        let resets = format!("resets: [{{at: {}, reason: test}}]", moment(from));
        let series = ["depth{instance=\"a\"}", "depth{instance=\"b\"}"];
        let run = |slo: &str| judged(&service("gauge: {metric: depth, below: 2}", slo), &series, &samples, &arrival);
        let after = |seconds: i64, at: Timestamp| at > START + Span::seconds(seconds);
        let count = |inside: &dyn Fn(Timestamp) -> bool| samples.iter().filter(|(_, at, _)| inside(*at)).count() as f64;
        let inside = |at| after(from, at) && !after(from + 70, at);
        let slo = &run(&exclude)[0];
        prop_assert_eq!(counted(slo).1, count(&|at| !inside(at)));
        prop_assert_eq!(slo.excluded.unwrap().total, count(&inside));
        let end = samples.iter().map(|(_, at, _)| *at).max().unwrap().max(START) + AFTER;
        let expected = if after(from, end) { count(&|at| after(from, at)) } else { samples.len() as f64 };
        prop_assert_eq!(counted(&run(&resets)[0]).1, expected);
    }

    /// A series that is 1 excludes what happens then, whichever of them arrives first.
    #[test]
    fn a_series_decides_whenever_it_arrives(scrapes in scrapes(3, 20), arrival in arrival(200_000)) {
        let samples = gauges(&scrapes);
        prop_assume!(!samples.is_empty());
        let series = ["depth{instance=\"a\"}", "upkeep{instance=\"b\"}", "upkeep{instance=\"c\"}"];
        let service = service("gauge: {metric: depth, below: 2}", "exclude: [{while: upkeep == 1, reason: test}]");
        let slos = judged(&service, &series, &samples, &arrival);
        let is_one = |n: usize, moment: Timestamp| {
            let before = samples.iter().filter(|(m, at, _)| *m == n && *at <= moment);
            let last = before.max_by_key(|(_, at, _)| *at);
            last.is_some_and(|(_, at, value)| *value == 1.0 && moment.since(*at) < Span::minutes(5))
        };
        let excluded = |at: Timestamp| is_one(1, at) || is_one(2, at);
        let own = || samples.iter().filter(|(n, ..)| *n == 0);
        let expected = own().filter(|(_, at, _)| !excluded(*at)).count() as f64;
        prop_assert_eq!(counted(&slos[0]).1, expected);
        prop_assert_eq!(slos[0].excluded.unwrap().total, own().count() as f64 - expected);
    }

    /// With `noData: bad` every whole slice of a silence of five minutes or more is a bad one.
    #[test]
    fn silence_is_bad(gaps in prop::collection::vec(prop_oneof![4 => 15_i64..20, 1 => 200_i64..1_500], 1..20)) {
        let mut at = START;
        let mut samples = vec![(0, at, 1.0)];
        for gap in gaps {
            at = at + Span::seconds(gap);
            samples.push((0, at, 1.0));
        }
        let service =
            service("probe: up", "noData: bad, budgeting: {timeslices: {slice: 1m, target: 50}}, period: 1d");
        let arrival = Arrival { lateness: vec![0], repeated: Vec::new(), cuts: vec![1] };
        let slos = judged(&service, &["up{instance=\"a\"}"], &samples, &arrival);
        let slice = |at: Timestamp| (at.as_millis() - 1).div_euclid(60_000);
        let with_events: std::collections::BTreeSet<i64> = samples.iter().map(|(_, at, _)| slice(*at)).collect();
        let silent = samples.windows(2).filter(|pair| pair[1].1.since(pair[0].1) >= Span::minutes(5));
        let silent: i64 = silent.map(|pair| slice(pair[1].1) - slice(pair[0].1) - 1).sum();
        let expected = (silent as f64, silent as f64 + with_events.len() as f64);
        prop_assert_eq!(counted(&slos[0]), expected);
    }
}

/// Two replicas scrape the same counter 7 s apart. One dies after a minute; the other one takes over, and what happened
/// in between counts once.
#[test]
fn replicas_are_never_summed() {
    let settings = Settings { key: WireKey::new([7; 192]), limits: Limits::default(), series_limit: 1_000, ha: None };
    let key = settings.key.clone();
    let service = service("events: {bad: 'c{code=\"500\"}', total: c}", "");
    let settings = Settings { ha: Some(HaPairs::default()), ..settings };
    let mut engine = Engine::new(std::slice::from_ref(&service), settings, START);
    // One request a second, every tenth fails.
    let counter = |second: i64, code: &str| if code == "500" { second / 10 } else { second - second / 10 } as f64;
    let scrape = |engine: &mut Engine, replica: &str, second: i64| {
        let mut batch = Batch::new();
        for code in ["200", "500"] {
            let series =
                format!("c{{cluster=\"eu\",__replica__=\"{replica}\",instance=\"a\",job=\"b\",code=\"{code}\"}}");
            let sample = Sample { timestamp: START + Span::seconds(second), value: counter(second, code) };
            batch.push(&key, labels(&series).iter(), &[sample]);
        }
        let written = engine.step(Event::Write(&batch), START + Span::seconds(second)).written;
        assert_eq!(written.samples, 2, "{written:?}");
    };
    for second in 0..300 {
        if second % 15 == 0 && second <= 60 {
            scrape(&mut engine, "a", second);
        }
        if second % 15 == 7 {
            scrape(&mut engine, "b", second);
        }
        // Back, with what it had kept to itself: nobody listens any more.
        if second == 200 {
            scrape(&mut engine, "a", 75);
        }
    }
    let now = START + Span::seconds(320);
    engine.step(Event::Review, now);
    let snapshot = engine.snapshot(now);
    // From 0 to 292 s, the last scrape of b.
    assert_eq!(counted(&snapshot.slos[0]), (29.0, 292.0));
    assert_eq!(snapshot.stats.series, 2);
    // Those of b at 7 to 82 s, and the late one of a.
    assert_eq!(snapshot.stats.replica_samples, 14);
}

/// A saved engine goes on as if nothing had been: groups, slices, signals and elections included.
#[test]
fn every_kind_of_state_survives_a_restart() {
    let slo = "groupBy: [q], calendar: {unit: week}, noData: bad, budgeting: {timeslices: {slice: 1m, target: 60}}, \
               exclude: [{while: upkeep, reason: test}], resets: [{at: 2026-09-21T13:40:00Z, reason: test}]";
    let service = service("gauge: {metric: depth, below: 2}", slo);
    let settings = Settings { key: WireKey::new([7; 192]), limits: Limits::default(), series_limit: 1_000, ha: None };
    let settings = Settings { ha: Some(HaPairs::default()), ..settings };
    let mut engine = Engine::new(std::slice::from_ref(&service), settings.clone(), START);
    let series = ["depth{instance=\"a\",q=\"2\"}", "depth{instance=\"b\",q=\"1\"}", "upkeep{instance=\"c\"}"];
    let scrape = |engine: &mut Engine, i: usize| {
        let mut batch = Batch::new();
        for (n, series) in series.iter().enumerate() {
            let labels = labels(series).with("cluster", "eu").with("__replica__", "a");
            let value = f64::from((i / (n + 3)) as u8 % 3);
            batch.push(&settings.key, labels.iter(), &[Sample { timestamp: at(i), value }]);
        }
        engine.step(Event::Write(&batch), at(i));
    };
    (0..30).for_each(|i| scrape(&mut engine, i));
    let saved = engine.save();
    let mut restored = Engine::restore(std::slice::from_ref(&service), &settings, &saved).unwrap();
    assert_eq!(restored.save(), saved);
    // Time without samples, and some more.
    for i in 60..90 {
        scrape(&mut engine, i);
        scrape(&mut restored, i);
    }
    assert_eq!(restored.save(), engine.save());
    let slos = engine.snapshot(at(90)).slos;
    assert_eq!(slos.len(), 2);
    let values = slos[0].values.unwrap();
    assert_eq!((values.count, values.p50.round(), values.max.round()), (120, 1.0, 2.0), "of both gauges");
}

/// The limit of groups: one too many is refused and counted, until another has been silent for a whole period.
#[test]
fn groups_are_bounded() {
    let settings = Settings { key: WireKey::new([7; 192]), limits: Limits::default(), series_limit: 10_000, ha: None };
    let key = settings.key.clone();
    let service = service("gauge: {metric: depth, below: 2}", "groupBy: [q], period: 1d");
    let mut engine = Engine::new(std::slice::from_ref(&service), settings, START);
    let mut write = |names: std::ops::Range<usize>, at: Timestamp| {
        let mut batch = Batch::new();
        for name in names {
            let labels = Labels::new().with(METRIC_NAME, "depth").with("q", &name.to_string());
            batch.push(&key, labels.iter(), &[Sample { timestamp: at, value: 1.0 }]);
        }
        engine.step(Event::Write(&batch), at);
        let snapshot = engine.snapshot(at);
        let groups: Vec<String> = snapshot.slos.iter().map(|slo| slo.title()).collect();
        (snapshot.stats.groups_refused_series, groups)
    };
    assert_eq!(write(0..0, START).1, ["api/slo"], "no group yet");
    let (refused, groups) = write(0..GROUPS_LIMIT_COUNT + 2, START + INTERVAL);
    assert_eq!((refused, groups.len()), (2, GROUPS_LIMIT_COUNT));
    let one_too_many = format!("api/slo{{q=\"{}\"}}", GROUPS_LIMIT_COUNT + 1);
    assert!(!groups.contains(&one_too_many));
    let (refused, groups) = write(GROUPS_LIMIT_COUNT + 1..GROUPS_LIMIT_COUNT + 2, START + Span::hours(26));
    assert_eq!((refused, groups.len()), (2, GROUPS_LIMIT_COUNT));
    assert!(groups.contains(&one_too_many));
}
