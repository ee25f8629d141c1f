//! Rollouts: which version is being tried, against which, how far it has got, and what became of it.
//!
//! A [`Stage`] stands for each service with a `canary` block. It learns from the samples which versions there are, starts a
//! rollout when a new one appears or somebody says so, hands each arm's increments to the rollout's judge, and moves its
//! steps. All that happens comes out as [`Record`]s, one account for receivers, audit and reports.

mod command;
mod plan;
mod policy;
mod recompute;
mod record;
mod run;
mod stage;
mod versions;
mod view;

pub use crate::canary::Hold;
pub use command::{Command, CommandError, Exposure, Order, TEXT_LIMIT_CHARS};
pub use recompute::{Difference, Recount, RecountError, recompute};
pub use record::{Actor, Ending, Happened, Input, Record};
pub use stage::{PAST_LIMIT_ROLLOUTS, Stage, StageState};
pub use versions::{NUMERATOR, Observed, TARGETS_LIMIT_COUNT, TOTAL, VERSIONS_LIMIT_COUNT};
pub use view::{CanaryView, RolloutView, ServiceView, StepView};
