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
use crate::api::{self, About, ApiState, Metrics, Querier, QuerySettings, Readiness, ReloadStatus};
use crate::app::counted;
use crate::app::kept::{Kept, StoreSettings};
use crate::app::refill::Refill;
use crate::app::reload::{Follower, ReadSources, Reloader, argo_rollouts};
use crate::app::storage::outbox_file;
use crate::app::{FolderLock, HttpSettings, Server, ServerError, Storage, StorageError};
use crate::clock;
use crate::engine::{self, Engine};
use crate::evaluation::record::RECORD_NAME;
use crate::evaluation::{self, RulesHandle, SlisHandle};
use crate::ingest::{Budget, Receiver};
use crate::journal::Fsync;
use crate::live::{self, EngineHandle, News, Specs};
use crate::notify::outbox::{Outbox, OutboxError};
use crate::notify::{self, Notifier, Receivers};
use crate::promql::EvalLimits;
use crate::rollout::{Happened, Record};
use crate::ruler::{self, Ruler};
use crate::spec::{RuleGroup, Service, Source, naming};
use crate::store;
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
    /// Prometheus' rules in force at the start, and how they are evaluated.
    pub groups: RuleGroups,
    /// Keys the hashes of labels.
    pub key: WireKey,
    /// On requests and series.
    pub limits: Limits,
    /// Series tracked at most.
    pub series_limit: usize,
    /// Shards of the engine, each but the first with a thread of its own.
    pub shards: usize,
    /// Bytes of all requests at hand.
    pub in_flight_limit_bytes: usize,
    /// What queries may cost.
    pub query: QuerySettings,
    /// The samples kept for queries.
    pub store: StoreSettings,
    /// What the API says about the process.
    pub about: About,
    /// Where senders come in pairs that scrape the same targets.
    pub ha: Option<engine::HaPairs>,
    /// What receivers share.
    pub notify: notify::Settings,
    /// Who is told of alerts and verdicts.
    pub receivers: Receivers,
    /// Where state is kept; `None` forgets everything with the process.
    pub storage: Option<Storage>,
}

impl Settings {
    /// How rules are evaluated.
    fn rule_setting(&self) -> ruler::Setting {
        ruler::Setting {
            external_labels: self.notify.external_labels.clone(),
            interval: self.groups.interval,
            query_offset: self.groups.query_offset,
            lookback: self.query.lookback,
            limits: EvalLimits { samples: self.query.max_samples },
            ..ruler::Setting::new(self.notify.external_url.clone())
        }
    }

    /// How far back the rules look, for the store's retention.
    pub fn rules_reach(&self) -> Span {
        Ruler::reach(&self.groups.groups, &self.rule_setting())
    }
}

/// Prometheus' rules.
#[derive(Clone, Debug)]
pub struct RuleGroups {
    /// Of rule files and `PrometheusRule` objects.
    pub groups: Vec<RuleGroup>,
    /// How often a group is evaluated that does not say.
    pub interval: Span,
    /// How long before the time of an evaluation the rules of a group look that does not say.
    pub query_offset: Span,
}

impl Default for RuleGroups {
    fn default() -> Self {
        Self { groups: Vec::new(), interval: Span::minutes(1), query_offset: Span::ZERO }
    }
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
    /// The folder for its state.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store of what receivers have to be told.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The system has no thread left.
    #[error("no thread for rules: {0}")]
    Thread(std::io::Error),
}

/// Why a daemon ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal, or the engine that comes back from it.
    #[error("{0}")]
    Failed(String),
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
    rules: RulesHandle,
    slis: SlisHandle,
    kept: Kept,
    refill: Option<Refill>,
    /// Given back when everything else has ended.
    lock: Option<FolderLock>,
}

