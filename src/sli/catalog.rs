//! Which series count for which SLI.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::{Numerator, Service};
use crate::types::{Labels, METRIC_NAME, Selector};

/// The labels that name a scrape target.
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// An SLI of the loaded specs, by its position among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliId(pub u32);

/// What a series contributes to an SLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Good or bad events, as the SLI is written.
    Numerator,
    /// All events.
    Total,
}

/// One use of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Match {
    /// The SLI it counts for.
    pub sli: SliId,
    /// As what.
    pub role: Role,
}

/// Every selector of every SLI, indexed by metric name and job: thousands of services share a metric's name.
#[derive(Debug, Default)]
pub struct Catalog {
    rules: Vec<Rule>,
    by_name: BTreeMap<Box<str>, ByJob>,
    unnamed: ByJob,
}

/// Indices of rules by the job that their selectors pin.
#[derive(Debug, Default)]
struct ByJob {
    pinned: BTreeMap<Box<str>, Vec<usize>>,
    any: Vec<usize>,
}

#[derive(Debug)]
struct Rule {
    selector: Selector,
    matched: Match,
}

impl Catalog {
    /// All selectors of the services' SLIs; [`SliId`]s count SLIs in the order given.
    pub fn new(services: &[Service]) -> Self {
        let mut catalog = Self::default();
        for (id, sli) in services.iter().flat_map(|s| &s.slis).enumerate() {
            let inputs = sli.inputs();
            let (Numerator::Good(numerator) | Numerator::Bad(numerator)) = inputs.numerator;
            for (selector, role) in [(numerator, Role::Numerator), (inputs.total, Role::Total)] {
                catalog.add(selector, Match { sli: SliId(id as u32), role });
            }
        }
        catalog
    }

    fn add(&mut self, selector: Selector, matched: Match) {
        let at = self.rules.len();
        let by_job = match selector.metric_name() {
            Some(name) => self.by_name.entry(name.into()).or_default(),
            None => &mut self.unnamed,
        };
        match selector.pinned(JOB) {
            Some(job) => by_job.pinned.entry(job.into()).or_default().push(at),
            None => by_job.any.push(at),
        }
        self.rules.push(Rule { selector, matched });
    }

    /// The SLIs a series counts for.
    ///
    /// `None`: none, and no series of the same metric on the same target can count either. An empty list:
    /// none, but its presence can prove that another series of its metric and target was born.
    pub fn find(&self, labels: &Labels) -> Option<Vec<Match>> {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let job = labels.get(JOB).unwrap_or_default();
        let named = self.by_name.get(name).into_iter().chain([&self.unnamed]);
        let related: Vec<&Rule> = named
            .flat_map(|by_job| by_job.any.iter().chain(by_job.pinned.get(job).into_iter().flatten()))
            .map(|&at| &self.rules[at])
            .filter(|rule| rule.selector.matches_metric_name(name) && on_same_target(&rule.selector, labels))
            .collect();
        if related.is_empty() {
            return None;
        }
        let matching = related.iter().filter(|rule| rule.selector.matches(labels));
        Some(matching.map(|rule| rule.matched.clone()).collect())
    }
}

/// Whether the selector can match some series of this one's target.
fn on_same_target(selector: &Selector, labels: &Labels) -> bool {
    let of_target = selector.matchers().iter().filter(|m| matches!(&*m.name, JOB | INSTANCE));
    of_target.into_iter().all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
}
