//! A remote write client, as plain as they come: one request at a time, no retries.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use url::Url;

use crate::notify;
use crate::types::Span;
use crate::wire::proto::{TimeSeries, WriteRequest, encode_v1};

/// Over a whole exchange; the largest request takes far less.
const TIMEOUT: Span = Span::seconds(30);

/// Sends to one address.
#[derive(Debug)]
pub struct Sender {
    client: reqwest::Client,
    url: Url,
}

/// Why samples did not get through.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No answer, or no client to ask with.
    #[error("remote write to the demo's own daemon failed")]
    Http(#[from] reqwest::Error),
    /// The daemon took none of the request, or not all of it.
    #[error("the daemon refused the simulated samples: {status}: {message}")]
    Refused {
        /// The answer.
        status: StatusCode,
        /// Its text.
        message: String,
    },
}

impl Sender {
    /// A sender to the daemon at `daemon_url`, past any proxy of the environment.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(daemon_url: &Url) -> Result<Self, SendError> {
        let mut url = daemon_url.clone();
        url.set_path("/api/v1/write");
        notify::install_tls_provider();
        let builder = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(TIMEOUT.to_std());
        Ok(Self { client: builder.build()?, url })
    }

    /// Sends one remote write 1.0 request and waits until it is counted. Returns the samples in it.
    ///
    /// # Errors
    /// When the request does not get through, or is refused.
    pub async fn send(&self, timeseries: Vec<TimeSeries>) -> Result<u64, SendError> {
        let samples = timeseries.iter().map(|series| series.samples.len() as u64).sum();
        let body = encode_v1(&WriteRequest { timeseries });
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .body(body);
        let response = request.send().await?;
        let status = response.status();
        if !status.is_success() {
            let message = response.text().await?.trim().to_owned();
            return Err(SendError::Refused { status, message });
        }
        Ok(samples)
    }
}
