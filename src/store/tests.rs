//! The store against the list of all samples.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::promql::{STALE, Selection, Storage};
use crate::series::Found;
use crate::types::{METRIC_NAME, Matcher};
use crate::wire::Sample;

const KEY: WireKey = WireKey::new([7; crate::wire::WIRE_KEY_SIZE_BYTES]);
const START: i64 = 1_800_000_000_000;

fn settings() -> Settings {
    Settings { out_of_order_window: Span::minutes(1), ..Settings::new(KEY) }
}

fn selector(text: &str) -> Selector {
    crate::promql::Query::parse(text, &crate::promql::ParseLimits::default()).unwrap().needed().remove(0).selector
}

fn sample(at: i64, value: f64) -> Sample {
    Sample { timestamp: Timestamp(at), value }
}

/// Labels and samples of a series.
type Sent<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn batch(series: &[Sent<'_>]) -> Batch {
    let mut batch = Batch::new();
    for (labels, samples) in series {
        let samples: Vec<Sample> = samples.iter().map(|(at, value)| sample(*at, *value)).collect();
        batch.push(&KEY, labels.iter().copied(), &samples);
    }
    batch
}

/// Writes as the engine passes batches on.
fn write(store: &Store, known: &mut BTreeMap<u128, u32>, batch: &Batch, now: i64) {
    let mut findings = Findings::default();
    findings.begin(batch.series().len(), batch.histogram_series().len());
    for (source, series) in (0..).zip(batch.series()) {
        let next = known.len() as u32;
        findings.set(source, Found::at(*known.entry(series.wire_hash).or_insert(next)));
    }
    store.write(batch, &findings, Timestamp(now));
}

/// Of somebody who knows nothing.
fn write_unknown(store: &Store, batch: &Batch, now: i64) {
    store.write(batch, &Findings::default(), Timestamp(now));
}

type Seen = Vec<(String, Vec<(i64, u64)>)>;

fn select(store: &Store, matchers: &[Matcher], after: i64, until: i64) -> Seen {
    let mut found = Vec::new();
    let selection = Selection { matchers, after: Timestamp(after), until: Timestamp(until) };
    let mut visit = |series: crate::promql::SeriesView<'_>| {
        let floats = series.floats.iter().map(|s| (s.at.0, s.value.to_bits())).collect();
        found.push((series.labels.to_string(), floats));
        ControlFlow::Continue(())
    };
    store.select(&selection, &mut visit).unwrap();
    found
}

fn everything(store: &Store) -> Seen {
    select(store, &[], i64::MIN, i64::MAX)
}

#[test]
fn only_what_is_selected_is_kept() {
    let store = Store::new(settings(), &[selector("up{job=\"a\"}"), selector("{__name__=~\"req_.*\"}")]);
    let up_a = [(METRIC_NAME, "up"), ("job", "a")];
    let batch = batch(&[
        (&up_a, &[(START, 1.0)]),
        (&[(METRIC_NAME, "up"), ("job", "b")], &[(START, 1.0)]),
        (&[("job", "b"), (METRIC_NAME, "req_total")], &[(START, 1.0)]),
        (&[("job", "a")], &[(START, 1.0)]),
    ]);
    let mut known = BTreeMap::new();
    for _ in 0..2 {
        write(&store, &mut known, &batch, START);
    }
    let names: Vec<String> = everything(&store).into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(names, ["{__name__=\"req_total\",job=\"b\"}", "{__name__=\"up\",job=\"a\"}"]);
    let stats = store.stats();
    assert_eq!((stats.series, stats.floats, stats.duplicates), (2, 2, 2));
    // Another spelling of the same labels is the same series.
    let mut other = up_a;
    other.reverse();
    write(&store, &mut known, &self::batch(&[(&other, &[(START + 1, 2.0)])]), START);
    assert_eq!(select(&store, selector("up").matchers(), 0, i64::MAX)[0].1.len(), 2);
    // Other selectors: what there is stays, and new samples are judged anew.
    store.watch(&[selector("up{job=\"b\"}")]);
    write(&store, &mut known, &batch, START);
    assert_eq!(store.stats().series, 3);
}

