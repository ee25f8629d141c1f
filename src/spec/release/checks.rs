//! What is asked of which SLI or SLO.

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::native::{entries, origin, reference};
use crate::spec::source::Place;
use crate::spec::{Action, CanaryCheck, Inputs, Sli, Slo, Test};
use crate::types::{Matcher, Span};

use super::limit::{self, Figure, Kind};
use super::steps::{cohort, cohort_text};
use super::{Around, Unsound, lint, title};

/// Checks of one rollout.
pub(crate) const CHECKS_LIMIT_COUNT: usize = 64;
/// Cohorts that one check compares.
const STRATA_LIMIT_COUNT: usize = 32;
/// Looks in a row that a threshold test may ask for.
const CONSECUTIVE_LIMIT_COUNT: u64 = 1_000;

/// What a check has where it says nothing.
pub(super) struct Defaults {
    /// Of threshold tests.
    pub min_samples: u64,
    /// The steps' cohorts.
    pub strata: Vec<Vec<Matcher>>,
    /// Of the rollout.
    pub deadline: Span,
}

/// A check, and what else it may be called.
struct Draft {
    check: CanaryCheck,
    /// The name was given.
    is_named: bool,
    /// What limits it, for a longer name.
    kind: Kind,
    /// Of the name, or of the item.
    place: Place,
}

pub(super) fn checks(
    field: Field<'_>,
    defaults: &Defaults,
    around: &Around<'_>,
    reporter: &mut Reporter<'_>,
) -> Vec<CanaryCheck> {
    let items = entries(field, CHECKS_LIMIT_COUNT, reporter);
    let drafts: Vec<Draft> = items.into_iter().filter_map(|item| check(item, defaults, around, reporter)).collect();
    named(drafts, reporter)
}

/// Gives every check a name of its own: given ones stay, the others become longer where they have to.
fn named(drafts: Vec<Draft>, reporter: &mut Reporter<'_>) -> Vec<CanaryCheck> {
    let mut taken: Vec<(String, Place)> = Vec::new();
    for draft in drafts.iter().filter(|draft| draft.is_named) {
        clash(&draft.check.name, draft.place, &taken, reporter);
        taken.push((draft.check.name.clone(), draft.place));
    }
    let name = |draft: Draft| {
        let Draft { mut check, is_named, kind, place } = draft;
        if !is_named {
            if taken.iter().any(|(name, _)| *name == check.name) {
                check.name = format!("{} {}", check.name, kind.as_str());
            }
            clash(&check.name, place, &taken, reporter);
            taken.push((check.name.clone(), place));
        }
        check
    };
    drafts.into_iter().map(name).collect()
}

fn clash(name: &str, place: Place, taken: &[(String, Place)], reporter: &mut Reporter<'_>) {
    if let Some((_, first)) = taken.iter().find(|(other, _)| other == name) {
        let related = reporter.related(*first, "first used here");
        let message = format!("two checks are called `{name}`");
        reporter.error(place, message).related(related).hint("give one of them another `name`");
    }
}

/// The SLI that is looked at, and the SLO if one was named.
struct Subject<'s> {
    index: usize,
    sli: &'s Sli,
    slo: Option<&'s Slo>,
    inputs: Inputs,
}

fn check(item: Field<'_>, defaults: &Defaults, around: &Around<'_>, reporter: &mut Reporter<'_>) -> Option<Draft> {
    let mut fields = Fields::of(item, reporter)?;
    let before = reporter.errors();
    let name_field = fields.get("name");
    let name = name_field.and_then(|field| title(field, "a check", reporter));
    let subject = subject(&mut fields, item, around, reporter);
    let quantile_field = fields.get("quantile");
    let given: Vec<(Kind, Field<'_>)> =
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, fields.get(kind.as_str())?))).collect();
    let lasting_field = fields.get("for");
    let test = test(&mut fields, defaults.min_samples, reporter);
    let action = fields.get("action").map_or(Some(Action::Rollback), |field| {
        field.word(&[("rollback", Action::Rollback), ("pause", Action::Pause)], reporter)
    });
    let strata = match fields.get("strata") {
        Some(field) => self::strata(field, around.version, reporter),
        None => defaults.strata.clone(),
    };
    fields.finish(reporter);

    let quantile =
        quantile_field.map(|field| self::quantile(field, subject.as_ref(), reporter).ok_or(Unsound)).transpose();
    let limit = only(&given, item, reporter);
    let lasting = lasting_field.map_or(Some(Span::ZERO), |field| lasting(field, limit, defaults, reporter));
    let (Subject { index, sli, slo, inputs }, quantile) = (subject?, quantile.ok()?);
    let ((kind, field), lasting) = (limit?, lasting?);
    let figure = match (&inputs.native, quantile) {
        (Some(latency), Some(_)) => Figure::Latency { metric: latency.histogram.metric_name().unwrap_or_default() },
        (native, _) => Figure::Rate { of_fast: native.is_some() },
    };
    let bound = limit::bound(kind, field, figure, (slo, lasting), reporter)?;
    let test = test?;
    if test == Test::Sequential {
        lint::no_margin(bound, field.place(), reporter);
    }
    if let (Test::Threshold { min_samples, .. }, Figure::Rate { .. }) = (test, figure) {
        lint::single_error(bound, min_samples, item.key, reporter);
    }
    if reporter.errors() > before {
        return None;
    }
    let subject = slo.map_or(&sli.name, |slo| &slo.name);
    let usual = || quantile.map_or(subject.clone(), |quantile| format!("{subject} p{}", percentile(quantile)));
    let check = CanaryCheck {
        name: name.map_or_else(usual, str::to_owned),
        sli: index,
        quantile,
        bound,
        test,
        action: action?,
        strata,
        origin: origin(item.key, reporter),
    };
    Some(Draft { check, is_named: name.is_some(), kind, place: name_field.map_or(item.key, |field| field.place()) })
}

