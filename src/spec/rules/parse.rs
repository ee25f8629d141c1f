//! Rule groups from YAML, with Prometheus' conditions (`model/rulefmt`).

use std::collections::BTreeMap;

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::native::origin;
use crate::spec::rules::expression::{Use, expression};
use crate::spec::rules::{Rule, RuleGroup, RuleKind, RuleLabels};
use crate::spec::source::Place;
use crate::spec::yaml::{Value, shown};
use crate::template;
use crate::types::{METRIC_NAME, Span};

const GROUPS_LIMIT_COUNT: usize = 10_000;
const RULES_LIMIT_COUNT: usize = 10_000;
const LABELS_LIMIT_COUNT: usize = 64;
/// What Kubernetes keeps about an object beside its name, labels and annotations; read over.
const METADATA: [&str; 11] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// A rule file: `groups` and nothing else.
pub(crate) fn file(mut fields: Fields<'_>, reporter: &mut Reporter<'_>) -> Vec<(RuleGroup, Place)> {
    let found = groups(&mut fields, "", reporter);
    fields.finish(reporter);
    found
}

/// A `PrometheusRule`, from the fields left after `apiVersion` and `kind`.
pub(crate) fn object(mut fields: Fields<'_>, reporter: &mut Reporter<'_>) -> Vec<(RuleGroup, Place)> {
    let metadata = fields.require("metadata").and_then(|field| Fields::of(field, reporter));
    let name = metadata.map(|fields| self::metadata(fields, reporter)).unwrap_or_default();
    let mut spec = fields.require("spec").and_then(|field| Fields::of(field, reporter));
    // What a cluster adds to an object that is read back from it.
    fields.get("status");
    fields.finish(reporter);
    let found = spec.as_mut().map(|spec| groups(spec, &name, reporter)).unwrap_or_default();
    if let Some(spec) = spec {
        spec.finish(reporter);
    }
    found
}

/// `namespace/name`
fn metadata(mut fields: Fields<'_>, reporter: &mut Reporter<'_>) -> String {
    let mut text = |name| fields.get(name).and_then(|field| field.text(reporter)).unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    fields.get("labels");
    for name in METADATA {
        fields.get(name);
    }
    fields.finish(reporter);
    format!("{namespace}/{name}")
}

fn groups(fields: &mut Fields<'_>, object: &str, reporter: &mut Reporter<'_>) -> Vec<(RuleGroup, Place)> {
    let Some(items) = fields.get("groups").and_then(|field| field.items(reporter)) else { return Vec::new() };
    let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
    let mut found = Vec::new();
    for (count, item) in items.into_iter().enumerate() {
        if count == GROUPS_LIMIT_COUNT {
            reporter.error(item.key, format!("more than {GROUPS_LIMIT_COUNT} groups"));
            break;
        }
        let Some(mut fields) = Fields::of(item, reporter) else { continue };
        let name = fields.require("name").and_then(|field| non_empty(field, reporter));
        if let Some((name, place)) = name
            && let Some(first) = seen.get(name)
        {
            let related = reporter.related(*first, "first defined here");
            let message = format!("the group {} is defined twice in one file", shown(name));
            reporter.error(place, message).related(related).hint("give each its own name, or merge them");
        }
        let before = name.and_then(|(name, place)| seen.insert(name, place));
        if let (Some(group), Some((_, place)), None) = (group(fields, name, item, object, reporter), name, before) {
            found.push((group, place));
        }
    }
    found
}

fn non_empty<'n>(field: Field<'n>, reporter: &mut Reporter<'_>) -> Option<(&'n str, Place)> {
    let text = field.text(reporter)?;
    if text.is_empty() {
        reporter.error(field.place(), format!("{} is empty", field.what));
        return None;
    }
    Some((text, field.place()))
}

fn group(
    mut fields: Fields<'_>,
    name: Option<(&str, Place)>,
    item: Field<'_>,
    object: &str,
    reporter: &mut Reporter<'_>,
) -> Option<RuleGroup> {
    let before = reporter.errors();
    let interval = fields.get("interval").and_then(|field| field.duration(reporter));
    let query_offset = fields.get("query_offset").and_then(|field| field.duration(reporter));
    let limit = fields.get("limit").and_then(|field| field.count(reporter)).unwrap_or(0);
    let labels = fields.get("labels").and_then(|field| pairs(field, "label", reporter)).unwrap_or_default();
    if let Some(field) = fields.get("partial_response_strategy") {
        reporter.warn(field.key, "`partial_response_strategy` has no effect: it is Thanos'").hint("leave it out");
    }
    let items = fields.get("rules").and_then(|field| field.items(reporter)).unwrap_or_default();
    fields.finish(reporter);
    if let Some(extra) = items.get(RULES_LIMIT_COUNT) {
        reporter.error(extra.key, format!("more than {RULES_LIMIT_COUNT} rules in a group"));
    }
    let mut rules = Vec::new();
    let mut seen: Vec<(Rule, Place)> = Vec::new();
    for item in items.into_iter().take(RULES_LIMIT_COUNT) {
        let Some(rule) = rule(item, &labels, reporter) else { continue };
        twice(&rule, item.key, &mut seen, reporter);
        rules.push(rule);
    }
    let (name, _) = name?;
    (reporter.errors() == before).then(|| RuleGroup {
        name: name.to_owned(),
        object: object.to_owned(),
        interval: interval.filter(|interval| *interval != Span::ZERO),
        query_offset,
        limit,
        rules,
        origin: origin(item.key, reporter),
    })
}

