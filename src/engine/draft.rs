//! Snapshots, made a few views at a time, so that ten thousand SLOs that changed do not hold up the next step.

use std::sync::Arc;

use crate::engine::{Engine, SloView, Snapshot, Stats};
use crate::rollout::ServiceView;
use crate::types::Timestamp;

/// A snapshot that is being made.
#[derive(Debug, Default)]
pub(super) struct Draft {
    slos: Vec<Arc<SloView>>,
    services: Vec<Arc<ServiceView>>,
    /// The SLO whose views are made next.
    next_slo: usize,
}

impl Engine {
    /// What every SLO looks like since it was last judged; unchanged ones are shared with earlier snapshots.
    pub fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        self.draft = Draft::default();
        loop {
            if let Some(snapshot) = self.snapshot_on(now, usize::MAX) {
                return snapshot;
            }
        }
    }

    /// Goes on with a snapshot: looks at so many SLOs and services more, and returns it once that was all. What changes
    /// in the meantime shows in some of them: each view is of one moment, and none is older than the beginning.
    pub fn snapshot_on(&mut self, now: Timestamp, count: usize) -> Option<Snapshot> {
        let mut draft = std::mem::take(&mut self.draft);
        if draft.next_slo == 0 {
            draft.slos.reserve_exact(self.judges.len());
        }
        let until = self.slos.len().min(draft.next_slo.saturating_add(count));
        let left = count - (until - draft.next_slo);
        for slo in draft.next_slo..until {
            self.views(slo, &mut draft.slos);
        }
        draft.next_slo = until;
        let first = draft.services.len();
        let services = first..self.releases.len().min(first.saturating_add(left));
        draft.services.extend(services.map(|at| self.service_view(at)));
        if draft.next_slo < self.slos.len() || draft.services.len() < self.releases.len() {
            self.draft = draft;
            return None;
        }
        let stats = Stats { series: self.table.len(), wire_keys: self.table.wire_keys(), ..self.stats.clone() };
        Some(Snapshot { at: now, slos: draft.slos, services: draft.services, stats })
    }
}
