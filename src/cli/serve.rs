//! `sloburn serve`

mod receivers;

use std::fs;
use std::num::NonZero;
use std::path::Path;

use anyhow::Context;

use crate::api::{About, QuerySettings};
use crate::app::{
    self, Daemon, HttpSettings, ReadSources, RuleGroups, Rules, Storage, StoreSettings, Web, default_external_url,
};
use crate::audit;
use crate::cli::args::{
    LimitOptions, QueryOptions, ServeOptions, StorageOptions, StoreOptions, WebOptions, label_pairs,
};
use crate::cli::{Outcome, check, sources};
use crate::clock;
use crate::config::{AuditConfig, Config, HaConfig, QueryConfig, StorageConfig, StoreConfig};
use crate::engine::HaPairs;
use crate::journal;
use crate::notify;
use crate::promql::{ParseLimits, parse_selector};
use crate::spec::{self, Service, Source};
use crate::types::Span;
use crate::wire::{Limits, WIRE_KEY_SIZE_BYTES, WireKey};

/// In the folder where it is started, as Prometheus has it.
const DEFAULT_STORAGE_PATH: &str = "data";
const CHECKPOINT_EVERY: Span = Span::minutes(5);
const DEFAULT_SHARDS_LIMIT: usize = 8;

pub(super) fn run(options: &ServeOptions) -> anyhow::Result<Outcome> {
    let (Some(config), Some(http)) = (read_config(options)?, http(&options.web)?) else { return Ok(Outcome::Failed) };
    let mut paths = config.rule_files.clone();
    paths.extend(options.rules.iter().cloned());
    let sources = sources::collect(&paths)?;
    let (spec::Specs { services, groups }, report) = spec::read(&sources);
    check::tell(&report);
    if report.has_errors() {
        return Ok(Outcome::Failed);
    }
    anyhow::ensure!(
        !services.is_empty() || !groups.is_empty(),
        "no service and no rule group in the rule files: name a file or folder of them with --rules or rule_files"
    );
    let mut settings = settings(options, &config, http)?;
    settings.groups.groups = groups;
    let reach = settings.rules_reach();
    let is_chosen = options.store.retention_time.or(config.store.retention_time).is_some();
    if !is_chosen {
        settings.store.retention = settings.store.retention.max(reach);
    } else if settings.store.retention < reach {
        let retention = settings.store.retention;
        tracing::warn!(%reach, %retention, "rules look back further than samples are kept");
    }
    settings.storage = storage(&options.storage, &config.storage, sources.clone())?;
    settings.about = about(options, &settings)?;
    // What came on standard input cannot be read again.
    let is_lasting = paths.iter().all(|path| path.as_os_str() != sources::STDIN);
    settings.rules = is_lasting.then(|| Rules { sources, read: reader(options) });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&services, settings))?;
    Ok(Outcome::Ok)
}

async fn serve(services: &[Service], settings: app::Settings) -> anyhow::Result<()> {
    let (receivers, slos) = (settings.receivers.len(), services.iter().map(|s| s.slos.len()).sum::<usize>());
    let scheme = scheme(&settings.http);
    let storage = settings.storage.as_ref().map(|storage| storage.path.display().to_string());
    let daemon = Daemon::start(services, settings).await?;
    let address = daemon.address();
    if receivers == 0 {
        tracing::warn!(
            "no receiver: alerts and verdicts show in the API only; name one with --alertmanager or --webhook"
        );
    }
    tracing::info!(%address, storage, "listening");
    let observer = daemon.engine().observer();
    let services = services.len();
    let told = tokio::spawn(async move {
        observer.running().await;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            services,
            slos,
            receivers,
            write_url = format!("{scheme}://{address}/api/v1/write"),
            "ready for samples"
        );
    });
    let ended = daemon.run(stop_signal()).await;
    told.abort();
    Ok(ended?)
}

/// Completes on SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// The configuration file, or defaults without one; `None` when it has errors, which have been shown.
fn read_config(options: &ServeOptions) -> anyhow::Result<Option<Config>> {
    let Some(path) = &options.config_file else { return Ok(Some(Config::default())) };
    let sources = sources::collect(std::slice::from_ref(path))?;
    let [source] = &sources[..] else { anyhow::bail!("--config.file takes one file, not {}", path.display()) };
    let (config, report) = Config::parse(source);
    check::tell(&report);
    Ok(config)
}

