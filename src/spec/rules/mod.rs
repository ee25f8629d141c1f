//! Prometheus' rules: rule files and `PrometheusRule` objects, as the daemon evaluates them.

mod expression;
mod parse;

use std::sync::Arc;

use crate::promql::Query;
use crate::spec::Origin;
use crate::types::Span;

pub(crate) use parse::{file, object};

/// Names and values, sorted by name; those with an empty value take a label away. Values of alerting rules are Go
/// templates.
pub type RuleLabels = Vec<(String, String)>;

/// Rules that are evaluated together, one after the other, at the same times.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    /// Unique within its file, or its object.
    pub name: String,
    /// `namespace/name` of a `PrometheusRule`; empty in a rule file.
    pub object: String,
    /// How often; the default where there is none.
    pub interval: Option<Span>,
    /// How long before the time of the evaluation the rules look, and write.
    pub query_offset: Option<Span>,
    /// Series of a recording rule, and alerts of an alerting rule, at most; 0 is no limit.
    pub limit: u64,
    /// In the order of their evaluation.
    pub rules: Vec<Rule>,
    /// Where it is defined.
    pub origin: Origin,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What becomes of the result.
    pub kind: RuleKind,
    /// What is evaluated.
    pub expr: Arc<Query>,
    /// The group's and its own.
    pub labels: RuleLabels,
    /// Where it is defined.
    pub origin: Origin,
}

/// What becomes of a rule's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// It is a series' new sample.
    Record {
        /// The series' name.
        name: String,
    },
    /// Each of its series is an alert.
    Alert {
        /// `alertname`
        name: String,
        /// A series has to be there this long before its alert fires.
        for_: Span,
        /// An alert fires this long after its series is gone.
        keep_firing_for: Span,
        /// Go templates.
        annotations: RuleLabels,
    },
}

impl Rule {
    /// The series' or the alert's name.
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Record { name } | RuleKind::Alert { name, .. } => name,
        }
    }
}

/// Rules that mean the same, wherever they stand.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.labels == other.labels && self.expr.to_string() == other.expr.to_string()
    }
}

impl RuleGroup {
    /// What tells it from every other group, over reloads and restarts.
    pub fn key(&self) -> String {
        format!("{};{};{}", self.file(), self.object, self.name)
    }

    /// The path as it was given.
    pub fn file(&self) -> String {
        self.origin.file.display().to_string()
    }
}

/// Groups under the same key that evaluate the same at the same times.
impl PartialEq for RuleGroup {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
            && self.interval == other.interval
            && self.query_offset == other.query_offset
            && self.limit == other.limit
            && self.rules == other.rules
    }
}
