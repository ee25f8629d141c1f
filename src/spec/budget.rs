//! The fields of an SLO that say how events become budget: `period`, `calendar`, `budgeting`, `groupBy`, `noData`,
//! `exclude`, `resets`.

use jiff::tz::TimeZone;

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::labels::label_name;
use crate::spec::naming::window_text;
use crate::spec::native::{origin, percentage};
use crate::spec::selector::parse;
use crate::spec::yaml::shown;
use crate::spec::{
    Accounting, Alerting, Budgeting, Calendar, CalendarUnit, Exclusion, NoData, Period, Reset, Schedule, When,
};
use crate::types::{Selector, Span, Timestamp};

pub(crate) const DEFAULT_PERIOD: Span = Span::days(30);
const SHORTEST_PERIOD: Span = Span::days(1);
const LONGEST_PERIOD: Span = Span::days(90);
const SHORTEST_SLICE: Span = Span::seconds(10);
const LONGEST_SLICE: Span = Span::hours(1);
const LONGEST_SCHEDULED: Span = Span::days(31);
const EXCLUSIONS_LIMIT_COUNT: usize = 100;
const RESETS_LIMIT_COUNT: usize = 100;
const GROUP_LABELS_LIMIT_COUNT: usize = 8;
const REASON_LIMIT_BYTES: usize = 1_024;

