//! Known answers for every rule of Prometheus' about rules.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;

use super::*;
use crate::alert::AlertState::{Firing, Pending, Resolved};
use crate::promql::{FloatSample, Selection, SeriesView, StorageError, is_stale};
use crate::spec::{RuleGroup, Source, read};
use crate::types::METRIC_NAME;

const MINUTE: i64 = 60_000;

/// Series of floats that refuse what is out of order.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Arc<Labels>, Vec<FloatSample>>>);

impl Storage for Memory {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        for (labels, floats) in &*self.0.lock().unwrap() {
            let matches = selection.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()));
            let from = floats.partition_point(|sample| sample.at <= selection.after);
            let to = floats.partition_point(|sample| sample.at <= selection.until);
            let view = SeriesView { labels, floats: &floats[from..to], float_starts: &[], histograms: &[] };
            if matches && from < to && visit(view).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl RuleStore for Memory {
    fn append(&self, labels: &Arc<Labels>, at: Timestamp, value: &Value) -> Result<(), AppendError> {
        let Value::Float(value) = *value else { panic!("a float") };
        let mut series = self.0.lock().unwrap();
        let floats = series.entry(Arc::clone(labels)).or_default();
        match floats.last() {
            Some(last) if last.at > at => Err(AppendError::OutOfOrder),
            Some(last) if last.at == at && last.value.to_bits() == value.to_bits() => Ok(()),
            Some(last) if last.at == at => Err(AppendError::Duplicate),
            _ => {
                floats.push(FloatSample { at, value });
                Ok(())
            }
        }
    }
}

impl Memory {
    fn put(&self, series: &str, minute: i64, value: f64) {
        self.append(&Arc::new(labels(series)), Timestamp(minute * MINUTE), &Value::Float(value)).unwrap();
    }

    /// The samples of a series as `minute:value`, `S` for a stale marker.
    fn samples(&self, series: &str) -> String {
        let series = self.0.lock().unwrap().get(&labels(series)).cloned().unwrap_or_default();
        let text = |sample: &FloatSample| {
            let value = if is_stale(sample.value) { "S".to_owned() } else { sample.value.to_string() };
            format!("{}:{value}", sample.at.0 as f64 / MINUTE as f64)
        };
        series.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().map(ToString::to_string).collect()
    }
}

/// `name{label="value",...}` as a query would select it.
fn labels(series: &str) -> Labels {
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name, value.trim_matches('"')));
    Labels::from_pairs(pairs.chain([(METRIC_NAME, name)])).unwrap()
}

fn groups(text: &str) -> Vec<RuleGroup> {
    let (specs, report) = read(&[Source::new("rules.yaml", text)]);
    assert!(!report.has_errors(), "{}", report.render(false));
    specs.groups
}

fn setting() -> Setting {
    let mut setting = Setting::new("http://slo.example/".parse().unwrap());
    setting.external_labels.set("cluster", "eu");
    setting
}

/// One group, evaluated at whole minutes.
struct Bench {
    store: Memory,
    group: Group,
    setting: Setting,
}

impl Bench {
    fn new(text: &str) -> Self {
        Self::with(text, false)
    }

    fn with(text: &str, restores: bool) -> Self {
        let setting = setting();
        let group = Group::new(&groups(text)[0], &setting, Timestamp(0), restores);
        Self { store: Memory::default(), group, setting }
    }

    /// The alerts that changed, as `A{...} firing`.
    fn at(&mut self, minute: i64) -> Vec<(String, AlertState)> {
        let ground = Ground { store: &self.store, setting: &self.setting, should_stop: &|| false };
        let changed = self.group.evaluate(Timestamp(minute * MINUTE), &ground);
        changed.iter().map(|alert| (alert.labels.to_string(), alert.state)).collect()
    }

    fn states(&self) -> Vec<AlertState> {
        self.group.alerts().map(|alert| alert.state).collect()
    }

    fn error(&self) -> Option<String> {
        self.group.view().rules.iter().find_map(|rule| rule.last_error.clone())
    }
}

