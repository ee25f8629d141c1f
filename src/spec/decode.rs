//! Typed access to a tree of [`Node`]s. Everything that does not fit is reported and yields `None`; decoding
//! goes on with the next field.

use std::fmt;

use crate::spec::diagnostic::Reporter;
use crate::spec::source::Place;
use crate::spec::suggest::nearest;
use crate::spec::yaml::{Entry, Node, Value, shown};
use crate::types::{Span, Timestamp};

/// A value, and how messages speak of it.
#[derive(Clone, Copy)]
pub(crate) struct Field<'n> {
    pub what: What<'n>,
    /// The name in front of the value, or the item itself.
    pub key: Place,
    pub node: &'n Node,
}

/// Where a value stands in its document.
#[derive(Clone, Copy)]
pub(crate) enum What<'n> {
    Document,
    Field(&'n str),
    ItemOf(&'n str),
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("the document"),
            Self::Field(name) => f.write_str(&shown(name)),
            Self::ItemOf(name) => write!(f, "an item of {}", shown(name)),
        }
    }
}

impl<'n> Field<'n> {
    pub fn document(node: &'n Node) -> Self {
        Self { what: What::Document, key: node.place, node }
    }

    /// What a message about the value points at: the value on the key's line, else the key.
    pub fn place(&self) -> Place {
        match self.node.value {
            Value::Scalar(_) => self.node.place,
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => self.key,
        }
    }

    /// The place of a byte range of the value's text, or of the whole value where the source writes it otherwise.
    pub fn place_of(&self, range: std::ops::Range<usize>) -> Place {
        let Value::Scalar(scalar) = &self.node.value else { return self.place() };
        let (Some(column), Some(part)) = (scalar.column, scalar.text.get(range.clone())) else { return self.place() };
        let before = scalar.text[..range.start].chars().count() as u32;
        Place { line: self.node.place.line, column: column + before, width: part.chars().count().max(1) as u32 }
    }

    /// Reports that the value has the wrong type or form.
    pub fn mismatch<'r>(&self, expected: &str, reporter: &'r mut Reporter<'_>) -> &'r mut super::Diagnostic {
        let message = format!("expected {expected} for {}, found {}", self.what, self.node.describe());
        reporter.error(self.place(), message)
    }

    /// Any scalar's text.
    pub fn text(&self, reporter: &mut Reporter<'_>) -> Option<&'n str> {
        if let Value::Scalar(scalar) = &self.node.value {
            return Some(&scalar.text);
        }
        let braces = self.node.as_mapping().is_some_and(|entries| entries.iter().any(|e| e.key.contains('=')));
        let found = self.mismatch("text", reporter);
        if braces {
            found.hint("YAML reads a leading `{` as a mapping: put the text in single quotes");
        }
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, reporter: &mut Reporter<'_>) -> Option<bool> {
        match self.scalar() {
            Some("true" | "True" | "TRUE") => Some(true),
            Some("false" | "False" | "FALSE") => Some(false),
            _ => {
                self.mismatch("`true` or `false`", reporter);
                None
            }
        }
    }

    /// A whole number from zero up.
    pub fn count(&self, reporter: &mut Reporter<'_>) -> Option<u64> {
        let count = self.scalar().and_then(|text| text.parse().ok());
        if count.is_none() {
            self.mismatch("a whole number", reporter);
        }
        count
    }

    /// A finite decimal number, quoted or not.
    pub fn number(&self, reporter: &mut Reporter<'_>) -> Option<f64> {
        let number = self.scalar().and_then(number);
        if number.is_none() {
            let percent = self.scalar().and_then(|text| text.strip_suffix('%')).and_then(self::number);
            let found = self.mismatch("a number", reporter);
            if percent.is_some() {
                found.hint("leave out the percent sign");
            }
        }
        number
    }

    /// Prometheus' form of a duration.
    pub fn duration(&self, reporter: &mut Reporter<'_>) -> Option<Span> {
        let text = self.scalar();
        let span = text.and_then(|text| text.parse().ok());
        if span.is_none() {
            let found = self.mismatch("a duration", reporter);
            let hint = match text {
                Some(text) if number(text).is_some() => format!("add a unit, as in `{text}s`, `{text}m` or `{text}d`"),
                _ => "write it as Prometheus does: `30s`, `5m`, `1h30m`, `30d`".to_owned(),
            };
            found.hint(hint);
        }
        span
    }

    /// A moment in RFC 3339, with its zone or offset.
    pub fn moment(&self, reporter: &mut Reporter<'_>) -> Option<Timestamp> {
        let moment = self.scalar().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if moment.is_none() {
            let hint = "write it as `2026-11-01T00:00:00Z` or `2026-11-01T01:00:00+01:00`";
            self.mismatch("a time", reporter).hint(hint);
        }
        moment.map(|moment| Timestamp(moment.as_millisecond()))
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)], reporter: &mut Reporter<'_>) -> Option<T> {
        let found = words.iter().find(|(word, _)| Some(*word) == self.scalar()).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let listed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let expected = match listed.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                _ => listed.join(""),
            };
            self.mismatch(&expected, reporter);
        }
        found
    }

    /// The items of a list.
    pub fn items(&self, reporter: &mut Reporter<'_>) -> Option<Vec<Field<'n>>> {
        let Value::Sequence(nodes) = &self.node.value else {
            self.mismatch("a list", reporter);
            return None;
        };
        let name = match self.what {
            What::Document => "the document",
            What::Field(name) | What::ItemOf(name) => name,
        };
        let item = |node: &'n Node| Field { what: What::ItemOf(name), key: node.place, node };
        Some(nodes.iter().map(item).collect())
    }

    /// The pairs of a mapping whose names are the user's own. Pairs without a value are left out.
    pub fn pairs(&self, reporter: &mut Reporter<'_>) -> Option<impl Iterator<Item = Field<'n>> + use<'n>> {
        let Value::Mapping(entries) = &self.node.value else {
            self.mismatch("a mapping", reporter);
            return None;
        };
        Some(entries.iter().filter(|e| !matches!(e.value.value, Value::Null)).map(Field::of))
    }

    fn of(entry: &'n Entry) -> Self {
        Self { what: What::Field(&entry.key), key: entry.place, node: &entry.value }
    }

    /// The name in front of the value; of an item, that of its list.
    pub fn name(&self) -> &'n str {
        match self.what {
            What::Document => "",
            What::Field(name) | What::ItemOf(name) => name,
        }
    }

    pub fn scalar(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }
}

