//! What a pipeline is answered that asks about a version, and perhaps a step of it.
//!
//! Without a step the question is about the whole rollout: `promote` once it ended with the candidate promoted,
//! `rollback` once it was taken back, `pause` while somebody or the judge holds it, else `continue`. With a step,
//! that step's own: one already promoted answers `promote` though later ones are still judged. Doubt promotes nothing
//! and takes nothing back, so these are answered with care:
//!
//! - A version promoted once, with another one stable since, answers `continue`: it would have to be judged again.
//! - A superseded version answers `pause`: it was never decided, and taking it back might take back its successor. So
//!   does one that has not been seen for an hour: missing data takes nothing back.
//! - A step the pipeline left before it was decided answers `continue`, as does a step that could be two.
//! - An unknown service, version or step answers `continue`, with what is wrong in the reason.

use crate::canary::{Decision, Ruling};
use crate::rollout::{CanaryView, Ending, RolloutView};

/// How things stand: the word behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The question makes no sense.
    BadRequest,
    /// Figures are not there yet.
    Recovering,
    /// No such service.
    UnknownService,
    /// It has no `canary` block.
    NoCanary,
    /// Nothing is known of the version.
    UnknownVersion,
    /// The rollout has no such step.
    UnknownStep,
    /// The version is the stable one and needed no rollout.
    Stable,
    /// Being judged.
    InProgress,
    /// Held, by a person or the judge.
    Paused,
    /// Over.
    Ended(Ending),
}

impl Standing {
    /// The word used in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Recovering => "recovering",
            Self::UnknownService => "unknown-service",
            Self::NoCanary => "no-canary",
            Self::UnknownVersion => "unknown-version",
            Self::UnknownStep => "unknown-step",
            Self::Stable => "stable",
            Self::InProgress => "in-progress",
            Self::Paused => "paused",
            Self::Ended(ending) => ending.as_str(),
        }
    }

    /// Of a rollout.
    pub(super) fn of(rollout: &RolloutView) -> Self {
        match &rollout.ended {
            Some((_, ending, _)) => Self::Ended(*ending),
            None if rollout.paused.is_some() || decided(rollout) == Some(Decision::Pause) => Self::Paused,
            None => Self::InProgress,
        }
    }
}

/// An answer with its reason.
#[derive(Clone, Debug)]
pub(super) struct Answer<'r> {
    /// What to do.
    pub(super) decision: Decision,
    /// Why, as a word.
    pub(super) standing: Standing,
    /// Why, as a sentence.
    pub(super) reason: String,
    /// The rollout it is about.
    pub(super) rollout: Option<&'r RolloutView>,
    /// The step it is about: the one asked for, else the one at hand.
    pub(super) step: Option<usize>,
}

impl<'r> Answer<'r> {
    /// Go on, as there is nothing to say.
    pub(super) fn unknown(standing: Standing, reason: String) -> Self {
        Self { decision: Decision::Continue, standing, reason, rollout: None, step: None }
    }

    /// About a version of a service.
    pub(super) fn about(canary: &'r CanaryView, version: &str, step: Option<&str>) -> Self {
        match canary.rollout(Some(version)) {
            Some(rollout) => Self::of(canary, rollout, step),
            None => Self::without_rollout(canary, version),
        }
    }

    /// About a version that has no rollout.
    pub(super) fn without_rollout(canary: &CanaryView, version: &str) -> Self {
        if canary.stable.as_deref() == Some(version) {
            let stable = Self::unknown(Standing::Stable, format!("{version} is the stable version"));
            return Self { decision: Decision::Promote, ..stable };
        }
        Self::unknown(Standing::UnknownVersion, format!("no rollout of {version} has begun yet"))
    }

    /// About a rollout.
    pub(super) fn of(canary: &'r CanaryView, rollout: &'r RolloutView, step: Option<&str>) -> Self {
        let whole = Self::whole(canary, rollout);
        let Some(asked) = step else { return whole };
        let is_over = rollout.ended.is_some() || whole.decision == Decision::Rollback;
        match find_step(rollout, asked) {
            Ok(step) if is_over => Self { step: Some(step), ..whole },
            Ok(step) => Self::step(whole, rollout, step),
            // What was taken back is, whatever its steps are called.
            Err(_) if whole.decision == Decision::Rollback => whole,
            Err(reason) => {
                let unknown = Self::unknown(Standing::UnknownStep, reason);
                Self { rollout: Some(rollout), step: None, ..unknown }
            }
        }
    }

    fn whole(canary: &CanaryView, rollout: &'r RolloutView) -> Self {
        let version = &rollout.version;
        let (decision, reason) = match &rollout.ended {
            Some((_, Ending::Promoted, reason)) => match canary.stable.as_ref().filter(|stable| *stable != version) {
                None => (Decision::Promote, reason.clone()),
                Some(stable) => {
                    let reason = format!("{version} was promoted once, but {stable} is the stable version since");
                    (Decision::Continue, format!("{reason}: no new rollout of {version} has begun yet"))
                }
            },
            Some((_, Ending::RolledBack | Ending::Aborted, reason)) => (Decision::Rollback, reason.clone()),
            Some((_, Ending::Superseded | Ending::Vanished, reason)) => (Decision::Pause, reason.clone()),
            None => at_hand(rollout),
        };
        Self { decision, standing: Standing::of(rollout), reason, rollout: Some(rollout), step: Some(rollout.step) }
    }

