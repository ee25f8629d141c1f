//! SLOs and their groups: one judge for each value of the labels that an SLO groups by, made when it is first seen.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::plan::Plan;
use crate::engine::slo::Judge;
use crate::engine::{Engine, SloView};
use crate::sli::Signal;
use crate::types::{Labels, Timestamp};

/// Groups of one SLO at most: a new one takes the place of one that was silent for a whole period, and where there is
/// none its series do not count.
pub const GROUPS_LIMIT_COUNT: usize = 1_000;

/// One SLO of the specs.
#[derive(Debug)]
pub(super) struct SloRun {
    plan: Arc<Plan>,
    judges: Groups,
    /// What is shown of an SLO of which no group was seen yet.
    blank: Option<Box<Judge>>,
    /// Indices of the signals that exclude its events.
    signals: Range<usize>,
}

/// Judges by the values of the labels that an SLO groups by, in that order; one, without any, if it does not. Most SLOs
/// have that one, so it is the only one there is room for.
#[derive(Debug, Default)]
struct Groups(Vec<(Labels, u32)>);

impl Groups {
    fn get(&self, group: &Labels) -> Option<usize> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(group)).ok()?;
        Some(self.0[at].1 as usize)
    }

    fn insert(&mut self, group: Labels, judge: usize) {
        if let Err(at) = self.0.binary_search_by(|(known, _)| known.cmp(&group)) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, (group, judge as u32));
        }
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(_, judge)| *judge as usize)
    }
}

impl SloRun {
    pub(super) fn new(plan: Plan, signals: Range<usize>) -> Self {
        Self { plan: Arc::new(plan), judges: Groups::default(), blank: None, signals }
    }

    /// Its service's name.
    pub(super) fn service(&self) -> &str {
        self.plan.service()
    }

    /// `service/slo`
    pub(super) fn id(&self) -> String {
        self.plan.id()
    }

    pub(super) fn group_by(&self) -> &[String] {
        &self.plan.slo().accounting.group_by
    }

    /// Whether a series excludes events of that moment.
    pub(super) fn is_signalled<'s>(&'s self, signals: &'s [Signal]) -> impl Fn(Timestamp) -> bool + 's {
        move |at| signals[self.signals.clone()].iter().any(|signal| signal.is_on(at))
    }

    pub(super) fn judges(&self) -> impl Iterator<Item = usize> {
        self.judges.indices()
    }
}

impl Engine {
    /// The judges of the SLOs that do not group, and what is shown of those that do.
    pub(super) fn make_judges(&mut self, now: Timestamp) {
        self.judges.reserve_exact(self.slos.len());
        for slo in 0..self.slos.len() {
            if self.slos[slo].group_by().is_empty() {
                self.judge_of(slo, Labels::new(), now);
            } else {
                self.slos[slo].blank = Some(Box::new(self.make_judge(slo, Labels::new(), now)));
            }
        }
    }

    /// The index of the judge of a group, which is made if it is new; `None` when there are too many.
    pub(super) fn judge_of(&mut self, slo: usize, group: Labels, now: Timestamp) -> Option<usize> {
        if let Some(judge) = self.slos[slo].judges.get(&group) {
            return Some(judge);
        }
        let index = if self.slos[slo].judges.0.len() < GROUPS_LIMIT_COUNT {
            let judge = self.make_judge(slo, group.clone(), now).beside(self.table.current_save());
            self.judges.push(judge);
            self.docket.add();
            self.judges.len() - 1
        } else if let Some(index) = self.forget_group(slo, now) {
            let judge = self.make_judge(slo, group.clone(), now);
            self.judges[index].replace(judge, self.table.current_save());
            self.docket.list(index);
            index
        } else {
            self.stats.groups_refused_series += 1;
            return None;
        };
        self.slos[slo].judges.insert(group, index);
        Some(index)
    }

    /// Makes room for a group: takes out the first that has been silent for a whole period.
    fn forget_group(&mut self, slo: usize, now: Timestamp) -> Option<usize> {
        let groups = &self.slos[slo].judges;
        let silent = groups.indices().position(|judge| self.judges[judge].is_forgotten(now))?;
        let (_, index) = self.slos[slo].judges.0.remove(silent);
        // Whoever is like one of its series counted for the group that is gone.
        self.alike.clear();
        Some(index as usize)
    }

    /// The judge that a series counts for.
    pub(super) fn judge_for(&mut self, slo: usize, labels: &Labels, now: Timestamp) -> Option<usize> {
        // As in PromQL's `sum by`, a label that is not there has an empty value, which is none.
        let names = self.slos[slo].group_by().iter();
        let pairs = names.map(|name| (name.as_str(), labels.get(name).unwrap_or_default()));
        let group = Labels::from_pairs(pairs).unwrap_or_default();
        self.judge_of(slo, group, now)
    }

    fn make_judge(&self, slo: usize, group: Labels, now: Timestamp) -> Judge {
        Judge::new(&self.slos[slo].plan, slo, group, now)
    }

    /// What an SLO and its groups look like, in the order of the groups' labels.
    pub(super) fn views(&mut self, slo: usize, views: &mut Vec<Arc<SloView>>) {
        let slo = &mut self.slos[slo];
        match &mut slo.blank {
            Some(blank) if slo.judges.0.is_empty() => views.push(blank.view(&self.slis)),
            _ => views.extend(slo.judges.indices().map(|judge| self.judges[judge].view(&self.slis))),
        }
    }
}
