//! A batch of samples into the series table: who they belong to, and which are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{Binding, Engine};
use crate::series::{Findings, Found, Heard, Lookup, Met, REPLICAS_LIMIT_COUNT, Refused, SeriesId, Tag};
use crate::sli::{Match, PHASE};
use crate::spec::Reads;
use crate::types::{BorrowedLabels, Labels, Span, Timestamp};
use crate::wire::{Batch, Changes, LabelPairs, LabelReader, Sample, SeriesRef, WireLabels, label_set_hash};

/// A sample further ahead of its arrival than this is refused.
pub const FUTURE_LIMIT: Span = Span::minutes(10);

/// A sample older than this on its arrival is refused: it is older than any period, and no window reaches it.
pub const PAST_LIMIT: Span = Span::days(92);

/// A time further from now than this is not late or early but in another unit.
const PLAUSIBLE: Span = Span::days(3_650);

/// In place of a tag: no SLI is interested.
const IGNORED: u32 = u32::MAX;

/// Characters of a refused series' labels that are quoted back.
const EXAMPLE_LIMIT_CHARS: usize = 400;

/// What became of the samples of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Taken, duplicates and series that no SLI refers to included.
    pub samples: u64,
    /// Native histograms taken, as for samples.
    pub histograms: u64,
    /// Exemplars taken: there is no use for them.
    pub exemplars: u64,
    /// Refused, by reason.
    pub rejected: BTreeMap<&'static str, Rejection>,
}

/// Samples refused for one reason, histograms and series without samples included.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// How many.
    pub samples: u64,
    /// What was wrong with the first of them.
    pub example: String,
}

impl Written {
    pub(super) fn reject(&mut self, reason: &'static str, samples: usize, example: impl FnOnce() -> String) {
        let rejection = self.rejected.entry(reason).or_insert_with(|| Rejection { samples: 0, example: example() });
        rejection.samples += samples as u64;
    }
}

impl Engine {
    pub(super) fn write(&mut self, batch: &Batch, now: Timestamp) -> Written {
        let mut written = Written { exemplars: batch.exemplar_count() as u64, ..Written::default() };
        self.findings.begin(batch.series().len(), batch.histogram_series().len());
        self.route_samples(batch, now, &mut written);
        self.route_histograms(batch, now, &mut written);
        self.table.run(self.workers.as_mut(), now, &mut self.output);
        self.explain_refused(batch, &mut written);
        written
    }

    /// What was found out of the series of the batch that was written last.
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Gives that away, for room to put down the same of the next batch.
    pub fn swap_findings(&mut self, other: &mut Findings) {
        std::mem::swap(&mut self.findings, other);
    }

    /// Finds out whose the samples are, and puts them before the shards.
    fn route_samples(&mut self, batch: &Batch, now: Timestamp, written: &mut Written) {
        let mut reader = LabelReader::default();
        for (source, series) in (0..).zip(batch.series()) {
            match self.hears(series.wire_hash, series.labels, now) {
                Heard::Yes => {}
                Heard::No => {
                    self.findings.set(source, Found::UNHEARD);
                    // Taken, so that the sender goes on; the other replica's count.
                    written.samples += series.samples.len() as u64;
                    self.stats.replica_samples += series.samples.len() as u64;
                    continue;
                }
                Heard::TooMany => {
                    self.findings.set(source, Found::UNHEARD);
                    written.reject("replica_limit", series.samples.len(), || too_many_replicas(series.labels));
                    continue;
                }
            }
            if series.samples.is_empty() {
                written.reject("empty_series", 1, || {
                    format!("{} has neither samples nor histograms", shown(series.labels))
                });
                continue;
            }
            let (id, is_met) = match self.table.lookup(series.wire_hash) {
                Lookup::Known(id) => (Some(id), false),
                Lookup::Ignored => {
                    written.samples += series.samples.len() as u64;
                    (None, false)
                }
                Lookup::Unknown => (self.meet(source, &series, &mut reader, now, written), true),
            };
            self.findings.set(source, self.table.wire_place());
            let Some(id) = id else { continue };
            for (i, Sample { timestamp: at, value }) in series.samples.iter().copied().enumerate() {
                if let Some(reason) = untimely(at, now) {
                    written.reject(reason, 1, || time_hint(series.labels, at, now));
                    continue;
                }
                if is_met && value.is_finite() {
                    self.table.watch_from(id, at);
                }
                let start = series.starts.get(i).copied().flatten();
                self.table.queue_sample(id, source, at, value, start);
                written.samples += 1;
            }
        }
    }

    /// Says of the samples that the shards did not take why.
    fn explain_refused(&self, batch: &Batch, written: &mut Written) {
        for &Refused { source, is_histogram, at, error, .. } in self.table.refused() {
            let shown = |labels: Option<WireLabels<'_>>| labels.map_or_else(String::new, shown);
            if is_histogram {
                written.histograms -= 1;
                written.reject("duplicate_timestamp", 1, || {
                    let labels = batch.histogram_series().nth(source as usize).map(|series| series.labels);
                    format!("{error} {at} of {}: another histogram came first", shown(labels))
                });
            } else {
                written.samples -= 1;
                written.reject("duplicate_timestamp", 1, || {
                    let labels = batch.series().nth(source as usize).map(|series| series.labels);
                    format!("{error} {at} of {}: another value came first", shown(labels))
                });
            }
        }
    }

