//! Vocabulary shared by every stage: time, objectives, labels, matchers, numbers.
//!
//! Everything here is a small value with a validating constructor; nothing here knows about SLOs,
//! windows or IO.

pub mod any_f64;
mod blocks;
pub mod compact;
mod label;
mod matcher;
mod number;
mod objective;
mod pattern;
mod places;
mod quote;
mod selectors;
mod time;

pub use blocks::Blocks;
pub use label::{BorrowedLabels, LabelError, LabelSet, Labels, METRIC_NAME, Pairs, is_label_name, is_metric_name};
pub use matcher::{MatchOp, Matcher, MatcherError, Selector};
pub use number::{format_value, format_value_exponent};
pub use objective::{Objective, ObjectiveError};
pub use places::Places;
pub use quote::quote;
pub use selectors::Selectors;
pub use time::{DurationError, Span, Timestamp};
