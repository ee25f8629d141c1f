//! The native format: `apiVersion: sloburn/v1`, `kind: Service`.

use std::sync::Arc;

use crate::spec::alerting::{Target, alerting};
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::indicator::indicator;
use crate::spec::labels::{identifier, label_name, labels};
use crate::spec::model::Origin;
use crate::spec::release::{Around, budget_policy, canary};
use crate::spec::source::Place;
use crate::spec::suggest::nearest;
use crate::spec::yaml::shown;
use crate::spec::{Accounting, Period, Service, Sli, Slo, budget, lint};
use crate::types::{Objective, ObjectiveError};

const SLIS_LIMIT_COUNT: usize = 1_000;
const SLOS_LIMIT_COUNT: usize = 1_000;

/// A service, with the places that findings across documents point at.
pub(crate) struct Draft {
    pub service: Service,
    /// Of `metadata.name`.
    pub name: Place,
    /// Of each SLO's name, in their order.
    pub slos: Vec<Place>,
}

/// A name and where it stands.
pub(crate) type Named<'n> = (&'n str, Place);

/// Reads a service from the fields left after `apiVersion` and `kind`. `None` when anything in it is an error.
pub(crate) fn service(mut fields: Fields<'_>, start: Place, reporter: &mut Reporter<'_>) -> Option<Draft> {
    let before = reporter.errors();
    let metadata = fields.require("metadata").and_then(|field| Fields::of(field, reporter));
    let (name, service_labels) = metadata.map(|fields| self::metadata(fields, reporter)).unwrap_or_default();
    let mut spec = fields.require("spec").and_then(|field| Fields::of(field, reporter));
    fields.finish(reporter);

    let version_label = spec.as_mut().and_then(|s| s.get("versionLabel")).and_then(|f| label_name(f, reporter));
    let slis = spec.as_mut().and_then(|spec| spec.require("slis"));
    let owner = name.map_or("", |(name, _)| name);
    let (sli_names, slis) = slis.map(|field| self::slis(field, owner, version_label, reporter)).unwrap_or_default();
    let slos = spec.as_mut().and_then(|spec| spec.require("slos"));
    let (slo_names, slos) = slos.map(|field| self::slos(field, &sli_names, reporter)).unwrap_or_default();
    let has_version = spec.as_ref().is_some_and(|spec| spec.peek("versionLabel").is_some());
    let around = Around {
        version: version_label,
        has_version,
        sli_names: &sli_names,
        slo_names: &slo_names,
        slis: &slis,
        slos: &slos,
    };
    let policy = spec.as_mut().and_then(|s| s.get("budgetPolicy")).and_then(|f| budget_policy(f, reporter));
    let canary = spec.as_mut().and_then(|s| s.get("canary")).and_then(|f| canary(f, &around, reporter));
    if let Some(spec) = spec {
        spec.finish(reporter);
    }
    if reporter.errors() > before {
        return None;
    }
    let (name, place) = name?;
    let service = Service {
        name: name.to_owned(),
        labels: service_labels,
        version_label: version_label.map(str::to_owned),
        slis: slis.into(),
        slos: slos.into(),
        budget_policy: policy,
        canary: canary.map(Arc::new),
        origin: origin(start, reporter),
    };
    // Nothing was wrong, so every SLO is there.
    Some(Draft { service, name: place, slos: slo_names.into_iter().map(|(_, place)| place).collect() })
}

pub(crate) fn origin(place: Place, reporter: &Reporter<'_>) -> Origin {
    Origin { file: Arc::clone(&reporter.source.path), line: place.line }
}

fn metadata<'n>(mut fields: Fields<'n>, reporter: &mut Reporter<'_>) -> (Option<Named<'n>>, crate::types::Labels) {
    let name = name(&mut fields, reporter);
    let labels = fields.get("labels").and_then(|field| labels(field, reporter)).unwrap_or_default();
    fields.finish(reporter);
    (name, labels)
}

fn name<'n>(fields: &mut Fields<'n>, reporter: &mut Reporter<'_>) -> Option<Named<'n>> {
    let field = fields.require("name")?;
    Some((identifier(field, reporter)?, field.place()))
}

/// Takes the items of a list of named things; a name that came before is reported.
fn unique<'n>(name: Named<'n>, kind: &str, seen: &mut Vec<Named<'n>>, reporter: &mut Reporter<'_>) {
    if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name.0) {
        let related = reporter.related(*first, "first defined here");
        let message = format!("the {kind} `{}` is defined twice", name.0);
        reporter.error(name.1, message).related(related).hint("give each its own name");
    }
    seen.push(name);
}

/// The items of `field`, at least one and at most `limit`.
pub(crate) fn entries<'n>(field: Field<'n>, limit: usize, reporter: &mut Reporter<'_>) -> Vec<Field<'n>> {
    let Some(mut items) = field.items(reporter) else { return Vec::new() };
    if items.is_empty() {
        reporter.error(field.key, format!("{} is empty", field.what));
    }
    if let Some(extra) = items.get(limit) {
        reporter.error(extra.key, format!("more than {limit} items in {}", field.what));
    }
    items.truncate(limit);
    items
}

