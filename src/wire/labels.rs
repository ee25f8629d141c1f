//! The labels of a series as they came: decoded once, when the series is new.

use super::batch::WireKey;
use super::error::SeriesError;
use super::limits::Limits;
use super::protobuf::{ProtobufError, Reader, delimited_key};
use super::symbols::SymbolTable;
use super::v1::LABEL_NESTING;
use crate::types::{BorrowedLabels, LabelError, Labels, METRIC_NAME};

const LABEL: u32 = delimited_key(1);
const NAME: u32 = delimited_key(1);
const VALUE: u32 = delimited_key(2);
/// The keys as the one byte they are in the usual layout.
const LABEL_KEY: u8 = LABEL as u8;
const NAME_KEY: u8 = NAME as u8;
const VALUE_KEY: u8 = VALUE as u8;

/// Names and values of a series' labels, in their order on the wire; unsorted, duplicates and empty values
/// included, no limits applied.
///
/// Yields an error at most once, and then nothing more.
#[derive(Clone)]
pub struct LabelPairs<'a> {
    rest: Reader<'a>,
    symbols: Option<SymbolTable<'a>>,
    /// All label fields of remote write 1.0, lengths and keys included, if they happen to be UTF-8: short labels are,
    /// and then their texts need no check of their own.
    text: Option<&'a str>,
}

/// A series' labels as they came: label fields one after the other (remote write 1.0), or references into the
/// request's symbols (2.0). Not validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireLabels<'a> {
    bytes: &'a [u8],
    symbols: Option<SymbolTable<'a>>,
}

impl<'a> WireLabels<'a> {
    /// Varints, each the place of a symbol: name, value, name, value.
    pub(super) const fn references(bytes: &'a [u8], symbols: SymbolTable<'a>) -> Self {
        Self { bytes, symbols: Some(symbols) }
    }
}

impl<'a> From<&'a [u8]> for WireLabels<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, symbols: None }
    }
}

impl<'a> LabelPairs<'a> {
    /// The labels of a series.
    pub fn new(labels: impl Into<WireLabels<'a>>) -> Self {
        let WireLabels { bytes, symbols } = labels.into();
        let text = if symbols.is_none() { std::str::from_utf8(bytes).ok() } else { None };
        Self { rest: Reader::new(bytes), symbols, text }
    }

    /// The next label if it is laid out as all senders do it, and all of it shorter than 128 bytes.
    fn short(&mut self) -> Option<(&'a str, &'a str)> {
        let text = self.text?;
        let start = text.len() - self.rest.remaining();
        let [LABEL_KEY, length, NAME_KEY, name_length] = *text.as_bytes()[start..].first_chunk()? else { return None };
        let (name_start, name_end) = (start + 4, start + 4 + usize::from(name_length));
        let [VALUE_KEY, value_length] = *text.as_bytes().get(name_end..)?.first_chunk()? else { return None };
        let (value_start, value_end) = (name_end + 2, name_end + 2 + usize::from(value_length));
        let is_short = (length | name_length | value_length) < 0x80 && value_end == start + 2 + usize::from(length);
        let pair = (text.get(name_start..name_end)?, text.get(value_start..value_end)?);
        is_short.then(|| self.rest = Reader::new(&text.as_bytes()[value_end..]))?;
        Some(pair)
    }

    fn read(&mut self) -> Result<(&'a str, &'a str), SeriesError> {
        if let Some(symbols) = self.symbols {
            let name = symbols.get(self.rest.varint()? as u32)?;
            if self.rest.is_empty() {
                return Err(SeriesError::OddReferences);
            }
            return Ok((text(name)?, text(symbols.get(self.rest.varint()? as u32)?)?));
        }
        if let Some(pair) = self.short() {
            return Ok(pair);
        }
        let key = self.rest.key()?;
        if key != LABEL {
            return Err(ProtobufError::Key(u64::from(key)).into());
        }
        pair(self.rest.delimited()?)
    }
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = Result<(&'a str, &'a str), SeriesError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(read)
    }
}

