//! Regular expressions, each compiled once for all who use it: thousands of services say `5..`, and what is compiled
//! takes 12 KB.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use regex::{Regex, RegexBuilder};

use crate::types::MatcherError;

/// Compiled regular expressions may take this much memory each.
const SIZE_LIMIT_BYTES: usize = 1 << 20;
/// Fewer than this are not looked through for those out of use.
const KEPT_COUNT: usize = 64;

/// Expressions in use, and some that were.
struct Known {
    by_pattern: BTreeMap<Box<str>, Weak<Regex>>,
    /// Those out of use are forgotten when there are so many.
    limit: usize,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { by_pattern: BTreeMap::new(), limit: KEPT_COUNT });

/// The expression, anchored at both ends as in Prometheus.
pub(super) fn anchored(pattern: &str) -> Result<Arc<Regex>, MatcherError> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = known.by_pattern.get(pattern).and_then(Weak::upgrade) {
        return Ok(regex);
    }
    let regex = Arc::new(compiled(pattern)?);
    if known.by_pattern.len() >= known.limit {
        known.by_pattern.retain(|_, regex| regex.strong_count() > 0);
        known.limit = KEPT_COUNT.max(2 * known.by_pattern.len());
    }
    known.by_pattern.insert(pattern.into(), Arc::downgrade(&regex));
    Ok(regex)
}

fn compiled(pattern: &str) -> Result<Regex, MatcherError> {
    RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(SIZE_LIMIT_BYTES).build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or(&text).trim().trim_start_matches("error: ").to_owned();
        MatcherError::Regex { pattern: pattern.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_patterns_are_compiled_once_while_they_are_in_use() {
        let (first, second) = (anchored("shared-5..").unwrap(), anchored("shared-5..").unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(first.is_match("shared-503") && !first.is_match("a shared-503"));
        for n in 0..1_000 {
            anchored(&format!("passing-{n}")).unwrap();
        }
        let known = KNOWN.lock().unwrap();
        let passing = known.by_pattern.keys().filter(|pattern| pattern.starts_with("passing-")).count();
        assert!(passing <= known.limit && passing < 1_000, "{passing}");
        assert!(known.by_pattern.contains_key("shared-5.."));
    }
}
