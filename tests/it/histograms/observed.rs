//! Observations of one process, and the histograms it exposes of them.

use std::collections::BTreeMap;

use sloburn::engine::Written;
use sloburn::types::Timestamp;
use sloburn::wire::CUSTOM_SCHEMA;
use sloburn::wire::proto::{BucketSpan, Count, Histogram, ZeroCount, v2};

use super::{Bench, at};

/// Bounds of the classic form.
const BOUNDS: [f64; 3] = [0.1, 0.25, 1.0];

#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// `_bucket` and `_count`.
    Classic,
    /// A native histogram with the classic bounds.
    Custom,
    /// A native histogram of this schema.
    Exponential(i32),
}

#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub values: Vec<f64>,
    /// When the process started, if it says so.
    pub started: Option<Timestamp>,
    /// Counts are sent as floats.
    pub floats: bool,
}

/// The marker of a series that has ended.
pub fn stale() -> Histogram {
    Histogram { sum: f64::from_bits(sloburn::wire::STALE_NAN_BITS), ..Histogram::default() }
}

impl Observed {
    pub fn add(&mut self, values: &[f64]) {
        self.values.extend(values);
    }

    fn start_timestamp(&self) -> i64 {
        self.started.map_or(0, Timestamp::as_millis)
    }

    /// The native forms.
    pub fn message(&self, form: Form) -> Histogram {
        let (schema, custom_values) = match form {
            Form::Exponential(schema) => (schema, Vec::new()),
            _ => (CUSTOM_SCHEMA, BOUNDS.to_vec()),
        };
        let mut buckets = BTreeMap::new();
        for value in &self.values {
            let index = match form {
                Form::Exponential(schema) => (value.log2() * f64::powi(2.0, schema)).ceil() as i32,
                _ => BOUNDS.iter().filter(|bound| value > bound).count() as i32,
            };
            *buckets.entry(index).or_insert(0_i64) += 1;
        }
        let (mut spans, mut deltas, mut counts): (Vec<BucketSpan>, Vec<i64>, Vec<f64>) = Default::default();
        let (mut next, mut before) = (0, 0);
        for (index, count) in buckets {
            match spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
            }
            deltas.push(count - before);
            counts.push(count as f64);
            (next, before) = (index + 1, count);
        }
        let all = self.values.len();
        Histogram {
            count: Some(if self.floats { Count::Float(all as f64) } else { Count::Int(all as u64) }),
            sum: self.values.iter().sum(),
            schema,
            zero_count: Some(if self.floats { ZeroCount::Float(0.0) } else { ZeroCount::Int(0) }),
            positive_spans: spans,
            positive_deltas: if self.floats { Vec::new() } else { deltas },
            positive_counts: if self.floats { counts } else { Vec::new() },
            custom_values,
            start_timestamp: self.start_timestamp(),
            ..Histogram::default()
        }
    }

    /// Sends one scrape in one form.
    pub fn send(&self, bench: &mut Bench, time: i64, form: Form) -> Written {
        if !matches!(form, Form::Classic) {
            return bench.histogram("a", time, self.message(form));
        }
        let up_to = |bound: f64| self.values.iter().filter(|value| **value <= bound).count() as f64;
        let buckets = BOUNDS.map(|bound| (bound.to_string(), up_to(bound)));
        let total = self.values.len() as f64;
        bench.send(at(time), |builder| {
            let sample = |value: f64| v2::Sample {
                value,
                timestamp: at(time).as_millis(),
                start_timestamp: self.start_timestamp(),
            };
            for (bound, value) in buckets.iter().map(|(b, v)| (b.as_str(), *v)).chain([("+Inf", total)]) {
                let labels = [("__name__", "latency_seconds_bucket"), ("instance", "a"), ("job", "api"), ("le", bound)];
                builder.series(labels).samples.push(sample(value));
            }
            let labels = [("__name__", "latency_seconds_count"), ("instance", "a"), ("job", "api")];
            builder.series(labels).samples.push(sample(total));
        })
    }
}