fn pair(message: &[u8]) -> Result<(&str, &str), SeriesError> {
    let mut fields = Reader::new(message);
    let (mut name, mut value) = ("", "");
    while !fields.is_empty() {
        match fields.key()? {
            NAME => name = text(fields.delimited()?)?,
            VALUE => value = text(fields.delimited()?)?,
            key => fields.skip_unknown(key, 1..=2, LABEL_NESTING)?,
        }
    }
    Ok((name, value))
}

fn text(bytes: &[u8]) -> Result<&str, SeriesError> {
    std::str::from_utf8(bytes).map_err(|_| SeriesError::NotUtf8)
}

/// The label set of a new series, to be kept.
///
/// # Errors
/// As of [`LabelReader::read`].
pub fn decode_labels<'a>(labels: impl Into<WireLabels<'a>>, limits: &Limits) -> Result<Labels, SeriesError> {
    let mut reader = LabelReader::default();
    reader.read(labels, limits)?;
    Ok(reader.set().to_labels())
}

/// Reads the label sets of new series. They mostly come behind each other and differ in the values of a label or two:
/// what is as in the series before is not read again.
#[derive(Debug, Default)]
pub struct LabelReader<'a> {
    set: BorrowedLabels<'a>,
    /// The labels of `set` as they came.
    labels: WireLabels<'a>,
    /// How many of their bytes are of each label, if all were laid out as all senders do it, short, and in order.
    sizes: Vec<u8>,
    changes: Changes,
    unseen: Changes,
    canonical: Vec<u8>,
}

/// Places in label sets that were read one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes(u64);

impl Changes {
    /// Everywhere: there may also be other names, or more or fewer of them.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether the label in this place may be another.
    #[inline]
    pub const fn may_be(self, place: usize) -> bool {
        place >= u64::BITS as usize || self.0 >> place & 1 == 1
    }

    /// Whether the names may be others.
    pub const fn may_be_names(self) -> bool {
        self.0 == u64::MAX
    }

    /// Those of them that a set of so many labels has, in order.
    #[inline]
    pub fn places(self, count: usize) -> impl Iterator<Item = usize> {
        let low = 1_u64.checked_shl(count as u32).map_or(u64::MAX, |end| end - 1);
        places(self.0 & low).chain(u64::BITS as usize..count)
    }

    /// Those of these places, as ones, that no other label stands in.
    pub const fn unchanged_of(self, places: u64) -> u64 {
        places & !self.0
    }

    /// The label in each place of these may be another, too.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The label in this place may be another.
    pub fn add(&mut self, place: usize) {
        self.0 |= 1_u64.checked_shl(place as u32).unwrap_or(0);
    }
}

/// The places of ones, in order.
#[inline]
pub fn places(mut ones: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (ones != 0).then(|| ones.trailing_zeros() as usize);
        ones &= ones.wrapping_sub(1);
        place
    })
}

impl<'a> LabelReader<'a> {
    /// Reads the labels of a series of the same request as those before it; what was read before is gone.
    ///
    /// # Errors
    /// When the labels are malformed, have no metric name, repeat a name, or are over a limit; the set is of no use then.
    pub fn read(&mut self, labels: impl Into<WireLabels<'a>>, limits: &Limits) -> Result<(), SeriesError> {
        let labels = labels.into();
        self.changes = Changes::default();
        if self.sizes.is_empty() || !self.read_alike(labels, limits) {
            self.read_anew(labels, limits)?;
        }
        self.unseen = self.unseen.and(self.changes);
        Ok(())
    }

