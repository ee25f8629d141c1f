//! Warnings and infos, in Prometheus' words, each said once for each place.

use std::collections::BTreeMap;

use crate::promql::ast::Position;
use crate::promql::go;
use crate::promql::histogram::{HistogramOperation, NanNote};
use crate::types::{Timestamp, quote};

/// All that was noted during one evaluation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    notes: BTreeMap<(Level, String), Note>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Info,
    Warning,
}

#[derive(Clone, Debug)]
struct Note {
    at: Position,
    detail: Detail,
}

#[derive(Clone, Debug)]
enum Detail {
    None,
    /// Where a classic histogram's buckets had to be made monotonic.
    Monotonic(ForcedMonotonicity),
    /// How often start timestamps overlapped.
    Overlaps(u64),
}

/// Where and by how much buckets were not cumulative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForcedMonotonicity {
    pub first: i64,
    pub last: i64,
    pub lowest_bucket: f64,
    pub highest_bucket: f64,
    pub largest_difference: f64,
    pub samples: u64,
}

impl Annotations {
    pub fn warn(&mut self, at: Position, text: impl Into<String>) {
        self.add(Level::Warning, at, text.into(), Detail::None);
    }

    pub fn info(&mut self, at: Position, text: impl Into<String>) {
        self.add(Level::Info, at, text.into(), Detail::None);
    }

