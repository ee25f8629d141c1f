//! How an SLO's events become budget: over which period, in what units, and which of them do not count.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use crate::spec::naming::window_text;
use crate::spec::{Origin, Severity};
use crate::types::{Objective, Selector, Span, Timestamp};

/// What an error budget is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Period {
    /// The time up to now.
    Rolling(Span),
    /// From one boundary of the calendar to the next; the budget begins anew at each.
    Calendar(Calendar),
}

/// Weeks, months or quarters in some time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// How long.
    pub unit: CalendarUnit,
    /// Where midnight is.
    pub zone: TimeZone,
    /// Where it is given.
    pub origin: Origin,
}

/// A stretch of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalendarUnit {
    /// From Monday, as ISO 8601 has it.
    Week,
    /// From the first.
    Month,
    /// From the first of January, April, July and October.
    Quarter,
}

/// What the budget counts. `OpenSLO` v1's `budgetingMethod`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Budgeting {
    /// Events: bad over all.
    #[default]
    Occurrences,
    /// Slices of time with events: bad ones over all.
    Timeslices {
        /// How long one is; slices begin at its multiples since the Unix epoch.
        slice: Span,
        /// The share of a slice's events that must be good for the slice to be.
        target: Objective,
    },
    /// The average of the error ratios of all slices with events.
    RatioTimeslices {
        /// As above.
        slice: Span,
    },
}

/// What a time without samples means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoData {
    /// Nothing: alerts stay as they are.
    #[default]
    Hold,
    /// An outage: the missing time counts as bad, at the rate of events of the hour before.
    Bad,
    /// Nothing happens: burn-rate alerts resolve.
    Ignore,
}

/// Everything that decides how events count, besides the objective and the period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounting {
    /// What the budget counts.
    pub budgeting: Budgeting,
    /// One SLO for each value of these labels.
    pub group_by: Vec<String>,
    /// What a time without samples means.
    pub no_data: NoData,
    /// Times whose events are counted apart.
    pub exclude: Vec<Exclusion>,
    /// Moments at which the budget begins anew, ascending.
    pub resets: Vec<Reset>,
    /// The severity of an alert while there is no data; `None`: no such alert.
    pub alert_no_data: Option<Severity>,
}

/// A time whose events do not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Exclusion {
    /// When it is.
    pub when: When,
    /// For people.
    pub reason: String,
    /// Where it is given.
    pub origin: Origin,
}

/// The times of an [`Exclusion`]; like slices they hold `from < t <= to`, as a sample tells of the time before it.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Once.
    Between {
        /// Start.
        from: Timestamp,
        /// End.
        to: Timestamp,
    },
    /// Again and again.
    Scheduled(Schedule),
    /// While a series that this selects is 1.
    While(Selector),
}

/// Starts by a cron pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    cron: Box<Cron>,
    zone: TimeZone,
    lasts: Span,
}

/// A moment at which the budget begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// When.
    pub at: Timestamp,
    /// For people.
    pub reason: String,
    /// Where it is given.
    pub origin: Origin,
}

/// Whether a moment lies in some times, and how far around it the answer is the same: `from < t <= to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it does.
    pub inside: bool,
    /// The answer holds after this,
    pub from: Timestamp,
    /// and up to this.
    pub to: Timestamp,
}

/// The end of time, for verdicts.
const NEVER: Timestamp = Timestamp(i64::MAX);

impl Period {
    /// Its length, for a calendar's unit that of a usual one.
    pub fn nominal(&self) -> Span {
        match self {
            Self::Rolling(span) => *span,
            Self::Calendar(calendar) => calendar.unit.nominal(),
        }
    }
}

/// `30d`, or `month (Europe/Berlin)`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(span) => f.write_str(&window_text(*span)),
            Self::Calendar(Calendar { unit, zone, .. }) => {
                write!(f, "{} ({})", unit.as_str(), zone.iana_name().unwrap_or("UTC"))
            }
        }
    }
}

