//! The counts of one SLO: its windows, its period, and what of its events is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sli::missing::Missing;
use crate::sli::{Counting, Counts, Events, Ledger, Slices};
use crate::spec::{Accounting, NoData, Period, Verdict};
use crate::types::{Span, Timestamp};

/// An SLO whose newest sample is this old has no data: Prometheus' lookback.
pub const LOOKBACK: Span = Span::minutes(5);

/// Missing time is counted in pieces of this length, unless the budget counts slices.
const MISSING_UNIT: Span = Span::seconds(10);
/// Missing time counts at the rate of events of this long before it.
const RATE_WINDOW: Span = Span::hours(1);
/// The longest quarter.
const LONGEST_PERIOD: Span = Span::days(92);
/// Events are remembered this long where a series decides about them that may still report.
pub const UNDECIDED: Span = Span::minutes(10);

/// What follows from the specs.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What the SLI's numerator counts.
    pub counting: Counting,
    /// What the budget is for.
    pub period: Period,
    /// How events become budget.
    pub accounting: Accounting,
    /// Windows to keep, ascending.
    pub windows: Vec<Span>,
}

/// The counts of one SLO while running.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The windows, and one for a rolling period.
    ledger: Ledger,
    /// Where the budget counts slices.
    slices: Option<Box<Slices>>,
    /// Since the budget last began anew, at a boundary of the calendar or a reset.
    current: Option<Tally>,
    /// The one before: samples may be late, and clocks go back.
    previous: Option<Tally>,
    last_sample: Option<Timestamp>,
    /// A time without samples that counts as bad.
    missing: Option<Box<Missing>>,
    /// Events left out, over the period.
    excluded: Option<Box<Ledger>>,
    /// The latest events by their time, and whether they are left out.
    undecided: BTreeMap<Timestamp, (Counts, bool)>,
    /// Both follow from the rules.
    #[serde(skip)]
    stretch: Option<(Timestamp, Timestamp)>,
    #[serde(skip)]
    verdict: Option<Verdict>,
}

/// Counts of the events after some moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Tally {
    from: Timestamp,
    counts: Counts,
}

/// What a budget is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeriodCounts {
    /// Bad and all, in events or slices.
    pub events: Events,
    /// When the period began.
    pub from: Timestamp,
    /// How much of it is over: all of a rolling one.
    pub elapsed: Span,
    /// How much of that lies after the first sample.
    pub covered: Span,
    /// How long all of it is.
    pub length: Span,
}

impl Rules {
    /// The ledger's windows, the period last if it rolls.
    fn spans(&self) -> Vec<Span> {
        let rolling = match &self.period {
            Period::Rolling(span) => Some(*span),
            Period::Calendar(_) => None,
        };
        // For the rate of events before a time without samples.
        let hour = (self.accounting.no_data == NoData::Bad).then_some(RATE_WINDOW);
        self.windows.iter().copied().chain(hour).chain(rolling).collect()
    }

    /// What the figures of windows and period count as bad.
    fn counts_as(&self) -> Counting {
        if self.accounting.budgeting.slice().is_some() { Counting::Bad } else { self.counting }
    }

    fn unit(&self) -> i64 {
        self.accounting.budgeting.slice().unwrap_or(MISSING_UNIT).as_millis()
    }
}

/// The number of the first unit that lies wholly after `at`.
fn first_after(at: Timestamp, unit: i64) -> i64 {
    at.as_millis().saturating_add(unit - 1).div_euclid(unit)
}

impl Account {
    /// Nothing counted yet.
    pub fn new(rules: &Rules, now: Timestamp) -> Self {
        let excluded = !rules.accounting.exclude.is_empty();
        let mut account = Self {
            ledger: Ledger::new(&rules.spans(), now),
            slices: rules.accounting.budgeting.slice().map(|slice| Box::new(Slices::new(slice))),
            current: None,
            previous: None,
            last_sample: None,
            missing: None,
            excluded: excluded.then(|| Box::new(Ledger::new(&[rules.period.nominal()], now))),
            undecided: BTreeMap::new(),
            stretch: None,
            verdict: None,
        };
        account.advance(rules, now);
        account
    }

    /// Whether the other one was made for the same rules, as far as they matter to its form.
    pub fn fits(&self, other: &Self) -> bool {
        self.ledger.fits(&other.ledger)
            && self.slices.is_some() == other.slices.is_some()
            && self.excluded.is_some() == other.excluded.is_some()
    }

