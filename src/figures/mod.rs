//! The engine's figures as series, under Sloth's names: what its generated rules would record, so that dashboards made
//! for those work.
//!
//! They are worked out from a snapshot when they are asked for, one sample each at the snapshot's time. [`Recorder`]
//! also puts them into the store from time to time, so that queries over a range find their history.

mod recorder;
mod storage;

use crate::alert::AlertState;
use crate::engine::{SloView, Snapshot};
use crate::spec::naming::{self, CURRENT_WINDOW, LABEL_WINDOW, window_text};
use crate::types::{Labels, METRIC_NAME, Matcher, Selector, Span};

pub use recorder::{RECORDED_LIMIT_SERIES, Recorder};
pub use storage::Queryable;

/// Pending and firing alerts.
const ALERTS: &str = "ALERTS";
/// Since when their condition holds, in seconds since 1970.
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
const ALERT_STATE: &str = "alertstate";

/// The value of `sloth_version`.
const VERSION: &str = concat!("sloburn-", env!("CARGO_PKG_VERSION"));
/// The value of `sloth_mode`: the engine itself, not its generated rules.
const MODE: &str = "sloburn-serve";
/// The value of `sloth_spec`.
const SPEC: &str = "sloburn/v1";

/// What the figures of one name mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The metric's name.
    pub name: &'static str,
    /// For people.
    pub help: &'static str,
}

/// The names that do not depend on a window.
pub const MEANINGS: [Meaning; 9] = [
    Meaning { name: ALERTS, help: "Pending and firing alerts." },
    Meaning { name: ALERTS_FOR_STATE, help: "Since when the condition of an alert holds, in seconds since 1970." },
    Meaning { name: naming::CURRENT_BURN_RATE, help: "The burn rate over 5 minutes." },
    Meaning { name: naming::ERROR_BUDGET, help: "The error budget as a ratio." },
    Meaning { name: naming::OBJECTIVE, help: "The objective as a ratio." },
    Meaning { name: naming::PERIOD_BURN_RATE, help: "The burn rate over the period." },
    Meaning { name: naming::BUDGET_REMAINING, help: "The share of the period's error budget that is left." },
    Meaning { name: naming::PERIOD_DAYS, help: "The length of the period in days." },
    Meaning { name: naming::INFO, help: "Always 1; its labels describe the SLO." },
];

/// Tells of every figure that satisfies all matchers, in the order of the snapshot.
pub fn each(snapshot: &Snapshot, matchers: &[Matcher], mut tell: impl FnMut(Labels, f64)) {
    let selector = Selector::new(matchers.to_vec());
    for slo in &snapshot.slos {
        of_slo(slo, &selector, &mut tell);
        of_alerts(slo, &selector, &mut tell);
    }
}

/// What is known of an SLO before any of its label sets is made.
fn may_match(slo: &SloView, selector: &Selector) -> bool {
    selector.matchers().iter().all(|matcher| match &*matcher.name {
        naming::LABEL_SERVICE => matcher.matches(&slo.service),
        naming::LABEL_SLO => matcher.matches(&slo.name),
        _ => true,
    })
}

fn of_slo(slo: &SloView, selector: &Selector, tell: &mut impl FnMut(Labels, f64)) {
    if !may_match(slo, selector) {
        return;
    }
    let identity = || {
        let labels = slo.labels.clone().with(naming::LABEL_ID, &format!("{}-{}", slo.service, slo.name));
        labels.with(naming::LABEL_SERVICE, &slo.service).with(naming::LABEL_SLO, &slo.name)
    };
    let mut figure = |name: &str, more: &[(&str, &str)], value: Option<f64>| {
        let Some(value) = value.filter(|_| selector.matches_metric_name(name)) else { return };
        let mut labels = identity().with(METRIC_NAME, name);
        for (name, value) in more {
            labels.set(name, value);
        }
        if selector.matches(&labels) {
            tell(labels, value);
        }
    };
    let ratio = |bad: f64, total: f64| (total > 0.0).then(|| bad / total);
    for window in &slo.windows {
        let text = window_text(window.span);
        let value = ratio(window.events.bad, window.events.total);
        figure(&naming::error_ratio(window.span), &[(LABEL_WINDOW, &text)], value);
        if window.span == CURRENT_WINDOW {
            figure(naming::CURRENT_BURN_RATE, &[(LABEL_WINDOW, &text)], window.rate(slo.objective));
        }
    }
    let period = window_text(slo.budget.period);
    // The ratio over a stretch of the calendar has no name.
    let is_rolling = slo.period.parse::<Span>().is_ok_and(|span| span == slo.budget.period);
    if is_rolling && slo.windows.iter().all(|window| window.span != slo.budget.period) {
        let value = ratio(slo.budget.events.bad, slo.budget.events.total);
        figure(&naming::error_ratio(slo.budget.period), &[(LABEL_WINDOW, &period)], value);
    }
    let remaining = slo.budget.remaining;
    figure(naming::PERIOD_BURN_RATE, &[(LABEL_WINDOW, &period)], remaining.map(|remaining| 1.0 - remaining));
    figure(naming::BUDGET_REMAINING, &[(LABEL_WINDOW, &period)], remaining);
    figure(naming::OBJECTIVE, &[], Some(slo.objective.ratio()));
    figure(naming::ERROR_BUDGET, &[], Some(slo.objective.budget()));
    figure(naming::PERIOD_DAYS, &[], Some(slo.budget.period.as_days_f64()));
    let objective = slo.objective.to_string();
    let about = [
        (naming::LABEL_VERSION, VERSION),
        (naming::LABEL_MODE, MODE),
        (naming::LABEL_SPEC, SPEC),
        (naming::LABEL_OBJECTIVE, &objective),
    ];
    figure(naming::INFO, &about, Some(1.0));
}

fn of_alerts(slo: &SloView, selector: &Selector, tell: &mut impl FnMut(Labels, f64)) {
    let mut figure = |labels: Labels, value: f64| {
        if selector.matches(&labels) {
            tell(labels, value);
        }
    };
    for alert in slo.alerts().filter(|alert| alert.state != AlertState::Resolved) {
        let labels = &alert.rule.labels;
        if selector.matches_metric_name(ALERTS) {
            figure(labels.clone().with(METRIC_NAME, ALERTS).with(ALERT_STATE, alert.state.as_str()), 1.0);
        }
        if selector.matches_metric_name(ALERTS_FOR_STATE) {
            let since = alert.active_at.as_millis().div_euclid(1_000) as f64;
            figure(labels.clone().with(METRIC_NAME, ALERTS_FOR_STATE), since);
        }
    }
}