#[test]
fn time_and_window_are_bounds() {
    let store = Store::new(settings(), &[selector("m")]);
    let labels = [(METRIC_NAME, "m")];
    let mut known = BTreeMap::new();
    let mut write = |at: i64, value: f64| write(&store, &mut known, &batch(&[(&labels, &[(at, value)])]), START);
    write(START, 1.0);
    write(START - 3_600_001, 0.0);
    write(START + 600_001, 0.0);
    write(START - 60_001, 0.0);
    write(START - 60_000, 2.0);
    write(START - 60_000, 3.0);
    write(START, STALE);
    let stats = store.stats();
    assert_eq!((stats.floats, stats.untimely, stats.late, stats.duplicates), (2, 2, 1, 2));
    assert_eq!(everything(&store)[0].1, [(START - 60_000, 2.0_f64.to_bits()), (START, 1.0_f64.to_bits())]);
    store.expire(Timestamp(START + 3_600_000));
    assert_eq!(store.stats().series, 1);
    store.expire(Timestamp(START + 3_600_001));
    let stats = store.stats();
    assert_eq!((stats.series, stats.used_bytes, stats.expired), (0, 0, 2));
    assert!(store.label_names().is_empty());
    // Its wire key does not stand for the place any more.
    write(START, 9.0);
    assert_eq!(everything(&store).len(), 1);
}

#[test]
fn places_are_used_again_and_no_wire_key_points_there() {
    let store = Store::new(settings(), &[selector("m")]);
    let (mut now, mut known) = (START, BTreeMap::new());
    for round in 0..40_i64 {
        // Each hour a series comes and goes; every third is one that was there before.
        let id = (round % 3 * round).to_string();
        write(&store, &mut known, &batch(&[(&[(METRIC_NAME, "m"), ("id", &id)], &[(now, round as f64)])]), now);
        assert_eq!(everything(&store).iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [1]);
        now += 3_660_000;
        store.expire(Timestamp(now));
    }
    assert_eq!(store.0.lock_intake().roster().places(), 1, "places for one series at a time");
}

/// Nobody looks at most of them, and they go as they came.
#[test]
fn series_that_nobody_has_looked_at_are_found_and_forgotten_as_others() {
    let store = Store::new(settings(), &[selector("m")]);
    let mut known = BTreeMap::new();
    let mut write = |ids: std::ops::Range<i64>, at: i64, now: i64| {
        for id in ids {
            let (id, job) = (id.to_string(), format!("job-{}", id / 7));
            let labels = [(METRIC_NAME, "m"), ("id", &*id), ("job", &*job)];
            write(&store, &mut known, &batch(&[(&labels, &[(at, 1.0)])]), now);
        }
    };
    let hour = 3_600_000;
    write(0..100, START, START);
    // Of these all samples are too old.
    write(100..120, START - hour - 1, START);
    write(120..150, START + hour, START + hour);
    assert_eq!(store.stats().series, 150);
    store.expire(Timestamp(START + hour));
    assert_eq!((store.stats().series, store.stats().expired), (130, 0), "the samples of 100 are an hour old");
    store.expire(Timestamp(START + hour + 1));
    assert_eq!((store.stats().series, store.stats().expired), (30, 100));
    let found = everything(&store);
    assert_eq!(found.len(), 30);
    assert_eq!((store.label_values("id").len(), store.label_values("job").len()), (30, 5));
    // Places of those that are gone, in another order.
    write(200..260, START + hour, START + hour + 1);
    assert_eq!(store.label_values("id").len(), 90);
    assert_eq!(
        select(&store, selector("m{id=\"231\"}").matchers(), 0, i64::MAX)[0].1,
        [(START + hour, 1.0_f64.to_bits())]
    );
    store.expire(Timestamp(START + 3 * hour));
    assert_eq!((store.stats().series, store.stats().used_bytes, everything(&store).len()), (0, 0, 0));
}

/// After a restart wire keys are hashed with the key of the state that was found, and our own series are not.
#[test]
fn a_series_is_the_same_under_another_key_of_wire_keys() {
    let store = Store::new(settings(), &[selector("m")]);
    let labels = [(METRIC_NAME, "m"), ("id", "1")];
    let other = WireKey::new(std::array::from_fn(|place| place as u8));
    let mut reversed = labels;
    reversed.reverse();
    for (at, labels) in [(START, labels), (START + 1, reversed)] {
        let mut batch = Batch::new();
        batch.push(&other, labels, &[sample(at, 1.0)]);
        write_unknown(&store, &batch, START);
    }
    store.append_own(&Labels::from_pairs(labels).unwrap(), Timestamp(START + 2), 1.0);
    assert_eq!(everything(&store).iter().map(|(_, samples)| samples.len()).collect::<Vec<_>>(), [3]);
}

