//! Puts the parts together and takes them apart again in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::sync::Notify;
use url::Url;

use crate::alert::Alert;
use crate::api::{self, ApiState, Metrics, Readiness, ReloadStatus};
use crate::app::reload::{ReadSources, Reloader};
use crate::app::{HttpSettings, Server, ServerError};
use crate::clock;
use crate::engine::{self, Engine};
use crate::ingest::{Budget, Receiver};
use crate::live::EngineHandle;
use crate::notify::{self, AlertmanagerTarget, Notifier, WebhookTarget};
use crate::spec::{Service, Source, naming};
use crate::types::Span;
use crate::wire::{Limits, WireKey};

/// Alerts that wait for a receiver may take this long once the daemon is told to stop.
const DELIVERY_DRAIN_TIMEOUT: Span = Span::seconds(10);

/// Everything a daemon is made from.
#[derive(Debug)]
pub struct Settings {
    /// `host:port`
    pub listen_address: String,
    /// TLS, users, timeouts.
    pub http: HttpSettings,
    /// `POST /-/quit` ends the process, `POST /-/reload` reads the specs again.
    pub enable_lifecycle: bool,
    /// The specs in force at the start and the way to read them again.
    pub rules: Option<Rules>,
    /// Keys the hashes of labels.
    pub key: WireKey,
    /// On requests and series.
    pub limits: Limits,
    /// Series tracked at most.
    pub series_limit: usize,
    /// Bytes of all requests at hand.
    pub in_flight_limit_bytes: usize,
    /// What receivers share.
    pub notify: notify::Settings,
    /// Each gets every alert.
    pub alertmanagers: Vec<AlertmanagerTarget>,
    /// Each gets every alert.
    pub webhooks: Vec<WebhookTarget>,
}

/// Where the specs come from.
pub struct Rules {
    /// As they were read.
    pub sources: Vec<Source>,
    /// Reads them again.
    pub read: ReadSources,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP side.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The receivers.
    #[error(transparent)]
    Notify(#[from] notify::StartError),
}

/// A daemon ready to run.
#[derive(Debug)]
pub struct Daemon {
    server: Server,
    engine: EngineHandle,
    thread: JoinHandle<()>,
    notifier: Arc<Notifier>,
    readiness: Readiness,
    quit: Arc<Notify>,
    reloader: Option<Arc<Reloader>>,
}

impl Daemon {
    /// Binds the address, starts the engine and the receivers.
    ///
    /// # Errors
    /// When the address cannot be had or a receiver cannot be set up.
    pub async fn start(services: &[Service], settings: Settings) -> Result<Self, StartError> {
        notify::install_tls_provider();
        let notifier = Arc::new(Notifier::start(&settings.notify, settings.alertmanagers, settings.webhooks, None)?);
        let engine_settings = engine::Settings {
            key: settings.key.clone(),
            limits: settings.limits,
            series_limit: settings.series_limit,
        };
        let engine = Engine::new(services, engine_settings, clock::now());
        let sink = Arc::clone(&notifier);
        let (engine, thread) = EngineHandle::start(engine, move |alerts| {
            alerts.iter().for_each(log);
            sink.send(alerts);
        });
        let budget = Budget::new(settings.in_flight_limit_bytes);
        let receiver = Receiver::new(engine.clone(), settings.limits, settings.key, budget);
        let receiver = Arc::new(receiver.with_body_timeout(settings.http.timeouts.body));
        let (readiness, quit) = (Readiness::default(), Arc::new(Notify::new()));
        let reload = ReloadStatus::default();
        let reloader =
            settings.rules.map(|rules| Reloader::new(rules.read, &rules.sources, engine.clone(), reload.clone()));
        let mut router = api::router(ApiState {
            engine: engine.clone(),
            notifier: Arc::clone(&notifier),
            external_labels: Arc::new(settings.notify.external_labels.clone()),
            external_url: Arc::new(settings.notify.external_url.clone()),
            receiver,
            readiness: readiness.clone(),
            reload,
            metrics: Arc::new(Metrics::default()),
        });
        if settings.enable_lifecycle {
            router = router.merge(lifecycle(Arc::clone(&quit), reloader.clone()));
        }
        let server = Server::bind(&settings.listen_address, router, settings.http).await?;
        Ok(Self { server, engine, thread, notifier, readiness, quit, reloader })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The way to its engine.
    pub fn engine(&self) -> EngineHandle {
        self.engine.clone()
    }

    /// Serves until `stop` completes or `/-/quit` is called; then takes no more samples, finishes what is at
    /// hand and delivers what is queued.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        self.readiness.set(true);
        let readiness = self.readiness.clone();
        let stopping = async {
            tokio::select! {
                () = stop => {}
                () = self.quit.notified() => {}
            }
            readiness.set(false);
            tracing::info!("stopping");
        };
        let watching = self.reloader.map(|reloader| tokio::spawn(reloader.watch()));
        self.server.run(stopping).await;
        if let Some(watching) = watching {
            watching.abort();
            // It holds a way to the engine, which stops when the last is gone.
            let _ = watching.await;
        }
        drop(self.engine);
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the engine's thread ended in a panic");
        }
        self.notifier.shutdown(DELIVERY_DRAIN_TIMEOUT).await;
        tracing::info!("stopped");
    }
}

fn log(alert: &Alert) {
    let label = |name| alert.rule.labels.get(name).unwrap_or_default();
    tracing::info!(
        slo = alert.rule.slo,
        alertname = label("alertname"),
        severity = label(naming::LABEL_SEVERITY),
        short = label(naming::LABEL_SHORT),
        long = label(naming::LABEL_LONG),
        value = alert.value,
        "alert {}",
        alert.state.as_str()
    );
}

fn lifecycle(quit: Arc<Notify>, reloader: Option<Arc<Reloader>>) -> Router {
    let reload = move || {
        let reloader = reloader.clone();
        async move {
            match reloader {
                None => (StatusCode::NOT_FOUND, "there are no rule files to read again\n".to_owned()),
                Some(reloader) => match reloader.reload().await {
                    Ok(_) => (StatusCode::OK, String::new()),
                    Err(error) => {
                        (StatusCode::INTERNAL_SERVER_ERROR, format!("specs not reloaded, the old ones go on:\n{error}"))
                    }
                },
            }
        }
    };
    let handler = move || {
        let quit = Arc::clone(&quit);
        async move {
            quit.notify_one();
            "sloburn is stopping.\n"
        }
    };
    Router::new()
        .route("/-/quit", post(handler.clone()).put(handler))
        .route("/-/reload", post(reload.clone()).put(reload))
}

/// The address people reach a daemon at when none is configured: what it listens on, by name.
///
/// # Panics
/// Never: a socket address makes a URL.
pub fn default_external_url(listen_address: &str) -> Url {
    let port = listen_address.rsplit(':').next().unwrap_or_default();
    Url::parse(&format!("http://{listen_address}"))
        .or_else(|_| Url::parse(&format!("http://localhost:{port}")))
        .or_else(|_| Url::parse("http://localhost:9797"))
        .expect("a constant URL is valid")
}
