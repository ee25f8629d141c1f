//! What of a rollout's records receivers are told, and what they have been told before.
//!
//! Told are the start and the end of a rollout, a pause or resumption by a person, and verdicts that call for
//! something: `promote`, `pause`, `rollback`. A verdict `continue` is none, but what follows a `pause` undoes it where a
//! pause was put into effect (Argo, Alertmanager). A verdict that is repeated with other figures under the same id is
//! told once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;
use xxhash_rust::xxh3::xxh3_128;

use super::canary_alert;
use super::notice::{Fingerprint, Notice};
use crate::canary::{Decision, Verdict};
use crate::rollout::{Actor, Ending, Happened, Record};
use crate::types::{Labels, Timestamp};

/// What happened, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A rollout began.
    Started,
    /// Go on to the next step.
    Promote,
    /// Hold, and ask.
    Pause,
    /// Take the version back.
    Rollback,
    /// A verdict `continue` after a `pause`.
    GoesOn,
    /// Somebody paused it.
    Paused,
    /// Somebody resumed it.
    Resumed,
    /// It is over.
    Ended,
}

/// A record as it is told; plain data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telling {
    /// Where it stands in the outbox, from 1; 0 if it is in none.
    pub number: u64,
    /// What happened.
    pub what: What,
    /// A verdict about the last step.
    pub is_last_step: bool,
    /// Somebody has paused the rollout: a verdict `pause` only follows that.
    pub is_held: bool,
    /// All that is known of it.
    pub record: Record,
}

/// What all messages need to know beside the record.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Added to alerts that have no value of their own for them.
    pub external_labels: Labels,
    /// Where users reach this process.
    pub external_url: Url,
}

impl Telling {
    /// Messages about one rollout are delivered in order.
    pub fn lane(&self) -> Fingerprint {
        Fingerprint(xxh3_128(format!("rollout {}", self.record.rollout).as_bytes()))
    }

    /// Orders to a service's Rollout are carried out in order, whichever rollout they are about.
    pub fn service_lane(&self) -> Fingerprint {
        Fingerprint(xxh3_128(format!("service {}", self.record.service).as_bytes()))
    }

    /// The same for the same thing, on every replica and after every restart: a verdict's own id, else made of the
    /// rollout, what happened, and for pauses when.
    pub fn id(&self) -> String {
        let Record { rollout, at, event, .. } = &self.record;
        let of = |text: String| format!("msg_{:032x}", xxh3_128(format!("{rollout} {text}").as_bytes()));
        match event {
            Happened::Verdict { verdict, .. } => verdict.id.clone(),
            Happened::Held { paused, .. } => of(format!("paused {paused} {at}")),
            Happened::Ended { outcome, .. } => of(format!("ended {}", outcome.as_str())),
            _ => of("started".to_owned()),
        }
    }

    /// The verdict, if it tells of one.
    pub fn verdict(&self) -> Option<&Verdict> {
        if let Happened::Verdict { verdict, .. } = &self.record.event { Some(verdict) } else { None }
    }

    /// Who did it, where it was a person or a pipeline.
    pub fn by(&self) -> Option<&Actor> {
        match &self.record.event {
            Happened::Held { by, .. } => Some(by),
            Happened::Verdict { by, .. } | Happened::Ended { by, .. } => by.as_ref(),
            _ => None,
        }
    }

    /// How the rollout ended, if it did.
    pub fn outcome(&self) -> Option<Ending> {
        if let Happened::Ended { outcome, .. } = self.record.event { Some(outcome) } else { None }
    }

    /// One sentence.
    pub fn reason(&self) -> String {
        match &self.record.event {
            Happened::Verdict { verdict, .. } => verdict.reason.clone(),
            Happened::Held { by, .. } => by.reason.clone(),
            Happened::Ended { reason, .. } => reason.clone(),
            Happened::Started { by, .. } => format!("started by {by}"),
            _ => String::new(),
        }
    }
}

/// The page about a service's releases.
pub fn page(external_url: &Url, service: &str) -> Url {
    let mut url = external_url.clone();
    // An external URL is one of http or https, which have paths.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(["canaries", service]);
    }
    url
}

/// What is known of a rollout in progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The last step's name.
    last_step: Option<String>,
    /// The latest verdict's id, and whether somebody gave it.
    verdict: Option<(String, bool)>,
    decision: Option<Decision>,
    /// Somebody has paused it.
    pub(super) is_held: bool,
}

