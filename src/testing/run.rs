//! Runs a test through an engine of its own.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use crate::alert::AlertState;
use crate::engine::{Engine, Event, Settings, SloView, Snapshot};
use crate::notify::notice::Notice;
use crate::spec::Service;
use crate::testing::{AlertTest, Case, Expected, SloTest};
use crate::types::{Labels, Timestamp};
use crate::wire::{Batch, Limits, Sample, WIRE_KEY_SIZE_BYTES, WireKey};

/// Figures that differ by less than this share of the expected one are equal: people write few digits.
const TOLERANCE: f64 = 1e-6;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The test's.
    pub name: String,
    /// What was not as expected, one text each, with the line in the file; empty when it passed.
    pub failures: Vec<String>,
}

/// Runs a test under these services.
pub fn run(services: &[Service], case: &Case) -> Verdict {
    let key = WireKey::new([0x5b; WIRE_KEY_SIZE_BYTES]);
    let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: case.series.len() };
    let mut engine = Engine::new(services, settings, Timestamp(0));
    let mut moments: BTreeMap<Timestamp, Vec<(&Labels, f64)>> = BTreeMap::new();
    for (labels, values) in &case.series {
        for (n, value) in (0..).zip(values) {
            let at = Timestamp(case.interval.as_millis().saturating_mul(n));
            moments.entry(at).or_default().extend(value.map(|value| (labels, value)));
        }
    }
    let asked: BTreeSet<Timestamp> = case.alerts.iter().map(|t| t.at).chain(case.slos.iter().map(|t| t.at)).collect();
    let (mut batch, mut failures) = (Batch::new(), Vec::new());
    let times: BTreeSet<Timestamp> = moments.keys().chain(&asked).copied().collect();
    for now in times.into_iter().filter(|now| asked.last().is_some_and(|last| now <= last)) {
        if let Some(samples) = moments.get(&now) {
            batch.clear();
            for (labels, value) in samples {
                batch.push(&key, labels.iter(), &[Sample { timestamp: now, value: *value }]);
            }
            let written = engine.step(Event::Moment(&batch), now).written;
            let refused =
                written.rejected.values().map(|rejection| format!("at {}: {}", shown(now), rejection.example));
            failures.extend(refused);
        }
        if asked.contains(&now) {
            engine.step(Event::Review, now);
            let snapshot = engine.snapshot(now);
            for test in case.alerts.iter().filter(|test| test.at == now) {
                failures.extend(alerts(test, &snapshot));
            }
            for test in case.slos.iter().filter(|test| test.at == now) {
                failures.extend(slo(test, &snapshot));
            }
        }
    }
    Verdict { name: case.name.clone(), failures }
}

fn shown(at: Timestamp) -> String {
    at.since(Timestamp(0)).to_string()
}

/// What is wrong with the alerts that fire; one text at most.
fn alerts(test: &AlertTest, snapshot: &Snapshot) -> Option<String> {
    let url = Url::parse("http://localhost:9797").ok()?;
    let of_slo = |view: &&SloView| test.slo.as_ref().is_none_or(|slo| *slo == view.id);
    let firing = snapshot.slos.iter().map(|view| &**view).filter(of_slo).flat_map(SloView::alerts);
    let firing = firing.filter(|alert| alert.state == AlertState::Firing);
    let notices = firing.filter_map(|alert| Notice::render(alert, &Labels::new(), &url));
    let named = |notice: &Notice| test.name.as_ref().is_none_or(|n| notice.labels.get("alertname") == Some(n));
    let mut left: Vec<Notice> = notices.filter(named).collect();
    let mut missing = Vec::new();
    for expected in &test.expected {
        let fits = |notice: &Notice| {
            let labels = expected.labels.iter().all(|(name, value)| notice.labels.get(name) == Some(value));
            labels && expected.annotations.iter().all(|(name, value)| notice.annotations.get(name) == Some(value))
        };
        match left.iter().position(fits) {
            Some(found) => drop(left.remove(found)),
            None => missing.push(format!("{:?} {:?}", expected.labels, expected.annotations)),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return None;
    }
    let list = |what: &str, items: &[String]| match items {
        [] => format!("\n  {what}: none"),
        items => format!("\n  {what}:\n    {}", items.join("\n    ")),
    };
    let unexpected: Vec<String> = left.iter().map(describe).collect();
    let text = [list("expected and not firing", &missing), list("firing and not expected", &unexpected)].concat();
    Some(format!("line {}, at {}: alerts differ{text}", test.line, shown(test.at)))
}

fn describe(notice: &Notice) -> String {
    format!("{} {:?}", notice.labels, notice.annotations)
}

/// What is wrong with an SLO, one text for each figure.
fn slo(test: &SloTest, snapshot: &Snapshot) -> Vec<String> {
    let place = format!("line {}, at {}", test.line, shown(test.at));
    let Some(view) = snapshot.slos.iter().find(|view| view.id == test.slo) else {
        let known: Vec<&str> = snapshot.slos.iter().map(|view| &*view.id).collect();
        return vec![format!("{place}: no SLO {}; there are {}", test.slo, known.join(", "))];
    };
    let differs = |figure: &Expected| {
        let (name, actual, expected) = compared(view, figure)?;
        Some(format!("{place}: {name} of {} is {actual}, expected {expected}", test.slo))
    };
    test.expected.iter().filter_map(differs).collect()
}

/// Name, actual and expected value of a figure that is not as expected.
fn compared(view: &SloView, figure: &Expected) -> Option<(String, String, String)> {
    let text = |value: Option<f64>| value.map_or("none".to_owned(), |value| value.to_string());
    let events = view.budget.events;
    let (name, actual, expected) = match figure {
        Expected::State(state) => {
            let actual = view.state.as_str();
            return (actual != state).then(|| ("state".to_owned(), actual.to_owned(), state.clone()));
        }
        Expected::Good(good) => ("good".to_owned(), Some(events.good()), Some(*good)),
        Expected::Bad(bad) => ("bad".to_owned(), Some(events.bad), Some(*bad)),
        Expected::Total(total) => ("total".to_owned(), Some(events.total), Some(*total)),
        Expected::BudgetRemaining(left) => ("budget_remaining".to_owned(), view.budget.remaining, *left),
        Expected::BurnRate(window, rate) => {
            let name = format!("burn rate over {window}");
            let Some(found) = view.windows.iter().find(|w| w.span == *window) else {
                let known: Vec<String> = view.windows.iter().map(|w| w.span.to_string()).collect();
                return Some((name, format!("not measured (windows: {})", known.join(", ")), text(*rate)));
            };
            (name, found.rate(view.objective), *rate)
        }
    };
    let is_same = match (actual, expected) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * b.abs().max(1.0),
        (a, b) => a.is_none() && b.is_none(),
    };
    (!is_same).then(|| (name, text(actual), text(expected)))
}
