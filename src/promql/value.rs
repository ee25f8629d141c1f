//! What an evaluation gives: to its caller, and from one operator to the next.

use std::sync::Arc;

use crate::promql::histogram::FloatHistogram;
use crate::promql::storage::{STALE, is_stale};
use crate::types::{Labels, Timestamp};

/// One value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// The result of a query.
#[derive(Clone, Debug)]
pub struct Output {
    /// The value.
    pub data: Data,
    /// What may be wrong with the query or the data, each with its position, sorted.
    pub warnings: Vec<String>,
    /// What is worth knowing, likewise.
    pub infos: Vec<String>,
}

/// The value of a query.
#[derive(Clone, Debug)]
pub enum Data {
    /// One number.
    Scalar(Timestamp, f64),
    /// A text.
    String(Timestamp, Arc<str>),
    /// One sample of each series. In the order of the expression (`sort`, `topk`), else of the storage.
    Vector(Vec<VectorSample>),
    /// A range of samples of each series, sorted by labels.
    Matrix(Vec<Series>),
}

/// A series' sample in an instant query.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// The series.
    pub labels: Arc<Labels>,
    /// The moment of evaluation.
    pub at: Timestamp,
    /// The sample.
    pub value: Value,
}

/// A series in a range query. Floats and histograms are at different times.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Float samples, ascending in time.
    pub floats: Vec<(Timestamp, f64)>,
    /// Histogram samples, ascending in time.
    pub histograms: Vec<(Timestamp, Arc<FloatHistogram>)>,
}

/// The moments at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The first, in milliseconds.
    pub start: i64,
    /// From one to the next, in milliseconds.
    pub interval: i64,
    /// How many.
    pub steps: usize,
}

impl Grid {
    pub fn time(&self, step: usize) -> i64 {
        self.start.saturating_add(self.interval.saturating_mul(step as i64))
    }

    pub fn end(&self) -> i64 {
        self.time(self.steps.saturating_sub(1))
    }

    /// Only the first moment.
    pub const fn first(&self) -> Self {
        Self { steps: 1, ..*self }
    }
}

/// A row's series.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub labels: Arc<Labels>,
    /// Whether the metric name goes at the end of the query: until then it can be grouped by and copied.
    pub drop_name: bool,
}

/// Series by steps, one flat column block: row `r` has the cells `r * steps ..`. A cell without a sample holds
/// the stale marker, which is no value, and no histogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    pub steps: usize,
    pub rows: Vec<Row>,
    floats: Vec<f64>,
    /// Of the same size, or empty when there is no histogram.
    histograms: Vec<Option<Arc<FloatHistogram>>>,
}

/// One cell's content.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl Cell<'_> {
    pub fn to_value(self) -> Value {
        match self {
            Self::Float(v) => Value::Float(v),
            Self::Histogram(h) => Value::Histogram(Arc::clone(h)),
        }
    }
}

impl Matrix {
    pub fn new(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }

    pub fn with_rows(steps: usize, rows: usize) -> Self {
        Self { steps, rows: Vec::with_capacity(rows), floats: Vec::with_capacity(rows * steps), histograms: Vec::new() }
    }

