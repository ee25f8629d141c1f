//! What users write: services, SLIs and SLOs, and where each came from.
//!
//! [`model`] holds the validated form every later stage works on, [`policy`] the burn-rate windows as data,
//! [`naming`] the metric and label names shared by the engine's output and the generated rules.
//!
//! [`parse()`] reads it from YAML: `yaml` makes a tree that knows its places, `decode` gives typed access to it,
//! `native` and `alerting` build the model, `lint` says what can hardly be meant. Nothing stops at the first
//! error: everything found goes to a [`Report`].

mod alerting;
pub(crate) mod decode;
pub(crate) mod diagnostic;
pub(crate) mod labels;
mod lint;
pub mod model;
pub mod naming;
mod native;
mod parse;
pub mod policy;
mod render;
pub(crate) mod selector;
mod source;
mod suggest;
mod syntax;
mod threshold;
pub(crate) mod yaml;

pub use diagnostic::{Diagnostic, Level, Related, Report};
pub use model::{
    Alerting, Events, Inputs, Latency, Numerator, Origin, Service, Severity, SeverityOptions, Sli, SliKind, Slo,
};
pub use parse::parse;
pub use policy::{Policy, Tier};
pub use source::{Place, SOURCE_LIMIT_BYTES, Source};
