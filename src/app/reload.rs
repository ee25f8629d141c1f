//! Specs read again while the daemon runs: on SIGHUP, on `POST /-/reload`, and when a file changes.
//!
//! All or nothing: with any error the old set goes on, and the log, the answer and `/metrics` say so. Files are
//! compared by content every few seconds rather than watched: that also sees a `ConfigMap`'s `..data` link swapped,
//! an editor's rename and a network file system, and costs a read of files that are small.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::api::ReloadStatus;
use crate::app::daemon::Rules;
use crate::app::kept::Kept;
use crate::clock;
use crate::engine::Reloaded;
use crate::evaluation::{RulesHandle, SlisHandle};
use crate::live::{EngineHandle, Specs};
use crate::notify::Notifier;
use crate::spec::{self, ArgoRollout, RuleGroup, Service, Source};
use crate::types::Span;

/// How often the files are compared.
const WATCH_EVERY: Span = Span::seconds(2);

/// Reads all rule files anew; an error is a text for people.
pub type ReadSources = Box<dyn Fn() -> Result<Vec<Source>, String> + Send + Sync>;

/// What follows the specs beside the engine.
#[derive(Debug)]
pub(super) struct Follower {
    /// Knows the services' Rollouts.
    pub notifier: Arc<Notifier>,
    /// Evaluates rule groups.
    pub rules: RulesHandle,
    /// Evaluates SLIs by PromQL.
    pub slis: SlisHandle,
    /// Keeps the series that are referred to.
    pub kept: Kept,
}

/// Brings new specs to a running engine.
pub struct Reloader {
    read: ReadSources,
    engine: EngineHandle,
    status: ReloadStatus,
    others: Follower,
    /// Of what was read last, whether or not it could be used. Also keeps reloads apart.
    seen: Mutex<[u8; 32]>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("status", &self.status).finish_non_exhaustive()
    }
}

type ReadResult = Result<Vec<Source>, String>;

impl Reloader {
    /// For an engine, and others, that run under what the sources of these rules say.
    pub(super) fn new(rules: Rules, engine: EngineHandle, status: ReloadStatus, others: Follower) -> Arc<Self> {
        status.succeeded(clock::now());
        let seen = Mutex::new(digest(&Ok(rules.sources)));
        Arc::new(Self { read: rules.read, engine, status, others, seen })
    }

    /// Reads the files and has the engine go on under them.
    ///
    /// # Errors
    /// The findings, as `sloburn check` prints them, when the old set has to go on.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, String> {
        let mut seen = self.seen.lock().await;
        let read = self.read_sources().await;
        *seen = digest(&read);
        self.apply(read).await
    }

    async fn reload_if_changed(self: &Arc<Self>) {
        let mut seen = self.seen.lock().await;
        let read = self.read_sources().await;
        let found = digest(&read);
        if std::mem::replace(&mut *seen, found) != found {
            // The log has the outcome.
            let _ = self.apply(read).await;
        }
    }

    async fn read_sources(self: &Arc<Self>) -> ReadResult {
        let reloader = Arc::clone(self);
        tokio::task::spawn_blocking(move || (reloader.read)()).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn apply(&self, read: ReadResult) -> Result<Reloaded, String> {
        let outcome = match read.and_then(parse) {
            Ok((specs, groups)) => {
                // First, so that no sample of what is new gets lost.
                self.others.kept.follow(&specs.services, &groups);
                self.others.rules.reload(groups).await;
                let (services, rollouts) = (specs.services.clone(), argo_rollouts(&specs.services));
                let reloaded = self.engine.reload(specs).await;
                self.others.notifier.set_rollouts(rollouts);
                self.others.slis.reload(services).await;
                reloaded.ok_or_else(|| "shutting down".to_owned())
            }
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(reloaded) => {
                self.status.succeeded(clock::now());
                let Reloaded { added, removed, restarted } = reloaded;
                tracing::info!(added = added.len(), removed = removed.len(), "specs reloaded");
                if !restarted.is_empty() {
                    tracing::warn!(
                        slos = restarted.join(", "),
                        "new revision: the SLI counts something else, history starts anew"
                    );
                }
            }
            Err(error) => {
                self.status.failed(error.clone());
                tracing::error!("specs not reloaded, the old ones go on:\n{}", error.trim_end());
            }
        }
        outcome
    }

    /// Reloads on SIGHUP and when files change, for ever.
    pub async fn watch(self: Arc<Self>) {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut interval = tokio::time::interval(WATCH_EVERY.to_std());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let hangup = async {
                match &mut hangups {
                    Some(hangups) => drop(hangups.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = hangup => drop(self.reload().await),
                _ = interval.tick() => self.reload_if_changed().await,
            }
        }
    }
}

/// The Rollout of each service that names one.
pub fn argo_rollouts(services: &[Service]) -> BTreeMap<String, ArgoRollout> {
    let named = |service: &Service| Some((service.name.clone(), service.canary.as_ref()?.argo.clone()?));
    services.iter().filter_map(named).collect()
}

fn parse(sources: Vec<Source>) -> Result<(Specs, Vec<RuleGroup>), String> {
    let (spec::Specs { services, groups }, report) = spec::read(&sources);
    if report.has_errors() {
        return Err(report.render(false));
    }
    if services.is_empty() && groups.is_empty() {
        return Err("no service and no rule group in the rule files".to_owned());
    }
    Ok((Specs { services, sources }, groups))
}

fn digest(read: &ReadResult) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match read {
        Ok(sources) => {
            for source in sources {
                add(source.path.as_os_str().as_encoded_bytes());
                add(source.text.as_bytes());
            }
        }
        Err(error) => add(error.as_bytes()),
    }
    hash.finalize().into()
}
