//! What a service's spec says of its rollouts: the streams of events, and which of them a judge's streams are.

use std::sync::Arc;

use crate::canary::{Judge, Measure, StreamSpec};
use crate::rollout::versions::{Sums, buckets, rates};
use crate::spec::{Canary, CanaryCheck, Counting, Service, Stream, strata_names};

/// What a rollout is judged by, fixed by the spec.
#[derive(Debug)]
pub(super) struct Plan {
    pub service: Arc<Service>,
    pub canary: Arc<Canary>,
    pub streams: Vec<Stream>,
    /// Of each stream's SLI.
    pub countings: Vec<Counting>,
}

impl Plan {
    /// The stream a check looks at.
    pub fn stream_of(&self, check: &CanaryCheck) -> Option<u32> {
        let names = strata_names(&check.strata);
        let is_it = |stream: &Stream| {
            (stream.sli, stream.is_latency) == (check.sli, check.quantile.is_some()) && stream.names() == names
        };
        self.streams.iter().position(is_it).map(|at| at as u32)
    }

    /// Where each of a judge's streams comes from; `None` where the spec no longer says.
    pub fn feeds(&self, judge: &Judge) -> Vec<Option<(u32, u32)>> {
        let feed = |wanted: &StreamSpec| {
            let is_latency = matches!(wanted.measure, Measure::Latency { .. });
            self.streams.iter().enumerate().find_map(|(at, stream)| {
                let is_it = stream.is_latency == is_latency && self.service.slis[stream.sli].name == wanted.sli;
                let stratum = match &wanted.stratum {
                    None => stream.strata.is_empty().then_some(0),
                    Some(name) => stream.names().iter().position(|other| other == name),
                };
                Some((at as u32, stratum.filter(|_| is_it)? as u32))
            })
        };
        judge.streams().map(feed).collect()
    }

    /// What the judge's stream counts of some events.
    pub fn counts(&self, stream: u32, wanted: &StreamSpec, sums: &Sums) -> Vec<f64> {
        match &wanted.measure {
            Measure::Latency { layout, .. } => buckets(sums, layout),
            Measure::Success | Measure::Errors => rates(sums, self.countings[stream as usize]),
        }
    }
}
