//! Samples of the past, in order of time.
//!
//! Sources tell their samples in any order, as a rule one series after the other. A [`Recorder`] keeps the
//! samples of series that some SLI counts, 24 B each (up to 48 B while the buffer grows); [`Recorder::finish`]
//! sorts them by time and series, which takes 12 B a sample more for its duration.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::sli::{Catalog, Match, SliId};
use crate::spec::{Origin, Service};
use crate::types::{Labels, METRIC_NAME, Timestamp};

/// Samples kept at most: 10 GB.
pub const SAMPLES_LIMIT_COUNT: usize = 400_000_000;
/// Series kept at most, as many as a daemon tracks.
pub const SERIES_LIMIT_COUNT: usize = 5_000_000;
/// Names of metrics remembered to say what an input holds.
const NAMES_LIMIT_COUNT: usize = 1_000;

/// Why a recording cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// Over [`SAMPLES_LIMIT_COUNT`].
    #[error("more than {SAMPLES_LIMIT_COUNT} samples to judge: narrow the time with --from and --to")]
    TooManySamples,
    /// Over [`SERIES_LIMIT_COUNT`].
    #[error("more than {SERIES_LIMIT_COUNT} series to judge: narrow the selectors")]
    TooManySeries,
}

/// A series whose samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// One sample of a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// Its value; the staleness marker where the series ended.
    pub value: f64,
    /// The series.
    pub series: Slot,
}

/// What was read, and what of it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Samples told, those of no interest included.
    pub samples_read: u64,
    /// Time of the earliest and latest of them.
    pub read: Option<(Timestamp, Timestamp)>,
    /// Samples kept.
    pub samples_kept: u64,
    /// Series with samples that are kept.
    pub series_kept: usize,
    /// Names of metrics told, sorted; the first thousand that came.
    pub names: BTreeSet<Box<str>>,
}

/// A selector of an SLI that matched no sample.
#[derive(Clone, Debug)]
pub struct UnusedSelector {
    /// As PromQL writes it.
    pub selector: String,
    /// `service/sli`
    pub sli: String,
    /// Where the SLI is defined.
    pub origin: Origin,
}

/// Collects samples from one or more sources.
#[derive(Debug)]
pub struct Recorder {
    catalog: Catalog,
    services: Vec<Service>,
    range: RangeInclusive<Timestamp>,
    slots: BTreeMap<Labels, Slot>,
    series: Vec<Series>,
    samples: Vec<Sample>,
    /// Matched by what is not kept.
    noted: BTreeSet<(SliId, u32)>,
    totals: Totals,
}

#[derive(Debug)]
struct Series {
    matches: Vec<Match>,
    has_samples: bool,
}

/// Samples in order of time, those of one time in the order of their series' labels.
#[derive(Debug)]
pub struct Recording {
    series: Vec<Labels>,
    samples: Vec<Sample>,
    totals: Totals,
    unused: Vec<UnusedSelector>,
    matched: bool,
}

impl Recorder {
    /// Keeps what any of the services' SLIs count, within `range`. Give all services that will judge it.
    pub fn new(services: Vec<Service>, range: RangeInclusive<Timestamp>) -> Self {
        Self {
            catalog: Catalog::new(&services),
            services,
            range,
            slots: BTreeMap::new(),
            series: Vec::new(),
            samples: Vec::new(),
            noted: BTreeSet::new(),
            totals: Totals::default(),
        }
    }

    /// There is a series of native histograms, which is not kept.
    pub fn note_native(&mut self, labels: &Labels) {
        if self.totals.names.len() < NAMES_LIMIT_COUNT {
            self.totals.names.insert(labels.get(METRIC_NAME).unwrap_or_default().into());
        }
        for matched in self.catalog.find_native(labels).into_iter().flatten() {
            let sli = self.services.iter().flat_map(|service| service.slis.iter()).nth(matched.sli.0 as usize);
            let terms = sli.map_or(0, |sli| sli.inputs().terms.len());
            self.noted.extend((0..terms as u32).map(|term| (matched.sli, term)));
        }
    }

