//! The engine's counts against a naive recomputation from raw samples, whatever order they arrive in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use sloburn::engine::{Engine, Event, Settings, SloView};
use sloburn::spec::{
    Accounting, Alerting, Events, Numerator, Origin, Policy, Service, SeverityOptions, Sli, SliKind, Slo,
};
use sloburn::types::{Labels, METRIC_NAME, Matcher, Selector, Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};

const START: Timestamp = Timestamp(1_790_000_000_000);
const INTERVAL: Span = Span::seconds(15);
const STALE: f64 = f64::from_bits(sloburn::series::STALE_NAN_BITS);

fn settings() -> Settings {
    Settings { key: WireKey::new([7; 192]), limits: Limits::default(), series_limit: 100_000, ha: None }
}

/// `bad: http_requests_total{code=~"5.."}`, `total: http_requests_total`, 99.9 % over 30 d.
fn service() -> Service {
    let origin = Origin { file: Arc::new(PathBuf::from("test.yaml")), line: 1 };
    let total = Selector::new(vec![Matcher::equal(METRIC_NAME, "http_requests_total")]);
    let bad = total.and(Matcher::regex("code", "5..").unwrap());
    let period = Span::days(30);
    Service {
        name: "api".to_owned(),
        labels: Labels::new(),
        version_label: Some("version".to_owned()),
        slis: Arc::new([Sli {
            name: "errors".to_owned(),
            kind: SliKind::Events(Events { numerator: Numerator::Bad(bad.into()), total: total.into() }),
            origin: origin.clone(),
        }]),
        budget_policy: None,
        canary: None,
        slos: Arc::new([Slo {
            name: "availability".to_owned(),
            description: String::new(),
            sli: 0,
            objective: "99.9".parse().unwrap(),
            period: period.into(),
            accounting: Accounting::default(),
            labels: Labels::new(),
            alerting: Alerting {
                name: "ErrorBudgetBurn".to_owned(),
                policy: Policy::for_period(period),
                labels: Labels::new(),
                annotations: Vec::new(),
                page: SeverityOptions::default(),
                ticket: SeverityOptions::default(),
                for_: Span::ZERO,
                keep_firing_for: Span::ZERO,
                min_events: None,
                budget_remaining: Vec::new(),
            },
            origin: origin.clone(),
        }]),
        origin,
    }
}

/// One scrape of one series.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The counter grows.
    Grow(u16),
    /// The process restarted and counted this far.
    Reset(u16),
    /// Nothing was scraped.
    Gap,
    /// The series ended; it may come back.
    Stale,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u16..50).prop_map(Step::Grow),
        1 => (0_u16..20).prop_map(Step::Reset),
        1 => Just(Step::Gap),
        1 => Just(Step::Stale),
    ]
}

#[derive(Clone, Debug)]
struct SeriesPlan {
    instance: u8,
    /// Scrape at which it is first exposed.
    from: usize,
    steps: Vec<Step>,
}

fn plan() -> impl Strategy<Value = SeriesPlan> {
    (0_u8..2, 0_usize..6, prop::collection::vec(step(), 1..14)).prop_map(|(instance, from, steps)| SeriesPlan {
        instance,
        from,
        steps,
    })
}