#[test]
fn a_later_rule_of_the_group_sees_what_an_earlier_one_gave() {
    let mut bench = Bench::new(
        "groups: [{name: g, rules: [{record: 'a:b', expr: x * 2, labels: {l: v, gone: ''}}, {record: 'c:d', expr: 'a:b + 1'}]}]",
    );
    bench.store.put("x{gone=\"1\",kept=\"2\"}", 1, 4.0);
    bench.at(1);
    assert_eq!(bench.store.samples("a:b{kept=\"2\",l=\"v\"}"), "1:8");
    assert_eq!(bench.store.samples("c:d{kept=\"2\",l=\"v\"}"), "1:9");
    let view = bench.group.view();
    assert!(view.rules.iter().all(|rule| rule.health == Health::Good && rule.evaluations == 1));
}

#[test]
fn an_earlier_rule_sees_what_a_later_one_gave_at_the_slot_before() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: b, expr: a}, {record: a, expr: vector(time())}]}]");
    bench.at(1);
    assert_eq!(bench.store.samples("b"), "");
    bench.at(2);
    assert_eq!((bench.store.samples("a"), bench.store.samples("b")), ("1:60 2:120".to_owned(), "2:60".to_owned()));
}

#[test]
fn scalars_are_samples_without_labels_and_ranges_are_errors() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: s, expr: '7'}]}]");
    bench.at(1);
    assert_eq!(bench.store.samples("s"), "1:7");
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: s, expr: 'x[5m]'}]}]");
    bench.at(1);
    assert_eq!(bench.error().unwrap(), "rule result is not a vector or scalar");
}

#[test]
fn a_series_that_vanishes_gets_a_stale_marker_once() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: r, expr: x > 1}]}]");
    for (minute, value) in [(1, 2.0), (2, 0.0), (3, 0.0), (4, 5.0)] {
        bench.store.put("x", minute, value);
        bench.at(minute);
    }
    assert_eq!(bench.store.samples("r"), "1:2 2:S 4:5");
}

#[test]
fn a_failed_evaluation_marks_nothing_stale_and_says_why() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: r, expr: 'x * on (a) y'}]}]");
    bench.store.put("x{a=\"1\"}", 1, 2.0);
    bench.store.put("y{a=\"1\"}", 1, 2.0);
    bench.at(1);
    bench.store.put("y{a=\"1\",b=\"2\"}", 2, 2.0);
    bench.at(2);
    assert!(bench.error().unwrap().starts_with("found duplicate series for the match group"), "{:?}", bench.error());
    let view = &bench.group.view().rules[0];
    assert_eq!((view.health, view.failures, view.evaluations), (Health::Bad, 1, 2));
    assert_eq!(bench.store.samples("r{a=\"1\"}"), "1:4");
}

#[test]
fn two_series_that_become_one_are_an_error() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{record: r, expr: x, labels: {a: one}}]}]");
    bench.store.put("x{a=\"1\"}", 1, 1.0);
    bench.store.put("x{a=\"2\"}", 1, 1.0);
    bench.at(1);
    let error = "vector contains metrics with the same labelset after applying rule labels";
    assert_eq!(bench.error().unwrap(), error);
    let mut bench = Bench::new("groups: [{name: g, rules: [{alert: A, expr: x, labels: {a: one}}]}]");
    bench.store.put("x{a=\"1\"}", 1, 1.0);
    bench.store.put("x{a=\"2\"}", 1, 1.0);
    assert!(bench.at(1).is_empty());
    let error = "vector contains metrics with the same labelset after applying alert labels";
    assert_eq!(bench.error().unwrap(), error);
}

#[test]
fn a_limit_refuses_the_whole_result_and_drops_all_alerts() {
    let mut bench = Bench::new("groups: [{name: g, limit: 1, rules: [{record: r, expr: x}]}]");
    bench.store.put("x{a=\"1\"}", 1, 1.0);
    bench.store.put("x{a=\"2\"}", 1, 1.0);
    bench.at(1);
    assert_eq!(bench.error().unwrap(), "exceeded limit of 1 with 2 series");
    assert_eq!(bench.store.samples("r{a=\"1\"}"), "");
    let mut bench = Bench::new("groups: [{name: g, limit: 1, rules: [{alert: A, expr: x}]}]");
    bench.store.put("x{a=\"1\"}", 1, 1.0);
    assert_eq!(bench.at(1), [("{a=\"1\",alertname=\"A\"}".to_owned(), Firing)]);
    bench.store.put("x{a=\"2\"}", 2, 1.0);
    assert_eq!(bench.at(2), [("{a=\"1\",alertname=\"A\"}".to_owned(), Resolved)], "what was told to fire ends");
    assert_eq!(bench.error().unwrap(), "exceeded limit of 1 with 2 alerts");
    assert!(bench.states().is_empty());
    assert_eq!(bench.store.samples("ALERTS{a=\"1\",alertname=\"A\",alertstate=\"firing\"}"), "1:1", "no marker");
}

