//! One series' samples: finished chunks, the open one, and native histograms as they came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::promql::{FloatHistogram, FloatSample};
use crate::store::chunk::{Chunk, Head};
use crate::store::labels::{SharedLabels, own_labels_bytes};
use crate::store::recent::RECENT_SIZE_BYTES;
use crate::types::{Span, Timestamp};

/// An open chunk is finished at this size, and dropped as a whole when all of it is too old.
pub(super) const CHUNK_LIMIT_SAMPLES: u32 = 120;
/// What a series takes besides its labels and samples: its places in the index and in the cache of wire keys, and what
/// the allocator adds.
const BOOKKEEPING_BYTES: usize = 160;
/// A series in the list of one of its labels.
const LISTED_BYTES: usize = 8;

/// A series.
#[derive(Debug)]
pub(super) struct Series {
    pub labels: SharedLabels,
    /// Among all series.
    pub place: u32,
    /// None until something is compressed: many series are gone before.
    data: Mutex<Option<Box<Data>>>,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    /// There is one of its time.
    Duplicate,
    /// Too far behind the newest of its series.
    Late,
}

/// A native histogram.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// As it was received; it is known to be valid.
    Wire(Arc<[u8]>),
    /// The result of a query.
    Result(Arc<FloatHistogram>),
}

impl Message {
    fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Wire(bytes) => bytes.len() + 16,
            Self::Result(histogram) => size_of::<FloatHistogram>() + 16 + 8 * histogram.size_samples(),
        };
        size_of::<(i64, Self)>() + content
    }
}

/// The samples of a series, ascending in time.
#[derive(Debug, Default)]
pub(super) struct Data {
    sealed: VecDeque<Chunk>,
    head: Head,
    histograms: VecDeque<(i64, Message)>,
    /// Of all of these.
    bytes: usize,
}

/// What a series with so many labels, and so many of its own, takes besides its samples.
pub(super) const fn overhead_bytes(labels: usize, own_labels: usize) -> usize {
    let labels_bytes = LISTED_BYTES * labels + own_labels_bytes(own_labels);
    size_of::<Series>() + size_of::<Data>() + RECENT_SIZE_BYTES + BOOKKEEPING_BYTES + labels_bytes
}

impl Series {
    pub fn new(labels: SharedLabels, place: u32) -> Self {
        Self { labels, place, data: Mutex::default() }
    }

    /// What it takes besides its samples, and besides labels that it shares.
    pub fn overhead_bytes(&self) -> usize {
        overhead_bytes(self.labels.len(), self.labels.own_count())
    }

    /// Looks at what is compressed.
    pub fn look<R>(&self, look: impl FnOnce(&Data) -> R) -> R {
        let data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        match data.as_deref() {
            Some(data) => look(data),
            None => look(&Data::default()),
        }
    }

    /// Takes what is compressed away.
    pub fn take(&self) -> Data {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        data.take().map_or_else(Data::default, |data| *data)
    }

    /// Changes what is compressed.
    pub fn change<R>(&self, change: impl FnOnce(&mut Data) -> R) -> R {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        change(data.get_or_insert_default())
    }
}