#[test]
fn series_that_are_too_many_do_not_drive_out_the_others() {
    let limit_bytes = 200_000;
    let store = Store::new(Settings { limit_bytes, ..settings() }, &[selector("m")]);
    let mut known = BTreeMap::new();
    let mut scrape = |at: i64| {
        for id in 0..1_000 {
            let batch = batch(&[(&[(METRIC_NAME, "m"), ("id", &id.to_string())], &[(at, 1.0)])]);
            write(&store, &mut known, &batch, at);
        }
        store.stats()
    };
    let first = scrape(START);
    assert!(first.series > 200 && first.series < 1_000, "{first:?}");
    assert_eq!(first.refused_series as usize, 1_000 - first.series);
    for n in 1..20 {
        let stats = scrape(START + n * 15_000);
        assert_eq!((stats.series, stats.evicted, stats.refused_series), (first.series, 0, first.refused_series));
        assert_eq!(stats.floats, first.floats + n as u64 * first.series as u64);
    }
    // All of them have gone: then there is room for those that were left out.
    store.expire(Timestamp(START + 7_200_000));
    assert!(scrape(START + 7_200_000).refused_series > first.refused_series);
}

#[test]
fn over_the_limit_the_oldest_samples_go() {
    let limit_bytes = 40_000;
    let store = Store::new(Settings { limit_bytes, ..settings() }, &[selector("m")]);
    let (mut now, mut most) = (START, 0);
    for scrape in 0..3_000_i64 {
        for id in ["a", "b", "c", "d"] {
            let value = (scrape * 7_919 % 1_000_003) as f64 / 7.0;
            write_unknown(&store, &batch(&[(&[(METRIC_NAME, "m"), ("id", id)], &[(now, value)])]), now);
        }
        most = most.max(store.stats().used_bytes);
        now += 1_000;
    }
    let stats = store.stats();
    assert!(most <= limit_bytes, "{most}");
    assert!(stats.evicted > 0 && stats.series == 4, "{stats:?}");
    let found = everything(&store);
    let oldest: Vec<i64> = found.iter().map(|(_, samples)| samples[0].0).collect();
    let newest: Vec<i64> = found.iter().map(|(_, samples)| samples.last().unwrap().0).collect();
    assert!(newest.iter().all(|at| *at == now - 1_000));
    let apart = oldest.iter().max().unwrap() - oldest.iter().min().unwrap();
    assert!(apart <= 120_000, "all lose the same time, by whole chunks: {apart} ms apart");
    let kept: usize = found.iter().map(|(_, samples)| samples.len()).sum();
    assert_eq!(kept as u64 + stats.evicted, 12_000);
    // More series than there is room for: labels count, too.
    let long = "x".repeat(500);
    for id in 0..1_000 {
        let id = format!("{id}{long}");
        write_unknown(&store, &batch(&[(&[(METRIC_NAME, "m"), ("id", &id)], &[(now, 1.0)])]), now);
        assert!(store.stats().used_bytes <= limit_bytes);
    }
    assert!(store.stats().series < 40);
}

