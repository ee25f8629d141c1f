//! Two answers side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const TOLERANCE: f64 = 1e-9;
/// Of squares of numbers as large as timestamps, whose last digits depend on the order in which they are added.
const SPREAD_TOLERANCE: f64 = 1e-5;

/// What Prometheus changed after 3.5, where the evaluator follows the newer one (its own cases hold it to that).
///
/// Values: `last_over_time` of a subquery drops the names that the subquery's functions drop; the extrapolation of a
/// native histogram stops where its count would be below zero; `mad_over_time` of a NaN is NaN. Notes: a missing `le` is told without an empty metric
/// name; sorting a range query is told; what is told of a subquery points to its expression.
fn changed_since(query: &str) -> bool {
    let is_subquery = query.contains(":]") || [":15s]", ":1m]", ":37s]"].iter().any(|step| query.contains(step));
    query.contains("mad_over_time(memory_bytes")
        || (query.contains("last_over_time(") && is_subquery)
        || (["rate(", "increase("].iter().any(|function| query.contains(function))
            && ["mixed", "size_bytes", "wait_seconds"].iter().any(|metric| query.contains(metric)))
}

fn note(text: &str, query: &str) -> Option<String> {
    if text.contains("sort is ineffective for range queries") {
        return None;
    }
    // Of several pairs that cannot be computed, Prometheus tells of the last that it happens to meet.
    if text.contains("encountered for binary operator") {
        return None;
    }
    let text = text.replace(" for metric name \\\"\\\"", "");
    let is_subquery = query.contains(":]") || [":15s]", ":1m]", ":37s]"].iter().any(|step| query.contains(step));
    match text.rsplit_once(" (") {
        Some((said, _)) if is_subquery => Some(said.to_owned()),
        _ => Some(text),
    }
}

pub enum Verdict {
    Equal,
    /// With the same status and text.
    BothFail,
    /// Errors of one kind that read differently.
    MessagesDiffer(String),
    /// The same values with other warnings or infos.
    NotesDiffer(String),
    Differs(String),
    /// In what Prometheus changed after 3.5.
    Changed(String),
}

impl Verdict {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::BothFail => "fail alike",
            Self::MessagesDiffer(_) => "fail with other words",
            Self::NotesDiffer(_) => "equal with other notes",
            Self::Differs(_) => "differ",
            Self::Changed(_) => "changed since 3.5",
        }
    }
}

pub fn compare(query: &str, ours: &Value, theirs: &Value) -> Verdict {
    if ours["status"] != theirs["status"] || ours["errorType"] != theirs["errorType"] {
        // Series that become one by another label: refused by 3.5, joined since if they have no moment in common.
        if query.contains("label_") && theirs["error"] == "vector cannot contain metrics with the same labelset" {
            return Verdict::Changed("series of the same labels".to_owned());
        }
        let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
        return Verdict::Differs(format!("ours {} theirs {}", short(ours), short(theirs)));
    }
    if ours["status"] == "error" {
        if ours["error"] == theirs["error"] {
            return Verdict::BothFail;
        }
        return Verdict::MessagesDiffer(format!("ours {} theirs {}", ours["error"], theirs["error"]));
    }
    let tolerance = if query.contains("stddev") || query.contains("stdvar") { SPREAD_TOLERANCE } else { TOLERANCE };
    if let Err(what) = same_data(&ours["data"], &theirs["data"], tolerance) {
        return if changed_since(query) { Verdict::Changed(what) } else { Verdict::Differs(what) };
    }
    for kind in ["warnings", "infos"] {
        let notes = |value: &Value| -> BTreeSet<String> {
            let notes = value[kind].as_array().into_iter().flatten();
            notes.filter_map(|text| note(&text.to_string(), query)).collect()
        };
        let (ours, theirs) = (notes(ours), notes(theirs));
        if ours != theirs {
            return Verdict::NotesDiffer(format!("{kind}: ours {ours:?} theirs {theirs:?}"));
        }
    }
    Verdict::Equal
}

fn same_data(ours: &Value, theirs: &Value, tolerance: f64) -> Result<(), String> {
    let kind = &ours["resultType"];
    if kind != &theirs["resultType"] {
        return Err(format!("a {kind}, not a {}", theirs["resultType"]));
    }
    if kind == "scalar" || kind == "string" {
        return same_point(&ours["result"], &theirs["result"], tolerance);
    }
    let series = |value: &Value| -> BTreeMap<String, Value> {
        let list = value["result"].as_array().cloned().unwrap_or_default();
        list.into_iter().map(|one| (sorted(&one["metric"]), one)).collect()
    };
    let (ours, theirs) = (series(ours), series(theirs));
    let labels = |map: &BTreeMap<String, Value>| map.keys().cloned().collect::<BTreeSet<String>>();
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).take(3).cloned().collect::<Vec<_>>();
    let (our_labels, their_labels) = (labels(&ours), labels(&theirs));
    if our_labels != their_labels {
        return Err(format!(
            "series: only ours {:?}, only theirs {:?}",
            only(&our_labels, &their_labels),
            only(&their_labels, &our_labels)
        ));
    }
    for (labels, one) in &ours {
        let other = &theirs[labels];
        for field in ["value", "histogram"] {
            same_point(&one[field], &other[field], tolerance).map_err(|error| format!("{labels}: {error}"))?;
        }
        for field in ["values", "histograms"] {
            let points = |value: &Value| value[field].as_array().cloned().unwrap_or_default();
            let (ours, theirs) = (points(one), points(other));
            if ours.len() != theirs.len() {
                return Err(format!("{labels}: {} {field}, theirs {}", ours.len(), theirs.len()));
            }
            for (a, b) in ours.iter().zip(&theirs) {
                same_point(a, b, tolerance).map_err(|error| format!("{labels}: {error}"))?;
            }
        }
    }
    Ok(())
}

fn sorted(metric: &Value) -> String {
    let pairs: BTreeMap<&String, &Value> = metric.as_object().into_iter().flatten().collect();
    format!("{pairs:?}")
}

/// Numbers in quotes and not, wherever they are; everything else has to be equal.
fn same_point(ours: &Value, theirs: &Value, tolerance: f64) -> Result<(), String> {
    let differ = || Err(format!("{ours}, theirs {theirs}"));
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| same_point(a, b, tolerance)).or_else(|_| differ())
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a
            .iter()
            .try_for_each(|(key, value)| same_point(value, b.get(key).unwrap_or(&Value::Null), tolerance))
            .or_else(|_| differ()),
        (Value::String(a), Value::String(b)) if a != b => match (number(a), number(b)) {
            (Some(a), Some(b)) if close(a, b, tolerance) => Ok(()),
            _ => differ(),
        },
        _ if ours == theirs => Ok(()),
        _ => differ(),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-12)
}
