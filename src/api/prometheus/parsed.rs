//! Queries parsed lately: dashboards and alerts ask the same again and again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::PARSED_LIMIT_COUNT;
use crate::promql::{ParseError, ParseLimits, Query};

/// Parsed queries by their text.
#[derive(Debug, Default)]
pub(super) struct Parsed(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    queries: BTreeMap<String, (Arc<Query>, u64)>,
    uses: u64,
}

impl Parsed {
    /// Parses a text, unless it is known.
    pub fn parse(&self, text: &str) -> Result<Arc<Query>, ParseError> {
        if let Some(query) = self.known(text) {
            return Ok(query);
        }
        let query = Arc::new(Query::parse(text, &ParseLimits::default())?);
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Recent { queries, uses } = &mut *recent;
        if queries.len() >= PARSED_LIMIT_COUNT
            && let Some(oldest) = queries.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| text.clone())
        {
            queries.remove(&oldest);
        }
        *uses += 1;
        queries.insert(text.to_owned(), (Arc::clone(&query), *uses));
        Ok(query)
    }

    fn known(&self, text: &str) -> Option<Arc<Query>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Recent { queries, uses } = &mut *recent;
        let (query, used) = queries.get_mut(text)?;
        *uses += 1;
        *used = *uses;
        Some(Arc::clone(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let parsed = Parsed::default();
        let first = parsed.parse("up").unwrap();
        for i in 0..2 * PARSED_LIMIT_COUNT {
            parsed.parse(&format!("m{i}")).unwrap();
            assert!(Arc::ptr_eq(&first, &parsed.parse("up").unwrap()));
        }
        assert!(parsed.parse("up +").is_err());
        assert_eq!(parsed.0.lock().unwrap().queries.len(), PARSED_LIMIT_COUNT);
        assert!(parsed.known("m0").is_none());
    }
}
