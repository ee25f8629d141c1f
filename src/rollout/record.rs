//! What happened to a rollout: the one account that receivers are told from, the audit log keeps and reports read.

use serde::{Deserialize, Serialize};

use crate::canary::{Block, Hold, Policy, Verdict};
use crate::types::Timestamp;

/// One thing that happened. A rollout's records are numbered from 0 without a gap; lived through again, the same
/// inputs make the same records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `service/version@milliseconds`: of no other rollout.
    pub rollout: String,
    /// Its place among the rollout's records.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The service.
    pub service: String,
    /// The candidate.
    pub version: String,
    /// What it is compared with, as far as is known.
    pub baseline: Option<String>,
    /// What happened.
    pub event: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Happened {
    /// The candidate appeared or was announced.
    Started {
        /// Who or what began it: `discovery` or an actor.
        by: String,
        /// When its newest change was committed, if somebody said.
        committed_at: Option<Timestamp>,
        /// The steps' names.
        steps: Vec<String>,
    },
    /// Both arms have data: from here on it is judged by this policy.
    Judged {
        /// Fixed for the rollout.
        policy: Box<Policy>,
        /// Digest of the policy, part of every verdict's id.
        policy_digest: String,
        /// From when on events count.
        since: Timestamp,
        /// The step at hand.
        step: usize,
    },
    /// What the judge was given since the record before, in order.
    Evidence {
        /// In order.
        inputs: Vec<Input>,
    },
    /// A step began.
    StepBegan {
        /// Its place.
        step: usize,
        /// Its name.
        name: String,
        /// Who or what moved it: `sloburn`, or an actor.
        by: String,
    },
    /// The verdict is another one than before.
    Verdict {
        /// With its reasons.
        verdict: Verdict,
        /// What the judge was told beside the evidence.
        hold: Option<Hold>,
        /// Who overrode the checks; `None` where the checks decided.
        by: Option<Actor>,
    },
    /// Somebody paused or resumed it.
    Held {
        /// Paused, else resumed.
        paused: bool,
        /// Who, and why.
        by: Actor,
    },
    /// It is over.
    Ended {
        /// How.
        outcome: Ending,
        /// One sentence.
        reason: String,
        /// Who ended it; `None` for the judge.
        by: Option<Actor>,
    },
}

/// Who did something, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Who.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The candidate has all traffic and is the stable version now.
    Promoted,
    /// The checks took it back.
    RolledBack,
    /// Somebody took it back.
    Aborted,
    /// Another candidate came before it was decided.
    Superseded,
    /// The candidate was not seen any more before it was decided: nobody knows why.
    Vanished,
}

impl Ending {
    /// The word used in JSON, labels and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::Vanished => "vanished",
        }
    }
}

/// What the judge is given. Both arms' counts come to it as blocks of time that both have covered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Input {
    /// What the baseline did before, by the judge's stream.
    Learn(usize, Vec<f64>),
    /// What both arms did in the same stretch of time, by the judge's stream.
    Block(usize, Block),
}
