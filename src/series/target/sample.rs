//! What one sample of a float does to its series and its target: increases, births, the beginning and end of a series.

use super::{Increment, Reading, Special, Target};
use crate::series::counter::Placed;
use crate::series::gauge::Taken;
use crate::series::scrape::PreviousScrape;
use crate::series::shard::Step;
use crate::series::{Change, Liveness, STALE_NAN_BITS, SampleError, SeriesId};
use crate::types::Timestamp;

/// What ends a series.
const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

/// A sample on its way from its series to its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Timestamp,
    pub(super) start: Option<Timestamp>,
    /// The series' newest sample before it.
    pub(super) before: Option<Timestamp>,
    /// The first of its series as far as is known.
    pub(super) is_first: bool,
    /// When the series is known to have been live.
    pub(super) live_at: Option<Timestamp>,
}

impl Target {
    /// Takes one sample; `start` is when it began to count, if the sender says so.
    ///
    /// NaN and infinities are no counts and leave no trace, but for a gauge's; the stale marker ends the series.
    ///
    /// # Errors
    /// When the series has another value at the same time.
    #[inline]
    pub(in crate::series) fn sample(
        &mut self,
        id: SeriesId,
        at: Timestamp,
        value: f64,
        start: Option<Timestamp>,
        step: &mut Step,
    ) -> Result<(), SampleError> {
        let series = &mut self.series[id.index as usize];
        series.seen = step.seen;
        // Nearly every sample: the next one of a counter, and nothing else to say. What follows is what `begin` and
        // `finish` do for it.
        if series.special.is_none()
            && let Some(change) = series.counter.append(at, value, start)
        {
            let (tag, target, metric) = (series.tag_at(at, &mut self.twins), id.target, series.metric);
            let out = &mut step.out;
            if !series.live {
                series.live = true;
                out.liveness.push(Liveness { tag: series.tag, live: true });
            }
            self.scrape.begin(at, step.now, &mut out.increments);
            self.scrape.hold(Increment { tag, target, change, reading: None }, &mut out.increments);
            if !self.births.was_live(metric, at) {
                self.becomes_live(id, metric, at, step);
            }
            self.scrape.report(at, Some(change.since), false, &mut step.out.increments);
            return Ok(());
        }
        self.any_sample(id, at, value, start, step)
    }

    #[inline(never)]
    fn any_sample(
        &mut self,
        id: SeriesId,
        at: Timestamp,
        value: f64,
        start: Option<Timestamp>,
        step: &mut Step,
    ) -> Result<(), SampleError> {
        if value.to_bits() == STALE_NAN_BITS {
            self.end(id, at, step);
            return Ok(());
        }
        let series = &mut self.series[id.index as usize];
        let before = series.newest();
        let reading = match series.special.as_deref_mut() {
            None => None,
            Some(Special::Native(_)) => return Ok(()),
            Some(Special::Gauge(gauge)) => match gauge.place(at, value) {
                Taken::New => Some(value),
                Taken::Again => return Ok(()),
                Taken::Conflict => return Err(SampleError::Conflict),
            },
        };
        if reading.is_none() && !value.is_finite() {
            return Ok(());
        }
        let placed = if value.is_finite() { series.counter.place(at, value, start) } else { Placed::Absorbed };
        let nothing = Change { at, since: at, amount: 0.0 };
        let (own, other, is_first, live_at) = match placed {
            Placed::Duplicate | Placed::Absorbed if reading.is_none() => return Ok(()),
            Placed::Duplicate | Placed::Absorbed => (None, None, false, None),
            Placed::Conflict => return Err(SampleError::Conflict),
            Placed::First => (Some(nothing), None, true, None),
            Placed::Known(change) => (Some(change), None, false, Some(at)),
            Placed::Between(change, next) => (Some(change), Some(next), false, Some(at)),
            Placed::BeforeFirst(next) => (Some(nothing), Some(next), true, Some(next.at)),
        };
        let arrival = Arrival { at, start, before, is_first, live_at };
        self.begin(id, arrival, step);
        let (series, target) = (&self.series[id.index as usize], id.target);
        if let Some(value) = reading {
            let (change, reading) = (Change { at, since: at, amount: 1.0 }, Some(Reading { series: id, value }));
            let increment = Increment { tag: series.tag, target, change, reading };
            self.scrape.hold(increment, &mut step.out.increments);
        }
        for change in [own, other].into_iter().flatten() {
            let tag = series.tag_at(change.at, &mut self.twins);
            let increment = Increment { tag, target, change, reading: None };
            self.scrape.hold(increment, &mut step.out.increments);
        }
        self.finish(id, arrival, step);
        Ok(())
    }

