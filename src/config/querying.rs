//! The sections `query` and `store`: what queries may cost, and which samples are kept for them.

use super::{bytes, items, parsed, positive};
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::selector::selector;
use crate::types::{Selector, Span};

/// Selectors of series to keep.
const MATCH_LIMIT_COUNT: usize = 10_000;

/// Each as the flag of the same name, which goes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryConfig {
    /// For one query.
    pub timeout: Option<Span>,
    /// Queries evaluated at once.
    pub max_concurrency: Option<usize>,
    /// Samples one query may hold.
    pub max_samples: Option<usize>,
    /// How far back a sample still counts as current.
    pub lookback_delta: Option<Span>,
}

/// Each as the flag of the same name, which goes before it.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// Series kept besides those that specs and rules refer to.
    pub matches: Vec<Selector>,
    /// Whether what SLIs count is kept.
    pub slis: Option<bool>,
    /// How long samples are kept.
    pub retention_time: Option<Span>,
    /// What they may take.
    pub retention_size_bytes: Option<u64>,
}

/// Selectors are equal when they read the same.
impl PartialEq for StoreConfig {
    fn eq(&self, other: &Self) -> bool {
        let texts = |config: &Self| config.matches.iter().map(Selector::to_string).collect::<Vec<_>>();
        texts(self) == texts(other)
            && self.slis == other.slis
            && self.retention_time == other.retention_time
            && self.retention_size_bytes == other.retention_size_bytes
    }
}

pub(super) fn query(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<QueryConfig> {
    let mut fields = Fields::of(field, reporter)?;
    let timeout = fields.get("timeout").and_then(|field| positive(field, reporter));
    let max_concurrency = fields.get("max_concurrency").and_then(|field| count(field, reporter));
    let max_samples = fields.get("max_samples").and_then(|field| count(field, reporter));
    let lookback_delta = fields.get("lookback_delta").and_then(|field| positive(field, reporter));
    fields.finish(reporter);
    Some(QueryConfig { timeout, max_concurrency, max_samples, lookback_delta })
}

pub(super) fn store(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<StoreConfig> {
    let mut fields = Fields::of(field, reporter)?;
    let matches = fields.get("match").map(|field| {
        let items = items(field, MATCH_LIMIT_COUNT, reporter);
        items.into_iter().filter_map(|item| selector(item, reporter)).collect()
    });
    let slis = fields.get("slis").and_then(|field| field.boolean(reporter));
    let retention_time = fields.get("retention_time").and_then(|field| positive(field, reporter));
    let retention_size_bytes = fields.get("retention_size").and_then(|field| parsed(field, reporter, bytes));
    fields.finish(reporter);
    Some(StoreConfig { matches: matches.unwrap_or_default(), slis, retention_time, retention_size_bytes })
}

/// A whole number from 1.
fn count(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<usize> {
    let count = field.count(reporter)?;
    if count == 0 {
        reporter.error(field.place(), format!("{} must be at least 1", field.what));
        return None;
    }
    usize::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::spec::Source;

    fn read(text: &str) -> (Option<Config>, String) {
        let (config, report) = Config::parse(&Source::new("sloburn.yaml", text));
        (config, report.render(false))
    }

    #[test]
    fn both_sections_are_read() {
        let (config, report) = read(
            "
query: {timeout: 10s, max_concurrency: 4, max_samples: 1000, lookback_delta: 1m}
store:
  match: ['up', '{job=~\"a|b\"}']
  slis: false
  retention_time: 2h
  retention_size: 64MiB
",
        );
        assert_eq!(report, "");
        let config = config.unwrap();
        let expected = QueryConfig {
            timeout: Some(Span::seconds(10)),
            max_concurrency: Some(4),
            max_samples: Some(1_000),
            lookback_delta: Some(Span::minutes(1)),
        };
        assert_eq!(config.query, expected);
        let texts: Vec<String> = config.store.matches.iter().map(Selector::to_string).collect();
        assert_eq!(texts, ["up", "{job=~\"a|b\"}"]);
        assert_eq!(config.store.slis, Some(false));
        assert_eq!(config.store.retention_time, Some(Span::hours(2)));
        assert_eq!(config.store.retention_size_bytes, Some(64 << 20));
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, says) in [
            ("query: {max_concurrency: 0}", "must be at least 1"),
            ("query: {timeout: 0s}", "must be longer than zero"),
            ("query: {concurrency: 1}", "max_concurrency"),
            ("store: {match: ['up{']}", "sloburn.yaml:1:"),
            ("store: {retention_size: 1GB}", "use KiB, MiB or GiB"),
            ("store: {retention: 1h}", "unknown"),
        ] {
            let (config, report) = read(text);
            assert!(config.is_none() && report.contains(says), "{text}: {report}");
        }
    }
}
