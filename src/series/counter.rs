//! One counter's recent samples, and what each new sample adds to the count.
//!
//! A count is the sum of the increases between neighbouring samples in time order. The last few samples are
//! kept so that a sample arriving late lands between its neighbours and moves the increase to where it
//! belongs; one older than all of them is absorbed, since a later sample already covers its increase.
//!
//! A reset shows in a value lower than the one before. Where samples say since when they count (the start timestamp of
//! remote write 2.0), it also shows in a start after the sample before, and then all of the value is new even if the
//! counter has already passed its old value.

use serde::{Deserialize, Serialize};

use crate::types::{Span, Timestamp, compact};

/// Samples remembered for each counter: how late, in samples, one may arrive and still be placed exactly.
pub const RECENT_LIMIT_SAMPLES: usize = 4;

/// A counter's latest samples and whether its first value counted: what `Recent` says, in less room.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Counter {
    values: [f64; RECENT_LIMIT_SAMPLES],
    newest_at: Timestamp,
    /// How long before the newest sample the others were, in ms.
    before: [u32; RECENT_LIMIT_SAMPLES - 1],
    len: u8,
    holds_first: bool,
    birth_counted: bool,
    /// `None` where it was never said when a sample had begun to count: most senders do not.
    ages: Option<Box<[u32; RECENT_LIMIT_SAMPLES]>>,
}

/// A counter as it is worked on.
struct Recent {
    /// Ascending in time; `len` of them are valid.
    points: [Point; RECENT_LIMIT_SAMPLES],
    /// How long before each of `points` it had begun to count, in ms; [`OLD`] where that is not known.
    ages: [u32; RECENT_LIMIT_SAMPLES],
    len: usize,
    /// The oldest of `points` is the first sample the counter ever had.
    holds_first: bool,
    /// The first value was counted from zero.
    birth_counted: bool,
}

/// A counter as it is stored: no longer than what there is to say.
#[derive(Serialize, Deserialize)]
struct Kept {
    points: Vec<Point>,
    ages: Vec<u32>,
    holds_first: bool,
    birth_counted: bool,
}

/// The age of a sample that began to count at an unknown time, or over 49 days ago: longer than any gap that is bridged.
const OLD: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Point {
    at: Timestamp,
    #[serde(with = "compact")]
    value: f64,
}

/// Part of a count: `amount` events at `at`. Negative where a late sample moves an increase elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The later sample's time.
    pub at: Timestamp,
    /// The earlier one's: the events happened in between. Equal to `at` where the change corrects what was said before
    /// or nobody knows since when.
    pub since: Timestamp,
    /// Events.
    pub amount: f64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Placed {
    /// The first of the counter as far as is known: counts only if it is a birth.
    First,
    /// Has a predecessor: its increase counts, and a live neighbour is proved at its time.
    Known(Change),
    /// Between two samples: its own increase, and the correction of the next one's.
    Between(Change, Change),
    /// Before what was the first sample: that one now has a predecessor (`Change` corrects it), and this is
    /// the first.
    BeforeFirst(Change),
    /// The same sample again.
    Duplicate,
    /// The same time with another value; the earlier arrival stays.
    Conflict,
    /// Older than everything remembered.
    Absorbed,
}

/// The increase from one sample of a counter to the next: after a reset, all of the new value.
///
/// Prometheus' rule (`promql.extrapolatedRate`): any decrease is a reset to zero.
pub fn increase(previous: f64, value: f64) -> f64 {
    if value >= previous { value - previous } else { value.max(0.0) }
}

/// As [`increase`], from a sample at `previous.at` to one that had begun to count `age` ms before.
fn growth(previous: Point, new: Point, age: u32) -> f64 {
    if i64::from(age) < new.at.since(previous.at).as_millis() && age != OLD {
        return new.value.max(0.0);
    }
    increase(previous.value, new.value)
}

fn age(at: Timestamp, start: Option<Timestamp>) -> u32 {
    // A start after the sample means nothing.
    start.and_then(|start| u32::try_from(at.since(start).as_millis()).ok()).unwrap_or(OLD)
}

impl Counter {
    /// A counter that has had no sample.
    pub fn new() -> Self {
        Self {
            values: [0.0; RECENT_LIMIT_SAMPLES],
            newest_at: Timestamp::MIN,
            before: [0; RECENT_LIMIT_SAMPLES - 1],
            len: 0,
            holds_first: true,
            birth_counted: false,
            ages: None,
        }
    }