#[test]
fn query_offset_moves_what_is_read_and_what_is_written() {
    let text = "groups: [{name: g, query_offset: 2m, rules: [{record: r, expr: x}, {alert: A, expr: x > 1}]}]";
    let mut bench = Bench::new(text);
    for minute in 0..8 {
        bench.store.put("x", minute, minute as f64);
    }
    assert!(bench.at(3).is_empty());
    assert_eq!(bench.store.samples("r"), "1:1");
    assert_eq!(bench.at(4).len(), 1);
    assert_eq!(bench.store.samples("r"), "1:1 2:2");
    assert_eq!(bench.store.samples("ALERTS{alertname=\"A\",alertstate=\"firing\"}"), "2:1");
    assert_eq!(bench.store.samples("ALERTS_FOR_STATE{alertname=\"A\"}"), "2:240", "active at the slot itself");
}

#[test]
fn an_alert_waits_for_its_for_and_leaves_its_series() {
    let mut bench =
        Bench::new("groups: [{name: g, rules: [{alert: A, expr: x > 0, for: 2m, labels: {severity: page}}]}]");
    let alert = "{alertname=\"A\",severity=\"page\"}".to_owned();
    for (minute, value, changed) in [
        (1, 1.0, vec![]),
        (2, 2.0, vec![]),
        (3, 3.0, vec![(alert.clone(), Firing)]),
        (4, 4.0, vec![]),
        (5, 0.0, vec![(alert.clone(), Resolved)]),
        (6, 0.0, vec![]),
    ] {
        bench.store.put("x", minute, value);
        assert_eq!(bench.at(minute), changed, "{minute}");
    }
    let series = |state: &str| format!("ALERTS{{alertname=\"A\",alertstate=\"{state}\",severity=\"page\"}}");
    assert_eq!(bench.store.samples(&series("pending")), "1:1 2:1 3:S");
    assert_eq!(bench.store.samples(&series("firing")), "3:1 4:1 5:S");
    let state = bench.store.samples("ALERTS_FOR_STATE{alertname=\"A\",severity=\"page\"}");
    assert_eq!(state, "1:60 2:60 3:60 4:60 5:S");
}

#[test]
fn a_pending_alert_that_ends_was_never_there() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{alert: A, expr: x > 0, for: 2m}]}]");
    for (minute, value) in [(1, 1.0), (2, 0.0), (3, 1.0), (4, 1.0)] {
        bench.store.put("x", minute, value);
        assert!(bench.at(minute).is_empty());
    }
    assert_eq!(bench.states(), [Pending]);
    assert_eq!(bench.group.alerts().next().unwrap().active_at, Timestamp(3 * MINUTE));
}

#[test]
fn keep_firing_for_counts_from_the_first_absence() {
    let mut bench = Bench::new("groups: [{name: g, rules: [{alert: A, expr: x > 0, keep_firing_for: 2m}]}]");
    for (minute, value, states) in [
        (1, 1.0, vec![Firing]),
        (2, 0.0, vec![]),
        (3, 1.0, vec![]),
        (4, 0.0, vec![]),
        (5, 0.0, vec![]),
        (6, 0.0, vec![Resolved]),
    ] {
        bench.store.put("x", minute, value);
        assert_eq!(bench.at(minute).into_iter().map(|(_, state)| state).collect::<Vec<_>>(), states, "{minute}");
        let since = bench.group.alerts().next().and_then(|alert| alert.keep_firing_since);
        assert_eq!(
            since.map(|since| since.0 / MINUTE),
            [None, Some(2), None, Some(4), Some(4), None][minute as usize - 1]
        );
    }
    assert_eq!(bench.store.samples("ALERTS{alertname=\"A\",alertstate=\"firing\"}"), "1:1 2:1 3:1 4:1 5:1 6:S");
}

