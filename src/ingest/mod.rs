//! `POST /api/v1/write`: the remote write receiver.
//!
//! Checks come in the order senders rely on: method, content type, encoding, size, decoding, overload. What a
//! request may cost is reserved before it is spent (`budget`), so that memory stays bounded however
//! many senders there are.

mod budget;

use std::num::NonZero;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use crate::clock;
use crate::engine::{Rejection, Written};
use crate::live::{Body as LoggedBody, EngineHandle, Parcel, Taken, WriteError};
use crate::store::Store;
use crate::types::Span;
use crate::wire::{DecodeError, Limits, Protocol, WireKey, negotiate, snappy};

pub use budget::{Budget, BudgetError, Reservation};

/// A body must have arrived this long after its header, unless told otherwise.
const BODY_TIMEOUT: Span = Span::seconds(30);
/// Senders that meet an overload are asked to wait this long.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// Bodies over this are decoded off the network threads.
const DECODE_INLINE_LIMIT_BYTES: usize = 256 << 10;
/// Batches with more samples are stored off the network threads.
const STORE_INLINE_LIMIT_SAMPLES: usize = 10_000;
/// Requests that are decoded and not answered yet, on however many cores. One more than there are cores keeps all of them
/// busy; with every further one memory is filled that nobody works on, and what is decoded has left the caches when its
/// turn comes. The others wait as they came.
const DECODED_LIMIT_REQUESTS: usize = 16;
/// How large a parcel may have grown that is kept for reuse.
const POOL_LIMIT_BYTES: usize = 8 << 20;

/// Everything the receiver needs.
#[derive(Debug)]
pub struct Receiver {
    engine: EngineHandle,
    limits: Limits,
    key: WireKey,
    budget: Budget,
    body_timeout: Span,
    store: Option<Store>,
    /// Held from decoding to the answer.
    turns: Semaphore,
    /// No more than there are turns.
    pool: Mutex<Vec<Parcel>>,
}

/// Why a request was not taken, or not whole.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Not a POST.
    #[error("remote write takes POST only")]
    Method,
    /// A content type or encoding that is not understood.
    #[error(transparent)]
    Negotiation(#[from] crate::wire::NegotiationError),
    /// The body did not arrive.
    #[error("could not read the body: {0}")]
    Body(String),
    /// The body took too long.
    #[error("the body did not arrive within {0}")]
    Timeout(Span),
    /// The body is not a write request, or too large.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Too much is being decoded already.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The engine did not take it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Some samples were refused; the others are counted.
    #[error("{}", describe(.0))]
    Rejected(Written),
}

