//! The validated form of a service's specification. Values here are meaningful by construction: the parser
//! reports everything that is not.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::spec::Policy;
use crate::types::{Labels, Matcher, Objective, Selector, Span};

/// One service: its SLIs, defined once, and the SLOs that use them.
#[derive(Clone, Debug)]
pub struct Service {
    /// `metadata.name`
    pub name: String,
    /// `metadata.labels`, on every series and alert of the service.
    pub labels: Labels,
    /// The label whose values tell releases apart; events are also counted per value of it.
    pub version_label: Option<String>,
    /// In the order written; names are unique.
    pub slis: Vec<Sli>,
    /// In the order written; names are unique.
    pub slos: Vec<Slo>,
    /// Where the document starts.
    pub origin: Origin,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, as named on the command line or found under a folder named there.
    pub file: Arc<PathBuf>,
    /// One-based.
    pub line: u32,
}

/// A named service level indicator.
#[derive(Clone, Debug)]
pub struct Sli {
    /// Unique within the service.
    pub name: String,
    /// What it counts.
    pub kind: SliKind,
    /// Where it is defined.
    pub origin: Origin,
}

/// The kinds of SLI. Matched only in [`Sli::inputs`]: every later stage works on [`Inputs`].
#[derive(Clone, Debug)]
pub enum SliKind {
    /// Counters of good or bad, and of all events.
    Events(Events),
    /// A histogram of durations and the slowest duration that still counts as good.
    Latency(Latency),
}

/// Counters of events.
#[derive(Clone, Debug)]
pub struct Events {
    /// What is counted over `total`.
    pub numerator: Numerator,
    /// All events.
    pub total: Selector,
}

/// Which share of the events a selector counts.
#[derive(Clone, Debug)]
pub enum Numerator {
    /// The good ones; bad = total - good.
    Good(Selector),
    /// The bad ones.
    Bad(Selector),
}

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The histogram's base name and matchers, without `_bucket` and `le`.
    pub histogram: Selector,
    /// An event at or under this is good; in the histogram's own unit.
    pub threshold: f64,
}

/// What any SLI comes down to: two sums of counters.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Good or bad events.
    pub numerator: Numerator,
    /// All events.
    pub total: Selector,
    /// The same from a native histogram, where one arrives in place of the counters.
    pub native: Option<Latency>,
}

/// `bad: S total: S`: two SLIs with equal text count the same.
impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.numerator {
            Numerator::Good(good) => write!(f, "good: {good} total: {}", self.total)?,
            Numerator::Bad(bad) => write!(f, "bad: {bad} total: {}", self.total)?,
        }
        let Some(native) = &self.native else { return Ok(()) };
        write!(f, " native: {} up to {}", native.histogram, native.threshold)
    }
}

impl Sli {
    /// The counters this SLI is computed from.
    pub fn inputs(&self) -> Inputs {
        match &self.kind {
            SliKind::Events(events) => {
                Inputs { numerator: events.numerator.clone(), total: events.total.clone(), native: None }
            }
            SliKind::Latency(latency) => {
                let base = latency.histogram.metric_name().unwrap_or_default();
                let bucket = latency.histogram.with_metric_name(&format!("{base}_bucket"));
                Inputs {
                    numerator: Numerator::Good(bucket.and(Matcher::number("le", latency.threshold))),
                    total: latency.histogram.with_metric_name(&format!("{base}_count")),
                    native: Some(latency.clone()),
                }
            }
        }
    }
}

/// A service level objective.
#[derive(Clone, Debug)]
pub struct Slo {
    /// Unique within the service.
    pub name: String,
    /// Free text, for people.
    pub description: String,
    /// Index into [`Service::slis`].
    pub sli: usize,
    /// The share of events that must be good.
    pub objective: Objective,
    /// The rolling period of the error budget.
    pub period: Span,
    /// On the SLO's series and alerts, over the service's labels.
    pub labels: Labels,
    /// When to page and ticket.
    pub alerting: Alerting,
    /// Where it is defined.
    pub origin: Origin,
}

/// When and how an SLO alerts.
#[derive(Clone, Debug)]
pub struct Alerting {
    /// The `alertname` of burn-rate alerts.
    pub name: String,
    /// Windows and factors.
    pub policy: Policy,
    /// On all alerts of the SLO.
    pub labels: Labels,
    /// On all alerts of the SLO; values are Go templates as in Prometheus' rules.
    pub annotations: Vec<(String, String)>,
    /// Fast burn: wakes somebody.
    pub page: SeverityOptions,
    /// Slow burn: a task for working hours.
    pub ticket: SeverityOptions,
    /// A condition must hold this long before it fires.
    pub for_: Span,
    /// A firing alert stays so this long after its condition ends.
    pub keep_firing_for: Span,
    /// Fewer events than this in a tier's long window never fire it. `None`: the smallest count at which
    /// one error alone cannot trip the tier.
    pub min_events: Option<u64>,
    /// Alert when the remaining budget falls below these percentages, descending.
    pub budget_remaining: Vec<f64>,
}

/// What is special to one severity.
#[derive(Clone, Debug, Default)]
pub struct SeverityOptions {
    /// No alert of this severity.
    pub disabled: bool,
    /// Over the SLO's alert labels.
    pub labels: Labels,
    /// Over the SLO's alert annotations.
    pub annotations: Vec<(String, String)>,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Fast burn.
    Page,
    /// Slow burn.
    Ticket,
}

impl Severity {
    /// The word used in specs, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Alerting {
    /// The options of one severity.
    pub const fn severity(&self, severity: Severity) -> &SeverityOptions {
        match severity {
            Severity::Page => &self.page,
            Severity::Ticket => &self.ticket,
        }
    }

    /// Alert labels of a severity as the user wrote them, the severity's own over the common ones.
    pub fn labels_of(&self, severity: Severity) -> Labels {
        self.labels.clone().merged(&self.severity(severity).labels)
    }

    /// Annotation templates of a severity as the user wrote them, the severity's own over the common ones.
    pub fn annotations_of(&self, severity: Severity) -> Vec<(String, String)> {
        let own = &self.severity(severity).annotations;
        let common = self.annotations.iter().filter(|(name, _)| own.iter().all(|(n, _)| n != name));
        common.chain(own).cloned().collect()
    }
}