#[test]
fn labels_and_annotations_are_templates() {
    let mut bench = Bench::new(
        r#"
groups:
  - name: g
    labels: {team: core, tier: group}
    rules:
      - alert: A
        expr: x > 1
        labels:
          tier: own
          who: '{{ $labels.instance }}-{{ $externalLabels.cluster }}'
          alertname: ignored
          empty: '{{ $labels.nothing }}'
        annotations:
          summary: '{{ $labels.__name__ }} of {{ .Labels.instance }} is {{ $value }} at {{ $externalURL }}'
          others: '{{ range query "y" }}{{ .Labels.n }}={{ .Value }} {{ end }}'
          broken: '{{ template "none" }}'
"#,
    );
    bench.store.put("x{instance=\"i1\"}", 1, 2.5);
    bench.store.put("y{n=\"1\"}", 1, 3.0);
    bench.at(1);
    let alert = bench.group.alerts().next().unwrap();
    let expected = "{alertname=\"A\",instance=\"i1\",team=\"core\",tier=\"own\",who=\"i1-eu\"}";
    assert_eq!(alert.labels.to_string(), expected);
    assert_eq!(alert.annotations["summary"], "x of i1 is 2.5 at http://slo.example");
    assert_eq!(alert.annotations["others"], "1=3 ");
    assert!(alert.annotations["broken"].starts_with("<error expanding template: "), "{}", alert.annotations["broken"]);
    // Prometheus leaves the text of a label that expands to nothing in the alert's series.
    let series: Vec<String> = bench.store.names().into_iter().filter(|name| name.contains("\"ALERTS\"")).collect();
    assert!(series[0].contains("empty=\"{{ $labels.nothing }}\""), "{series:?}");
    // The value of a firing alert follows its series.
    bench.store.put("x{instance=\"i1\"}", 2, 9.0);
    bench.at(2);
    let alert = bench.group.alerts().next().unwrap();
    assert_eq!((alert.value, &*alert.annotations["summary"]), (9.0, "x of i1 is 9 at http://slo.example"));
    assert_eq!(alert.fired_at, Some(Timestamp(MINUTE)));
}

#[test]
fn slots_are_taken_once_and_missed_ones_are_counted() {
    let group = &groups("groups: [{name: g, interval: 30s, rules: []}]")[0];
    let start = Timestamp(1_000_000_000);
    let mut group = Group::new(group, &setting(), start, false);
    let first = group.next();
    assert!(first > start && first.since(start) <= Span::seconds(30));
    assert_eq!(group.take_slot(first - Span::millis(1)), None);
    assert_eq!(group.take_slot(first + Span::seconds(200)), Some(first), "the first is evaluated however late");
    group.finish(first, &Memory::default());
    assert_eq!(group.take_slot(first + Span::seconds(29)), None);
    assert_eq!(group.take_slot(first + Span::seconds(31)), Some(first + Span::seconds(30)));
    assert_eq!(group.take_slot(first + Span::seconds(151)), Some(first + Span::seconds(150)));
    assert_eq!((group.missed, group.iterations), (3, 6));
    assert_eq!(group.take_slot(first - Span::days(1)), None, "a clock that went back");
    assert!(group.next() < first);
}

/// Steps a ruler through whole minutes; groups of one minute have one slot in each.
fn step(ruler: &mut Ruler, store: &Memory, minutes: std::ops::Range<i64>) -> Vec<(i64, AlertState)> {
    let mut told = Vec::new();
    for minute in minutes {
        let changed = ruler.step(Timestamp(minute * MINUTE), store);
        told.extend(changed.into_iter().map(|alert| (minute, alert.state)));
    }
    told
}

const TWO_RULES: &str = "groups: [{name: g, rules: [{record: r, expr: x}, {alert: A, expr: x > 0, for: 5m}]}]";

