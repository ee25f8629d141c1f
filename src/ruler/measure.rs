//! SLIs by PromQL: their queries, evaluated slot after slot, as counters of events (see `spec::query`).
//!
//! Slots are multiples of an SLI's `every`. One is evaluated [`DELAY`] after it has passed, so that what was scraped by
//! then has arrived; what it gives is added to counters whose samples bear the slot's time. A counter begins with zero a
//! millisecond before its first slot: so its first events count, and a restart, after which all begin anew, is a reset
//! like any other. Slots that a slow evaluation has missed are made up for, up to a limit.

use std::collections::BTreeMap;

use crate::promql::Value;
use crate::ruler::Ground;
use crate::ruler::record::{self, Sample};
use crate::spec::query::{EVENTS_METRIC, LABEL_EVENTS, LABEL_REVISION, LABEL_SLI};
use crate::spec::{Measure, QueryEvents, Service};
use crate::types::{Labels, METRIC_NAME, Span, Timestamp};

/// Samples of a slot have arrived so long after it.
pub const DELAY: Span = Span::seconds(10);
/// Slots that are made up for after a pause.
const CATCH_UP_LIMIT_SLOTS: i64 = 20;
/// Counters of one SLI; further ones are not kept.
const COUNTERS_LIMIT_COUNT: usize = 10_000;
/// A counter without a sample for this long is forgotten, as by the engine; it begins anew when it comes back.
const COUNTER_IDLE: Span = Span::hours(1);

/// A counter's labels, and its new samples in order.
pub type Counted = (Labels, Vec<(Timestamp, f64)>);

/// All SLIs by PromQL.
#[derive(Clone, Debug, Default)]
pub struct Measures(Vec<Run>);

#[derive(Clone, Debug)]
struct Run {
    sli: QueryEvents,
    revision: String,
    next: Timestamp,
    /// With their latest slots.
    counters: BTreeMap<Labels, (f64, Timestamp)>,
}

/// What a step led to.
#[derive(Debug, Default)]
pub struct Step {
    /// New samples.
    pub counted: Vec<Counted>,
    /// SLIs whose queries failed, and why.
    pub errors: Vec<(String, String)>,
}

impl Measures {
    /// Those of these services, from `now` on.
    pub fn new(services: &[Service], now: Timestamp) -> Self {
        let mut measures = Self::default();
        measures.reload(services, now);
        measures
    }

    /// Has other services hold. An SLI that asks the same goes on.
    pub fn reload(&mut self, services: &[Service], now: Timestamp) {
        let mut before = std::mem::take(&mut self.0);
        for sli in services.iter().flat_map(|service| service.slis.iter()).filter_map(crate::spec::Sli::query) {
            let revision = sli.revision();
            let same = before.iter().position(|run| run.sli.id == sli.id && run.revision == revision);
            self.0.push(match same {
                Some(at) => before.swap_remove(at),
                None => Run { next: first(now, sli.every), sli: sli.clone(), revision, counters: BTreeMap::new() },
            });
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Evaluation begins at `now`, later than when the SLIs were read.
    pub fn begin(&mut self, now: Timestamp) {
        for run in &mut self.0 {
            run.next = first(now, run.sli.every);
        }
    }

    /// When a slot is to be evaluated next.
    pub fn next(&self) -> Option<Timestamp> {
        self.0.iter().map(|run| run.next + DELAY).min()
    }

    /// Evaluates the slots that are due.
    pub fn step(&mut self, now: Timestamp, ground: &Ground<'_>) -> Step {
        let mut step = Step::default();
        for run in &mut self.0 {
            let every = run.sli.every;
            let last = now - DELAY;
            if last < run.next {
                // Also when the clock went back.
                run.next = run.next.min(first(now, every));
                continue;
            }
            let oldest = Timestamp(last.0.div_euclid(every.0) * every.0 - (CATCH_UP_LIMIT_SLOTS - 1) * every.0);
            run.next = run.next.max(oldest);
            while run.next <= last {
                let slot = run.next;
                run.next = slot + every;
                match run.sli.evaluate(slot, ground) {
                    Ok(found) => run.count(slot, found, &mut step.counted),
                    Err(error) => step.errors.push((run.sli.id.clone(), error)),
                }
            }
        }
        step
    }
}

/// The first slot after `now`.
fn first(now: Timestamp, every: Span) -> Timestamp {
    Timestamp(now.0.div_euclid(every.0) * every.0 + every.0)
}

impl Run {
    fn count(&mut self, slot: Timestamp, found: BTreeMap<Labels, f64>, counted: &mut Vec<Counted>) {
        self.counters.retain(|_, (_, last)| slot.since(*last) < COUNTER_IDLE);
        for (labels, amount) in found {
            let is_known = self.counters.contains_key(&labels);
            if !is_known && self.counters.len() == COUNTERS_LIMIT_COUNT {
                continue;
            }
            let (counter, last) = self.counters.entry(labels.clone()).or_insert((0.0, slot));
            *last = slot;
            let mut samples = Vec::new();
            if !is_known {
                samples.push((slot - Span::millis(1), 0.0));
            }
            *counter += amount;
            samples.push((slot, *counter));
            match counted.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, known)) => known.extend(samples),
                None => counted.push((labels, samples)),
            }
        }
    }
}

impl QueryEvents {
    /// The events of a slot by the labels of their counters.
    fn evaluate(&self, slot: Timestamp, ground: &Ground<'_>) -> Result<BTreeMap<Labels, f64>, String> {
        let mut found = BTreeMap::new();
        let mut add = |series: &Labels, word: &str, amount: f64| {
            *found.entry(self.labels(series, word)).or_default() += amount;
        };
        match &self.measure {
            Measure::Events { numerator, total, scale, .. } => {
                let total = numbers(record::query(total, slot, ground)?);
                let numerator = numbers(record::query(numerator, slot, ground)?);
                for (word, samples) in [("total", &total), (self.numerator_word(), &numerator)] {
                    for (series, value) in samples.iter().filter(|(_, value)| value.is_finite() && *value >= 0.0) {
                        add(series, word, value * scale);
                    }
                }
            }
            Measure::Ratio { error, .. } => {
                for (series, value) in numbers(record::query(error, slot, ground)?) {
                    if !value.is_nan() {
                        add(&series, "total", 1.0);
                        add(&series, "bad", value.clamp(0.0, 1.0));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The counter that a series of a result goes to.
    fn labels(&self, series: &Labels, word: &str) -> Labels {
        let own = [
            (METRIC_NAME, EVENTS_METRIC),
            (LABEL_SLI, &*self.id),
            (LABEL_EVENTS, word),
            (LABEL_REVISION, &*self.revision()),
            // A target of its own: what one evaluation gives is judged whole.
            ("job", "sloburn"),
            ("instance", &*self.id),
        ];
        own.into_iter().fold(series.clone(), |labels, (name, value)| labels.with(name, value))
    }
}

fn numbers(samples: Vec<Sample>) -> Vec<(Labels, f64)> {
    let number = |(labels, value): Sample| match value {
        Value::Float(value) => Some((Labels::clone(&labels), value)),
        Value::Histogram(_) => None,
    };
    samples.into_iter().filter_map(number).collect()
}
