//! `status/*`: what the process is and how it is set up.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::form::Form;
use crate::api::error::success;
use crate::api::{ApiError, ApiState};
use crate::clock;
use crate::types::{METRIC_NAME, Timestamp};

/// The Prometheus whose API this is: clients choose by it what they may ask for.
const COMPATIBLE_VERSION: &str = "3.5.0";
/// Entries of each list of `status/tsdb`.
const DEFAULT_ENTRIES_COUNT: usize = 10;
const ENTRIES_LIMIT_COUNT: usize = 10_000;

/// What is said about the process.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// When it began.
    pub started: Timestamp,
    /// The text of the configuration file; it holds no secrets.
    pub config: String,
    /// The values of flags, by name.
    pub flags: BTreeMap<String, String>,
}

/// Versions.
pub(super) async fn build() -> Response {
    success(json!({
        "version": COMPATIBLE_VERSION,
        "revision": concat!("sloburn-", env!("CARGO_PKG_VERSION")),
        "branch": "HEAD",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// The configuration file.
pub(super) async fn config(State(state): State<ApiState>) -> Response {
    success(json!({"yaml": state.querier.about.config}))
}

/// The flags.
pub(super) async fn flags(State(state): State<ApiState>) -> Response {
    success(&state.querier.about.flags)
}

/// How it runs.
pub(super) async fn runtime(State(state): State<ApiState>) -> Response {
    let folder = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let reload = state.reload.last();
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    success(json!({
        "startTime": state.querier.about.started.to_rfc3339(),
        "CWD": folder,
        "hostname": host.trim(),
        "serverTime": clock::now().to_rfc3339(),
        "reloadConfigSuccess": reload.error.is_none(),
        "lastConfigTime": reload.succeeded_at.to_rfc3339(),
        "corruptionCount": state.engine.journal().gaps.len(),
        "goroutineCount": tasks,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": state.querier.store.retention().to_string(),
    }))
}

/// What the store holds.
pub(super) async fn tsdb(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let form = Form::read(request).await?;
    let limit = match form.get("limit").map(str::parse::<usize>) {
        None => DEFAULT_ENTRIES_COUNT,
        Some(Ok(limit)) if (1..=ENTRIES_LIMIT_COUNT).contains(&limit) => limit,
        Some(Ok(limit)) if limit > 0 => {
            return Err(ApiError::BadData(format!("limit must not exceed {ENTRIES_LIMIT_COUNT}")));
        }
        Some(_) => return Err(ApiError::BadData("limit must be a positive number".to_owned())),
    };
    let store = state.querier.store.clone();
    let work = move |_: &super::run::Stop| {
        let extent = store.extent();
        let names = store.label_names();
        let mut pairs = Vec::new();
        let (mut values, mut bytes) = (Vec::new(), Vec::new());
        for name in names {
            let counts = store.value_counts(&name);
            values.push((name.clone(), counts.len()));
            bytes.push((name.clone(), counts.iter().map(|(value, _)| value.len()).sum()));
            pairs.extend(counts.into_iter().map(|(value, count)| (format!("{name}={value}"), count)));
        }
        let label_pairs = pairs.len();
        let (oldest, newest) = extent.bounds.unwrap_or((Timestamp(i64::MAX), Timestamp(i64::MIN)));
        Ok(json!({
            "headStats": {
                "numSeries": extent.series,
                "numLabelPairs": label_pairs,
                "chunkCount": extent.chunks,
                "minTime": oldest.0,
                "maxTime": newest.0,
            },
            "seriesCountByMetricName": top(store.value_counts(METRIC_NAME), limit),
            "labelValueCountByLabelName": top(values, limit),
            "memoryInBytesByLabelName": top(bytes, limit),
            "seriesCountByLabelValuePair": top(pairs, limit),
        }))
    };
    Ok(success(state.querier.run(None, work).await?))
}

/// The largest counts.
fn top(mut counts: Vec<(String, usize)>, limit: usize) -> Vec<Value> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}
