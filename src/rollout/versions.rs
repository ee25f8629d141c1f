//! The versions of a service as its samples show them: which are live, up to when each has been seen whole, and what its
//! counters rose by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canary::Layout;
use crate::spec::Counting;
use crate::types::{Span, Timestamp};

/// Versions of a service that are remembered; a new one takes the place of the one silent for longest, and is left out
/// where all are live.
pub const VERSIONS_LIMIT_COUNT: usize = 16;
/// Targets of a version that hold its events back until they have been seen; what others expose counts as it comes.
pub const TARGETS_LIMIT_COUNT: usize = 10_000;
/// A version without samples for this long is gone, and new when it comes back.
pub const ABSENT: Span = Span::minutes(5);

/// A target that misses this many of its scrapes, and so much more, is not waited for.
const MISSED_SCRAPES: i64 = 2;
const MISSED_SLACK: Span = Span::seconds(5);
/// Until the interval of a target's scrapes is known.
const INTERVAL_UNKNOWN: Span = Span::minutes(1);
/// A target not seen for so long is forgotten.
const TARGET_IDLE: Span = Span::minutes(10);
/// After this time an event counts half in what is known of the time before a rollout.
const HALF_LIFE_MS: f64 = 30.0 * 60_000.0;
/// A bound that was not counted for so long is no longer exposed.
const BOUND_IDLE: Span = Span::minutes(5);
/// Bounds kept beyond those between which events lie, on either side.
const LAYOUT_MARGIN: usize = 16;

/// Of a stream of good and bad events, in place of a bound.
pub const NUMERATOR: u64 = 0;
/// All events: of good and bad ones and, as the infinite bound, of buckets.
pub const TOTAL: u64 = 0x7ff0_0000_0000_0000;

/// One change of a counter, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Value of the version label.
    pub version: &'a str,
    /// The service's stream.
    pub stream: u32,
    /// The stream's stratum.
    pub stratum: u32,
    /// [`NUMERATOR`], [`TOTAL`], or the bits of a bucket's upper bound.
    pub key: u64,
    /// What exposed it.
    pub target: u32,
    /// The later sample's time.
    pub at: Timestamp,
    /// The earlier one's; `at` where the change says nothing of a stretch of time, `None` for the target's scrape before.
    pub since: Option<Timestamp>,
    /// Events.
    pub amount: f64,
}

/// Events of one stretch of time, by key, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums(Vec<(u64, f64)>);

/// What a version's counters of one stream and stratum rose by in `(since, at]`.
#[derive(Debug)]
pub(super) struct Flushed {
    pub version: usize,
    pub stream: u32,
    pub stratum: u32,
    pub since: Timestamp,
    pub at: Timestamp,
    pub sums: Sums,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Versions {
    all: Vec<Version>,
    /// How many there have been.
    appearances: u64,
}

/// One value of the version label.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub name: Box<str>,
    /// Its place in the order of appearance.
    pub order: u64,
    /// The first sample since it was last gone.
    pub appeared: Timestamp,
    /// When the latest sample arrived.
    pub seen: Timestamp,
    pub is_live: bool,
    /// All events of late, of whatever stream.
    pub weight: f64,
    targets: BTreeMap<u32, Target>,
    lanes: BTreeMap<(u32, u32), Lane>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Target {
    latest: Timestamp,
    previous: Option<Timestamp>,
}

/// One stream and stratum of a version.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Lane {
    /// Recent events by key, older ones less, and when the key was last counted.
    recent: BTreeMap<u64, (f64, Timestamp)>,
    decayed: Option<Timestamp>,
    /// Of the step at hand, by the end and the beginning of the stretch of time, in their order.
    #[serde(skip)]
    open: Vec<((Timestamp, Timestamp), Sums)>,
}

impl Sums {
    fn add(&mut self, key: u64, amount: f64) {
        let place = self.0.binary_search_by_key(&key, |(key, _)| *key);
        let place = place.unwrap_or_else(|place| {
            self.0.insert(place, (key, 0.0));
            place
        });
        self.0[place].1 += amount;
    }

    fn get(&self, key: u64) -> f64 {
        self.0.binary_search_by_key(&key, |(key, _)| *key).map_or(0.0, |place| self.0[place].1)
    }

    /// Of the last key that is not above this one.
    fn up_to(&self, key: u64) -> f64 {
        let above = self.0.partition_point(|(other, _)| *other <= key);
        above.checked_sub(1).map_or(0.0, |last| self.0[last].1)
    }
}

