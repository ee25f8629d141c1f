//! Native histograms of a batch into the series table.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::engine::ingest::{Written, shown, time_hint, too_many_replicas, untimely};
use crate::series::{Found, Heard, Lookup, NativeUse, SeriesId, Tag};
use crate::sli::{Match, NativeMatch};
use crate::spec::{Reads, Role};
use crate::types::{BorrowedLabels, Labels, METRIC_NAME, Timestamp};
use crate::wire::{Batch, HISTOGRAM_HASH, Histogram, HistogramSeriesRef, LabelReader, ResetHint};

/// The label of a classic histogram's buckets.
const BOUND: &str = "le";
/// What the series of a classic histogram add to its name.
const CLASSIC_SUFFIXES: [&str; 2] = ["_bucket", "_count"];

impl Engine {
    /// Finds out whose the histograms are, and puts them before the shards.
    pub(super) fn route_histograms(&mut self, batch: &Batch, now: Timestamp, written: &mut Written) {
        for (source, series) in (0..).zip(batch.histogram_series()) {
            let count = series.messages().len();
            match self.hears(series.wire_hash, series.labels, now) {
                Heard::Yes => {}
                Heard::No => {
                    self.findings.set_histogram(source, Found::UNHEARD);
                    written.histograms += count as u64;
                    self.stats.replica_samples += count as u64;
                    continue;
                }
                Heard::TooMany => {
                    self.findings.set_histogram(source, Found::UNHEARD);
                    written.reject("replica_limit", count, || too_many_replicas(series.labels));
                    continue;
                }
            }
            let (id, is_met) = match self.table.lookup(series.wire_hash) {
                Lookup::Known(id) => (Some(id), false),
                Lookup::Ignored => {
                    written.histograms += series.messages().len() as u64;
                    (None, false)
                }
                Lookup::Unknown => (self.meet_native(series, now, written), true),
            };
            self.findings.set_histogram(source, self.table.wire_place());
            let Some(id) = id else { continue };
            for message in series.messages() {
                let Some(histogram) = self.timely_histogram(series, message, now, written) else { continue };
                if is_met && !histogram.is_stale() {
                    self.table.watch_from(id, histogram.timestamp);
                }
                self.table.queue_histogram(id, source, histogram, message);
                written.histograms += 1;
            }
        }
    }

    /// A histogram that counts events of a time that can be; `None` when it is refused.
    fn timely_histogram(
        &self,
        series: HistogramSeriesRef<'_>,
        message: &[u8],
        now: Timestamp,
        written: &mut Written,
    ) -> Option<Histogram> {
        let histogram = match Histogram::decode(message, &self.settings.limits) {
            Ok(histogram) => histogram,
            Err(error) => {
                written.reject(error.reason(), 1, || format!("{error} in {}", shown(series.labels)));
                return None;
            }
        };
        let at = histogram.timestamp;
        if let Some(reason) = untimely(at, now) {
            written.reject(reason, 1, || time_hint(series.labels, at, now));
            return None;
        }
        if histogram.hint == ResetHint::Gauge {
            written.reject("gauge_histogram", 1, || {
                format!("{} is a gauge histogram, which counts no events", shown(series.labels))
            });
            return None;
        }
        Some(histogram)
    }

    /// As [`Engine::meet`], for a series of native histograms.
    fn meet_native(
        &mut self,
        series: HistogramSeriesRef<'_>,
        now: Timestamp,
        written: &mut Written,
    ) -> Option<SeriesId> {
        let count = series.messages().len();
        let mut reader = LabelReader::default();
        if let Err(error) = reader.read(series.labels, &self.settings.limits) {
            written.reject(error.reason(), count, || format!("{error} in {}", shown(series.labels)));
            return None;
        }
        self.keep_common(&mut reader);
        let labels = reader.set().to_labels();
        let Some(matches) = self.catalog.find_native(&labels) else {
            self.table.ignore(series.wire_hash);
            written.histograms += count as u64;
            return None;
        };
        let uses = self.native_use(&matches, &labels, now);
        let histogram = self.identity(&labels) ^ HISTOGRAM_HASH;
        match self.table.register_native(series.wire_hash, histogram, histogram, reader.set(), uses) {
            Ok(id) => Some(id),
            Err(error) => {
                written.reject("series_limit", count, || format!("{error}; the first refused is {labels}"));
                None
            }
        }
    }

    /// Tags for all events and for those within each threshold.
    fn native_use(&mut self, matches: &[NativeMatch], labels: &Labels, now: Timestamp) -> NativeUse {
        let of = |matched: &NativeMatch, role| {
            let reads = match (role, matched.reads) {
                (Role::Total, Reads::Bucket(_)) => Reads::Bucket(f64::INFINITY.to_bits()),
                (_, reads) => reads,
            };
            Match { sli: matched.sli, term: 0, role, negative: false, reads, is_classic: false }
        };
        let mut totals: Vec<Match> = matches.iter().map(|m| of(m, Role::Total)).collect();
        // A histogram has many bounds, and its events are all of them once.
        totals.dedup();
        let total = self.tag(totals, labels, now);
        let mut by_threshold: BTreeMap<u64, Vec<Match>> = BTreeMap::new();
        for matched in matches {
            // Thresholds are above zero: their bits ascend with them.
            by_threshold.entry(matched.threshold.to_bits()).or_default().push(of(matched, Role::Numerator));
        }
        let within = by_threshold.into_iter();
        let within = within.map(|(threshold, matches)| (f64::from_bits(threshold), self.tag(matches, labels, now)));
        NativeUse { total, within: within.collect() }
    }

    /// A series of a classic histogram counts for a latency SLI only what no native one of the same labels does.
    pub(super) fn give_way_to_native(&mut self, id: SeriesId, labels: &BorrowedLabels<'_>, tag: Tag, now: Timestamp) {
        let matches = &self.bindings[tag.0 as usize].matches;
        if !matches.iter().any(|m| m.is_classic) {
            return;
        }
        let labels = &labels.to_labels();
        let beside = matches.iter().filter(|m| !m.is_classic).cloned().collect();
        let beside = self.tag(beside, labels, now);
        let name = labels.get(METRIC_NAME).unwrap_or_default();
        let base = CLASSIC_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let pairs = labels.iter().filter(|(name, _)| *name != BOUND);
        let pairs = pairs.map(|(name, value)| (name, if name == METRIC_NAME { base } else { value }));
        // Names stay distinct: only one label is left out and one value changed.
        if let Ok(histogram) = Labels::from_pairs(pairs.collect::<Vec<_>>()) {
            let histogram = self.identity(&histogram) ^ HISTOGRAM_HASH;
            self.table.give_way_to_native(id, histogram, beside);
        }
    }
}
