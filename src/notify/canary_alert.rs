//! Verdicts as alerts, for Alertmanagers: `CanaryRollback` pages, `CanaryPaused` is a ticket.
//!
//! | alert | fires | ends |
//! |---|---|---|
//! | `CanaryPaused` | at a verdict `pause` of the checks, the budget policy or the deadline | when the rollout goes on or ends |
//! | `CanaryRollback` | at a verdict `rollback` of the checks | an hour later, or when the service's next rollout starts |
//!
//! A rollback is over when it is decided, so its alert is sent with its end, `endsAt` an hour ahead, and nothing has to
//! be sent again for it to end. What a person orders is no alert: somebody knows. Labels are `alertname`, `severity`,
//! `service`, `version`, `rollout` and the external ones; the annotation `summary` is the reason, `link` the page.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::notice::{Fingerprint, Notice};
use super::telling::{Surroundings, Telling, What, page};
use crate::types::{Labels, Span, Timestamp};

/// The names of the alerts.
pub const PAUSED: &str = "CanaryPaused";
/// See [`PAUSED`].
pub const ROLLBACK: &str = "CanaryRollback";
/// An alert about a rollback stands so long.
pub const ROLLBACK_STANDS: Span = Span::hours(1);

/// The alerts that begin and end with what is told; `standing` are those before.
pub(super) fn alerts(
    telling: &Telling,
    standing: &BTreeMap<Fingerprint, Notice>,
    surroundings: &Surroundings,
    now: Timestamp,
) -> Vec<Notice> {
    let is_automatic = telling.by().is_none();
    let mut alerts = Vec::new();
    match telling.what {
        What::Pause if is_automatic && !telling.is_held => {
            let paused = alert(telling, PAUSED, "ticket", surroundings);
            // Paused for another reason, it is the same pause.
            if !standing.contains_key(&paused.fingerprint) {
                alerts.push(paused);
            }
        }
        What::Pause | What::Paused => {}
        What::Promote | What::Rollback | What::GoesOn | What::Resumed | What::Ended => {
            let paused = standing.get(&fingerprint(telling, PAUSED));
            alerts.extend(paused.map(|paused| over(paused, now)));
        }
        What::Started => {
            let earlier = standing.values().filter(|notice| {
                let label = |name| notice.labels.get(name);
                label("alertname") == Some(ROLLBACK) && label("service") == Some(&telling.record.service)
            });
            alerts.extend(earlier.map(|rollback| over(rollback, now)));
        }
    }
    if telling.what == What::Rollback && is_automatic {
        let mut rollback = alert(telling, ROLLBACK, "page", surroundings);
        rollback.resolved_at = Some(telling.record.at.max(now) + ROLLBACK_STANDS);
        alerts.push(rollback);
    }
    alerts
}

fn over(alert: &Notice, now: Timestamp) -> Notice {
    Notice { number: 0, resolved_at: Some(now.max(alert.starts_at)), ..alert.clone() }
}

fn fingerprint(telling: &Telling, name: &str) -> Fingerprint {
    Fingerprint(xxh3_128(format!("{name} {}", telling.record.rollout).as_bytes()))
}

fn alert(telling: &Telling, name: &str, severity: &str, surroundings: &Surroundings) -> Notice {
    let record = &telling.record;
    let link = page(&surroundings.external_url, &record.service).to_string();
    let labels = Labels::new()
        .with("alertname", name)
        .with("severity", severity)
        .with("service", &record.service)
        .with("version", &record.version)
        .with("rollout", &record.rollout);
    let annotations = [("summary", telling.reason()), ("link", link.clone())];
    Notice {
        number: 0,
        fingerprint: fingerprint(telling, name),
        slo: String::new(),
        labels: surroundings.external_labels.clone().merged(&labels),
        annotations: annotations.map(|(name, text)| (name.to_owned(), text)).into(),
        starts_at: record.at,
        resolved_at: None,
        value: 0.0,
        burn_rates: Vec::new(),
        generator_url: link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::Decision;
    use crate::notify::telling::Desk;
    use crate::notify::telling::tests::{Story, kim, surroundings};
    use crate::rollout::{Ending, Record};

    /// Names of the alerts that a record makes begin (`+`), begin for a time (`~`) or end (`-`).
    fn told(desk: &mut Desk, record: &Record, now: Timestamp) -> Vec<String> {
        let alerts = desk.take(record, &surroundings(), now).alerts;
        let sign = |notice: &Notice| match notice.resolved_at {
            None => '+',
            Some(until) if until > now => '~',
            Some(_) => '-',
        };
        let name = |notice: &Notice| format!("{}{}", sign(notice), notice.labels.get("alertname").unwrap());
        alerts.iter().map(name).collect()
    }

    fn all(desk: &mut Desk, records: &[Record]) -> Vec<String> {
        records.iter().flat_map(|record| told(desk, record, record.at)).collect()
    }

    #[test]
    fn a_pause_fires_until_the_rollout_goes_on() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let records = [
            story.started(),
            story.verdict(Decision::Pause, "5%"),
            story.verdict(Decision::Continue, "5%"),
            story.verdict(Decision::Pause, "50%"),
            story.ended(Ending::Aborted),
        ];
        let expected = ["+CanaryPaused", "-CanaryPaused", "+CanaryPaused", "-CanaryPaused"];
        assert_eq!(all(&mut desk, &records), expected);
        assert!(desk.alerts.is_empty());
    }

    #[test]
    fn a_rollback_stands_for_an_hour_or_until_the_next_rollout() {
        let (mut desk, mut story, mut next) = (Desk::default(), Story::of("2"), Story::of("3"));
        let rollback = [story.started(), story.verdict(Decision::Rollback, "5%"), story.ended(Ending::RolledBack)];
        assert_eq!(all(&mut desk, &rollback), ["~CanaryRollback"]);
        let notice = desk.alerts.values().next().unwrap();
        assert_eq!(notice.resolved_at, Some(rollback[1].at + ROLLBACK_STANDS));
        let mut later = desk.clone();
        let started = Record { at: rollback[2].at, ..next.started() };
        assert_eq!(all(&mut desk, &[started]), ["-CanaryRollback"]);
        assert!(desk.alerts.is_empty());
        let taken = later.take(&Story::of("3").started(), &surroundings(), Timestamp(0) + Span::hours(2));
        assert_eq!((taken.alerts.len(), taken.over.len()), (0, 1), "it has ended by itself");
    }

    #[test]
    fn what_people_order_is_no_alert() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2"));
        let records = [
            story.started(),
            story.held(true),
            story.verdict(Decision::Pause, "5%"),
            story.held(false),
            story.verdict_by(Decision::Rollback, "5%", Some(kim())),
            story.ended(Ending::Aborted),
        ];
        assert_eq!(all(&mut desk, &records), Vec::<String>::new());
    }

    #[test]
    fn an_alert_says_what_and_why() {
        let mut story = Story::of("2");
        let record = story.verdict(Decision::Rollback, "5%");
        let notice = Desk::default().take(&record, &surroundings(), Timestamp(0)).alerts.remove(0);
        assert_eq!(
            notice.labels.to_string(),
            r#"{alertname="CanaryRollback",cluster="eu",rollout="pay/2@0",service="pay",severity="page",version="2"}"#
        );
        assert_eq!(notice.annotations["summary"], "because rollback & more");
        assert_eq!(notice.annotations["link"], "http://slo.example:9797/x/canaries/pay");
    }
}
