//! Alertmanager's API v2: what each instance is told and when (Prometheus' `rules/alerting.go` and `notifier`).
//!
//! An Alertmanager forgets an alert that is not repeated, so the [`Roster`] holds the newest state of every alert and
//! says which are due: at once when the state is new, then every resend delay, a resolved one for 15 minutes. A state
//! that could not be delivered is replaced by a newer one of the same alert, never sent after it.
//!
//! Unlike Prometheus, which drops what it cannot send, a failed state stays due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::notice::{Fingerprint, Notice};
use super::outbox::Settled;
use crate::types::{Labels, Span, Timestamp};

/// At most this many alerts in one request.
pub const BATCH_LIMIT_ALERTS: usize = 256;
/// Resolved alerts are repeated for this long, should the Alertmanager restart before it notified.
pub const RESOLVED_RETENTION: Span = Span::minutes(15);

/// When alerts are repeated, and how long one stands without repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// A state is sent again after this long.
    pub resend_delay: Span,
    /// How often alerts are evaluated; zero when they are evaluated as data arrives.
    pub interval: Span,
}

impl Repetition {
    /// How long a firing alert stands: four times the longer of the two, as in Prometheus.
    pub fn validity(self) -> Span {
        Span(self.resend_delay.max(self.interval).0.saturating_mul(4))
    }
}

/// One state of one alert on its way; [`Roster::settle`] takes it back.
#[derive(Clone, Debug)]
pub struct Due {
    fingerprint: Fingerprint,
    version: u64,
    /// What to send.
    pub notice: Arc<Notice>,
}

#[derive(Debug)]
struct Tracked {
    notice: Arc<Notice>,
    /// Counts states over all alerts: it orders them, and tells a state from the one that replaced it.
    version: u64,
    due: Timestamp,
    /// This state has been taken, or refused for good, at least once.
    settled: bool,
    /// When the end of the alert came in.
    over_since: Option<Timestamp>,
}

/// The newest state of every alert, for one Alertmanager instance. Time is a steady clock's.
#[derive(Debug)]
pub struct Roster {
    repetition: Repetition,
    limit_alerts: usize,
    alerts: BTreeMap<Fingerprint, Tracked>,
    due: BTreeSet<(Timestamp, u64, Fingerprint)>,
    by_version: BTreeMap<u64, Fingerprint>,
    last_version: u64,
    unsettled: usize,
    lost: u64,
}

impl Roster {
    /// Nothing to say; never more than `limit_alerts` alerts.
    pub fn new(repetition: Repetition, limit_alerts: usize) -> Self {
        Self {
            repetition,
            limit_alerts: limit_alerts.max(1),
            alerts: BTreeMap::new(),
            due: BTreeSet::new(),
            by_version: BTreeMap::new(),
            last_version: 0,
            unsettled: 0,
            lost: 0,
        }
    }

    /// Takes in a state, which is due at once unless it is the one known already. True when the longest unchanged
    /// alert had to be dropped for it.
    pub fn put(&mut self, notice: &Arc<Notice>, now: Timestamp) -> bool {
        let fingerprint = notice.fingerprint;
        let mut notice = Arc::clone(notice);
        if let Some(known) = self.alerts.get_mut(&fingerprint) {
            let same_episode = known.notice.starts_at == notice.starts_at;
            if same_episode && notice.labels != known.notice.labels {
                notice = Arc::new((*notice).clone().under_labels_of(&known.notice));
            }
            if same_episode && known.notice.resolved_at == notice.resolved_at {
                known.notice = notice;
                return false;
            }
            self.remove(fingerprint);
        }
        self.last_version += 1;
        let version = self.last_version;
        let over_since = notice.resolved_at.map(|_| now);
        self.alerts.insert(fingerprint, Tracked { notice, version, due: now, settled: false, over_since });
        self.due.insert((now, version, fingerprint));
        self.by_version.insert(version, fingerprint);
        self.unsettled += 1;
        let oldest = (self.alerts.len() > self.limit_alerts).then(|| self.by_version.first_key_value()).flatten();
        let Some((_, &oldest)) = oldest else { return false };
        self.remove(oldest);
        true
    }

    /// What is due now, at most a batch, in the order it became due. Ends of alerts repeated long enough are
    /// forgotten.
    pub fn batch(&mut self, now: Timestamp) -> Vec<Due> {
        let mut batch = Vec::new();
        let mut expired = Vec::new();
        for &(due, version, fingerprint) in &self.due {
            if due > now || batch.len() == BATCH_LIMIT_ALERTS {
                break;
            }
            let Some(tracked) = self.alerts.get(&fingerprint) else { continue };
            if tracked.over_since.is_some_and(|since| now.since(since) > RESOLVED_RETENTION) {
                expired.push(fingerprint);
            } else {
                batch.push(Due { fingerprint, version, notice: Arc::clone(&tracked.notice) });
            }
        }
        for fingerprint in expired {
            let unsettled = self.unsettled;
            self.remove(fingerprint);
            self.lost += (unsettled - self.unsettled) as u64;
        }
        batch
    }