#[test]
fn a_reload_keeps_alerts_of_rules_that_stay_and_ends_others() {
    let store = Memory::default();
    for minute in 0..60 {
        store.put("x", minute, 1.0);
    }
    let mut ruler = Ruler::new(&groups(TWO_RULES), setting(), None, Timestamp(0));
    assert_eq!(step(&mut ruler, &store, 1..5), []);
    let since = ruler.groups()[0].alerts().next().unwrap().active_at;
    // Another rule of the group changes: the alert goes on, the series of the old rule ends.
    let changed = TWO_RULES.replace("record: r", "record: renamed");
    assert!(ruler.reload(&groups(&changed), Timestamp(5 * MINUTE)).is_empty());
    let told = step(&mut ruler, &store, 5..12);
    assert!(matches!(told[..], [(6 | 7, Firing)]), "{told:?}");
    assert_eq!(ruler.groups()[0].alerts().next().unwrap().active_at, since);
    assert!(store.samples("r").ends_with(":S") && !store.samples("renamed").contains('S'));
    // The same text again changes nothing, not even the next slot.
    let next = ruler.next();
    assert!(ruler.reload(&groups(&changed), Timestamp(11 * MINUTE + 1)).is_empty());
    assert_eq!(ruler.next(), next);
    // A longer `for` makes it pending again.
    let longer = changed.replace("for: 5m", "for: 30m");
    assert!(ruler.reload(&groups(&longer), Timestamp(12 * MINUTE)).is_empty());
    assert_eq!(step(&mut ruler, &store, 12..14), [(12, Resolved)].map(|(m, s)| (m + i64::from(ruler_late(since)), s)));
    assert_eq!(ruler.groups()[0].alerts().next().unwrap().state, Pending);
    // The group goes: firing alerts end at once, series after two intervals.
    let mut firing = Ruler::new(&groups(&changed), setting(), None, Timestamp(20 * MINUTE));
    step(&mut firing, &store, 21..30);
    let ended = firing.reload(&[], Timestamp(30 * MINUTE));
    assert_eq!(
        ended.iter().map(|alert| (alert.state, alert.resolved_at)).collect::<Vec<_>>(),
        [(Resolved, Some(Timestamp(30 * MINUTE)))]
    );
    step(&mut firing, &store, 30..32);
    assert!(!store.samples("renamed").ends_with(":S"), "{}", store.samples("renamed"));
    step(&mut firing, &store, 32..34);
    assert!(store.samples("renamed").ends_with(" 30:S"), "{}", store.samples("renamed"));
}

/// Whether the group's slot lies after the whole minute, so that it is seen at the next.
fn ruler_late(since: Timestamp) -> bool {
    since.0 % MINUTE != 0
}

#[test]
fn alerts_of_an_earlier_process_go_on() {
    let store = Memory::default();
    for minute in 0..40 {
        store.put("x", minute, 1.0);
    }
    let spec = groups(&TWO_RULES.replace("for: 5m", "for: 10m"));
    let mut ruler = Ruler::new(&spec, setting(), None, Timestamp(0));
    // The slots of a first life: alerts write no series before the second evaluation is over.
    step(&mut ruler, &store, 1..8);
    let before = ruler.groups()[0].alerts().next().unwrap();
    assert_eq!(before.state, Pending);
    let saved = ruler.save();
    let bytes = postcard::to_stdvec(&saved).unwrap();
    let saved: Saved = postcard::from_bytes(&bytes).unwrap();
    // Three minutes of nothing: the alert has waited three minutes less than it has been active.
    let mut ruler = Ruler::new(&spec, setting(), Some(&saved), Timestamp(10 * MINUTE + 30_000));
    let told = step(&mut ruler, &store, 11..20);
    let after = ruler.groups()[0].alerts().next().unwrap();
    let outage = after.active_at.since(before.active_at);
    assert!((Span::minutes(2)..=Span::minutes(4)).contains(&outage), "{outage}");
    assert!(matches!(told[..], [(14..=16, Firing)]), "{told:?}");
    // What fires goes on firing under the same start, even while the storage is empty.
    let saved = ruler.save();
    let empty = Memory::default();
    let mut ruler = Ruler::new(&spec, setting(), Some(&saved), Timestamp(20 * MINUTE));
    let told = step(&mut ruler, &empty, 21..24);
    assert_eq!(told, []);
    assert_eq!(ruler.groups()[0].alerts().next().unwrap().fired_at, after.fired_at);
    let told = step(&mut ruler, &empty, 24..40);
    assert!(matches!(told[..], [(26 | 27, Resolved)]), "{told:?}");
    // A record that is too old says nothing.
    let ruler = Ruler::new(&spec, setting(), Some(&saved), Timestamp(200 * MINUTE));
    assert_eq!(ruler.groups()[0].alerts().count(), 0);
}

