//! An auditor's recount: the verdicts of a rollout reached once more from its records alone.

use crate::canary::{Judge, PolicyError, Verdict};
use crate::rollout::{Happened, Input, Record};
use crate::types::Timestamp;

/// What a recount found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recount {
    /// Verdicts of the checks that were reached again.
    pub reached: usize,
    /// Verdicts that somebody decided in their place, or that came before there was data.
    pub beyond: usize,
    /// Where another verdict was reached than recorded.
    pub differing: Vec<Difference>,
}

/// A verdict that is not what its evidence leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The number of its record.
    pub number: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// As recorded.
    pub recorded: Box<Verdict>,
    /// As reached now.
    pub reached: Box<Verdict>,
}

/// Why there is no recount.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecountError {
    /// A record is missing, or they are not in order.
    #[error("record {expected} of {rollout} is missing: {found} comes in its place")]
    Missing {
        /// The rollout.
        rollout: String,
        /// The number that should come.
        expected: u64,
        /// The number that comes.
        found: u64,
    },
    /// Records of another rollout among them.
    #[error("record {number} is of {found}, not of {rollout}")]
    Other {
        /// The rollout.
        rollout: String,
        /// The other one.
        found: String,
        /// The record's number.
        number: u64,
    },
    /// The policy recorded is none.
    #[error("record {number}: {reason}")]
    Policy {
        /// The record's number.
        number: u64,
        /// What is wrong with it.
        reason: PolicyError,
    },
}

/// Judges a rollout again. `records` are all of its records, in order.
///
/// # Errors
/// When they are not.
pub fn recompute(records: &[Record]) -> Result<Recount, RecountError> {
    let mut recount = Recount::default();
    let mut judge: Option<Judge> = None;
    let Some(first) = records.first() else { return Ok(recount) };
    for (expected, record) in (0..).zip(records) {
        let number = record.number;
        if record.rollout != first.rollout {
            let (rollout, found) = (first.rollout.clone(), record.rollout.clone());
            return Err(RecountError::Other { rollout, found, number });
        }
        if number != expected {
            return Err(RecountError::Missing { rollout: first.rollout.clone(), expected, found: number });
        }
        match &record.event {
            Happened::Judged { policy, since, step, .. } => {
                let (name, revision) = record.rollout.rsplit_once('@').unwrap_or((&record.rollout, ""));
                let new = Judge::new(name, revision, (**policy).clone(), *since);
                let mut new = new.map_err(|reason| RecountError::Policy { number, reason })?;
                if *step > 0 {
                    new.begin_step(*step, record.at);
                }
                judge = Some(new);
            }
            Happened::Evidence { inputs } => {
                let Some(judge) = &mut judge else { continue };
                for input in inputs {
                    match input {
                        Input::Learn(stream, counts) => judge.learn(*stream, counts),
                        Input::Block(stream, block) => judge.take(*stream, block),
                    }
                }
            }
            Happened::StepBegan { step, .. } => {
                if let Some(judge) = &mut judge {
                    judge.begin_step(*step, record.at);
                }
            }
            Happened::Verdict { verdict, hold, by } => match &mut judge {
                Some(judge) if by.is_none() => {
                    let reached = judge.judge(verdict.at, hold.as_ref());
                    if reached == *verdict {
                        recount.reached += 1;
                    } else {
                        let (recorded, reached) = (Box::new(verdict.clone()), Box::new(reached));
                        recount.differing.push(Difference { number, at: record.at, recorded, reached });
                    }
                }
                _ => recount.beyond += 1,
            },
            Happened::Started { .. } | Happened::Held { .. } | Happened::Ended { .. } => {}
        }
    }
    Ok(recount)
}
