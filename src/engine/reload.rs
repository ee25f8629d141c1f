//! New specs under a running engine: what an SLO counted so far stays with it.
//!
//! History belongs to what an SLO is called (`service/slo`) and to what its SLI counts. Labels, annotations, windows,
//! objective and period may change and lose nothing; when the SLI counts something else the SLO starts a new
//! revision with an empty history, because the old figures say nothing about the new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::Alert;
use crate::engine::slo::Judge;
use crate::engine::{Engine, SliRun};
use crate::spec::Service;
use crate::types::{Labels, Timestamp};

/// What a reload meant for the SLOs, each list in the order of the specs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// SLOs that were not there before.
    pub added: Vec<String>,
    /// SLOs that are gone; their alerts are resolved.
    pub removed: Vec<String>,
    /// SLOs whose SLI counts something else now and whose history starts anew.
    pub restarted: Vec<String>,
}

impl Engine {
    /// Goes on under these services.
    pub(super) fn reload(&mut self, services: &[Service], now: Timestamp, alerts: &mut Vec<Alert>) -> Reloaded {
        // What waits for the rest of its scrape is bound to the old specs.
        self.settle(Timestamp(i64::MAX), now, alerts);
        let mut new = Self::new(services, self.settings.clone(), now);
        std::mem::swap(&mut new.table, &mut self.table);
        std::mem::swap(&mut new.workers, &mut self.workers);
        // Every series is met anew, and finds what it counts for now.
        new.table.unbind();
        std::mem::swap(&mut new.time, &mut self.time);
        std::mem::swap(&mut new.stats, &mut self.stats);
        std::mem::swap(&mut new.ha, &mut self.ha);
        let mut old = std::mem::replace(self, new);
        adopt_versions(&mut self.slis, old.slis);
        self.records.append(&mut old.records);
        self.releases.adopt(std::mem::take(&mut old.releases), now, &mut self.records);
        for (signal, (_, selector)) in self.signals.iter_mut().zip(&self.signal_slos) {
            if let Some(same) = old.signal_slos.iter().position(|(_, old)| old == selector) {
                signal.clone_from(&old.signals[same]);
            }
        }
        let mut reloaded = Reloaded::default();
        let key = |judge: &Judge| (judge.id().to_owned(), judge.group().clone());
        let mut judges: BTreeMap<(String, Labels), Judge> =
            old.judges.drain(..).map(|judge| (key(&judge), judge)).collect();
        // Groups are made when they are seen; these have been.
        for slo in 0..self.slos.len() {
            let before = old.slos.iter().find(|old| old.id() == self.slos[slo].id());
            if before.is_some_and(|before| before.group_by() == self.slos[slo].group_by()) {
                let id = self.slos[slo].id();
                for (_, group) in judges.keys().filter(|(of, _)| *of == id) {
                    self.judge_of(slo, group.clone(), now);
                }
            }
        }
        for judge in &mut self.judges {
            let Some(old) = judges.remove(&key(judge)) else {
                reloaded.added.push(judge.title());
                continue;
            };
            if !judge.adopt(&old, now, alerts) {
                reloaded.restarted.push(judge.title());
            }
        }
        for judge in judges.into_values() {
            judge.end(now, alerts);
            reloaded.removed.push(judge.title());
        }
        self.docket.list_all();
        self.judge(now, alerts);
        reloaded
    }
}

/// Releases and values stay with an SLI of the same service and name that counts the same.
fn adopt_versions(slis: &mut [SliRun], old: Vec<SliRun>) {
    let kept = old.into_iter().map(|sli| (sli.definition, (sli.versions, sli.values)));
    let mut kept: BTreeMap<Arc<str>, _> = kept.collect();
    for sli in slis {
        if let Some(kept) = kept.remove(&sli.definition) {
            (sli.versions, sli.values) = kept;
        }
    }
}