impl FromIterator<(u64, f64)> for Sums {
    fn from_iter<T: IntoIterator<Item = (u64, f64)>>(pairs: T) -> Self {
        let mut sums = Self::default();
        pairs.into_iter().for_each(|(key, amount)| sums.add(key, amount));
        sums
    }
}

impl Versions {
    pub fn all(&self) -> &[Version] {
        &self.all
    }

    pub fn live(&self) -> impl Iterator<Item = &Version> {
        self.all.iter().filter(|version| version.is_live)
    }

    pub fn get(&self, name: &str) -> Option<&Version> {
        self.all.iter().find(|version| &*version.name == name)
    }

    /// Takes a change that arrives `now`. Whether its version appears with it.
    pub fn observe(&mut self, observed: &Observed<'_>, now: Timestamp) -> bool {
        let Observed { version, stream, stratum, key, target, at, since, amount } = *observed;
        let Some(index) = self.find_or_add(version, at) else { return false };
        let version = &mut self.all[index];
        let appears = !std::mem::replace(&mut version.is_live, true);
        if appears {
            self.appearances += 1;
            (version.appeared, version.order) = (at, self.appearances);
        }
        version.seen = now;
        let known = version.targets.len();
        let previous = match version.targets.get_mut(&target) {
            Some(target) if at > target.latest => {
                *target = Target { latest: at, previous: Some(target.latest) };
                target.previous
            }
            Some(target) => target.previous.filter(|_| at == target.latest),
            None if known < TARGETS_LIMIT_COUNT => {
                if known.is_power_of_two() {
                    // Nobody may look at the version for long, and its targets come and go.
                    version.forget_targets(at);
                }
                version.targets.insert(target, Target { latest: at, previous: None });
                None
            }
            None => None,
        };
        if let Some(since) = since.or(previous)
            && since < at
        {
            let lane = version.lanes.entry((stream, stratum)).or_default();
            lane.open_at(at, since).add(key, amount);
        }
        appears
    }

    fn find_or_add(&mut self, name: &str, at: Timestamp) -> Option<usize> {
        if let Some(index) = self.all.iter().position(|version| &*version.name == name) {
            return Some(index);
        }
        let new = Version {
            name: name.into(),
            order: 0,
            appeared: at,
            seen: Timestamp::MIN,
            is_live: false,
            weight: 0.0,
            targets: BTreeMap::new(),
            lanes: BTreeMap::new(),
        };
        if self.all.len() < VERSIONS_LIMIT_COUNT {
            self.all.push(new);
            return Some(self.all.len() - 1);
        }
        let gone = (0..self.all.len()).filter(|i| !self.all[*i].is_live).min_by_key(|i| self.all[*i].seen)?;
        self.all[gone] = new;
        Some(gone)
    }

    /// What was observed since the last time, in the order of versions, streams and time.
    pub fn flush(&mut self) -> Vec<Flushed> {
        let mut flushed = Vec::new();
        for (index, version) in self.all.iter_mut().enumerate() {
            for (&(stream, stratum), lane) in &mut version.lanes {
                for ((at, since), sums) in std::mem::take(&mut lane.open) {
                    version.weight = version.weight * lane.remember(at, &sums) + sums.get(TOTAL).max(0.0);
                    flushed.push(Flushed { version: index, stream, stratum, since, at, sums });
                }
            }
        }
        flushed
    }

    /// Versions not seen for a while are gone.
    pub fn expire(&mut self, now: Timestamp) {
        for version in self.all.iter_mut().filter(|version| version.is_live && now.since(version.seen) >= ABSENT) {
            version.is_live = false;
            version.targets.clear();
        }
    }

    /// Streams have other numbers from now on.
    pub fn renumber(&mut self, stream: impl Fn(u32) -> Option<u32>) {
        for version in &mut self.all {
            let lanes = std::mem::take(&mut version.lanes).into_iter();
            version.lanes = lanes.filter_map(|((old, stratum), lane)| Some(((stream(old)?, stratum), lane))).collect();
        }
    }
}

impl Version {
    /// Its newest sample's time.
    pub fn newest(&self) -> Option<Timestamp> {
        self.targets.values().map(|target| target.latest).max()
    }

    pub fn lane(&self, stream: u32, stratum: u32) -> Option<&Lane> {
        self.lanes.get(&(stream, stratum))
    }

    fn forget_targets(&mut self, newest: Timestamp) {
        self.targets.retain(|_, target| newest.since(target.latest) < TARGET_IDLE);
    }