    /// The labels that were read last.
    pub const fn set(&self) -> &BorrowedLabels<'a> {
        &self.set
    }

    /// The same, to be changed.
    pub fn set_mut(&mut self) -> &mut BorrowedLabels<'a> {
        self.sizes.clear();
        (self.changes, self.unseen) = (Changes::ALL, Changes::ALL);
        &mut self.set
    }

    /// Where the labels that were read last differ from those read before them.
    pub const fn changes(&self) -> Changes {
        self.changes
    }

    /// Where they differ from those that were read last when this was asked last.
    pub const fn take_changes(&mut self) -> Changes {
        std::mem::replace(&mut self.unseen, Changes(0))
    }

    /// As [`label_set_hash`]; `bytes_hash` is that of the bytes that were read, where it is known.
    pub fn identity(&mut self, bytes_hash: Option<u128>, key: &WireKey) -> u128 {
        if self.is_canonical() {
            return bytes_hash.unwrap_or_else(|| key.hash(self.labels.bytes));
        }
        label_set_hash(self.set.iter(), key, &mut self.canonical)
    }

    /// Whether the bytes that were read last are the one spelling of their set.
    const fn is_canonical(&self) -> bool {
        !self.sizes.is_empty() && self.labels.symbols.is_none()
    }

    /// Whether the labels have the names of those read last; then those are replaced by them, and else of no use.
    fn read_alike(&mut self, labels: WireLabels<'a>, limits: &Limits) -> bool {
        let (mut old, mut new, mut place) = (self.labels.bytes, labels.bytes, 0);
        loop {
            let (same, mut end) = (common_prefix(old, new), 0);
            for size in self.sizes.get(place..).unwrap_or_default() {
                let next = end + usize::from(*size);
                if next > same {
                    break;
                }
                (end, place) = (next, place + 1);
            }
            (old, new) = (&old[end..], &new[end..]);
            let Some(size) = self.sizes.get_mut(place) else { break };
            let first = Usual::first(WireLabels { bytes: new, ..labels });
            let (Some(label), Some((name, value))) = (first, self.set.get_mut(place)) else { return false };
            let Ok(new_value) = text(label.value) else { return false };
            if label.name != name.as_bytes() || new_value.len() > limits.label_value_limit_bytes {
                return false;
            }
            old = &old[usize::from(*size)..];
            (*value, *size, new) = (new_value, label.size, &new[usize::from(label.size)..]);
            self.changes.add(place);
            place += 1;
        }
        self.labels = labels;
        new.is_empty()
    }

    fn read_anew(&mut self, labels: WireLabels<'a>, limits: &Limits) -> Result<(), SeriesError> {
        self.set.clear();
        self.sizes.clear();
        self.changes = Changes::ALL;
        for pair in LabelPairs::new(labels) {
            let (name, value) = pair?;
            if self.set.iter().len() == limits.labels_per_series_limit {
                return Err(SeriesError::TooManyLabels { limit: limits.labels_per_series_limit });
            }
            check_lengths(name, value, limits)?;
            self.set.push(name, value);
        }
        let count = self.set.iter().len();
        let was_sorted = self.set.sort().map_err(|error| match error {
            LabelError::Duplicate(name) => SeriesError::DuplicateLabelName(name),
            LabelError::EmptyName => SeriesError::EmptyLabelName,
        })?;
        // An empty value is an absent label, the metric's name included.
        if self.set.get(METRIC_NAME).is_none() {
            return Err(SeriesError::MissingMetricName);
        }
        if was_sorted && self.set.iter().len() == count {
            self.split(labels);
        }
        Ok(())
    }

    /// Notes where each label of the set stands, if all are laid out as usual.
    fn split(&mut self, labels: WireLabels<'a>) {
        let mut rest = labels;
        while let Some(Usual { size, .. }) = Usual::first(rest) {
            self.sizes.push(size);
            rest.bytes = &rest.bytes[usize::from(size)..];
        }
        if !rest.bytes.is_empty() {
            self.sizes.clear();
        }
        self.labels = labels;
    }
}

/// How many bytes are the same from the beginning.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const WORD_BYTES: usize = size_of::<u128>();
    let count = a.len().min(b.len());
    let (a, b) = (&a[..count], &b[..count]);
    let same_in = |a: &[u8; WORD_BYTES], b: &[u8; WORD_BYTES]| {
        (u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b)).trailing_zeros() as usize / 8
    };
    let mut same = 0;
    for (a, b) in a.as_chunks().0.iter().zip(b.as_chunks().0) {
        if a != b {
            return same + same_in(a, b);
        }
        same += WORD_BYTES;
    }
    // The rest: once more with what is before it, where there is that much.
    match (a.last_chunk(), b.last_chunk()) {
        (Some(a), Some(b)) => count - WORD_BYTES + same_in(a, b),
        _ => a.iter().zip(b).take_while(|(a, b)| a == b).count(),
    }
}

