//! Scenario scripts through the pure engine: `tests/scenarios/*.test`, in the style of Prometheus' promqltest.
//!
//! ```text
//! spec                    a specification, as users write it
//!   apiVersion: sloburn/v1
//!   ...
//! spec at 30m             another one, that holds from then on
//! load 15s                series in promtool's notation, the first value at time zero
//!   http_requests_total{job="api",instance="a",code="200"} 0+100x240
//! eval at 1h              what SLOs look like then: state, good, bad, total, remaining, excluded, inconsistent, burn:<window>
//!   api/availability state=warming good=24000 total=24000 burn:5m=0
//! alerts                  every change of every alert, in order: when, whose, severity, which, state
//!   1h1m45s api/availability page 5m/1h firing
//! ```
//!
//! Lines that begin with `#` are comments. The samples of one moment arrive in one request at that moment; a tick
//! follows every second. Figures may be off by 1e-6, as in promqltest; counts and times may not.

mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use script::{Expectation, Figure, Script};
use sloburn::alert::Alert;
use sloburn::engine::{Engine, Event, Settings, SloView};
use sloburn::spec::{Service, Source, naming, parse};
use sloburn::types::{Labels, Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};

const TICK: Span = Span::seconds(1);
/// As promqltest's `defaultEpsilon`.
const EPSILON: f64 = 1e-6;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// A test for each script.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_script_is_run() {
            let mut files: Vec<String> = std::fs::read_dir(folder())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "README.md")
                .collect();
            files.sort();
            let mut listed = vec![$(concat!(stringify!($name), ".test")),*];
            listed.sort_unstable();
            assert_eq!(files, listed);
        }
    };
}

scenarios! {
    budget_remaining,
    budget_reset,
    calendar_month,
    cold_start,
    counter_reset,
    event_weighted_night,
    event_weighted_peak,
    exclusions,
    factors_of_28_days,
    first_errors_after_23_hours,
    for_and_keep_firing_for,
    gauge,
    groups,
    idle_ten_minutes,
    label_edit,
    latency,
    latency_bucket_spelling,
    missed_scrapes,
    more_good_than_total,
    no_data_is_bad,
    no_data_is_ignored,
    one_error_is_one,
    only_errors,

    outage_pages_and_resolves,
    probe,
    series_born_with_errors,
    short_period,
    single_error_at_low_traffic,
    slow_burn_tickets,
    staleness,
    sums_and_differences,
    target_restart,
    timeslices,
    two_slos_share_a_total,
    unreachable_tier,
    vanished_metrics,
    vanished_metrics_and_short_windows,
}

fn services(spec: &str) -> Vec<Service> {
    let (services, report) = parse(&[Source::new("spec.yaml", spec.to_owned())]);
    assert!(!report.has_errors(), "\n{}", report.render(false));
    services
}

/// A run of the engine over a script's samples.
struct Run {
    engine: Engine,
    key: WireKey,
    /// One line for each change of an alert.
    timeline: Vec<String>,
}

impl Run {
    fn new(script: &Script) -> Self {
        let services = services(&script.spec);
        let key = WireKey::new([7; 192]);
        let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 10_000, ha: None };
        Self { engine: Engine::new(&services, settings, Timestamp(0)), key, timeline: Vec::new() }
    }

    fn step(&mut self, event: Event<'_>, now: Timestamp) {
        let effects = self.engine.step(event, now);
        assert!(effects.written.rejected.is_empty(), "{:?}", effects.written);
        self.timeline.extend(effects.alerts.iter().map(line_of));
    }

    fn write(&mut self, samples: &[(&Labels, f64)], now: Timestamp) {
        let mut batch = Batch::new();
        for (labels, value) in samples {
            batch.push(&self.key, labels.iter(), &[Sample { timestamp: now, value: *value }]);
        }
        self.step(Event::Write(&batch), now);
    }
}

