//! The validated form of a service's specification. Values here are meaningful by construction: the parser
//! reports everything that is not.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::spec::{Accounting, BudgetPolicy, Canary, Period, Policy, QueryEvents, Tier, When};
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
    pub slis: Arc<[Sli]>,
    /// In the order written; names are unique.
    pub slos: Arc<[Slo]>,
    /// When no release goes on.
    pub budget_policy: Option<BudgetPolicy>,
    /// How its releases are judged.
    pub canary: Option<Arc<Canary>>,
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
    /// A gauge that is 1 where all is well, such as `probe_success` or `up`: each sample is one event.
    Probe(Selector),
    /// A gauge and the values that are good: each sample is one event.
    Gauge(Gauge),
    /// Events by PromQL, or a share of them.
    Query(QueryEvents),
}

/// Counters of events.
#[derive(Clone, Debug)]
pub struct Events {
    /// What is counted over `total`.
    pub numerator: Numerator,
    /// All events.
    pub total: Sum,
}

/// Which share of the events is counted over the total.
#[derive(Clone, Debug)]
pub enum Numerator {
    /// The good ones; bad = total - good.
    Good(Sum),
    /// The bad ones.
    Bad(Sum),
}

/// Counters added up and subtracted, `a{...} + b{...} - c{...}`; a series that is not there counts nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum(Vec<Summand>);

/// One selector of a [`Sum`].
#[derive(Clone, Debug, PartialEq)]
pub struct Summand {
    /// The series.
    pub selector: Selector,
    /// Subtracted from the others.
    pub negative: bool,
}

/// A histogram of durations.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The histogram's base name and matchers, without `_bucket` and `le`.
    pub histogram: Selector,
    /// An event at or under this is good; in the histogram's own unit.
    pub threshold: f64,
}

/// A gauge whose samples are events.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// The gauge.
    pub metric: Selector,
    /// Which values are good.
    pub good: Condition,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// How it compares with `limit`.
    pub is: Comparison,
    /// In the metric's own unit; finite.
    pub limit: f64,
}

/// How a value compares with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// What any SLI comes down to: what its series count, and what they are read as.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What the terms of [`Role::Numerator`] count.
    pub counting: Counting,
    /// Every selector.
    pub terms: Vec<Term>,
    /// The same from a native histogram, where one arrives in place of the counters.
    pub native: Option<Latency>,
    /// What values its samples have is of interest, beside how many are good.
    pub shows_values: bool,
}

/// One selector of an SLI.
#[derive(Clone, Debug)]
pub struct Term {
    /// The series.
    pub selector: Selector,
    /// What their events count as.
    pub role: Role,
    /// Subtracted from the other terms of the role.
    pub negative: bool,
    /// What their samples mean.
    pub reads: Reads,
}

/// What a series contributes to an SLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Good or bad events, as the SLI is written.
    Numerator,
    /// All events.
    Total,
}

/// Whether an SLI's numerator counts good or bad events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// bad = total - numerator
    Good,
    /// bad = numerator
    Bad,
}

/// What the samples of a series mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reads {
    /// Each increase is so many events.
    Counter,
    /// Each sample is one event, and one for the numerator too unless its value satisfies the condition.
    Gauge(Condition),
    /// Excludes events while it is 1, and counts none. No [`Term`] does; see [`When::While`].
    Signal,
    /// As `Counter` and `Gauge`, for the judge of releases. No [`Term`] does, nor those below; see [`Canary`].
    Judged(Option<Condition>),
    /// The events up to a bucket's bound, for the judge of releases: the bits of the bound, which is above zero.
    Bucket(u64),
    /// A candidate's weight in percent.
    Weight,
    /// 1 while a Rollout is in the phase that its label says.
    Phase,
}

/// A probe reports 1 for success; what lies between is taken for the nearer one.
const PROBE_SUCCEEDED: Condition = Condition { is: Comparison::Above, limit: 0.5 };

impl Sli {
    /// What is evaluated on the store, where the stream cannot serve the SLI.
    pub const fn query(&self) -> Option<&QueryEvents> {
        match &self.kind {
            SliKind::Query(query) => Some(query),
            _ => None,
        }
    }