/// A label that is laid out as all senders do it, with a name and a value, and all of it shorter than 128 bytes.
struct Usual<'a> {
    /// Bytes of all of it.
    size: u8,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Usual<'a> {
    /// The first of these labels.
    #[inline]
    fn first(labels: WireLabels<'a>) -> Option<Self> {
        let usual = match labels.symbols {
            None => Self::first_field(labels.bytes),
            Some(symbols) => Self::first_reference(labels.bytes, symbols),
        };
        usual.filter(|label| !label.name.is_empty() && !label.value.is_empty())
    }

    fn first_field(bytes: &'a [u8]) -> Option<Self> {
        let [LABEL_KEY, length, NAME_KEY, name_length, ..] = *bytes else { return None };
        let label = bytes.get(4..2 + usize::from(length))?;
        let (name, value) = label.split_at_checked(usize::from(name_length))?;
        let [VALUE_KEY, value_length, value @ ..] = value else { return None };
        let is_usual = (length | name_length | value_length) < 0x80 && value.len() == usize::from(*value_length);
        is_usual.then_some(Self { size: 2 + length, name, value })
    }

    fn first_reference(bytes: &'a [u8], symbols: SymbolTable<'a>) -> Option<Self> {
        let mut rest = Reader::new(bytes);
        let [name, value] = [rest.varint().ok()?, rest.varint().ok()?].map(|place| symbols.get(place as u32));
        let size = bytes.len() - rest.remaining();
        Some(Self { size: size as u8, name: name.ok()?, value: value.ok()? })
    }
}

/// The hash of a label set, however it came: that of its one spelling, label fields of remote write 1.0 in order, for
/// which `bytes` has room.
pub fn label_set_hash<'l>(
    labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    key: &WireKey,
    bytes: &mut Vec<u8>,
) -> u128 {
    bytes.clear();
    encode_labels(labels, bytes);
    key.hash(bytes)
}

fn check_lengths(name: &str, value: &str, limits: &Limits) -> Result<(), SeriesError> {
    if name.len() > limits.label_name_limit_bytes {
        let limit_bytes = limits.label_name_limit_bytes;
        return Err(SeriesError::LabelNameTooLong { size_bytes: name.len(), limit_bytes });
    }
    if value.len() > limits.label_value_limit_bytes {
        let limit_bytes = limits.label_value_limit_bytes;
        return Err(SeriesError::LabelValueTooLong { name: name.to_owned(), size_bytes: value.len(), limit_bytes });
    }
    Ok(())
}

/// Appends labels to `bytes` as a sender would write them, so that they hash the same.
pub(super) fn encode_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, bytes: &mut Vec<u8>) {
    for (name, value) in labels {
        bytes.push(LABEL_KEY);
        encode_length(text_field_bytes(name) + text_field_bytes(value), bytes);
        encode_text(NAME_KEY, name, bytes);
        encode_text(VALUE_KEY, value, bytes);
    }
}

/// Proto3 leaves empty strings out.
fn text_field_bytes(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + prost::length_delimiter_len(text.len()) + text.len() }
}

fn encode_text(key: u8, text: &str, bytes: &mut Vec<u8>) {
    if !text.is_empty() {
        bytes.push(key);
        encode_length(text.len(), bytes);
        bytes.extend_from_slice(text.as_bytes());
    }
}

