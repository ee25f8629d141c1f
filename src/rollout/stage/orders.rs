//! What people and pipelines say, done.

use super::Stage;
use crate::canary::Decision;
use crate::rollout::{Actor, Command, CommandError, Ending, Exposure, Order, Record};
use crate::spec::Canary;
use crate::types::Timestamp;

impl Stage {
    /// Does what somebody says.
    ///
    /// # Errors
    /// When it means nothing as things are.
    pub fn command(
        &mut self,
        command: &Command,
        now: Timestamp,
        frozen: Option<&str>,
        out: &mut Vec<Record>,
    ) -> Result<(), CommandError> {
        let by = Actor { name: command.actor.clone(), reason: command.reason.clone() };
        self.order(&command.order, by, now, out)?;
        self.retire();
        self.advance(now, frozen, out);
        Ok(())
    }

    pub(super) fn order(
        &mut self,
        order: &Order,
        by: Actor,
        now: Timestamp,
        out: &mut Vec<Record>,
    ) -> Result<(), CommandError> {
        let service = self.plan.service.name.clone();
        if let Order::Start { version, baseline, committed_at } = order {
            return self.order_start(version, baseline.as_deref(), *committed_at, &by, now, out);
        }
        let plan = &self.plan;
        let run = self.state.current.as_mut().ok_or_else(|| CommandError::NoRollout(service.clone()))?;
        match order {
            Order::Start { .. } => {}
            Order::Promote { full } => run.overrule(plan, now, Decision::Promote, *full, by, out),
            Order::Abort => run.overrule(plan, now, Decision::Rollback, false, by, out),
            Order::Pause => run.hold_by(plan, now, true, by, out),
            Order::Resume => run.hold_by(plan, now, false, by, out),
            Order::Step(exposure) => {
                let step = step_of(&plan.canary, exposure)
                    .ok_or_else(|| CommandError::UnknownStep { service, step: exposure.to_string() })?;
                run.exposed(plan, now, step, &by.name, out);
            }
            Order::End { promoted } => {
                let outcome = if *promoted { Ending::Promoted } else { Ending::Aborted };
                let reason = if by.reason.is_empty() { format!("ended by {}", by.name) } else { by.reason.clone() };
                run.end(plan, now, outcome, reason, Some(by), out);
            }
        }
        Ok(())
    }

    fn order_start(
        &mut self,
        version: &str,
        baseline: Option<&str>,
        committed_at: Option<Timestamp>,
        by: &Actor,
        now: Timestamp,
        out: &mut Vec<Record>,
    ) -> Result<(), CommandError> {
        if baseline == Some(version) {
            return Err(CommandError::Baseline(format!("{version:?} cannot be compared with itself")));
        }
        if let Some(run) = &mut self.state.current {
            if run.version != version {
                let (service, version) = (self.plan.service.name.clone(), run.version.clone());
                return Err(CommandError::InProgress { service, version });
            }
            // Discovery may have been faster; what it cannot know is added.
            run.committed_at = run.committed_at.or(committed_at);
            return Ok(());
        }
        if self.state.stable.as_deref() == Some(version) {
            // It is tried once more.
            self.state.stable = None;
        }
        self.start(version, baseline, now, &by.name, committed_at, now, out);
        Ok(())
    }
}

fn step_of(canary: &Canary, exposure: &Exposure) -> Option<usize> {
    match exposure {
        Exposure::Name(name) => canary.steps.iter().position(|step| step.name == *name),
        Exposure::Index(index) => (*index < canary.steps.len()).then_some(*index),
        Exposure::Weight(percent) => canary.step_of_weight(*percent),
    }
}