    /// The series has ended, unless it has a newer sample.
    pub(super) fn end(&mut self, id: SeriesId, at: Timestamp, step: &mut Step) {
        let series = &mut self.series[id.index as usize];
        let before = series.newest();
        if !series.live || before.is_some_and(|b| b >= at) {
            return;
        }
        series.live = false;
        step.out.liveness.push(Liveness { tag: series.tag, live: false });
        if let Some(Special::Native(_)) = series.special.as_deref() {
            self.twins.native_ended(series.twin, at);
        }
        self.scrape.begin(at, step.now, &mut step.out.increments);
        self.scrape.report(at, before, true, &mut step.out.increments);
        if let Some(Special::Gauge(_)) = series.special.as_deref() {
            let (change, reading) = (Change { at, since: at, amount: 0.0 }, Some(Reading { series: id, value: STALE }));
            step.out.increments.push(Increment { tag: series.tag, target: id.target, change, reading });
        }
    }

    /// A sample has a place in its series: the series is live, and a new scrape may begin.
    pub(super) fn begin(&mut self, id: SeriesId, arrival: Arrival, step: &mut Step) {
        let series = &mut self.series[id.index as usize];
        if arrival.before.is_none_or(|b| b < arrival.at) && !series.live {
            series.live = true;
            step.out.liveness.push(Liveness { tag: series.tag, live: true });
        }
        if self.is_new() {
            step.watch(&self.key, arrival.at);
        }
        self.scrape.begin(arrival.at, step.now, &mut step.out.increments);
    }

    /// The changes of a sample are held or passed on: births are decided, and the scrape may be complete.
    pub(super) fn finish(&mut self, id: SeriesId, arrival: Arrival, step: &mut Step) {
        let (metric, at) = (self.series[id.index as usize].metric, arrival.at);
        if arrival.is_first {
            if self.births.was_live(metric, at) || self.started_while_watched(arrival, step) {
                self.count_birth(id, at, step);
            } else {
                self.births.await_neighbour(id.index, metric, at);
            }
        }
        if let Some(at) = arrival.live_at
            && !self.births.was_live(metric, at)
        {
            self.becomes_live(id, metric, at, step);
        }
        if arrival.before.is_none_or(|b| b < at) {
            self.scrape.report(at, arrival.before, false, &mut step.out.increments);
        }
    }

    /// A known series of the metric has a sample at this time: first samples at it were births.
    #[inline(never)]
    fn becomes_live(&mut self, id: SeriesId, metric: u32, at: Timestamp, step: &mut Step) {
        let series = &self.series;
        for index in self.births.mark_live(metric, at, |index| series[index as usize].first_at()) {
            self.count_birth(SeriesId { index, ..id }, at, step);
        }
    }

    /// Whether a first sample's start timestamp says that all of its value happened while its target, or at least
    /// its job, was being watched.
    fn started_while_watched(&self, arrival: Arrival, step: &Step) -> bool {
        let Some(start) = arrival.start.filter(|start| *start <= arrival.at) else { return false };
        match self.scrape.previous(arrival.at) {
            PreviousScrape::At(previous) => start > previous,
            PreviousScrape::None => step.was_watched(&self.key, start, arrival.at),
            PreviousScrape::Forgotten => false,
        }
    }

    fn count_birth(&mut self, id: SeriesId, at: Timestamp, step: &mut Step) {
        let since = match self.scrape.previous(at) {
            PreviousScrape::At(previous) => previous,
            PreviousScrape::None | PreviousScrape::Forgotten => at,
        };
        let (series, target) = (&mut self.series[id.index as usize], id.target);
        if let Some(Special::Native(native)) = series.special.as_deref_mut() {
            if native.may_be_born(at) && self.twins.counts_native_birth(series.twin, at) {
                native.count_birth(since, at, &step.limits, &mut step.changes);
                for change in step.changes.drain(..) {
                    self.scrape.hold(Increment { target, ..change }, &mut step.out.increments);
                }
            }
        } else if let Some(change) = series.counter.count_birth(at) {
            let (tag, change) = (series.tag_at(at, &mut self.twins), Change { since, ..change });
            self.scrape.hold(Increment { tag, target, change, reading: None }, &mut step.out.increments);
        }
    }
}
