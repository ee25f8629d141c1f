//! Prometheus rules from specifications, for those who let Prometheus, Mimir, Thanos or VictoriaMetrics evaluate
//! them: the same SLOs, windows and alerts as the engine's, within what PromQL can say.
//!
//! # What is generated
//!
//! Three groups an SLO, under Sloth's names and labels, so that dashboards and routes made for Sloth work:
//!
//! - `sloth-slo-sli-recordings-<id>`: for each window of the policy and for 5m, the bad and the total events a
//!   second and their ratio (`slo:sli_events:bad_rate5m`, `slo:sli_events:total_rate5m`,
//!   `slo:sli_error:ratio_rate5m`); then the ratio over the period.
//! - `sloth-slo-meta-recordings-<id>`: objective, budget, burn rates, budget left. Without a budget (an objective of
//!   100 %) there are no burn rates: they would be 0/0 or infinite.
//! - `sloth-slo-alerts-<id>`: an alert a severity, its tiers joined by `or`, and one for each `budgetRemaining`.
//!
//! The rules of a group are evaluated in order, so each reads what the ones before it have just recorded.
//!
//! # Why events are recorded, and not only ratios
//!
//! An average of 5m ratios gives ten night-time requests the weight of ten million at noon: measured, 4.03 % where
//! 0.0045 % was true. The period's ratio is therefore bad events over total events. Both come from the recorded 5m
//! rates, read every 5 minutes over the period (`[30d:5m]`): such windows tile the period, so every event counts
//! once, whatever the evaluation interval is, has been, or was missed. Raw counters are not read over the
//! period; the period costs two series of one point per 5 minutes, the windows two range queries each, as in Sloth.
//! The burn windows do read raw counters: alerts must be right from the first evaluation on.
//!
//! `max` and `sum` stand around series that should be alone because they are not always: after an edit of a label
//! the period holds both spellings (their events add up), and after a restart both are visible for 5 minutes.
//!
//! # Where Sloth's rules go wrong, and what these do
//!
//! | case | here |
//! |---|---|
//! | averages of ratios, short peaks | event-weighted |
//! | idle minutes make the period NaN | a ratio exists only where total > 0; idle tiles add 0 to both sums |
//! | vanished metrics read as 0 errors | they add nothing; that they vanished only the engine reports |
//! | no bad series yet: no data | counts as 0 bad events as long as there are total events |
//! | a counter is born above 0 | lost to `rate`; only the engine counts births |
//! | extrapolation: one error reads 1.053 | as in Prometheus; the engine counts whole events |
//! | a label edit breaks the period rule | summed over both label sets |
//! | two SLOs on one metric disturb each other | every helper series carries its SLO's identity |
//! | windows rounded to 0s | the policy's windows are never under a minute unless written so |
//! | tiers that can never fire | left out |
//! | an objective of 100 % | any error fires; no burn rates |
//! | one error trips a tier at low traffic | guarded by `minEvents` over the long window |
//! | `le="1"` and `le="1.0"` | a threshold matches every spelling |
//! | only errors, no good series | 100 % bad |
//! | cold start: a part is taken for the whole | inherent to rules; only the engine knows it is warming up |
//! | a counter that reports NaN | inherent to rules; the engine ignores the sample |
//!
//! Besides rules, `argo` and `flagger` make what lets a pipeline ask for sloburn's verdicts.
//!
//! Latency SLIs read classic buckets; native histograms only the engine reads. A window must hold at least two
//! samples of every series, as for any `rate`.

mod alerts;
mod argo;
mod flagger;
mod limits;
mod metadata;
mod model;
mod render;
mod sli;

use std::fmt;
use std::str::FromStr;

pub use alerts::{budget_expr, no_data_expr, tier_expr};
pub use limits::{Limit, limits};
pub use model::{Rule, RuleGroup};
pub use render::{render_operator, render_prometheus};

use crate::spec::{Canary, Service, Slo, naming};
use crate::types::{Labels, quote};

/// Where sloburn is reached in a cluster that has it as a service of that name.
pub const DEFAULT_ADDRESS: &str = "http://sloburn:9797";

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A rule file for Prometheus, Mimir, Thanos or vmalert.
    Prometheus,
    /// Prometheus Operator's `monitoring.coreos.com/v1` `PrometheusRule`, one object a service.
    Operator,
    /// What makes Argo Rollouts wait for verdicts: `AnalysisTemplate`s, steps of Rollouts, notifications.
    Argo,
    /// What makes Flagger ask for them: webhooks of Canaries, `MetricTemplate`s.
    Flagger,
}

/// A text that names no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}; expected prometheus, operator, argo or flagger")]
pub struct UnknownFormat(String);

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Prometheus, Self::Operator, Self::Argo, Self::Flagger];

    /// The word used on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Operator => "operator",
            Self::Argo => "argo",
            Self::Flagger => "flagger",
        }
    }

    /// Whether it is about releases, and only services with a `canary` block have something to say.
    pub const fn is_about_releases(self) -> bool {
        matches!(self, Self::Argo | Self::Flagger)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// The rule groups of a service, in the order of its SLOs. The same service gives the same groups.
pub fn rules(service: &Service) -> Vec<RuleGroup> {
    let mut groups = Vec::with_capacity(3 * service.slos.len());
    for slo in service.slos.iter() {
        let id = naming::slo_id(service, slo);
        for (kind, rules) in [
            ("sli-recordings", sli::rules(service, slo)),
            ("meta-recordings", metadata::rules(service, slo)),
            ("alerts", alerts::rules(service, slo)),
        ] {
            if !rules.is_empty() {
                groups.push(RuleGroup { name: format!("sloth-slo-{kind}-{id}"), interval: None, rules });
            }
        }
    }
    groups
}

/// The text of all services in a format: one rule file, or YAML documents. `address` is sloburn's own, for formats
/// about releases.
pub fn render(services: &[Service], format: Format, address: &str) -> String {
    match format {
        Format::Prometheus => render_prometheus(&services.iter().flat_map(rules).collect::<Vec<_>>()),
        Format::Operator => {
            let documents: Vec<String> = services.iter().map(|s| render_operator(s, &rules(s))).collect();
            documents.join("---\n")
        }
        Format::Argo => argo::render(&judged(services), address.trim_end_matches('/')),
        Format::Flagger => flagger::render(&judged(services), address.trim_end_matches('/')),
    }
}

fn judged(services: &[Service]) -> Vec<(&Service, &Canary)> {
    services.iter().filter_map(|service| Some((service, service.canary.as_deref()?))).collect()
}

/// The matchers that select an SLO's own series: `{sloth_id="a-b", sloth_service="a", sloth_slo="b"}`, and those of one
/// of its groups.
fn selector_of(service: &Service, slo: &Slo, group: &Labels) -> String {
    let id = naming::slo_id(service, slo);
    let own = [(naming::LABEL_ID, &*id), (naming::LABEL_SERVICE, &service.name), (naming::LABEL_SLO, &slo.name)];
    let matchers = own.into_iter().chain(group).map(|(name, value)| format!("{name}={}", quote(value)));
    format!("{{{}}}", matchers.collect::<Vec<_>>().join(", "))
}

/// `sum(expr)`, or for each value of some labels `sum by (a, b) (expr)`.
fn grouped(operator: &str, by: &[String], expr: &str) -> String {
    if by.is_empty() { format!("{operator}({expr})") } else { format!("{operator} by ({}) ({expr})", by.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_read_what_they_print() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(
            "helm".parse::<Format>().unwrap_err().to_string(),
            r#"unknown format "helm"; expected prometheus, operator, argo or flagger"#
        );
    }
}
