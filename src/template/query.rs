//! `query` within a template.
//!
//! A template cannot borrow the storage that would answer, so it is run until it asks what nobody has answered yet, the
//! answer is found, and it is run again from the start: templates do nothing but make a text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gotmpl::{TemplateError as Failure, Value};

use super::{label_map, map};
use crate::types::Labels;

/// At most this many different queries in one expansion.
pub const QUERIES_LIMIT_COUNT: usize = 100;
/// At most this many samples in one answer.
const SAMPLES_LIMIT_COUNT: usize = 10_000;

/// The samples of an instant query: labels and value.
pub type Samples = Vec<(Arc<Labels>, f64)>;

/// Answers queries at the moment of the expansion.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<Samples, String>;

/// What is known so far, and what a run has asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<String, Result<Value, String>>,
    wanted: Option<String>,
}

impl Answers {
    /// The function of the template.
    pub(super) fn look_up(&self, text: &str) -> Result<Value, Failure> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.known.get(text) {
            Some(Ok(samples)) => Ok(samples.clone()),
            Some(Err(reason)) => Err(Failure::Exec(reason.clone())),
            None => {
                state.wanted = Some(text.to_owned());
                Err(Failure::Exec("waiting for an answer".to_owned()))
            }
        }
    }

    /// Answers what the last run asked for; whether it is worth another one.
    pub(super) fn fill(&self, ask: Ask<'_>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(text) = state.wanted.take() else { return false };
        let answer = if state.known.len() == QUERIES_LIMIT_COUNT {
            Err(format!("more than {QUERIES_LIMIT_COUNT} queries"))
        } else {
            ask(&text).and_then(|samples| to_value(&samples))
        };
        state.known.insert(text, answer);
        true
    }
}

fn to_value(samples: &Samples) -> Result<Value, String> {
    if samples.len() > SAMPLES_LIMIT_COUNT {
        return Err(format!("the query gives more than {SAMPLES_LIMIT_COUNT} samples"));
    }
    let sample =
        |(labels, value): &(Arc<Labels>, f64)| map([("Labels", label_map(labels)), ("Value", Value::Float(*value))]);
    Ok(Value::List(samples.iter().map(sample).collect()))
}
