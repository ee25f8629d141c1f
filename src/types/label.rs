//! Label sets: sorted, without duplicates, empty values absent.

use std::fmt;

use serde::ser::SerializeMap as _;

use crate::types::quote;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A series' identity, or any other set of labels: sorted by name, each name once, no empty values
/// (to Prometheus an empty value is an absent label).
///
/// One piece of text, each name and each value behind its length in bytes, which is itself written as a character or
/// two: there are millions of label sets, and a list of texts would take several times the room and the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<str>);

/// A label set whose names and values are elsewhere, in a request that is being taken: for those who need not keep it.
/// Made to be used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BorrowedLabels<'a>(Vec<(&'a str, &'a str)>);

impl<'a> From<&'a Labels> for BorrowedLabels<'a> {
    fn from(labels: &'a Labels) -> Self {
        Self(labels.iter().collect())
    }
}

/// Whatever has values of labels.
pub trait LabelSet {
    /// The value of `name`, if present.
    fn get(&self, name: &str) -> Option<&str>;
}

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

/// Names and values, in order of name.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl Labels {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sorts the pairs and drops empty values.
    ///
    /// # Errors
    /// On an empty name, and on a name that occurs twice (with or without a value).
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, LabelError> {
        let mut labels = BorrowedLabels::default();
        labels.extend(pairs);
        labels.sort()?;
        Ok(labels.to_labels())
    }

    /// From sorted pairs without duplicates and empty values.
    fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        let size = |text: &str| text.len() + length_chars(text.len()).map(char::len_utf8).sum::<usize>();
        let mut text = String::with_capacity(pairs.iter().map(|(name, value)| size(name) + size(value)).sum());
        for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
            text.extend(length_chars(part.len()));
            text.push_str(part);
        }
        Self(text.into_boxed_str())
    }

    /// The value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// Sets `name` to `value`, replacing what was there; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) {
        let mut pairs: Vec<(&str, &str)> = self.iter().filter(|(own, _)| *own != name).collect();
        if !value.is_empty() {
            let at = pairs.partition_point(|(other, _)| *other < name);
            pairs.insert(at, (name, value));
        }
        *self = Self::from_sorted(&pairs);
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

    /// Pairs in order of name.
    pub fn iter(&self) -> Pairs<'_> {
        Pairs { rest: &self.0 }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl LabelSet for Labels {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name)
    }
}

impl<'a> BorrowedLabels<'a> {
    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a pair; they are a set again after [`Self::sort`].
    pub fn push(&mut self, name: &'a str, value: &'a str) {
        self.0.push((name, value));
    }

    /// Puts them in order and drops empty values; whether they were in order.
    ///
    /// # Errors
    /// As of [`Labels::from_pairs`].
    pub fn sort(&mut self) -> Result<bool, LabelError> {
        // Most senders have done so.
        let is_set = self.0.is_sorted_by(|(before, _), (name, _)| before < name);
        if !is_set {
            self.0.sort_unstable();
        }
        if self.0.first().is_some_and(|(name, _)| name.is_empty()) {
            return Err(LabelError::EmptyName);
        }
        if let Some(twice) = self.0.windows(2).find(|w| !is_set && w[0].0 == w[1].0) {
            return Err(LabelError::Duplicate(twice[0].0.to_owned()));
        }
        self.0.retain(|(_, value)| !value.is_empty());
        Ok(is_set)
    }

    /// The pair in this place, for another value of the same name.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut (&'a str, &'a str)> {
        self.0.get_mut(place)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pair in this place.
    pub fn nth(&self, place: usize) -> Option<(&'a str, &'a str)> {
        self.0.get(place).copied()
    }

    /// The place of `name`, if present.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(own, _)| *own == name)
    }

    /// Removes `name`, if it is there.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(own, _)| *own != name);
    }

    /// The value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }

    /// Pairs in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// The same labels, to be kept.
    pub fn to_labels(&self) -> Labels {
        Labels::from_sorted(&self.0)
    }
}

impl<'a> Extend<(&'a str, &'a str)> for BorrowedLabels<'a> {
    fn extend<I: IntoIterator<Item = (&'a str, &'a str)>>(&mut self, pairs: I) {
        self.0.extend(pairs);
    }
}

impl LabelSet for BorrowedLabels<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name)
    }
}

/// A length up to this is one character, which is one byte for most; a longer one has its upper bits in front.
const LENGTH_BITS: u32 = 15;
/// Of the character for the upper bits.
const UPPER: u32 = 1 << 16;

fn length_chars(length: usize) -> impl Iterator<Item = char> {
    let (upper, lower) = ((length >> LENGTH_BITS) as u32, length as u32 & ((1 << LENGTH_BITS) - 1));
    let upper = (upper > 0).then(|| char::from_u32(UPPER + upper).expect("texts of labels are shorter than 32 GiB"));
    upper.into_iter().chain(char::from_u32(lower))
}

impl<'a> Pairs<'a> {
    fn text(&mut self) -> Option<&'a str> {
        let mut chars = self.rest.chars();
        let mut length = u32::from(chars.next()?) as usize;
        if length > UPPER as usize {
            length = (length - UPPER as usize) << LENGTH_BITS | u32::from(chars.next()?) as usize;
        }
        let (text, rest) = chars.as_str().split_at(length);
        self.rest = rest;
        Some(text)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.text()?, self.text()?))
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// By the pairs in their order.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Pairs<'a>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self {
            map.serialize_entry(name, value)?;
        }
        map.end()
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
    fn texts_of_any_length_come_back() {
        let long = ["", "\u{e9}", "x"].map(|text| text.repeat(40_000));
        for length in [1, 127, 128, 0x7ff, 0x800, 0x7fff, 0x8000, 0x8001, 0xd800, 100_000] {
            let value = "v".repeat(length);
            let pairs = [("a", value.as_str()), (&long[1], "2"), ("z", &long[2]), (&long[2], &long[1])];
            let labels = Labels::from_pairs(pairs).unwrap();
            assert_eq!(labels.len(), 4);
            assert!(pairs.iter().all(|(name, value)| labels.get(name) == Some(*value)), "{length}");
        }
    }

    #[test]
    fn labels_are_ordered_by_their_pairs() {
        let labels = |value: &str| Labels::new().with("a", value).with("b", "1");
        // By the text as it is kept a shorter value would come first.
        assert!(labels("10") < labels("9") && labels("1") < labels("10"));
        assert!(Labels::new() < Labels::new().with("a", "1"));
        assert!(Labels::new().with("a", "1") < labels("1"));
    }

    #[test]
    fn names_follow_the_classic_alphabet() {
        assert!(is_label_name("app_version") && !is_label_name("2xx") && !is_label_name("a:b") && !is_label_name(""));
        assert!(is_metric_name("slo:sli_error:ratio_rate5m") && !is_metric_name("a-b"));
    }
}
