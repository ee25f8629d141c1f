//! One scrape target (`job` and `instance`) with its series: all that one series has to know of another is in here.
//!
//! So targets can be dealt out to any number of shards, and nothing that is counted depends on how.

mod histogram;
mod sample;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::series::aside::{Aside, Piece, Save, encode};
use crate::series::birth::Births;
use crate::series::counter::{Change, Counter};
use crate::series::gauge::Gauge;
use crate::series::index::Identities;
use crate::series::native::Native;
use crate::series::scrape::Scrape;
use crate::series::{Liveness, Output, SeriesId, Tag};
use crate::types::{Blocks, BorrowedLabels, Timestamp};

use histogram::Twins;

/// Series of a target that lie behind each other: few, since there are many targets, and in most of them the last block is
/// not full.
const BLOCK_SERIES: usize = 8;

/// A change of one series' count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Increment {
    /// What the series is bound to.
    pub tag: Tag,
    /// The target that exposed it.
    pub target: u32,
    /// When, and how much; zero where a sample added nothing.
    pub change: Change,
    /// The sample of a gauge of which `change` is the one event.
    pub reading: Option<Reading>,
}

/// A gauge's sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Whose.
    pub series: SeriesId,
    /// NaN and infinities too; the stale marker where the series ended, which is no event.
    pub value: f64,
}

/// The labels that name a target; empty where a series has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) job: Box<str>,
    pub(super) instance: Box<str>,
}

impl Key {
    const LABELS: [&str; 2] = ["job", "instance"];

    pub(super) fn of(labels: &BorrowedLabels<'_>) -> Self {
        let [job, instance] = Self::LABELS.map(|name| labels.get(name).unwrap_or_default().into());
        Self { job, instance }
    }

    /// Where the labels that name a target stand among these.
    pub(super) fn places(labels: &BorrowedLabels<'_>) -> [Option<usize>; 2] {
        Self::LABELS.map(|name| labels.place(name))
    }
}

/// One series of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Series {
    /// The two halves of the hash: a `u128` would make the whole struct larger.
    identity: (u64, u64),
    counter: Counter,
    /// `None` for a counter.
    special: Option<Box<Special>>,
    /// When the latest sample arrived, in seconds since the Unix epoch: nothing depends on the rest.
    seen: u32,
    tag: Tag,
    /// In place of `tag` for what a native histogram of the same labels counts already.
    beside_native: Tag,
    /// The other form of the same histogram; [`NO_TWIN`] for most.
    twin: u32,
    /// Which of the target's metrics it belongs to.
    metric: u32,
    live: bool,
    used: bool,
}

/// What few series are, so that the others need no room for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Special {
    /// Its samples are events themselves.
    Gauge(Gauge),
    Native(Native),
}

const NO_TWIN: u32 = u32::MAX;

impl Series {
    fn new(identity: u128, metric: u32, special: Option<Special>) -> Self {
        Self {
            identity: ((identity >> 64) as u64, identity as u64),
            counter: Counter::new(),
            special: special.map(Box::new),
            seen: 0,
            tag: Tag::NOTHING,
            beside_native: Tag::NOTHING,
            twin: NO_TWIN,
            metric,
            live: false,
            used: true,
        }
    }

    fn unused() -> Self {
        Self { used: false, ..Self::new(0, 0, None) }
    }

    const fn identity(&self) -> u128 {
        (self.identity.0 as u128) << 64 | self.identity.1 as u128
    }

    /// The time of its newest sample.
    fn newest(&self) -> Option<Timestamp> {
        match self.special.as_deref() {
            None => self.counter.newest(),
            Some(Special::Gauge(gauge)) => gauge.newest(),
            Some(Special::Native(native)) => native.newest(),
        }
    }

    /// The time of the first sample ever, while it is remembered.
    fn first_at(&self) -> Option<Timestamp> {
        match self.special.as_deref() {
            Some(Special::Native(native)) => native.first_at(),
            _ => self.counter.first().map(|(at, _)| at),
        }
    }

    /// What an increase up to `at` counts for.
    fn tag_at(&self, at: Timestamp, twins: &mut Twins) -> Tag {
        if self.twin == NO_TWIN || twins.counts_classic(self.twin, at) { self.tag } else { self.beside_native }
    }

    /// Counts for this from now on, whether or not a native histogram counts the same.
    pub(super) fn bind(&mut self, tag: Tag) {
        (self.tag, self.beside_native) = (tag, tag);
    }

    /// Its samples are events from now on.
    pub(super) fn becomes_gauge(&mut self) {
        self.special.get_or_insert_with(|| Box::new(Special::Gauge(Gauge::default())));
    }

    pub(super) fn native(&mut self) -> Option<&mut Native> {
        match self.special.as_deref_mut() {
            Some(Special::Native(native)) => Some(native),
            _ => None,
        }
    }

    /// Counts for nothing, and begins anew for whatever it is bound to next.
    fn unbind(&mut self) {
        self.bind(Tag::NOTHING);
        if let Some(native) = self.native() {
            native.unbind();
        }
        self.live = false;
    }
}

