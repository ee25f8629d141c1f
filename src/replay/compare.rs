//! Two sets of specs judged by the same recording, side by side.

use std::collections::BTreeMap;

use crate::replay::summary::SloSummary;

/// One SLO in both sets; at least one side has it.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// In the set under test.
    pub rules: Option<&'a SloSummary>,
    /// In the set it is compared with.
    pub against: Option<&'a SloSummary>,
}

impl Pair<'_> {
    /// `service/slo`, and the group if it is one.
    pub fn id(&self) -> &str {
        self.rules.or(self.against).map_or("", |summary| &summary.title)
    }
}

/// The SLOs of both sets: those of `rules` in their order, then those only `against` has.
pub fn pairs<'a>(rules: &'a [SloSummary], against: &'a [SloSummary]) -> Vec<Pair<'a>> {
    let mut others: BTreeMap<&str, &SloSummary> = against.iter().map(|s| (s.title.as_str(), s)).collect();
    let mut pairs: Vec<Pair<'_>> = rules
        .iter()
        .map(|summary| Pair { rules: Some(summary), against: others.remove(summary.title.as_str()) })
        .collect();
    let left = against.iter().filter(|summary| others.contains_key(summary.title.as_str()));
    pairs.extend(left.map(|summary| Pair { rules: None, against: Some(summary) }));
    pairs
}