impl From<Span> for Period {
    fn from(span: Span) -> Self {
        Self::Rolling(span)
    }
}

impl CalendarUnit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::Week, Self::Month, Self::Quarter];

    /// The word used in specs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Week => "week",
            Self::Month => "month",
            Self::Quarter => "quarter",
        }
    }

    /// For the factors of burn-rate windows: 7, 30 or 90 days.
    pub const fn nominal(self) -> Span {
        match self {
            Self::Week => Span::days(7),
            Self::Month => Span::days(30),
            Self::Quarter => Span::days(90),
        }
    }

    fn first_day(self, day: Date) -> Date {
        match self {
            Self::Week => day.saturating_sub(i64::from(day.weekday().to_monday_zero_offset()).days()),
            Self::Month => day.first_of_month(),
            Self::Quarter => {
                let month = (day.month() - 1) / 3 * 3 + 1;
                Date::new(day.year(), month, 1).unwrap_or(Date::MIN)
            }
        }
    }

    fn days_after(self, first: Date) -> Date {
        match self {
            Self::Week => first.saturating_add(7.days()),
            Self::Month => first.saturating_add(1.month()),
            Self::Quarter => first.saturating_add(3.months()),
        }
    }
}

impl Calendar {
    /// Start and end of the stretch that holds `at`: `start < at <= end`.
    pub fn containing(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        // A sample at midnight tells of the day before.
        let today = zoned(at - Span::millis(1), &self.zone).date();
        let first = self.unit.first_day(today);
        (self.midnight(first), self.midnight(self.unit.days_after(first)))
    }