    /// The same history under other rules that count in the same units.
    #[must_use]
    pub fn refitted(&self, rules: &Rules, now: Timestamp) -> Self {
        let mut new = Self { ledger: self.ledger.refitted(&rules.spans(), now), ..Self::new(rules, now) };
        new.slices.clone_from(&self.slices);
        new.last_sample = self.last_sample;
        if let Some(excluded) = &mut new.excluded {
            let kept = self.excluded.as_ref().map(|old| old.refitted(&[rules.period.nominal()], now));
            *excluded = kept.map_or_else(|| excluded.clone(), Box::new);
        }
        if let Some(tally) = &mut new.current {
            let same = [self.current, self.previous].into_iter().flatten().find(|old| old.from == tally.from);
            tally.counts = same.map_or_else(|| self.ledger.between(tally.from, now), |old| old.counts);
        }
        new
    }

    /// Where the windows end.
    pub fn now(&self) -> Timestamp {
        self.ledger.now()
    }

    /// The newest sample of the total.
    pub fn last_sample(&self) -> Option<Timestamp> {
        self.last_sample
    }

    /// Moves the end of windows and period to `now`, which may also lie before the last call's.
    pub fn advance(&mut self, rules: &Rules, now: Timestamp) {
        if rules.accounting.no_data == NoData::Bad
            && let Some(last) = self.last_sample
            && now.since(last) >= LOOKBACK
        {
            self.miss(rules, last, now);
        }
        self.move_to(rules, now);
    }

    fn move_to(&mut self, rules: &Rules, now: Timestamp) {
        self.ledger.advance(now);
        if let Some(excluded) = &mut self.excluded {
            excluded.advance(now);
        }
        let from = self.begins(rules, now);
        if self.current.map(|tally| tally.from) == from {
            return;
        }
        let before = self.previous.take_if(|tally| Some(tally.from) == from);
        let next = before.or_else(|| from.map(|from| Tally { from, counts: Counts::default() }));
        self.previous = std::mem::replace(&mut self.current, next);
    }

    /// When the budget last began anew; `None` while it rolls.
    fn begins(&mut self, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
        let reset = rules.accounting.last_reset(now);
        match &rules.period {
            Period::Rolling(span) => reset.filter(|reset| now.since(*reset) < *span),
            Period::Calendar(calendar) => {
                let stretch = self.stretch.filter(|(start, end)| *start < now && now <= *end);
                let (start, end) = stretch.unwrap_or_else(|| calendar.containing(now));
                self.stretch = Some((start, end));
                Some(reset.map_or(start, |reset| reset.max(start)))
            }
        }
    }

    /// Adds events; `signalled` says whether a series excludes those of a moment.
    pub fn add(&mut self, rules: &Rules, at: Timestamp, counts: Counts, signalled: impl Fn(Timestamp) -> bool) {
        let mut excluded = self.is_excluded(rules, at) || signalled(at);
        if rules.accounting.has_signals() {
            // Together with the other events of its moment; `decide` moves all of them.
            let (sum, was_excluded) = self.undecided.entry(at).or_insert((Counts::default(), excluded));
            *sum += counts;
            excluded = *was_excluded;
            let newest = self.undecided.last_key_value().map_or(at, |(newest, _)| *newest);
            while self.undecided.first_key_value().is_some_and(|(oldest, _)| newest.since(*oldest) > UNDECIDED) {
                self.undecided.pop_first();
            }
        }
        self.book(rules, at, counts, excluded);
    }

    /// A series that excludes events has told more: moves the events it decides about.
    pub fn decide(&mut self, rules: &Rules, signalled: impl Fn(Timestamp) -> bool) {
        let mut undecided = std::mem::take(&mut self.undecided);
        for (&at, (counts, was_excluded)) in &mut undecided {
            let excluded = self.is_excluded(rules, at) || signalled(at);
            if excluded != *was_excluded {
                let back = Counts { numerator: -counts.numerator, total: -counts.total };
                self.book(rules, at, back, *was_excluded);
                self.book(rules, at, *counts, excluded);
                *was_excluded = excluded;
            }
        }
        self.undecided = undecided;
    }

    fn book(&mut self, rules: &Rules, at: Timestamp, counts: Counts, excluded: bool) {
        match &mut self.excluded {
            Some(ledger) if excluded => ledger.add(at, counts),
            _ => self.count(rules, at, counts),
        }
    }

    fn is_excluded(&mut self, rules: &Rules, at: Timestamp) -> bool {
        if rules.accounting.exclude.is_empty() {
            return false;
        }
        let known = self.verdict.filter(|verdict| verdict.from < at && at <= verdict.to);
        let verdict = known.unwrap_or_else(|| rules.accounting.is_excluded(at));
        self.verdict = Some(verdict);
        verdict.inside
    }

    /// Counts events in the budget's units.
    fn count(&mut self, rules: &Rules, at: Timestamp, counts: Counts) {
        let change = match &mut self.slices {
            Some(slices) => slices.add(at, counts, rules.accounting.budgeting, rules.counting),
            None => Some((at, counts)),
        };
        if let Some((at, counts)) = change {
            self.post(at, counts);
        }
    }

