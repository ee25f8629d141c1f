//! The canary judge: what two versions' events say about each other, and what follows for a rollout.
//!
//! [`Blocks`] bring the two arms' increments to common stretches of time; [`evidence`] holds the tests that stay valid
//! however often one looks; a [`Check`] turns blocks into harm, safety or neither; the [`Judge`] of a rollout turns its
//! checks into a [`Verdict`]. All of it is a function of what was observed and when: a rollout judged again from its
//! records gets the same verdicts.
//!
//! **What `confidence` promises.** Of the rollouts whose canary keeps every limit, at most `1 - confidence` are ever
//! rolled back or paused by a sequential check, looked at as often as one likes: the error is split evenly among the
//! sequential checks, and each check's evidence is an e-process ([`evidence`]) for all rates that keep its limit. For a
//! regression of a quantile these are all arms whose latencies stay as they are, and all canaries that are at most the
//! limit slower than the baseline at every quantile, however both move. Events are taken to be independent given the
//! rates: one client that fails a thousand times in a row on the canary alone looks like a thousand failures. Checks
//! with `threshold` tests promise nothing and take no share.

mod block;
mod check;
pub mod evidence;
mod judge;
mod layout;
mod ruling;
mod verdict;

pub use block::{Arm, Block, Blocks, OverBorder, PENDING_INCREMENTS_MAX, Refused};
pub use check::{
    Action, Amount, Bound, Check, CheckError, CheckSpec, Effect, LnEvidence, Measure, Outcome, Standing, State, Terms,
    Test, Unit, short,
};
pub use evidence::interval::Interval;
pub use judge::{CHECKS_MAX, Judge, Policy, PolicyCheck, PolicyError, STRATA_MAX, StepSpec, StreamSpec};
pub use layout::{Above, BUCKETS_MAX, Coarse, FINE_RATIO, Layout, LayoutError};
pub use ruling::Ruling;
pub use verdict::{Decision, Hold, Verdict};