    /// The time of the newest sample.
    pub fn newest(&self) -> Option<Timestamp> {
        (self.len > 0).then_some(self.newest_at)
    }

    /// The first sample ever, while it is still remembered: its time and value.
    pub fn first(&self) -> Option<(Timestamp, f64)> {
        (self.len > 0 && self.holds_first).then(|| (self.at(0), self.values[0]))
    }

    /// Counts the first value from zero; returns the change, or `None` when it already counted or the
    /// sample at `at` is not the first any more.
    pub fn count_birth(&mut self, at: Timestamp) -> Option<Change> {
        let (first_at, value) = self.first()?;
        if self.birth_counted || first_at != at {
            return None;
        }
        self.birth_counted = true;
        Some(Change { at, since: at, amount: value.max(0.0) })
    }

    /// Places a finite sample among the others; `start` is when it began to count, if the sender says so.
    #[inline]
    pub fn place(&mut self, at: Timestamp, value: f64, start: Option<Timestamp>) -> Placed {
        if self.len == 0 && start.is_none() && self.ages.is_none() {
            (self.values[0], self.newest_at, self.len) = (value, at, 1);
            return Placed::First;
        }
        match self.append(at, value, start) {
            Some(change) => Placed::Known(change),
            None => self.place_anywhere(at, value, start),
        }
    }

    /// Takes a sample as nearly all are: finite, later than the one before it, and with no word on when it began to count.
    /// `None` for others and for the few that are too far from the oldest: [`Self::place`] takes those.
    #[inline]
    pub fn append(&mut self, at: Timestamp, value: f64, start: Option<Timestamp>) -> Option<Change> {
        let len = usize::from(self.len);
        let since = self.newest_at;
        if len == 0 || at <= since || start.is_some() || self.ages.is_some() || !value.is_finite() {
            return None;
        }
        let gap = u32::try_from(at.0.abs_diff(since.0)).ok()?;
        self.before[0].checked_add(gap)?;
        let amount = increase(self.values[len - 1], value);
        if len == RECENT_LIMIT_SAMPLES {
            let [_, second, third, newest] = self.values;
            self.values = [second, third, newest, value];
            self.before = [self.before[1] + gap, self.before[2] + gap, gap];
            self.holds_first = false;
        } else {
            self.grow(gap, value);
        }
        self.newest_at = at;
        Some(Change { at, since, amount })
    }

    /// Appends one more while it has had few.
    #[inline(never)]
    fn grow(&mut self, gap: u32, value: f64) {
        let len = usize::from(self.len);
        self.before[..len - 1].iter_mut().for_each(|before| *before += gap);
        self.before[len - 1] = gap;
        self.values[len] = value;
        self.len += 1;
    }

    fn place_anywhere(&mut self, at: Timestamp, value: f64, start: Option<Timestamp>) -> Placed {
        let mut recent = self.recent();
        let placed = recent.place(Point { at, value }, age(at, start));
        self.keep(recent);
        placed
    }

    fn at(&self, index: usize) -> Timestamp {
        if index + 1 == usize::from(self.len) {
            return self.newest_at;
        }
        self.newest_at - Span::millis(i64::from(self.before[index]))
    }

    fn recent(&self) -> Recent {
        let mut points = [Point::default(); RECENT_LIMIT_SAMPLES];
        for (index, point) in points[..usize::from(self.len)].iter_mut().enumerate() {
            *point = Point { at: self.at(index), value: self.values[index] };
        }
        Recent {
            points,
            ages: self.ages.as_deref().copied().unwrap_or([OLD; RECENT_LIMIT_SAMPLES]),
            len: usize::from(self.len),
            holds_first: self.holds_first,
            birth_counted: self.birth_counted,
        }
    }

