//! How a service's releases are judged: the `canary` block and the `budgetPolicy`.

use serde::{Deserialize, Serialize};

use crate::spec::{Origin, WeekTime};
use crate::types::{Labels, Matcher, Selector, Span};

/// When the budget policy lets no release go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPolicy {
    /// The share of the budget, 0 to 1, below which nothing is released.
    pub freeze_below: f64,
}

/// How a service's releases are judged.
#[derive(Clone, Debug)]
pub struct Canary {
    /// What a candidate is compared with.
    pub baseline: Baseline,
    /// Between two looks of threshold tests.
    pub every: Span,
    /// Of threshold tests and of rates shown.
    pub window: Span,
    /// The chance that a harmless candidate is never taken back, 0 to 1 and exclusive.
    pub confidence: f64,
    /// At least one.
    pub steps: Vec<Step>,
    /// At least one.
    pub checks: Vec<CanaryCheck>,
    /// From the start of a rollout to the pause at the latest.
    pub deadline: Span,
    /// A candidate is not promoted then.
    pub not_between: Vec<WeekTime>,
    /// If there are any, a rollout that starts outside of them is paused.
    pub start_between: Vec<WeekTime>,
    /// A gauge that is the candidate's weight in percent, such as `flagger_canary_weight{name="pay"}`: steps follow it.
    pub weight: Option<Selector>,
    /// The Argo Rollout that is told, where a receiver for Argo is configured.
    pub argo: Option<ArgoRollout>,
    /// Where the block is.
    pub origin: Origin,
}

/// A Rollout in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgoRollout {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What a candidate is compared with.
#[derive(Clone, Debug)]
pub enum Baseline {
    /// The version promoted last, or the one that was there first.
    Stable,
    /// The version that appeared before it.
    Previous,
    /// All series with these labels, whatever their version.
    Selector(Vec<Matcher>),
}

/// A step of exposure.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name given, the weight as `5%`, or the cohort.
    pub name: String,
    /// Percent of the traffic, 0 to 100.
    pub weight: Option<f64>,
    /// The traffic that gets the candidate; empty for all alike.
    pub cohort: Vec<Matcher>,
    /// How long it lasts at least.
    pub hold: Span,
    /// Events of the candidate it takes at least.
    pub min_samples: u64,
}

/// A check of an SLI or an SLO.
#[derive(Clone, Debug)]
pub struct CanaryCheck {
    /// Unique in the block: the name given, or made of what it asks, such as `latency p99`.
    pub name: String,
    /// Index into the service's SLIs; of the SLO's where an SLO was named.
    pub sli: usize,
    /// Of a latency, 0 to 1 and exclusive; `None` for the share of bad events, or of good ones where that is limited
    /// from below.
    pub quantile: Option<f64>,
    /// What its figure may be.
    pub bound: Bound,
    /// How it decides.
    pub test: Test,
    /// What harm leads to.
    pub action: Action,
    /// Cohorts that are compared each within itself. Events of none of them are compared among each other.
    pub strata: Vec<Vec<Matcher>>,
    /// Where it is written.
    pub origin: Origin,
}

/// Events of one SLI that the judge wants told apart by version and cohort.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Index into the service's SLIs.
    pub sli: usize,
    /// By bucket of its histogram; else good and bad.
    pub is_latency: bool,
    /// A series belongs to the first cohort that it is in, else to one more for the rest; empty for all together.
    pub strata: Vec<Vec<Matcher>>,
}

impl Stream {
    /// The place of a series among the strata.
    pub fn stratum(&self, labels: &Labels) -> usize {
        let is_in = |cohort: &[Matcher]| cohort.iter().all(|m| m.matches_in(labels));
        self.strata.iter().position(|cohort| is_in(cohort)).unwrap_or(self.strata.len())
    }

    /// The strata's names, that of the rest among them; empty for all together.
    pub fn names(&self) -> Vec<String> {
        strata_names(&self.strata)
    }
}

/// `merchant=~"test-.*"`
pub fn cohort_name(cohort: &[Matcher]) -> String {
    cohort.iter().map(Matcher::to_string).collect::<Vec<_>>().join(",")
}

/// The names of strata, that of the rest among them; empty for all together.
pub fn strata_names(strata: &[Vec<Matcher>]) -> Vec<String> {
    let cohorts: Vec<String> = strata.iter().map(|cohort| cohort_name(cohort)).collect();
    let rest = (!cohorts.is_empty()).then(|| format!("all but {}", cohorts.join(" and ")));
    cohorts.into_iter().chain(rest).collect()
}

/// How much an arm may differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    /// In the unit of the figure: a rate's points as a fraction (0.3 points are 0.003), seconds.
    Absolute(f64),
    /// In proportion to the baseline: 0.2 is 20 %.
    Relative(f64),
}

/// When the canary does harm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// Its figure is above this.
    Above(f64),
    /// Its figure is below this.
    Below(f64),
    /// Its figure is below the baseline's by more than this.
    DropOver(Amount),
    /// Its figure is worse than the baseline's by more than this: a success rate lower, error rate or latency higher.
    RegressionOver(Amount),
    /// Its error ratio spends the budget at more than `factor` times the pace that would last the period, and did over
    /// the last `lasting`.
    BurnRateOver {
        /// Burn rate, 1 lasts the period.
        factor: f64,
        /// The share of events that may be bad.
        budget: f64,
        /// How long it must have burnt.
        lasting: Span,
    },
}

/// How a check decides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Valid however often one looks; bounded by the rollout's confidence.
    Sequential,
    /// The plain rule on a sliding window, as operators and Argo have it: no bound on wrong rollbacks.
    Threshold {
        /// Events of each arm in the window before it is looked at.
        min_samples: u64,
        /// Looks in a row that must agree.
        consecutive: u32,
        /// Weight of the newest look in a moving average, 0 to 1; `None` for the window alone.
        ewma: Option<f64>,
    },
}

/// What harm leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Take the version back.
    Rollback,
    /// Stop and ask.
    Pause,
}

impl Canary {
    /// What the checks look at, each once.
    pub fn streams(&self) -> Vec<Stream> {
        let mut streams: Vec<Stream> = Vec::new();
        for check in &self.checks {
            let stream = Stream { sli: check.sli, is_latency: check.quantile.is_some(), strata: check.strata.clone() };
            let is_same = |other: &Stream| {
                (other.sli, other.is_latency) == (stream.sli, stream.is_latency) && other.names() == stream.names()
            };
            if !streams.iter().any(is_same) {
                streams.push(stream);
            }
        }
        streams
    }

    /// The step that a weight of so many percent belongs to: the first that is not below it, else the last.
    pub fn step_of_weight(&self, percent: f64) -> Option<usize> {
        let weights = || self.steps.iter().enumerate().filter_map(|(at, step)| Some((at, step.weight?)));
        weights().find(|(_, weight)| *weight >= percent).or_else(|| weights().next_back()).map(|(at, _)| at)
    }
}
