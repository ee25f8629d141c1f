//! Stretches of the week: `Fri 16:00-24:00 UTC`, `Mon-Fri 09:00-17:00 Europe/Berlin`, `22:00-06:00 UTC`.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;

use crate::types::{Span, Timestamp};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_MINUTES: u16 = 24 * 60;
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES as u32;
/// 2026-11-02T00:00:00Z: no clock changes in the week after.
const A_MONDAY: Timestamp = Timestamp(1_793_577_600_000);

/// Some days of the week, from one time of day to another, in a time zone. One that ends before it begins goes on into
/// the next day.
#[derive(Clone, Debug)]
pub struct WeekTime {
    /// Monday first.
    days: [bool; 7],
    from_minute: u16,
    to_minute: u16,
    zone: TimeZone,
    text: String,
}

/// Why a text is no stretch of the week.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeekTimeError {
    /// Not of the form.
    #[error("expected days, times and a time zone, as in `Fri 16:00-24:00 UTC`")]
    Form,
    /// No day of the week.
    #[error("{0:?} is no day: use Mon, Tue, Wed, Thu, Fri, Sat or Sun")]
    Day(String),
    /// No time of day.
    #[error("{0:?} is no time from 00:00 to 24:00")]
    Time(String),
    /// Not in the time zone database.
    #[error("{0:?} is no time zone: use UTC or a name such as Europe/Berlin")]
    Zone(String),
}

impl WeekTime {
    /// Whether the moment lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(moment) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return false };
        let local = moment.to_zoned(self.zone.clone());
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let day = local.weekday().to_monday_zero_offset() as usize;
        if self.from_minute < self.to_minute {
            return self.days[day] && (self.from_minute..self.to_minute).contains(&minute);
        }
        self.days[day] && minute >= self.from_minute || self.days[(day + 6) % 7] && minute < self.to_minute
    }

    /// Whether some stretches together leave no minute of an ordinary week.
    pub fn cover_the_week(times: &[Self]) -> bool {
        let minutes: u32 = times.iter().map(Self::minutes).sum();
        let covered = |minute: i64| {
            let at = A_MONDAY + Span::minutes(minute);
            times.iter().any(|time| time.contains(at))
        };
        // Most lists are too short, and asking a time zone takes its time.
        minutes >= WEEK_MINUTES && (0..i64::from(WEEK_MINUTES)).all(covered)
    }

    /// In a week.
    fn minutes(&self) -> u32 {
        let length = if self.from_minute < self.to_minute { 0 } else { DAY_MINUTES };
        let days = self.days.iter().filter(|day| **day).count() as u32;
        u32::from(self.to_minute + length - self.from_minute) * days
    }
}

impl FromStr for WeekTime {
    type Err = WeekTimeError;

    fn from_str(text: &str) -> Result<Self, WeekTimeError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (days, times, zone) = match parts[..] {
            [days, times, zone] => (self::days(days)?, times, zone),
            [times, zone] => ([true; 7], times, zone),
            _ => return Err(WeekTimeError::Form),
        };
        let (from, to) = times.split_once('-').ok_or(WeekTimeError::Form)?;
        let (from_minute, to_minute) = (minute(from)?, minute(to)?);
        if from_minute == to_minute || from_minute == DAY_MINUTES {
            return Err(WeekTimeError::Time(times.to_owned()));
        }
        let zone = TimeZone::get(zone).map_err(|_| WeekTimeError::Zone(zone.to_owned()))?;
        Ok(Self { days, from_minute, to_minute, zone, text: parts.join(" ") })
    }
}

fn days(text: &str) -> Result<[bool; 7], WeekTimeError> {
    let day = |name: &str| {
        let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        found.ok_or_else(|| WeekTimeError::Day(name.to_owned()))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        (0..7).map(|ahead| (first + ahead) % 7).take((last + 7 - first) % 7 + 1).for_each(|day| days[day] = true);
    }
    Ok(days)
}

fn minute(text: &str) -> Result<u16, WeekTimeError> {
    let wrong = || WeekTimeError::Time(text.to_owned());
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |text: &str| Some(text).filter(|text| text.len() == 2).and_then(|text| text.parse::<u16>().ok());
    let (hour, minute) = (digits(hour).ok_or_else(wrong)?, digits(minute).ok_or_else(wrong)?);
    let total = hour * 60 + minute;
    if minute < 60 && total <= DAY_MINUTES { Ok(total) } else { Err(wrong()) }
}

/// As it was written.
impl fmt::Display for WeekTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn times_of_the_week() {
        let friday: WeekTime = "Fri 16:00-24:00 UTC".parse().unwrap();
        for (moment, is_in) in [
            ("2026-11-27T15:59:59Z", false),
            ("2026-11-27T16:00:00Z", true),
            ("2026-11-27T23:59:59Z", true),
            ("2026-11-28T00:00:00Z", false),
        ] {
            assert_eq!(friday.contains(at(moment)), is_in, "{moment}");
        }
        let nights: WeekTime = "Mon-Thu,Sun 22:00-06:00 Europe/Berlin".parse().unwrap();
        // Berlin is an hour ahead in winter, two in summer.
        assert!(nights.contains(at("2026-11-26T21:30:00Z")) && nights.contains(at("2026-11-27T04:59:00Z")));
        assert!(!nights.contains(at("2026-11-27T05:00:00Z")) && !nights.contains(at("2026-11-27T22:00:00Z")));
        assert!(nights.contains(at("2026-07-05T20:30:00Z")), "a Sunday in summer");
        assert_eq!(nights.to_string(), "Mon-Thu,Sun 22:00-06:00 Europe/Berlin");
    }

    #[test]
    fn whole_weeks() {
        let times = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<WeekTime>>();
        for (texts, is_whole) in [
            (&["00:00-24:00 UTC"][..], true),
            (&["Mon-Sun 00:00-24:00 Asia/Kolkata"], true),
            (&["Mon-Thu 00:00-24:00 UTC", "Fri-Sun 00:00-24:00 UTC"], true),
            (&["12:00-11:59 UTC", "11:00-12:00 UTC"], true),
            (&["12:00-11:59 UTC"], false),
            (&["Mon-Fri 00:00-24:00 UTC", "Mon-Fri 00:00-24:00 Europe/Berlin"], false),
            (&["Mon-Sat 00:00-24:00 UTC", "Sun 01:00-24:00 UTC"], false),
            (&["Mon-Fri 00:00-24:00 UTC", "Sat 00:00-24:00 Europe/Berlin", "Sun 00:00-24:00 Europe/Berlin"], false),
            (&[], false),
        ] {
            assert_eq!(WeekTime::cover_the_week(&times(texts)), is_whole, "{texts:?}");
        }
        assert_eq!(at("2026-11-02T00:00:00Z"), A_MONDAY);
    }

    #[test]
    fn what_is_no_time_of_the_week() {
        let error = |text: &str| text.parse::<WeekTime>().unwrap_err().to_string();
        assert_eq!(error("always"), "expected days, times and a time zone, as in `Fri 16:00-24:00 UTC`");
        assert_eq!(error("Fry 16:00-24:00 UTC"), "\"Fry\" is no day: use Mon, Tue, Wed, Thu, Fri, Sat or Sun");
        assert_eq!(error("Fri 16:00-25:00 UTC"), "\"25:00\" is no time from 00:00 to 24:00");
        assert_eq!(error("Fri 9:00-17:00 UTC"), "\"9:00\" is no time from 00:00 to 24:00");
        assert!(error("Fri 16:00-18:00 Mars/Base").starts_with("\"Mars/Base\" is no time zone"));
    }
}