/// Prometheus' `TestForStateRestore`: an alert that was active 25 of its 30 minutes, and the like.
#[test]
fn for_is_restored_from_series_as_in_prometheus() {
    let rule = "groups: [{name: g, rules: [{alert: A, expr: x > 0, for: 25m, labels: {t: '{{ $value }}'}}]}]";
    // Active since minute 0, last seen at `down`, back at `back`; the alert counts as active since `expected` seconds.
    for (down, back, expected) in [
        (10, 15, Some((15 - 10) * 60)),      // the outage is not counted
        (20, 30, Some((30 + 10 - 25) * 60)), // five minutes were left: ten of grace
        (25, 30, Some(0)),                   // it fired
        (10, 80, None),                      // too long ago
    ] {
        let mut bench = Bench::with(rule, true);
        for minute in 0..=down {
            bench.store.put("ALERTS_FOR_STATE{alertname=\"A\",t=\"1\"}", minute, 0.0);
        }
        for minute in back - 2..back + 30 {
            bench.store.put("x", minute, 1.0);
        }
        bench.at(back - 1);
        bench.at(back);
        assert!(!bench.store.names().iter().any(|name| name.contains("\"ALERTS\"")), "nothing is written before");
        bench.group.restore_from_storage(&bench.store, Timestamp(back * MINUTE));
        let alert = bench.group.alerts().next().unwrap();
        assert_eq!(alert.active_at.0 / 1000, expected.unwrap_or((back - 1) * 60), "{down} {back}");
        bench.at(back + 1);
        let state = if down == 25 { Firing } else { Pending };
        assert_eq!(bench.states(), [state], "{down} {back}");
        assert!(bench.store.names().iter().any(|name| name.contains("\"ALERTS\"")));
    }
}

#[test]
fn a_for_below_the_grace_period_starts_anew() {
    let mut bench = Bench::with("groups: [{name: g, rules: [{alert: A, expr: x, for: 9m}]}]", true);
    bench.store.put("ALERTS_FOR_STATE{alertname=\"A\"}", 1, 0.0);
    bench.store.put("x", 2, 1.0);
    bench.at(2);
    bench.group.restore_from_storage(&bench.store, Timestamp(2 * MINUTE));
    assert_eq!(bench.group.alerts().next().unwrap().active_at, Timestamp(2 * MINUTE));
}

#[test]
fn a_stale_state_restores_nothing() {
    let mut bench = Bench::with("groups: [{name: g, rules: [{alert: A, expr: x, for: 20m}]}]", true);
    bench.store.put("ALERTS_FOR_STATE{alertname=\"A\"}", 1, 0.0);
    bench.store.put("ALERTS_FOR_STATE{alertname=\"A\"}", 2, crate::promql::STALE);
    bench.store.put("x", 3, 1.0);
    bench.at(3);
    bench.group.restore_from_storage(&bench.store, Timestamp(3 * MINUTE));
    assert_eq!(bench.group.alerts().next().unwrap().active_at, Timestamp(3 * MINUTE));
}

const QUERIES: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis:
    - name: settled
      events:
        bad: 'sum(increase(settlements_total{state=~"lost|late"}[$window])) * 1'
        total: 'sum(increase(settlements_total[$window]))'
        every: 1m
    - name: rates
      events: {good: 'sum by (zone) (rate(ok_total[$window]))', total: 'sum by (zone) (rate(all_total[$window]))'}
    - name: share
      ratio: {error: 'avg_over_time(broken[5m])', every: 1m}
  slos:
    - {name: settled, sli: settled, objective: 99}
    - {name: rates, sli: rates, objective: 99}
    - {name: share, sli: share, objective: 99}
"#;

fn measures(from: i64) -> measure::Measures {
    let (services, report) = crate::spec::parse(&[Source::new("spec.yaml", QUERIES)]);
    assert_eq!(report.render(false), "");
    measure::Measures::new(&services, Timestamp(from * MINUTE))
}

