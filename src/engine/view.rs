//! What the engine shows: immutable, so that readers never wait for it or make it wait.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::alert::{Alert, AlertRule, AlertState};
use crate::burn::{Budget, WindowBurn};
use crate::engine::Written;
use crate::rollout::ServiceView;
use crate::sli::{Events, Quantiles};
use crate::spec::{Budgeting, Origin, Tier, naming};
use crate::types::{Labels, Objective, Span, Timestamp};

/// Everything there is to show at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// In the order of the specs.
    pub slos: Vec<Arc<SloView>>,
    /// Services that are released by the judge or the budget policy, in the order of the specs.
    pub services: Vec<Arc<ServiceView>>,
    /// Totals.
    pub stats: Stats,
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Series tracked now.
    pub series: usize,
    /// Wire keys remembered now, those of ignored series included.
    pub wire_keys: usize,
    /// Samples taken.
    pub samples: u64,
    /// Native histograms taken.
    pub histograms: u64,
    /// Samples refused, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Series that count for no group of some SLO, as it has [`GROUPS_LIMIT_COUNT`](super::GROUPS_LIMIT_COUNT) already.
    pub groups_refused_series: u64,
    /// Samples of replicas that were not listened to, as the other one of the pair was.
    pub replica_samples: u64,
}

impl Stats {
    pub(super) fn count(&mut self, written: &Written) {
        self.samples += written.samples;
        self.histograms += written.histograms;
        for (reason, rejection) in &written.rejected {
            *self.rejected.entry(reason).or_default() += rejection.samples;
        }
    }
}

/// The one word for how an SLO is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SloState {
    /// No sample of the total lately, or all its series ended.
    NoData,
    /// The period's budget is spent.
    Exhausted,
    /// A burn-rate alert fires.
    Burning,
    /// The period has not been watched whole yet.
    Warming,
    /// None of these.
    Healthy,
}

impl SloState {
    /// All states, the most urgent first.
    pub const ALL: [Self; 5] = [Self::NoData, Self::Exhausted, Self::Burning, Self::Warming, Self::Healthy];

    /// The word used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoData => "no-data",
            Self::Exhausted => "exhausted",
            Self::Burning => "burning",
            Self::Warming => "warming",
            Self::Healthy => "healthy",
        }
    }
}

/// What the specs say of an SLO, or of one group of it: what all its views share.
#[derive(Clone, Debug)]
pub struct SloIdentity {
    /// `service/slo`
    pub id: String,
    /// The service's name.
    pub service: String,
    /// The SLO's name.
    pub name: String,
    /// For people.
    pub description: String,
    /// The service's labels and the SLO's, and the group's.
    pub labels: Labels,
    /// Values of the labels that the SLO groups by.
    pub group: Labels,
    /// Where it is defined.
    pub origin: Origin,
    /// The share of events that must be good.
    pub objective: Objective,
    /// What the budget is for: `30d`, or `month (Europe/Berlin)`.
    pub period: String,
    /// What the budget counts.
    pub budgeting: Budgeting,
}

/// One SLO: its [`SloIdentity`], and how it is doing.
#[derive(Clone, Debug)]
pub struct SloView {
    /// What stays the same.
    pub identity: Arc<SloIdentity>,
    /// Events of the period that were left out; `None` where the SLO excludes none.
    pub excluded: Option<Events>,
    /// How it is doing.
    pub state: SloState,
    /// The period's events and what is left.
    pub budget: Budget,
    /// The policy's windows and that of the current burn rate, ascending.
    pub windows: Vec<WindowBurn>,
    /// The policy's tiers: why each fires or does not.
    pub tiers: Vec<TierView>,
    /// Everything that can alert, and the alerts pending or firing.
    pub rules: Vec<RuleView>,
    /// Events of the SLI by release.
    pub versions: Vec<VersionView>,
    /// Of a gauge SLI: what its values were like lately.
    pub values: Option<Quantiles>,
    /// Newest sample of the total.
    pub last_sample: Option<Timestamp>,
    /// Counted from 1; a new one began, without history, when the specs changed what the SLI counts.
    pub revision: u32,
}

impl Deref for SloView {
    type Target = SloIdentity;

    fn deref(&self) -> &SloIdentity {
        &self.identity
    }
}

impl SloIdentity {
    /// The id, and the group if it is one: `service/slo{region="eu"}`.
    pub fn title(&self) -> String {
        naming::group_title(&self.id, &self.group)
    }
}

impl SloView {
    /// Alerts pending or firing.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.rules.iter().filter_map(|rule| rule.alert.as_ref())
    }
}

/// A condition that can alert.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// What it is.
    pub rule: Arc<AlertRule>,
    /// Pending or firing.
    pub alert: Option<Alert>,
}

/// One tier of an SLO.
#[derive(Clone, Debug)]
pub struct TierView {
    /// Windows and factor.
    pub tier: Tier,
    /// Neither disabled nor out of reach.
    pub enabled: bool,
    /// Fewer events in the long window never fire it.
    pub min_events: u64,
    /// Events in the long window.
    pub events: f64,
    /// Burn rate over the short window.
    pub short_rate: Option<f64>,
    /// Burn rate over the long window.
    pub long_rate: Option<f64>,
    /// Pending, firing, or neither.
    pub state: Option<AlertState>,
}

/// One release of an SLI.
#[derive(Clone, Debug)]
pub struct VersionView {
    /// Value of the version label.
    pub name: String,
    /// Since it was first seen.
    pub events: Events,
    /// By window, as of its latest sample.
    pub windows: Vec<(Span, Events)>,
    /// Its first sample.
    pub first: Timestamp,
    /// Its latest sample.
    pub last: Timestamp,
}
