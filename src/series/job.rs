//! Since when each job has been watched: what a start timestamp on a new target's first scrape is measured against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::types::{Span, Timestamp};

/// A new target must have been scraped this soon after it began to count, or what it counted is history that somebody
/// else watched: Prometheus' lookback.
const NEW_TARGET: Span = Span::minutes(5);

/// Jobs with a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Jobs(BTreeMap<Box<str>, Job>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    since: Timestamp,
    targets: u32,
}

impl Jobs {
    pub(super) fn add_target(&mut self, job: &str) {
        if let Some(known) = self.0.get_mut(job) {
            known.targets += 1;
        } else {
            self.0.insert(job.into(), Job { since: Timestamp(i64::MAX), targets: 1 });
        }
    }

    pub(super) fn remove_target(&mut self, job: &str) {
        if let Some(known) = self.0.get_mut(job) {
            known.targets -= 1;
            if known.targets == 0 {
                self.0.remove(job);
            }
        }
    }

    /// A target of the job has a sample at `at`.
    pub(super) fn watched(&mut self, job: &str, at: Timestamp) {
        if let Some(known) = self.0.get_mut(job) {
            known.since = known.since.min(at);
        }
    }

    /// Whether a target that began at `start` and was first scraped at `at` is a new one of a job that was already
    /// being watched. Targets without a job have nothing in common.
    pub(super) fn watched_at(&self, job: &str, start: Timestamp, at: Timestamp) -> bool {
        let since = self.0.get(job).filter(|_| !job.is_empty()).map(|job| job.since);
        since.is_some_and(|since| start > since) && at.since(start) <= NEW_TARGET
    }
}
