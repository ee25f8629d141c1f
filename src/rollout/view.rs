//! What is shown of a service's releases.

use std::sync::Arc;

use crate::canary::{Policy, Ruling};
use crate::rollout::{Actor, Ending};
use crate::spec::{ArgoRollout, Origin};
use crate::types::Timestamp;

/// A service with a `canary` block or a budget policy.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Where it is defined.
    pub origin: Origin,
    /// The share of the budget, 0 to 1, below which nothing is released.
    pub freeze_below: Option<f64>,
    /// Why the budget policy lets nothing be released now.
    pub frozen: Option<String>,
    /// Of a service with a `canary` block.
    pub canary: Option<CanaryView>,
}

/// How a service's releases are doing.
#[derive(Clone, Debug)]
pub struct CanaryView {
    /// The version that candidates are compared with.
    pub stable: Option<String>,
    /// Versions with samples lately, by name.
    pub live: Vec<String>,
    /// The Rollout that is told.
    pub argo: Option<ArgoRollout>,
    /// The rollout in progress.
    pub current: Option<Arc<RolloutView>>,
    /// Those that ended, the newest first.
    pub past: Vec<Arc<RolloutView>>,
}

/// One rollout.
#[derive(Clone, Debug)]
pub struct RolloutView {
    /// `service/version@milliseconds`
    pub id: String,
    /// The candidate.
    pub version: String,
    /// What it is compared with.
    pub baseline: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// Who or what began it.
    pub by: String,
    /// When its newest change was committed.
    pub committed_at: Option<Timestamp>,
    /// All steps.
    pub steps: Vec<StepView>,
    /// Index of the step at hand.
    pub step: usize,
    /// What it is judged by, once both arms have data.
    pub policy: Option<Arc<Policy>>,
    /// The latest verdict, current or final.
    pub verdict: Option<Arc<Ruling>>,
    /// Who paused it.
    pub paused: Option<Actor>,
    /// When, how and why it ended.
    pub ended: Option<(Timestamp, Ending, String)>,
    /// Records made, the number of the next one.
    pub records: u64,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Percent of the traffic.
    pub weight: Option<f64>,
    /// When it began.
    pub began: Option<Timestamp>,
    /// When it was promoted.
    pub promoted: Option<Timestamp>,
}

impl CanaryView {
    /// The newest rollout of a version, in progress or over; of any version where none is named.
    pub fn rollout(&self, version: Option<&str>) -> Option<&Arc<RolloutView>> {
        let mut all = self.current.iter().chain(&self.past);
        all.find(|rollout| version.is_none_or(|version| rollout.version == version))
    }
}
