//! Rule groups on series in memory, at times of the test's choosing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use sloburn::promql::{
    Data, EvalLimits, Evaluation, ParseLimits, Query, Selection, SeriesView, Storage, StorageError, Value, instant,
};
use sloburn::ruler::{AppendError, Ground, Group, RuleAlert, RuleStore, Setting};
use sloburn::spec::{RuleGroup, Source, read};
use sloburn::types::{Labels, Span, Timestamp};

use crate::promql::{memory, notation};

/// The promql tests' memory, which rules can write to.
#[derive(Default)]
pub struct Memory {
    samples: RefCell<memory::Memory>,
    newest: RefCell<BTreeMap<Arc<Labels>, (Timestamp, u64)>>,
}

impl Storage for Memory {
    fn select(
        &self,
        selection: &Selection<'_>,
        visit: &mut dyn FnMut(SeriesView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.samples.borrow().select(selection, visit)
    }
}

impl RuleStore for Memory {
    fn append(&self, labels: &Arc<Labels>, at: Timestamp, value: &Value) -> Result<(), AppendError> {
        let bits = match value {
            Value::Float(value) => value.to_bits(),
            Value::Histogram(_) => 0,
        };
        match self.newest.borrow().get(labels) {
            Some((newest, _)) if at < *newest => return Err(AppendError::OutOfOrder),
            Some((newest, same)) if at == *newest && bits == *same => return Ok(()),
            Some((newest, _)) if at == *newest => return Err(AppendError::Duplicate),
            _ => {}
        }
        self.newest.borrow_mut().insert(Arc::clone(labels), (at, bits));
        self.samples.borrow_mut().push(labels, at.0, None, value.clone());
        Ok(())
    }
}

/// A few groups and their storage.
pub struct Bench {
    pub store: Memory,
    pub groups: Vec<Group>,
    pub setting: Setting,
}

impl Bench {
    /// The groups of a rule file in the order of the text; alerts write series from the beginning.
    pub fn new(rules: &str) -> Self {
        let mut setting = Setting::new("http://slo.example/".parse().unwrap());
        setting.external_labels.set("cluster", "eu");
        let groups = groups(rules).iter().map(|group| Group::new(group, &setting, Timestamp(0), false)).collect();
        Self { store: Memory::default(), groups, setting }
    }

    /// Adds a series in promql's notation, a value each `interval` from the epoch.
    pub fn load(&self, series: &str, values: &str, interval: Span) {
        let (labels, items) = notation::series(&format!("{series} {values}")).unwrap();
        let labels = Arc::new(labels);
        for (at, item) in items.into_iter().enumerate() {
            if let Some(value) = item.value {
                self.store.append(&labels, Timestamp(at as i64 * interval.0), &value).unwrap();
            }
        }
    }

    /// Evaluates every group for a time. The alerts that changed.
    pub fn evaluate(&mut self, at: Timestamp) -> Vec<RuleAlert> {
        let ground = Ground { store: &self.store, setting: &self.setting, should_stop: &|| false };
        self.groups.iter_mut().flat_map(|group| group.evaluate(at, &ground)).collect()
    }

    /// The rules whose last evaluation failed: name and error.
    pub fn errors(&self) -> Vec<(String, String)> {
        let views = self.groups.iter().map(Group::view);
        let rules = views.flat_map(|view| view.rules);
        rules.filter_map(|rule| Some((rule.rule.name().to_owned(), rule.last_error?))).collect()
    }

    /// An instant query.
    pub fn query(&self, text: &str, at: Timestamp) -> Vec<(Arc<Labels>, f64)> {
        let query = Query::parse(text, &ParseLimits::default()).unwrap();
        let evaluation = Evaluation {
            storage: &self.store,
            lookback: Span::minutes(5),
            subquery_step: Span::minutes(1),
            limits: EvalLimits::default(),
            should_stop: &|| false,
        };
        let Data::Vector(samples) = instant(&query, at, &evaluation).unwrap().data else { panic!("{text}") };
        let float = |value: &Value| match value {
            Value::Float(value) => *value,
            Value::Histogram(_) => panic!("{text}"),
        };
        samples.iter().map(|sample| (Arc::clone(&sample.labels), float(&sample.value))).collect()
    }
}

/// The groups of a rule file.
#[track_caller]
pub fn groups(rules: &str) -> Vec<RuleGroup> {
    let (specs, report) = read(&[Source::new("rules.yaml", rules)]);
    assert!(!report.has_errors(), "{}\n{rules}", report.render(false));
    specs.groups
}
