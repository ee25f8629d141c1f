//! The series of a target: what every sample needs of them behind each other, what few do in another place, and neither
//! moves when there are more.

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::histogram::Twins;
use crate::series::Tag;
use crate::series::counter::Counter;
use crate::series::gauge::Gauge;
use crate::series::native::Native;
use crate::types::Timestamp;

/// Series of a block.
const BLOCK_SERIES: usize = 16;

/// By place.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// All are full but the last.
    blocks: Vec<Block>,
    count: u32,
}

#[derive(Clone, Debug, Default)]
struct Block {
    series: Vec<Series>,
    rest: Vec<Rest>,
}

/// What every sample needs of its series.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) counter: Counter,
    /// When the latest sample arrived, in seconds since the Unix epoch: nothing depends on the rest.
    pub(super) seen: u32,
    pub(super) tag: Tag,
    /// The other form of the same histogram; [`NO_TWIN`] for most.
    pub(super) twin: u32,
    /// Which of the target's metrics it belongs to.
    pub(super) metric: u32,
    pub(super) live: bool,
    pub(super) used: bool,
    /// Not a plain counter: the rest says what it is.
    is_special: bool,
}

/// What few samples need of their series.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    /// The two halves of the hash: a `u128` would make the whole struct larger.
    identity: (u64, u64),
    /// `None` for a counter.
    special: Option<Box<Special>>,
    /// In place of the tag for what a native histogram of the same labels counts already.
    pub(super) beside_native: Tag,
}

/// What few series are, so that the others need no room for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::series) enum Special {
    /// Its samples are events themselves.
    Gauge(Gauge),
    Native(Native),
}

/// A series as it is stored: its two parts as one.
#[derive(Serialize, Deserialize)]
struct Saved<C, S> {
    identity: (u64, u64),
    counter: C,
    special: Option<S>,
    seen: u32,
    tag: Tag,
    beside_native: Tag,
    twin: u32,
    metric: u32,
    live: bool,
    used: bool,
}

pub(super) const NO_TWIN: u32 = u32::MAX;

impl Members {
    /// How many places there are, used or not.
    pub(super) const fn len(&self) -> u32 {
        self.count
    }

    /// Adds a series; its place.
    pub(super) fn push(&mut self, (series, rest): (Series, Rest)) -> u32 {
        if self.blocks.last().is_none_or(|block| block.series.len() == BLOCK_SERIES) {
            self.blocks.push(Block::default());
        }
        let is_first = self.blocks.len() == 1;
        if let Some(block) = self.blocks.last_mut() {
            let count = block.series.len();
            if count == block.series.capacity() {
                // There are many targets, and most of few series.
                let more = if is_first { count.max(2) } else { BLOCK_SERIES };
                block.series.reserve_exact(more);
                block.rest.reserve_exact(more);
            }
            block.series.push(series);
            block.rest.push(rest);
        }
        self.count += 1;
        self.count - 1
    }

    /// Puts a series in a place.
    pub(super) fn replace(&mut self, place: u32, with: (Series, Rest)) -> (Series, Rest) {
        let (series, rest) = self.both_mut(place);
        (std::mem::replace(series, with.0), std::mem::replace(rest, with.1))
    }

    #[inline]
    pub(super) fn series(&self, place: u32) -> &Series {
        &self.blocks[place as usize / BLOCK_SERIES].series[place as usize % BLOCK_SERIES]
    }

    #[inline]
    pub(super) fn series_mut(&mut self, place: u32) -> &mut Series {
        &mut self.blocks[place as usize / BLOCK_SERIES].series[place as usize % BLOCK_SERIES]
    }

    pub(super) fn rest(&self, place: u32) -> &Rest {
        &self.blocks[place as usize / BLOCK_SERIES].rest[place as usize % BLOCK_SERIES]
    }

    pub(super) fn both_mut(&mut self, place: u32) -> (&mut Series, &mut Rest) {
        let block = &mut self.blocks[place as usize / BLOCK_SERIES];
        let place = place as usize % BLOCK_SERIES;
        (&mut block.series[place], &mut block.rest[place])
    }

