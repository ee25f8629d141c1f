//! Which series there are: `series`, `labels`, `label/<name>/values`, `metadata`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::form::{Form, invalid};
use super::json::TRUNCATED;
use super::query::queryable;
use super::run::Stop;
use crate::api::error::success;
use crate::api::{ApiError, ApiState};
use crate::figures::{self, Queryable};
use crate::promql::{ParseLimits, parse_selector};
use crate::types::{Labels, Matcher, Selector, Timestamp};

/// What a list is made from.
struct Wanted {
    selectors: Vec<Selector>,
    from: Timestamp,
    to: Timestamp,
    limit: Option<usize>,
}

impl Wanted {
    fn read(form: &Form) -> Result<Self, ApiError> {
        let limit = form.limit()?;
        let from = form.time("start")?.unwrap_or(Timestamp::MIN);
        let to = form.time("end")?.unwrap_or(Timestamp(i64::MAX));
        let selectors = form.all("match[]").map(selector).collect::<Result<_, _>>().map_err(ApiError::BadData)?;
        Ok(Self { selectors, from, to, limit })
    }

    /// Whether all series are meant, whenever they had samples.
    fn is_all(&self) -> bool {
        self.selectors.is_empty() && self.from == Timestamp::MIN && self.to == Timestamp(i64::MAX)
    }

    /// The label sets that any of the selectors selects; all without one.
    fn label_sets(&self, storage: &Queryable, stop: &Stop) -> Result<Vec<Arc<Labels>>, ApiError> {
        let all: [&[Matcher]; 1] = [&[]];
        let selections: Vec<&[Matcher]> = self.selectors.iter().map(Selector::matchers).collect();
        let selections = if selections.is_empty() { &all[..] } else { &selections[..] };
        let mut sets = Vec::new();
        for matchers in selections {
            stop.check()?;
            sets.extend(storage.label_sets(matchers, self.from, self.to));
        }
        if selections.len() > 1 {
            sets.sort_unstable();
            sets.dedup();
        }
        Ok(sets)
    }
}

fn selector(text: &str) -> Result<Selector, String> {
    let selector = parse_selector(text, &ParseLimits::default()).map_err(|error| error.to_string())?;
    if selector.matchers().iter().all(|matcher| matcher.matches("")) {
        return Err("match[] must contain at least one non-empty matcher".to_owned());
    }
    Ok(selector)
}

/// A list, cut to the limit with a warning.
fn list<T: Serialize>(mut items: Vec<T>, limit: Option<usize>) -> Response {
    let limit = limit.unwrap_or(usize::MAX);
    if items.len() <= limit {
        return success(items);
    }
    items.truncate(limit);
    Json(json!({"status": "success", "data": items, "warnings": [TRUNCATED]})).into_response()
}

/// Label sets of series.
pub(super) async fn series(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    if form.all("match[]").next().is_none() {
        return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
    }
    // Unlike for labels, what is wrong with a selector is said of its parameter.
    form.all("match[]").try_for_each(|text| selector(text).map(drop)).map_err(|error| invalid("match[]", &error))?;
    let wanted = Wanted::read(&form)?;
    let storage = queryable(&state);
    let work = move |stop: &Stop| {
        let sets = wanted.label_sets(&storage, stop)?;
        Ok(list(sets.iter().map(|labels| (**labels).clone()).collect(), wanted.limit))
    };
    state.querier.run(None, work).await
}

/// Label names.
pub(super) async fn names(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let wanted = Wanted::read(&form)?;
    let storage = queryable(&state);
    let work = move |stop: &Stop| {
        let names: BTreeSet<String> = if wanted.is_all() {
            storage.label_names()
        } else {
            let sets = wanted.label_sets(&storage, stop)?;
            sets.iter()
                .flat_map(|labels| labels.iter().map(|(name, _)| name))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        Ok(list(names.into_iter().collect(), wanted.limit))
    };
    state.querier.run(None, work).await
}

/// Values of a label.
pub(super) async fn values(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let name = unescaped(&name).unwrap_or(name);
    let wanted = Wanted::read(&form)?;
    let storage = queryable(&state);
    let work = move |stop: &Stop| {
        let values: BTreeSet<String> = if wanted.is_all() {
            storage.label_values(&name)
        } else {
            let sets = wanted.label_sets(&storage, stop)?;
            sets.iter()
                .filter_map(|labels| labels.get(&name))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        Ok(list(values.into_iter().collect(), wanted.limit))
    };
    state.querier.run(None, work).await
}

/// A label name of which `U__` says that its characters are escaped, as `_<hexadecimal>_`, with `__` for `_`.
fn unescaped(name: &str) -> Option<String> {
    let escaped = name.strip_prefix("U__")?;
    let mut text = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            text.push('_');
            rest = after;
        } else {
            let (code, after) = rest.split_once('_')?;
            text.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
            rest = after;
        }
    }
    text.push_str(rest);
    Some(text)
}

/// What metrics mean: of the engine's own figures; senders tell nothing of theirs that is kept.
pub(super) async fn metadata(State(_): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let limit = match form.get("limit").map(str::parse::<i64>) {
        None => usize::MAX,
        // A negative one is none.
        Some(Ok(limit)) => usize::try_from(limit).unwrap_or(usize::MAX),
        Some(Err(_)) => return Err(ApiError::BadData("limit must be a number".to_owned())),
    };
    let wanted = form.get("metric");
    let described = figures::MEANINGS.iter().filter(|meaning| wanted.is_none_or(|name| name == meaning.name));
    let metadata: Map<String, Value> = described
        .take(limit)
        .map(|meaning| (meaning.name.to_owned(), json!([{"type": "gauge", "unit": "", "help": meaning.help}])))
        .collect();
    Ok(success(metadata))
}

/// None are kept.
pub(super) async fn exemplars(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let (start, end) = (form.time("start")?, form.time("end")?);
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        return Err(ApiError::BadData("end timestamp must not be before start timestamp".to_owned()));
    }
    super::run::parse(&state.querier.parsed, form.get("query").unwrap_or_default())?;
    Ok(success(json!([])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        for (escaped, name) in [
            ("job", None),
            ("U__http_2e_status", Some("http.status")),
            ("U__a__b", Some("a_b")),
            ("U___1f525_", Some("🔥")),
            ("U__a_zz_", None),
            ("U__a_2e", None),
            ("", None),
        ] {
            assert_eq!(unescaped(escaped).as_deref(), name, "{escaped}");
        }
    }
}
