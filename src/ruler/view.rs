//! What groups look like to others.

use std::sync::Arc;
use std::time::Duration;

use crate::alert::AlertState;
use crate::ruler::{Group, RuleAlert};
use crate::spec::Rule;
use crate::types::{Span, Timestamp};

/// How the last evaluation of a rule went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// There was none.
    Unknown,
    /// It succeeded.
    Good,
    /// It failed.
    Bad,
}

impl Health {
    /// Prometheus' word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// A group at one moment.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The path of its file.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Span,
    /// Series or alerts of a rule at most; 0 is no limit.
    pub limit: u64,
    /// Slots so far, missed ones included.
    pub iterations: u64,
    /// Slots that passed while an evaluation took too long.
    pub missed: u64,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When the last evaluation began.
    pub last_evaluation: Option<Timestamp>,
    /// In the order of their evaluation.
    pub rules: Vec<RuleView>,
}

/// A rule at one moment.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// What it says.
    pub rule: Rule,
    /// How its last evaluation went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When the last evaluation began.
    pub last_evaluation: Option<Timestamp>,
    /// Evaluations so far.
    pub evaluations: u64,
    /// Those that failed.
    pub failures: u64,
    /// Pending and firing alerts, by their labels.
    pub alerts: Vec<RuleAlert>,
}

impl RuleView {
    /// The highest state of its alerts: `firing`, `pending`, `inactive`; `unknown` before the first evaluation.
    pub fn state(&self) -> &'static str {
        match self.alerts.iter().map(|alert| alert.state).max() {
            Some(state) => state.as_str(),
            None if self.last_evaluation.is_none() => "unknown",
            None => "inactive",
        }
    }

    /// Whether any of its alerts fires.
    pub fn is_firing(&self) -> bool {
        self.alerts.iter().any(|alert| alert.state == AlertState::Firing)
    }
}

impl Group {
    /// What it looks like.
    pub fn view(&self) -> GroupView {
        let rules = self.rules.iter().map(|run| {
            let definition = run.definition(&self.key);
            let told = |(labels, alert): (&Arc<_>, &super::alerting::Active)| {
                definition.as_ref().map(|rule| alert.told(labels, rule, None))
            };
            RuleView {
                rule: run.rule.clone(),
                health: run.health,
                last_error: run.last_error.clone(),
                evaluation_time: run.evaluation_time,
                last_evaluation: run.last_evaluation,
                evaluations: run.evaluations,
                failures: run.failures,
                alerts: run.alerts.active.iter().filter_map(told).collect(),
            }
        });
        GroupView {
            name: self.spec.name.clone(),
            file: self.spec.file(),
            interval: self.interval,
            limit: self.spec.limit,
            iterations: self.iterations,
            missed: self.missed,
            evaluation_time: self.evaluation_time,
            last_evaluation: self.last_evaluation,
            rules: rules.collect(),
        }
    }
}
