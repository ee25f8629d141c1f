//! What a running daemon is asked.

use std::io::{self, Read};

use anyhow::Context;
use bytes::{Buf, Bytes};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::audit::{Budget, Filter};
use crate::cli::canary::args::DaemonOptions;
use crate::cli::client::{Client, ClientError};
use crate::types::{Span, Timestamp};

/// From one part of an answer to the next.
const READ_TIMEOUT: Span = Span::seconds(30);

/// An answer's body, read as it comes.
pub(super) struct Answer {
    runtime: Runtime,
    response: reqwest::Response,
    rest: Bytes,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let Self { runtime, response, .. } = self;
            let chunk = runtime.block_on(async { tokio::time::timeout(READ_TIMEOUT.to_std(), response.chunk()).await });
            let chunk = chunk.map_err(|_| io::Error::other(format!("nothing for {READ_TIMEOUT}")))?;
            match chunk.map_err(|error| io::Error::other(error.without_url()))? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The lines of its audit log.
pub(super) fn audit(options: &DaemonOptions, filter: &Filter) -> anyhow::Result<Answer> {
    let since = filter.since.map(Timestamp::to_rfc3339);
    let wanted = [("service", &filter.service), ("rollout", &filter.rollout), ("since", &since)];
    let query: Vec<(&str, &str)> = wanted.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let (client, runtime) = (Client::new(options)?, runtime()?);
    let response = runtime.block_on(async {
        let response = client.open(&["audit"], &query).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        // It says what is wrong.
        client.taken(response).await?;
        Err(ClientError::Later(format!("no audit log in the answer of {}", options.url)))
    });
    let response = response.map_err(|error: ClientError| match error {
        ClientError::Later(reason) => {
            anyhow::anyhow!("{reason}\n  = hint: of a daemon that does not run, name its --storage.path")
        }
        error @ ClientError::Refused { .. } => error.into(),
    })?;
    Ok(Answer { runtime, response, rest: Bytes::new() })
}

#[derive(Deserialize)]
struct Slos {
    data: SlosData,
}

#[derive(Deserialize)]
struct SlosData {
    slos: Vec<Slo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slo {
    id: String,
    service: String,
    period: String,
    budget_remaining: Option<f64>,
}

/// What each SLO has spent of its budget.
pub(super) fn budgets(options: &DaemonOptions) -> anyhow::Result<Vec<Budget>> {
    let client = Client::new(options)?;
    let answer = runtime()?.block_on(client.get(&["slos"], &[]))?;
    let answer: Slos = serde_json::from_value(answer).context("not an answer of sloburn about SLOs")?;
    let budget = |slo: Slo| {
        let name = slo.id.strip_prefix(&format!("{}/", slo.service)).unwrap_or(&slo.id).to_owned();
        let spent = slo.budget_remaining.map(|left| 1.0 - left);
        Budget { service: slo.service, slo: name, period: slo.period, spent }
    };
    Ok(answer.data.slos.into_iter().map(budget).collect())
}