/// How the HTTP side treats its peers; `None` when the web configuration has errors, which have been shown.
fn http(options: &WebOptions) -> anyhow::Result<Option<HttpSettings>> {
    let Some(path) = &options.web_config_file else { return Ok(Some(HttpSettings::default())) };
    let (web, report) = Web::open(path, app::web::RELOAD_EVERY)?;
    check::tell(&report);
    Ok(web.map(|web| HttpSettings { web: Some(web), ..HttpSettings::default() }))
}

fn scheme(http: &HttpSettings) -> &'static str {
    if http.web.as_ref().is_some_and(|web| web.has_tls()) { "https" } else { "http" }
}

fn settings(options: &ServeOptions, config: &Config, http: HttpSettings) -> anyhow::Result<app::Settings> {
    let listen_address = options.web.listen_address.clone();
    let external_url = options.web.external_url.clone().or_else(|| config.external_url.clone());
    let external_url = external_url.unwrap_or_else(|| {
        let mut url = default_external_url(&listen_address);
        // From one of these schemes to the other nothing stands in the way.
        let _ = url.set_scheme(scheme(&http));
        url
    });
    let mut notify = notify::Settings::new(external_url);
    notify.external_labels = config.external_labels.clone().merged(&label_pairs(&options.external_labels)?);
    notify.resend_delay = config.resend_delay;
    notify.jitter_seed = u64::from_le_bytes(random()?);
    notify.audit = retention(&config.audit);
    Ok(app::Settings {
        listen_address,
        http,
        enable_lifecycle: options.web.enable_lifecycle,
        rules: None,
        groups: RuleGroups {
            groups: Vec::new(),
            interval: config.evaluation_interval,
            query_offset: config.rule_query_offset,
        },
        key: WireKey::new(random::<WIRE_KEY_SIZE_BYTES>()?),
        limits: limits(&options.limits),
        series_limit: options.limits.series,
        shards: options.shards.or(config.shards).unwrap_or_else(default_shards),
        in_flight_limit_bytes: options.limits.in_flight_bytes,
        query: query(&options.query, &config.query),
        store: kept(&options.store, &config.store)?,
        about: About::default(),
        ha: config.ha.as_ref().map(pairs),
        notify,
        receivers: receivers::targets(options, config)?,
        storage: None,
    })
}

/// One core is left to the requests; more than a few shards wait for what only one thread does.
fn default_shards() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    (cores - 1).clamp(1, DEFAULT_SHARDS_LIMIT)
}

/// Where state is kept: flags first, then the configuration file, then the defaults.
fn storage(options: &StorageOptions, config: &StorageConfig, sources: Vec<Source>) -> anyhow::Result<Option<Storage>> {
    let path = options.path.clone().or_else(|| config.path.clone()).unwrap_or_else(|| DEFAULT_STORAGE_PATH.into());
    if path.as_os_str().is_empty() {
        tracing::warn!("--storage.path is empty: a restart forgets everything");
        return Ok(None);
    }
    let defaults = journal::Options::default();
    let bytes = |flag: Option<usize>, key: Option<u64>, default| flag.map(|b| b as u64).or(key).unwrap_or(default);
    let options = Storage {
        path,
        options: journal::Options {
            fsync: options.fsync.or(config.fsync).unwrap_or(defaults.fsync),
            retention_limit_bytes: bytes(
                options.retention_size,
                config.retention_size_bytes,
                defaults.retention_limit_bytes,
            ),
            retention_time: options.retention_time.or(config.retention_time).unwrap_or(defaults.retention_time),
            free_floor_bytes: bytes(options.min_free, config.min_free_bytes, defaults.free_floor_bytes),
            seed: u64::from_le_bytes(random()?),
            ..defaults
        },
        sources,
        checkpoint_every: options.checkpoint_interval.or(config.checkpoint_interval).unwrap_or(CHECKPOINT_EVERY),
    };
    Ok(Some(options))
}

/// What queries may cost: flags first, then the configuration file, then the defaults.
fn query(options: &QueryOptions, config: &QueryConfig) -> QuerySettings {
    let defaults = QuerySettings::default();
    QuerySettings {
        timeout: options.timeout.or(config.timeout).unwrap_or(defaults.timeout),
        max_concurrency: options.max_concurrency.or(config.max_concurrency).unwrap_or(defaults.max_concurrency),
        max_samples: options.max_samples.or(config.max_samples).unwrap_or(defaults.max_samples),
        lookback: options.lookback_delta.or(config.lookback_delta).unwrap_or(defaults.lookback),
    }
}

