//! What people and pipelines say about a rollout.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

/// Characters of an actor's name and of a reason that are kept.
pub const TEXT_LIMIT_CHARS: usize = 500;

/// Something said about a service's rollout. It is in the log before it has an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// The service.
    pub service: String,
    /// What is to happen.
    pub order: Order,
    /// Who says so: a user, or what speaks for a pipeline, such as `argo`.
    pub actor: String,
    /// Why; may be empty where the actor is a pipeline.
    pub reason: String,
}

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Judge this version, from now on. Saying it again changes nothing.
    Start {
        /// The candidate's value of the version label.
        version: String,
        /// The version it is compared with; `None` for what the spec says.
        baseline: Option<String>,
        /// When its newest change was committed: for lead times.
        committed_at: Option<Timestamp>,
    },
    /// Go on to the next step whatever the checks say; with `full`, past the last one.
    Promote {
        /// All of it.
        full: bool,
    },
    /// Take the version back.
    Abort,
    /// Hold where it is. Harm still takes it back.
    Pause,
    /// Go on after a pause.
    Resume,
    /// The exposure is now that of this step: pipelines that move it themselves tell.
    Step(Exposure),
    /// The pipeline is done with the version, well or not, without a verdict.
    End {
        /// It got all traffic.
        promoted: bool,
    },
}

/// How a step is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exposure {
    /// By its name.
    Name(String),
    /// By its place, from 0.
    Index(usize),
    /// By its percentage of the traffic.
    Weight(f64),
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Weight(percent) => write!(f, "of {percent} %"),
        }
    }
}

/// Why a command has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum CommandError {
    /// No such service.
    #[error("no service is named {0:?}")]
    UnknownService(String),
    /// It has no `canary` block.
    #[error("the service {0:?} has no `canary` block in its spec")]
    NoCanary(String),
    /// Nothing to promote, abort or pause.
    #[error("no rollout of {0:?} is in progress")]
    NoRollout(String),
    /// Another version is being judged.
    #[error("{version:?} of {service:?} is being judged: abort it first")]
    InProgress {
        /// The service.
        service: String,
        /// The version.
        version: String,
    },
    /// No such step.
    #[error("{service:?} has no step {step}")]
    UnknownStep {
        /// The service.
        service: String,
        /// As it was named.
        step: String,
    },
    /// The candidate cannot be compared with itself, or with a version never seen.
    #[error("{0}")]
    Baseline(String),
}
