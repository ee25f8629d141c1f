//! PromQL: queries are parsed once and evaluated any number of times over a [`Storage`].
//!
//! Pure: the moments of evaluation are arguments, and a callback says when to stop. A range query evaluates each
//! selector once over its whole range, with a window that moves from step to step.

mod anchor;
mod annotation;
mod ast;
mod eval;
mod format;
mod function;
mod go;
mod histogram;
mod kahan;
mod needed;
mod parse;
mod pin;
mod storage;
mod suspect;
mod tree;
mod value;

pub use anchor::CounterUse;
pub use ast::{Position, Type};
pub use eval::{EvalError, EvalLimits, Evaluation, instant, range};
pub use histogram::{Bucket, BucketRange, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint};
pub use parse::{ParseError, ParseLimits};
pub use storage::{FloatSample, HistogramSample, STALE, Selection, SeriesView, Storage, StorageError, is_stale};
pub use suspect::Suspicion;
pub use value::{Data, Output, Series, Value, VectorSample};

use std::fmt;

use crate::types::{Selector, Span, Timestamp};

/// The series a query asks for: what a storage has to hold for it.
#[derive(Clone, Debug)]
pub struct Needed {
    /// The conditions on their labels.
    pub selector: Selector,
    /// How far before the moment of evaluation their samples are looked at, lookback not included. Nothing when
    /// that depends on the query's own start, end or step.
    pub reach: Option<Span>,
}

/// A parsed query, to be kept as long as its text is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: ast::Expr,
}

impl Query {
    /// Reads and checks a query.
    ///
    /// # Errors
    /// What is wrong with it and where, in Prometheus' form; also when it exceeds the limits.
    pub fn parse(text: &str, limits: &ParseLimits) -> Result<Self, ParseError> {
        Ok(Self { expr: parse::parse(text, limits)?, text: text.to_owned() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it evaluates to in an instant query.
    pub fn value_type(&self) -> Type {
        self.expr.value_type()
    }

    /// The text, if the query is a string literal.
    pub fn as_string(&self) -> Option<&str> {
        match &self.expr.without_parens().kind {
            ast::ExprKind::String(text) => Some(&text.value),
            _ => None,
        }
    }

    /// The same query with every selector and subquery that has no `@` pinned to `at`, so that it gives the same
    /// whenever it is evaluated. Nothing when it asks for the time itself.
    pub fn pinned(&self, at: Timestamp) -> Option<Self> {
        let mut query = self.clone();
        (pin::pin(&mut query.expr, at) && parse::check::check(&mut query.expr).is_ok()).then_some(query)
    }

    /// The same query with `rate` and `increase` over ranges of this length anchored, and what such ranges are used
    /// for.
    pub fn anchored(mut self, window: Span) -> (Self, CounterUse) {
        let mut found = CounterUse::default();
        anchor::anchor(&mut self.expr, window, &mut found);
        (self, found)
    }

    /// In canonical form; over several lines when it is longer than 100 characters.
    pub fn pretty(&self) -> String {
        format::Pretty { expr: &self.expr, level: 0 }.to_string()
    }

    /// What it says but can hardly mean, as a condition: comparisons that always hold, units mixed up.
    pub fn suspicions(&self) -> Vec<Suspicion> {
        let mut found = Vec::new();
        suspect::collect(&self.expr, &mut found);
        found
    }

    /// Its syntax tree, as Prometheus' `parse_query` shows it.
    pub fn tree(&self) -> serde_json::Value {
        tree::tree(&self.expr)
    }

    /// The series it asks for, in the order of the text.
    pub fn needed(&self) -> Vec<Needed> {
        let mut needed = Vec::new();
        needed::collect(&self.expr, Some(Span::ZERO), &mut needed);
        needed
    }
}

/// Reads what selects series and nothing else: `up{job="api"}`.
///
/// # Errors
/// What is wrong with it and where. One that may select any series, as `{}`, is taken.
pub fn parse_selector(text: &str, limits: &ParseLimits) -> Result<Selector, ParseError> {
    parse::parse_matchers(text, limits).map(Selector::new)
}

/// In canonical form, on one line.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}