/// State of one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    pub(super) key: Arc<Key>,
    series: Blocks<Series, BLOCK_SERIES>,
    /// Follows from the series.
    #[serde(skip)]
    identities: Identities,
    used_count: u32,
    /// Indices to use again, with the rotation from which on no wire key can stand for their last series.
    free: VecDeque<(u64, u32)>,
    births: Births,
    scrape: Scrape,
    twins: Twins,
    #[serde(skip)]
    aside: Aside,
}

impl Piece for Target {
    #[inline]
    fn aside(&mut self) -> &mut Aside {
        &mut self.aside
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        encode(self, bytes);
    }
}

impl Target {
    /// A target that comes while this save is in progress.
    pub(super) fn new(key: Arc<Key>, save: Save) -> Self {
        Self { key, aside: Aside::beside(save), ..Self::default() }
    }

    /// Another one takes its place, in which there was no series any more.
    pub(super) fn replace(&mut self, mut new: Self) -> Self {
        new.aside = std::mem::take(&mut self.aside);
        std::mem::replace(self, new)
    }

    /// Adds a series of the metric with this name; the index of its place.
    pub(super) fn add(&mut self, identity: u128, name: &str, special: Option<Special>, rotation: u64) -> u32 {
        let series = Series::new(identity, self.births.join(name), special);
        self.used_count += 1;
        let index = if self.free.front().is_some_and(|(from, _)| *from <= rotation) {
            let (_, index) = self.free.pop_front().unwrap_or_default();
            self.series[index as usize] = series;
            index
        } else {
            self.series.push(series);
            self.series.len() as u32 - 1
        };
        self.identities.insert(identity, index, |index| self.series[index as usize].identity());
        index
    }

    /// The place of the series with this identity.
    pub(super) fn find(&self, identity: u128) -> Option<u32> {
        self.identities.get(identity, |index| self.series[index as usize].identity())
    }

    /// Places for series, used or not.
    pub(super) fn places(&self) -> usize {
        self.series.len()
    }

    /// Whether it has a series.
    pub(super) const fn is_used(&self) -> bool {
        self.used_count > 0
    }

    /// Whether there is a series in this place.
    pub(super) fn has(&self, index: u32) -> bool {
        // Most targets have never lost a series: then there is no need to look at this one.
        (index as usize) < self.series.len() && (self.free.is_empty() || self.series[index as usize].used)
    }

    /// How many series it has.
    pub(super) const fn len(&self) -> usize {
        self.used_count as usize
    }

    pub(super) fn series_mut(&mut self, index: u32) -> &mut Series {
        &mut self.series[index as usize]
    }

    /// Whether there is a series in this place whose last sample arrived at `until` or before.
    pub(super) fn is_idle(&self, index: u32, until: Timestamp) -> bool {
        let series = &self.series[index as usize];
        series.used && i64::from(series.seen) <= until.as_millis().div_euclid(1_000)
    }

    /// Forgets the series in this place; the bytes of native histograms that it kept. One that was live is reported as
    /// ended. The place is used again from a rotation on.
    pub(super) fn forget(&mut self, index: u32, rotation: u64, out: &mut Vec<Liveness>) -> usize {
        let series = &mut self.series[index as usize];
        if series.live {
            out.push(Liveness { tag: series.tag, live: false });
        }
        let forgotten = std::mem::replace(series, Series::unused());
        let native_bytes = match forgotten.special.as_deref() {
            Some(Special::Native(native)) => {
                self.twins.native_ended(forgotten.twin, Timestamp::MIN);
                native.message_bytes()
            }
            _ => 0,
        };
        self.twins.leave(forgotten.twin);
        self.births.leave(index, forgotten.metric);
        self.identities.remove(forgotten.identity(), index);
        self.used_count -= 1;
        self.free.push_back((rotation, index));
        native_bytes
    }

    /// Has had no scrape.
    pub(super) fn is_new(&self) -> bool {
        self.scrape.is_first()
    }

    /// Whether changes are held.
    pub(super) fn is_holding(&self) -> bool {
        self.scrape.is_holding()
    }

    /// Passes on what an incomplete scrape has held for too long.
    pub(super) fn settle(&mut self, now: Timestamp, out: &mut Output) {
        self.scrape.settle(now, &mut out.increments);
    }

    /// Tells every tag that something of it refers to.
    pub(super) fn each_tag(&self, tell: &mut impl FnMut(Tag)) {
        for series in self.series.iter() {
            tell(series.tag);
            tell(series.beside_native);
            if let Some(Special::Native(native)) = series.special.as_deref() {
                native.each_tag(tell);
            }
        }
        self.scrape.held().iter().for_each(|increment| tell(increment.tag));
    }

    /// Binds every series to nothing.
    pub(super) fn unbind(&mut self) {
        self.series.iter_mut().for_each(Series::unbind);
    }

    /// Makes a target that was stored whole again; the bytes of native histograms that it keeps.
    pub(super) fn rebuild(&mut self) -> usize {
        self.twins.rebuild();
        for index in (0..self.series.len() as u32).filter(|index| self.series[*index as usize].used) {
            let identity_of = |index: u32| self.series[index as usize].identity();
            self.identities.insert(identity_of(index), index, identity_of);
        }
        let natives = self.series.iter_mut().filter_map(Series::native);
        natives.map(|native| native.message_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_small() {
        assert!(size_of::<Series>() <= 112, "{}", size_of::<Series>());
    }
}