/// `1h1m45s api/availability page 5m/1h firing`, or with `budget<50` where it is the budget that alerts.
fn line_of(alert: &Alert) -> String {
    let label = |name| alert.rule.labels.get(name);
    let which = match (label(naming::LABEL_SHORT), label(naming::LABEL_LONG)) {
        (Some(short), Some(long)) => format!("{short}/{long}"),
        _ => label(naming::LABEL_BUDGET_REMAINING).map_or("no-data".to_owned(), |left| format!("budget<{left}")),
    };
    let (at, severity) = (alert.changed_at().since(Timestamp(0)), label(naming::LABEL_SEVERITY).unwrap_or("?"));
    let slo = naming::group_title(&alert.rule.slo, &alert.rule.group);
    format!("{at} {slo} {severity} {which} {}", alert.state.as_str())
}

fn check(name: &str) {
    let text = std::fs::read_to_string(folder().join(format!("{name}.test"))).unwrap();
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{name}.test:{error}"));
    let mut moments: BTreeMap<Timestamp, Vec<(&Labels, f64)>> = BTreeMap::new();
    for series in &script.series {
        for (at, value) in &series.samples {
            moments.entry(*at).or_default().push((&series.labels, *value));
        }
    }
    let last_expected = script.expectations.iter().map(|expectation| expectation.at).max();
    let end = last_expected.max(moments.keys().next_back().copied()).unwrap_or_default();
    let (mut run, mut wrong) = (Run::new(&script), Vec::new());
    let mut now = Timestamp(0);
    while now <= end {
        for (_, spec) in script.reloads.iter().filter(|(at, _)| *at == now) {
            run.step(Event::Reload(&services(spec)), now);
        }
        if let Some(samples) = moments.get(&now) {
            run.write(samples, now);
        }
        // What is due at `now` happens once that moment has passed.
        run.step(Event::Tick, now + Span::millis(1));
        for expectation in script.expectations.iter().filter(|expectation| expectation.at == now) {
            wrong.extend(differences(&mut run.engine, expectation, now));
        }
        now = now + TICK;
    }
    if run.timeline != script.alerts {
        let (happened, expected) = (run.timeline.join("\n  "), script.alerts.join("\n  "));
        wrong.push(format!("alerts were\n  {happened}\nand not\n  {expected}"));
    }
    assert!(wrong.is_empty(), "{name}.test:\n{}", wrong.join("\n"));
}

/// What is not as expected, one line each.
fn differences(engine: &mut Engine, expectation: &Expectation, now: Timestamp) -> Vec<String> {
    let snapshot = engine.snapshot(now);
    let place = format!("line {}, at {}", expectation.line, now.since(Timestamp(0)));
    let Some(view) = snapshot.slos.iter().find(|view| view.title() == expectation.slo) else {
        return vec![format!("{place}: no SLO {}", expectation.slo)];
    };
    let wrong = expectation.figures.iter().filter_map(|(figure, expected)| {
        let actual = actual(view, figure);
        let place = || format!("{place}: {figure:?} of {} is", expectation.slo);
        (!alike(figure, &actual, expected)).then(|| format!("{} {actual} and not {expected}", place()))
    });
    wrong.collect()
}

/// A figure as text; `none` where there is none.
fn actual(view: &SloView, figure: &Figure) -> String {
    let number = |number: Option<f64>| number.map_or("none".to_owned(), |number| number.to_string());
    let events = view.budget.events;
    match figure {
        Figure::State => view.state.as_str().to_owned(),
        Figure::Good => number(Some(events.good())),
        Figure::Bad => number(Some(events.bad)),
        Figure::Total => number(Some(events.total)),
        Figure::Remaining => number(view.budget.remaining),
        Figure::Excluded => number(view.excluded.map(|events| events.total)),
        Figure::Inconsistent => events.inconsistent.to_string(),
        Figure::Burn(window) => {
            let found = view.windows.iter().find(|w| w.span == *window);
            number(found.unwrap_or_else(|| panic!("{} has no window {window}", view.id)).rate(view.objective))
        }
    }
}

fn alike(figure: &Figure, actual: &str, expected: &str) -> bool {
    match (figure, actual.parse::<f64>(), expected.parse::<f64>()) {
        (Figure::Remaining | Figure::Burn(_), Ok(actual), Ok(expected)) => {
            (actual - expected).abs() <= EPSILON * expected.abs().max(1.0)
        }
        _ => actual == expected,
    }
}
