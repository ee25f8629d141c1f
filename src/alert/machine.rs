//! The life of one alert: inactive, pending, firing, resolved, with the time as an argument.
//!
//! The rules are Prometheus' (`rules/alerting.go`): `for` counts from the first evaluation at which the
//! condition held, and fires at once when it is zero; `keep_firing_for` counts from the first at which it no
//! longer held; a pending alert whose condition ends was never there.

use serde::{Deserialize, Serialize};

use crate::alert::AlertState;
use crate::types::{Span, Timestamp};

/// Where one condition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    #[default]
    Inactive,
    Pending {
        active_at: Timestamp,
    },
    Firing {
        active_at: Timestamp,
        fired_at: Timestamp,
        /// Since when the condition no longer holds.
        over_since: Option<Timestamp>,
    },
}

/// An alert's state with the moments that led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: AlertState,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// Since when it fires.
    pub fired_at: Option<Timestamp>,
    /// Since when it is over.
    pub resolved_at: Option<Timestamp>,
}

impl Machine {
    /// Takes the condition at `now`; returns the new standing when the state changed.
    pub fn step(&mut self, holds: bool, now: Timestamp, for_: Span, keep_firing_for: Span) -> Option<Standing> {
        let before = self.standing().map(|s| s.state);
        match self.phase {
            Phase::Inactive if holds => self.phase = Phase::Pending { active_at: now },
            Phase::Pending { .. } if !holds => self.phase = Phase::Inactive,
            Phase::Firing { active_at, fired_at, over_since } => {
                let over_since = if holds { None } else { Some(over_since.unwrap_or(now)) };
                if over_since.is_some_and(|since| now.since(since) >= keep_firing_for) {
                    self.phase = Phase::Inactive;
                    let (fired_at, resolved_at) = (Some(fired_at), Some(now));
                    return Some(Standing { state: AlertState::Resolved, active_at, fired_at, resolved_at });
                }
                self.phase = Phase::Firing { active_at, fired_at, over_since };
            }
            Phase::Inactive | Phase::Pending { .. } => {}
        }
        if let Phase::Pending { active_at } = self.phase
            && now.since(active_at) >= for_
        {
            self.phase = Phase::Firing { active_at, fired_at: now, over_since: None };
        }
        self.standing().filter(|standing| Some(standing.state) != before)
    }

    /// Whether it is neither pending nor firing.
    pub const fn is_inactive(&self) -> bool {
        matches!(self.phase, Phase::Inactive)
    }

    /// Pending or firing, or `None`.
    pub fn standing(&self) -> Option<Standing> {
        match self.phase {
            Phase::Inactive => None,
            Phase::Pending { active_at } => {
                Some(Standing { state: AlertState::Pending, active_at, fired_at: None, resolved_at: None })
            }
            Phase::Firing { active_at, fired_at, .. } => {
                let fired_at = Some(fired_at);
                Some(Standing { state: AlertState::Firing, active_at, fired_at, resolved_at: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(for_: i64, keep: i64, conditions: &[(i64, bool)]) -> Vec<(i64, AlertState)> {
        let mut machine = Machine::default();
        let steps = conditions.iter().filter_map(|&(at, holds)| {
            let step = machine.step(holds, Timestamp(at), Span(for_), Span(keep));
            step.map(|standing| (at, standing.state))
        });
        steps.collect()
    }

    use AlertState::{Firing, Pending, Resolved};

    #[test]
    fn without_for_it_fires_at_once_and_resolves_at_once() {
        assert_eq!(
            run(0, 0, &[(0, false), (1, true), (2, true), (3, false), (4, false)]),
            [(1, Firing), (3, Resolved)]
        );
    }

    #[test]
    fn for_counts_from_the_first_time_the_condition_held() {
        assert_eq!(
            run(10, 0, &[(0, true), (9, true), (10, true), (11, false)]),
            [(0, Pending), (10, Firing), (11, Resolved)]
        );
        assert_eq!(
            run(10, 0, &[(0, true), (5, false), (6, true), (15, true), (16, true)]),
            [(0, Pending), (6, Pending), (16, Firing)]
        );
    }

    #[test]
    fn keep_firing_for_bridges_gaps() {
        let steps = [(0, true), (1, false), (5, true), (6, false), (15, false), (16, false)];
        assert_eq!(run(0, 10, &steps), [(0, Firing), (16, Resolved)]);
    }
}
