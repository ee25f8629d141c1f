//! The blocks that say how releases are judged: `budgetPolicy` and `canary`.
//!
//! `steps` reads the exposure and cohorts, `checks` what is asked of which SLI, `limit` the figures with their units,
//! `lint` says what can hardly be meant. Limits are refused as the judge would refuse them; a test holds the two
//! together.
//!
//! Whether a histogram's buckets are fine enough for a limit is not known here, as they arrive with the samples: the
//! judge says so with its verdict.

mod checks;
mod limit;
mod lint;
mod steps;

use std::ops::RangeInclusive;

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::lint::gauge;
use crate::spec::naming::window_text;
use crate::spec::native::{Named, origin};
use crate::spec::selector::parse;
use crate::spec::source::Place;
use crate::spec::yaml::shown;
use crate::spec::{ArgoRollout, Baseline, BudgetPolicy, Canary, Sli, Slo, Step, WeekTime};
use crate::types::{Selector, Span};

const DEFAULT_EVERY: Span = Span::seconds(30);
const DEFAULT_WINDOW: Span = Span::minutes(5);
const DEFAULT_DEADLINE: Span = Span::hours(8);
const DEFAULT_CONFIDENCE: f64 = 0.99;
const DEFAULT_MIN_SAMPLES: u64 = 200;
const EVERY: RangeInclusive<Span> = Span::seconds(1)..=Span::hours(1);
const WINDOW: RangeInclusive<Span> = Span::seconds(10)..=Span::days(1);
const DEADLINE: RangeInclusive<Span> = Span::minutes(1)..=Span::days(30);
/// Percent. With less, every other harmless release would be taken back.
const LEAST_CONFIDENCE: f64 = 50.0;
const WEEK_TIMES_LIMIT_COUNT: usize = 32;
/// The longest label of a DNS name, and the longest name, in Kubernetes.
const DNS_LABEL_LIMIT_BYTES: usize = 63;
const DNS_NAME_LIMIT_BYTES: usize = 253;

/// What the rest of the service says.
pub(crate) struct Around<'s> {
    /// The version label, if it is a sound one.
    pub version: Option<&'s str>,
    /// Whether one is given, sound or not.
    pub has_version: bool,
    /// All SLIs' names, those of broken ones included.
    pub sli_names: &'s [Named<'s>],
    /// All SLOs' names, those of broken ones included.
    pub slo_names: &'s [Named<'s>],
    /// The sound ones.
    pub slis: &'s [Sli],
    /// The sound ones.
    pub slos: &'s [Slo],
}

