//! Rollouts: which version is being tried, against which, how far it has got, and what became of it.
//!
//! A stage stands for each service with a `canary` block. It learns from the samples which versions there are, starts a
//! rollout when a new one appears or somebody says so, hands each arm's increments to the rollout's judge, and moves its
//! steps. All that happens comes out as [`Record`]s, one account for receivers, audit and reports.

mod command;
mod record;
mod view;

pub use command::{Command, CommandError, Exposure, Order, TEXT_LIMIT_CHARS};
pub use record::{Actor, Ending, Happened, Hold, Input, Record};
pub use view::{CanaryView, RolloutView, ServiceView, StepView};