impl Daemon {
    /// Binds the address, starts the engine and the receivers. With storage the engine comes back from its journal
    /// first; the server is up meanwhile and says how far that is.
    ///
    /// # Errors
    /// When the address or the folder cannot be had or a receiver cannot be set up.
    pub async fn start(services: &[Service], settings: Settings) -> Result<Self, StartError> {
        notify::install_tls_provider();
        let rule_setting = settings.rule_setting();
        // The lock comes before everything that is in the folder.
        let opened = match settings.storage {
            Some(storage) => Some((storage.open()?, storage)),
            None => None,
        };
        let record = opened.as_ref().map(|(_, storage)| storage.path.join(RECORD_NAME));
        let waits_for_disk = opened.as_ref().is_some_and(|(_, storage)| storage.options.fsync == Fsync::Always);
        let outbox = match &opened {
            Some((_, storage)) => Some(Outbox::open(&outbox_file(&storage.path))?),
            None => None,
        };
        let notifier = Arc::new(Notifier::start(&settings.notify, settings.receivers, outbox)?);
        notifier.set_rollouts(argo_rollouts(services));
        let store_settings = store::Settings {
            future_limit: engine::FUTURE_LIMIT,
            limits: settings.limits,
            ha: settings.ha.clone(),
            ..store::Settings::new(settings.key.clone())
        };
        let kept = Kept::new(settings.store, store_settings, services, &settings.groups.groups);
        let engine_settings = engine::Settings {
            key: settings.key.clone(),
            limits: settings.limits,
            series_limit: settings.series_limit,
            ha: settings.ha,
        };
        let sink = Arc::clone(&notifier);
        let refill = opened.as_ref().and_then(|((_, durability), _)| {
            let earlier = kept.earlier(services, &settings.groups.groups, settings.series_limit);
            Refill::new(&durability.journal, earlier)
        });
        let (lock, (engine, thread)) = if let Some(((lock, durability), storage)) = opened {
            let specs = Specs { services: services.to_vec(), sources: storage.sources };
            let on_news = move |news: News<'_>| tell(&sink, news);
            let sink = Arc::clone(&notifier);
            let flush = Arc::new(move || sink.flush_blocking());
            (Some(lock), EngineHandle::recover(specs, engine_settings, settings.shards, durability, on_news, flush))
        } else {
            let mut engine = Engine::new(services, engine_settings, clock::now());
            live::spread(&mut engine, settings.shards);
            (None, EngineHandle::start(engine, move |news| tell(&sink, news)))
        };
        let slis = SlisHandle::start(evaluation::SliParts {
            services: services.to_vec(),
            setting: rule_setting.clone(),
            store: Arc::new(kept.store.clone()),
            sink: counted::sink(engine.clone(), kept.store.clone(), settings.limits, settings.key.clone()),
        })
        .map_err(StartError::Thread)?;
        let rules = RulesHandle::start(evaluation::Parts {
            setting: rule_setting,
            groups: settings.groups.groups,
            store: Arc::new(kept.store.clone()),
            notifier: Arc::clone(&notifier),
            record,
        })
        .map_err(StartError::Thread)?;
        let budget = Budget::new(settings.in_flight_limit_bytes);
        let receiver = Receiver::new(engine.clone(), settings.limits, settings.key, budget);
        let receiver = receiver.with_body_timeout(settings.http.timeouts.body).with_store(kept.store.clone());
        let receiver = Arc::new(if waits_for_disk { receiver.with_slow_answers() } else { receiver });
        let (readiness, quit) = (Readiness::default(), Arc::new(Notify::new()));
        let reload = ReloadStatus::default();
        let reloader = settings.rules.map(|sources| {
            let parts = Follower {
                notifier: Arc::clone(&notifier),
                rules: rules.clone(),
                slis: slis.clone(),
                kept: kept.clone(),
            };
            Reloader::new(sources, engine.clone(), reload.clone(), parts)
        });
        let querier = Querier::new(kept.store.clone(), settings.query, settings.about);
        let mut router = api::router(ApiState {
            engine: engine.clone(),
            notifier: Arc::clone(&notifier),
            external_labels: Arc::new(settings.notify.external_labels.clone()),
            external_url: Arc::new(settings.notify.external_url.clone()),
            receiver,
            querier: Arc::new(querier),
            readiness: readiness.clone(),
            reload,
            rules: rules.clone(),
            metrics: Arc::new(Metrics::default()),
        });
        if settings.enable_lifecycle {
            router = router.merge(lifecycle(Arc::clone(&quit), reloader.clone()));
        }
        let server = Server::bind(&settings.listen_address, router, settings.http).await?;
        Ok(Self { server, engine, thread, notifier, readiness, quit, reloader, rules, slis, kept, refill, lock })
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
    ///
    /// # Errors
    /// When the journal fails: what it could not keep is not acknowledged, and nothing more is taken.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        self.readiness.set(true);
        let readiness = self.readiness.clone();
        let mut failure = None;
        let stopping = async {
            tokio::select! {
                () = stop => {}
                () = self.quit.notified() => {}
                reason = self.engine.failed() => failure = Some(reason),
            }
            readiness.set(false);
            if let Some(reason) = &failure {
                tracing::error!("stopping: {reason}");
            } else {
                tracing::info!("stopping");
            }
        };
        let (observer, rules, slis) = (self.engine.observer(), self.rules.clone(), self.slis.clone());
        let refill = self.refill;
        let beginning = tokio::spawn(async move {
            observer.running().await;
            // Queries over a time of which samples are missing would give other answers than before.
            if let Some(refill) = refill {
                let _ = tokio::task::spawn_blocking(move || refill.run(&observer)).await;
            }
            rules.begin();
            slis.begin();
        });
        let tending = tokio::spawn(self.kept.tend(self.engine.clone()));
        let watching = self.reloader.map(|reloader| tokio::spawn(reloader.watch()));
        self.server.run(stopping).await;
        for task in watching.into_iter().chain([tending]) {
            task.abort();
            // It holds a way to the engine, which stops when the last is gone.
            let _ = task.await;
        }
        beginning.abort();
        let observer = self.engine.observer();
        // What is half recovered is recovered again next time, and a checkpoint half made is made again.
        observer.interrupt();
        let (rules, slis) = (self.rules, self.slis);
        let stop = move || {
            slis.stop();
            rules.stop();
        };
        let _ = tokio::task::spawn_blocking(stop).await;
        drop(self.engine);
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the engine's thread ended in a panic");
        }
        self.notifier.shutdown(DELIVERY_DRAIN_TIMEOUT).await;
        drop(self.lock);
        if let Some(reason) = failure.or_else(|| observer.failure()) {
            return Err(RunError::Failed(reason));
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Hands on what the engine says about alerts.
fn tell(sink: &Notifier, news: News<'_>) {
    match news {
        News::Changed(alerts) => {
            alerts.iter().for_each(log);
            sink.send(alerts);
        }
        // What was told before is known by its id.
        News::Repeated(alerts) => sink.send(alerts),
        News::Standing(alerts) => sink.reconcile(alerts),
        // What is on record is known by its number.
        News::Rollouts(records) => {
            records.iter().for_each(log_record);
            sink.record(records);
        }
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

fn log_record(record: &Record) {
    let Happened::Verdict { verdict, by, .. } = &record.event else { return };
    tracing::info!(
        rollout = record.rollout,
        step = verdict.step,
        by = by.as_ref().map_or("checks", |actor| actor.name.as_str()),
        reason = verdict.reason,
        "verdict {}",
        verdict.decision.as_str()
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
