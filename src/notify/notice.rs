//! A notice: one alert as receivers are told of it, with templates expanded and external labels added.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::alert::{Alert, AlertState};
use crate::template::{self, Data};
use crate::types::{Labels, Span, Timestamp};

/// An alert's identity over its life: a hash of its SLO and its labels before templates and external labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// The identity of `alert`; the same in every process.
    pub fn of(alert: &Alert) -> Self {
        let mut hash = Xxh3::new();
        // 0xff occurs in no UTF-8 text, so no two lists of names and values run together.
        let mut add = |text: &str| {
            hash.update(text.as_bytes());
            hash.update(&[0xff]);
        };
        add(&alert.rule.slo);
        for (name, value) in &alert.rule.labels {
            add(name);
            add(value);
        }
        Self(hash.digest128())
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One alert as it fires or is over; plain data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Where it stands in the outbox, from 1; 0 if it is in none.
    pub number: u64,
    /// Whose state this is.
    pub fingerprint: Fingerprint,
    /// `service/slo`; empty for an alert of a rule.
    pub slo: String,
    /// The alert's labels, plus those external ones it has no value for.
    pub labels: Labels,
    /// Expanded annotations by name.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// Since when it is over; `None` while it fires.
    pub resolved_at: Option<Timestamp>,
    /// What the rule compares.
    pub value: f64,
    /// Burn rates by window, ascending.
    pub burn_rates: Vec<(Span, f64)>,
    /// Where the rule's expression can be looked at.
    pub generator_url: String,
}

impl Notice {
    /// What receivers are told of `alert`; nothing while it is pending.
    pub fn render(alert: &Alert, external_labels: &Labels, external_url: &Url) -> Option<Self> {
        let starts_at = alert.fired_at.unwrap_or(alert.active_at);
        let resolved_at = match alert.state {
            AlertState::Pending => return None,
            AlertState::Firing => None,
            AlertState::Resolved => Some(alert.resolved_at.unwrap_or(starts_at)),
        };
        let rule = &alert.rule;
        let now = resolved_at.unwrap_or(starts_at);
        let data = Data { labels: &rule.labels, external_labels, external_url, value: alert.value, now };
        let template_name = format!("__alert_{}", rule.labels.get("alertname").unwrap_or_default());
        let expand = |text: &str| template::expand(&template_name, text, &data);
        let mut labels = external_labels.clone().merged(&rule.labels);
        for (name, value) in rule.labels.iter().filter(|(_, value)| value.contains("{{")) {
            labels.set(name, &expand(value));
        }
        Some(Self {
            number: 0,
            fingerprint: Fingerprint::of(alert),
            slo: rule.slo.clone(),
            labels,
            annotations: rule.annotations.iter().map(|(name, text)| (name.clone(), expand(text))).collect(),
            starts_at,
            resolved_at,
            value: alert.value,
            burn_rates: alert.burn_rates.clone(),
            generator_url: generator_url(external_url, &rule.expr.to_string()),
        })
    }

    /// Whether a rule of a rule file gave it, and not an SLO.
    pub const fn is_of_rule(&self) -> bool {
        self.slo.is_empty()
    }

    /// `firing` or `resolved`.
    pub fn state(&self) -> AlertState {
        if self.resolved_at.is_some() { AlertState::Resolved } else { AlertState::Firing }
    }

    /// Of the same transition of the same alert, in every process: made of the alert's identity, when it began and, at
    /// its end, when it ended.
    pub fn id(&self) -> u128 {
        let happened = self.resolved_at.unwrap_or(self.starts_at);
        let event = self.state().as_str();
        xxh3_128(format!("{} alert.{event} {} {happened}", self.fingerprint, self.starts_at).as_bytes())
    }

    /// The same notice under the labels `firing` was sent with: receivers match the end of an alert to its beginning
    /// by labels, and a template may expand to something else by then.
    #[must_use]
    pub fn under_labels_of(mut self, firing: &Self) -> Self {
        if self.labels != firing.labels {
            self.labels.clone_from(&firing.labels);
        }
        self
    }
}