    /// When something is due next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _, _)| *due)
    }

    /// `batch` has been taken, or refused so that trying it again at once is no use: it is due again after the resend
    /// delay, except where a newer state has come in since. Returns those settled for the first time.
    pub fn settle(&mut self, batch: &[Due], now: Timestamp) -> Vec<Settled> {
        let mut settled = Vec::new();
        let next = now + self.repetition.resend_delay;
        for Due { fingerprint, version, .. } in batch {
            let Some(tracked) = self.alerts.get_mut(fingerprint).filter(|t| t.version == *version) else { continue };
            self.due.remove(&(tracked.due, tracked.version, *fingerprint));
            tracked.due = next;
            self.due.insert((next, tracked.version, *fingerprint));
            if !tracked.settled {
                tracked.settled = true;
                self.unsettled -= 1;
                settled.push(Settled { fingerprint: *fingerprint, number: tracked.notice.number });
            }
        }
        settled
    }

    /// Ends of alerts forgotten before they could be sent, since this was last asked. The Alertmanager ends those
    /// alerts by itself, as nobody repeated them.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// States not yet taken or refused.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    fn remove(&mut self, fingerprint: Fingerprint) {
        let Some(tracked) = self.alerts.remove(&fingerprint) else { return };
        self.due.remove(&(tracked.due, tracked.version, fingerprint));
        self.by_version.remove(&tracked.version);
        self.unsettled -= usize::from(!tracked.settled);
    }
}

/// Keys in the order Prometheus writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    annotations: &'a BTreeMap<String, String>,
    ends_at: String,
    starts_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    labels: &'a Labels,
}