fn encode_length(length: usize, bytes: &mut Vec<u8>) {
    // Nearly always.
    if length < 0x80 {
        bytes.push(length as u8);
        return;
    }
    prost::encode_length_delimiter(length, bytes).expect("a Vec has room for ten bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_labels(labels.iter().copied(), &mut bytes);
        bytes
    }

    fn decoded(labels: &[(&str, &str)]) -> Result<Labels, SeriesError> {
        decode_labels(&*encoded(labels), &Limits::default())
    }

    #[test]
    fn labels_come_sorted_and_without_empty_values() {
        let labels = decoded(&[("__name__", "up"), ("zone", ""), ("job", "api"), ("émoji", "🔥")]).unwrap();
        let expected = [("__name__", "up"), ("job", "api"), ("émoji", "🔥")];
        assert_eq!(labels.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn long_labels_and_those_of_many_letters_come_whole() {
        for length in [1_usize, 61, 62, 63, 119, 120, 121, 127, 128, 129, 500] {
            for letter in ["x", "\u{e9}", "\u{1f525}"] {
                let value = letter.repeat(length.div_ceil(letter.len()));
                let labels = decoded(&[("__name__", "up"), ("a", &value), ("b", "2"), ("c", &value)]).unwrap();
                assert_eq!(
                    [labels.get("a"), labels.get("b"), labels.get("c")],
                    [Some(&*value), Some("2"), Some(&*value)]
                );
            }
        }
    }

    #[test]
    fn each_bad_series_has_its_reason() {
        let long = "x".repeat(2_049);
        for (labels, reason) in [
            (&[][..], "missing_metric_name"),
            (&[("job", "api")], "missing_metric_name"),
            (&[("__name__", "")], "missing_metric_name"),
            (&[("__name__", "up"), ("", "x")], "empty_label_name"),
            (&[("__name__", "up"), ("", "")], "empty_label_name"),
            (&[("__name__", "up"), ("a", "1"), ("a", "1")], "duplicate_label_name"),
            (&[("__name__", "up"), ("__name__", "up")], "duplicate_label_name"),
            (&[("__name__", "up"), (&long[..1_025], "1")], "label_name_too_long"),
            (&[("__name__", "up"), ("a", &long)], "label_value_too_long"),
        ] {
            assert_eq!(decoded(labels).unwrap_err().reason(), reason, "{labels:?}");
        }
        assert!(decoded(&[("__name__", "up"), (&long[..1_024], &long[..2_048])]).is_ok());
    }

    #[test]
    fn the_fortieth_label_is_the_last() {
        let names: Vec<String> = (0..40).map(|i| format!("l{i}")).collect();
        let mut labels = vec![("__name__", "up")];
        labels.extend(names.iter().map(|name| (name.as_str(), "x")));
        assert_eq!(decoded(&labels), Err(SeriesError::TooManyLabels { limit: 40 }));
        labels.pop();
        assert_eq!(decoded(&labels).map(|labels| labels.len()), Ok(40));
    }

    /// What is read behind another series is what is read alone, and has the identity of its labels.
    fn check_behind_each_other(series: &[WireLabels<'_>]) {
        let limits = Limits { label_value_limit_bytes: 30, ..Limits::default() };
        let (mut reader, mut before) = (LabelReader::default(), Labels::new());
        let key = WireKey::new([7; 192]);
        for labels in series {
            let read = reader.read(*labels, &limits).map(|()| reader.set().to_labels());
            assert_eq!(read, decode_labels(*labels, &limits), "{labels:x?}");
            if let Ok(read) = &read {
                let canonical = encoded(&read.iter().collect::<Vec<_>>());
                if labels.symbols.is_none() {
                    let is_short = read.iter().all(|(name, value)| name.len() + value.len() + 4 < 128);
                    assert_eq!(reader.is_canonical(), is_short && canonical == labels.bytes, "{labels:x?}");
                }
                assert_eq!(reader.identity(Some(key.hash(labels.bytes)), &key), key.hash(&canonical), "{labels:x?}");
                let changes = reader.take_changes();
                let mut pairs = read.iter().zip(before.iter()).enumerate();
                assert!(pairs.all(|(place, (new, old))| new == old || changes.may_be(place)), "{labels:x?}");
                let has_other_names = !read.iter().map(|(name, _)| name).eq(before.iter().map(|(name, _)| name));
                assert!(!has_other_names || changes.may_be_names(), "{labels:x?}");
                before = read.clone();
            }
        }
    }

    #[test]
    fn references_are_read_behind_each_other() {
        let (limits, key) = (Limits::default(), WireKey::new([7; 192]));
        let texts = ["", "__name__", "up", "down", "code", "200", "500", "job", "api", "\u{e9}", &"x".repeat(31)];
        // The last one is a name that is text twice, the one before no text.
        let symbols: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).chain([&b"\xff"[..], b"api"]).collect();
        let (mut table, text) = (super::super::symbols::Symbols::new(), symbols.concat());
        let mut start = 0;
        for symbol in &symbols {
            table.push(symbol, start, &limits, &key).unwrap();
            start += symbol.len();
        }
        let cases: [&[u8]; 16] = [
            &[1, 2, 4, 5, 7, 8],
            &[1, 2, 4, 6, 7, 8],
            &[1, 2, 4, 6, 7, 12],
            &[1, 3, 4, 5, 7, 9],
            &[1, 2, 4, 0, 7, 8],
            &[1, 0, 4, 5, 7, 8],
            &[1, 2, 0, 5, 7, 8],
            &[4, 5, 1, 2, 7, 8],
            &[1, 2, 4, 5, 7, 10],
            &[1, 2, 4, 5, 7, 11],
            &[1, 2, 4, 5, 7, 99],
            &[1, 2, 4, 5, 7],
            &[1, 2, 4, 5],
            &[1, 2, 4, 5, 7, 8, 9, 9],
            &[1, 2, 0x84, 0x00, 5, 7, 8],
            &[],
        ];
        let cases = cases.map(|references| WireLabels::references(references, table.table(&text)));
        for (first, second) in cases.iter().flat_map(|first| cases.iter().map(move |second| (first, second))) {
            check_behind_each_other(&[cases[0], *first, *second, cases[0], *first]);
        }
    }

    #[test]
    fn series_are_read_behind_each_other() {
        let base = [("__name__", "up"), ("code", "200"), ("job", "api"), ("zone", "a")];
        let with = |at: usize, pair| encoded(&[&base[..at], &[pair], &base[at + 1..]].concat());
        let same = encoded(&base);
        let nameless = b"\x0a\x03\x12\x01v".to_vec();
        let value_first = [&encoded(&base[..3])[..], b"\x0a\x09\x12\x01a\x0a\x04zone"].concat();
        let cases = [
            with(1, ("code", "500")),
            with(3, ("zone", "b")),
            with(3, ("zone", "")),
            with(1, ("node", "1")),
            with(1, ("job", "1")),
            with(1, ("code", &"x".repeat(31))),
            with(0, ("__name__", "down")),
            with(0, ("__name__", "")),
            encoded(&base[..3]),
            encoded(&[&base[..], &[("zoo", "1")]].concat()),
            encoded(&[base[1], base[0], base[2], base[3]]),
            [&same[..same.len() - 1], b"\xff"].concat(),
            same[..same.len() - 1].to_vec(),
            [&same[..], &nameless].concat(),
            value_first,
            [&encoded(&base[..1])[..], b"\x0a\x01\x0a\x05"].concat(),
            b"\x0a\x01\x0a\x05".to_vec(),
            Vec::new(),
        ];
        for case in &cases {
            for other in &cases {
                check_behind_each_other(&[&same, case, other, &same, case].map(|bytes| WireLabels::from(&**bytes)));
            }
        }
    }

    #[test]
    fn malformed_label_messages_are_refused() {
        let limits = Limits::default();
        // A value that is cut off; bytes that are no UTF-8, also when a later value would win; a field of
        // another number; a name with the wire type of a number.
        for (bytes, reason) in [
            (&b"\x0a\x03\x12\x05v"[..], "malformed_label"),
            (b"\x0a\x0a\x0a\x08__name_\xff", "label_not_utf8"),
            (b"\x0a\x07\x12\x02\xff\xfe\x12\x01v", "label_not_utf8"),
            (b"\x12\x00", "malformed_label"),
            (b"\x0a\x02\x08\x01", "malformed_label"),
        ] {
            assert_eq!(decode_labels(bytes, &limits).unwrap_err().reason(), reason, "{bytes:x?}");
            assert_eq!(LabelPairs::new(bytes).count(), 1, "nothing follows an error");
        }
    }
}