    /// What this SLI is computed from.
    pub fn inputs(&self) -> Inputs {
        match &self.kind {
            SliKind::Events(events) => {
                let (counting, numerator) = match &events.numerator {
                    Numerator::Good(good) => (Counting::Good, good),
                    Numerator::Bad(bad) => (Counting::Bad, bad),
                };
                let terms = numerator.terms(Role::Numerator).chain(events.total.terms(Role::Total));
                Inputs { counting, terms: terms.collect(), native: None, shows_values: false }
            }
            SliKind::Latency(latency) => {
                let base = latency.histogram.metric_name().unwrap_or_default();
                let bucket = latency.histogram.with_metric_name(&format!("{base}_bucket"));
                let fast = Sum::from(bucket.and(Matcher::number("le", latency.threshold)));
                let count = Sum::from(latency.histogram.with_metric_name(&format!("{base}_count")));
                let terms = fast.terms(Role::Numerator).chain(count.terms(Role::Total)).collect();
                Inputs { counting: Counting::Good, terms, native: Some(latency.clone()), shows_values: false }
            }
            SliKind::Query(query) => {
                let numerator = Sum::from(query.selector(query.numerator_word()));
                let total = Sum::from(query.selector("total"));
                let terms = numerator.terms(Role::Numerator).chain(total.terms(Role::Total)).collect();
                Inputs { counting: query.counting(), terms, native: None, shows_values: false }
            }
            SliKind::Probe(metric) => Inputs::of_gauge(metric, PROBE_SUCCEEDED),
            SliKind::Gauge(gauge) => Inputs { shows_values: true, ..Inputs::of_gauge(&gauge.metric, gauge.good) },
        }
    }
}

/// `bad: S total: S + S`: two SLIs with equal text count the same.
impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numerator = if self.counting == Counting::Good { "good:" } else { "bad:" };
        for (role, name) in [(Role::Numerator, numerator), (Role::Total, "total:")] {
            for (i, term) in self.of(role).enumerate() {
                f.write_str(if i == 0 { name } else { "" })?;
                write!(f, " {}{}", if term.negative { "-" } else { "" }, term.selector)?;
                if let Reads::Gauge(good) = term.reads {
                    write!(f, " {} {}", good.is.operator(), good.limit)?;
                }
                f.write_str(" ")?;
            }
        }
        let Some(native) = &self.native else { return Ok(()) };
        write!(f, "native: {} up to {}", native.histogram, native.threshold)
    }
}

impl Inputs {
    fn of_gauge(metric: &Selector, good: Condition) -> Self {
        let reads = Reads::Gauge(good);
        let term = Term { selector: metric.clone(), role: Role::Total, negative: false, reads };
        Self { counting: Counting::Bad, terms: vec![term], native: None, shows_values: false }
    }

    /// The terms of one role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Term> {
        self.terms.iter().filter(move |term| term.role == role)
    }
}

impl Sum {
    /// Of at least one summand.
    pub fn new(first: Summand, rest: impl IntoIterator<Item = Summand>) -> Self {
        Self(std::iter::once(first).chain(rest).collect())
    }

    /// In the order written.
    pub fn summands(&self) -> &[Summand] {
        &self.0
    }

    fn terms(&self, role: Role) -> impl Iterator<Item = Term> + '_ {
        let term = move |Summand { selector, negative }: &Summand| Term {
            selector: selector.clone(),
            role,
            negative: *negative,
            reads: Reads::Counter,
        };
        self.0.iter().map(term)
    }
}

impl From<Selector> for Sum {
    fn from(selector: Selector) -> Self {
        Self(vec![Summand { selector, negative: false }])
    }
}

impl Condition {
    /// Whether a value satisfies it. NaN satisfies none.
    pub fn holds(self, value: f64) -> bool {
        match self.is {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
        }
    }
}

impl Comparison {
    /// PromQL's operator.
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}

// By total order: limits are finite, and a map of uses needs one.
impl Ord for Condition {
    fn cmp(&self, other: &Self) -> Ordering {
        self.is.cmp(&other.is).then(self.limit.total_cmp(&other.limit))
    }
}

impl PartialOrd for Condition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Condition {}

/// PromQL's form: `a{x="1"} + b - c`.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, summand) in self.0.iter().enumerate() {
            match (i, summand.negative) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            write!(f, "{}", summand.selector)?;
        }
        Ok(())
    }
}

impl Slo {
    /// The selectors of series that exclude events, in the order written.
    pub fn signals(&self) -> impl Iterator<Item = &Selector> {
        self.accounting.exclude.iter().filter_map(|exclusion| match &exclusion.when {
            When::While(selector) => Some(selector),
            When::Between { .. } | When::Scheduled(_) => None,
        })
    }

    /// Fewer events, or slices, in a tier's long window never fire it.
    pub fn min_events(&self, tier: &Tier) -> u64 {
        // A bad slice is no single error, and one more than its share of the budget allows is what is asked about.
        let usual = || self.accounting.budgeting.slice().map_or(tier.min_events(self.objective.budget()), |_| 0);
        self.alerting.min_events.unwrap_or_else(usual)
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
    /// What the error budget is for.
    pub period: Period,
    /// How events become budget.
    pub accounting: Accounting,
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
