//! Which SLOs are to be judged, so that a step costs what it touches and not what there is.
//!
//! SLOs wait in a queue of moments, together with all that become due at the same one. Each waits in one place: one
//! that was judged in the meantime is found not to be due when its moment comes, and moved to where it belongs.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Span, Timestamp};

/// Every SLO is judged at least this often while time passes, whether or not data arrives.
const SWEEP_EVERY: Span = Span::seconds(10);
/// SLOs with a pending or firing alert are judged at least this often.
const WATCH_EVERY: Span = Span::seconds(1);

/// SLOs by their index, the ones to judge at the end of the step among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Docket {
    entries: Vec<Entry>,
    listed: Vec<u32>,
    /// SLOs by when they are looked at next: no later than they are due.
    queue: BTreeMap<Timestamp, Vec<u32>>,
    /// No SLO was judged later.
    latest: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    judged_at: Timestamp,
    /// Where it waits in the queue; anything else in there is left over.
    queued_at: Option<Timestamp>,
    is_listed: bool,
    /// Has a pending or firing alert.
    is_active: bool,
}

/// The part of an [`Entry`] that the rest follows from.
#[derive(Serialize, Deserialize)]
struct Saved {
    judged_at: Timestamp,
    is_listed: bool,
    is_active: bool,
}

impl Entry {
    fn due_at(self) -> Timestamp {
        self.judged_at + if self.is_active { WATCH_EVERY } else { SWEEP_EVERY }
    }
}

impl Docket {
    /// Takes in one SLO more, which was never judged.
    pub(super) fn add(&mut self) {
        self.take(Entry { judged_at: Timestamp::MIN, queued_at: None, is_listed: false, is_active: false });
    }

    fn take(&mut self, entry: Entry) {
        let slo = self.entries.len() as u32;
        self.latest = self.latest.max(entry.judged_at);
        self.entries.push(entry);
        self.wait(slo, entry.due_at());
    }

    /// Has an SLO wait until `due`, unless it waits for an earlier moment.
    fn wait(&mut self, slo: u32, due: Timestamp) {
        let entry = &mut self.entries[slo as usize];
        if entry.queued_at.is_none_or(|queued_at| due < queued_at) {
            entry.queued_at = Some(due);
            self.queue.entry(due).or_default().push(slo);
        }
    }

    /// Lists an SLO, once.
    pub(super) fn list(&mut self, slo: usize) {
        if !std::mem::replace(&mut self.entries[slo].is_listed, true) {
            self.listed.push(slo as u32);
        }
    }

    /// Lists every SLO.
    pub(super) fn list_all(&mut self) {
        (0..self.entries.len()).for_each(|slo| self.list(slo));
    }

    /// When an SLO may be due, if nothing is listed before: none is earlier.
    pub(super) fn next_due(&self) -> Timestamp {
        self.queue.first_key_value().map_or(Timestamp(i64::MAX), |(at, _)| *at)
    }

    /// Lists the SLOs that were last judged too long ago.
    pub(super) fn list_due(&mut self, now: Timestamp) {
        if now < self.latest {
            // The clock went back: whatever was judged later is looked at anew, and nothing waits for what was to come.
            self.latest = now;
            self.queue.clear();
            for slo in 0..self.entries.len() {
                self.entries[slo].queued_at = None;
                if now < self.entries[slo].judged_at {
                    self.list(slo);
                } else {
                    self.wait(slo as u32, self.entries[slo].due_at());
                }
            }
        }
        while let Some(first) = self.queue.first_entry().filter(|first| *first.key() <= now) {
            let (at, waiting) = first.remove_entry();
            for slo in waiting {
                let entry = &mut self.entries[slo as usize];
                if entry.queued_at != Some(at) {
                    continue;
                }
                entry.queued_at = None;
                let due = entry.due_at();
                if due <= now {
                    self.list(slo as usize);
                } else {
                    self.wait(slo, due);
                }
            }
        }
    }