impl Data {
    pub const fn size_bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.head.count() == 0 && self.sealed.is_empty() && self.histograms.is_empty()
    }

    fn last_float(&self) -> Option<i64> {
        self.head.last().or_else(|| self.sealed.back().map(Chunk::last))
    }

    fn last_histogram(&self) -> Option<i64> {
        self.histograms.back().map(|(at, _)| *at)
    }

    /// The newest time of all.
    pub fn newest(&self) -> Option<i64> {
        self.last_float().max(self.last_histogram())
    }

    pub fn oldest(&self) -> Option<i64> {
        let float = self.sealed.front().map(Chunk::first).or_else(|| self.head.first());
        let histogram = self.histograms.front().map(|(at, _)| *at);
        match (float, histogram) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether some of its time lies in `(after, until]`.
    pub fn overlaps(&self, after: i64, until: i64) -> bool {
        self.oldest().is_some_and(|oldest| oldest <= until) && self.newest().is_some_and(|newest| newest > after)
    }

    /// The newest float, if no histogram is newer.
    pub fn newest_float(&self) -> Option<FloatSample> {
        let at = self.last_float().filter(|at| self.last_histogram() < Some(*at))?;
        let value = match self.sealed.back() {
            Some(chunk) if self.head.count() == 0 => chunk.samples().last()?.value,
            _ => self.head.last_value(),
        };
        Some(FloatSample { at: Timestamp(at), value })
    }

    /// Adds a float; one out of order only if it is at most `window` older than the newest.
    pub fn push(&mut self, at: i64, value: f64, window: Span) -> Fate {
        if self.histogram_at(at) {
            return Fate::Duplicate;
        }
        match self.last_float() {
            Some(last) if at == last => Fate::Duplicate,
            Some(last) if at < last => {
                if last.saturating_sub(at) > window.0 {
                    Fate::Late
                } else {
                    self.insert(at, value)
                }
            }
            _ => {
                let before = self.head.size_bytes();
                self.head.push(at, value);
                self.bytes += self.head.size_bytes() - before;
                self.seal_if_full();
                Fate::Stored
            }
        }
    }

    fn seal_if_full(&mut self) {
        if self.head.count() >= CHUNK_LIMIT_SAMPLES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        self.bytes -= self.head.size_bytes();
        let chunk = self.head.seal();
        self.bytes += chunk.size_bytes();
        self.sealed.push_back(chunk);
    }

    /// Puts a float between others: the run it belongs to is written anew.
    fn insert(&mut self, at: i64, value: f64) -> Fate {
        let place = self.sealed.partition_point(|chunk| chunk.last() < at);
        let mut samples: Vec<FloatSample> = match self.sealed.get(place) {
            Some(chunk) => chunk.samples().collect(),
            None => self.head.samples().collect(),
        };
        let Err(position) = samples.binary_search_by_key(&at, |sample| sample.at.0) else { return Fate::Duplicate };
        samples.insert(position, FloatSample { at: Timestamp(at), value });
        let Some(old) = self.sealed.get(place) else {
            self.bytes -= self.head.size_bytes();
            self.head = run(&samples);
            self.bytes += self.head.size_bytes();
            self.seal_if_full();
            return Fate::Stored;
        };
        self.bytes -= old.size_bytes();
        self.sealed.remove(place);
        let size = if samples.len() < 2 * CHUNK_LIMIT_SAMPLES as usize { samples.len() } else { samples.len() / 2 };
        for (i, part) in samples.chunks(size).enumerate() {
            let chunk = run(part).seal();
            self.bytes += chunk.size_bytes();
            self.sealed.insert(place + i, chunk);
        }
        Fate::Stored
    }

    fn histogram_at(&self, at: i64) -> bool {
        // Nearly always later than all of them.
        self.last_histogram().is_some_and(|last| at <= last)
            && self.histograms.binary_search_by_key(&at, |(at, _)| *at).is_ok()
    }

    fn float_at(&self, at: i64) -> bool {
        if self.last_float().is_none_or(|last| at > last) {
            return false;
        }
        let place = self.sealed.partition_point(|chunk| chunk.last() < at);
        let found = |mut samples: super::chunk::Samples<'_>| samples.any(|sample| sample.at.0 == at);
        self.sealed.get(place).map_or_else(|| found(self.head.samples()), |chunk| found(chunk.samples()))
    }

    /// Adds a histogram, as [`Self::push`] a float.
    pub fn push_histogram(&mut self, at: i64, message: Message, window: Span) -> Fate {
        if self.float_at(at) {
            return Fate::Duplicate;
        }
        if self.last_histogram().is_some_and(|last| last.saturating_sub(at) > window.0) {
            return Fate::Late;
        }
        let Err(place) = self.histograms.binary_search_by_key(&at, |(at, _)| *at) else { return Fate::Duplicate };
        self.bytes += message.size_bytes();
        self.histograms.insert(place, (at, message));
        Fate::Stored
    }

    /// Puts samples of the same series before these, to which they came first: of two of one time theirs stays.
    pub fn put_before(&mut self, mut earlier: Self) {
        if let (Some(last), Some(first)) = (earlier.newest(), self.oldest())
            && last >= first
        {
            earlier.merge(self);
            *self = earlier;
            return;
        }
        if earlier.head.count() > 0 {
            earlier.seal();
        }
        self.bytes += earlier.bytes;
        earlier.sealed.append(&mut self.sealed);
        earlier.histograms.append(&mut self.histograms);
        (self.sealed, self.histograms) = (earlier.sealed, earlier.histograms);
    }

    /// Writes all of it anew with samples that came later, of whatever time.
    fn merge(&mut self, later: &Self) {
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for data in [&*self, later] {
            data.read(i64::MIN, i64::MAX, &mut floats, &mut histograms);
        }
        floats.sort_by_key(|sample| sample.at);
        histograms.sort_by_key(|(at, _)| *at);
        *self = Self::default();
        // In order; the second of two of one time is refused.
        for FloatSample { at, value } in floats {
            self.push(at.0, value, Span::ZERO);
        }
        for (at, message) in histograms {
            self.push_histogram(at.0, message, Span::ZERO);
        }
    }

    /// Drops what is wholly before `cutoff`; how many samples that were.
    pub fn drop_before(&mut self, cutoff: i64) -> u64 {
        let mut dropped = 0;
        while let Some(chunk) = self.sealed.pop_front_if(|chunk| chunk.last() < cutoff) {
            dropped += u64::from(chunk.count());
            self.bytes -= chunk.size_bytes();
        }
        if self.head.last().is_some_and(|last| last < cutoff) {
            dropped += u64::from(self.head.count());
            self.bytes -= self.head.size_bytes();
            self.head = Head::default();
        }
        while let Some((_, message)) = self.histograms.pop_front_if(|(at, _)| *at < cutoff) {
            dropped += 1;
            self.bytes -= message.size_bytes();
        }
        dropped
    }

    /// Tells of everything that can be dropped alone: its newest time and its bytes.
    pub fn parts(&self, mut tell: impl FnMut(i64, usize)) {
        self.sealed.iter().for_each(|chunk| tell(chunk.last(), chunk.size_bytes()));
        if let Some(last) = self.head.last() {
            tell(last, self.head.size_bytes());
        }
        self.histograms.iter().for_each(|(at, message)| tell(*at, message.size_bytes()));
    }

    /// Adds the floats and histograms of `(after, until]`.
    pub fn read(
        &self,
        after: i64,
        until: i64,
        floats: &mut Vec<FloatSample>,
        histograms: &mut Vec<(Timestamp, Message)>,
    ) {
        let from = self.sealed.partition_point(|chunk| chunk.last() <= after);
        for chunk in self.sealed.range(from..).take_while(|chunk| chunk.first() <= until) {
            add(chunk.samples(), chunk.first() > after && chunk.last() <= until, after, until, floats);
        }
        if let (Some(first), Some(last)) = (self.head.first(), self.head.last())
            && first <= until
            && last > after
        {
            add(self.head.samples(), first > after && last <= until, after, until, floats);
        }
        let from = self.histograms.partition_point(|(at, _)| *at <= after);
        let to = self.histograms.partition_point(|(at, _)| *at <= until);
        if from < to {
            histograms.extend(self.histograms.range(from..to).map(|(at, message)| (Timestamp(*at), message.clone())));
        }
    }

    /// Chunks, the open one included.
    pub fn chunk_count(&self) -> usize {
        self.sealed.len() + usize::from(self.head.count() > 0)
    }

    /// The oldest and the newest time.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        Some((self.oldest()?, self.newest()?))
    }
}

