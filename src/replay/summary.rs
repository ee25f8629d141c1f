//! What a replay means for people: how often somebody would have been called, and for how long.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::{AlertRule, AlertState};
use crate::engine::SloView;
use crate::replay::Outcome;
use crate::spec::{Severity, naming};
use crate::types::{Labels, Span, Timestamp};

/// Over a shorter time a number of pages a week says nothing.
const RATE_FROM: Span = Span::days(1);

/// One alert from when it fires to when it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// What fired.
    pub rule: Arc<AlertRule>,
    /// When it fired.
    pub fired_at: Timestamp,
    /// When it was over; `None` when it fires at the end of the recording.
    pub resolved_at: Option<Timestamp>,
    /// What the rule compared as it fired.
    pub value: f64,
    /// Burn rates by window as it fired, ascending.
    pub burn_rates: Vec<(Span, f64)>,
}

/// One SLO over the whole recording.
#[derive(Clone, Debug)]
pub struct SloSummary {
    /// `service/slo`, and the group if it is one.
    pub title: String,
    /// The SLO as of the last sample.
    pub view: Arc<SloView>,
    /// In order of time.
    pub episodes: Vec<Episode>,
    /// Times that somebody would have been paged. Tiers that fire together or one upon the other are one page.
    pub pages: usize,
    /// The same for tickets; each budget alert is a ticket of its own.
    pub tickets: usize,
    /// Pages in a week of this; `None` for less than a day.
    pub pages_per_week: Option<f64>,
    /// How long the longest page lasted.
    pub longest_page: Option<Lasting>,
}

/// How long something lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lasting {
    /// How long, up to the end of the recording.
    pub span: Span,
    /// It goes on at the end of the recording.
    pub is_open: bool,
}

impl Episode {
    /// Whether it pages.
    pub fn is_page(&self) -> bool {
        severity(&self.rule.labels) == Severity::Page.as_str()
    }

    /// The burn-rate windows it is about, such as `5m/1h`; or the budget that is left.
    pub fn condition(&self) -> String {
        let label = |name| self.rule.labels.get(name);
        match (label(naming::LABEL_SHORT), label(naming::LABEL_LONG), label(naming::LABEL_BUDGET_REMAINING)) {
            (Some(short), Some(long), _) => format!("{short}/{long}"),
            (_, _, Some(percent)) => format!("budget under {percent} %"),
            _ => String::new(),
        }
    }

    /// How long it lasted, in a recording that ends at `end`.
    pub fn lasting(&self, end: Timestamp) -> Lasting {
        Lasting { span: self.resolved_at.unwrap_or(end).since(self.fired_at), is_open: self.resolved_at.is_none() }
    }
}

/// The severity an alert is sent with, whatever labels the user gives it: `page` or `ticket`.
pub fn severity(labels: &Labels) -> &str {
    labels.get(naming::LABEL_SEVERITY).unwrap_or_default()
}

/// One summary for each SLO, in the order of the specs.
pub fn summarize(outcome: &Outcome) -> Vec<SloSummary> {
    let mut episodes = episodes(outcome);
    let summaries = outcome.slos.iter().map(|view| {
        let episodes = episodes.remove(&(view.id.as_str(), &view.group)).unwrap_or_default();
        let pages = merged(episodes.iter().filter(|e| e.is_page()), outcome.to);
        let (budget, burn): (Vec<&Episode>, Vec<&Episode>) = episodes
            .iter()
            .filter(|e| !e.is_page())
            .partition(|e| e.rule.labels.get(naming::LABEL_BUDGET_REMAINING).is_some());
        let length = outcome.to.since(outcome.from);
        SloSummary {
            title: view.title(),
            view: Arc::clone(view),
            pages: pages.len(),
            tickets: merged(burn, outcome.to).len() + budget.len(),
            pages_per_week: (length >= RATE_FROM).then(|| pages.len() as f64 * 7.0 / length.as_days_f64()),
            longest_page: pages.into_iter().max(),
            episodes,
        }
    });
    summaries.collect()
}

/// All alerts that fired, by SLO, each in order of time.
fn episodes(outcome: &Outcome) -> BTreeMap<(&str, &Labels), Vec<Episode>> {
    let mut episodes: BTreeMap<(&str, &Labels), Vec<Episode>> = BTreeMap::new();
    let mut open: BTreeMap<(&str, &Labels), usize> = BTreeMap::new();
    for transition in &outcome.transitions {
        let (alert, rule) = (&transition.alert, &transition.alert.rule);
        let of_slo = episodes.entry((&rule.slo, &rule.group)).or_default();
        match alert.state {
            AlertState::Pending => {}
            AlertState::Firing => {
                open.insert((&rule.slo, &rule.labels), of_slo.len());
                of_slo.push(Episode {
                    rule: Arc::clone(rule),
                    fired_at: transition.at,
                    resolved_at: None,
                    value: alert.value,
                    burn_rates: alert.burn_rates.clone(),
                });
            }
            AlertState::Resolved => {
                if let Some(at) = open.remove(&(rule.slo.as_str(), &rule.labels)) {
                    of_slo[at].resolved_at = Some(transition.at);
                }
            }
        }
    }
    episodes
}

/// How long each stretch of time lasts in which at least one of these alerts fires. Takes them in order of time.
fn merged<'a>(episodes: impl IntoIterator<Item = &'a Episode>, end: Timestamp) -> Vec<Lasting> {
    let mut stretches: Vec<(Timestamp, Timestamp, bool)> = Vec::new();
    for episode in episodes {
        let (until, is_open) = (episode.resolved_at.unwrap_or(end), episode.resolved_at.is_none());
        match stretches.last_mut() {
            Some((_, last_until, last_open)) if episode.fired_at <= *last_until => {
                *last_until = until.max(*last_until);
                *last_open |= is_open;
            }
            _ => stretches.push((episode.fired_at, until, is_open)),
        }
    }
    stretches.into_iter().map(|(from, to, is_open)| Lasting { span: to.since(from), is_open }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(from: i64, to: Option<i64>) -> Episode {
        let at = |seconds: i64| Timestamp(seconds * 1000);
        let rule = AlertRule {
            slo: "api/availability".to_owned(),
            group: Labels::new(),
            labels: Labels::new(),
            annotations: [].into(),
            expr: "".into(),
            for_: Span::ZERO,
            keep_firing_for: Span::ZERO,
        };
        let (fired_at, resolved_at) = (at(from), to.map(at));
        Episode { rule: Arc::new(rule), fired_at, resolved_at, value: 0.0, burn_rates: Vec::new() }
    }

    #[test]
    fn tiers_that_fire_together_are_one_page() {
        let lasting = |seconds, is_open| Lasting { span: Span::seconds(seconds), is_open };
        let end = Timestamp(1_000_000);
        let tiers = [
            episode(100, Some(200)),
            episode(150, Some(180)),
            episode(200, Some(230)), // the moment the one before is over
            episode(400, Some(410)),
            episode(900, None),
        ];
        assert_eq!(merged(&tiers, end), [lasting(130, false), lasting(10, false), lasting(100, true)]);
    }
}
