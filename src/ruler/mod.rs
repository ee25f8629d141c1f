//! Prometheus' rules, evaluated as Prometheus evaluates them (`rules/group.go`, `alerting.go`, `recording.go`).
//!
//! A [`Ruler`] holds groups of rules. Each group has its time slots ([`schedule`]): multiples of its interval, moved by
//! a hash of its file and name. At a slot its rules run in order against a [`RuleStore`]; what one writes the next one
//! sees. A series that a rule gave at the slot before and gives no more gets a stale marker; so do the series of a rule
//! or group that is gone after a reload. Alerts live by `for` and `keep_firing_for`, and write `ALERTS` and
//! `ALERTS_FOR_STATE`.
//!
//! Pure: slots, storage and the moment of a reload are arguments. How long something took is told from outside.
//!
//! Where it differs from Prometheus, and why:
//! - An alert's state survives a restart from our own record ([`Saved`]): an alert that fired goes on firing under the
//!   same `startsAt`, one that was pending goes on waiting, the time of the outage not counted. Without a record, `for`
//!   is restored from `ALERTS_FOR_STATE` by Prometheus' rules.
//! - Alerts of a rule that is gone, or that exceeds its `limit`, are ended at once; Prometheus lets them expire at the
//!   Alertmanager.

mod alerting;
mod group;
pub mod measure;
mod record;
mod restore;
pub mod schedule;
mod set;
mod store;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::alert::AlertState;
use crate::promql::{EvalLimits, Evaluation, Storage, Value};
use crate::types::{Labels, Span, Timestamp};

pub use group::Group;
pub use restore::Saved;
pub use set::{Due, Ruler};
pub use view::{GroupView, Health, RuleView};

/// `ALERTS_FOR_STATE` older than this says nothing.
pub const OUTAGE_TOLERANCE: Span = Span::hours(1);
/// An alert restored from `ALERTS_FOR_STATE` fires no earlier than this after the restart.
pub const FOR_GRACE_PERIOD: Span = Span::minutes(10);
/// An alert that goes on firing over a restart is not ended this long for want of its series: the storage may still be
/// filling.
pub const RESTORE_HOLD: Span = Span::minutes(5);

/// A storage that takes what rules give.
pub trait RuleStore: Storage {
    /// Adds a sample, which later queries see.
    ///
    /// # Errors
    /// When the series has a later sample, another one at that time, or there is no room.
    fn append(&self, labels: &Arc<Labels>, at: Timestamp, value: &Value) -> Result<(), AppendError>;
}

/// Why a sample was not taken, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The series has a later one.
    #[error("out of order sample")]
    OutOfOrder,
    /// The series has another one at that time.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// Older than anything that is kept.
    #[error("out of bounds")]
    TooOld,
    /// The storage's own reason.
    #[error("{0}")]
    Refused(String),
}

/// What holds for all groups.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `$externalLabels` of templates.
    pub external_labels: Labels,
    /// `$externalURL` of templates.
    pub external_url: Url,
    /// How often a group is evaluated that does not say.
    pub interval: Span,
    /// The offset of a group that does not say.
    pub query_offset: Span,
    /// How far back a sample still counts as current.
    pub lookback: Span,
    /// What one query may use.
    pub limits: EvalLimits,
}

impl Setting {
    /// Prometheus' defaults.
    pub fn new(external_url: Url) -> Self {
        Self {
            external_labels: Labels::new(),
            external_url,
            interval: Span::minutes(1),
            query_offset: Span::ZERO,
            lookback: Span::minutes(5),
            limits: EvalLimits::default(),
        }
    }
}

/// Where rules read and write, and what they may use.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Samples.
    pub store: &'a dyn RuleStore,
    /// What holds for all groups.
    pub setting: &'a Setting,
    /// Asked often; the query at hand fails once it says yes.
    pub should_stop: &'a dyn Fn() -> bool,
}

impl<'a> Ground<'a> {
    fn evaluation(&self) -> Evaluation<'a> {
        Evaluation {
            storage: self.store,
            lookback: self.setting.lookback,
            subquery_step: self.setting.interval,
            limits: self.setting.limits,
            should_stop: self.should_stop,
        }
    }
}

/// An alert of a rule as it stood at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleAlert {
    /// The group's key: the same labels may come from two groups.
    pub group: Arc<str>,
    /// All its labels, expanded, `alertname` among them; its identity.
    pub labels: Arc<Labels>,
    /// Expanded.
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub state: AlertState,
    /// The value of its series when it was last there.
    pub value: f64,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// Since when it fires; `None` while pending.
    pub fired_at: Option<Timestamp>,
    /// Since when it is over; `Some` only when resolved.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<Timestamp>,
    /// The rule's expression.
    pub expr: Arc<str>,
}

#[cfg(test)]
mod tests;