/// All names, broken SLIs included so that references to them are not reported as well, and the sound SLIs.
fn slis<'n>(
    field: Field<'n>,
    service: &str,
    version: Option<&str>,
    reporter: &mut Reporter<'_>,
) -> (Vec<Named<'n>>, Vec<Sli>) {
    let (mut names, mut slis) = (Vec::new(), Vec::new());
    for item in entries(field, SLIS_LIMIT_COUNT, reporter) {
        let Some(mut fields) = Fields::of(item, reporter) else { continue };
        let name = name(&mut fields, reporter);
        if let Some(name) = name {
            unique(name, "SLI", &mut names, reporter);
        }
        let id = (service, name.map_or("", |(name, _)| name));
        let kind = indicator(&mut fields, item, id, version, reporter);
        fields.finish(reporter);
        if let (Some((name, _)), Some(kind)) = (name, kind) {
            slis.push(Sli { name: name.to_owned(), kind, origin: origin(item.key, reporter) });
        }
    }
    (names, slis)
}

/// All names, and the sound SLOs.
fn slos<'n>(field: Field<'n>, slis: &[Named<'_>], reporter: &mut Reporter<'_>) -> (Vec<Named<'n>>, Vec<Slo>) {
    let (mut names, mut slos) = (Vec::new(), Vec::new());
    for item in entries(field, SLOS_LIMIT_COUNT, reporter) {
        let Some(mut fields) = Fields::of(item, reporter) else { continue };
        let name = name(&mut fields, reporter);
        if let Some(name) = name {
            unique(name, "SLO", &mut names, reporter);
        }
        slos.extend(slo(fields, name, item, slis, reporter));
    }
    (names, slos)
}

fn slo(
    mut fields: Fields<'_>,
    name: Option<Named<'_>>,
    item: Field<'_>,
    slis: &[Named<'_>],
    reporter: &mut Reporter<'_>,
) -> Option<Slo> {
    let description = fields.get("description").and_then(|field| field.text(reporter)).unwrap_or_default();
    let sli = fields.require("sli").and_then(|field| reference(field, "SLI", slis, reporter));
    let objective_field = fields.require("objective");
    let objective = objective_field.and_then(|field| objective(field, reporter));
    let period = budget::period(&mut fields, reporter);
    let labels = fields.get("labels").and_then(|field| labels(field, reporter)).unwrap_or_default();
    let target = Target {
        objective: objective.filter(|objective| !lint::is_odd(*objective)),
        place: objective_field.map_or(item.key, |field| field.place()),
        period: period.as_ref().map_or(budget::DEFAULT_PERIOD, Period::nominal),
    };
    let (alerting, alert_no_data) = alerting(fields.get("alerting"), target, reporter);
    let accounting = Accounting { alert_no_data, ..budget::accounting(&mut fields, &alerting, reporter) };
    fields.finish(reporter);
    Some(Slo {
        name: name?.0.to_owned(),
        description: description.to_owned(),
        sli: sli?,
        objective: objective?,
        period: period?,
        accounting,
        labels,
        alerting,
        origin: origin(item.key, reporter),
    })
}

/// The place in `all` of the SLI or SLO that a field names.
pub(crate) fn reference(field: Field<'_>, kind: &str, all: &[Named<'_>], reporter: &mut Reporter<'_>) -> Option<usize> {
    let wanted = field.text(reporter)?;
    let found = all.iter().position(|(name, _)| *name == wanted);
    if found.is_none() {
        let names = || all.iter().map(|(name, _)| *name);
        let hint = match nearest(wanted, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if all.is_empty() => format!("define it under `spec.{}s`", kind.to_ascii_lowercase()),
            None => format!("defined are `{}`", names().take(10).collect::<Vec<_>>().join("`, `")),
        };
        reporter.error(field.place(), format!("no {kind} is named {}", shown(wanted))).hint(hint);
    }
    found
}

pub(crate) fn objective(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Objective> {
    let objective = percentage(field, reporter)?;
    lint::objective(objective, field, reporter);
    Some(objective)
}

/// A share in percent.
pub(crate) fn percentage(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Objective> {
    let Some(text) = field.scalar() else {
        field.mismatch("a percentage", reporter);
        return None;
    };
    match text.parse::<Objective>() {
        Ok(objective) => Some(objective),
        Err(error) => {
            let hint = match &error {
                ObjectiveError::Syntax(_) if text.ends_with('%') => "leave out the percent sign",
                ObjectiveError::Syntax(_) => "write it in percent, for example `99.9`",
                ObjectiveError::Range(_) => "objectives are in percent, for example `99.9`",
                ObjectiveError::Precision(_) => "a part per billion is the finest step",
            };
            match &error {
                ObjectiveError::Syntax(_) => field.mismatch("a percentage", reporter).hint(hint),
                _ => reporter.error(field.place(), error.to_string()).hint(hint),
            };
            None
        }
    }
}
