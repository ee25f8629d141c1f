//! How releases went: DORA's figures (dora.dev, "software delivery performance metrics"), from the records alone.
//!
//! | figure | what it is here |
//! |---|---|
//! | deployment frequency | rollouts that ended, however they did, in a week |
//! | change failure rate | of those, the share that was rolled back by its checks or aborted by somebody |
//! | time to roll back | from the beginning of the step it was rolled back in, and of the rollout, to its end; median |
//! | lead time | from the commit of its newest change, where somebody said when, to its promotion; median |
//!
//! A rollout belongs to the week it ended in; weeks are ISO 8601's, from Monday in UTC. Rollouts in progress are left out.
//! Of a rollout whose beginning is not among the records the times are unknown; it counts all the same. The median of
//! two in the middle is their mean.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::rollout::{Ending, Happened, Record};
use crate::types::{Span, Timestamp};

/// Rollouts in progress at a time: of others the times are unknown.
const OPEN_LIMIT_ROLLOUTS: usize = 10_000;

/// A week, by its Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Week(Date);

impl Week {
    /// That a moment is in.
    pub fn of(at: Timestamp) -> Option<Self> {
        let date = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?.to_zoned(TimeZone::UTC).date();
        let back = i64::from(date.weekday().to_monday_zero_offset());
        date.checked_sub(jiff::Span::new().days(back)).ok().map(Self)
    }

    /// `2026-W44`
    pub fn name(self) -> String {
        let week = self.0.iso_week_date();
        format!("{}-W{:02}", week.year(), week.week())
    }

    /// Its Monday, `2026-10-26`.
    pub fn begins(self) -> String {
        self.0.to_string()
    }
}

/// What ended in one place: a week of a service, a service, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// By how they ended.
    pub ended: BTreeMap<Ending, u64>,
    from_step: Vec<Span>,
    from_start: Vec<Span>,
    lead: Vec<Span>,
}

impl Cell {
    /// Rollouts that ended.
    pub fn deployments(&self) -> u64 {
        self.ended.values().sum()
    }

    /// Rollouts that ended so.
    pub fn count(&self, ending: Ending) -> u64 {
        self.ended.get(&ending).copied().unwrap_or(0)
    }

    /// 0 to 1; `None` where nothing ended.
    pub fn failure_rate(&self) -> Option<f64> {
        let failed = self.count(Ending::RolledBack) + self.count(Ending::Aborted);
        (self.deployments() > 0).then(|| failed as f64 / self.deployments() as f64)
    }

    /// Median time from the beginning of the step to the end of a rollout that was rolled back.
    pub fn roll_back_from_step(&self) -> Option<Span> {
        median(&self.from_step)
    }

    /// Median time from the beginning of the rollout to its end, where it was rolled back.
    pub fn roll_back_from_start(&self) -> Option<Span> {
        median(&self.from_start)
    }

    /// Median time from the commit to the promotion.
    pub fn lead_time(&self) -> Option<Span> {
        median(&self.lead)
    }

    fn add(&mut self, other: &Self) {
        for (ending, count) in &other.ended {
            *self.ended.entry(*ending).or_default() += count;
        }
        self.from_step.extend(&other.from_step);
        self.from_start.extend(&other.from_start);
        self.lead.extend(&other.lead);
    }
}

fn median(spans: &[Span]) -> Option<Span> {
    let mut millis: Vec<i64> = spans.iter().map(|span| span.as_millis()).collect();
    millis.sort_unstable();
    let (low, high) = (millis.get(millis.len().checked_sub(1)? / 2)?, millis.get(millis.len() / 2)?);
    Some(Span(low + (high - low) / 2))
}

/// What is left of an SLO's budget, as the daemon says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// The service.
    pub service: String,
    /// The SLO's name, with its group if it has any.
    pub slo: String,
    /// Its period, as `30d`.
    pub period: String,
    /// The share of the budget that is spent, 0 to 1 and more.
    pub spent: Option<f64>,
}

/// How releases went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Of what ended then or later.
    pub since: Timestamp,
    /// By service and week.
    pub cells: BTreeMap<(String, Week), Cell>,
    /// Spent over each SLO's own period, if the daemon was asked.
    pub budgets: Option<Vec<Budget>>,
}

impl Report {
    /// All weeks of each service.
    pub fn services(&self) -> BTreeMap<&str, Cell> {
        let mut services: BTreeMap<&str, Cell> = BTreeMap::new();
        for ((service, _), cell) in &self.cells {
            services.entry(service).or_default().add(cell);
        }
        services
    }

    /// All services and weeks.
    pub fn total(&self) -> Cell {
        let mut total = Cell::default();
        self.cells.values().for_each(|cell| total.add(cell));
        total
    }
}

#[derive(Debug)]
struct Open {
    started: Timestamp,
    step_began: Timestamp,
    committed_at: Option<Timestamp>,
}

/// Makes a report of records, told in their order.
#[derive(Debug)]
pub struct Reporter {
    open: BTreeMap<String, Open>,
    report: Report,
}

