//! The judge of one rollout: from its streams' increments to a verdict.

use serde::{Deserialize, Serialize};

use super::verdict::digest;
use super::{
    Action, Arm, Block, Blocks, Check, CheckError, CheckSpec, Decision, Hold, Measure, Outcome, Refused, State, Terms,
    Test, Verdict,
};
use crate::types::{Span, Timestamp};

/// Checks of one rollout.
pub const CHECKS_MAX: usize = 64;
/// Strata of one check.
pub const STRATA_MAX: usize = 32;

/// What a rollout is judged by. Fixed before its first event: another policy is another rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The chance that a harmless canary is never taken back, 0 to 1 and exclusive: 0.99.
    pub confidence: f64,
    /// Of threshold tests and of rates shown.
    pub window: Span,
    /// Between two looks of threshold tests.
    pub every: Span,
    /// From the start of the rollout to the pause at the latest.
    pub deadline: Span,
    /// In their order.
    pub steps: Vec<StepSpec>,
    /// With the SLI each looks at.
    pub checks: Vec<PolicyCheck>,
}

/// A check, the SLI and the strata it looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyCheck {
    /// The SLI's name.
    pub sli: String,
    /// Cohorts that are compared within themselves; empty for all events together.
    pub strata: Vec<String>,
    /// What is asked.
    pub check: CheckSpec,
}

/// A step of exposure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name.
    pub name: String,
    /// How long it lasts at least.
    pub hold: Span,
    /// Events of the canary it takes at least.
    pub min_samples: u64,
}

/// A stream of increments that the judge wants: for each arm the events of an SLI in a stratum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// The SLI's name.
    pub sli: String,
    /// The cohort; `None` for all events.
    pub stratum: Option<String>,
    /// What is counted: good and bad events, or the buckets of a layout.
    pub measure: Measure,
}

/// Why there is no judge.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A check makes no sense.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Not a confidence.
    #[error("confidence {0} is not between 0 and 1")]
    Confidence(f64),
    /// More checks or strata than there may be.
    #[error("{found} {what}, at most {limit} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// No step to be in.
    #[error("a rollout needs at least one step")]
    NoStep,
}

/// A rollout's judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    rollout: String,
    revision: String,
    policy: Policy,
    policy_digest: String,
    started: Timestamp,
    step: usize,
    step_began: Timestamp,
    /// Events of the canary that each check had judged when the step began.
    events_before: Vec<f64>,
    streams: Vec<Stream>,
    checks: Vec<Check>,
    decided: Option<Verdict>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stream {
    spec: StreamSpec,
    blocks: Blocks,
    /// Check and stratum that take its blocks.
    takers: Vec<(usize, usize)>,
}

impl Judge {
    /// A judge who has seen nothing, in the first step.
    pub fn new(rollout: &str, revision: &str, policy: Policy, started: Timestamp) -> Result<Self, PolicyError> {
        if !(policy.confidence > 0.0 && policy.confidence < 1.0) {
            return Err(PolicyError::Confidence(policy.confidence));
        }
        if policy.steps.is_empty() {
            return Err(PolicyError::NoStep);
        }
        let limited = |what, found, limit| {
            if found > limit { Err(PolicyError::TooMany { what, found, limit }) } else { Ok(()) }
        };
        limited("checks", policy.checks.len(), CHECKS_MAX)?;
        let sequential = policy.checks.iter().filter(|c| c.check.test == Test::Sequential).count();
        let alpha = (1.0 - policy.confidence) / sequential.max(1) as f64;
        let (mut streams, mut checks): (Vec<Stream>, Vec<Check>) = (Vec::new(), Vec::new());
        for (at, policy_check) in policy.checks.iter().enumerate() {
            limited("strata of one check", policy_check.strata.len(), STRATA_MAX)?;
            let (steps, strata) = (policy.steps.len(), policy_check.strata.len().max(1));
            let Policy { deadline, window, every, .. } = policy;
            let terms = Terms { alpha, steps, deadline, window, every, strata };
            checks.push(Check::new(policy_check.check.clone(), terms)?);
            let mut wanted: Vec<Option<String>> = policy_check.strata.iter().cloned().map(Some).collect();
            if wanted.is_empty() {
                wanted.push(None);
            }
            for (stratum_at, stratum) in wanted.into_iter().enumerate() {
                let measure = counted(&policy_check.check.measure);
                let spec = StreamSpec { sli: policy_check.sli.clone(), stratum, measure };
                if let Some(stream) = streams.iter_mut().find(|stream| stream.spec == spec) {
                    stream.takers.push((at, stratum_at));
                } else {
                    let blocks = Blocks::new(spec.kinds(), started);
                    streams.push(Stream { spec, blocks, takers: vec![(at, stratum_at)] });
                }
            }
        }
        // Never fails: the policy holds strings and numbers only.
        let text = serde_json::to_string(&policy).unwrap_or_default();
        Ok(Self {
            rollout: rollout.to_owned(),
            revision: revision.to_owned(),
            policy_digest: digest(&[&text]),
            policy,
            started,
            step: 0,
            step_began: started,
            events_before: vec![0.0; checks.len()],
            streams,
            checks,
            decided: None,
        })
    }

