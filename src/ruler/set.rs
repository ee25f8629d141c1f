//! All groups: which is due, and what a reload keeps.

use std::sync::Arc;

use crate::promql::Needed;
use crate::ruler::group::mark_stale;
use crate::ruler::restore::SavedGroup;
use crate::ruler::{Ground, Group, GroupView, RuleAlert, RuleStore, Saved, Setting};
use crate::spec::RuleGroup;
use crate::types::{Labels, Span, Timestamp};

/// The groups in force. See the module.
#[derive(Clone, Debug)]
pub struct Ruler {
    setting: Setting,
    /// By file and name.
    groups: Vec<Group>,
    departed: Vec<Departed>,
}

/// The series of a group that is gone. They are marked after two intervals: a rule that was renamed or moved to another
/// group has written them again by then, and refuses the marker.
#[derive(Clone, Debug)]
struct Departed {
    due: Timestamp,
    marked_at: Timestamp,
    series: Vec<Arc<Labels>>,
}

/// A group's slot that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which group.
    pub group: usize,
    /// The time its rules are evaluated for.
    pub slot: Timestamp,
}

impl Ruler {
    /// Groups that begin at `now`, with the alerts that an earlier process has recorded.
    pub fn new(groups: &[RuleGroup], setting: Setting, saved: Option<&Saved>, now: Timestamp) -> Self {
        let mut ruler = Self { setting, groups: Vec::new(), departed: Vec::new() };
        for spec in groups {
            let mut group = Group::new(spec, &ruler.setting, now, true);
            if let Some(saved) = saved {
                group.restore(saved, now);
            }
            ruler.groups.push(group);
        }
        ruler.sort();
        ruler
    }

    /// Evaluation begins at `now`, later than when the groups were made.
    pub fn begin(&mut self, now: Timestamp) {
        for group in &mut self.groups {
            group.schedule(now);
        }
    }

    fn sort(&mut self) {
        self.groups.sort_by_cached_key(|group| (group.spec.file(), group.spec.name.clone(), Arc::clone(&group.key)));
    }

    /// What holds for all groups.
    pub const fn setting(&self) -> &Setting {
        &self.setting
    }

    /// In the order of file and name.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One of them.
    pub fn group_mut(&mut self, at: usize) -> Option<&mut Group> {
        self.groups.get_mut(at)
    }

    /// One of them, to be evaluated under the setting.
    pub fn group_and_setting(&mut self, at: usize) -> Option<(&mut Group, &Setting)> {
        Some((self.groups.get_mut(at)?, &self.setting))
    }

    /// Has other groups hold from `now` on. One that is as it was goes on; a changed one begins anew with the alerts and
    /// series of its rules. Returns the alerts that end because their rule is gone.
    pub fn reload(&mut self, groups: &[RuleGroup], now: Timestamp) -> Vec<RuleAlert> {
        let mut ended = Vec::new();
        let mut before = std::mem::take(&mut self.groups);
        for spec in groups {
            let at = before.iter().position(|group| *group.key == *spec.key());
            let old = at.map(|at| before.swap_remove(at));
            self.groups.push(match old {
                Some(old) if *old.spec == *spec => old,
                old => {
                    let mut group = Group::new(spec, &self.setting, now, false);
                    if let Some(old) = old {
                        ended.extend(group.take_over(old, now));
                    }
                    group
                }
            });
        }
        for mut gone in before {
            ended.extend(gone.end(now));
            let due = now + gone.interval + gone.interval;
            let marked_at = now - gone.query_offset;
            self.departed.push(Departed { due, marked_at, series: gone.series() });
        }
        self.sort();
        ended
    }

    /// When something is to be done next.
    pub fn next(&self) -> Option<Timestamp> {
        let groups = self.groups.iter().map(Group::next);
        groups.chain(self.departed.iter().map(|departed| departed.due)).min()
    }

    /// A group whose slot has come at `now`, the one that has waited longest first.
    pub fn due(&mut self, now: Timestamp) -> Option<Due> {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by_key(|at| self.groups[*at].next());
        order.into_iter().find_map(|group| Some(Due { group, slot: self.groups[group].take_slot(now)? }))
    }

    /// Marks the series of groups that are gone, where it is time.
    pub fn mark_departed(&mut self, store: &dyn RuleStore, now: Timestamp) {
        for departed in self.departed.extract_if(.., |departed| departed.due <= now) {
            mark_stale(departed.series.into_iter(), departed.marked_at, store);
        }
    }

    /// Does everything that is due at `now`; for those who do not measure how long it takes.
    pub fn step(&mut self, now: Timestamp, store: &dyn RuleStore) -> Vec<RuleAlert> {
        let mut changed = Vec::new();
        self.mark_departed(store, now);
        while let Some(Due { group, slot }) = self.due(now) {
            let group = &mut self.groups[group];
            let ground = Ground { store, setting: &self.setting, should_stop: &|| false };
            changed.extend(group.evaluate(slot, &ground));
            if group.restores_now() {
                group.restore_from_storage(store, now);
            }
        }
        changed
    }

    /// The alerts, to be kept over a restart.
    pub fn save(&self) -> Saved {
        Saved { groups: self.groups.iter().filter_map(SavedGroup::of).collect() }
    }

    /// What the groups look like.
    pub fn views(&self) -> Vec<Arc<GroupView>> {
        self.groups.iter().map(|group| Arc::new(group.view())).collect()
    }

    /// How far back the rules of these groups look, where that does not depend on the query itself.
    pub fn reach(groups: &[RuleGroup], setting: &Setting) -> Span {
        let of_group = |group: &RuleGroup| {
            let offset = group.query_offset.unwrap_or(setting.query_offset);
            let needed = group.rules.iter().flat_map(|rule| rule.expr.needed());
            needed.filter_map(|needed| needed.reach).max().map(|reach| reach + setting.lookback + offset)
        };
        groups.iter().filter_map(of_group).max().unwrap_or(Span::ZERO)
    }

    /// The series that the rules of these groups ask for.
    pub fn needed(groups: &[RuleGroup]) -> Vec<Needed> {
        groups.iter().flat_map(|group| &group.rules).flat_map(|rule| rule.expr.needed()).collect()
    }
}
