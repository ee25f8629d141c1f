//! SLIs by PromQL: what no sum of selectors says.
//!
//! Every `every`, the queries are evaluated on the store of recent samples, and what they give is counted as events of
//! that stretch of time:
//!
//! - `events: {bad: ..., total: ...}` are queries over increases. `[$window]` stands for the stretch: `increase` and `rate`
//!   over it take the last sample at or before each of its ends (`promql::anchor`), so that the stretches add up to what
//!   the counters did, resets included, with nothing extrapolated. Queries by `rate` give events a second and are
//!   multiplied by the stretch's length.
//! - `ratio: {error: ...}` is a query that gives a share from 0 to 1. Each evaluation is one event, that much of it bad; an
//!   evaluation without a result, or with NaN, is no event.
//!
//! Every series of a result counts, under its labels: `groupBy` and the version label work as for any SLI. What was
//! counted becomes a counter of its own ([`EVENTS_METRIC`]), which goes the way of all samples: into the journal and
//! through the engine.

use std::sync::Arc;

use crate::promql::{ParseLimits, Position, Query, Type};
use crate::spec::Counting;
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::yaml::shown;
use crate::types::{METRIC_NAME, Matcher, Selector, Span};

/// The counter of events that queries have given.
pub const EVENTS_METRIC: &str = "sloburn_sli_events_total";
/// The SLI, `service/sli`.
pub const LABEL_SLI: &str = "sloburn_sli";
/// `good`, `bad` or `total`.
pub const LABEL_EVENTS: &str = "sloburn_events";
/// Of what the queries say: another query is another counter.
pub const LABEL_REVISION: &str = "sloburn_revision";
/// Stands for the stretch of time that an evaluation counts.
const WINDOW: &str = "$window";
const DEFAULT_EVERY: Span = Span::seconds(15);
const EVERY_LEAST: Span = Span::seconds(1);
const EVERY_MOST: Span = Span::hours(1);

/// Events by PromQL.
#[derive(Clone, Debug)]
pub struct QueryEvents {
    /// `service/sli`
    pub id: String,
    /// From one evaluation to the next; what `[$window]` stands for.
    pub every: Span,
    /// What is evaluated.
    pub measure: Measure,
}

/// What the queries of an SLI give.
#[derive(Clone, Debug)]
pub enum Measure {
    /// Numbers of events.
    Events {
        /// What `numerator` counts.
        counting: Counting,
        /// Good or bad events.
        numerator: Arc<Query>,
        /// All events.
        total: Arc<Query>,
        /// The queries' own texts, with `$window`.
        texts: [String; 2],
        /// From what the queries give to events: the stretch in seconds where they give rates.
        scale: f64,
    },
    /// The share of bad ones.
    Ratio {
        /// From 0 to 1.
        error: Arc<Query>,
        /// Its own text.
        text: String,
    },
}

impl QueryEvents {
    /// What the numerator counts.
    pub const fn counting(&self) -> Counting {
        match &self.measure {
            Measure::Events { counting, .. } => *counting,
            Measure::Ratio { .. } => Counting::Bad,
        }
    }

    /// The queries.
    pub fn queries(&self) -> Vec<&Arc<Query>> {
        match &self.measure {
            Measure::Events { numerator, total, .. } => vec![numerator, total],
            Measure::Ratio { error, .. } => vec![error],
        }
    }

    /// Eight hexadecimal digits of what is counted.
    pub fn revision(&self) -> String {
        let text = match &self.measure {
            Measure::Events { texts: [numerator, total], .. } => format!("{numerator}\n{total}\n{}", self.every),
            Measure::Ratio { text, .. } => format!("{text}\n{}", self.every),
        };
        format!("{:08x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()) as u32)
    }

    /// The value of [`LABEL_EVENTS`] of the numerator's counter.
    pub fn numerator_word(&self) -> &'static str {
        if self.counting() == Counting::Good { "good" } else { "bad" }
    }

    /// The counter of the numerator, or of all events.
    pub fn selector(&self, word: &str) -> Selector {
        Selector::new(vec![
            Matcher::equal(METRIC_NAME, EVENTS_METRIC),
            Matcher::equal(LABEL_SLI, &self.id),
            Matcher::equal(LABEL_EVENTS, word),
            Matcher::equal(LABEL_REVISION, &self.revision()),
        ])
    }
}

/// Whether the text of a field is a query over `[$window]`.
pub(crate) fn is_query(field: Option<Field<'_>>) -> bool {
    field.and_then(|field| field.scalar()).is_some_and(|text| text.contains(WINDOW))
}