    /// The streams it wants; their place in the list is their name in [`observe`](Self::observe).
    pub fn streams(&self) -> impl Iterator<Item = &StreamSpec> {
        self.streams.iter().map(|stream| &stream.spec)
    }

    /// The checks at work.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// What the baseline did before the rollout: where to look, not evidence.
    pub fn learn(&mut self, stream: usize, baseline: &[f64]) {
        let Self { streams, checks, .. } = self;
        let Some(stream) = streams.get(stream) else { return };
        if baseline.len() == stream.spec.kinds() && baseline.iter().all(|c| c.is_finite() && *c >= 0.0) {
            stream.takers.iter().for_each(|(check, stratum)| checks[*check].learn(*stratum, baseline));
        }
    }

    /// Takes what an arm's counters rose by in `(from, to]`; an unknown stream is ignored.
    pub fn observe(
        &mut self,
        stream: usize,
        arm: Arm,
        from: Timestamp,
        to: Timestamp,
        counts: &[f64],
    ) -> Result<(), Refused> {
        self.streams.get_mut(stream).map_or(Ok(()), |stream| stream.blocks.observe(arm, from, to, counts))
    }

    /// All of an arm's targets have been seen up to `to`: judges what both arms have covered, and returns it.
    pub fn cover(&mut self, stream: usize, arm: Arm, to: Timestamp) -> Vec<Block> {
        let Some(covered) = self.streams.get_mut(stream) else { return Vec::new() };
        covered.blocks.cover(arm, to);
        let mut blocks = Vec::new();
        while let Some(block) = self.streams[stream].blocks.next_block() {
            self.take(stream, &block);
            blocks.push(block);
        }
        blocks
    }

    /// Judges a block that another judge of this rollout was given by [`cover`](Self::cover).
    pub fn take(&mut self, stream: usize, block: &Block) {
        let Self { streams, checks, .. } = self;
        let takers = streams.get(stream).map(|stream| &stream.takers);
        takers.into_iter().flatten().for_each(|(check, stratum)| checks[*check].observe(*stratum, block));
    }

    /// The rollout went on to another step.
    pub fn begin_step(&mut self, step: usize, now: Timestamp) {
        self.step = step.min(self.policy.steps.len() - 1);
        self.step_began = now;
        self.decided = None;
        self.events_before = self.checks.iter().map(|check| check.outcome().canary_events).collect();
        self.checks.iter_mut().for_each(Check::step_began);
    }

    /// The verdict at `now`, held back whatever the checks say where `hold` says so; harm is never held back.
    pub fn judge(&mut self, now: Timestamp, hold: Option<&Hold>) -> Verdict {
        if let Some(verdict) = &self.decided {
            return verdict.clone();
        }
        let outcomes = self.outcomes();
        let Reached { decision, check, reason } = self.decide(&outcomes, now, hold);
        let step = self.policy.steps[self.step].name.clone();
        let verdict =
            Verdict { id: self.verdict_id(decision), step, at: now, decision, check, reason, checks: outcomes };
        if decision.is_terminal() {
            self.decided = Some(verdict.clone());
        }
        verdict
    }

