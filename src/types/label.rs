//! Label sets: sorted, without duplicates, empty values absent.

use std::fmt;

use crate::types::quote;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A series' identity, or any other set of labels: sorted by name, each name once, no empty values
/// (to Prometheus an empty value is an absent label).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

/// Why a list of pairs is not a label set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The same name twice.
    #[error("duplicate label name {0:?}")]
    Duplicate(String),
    /// A label without a name.
    #[error("empty label name")]
    EmptyName,
}

impl Labels {
    /// No labels.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sorts the pairs and drops empty values.
    ///
    /// # Errors
    /// On an empty name, and on a name that occurs twice (with or without a value).
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelError> {
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        pairs.sort_unstable();
        if pairs.first().is_some_and(|(name, _)| name.is_empty()) {
            return Err(LabelError::EmptyName);
        }
        if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(LabelError::Duplicate(twice[0].0.to_owned()));
        }
        Ok(Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| (n.into(), v.into())).collect()))
    }

    /// The value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|at| &*self.0[at].1)
    }

    /// Sets `name` to `value`, replacing what was there; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) {
        match (self.0.binary_search_by(|(n, _)| (**n).cmp(name)), value.is_empty()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Ok(at), false) => self.0[at].1 = value.into(),
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, (name.into(), value.into())),
        }
    }

    /// The same labels with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The same labels plus all of `other`; where both have a name, `other` wins.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        for (name, value) in other {
            self.set(name, value);
        }
        self
    }

    /// The same labels in no more memory than they need: for those that stay.
    #[must_use]
    pub fn shrunk(self) -> Self {
        // Into new memory: an allocator may leave as it is what shrinks by less than half.
        let mut exact = Vec::with_capacity(self.0.len());
        exact.extend(self.0);
        Self(exact)
    }

    /// Pairs in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, (Box<str>, Box<str>)>, fn(&'a (Box<str>, Box<str>)) -> (&'a str, &'a str)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// PromQL's form: `{job="api",code="500"}`, values quoted by [`quote()`](crate::types::quote()).
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}={}", quote(value))?;
        }
        f.write_str("}")
    }
}

impl serde::Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

/// What was written as a map; sorted and checked again.
impl<'de> serde::Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = std::collections::BTreeMap::<Box<str>, Box<str>>::deserialize(deserializer)?;
        Self::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value))).map_err(serde::de::Error::custom)
    }
}

/// Whether `name` is a label name in the classic alphabet: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    starts_and_continues(name, |b| b.is_ascii_alphabetic() || b == b'_')
}

/// Whether `name` is a metric name in the classic alphabet: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    starts_and_continues(name, |b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
}

fn starts_and_continues(name: &str, letter: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(&letter) && bytes.all(|b| letter(b) || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_empty_values_do_not_matter() {
        let a = Labels::from_pairs([("job", "api"), ("code", "500"), ("zone", "")]).unwrap();
        let b = Labels::from_pairs([("code", "500"), ("job", "api")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.get("job"), Some("api"));
        assert_eq!(a.get("zone"), None);
        assert_eq!(a.to_string(), r#"{code="500",job="api"}"#);
    }

    #[test]
    fn duplicates_and_nameless_labels_are_refused() {
        assert_eq!(Labels::from_pairs([("a", "1"), ("a", "")]), Err(LabelError::Duplicate("a".to_owned())));
        assert_eq!(Labels::from_pairs([("", "1")]), Err(LabelError::EmptyName));
    }

    #[test]
    fn set_replaces_inserts_and_removes() {
        let labels = Labels::new().with("b", "2").with("a", "1").with("b", "3");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert!(labels.with("a", "").with("b", "").is_empty());
    }

    #[test]
    fn names_follow_the_classic_alphabet() {
        assert!(is_label_name("app_version") && !is_label_name("2xx") && !is_label_name("a:b") && !is_label_name(""));
        assert!(is_metric_name("slo:sli_error:ratio_rate5m") && !is_metric_name("a-b"));
    }
}