    /// About one step of a rollout in progress.
    fn step(whole: Self, rollout: &'r RolloutView, step: usize) -> Self {
        let name = |step: usize| rollout.steps.get(step).map_or("", |step| step.name.as_str());
        let whole = Self { step: Some(step), ..whole };
        if let Some(promoted) = rollout.steps.get(step).and_then(|step| step.promoted) {
            let reason = format!("the step {} was promoted at {promoted}", name(step));
            return Self { decision: Decision::Promote, reason, ..whole };
        }
        if step > rollout.step {
            let reason = format!("the step {} has not begun: {} is at hand", name(step), name(rollout.step));
            return Self { decision: Decision::Continue, reason, ..whole };
        }
        if step < rollout.step {
            let reason = format!("the step {} was left before it was decided", name(step));
            return Self { decision: Decision::Continue, reason, ..whole };
        }
        match current_verdict(rollout) {
            Some(verdict) if whole.decision == Decision::Continue && verdict.decision == Decision::Promote => {
                Self { decision: Decision::Promote, reason: verdict.reason.clone(), ..whole }
            }
            _ => whole,
        }
    }
}

/// The latest verdict if it is about the step at hand.
fn current_verdict(rollout: &RolloutView) -> Option<&Ruling> {
    let name = rollout.steps.get(rollout.step).map(|step| &step.name);
    rollout.verdict.as_deref().filter(|verdict| name.is_none_or(|name| verdict.step() == name))
}

/// What holds for the rollout: `rollback` for any step is for all.
fn decided(rollout: &RolloutView) -> Option<Decision> {
    let latest = rollout.verdict.as_ref().map(|verdict| verdict.decision());
    match latest {
        Some(Decision::Rollback) => latest,
        _ => current_verdict(rollout).map(Ruling::decision),
    }
}

/// What a rollout in progress should do, as a whole.
fn at_hand(rollout: &RolloutView) -> (Decision, String) {
    let reason = |or: &str| current_verdict(rollout).map_or_else(|| or.to_owned(), |verdict| verdict.reason.clone());
    match (decided(rollout), &rollout.paused) {
        (Some(Decision::Rollback), _) => {
            let latest = rollout.verdict.as_ref().map(|verdict| verdict.reason.clone());
            (Decision::Rollback, latest.unwrap_or_default())
        }
        (_, Some(by)) if by.reason.is_empty() => (Decision::Pause, format!("paused by {}", by.name)),
        (_, Some(by)) => (Decision::Pause, format!("paused by {}: {}", by.name, by.reason)),
        (Some(Decision::Pause), None) => (Decision::Pause, reason("")),
        (Some(Decision::Promote), None) => {
            let name = rollout.steps.get(rollout.step).map_or("", |step| step.name.as_str());
            (Decision::Continue, format!("the step {name} may be promoted: {}", reason("")))
        }
        (Some(Decision::Continue), None) => (Decision::Continue, reason("")),
        (None, None) => (Decision::Continue, reason("not judged yet: both versions need samples first")),
    }
}

/// The step by its name, its weight (`5%`, or `5`), or its place from 0. A number that could be two steps is none:
/// the answer about another one than was meant might let a release go on.
fn find_step(rollout: &RolloutView, asked: &str) -> Result<usize, String> {
    let steps = || rollout.steps.iter().enumerate();
    if let Some((step, _)) = steps().find(|(_, step)| step.name == asked) {
        return Ok(step);
    }
    let (number, is_percent) = asked.strip_suffix('%').map_or((asked, false), |number| (number, true));
    let number = number.trim();
    let mut found = Vec::new();
    if let Ok(percent) = number.parse::<f64>() {
        found.extend(steps().filter(|(_, step)| step.weight == Some(percent)).map(|(at, _)| at));
    }
    if !is_percent && let Some(at) = number.parse::<usize>().ok().filter(|at| *at < rollout.steps.len()) {
        found.push(at);
    }
    found.sort_unstable();
    found.dedup();
    let names = |found: &mut dyn Iterator<Item = &str>| found.collect::<Vec<_>>().join(", ");
    match found[..] {
        [step] => Ok(step),
        [] => {
            let all = names(&mut rollout.steps.iter().map(|step| step.name.as_str()));
            Err(format!("the rollout has no step {asked:?}: its steps are {all}"))
        }
        _ => {
            let could_be = names(&mut found.iter().map(|at| rollout.steps[*at].name.as_str()));
            Err(format!("the step {asked:?} could be any of {could_be}: give its name"))
        }
    }
}
