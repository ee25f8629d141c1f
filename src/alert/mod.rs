//! Alerts: the state each condition is in, and what receivers and the API are told of it.

mod expr;
mod machine;

use std::sync::Arc;

use crate::types::{Labels, Span, Timestamp};

pub use expr::Expr;
pub use machine::{Machine, Standing};

/// Where an alert stands. Inactive alerts do not exist as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertState {
    /// The condition holds, but not yet for its `for`.
    Pending,
    /// Receivers are told.
    Firing,
    /// Was firing and is over.
    Resolved,
}

impl AlertState {
    /// The word used in JSON: `pending`, `firing`, `resolved`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One alert as it stood at one moment; what a transition carries and the API lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What does not change over the alert's life.
    pub rule: Arc<AlertRule>,
    /// Where it stands.
    pub state: AlertState,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// Since when it fires; `None` while pending.
    pub fired_at: Option<Timestamp>,
    /// Since when it is over; `Some` only when resolved.
    pub resolved_at: Option<Timestamp>,
    /// What the rule compares: the burn rate over the long window, or percent of budget left.
    pub value: f64,
    /// Burn rates by window at this moment, ascending; windows without events are absent.
    pub burn_rates: Vec<(Span, f64)>,
}

impl Alert {
    /// When it came to stand as it does.
    pub fn changed_at(&self) -> Timestamp {
        self.resolved_at.or(self.fired_at).unwrap_or(self.active_at)
    }
}

/// The condition behind an alert, and how it presents itself.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// `service/slo`
    pub slo: String,
    /// The SLO's values of the labels that it groups by.
    pub group: Labels,
    /// All labels, `alertname` included, before external labels.
    pub labels: Labels,
    /// Names and Go templates, as in Prometheus' rules (`{{ $labels.x }}`, `{{ $value }}`).
    /// Shared by all rules that say the same.
    pub annotations: Arc<[(String, String)]>,
    /// The PromQL expression that says the same.
    pub expr: Expr,
    /// A condition must hold this long before it fires.
    pub for_: Span,
    /// A firing alert stays so this long after its condition ends.
    pub keep_firing_for: Span,
}