/// The engine says whom it listens to.
#[test]
fn of_two_replicas_one_is_kept() {
    let ha = Some(HaPairs { replica_label: "replica".into(), ..HaPairs::default() });
    let store = Store::new(Settings { ha, ..settings() }, &[selector("m")]);
    let labels = |replica| [(METRIC_NAME, "m"), ("cluster", "eu"), ("replica", replica)];
    for (number, found) in (0..).zip([Found::at(0), Found::UNHEARD, Found::at(0), Found::UNKNOWN]) {
        let replica = if found == Found::at(0) { "a" } else { "b" };
        let mut findings = Findings::default();
        findings.begin(1, 0);
        findings.set(0, found);
        store.write(&batch(&[(&labels(replica), &[(START + number, 1.0)])]), &findings, Timestamp(START));
    }
    let found = everything(&store);
    assert_eq!((found.len(), &*found[0].0), (1, "{__name__=\"m\",cluster=\"eu\"}"));
    assert_eq!(found[0].1.iter().map(|(at, _)| at - START).collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn our_own_series_need_no_selector() {
    let store = Store::new(settings(), &[]);
    let labels = Labels::new().with(METRIC_NAME, "job:rate5m").with("job", "a");
    store.append_own(&labels, Timestamp(START), 1.5);
    let histogram = Arc::new(FloatHistogram { count: 2.0, sum: 3.0, ..FloatHistogram::default() });
    store.append_own_histogram(&labels, Timestamp(START + 1), histogram);
    store.append_own_histogram(&labels, Timestamp(START), Arc::default());
    let mut seen = Vec::new();
    let selector = selector("job:rate5m");
    let selection =
        Selection { matchers: selector.matchers(), after: Timestamp(START - 1), until: Timestamp(START + 1) };
    let mut visit = |series: crate::promql::SeriesView<'_>| {
        seen.push((series.floats.len(), series.histograms.iter().map(|h| h.histogram.sum).collect::<Vec<_>>()));
        ControlFlow::Continue(())
    };
    store.select(&selection, &mut visit).unwrap();
    assert_eq!(seen, [(1, vec![3.0])]);
    assert!(store.newest(selector.matchers()).is_empty(), "the newest is a histogram");
}

#[test]
fn readers_and_a_writer_do_not_disturb_each_other() {
    let store = Store::new(settings(), &[selector("m")]);
    let writer = store.clone();
    let writing = std::thread::spawn(move || {
        for scrape in 0..500_i64 {
            let ids: Vec<String> = (0..20).map(|id| format!("{}", id + scrape / 100)).collect();
            let labels: Vec<[(&str, &str); 2]> = ids.iter().map(|id| [(METRIC_NAME, "m"), ("id", id)]).collect();
            let samples = [(START + scrape * 1_000, scrape as f64)];
            let series: Vec<Sent<'_>> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
            write_unknown(&writer, &batch(&series), START + scrape * 1_000);
        }
    });
    let mut reads = 0;
    while !writing.is_finished() || reads == 0 {
        for (_, samples) in select(&store, selector("m").matchers(), 0, i64::MAX) {
            assert!(samples.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1_000), "no gap, no disorder");
        }
        reads += 1;
    }
    writing.join().unwrap();
    assert_eq!(everything(&store).iter().map(|(_, samples)| samples.len()).sum::<usize>(), 10_000);
}

#[derive(Clone, Debug)]
struct Step {
    name: usize,
    job: usize,
    id: usize,
    back: i64,
    value: f64,
}