    fn add(&mut self, level: Level, at: Position, text: String, detail: Detail) {
        match self.notes.entry((level, text)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Note { at, detail });
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let note = entry.get_mut();
                note.at = at;
                match (&mut note.detail, detail) {
                    (Detail::Monotonic(old), Detail::Monotonic(new)) => {
                        old.first = old.first.min(new.first);
                        old.last = old.last.max(new.last);
                        old.lowest_bucket = old.lowest_bucket.min(new.lowest_bucket);
                        old.highest_bucket = old.highest_bucket.max(new.highest_bucket);
                        old.largest_difference = old.largest_difference.max(new.largest_difference);
                        old.samples += new.samples;
                    }
                    (Detail::Overlaps(old), Detail::Overlaps(new)) => *old += new,
                    _ => {}
                }
            }
        }
    }

    /// The warnings and the infos, with their positions in `query`.
    pub fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let of = |wanted: Level| {
            self.notes
                .iter()
                .filter(|((level, _), _)| *level == wanted)
                .map(|((_, text), note)| note.text(text, query))
                .collect()
        };
        (of(Level::Warning), of(Level::Info))
    }

    pub fn invalid_quantile(&mut self, at: Position, q: f64) {
        let got = go::shortest(q);
        self.warn(at, format!("PromQL warning: quantile value should be between 0 and 1, got {got}"));
    }

    pub fn invalid_ratio(&mut self, at: Position, ratio: f64, bound: f64) {
        let (got, bound) = (go::shortest(ratio), go::shortest(bound));
        self.warn(at, format!("PromQL warning: ratio value should be between -1 and 1, got {got}, capping to {bound}"));
    }

    pub fn bad_bucket_label(&mut self, at: Position, metric: &str, label: &str) {
        let text =
            format!("PromQL warning: bucket label \"le\" is missing or has a malformed value of {}", quote(label));
        self.warn(at, for_metric(text, metric));
    }

    pub fn mixed_floats_histograms(&mut self, at: Position, metric: &str) {
        let metric = quote(metric);
        self.warn(at, format!("PromQL warning: encountered a mix of histograms and floats for metric name {metric}"));
    }

    pub fn mixed_in_aggregation(&mut self, at: Position) {
        self.warn(at, "PromQL warning: encountered a mix of histograms and floats for aggregation");
    }

    pub fn mixed_classic_native(&mut self, at: Position, metric: &str) {
        let text = "PromQL warning: vector contains a mix of classic and native histograms".to_owned();
        self.warn(at, for_metric(text, metric));
    }

    pub fn histogram_not_counter(&mut self, at: Position, metric: &str) {
        let metric = quote(metric);
        self.warn(at, format!("PromQL warning: this native histogram metric is not a counter: {metric}"));
    }

    pub fn histogram_not_gauge(&mut self, at: Position, metric: &str) {
        self.warn(at, format!("PromQL warning: this native histogram metric is not a gauge: {}", quote(metric)));
    }

    pub fn mixed_exponential_custom(&mut self, at: Position, metric: &str) {
        let text = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(at, format!("{text} {}", quote(metric)));
    }

    pub fn incompatible_layout(&mut self, at: Position, op: &str) {
        self.warn(at, format!("PromQL warning: incompatible bucket layout encountered for binary operator {op}"));
    }

    pub fn sort_in_range_query(&mut self, at: Position) {
        let text = "PromQL warning: sort is ineffective for range queries since results are always ordered by labels";
        self.warn(at, text);
    }

    pub fn resets_collide(&mut self, at: Position, operation: HistogramOperation) {
        let operation = operation.name();
        self.warn(at, format!("PromQL warning: conflicting counter resets during histogram {operation}"));
    }

    pub fn start_time_overlap(&mut self, at: Position, metric: &str) {
        let text = "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric";
        self.add(Level::Warning, at, format!("{text} {}", quote(metric)), Detail::Overlaps(1));
    }

    pub fn possible_non_counter(&mut self, at: Position, metric: &str) {
        let text = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.info(at, format!("{text} {}", quote(metric)));
    }

    pub fn forced_monotonicity(&mut self, at: Position, metric: &str, detail: ForcedMonotonicity) {
        let text = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        self.add(Level::Info, at, for_metric(text.to_owned(), metric), Detail::Monotonic(detail));
    }

    pub fn incompatible_types(&mut self, at: Position, left: &str, op: &str, right: &str) {
        let text = "PromQL info: incompatible sample types encountered for binary operator";
        self.info(at, format!("{text} {}: {left} {op} {right}", quote(op)));
    }

    pub fn histogram_ignored_in_aggregation(&mut self, at: Position, aggregation: &str) {
        self.info(at, format!("PromQL info: ignored histogram in {aggregation} aggregation"));
    }

    pub fn histogram_ignored_in_range(&mut self, at: Position, metric: &str) {
        let text = "PromQL info: ignored histograms in a range containing both floats and histograms for metric name";
        self.info(at, format!("{text} {}", quote(metric)));
    }

    pub fn bounds_reconciled(&mut self, at: Position, operation: HistogramOperation) {
        let operation = operation.name();
        self.info(at, format!("PromQL info: mismatched custom buckets were reconciled during {operation}"));
    }

    pub fn nan_observations(&mut self, at: Position, metric: &str, note: NanNote) {
        let text = match note {
            NanNote::QuantileIsNan => "input to histogram_quantile has NaN observations, result is NaN",
            NanNote::QuantileIsSkewed => "input to histogram_quantile has NaN observations, result is skewed higher",
            NanNote::FractionExcludes => {
                "input to histogram_fraction has NaN observations, which are excluded from all fractions"
            }
        };
        self.info(at, for_metric(format!("PromQL info: {text}"), metric));
    }
}

fn for_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {}", quote(metric)) }
}

impl Note {
    fn text(&self, text: &str, query: &str) -> String {
        let place = self.at.line_and_column(query);
        match &self.detail {
            Detail::None | Detail::Overlaps(1) => format!("{text} ({place})"),
            Detail::Overlaps(count) => format!("{text} ({count} occurrences) ({place})"),
            Detail::Monotonic(m) => {
                let second = |millis: i64| {
                    let text = Timestamp(millis.div_euclid(1000) * 1000).to_rfc3339();
                    text.replace(".000Z", "Z")
                };
                format!(
                    "{text}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {} ({place})",
                    go::shortest(m.lowest_bucket),
                    go::shortest(m.highest_bucket),
                    go::two_digits(m.largest_difference),
                    m.samples,
                    second(m.first),
                    second(m.last),
                )
            }
        }
    }
}