/// `every` of an SLI by PromQL.
fn every(field: Option<Field<'_>>, reporter: &mut Reporter<'_>) -> Option<Span> {
    let Some(field) = field else { return Some(DEFAULT_EVERY) };
    let span = field.duration(reporter)?;
    if !(EVERY_LEAST..=EVERY_MOST).contains(&span) {
        let message = format!("an SLI is evaluated every {EVERY_LEAST} to {EVERY_MOST}, not every {span}");
        reporter.error(field.place(), message).hint("leave it out for `15s`");
        return None;
    }
    Some(span)
}

/// Of `events` whose queries are over `[$window]`.
pub(crate) fn events(
    service: &str,
    sli: &str,
    (numerator, counting): (Field<'_>, Counting),
    total: Field<'_>,
    every_field: Option<Field<'_>>,
    reporter: &mut Reporter<'_>,
) -> Option<QueryEvents> {
    let every = every(every_field, reporter);
    let window = every.unwrap_or(DEFAULT_EVERY);
    let mut read = |field: Field<'_>| {
        if !is_query(Some(field)) {
            let hint = "write both by PromQL, as in `sum(increase(x_total[$window]))`, or both as sums of selectors";
            reporter.error(field.place(), format!("{} is no query over `[$window]`", field.what)).hint(hint);
            return None;
        }
        let (query, found) = query(field, window, reporter)?;
        if found.rates && found.amounts {
            let hint = "use `increase` throughout";
            reporter.error(field.place(), "the query mixes events and events a second").hint(hint);
            return None;
        }
        Some((query, found.rates, field.scalar().unwrap_or_default().to_owned()))
    };
    let (numerator_read, total_read) = (read(numerator), read(total));
    let ((numerator, rates, numerator_text), (total_query, total_rates, total_text)) = (numerator_read?, total_read?);
    if rates != total_rates {
        let hint = "use `increase` in both";
        reporter.error(total.place(), "one query gives events and the other events a second").hint(hint);
        return None;
    }
    let scale = if rates { window.as_secs_f64() } else { 1.0 };
    let texts = [numerator_text, total_text];
    let measure = Measure::Events { counting, numerator, total: total_query, texts, scale };
    Some(QueryEvents { id: format!("{service}/{sli}"), every: every?, measure })
}

/// `ratio: {error: ..., every: ...}`
pub(crate) fn ratio(service: &str, sli: &str, field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<QueryEvents> {
    let mut fields = Fields::of(field, reporter)?;
    let error_field = fields.require("error");
    let every = every(fields.get("every"), reporter);
    fields.finish(reporter);
    let error_field = error_field?;
    let (error, _) = query(error_field, every.unwrap_or(DEFAULT_EVERY), reporter)?;
    let text = error_field.scalar().unwrap_or_default().to_owned();
    Some(QueryEvents { id: format!("{service}/{sli}"), every: every?, measure: Measure::Ratio { error, text } })
}

/// A query with `$window` as so long, its increases over it anchored.
fn query(
    field: Field<'_>,
    window: Span,
    reporter: &mut Reporter<'_>,
) -> Option<(Arc<Query>, crate::promql::CounterUse)> {
    let text = field.text(reporter)?;
    let written = with_window(text, window);
    let query = match Query::parse(&written, &ParseLimits::default()) {
        Ok(query) => query,
        Err(error) => {
            let place = field.place_of(original(text, &written, error.at));
            let hint = format!("the query is {}", shown(text.trim()));
            reporter.error(place, format!("not a PromQL expression: {}", error.message)).hint(hint);
            return None;
        }
    };
    if !matches!(query.value_type(), Type::Scalar | Type::Vector) {
        let what = query.value_type().documented();
        let hint = "aggregate over the range, as in `sum(increase(x_total[$window]))`";
        reporter.error(field.place(), format!("the query gives a {what}, not numbers")).hint(hint);
        return None;
    }
    let (query, found) = query.anchored(window);
    Some((Arc::new(query), found))
}

/// The query's text for a window of its own, as the generated rules need it.
pub fn with_window(text: &str, window: Span) -> String {
    text.replace(WINDOW, &crate::spec::naming::window_text(window))
}

/// The bytes of the text that an error in the text with `$window` replaced points at; where lengths differ, all of it.
fn original(text: &str, written: &str, at: Position) -> std::ops::Range<usize> {
    let (start, end) = (at.start as usize, at.end as usize);
    let same = text.bytes().zip(written.bytes()).take_while(|(a, b)| a == b).count();
    if end <= same { start..end } else { 0..text.len() }
}