/// Two rules under one name and one set of labels overwrite each other's series.
fn twice(rule: &Rule, place: Place, seen: &mut Vec<(Rule, Place)>, reporter: &mut Reporter<'_>) {
    /// More rules are not compared with each other.
    const COMPARED_LIMIT_COUNT: usize = 500;
    let same = |other: &Rule| other.name() == rule.name() && other.labels == rule.labels;
    if let Some((_, first)) = seen.iter().find(|(other, _)| same(other)) {
        let related = reporter.related(*first, "the other rule");
        let message = format!("two rules of the group are named {} and have the same labels", shown(rule.name()));
        reporter.warn(place, message).related(related).hint("tell them apart by a label");
    } else if seen.len() < COMPARED_LIMIT_COUNT {
        seen.push((rule.clone(), place));
    }
}

fn rule(item: Field<'_>, group_labels: &RuleLabels, reporter: &mut Reporter<'_>) -> Option<Rule> {
    let mut fields = Fields::of(item, reporter)?;
    let before = reporter.errors();
    let (record, alert) = (fields.get("record"), fields.get("alert"));
    let use_ = if alert.is_some() { Use::Alert } else { Use::Record };
    let expr = fields.require("expr").and_then(|field| expression(field, use_, reporter));
    let (for_field, keep_field) = (fields.get("for"), fields.get("keep_firing_for"));
    let for_ = for_field.and_then(|field| field.duration(reporter)).unwrap_or(Span::ZERO);
    let keep_firing_for = keep_field.and_then(|field| field.duration(reporter)).unwrap_or(Span::ZERO);
    let labels_field = fields.get("labels");
    let labels = labels_field.and_then(|field| pairs(field, "label", reporter)).unwrap_or_default();
    let annotations_field = fields.get("annotations");
    let annotations = annotations_field.and_then(|field| pairs(field, "annotation", reporter)).unwrap_or_default();
    fields.finish(reporter);
    let kind = match (record, alert) {
        (Some(record), None) => {
            for field in [for_field, keep_field, annotations_field].into_iter().flatten() {
                let message = format!("{} has no meaning in a recording rule", field.what);
                reporter.error(field.key, message).hint("leave it out, or make the rule an alert");
            }
            series_name(record, reporter).map(|name| RuleKind::Record { name: name.to_owned() })
        }
        (None, Some(alert)) => {
            let name = non_empty(alert, reporter).map(|(name, _)| name);
            for field in [labels_field, annotations_field].into_iter().flatten() {
                templates(field, name.unwrap_or_default(), reporter);
            }
            name.map(|name| RuleKind::Alert { name: name.to_owned(), for_, keep_firing_for, annotations })
        }
        (Some(record), Some(alert)) => {
            let related = reporter.related(record.key, "and it is a recording rule");
            let found = reporter.error(alert.key, "a rule is either `record` or `alert`, not both");
            found.related(related).hint("make two rules of it");
            None
        }
        (None, None) => {
            let hint = "`record: <name of a series>` or `alert: <name of an alert>`";
            reporter.error(item.key, "the rule has neither `record` nor `alert`").hint(hint);
            None
        }
    };
    let (kind, expr) = (kind?, expr?);
    (reporter.errors() == before).then(|| Rule {
        kind,
        expr,
        labels: merged(group_labels, labels),
        origin: origin(item.key, reporter),
    })
}

fn series_name<'n>(field: Field<'n>, reporter: &mut Reporter<'_>) -> Option<&'n str> {
    let (name, place) = non_empty(field, reporter)?;
    if name.contains(['{', '}']) {
        let message = format!("the series name {} has braces", shown(name));
        reporter.error(place, message).hint("`record` is a name; labels go to `labels`, selectors to `expr`");
        return None;
    }
    Some(name)
}

/// Names and values, sorted; a value may be empty.
fn pairs(field: Field<'_>, kind: &str, reporter: &mut Reporter<'_>) -> Option<RuleLabels> {
    let Some(entries) = field.node.as_mapping() else {
        field.mismatch("a mapping", reporter);
        return None;
    };
    let before = reporter.errors();
    let mut pairs = Vec::new();
    for (count, entry) in entries.iter().enumerate() {
        if count == LABELS_LIMIT_COUNT {
            reporter.error(entry.place, format!("more than {LABELS_LIMIT_COUNT} {kind}s"));
        }
        if entry.key.is_empty() || entry.key == METRIC_NAME {
            let message = format!("{} is not a valid {kind} name", shown(&entry.key));
            reporter.error(entry.place, message).hint("the name of a series is that of its rule");
            continue;
        }
        match &entry.value.value {
            Value::Scalar(scalar) => pairs.push((entry.key.clone(), scalar.text.clone())),
            Value::Null => pairs.push((entry.key.clone(), String::new())),
            Value::Sequence(_) | Value::Mapping(_) => {
                let found = entry.value.describe();
                reporter.error(entry.place, format!("expected text for {}, found {found}", shown(&entry.key)));
            }
        }
    }
    pairs.sort();
    (reporter.errors() == before).then_some(pairs)
}

/// The rule's own labels over the group's.
fn merged(group: &RuleLabels, own: RuleLabels) -> RuleLabels {
    let mut all: BTreeMap<String, String> = group.iter().cloned().collect();
    all.extend(own);
    all.into_iter().collect()
}

/// Go templates that do not parse.
fn templates(field: Field<'_>, alert: &str, reporter: &mut Reporter<'_>) {
    let Some(values) = field.pairs(reporter) else { return };
    for value in values {
        let Some(text) = value.scalar() else { continue };
        if let Err(error) = template::check(&format!("__alert_{alert}"), text) {
            let hint = "templates are Go's, as in `{{ $labels.job }}` and `{{ $value | humanize }}`";
            reporter.error(value.place(), format!("the template of {} does not parse: {error}", value.what)).hint(hint);
        }
    }
}
