//! What users write: services, SLIs and SLOs, and where each came from.
//!
//! [`model`] holds the validated form every later stage works on, [`policy`] the burn-rate windows as data,
//! [`naming`] the metric and label names shared by the engine's output and the generated rules.

pub mod model;
pub mod naming;
pub mod policy;

pub use model::{
    Alerting, Events, Inputs, Latency, Numerator, Origin, Service, Severity, SeverityOptions, Sli, SliKind, Slo,
};
pub use policy::{Policy, Tier};