/// Labels of the nth series: the even ones are errors.
fn labels(n: usize, plan: &SeriesPlan) -> Vec<(String, String)> {
    let code = if n.is_multiple_of(2) { 500 + n } else { 200 + n };
    let pairs = [
        ("__name__", "http_requests_total".to_owned()),
        ("code", code.to_string()),
        ("instance", format!("host-{}", plan.instance)),
        ("job", "api".to_owned()),
        ("version", "v1".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Raw samples by series: index into the plans, time, value.
fn samples(plans: &[SeriesPlan]) -> Vec<(usize, Timestamp, f64)> {
    let mut all = Vec::new();
    for (n, plan) in plans.iter().enumerate() {
        let mut value = 3.0;
        for (i, step) in plan.steps.iter().enumerate() {
            let at = START + Span(INTERVAL.as_millis() * (plan.from + i) as i64);
            match step {
                Step::Grow(by) => value += f64::from(*by),
                Step::Reset(to) => value = f64::from(*to),
                Step::Gap => continue,
                Step::Stale => {
                    all.push((n, at, STALE));
                    continue;
                }
            }
            all.push((n, at, value));
        }
    }
    all
}

/// Events by the definition: increases between neighbouring samples, and a first value where a series of the
/// same target that is already known has a sample at the same time; each at its sample's time, as (bad, total).
fn naive(plans: &[SeriesPlan], samples: &[(usize, Timestamp, f64)]) -> Vec<(Timestamp, f64, f64)> {
    let mut by_series: BTreeMap<usize, Vec<(Timestamp, f64)>> = BTreeMap::new();
    for &(n, at, value) in samples.iter().filter(|(_, _, value)| !value.is_nan()) {
        by_series.entry(n).or_default().push((at, value));
    }
    let mut events = Vec::new();
    for (n, points) in &by_series {
        let (born_at, first) = points[0];
        let known_neighbour = by_series.iter().any(|(other, theirs)| {
            plans[*other].instance == plans[*n].instance && theirs[1..].iter().any(|(at, _)| *at == born_at)
        });
        let mut add = |at, amount| events.push((at, if n.is_multiple_of(2) { amount } else { 0.0 }, amount));
        if known_neighbour {
            add(born_at, first);
        }
        for pair in points.windows(2) {
            let ((_, before), (at, value)) = (pair[0], pair[1]);
            add(at, if value < before { value } else { value - before });
        }
    }
    events
}

/// The sum of events with `after < t <= until`, as (bad, total).
fn sum(events: &[(Timestamp, f64, f64)], after: Timestamp, until: Timestamp) -> (f64, f64) {
    let inside = events.iter().filter(|(at, _, _)| *at > after && *at <= until);
    inside.fold((0.0, 0.0), |(bad, total), (_, b, t)| (bad + b, total + t))
}

fn everything(events: &[(Timestamp, f64, f64)]) -> (f64, f64) {
    sum(events, Timestamp::MIN, Timestamp(i64::MAX))
}

/// Feeds samples in this order, a few to a request, and returns the SLO as it stands some time `later`.
fn counted(plans: &[SeriesPlan], order: &[(usize, Timestamp, f64)], cuts: &[u8], later: Span) -> Arc<SloView> {
    let settings = settings();
    let key = settings.key.clone();
    let mut engine = Engine::new(&[service()], settings, START);
    let mut now = START;
    let mut rest = order;
    for i in 0.. {
        if rest.is_empty() {
            break;
        }
        let cut = usize::from(cuts[i % cuts.len()]).clamp(1, rest.len());
        let (request, later) = rest.split_at(cut);
        rest = later;
        let mut batch = Batch::new();
        for &(n, timestamp, value) in request {
            let mut labels = labels(n, &plans[n]);
            if i % 3 == 0 {
                labels.reverse();
            }
            let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            batch.push(&key, pairs, &[Sample { timestamp, value }]);
            now = now.max(timestamp);
        }
        let effects = engine.step(Event::Write(&batch), now + Span::millis(200));
        assert!(effects.written.rejected.is_empty(), "{:?}", effects.written);
    }
    let now = now + sloburn::series::SETTLE + Span::seconds(11) + later;
    engine.step(Event::Review, now);
    let slo = Arc::clone(&engine.snapshot(now).slos[0]);
    let (events, version) = (slo.budget.events, slo.versions.first().map(|v| v.events).unwrap_or_default());
    assert_eq!((events.bad, events.total), (version.bad, version.total), "every series is of version v1");
    slo
}

fn period(slo: &SloView) -> (f64, f64) {
    (slo.budget.events.bad, slo.budget.events.total)
}

/// Each window is off by at most the events of the slice that its start falls into.
fn check_windows(slo: &SloView, events: &[(Timestamp, f64, f64)], now: Timestamp) -> Result<(), TestCaseError> {
    for window in &slo.windows {
        let width = match window.span {
            w if w <= Span::hours(1) => Span::seconds(10),
            w if w <= Span::hours(6) => Span::minutes(1),
            w if w <= Span::days(3) => Span::minutes(10),
            _ => Span::hours(1),
        };
        let start = now - window.span;
        let edge = Timestamp(start.as_millis().div_euclid(width.as_millis()) * width.as_millis());
        let (exact, slice) = (sum(events, start, now), sum(events, edge, edge + width));
        let (bad, total) = (window.events.bad, window.events.total);
        prop_assert!((total - exact.1).abs() <= slice.1 + 1e-9, "{}: {total} {exact:?} {slice:?}", window.span);
        prop_assert!((bad - exact.0).abs() <= slice.0 + 1e-9, "{}: {bad} {exact:?} {slice:?}", window.span);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Resets, gaps, births, staleness, duplicates, any cut into requests, and lateness of up to two scrapes.
    #[test]
    fn counts_equal_the_naive_recomputation(
        plans in prop::collection::vec(plan(), 1..7),
        lateness in prop::collection::vec(0_i64..30_000, 1..40),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        cuts in prop::collection::vec(1_u8..9, 1..10),
        later in 0_i64..500_000,
    ) {
        let samples = samples(&plans);
        prop_assume!(!samples.is_empty());
        let mut order: Vec<_> = samples.clone();
        order.extend(repeated.iter().map(|at| samples[at.index(samples.len())]));
        let late = |i: usize| lateness[i % lateness.len()];
        let mut keyed: Vec<_> = order.into_iter().enumerate().map(|(i, s)| (s.1.as_millis() + late(i), s)).collect();
        keyed.sort_by_key(|(arrival, (n, at, _))| (*arrival, *at, *n));
        let order: Vec<_> = keyed.into_iter().map(|(_, sample)| sample).collect();
        let slo = counted(&plans, &order, &cuts, Span(later));
        let events = naive(&plans, &samples);
        prop_assert_eq!(period(&slo), everything(&events));
        let newest = samples.iter().map(|(_, at, _)| *at).max().unwrap_or(START);
        let now = newest.max(START) + sloburn::series::SETTLE + Span::seconds(11) + Span(later);
        check_windows(&slo, &events, now)?;
    }
}

#[test]
fn a_first_error_on_a_live_target_counts() {
    let ok = SeriesPlan { instance: 0, from: 0, steps: vec![Step::Grow(0), Step::Grow(10), Step::Grow(10)] };
    let error = SeriesPlan { instance: 0, from: 1, steps: vec![Step::Reset(2), Step::Grow(1)] };
    let plans = [error, ok];
    let samples = samples(&plans);
    let counted = |cuts| period(&counted(&plans, &samples, cuts, Span::ZERO));
    assert_eq!(everything(&naive(&plans, &samples)), (3.0, 23.0));
    assert_eq!(counted(&[100]), (3.0, 23.0), "the birth before its neighbour, in one request");
    assert_eq!(counted(&[1]), (3.0, 23.0), "and in requests of their own");
}
