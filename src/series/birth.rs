//! Births: does a new series' first value count from zero?
//!
//! Yes when a known series of the same metric on the same target has a sample at the same time, in whichever order the
//! two arrive.

use serde::{Deserialize, Serialize};

use crate::types::{Span, Timestamp};

/// Times at which a metric was live that are remembered, for births that arrive after their neighbours.
const LIVE_LIMIT_TIMES: usize = 4;
/// Births that wait for a neighbour, for each target; the oldest gives way and does not count.
const WAITING_LIMIT_BIRTHS: usize = 4_096;
/// A birth waits no longer than this for a neighbour at its time.
const WAIT: Span = Span::minutes(5);

/// When the metrics of a target were live, and who waits to know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Births {
    metrics: Vec<Metric>,
    waiting: Vec<Birth>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Metric {
    name: u32,
    /// A ring of the latest times at which a known series had a sample.
    live: [Timestamp; LIVE_LIMIT_TIMES],
    next: u8,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Birth {
    /// Index of the series in its target.
    series: u32,
    metric: u32,
    at: Timestamp,
}

impl Births {
    /// The place of the metric with this name.
    pub(super) fn metric(&mut self, name: u32) -> u32 {
        let known = self.metrics.iter().position(|m| m.name == name);
        let index = known.unwrap_or_else(|| {
            self.metrics.push(Metric { name, live: [Timestamp::MIN; LIVE_LIMIT_TIMES], next: 0 });
            self.metrics.len() - 1
        });
        index as u32
    }

    /// Whether a known series of `metric` had a sample at `at`, as far as is remembered.
    pub(super) fn was_live(&self, metric: u32, at: Timestamp) -> bool {
        self.metrics[metric as usize].live.contains(&at)
    }

    /// Notes that a known series of `metric` has a sample at `at`; returns the series whose births this decides.
    pub(super) fn mark_live(&mut self, metric: u32, at: Timestamp) -> Vec<u32> {
        let known = &mut self.metrics[metric as usize];
        if known.live.contains(&at) {
            return Vec::new();
        }
        known.live[usize::from(known.next)] = at;
        known.next = (known.next + 1) % LIVE_LIMIT_TIMES as u8;
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let decided = self.waiting.iter().filter(|b| b.metric == metric && b.at == at).map(|b| b.series).collect();
        self.waiting.retain(|b| !(b.metric == metric && b.at == at) && b.at + WAIT >= at);
        decided
    }

    /// Remembers a first sample whose neighbours may still arrive.
    pub(super) fn await_neighbour(&mut self, series: u32, metric: u32, at: Timestamp) {
        if self.waiting.len() == WAITING_LIMIT_BIRTHS {
            self.waiting.remove(0);
        }
        self.waiting.push(Birth { series, metric, at });
    }
}
