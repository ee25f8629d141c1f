//! Two answers side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

pub enum Verdict {
    Equal,
    /// With the same status and text.
    BothFail,
    /// Errors of one kind that read differently.
    MessagesDiffer(String),
    /// The same values with other warnings or infos.
    NotesDiffer(String),
    Differs(String),
}

impl Verdict {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::BothFail => "fail alike",
            Self::MessagesDiffer(_) => "fail with other words",
            Self::NotesDiffer(_) => "equal with other notes",
            Self::Differs(_) => "differ",
        }
    }
}

pub fn compare(ours: &Value, theirs: &Value) -> Verdict {
    if ours["status"] != theirs["status"] || ours["errorType"] != theirs["errorType"] {
        let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
        return Verdict::Differs(format!("ours {} theirs {}", short(ours), short(theirs)));
    }
    if ours["status"] == "error" {
        if ours["error"] == theirs["error"] {
            return Verdict::BothFail;
        }
        return Verdict::MessagesDiffer(format!("ours {} theirs {}", ours["error"], theirs["error"]));
    }
    if let Err(what) = same_data(&ours["data"], &theirs["data"]) {
        return Verdict::Differs(what);
    }
    for kind in ["warnings", "infos"] {
        let notes = |value: &Value| -> BTreeSet<String> {
            value[kind].as_array().into_iter().flatten().map(Value::to_string).collect()
        };
        let (ours, theirs) = (notes(ours), notes(theirs));
        if ours != theirs {
            return Verdict::NotesDiffer(format!("{kind}: ours {ours:?} theirs {theirs:?}"));
        }
    }
    Verdict::Equal
}

fn same_data(ours: &Value, theirs: &Value) -> Result<(), String> {
    let kind = &ours["resultType"];
    if kind != &theirs["resultType"] {
        return Err(format!("a {kind}, not a {}", theirs["resultType"]));
    }
    if kind == "scalar" || kind == "string" {
        return same_point(&ours["result"], &theirs["result"]);
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
            same_point(&one[field], &other[field]).map_err(|error| format!("{labels}: {error}"))?;
        }
        for field in ["values", "histograms"] {
            let points = |value: &Value| value[field].as_array().cloned().unwrap_or_default();
            let (ours, theirs) = (points(one), points(other));
            if ours.len() != theirs.len() {
                return Err(format!("{labels}: {} {field}, theirs {}", ours.len(), theirs.len()));
            }
            for (a, b) in ours.iter().zip(&theirs) {
                same_point(a, b).map_err(|error| format!("{labels}: {error}"))?;
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
fn same_point(ours: &Value, theirs: &Value) -> Result<(), String> {
    let differ = || Err(format!("{ours}, theirs {theirs}"));
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| same_point(a, b)).or_else(|_| differ())
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a
            .iter()
            .try_for_each(|(key, value)| same_point(value, b.get(key).unwrap_or(&Value::Null)))
            .or_else(|_| differ()),
        (Value::String(a), Value::String(b)) if a != b => match (number(a), number(b)) {
            (Some(a), Some(b)) if close(a, b) => Ok(()),
            _ => differ(),
        },
        _ if ours == theirs => Ok(()),
        _ => differ(),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-12)
}
