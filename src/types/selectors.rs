//! Many selectors, and the few of them that a series has to be compared with.

use std::collections::BTreeMap;

use crate::types::{LabelSet, METRIC_NAME, Selector};

/// The label that tells services apart which share a metric's name: there are thousands of them.
const JOB: &str = "job";

/// Selectors, each with what it stands for, by the metric name and the job that they pin.
#[derive(Clone, Debug)]
pub struct Selectors<M> {
    all: Vec<(Selector, M)>,
    by_name: BTreeMap<Box<str>, ByJob>,
    unnamed: ByJob,
}

/// Places of selectors by the job that they pin.
#[derive(Clone, Debug, Default)]
struct ByJob {
    pinned: BTreeMap<Box<str>, Vec<usize>>,
    any: Vec<usize>,
}

impl<M> Default for Selectors<M> {
    fn default() -> Self {
        Self { all: Vec::new(), by_name: BTreeMap::new(), unnamed: ByJob::default() }
    }
}

impl<M> Selectors<M> {
    /// Adds one more.
    pub fn add(&mut self, selector: Selector, what: M) {
        let by_job = match selector.metric_name() {
            Some(name) => self.by_name.entry(name.into()).or_default(),
            None => &mut self.unnamed,
        };
        match selector.pinned(JOB) {
            Some(job) => by_job.pinned.entry(job.into()).or_default().push(self.all.len()),
            None => by_job.any.push(self.all.len()),
        }
        self.all.push((selector, what));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that pin neither another metric name nor another job than these labels have.
    pub fn candidates<'a>(&'a self, labels: &'a impl LabelSet) -> impl Iterator<Item = &'a (Selector, M)> {
        let job = labels.get(JOB).unwrap_or_default();
        let named = self.by_name.get(labels.get(METRIC_NAME).unwrap_or_default());
        let by_job = named.into_iter().chain([&self.unnamed]);
        let places =
            by_job.flat_map(move |by_job| by_job.any.iter().chain(by_job.pinned.get(job).into_iter().flatten()));
        places.map(|place| &self.all[*place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Labels, Matcher};

    #[test]
    fn no_selector_that_matches_is_left_out() {
        let mut selectors = Selectors::default();
        let all = [
            vec![Matcher::equal(METRIC_NAME, "up"), Matcher::equal("job", "a")],
            vec![Matcher::equal(METRIC_NAME, "up"), Matcher::equal("job", "")],
            vec![Matcher::equal(METRIC_NAME, "up"), Matcher::not_equal("job", "b")],
            vec![Matcher::equal("job", "b")],
            vec![Matcher::regex(METRIC_NAME, "u.*").unwrap()],
            vec![Matcher::equal(METRIC_NAME, "down")],
        ];
        for (number, matchers) in all.iter().enumerate() {
            selectors.add(Selector::new(matchers.clone()), number);
        }
        for (labels, expected) in [
            (Labels::new().with(METRIC_NAME, "up").with("job", "a"), vec![0, 2, 4]),
            (Labels::new().with(METRIC_NAME, "up").with("job", "b"), vec![3, 4]),
            (Labels::new().with(METRIC_NAME, "up"), vec![1, 2, 4]),
            (Labels::new().with(METRIC_NAME, "down").with("job", "b"), vec![3, 5]),
        ] {
            let matching = selectors.candidates(&labels).filter(|(selector, _)| selector.matches(&labels));
            let mut found: Vec<usize> = matching.map(|(_, number)| *number).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{labels}");
        }
    }
}
