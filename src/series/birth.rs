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
    /// No birth that waits would be later.
    waiting_until: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Metric {
    name: Box<str>,
    /// Without any its place may be another's.
    series: u32,
    /// A ring of the latest times at which a known series had a sample.
    live: [Timestamp; LIVE_LIMIT_TIMES],
    next: u8,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Birth {
    /// Index of the series in its target; its first sample says of which time the birth would be.
    series: u32,
    metric: u32,
}

impl Births {
    /// One more series of the metric with this name; the metric's place.
    pub(super) fn join(&mut self, name: &str) -> u32 {
        let known = self.metrics.iter().position(|metric| &*metric.name == name);
        let place = known.unwrap_or_else(|| {
            let new = Metric { name: name.into(), series: 0, live: [Timestamp::MIN; LIVE_LIMIT_TIMES], next: 0 };
            let left = self.metrics.iter().position(|metric| metric.series == 0);
            match left {
                Some(place) => self.metrics[place] = new,
                None => self.metrics.push(new),
            }
            left.unwrap_or(self.metrics.len() - 1)
        });
        self.metrics[place].series += 1;
        place as u32
    }

    /// A series of the metric in this place is forgotten.
    pub(super) fn leave(&mut self, series: u32, metric: u32) {
        self.metrics[metric as usize].series -= 1;
        self.waiting.retain(|birth| birth.series != series);
    }

    /// Whether a known series of `metric` had a sample at `at`, as far as is remembered.
    #[inline]
    pub(super) fn was_live(&self, metric: u32, at: Timestamp) -> bool {
        self.metrics[metric as usize].live.contains(&at)
    }

    /// Notes that a known series of `metric` has a sample at `at`, where none [`was_live`](Self::was_live) yet; returns
    /// the series whose births this decides.
    /// `first_at` is the time of a series' first sample, while that is known.
    pub(super) fn mark_live(
        &mut self,
        metric: u32,
        at: Timestamp,
        first_at: impl Fn(u32) -> Option<Timestamp>,
    ) -> Vec<u32> {
        let known = &mut self.metrics[metric as usize];
        known.live[usize::from(known.next)] = at;
        known.next = (known.next + 1) % LIVE_LIMIT_TIMES as u8;
        // First samples only ever turn out to be earlier, so nearly always nothing is decided.
        if self.waiting.is_empty() || self.waiting_until < at && at <= self.waiting_until + WAIT {
            return Vec::new();
        }
        let mut decided = Vec::new();
        self.waiting.retain(|birth| {
            if birth.metric != metric {
                return true;
            }
            let first_at = first_at(birth.series);
            if first_at == Some(at) {
                decided.push(birth.series);
            }
            first_at.is_some_and(|first_at| first_at != at && first_at + WAIT >= at)
        });
        if self.waiting.is_empty() {
            // All series of a new target have waited; most likely that was it.
            self.waiting = Vec::new();
        }
        decided
    }

    /// Remembers a first sample at this time whose neighbours may still arrive.
    pub(super) fn await_neighbour(&mut self, series: u32, metric: u32, at: Timestamp) {
        self.waiting_until = self.waiting_until.max(at);
        if self.waiting.len() == WAITING_LIMIT_BIRTHS {
            self.waiting.remove(0);
        }
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.reserve_exact((self.waiting.len() / 8).max(4));
        }
        self.waiting.push(Birth { series, metric });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_and_go_take_no_room() {
        let mut births = Births::default();
        let kept = births.join("kept_total");
        births.mark_live(kept, Timestamp(15), |_| None);
        for number in 0..100 {
            let metric = births.join(&format!("m{number}_total"));
            assert!(!births.was_live(metric, Timestamp(15)), "that was another");
            births.mark_live(metric, Timestamp(15), |_| None);
            births.await_neighbour(number, metric, Timestamp(15));
            births.leave(number, metric);
        }
        assert_eq!((births.metrics.len(), births.waiting.len()), (2, 0));
        assert!(births.was_live(kept, Timestamp(15)));
        assert_eq!(births.join("kept_total"), kept);
    }
}
