//! Which series are kept.

use std::collections::BTreeMap;

use crate::types::{Labels, METRIC_NAME, Selector};

/// Selectors by the metric name they pin, so that a new series is compared with few of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    by_name: BTreeMap<Box<str>, Vec<Selector>>,
    unnamed: Vec<Selector>,
}

impl Selection {
    pub fn new(selectors: &[Selector]) -> Self {
        let mut selection = Self::default();
        for selector in selectors {
            match selector.metric_name() {
                Some(name) => selection.by_name.entry(name.into()).or_default().push(selector.clone()),
                None => selection.unnamed.push(selector.clone()),
            }
        }
        selection
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.unnamed.is_empty()
    }

    pub fn selects(&self, labels: &Labels) -> bool {
        let named = labels.get(METRIC_NAME).and_then(|name| self.by_name.get(name));
        named.into_iter().flatten().chain(&self.unnamed).any(|selector| selector.matches(labels))
    }
}
