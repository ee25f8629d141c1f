//! Rule groups as data, in the shape of a Prometheus rule file.

use serde::{Serialize, Serializer};

use crate::types::{Labels, Span};

/// Rules evaluated together, in order. Serializes as an element of a rule file's `groups`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleGroup {
    /// Unique within a rule file.
    pub name: String,
    /// How often the group is evaluated; `None` is the server's default.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_span")]
    pub interval: Option<Span>,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
}

/// One rule. Serializes as an element of a group's `rules`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rule {
    /// Stores the result of an expression as a series.
    Recording {
        /// The name of the series.
        record: String,
        /// PromQL.
        #[serde(serialize_with = "text")]
        expr: String,
        /// Set on every element of the result.
        #[serde(skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
    },
    /// Alerts for each element of an expression's result.
    Alerting {
        /// The `alertname`.
        alert: String,
        /// PromQL.
        #[serde(serialize_with = "text")]
        expr: String,
        /// An element must stay this long before its alert fires.
        #[serde(rename = "for", skip_serializing_if = "is_zero", serialize_with = "span")]
        for_: Span,
        /// A firing alert outlives its element by this long. Needs Prometheus 2.42.
        #[serde(skip_serializing_if = "is_zero", serialize_with = "span")]
        keep_firing_for: Span,
        /// Set on every alert, over the element's labels.
        #[serde(skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
        /// Names and Go templates; each name once.
        #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "pairs")]
        annotations: Vec<(String, String)>,
    },
}

impl Rule {
    /// The PromQL expression.
    pub fn expr(&self) -> &str {
        match self {
            Self::Recording { expr, .. } | Self::Alerting { expr, .. } => expr,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(span: &Span) -> bool {
    *span == Span::ZERO
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn span<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(span)
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn optional_span<S: Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => serializer.collect_str(span),
        None => serializer.serialize_none(),
    }
}

/// A mapping in its own order.
pub(super) fn pairs<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, Text(value))))
}

fn text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    Text(text).serialize(serializer)
}

/// A string that YAML writes as a literal block where it has several lines.
struct Text<'a>(&'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // libyaml and go-yaml refuse a block that begins with a tab, so what begins with white space is quoted.
        if self.0.contains('\n') && !self.0.starts_with(char::is_whitespace) {
            serde_saphyr::LitStr(self.0).serialize(serializer)
        } else {
            serializer.serialize_str(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_serialize_as_in_a_rule_file() {
        let rule = Rule::Alerting {
            alert: "A".to_owned(),
            expr: "a\nor\nb".to_owned(),
            for_: Span::minutes(90),
            keep_firing_for: Span::ZERO,
            labels: Labels::new(),
            annotations: vec![("z".to_owned(), "1\n2\n".to_owned()), ("a".to_owned(), "no".to_owned())],
        };
        let group = RuleGroup { name: "g".to_owned(), interval: Some(Span::seconds(30)), rules: vec![rule] };
        let lines = [
            "name: g",
            "interval: 30s",
            "rules:",
            "- alert: A",
            "  expr: |-",
            "    a",
            "    or",
            "    b",
            "  for: 1h30m",
            "  annotations:",
            "    z: |",
            "      1",
            "      2",
            "    a: \"no\"",
        ];
        assert_eq!(serde_saphyr::to_string(&group).unwrap().lines().collect::<Vec<_>>(), lines);
        assert_eq!(
            serde_json::to_value(&group).unwrap()["rules"][0]["expr"],
            "a\nor\nb",
            "the wrapper for blocks is invisible elsewhere"
        );
    }
}
