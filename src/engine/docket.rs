//! Which SLOs are to be judged, so that a step costs what it touches and not what there is.

use serde::{Deserialize, Serialize};

use crate::types::{Span, Timestamp};

/// Every SLO is judged at least this often while time passes, whether or not data arrives.
const SWEEP_EVERY: Span = Span::seconds(10);
/// SLOs with a pending or firing alert are judged at least this often.
const WATCH_EVERY: Span = Span::seconds(1);

/// SLOs by their index, the ones to judge at the end of the step among them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Docket {
    entries: Vec<Entry>,
    listed: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    judged_at: Timestamp,
    is_listed: bool,
    /// Has a pending or firing alert.
    is_active: bool,
}

impl Entry {
    fn due_at(self) -> Timestamp {
        self.judged_at + if self.is_active { WATCH_EVERY } else { SWEEP_EVERY }
    }

    fn is_due(self, now: Timestamp) -> bool {
        // Also when the clock went back.
        now < self.judged_at || now >= self.due_at()
    }
}

impl Docket {
    /// Nothing is listed, nothing was ever judged.
    pub(super) fn new(slos: usize) -> Self {
        let entry = Entry { judged_at: Timestamp::MIN, is_listed: false, is_active: false };
        Self { entries: vec![entry; slos], listed: Vec::new() }
    }

    /// Lists an SLO, once.
    pub(super) fn list(&mut self, slo: usize) {
        if !std::mem::replace(&mut self.entries[slo].is_listed, true) {
            self.listed.push(slo);
        }
    }

    /// Lists every SLO.
    pub(super) fn list_all(&mut self) {
        (0..self.entries.len()).for_each(|slo| self.list(slo));
    }

    /// When the first SLO is due, if nothing is listed before.
    pub(super) fn next_due(&self) -> Timestamp {
        self.entries.iter().map(|entry| entry.due_at()).min().unwrap_or(Timestamp(i64::MAX))
    }

    /// Lists the SLOs that were last judged too long ago.
    pub(super) fn list_due(&mut self, now: Timestamp) {
        for slo in 0..self.entries.len() {
            if self.entries[slo].is_due(now) {
                self.list(slo);
            }
        }
    }

    /// Has everything listed judged, in the order of the specs. `judge` returns whether an alert of the SLO is
    /// pending or firing.
    pub(super) fn clear(&mut self, now: Timestamp, mut judge: impl FnMut(usize) -> bool) {
        self.listed.sort_unstable();
        for slo in self.listed.drain(..) {
            self.entries[slo] = Entry { judged_at: now, is_listed: false, is_active: judge(slo) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 + millis)
    }

    fn judged(docket: &mut Docket, now: Timestamp, active: &[usize]) -> Vec<usize> {
        let mut judged = Vec::new();
        docket.clear(now, |slo| {
            judged.push(slo);
            active.contains(&slo)
        });
        judged
    }

    #[test]
    fn what_is_touched_is_judged_once_and_in_order() {
        let mut docket = Docket::new(5);
        for slo in [4, 1, 4, 1] {
            docket.list(slo);
        }
        assert_eq!(judged(&mut docket, at(0), &[]), [1, 4]);
        assert_eq!(judged(&mut docket, at(0), &[]), [] as [usize; 0]);
    }

    #[test]
    fn what_is_not_touched_is_judged_in_time() {
        let mut docket = Docket::new(3);
        docket.list_due(at(0));
        assert_eq!(judged(&mut docket, at(0), &[2]), [0, 1, 2]);
        docket.list_due(at(999));
        assert_eq!(judged(&mut docket, at(999), &[2]), [] as [usize; 0]);
        docket.list_due(at(1_000));
        assert_eq!(judged(&mut docket, at(1_000), &[]), [2]);
        docket.list(1);
        assert_eq!(judged(&mut docket, at(5_000), &[]), [1]);
        docket.list_due(at(10_000));
        assert_eq!(judged(&mut docket, at(10_000), &[]), [0], "1 and 2 were judged since");
        docket.list_due(at(4_000));
        assert_eq!(judged(&mut docket, at(4_000), &[]), [0, 1], "the clock went back");
    }
}
