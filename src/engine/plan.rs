//! What the specs say of an SLO, worked out once for all of its groups.
//!
//! An evaluation reads the conditions here and nothing else of the specs: no text, no label.

use std::sync::Arc;

use crate::alert::AlertRule;
use crate::engine::rules::{self, Annotations};
use crate::sli::Rules;
use crate::spec::{Counting, Service, Severity, Slo, Tier, naming};
use crate::types::{Labels, Objective, Span};

/// Different rules, and different lists of conditions, that those of a new plan are compared with: the latest.
const COMMON_COUNT: usize = 32;

/// How one SLO is judged.
#[derive(Debug)]
pub(super) struct Plan {
    /// How its events are counted.
    pub(super) rules: Arc<Rules>,
    pub(super) objective: Objective,
    pub(super) for_: Span,
    pub(super) keep_firing_for: Span,
    /// Of the policy's tiers, then of the budget, then of missing data.
    pub(super) conditions: Arc<[Condition]>,
    /// What the alerts on the conditions say, those on one severity's tiers the same.
    annotations: Box<[Annotations]>,
    /// Index of its SLI among all.
    pub(super) sli: usize,
    service: Arc<Service>,
    /// Index into the service's.
    slo: usize,
}

/// What plans have in common: most SLOs are judged alike, and what all of them read is near when one is judged.
#[derive(Debug, Default)]
pub(super) struct Common {
    rules: Vec<Arc<Rules>>,
    conditions: Vec<Arc<[Condition]>>,
}

/// Something that alerts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) kind: ConditionKind,
    /// Neither disabled nor out of reach.
    pub(super) enabled: bool,
}

/// What an alert waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ConditionKind {
    /// Both windows, by their index, burn faster than the tier allows.
    Burn { tier: Tier, short: usize, long: usize, min_events: u64 },
    /// Less than this percentage of the budget is left.
    BudgetBelow(f64),
    /// There is no data.
    NoData(Severity),
}

impl ConditionKind {
    /// Whether an alert on `other` is one on this after a change of the specs, which may have changed the factor.
    pub(super) fn goes_on_from(self, other: Self) -> bool {
        match (self, other) {
            (Self::Burn { tier: a, .. }, Self::Burn { tier: b, .. }) => {
                (a.severity, a.short, a.long) == (b.severity, b.short, b.long)
            }
            (Self::BudgetBelow(a), Self::BudgetBelow(b)) => a == b,
            (Self::NoData(_), Self::NoData(_)) => true,
            _ => false,
        }
    }
}

impl Plan {
    /// Of the service's SLO of this index, which watches the SLI of that index among all.
    pub(super) fn new(service: &Arc<Service>, slo: usize, sli: usize, counting: Counting, common: &mut Common) -> Self {
        let spec = &service.slos[slo];
        let mut windows = spec.alerting.policy.windows();
        if let Err(at) = windows.binary_search(&naming::CURRENT_WINDOW) {
            windows.insert(at, naming::CURRENT_WINDOW);
        }
        let index = |span: Span| windows.binary_search(&span).unwrap_or_default();
        let budget = spec.objective.budget();
        let tiers = spec.alerting.policy.tiers.iter().map(|&tier| Condition {
            kind: ConditionKind::Burn {
                tier,
                short: index(tier.short),
                long: index(tier.long),
                min_events: spec.min_events(&tier),
            },
            enabled: !spec.alerting.severity(tier.severity).disabled && tier.is_reachable(budget),
        });
        let always = |kind| Condition { kind, enabled: true };
        let budgets = spec.alerting.budget_remaining.iter().map(|&percent| always(ConditionKind::BudgetBelow(percent)));
        let no_data = spec.accounting.alert_no_data.map(|severity| always(ConditionKind::NoData(severity)));
        let conditions = known_or_new(&mut common.conditions, tiers.chain(budgets).chain(no_data).collect());
        let rules = Rules { counting, period: spec.period.clone(), accounting: spec.accounting.clone(), windows };
        Self {
            rules: known_or_new(&mut common.rules, Arc::new(rules)),
            objective: spec.objective,
            for_: spec.alerting.for_,
            keep_firing_for: spec.alerting.keep_firing_for,
            annotations: annotations(spec, &conditions),
            conditions,
            sli,
            service: Arc::clone(service),
            slo,
        }
    }

