//! A decision at once, and its reasons when somebody reads them.
//!
//! A rollout is judged with every block, and nearly always the decision is the one before. So only what decides is worked
//! out then; figures, their intervals and the sentences wait for a reader.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::Standing;
use super::verdict::digest;
use super::{Action, Decision, Hold, Outcome, Policy, State, Verdict};
use crate::types::{Span, Timestamp};

/// A verdict that is put together when it is first read.
#[derive(Clone)]
pub struct Ruling {
    decision: Decision,
    /// Until it is read; `None` where the verdict came as such.
    case: Option<Box<(Case, Ground)>>,
    verdict: OnceLock<Verdict>,
}

/// All that a verdict depends on.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub key: Key,
    pub policy: Arc<Policy>,
    pub at: Timestamp,
    /// The step at hand, and how long it has lasted.
    pub step: usize,
    pub held: Span,
    /// From the start of the rollout.
    pub elapsed: Span,
    pub hold: Option<Hold>,
    /// Events of the canary that each check had judged when the step began.
    pub events_before: Vec<f64>,
    pub standings: Vec<Standing>,
}

/// Whose verdict.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub rollout: Arc<str>,
    pub revision: Arc<str>,
    pub policy_digest: Arc<str>,
}

/// What a decision rests on; checks by their place.
#[derive(Clone, Copy, Debug)]
enum Ground {
    Harm(usize),
    Held,
    Passed,
    Deadline(Option<usize>),
    Open(usize),
    Exposure,
    NoChecks,
}

impl Key {
    /// The id of a verdict in this step.
    pub fn verdict_id(&self, step: &str, decision: Decision) -> String {
        digest(&[&self.rollout, &self.revision, step, &self.policy_digest, decision.as_str()])
    }
}

impl Ruling {
    pub(super) fn of(case: Case) -> Self {
        let (decision, ground) = case.decide();
        Self { decision, case: Some(Box::new((case, ground))), verdict: OnceLock::new() }
    }

    /// What to do.
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// The step it is about.
    pub fn step(&self) -> &str {
        self.case.as_ref().map_or_else(|| &*self.verdict().step, |case| &*case.0.policy.steps[case.0.step].name)
    }

    /// With its reasons.
    pub fn verdict(&self) -> &Verdict {
        self.verdict.get_or_init(|| {
            // One of the two is there from the beginning.
            let (case, ground) = self.case.as_deref().expect("a case or a verdict");
            case.verdict(self.decision, *ground)
        })
    }

    /// With its reasons.
    pub fn into_verdict(self) -> Verdict {
        self.verdict();
        self.verdict.into_inner().expect("it was just made")
    }
}

impl Deref for Ruling {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        self.verdict()
    }
}

impl From<Verdict> for Ruling {
    fn from(verdict: Verdict) -> Self {
        Self { decision: verdict.decision, case: None, verdict: verdict.into() }
    }
}

impl std::fmt::Debug for Ruling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.verdict().fmt(f)
    }
}

impl Serialize for Ruling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.verdict().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ruling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Verdict::deserialize(deserializer).map(Self::from)
    }
}

impl Case {
    fn decide(&self) -> (Decision, Ground) {
        let harm = |action: Action| {
            let is_harmed = |standing: &Standing| standing.state() == State::Harm && standing.spec().action == action;
            self.standings.iter().position(is_harmed).map(Ground::Harm)
        };
        if let Some(ground) = harm(Action::Rollback) {
            return (Decision::Rollback, ground);
        }
        if let Some(ground) = harm(Action::Pause) {
            return (Decision::Pause, ground);
        }
        if let Some(Hold::Pause(_)) = self.hold {
            return (Decision::Pause, Ground::Held);
        }
        let step = &self.policy.steps[self.step];
        let open = self.standings.iter().position(|standing| standing.state() != State::Safe);
        let is_safe = open.is_none() && !self.standings.is_empty();
        if is_safe && self.held >= step.hold && self.step_samples() >= step.min_samples as f64 {
            return match self.hold {
                Some(Hold::NotNow(_)) => (Decision::Continue, Ground::Held),
                _ => (Decision::Promote, Ground::Passed),
            };
        }
        if self.elapsed >= self.policy.deadline {
            return (Decision::Pause, Ground::Deadline(open));
        }
        let ground = match open {
            Some(check) => Ground::Open(check),
            None if is_safe => Ground::Exposure,
            None => Ground::NoChecks,
        };
        (Decision::Continue, ground)
    }

    /// Events of the canary in this step, of the check that has seen the most.
    fn step_samples(&self) -> f64 {
        let events = self.standings.iter().zip(&self.events_before);
        events.map(|(standing, before)| standing.canary_events() - before).fold(0.0, f64::max)
    }

    fn verdict(&self, decision: Decision, ground: Ground) -> Verdict {
        let checks: Vec<Outcome> = self.standings.iter().map(Standing::outcome).collect();
        let step = &self.policy.steps[self.step];
        let check = match ground {
            Ground::Harm(check) | Ground::Open(check) | Ground::Deadline(Some(check)) => Some(&checks[check]),
            Ground::Held | Ground::Passed | Ground::Deadline(None) | Ground::Exposure | Ground::NoChecks => None,
        };
        let reason = match (ground, check) {
            (Ground::Deadline(_), check) => {
                let passed = format!("the deadline of {} passed", self.policy.deadline);
                check.map_or_else(|| passed.clone(), |outcome| format!("{passed}; {}", outcome.reason))
            }
            (_, Some(outcome)) => outcome.reason.clone(),
            (Ground::Held, None) => match &self.hold {
                Some(Hold::Pause(reason) | Hold::NotNow(reason)) => reason.clone(),
                None => String::new(),
            },
            (Ground::Passed, None) => format!("{} after {}", all_safe(checks.len()), whole_seconds(self.held)),
            (Ground::Exposure, None) => {
                let samples = self.step_samples();
                let samples_needed = (samples < step.min_samples as f64)
                    .then(|| format!(" and takes {} samples, {samples:.0} so far", step.min_samples));
                let safe = all_safe(checks.len());
                format!("{safe}; the step holds for {}{}", step.hold, samples_needed.unwrap_or_default())
            }
            (Ground::NoChecks | Ground::Harm(_) | Ground::Open(_), None) => "no checks".to_owned(),
        };
        Verdict {
            id: self.key.verdict_id(&step.name, decision),
            step: step.name.clone(),
            at: self.at,
            decision,
            check: check.map(|outcome| outcome.check.clone()),
            reason,
            checks,
        }
    }
}

fn all_safe(checks: usize) -> String {
    if checks == 1 { "the check is safe".to_owned() } else { format!("all {checks} checks are safe") }
}

fn whole_seconds(span: Span) -> Span {
    Span::seconds(span.as_millis() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_came_as_such_is_shown_as_it_came() {
        let (id, step, reason) = ("id".to_owned(), "5%".to_owned(), "because".to_owned());
        let at = Timestamp(7);
        let verdict = Verdict { id, step, at, decision: Decision::Pause, check: None, reason, checks: Vec::new() };
        let ruling = Ruling::from(verdict.clone());
        assert_eq!((ruling.decision(), ruling.verdict()), (Decision::Pause, &verdict));
        let saved = postcard::to_stdvec(&ruling).unwrap();
        assert_eq!(saved, postcard::to_stdvec(&verdict).unwrap());
        assert_eq!(postcard::from_bytes::<Ruling>(&saved).unwrap().into_verdict(), verdict);
    }
}