    /// Where the samples of a series go; `None` when no SLI is interested in it or its neighbours.
    ///
    /// # Errors
    /// When it is one series too many.
    pub fn series(&mut self, labels: Labels) -> Result<Option<Slot>, RecordingError> {
        if self.totals.names.len() < NAMES_LIMIT_COUNT {
            self.totals.names.insert(labels.get(METRIC_NAME).unwrap_or_default().into());
        }
        let Some(matches) = self.catalog.find(&labels) else { return Ok(None) };
        if let Some(&slot) = self.slots.get(&labels) {
            return Ok(Some(slot));
        }
        if self.series.len() == SERIES_LIMIT_COUNT {
            return Err(RecordingError::TooManySeries);
        }
        let slot = Slot(self.series.len() as u32);
        self.series.push(Series { matches, has_samples: false });
        self.slots.insert(labels, slot);
        Ok(Some(slot))
    }

    /// Takes a sample of a series, `None` for one of no interest.
    ///
    /// # Errors
    /// When it is one sample too many.
    pub fn sample(&mut self, series: Option<Slot>, at: Timestamp, value: f64) -> Result<(), RecordingError> {
        self.totals.samples_read += 1;
        let (first, last) = self.totals.read.unwrap_or((at, at));
        self.totals.read = Some((first.min(at), last.max(at)));
        let Some(series) = series.filter(|_| self.range.contains(&at)) else { return Ok(()) };
        if self.samples.len() == SAMPLES_LIMIT_COUNT {
            return Err(RecordingError::TooManySamples);
        }
        self.series[series.0 as usize].has_samples = true;
        self.samples.push(Sample { at, value, series });
        Ok(())
    }

    /// Samples told so far.
    pub fn samples_read(&self) -> u64 {
        self.totals.samples_read
    }

    /// Puts everything in order.
    ///
    /// The order of one moment's samples follows from their labels and not from where they stood in the input,
    /// so that the same samples give the same recording. Of two samples of a series at the same time the one
    /// told first stays in front.
    pub fn finish(mut self) -> Recording {
        let mut matched: BTreeSet<(SliId, u32)> =
            self.series.iter().filter(|s| s.has_samples).flat_map(|s| &s.matches).map(|m| (m.sli, m.term)).collect();
        matched.append(&mut self.noted);
        let mut order = vec![Slot(0); self.series.len()];
        let mut series = Vec::new();
        for (labels, slot) in std::mem::take(&mut self.slots) {
            if self.series[slot.0 as usize].has_samples {
                order[slot.0 as usize] = Slot(series.len() as u32);
                series.push(labels);
            }
        }
        for sample in &mut self.samples {
            sample.series = order[sample.series.0 as usize];
        }
        self.samples.sort_by_key(|sample| (sample.at, sample.series));
        self.totals.samples_kept = self.samples.len() as u64;
        self.totals.series_kept = series.len();
        Recording {
            series,
            samples: self.samples,
            totals: self.totals,
            unused: unused(&self.services, &matched),
            matched: !matched.is_empty(),
        }
    }
}

/// Selectors that matched nothing, each once, in the order of the specs.
fn unused(services: &[Service], matched: &BTreeSet<(SliId, u32)>) -> Vec<UnusedSelector> {
    let mut unused = Vec::new();
    let mut told = BTreeSet::new();
    let slis = services.iter().flat_map(|service| service.slis.iter().map(move |sli| (service, sli)));
    for (id, (service, sli)) in slis.enumerate() {
        for (term, input) in (0..).zip(sli.inputs().terms) {
            let selector = input.selector.to_string();
            if matched.contains(&(SliId(id as u32), term)) || !told.insert(selector.clone()) {
                continue;
            }
            unused.push(UnusedSelector {
                selector,
                sli: format!("{}/{}", service.name, sli.name),
                origin: sli.origin.clone(),
            });
        }
    }
    unused
}

impl Recording {
    /// The samples of each moment that has any, in order of time.
    pub fn moments(&self) -> impl Iterator<Item = (Timestamp, &[Sample])> {
        self.samples.chunk_by(|a, b| a.at == b.at).map(|moment| (moment[0].at, moment))
    }

    /// The labels of every series, in order; a [`Slot`] is an index.
    pub fn series(&self) -> &[Labels] {
        &self.series
    }

    /// The labels of a series.
    pub fn labels(&self, series: Slot) -> &Labels {
        &self.series[series.0 as usize]
    }

    /// Time of the first and last sample kept.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.samples.first()?.at, self.samples.last()?.at))
    }

    /// What was read and kept.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether any sample matches any selector.
    pub fn has_matches(&self) -> bool {
        self.matched
    }

    /// Selectors without any sample.
    pub fn unused_selectors(&self) -> &[UnusedSelector] {
        &self.unused
    }
}