/// Prometheus' link to a rule's expression: external URL, `/graph?g0.expr=<escaped>&g0.tab=1`.
pub fn generator_url(external_url: &Url, expr: &str) -> String {
    let base = external_url.as_str().trim_end_matches('/');
    format!("{base}/graph?g0.expr={}&g0.tab=1", template::query_escape(expr))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alert::AlertRule;

    pub(in crate::notify) fn alert(name: &str, state: AlertState) -> Alert {
        let labels = Labels::new().with("alertname", name).with("severity", "page").with("zone", "local");
        Alert {
            rule: Arc::new(AlertRule {
                slo: "pay/availability".to_owned(),
                group: Labels::new(),
                labels,
                annotations: vec![("summary".to_owned(), "{{ $labels.alertname }} burns {{ $value }}x".to_owned())]
                    .into(),
                expr: "slo:burn > 14.4".into(),
                for_: Span::ZERO,
                keep_firing_for: Span::ZERO,
            }),
            state,
            active_at: Timestamp(1_000),
            fired_at: (state != AlertState::Pending).then_some(Timestamp(2_000)),
            resolved_at: (state == AlertState::Resolved).then_some(Timestamp(3_000)),
            value: 20.1,
            burn_rates: vec![(Span::minutes(5), 20.1), (Span::hours(1), 15.25)],
        }
    }

    pub(in crate::notify) fn notice(name: &str, state: AlertState) -> Notice {
        let external = Labels::new().with("zone", "outer").with("cluster", "eu");
        Notice::render(&alert(name, state), &external, &"http://slo.example:9797/x/".parse().unwrap()).unwrap()
    }

    #[test]
    fn pending_alerts_are_not_told() {
        let pending = alert("A", AlertState::Pending);
        assert_eq!(Notice::render(&pending, &Labels::new(), &"http://x".parse().unwrap()), None);
    }

    #[test]
    fn a_notice_is_expanded_and_keeps_its_own_labels_over_external_ones() {
        let notice = notice("A", AlertState::Firing);
        assert_eq!(notice.labels.to_string(), r#"{alertname="A",cluster="eu",severity="page",zone="local"}"#);
        assert_eq!(notice.annotations["summary"], "A burns 20.1x");
        assert_eq!((notice.starts_at, notice.resolved_at), (Timestamp(2_000), None));
        assert_eq!(notice.generator_url, "http://slo.example:9797/x/graph?g0.expr=slo%3Aburn+%3E+14.4&g0.tab=1");
    }

    #[test]
    fn identity_is_the_slo_and_the_labels() {
        let firing = alert("A", AlertState::Firing);
        assert_eq!(Fingerprint::of(&firing), Fingerprint::of(&alert("A", AlertState::Resolved)));
        assert_ne!(Fingerprint::of(&firing), Fingerprint::of(&alert("B", AlertState::Firing)));
        let mut other = firing.clone();
        Arc::make_mut(&mut other.rule).slo = "pay/latency".to_owned();
        assert_ne!(Fingerprint::of(&firing), Fingerprint::of(&other));
    }

    #[test]
    fn an_alert_ends_under_the_labels_it_began_with() {
        let render = |state, value| {
            let mut alert = Alert { value, ..alert("A", state) };
            Arc::make_mut(&mut alert.rule).labels.set("burn", "{{ $value }}");
            Notice::render(&alert, &Labels::new(), &"http://x".parse().unwrap()).unwrap()
        };
        let (firing, resolved) = (render(AlertState::Firing, 20.0), render(AlertState::Resolved, 0.5));
        assert_eq!(firing.labels.get("burn"), Some("20"));
        assert_eq!(firing.fingerprint, resolved.fingerprint);
        assert_eq!(resolved.under_labels_of(&firing).labels, firing.labels);
    }
}
