//! Label matchers and selectors.

use std::fmt;
use std::sync::Arc;

use crate::types::pattern::anchored;
use crate::types::{LabelSet, METRIC_NAME, format_value_exponent, is_label_name, is_metric_name, quote};

/// How a matcher compares a label's value. An absent label has the value `""`.
#[derive(Clone, Debug)]
pub enum MatchOp {
    /// `=`
    Equal(Box<str>),
    /// `!=`
    NotEqual(Box<str>),
    /// `=~`, anchored at both ends as in Prometheus.
    Regex(Box<str>, Arc<regex::Regex>),
    /// `!~`, anchored at both ends as in Prometheus.
    NotRegex(Box<str>, Arc<regex::Regex>),
    /// The value read as a number equals this one: `le="1"` and `le="1.0"` are the same bound.
    Number(f64),
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: Box<str>,
    /// The condition on its value.
    pub op: MatchOp,
}

/// A conjunction of matchers: a PromQL instant vector selector.
///
/// The metric name, when given, is the matcher on `__name__`.
#[derive(Clone, Debug)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// Why a matcher cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The regular expression does not compile, or is too large.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Regex {
        /// As written.
        pattern: String,
        /// What the regex compiler says, on one line.
        reason: String,
    },
}

impl Matcher {
    /// `name="value"`
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), op: MatchOp::Equal(value.into()) }
    }

    /// `name!="value"`
    pub fn not_equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), op: MatchOp::NotEqual(value.into()) }
    }

    /// `name=~"pattern"`
    ///
    /// # Errors
    /// When the pattern does not compile or its program exceeds 1 MiB.
    pub fn regex(name: &str, pattern: &str) -> Result<Self, MatcherError> {
        Ok(Self { name: name.into(), op: MatchOp::Regex(pattern.into(), anchored(pattern)?) })
    }

    /// `name!~"pattern"`
    ///
    /// # Errors
    /// As [`Matcher::regex`].
    pub fn not_regex(name: &str, pattern: &str) -> Result<Self, MatcherError> {
        Ok(Self { name: name.into(), op: MatchOp::NotRegex(pattern.into(), anchored(pattern)?) })
    }

    /// `name` read as a number equals `number`.
    pub fn number(name: &str, number: f64) -> Self {
        Self { name: name.into(), op: MatchOp::Number(number) }
    }

    /// Whether a series with these labels satisfies the condition.
    pub fn matches_in(&self, labels: &impl LabelSet) -> bool {
        self.matches(labels.get(&self.name).unwrap_or_default())
    }

    /// Whether a label with this value (empty when absent) satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match &self.op {
            MatchOp::Equal(expected) => value == &**expected,
            MatchOp::NotEqual(expected) => value != &**expected,
            MatchOp::Regex(_, regex) => regex.is_match(value),
            MatchOp::NotRegex(_, regex) => !regex.is_match(value),
            MatchOp::Number(expected) => parse_number(value) == Some(*expected),
        }
    }
}

/// A bucket bound or other number in a label value: Go's `ParseFloat` spelling of infinities included.
fn parse_number(value: &str) -> Option<f64> {
    match value {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => value.parse().ok(),
    }
}

impl Selector {
    /// From its matchers, the one on `__name__` among them.
    pub fn new(mut matchers: Vec<Matcher>) -> Self {
        // The name first: it rejects most series and prints in front.
        matchers.sort_by_key(|m| &*m.name != METRIC_NAME);
        Self { matchers }
    }

    /// All conditions, the one on the name first.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// The metric name where the selector pins it with `=`.
    pub fn metric_name(&self) -> Option<&str> {
        self.pinned(METRIC_NAME)
    }

    /// The value of `label` where the selector pins it with `=`; empty where it must be absent.
    pub fn pinned(&self, label: &str) -> Option<&str> {
        self.matchers.iter().find_map(|m| match &m.op {
            MatchOp::Equal(value) if &*m.name == label => Some(&**value),
            _ => None,
        })
    }

    /// The same selector with another metric name.
    #[must_use]
    pub fn with_metric_name(&self, name: &str) -> Self {
        let rest = self.matchers.iter().filter(|m| &*m.name != METRIC_NAME).cloned();
        Self::new(std::iter::once(Matcher::equal(METRIC_NAME, name)).chain(rest).collect())
    }

    /// The same selector with one condition more.
    #[must_use]
    pub fn and(&self, matcher: Matcher) -> Self {
        Self::new(self.matchers.iter().cloned().chain([matcher]).collect())
    }

    /// Whether a series with these labels satisfies every condition.
    pub fn matches(&self, labels: &impl LabelSet) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_in(labels))
    }

    /// Whether a metric of this name can satisfy the conditions on `__name__`.
    pub fn matches_metric_name(&self, name: &str) -> bool {
        self.matchers.iter().filter(|m| &*m.name == METRIC_NAME).all(|m| m.matches(name))
    }
}

/// PromQL's form: `http_requests_total{job="api",code=~"5.."}`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name().filter(|name| is_metric_name(name));
        f.write_str(name.unwrap_or(""))?;
        let mut rest = self.matchers.iter();
        if name.is_some() {
            // Sorted first by `new`; a second matcher on the name stays in the braces.
            rest.next();
        }
        if rest.len() == 0 && name.is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, matcher) in rest.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_str("}")
    }
}