    /// Has everything listed judged, in the order of the specs. `judge` returns whether an alert of the SLO is
    /// pending or firing.
    pub(super) fn clear(&mut self, now: Timestamp, mut judge: impl FnMut(usize) -> bool) {
        if self.listed.is_empty() {
            return;
        }
        self.latest = self.latest.max(now);
        let mut listed = std::mem::take(&mut self.listed);
        listed.sort_unstable();
        // Most wait for one of two moments: those are put together here, and into the queue at once.
        let [mut active, mut quiet] = [Vec::new(), Vec::new()];
        for slo in listed.drain(..) {
            let is_active = judge(slo as usize);
            let entry = &mut self.entries[slo as usize];
            *entry = Entry { judged_at: now, is_listed: false, is_active, ..*entry };
            let due = entry.due_at();
            if entry.queued_at.is_none_or(|queued_at| due < queued_at) {
                entry.queued_at = Some(due);
                if is_active { &mut active } else { &mut quiet }.push(slo);
            }
        }
        self.listed = listed;
        for (mut waiting, after) in [(active, WATCH_EVERY), (quiet, SWEEP_EVERY)] {
            if !waiting.is_empty() {
                self.queue.entry(now + after).or_default().append(&mut waiting);
            }
        }
    }
}

/// When each SLO was judged; where it waits follows.
impl Serialize for Docket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries.iter().map(|&Entry { judged_at, is_listed, is_active, .. }| Saved {
            judged_at,
            is_listed,
            is_active,
        }))
    }
}

impl<'de> Deserialize<'de> for Docket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut docket = Self::default();
        for Saved { judged_at, is_listed, is_active } in Vec::<Saved>::deserialize(deserializer)? {
            docket.take(Entry { judged_at, queued_at: None, is_listed: false, is_active });
            if is_listed {
                docket.list(docket.entries.len() - 1);
            }
        }
        Ok(docket)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn docket(slos: usize) -> Docket {
        let mut docket = Docket::default();
        (0..slos).for_each(|_| docket.add());
        docket
    }

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
        let mut docket = docket(5);
        for slo in [4, 1, 4, 1] {
            docket.list(slo);
        }
        assert_eq!(judged(&mut docket, at(0), &[]), [1, 4]);
        assert_eq!(judged(&mut docket, at(0), &[]), [] as [usize; 0]);
    }

    #[test]
    fn what_is_not_touched_is_judged_in_time() {
        let mut docket = docket(3);
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

    proptest! {
        /// Against a look at every SLO: whatever is listed, judged and told when, also with a clock that goes back and
        /// after having been stored.
        #[test]
        fn the_queue_finds_what_a_walk_finds(
            steps in prop::collection::vec((-3_000_i64..6_000, 0_usize..6, any::<bool>(), any::<bool>()), 1..80),
        ) {
            let mut docket = docket(5);
            let mut last = [(Timestamp::MIN, false); 5];
            let mut now = at(0);
            for (step, listed, is_active, restores) in steps {
                now = now + Span(step);
                let due = |(judged_at, is_active): &(Timestamp, bool)| {
                    let every = if *is_active { WATCH_EVERY } else { SWEEP_EVERY };
                    now < *judged_at || now >= *judged_at + every
                };
                let first = last.iter().map(|(at, is_active)| *at + if *is_active { WATCH_EVERY } else { SWEEP_EVERY });
                prop_assert!(docket.next_due() <= first.min().unwrap());
                let expected: Vec<usize> = (0..5).filter(|slo| due(&last[*slo]) || *slo == listed).collect();
                docket.list_due(now);
                prop_assert!(docket.next_due() > now || docket.next_due() == Timestamp(i64::MAX));
                if listed < 5 {
                    docket.list(listed);
                }
                let active = if is_active { vec![0, 3, listed] } else { vec![1] };
                prop_assert_eq!(judged(&mut docket, now, &active), expected.clone());
                for slo in expected {
                    last[slo] = (now, active.contains(&slo));
                }
                // An alert that comes and goes every second leaves something behind for each of ten.
                prop_assert!(docket.queue.values().map(Vec::len).sum::<usize>() <= 11 * 5, "{:?}", docket.queue);
                if restores {
                    let saved = postcard::to_stdvec(&docket).unwrap();
                    docket = postcard::from_bytes(&saved).unwrap();
                    prop_assert_eq!(postcard::to_stdvec(&docket).unwrap(), saved);
                }
            }
        }
    }
}
