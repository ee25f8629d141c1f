//! An HTTP/1.1 server, with or without TLS, that does not wait for ever: every wait for a peer has a timeout,
//! connections have a cap, and what one of them does or fails to do stops no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::Service;

use crate::app::connection::{Paced, Progress};
use crate::app::web::Web;
use crate::types::Span;

/// Connections served at once; others wait in the listener's backlog.
pub const CONNECTION_LIMIT: usize = 1_024;
/// A request's line and headers; over it the answer is 431, as it is over hyper's 100 headers.
const HEADER_LIMIT_BYTES: usize = 32 << 10;
/// Read ahead on one connection.
const READ_BUFFER_LIMIT_BYTES: usize = 128 << 10;
/// A pause after the system refuses a connection, most likely for want of file descriptors.
const ACCEPT_RETRY: Span = Span::millis(100);
/// What Go's server says to a client that does not speak TLS.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// How long peers are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub handshake: Span,
    /// For a request's header, from the connection's start or the header's first byte.
    pub header: Span,
    /// For the next request on a connection.
    pub idle: Span,
    /// For a request's body, from the end of its header.
    pub body: Span,
    /// For a peer that takes nothing of its answer.
    pub write: Span,
    /// For requests at hand once the server is told to stop.
    pub drain: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Span::seconds(10),
            header: Span::seconds(10),
            // Prometheus keeps idle connections for as long; a shorter time would break them in its hands.
            idle: Span::minutes(5),
            body: Span::seconds(30),
            write: Span::seconds(30),
            drain: Span::seconds(10),
        }
    }
}

/// How a server treats its peers.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// TLS, users and headers; plain HTTP for everybody without it.
    pub web: Option<Arc<Web>>,
    /// How long peers are waited for.
    pub timeouts: Timeouts,
    /// Connections served at once; others wait.
    pub connection_limit: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { web: None, timeouts: Timeouts::default(), connection_limit: CONNECTION_LIMIT }
    }
}

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
    settings: HttpSettings,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// As configured.
        address: String,
        /// What the system says.
        source: io::Error,
    },
}

impl Server {
    /// Listens on `address` (`host:port`; port 0 lets the system choose).
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(address: &str, router: Router, settings: HttpSettings) -> Result<Self, ServerError> {
        let bind_error = |source| ServerError::Bind { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        // Outermost, so that nothing answers a stranger, not even with 404.
        let router = match &settings.web {
            Some(web) => router.layer(axum::middleware::from_fn_with_state(Arc::clone(web), super::web::guard)),
            None => router,
        };
        Ok(Self { listener, router, settings })
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: the listener is bound.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// Serves until `stop` completes, then finishes the requests at hand.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(self.settings.connection_limit));
        let (stopping, stopped) = watch::channel(());
        tokio::pin!(stop);
        loop {
            let accept = async {
                let permit = Arc::clone(&connections).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accept => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY.to_std()).await;
                    continue;
                }
            };
            let connection = Connection {
                router: self.router.clone(),
                settings: self.settings.clone(),
                watcher: graceful.watcher(),
                stopped: stopped.clone(),
            };
            tokio::spawn(async move {
                if let Err(error) = connection.serve(stream).await {
                    tracing::debug!(%peer, error, "connection ended");
                }
                drop(permit);
            });
        }
        drop(self.listener);
        drop(stopping);
        let drain = self.settings.timeouts.drain;
        if tokio::time::timeout(drain.to_std(), graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not finish in {drain}");
        }
    }
}

/// What one connection's task needs.
struct Connection {
    router: Router,
    settings: HttpSettings,
    watcher: Watcher,
    /// Closed once the server is told to stop.
    stopped: watch::Receiver<()>,
}

/// Why a connection ended; for the log only.
type Ended = Box<dyn std::error::Error + Send + Sync>;

impl Connection {
    async fn serve(mut self, stream: TcpStream) -> Result<(), Ended> {
        let _ = stream.set_nodelay(true);
        let Some(web) = self.settings.web.clone().filter(|web| web.has_tls()) else {
            return self.serve_http(stream).await;
        };
        let handshake = tokio::time::timeout(self.settings.timeouts.handshake.to_std(), handshake(stream, &web));
        let secured = tokio::select! {
            secured = handshake => secured.map_err(|_| "the TLS handshake took too long")??,
            _ = self.stopped.changed() => return Ok(()),
        };
        self.serve_http(secured).await
    }

    async fn serve_http<S>(self, stream: S) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let timeouts = self.settings.timeouts;
        let progress = Progress::default();
        let stream = Paced::new(stream, progress.clone(), timeouts.header, timeouts.write);
        let router = self.router;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            progress.request_begins(request.body().size_hint().exact());
            let (answer, progress) = (router.clone().call(request), progress.clone());
            async move {
                let answer = answer.await;
                progress.request_ends();
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // hyper counts this one from the last answer.
            .header_read_timeout(timeouts.idle.to_std())
            .max_header_size(HEADER_LIMIT_BYTES)
            .max_buf_size(READ_BUFFER_LIMIT_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        Ok(self.watcher.watch(connection).await?)
    }
}

/// Makes the connection a TLS one; a client that speaks plain HTTP is told so.
async fn handshake(mut stream: TcpStream, web: &Arc<Web>) -> Result<TlsStream<TcpStream>, Ended> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // Methods begin with a letter, handshakes with 22.
    if first[0].is_ascii_uppercase() {
        // What has come is taken first: closing over unread bytes would reset the connection and lose the answer.
        let _ = stream.read(&mut [0; 4_096]).await?;
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        return Err("plain HTTP on a TLS port".into());
    }
    let Some(config) = web.tls().await else { return Err("TLS is off".into()) };
    Ok(TlsAcceptor::from(config).accept(stream).await?)
}