    /// One row without labels: a scalar.
    pub fn scalar(steps: usize, value: impl Fn(usize) -> f64) -> Self {
        let row = Row { labels: Arc::default(), drop_name: false };
        Self { steps, rows: vec![row], floats: (0..steps).map(|s| present(value(s))).collect(), histograms: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many samples' worth of memory it holds.
    pub fn cells(&self) -> usize {
        self.floats.len()
    }

    pub fn get(&self, row: usize, step: usize) -> Option<Cell<'_>> {
        let at = row * self.steps + step;
        let value = self.floats[at];
        if !is_stale(value) {
            return Some(Cell::Float(value));
        }
        self.histograms.get(at)?.as_ref().map(Cell::Histogram)
    }

    /// A row's floats; where there is none, the stale marker.
    pub fn floats(&self, row: usize) -> &[f64] {
        &self.floats[row * self.steps..(row + 1) * self.steps]
    }

    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The number of a scalar at a step.
    pub fn number(&self, step: usize) -> f64 {
        self.floats.get(step).copied().unwrap_or(f64::NAN)
    }

    pub fn set(&mut self, row: usize, step: usize, value: Value) {
        let at = row * self.steps + step;
        match value {
            Value::Float(v) => self.floats[at] = present(v),
            Value::Histogram(h) => {
                if self.histograms.is_empty() {
                    self.histograms.resize(self.floats.len(), None);
                }
                self.floats[at] = STALE;
                self.histograms[at] = Some(h);
            }
        }
    }

    pub fn clear(&mut self, row: usize, step: usize) {
        let at = row * self.steps + step;
        self.floats[at] = STALE;
        if let Some(histogram) = self.histograms.get_mut(at) {
            *histogram = None;
        }
    }

    /// A new row without samples; its number.
    pub fn push(&mut self, labels: Arc<Labels>, drop_name: bool) -> usize {
        self.rows.push(Row { labels, drop_name });
        let cells = self.rows.len() * self.steps;
        self.floats.resize(cells, STALE);
        if !self.histograms.is_empty() {
            self.histograms.resize(cells, None);
        }
        self.rows.len() - 1
    }

    /// A new row of floats; where there is none, the stale marker.
    pub fn push_floats(&mut self, labels: Arc<Labels>, drop_name: bool, floats: impl Iterator<Item = f64>) {
        self.rows.push(Row { labels, drop_name });
        let cells = self.rows.len() * self.steps;
        self.floats.extend(floats.take(self.steps));
        self.floats.resize(cells, STALE);
        if !self.histograms.is_empty() {
            self.histograms.resize(cells, None);
        }
    }

    /// Removes the last row if it has no sample.
    pub fn pop_if_empty(&mut self) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        if (0..self.steps).all(|step| self.get(last, step).is_none()) {
            self.rows.pop();
            self.floats.truncate(last * self.steps);
            self.histograms.truncate(last * self.steps);
        }
    }

    /// Changes every float in place; histograms as told.
    pub fn map_floats(&mut self, f: impl Fn(f64) -> f64) {
        for value in self.floats.iter_mut().filter(|v| !is_stale(**v)) {
            *value = present(f(*value));
        }
    }

    /// Changes every float in place, by its cell's number; the stale marker removes it.
    pub fn map_cells(&mut self, f: impl Fn(usize, f64) -> f64) {
        for (cell, value) in self.floats.iter_mut().enumerate() {
            if !is_stale(*value) {
                *value = f(cell, *value);
            }
        }
    }

    /// Changes every histogram, or removes it.
    pub fn map_histograms(&mut self, f: impl Fn(&FloatHistogram) -> Option<FloatHistogram>) {
        for cell in &mut self.histograms {
            *cell = cell.as_ref().and_then(|h| f(h)).map(Arc::new);
        }
    }

    /// Removes all histograms.
    pub fn drop_histograms(&mut self) {
        self.histograms = Vec::new();
    }

    /// Removes the rows without samples.
    pub fn retain_filled(&mut self) {
        let filled: Vec<bool> =
            (0..self.len()).map(|row| (0..self.steps).any(|step| self.get(row, step).is_some())).collect();
        self.keep(|row| filled[row]);
    }

    /// Keeps the rows of which `keep` says so.
    pub fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        let order: Vec<usize> = (0..self.len()).filter(|row| keep(*row)).collect();
        if order.len() < self.len() {
            self.reorder(&order);
        }
    }

    /// The rows of these numbers in this order.
    pub fn reorder(&mut self, order: &[usize]) {
        let mut next = Self::with_rows(self.steps, order.len());
        for &row in order {
            next.rows.push(self.rows[row].clone());
            next.floats.extend_from_slice(self.floats(row));
        }
        if self.has_histograms() {
            for &row in order {
                next.histograms.extend_from_slice(&self.histograms[row * self.steps..(row + 1) * self.steps]);
            }
        }
        *self = next;
    }

    /// One step repeated.
    pub fn repeated(self, steps: usize) -> Self {
        let floats = self.floats.iter().flat_map(|v| std::iter::repeat_n(*v, steps)).collect();
        let histograms = self.histograms.iter().flat_map(|h| std::iter::repeat_n(h.clone(), steps)).collect();
        Self { steps, rows: self.rows, floats, histograms }
    }
}

/// A value that cannot be taken for an absent one.
pub(crate) fn present(value: f64) -> f64 {
    if is_stale(value) { f64::NAN } else { value }
}