fn add(samples: super::chunk::Samples<'_>, is_inside: bool, after: i64, until: i64, floats: &mut Vec<FloatSample>) {
    if is_inside {
        floats.extend(samples);
    } else {
        floats.extend(samples.skip_while(|s| s.at.0 <= after).take_while(|s| s.at.0 <= until));
    }
}

fn run(samples: &[FloatSample]) -> Head {
    let mut head = Head::default();
    for sample in samples {
        head.push(sample.at.0, sample.value);
    }
    head
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use proptest::prelude::*;

    const WINDOW: Span = Span::seconds(60);

    #[derive(Clone, Debug)]
    enum Step {
        Float(i64, f64),
        Histogram(i64),
        Drop(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let ahead = prop_oneof![6 => 1_i64..20_000, 2 => -90_000_i64..=0, 1 => Just(0_i64)];
        let step = prop_oneof![
            12 => (ahead.clone(), 0.0..100.0).prop_map(|(by, value)| Step::Float(by, value)),
            3 => ahead.prop_map(Step::Histogram),
            1 => (0_i64..2_000_000).prop_map(Step::Drop),
        ];
        prop::collection::vec(step, 0..700)
    }

    /// Times, ascending, of floats and of histograms.
    fn times() -> impl Strategy<Value = Vec<(i64, bool)>> {
        let step = (1_i64..40, prop::bool::weighted(0.1));
        prop::collection::vec(step, 0..300).prop_map(|steps| {
            let mut now = 0;
            let mut at = |(by, is_histogram)| {
                now += by;
                (now, is_histogram)
            };
            steps.into_iter().map(&mut at).collect()
        })
    }

    fn data(times: &[(i64, bool)], from: i64, value: f64) -> Data {
        let mut data = Data::default();
        for (at, is_histogram) in times {
            if *is_histogram {
                data.push_histogram(from + at, Message::Wire(vec![value as u8].into()), WINDOW);
            } else {
                data.push(from + at, value, WINDOW);
            }
        }
        data
    }

    /// Values of floats and histograms by their times, which ascend.
    fn contents(data: &Data) -> (BTreeMap<i64, f64>, BTreeMap<i64, u8>) {
        let (mut floats, mut messages) = (Vec::new(), Vec::new());
        data.read(i64::MIN, i64::MAX, &mut floats, &mut messages);
        assert!(floats.is_sorted_by(|a, b| a.at < b.at) && messages.is_sorted_by(|(a, _), (b, _)| a < b));
        let value = |message: &Message| match message {
            Message::Wire(bytes) => bytes[0],
            Message::Result(_) => 0,
        };
        let messages = messages.iter().map(|(at, message)| (at.0, value(message)));
        (floats.iter().map(|sample| (sample.at.0, sample.value)).collect(), messages.collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// What came first stands first, and stays where both have a sample of one time.
        #[test]
        fn earlier_samples_go_before(earlier in times(), later in times(), from in prop_oneof![0_i64..7_000, Just(12_000)]) {
            let (before, mut all) = (data(&earlier, 0, 1.0), data(&later, from, 2.0));
            let ((mut floats, mut messages), (before_floats, before_messages)) = (contents(&all), contents(&before));
            floats.extend(before_floats);
            messages.extend(before_messages);
            all.put_before(before);
            let (mut found_floats, mut found_messages) = contents(&all);
            // Of a float and a histogram of one time either may stay.
            let both: Vec<i64> = floats.keys().filter(|at| messages.contains_key(at)).copied().collect();
            for at in both {
                prop_assert!(found_floats.remove(&at).is_some() != found_messages.remove(&at).is_some());
                floats.remove(&at);
                messages.remove(&at);
            }
            prop_assert_eq!((found_floats, found_messages), (floats, messages));
            let mut bytes = 0;
            all.parts(|_, part| bytes += part);
            prop_assert_eq!(all.size_bytes(), bytes);
            // And it goes on from there.
            let next = all.newest().unwrap_or(0) + 1;
            prop_assert_eq!(all.push(next, 3.0, WINDOW), Fate::Stored);
        }

        #[test]
        fn a_series_is_a_sorted_list(steps in steps()) {
            let mut data = Data::default();
            let mut floats: BTreeMap<i64, u64> = BTreeMap::new();
            let mut histograms: BTreeSet<i64> = BTreeSet::new();
            let mut now = 1_000_000_i64;
            for step in steps {
                match step {
                    Step::Float(by, value) => {
                        let at = now + by;
                        now = now.max(at);
                        let expected = if histograms.contains(&at) || floats.contains_key(&at) {
                            Fate::Duplicate
                        } else if floats.last_key_value().is_some_and(|(last, _)| last - at > WINDOW.0) {
                            Fate::Late
                        } else {
                            floats.insert(at, value.to_bits());
                            Fate::Stored
                        };
                        let fate = data.push(at, value, WINDOW);
                        // What is too late may also be a duplicate: neither is stored.
                        prop_assert_eq!(fate == Fate::Stored, expected == Fate::Stored);
                    }
                    Step::Histogram(by) => {
                        let at = now + by;
                        now = now.max(at);
                        let message = Message::Wire(vec![1, 2, 3].into());
                        let late = histograms.last().is_some_and(|last| last - at > WINDOW.0);
                        let stored = !late && !floats.contains_key(&at) && !histograms.contains(&at);
                        if stored {
                            histograms.insert(at);
                        }
                        prop_assert_eq!(data.push_histogram(at, message, WINDOW) == Fate::Stored, stored);
                    }
                    Step::Drop(back) => {
                        let cutoff = now - back;
                        data.drop_before(cutoff);
                        histograms.retain(|at| *at >= cutoff);
                        // Floats go by whole chunks: none that is young enough goes, and what stays is a tail.
                        let mut kept = Vec::new();
                        data.read(i64::MIN, i64::MAX, &mut kept, &mut Vec::new());
                        let oldest = kept.first().map_or(i64::MAX, |s| s.at.0);
                        prop_assert!(floats.range(..oldest).all(|(at, _)| *at < cutoff));
                        floats.retain(|at, _| *at >= oldest);
                    }
                }
                let mut bytes = 0;
                data.parts(|_, part| bytes += part);
                prop_assert_eq!(data.size_bytes(), bytes);
            }
            for (after, until) in [(i64::MIN, i64::MAX), (now - 300_000, now - 20_000), (now - 5_000, now)] {
                let (mut read, mut messages) = (Vec::new(), Vec::new());
                data.read(after, until, &mut read, &mut messages);
                let read: Vec<(i64, u64)> = read.iter().map(|s| (s.at.0, s.value.to_bits())).collect();
                let inside = |at: &i64| after < *at && *at <= until;
                let expected: Vec<(i64, u64)> =
                    floats.iter().filter(|(at, _)| inside(at)).map(|(at, v)| (*at, *v)).collect();
                prop_assert_eq!(read, expected);
                let expected: Vec<i64> = histograms.iter().copied().filter(inside).collect();
                prop_assert_eq!(messages.iter().map(|(at, _)| at.0).collect::<Vec<_>>(), expected);
            }
        }
    }
}
