//! What one sample of a float does to its series and its target: increases, births, the beginning and end of a series.

use super::{Arrival, Liveness, Output, STALE, SampleError, Table, Track};
use crate::series::counter::Placed;
use crate::series::gauge::Taken;
use crate::series::target::{Increment, PreviousScrape, Reading};
use crate::series::{Change, SeriesId};
use crate::types::Timestamp;
use crate::wire::STALE_NAN_BITS;

impl Table {
    /// Takes one sample; `start` is when it began to count, if the sender says so, and `now` its arrival.
    ///
    /// NaN and infinities are no counts and leave no trace, but for a gauge's; the stale marker ends the series.
    ///
    /// # Errors
    /// When the series has another value at the same time.
    pub fn sample(
        &mut self,
        id: SeriesId,
        at: Timestamp,
        value: f64,
        start: Option<Timestamp>,
        now: Timestamp,
        out: &mut Output,
    ) -> Result<(), SampleError> {
        let series = &mut self.series[id.0 as usize];
        series.seen = now;
        if value.to_bits() == STALE_NAN_BITS {
            self.end(id, at, now, out);
            return Ok(());
        }
        let before = series.newest();
        let Track::Counter(counter) = &mut series.track else { return Ok(()) };
        let reading = match &mut series.gauge {
            None => None,
            Some(gauge) => match gauge.place(at, value) {
                Taken::New => Some(value),
                Taken::Again => return Ok(()),
                Taken::Conflict => return Err(SampleError::Conflict),
            },
        };
        if reading.is_none() && !value.is_finite() {
            return Ok(());
        }
        let placed = if value.is_finite() { counter.place(at, value, start) } else { Placed::Absorbed };
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
        let was_holding = self.begin(id, arrival, now, out);
        let series = &self.series[id.0 as usize];
        if let Some(value) = reading {
            let (change, reading) = (Change { at, since: at, amount: 1.0 }, Some(Reading { series: id, value }));
            let increment = Increment { tag: series.tag, target: series.target, change, reading };
            self.targets[series.target as usize].hold(increment, &mut out.increments);
        }
        for change in [own, other].into_iter().flatten() {
            let series = &self.series[id.0 as usize];
            let tag = series.tag_at(change.at, &mut self.twins);
            let increment = Increment { tag, target: series.target, change, reading: None };
            self.targets[series.target as usize].hold(increment, &mut out.increments);
        }
        self.finish(id, arrival, was_holding, out);
        Ok(())
    }

    /// The series has ended, unless it has a newer sample.
    pub(super) fn end(&mut self, id: SeriesId, at: Timestamp, now: Timestamp, out: &mut Output) {
        let series = &mut self.series[id.0 as usize];
        let target = &mut self.targets[series.target as usize];
        let before = series.newest();
        if series.live && before.is_none_or(|b| b < at) {
            series.live = false;
            out.liveness.push(Liveness { tag: series.tag, live: false });
            if let Track::Native(_) = series.track {
                self.twins.native_ended(series.twin, at);
            }
            target.begin_scrape(at, now, &mut out.increments);
            target.report(at, before, true, &mut out.increments);
            if series.gauge.is_some() {
                let (change, reading) =
                    (Change { at, since: at, amount: 0.0 }, Some(Reading { series: id, value: STALE }));
                out.increments.push(Increment { tag: series.tag, target: series.target, change, reading });
            }
        }
    }

    /// A sample has a place in its series: the series is live, and a new scrape may begin. Returns whether its target
    /// held changes before.
    pub(super) fn begin(&mut self, id: SeriesId, arrival: Arrival, now: Timestamp, out: &mut Output) -> bool {
        let series = &mut self.series[id.0 as usize];
        if arrival.before.is_none_or(|b| b < arrival.at) && !series.live {
            series.live = true;
            out.liveness.push(Liveness { tag: series.tag, live: true });
        }
        let target = &mut self.targets[series.target as usize];
        if target.is_new() {
            self.jobs.watched(&self.target_keys[series.target as usize].0, arrival.at);
        }
        let was_holding = target.is_holding();
        target.begin_scrape(arrival.at, now, &mut out.increments);
        was_holding
    }

    /// The changes of a sample are held or passed on: births are decided, and the scrape may be complete.
    pub(super) fn finish(&mut self, id: SeriesId, arrival: Arrival, was_holding: bool, out: &mut Output) {
        let series = &self.series[id.0 as usize];
        let (target_id, metric) = (series.target, series.metric);
        let at = arrival.at;
        if arrival.is_first {
            if self.targets[target_id as usize].was_live(metric, at) || self.started_while_watched(target_id, arrival) {
                self.count_birth(id, at, out);
            } else {
                self.targets[target_id as usize].await_neighbour(id, metric, at);
            }
        }
        if let Some(at) = arrival.live_at {
            // A known series of the metric has a sample at this time: first samples at it were births.
            for born in self.targets[target_id as usize].mark_live(metric, at) {
                self.count_birth(born, at, out);
            }
        }
        let target = &mut self.targets[target_id as usize];
        if arrival.before.is_none_or(|b| b < at) {
            target.report(at, arrival.before, false, &mut out.increments);
        }
        if target.is_holding() && !was_holding {
            self.holding.insert(target_id);
        }
    }

    /// Whether a first sample's start timestamp says that all of its value happened while its target, or at least
    /// its job, was being watched.
    pub(super) fn started_while_watched(&self, target: u32, arrival: Arrival) -> bool {
        let Some(start) = arrival.start.filter(|start| *start <= arrival.at) else { return false };
        match self.targets[target as usize].previous_scrape(arrival.at) {
            PreviousScrape::At(previous) => start > previous,
            PreviousScrape::None => self.jobs.watched_at(&self.target_keys[target as usize].0, start, arrival.at),
            PreviousScrape::Forgotten => false,
        }
    }

    pub(super) fn count_birth(&mut self, id: SeriesId, at: Timestamp, out: &mut Output) {
        let series = &mut self.series[id.0 as usize];
        let target_id = series.target;
        let target = &mut self.targets[target_id as usize];
        let since = match target.previous_scrape(at) {
            PreviousScrape::At(previous) => previous,
            PreviousScrape::None | PreviousScrape::Forgotten => at,
        };
        match &mut series.track {
            Track::Counter(counter) => {
                if let Some(change) = counter.count_birth(at) {
                    let tag = series.tag_at(at, &mut self.twins);
                    let change = Change { since, ..change };
                    target.hold(Increment { tag, target: target_id, change, reading: None }, &mut out.increments);
                }
            }
            Track::Native(native) => {
                if native.may_be_born(at) && self.twins.counts_native_birth(series.twin, at) {
                    native.count_birth(since, at, &self.limits, &mut self.changes);
                    let changes = self.changes.drain(..).map(|change| Increment { target: target_id, ..change });
                    changes.for_each(|change| target.hold(change, &mut out.increments));
                }
            }
        }
    }
}
