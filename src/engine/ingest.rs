//! A batch of samples into the series table: who they belong to, and which are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::ha::{Heard, REPLICAS_LIMIT_COUNT};
use crate::engine::{Binding, Engine};
use crate::series::{Lookup, SeriesId, Tag, identity_bytes};
use crate::types::{Labels, Span, Timestamp};
use crate::wire::{Batch, LabelPairs, SeriesRef, decode_labels};

/// A sample further ahead of its arrival than this is refused.
pub const FUTURE_LIMIT: Span = Span::minutes(10);

/// A sample older than this on its arrival is refused: it is older than any period, and no window reaches it.
pub const PAST_LIMIT: Span = Span::days(92);

/// A time further from now than this is not late or early but in another unit.
const PLAUSIBLE: Span = Span::days(3_650);

/// Characters of a refused series' labels that are quoted back.
const EXAMPLE_LIMIT_CHARS: usize = 400;

/// What became of the samples of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Taken, duplicates and series that no SLI refers to included.
    pub samples: u64,
    /// Refused, by reason.
    pub rejected: BTreeMap<&'static str, Rejection>,
}

/// Samples refused for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// How many.
    pub samples: u64,
    /// What was wrong with the first of them.
    pub example: String,
}

impl Written {
    fn reject(&mut self, reason: &'static str, samples: usize, example: impl FnOnce() -> String) {
        let rejection = self.rejected.entry(reason).or_insert_with(|| Rejection { samples: 0, example: example() });
        rejection.samples += samples as u64;
    }
}

impl Engine {
    pub(super) fn write(&mut self, batch: &Batch, now: Timestamp) -> Written {
        let mut written = Written::default();
        for series in batch.series() {
            match self.ha.as_mut().map_or(Heard::Yes, |ha| ha.hears(&series, &self.settings.limits, now)) {
                Heard::Yes => {}
                Heard::No => {
                    // Taken, so that the sender goes on; the other replica's count.
                    written.samples += series.samples.len() as u64;
                    self.stats.replica_samples += series.samples.len() as u64;
                    continue;
                }
                Heard::TooMany => {
                    let example =
                        || format!("more than {REPLICAS_LIMIT_COUNT} replicas: {}", shown(series.label_bytes));
                    written.reject("replica_limit", series.samples.len(), example);
                    continue;
                }
            }
            let id = match self.table.lookup(series.wire_hash) {
                Lookup::Known(id) => id,
                Lookup::Ignored => {
                    written.samples += series.samples.len() as u64;
                    continue;
                }
                Lookup::Unknown => match self.meet(&series, now, &mut written) {
                    Some(id) => id,
                    None => continue,
                },
            };
            self.write_samples(id, &series, now, &mut written);
        }
        written
    }

    fn write_samples(&mut self, id: SeriesId, series: &SeriesRef<'_>, now: Timestamp, written: &mut Written) {
        for sample in series.samples {
            if sample.timestamp.since(now) > FUTURE_LIMIT {
                written.reject("too_far_in_future", 1, || time_hint(series, sample.timestamp, now));
                continue;
            }
            if now.since(sample.timestamp) > PAST_LIMIT {
                written.reject("too_old", 1, || time_hint(series, sample.timestamp, now));
                continue;
            }
            match self.table.sample(id, sample.timestamp, sample.value, now, &mut self.output) {
                Ok(()) => written.samples += 1,
                Err(error) => written.reject("duplicate_timestamp", 1, || {
                    format!("{error} {} of {}: another value came first", sample.timestamp, shown(series.label_bytes))
                }),
            }
        }
    }

    /// A series whose label bytes were not seen lately: `None` when it is refused or of no interest.
    fn meet(&mut self, series: &SeriesRef<'_>, now: Timestamp, written: &mut Written) -> Option<SeriesId> {
        let samples = series.samples.len();
        let labels = match decode_labels(series.label_bytes, &self.settings.limits) {
            Ok(labels) => match &self.ha {
                Some(ha) => ha.common(labels),
                None => labels,
            },
            Err(error) => {
                written.reject(error.reason(), samples, || format!("{error} in {}", shown(series.label_bytes)));
                return None;
            }
        };
        let Some(tag) = self.bind(&labels, now) else {
            self.table.ignore(series.wire_hash);
            written.samples += samples as u64;
            return None;
        };
        identity_bytes(&labels, &mut self.identity_buffer);
        let identity = self.settings.key.hash(&self.identity_buffer);
        let is_gauge = self.bindings[tag.0 as usize].is_gauge();
        match self.table.register(series.wire_hash, identity, &labels, tag, is_gauge) {
            Ok(id) => Some(id),
            Err(error) => {
                written.reject("series_limit", samples, || format!("{error}; the first refused is {labels}"));
                None
            }
        }
    }

    /// What a series counts for; `None` when no SLI is interested in it or its neighbours.
    fn bind(&mut self, labels: &Labels, now: Timestamp) -> Option<Tag> {
        let matches = self.catalog.find(labels)?;
        let version_of = |sli: u32| {
            let label = self.slis.get(sli as usize)?.version_label.as_deref()?;
            labels.get(label).map(Into::into)
        };
        let versions = matches.iter().map(|m| version_of(m.sli.0)).collect();
        let mut judges = Vec::with_capacity(matches.len());
        for matched in &matches {
            // A signal feeds none.
            let slos = self.slis.get(matched.sli.0 as usize).map_or_else(Vec::new, |sli| sli.slos.clone());
            let fed = slos.into_iter().filter_map(|slo| self.judge_for(slo, labels, now));
            judges.push(fed.map(|judge| judge as u32).collect());
        }
        let binding = Arc::new(Binding { matches, versions, judges });
        if let Some(&tag) = self.tags.get(&binding) {
            return Some(tag);
        }
        let tag = Tag(self.bindings.len() as u32);
        self.bindings.push(Arc::clone(&binding));
        self.tallies.push(None);
        self.tags.insert(binding, tag);
        Some(tag)
    }
}

/// A series' labels for a message, as far as they can be read.
fn shown(label_bytes: &[u8]) -> String {
    let pairs: Vec<_> = LabelPairs::new(label_bytes).map_while(Result::ok).collect();
    let listed: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let text = format!("{{{}}}", listed.join(","));
    match text.char_indices().nth(EXAMPLE_LIMIT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn time_hint(series: &SeriesRef<'_>, at: Timestamp, now: Timestamp) -> String {
    let labels = shown(series.label_bytes);
    let (ahead, behind) = (at.since(now), now.since(at));
    // Seconds where milliseconds belong land in 1970, microseconds thousands of years ahead.
    if ahead.max(behind) > PLAUSIBLE {
        return format!("timestamp {} of {labels} is no time in milliseconds: check the sender's unit", at.as_millis());
    }
    if behind > ahead {
        return format!("sample of {labels} is {behind} old, older than any period");
    }
    format!("sample of {labels} is {ahead} ahead of the clock here, more than {FUTURE_LIMIT}: check the clocks")
}