/// 99.9 for 0.999.
fn percentile(quantile: f64) -> f64 {
    format!("{quantile}e2").parse().unwrap_or(quantile * 100.0)
}

fn subject<'s>(
    fields: &mut Fields<'_>,
    item: Field<'_>,
    around: &Around<'s>,
    reporter: &mut Reporter<'_>,
) -> Option<Subject<'s>> {
    let (sli, slo) = match (fields.get("sli"), fields.get("slo")) {
        (Some(field), None) => {
            let found = reference(field, "SLI", around.sli_names, reporter)?;
            (around.sli_names[found].0, None)
        }
        (None, Some(field)) => {
            let found = reference(field, "SLO", around.slo_names, reporter)?;
            let slo = around.slos.iter().find(|slo| slo.name == around.slo_names[found].0)?;
            (around.sli_names.get(slo.sli)?.0, Some(slo))
        }
        (None, None) => {
            let hint = "`sli: errors` looks at an SLI, `slo: availability` at that of an SLO";
            reporter.error(item.key, "the check names no SLI and no SLO").hint(hint);
            return None;
        }
        (Some(_), Some(slo)) => {
            let hint = "keep one: an SLO's check looks at the SLO's SLI";
            reporter.error(slo.key, "`sli` and `slo` are both given").hint(hint);
            return None;
        }
    };
    // One that is broken has been reported.
    let index = around.slis.iter().position(|other| other.name == sli)?;
    let sli = &around.slis[index];
    let inputs = sli.inputs();
    let pinned = |label: &&str| inputs.terms.iter().any(|term| term.selector.pinned(label).is_some());
    if let Some(label) = around.version.filter(pinned) {
        let message = format!("the SLI `{}` counts one value of `{label}` only: nothing can be compared", sli.name);
        let hint = format!("leave the matcher on `{label}` out of the SLI: the versions are told apart by themselves");
        reporter.error(item.key, message).hint(hint);
        return None;
    }
    Some(Subject { index, sli, slo, inputs })
}

fn quantile(field: Field<'_>, subject: Option<&Subject<'_>>, reporter: &mut Reporter<'_>) -> Option<f64> {
    let text = field.scalar().unwrap_or_default();
    let quantile = crate::spec::decode::number(text).filter(|quantile| *quantile > 0.0 && *quantile < 1.0);
    let Some(quantile) = quantile else {
        let percentile = text.trim_start_matches(['p', 'P']).trim_end_matches('%');
        let meant =
            crate::spec::decode::number(percentile).filter(|percentile| *percentile > 1.0 && *percentile < 100.0);
        let meant = meant.and_then(|_| format!("{percentile}e-2").parse::<f64>().ok());
        let hint = match meant {
            Some(meant) => format!("write it as `{meant}`"),
            None => "for example `0.99` for p99".to_owned(),
        };
        field.mismatch("a quantile above 0 and below 1", reporter).hint(hint);
        return None;
    };
    if let Some(subject) = subject.filter(|subject| subject.inputs.native.is_none()) {
        let hint = "leave it out for the share of good or bad events; a quantile needs a `latency` SLI";
        let message = format!("the SLI `{}` measures no latency, and has no quantiles", subject.sli.name);
        reporter.error(field.key, message).hint(hint);
        return None;
    }
    Some(quantile)
}

/// The one limit that is given.
fn only<'n>(given: &[(Kind, Field<'n>)], item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<(Kind, Field<'n>)> {
    match given {
        [limit] => Some(*limit),
        [] => {
            let hint = "`above: 1%`, `below: 99%`, `dropOver: 0.3pp`, `regressionOver: 20%` or `burnRateOver: 2`";
            reporter.error(item.key, "the check has no limit").hint(hint);
            None
        }
        [(first, _), (second, extra), ..] => {
            let message = format!("`{}` and `{}` are both given", first.as_str(), second.as_str());
            reporter.error(extra.key, message).hint("make two checks of them");
            None
        }
    }
}