    /// The first moment of a day; midnight itself may be skipped by a change of the clocks.
    fn midnight(&self, day: Date) -> Timestamp {
        let moment = self.zone.to_zoned(DateTime::from_parts(day, jiff::civil::Time::midnight()));
        moment.map_or(Timestamp::MIN, |zoned| Timestamp(zoned.timestamp().as_millisecond()))
    }
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Zoned {
    // A day inside what the library's calendar knows.
    let bound = |t: jiff::Timestamp| t.as_millisecond();
    let clamped =
        at.as_millis().clamp(bound(jiff::Timestamp::MIN) + 86_400_000, bound(jiff::Timestamp::MAX) - 86_400_000);
    jiff::Timestamp::from_millisecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

impl Schedule {
    /// From a cron pattern, five fields or six with seconds in front.
    ///
    /// # Errors
    /// What is wrong with the pattern, or that it never comes.
    pub fn new(pattern: &str, zone: TimeZone, lasts: Span) -> Result<Self, String> {
        let cron = Cron::from_str(pattern).map_err(|error| error.to_string())?;
        let schedule = Self { cron: Box::new(cron), zone, lasts };
        match schedule.next(Timestamp(0)) {
            NEVER => Err("the pattern matches no time".to_owned()),
            _ => Ok(schedule),
        }
    }

    /// The first start after `at`.
    pub fn next(&self, at: Timestamp) -> Timestamp {
        let found = self.cron.find_next_occurrence(&zoned(at, &self.zone), false);
        found.map_or(NEVER, |start| Timestamp(start.timestamp().as_millisecond()))
    }

    /// The last start before `at`.
    fn previous(&self, at: Timestamp) -> Timestamp {
        let found = self.cron.find_previous_occurrence(&zoned(at, &self.zone), false);
        found.map_or(Timestamp::MIN, |start| Timestamp(start.timestamp().as_millisecond()))
    }

    /// How long each time is.
    pub fn lasts(&self) -> Span {
        self.lasts
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        let start = self.previous(at);
        let (end, next) = (start + self.lasts, self.next(start.max(Timestamp(0))));
        if at <= end && start > Timestamp::MIN {
            Verdict { inside: true, from: start, to: end.min(next) }
        } else {
            Verdict { inside: false, from: end, to: next.max(at) }
        }
    }
}

impl Exclusion {
    /// Whether `at` lies in it by the clock alone; never while a selector decides.
    fn verdict(&self, at: Timestamp) -> Verdict {
        match &self.when {
            When::Between { from, .. } if at <= *from => Verdict { inside: false, from: Timestamp::MIN, to: *from },
            When::Between { from, to } if at <= *to => Verdict { inside: true, from: *from, to: *to },
            When::Between { to, .. } => Verdict { inside: false, from: *to, to: NEVER },
            When::Scheduled(schedule) => schedule.verdict(at),
            When::While(_) => Verdict { inside: false, from: Timestamp::MIN, to: NEVER },
        }
    }
}

impl Accounting {
    /// Whether `at` lies in one of the excluded times that the clock alone decides.
    pub fn is_excluded(&self, at: Timestamp) -> Verdict {
        let all = self.exclude.iter().map(|exclusion| exclusion.verdict(at));
        let none = Verdict { inside: false, from: Timestamp::MIN, to: NEVER };
        all.fold(none, |sum, one| Verdict {
            inside: sum.inside || one.inside,
            from: sum.from.max(one.from),
            to: sum.to.min(one.to),
        })
    }

    /// Whether a series decides about some times.
    pub fn has_signals(&self) -> bool {
        self.exclude.iter().any(|exclusion| matches!(exclusion.when, When::While(_)))
    }

    /// The last reset before `at`.
    pub fn last_reset(&self, at: Timestamp) -> Option<Timestamp> {
        self.resets.iter().map(|reset| reset.at).rfind(|reset| *reset < at)
    }
}

impl Budgeting {
    /// The length of a slice, unless events count.
    pub const fn slice(self) -> Option<Span> {
        match self {
            Self::Occurrences => None,
            Self::Timeslices { slice, .. } | Self::RatioTimeslices { slice } => Some(slice),
        }
    }
}

impl NoData {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Hold, Self::Bad, Self::Ignore];

    /// The word used in specs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Bad => "bad",
            Self::Ignore => "ignore",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn origin() -> Origin {
        Origin { file: Arc::new(PathBuf::from("a.yaml")), line: 1 }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn calendar(unit: CalendarUnit, zone: &str) -> Calendar {
        Calendar { unit, zone: TimeZone::get(zone).unwrap(), origin: origin() }
    }

    #[test]
    fn calendars_know_months_leap_years_and_summer_time() {
        for (unit, zone, moment, start, end, hours) in [
            // October has an hour more in Berlin, March one less.
            (
                CalendarUnit::Month,
                "Europe/Berlin",
                "2026-10-15T12:00:00Z",
                "2026-09-30T22:00:00Z",
                "2026-10-31T23:00:00Z",
                745,
            ),
            (
                CalendarUnit::Month,
                "Europe/Berlin",
                "2026-03-15T12:00:00Z",
                "2026-02-28T23:00:00Z",
                "2026-03-31T22:00:00Z",
                743,
            ),
            (CalendarUnit::Month, "UTC", "2028-02-10T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", 696),
            (CalendarUnit::Month, "UTC", "2027-02-10T00:00:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z", 672),
            (
                CalendarUnit::Week,
                "America/New_York",
                "2026-11-01T12:00:00Z",
                "2026-10-26T04:00:00Z",
                "2026-11-02T05:00:00Z",
                169,
            ),
            (
                CalendarUnit::Quarter,
                "UTC",
                "2026-11-21T10:00:00Z",
                "2026-10-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
                2208,
            ),
            (
                CalendarUnit::Quarter,
                "Asia/Kolkata",
                "2026-01-01T00:00:00Z",
                "2025-12-31T18:30:00Z",
                "2026-03-31T18:30:00Z",
                2160,
            ),
            // The clocks of Santiago skip midnight: the day begins at one.
            (
                CalendarUnit::Week,
                "America/Santiago",
                "2026-09-06T12:00:00Z",
                "2026-08-31T04:00:00Z",
                "2026-09-07T03:00:00Z",
                167,
            ),
        ] {
            let (from, to) = calendar(unit, zone).containing(at(moment));
            assert_eq!((from, to), (at(start), at(end)), "{zone} {moment}");
            assert_eq!(to.since(from), Span::hours(hours), "{zone} {moment}");
        }
    }

    #[test]
    fn a_boundary_belongs_to_what_ends_there() {
        let month = calendar(CalendarUnit::Month, "UTC");
        let midnight = at("2026-11-01T00:00:00Z");
        assert_eq!(month.containing(midnight).1, midnight);
        assert_eq!(month.containing(midnight + Span::millis(1)).0, midnight);
    }

    fn scheduled(pattern: &str, zone: &str, lasts: Span) -> Accounting {
        let schedule = Schedule::new(pattern, TimeZone::get(zone).unwrap(), lasts).unwrap();
        let when = When::Scheduled(schedule);
        let exclude = vec![Exclusion { when, reason: String::new(), origin: origin() }];
        Accounting { exclude, ..Accounting::default() }
    }

    #[test]
    fn schedules_follow_the_zones_clocks() {
        // Every Sunday from 02:00 for 2 h in Berlin: an hour earlier in UTC in summer than in winter.
        let sundays = scheduled("0 2 * * SUN", "Europe/Berlin", Span::hours(2));
        for (moment, inside) in [
            ("2026-10-18T00:00:00Z", false),
            ("2026-10-18T00:00:01Z", true),
            ("2026-10-18T02:00:00Z", true),
            ("2026-10-18T02:00:01Z", false),
            ("2026-11-01T00:30:00Z", false),
            ("2026-11-01T01:30:00Z", true),
            ("2026-11-02T01:30:00Z", false),
        ] {
            let verdict = sundays.is_excluded(at(moment));
            assert_eq!(verdict.inside, inside, "{moment}");
            assert!(verdict.from < at(moment) && at(moment) <= verdict.to, "{moment}: {verdict:?}");
        }
        assert!(Schedule::new("0 0 31 2 *", TimeZone::UTC, Span::hours(1)).is_err());
        assert!(Schedule::new("61 * * * *", TimeZone::UTC, Span::hours(1)).is_err());
    }

    proptest! {
        /// A verdict is that of every moment it is said to hold for.
        #[test]
        fn verdicts_hold_as_far_as_they_say(seconds in 1_760_000_000_i64..1_800_000_000, share in 0.0..1.0) {
            let mut accounting = scheduled("30 1 * * *", "Europe/Berlin", Span::hours(3));
            let (from, to) = (at("2026-03-29T00:00:00Z"), at("2026-03-29T01:15:00Z"));
            let when = When::Between { from, to };
            accounting.exclude.push(Exclusion { when, reason: String::new(), origin: origin() });
            let verdict = accounting.is_excluded(Timestamp(seconds * 1000));
            let length = verdict.to.since(verdict.from).as_millis() as f64;
            let other = verdict.from + Span(1 + (share * (length - 1.0)) as i64);
            prop_assert_eq!(accounting.is_excluded(other), verdict);
        }

        #[test]
        fn every_moment_lies_in_its_stretch(seconds in 0_i64..4_000_000_000, zone in 0_usize..4, unit in 0_usize..3) {
            let zone = ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"][zone];
            let calendar = calendar(CalendarUnit::ALL[unit], zone);
            let moment = Timestamp(seconds * 1000);
            let (start, end) = calendar.containing(moment);
            prop_assert!(start < moment && moment <= end);
            prop_assert_eq!(calendar.containing(end), (start, end));
            prop_assert_eq!(calendar.containing(end + Span::millis(1)).0, end);
        }
    }
}