    /// Up to when all its targets have been seen, those that no longer answer left out.
    pub fn watermark(&mut self) -> Option<Timestamp> {
        let newest = self.targets.values().map(|target| target.latest).max()?;
        self.forget_targets(newest);
        let is_awaited = |target: &&Target| {
            let interval = target.previous.map_or(INTERVAL_UNKNOWN, |previous| target.latest.since(previous));
            newest.since(target.latest).as_millis() <= MISSED_SCRAPES * interval.as_millis() + MISSED_SLACK.as_millis()
        };
        self.targets.values().filter(is_awaited).map(|target| target.latest).min()
    }
}

impl Versions {
    /// See [`Version::watermark`]; by place.
    pub fn watermark(&mut self, version: usize) -> Option<Timestamp> {
        self.all.get_mut(version)?.watermark()
    }
}

impl Lane {
    /// The sums of `(since, at]` in the step at hand. One scrape comes after the other: nearly always the last ones.
    fn open_at(&mut self, at: Timestamp, since: Timestamp) -> &mut Sums {
        let place = match self.open.last() {
            Some((last, _)) if *last == (at, since) => self.open.len() - 1,
            _ => self.open.binary_search_by_key(&(at, since), |(stretch, _)| *stretch).unwrap_or_else(|place| {
                self.open.insert(place, ((at, since), Sums::default()));
                place
            }),
        };
        &mut self.open[place].1
    }

    /// Adds to what is remembered; the share that is left of what was there.
    fn remember(&mut self, at: Timestamp, sums: &Sums) -> f64 {
        let age = self.decayed.map_or(0, |decayed| at.since(decayed).as_millis().max(0));
        let kept = 0.5_f64.powf(age as f64 / HALF_LIFE_MS);
        self.decayed = self.decayed.max(Some(at));
        self.recent.retain(|_, (_, counted)| at.since(*counted) < BOUND_IDLE);
        self.recent.values_mut().for_each(|(sum, _)| *sum *= kept);
        for (key, amount) in &sums.0 {
            let entry = self.recent.entry(*key).or_insert((0.0, at));
            *entry = ((entry.0 + amount).max(0.0), entry.1.max(at));
        }
        kept
    }

    /// Recent events.
    pub fn recent(&self) -> Sums {
        Sums(self.recent.iter().map(|(key, (sum, _))| (*key, *sum)).collect())
    }

    /// Recent events in all.
    pub fn recent_total(&self) -> f64 {
        self.recent.get(&TOTAL).map_or(0.0, |(sum, _)| *sum)
    }

    /// Bounds between which events lie, with a few around them, of those that `other` has too if there is one.
    pub fn layout(&self, other: Option<&Self>) -> Option<Layout> {
        let is_common = |key: &u64| other.is_none_or(|other| other.recent.is_empty() || other.recent.contains_key(key));
        let bounds: Vec<(f64, f64)> = self
            .recent
            .iter()
            .filter(|(key, _)| **key != NUMERATOR && **key != TOTAL && is_common(key))
            .map(|(key, (sum, _))| (f64::from_bits(*key), *sum))
            .collect();
        let total = bounds.last().map_or(0.0, |(_, sum)| *sum);
        let first = bounds.iter().position(|(_, sum)| *sum > 0.0).unwrap_or(0);
        let last = bounds.iter().position(|(_, sum)| total > 0.0 && *sum >= total * (1.0 - 1e-9));
        let last = last.unwrap_or(bounds.len().saturating_sub(1));
        let (from, to) = (first.saturating_sub(LAYOUT_MARGIN), (last + LAYOUT_MARGIN + 1).min(bounds.len()));
        Layout::new(bounds.get(from..to)?.iter().map(|(bound, _)| *bound).collect()).ok()
    }
}

/// Good and bad events.
pub(super) fn rates(sums: &Sums, counting: Counting) -> Vec<f64> {
    let of = |key| sums.get(key).max(0.0);
    let (numerator, total) = (of(NUMERATOR), of(TOTAL));
    let (good, bad) = match counting {
        Counting::Good => (numerator, total - numerator),
        Counting::Bad => (total - numerator, numerator),
    };
    vec![good.max(0.0), bad.max(0.0)]
}

