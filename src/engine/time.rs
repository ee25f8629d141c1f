//! What time alone leads to, on a grid that does not depend on who asks how often.
//!
//! The grid's moments are whole seconds. The one at `t` is passed as soon as an event comes after `t`, so that it
//! sees every sample that arrived up to `t`; moments at which nothing is due are left out, which changes nothing.
//! After an hour without a write every series is forgotten and only windows slide: then the grid is ten minutes
//! wide, so that a daemon that was away for a week is back in a moment.

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::engine::Engine;
use crate::series::IDLE;
use crate::types::{Span, Timestamp};

/// How often a part of the wire keys is looked through: those not used for half an hour to an hour are decoded again.
const ROTATE_EVERY: Span = Span::minutes(1);
/// How often idle series are looked for.
const SWEEP_EVERY: Span = Span::minutes(1);
/// Series looked at for removal each time.
const SWEEP_LIMIT_SERIES: usize = 500_000;
/// The grid, and the one after [`IDLE`] without a write.
const GRID: Span = Span::seconds(1);
const IDLE_GRID: Span = Span::minutes(10);

/// Where the engine stands in time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Time {
    /// The latest event's time; moments of the grid before it are passed.
    now: Timestamp,
    /// The latest write's arrival.
    pub(super) written_at: Timestamp,
    rotated_at: Timestamp,
    swept_at: Timestamp,
    /// When unused tags were looked for.
    pub(super) freed_at: Timestamp,
}

impl Time {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, written_at: now, rotated_at: now, swept_at: now, freed_at: now }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The first moment of the grid at or after `due`.
    fn moment(&self, due: Timestamp) -> Timestamp {
        let second = ceil(due.max(self.now), GRID);
        if second.since(self.written_at) >= IDLE { ceil(second, IDLE_GRID) } else { second }
    }
}

fn ceil(at: Timestamp, grid: Span) -> Timestamp {
    let width = grid.as_millis();
    Timestamp(at.as_millis().saturating_add(width - 1).div_euclid(width).saturating_mul(width))
}

impl Engine {
    /// The time of the latest event.
    pub fn now(&self) -> Timestamp {
        self.time.now
    }

    /// Passes every moment of the grid from the last event's time up to, but not at, `now`.
    pub(super) fn pass_time(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        if now < self.time.now {
            // The clock went back: whatever was to happen later is looked at anew.
            self.time = Time::new(now);
            self.tick(now, alerts);
            return;
        }
        loop {
            let at = self.time.moment(self.next_due());
            if at >= now {
                break;
            }
            self.tick(at, alerts);
            self.time.now = at + Span::millis(1);
        }
        self.time.now = now;
    }

    /// When time alone has something to do at the latest.
    fn next_due(&self) -> Timestamp {
        let upkeep = (self.time.rotated_at + ROTATE_EVERY).min(self.time.swept_at + SWEEP_EVERY);
        let held = if self.table.is_holding() { self.time.now } else { upkeep };
        held.min(upkeep).min(self.docket.next_due()).min(self.releases.due())
    }

    fn tick(&mut self, at: Timestamp, alerts: &mut Vec<Alert>) {
        let sweeps = at.since(self.time.swept_at) >= SWEEP_EVERY;
        if sweeps {
            self.time.swept_at = at;
            self.table.sweep(at, SWEEP_LIMIT_SERIES, &mut self.output);
        }
        if at.since(self.time.rotated_at) >= ROTATE_EVERY {
            self.time.rotated_at = at;
            self.table.rotate_wire_keys();
            if let Some(ha) = &mut self.ha {
                ha.rotate();
            }
        }
        self.docket.list_due(at);
        self.settle(at, at, alerts);
        if sweeps {
            self.free_unused_tags(at);
        }
    }
}