/// The samples kept for queries: selectors of flags and of the configuration file, bounds as for queries.
fn kept(options: &StoreOptions, config: &StoreConfig) -> anyhow::Result<StoreSettings> {
    let defaults = StoreSettings::default();
    let mut matches = config.matches.clone();
    for text in &options.matches {
        let selector =
            parse_selector(text, &ParseLimits::default()).with_context(|| format!("--store.match {text:?}"))?;
        let is_open = selector.matchers().iter().all(|matcher| matcher.matches(""));
        anyhow::ensure!(!is_open, "--store.match {text:?}: at least one matcher must not match an empty value");
        matches.push(selector);
    }
    let configured = config.retention_size_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    Ok(StoreSettings {
        matches,
        keeps_slis: options.slis.or(config.slis).unwrap_or(defaults.keeps_slis),
        retention: options.retention_time.or(config.retention_time).unwrap_or(defaults.retention),
        limit_bytes: options.retention_size.or(configured).unwrap_or(defaults.limit_bytes),
    })
}

/// What the API says about the process.
fn about(options: &ServeOptions, settings: &app::Settings) -> anyhow::Result<About> {
    let config = match &options.config_file {
        // What came on standard input is gone.
        Some(path) if path.as_os_str() != sources::STDIN => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        _ => String::new(),
    };
    let path = |path: Option<&Path>| path.map(|path| path.display().to_string()).unwrap_or_default();
    let flags = [
        ("config.file", path(options.config_file.as_deref())),
        ("query.lookback-delta", settings.query.lookback.to_string()),
        ("query.max-concurrency", settings.query.max_concurrency.to_string()),
        ("query.max-samples", settings.query.max_samples.to_string()),
        ("query.timeout", settings.query.timeout.to_string()),
        ("storage.path", path(settings.storage.as_ref().map(|storage| storage.path.as_path()))),
        ("store.retention.size", settings.store.limit_bytes.to_string()),
        ("store.retention.time", settings.store.retention.to_string()),
        ("store.slis", settings.store.keeps_slis.to_string()),
        ("web.config.file", path(options.web.web_config_file.as_deref())),
        ("web.enable-lifecycle", settings.enable_lifecycle.to_string()),
        ("web.external-url", settings.notify.external_url.to_string()),
        ("web.listen-address", settings.listen_address.clone()),
    ];
    let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(About { started: clock::now(), config, flags })
}

fn pairs(ha: &HaConfig) -> HaPairs {
    let HaConfig { cluster_label, replica_label, failover } = ha.clone();
    HaPairs { cluster_label, replica_label, failover }
}

/// Reads again what the command line and the configuration file name. Receivers and labels stay as they were read at
/// the start.
fn reader(options: &ServeOptions) -> ReadSources {
    let (config_file, rules) = (options.config_file.clone(), options.rules.clone());
    Box::new(move || {
        let mut paths = match &config_file {
            None => Vec::new(),
            Some(path) => {
                let sources = sources::collect(std::slice::from_ref(path)).map_err(|error| error.to_string())?;
                let (config, report) = sources.first().map(Config::parse).unwrap_or_default();
                config.ok_or_else(|| report.render(false))?.rule_files
            }
        };
        paths.extend(rules.iter().cloned());
        sources::collect(&paths).map_err(|error| error.to_string())
    })
}

fn limits(options: &LimitOptions) -> Limits {
    Limits {
        compressed_limit_bytes: options.body_bytes,
        decoded_limit_bytes: options.decoded_bytes,
        labels_per_series_limit: options.labels,
        label_name_limit_bytes: options.label_name_bytes,
        label_value_limit_bytes: options.label_value_bytes,
        ..Limits::default()
    }
}

fn retention(config: &AuditConfig) -> audit::Retention {
    let default = audit::Retention::default();
    audit::Retention {
        time: config.retention_time.unwrap_or(default.time),
        limit_bytes: config.retention_size_bytes.unwrap_or(default.limit_bytes),
    }
}

/// Bytes nobody can foresee.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system has no random bytes: {error}"))?;
    Ok(bytes)
}
