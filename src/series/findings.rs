//! What the look for the series of a batch has found, for whoever asks the same of that batch next.
//!
//! To find a series by its wire key takes a table of all of them, and to find out what a new one is takes a reading of
//! its labels. Neither is done twice: the engine passes on what it knows.

use crate::types::BorrowedLabels;
use crate::wire::Changes;

/// Of one batch, by the places of its series.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    series: Vec<Found>,
    histogram_series: Vec<Found>,
    readings: Vec<LabelReading>,
    /// The values of the labels that changed, behind each other, and where each of them ends.
    text: String,
    ends: Vec<u32>,
}

/// What is known of a wire key.
///
/// One word, and no enum: the two words of that would be written apart and read as one, for which a processor waits until
/// all that was written before has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(u32);

impl Found {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self(u32::MAX);
    /// The other one of a pair of senders is listened to.
    pub const UNHEARD: Self = Self(u32::MAX - 1);

    /// It has this place among the wire keys in use, and no other has it at the same time.
    pub const fn at(place: u32) -> Self {
        Self(place)
    }

    /// Its place among the wire keys in use.
    #[inline]
    pub fn place(self) -> Option<u32> {
        (self != Self::UNKNOWN && self != Self::UNHEARD).then_some(self.0)
    }
}

/// The labels of a new series were read.
#[derive(Clone, Copy, Debug)]
pub struct LabelReading {
    /// Place of the series in the batch.
    pub source: u32,
    /// Where its labels differ from those of the reading before.
    pub changes: Changes,
    /// The keyed hash of its labels, if it is tracked.
    pub identity: Option<u128>,
    /// It counts for something, and is not only tracked for its neighbours' sake.
    pub is_counted: bool,
    /// The first of its values among those of all.
    first_value: u32,
}

impl Findings {
    /// Nothing is known of a batch with so many series, and so many of histograms.
    pub fn begin(&mut self, series: usize, histogram_series: usize) {
        for (found, count) in [(&mut self.series, series), (&mut self.histogram_series, histogram_series)] {
            found.clear();
            found.resize(count, Found::UNKNOWN);
        }
        self.readings.clear();
        self.text.clear();
        self.ends.clear();
    }

    /// Something is known of the series in this place of the batch.
    #[inline]
    pub fn set(&mut self, source: u32, found: Found) {
        self.series[source as usize] = found;
    }

    /// The same of a series of histograms.
    pub fn set_histogram(&mut self, source: u32, found: Found) {
        self.histogram_series[source as usize] = found;
    }

    /// The labels of the series in this place, behind all others that were read, differ from those read before in these
    /// places. `identity` is the keyed hash of the labels, if the series is tracked.
    pub fn push(
        &mut self,
        source: u32,
        (labels, changes): (&BorrowedLabels<'_>, Changes),
        identity: Option<u128>,
        is_counted: bool,
    ) {
        if self.readings.is_empty() {
            // Where one series is new, most that come behind it are.
            self.readings.reserve(self.series.len().saturating_sub(source as usize));
        }
        let first_value = self.ends.len() as u32;
        self.readings.push(LabelReading { source, changes, identity, is_counted, first_value });
        // Where there may be other names, too, the labels have to be read again.
        if !changes.may_be_names() {
            for (_, value) in changes.places(labels.len()).filter_map(|place| labels.nth(place)) {
                self.text.push_str(value);
                self.ends.push(self.text.len() as u32);
            }
        }
    }

    /// The labels of the series before that was read become those of this one.
    pub fn follow<'a>(&'a self, reading: &LabelReading, labels: &mut BorrowedLabels<'a>) {
        let first = reading.first_value as usize;
        let mut start = first.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        for (place, end) in reading.changes.places(labels.len()).zip(&self.ends[first..]) {
            let end = *end as usize;
            if let Some((_, value)) = labels.get_mut(place) {
                *value = &self.text[start..end];
            }
            start = end;
        }
    }

    /// Room that is kept for reuse.
    pub fn capacity_bytes(&self) -> usize {
        (self.series.capacity() + self.histogram_series.capacity()) * size_of::<Found>()
            + self.readings.capacity() * size_of::<LabelReading>()
            + self.text.capacity()
            + self.ends.capacity() * size_of::<u32>()
    }

    /// What is known of each series, in order, for as long as anything is.
    pub fn series(&self) -> impl Iterator<Item = Found> {
        self.series.iter().copied()
    }

    /// The same of series of histograms.
    pub fn histogram_series(&self) -> impl Iterator<Item = Found> {
        self.histogram_series.iter().copied()
    }

    /// In the order of the series.
    pub fn readings(&self) -> impl Iterator<Item = &LabelReading> {
        self.readings.iter()
    }
}