    fn decide(&self, outcomes: &[Outcome], now: Timestamp, hold: Option<&Hold>) -> Reached {
        let harm = |action: Action| {
            let mut harmed = self.checks.iter().zip(outcomes).filter(|(_, outcome)| outcome.state == State::Harm);
            harmed.find(|(check, _)| check.spec().action == action).map(|(_, outcome)| outcome)
        };
        let because = |decision, outcome: &Outcome| Reached {
            decision,
            check: Some(outcome.check.clone()),
            reason: outcome.reason.clone(),
        };
        let plain = |decision, reason: String| Reached { decision, check: None, reason };
        if let Some(outcome) = harm(Action::Rollback) {
            return because(Decision::Rollback, outcome);
        }
        if let Some(outcome) = harm(Action::Pause) {
            return because(Decision::Pause, outcome);
        }
        if let Some(Hold::Pause(reason)) = hold {
            return plain(Decision::Pause, reason.clone());
        }
        let step = &self.policy.steps[self.step];
        let open = outcomes.iter().find(|outcome| outcome.state != State::Safe);
        let held = now.since(self.step_began);
        let is_safe = open.is_none() && !outcomes.is_empty();
        let samples = self.step_samples(outcomes);
        let is_exposed = held >= step.hold && samples >= step.min_samples as f64;
        if is_safe && is_exposed {
            return match hold {
                Some(Hold::NotNow(reason)) => plain(Decision::Continue, reason.clone()),
                _ => plain(Decision::Promote, format!("{} after {}", all_safe(outcomes.len()), whole_seconds(held))),
            };
        }
        if now.since(self.started) >= self.policy.deadline {
            let passed = format!("the deadline of {} passed", self.policy.deadline);
            return match open {
                Some(outcome) => {
                    Reached { reason: format!("{passed}; {}", outcome.reason), ..because(Decision::Pause, outcome) }
                }
                None => plain(Decision::Pause, passed),
            };
        }
        if let Some(outcome) = open {
            return because(Decision::Continue, outcome);
        }
        let reason = if is_safe {
            let samples_needed = (samples < step.min_samples as f64)
                .then(|| format!(" and takes {} samples, {samples:.0} so far", step.min_samples));
            let safe = all_safe(outcomes.len());
            format!("{safe}; the step holds for {}{}", step.hold, samples_needed.unwrap_or_default())
        } else {
            "no checks".to_owned()
        };
        plain(Decision::Continue, reason)
    }
}

fn all_safe(checks: usize) -> String {
    if checks == 1 { "the check is safe".to_owned() } else { format!("all {checks} checks are safe") }
}

fn whole_seconds(span: Span) -> Span {
    Span::seconds(span.as_millis() / 1000)
}

/// What outcomes lead to.
struct Reached {
    decision: Decision,
    check: Option<String>,
    reason: String,
}

impl Judge {
    /// Events of the canary in this step, of the check that has seen the most.
    fn step_samples(&self, outcomes: &[Outcome]) -> f64 {
        let events = outcomes.iter().zip(&self.events_before);
        events.map(|(outcome, before)| outcome.canary_events - before).fold(0.0, f64::max)
    }

    /// What it judges by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Of the policy; part of every verdict's id.
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }

    /// What each check says now.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.checks.iter().map(Check::outcome).collect()
    }

    /// The id of a verdict in the step at hand.
    pub fn verdict_id(&self, decision: Decision) -> String {
        let step = &self.policy.steps[self.step].name;
        digest(&[&self.rollout, &self.revision, step, &self.policy_digest, decision.as_str()])
    }
}

impl StreamSpec {
    /// Counts of an increment: 2 for good and bad events, in this order, or one for each bucket.
    pub fn kinds(&self) -> usize {
        match &self.measure {
            Measure::Success | Measure::Errors => 2,
            Measure::Latency { layout, .. } => layout.kinds(),
        }
    }
}

/// What a stream counts: success and errors are the same events; quantiles of the same buckets too.
fn counted(measure: &Measure) -> Measure {
    match measure {
        Measure::Success | Measure::Errors => Measure::Errors,
        Measure::Latency { layout, .. } => Measure::Latency { quantile: 0.5, layout: layout.clone() },
    }
}