    /// A sample that lies over 49 days before the newest is as good as forgotten.
    fn keep(&mut self, mut recent: Recent) {
        let Some(newest) = recent.len.checked_sub(1).map(|last| recent.points[last].at) else { return };
        let before = |point: &Point| u32::try_from(newest.since(point.at).as_millis()).ok();
        while before(&recent.points[0]).is_none() {
            recent.drop_oldest();
        }
        for (index, point) in recent.points[..recent.len].iter().enumerate() {
            self.values[index] = point.value;
            if let (Some(kept), Some(before)) = (self.before.get_mut(index), before(point)) {
                *kept = before;
            }
        }
        self.newest_at = newest;
        self.len = recent.len as u8;
        (self.holds_first, self.birth_counted) = (recent.holds_first, recent.birth_counted);
        match &mut self.ages {
            Some(ages) => **ages = recent.ages,
            None if recent.ages == [OLD; RECENT_LIMIT_SAMPLES] => {}
            None => self.ages = Some(Box::new(recent.ages)),
        }
    }
}

impl From<Counter> for Kept {
    fn from(counter: Counter) -> Self {
        let Recent { points, ages, len, holds_first, birth_counted } = counter.recent();
        let has_ages = ages[..len].iter().any(|age| *age != OLD);
        let ages = if has_ages { ages[..len].to_vec() } else { Vec::new() };
        Self { points: points[..len].to_vec(), ages, holds_first, birth_counted }
    }
}

impl From<Kept> for Counter {
    fn from(kept: Kept) -> Self {
        let len = kept.points.len().min(RECENT_LIMIT_SAMPLES);
        let (mut points, mut ages) = ([Point::default(); RECENT_LIMIT_SAMPLES], [OLD; RECENT_LIMIT_SAMPLES]);
        points[..len].copy_from_slice(&kept.points[..len]);
        ages.iter_mut().zip(kept.ages).for_each(|(age, kept)| *age = kept);
        let (holds_first, birth_counted) = (kept.holds_first, kept.birth_counted);
        let mut counter = Self { holds_first, birth_counted, ..Self::new() };
        counter.keep(Recent { points, ages, len, holds_first, birth_counted });
        counter
    }
}

impl Recent {
    fn place(&mut self, new: Point, age: u32) -> Placed {
        let at = new.at;
        let Some(&newest) = self.points[..self.len].last() else {
            self.insert(0, new, age);
            return Placed::First;
        };
        if at > newest.at {
            self.insert(self.len, new, age);
            return Placed::Known(Change { at, since: newest.at, amount: growth(newest, new, age) });
        }
        let after = self.points[..self.len].partition_point(|p| p.at < at);
        let (next, next_age) = (self.points[after], self.ages[after]);
        if next.at == at {
            let same = next.value.to_bits() == new.value.to_bits() || next.value == new.value;
            return if same { Placed::Duplicate } else { Placed::Conflict };
        }
        if after == 0 {
            return self.place_before_all(new, age);
        }
        let previous = self.points[after - 1];
        self.insert(after, new, age);
        let correction = growth(new, next, next_age) - growth(previous, next, next_age);
        // The two together say again what the next one said alone.
        let own = Change { at, since: at, amount: growth(previous, new, age) };
        Placed::Between(own, Change { at: next.at, since: next.at, amount: correction })
    }

    fn place_before_all(&mut self, new: Point, age: u32) -> Placed {
        if !self.holds_first || self.len == RECENT_LIMIT_SAMPLES {
            return Placed::Absorbed;
        }
        let (first, first_age) = (self.points[0], self.ages[0]);
        self.insert(0, new, age);
        let was_counted = std::mem::take(&mut self.birth_counted);
        let (since, counted) = if was_counted { (first.at, first.value.max(0.0)) } else { (new.at, 0.0) };
        Placed::BeforeFirst(Change { at: first.at, since, amount: growth(new, first, first_age) - counted })
    }

    /// Inserts before `index`; when full, the oldest sample makes room (`index` is then at least 1).
    fn insert(&mut self, index: usize, point: Point, age: u32) {
        let at = if self.len == RECENT_LIMIT_SAMPLES {
            self.drop_oldest();
            index - 1
        } else {
            index
        };
        self.points.copy_within(at..self.len, at + 1);
        self.ages.copy_within(at..self.len, at + 1);
        self.len += 1;
        (self.points[at], self.ages[at]) = (point, age);
    }

