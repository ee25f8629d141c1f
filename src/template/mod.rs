//! Go templates in annotations and alert labels, expanded as Prometheus expands them.
//!
//! `gotmpl` parses and runs the templates. Three things it cannot know are added here: what absent labels are
//! (Prometheus' maps hold strings, so they are empty and not `<no value>`), methods of times and durations, and Go's
//! way to print numbers. `rewrite` turns field accesses and printed values in the parsed tree into calls of our own
//! functions, `functions` holds those and Prometheus' functions, `text` prints, `moment` knows times.
//!
//! A template is bounded in steps, loop rounds, and bytes of every string it builds: a bad one yields an error, not a
//! stalled notifier. Differences from Prometheus: regular expressions are those of the `regex` crate (`\d` and `\w` match
//! all of Unicode), and errors carry no column. `query` works where somebody answers it ([`expand_asking`]).

mod functions;
mod host;
mod humanize;
mod moment;
mod query;
mod rewrite;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{Template, Value};
use url::Url;

use crate::types::{Labels, Timestamp};

pub use query::{Ask, QUERIES_LIMIT_COUNT, Samples};
pub use text::query_escape;

/// A template, and every string built while it runs, is at most this long.
pub const TEXT_LIMIT_BYTES: usize = 64 * 1024;
/// At most this many values are printed and templates invoked in one expansion.
pub const EXPANSION_LIMIT_STEPS: u32 = 10_000;
/// At most this many rounds of `range` in one expansion.
const RANGE_LIMIT_ROUNDS: u64 = 10_000;

/// What a template may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// `$labels` and `.Labels`
    pub labels: &'a Labels,
    /// `$externalLabels` and `.ExternalLabels`
    pub external_labels: &'a Labels,
    /// `$externalURL`, `.ExternalURL`, `externalURL`, `pathPrefix`
    pub external_url: &'a Url,
    /// `$value` and `.Value`
    pub value: f64,
    /// `now`: when the alert's state was decided.
    pub now: Timestamp,
}

/// Why a template has no text.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Longer than [`TEXT_LIMIT_BYTES`].
    #[error("template {name} is {bytes} bytes long; the limit is {TEXT_LIMIT_BYTES}")]
    TooLong {
        /// Whose template it is.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// Not a template, or it names an unknown function.
    #[error("error parsing template {name}: {reason}")]
    Parse {
        /// Whose template it is.
        name: String,
        /// What the parser says.
        reason: String,
    },
    /// It failed while it ran.
    #[error("error executing template {name}: {reason}")]
    Execute {
        /// Whose template it is.
        name: String,
        /// What failed.
        reason: String,
    },
}

/// The variables Prometheus declares before the user's text.
const VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                         {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// The text of `template`, or `<error expanding template: ...>`, as an alert carries it.
///
/// `name` stands in error messages; Prometheus uses `__alert_` and the alert's name.
pub fn expand(name: &str, template: &str, data: &Data<'_>) -> String {
    try_expand(name, template, data).unwrap_or_else(|error| {
        tracing::warn!(template = name, %error, "expanding an alert template failed");
        format!("<error expanding template: {error}>")
    })
}

/// The text of `template`.
///
/// # Errors
/// When it does not parse, fails while it runs, or exceeds a limit.
pub fn try_expand(name: &str, template: &str, data: &Data<'_>) -> Result<String, TemplateError> {
    run(name, template, data, None)
}

/// As [`expand`], with `ask` to answer `query`.
pub fn expand_asking(name: &str, template: &str, data: &Data<'_>, ask: Ask<'_>) -> String {
    let answers = query::Answers::default();
    loop {
        let expanded = run(name, template, data, Some(&answers));
        if expanded.is_err() && answers.fill(ask) {
            continue;
        }
        return expanded.unwrap_or_else(|error| {
            tracing::warn!(template = name, %error, "expanding an alert template failed");
            format!("<error expanding template: {error}>")
        });
    }
}

fn run(name: &str, template: &str, data: &Data<'_>, answers: Option<&query::Answers>) -> Result<String, TemplateError> {
    if !template.contains("{{") {
        return Ok(template.to_owned());
    }
    let external_url = data.external_url.as_str().trim_end_matches('/').to_owned();
    let context = functions::Context {
        now: data.now,
        path_prefix: data.external_url.path().trim_end_matches('/').to_owned(),
        external_url: external_url.clone(),
        answers: answers.cloned(),
    };
    let prepared = prepare(name, template, context)?;
    let root = map([
        ("Labels", label_map(data.labels)),
        ("ExternalLabels", label_map(data.external_labels)),
        ("ExternalURL", Value::String(external_url.into())),
        ("Value", Value::Float(data.value)),
    ]);
    let mut out = text::Bounded::default();
    let result = prepared.execute_template_fmt(&mut out, rewrite::MAIN, &root);
    if out.overflowed() {
        let reason = format!("the text is longer than {TEXT_LIMIT_BYTES} bytes");
        return Err(TemplateError::Execute { name: name.to_owned(), reason });
    }
    result.map_err(|error| TemplateError::Execute { name: name.to_owned(), reason: error.to_string() })?;
    Ok(out.into_text())
}

/// Whether `template` parses and names only functions that exist; for a spec's check, before any alert fires.
///
/// # Errors
/// [`TemplateError::TooLong`] and [`TemplateError::Parse`].
pub fn check(name: &str, template: &str) -> Result<(), TemplateError> {
    prepare(name, template, functions::Context::default()).map(drop)
}

fn prepare(name: &str, template: &str, context: functions::Context) -> Result<Template, TemplateError> {
    if template.len() > TEXT_LIMIT_BYTES {
        return Err(TemplateError::TooLong { name: name.to_owned(), bytes: template.len() });
    }
    let refuse = |reason: String| TemplateError::Parse { name: name.to_owned(), reason };
    let source = format!("{VARIABLES}{template}{}", rewrite::SENTINEL);
    let parsed = Template::new(name)
        .funcs(functions::all(context))
        .max_range_iters(RANGE_LIMIT_ROUNDS)
        .parse(&source)
        .map_err(|error| refuse(error.to_string()))?;
    rewrite::rewrite(parsed).map_err(|error| refuse(error.to_string()))
}

fn label_map(labels: &Labels) -> Value {
    map(labels.iter().map(|(name, value)| (name, Value::String(value.into()))))
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries: BTreeMap<Arc<str>, Value> = pairs.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Value::Map(Arc::new(entries))
}

#[cfg(test)]
mod tests;