/// `period` or `calendar`; 30 days when neither is given.
pub(crate) fn period(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Option<Period> {
    match (fields.get("period"), fields.get("calendar")) {
        (None, None) => Some(Period::Rolling(DEFAULT_PERIOD)),
        (Some(field), None) => rolling(field, reporter).map(Period::Rolling),
        (None, Some(field)) => calendar(field, reporter).map(Period::Calendar),
        (Some(_), Some(calendar)) => {
            let hint = "keep one: a period rolls, a calendar's begins anew at each boundary";
            reporter.error(calendar.key, "`period` and `calendar` are both given").hint(hint);
            None
        }
    }
}

fn rolling(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Span> {
    let calendar = field.node.as_mapping().is_some_and(|entries| entries.iter().any(|e| e.key == "calendar"));
    let unit = CalendarUnit::ALL.into_iter().find(|unit| Some(unit.as_str()) == field.scalar());
    if calendar || unit.is_some() || matches!(field.scalar(), Some("calendar")) {
        let unit = unit.unwrap_or(CalendarUnit::Month).as_str();
        let hint = format!("write `calendar: {{unit: {unit}, timeZone: Europe/Berlin}}` instead of `period`");
        field.mismatch("a duration", reporter).hint(hint);
        return None;
    }
    let period = field.duration(reporter)?;
    if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period) {
        let (least, most) = (window_text(SHORTEST_PERIOD), window_text(LONGEST_PERIOD));
        let message = format!("a period lies between {least} and {most}, not at {}", window_text(period));
        reporter.error(field.place(), message).hint("`30d` and `28d` are usual");
        return None;
    }
    Some(period)
}

fn calendar(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Calendar> {
    let mut fields = Fields::of(field, reporter)?;
    let unit = fields.require("unit");
    let zone = time_zone(&mut fields, reporter);
    fields.finish(reporter);
    let units = CalendarUnit::ALL.map(|unit| (unit.as_str(), unit));
    let unit = unit.and_then(|field| field.word(&units, reporter));
    Some(Calendar { unit: unit?, zone: zone?, origin: origin(field.key, reporter) })
}

/// UTC when it is not given.
fn time_zone(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Option<TimeZone> {
    let Some(field) = fields.get("timeZone") else { return Some(TimeZone::UTC) };
    let name = field.text(reporter)?;
    let zone = TimeZone::get(name).ok();
    if zone.is_none() {
        let hint = "use a name of the IANA database, such as `Europe/Berlin` or `UTC`";
        reporter.error(field.place(), format!("no time zone is named {}", shown(name))).hint(hint);
    }
    zone
}

/// Everything else. `alerting` is that of the SLO.
pub(crate) fn accounting(fields: &mut Fields<'_>, alerting: &Alerting, reporter: &mut Reporter<'_>) -> Accounting {
    let mut accounting = Accounting::default();
    if let Some(field) = fields.get("groupBy") {
        accounting.group_by = group_by(field, reporter);
    }
    if let Some(field) = fields.get("budgeting") {
        accounting.budgeting = budgeting(field, alerting, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("noData") {
        let policies = NoData::ALL.map(|policy| (policy.as_str(), policy));
        accounting.no_data = field.word(&policies, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("exclude") {
        let items = items(field, EXCLUSIONS_LIMIT_COUNT, reporter);
        accounting.exclude = items.into_iter().filter_map(|item| exclusion(item, reporter)).collect();
    }
    if let Some(field) = fields.get("resets") {
        let items = items(field, RESETS_LIMIT_COUNT, reporter);
        accounting.resets = items.into_iter().filter_map(|item| reset(item, reporter)).collect();
        accounting.resets.sort_by_key(|reset| reset.at);
    }
    accounting
}

fn items<'n>(field: Field<'n>, limit: usize, reporter: &mut Reporter<'_>) -> Vec<Field<'n>> {
    let mut items = field.items(reporter).unwrap_or_default();
    if let Some(extra) = items.get(limit) {
        reporter.error(extra.key, format!("more than {limit} items in {}", field.what));
    }
    items.truncate(limit);
    items
}

fn group_by(field: Field<'_>, reporter: &mut Reporter<'_>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for item in items(field, GROUP_LABELS_LIMIT_COUNT, reporter) {
        let Some(name) = label_name(item, reporter) else { continue };
        if labels.iter().any(|label| label == name) {
            reporter.error(item.place(), format!("`{name}` is given twice")).hint("leave one out");
        } else {
            labels.push(name.to_owned());
        }
    }
    labels
}

fn budgeting(field: Field<'_>, alerting: &Alerting, reporter: &mut Reporter<'_>) -> Option<Budgeting> {
    if matches!(field.scalar(), Some("occurrences")) {
        return Some(Budgeting::Occurrences);
    }
    if field.scalar().is_some() {
        let hint = "write `occurrences`, `{timeslices: {slice: 1m, target: 95}}` or `{ratioTimeslices: {slice: 1m}}`";
        field.mismatch("`occurrences` or a mapping", reporter).hint(hint);
        return None;
    }
    let mut fields = Fields::of(field, reporter)?;
    let (slices, ratios) = (fields.get("timeslices"), fields.get("ratioTimeslices"));
    fields.finish(reporter);
    match (slices, ratios) {
        (Some(field), None) => {
            let mut fields = Fields::of(field, reporter)?;
            let slice = slice(&mut fields, alerting, reporter);
            let target = fields.require("target");
            fields.finish(reporter);
            let target = target.and_then(|field| percentage(field, reporter));
            Some(Budgeting::Timeslices { slice: slice?, target: target? })
        }
        (None, Some(field)) => {
            let mut fields = Fields::of(field, reporter)?;
            let slice = slice(&mut fields, alerting, reporter);
            fields.finish(reporter);
            Some(Budgeting::RatioTimeslices { slice: slice? })
        }
        (None, None) => {
            let hint = "leave `budgeting` out to count events";
            reporter.error(field.key, "`budgeting` says nothing").hint(hint);
            None
        }
        (Some(_), Some(ratios)) => {
            let message = "`timeslices` and `ratioTimeslices` are both given";
            reporter.error(ratios.key, message).hint("keep one");
            None
        }
    }
}

fn slice(fields: &mut Fields<'_>, alerting: &Alerting, reporter: &mut Reporter<'_>) -> Option<Span> {
    let field = fields.require("slice")?;
    let slice = field.duration(reporter)?;
    if !(SHORTEST_SLICE..=LONGEST_SLICE).contains(&slice) {
        let (least, most) = (window_text(SHORTEST_SLICE), window_text(LONGEST_SLICE));
        let message = format!("a slice lies between {least} and {most}, not at {}", window_text(slice));
        reporter.error(field.place(), message).hint("`1m` is usual");
        return None;
    }
    let shortest = alerting.policy.windows().into_iter().min().filter(|window| *window < slice);
    if let Some(window) = shortest {
        let (slice, window) = (window_text(slice), window_text(window));
        let message = format!("a slice of {slice} is longer than the shortest window ({window})");
        reporter.error(field.place(), message).hint("make slices shorter, or set longer `alerting.windows`");
        return None;
    }
    Some(slice)
}

fn reason(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let field = fields.require("reason")?;
    let text = field.text(reporter)?;
    if text.trim().is_empty() || text.len() > REASON_LIMIT_BYTES {
        let message = format!("a reason has between 1 and {REASON_LIMIT_BYTES} bytes");
        reporter.error(field.place(), message).hint("somebody will ask why this time did not count");
        return None;
    }
    Some(text.to_owned())
}

fn exclusion(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Exclusion> {
    let mut fields = Fields::of(item, reporter)?;
    let reason = reason(&mut fields, reporter);
    let given: Vec<&str> = ["from", "cron", "while"].into_iter().filter(|name| fields.peek(name).is_some()).collect();
    let when = match given[..] {
        ["from"] => between(&mut fields, reporter),
        ["cron"] => scheduled(&mut fields, reporter),
        ["while"] => {
            let selector = fields.require("while").and_then(|field| signal(field, reporter));
            selector.map(When::While)
        }
        _ => {
            for name in ["from", "to", "cron", "for", "timeZone", "while"] {
                fields.get(name);
            }
            let hint = "`{from: ..., to: ...}`, `{cron: \"0 2 * * SUN\", for: 2h}` or `{while: 'maintenance == 1'}`";
            let message = if given.is_empty() { "no time is given" } else { "several times are given" };
            reporter.error(item.key, format!("{message} in an item of `exclude`")).hint(hint);
            None
        }
    };
    fields.finish(reporter);
    Some(Exclusion { when: when?, reason: reason?, origin: origin(item.key, reporter) })
}

fn between(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Option<When> {
    let (from, to_field) = (fields.require("from"), fields.require("to"));
    let from = from.and_then(|field| field.moment(reporter));
    let to = to_field.and_then(|field| field.moment(reporter));
    if let (Some(from), Some(to), Some(field)) = (from, to, to_field)
        && to <= from
    {
        reporter.error(field.place(), "the time ends before it begins").hint("`to` must be later than `from`");
        return None;
    }
    Some(When::Between { from: from?, to: to? })
}

fn scheduled(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Option<When> {
    let (cron, lasts_field) = (fields.require("cron"), fields.require("for"));
    let zone = time_zone(fields, reporter);
    let lasts = lasts_field.and_then(|field| {
        let lasts = field.duration(reporter)?;
        if lasts == Span::ZERO || lasts > LONGEST_SCHEDULED {
            let most = window_text(LONGEST_SCHEDULED);
            let message = format!("a time that comes again lasts up to {most}, not {}", window_text(lasts));
            reporter.error(field.place(), message);
            return None;
        }
        Some(lasts)
    });
    let (field, lasts_place) = (cron?, lasts_field?.place());
    let schedule = match Schedule::new(field.text(reporter)?, zone?, lasts?) {
        Ok(schedule) => schedule,
        Err(error) => {
            let hint = "minute, hour, day of month, month, day of week: `0 2 * * SUN` is Sundays at 02:00";
            let error = error.trim_end_matches('.');
            reporter.error(field.place(), format!("not a cron pattern: {error}")).hint(hint);
            return None;
        }
    };
    let first = schedule.next(Timestamp(0));
    if schedule.next(first).since(first) <= schedule.lasts() {
        reporter
            .error(lasts_place, "the times follow upon each other: no event would ever count")
            .hint("shorten `for`");
        return None;
    }
    Some(When::Scheduled(schedule))
}

/// A selector, with `== 1` after it or not.
fn signal(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Selector> {
    let text = field.text(reporter)?;
    let bare = text.trim_end().strip_suffix('1').and_then(|rest| rest.trim_end().strip_suffix("=="));
    match parse(bare.unwrap_or(text)) {
        Ok(selector) => Some(selector),
        Err(problem) => {
            let hint = "write a selector of series that are 1 at such times: `maintenance{service=\"shop\"} == 1`";
            reporter.error(field.place_of(problem.at), problem.message).hint(hint);
            None
        }
    }
}

fn reset(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Reset> {
    let mut fields = Fields::of(item, reporter)?;
    let at = fields.require("at");
    let reason = reason(&mut fields, reporter);
    fields.finish(reporter);
    let at = at.and_then(|field| field.moment(reporter));
    Some(Reset { at: at?, reason: reason?, origin: origin(item.key, reporter) })
}