/// What a measure counted by the end, by SLI and word.
fn counted(
    measures: &mut measure::Measures,
    store: &Memory,
    minutes: std::ops::RangeInclusive<i64>,
) -> BTreeMap<String, Vec<(i64, f64)>> {
    let setting = setting();
    let ground = Ground { store, setting: &setting, should_stop: &|| false };
    let mut all: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
    for minute in minutes {
        let step = measures.step(Timestamp(minute * MINUTE) + measure::DELAY, &ground);
        assert_eq!(step.errors, []);
        for (labels, samples) in step.counted {
            let zone = labels.get("zone").unwrap_or_default();
            let name =
                format!("{} {} {zone}", labels.get("sloburn_sli").unwrap(), labels.get("sloburn_events").unwrap());
            all.entry(name.trim().to_owned()).or_default().extend(samples.iter().map(|(at, value)| (at.0, *value)));
        }
    }
    all
}

#[test]
fn events_by_promql_add_up_to_what_the_counters_did() {
    let store = Memory::default();
    // Scraped at odd times, with a gap and a reset; of 700 events 70 are lost.
    let mut at = 7_000;
    let (mut ok, mut lost) = (0.0, 0.0);
    let mut events = 0.0;
    for round in 0..40 {
        let gap = if round == 20 { 95_000 } else { 13_700 };
        at += gap;
        if round == 30 {
            (ok, lost) = (0.0, 0.0);
        }
        if round > 0 {
            (ok, lost, events) = (ok + 18.0, lost + 2.0, events + 20.0);
        }
        for (state, value) in [("ok", ok), ("lost", lost)] {
            let labels = labels(&format!("settlements_total{{state=\"{state}\"}}"));
            store.append(&Arc::new(labels), Timestamp(at), &Value::Float(value)).unwrap();
        }
    }
    let all = counted(&mut measures(0), &store, 1..=20);
    let (total, bad) = (&all["shop/settled total"], &all["shop/settled bad"]);
    assert_eq!((total[0], total.last().unwrap().1), ((MINUTE - 1, 0.0), events));
    assert_eq!(bad.last().unwrap().1, events / 10.0);
    assert!(total.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{total:?}");
}

#[test]
fn rates_become_events_and_groups_stay_apart() {
    let store = Memory::default();
    for minute in 0..=10 {
        for (zone, factor) in [("a", 60.0), ("b", 6.0)] {
            store.put(&format!("all_total{{zone=\"{zone}\"}}"), minute, factor * minute as f64);
            store.put(&format!("ok_total{{zone=\"{zone}\"}}"), minute, factor / 2.0 * minute as f64);
        }
    }
    let all = counted(&mut measures(0), &store, 1..=10);
    let last = |name: &str| all[name].last().unwrap().1;
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    near(last("shop/rates total a"), 600.0);
    near(last("shop/rates good a"), 300.0);
    near(last("shop/rates total b"), 60.0);
}

#[test]
fn each_evaluation_of_a_ratio_is_one_event() {
    let store = Memory::default();
    for minute in 0..=3 {
        store.put("broken", minute, if minute < 2 { 0.0 } else { 1.0 });
    }
    store.put("broken", 4, f64::NAN);
    let mut measures = measures(0);
    let all = counted(&mut measures, &store, 1..=4);
    let shares: Vec<f64> = all["shop/share bad"].iter().map(|(_, value)| *value).collect();
    assert_eq!(shares, [0.0, 0.0, 1.0 / 3.0, 1.0 / 3.0 + 0.5], "of nothing, 1 of 3, 2 of 4, and NaN counts nothing");
    assert_eq!(all["shop/share total"].last().unwrap().1, 3.0);
    // Missed slots are made up for; a query that is gone ends, one that is the same goes on.
    let (services, _) = crate::spec::parse(&[Source::new("spec.yaml", QUERIES.replace("[5m]", "[1m]"))]);
    measures.reload(&services, Timestamp(8 * MINUTE));
    store.put("broken", 12, 1.0);
    let all = counted(&mut measures, &store, 12..=12);
    assert_eq!(all["shop/share bad"], [(12 * MINUTE - 1, 0.0), (12 * MINUTE, 1.0)]);
}