impl Reporter {
    /// Of what ended at `since` or later. To know how long those took, it has to be told of earlier records too.
    pub fn new(since: Timestamp) -> Self {
        Self { open: BTreeMap::new(), report: Report { since, ..Report::default() } }
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &Record) {
        match &record.event {
            Happened::Started { committed_at, .. } if self.open.len() < OPEN_LIMIT_ROLLOUTS => {
                let open = Open { started: record.at, step_began: record.at, committed_at: *committed_at };
                self.open.insert(record.rollout.clone(), open);
            }
            Happened::StepBegan { .. } => {
                if let Some(open) = self.open.get_mut(&record.rollout) {
                    open.step_began = record.at;
                }
            }
            Happened::Ended { outcome, .. } => self.end(record, *outcome),
            _ => {}
        }
    }

    fn end(&mut self, record: &Record, outcome: Ending) {
        let open = self.open.remove(&record.rollout);
        let Some(week) = Week::of(record.at).filter(|_| record.at >= self.report.since) else { return };
        let cell = self.report.cells.entry((record.service.clone(), week)).or_default();
        *cell.ended.entry(outcome).or_default() += 1;
        let Some(Open { started, step_began, committed_at }) = open else { return };
        match outcome {
            Ending::RolledBack => {
                cell.from_step.push(record.at.since(step_began));
                cell.from_start.push(record.at.since(started));
            }
            Ending::Promoted => cell.lead.extend(committed_at.map(|committed| record.at.since(committed))),
            Ending::Aborted | Ending::Superseded | Ending::Vanished => {}
        }
    }

    /// After the last record.
    pub fn finish(self) -> Report {
        self.report
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::read::tests::record;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 1_440 * MINUTE;
    /// 2026-11-02, a Monday.
    const MONDAY: i64 = 1_793_577_600_000;

    fn told(reporter: &mut Reporter, rollout: &str, at: i64, event: Happened) {
        reporter.take(&Record { event, ..record(rollout, 0, at) });
    }

    /// A rollout of three hours' lead time, whose second step begins after 10 minutes and which ends 5 later.
    fn rollout(reporter: &mut Reporter, id: &str, began: i64, outcome: Ending) {
        let committed_at = Some(Timestamp(began - 180 * MINUTE));
        told(reporter, id, began, Happened::Started { by: "ci".to_owned(), committed_at, steps: vec![] });
        let began_step = Happened::StepBegan { step: 1, name: "25%".to_owned(), by: "sloburn".to_owned() };
        told(reporter, id, began + 10 * MINUTE, began_step);
        told(reporter, id, began + 15 * MINUTE, Happened::Ended { outcome, reason: String::new(), by: None });
    }

    pub(in crate::audit) fn example() -> Report {
        let mut reporter = Reporter::new(Timestamp(MONDAY));
        rollout(&mut reporter, "pay/1@0", MONDAY - 15 * MINUTE - 1, Ending::Promoted);
        rollout(&mut reporter, "pay/2@0", MONDAY - 14 * MINUTE, Ending::RolledBack);
        rollout(&mut reporter, "pay/3@0", MONDAY + DAY, Ending::Promoted);
        rollout(&mut reporter, "pay/4@0", MONDAY + 8 * DAY, Ending::Aborted);
        let ended = Happened::Ended { outcome: Ending::RolledBack, reason: String::new(), by: None };
        told(&mut reporter, "shop/9@0", MONDAY + 2 * DAY, ended);
        rollout(&mut reporter, "shop/10@0", MONDAY + 3 * DAY, Ending::Superseded);
        reporter.finish()
    }

    #[test]
    fn a_rollout_counts_in_the_week_it_ended_in() {
        let report = example();
        let cells: Vec<_> = report.cells.iter().map(|((s, week), c)| (s.as_str(), week.name(), c)).collect();
        let names: Vec<_> = cells.iter().map(|(service, week, c)| (*service, week.as_str(), c.deployments())).collect();
        assert_eq!(names, [("pay", "2026-W45", 2), ("pay", "2026-W46", 1), ("shop", "2026-W45", 2)]);
        let pay = cells[0].2;
        assert_eq!(pay.failure_rate(), Some(0.5));
        assert_eq!(
            (pay.roll_back_from_step(), pay.roll_back_from_start()),
            (Some(Span(5 * MINUTE)), Some(Span(15 * MINUTE)))
        );
        assert_eq!(pay.lead_time(), Some(Span(195 * MINUTE)));
        let shop = cells[2].2;
        assert_eq!((shop.failure_rate(), shop.roll_back_from_start()), (Some(0.5), None), "its beginning is unknown");
        let total = report.total();
        assert_eq!((total.deployments(), total.failure_rate()), (5, Some(0.6)));
        assert_eq!(report.services()["pay"].count(Ending::Promoted), 1);
    }

    #[test]
    fn medians_and_weeks() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[Span(3), Span(1), Span(8)]), Some(Span(3)));
        assert_eq!(median(&[Span(4), Span(1), Span(8), Span(2)]), Some(Span(3)));
        let week = |at| Week::of(Timestamp(at)).unwrap();
        assert_eq!((week(MONDAY).name(), week(MONDAY).begins()), ("2026-W45".to_owned(), "2026-11-02".to_owned()));
        assert_eq!(week(MONDAY - 1).begins(), "2026-10-26");
        assert_eq!(week(1_798_761_600_000).name(), "2026-W53", "2027-01-01 is in the last week of 2026");
    }
}
