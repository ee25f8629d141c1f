//! What happens when: a script that listens to the alerts, as whoever is on call would.

use crate::demo::sink::{AlertMessage, RolloutMessage};
use crate::demo::{Milestone, traffic};
use crate::types::{Span, Timestamp};

/// The page that leads to the rollback, and the one whose end is waited for: its windows are short.
const PAGE_OF: &str = "checkout/availability";
const END_OF: &str = "checkout/orders";

const TRY_AFTER: Span = Span::seconds(2);
const DEPLOY_AFTER: Span = Span::seconds(5);
const INVOICE_AFTER: Span = Span::seconds(11);
const EXPLAIN_AFTER: Span = Span::seconds(13);
/// Whoever is on call needs this long from the page to the rollback.
const REACTION: Span = Span::seconds(5);
/// Should no alert come, the story goes on all the same.
const ROLLBACK_AT_LATEST: Span = Span::minutes(2);
const END_AT_LATEST: Span = Span::minutes(5);

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// Try a bad and a good release on a share of the requests.
    Try,
    /// Roll out the bad release.
    Deploy,
    /// Let an invoice fail.
    FailInvoice,
    /// Say why that does not page.
    ExplainInvoice,
    /// Take the release back.
    Rollback,
    /// Say what to do next.
    End,
}

const SCRIPT: [Cue; 6] = [Cue::Try, Cue::Deploy, Cue::FailInvoice, Cue::ExplainInvoice, Cue::Rollback, Cue::End];

/// Where the story stands.
#[derive(Debug)]
pub struct Story {
    live_from: Timestamp,
    /// Cues given.
    given: usize,
    paged_at: Option<Timestamp>,
    resolved_at: Option<Timestamp>,
    taken_back: bool,
    promoted: bool,
}

impl Story {
    /// A story that begins now.
    pub fn new(live_from: Timestamp) -> Self {
        Self { live_from, given: 0, paged_at: None, resolved_at: None, taken_back: false, promoted: false }
    }

    /// The next thing to do, if its time has come.
    pub fn cue(&mut self, now: Timestamp) -> Option<Cue> {
        let cue = *SCRIPT.get(self.given)?;
        let due = match cue {
            Cue::Try => self.live_from + TRY_AFTER,
            Cue::Deploy => self.live_from + DEPLOY_AFTER,
            Cue::FailInvoice => self.live_from + INVOICE_AFTER,
            Cue::ExplainInvoice => self.live_from + EXPLAIN_AFTER,
            Cue::Rollback => self.paged_at.map_or(self.live_from + ROLLBACK_AT_LATEST, |at| at + REACTION),
            Cue::End => self.resolved_at.unwrap_or(self.live_from + END_AT_LATEST),
        };
        (now >= due).then(|| {
            self.given += 1;
            cue
        })
    }

    /// Takes notice of an alert.
    pub fn hear(&mut self, alert: &AlertMessage, at: Timestamp) {
        if !alert.is_page() {
            return;
        }
        match (alert.slo.as_str(), alert.is_resolved()) {
            (PAGE_OF, false) => _ = self.paged_at.get_or_insert(at),
            (END_OF, true) if self.paged_at.is_some() => _ = self.resolved_at.get_or_insert(at),
            _ => {}
        }
    }

    /// Takes notice of what happened to a rollout.
    pub fn hear_of_rollout(&mut self, rollout: &RolloutMessage) {
        match rollout.outcome.as_deref() {
            Some("rolled-back") => self.taken_back = true,
            Some("promoted") => self.promoted = true,
            _ => {}
        }
    }

    /// Whether the story got that far.
    pub fn has_reached(&self, milestone: Milestone) -> bool {
        match milestone {
            Milestone::Page => self.paged_at.is_some(),
            Milestone::Verdict => self.taken_back && self.promoted,
            Milestone::Resolved => self.resolved_at.is_some(),
        }
    }
}

/// The share of the requests that a release is tried on at first.
pub const FIRST_SHARE: f64 = 0.25;

/// What is said of [`Cue::Try`], of a release and of how many of its requests fail.
pub fn trial_text(version: &str, failing: f64) -> String {
    let (share, failing) = (100.0 * FIRST_SHARE, 100.0 * failing);
    format!("{version} gets {share:.0} % of the requests; {failing:.2} % of its own fail")
}

/// The share of the requests after a verdict, as a pipeline would set it: that of the step that follows.
pub fn share_after(rollout: &RolloutMessage) -> Option<f64> {
    match (rollout.decision.as_deref()?, rollout.step.as_deref()?) {
        ("rollback", _) => Some(0.0),
        ("promote", "25%") => Some(0.5),
        ("promote", _) => Some(1.0),
        _ => None,
    }
}

/// What is said of [`Cue::Deploy`].
pub fn deploy_text() -> String {
    let failing = traffic::BAD_FAILING * 10.0;
    let (stable, bad) = (traffic::STABLE, traffic::BAD);
    format!("{bad} replaces {stable}: {failing:.0} in 10 of its requests fail")
}

/// What is said of [`Cue::Rollback`].
pub fn rollback_text() -> String {
    format!("{} comes back, {REACTION} after the page", traffic::STABLE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn alert(slo: &str, severity: &str, state: &str) -> AlertMessage {
        AlertMessage {
            slo: slo.to_owned(),
            severity: severity.to_owned(),
            state: state.to_owned(),
            labels: BTreeMap::new(),
            starts_at: String::new(),
            ends_at: None,
            burn_rates: BTreeMap::new(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    fn cues(story: &mut Story, until: i64) -> Vec<(i64, Cue)> {
        (0..=until).filter_map(|second| Some((second, story.cue(at(second))?))).collect()
    }

    #[test]
    fn the_rollback_follows_the_page() {
        let mut story = Story::new(at(0));
        story.hear(&alert("search/latency", "ticket", "firing"), at(0));
        assert_eq!(
            cues(&mut story, 30),
            [(2, Cue::Try), (5, Cue::Deploy), (11, Cue::FailInvoice), (13, Cue::ExplainInvoice)]
        );
        assert!(!story.has_reached(Milestone::Page));
        story.hear(&alert("checkout/availability", "page", "firing"), at(30));
        assert!(story.has_reached(Milestone::Page));
        assert_eq!(cues(&mut story, 60), [(35, Cue::Rollback)]);
        story.hear(&alert("checkout/orders", "page", "resolved"), at(61));
        assert!(story.has_reached(Milestone::Resolved));
        assert_eq!(cues(&mut story, 61), [(61, Cue::End)]);
        assert_eq!(cues(&mut story, 600), []);
    }

    #[test]
    fn without_alerts_it_ends_all_the_same() {
        let mut story = Story::new(at(0));
        let given: Vec<Cue> = cues(&mut story, 600).into_iter().map(|(_, cue)| cue).collect();
        assert_eq!(given, SCRIPT);
    }
}