/// How long a burn must have lasted.
fn lasting(
    field: Field<'_>,
    limit: Option<(Kind, Field<'_>)>,
    defaults: &Defaults,
    reporter: &mut Reporter<'_>,
) -> Option<Span> {
    if limit.is_some_and(|(kind, _)| kind != Kind::BurnRateOver) {
        let hint = "leave it out: other checks decide when the evidence suffices";
        reporter.error(field.key, "`for` belongs to `burnRateOver`").hint(hint);
        return None;
    }
    let lasting = field.duration(reporter)?;
    if lasting >= defaults.deadline {
        let message = format!("a burn of {lasting} is never seen: the deadline is {}", defaults.deadline);
        reporter.error(field.place(), message).hint("`5m` is usual");
        return None;
    }
    Some(lasting)
}

fn strata(field: Field<'_>, version: Option<&str>, reporter: &mut Reporter<'_>) -> Vec<Vec<Matcher>> {
    let Some(items) = field.items(reporter) else { return Vec::new() };
    if let Some(extra) = items.get(STRATA_LIMIT_COUNT) {
        reporter.error(extra.key, format!("more than {STRATA_LIMIT_COUNT} cohorts in one check"));
    }
    let mut strata: Vec<Vec<Matcher>> = Vec::new();
    for item in items.into_iter().take(STRATA_LIMIT_COUNT) {
        let Some(cohort) = cohort(item, version, reporter) else { continue };
        if strata.iter().any(|other| cohort_text(other) == cohort_text(&cohort)) {
            reporter.error(item.place(), format!("`{}` is given twice", cohort_text(&cohort))).hint("leave one out");
        } else {
            strata.push(cohort);
        }
    }
    strata
}

/// The plain rule's own fields.
const RULE: [&str; 3] = ["minSamples", "consecutive", "ewma"];

fn test(fields: &mut Fields<'_>, min_samples: u64, reporter: &mut Reporter<'_>) -> Option<Test> {
    let field = fields.get("test");
    if let Some(field) = field.filter(|field| field.node.as_mapping().is_some()) {
        let mut outer = Fields::of(field, reporter)?;
        let rule = outer.require("threshold");
        outer.finish(reporter);
        for name in RULE {
            if let Some(extra) = fields.get(name) {
                let hint = "write it into `test: {threshold: {...}}`, or write `test: threshold`";
                reporter.error(extra.key, format!("`{name}` stands beside a `test` that is a mapping")).hint(hint);
            }
        }
        let mut rule = Fields::of(rule?, reporter)?;
        let test = threshold(&mut rule, min_samples, reporter);
        rule.finish(reporter);
        return test;
    }
    let is_threshold = match field.map(|field| (field, field.scalar())) {
        None | Some((_, Some("sequential"))) => false,
        Some((_, Some("threshold"))) => true,
        Some((field, _)) => {
            let hint = "`sequential` is sure however often one looks; `threshold` is the plain rule, with \
                        `minSamples`, `consecutive` and `ewma`";
            field.mismatch("`sequential` or `threshold`", reporter).hint(hint);
            let _ = RULE.map(|name| fields.get(name));
            return None;
        }
    };
    if is_threshold {
        return threshold(fields, min_samples, reporter);
    }
    for name in RULE {
        if let Some(extra) = fields.get(name) {
            let hint =
                "add `test: threshold`, or leave it out: the sequential test is sure however few events there are";
            reporter.error(extra.key, format!("`{name}` belongs to a threshold test")).hint(hint);
        }
    }
    Some(Test::Sequential)
}

fn threshold(fields: &mut Fields<'_>, min_samples: u64, reporter: &mut Reporter<'_>) -> Option<Test> {
    let [min_field, consecutive, ewma] = RULE.map(|name| fields.get(name));
    let min_samples = min_field.map_or(Some(min_samples), |field| field.count(reporter));
    let consecutive = consecutive.map_or(Some(1), |field| {
        let count = field.count(reporter)?;
        if !(1..=CONSECUTIVE_LIMIT_COUNT).contains(&count) {
            let message = format!("between 1 and {CONSECUTIVE_LIMIT_COUNT} looks in a row can be asked for");
            reporter.error(field.place(), message).hint("`consecutive: 2` lets a single look pass");
            return None;
        }
        Some(count as u32)
    });
    let weigh = |field: Field<'_>, reporter: &mut Reporter<'_>| {
        let weight = field.number(reporter)?;
        if !(weight > 0.0 && weight <= 1.0) {
            let message = format!("the newest look weighs above 0 and at most 1, not {weight}");
            reporter.error(field.place(), message).hint("`ewma: 0.3` is usual; 1 is the window alone");
            return None;
        }
        Some(weight)
    };
    let ewma = ewma.map(|field| weigh(field, reporter).ok_or(Unsound)).transpose();
    Some(Test::Threshold { min_samples: min_samples?, consecutive: consecutive?, ewma: ewma.ok()? })
}
