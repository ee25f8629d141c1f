//! Steps of exposure, and the cohorts they are for.

use crate::spec::Step;
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::selector::matcher_list;
use crate::spec::source::Place;
use crate::types::{Matcher, Span};

use super::{Unsound, lint, title};

/// Steps of one rollout.
pub(crate) const STEPS_LIMIT_COUNT: usize = 32;
/// What the only step is called where none is given.
const ONLY_STEP: &str = "canary";

/// The steps, or one without a weight where none are given.
pub(super) fn steps(field: Option<Field<'_>>, version: Option<&str>, reporter: &mut Reporter<'_>) -> Vec<Step> {
    let Some(field) = field else {
        let name = ONLY_STEP.to_owned();
        return vec![Step { name, weight: None, cohort: Vec::new(), hold: Span::ZERO, min_samples: 0 }];
    };
    let Some(items) = field.items(reporter) else { return Vec::new() };
    if items.is_empty() {
        reporter.error(field.key, "`steps` is empty").hint("leave it out for a single step");
    }
    if let Some(extra) = items.get(STEPS_LIMIT_COUNT) {
        reporter.error(extra.key, format!("more than {STEPS_LIMIT_COUNT} steps"));
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    for item in items.into_iter().take(STEPS_LIMIT_COUNT) {
        let Some((step, place)) = step(item, version, reporter) else { continue };
        if let Some(same) = steps.iter().position(|other| other.name == step.name) {
            let related = reporter.related(places[same], "first used here");
            let message = format!("two steps are called `{}`", step.name);
            reporter.error(place, message).related(related).hint("give one of them another `name`");
            continue;
        }
        if let Some(weight) = step.weight {
            lint::falling(&steps, weight, place, reporter);
        }
        steps.push(step);
        places.push(place);
    }
    steps
}

/// A step, and the place of what gives it its name.
fn step(item: Field<'_>, version: Option<&str>, reporter: &mut Reporter<'_>) -> Option<(Step, Place)> {
    let mut fields = Fields::of(item, reporter)?;
    let (name_field, weight_field, cohort_field) = (fields.get("name"), fields.get("weight"), fields.get("cohort"));
    let hold = fields.get("hold").map_or(Some(Span::ZERO), |field| field.duration(reporter));
    let min_samples = fields.get("minSamples").map_or(Some(0), |field| field.count(reporter));
    let before = reporter.errors();
    fields.finish(reporter);
    let Some(named) = name_field.or(weight_field).or(cohort_field) else {
        if reporter.errors() > before {
            // It says it under a wrong name.
            return None;
        }
        let hint = "`{weight: 5}` is a share of the traffic, `{cohort: 'tenant=~\"test-.*\"'}` some of it, \
                    `{name: staff}` what no label shows";
        reporter.error(item.key, "the step says nothing of its exposure").hint(hint);
        return None;
    };
    let name = name_field.map(|field| title(field, "a step", reporter).map(str::to_owned));
    let weight = weight_field.map(|field| weight(field, reporter).ok_or(Unsound)).transpose();
    let cohort = cohort_field.map_or(Some(Vec::new()), |field| cohort(field, version, reporter));
    let (weight, cohort) = (weight.ok()?, cohort?);
    let name = match (name, weight) {
        (Some(name), _) => name?,
        (None, Some(weight)) => format!("{weight}%"),
        (None, None) => cohort_text(&cohort),
    };
    Some((Step { name, weight, cohort, hold: hold?, min_samples: min_samples? }, named.place()))
}

fn weight(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<f64> {
    let weight = field.number(reporter)?;
    if !(0.0..=100.0).contains(&weight) {
        let message = format!("a weight lies from 0 to 100 percent, not at {weight}");
        reporter.error(field.place(), message).hint("`weight: 5` is 5 % of the traffic");
        return None;
    }
    Some(weight)
}

/// The traffic that gets the candidate, by its labels.
pub(super) fn cohort(field: Field<'_>, version: Option<&str>, reporter: &mut Reporter<'_>) -> Option<Vec<Matcher>> {
    let matchers = matchers(field, reporter)?;
    if let Some(label) = version.filter(|label| matchers.iter().any(|m| &*m.name == *label)) {
        let message = format!("a cohort has no matcher on `{label}`, the version label");
        let hint = "a cohort is traffic: both versions' share of it is compared";
        reporter.error(field.place(), message).hint(hint);
        return None;
    }
    Some(matchers)
}

/// Matchers as in a selector, without the braces.
pub(super) fn matchers(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Vec<Matcher>> {
    match matcher_list(field.text(reporter)?) {
        Ok(matchers) => Some(matchers),
        Err(problem) => {
            reporter.error(field.place_of(problem.at), problem.message).hint(problem.hint);
            None
        }
    }
}

/// A cohort as it is shown: `traffic="header"`.
pub(super) fn cohort_text(cohort: &[Matcher]) -> String {
    cohort.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The distinct cohorts, in their order.
pub(super) fn cohorts(steps: &[Step]) -> Vec<Vec<Matcher>> {
    let mut cohorts: Vec<Vec<Matcher>> = Vec::new();
    for step in steps.iter().filter(|step| !step.cohort.is_empty()) {
        if cohorts.iter().all(|other| cohort_text(other) != cohort_text(&step.cohort)) {
            cohorts.push(step.cohort.clone());
        }
    }
    cohorts
}