fn step() -> impl Strategy<Value = Step> {
    let back = prop_oneof![5 => Just(0_i64), 2 => 0_i64..120_000];
    (0_usize..3, 0_usize..3, 0_usize..4, back, -10.0..10.0).prop_map(|(name, job, id, back, value)| Step {
        name,
        job,
        id,
        back,
        value,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_query_finds_what_the_list_holds(steps in prop::collection::vec(step(), 1..300)) {
        let (names, jobs, ids) = (["a", "b", "c"], ["", "x", "y"], ["", "1", "2", "3"]);
        let store = Store::new(settings(), &[selector("{__name__=~\"a|b\"}"), selector("c{job!=\"x\"}")]);
        let mut list: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut now = START;
        for Step { name, job, id, back, value } in steps {
            now += 700;
            let pairs = [(METRIC_NAME, names[name]), ("job", jobs[job]), ("id", ids[id])];
            let at = now - back;
            write_unknown(&store, &batch(&[(&pairs, &[(at, value)])]), now);
            let labels = Labels::from_pairs(pairs).unwrap();
            if names[name] == "c" && jobs[job] == "x" {
                continue;
            }
            let samples = list.entry(labels).or_default();
            if samples.last_key_value().is_none_or(|(last, _)| last - at <= 60_000) {
                samples.entry(at).or_insert(value.to_bits());
            }
        }
        let (after, until) = (now - 100_000, now - 1_000);
        for text in ["a", "{job=\"x\"}", "{job!=\"x\",id=~\"1|2\"}", "{__name__=~\"a|c\",job=\"\"}", "b{id!~\"1.*\"}",
            "c{job=\"y\",id=\"3\"}", "nothing", "{__name__=~\".+\"}"] {
            let selector = selector(text);
            let expected: Seen = list
                .iter()
                .filter(|(labels, _)| selector.matches(*labels))
                .map(|(labels, samples)| {
                    let inside = samples.range(after + 1..=until).map(|(at, value)| (*at, *value)).collect::<Vec<_>>();
                    (labels.to_string(), inside)
                })
                .filter(|(_, samples)| !samples.is_empty())
                .collect();
            prop_assert_eq!(select(&store, selector.matchers(), after, until), expected, "{}", text);
        }
        let names: Vec<String> = list.keys().map(|labels| labels.get(METRIC_NAME).unwrap().to_owned()).collect();
        prop_assert_eq!(store.label_values(METRIC_NAME), names.into_iter().collect());
    }
}

/// Samples of one series after each other: how much later each is than the one before, and its value.
fn scrapes() -> impl Strategy<Value = Vec<Vec<(i64, f64)>>> {
    let one = prop::collection::vec((1_i64..20_000, 0.0..100.0), 0..200);
    prop::collection::vec(one, 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// A process that starts anew, and has its first samples before those of the one before are back, ends up with both.
    #[test]
    fn what_an_earlier_process_had_comes_back(before in scrapes(), after in scrapes(), from in 0_i64..2_000_000) {
        let settings = Settings { retention: Span::hours(3), ..settings() };
        let store = Store::new(settings, &[selector("m")]);
        let mut earlier = Earlier::new(&store, &[selector("m")], 1_000);
        let (mut known, mut expected) = (BTreeMap::new(), BTreeMap::<String, BTreeMap<i64, u64>>::new());
        let names = ["0", "1", "2", "3"];
        for (scrapes, first, is_before) in [(&before, START, true), (&after, START + from, false)] {
            for (name, steps) in names.iter().zip(scrapes) {
                let labels = [(METRIC_NAME, "m"), ("i", *name)];
                let mut at = first;
                for (by, value) in steps {
                    at += by;
                    let batch = batch(&[(&labels, &[(at, *value)]), (&[(METRIC_NAME, "other")], &[(at, 0.0)])]);
                    if is_before {
                        earlier.write(&batch, Timestamp(at));
                    } else {
                        write(&store, &mut known, &batch, at);
                    }
                    let series = expected.entry(format!("{{__name__=\"m\",i=\"{name}\"}}")).or_default();
                    series.entry(at).or_insert(value.to_bits());
                }
            }
        }
        let samples: usize = before.iter().map(Vec::len).sum();
        let series = before.iter().filter(|steps| !steps.is_empty()).count();
        prop_assert_eq!(earlier.join(), (series, samples as u64));
        let flat = |(labels, samples): (String, BTreeMap<i64, u64>)| (labels, samples.into_iter().collect::<Vec<_>>());
        let expected: Seen = expected.into_iter().map(flat).collect();
        prop_assert_eq!(everything(&store), expected.clone());
        // Nothing is lost sight of: all of it goes when its time has come.
        let newest = expected.iter().filter_map(|(_, samples)| samples.last()).map(|(at, _)| *at).max().unwrap_or(START);
        store.expire(Timestamp(newest + Span::hours(3).0 + 1));
        prop_assert_eq!((store.stats().series, store.stats().used_bytes), (0, 0));
    }
}

#[test]
fn of_a_pair_of_senders_one_comes_back() {
    let settings = Settings { ha: Some(crate::series::HaPairs::default()), ..settings() };
    let store = Store::new(settings, &[selector("m")]);
    let mut earlier = Earlier::new(&store, &[selector("m")], 1_000);
    for second in 0..10 {
        for (replica, late) in [("a", 0), ("b", 400)] {
            let labels = [(METRIC_NAME, "m"), ("__replica__", replica), ("cluster", "eu")];
            let at = START + 1_000 * second + late;
            earlier.write(&batch(&[(&labels, &[(at, 1.0)])]), Timestamp(at));
        }
    }
    assert_eq!(earlier.join(), (1, 10));
    let [(labels, samples)] = &everything(&store)[..] else { panic!("one series") };
    assert_eq!((labels.as_str(), samples.len()), ("{__name__=\"m\",cluster=\"eu\"}", 10));
}
