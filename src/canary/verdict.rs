//! A verdict and the key that makes acting on it idempotent.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::canary::Outcome;
use crate::types::Timestamp;

/// What a rollout should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Go on with this step.
    Continue,
    /// Go to the next step. Terminal for the step.
    Promote,
    /// Hold, and ask a human.
    Pause,
    /// Take the version back. Terminal for the step, and the rollout.
    Rollback,
}

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The same for the same rollout, revision, step, policy and decision, on every replica and after every restart.
    pub id: String,
    /// The step it is about.
    pub step: String,
    /// When it was reached.
    pub at: Timestamp,
    /// What to do.
    pub decision: Decision,
    /// The check that it came to depend on: of several the first.
    pub check: Option<String>,
    /// One sentence.
    pub reason: String,
    /// What each check said.
    pub checks: Vec<Outcome>,
}

/// Why a verdict is held back whatever the checks say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hold {
    /// Nothing goes on: `pause`. The budget policy, a person, a start at the wrong time.
    Pause(String),
    /// Nothing is promoted now: `continue`.
    NotNow(String),
}

impl Verdict {
    /// An idempotency key of these parts.
    pub fn key(parts: &[&str]) -> String {
        digest(parts)
    }
}

impl Decision {
    /// As the API and receivers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Rollback => "rollback",
        }
    }

    /// Nothing changes it in its step.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Promote | Self::Rollback)
    }
}

/// SHA-256 of the parts, each with its length before it, in hexadecimal.
pub(super) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    hash.finalize().iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["a"]).len(), 64);
    }
}