impl Progress {
    fn take(&mut self, record: &Record) -> Option<(What, bool)> {
        match &record.event {
            Happened::Started { steps, .. } => {
                self.last_step = steps.last().cloned();
                Some((What::Started, false))
            }
            Happened::Verdict { verdict, by, .. } => {
                let key = Some((verdict.id.clone(), by.is_some()));
                let before = self.decision.replace(verdict.decision);
                if std::mem::replace(&mut self.verdict, key.clone()) == key {
                    return None;
                }
                let is_last_step = self.last_step.as_ref() == Some(&verdict.step);
                let what = match verdict.decision {
                    Decision::Continue if before == Some(Decision::Pause) => What::GoesOn,
                    Decision::Continue => return None,
                    Decision::Promote => What::Promote,
                    Decision::Pause => What::Pause,
                    Decision::Rollback => What::Rollback,
                };
                Some((what, is_last_step))
            }
            Happened::Held { paused, .. } => {
                self.is_held = *paused;
                Some((if *paused { What::Paused } else { What::Resumed }, false))
            }
            Happened::Ended { .. } => Some((What::Ended, false)),
            Happened::Judged { .. } | Happened::Evidence { .. } | Happened::StepBegan { .. } => None,
        }
    }
}

/// All rollouts in progress, and the alerts about rollouts that stand.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    pub(super) rollouts: BTreeMap<String, Progress>,
    pub(super) alerts: BTreeMap<Fingerprint, Notice>,
}

/// What comes of a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// For webhooks, Slack and Argo.
    pub telling: Option<Telling>,
    /// For Alertmanagers.
    pub alerts: Vec<Notice>,
    /// Alerts that ended by themselves meanwhile.
    pub over: Vec<Fingerprint>,
}

impl Desk {
    /// Takes a record that has not been taken before; `now` is the wall clock.
    pub fn take(&mut self, record: &Record, surroundings: &Surroundings, now: Timestamp) -> Taken {
        let progress = self.rollouts.entry(record.rollout.clone()).or_default();
        let taken = progress.take(record);
        let is_held = progress.is_held;
        if matches!(record.event, Happened::Ended { .. }) {
            self.rollouts.remove(&record.rollout);
        }
        let Some((what, is_last_step)) = taken else { return Taken::default() };
        let telling = Telling { number: 0, what, is_last_step, is_held, record: record.clone() };
        let is_over = |notice: &Notice| notice.resolved_at.is_some_and(|until| until <= now.max(notice.starts_at));
        let over: Vec<Fingerprint> =
            self.alerts.extract_if(.., |_, notice| is_over(notice)).map(|(id, _)| id).collect();
        let alerts = canary_alert::alerts(&telling, &self.alerts, surroundings, now);
        for alert in &alerts {
            if is_over(alert) {
                self.alerts.remove(&alert.fingerprint);
            } else {
                self.alerts.insert(alert.fingerprint, alert.clone());
            }
        }
        Taken { telling: Some(telling), alerts, over }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::canary::{Effect, Interval, LnEvidence, Outcome, State, Unit};
    use crate::types::Span;

    /// The records of a rollout, numbered and a minute apart as they are made.
    pub(in crate::notify) struct Story {
        version: &'static str,
        records: u64,
    }

    pub(in crate::notify) fn kim() -> Actor {
        Actor { name: "kim".to_owned(), reason: "looks <odd>".to_owned() }
    }

    pub(in crate::notify) fn surroundings() -> Surroundings {
        Surroundings {
            external_labels: Labels::new().with("cluster", "eu"),
            external_url: "http://slo.example:9797/x/".parse().unwrap(),
        }
    }

    pub(in crate::notify) fn outcome(state: State) -> Outcome {
        let infinite = LnEvidence { harm: f64::NEG_INFINITY, safe: f64::INFINITY, needed: 5.3 };
        Outcome {
            check: "errors".to_owned(),
            state,
            effect: Some(Effect {
                canary: 0.021,
                baseline: Some(0.001),
                value: 0.02,
                interval: Some(Interval { low: 0.012, high: 0.034 }),
                limit: 0.003,
                is_lower_limit: false,
                unit: Unit::Points,
            }),
            canary_events: 1_000.0,
            baseline_events: 19_000.5,
            ln_evidence: Some(infinite),
            time_needed: Some(Span::minutes(3)),
            notice: None,
            reason: "errors: regression of 2 points, more than the limit of 0.3 points".to_owned(),
        }
    }

    impl Story {
        pub(in crate::notify) fn of(version: &'static str) -> Self {
            Self { version, records: 0 }
        }

        pub(in crate::notify) fn record(&mut self, event: Happened) -> Record {
            let number = self.records;
            self.records += 1;
            Record {
                rollout: format!("pay/{}@0", self.version),
                number,
                at: Timestamp(60_000 * (number as i64 + 1)),
                service: "pay".to_owned(),
                version: self.version.to_owned(),
                baseline: Some("1.0".to_owned()),
                event,
            }
        }

        pub(in crate::notify) fn started(&mut self) -> Record {
            let steps = ["5%", "50%"].map(str::to_owned).to_vec();
            self.record(Happened::Started { by: "discovery".to_owned(), committed_at: None, steps })
        }

        pub(in crate::notify) fn verdict(&mut self, decision: Decision, step: &str) -> Record {
            self.verdict_by(decision, step, None)
        }

        pub(in crate::notify) fn verdict_by(&mut self, decision: Decision, step: &str, by: Option<Actor>) -> Record {
            let state = if decision == Decision::Rollback { State::Harm } else { State::Safe };
            let verdict = Verdict {
                id: format!("{:064x}", xxh3_128(format!("{}{step}{}", self.version, decision.as_str()).as_bytes())),
                step: step.to_owned(),
                at: Timestamp(60_000 * (self.records as i64 + 1)),
                decision,
                reason: format!("because {} & more", decision.as_str()),
                check: Some("errors".to_owned()),
                checks: vec![outcome(state)],
            };
            self.record(Happened::Verdict { verdict, hold: None, by })
        }

        pub(in crate::notify) fn held(&mut self, paused: bool) -> Record {
            self.record(Happened::Held { paused, by: kim() })
        }

        pub(in crate::notify) fn ended(&mut self, outcome: Ending) -> Record {
            self.record(Happened::Ended { outcome, reason: "that is how it went".to_owned(), by: None })
        }
    }

    /// What a desk makes of a record, as a telling.
    pub(in crate::notify) fn told(desk: &mut Desk, record: &Record) -> Telling {
        desk.take(record, &surroundings(), record.at).telling.expect("this is told")
    }

    fn words(desk: &mut Desk, records: &[Record]) -> Vec<Option<What>> {
        let taken = records.iter().map(|record| desk.take(record, &surroundings(), record.at));
        taken.map(|taken| taken.telling.map(|telling| telling.what)).collect()
    }

    #[test]
    fn decisions_are_told_and_what_leads_to_them_is_not() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let again = |record: &Record| Record { number: 99, ..record.clone() };
        let pause = story.verdict(Decision::Pause, "5%");
        let records = [
            story.started(),
            story.record(Happened::Evidence { inputs: Vec::new() }),
            story.verdict(Decision::Continue, "5%"),
            pause.clone(),
            again(&pause),
            story.held(true),
            story.held(false),
            story.verdict(Decision::Continue, "5%"),
            story.verdict(Decision::Promote, "5%"),
            story.verdict(Decision::Rollback, "50%"),
            story.ended(Ending::RolledBack),
        ];
        let expected = [
            Some(What::Started),
            None,
            None,
            Some(What::Pause),
            None,
            Some(What::Paused),
            Some(What::Resumed),
            Some(What::GoesOn),
            Some(What::Promote),
            Some(What::Rollback),
            Some(What::Ended),
        ];
        assert_eq!(words(&mut desk, &records), expected);
        assert!(desk.rollouts.is_empty(), "nothing is left of a rollout that is over");
    }