/// Events of each bucket of a layout. What a bound is missing for counts in the next bucket.
pub(super) fn buckets(sums: &Sums, layout: &Layout) -> Vec<f64> {
    let mut counts = Vec::with_capacity(layout.kinds());
    let mut below = 0.0_f64;
    for kind in 0..layout.kinds() {
        let (_, bound) = layout.range(kind);
        let up_to = sums.up_to(bound.to_bits());
        counts.push((up_to - below).max(0.0));
        below = below.max(up_to);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn seen(version: &str, target: u32, since: i64, to: i64, amount: f64) -> Observed<'_> {
        let since = Some(at(since));
        Observed { version, stream: 0, stratum: 0, key: TOTAL, target, at: at(to), since, amount }
    }

    #[test]
    fn a_version_has_been_seen_as_far_as_its_slowest_target() {
        let mut versions = Versions::default();
        assert!(versions.observe(&seen("v1", 1, 0, 0, 0.0), at(0)));
        assert!(!versions.observe(&seen("v1", 2, 7, 7, 0.0), at(7)));
        for scrape in 1..4 {
            versions.observe(&seen("v1", 1, scrape * 15 - 15, scrape * 15, 5.0), at(scrape * 15));
            assert_eq!(versions.watermark(0), Some(at(scrape * 15 - 8)));
            versions.observe(&seen("v1", 2, scrape * 15 - 8, scrape * 15 + 7, 5.0), at(scrape * 15 + 7));
            assert_eq!(versions.watermark(0), Some(at(scrape * 15)));
        }
        assert_eq!(versions.flush().len(), 6);
        // The first target does not answer any more.
        for scrape in 4..7 {
            versions.observe(&seen("v1", 2, scrape * 15 - 8, scrape * 15 + 7, 5.0), at(scrape * 15 + 7));
        }
        assert_eq!(versions.watermark(0), Some(at(97)), "45 s on: two scrapes missed and 5 s more");
        versions.expire(at(97 + 300));
        assert_eq!(versions.live().count(), 0);
        assert!(versions.observe(&seen("v1", 2, 390, 400, 5.0), at(400)), "it comes back as a new one");
    }

    #[test]
    fn versions_are_bounded() {
        let mut versions = Versions::default();
        for i in 0..VERSIONS_LIMIT_COUNT {
            versions.observe(&seen(&format!("v{i}"), 1, 0, 15, 1.0), at(15));
        }
        assert!(!versions.observe(&seen("new", 1, 0, 15, 1.0), at(15)), "all are live");
        versions.expire(at(15 + 300));
        assert!(versions.observe(&seen("new", 1, 300, 315, 1.0), at(315)));
        assert!(versions.get("v0").is_none() && versions.all().len() == VERSIONS_LIMIT_COUNT);
    }

    #[test]
    fn cumulative_counts_become_buckets() {
        let bits = f64::to_bits;
        let layout = Layout::new(vec![0.1, 0.25, 0.5]).unwrap();
        let sums = Sums::from_iter([(bits(0.1), 3.0), (bits(0.25), 5.0), (bits(0.5), 9.0), (TOTAL, 10.0)]);
        assert_eq!(buckets(&sums, &layout), [3.0, 2.0, 4.0, 1.0]);
        let sums = Sums::from_iter([(bits(0.1), 3.0), (bits(0.5), 9.0), (TOTAL, 10.0)]);
        assert_eq!(buckets(&sums, &layout), [3.0, 0.0, 6.0, 1.0]);
        let sums = Sums::from_iter([(NUMERATOR, 3.0), (TOTAL, 10.0)]);
        assert_eq!((rates(&sums, Counting::Good), rates(&sums, Counting::Bad)), (vec![3.0, 7.0], vec![7.0, 3.0]));
        assert_eq!(rates(&Sums::from_iter([(NUMERATOR, 3.0)]), Counting::Bad), [0.0, 3.0], "half a scrape");
    }

    #[test]
    fn a_layout_is_what_both_arms_have_around_the_events() {
        let bits = f64::to_bits;
        // Once: a power may come out otherwise elsewhere in the last bit.
        let grid: Vec<u64> = (-100..100).map(|i| bits(1.09_f64.powi(i))).collect();
        let mut lane = Lane::default();
        let sums: Sums = grid.iter().map(|&key| (key, if f64::from_bits(key) >= 1.0 { 5.0 } else { 0.0 })).collect();
        lane.remember(at(15), &sums);
        let layout = lane.layout(None).unwrap();
        assert_eq!(layout.kinds(), 2 * LAYOUT_MARGIN + 2, "16 below the first with events, 16 above the last");
        let mut other = Lane::default();
        other.remember(at(15), &grid[100..105].iter().map(|&key| (key, 1.0)).collect());
        assert_eq!(lane.layout(Some(&other)).unwrap().kinds(), 6);
    }
}