/// PromQL's form: `code=~"5.."`. A numeric condition becomes a match on the spellings clients use for a bound:
/// `1` and `1.0`; and for what Go or Java write with an exponent, `1000000`, `1e+06` and `1.0E6`.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            f.write_str(&quote(&self.name))?;
        }
        match &self.op {
            MatchOp::Equal(value) => write!(f, "={}", quote(value)),
            MatchOp::NotEqual(value) => write!(f, "!={}", quote(value)),
            MatchOp::Regex(pattern, _) => write!(f, "=~{}", quote(pattern)),
            MatchOp::NotRegex(pattern, _) => write!(f, "!~{}", quote(pattern)),
            MatchOp::Number(n) => match spellings(*n) {
                Spellings::One(value) => write!(f, "={}", quote(&value)),
                Spellings::Pattern(pattern) => write!(f, "=~{}", quote(&pattern)),
            },
        }
    }
}

/// How clients may spell a number in a label value.
enum Spellings {
    One(String),
    Pattern(String),
}

fn spellings(n: f64) -> Spellings {
    if !n.is_finite() {
        return Spellings::One(
            if n > 0.0 {
                "+Inf"
            } else if n < 0.0 {
                "-Inf"
            } else {
                "NaN"
            }
            .to_owned(),
        );
    }
    let is_whole = n.fract() == 0.0;
    // Go turns to exponents below 1e-4 and from 1e6 on, Java below 1e-3 and from 1e7 on.
    let has_exponent = n != 0.0 && !(1e-3..1e6).contains(&n.abs());
    if !is_whole && !has_exponent {
        return Spellings::One(n.to_string());
    }
    let decimal = format!("{}{}", regex::escape(&n.to_string()), if is_whole { r"(\.0)?" } else { "" });
    if !has_exponent {
        return Spellings::Pattern(decimal);
    }
    let text = format_value_exponent(n);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
    let tenths = if digits.contains('.') { "" } else { r"(\.0)?" };
    let sign = if exponent.starts_with('-') { "-" } else { r"\+?" };
    let power = exponent.trim_start_matches(['+', '-', '0']);
    Spellings::Pattern(format!("{decimal}|{}{tenths}[eE]{sign}0*{power}", regex::escape(digits)))
}

/// Two selectors are equal when they print the same.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Labels;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn selectors_match_as_in_prometheus() {
        let selector = Selector::new(vec![
            Matcher::regex("code", "5..").unwrap(),
            Matcher::equal(METRIC_NAME, "http_requests_total"),
            Matcher::not_equal("env", "test"),
        ]);
        assert!(selector.matches(&labels(&[(METRIC_NAME, "http_requests_total"), ("code", "503")])));
        assert!(!selector.matches(&labels(&[(METRIC_NAME, "http_requests_total"), ("code", "5030")])));
        assert!(!selector.matches(&labels(&[(METRIC_NAME, "http_requests_total"), ("code", "503"), ("env", "test")])));
        assert_eq!(selector.metric_name(), Some("http_requests_total"));
        assert_eq!(selector.to_string(), r#"http_requests_total{code=~"5..",env!="test"}"#);
    }

    #[test]
    fn an_absent_label_is_an_empty_value() {
        assert!(Matcher::equal("env", "").matches(""));
        assert!(Matcher::regex("env", "|prod").unwrap().matches(""));
        assert!(!Matcher::not_equal("env", "").matches(""));
    }

    #[test]
    fn bounds_match_by_number() {
        let one = Matcher::number("le", 1.0);
        assert!(one.matches("1") && one.matches("1.0") && one.matches("1e0") && !one.matches("10") && !one.matches(""));
        assert_eq!(one.to_string(), r#"le=~"1(\\.0)?""#);
        assert_eq!(Matcher::number("le", 0.25).to_string(), r#"le="0.25""#);
        assert_eq!(Matcher::number("le", f64::INFINITY).to_string(), r#"le="+Inf""#);
    }

    #[test]
    fn the_printed_bound_matches_every_clients_spelling() {
        for (bound, spelt) in [
            (1e6, ["1000000", "1000000.0", "1e+06", "1.0E6"]),
            (2_500_000.0, ["2500000", "2500000.0", "2.5e+06", "2.5E6"]),
            (0.000_05, ["0.00005", "5e-05", "5.0E-5", "5e-5"]),
            (0.0005, ["0.0005", "5e-04", "5.0E-4", "5E-4"]),
        ] {
            let printed = Matcher::number("le", bound).to_string();
            let literal = printed.strip_prefix("le=~").unwrap_or_else(|| panic!("{printed}"));
            let pattern = literal.trim_matches('"').replace(r"\\", r"\");
            let regex = Matcher::regex("le", &pattern).unwrap();
            for value in spelt {
                assert!(regex.matches(value) && Matcher::number("le", bound).matches(value), "{printed} {value}");
            }
            assert!(!regex.matches("1") && !regex.matches("1e+07") && !regex.matches(""));
        }
    }

    #[test]
    fn a_bad_pattern_says_why() {
        let error = Matcher::regex("code", "5(..").unwrap_err().to_string();
        assert!(error.starts_with("invalid regular expression \"5(..\""), "{error}");
        assert!(Matcher::regex("code", "(a{1000}){1000}").is_err());
    }
}
