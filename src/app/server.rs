//! An HTTP/1.1 server that does not wait for ever: header, idle and shutdown timeouts, a cap on connections.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::types::Span;

/// A request's header must have arrived this long after the connection was opened or last answered. Prometheus
/// keeps idle connections for 5 minutes; a shorter time here would break them in its hands.
const HEADER_TIMEOUT: Span = Span::minutes(5);
/// Connections served at once; others wait in the listener's backlog.
const CONNECTION_LIMIT: usize = 1_024;
/// Requests at hand may take this long once the server is told to stop.
const DRAIN_TIMEOUT: Span = Span::seconds(10);
/// A pause after the system refuses a connection, most likely for want of file descriptors.
const ACCEPT_RETRY: Span = Span::millis(100);

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
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
        source: std::io::Error,
    },
}

impl Server {
    /// Listens on `address` (`host:port`; port 0 lets the system choose).
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(address: &str, router: Router) -> Result<Self, ServerError> {
        let bind_error = |source| ServerError::Bind { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        Ok(Self { listener, router })
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
        let connections = Arc::new(Semaphore::new(CONNECTION_LIMIT));
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
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY.to_std()).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT.to_std())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router.clone()));
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended");
                }
                drop(permit);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(DRAIN_TIMEOUT.to_std(), graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not finish in {DRAIN_TIMEOUT}");
        }
    }
}
