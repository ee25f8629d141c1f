//! The judge of one rollout: from its streams' increments to a verdict.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ruling::{Case, Key, Ruling};
use super::verdict::digest;
use super::{
    Arm, Block, Blocks, Check, CheckError, CheckSpec, Decision, Hold, Measure, Outcome, Refused, Terms, Test, Verdict,
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
    rollout: Arc<str>,
    revision: Arc<str>,
    policy: Arc<Policy>,
    policy_digest: Arc<str>,
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
    pub fn new(
        rollout: &str,
        revision: &str,
        policy: impl Into<Arc<Policy>>,
        started: Timestamp,
    ) -> Result<Self, PolicyError> {
        let policy = policy.into();
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
            let Policy { deadline, window, every, .. } = *policy;
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
            rollout: rollout.into(),
            revision: revision.into(),
            policy_digest: digest(&[&text]).into(),
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

    /// One of them.
    pub fn stream(&self, at: usize) -> Option<&StreamSpec> {
        self.streams.get(at).map(|stream| &stream.spec)
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
        counts: impl Into<Vec<f64>>,
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
        self.events_before = self.checks.iter().map(|check| check.standing().canary_events()).collect();
        self.checks.iter_mut().for_each(Check::step_began);
    }

    /// The verdict at `now`, held back whatever the checks say where `hold` says so; harm is never held back.
    pub fn judge(&mut self, now: Timestamp, hold: Option<&Hold>) -> Verdict {
        self.rule(now, hold).into_verdict()
    }

    /// As [`judge`](Self::judge), but what nobody reads of the verdict is not made.
    pub fn rule(&mut self, now: Timestamp, hold: Option<&Hold>) -> Ruling {
        if let Some(verdict) = &self.decided {
            return verdict.clone().into();
        }
        let case = Case {
            key: self.key(),
            policy: Arc::clone(&self.policy),
            at: now,
            step: self.step,
            held: now.since(self.step_began),
            elapsed: now.since(self.started),
            hold: hold.cloned(),
            events_before: self.events_before.clone(),
            standings: self.checks.iter().map(Check::standing).collect(),
        };
        let ruling = Ruling::of(case);
        if ruling.decision().is_terminal() {
            self.decided = Some(ruling.verdict().clone());
        }
        ruling
    }

    fn key(&self) -> Key {
        let [rollout, revision, policy_digest] = [&self.rollout, &self.revision, &self.policy_digest].map(Arc::clone);
        Key { rollout, revision, policy_digest }
    }
}

impl Judge {
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
        self.key().verdict_id(&self.policy.steps[self.step].name, decision)
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