/// A finite decimal number; Rust's `inf` and `nan` are none.
pub(crate) fn number(text: &str) -> Option<f64> {
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse().ok().filter(|number: &f64| decimal && number.is_finite())
}

/// A mapping with known fields, taken one by one.
pub(crate) struct Fields<'n> {
    what: What<'n>,
    place: Place,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    /// Known, but not offered in hints.
    refused: Vec<&'static str>,
    missing: Vec<&'static str>,
}

/// What people used to other tools write, and what it is called here.
const SYNONYMS: [(&str, &str); 19] = [
    ("target", "objective"),
    ("targetPercent", "objective"),
    ("goal", "objective"),
    ("window", "period"),
    ("timeWindow", "period"),
    ("errors", "bad"),
    ("error", "bad"),
    ("errorQuery", "bad"),
    ("success", "good"),
    ("totalQuery", "total"),
    ("disable", "disabled"),
    ("pageAlert", "page"),
    ("ticketAlert", "ticket"),
    ("errorBudgetPercent", "budgetPercent"),
    ("pause", "hold"),
    ("duration", "hold"),
    ("interval", "every"),
    ("percentile", "quantile"),
    ("failureLimit", "consecutive"),
];

impl<'n> Fields<'n> {
    /// The fields of a mapping.
    pub fn of(field: Field<'n>, reporter: &mut Reporter<'_>) -> Option<Self> {
        let Value::Mapping(entries) = &field.node.value else {
            field.mismatch("a mapping", reporter);
            return None;
        };
        Some(Self {
            what: field.what,
            place: field.key,
            entries,
            known: Vec::new(),
            refused: Vec::new(),
            missing: Vec::new(),
        })
    }

    /// A field that may be absent; one without a value is.
    pub fn get(&mut self, name: &'static str) -> Option<Field<'n>> {
        self.known.push(name);
        self.peek(name)
    }

    /// A field that must be there; [`Self::finish`] reports the missing ones.
    pub fn require(&mut self, name: &'static str) -> Option<Field<'n>> {
        let field = self.get(name);
        if field.is_none() {
            self.missing.push(name);
        }
        field
    }

    /// Whether a field is there with a value, without taking it.
    pub fn peek(&self, name: &str) -> Option<Field<'n>> {
        let entry = self.entries.iter().find(|e| e.key == name)?;
        (!matches!(entry.value.value, Value::Null)).then(|| Field::of(entry))
    }

    /// A field this version cannot honour: an error where it is given.
    pub fn unsupported(&mut self, name: &'static str, hint: &str, reporter: &mut Reporter<'_>) {
        self.refused.push(name);
        if let Some(field) = self.entries.iter().find(|e| e.key == name) {
            reporter.error(field.place, format!("`{name}` is not supported yet by this version")).hint(hint);
        }
    }

    /// A field that would hold a secret: an error where it is given, and its value is not shown.
    pub fn secret(&mut self, name: &'static str, hint: &str, reporter: &mut Reporter<'_>) {
        self.refused.push(name);
        if let Some(field) = self.entries.iter().find(|e| e.key == name) {
            reporter.conceal(field.value.place);
            reporter.error(field.place, format!("`{name}` would keep a secret in the file")).hint(hint);
        }
    }

    /// Reports every field that was not asked for, and every one that is missing.
    pub fn finish(self, reporter: &mut Reporter<'_>) {
        let mut explained = Vec::new();
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) || self.refused.contains(&key) {
                continue;
            }
            let meant = self.meant(key);
            explained.extend(meant);
            let hint = match meant {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{} takes `{}`", self.what, self.known.join("`, `")),
            };
            reporter.error(entry.place, format!("unknown field {}", shown(key))).hint(hint);
        }
        // A field that is there under a wrong name is reported once.
        for name in self.missing.iter().filter(|name| !explained.contains(name)) {
            match self.entries.iter().find(|e| e.key == *name) {
                Some(empty) => reporter.error(empty.place, format!("`{name}` has no value")),
                None => reporter.error(self.place, format!("`{name}` is missing in {}", self.what)),
            };
        }
    }

    fn meant(&self, key: &str) -> Option<&'static str> {
        let synonym = nearest(key, SYNONYMS.iter().map(|(theirs, _)| *theirs));
        let ours = SYNONYMS.iter().find(|(theirs, _)| Some(*theirs) == synonym).map(|(_, ours)| *ours);
        nearest(key, self.known.iter().copied()).or_else(|| ours.filter(|ours| self.known.contains(ours)))
    }
}
