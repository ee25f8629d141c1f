//! What a running daemon is asked.

use std::io::{self, Read};

use anyhow::{Context, bail};
use bytes::{Buf, Bytes};
use serde::Deserialize;
use tokio::runtime::Runtime;
use url::Url;

use crate::audit::{Budget, Filter};
use crate::notify;
use crate::types::Span;

/// From one part of an answer to the next.
const READ_TIMEOUT: Span = Span::seconds(30);
const SLOS_LIMIT_BYTES: u64 = 256 << 20;

/// An answer's body, read as it comes.
pub(super) struct Answer {
    runtime: Runtime,
    response: reqwest::Response,
    rest: Bytes,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let chunk = self.runtime.block_on(self.response.chunk());
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

/// The lines of its audit log.
pub(super) fn audit(url: &Url, filter: &Filter) -> anyhow::Result<Answer> {
    let mut query = Vec::new();
    query.extend(filter.service.clone().map(|service| ("service", service)));
    query.extend(filter.rollout.clone().map(|rollout| ("rollout", rollout)));
    query.extend(filter.since.map(|since| ("since", since.to_rfc3339())));
    get(url, "audit", &query)
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
    period: Span,
    budget_remaining: Option<f64>,
}

/// What each SLO has spent of its budget.
pub(super) fn budgets(url: &Url) -> anyhow::Result<Vec<Budget>> {
    let mut body = Vec::new();
    get(url, "slos", &[])?.take(SLOS_LIMIT_BYTES).read_to_end(&mut body).context("the SLOs")?;
    let answer: Slos = serde_json::from_slice(&body).context("not an answer of sloburn about SLOs")?;
    let budget = |slo: Slo| {
        let name = slo.id.strip_prefix(&format!("{}/", slo.service)).unwrap_or(&slo.id).to_owned();
        let (service, period) = (slo.service, slo.period.to_string());
        Budget { service, slo: name, period, spent: slo.budget_remaining.map(|left| 1.0 - left) }
    };
    Ok(answer.data.slos.into_iter().map(budget).collect())
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn get(url: &Url, path: &str, query: &[(&str, String)]) -> anyhow::Result<Answer> {
    anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "--url takes an http or https URL, not {url}");
    notify::install_tls_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut address = url.clone();
    address.set_path(&format!("{}/api/v1/{path}", url.path().trim_end_matches('/')));
    address.set_query(None);
    if !query.is_empty() {
        address.query_pairs_mut().extend_pairs(query);
    }
    let builder = reqwest::Client::builder().connect_timeout(READ_TIMEOUT.to_std()).read_timeout(READ_TIMEOUT.to_std());
    let client = if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder }.build()?;
    let response = runtime.block_on(client.get(address).send());
    let hint = "is the daemon running? of one that is not, name its --storage.path";
    let response =
        response.map_err(reqwest::Error::without_url).with_context(|| format!("no answer from {url} ({hint})"))?;
    let status = response.status();
    let mut answer = Answer { runtime, response, rest: Bytes::new() };
    if !status.is_success() {
        let mut body = Vec::new();
        // What it says beside the status is a courtesy.
        let _ = answer.by_ref().take(1 << 16).read_to_end(&mut body);
        let said = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error);
        let said = said.unwrap_or_else(|_| String::from_utf8_lossy(&body).trim().chars().take(200).collect());
        bail!("{url} answers {status}: {said}");
    }
    Ok(answer)
}