fn describe(written: &Written) -> String {
    let line = |(reason, rejection): (&&str, &Rejection)| {
        let what = match (*reason, rejection.samples) {
            ("empty_series", _) => "series",
            (_, 1) => "sample",
            _ => "samples",
        };
        format!("{} {what} refused ({reason}): {}", rejection.samples, rejection.example)
    };
    written.rejected.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl IngestError {
    /// The HTTP status: 4xx tells a sender not to try the same again, 429 and 5xx to try later.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Negotiation(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Decode(DecodeError::BodyTooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_) | Self::Decode(_) | Self::Rejected(_) => StatusCode::BAD_REQUEST,
            Self::Budget(_) | Self::Write(WriteError::Overloaded) => StatusCode::TOO_MANY_REQUESTS,
            Self::Write(WriteError::Recovering(_) | WriteError::ReadOnly(_) | WriteError::Stopped) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl IngestError {
    fn to_response(&self) -> Response {
        let status = self.status();
        let mut response = (status, format!("{self}\n")).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        response
    }
}

impl Receiver {
    /// A receiver for an engine. `key` is the engine's own.
    pub fn new(engine: EngineHandle, limits: Limits, key: WireKey, budget: Budget) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let turns = Semaphore::new((cores + 1).min(DECODED_LIMIT_REQUESTS));
        Self { engine, limits, key, budget, body_timeout: BODY_TIMEOUT, store: None, turns, pool: Mutex::default() }
    }

    /// Answers wait for the disk: as many requests as may be are decoded, so that they share the wait.
    #[must_use]
    pub fn with_slow_answers(self) -> Self {
        Self { turns: Semaphore::new(DECODED_LIMIT_REQUESTS), ..self }
    }

    /// Waits this long for bodies.
    #[must_use]
    pub fn with_body_timeout(self, body_timeout: Span) -> Self {
        Self { body_timeout, ..self }
    }

    /// Keeps samples for queries here.
    #[must_use]
    pub fn with_store(self, store: Store) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Takes a request; `protocol` is set as soon as it is known.
    async fn take(
        self: Arc<Self>,
        head: &Parts,
        body: &mut Body,
        protocol: &mut Option<Protocol>,
    ) -> Result<Written, IngestError> {
        if head.method != Method::POST {
            return Err(IngestError::Method);
        }
        let text = |name| Some(String::from_utf8_lossy(head.headers.get(name)?.as_bytes()).into_owned());
        let content_type = text(header::CONTENT_TYPE);
        let encoding = text(header::CONTENT_ENCODING);
        let spoken = negotiate(content_type.as_deref(), encoding.as_deref())?;
        *protocol = Some(spoken);
        self.engine.check()?;
        let mut reservation = self.budget.reserve(0)?;
        let read = self.read(body, &mut reservation);
        let late = |_| IngestError::Timeout(self.body_timeout);
        let body = tokio::time::timeout(self.body_timeout.to_std(), read).await.map_err(late)??;
        let declared = snappy::decompressed_len(&body, self.limits.decoded_limit_bytes).map_err(DecodeError::Snappy)?;
        reservation.grow(declared)?;
        let _turn = self.turns.acquire().await.map_err(|_| WriteError::Stopped)?;
        let (parcel, body) = Arc::clone(&self).decode(body, spoken).await?;
        let Taken { parcel, written } = self.engine.write(parcel, body).await?;
        let parcel = self.keep(parcel).await?;
        self.recycle(parcel);
        if written.rejected.is_empty() { Ok(written) } else { Err(IngestError::Rejected(written)) }
    }

    /// Reads a body piece by piece, each reserved before it is kept.
    async fn read(&self, body: &mut Body, reservation: &mut Reservation) -> Result<Bytes, IngestError> {
        let limit_bytes = self.limits.compressed_limit_bytes;
        let mut pieces: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| IngestError::Body(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let size_bytes = pieces.len() + data.len();
            if size_bytes > limit_bytes {
                return Err(DecodeError::BodyTooLarge { size_bytes, limit_bytes }.into());
            }
            reservation.grow(data.len())?;
            if size_bytes > pieces.capacity() {
                // Doubled, as a vector does by itself, but never beyond what may come.
                pieces.reserve_exact(size_bytes.max(2 * pieces.len()).min(limit_bytes) - pieces.len());
            }
            pieces.extend_from_slice(&data);
        }
        Ok(pieces.into())
    }

    async fn decode(self: Arc<Self>, body: Bytes, protocol: Protocol) -> Result<(Parcel, LoggedBody), IngestError> {
        let mut parcel = self.lock_pool().pop().unwrap_or_default();
        let inline = body.len() <= DECODE_INLINE_LIMIT_BYTES;
        let decode = move || {
            parcel.batch.decode(protocol, &body, &self.limits, self.engine.key().unwrap_or(&self.key))?;
            Ok((parcel, LoggedBody::new(protocol, body)))
        };
        if inline {
            return decode();
        }
        tokio::task::spawn_blocking(decode).await.map_err(|_| IngestError::Write(WriteError::Stopped))?
    }

    /// Keeps the samples of what the engine has taken, those of selected series, before the sender has its answer: what
    /// it asks for then is there.
    async fn keep(&self, parcel: Parcel) -> Result<Parcel, IngestError> {
        let Some(store) = self.store.clone() else { return Ok(parcel) };
        let inline = parcel.batch.sample_count() + parcel.batch.histogram_count() <= STORE_INLINE_LIMIT_SAMPLES;
        let keep = move || {
            store.write(&parcel.batch, &parcel.findings, clock::now());
            parcel
        };
        if inline {
            return Ok(keep());
        }
        tokio::task::spawn_blocking(keep).await.map_err(|_| IngestError::Write(WriteError::Stopped))
    }

    fn recycle(&self, parcel: Parcel) {
        let capacity_bytes = parcel.batch.capacity_bytes() + parcel.findings.capacity_bytes();
        if capacity_bytes <= POOL_LIMIT_BYTES {
            self.lock_pool().push(parcel);
        }
    }

    fn lock_pool(&self) -> std::sync::MutexGuard<'_, Vec<Parcel>> {
        self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads what is left of a refused body, within limits: closing a connection on which unread data arrives resets
    /// it, and a sender that has not read its answer by then takes the refusal for a fault and tries the same again.
    async fn discard(&self, mut body: Body) {
        let reading = async {
            let mut read_bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read_bytes += frame.data_ref().map_or(0, Bytes::len);
                if read_bytes > self.limits.compressed_limit_bytes {
                    return;
                }
            }
        };
        // Neither is an error of its own: the answer goes out in any case.
        let _ = tokio::time::timeout(self.body_timeout.to_std(), reading).await;
    }

    /// Bytes reserved by requests at hand.
    pub fn reserved_bytes(&self) -> usize {
        self.budget.used_bytes()
    }
}

/// Tells a sender of remote write 2.0 what became of its request; a 2xx without these would mean that nothing was kept.
fn add_written(response: &mut Response, written: &Written) {
    let counts = [
        ("x-prometheus-remote-write-samples-written", written.samples),
        ("x-prometheus-remote-write-histograms-written", written.histograms),
        ("x-prometheus-remote-write-exemplars-written", written.exemplars),
    ];
    for (name, count) in counts {
        response.headers_mut().insert(name, HeaderValue::from(count));
    }
}

/// The handler for the write path, any method.
pub async fn write(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut protocol = None;
    let (mut response, written) = match Arc::clone(&receiver).take(&head, &mut body, &mut protocol).await {
        Ok(written) => (StatusCode::NO_CONTENT.into_response(), written),
        Err(error) => {
            tracing::debug!(status = error.status().as_u16(), %error, "write request refused");
            // A sender that waits to be asked for its body need not send it.
            if !head.headers.contains_key(header::EXPECT) && !matches!(error, IngestError::Timeout(_)) {
                receiver.discard(body).await;
            }
            let response = error.to_response();
            (response, if let IngestError::Rejected(written) = error { written } else { Written::default() })
        }
    };
    if protocol == Some(Protocol::V2) && !response.status().is_server_error() {
        add_written(&mut response, &written);
    }
    response
}
