//! One scrape target (`job` and `instance`) with its series: all that one series has to know of another is in here.
//!
//! So targets can be dealt out to any number of shards, and nothing that is counted depends on how.

mod histogram;
mod members;
mod sample;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::series::aside::{Aside, Piece, Save, encode};
use crate::series::birth::Births;
use crate::series::counter::Change;
use crate::series::index::Identities;
use crate::series::native::Native;
use crate::series::scrape::Scrape;
use crate::series::{Liveness, Output, SeriesId, Tag};
use crate::types::{BorrowedLabels, Timestamp};

use histogram::Twins;
use members::Members;

pub(super) use members::Special;

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

/// State of one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    pub(super) key: Arc<Key>,
    members: Members,
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
        let new = members::new(identity, self.births.join(name), special);
        self.used_count += 1;
        let index = if self.free.front().is_some_and(|(from, _)| *from <= rotation) {
            let (_, index) = self.free.pop_front().unwrap_or_default();
            self.members.replace(index, new);
            index
        } else {
            self.members.push(new)
        };
        self.identities.insert(identity, index, |index| self.members.identity(index));
        index
    }

    /// The place of the series with this identity.
    pub(super) fn find(&self, identity: u128) -> Option<u32> {
        self.identities.get(identity, |index| self.members.identity(index))
    }

    /// Places for series, used or not.
    pub(super) const fn places(&self) -> u32 {
        self.members.len()
    }

    /// Whether it has a series.
    pub(super) const fn is_used(&self) -> bool {
        self.used_count > 0
    }

    /// Whether there is a series in this place.
    pub(super) fn has(&self, index: u32) -> bool {
        // Most targets have never lost a series: then there is no need to look at this one.
        index < self.members.len() && (self.free.is_empty() || self.members.series(index).used)
    }

    /// How many series it has.
    pub(super) const fn len(&self) -> usize {
        self.used_count as usize
    }

    /// The series in this place counts for this from now on, whether or not a native histogram counts the same.
    pub(super) fn bind(&mut self, index: u32, tag: Tag) {
        self.members.bind(index, tag);
    }

    /// The samples of the series in this place are events from now on.
    pub(super) fn becomes_gauge(&mut self, index: u32) {
        self.members.becomes_gauge(index);
    }

    /// The series in this place, if it is one of native histograms.
    pub(super) fn native_mut(&mut self, index: u32) -> Option<&mut Native> {
        self.members.native_mut(index)
    }

    /// Whether there is a series in this place whose last sample arrived at `until` or before.
    pub(super) fn is_idle(&self, index: u32, until: Timestamp) -> bool {
        let series = self.members.series(index);
        series.used && i64::from(series.seen) <= until.as_millis().div_euclid(1_000)
    }

    /// Forgets the series in this place; the bytes of native histograms that it kept. One that was live is reported as
    /// ended. The place is used again from a rotation on.
    pub(super) fn forget(&mut self, index: u32, rotation: u64, out: &mut Vec<Liveness>) -> usize {
        let (series, rest) = self.members.replace(index, members::unused());
        if series.live {
            out.push(Liveness { tag: series.tag, live: false });
        }
        let native_bytes = match rest.special() {
            Some(Special::Native(native)) => {
                self.twins.native_ended(series.twin, Timestamp::MIN);
                native.message_bytes()
            }
            _ => 0,
        };
        self.twins.leave(series.twin);
        self.births.leave(index, series.metric);
        self.identities.remove(rest.identity(), index);
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
        for (series, rest) in self.members.iter() {
            tell(series.tag);
            tell(rest.beside_native);
            if let Some(Special::Native(native)) = rest.special() {
                native.each_tag(tell);
            }
        }
        self.scrape.held().iter().for_each(|increment| tell(increment.tag));
    }

    /// Binds every series to nothing.
    pub(super) fn unbind(&mut self) {
        for (series, rest) in self.members.iter_mut() {
            series.unbind();
            rest.unbind();
        }
    }

    /// Makes a target that was stored whole again; the bytes of native histograms that it keeps.
    pub(super) fn rebuild(&mut self) -> usize {
        self.twins.rebuild();
        for index in (0..self.members.len()).filter(|index| self.members.series(*index).used) {
            let identity_of = |index: u32| self.members.identity(index);
            self.identities.insert(identity_of(index), index, identity_of);
        }
        let natives = self.members.iter_mut().filter_map(|(_, rest)| rest.native_mut());
        natives.map(|native| native.message_bytes()).sum()
    }
}