/// The body of `POST /api/v2/alerts`. `now` is the wall clock when it is sent: a firing alert stands `validity` from
/// then on.
pub fn body(batch: &[Due], now: Timestamp, validity: Span) -> String {
    let alerts: Vec<PostableAlert<'_>> = batch
        .iter()
        .map(|Due { notice, .. }| PostableAlert {
            annotations: &notice.annotations,
            ends_at: notice.resolved_at.unwrap_or(now + validity).to_rfc3339(),
            starts_at: notice.starts_at.to_rfc3339(),
            generator_url: &notice.generator_url,
            labels: &notice.labels,
        })
        .collect();
    // Maps of strings cannot fail to serialize; an empty array would tell the receiver nothing.
    serde_json::to_string(&alerts).unwrap_or_else(|_| "[]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertState::{Firing, Resolved};
    use crate::notify::notice::tests::notice;

    const REPETITION: Repetition = Repetition { resend_delay: Span::minutes(1), interval: Span::ZERO };

    fn roster() -> Roster {
        Roster::new(REPETITION, 1_000)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    fn names(batch: &[Due]) -> Vec<String> {
        let name =
            |due: &Due| format!("{} {}", due.notice.labels.get("alertname").unwrap(), due.notice.state().as_str());
        batch.iter().map(name).collect()
    }

    fn put(roster: &mut Roster, name: &str, state: crate::alert::AlertState, now: i64) {
        assert!(!roster.put(&Arc::new(notice(name, state)), at(now)));
    }

    #[test]
    fn the_body_is_prometheus_own() {
        let mut roster = roster();
        put(&mut roster, "A", Firing, 0);
        put(&mut roster, "B", Resolved, 0);
        let json = body(&roster.batch(at(0)), at(100), REPETITION.validity());
        let url = r#""generatorURL":"http://slo.example:9797/x/graph?g0.expr=slo%3Aburn+%3E+14.4&g0.tab=1""#;
        let labels =
            |name| format!(r#""labels":{{"alertname":"{name}","cluster":"eu","severity":"page","zone":"local"}}"#);
        let expected = format!(
            concat!(
                r#"[{{"annotations":{{"summary":"A burns 20.1x"}},"endsAt":"1970-01-01T00:05:40.000Z","#,
                r#""startsAt":"1970-01-01T00:00:02.000Z",{url},{a}}},"#,
                r#"{{"annotations":{{"summary":"B burns 20.1x"}},"endsAt":"1970-01-01T00:00:03.000Z","#,
                r#""startsAt":"1970-01-01T00:00:02.000Z",{url},{b}}}]"#
            ),
            url = url,
            a = labels("A"),
            b = labels("B"),
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn validity_is_four_times_the_longer_of_interval_and_delay() {
        assert_eq!(REPETITION.validity(), Span::minutes(4));
        assert_eq!(Repetition { interval: Span::minutes(5), ..REPETITION }.validity(), Span::minutes(20));
    }

    #[test]
    fn a_firing_alert_is_repeated_every_resend_delay() {
        let mut roster = roster();
        put(&mut roster, "A", Firing, 0);
        for round in [0, 60, 120] {
            assert!(roster.batch(at(round - 1)).is_empty());
            let batch = roster.batch(at(round));
            assert_eq!(names(&batch), ["A firing"]);
            roster.settle(&batch, at(round));
            assert_eq!(roster.next_due(), Some(at(round + 60)));
        }
        assert_eq!(roster.unsettled(), 0);
    }

    #[test]
    fn the_end_is_sent_at_once_and_repeated_for_15_minutes() {
        let mut roster = roster();
        put(&mut roster, "A", Firing, 0);
        let batch = roster.batch(at(0));
        roster.settle(&batch, at(0));
        put(&mut roster, "A", Resolved, 10);
        let mut sent = 0;
        let mut now = at(10);
        while let Some(due) = roster.next_due() {
            now = now.max(due);
            let batch = roster.batch(now);
            sent += batch.iter().inspect(|due| assert_eq!(due.notice.state(), Resolved)).count();
            roster.settle(&batch, now);
        }
        assert_eq!(sent, 16, "at once, then every minute up to 15 minutes later");
        assert!(roster.alerts.is_empty() && roster.by_version.is_empty());
    }

    #[test]
    fn a_failed_state_stays_due_until_a_newer_one_replaces_it() {
        let mut roster = roster();
        put(&mut roster, "A", Firing, 0);
        put(&mut roster, "B", Firing, 0);
        let failed = roster.batch(at(0));
        assert_eq!(names(&failed), ["A firing", "B firing"]);
        assert_eq!(names(&roster.batch(at(1))), ["A firing", "B firing"]);
        put(&mut roster, "A", Resolved, 2);
        assert_eq!(names(&roster.batch(at(2))), ["B firing", "A resolved"]);
        // The older attempt succeeds late: B is done, but A's end has not been sent.
        roster.settle(&failed, at(3));
        assert_eq!(names(&roster.batch(at(3))), ["A resolved"]);
        assert_eq!(roster.unsettled(), 1);
    }

    #[test]
    fn an_end_that_cannot_be_sent_is_forgotten_and_counted() {
        let mut roster = roster();
        put(&mut roster, "A", Resolved, 0);
        assert_eq!(names(&roster.batch(at(900))), ["A resolved"]);
        assert!(roster.batch(at(901)).is_empty());
        assert_eq!((roster.unsettled(), roster.take_lost(), roster.take_lost()), (0, 1, 0));
    }

    #[test]
    fn the_same_state_again_is_not_sent_again() {
        let mut roster = roster();
        put(&mut roster, "A", Firing, 0);
        let batch = roster.batch(at(0));
        roster.settle(&batch, at(0));
        put(&mut roster, "A", Firing, 5);
        assert!(roster.batch(at(5)).is_empty());
        assert_eq!(roster.unsettled(), 0);
    }

    #[test]
    fn an_alert_that_fires_again_replaces_its_end() {
        let mut roster = roster();
        put(&mut roster, "A", Resolved, 0);
        let again = Notice { starts_at: Timestamp(9_000), ..notice("A", Firing) };
        roster.put(&Arc::new(again), at(9));
        assert_eq!(names(&roster.batch(at(9))), ["A firing"]);
    }

    #[test]
    fn batches_hold_256_and_come_in_order() {
        let mut roster = roster();
        for n in 0..600 {
            put(&mut roster, &format!("A{n:03}"), Firing, n);
        }
        let mut sizes = Vec::new();
        let mut all = Vec::new();
        loop {
            let batch = roster.batch(at(700));
            if batch.is_empty() {
                break;
            }
            roster.settle(&batch, at(700));
            sizes.push(batch.len());
            all.extend(names(&batch));
        }
        assert_eq!(sizes, [256, 256, 88]);
        assert!(all.is_sorted());
    }

    #[test]
    fn over_the_limit_the_longest_unchanged_alert_goes() {
        let mut roster = Roster::new(REPETITION, 2);
        put(&mut roster, "A", Firing, 0);
        put(&mut roster, "B", Firing, 1);
        assert!(roster.put(&Arc::new(notice("C", Firing)), at(2)));
        assert_eq!(names(&roster.batch(at(2))), ["B firing", "C firing"]);
        assert_eq!(roster.unsettled(), 2);
    }
}