    #[test]
    fn the_last_step_is_known() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        told(&mut desk, &story.started());
        assert!(!told(&mut desk, &story.verdict(Decision::Promote, "5%")).is_last_step);
        assert!(told(&mut desk, &story.verdict(Decision::Promote, "50%")).is_last_step);
    }

    #[test]
    fn ids_stand_for_what_happened() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let records = [
            story.started(),
            story.held(true),
            story.held(false),
            story.held(true),
            story.verdict(Decision::Rollback, "5%"),
            story.ended(Ending::RolledBack),
        ];
        let ids: Vec<String> = records.iter().map(|record| told(&mut desk, record).id()).collect();
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
        let Happened::Verdict { verdict, .. } = &records[4].event else { panic!("a verdict") };
        assert_eq!(ids[4], verdict.id);
        let late = Record { number: 7, at: Timestamp(1), ..records[0].clone() };
        assert_eq!(told(&mut desk, &late).id(), ids[0], "another replica may count and time it otherwise");
    }

    #[test]
    fn a_telling_comes_back_from_json() {
        let mut story = Story::of("2");
        let telling = told(&mut Desk::default(), &story.verdict(Decision::Rollback, "5%"));
        let json = serde_json::to_string(&telling).unwrap();
        assert_eq!(serde_json::from_str::<Telling>(&json).unwrap(), telling, "infinite evidence too");
        assert!(json.contains(r#""harm":"-Inf","safe":"+Inf""#), "{json}");
    }

    #[test]
    fn a_page_is_below_the_external_url() {
        let url = |external: &str| page(&external.parse().unwrap(), "pay/auth").to_string();
        assert_eq!(url("http://slo.example/x/"), "http://slo.example/x/canaries/pay%2Fauth");
        assert_eq!(url("http://slo.example"), "http://slo.example/canaries/pay%2Fauth");
    }
}