    /// As it is in the specs.
    pub(super) fn slo(&self) -> &Slo {
        &self.service.slos[self.slo]
    }

    /// The service's name.
    pub(super) fn service(&self) -> &str {
        &self.service.name
    }

    /// `service/slo`
    pub(super) fn id(&self) -> String {
        naming::slo_path(&self.service, self.slo())
    }

    /// The service's labels and the SLO's, and the group's.
    pub(super) fn labels(&self, group: &Labels) -> Labels {
        self.service.labels.clone().merged(&self.slo().labels).merged(group)
    }

    /// What the SLO counts, and in what units: equal text, equal history.
    pub(super) fn definition(&self) -> String {
        let slo = self.slo();
        let inputs = self.service.slis[slo.sli].inputs();
        format!("{inputs} {:?} {:?}", slo.accounting.budgeting, slo.accounting.group_by)
    }

    /// The alerts on the conditions, for one group.
    pub(super) fn alert_rules(&self, group: &Labels) -> Box<[Arc<AlertRule>]> {
        let place = (Arc::clone(&self.service), self.slo);
        let rule = |(condition, annotations): (&Condition, &Arc<_>)| {
            let annotations = Arc::clone(annotations);
            match condition.kind {
                ConditionKind::Burn { tier, .. } => rules::tier_rule(&place, group, &tier, annotations),
                ConditionKind::BudgetBelow(percent) => rules::budget_rule(&place, group, percent, annotations),
                ConditionKind::NoData(severity) => rules::no_data_rule(&place, group, severity, annotations),
            }
        };
        self.conditions.iter().zip(&self.annotations).map(rule).collect()
    }
}

/// The same that a plan has already, if it is among the latest that were new.
fn known_or_new<T: PartialEq + ?Sized>(known: &mut Vec<Arc<T>>, new: Arc<T>) -> Arc<T> {
    if let Some(same) = known.iter().rev().take(COMMON_COUNT).find(|known| **known == new) {
        return Arc::clone(same);
    }
    known.push(Arc::clone(&new));
    new
}

fn annotations(slo: &Slo, conditions: &[Condition]) -> Box<[Annotations]> {
    let [page, ticket] = [Severity::Page, Severity::Ticket].map(|severity| naming::alert_annotations(slo, severity));
    let [page, ticket] = [page, ticket].map(|annotations| shared(&annotations));
    let of = |condition: &Condition| match condition.kind {
        ConditionKind::Burn { tier, .. } => match tier.severity {
            Severity::Page => Arc::clone(&page),
            Severity::Ticket => Arc::clone(&ticket),
        },
        ConditionKind::BudgetBelow(percent) => shared(&naming::budget_alert_annotations(slo, percent)),
        ConditionKind::NoData(severity) => shared(&naming::no_data_alert_annotations(slo, severity)),
    };
    conditions.iter().map(of).collect()
}

fn shared(annotations: &[(String, String)]) -> Annotations {
    // Copies have no room left over, as what is put together piece by piece has.
    annotations.iter().map(|(name, text)| (name.as_str().to_owned(), text.as_str().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_share_what_is_the_same_in_the_latest() {
        let mut known = Vec::new();
        let first = known_or_new(&mut known, Arc::new(0));
        assert!(Arc::ptr_eq(&known_or_new(&mut known, Arc::new(0)), &first));
        for other in 1..=COMMON_COUNT {
            assert_eq!(*known_or_new(&mut known, Arc::new(other)), other);
        }
        assert!(!Arc::ptr_eq(&known_or_new(&mut known, Arc::new(0)), &first));
        assert_eq!(known.len(), COMMON_COUNT + 2);
    }
}
