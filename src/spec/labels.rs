//! Names, labels and annotations as the user writes them.

use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::yaml::shown;
use crate::types::{Labels, METRIC_NAME, is_label_name};

const NAME_LIMIT_BYTES: usize = 253;
const LABELS_LIMIT_COUNT: usize = 40;
const LABEL_NAME_LIMIT_BYTES: usize = 1_024;
const LABEL_VALUE_LIMIT_BYTES: usize = 2_048;
/// Annotations hold templates and prose, hence the room.
const ANNOTATION_LIMIT_BYTES: usize = 16 << 10;
/// Sloth's labels, which the engine sets itself.
const RESERVED_PREFIX: &str = "sloth_";

/// The name of a service, an SLI or an SLO, by Sloth's rule: `^[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]$`, or one
/// letter or digit.
pub(crate) fn identifier<'n>(field: Field<'n>, reporter: &mut Reporter<'_>) -> Option<&'n str> {
    let name = field.text(reporter)?;
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if name.len() > NAME_LIMIT_BYTES {
        reporter.error(field.place(), format!("a name longer than {NAME_LIMIT_BYTES} bytes"));
        return None;
    }
    if !inside || !ends(name.chars().next()) || !ends(name.chars().next_back()) {
        let hint = "use letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
        reporter.error(field.place(), format!("{} is not a valid name", shown(name))).hint(hint);
        return None;
    }
    Some(name)
}

/// The name of a label, as the value of a field.
pub(crate) fn label_name<'n>(field: Field<'n>, reporter: &mut Reporter<'_>) -> Option<&'n str> {
    let name = field.text(reporter)?;
    if !is_label_name(name) || name.starts_with("__") {
        let hint = "a label name has letters, digits and `_`, does not start with a digit or with `__`";
        reporter.error(field.place(), format!("{} is not a label name", shown(name))).hint(hint);
        return None;
    }
    Some(name)
}

/// A mapping of label names to values.
pub(crate) fn labels(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Labels> {
    let mut labels = Labels::new();
    let before = reporter.errors();
    for (count, (name, value)) in pairs(field, "label", LABEL_VALUE_LIMIT_BYTES, reporter)?.into_iter().enumerate() {
        let place = value.key;
        if count == LABELS_LIMIT_COUNT {
            reporter.error(place, format!("more than {LABELS_LIMIT_COUNT} labels"));
        }
        if name == "alertname" {
            reporter.error(place, "`alertname` cannot be set as a label").hint("set the name with `alerting.name`");
        } else if name.starts_with(RESERVED_PREFIX) {
            let message = format!("`{name}` is reserved: sloburn sets the `{RESERVED_PREFIX}...` labels itself");
            reporter.error(place, message).hint("choose another name");
        } else if let Some(text) = value.text(reporter) {
            labels.set(name, text);
        }
    }
    (reporter.errors() == before).then_some(labels)
}

/// A mapping of annotation names to Go templates, in the order written.
pub(crate) fn annotations(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Vec<(String, String)>> {
    let before = reporter.errors();
    let mut annotations = Vec::new();
    for (name, value) in pairs(field, "annotation", ANNOTATION_LIMIT_BYTES, reporter)? {
        if let Some(text) = value.text(reporter) {
            annotations.push((name.to_owned(), text.to_owned()));
        }
    }
    (reporter.errors() == before).then_some(annotations)
}

/// The pairs whose names are label names, with the values still to be read.
fn pairs<'n>(
    field: Field<'n>,
    kind: &str,
    limit_bytes: usize,
    reporter: &mut Reporter<'_>,
) -> Option<Vec<(&'n str, Field<'n>)>> {
    let mut pairs = Vec::new();
    for pair in field.pairs(reporter)? {
        let crate::spec::decode::What::Field(name) = pair.what else { continue };
        if name == METRIC_NAME || name.starts_with("__") {
            let message = format!("{} cannot be set: names in `__` belong to Prometheus", shown(name));
            reporter.error(pair.key, message);
        } else if !is_label_name(name) || name.len() > LABEL_NAME_LIMIT_BYTES {
            let hint = "use letters, digits and `_`, and do not start with a digit";
            reporter.error(pair.key, format!("{} is not a valid {kind} name", shown(name))).hint(hint);
        } else if pair.scalar().is_some_and(|text| text.len() > limit_bytes) {
            reporter.error(pair.place(), format!("the value of `{name}` is longer than {limit_bytes} bytes"));
        } else {
            pairs.push((name, pair));
        }
    }
    Some(pairs)
}
