//! What users write: services, SLIs and SLOs, and where each came from.
//!
//! [`model`] holds the validated form every later stage works on, [`policy`] the burn-rate windows as data,
//! [`naming`] the metric and label names shared by the engine's output and the generated rules.
//!
//! [`parse()`] reads it from YAML: `yaml` makes a tree that knows its places, `decode` gives typed access to it,
//! `native`, `alerting` and `release` build the model, [`rules`] reads Prometheus' own rules, `lint` says what can hardly
//! be meant. Nothing stops at the first
//! error: everything found goes to a [`Report`].

mod accounting;
mod alerting;
mod budget;
mod canary;
pub(crate) mod decode;
pub(crate) mod diagnostic;
mod indicator;
pub(crate) mod labels;
mod lint;
pub mod model;
pub mod naming;
mod native;
mod parse;
pub mod policy;
pub mod query;
pub(crate) mod release;
mod render;
pub mod rules;
pub(crate) mod selector;
mod source;
mod suggest;
mod sum;
mod syntax;
mod threshold;
mod week;
pub(crate) mod yaml;

pub use accounting::{
    Accounting, Budgeting, Calendar, CalendarUnit, Exclusion, NoData, Period, Reset, Schedule, Verdict, When,
};
pub use canary::{
    Action, Amount, ArgoRollout, Baseline, Bound, BudgetPolicy, Canary, CanaryCheck, Step, Stream, Test, strata_names,
};
pub use diagnostic::{Diagnostic, Level, Related, Report};
pub use model::{
    Alerting, Comparison, Condition, Counting, Events, Gauge, Inputs, Latency, Numerator, Origin, Reads, Role, Service,
    Severity, SeverityOptions, Sli, SliKind, Slo, Sum, Summand, Term,
};
pub use parse::{Specs, parse, read};
pub use policy::{Policy, Tier};
pub use query::{Measure, QueryEvents};
pub use rules::{Rule, RuleGroup, RuleKind, RuleLabels};
pub use source::{Place, SOURCE_LIMIT_BYTES, Source};
pub use week::{WeekTime, WeekTimeError};
