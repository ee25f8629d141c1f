//! The daemon's API as the command line asks it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::cli::canary::args::DaemonOptions;
use crate::clock::Steady;
use crate::notify;
use crate::types::{Span, Timestamp};

/// For one question, at least and at most: less than it is left for the last one before a deadline.
const SHORTEST_TIMEOUT: Span = Span::seconds(1);
const TIMEOUT: Span = Span::seconds(10);
const ANSWER_LIMIT_BYTES: usize = 16 << 20;
/// From a failed question to the next.
const RETRY_EVERY: Span = Span::seconds(1);

/// What the daemon is asked through.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    credentials: Credentials,
}

enum Credentials {
    None,
    Basic { username: String, password: SecretString },
    Bearer(SecretString),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There may be one later: no connection, or the daemon says that it is not ready.
    #[error("{0}")]
    Later(String),
    /// There will be none to this question.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In the daemon's words.
        message: String,
    },
}

/// A secret from a file, or from a variable of the environment.
fn secret(file: Option<&Path>, variable: &str) -> anyhow::Result<Option<SecretString>> {
    let text = match file {
        Some(path) => Some(fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => std::env::var(variable).ok(),
    };
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).map(Into::into))
}

impl Client {
    pub(super) fn new(options: &DaemonOptions) -> anyhow::Result<Self> {
        let url = &options.url;
        anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "--url takes an http or https URL, not {url}");
        anyhow::ensure!(
            url.username().is_empty() && url.password().is_none(),
            "--url holds credentials: use --username and --password-file"
        );
        notify::install_tls_provider();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("sloburn/", env!("CARGO_PKG_VERSION")))
            // A password is for the daemon alone.
            .redirect(Policy::none());
        let builder = match &options.tls_ca_file {
            Some(path) => {
                let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                let authorities = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
                let authorities = authorities.with_context(|| format!("no certificate in {}", path.display()))?;
                builder.tls_certs_only(authorities)
            }
            // Plain HTTP must work in a container without root certificates.
            None if url.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        let credentials = match &options.username {
            Some(username) => {
                let password = secret(options.password_file.as_deref(), "SLOBURN_PASSWORD")?;
                let missing = "--username needs a password: --password-file, or SLOBURN_PASSWORD in the environment";
                Credentials::Basic { username: username.clone(), password: password.context(missing)? }
            }
            None => match secret(options.bearer_token_file.as_deref(), "SLOBURN_BEARER_TOKEN")? {
                Some(token) => Credentials::Bearer(token),
                None => Credentials::None,
            },
        };
        Ok(Self { http: builder.build()?, url: url.clone(), credentials })
    }

    /// A path below the daemon's address, of these parts, and a query.
    fn at(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url.set_query(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Asks once.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ClientError> {
        self.send(Method::GET, self.at(path, query), None, TIMEOUT).await
    }

    /// Says something, once: whether it was taken is not known where the connection broke.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        self.send(Method::POST, self.at(path, &[]), Some(body), TIMEOUT).await
    }

    /// Asks until there is an answer or `deadline` has come; `told` is called with what is in the way.
    pub(super) async fn get_until(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        (clock, deadline): (&Steady, Timestamp),
        mut told: impl FnMut(&str),
    ) -> Result<Value, ClientError> {
        loop {
            let timeout = deadline.since(clock.now()).clamp(SHORTEST_TIMEOUT, TIMEOUT);
            match self.send(Method::GET, self.at(path, query), None, timeout).await {
                Err(ClientError::Later(reason)) if clock.now() < deadline => {
                    told(&reason);
                    clock.sleep_until((clock.now() + RETRY_EVERY).min(deadline)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Asks once for an answer that is read as it comes. Whether it is a good one is for the caller to see.
    pub(super) async fn open(&self, path: &[&str], query: &[(&str, &str)]) -> Result<reqwest::Response, ClientError> {
        let asked = self.request(Method::GET, self.at(path, query)).send();
        let answered = tokio::time::timeout(TIMEOUT.to_std(), asked).await;
        let answered = answered.map_err(|_| ClientError::Later(format!("no answer from {} in {TIMEOUT}", self.url)))?;
        answered.map_err(|error| self.later(error))
    }

    /// Why there is no answer, or why it breaks off.
    fn later(&self, error: reqwest::Error) -> ClientError {
        let error = anyhow::Error::from(error.without_url());
        ClientError::Later(format!("no answer from {}: {}", self.url, error.root_cause()))
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => request.basic_auth(username, Some(password.expose_secret())),
            Credentials::Bearer(token) => request.bearer_auth(token.expose_secret()),
        }
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>, timeout: Span) -> Result<Value, ClientError> {
        let request = self.request(method, url).timeout(timeout.to_std());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.later(error))?;
        self.taken(response).await
    }

    /// What an answer says, all of it.
    pub(super) async fn taken(&self, mut response: reqwest::Response) -> Result<Value, ClientError> {
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.later(error))? {
            answer.extend_from_slice(&chunk);
            if answer.len() > ANSWER_LIMIT_BYTES {
                let message = format!("{} answers with more than {} MiB", self.url, ANSWER_LIMIT_BYTES >> 20);
                return Err(ClientError::Refused { status: status.as_u16(), message });
            }
        }
        let value = serde_json::from_slice::<Value>(&answer).ok();
        if status.is_success()
            && let Some(value) = value
        {
            return Ok(value);
        }
        let said = value.as_ref().and_then(|value| value["error"].as_str()).map(str::to_owned);
        let said = said.unwrap_or_else(|| String::from_utf8_lossy(&answer).trim().chars().take(200).collect());
        let message = match status.as_u16() {
            200..300 => format!("{} does not answer as sloburn does: {said}", self.url),
            401 => format!("{} refuses the credentials: see --username and --bearer-token-file", self.url),
            _ if status.is_redirection() => format!("{} answers {status}: give the address it leads to", self.url),
            _ => said,
        };
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(ClientError::Later(format!("{} answers {status}: {message}", self.url)));
        }
        Err(ClientError::Refused { status: status.as_u16(), message })
    }
}
