//! A receiver of alerts in the test's own process: every request it gets goes to the test over a channel.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde_json::Value;
use sloburn::clock;
use sloburn::types::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::process::PATIENCE;

/// One request as it arrived.
#[derive(Debug)]
pub struct Received {
    pub at: Timestamp,
    pub path: String,
    pub headers: HeaderMap,
    pub text: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}

/// Answers 200 to everything, each request once it gets a permit.
pub struct Receiver {
    pub address: SocketAddr,
    pub requests: mpsc::UnboundedReceiver<Received>,
    permits: Arc<Semaphore>,
}

impl Receiver {
    /// One that answers at once.
    pub async fn start() -> Self {
        Self::with_permits(Semaphore::MAX_PERMITS).await
    }

    /// One that takes requests and does not answer until [`Receiver::answer`].
    pub async fn silent() -> Self {
        Self::with_permits(0).await
    }

    async fn with_permits(permits: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(permits));
        let app = Router::new().fallback(take).with_state((sender, Arc::clone(&permits)));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, requests, permits }
    }

    /// From now on everything is answered.
    pub fn answer(&self) {
        self.permits.add_permits(1_000);
    }

    /// The next request.
    pub async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(PATIENCE.to_std(), self.requests.recv()).await;
        next.expect("no request came").unwrap()
    }

    /// `http://host:port<path>`
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn take(
    State((sender, permits)): State<(mpsc::UnboundedSender<Received>, Arc<Semaphore>)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) {
    let text = String::from_utf8_lossy(&body).into_owned();
    let _ = sender.send(Received { at: clock::now(), path: uri.path().to_owned(), headers, text });
    permits.acquire().await.unwrap().forget();
}