    fn post(&mut self, at: Timestamp, counts: Counts) {
        self.ledger.add(at, counts);
        match (&mut self.current, &mut self.previous) {
            (Some(current), _) if at > current.from => current.counts += counts,
            (Some(_), Some(previous)) if at > previous.from => previous.counts += counts,
            _ => {}
        }
    }

    /// Notes that the total was watched at `at`.
    pub fn watched(&mut self, rules: &Rules, at: Timestamp) {
        self.ledger.watched(at);
        self.last_sample = self.last_sample.max(Some(at));
        if let Some(missing) = self.missing.take_if(|missing| missing.from < at) {
            self.missing = self.found(rules, missing, at);
        }
    }

    /// Counts the time since the last sample as bad, in whole units.
    fn miss(&mut self, rules: &Rules, last: Timestamp, now: Timestamp) {
        let unit = rules.unit();
        if self.missing.is_none() {
            // At the moment at which the silence became one, whenever that is noticed.
            if self.now() < last + LOOKBACK {
                self.move_to(rules, last + LOOKBACK);
            }
            let (next, amount) = (first_after(last, unit), self.usual(rules, last));
            self.missing = Some(Box::new(Missing::new(last, next, amount)));
        }
        self.move_to(rules, now);
        let Some(mut missing) = self.missing.take() else { return };
        // Older units reach no window and no period.
        let oldest = (now - LONGEST_PERIOD).as_millis().div_euclid(unit);
        missing.next = missing.next.max(oldest);
        missing.forget_before(oldest);
        while (missing.next + 1) * unit <= now.as_millis() {
            if self.is_excluded(rules, Timestamp(missing.next * unit + 1)) {
                missing.skip(missing.next);
            } else {
                self.post_missing(rules, missing.next, missing.amount);
            }
            missing.next += 1;
        }
        self.missing = Some(missing);
    }

    /// A sample ends a time without any, or makes it shorter: it was one only if it lasted.
    fn found(&mut self, rules: &Rules, mut missing: Box<Missing>, at: Timestamp) -> Option<Box<Missing>> {
        let unit = rules.unit();
        let (first, after) = (first_after(missing.from, unit), first_after(at, unit));
        let is_gap = at.since(missing.from) >= LOOKBACK;
        let is_over = self.now().since(at) < LOOKBACK;
        // Units before the sample stay if they are part of a gap, the one it lies in is not without samples any more, and
        // those after it stay as long as nothing more comes.
        let from = if is_gap { after - 1 } else { first };
        let to = if is_over { missing.next } else { after.min(missing.next) };
        for number in from.max(first)..to.min(missing.next) {
            if !missing.is_skipped(number) {
                self.post_missing(rules, number, -missing.amount);
            }
        }
        missing.next = missing.next.max(after);
        missing.from = at;
        missing.forget_before(after);
        (!is_over).then_some(missing)
    }

    fn post_missing(&mut self, rules: &Rules, number: i64, amount: f64) {
        let numerator = if rules.counts_as() == Counting::Bad { amount } else { 0.0 };
        self.post(Timestamp(number * rules.unit() + 1), Counts { numerator, total: amount });
    }

    /// What a unit usually holds: one slice, or the events of the last hour of samples.
    fn usual(&self, rules: &Rules, last: Timestamp) -> f64 {
        if self.slices.is_some() {
            return 1.0;
        }
        let start = self.now() - RATE_WINDOW;
        let covered = last.since(self.ledger.since().map_or(start, |since| since.max(start)));
        let events = self.ledger.window(rules.windows.len()).total;
        if covered > Span::ZERO { (events * rules.unit() as f64 / covered.as_millis() as f64).max(0.0) } else { 0.0 }
    }

    /// Bad and all of a window of the rules, in events or slices.
    pub fn window(&self, rules: &Rules, index: usize) -> Events {
        rules.counts_as().events(self.ledger.window(index))
    }

    /// How much of a window lies after the first sample, 0 to 1.
    pub fn coverage(&self, index: usize) -> f64 {
        self.ledger.coverage(index)
    }

    /// The period so far.
    pub fn period(&self, rules: &Rules) -> PeriodCounts {
        let now = self.now();
        let (length, start) = match (&rules.period, self.stretch) {
            (Period::Calendar(_), Some((start, end))) => (end.since(start), start),
            (period, _) => (period.nominal(), now - period.nominal()),
        };
        let from = self.current.map_or(start, |tally| tally.from);
        let counts = self.current.map_or_else(|| self.ledger.last_window(), |tally| tally.counts);
        let elapsed = now.since(from).clamp(Span::ZERO, length);
        PeriodCounts {
            events: rules.counts_as().events(counts),
            from,
            elapsed,
            covered: self.ledger.covered(elapsed),
            length,
        }
    }

    /// The events of the last period that were left out; `None` where none can be.
    pub fn excluded(&self, rules: &Rules) -> Option<Events> {
        self.excluded.as_ref().map(|ledger| rules.counting.events(ledger.window(0)))
    }
}
