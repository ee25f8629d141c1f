//! The parts of a date, in UTC.

use crate::promql::function::FunctionId;

/// From seconds since the epoch to a part of the date.
pub(super) type Part = fn(i64) -> f64;

const DAY_SECONDS: i64 = 86_400;

/// Whole seconds. What is no time becomes the end of it, as Go has it: the year 292277026596.
pub(super) fn seconds(value: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&value) { value as i64 } else { i64::MAX }
}

pub(super) fn part(id: FunctionId) -> Option<Part> {
    use FunctionId as F;
    Some(match id {
        F::Minute => |s| (s.rem_euclid(3600) / 60) as f64,
        F::Hour => |s| (s.rem_euclid(DAY_SECONDS) / 3600) as f64,
        // The epoch was a Thursday; Sunday is 0.
        F::DayOfWeek => |s| (s.div_euclid(DAY_SECONDS) + 4).rem_euclid(7) as f64,
        F::DayOfMonth => |s| Date::of(s).day as f64,
        F::DayOfYear => |s| {
            let date = Date::of(s);
            (s.div_euclid(DAY_SECONDS) - days_before(date.year, 1) + 1) as f64
        },
        F::DaysInMonth => |s| {
            let Date { year, month, .. } = Date::of(s);
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            (days_before(next_year, next_month) - days_before(year, month)) as f64
        },
        F::Month => |s| Date::of(s).month as f64,
        F::Year => |s| Date::of(s).year as f64,
        _ => return None,
    })
}

struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The proleptic Gregorian date, by counting in eras of 400 years that begin in March (H. Hinnant,
    /// "chrono-Compatible Low-Level Date Algorithms").
    fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY_SECONDS) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }
}

/// Days from the epoch to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_the_end_of_it() {
        use FunctionId as F;
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e19] {
            let ids = [F::Month, F::DayOfMonth, F::DayOfWeek, F::DayOfYear, F::Hour, F::Minute];
            let found = ids.map(|id| part(id).unwrap()(seconds(value)));
            assert_eq!(found, [12.0, 4.0, 0.0, 339.0, 15.0, 30.0], "{value}");
        }
        assert_eq!((seconds(-1.5), seconds(1e18)), (-1, 1_000_000_000_000_000_000));
    }

    #[test]
    fn parts_of_known_dates() {
        // 2024-02-29 12:34:56, a Thursday; 1969-12-31 23:59:59, a Wednesday.
        for (seconds, parts) in [
            (1_709_210_096, [2024.0, 2.0, 29.0, 4.0, 60.0, 29.0, 12.0, 34.0]),
            (-1, [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0, 23.0, 59.0]),
        ] {
            use FunctionId as F;
            let ids =
                [F::Year, F::Month, F::DayOfMonth, F::DayOfWeek, F::DayOfYear, F::DaysInMonth, F::Hour, F::Minute];
            let found = ids.map(|id| part(id).unwrap()(seconds));
            assert_eq!(found, parts, "{seconds}");
        }
    }
}