    fn drop_oldest(&mut self) {
        self.points.copy_within(1..self.len, 0);
        self.ages.copy_within(1..self.len, 0);
        self.len -= 1;
        self.holds_first = false;
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn place(counter: &mut Counter, at: Timestamp, value: f64) -> Placed {
        counter.place(at, value, None)
    }

    fn change(since: i64, seconds: i64, amount: f64) -> Change {
        Change { at: at(seconds), since: at(since), amount }
    }

    /// Says nothing of any stretch of time.
    fn correction(seconds: i64, amount: f64) -> Change {
        change(seconds, seconds, amount)
    }

    proptest! {
        /// The short way leads to where the long way does.
        #[test]
        fn appending_is_placing(steps in prop::collection::vec((-40_000_i64..90_000, 0_u32..9, any::<bool>()), 1..40)) {
            let (mut short, mut long) = (Counter::new(), Counter::new());
            let mut now = 0;
            for (gap, value, far) in steps {
                let moment = Timestamp(now + if far { gap * 100_000 } else { gap });
                now = now.max(moment.0);
                let value = f64::from(value);
                prop_assert_eq!(short.place(moment, value, None), long.place_anywhere(moment, value, None));
                prop_assert_eq!(short.count_birth(moment), long.count_birth(moment));
                let kept = |counter: &Counter| postcard::to_stdvec(counter).unwrap();
                prop_assert_eq!(kept(&short), kept(&long));
            }
        }
    }

    #[test]
    fn increases_resets_and_duplicates() {
        let mut counter = Counter::new();
        assert_eq!(place(&mut counter, at(0), 10.0), Placed::First);
        assert_eq!(place(&mut counter, at(15), 14.0), Placed::Known(change(0, 15, 4.0)));
        assert_eq!(place(&mut counter, at(30), 3.0), Placed::Known(change(15, 30, 3.0)));
        assert_eq!(place(&mut counter, at(30), 3.0), Placed::Duplicate);
        assert_eq!(place(&mut counter, at(30), 4.0), Placed::Conflict);
        assert_eq!(place(&mut counter, at(45), -1.0), Placed::Known(change(30, 45, 0.0)));
    }

    #[test]
    fn a_late_sample_moves_the_increase() {
        let mut counter = Counter::new();
        place(&mut counter, at(0), 10.0);
        place(&mut counter, at(30), 20.0);
        assert_eq!(place(&mut counter, at(15), 12.0), Placed::Between(correction(15, 2.0), correction(30, -2.0)));
        // A reset hidden between two samples comes to light.
        place(&mut counter, at(60), 25.0);
        assert_eq!(place(&mut counter, at(45), 4.0), Placed::Between(correction(45, 4.0), correction(60, 16.0)));
    }

    #[test]
    fn a_sample_before_the_first_takes_back_a_birth() {
        let mut counter = Counter::new();
        place(&mut counter, at(30), 7.0);
        assert_eq!(counter.count_birth(at(30)), Some(correction(30, 7.0)));
        assert_eq!(counter.count_birth(at(30)), None);
        assert_eq!(place(&mut counter, at(15), 5.0), Placed::BeforeFirst(correction(30, -5.0)));
        assert_eq!(counter.first(), Some((at(15), 5.0)));
    }

    #[test]
    fn what_is_older_than_memory_is_absorbed() {
        let mut counter = Counter::new();
        for i in 1..=5 {
            place(&mut counter, at(i * 15), i as f64);
        }
        assert_eq!(place(&mut counter, at(1), 0.5), Placed::Absorbed);
        assert_eq!(counter.first(), None);
        assert_eq!(counter.newest(), Some(at(75)));
    }

    #[test]
    fn a_start_after_the_sample_before_is_a_reset() {
        let mut counter = Counter::new();
        counter.place(at(0), 10.0, Some(at(-50)));
        // Restarted at 5 s, and faster than before.
        assert_eq!(counter.place(at(15), 12.0, Some(at(5))), Placed::Known(change(0, 15, 12.0)));
        assert_eq!(counter.place(at(30), 20.0, Some(at(5))), Placed::Known(change(15, 30, 8.0)));
        // The start is the time of the sample before: counted by that one. After the sample: nonsense.
        assert_eq!(counter.place(at(45), 25.0, Some(at(30))), Placed::Known(change(30, 45, 5.0)));
        assert_eq!(counter.place(at(60), 26.0, Some(at(61))), Placed::Known(change(45, 60, 1.0)));
        assert_eq!(counter.place(at(75), 30.0, Some(at(75))), Placed::Known(change(60, 75, 30.0)));
        assert_eq!(
            counter.place(at(90), 29.0, Some(at(-50))),
            Placed::Known(change(75, 90, 29.0)),
            "the value tells too"
        );
    }

    #[test]
    fn a_late_sample_on_either_side_of_a_restart() {
        for (late, start, own, moved) in [(5, -50, 3.0, -3.0), (12, 10, 13.0, -13.0)] {
            let mut counter = Counter::new();
            counter.place(at(0), 10.0, Some(at(-50)));
            assert_eq!(counter.place(at(15), 20.0, Some(at(10))), Placed::Known(change(0, 15, 20.0)));
            let placed = counter.place(at(late), 13.0, Some(at(start)));
            // Before the restart all of the later value is new; after it, what was added since.
            let moved = if start < 0 { 0.0 } else { moved };
            assert_eq!(placed, Placed::Between(correction(late, own), correction(15, moved)), "{late}");
        }
        let mut counter = Counter::new();
        counter.place(at(30), 7.0, Some(at(20)));
        counter.count_birth(at(30));
        assert_eq!(counter.place(at(15), 5.0, Some(at(0))), Placed::BeforeFirst(correction(30, 0.0)));
    }

    #[test]
    fn a_counter_is_small() {
        assert!(size_of::<Counter>() <= 64, "{}", size_of::<Counter>());
    }

    #[test]
    fn a_sample_from_long_before_is_forgotten() {
        let mut counter = Counter::new();
        place(&mut counter, at(0), 1.0);
        let later = at(50 * 86_400);
        assert_eq!(place(&mut counter, later, 4.0), Placed::Known(change(0, 50 * 86_400, 3.0)));
        assert_eq!((counter.first(), counter.newest()), (None, Some(later)));
        assert_eq!(place(&mut counter, at(86_400), 2.0), Placed::Absorbed);
    }

    proptest! {
        /// Starts and lateness: the changes add up to those of the same samples in order.
        #[test]
        fn the_order_of_arrival_does_not_matter(
            lives in prop::collection::vec((1_i64..40, prop::collection::vec((1_i64..20, 0_u32..9), 1..5)), 1..4),
            late in prop::collection::vec(0_usize..3, 20),
        ) {
            // Each life starts some time after the last sample of the one before.
            let (mut now, mut samples) = (0, Vec::new());
            for (gap, scrapes) in lives {
                let start = now + gap;
                now = start;
                let mut value = 0.0;
                for (step, by) in scrapes {
                    now += step;
                    value += f64::from(by);
                    samples.push((at(now), value, at(start)));
                }
            }
            let sum = |order: &[(Timestamp, f64, Timestamp)]| {
                let mut counter = Counter::new();
                let mut sums = std::collections::BTreeMap::new();
                for &(at, value, start) in order {
                    let changes = match counter.place(at, value, Some(start)) {
                        Placed::Known(change) | Placed::BeforeFirst(change) => vec![change],
                        Placed::Between(change, next) => vec![change, next],
                        _ => Vec::new(),
                    };
                    for change in changes {
                        *sums.entry(change.at).or_insert(0.0) += change.amount;
                    }
                }
                sums.retain(|_, sum| *sum != 0.0);
                sums
            };
            let mut arrivals: Vec<_> = samples.iter().copied().enumerate().collect();
            arrivals.sort_by_key(|(i, _)| i + late[i % late.len()]);
            let arrivals: Vec<_> = arrivals.into_iter().map(|(_, sample)| sample).collect();
            prop_assert_eq!(sum(&arrivals), sum(&samples));
        }

        /// A counter that was stored goes on as one that was not, and is stored as the same bytes.
        #[test]
        fn a_stored_counter_goes_on(samples in prop::collection::vec((0_i64..60, 0_u8..9, any::<bool>()), 1..20)) {
            let (mut calm, mut stored) = (Counter::new(), Counter::new());
            for (seconds, value, has_start) in samples {
                let start = has_start.then(|| at(seconds - 20));
                let placed = calm.place(at(seconds), f64::from(value), start);
                prop_assert_eq!(stored.place(at(seconds), f64::from(value), start), placed);
                let bytes = postcard::to_stdvec(&stored).unwrap();
                stored = postcard::from_bytes(&bytes).unwrap();
                prop_assert_eq!(postcard::to_stdvec(&calm).unwrap(), bytes);
                prop_assert_eq!(stored.first(), calm.first());
            }
        }
    }
}