    /// All in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Series, &Rest)> {
        self.blocks.iter().flat_map(|block| block.series.iter().zip(&block.rest))
    }

    /// All in order, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&mut Series, &mut Rest)> {
        self.blocks.iter_mut().flat_map(|block| block.series.iter_mut().zip(&mut block.rest))
    }

    /// The keyed hash of its labels.
    pub(super) fn identity(&self, place: u32) -> u128 {
        self.rest(place).identity()
    }

    /// The time of its newest sample.
    pub(super) fn newest(&self, place: u32) -> Option<Timestamp> {
        match self.rest(place).special() {
            None => self.series(place).counter.newest(),
            Some(Special::Gauge(gauge)) => gauge.newest(),
            Some(Special::Native(native)) => native.newest(),
        }
    }

    /// The time of the first sample ever, while it is remembered.
    pub(super) fn first_at(&self, place: u32) -> Option<Timestamp> {
        match self.rest(place).special() {
            Some(Special::Native(native)) => native.first_at(),
            _ => self.series(place).counter.first().map(|(at, _)| at),
        }
    }

    /// What an increase up to `at` counts for.
    #[inline]
    pub(super) fn tag_at(&self, place: u32, at: Timestamp, twins: &mut Twins) -> Tag {
        let series = self.series(place);
        if series.counts_classic(at, twins) { series.tag } else { self.rest(place).beside_native }
    }

    /// A series counts for this from now on, whether or not a native histogram counts the same.
    pub(super) fn bind(&mut self, place: u32, tag: Tag) {
        let (series, rest) = self.both_mut(place);
        (series.tag, rest.beside_native) = (tag, tag);
    }

    /// The samples of a series are events from now on.
    pub(super) fn becomes_gauge(&mut self, place: u32) {
        let (series, rest) = self.both_mut(place);
        series.is_special = true;
        rest.special.get_or_insert_with(|| Box::new(Special::Gauge(Gauge::default())));
    }

    pub(super) fn native_mut(&mut self, place: u32) -> Option<&mut Native> {
        self.both_mut(place).1.native_mut()
    }
}

/// A series of a metric that has had no sample.
pub(super) fn new(identity: u128, metric: u32, special: Option<Special>) -> (Series, Rest) {
    let series = Series {
        counter: Counter::new(),
        seen: 0,
        tag: Tag::NOTHING,
        twin: NO_TWIN,
        metric,
        live: false,
        used: true,
        is_special: special.is_some(),
    };
    let identity = ((identity >> 64) as u64, identity as u64);
    (series, Rest { identity, special: special.map(Box::new), beside_native: Tag::NOTHING })
}

/// What stands in a place without a series.
pub(super) fn unused() -> (Series, Rest) {
    let (series, rest) = new(0, 0, None);
    (Series { used: false, ..series }, rest)
}

impl Series {
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        !self.is_special
    }

    /// Whether no native form counts what it counts up to `at`.
    #[inline]
    pub(super) fn counts_classic(&self, at: Timestamp, twins: &mut Twins) -> bool {
        self.twin == NO_TWIN || twins.counts_classic(self.twin, at)
    }

    /// Counts for nothing, and begins anew for whatever it is bound to next.
    pub(super) fn unbind(&mut self) {
        self.tag = Tag::NOTHING;
        self.live = false;
    }
}

impl Rest {
    pub(super) const fn identity(&self) -> u128 {
        (self.identity.0 as u128) << 64 | self.identity.1 as u128
    }

    pub(super) fn special(&self) -> Option<&Special> {
        self.special.as_deref()
    }

    pub(super) fn special_mut(&mut self) -> Option<&mut Special> {
        self.special.as_deref_mut()
    }

    pub(super) fn native_mut(&mut self) -> Option<&mut Native> {
        match self.special_mut() {
            Some(Special::Native(native)) => Some(native),
            _ => None,
        }
    }

    /// As of [`Series::unbind`].
    pub(super) fn unbind(&mut self) {
        self.beside_native = Tag::NOTHING;
        if let Some(native) = self.native_mut() {
            native.unbind();
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut saved = serializer.serialize_seq(Some(self.count as usize))?;
        for (series, rest) in self.iter() {
            saved.serialize_element(&Saved {
                identity: rest.identity,
                counter: &series.counter,
                special: rest.special(),
                seen: series.seen,
                tag: series.tag,
                beside_native: rest.beside_native,
                twin: series.twin,
                metric: series.metric,
                live: series.live,
                used: series.used,
            })?;
        }
        saved.end()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Self::default();
        for saved in Vec::<Saved<Counter, Special>>::deserialize(deserializer)? {
            let Saved { identity, counter, special, seen, tag, beside_native, twin, metric, live, used } = saved;
            let is_special = special.is_some();
            members.push((
                Series { counter, seen, tag, twin, metric, live, used, is_special },
                Rest { identity, special: special.map(Box::new), beside_native },
            ));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_small() {
        assert_eq!((size_of::<Series>(), size_of::<Rest>()), (88, 32));
    }

    #[test]
    fn places_stay_what_they_are() {
        let mut members = Members::default();
        for count in 0..100_u32 {
            assert_eq!(members.len(), count);
            assert_eq!(members.push(new(u128::from(count) << 80, count, None)), count);
            let identities = (0..=count).map(|place| members.identity(place));
            assert!(identities.eq((0..=count).map(|place| u128::from(place) << 80)));
        }
        let bytes = postcard::to_stdvec(&members).unwrap();
        let again: Members = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
        assert_eq!(again.series(77).metric, 77);
    }
}