/// Reads `budgetPolicy`.
pub(crate) fn budget_policy(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<BudgetPolicy> {
    let mut fields = Fields::of(field, reporter)?;
    let freeze = fields.require("freezeBelow");
    fields.finish(reporter);
    let field = freeze?;
    let percent = field.number(reporter)?;
    if !(0.0..100.0).contains(&percent) {
        let message = format!("a budget policy freezes below 0 to less than 100 percent of the budget, not {percent}");
        reporter.error(field.place(), message).hint("`freezeBelow: 10` lets nothing go on with less than 10 % left");
        return None;
    }
    lint::freeze(percent, field, reporter);
    Some(BudgetPolicy { freeze_below: of_percent(percent) })
}

/// Reads `canary`.
pub(crate) fn canary(field: Field<'_>, around: &Around<'_>, reporter: &mut Reporter<'_>) -> Option<Canary> {
    let mut fields = Fields::of(field, reporter)?;
    if !around.has_version {
        let hint = "name the label whose values tell releases apart, such as `versionLabel: version`";
        reporter.error(field.key, "`canary` needs `spec.versionLabel`").hint(hint);
    }
    let baseline = fields.get("baseline").map_or(Some(Baseline::Stable), |field| baseline(field, reporter));
    let every = span(&mut fields, "every", DEFAULT_EVERY, &EVERY, reporter);
    let window_field = fields.peek("window").or(fields.peek("every"));
    let window = span(&mut fields, "window", DEFAULT_WINDOW, &WINDOW, reporter);
    if let (Some(every), Some(window), Some(field)) = (every, window, window_field) {
        lint::window(every, window, field, reporter);
    }
    let confidence = fields.get("confidence").map_or(Some(DEFAULT_CONFIDENCE), |field| confidence(field, reporter));
    let min_samples = fields.get("minSamples").map_or(Some(DEFAULT_MIN_SAMPLES), |field| field.count(reporter));
    let steps_field = fields.get("steps");
    let steps = steps::steps(steps_field, around.version, reporter);
    let deadline_field = fields.peek("deadline");
    let deadline = span(&mut fields, "deadline", DEFAULT_DEADLINE, &DEADLINE, reporter);
    if let Some(deadline) = deadline {
        let place = deadline_field.map_or(steps_field.unwrap_or(field).key, |field| field.place());
        within(&steps, deadline, deadline_field.is_none(), place, reporter);
    }
    let defaults = checks::Defaults {
        min_samples: min_samples.unwrap_or(DEFAULT_MIN_SAMPLES),
        strata: steps::cohorts(&steps),
        deadline: deadline.unwrap_or(*DEADLINE.end()),
    };
    let checks = fields.require("checks").map(|field| checks::checks(field, &defaults, around, reporter));
    let not_between = week_times(fields.get("notBetween"), reporter);
    if let Some(field) = fields.peek("notBetween") {
        lint::never(&not_between, field, reporter);
    }
    let start_between = week_times(fields.get("startBetween"), reporter);
    let weight = fields.get("weight").map(|field| weight(field, &steps, around, reporter).ok_or(Unsound)).transpose();
    let argo = fields.get("argo").map(|field| argo(field, reporter).ok_or(Unsound)).transpose();
    fields.finish(reporter);
    Some(Canary {
        baseline: baseline?,
        every: every?,
        window: window?,
        confidence: confidence?,
        steps,
        checks: checks?,
        deadline: deadline?,
        not_between,
        start_between,
        weight: weight.ok()?,
        argo: argo.ok()?,
        origin: origin(field.key, reporter),
    })
}

fn span(
    fields: &mut Fields<'_>,
    name: &'static str,
    default: Span,
    range: &RangeInclusive<Span>,
    reporter: &mut Reporter<'_>,
) -> Option<Span> {
    let Some(field) = fields.get(name) else { return Some(default) };
    let span = field.duration(reporter)?;
    if !range.contains(&span) {
        let (least, most) = (window_text(*range.start()), window_text(*range.end()));
        let message = format!("`{name}` lies between {least} and {most}, not at {span}");
        reporter.error(field.place(), message).hint(format!("`{name}: {}` is the default", window_text(default)));
        return None;
    }
    Some(span)
}

fn baseline(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Baseline> {
    const HINT: &str = "write `stable`, `previous` or `{selector: 'track=\"stable\"'}`";
    if field.node.as_mapping().is_none() {
        return match field.scalar() {
            Some("stable") => Some(Baseline::Stable),
            Some("previous") => Some(Baseline::Previous),
            _ => {
                field.mismatch("`stable`, `previous` or a mapping", reporter).hint(HINT);
                None
            }
        };
    }
    let mut fields = Fields::of(field, reporter)?;
    let selector = fields.require("selector");
    fields.finish(reporter);
    steps::matchers(selector?, reporter).map(Baseline::Selector)
}

fn confidence(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<f64> {
    let percent = field.number(reporter)?;
    if !(LEAST_CONFIDENCE..100.0).contains(&percent) {
        let message = format!("a confidence lies from {LEAST_CONFIDENCE} to below 100 percent, not at {percent}");
        let meant = format!("{percent}e2").parse().unwrap_or(0.0);
        let hint = if (LEAST_CONFIDENCE..100.0).contains(&meant) {
            format!("it is in percent: did you mean `{meant}`?")
        } else {
            "at `99` one harmless release in a hundred is taken back".to_owned()
        };
        reporter.error(field.place(), message).hint(hint);
        return None;
    }
    Some(of_percent(percent))
}

/// The holds fit into the deadline.
fn within(steps: &[Step], deadline: Span, is_default: bool, place: Place, reporter: &mut Reporter<'_>) {
    let holds = steps.iter().fold(Span::ZERO, |sum, step| sum + step.hold);
    if holds >= deadline {
        let default = if is_default { " by default" } else { "" };
        let message = format!("the steps hold for {holds}, and the deadline is {deadline}{default}");
        let hint = "set a `deadline` that leaves the checks time to decide after the holds";
        reporter.error(place, message).hint(hint);
    }
}

fn week_times(field: Option<Field<'_>>, reporter: &mut Reporter<'_>) -> Vec<WeekTime> {
    let Some(items) = field.and_then(|field| field.items(reporter)) else { return Vec::new() };
    if let Some(extra) = items.get(WEEK_TIMES_LIMIT_COUNT) {
        let what = extra.what;
        reporter.error(extra.key, format!("more than {WEEK_TIMES_LIMIT_COUNT} times: {what} is one too many"));
    }
    let mut times = Vec::new();
    for item in items.into_iter().take(WEEK_TIMES_LIMIT_COUNT) {
        let Some(text) = item.text(reporter) else { continue };
        match text.parse::<WeekTime>() {
            Ok(time) => times.push(time),
            Err(error) => {
                let hint = "for example `Fri 16:00-24:00 UTC` or `Mon-Thu 22:00-06:00 Europe/Berlin`";
                reporter.error(item.place(), error.to_string()).hint(hint);
            }
        }
    }
    times
}

fn weight(field: Field<'_>, steps: &[Step], around: &Around<'_>, reporter: &mut Reporter<'_>) -> Option<Selector> {
    let selector = match parse(field.text(reporter)?) {
        Ok(selector) => selector,
        Err(problem) => {
            let hint = "write a selector of a gauge in percent, such as `flagger_canary_weight{name=\"shop\"}`";
            reporter.error(field.place_of(problem.at), problem.message).hint(hint);
            return None;
        }
    };
    gauge(&selector, field, around.version, reporter);
    if steps.iter().all(|step| step.weight.is_none()) {
        let message = "no step has a weight, so there is nothing that the gauge could tell";
        reporter.warn(field.place(), message).hint("give the steps a `weight`, or leave this one out");
    }
    Some(selector)
}

fn argo(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<ArgoRollout> {
    let mut fields = Fields::of(field, reporter)?;
    let (namespace, name) = (fields.require("namespace"), fields.require("name"));
    fields.finish(reporter);
    let namespace = namespace.and_then(|field| object_name(field, DNS_LABEL_LIMIT_BYTES, reporter));
    let name = name.and_then(|field| object_name(field, DNS_NAME_LIMIT_BYTES, reporter));
    Some(ArgoRollout { namespace: namespace?, name: name? })
}

/// A name that Kubernetes takes.
fn object_name(field: Field<'_>, limit_bytes: usize, reporter: &mut Reporter<'_>) -> Option<String> {
    let name = field.text(reporter)?;
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = |c: char| is_edge(c) || c == '-' || c == '.' && limit_bytes == DNS_NAME_LIMIT_BYTES;
    if name.len() > limit_bytes || !name.starts_with(is_edge) || !name.ends_with(is_edge) || !name.chars().all(inside) {
        let hint = format!("small letters, digits and `-`, at most {limit_bytes}, as in Kubernetes");
        reporter.error(field.place(), format!("{} is not a name in Kubernetes", shown(name))).hint(hint);
        return None;
    }
    Some(name.to_owned())
}

/// What was given, and could not be read.
struct Unsound;

/// 0.003 for 0.3, and not 0.0029999999999999996.
fn of_percent(percent: f64) -> f64 {
    format!("{percent}e-2").parse().unwrap_or(percent / 100.0)
}

/// A name for people: of a step or a check.
fn title<'n>(field: Field<'n>, kind: &str, reporter: &mut Reporter<'_>) -> Option<&'n str> {
    const LIMIT_BYTES: usize = 100;
    let name = field.text(reporter)?;
    if name.trim() != name || name.is_empty() || name.len() > LIMIT_BYTES || name.contains(char::is_control) {
        let message = format!("{} is not a name for {kind}", shown(name));
        let hint = format!("up to {LIMIT_BYTES} bytes on one line, with no blanks around it");
        reporter.error(field.place(), message).hint(hint);
        return None;
    }
    Some(name)
}
