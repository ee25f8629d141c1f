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
    /// The series belongs to a classic histogram: it does not count what a native one of the same labels counts.
    pub is_classic: bool,
}

/// One use of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeMatch {
    /// The SLI whose total and numerator it counts for.
    pub sli: SliId,
    /// Events of at most this value are the numerator.
    pub threshold: f64,
}

/// Every selector of every SLI, indexed by metric name and job: thousands of services share a metric's name.
#[derive(Debug, Default)]
pub struct Catalog {
    rules: Rules<Match>,
    native: Rules<NativeMatch>,
}

#[derive(Debug)]
struct Rules<M> {
    all: Vec<Rule<M>>,
    by_name: BTreeMap<Box<str>, ByJob>,
    unnamed: ByJob,
}

impl<M> Default for Rules<M> {
    fn default() -> Self {
        Self { all: Vec::new(), by_name: BTreeMap::new(), unnamed: ByJob::default() }
    }
}

/// Indices of rules by the job that their selectors pin.
#[derive(Debug, Default)]
struct ByJob {
    pinned: BTreeMap<Box<str>, Vec<usize>>,
    any: Vec<usize>,
}

#[derive(Debug)]
struct Rule<M> {
    selector: Selector,
    matched: M,
}

impl Catalog {
    /// All selectors of the services' SLIs; [`SliId`]s count SLIs in the order given.
    pub fn new(services: &[Service]) -> Self {
        let mut catalog = Self::default();
        for (id, sli) in services.iter().flat_map(|s| &s.slis).enumerate() {
            let inputs = sli.inputs();
            let (Numerator::Good(numerator) | Numerator::Bad(numerator)) = inputs.numerator;
            let (sli, is_classic) = (SliId(id as u32), inputs.native.is_some());
            for (selector, role) in [(numerator, Role::Numerator), (inputs.total, Role::Total)] {
                catalog.rules.add(selector, Match { sli, role, is_classic });
            }
            if let Some(latency) = inputs.native {
                catalog.native.add(latency.histogram, NativeMatch { sli, threshold: latency.threshold });
            }
        }
        catalog
    }

    /// The SLIs a series of samples counts for.
    ///
    /// `None`: none, and no series of the same metric on the same target can count either. An empty list:
    /// none, but its presence can prove that another series of its metric and target was born.
    pub fn find(&self, labels: &Labels) -> Option<Vec<Match>> {
        self.rules.find(labels)
    }

    /// The same for a series of native histograms.
    pub fn find_native(&self, labels: &Labels) -> Option<Vec<NativeMatch>> {
        self.native.find(labels)
    }
}

impl<M: Clone> Rules<M> {
    fn add(&mut self, selector: Selector, matched: M) {
        let at = self.all.len();
        let by_job = match selector.metric_name() {
            Some(name) => self.by_name.entry(name.into()).or_default(),
            None => &mut self.unnamed,
        };
        match selector.pinned(JOB) {
            Some(job) => by_job.pinned.entry(job.into()).or_default().push(at),
            None => by_job.any.push(at),
        }
        self.all.push(Rule { selector, matched });
    }

    fn find(&self, labels: &Labels) -> Option<Vec<M>> {
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let job = labels.get(JOB).unwrap_or_default();
        let named = self.by_name.get(name).into_iter().chain([&self.unnamed]);
        let related: Vec<&Rule<M>> = named
            .flat_map(|by_job| by_job.any.iter().chain(by_job.pinned.get(job).into_iter().flatten()))
            .map(|&at| &self.all[at])
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