    /// A series whose label bytes were not seen lately: `None` when it is refused or of no interest.
    fn meet<'a>(
        &mut self,
        source: u32,
        series: &SeriesRef<'a>,
        reader: &mut LabelReader<'a>,
        now: Timestamp,
        written: &mut Written,
    ) -> Option<SeriesId> {
        let samples = series.samples.len();
        if let Err(error) = reader.read(series.labels, &self.settings.limits) {
            written.reject(error.reason(), samples, || format!("{error} in {}", shown(series.labels)));
            return None;
        }
        self.keep_common(reader);
        let (tag, changes) = (self.bind(reader.set(), reader.changes(), now), reader.changes());
        let identity = tag.map(|_| reader.identity(Some(series.wire_hash), &self.settings.key));
        let is_counted = tag.is_some_and(|tag| !self.bindings[tag.0 as usize].matches.is_empty());
        self.findings.push(source, (reader.set(), changes), identity, is_counted);
        let Some((tag, identity)) = tag.zip(identity) else {
            self.table.ignore(series.wire_hash);
            written.samples += samples as u64;
            return None;
        };
        let (changes, labels) = (reader.take_changes(), reader.set());
        let is_gauge = self.bindings[tag.0 as usize].is_gauge();
        match self.table.register(series.wire_hash, identity, (labels, changes), tag, is_gauge) {
            Ok(id) => {
                self.give_way_to_native(id, labels, tag, now);
                Some(id)
            }
            Err(error) => {
                written.reject("series_limit", samples, || {
                    format!("{error}; the first refused is {}", labels.to_labels())
                });
                None
            }
        }
    }

    /// The hash of a label set, however it came.
    pub(super) fn identity<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> u128 {
        label_set_hash(labels, &self.settings.key, &mut self.identity_buffer)
    }

    /// What a series counts for; `None` when no SLI is interested in it or its neighbours.
    fn bind(&mut self, labels: &BorrowedLabels<'_>, changes: Changes, now: Timestamp) -> Option<Tag> {
        let hash = match self.alike.meet(&self.settings.key, labels, changes, self.catalog.deciding()) {
            Met::Nothing | Met::Known(IGNORED) => return None,
            Met::Known(tag) => return Some(Tag(tag)),
            Met::New(hash) => hash,
        };
        let labels = labels.to_labels();
        let refused = self.stats.groups_refused_series;
        let tag = self.catalog.find(&labels).map(|matches| self.tag(matches, &labels, now));
        // What finds no room among its SLO's groups may find some later, and is counted each time.
        if self.stats.groups_refused_series == refused {
            self.alike.insert(hash, tag.map_or(IGNORED, |tag| tag.0));
        }
        tag
    }

    /// The tag of a series with these uses and labels.
    pub(super) fn tag(&mut self, mut matches: Vec<Match>, labels: &Labels, now: Timestamp) -> Tag {
        let mut versions = Vec::with_capacity(matches.len());
        matches.retain_mut(|matched| {
            let version = match matched.reads {
                Reads::Judged(_) | Reads::Bucket(_) => {
                    let Some((version, stratum)) = self.releases.place(matched.sli, labels) else { return false };
                    matched.term = stratum;
                    Some(version.into())
                }
                Reads::Phase => labels.get(PHASE).map(Into::into),
                Reads::Counter | Reads::Gauge(_) | Reads::Signal | Reads::Weight => {
                    let sli = self.slis.get(matched.sli.0 as usize);
                    sli.and_then(|sli| labels.get(sli.version_label.as_deref()?)).map(Into::into)
                }
            };
            versions.push(version);
            true
        });
        let mut judges = Vec::with_capacity(matches.len());
        for matched in &matches {
            // A signal feeds none.
            let slos = self.slis.get(matched.sli.0 as usize).map_or_else(Vec::new, |sli| sli.slos.clone());
            let fed = slos.into_iter().filter_map(|slo| self.judge_for(slo, labels, now));
            judges.push(fed.map(|judge| judge as u32).collect());
        }
        let binding = Arc::new(Binding { matches, versions, judges });
        if let Some(&tag) = self.tags.get(&binding) {
            return tag;
        }
        self.new_tag(binding)
    }
}

/// Why a sample of this time is refused.
pub(super) fn untimely(at: Timestamp, now: Timestamp) -> Option<&'static str> {
    if at.since(now) > FUTURE_LIMIT {
        return Some("too_far_in_future");
    }
    (now.since(at) > PAST_LIMIT).then_some("too_old")
}

/// Why a replica is not listened to.
pub(super) fn too_many_replicas(labels: WireLabels<'_>) -> String {
    format!("more than {REPLICAS_LIMIT_COUNT} replicas: {}", shown(labels))
}

/// A series' labels for a message, as far as they can be read.
pub(super) fn shown(labels: WireLabels<'_>) -> String {
    let pairs: Vec<_> = LabelPairs::new(labels).map_while(Result::ok).collect();
    let listed: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let text = format!("{{{}}}", listed.join(","));
    match text.char_indices().nth(EXAMPLE_LIMIT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

pub(super) fn time_hint(labels: WireLabels<'_>, at: Timestamp, now: Timestamp) -> String {
    let labels = shown(labels);
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
