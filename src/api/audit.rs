//! `GET /api/v1/audit`: the audit log as lines of JSON, streamed.
//!
//! Without `service` and `rollout` the lines are a log that `sloburn audit verify` takes: the anchor first, if the
//! beginning has been pruned and is asked for, then every entry.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::api::{ApiError, ApiState};
use crate::audit::{Filter, Log, LogError, Pages};
use crate::types::Timestamp;

/// Pages that wait for a reader.
const QUEUE_LIMIT_PAGES: usize = 2;

/// Which entries are wanted; empty for all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    service: Option<String>,
    rollout: Option<String>,
    /// RFC 3339, or seconds since 1970.
    since: Option<String>,
    /// At most so many, the oldest first.
    limit: Option<u64>,
}

/// Streams the log.
pub(super) async fn export(
    State(state): State<ApiState>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Wanted { service, rollout, since, limit }) =
        query.map_err(|error| ApiError::BadData(error.body_text()))?;
    let since = since.as_deref().map(moment).transpose()?;
    let Some(log) = state.notifier.audit().cloned() else {
        let reason = "no audit log is kept: the daemon runs without a --storage.path";
        return Err(ApiError::NotFound(reason.to_owned()));
    };
    let filter = Filter { service, rollout, since };
    let begun = blocking(move || begin(&log, filter)).await?;
    let (sender, chunks) = mpsc::channel(QUEUE_LIMIT_PAGES);
    tokio::spawn(send(begun, limit.unwrap_or(u64::MAX), sender));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::new(Chunks(chunks))).into_response())
}

fn moment(text: &str) -> Result<Timestamp, ApiError> {
    if let Ok(point) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(point.as_millisecond()));
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 253_402_300_800.0);
    let wrong = || ApiError::BadData(format!("since={text:?}: write 2026-11-01T00:00:00Z, or seconds since 1970"));
    seconds.map(|seconds| Timestamp((seconds * 1_000.0).round() as i64)).ok_or_else(wrong)
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, ApiError> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    read.map_err(|error| ApiError::Unavailable(error.to_string()))
}

/// The first line, if it is an anchor, and the entries.
fn begin(log: &Log, filter: Filter) -> Result<(Option<String>, Pages), LogError> {
    let is_whole = filter == Filter::default();
    let anchor = if is_whole { log.anchor()? } else { None };
    Ok((anchor.map(|anchor| anchor.line() + "\n"), log.pages(filter)?))
}

/// Ends where the reader has gone, or the log cannot be read, which breaks the answer off.
async fn send((first, mut pages): (Option<String>, Pages), limit: u64, sender: mpsc::Sender<Result<Bytes, ApiError>>) {
    if let Some(first) = first
        && sender.send(Ok(first.into())).await.is_err()
    {
        return;
    }
    let mut left = limit;
    while left > 0 {
        let read = blocking(move || {
            let page = pages.next_page()?;
            Ok((page, pages))
        });
        let page = match read.await {
            Ok((page, rest)) => {
                pages = rest;
                page
            }
            Err(error) => {
                tracing::error!(%error, "the audit log cannot be read");
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        if page.is_empty() {
            return;
        }
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(page.len());
        left -= taken as u64;
        let lines: String = page[..taken].iter().map(|entry| entry.line() + "\n").collect();
        if sender.send(Ok(lines.into())).await.is_err() {
            return;
        }
    }
}

/// A body that comes in chunks.
struct Chunks(mpsc::Receiver<Result<Bytes, ApiError>>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_or_seconds() {
        assert_eq!(moment("2026-11-01T00:00:00Z"), Ok(Timestamp(1_793_491_200_000)));
        assert_eq!(moment("1793491200.5"), Ok(Timestamp(1_793_491_200_500)));
        for wrong in ["", "yesterday", "inf", "1793491200000"] {
            let Err(ApiError::BadData(reason)) = moment(wrong) else { panic!("{wrong}") };
            assert!(reason.contains("write 2026-11-01"), "{reason}");
        }
    }
}
