//! The daemon's configuration file: where specs are, and who is told of alerts.
//!
//! Prometheus' habits: `snake_case`, paths relative to the file, secrets only by file or environment. Errors come
//! all at once with their places, as for specs.

mod querying;
mod receivers;
pub mod web;

use std::path::{Path, PathBuf};

use url::Url;

pub use receivers::{AlertmanagerConfig, ArgoConfig, SecretSource, SlackConfig, WebhookConfig};

use crate::journal::Fsync;
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::labels::labels;
use crate::spec::yaml::{self, Node, shown};
use crate::spec::{Report, Source};
use crate::types::{Labels, Span, is_label_name};

pub use querying::{QueryConfig, StoreConfig};

const DEFAULT_RESEND_DELAY: Span = Span::minutes(1);
const DEFAULT_EVALUATION_INTERVAL: Span = Span::minutes(1);
const DEFAULT_FAILOVER: Span = Span::seconds(30);
const RECEIVERS_LIMIT_COUNT: usize = 100;
const RULE_FILES_LIMIT_COUNT: usize = 1_000;
/// As the engine has it.
const SHARDS_LIMIT_COUNT: usize = 64;

/// What the file says, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// On every alert that leaves, where the alert does not set them itself.
    pub external_labels: Labels,
    /// Files and folders of specs, relative ones under the configuration file's folder. The last component may
    /// hold `*` and `?`.
    pub rule_files: Vec<PathBuf>,
    /// The address people reach this instance at, for links in alerts.
    pub external_url: Option<Url>,
    /// Every one of them gets every alert.
    pub alertmanagers: Vec<AlertmanagerConfig>,
    /// Names are unique.
    pub webhooks: Vec<WebhookConfig>,
    /// Names are unique.
    pub slack: Vec<SlackConfig>,
    /// Where Argo's Rollouts are; `None`: no Rollout is told.
    pub argo: Option<ArgoConfig>,
    /// How much of the audit log is kept.
    pub audit: AuditConfig,
    /// A firing alert is sent again after this long.
    pub resend_delay: Span,
    /// How often a rule group is evaluated that does not say.
    pub evaluation_interval: Span,
    /// How long before the time of an evaluation a rule group looks that does not say.
    pub rule_query_offset: Span,
    /// What is kept beyond the process.
    pub storage: StorageConfig,
    /// What queries may cost.
    pub query: QueryConfig,
    /// Which samples are kept for queries.
    pub store: StoreConfig,
    /// How senders that scrape the same are told apart; `None`: there are none.
    pub ha: Option<HaConfig>,
    /// Shards of the engine, as the flag, which goes before it.
    pub shards: Option<usize>,
}

/// Each as the flag of the same name, which goes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageConfig {
    /// Relative ones under the configuration file's folder.
    pub path: Option<PathBuf>,
    /// When to sync.
    pub fsync: Option<Fsync>,
    /// Log kept.
    pub retention_size_bytes: Option<u64>,
    /// Log kept.
    pub retention_time: Option<Span>,
    /// Free space on the disk.
    pub min_free_bytes: Option<u64>,
    /// From one checkpoint to the next.
    pub checkpoint_interval: Option<Span>,
}

/// Pairs of Prometheus servers that scrape the same targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaConfig {
    /// The external label that names what is scraped twice.
    pub cluster_label: String,
    /// The external label that names who scrapes it.
    pub replica_label: String,
    /// After so long a silence of the one listened to, the other is.
    pub failover: Span,
}

/// How much of the audit log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditConfig {
    /// Records older than this go.
    pub retention_time: Option<Span>,
    /// With more than this the oldest go.
    pub retention_size_bytes: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            external_labels: Labels::new(),
            rule_files: Vec::new(),
            external_url: None,
            alertmanagers: Vec::new(),
            webhooks: Vec::new(),
            slack: Vec::new(),
            argo: None,
            audit: AuditConfig::default(),
            resend_delay: DEFAULT_RESEND_DELAY,
            evaluation_interval: DEFAULT_EVALUATION_INTERVAL,
            rule_query_offset: Span::ZERO,
            storage: StorageConfig::default(),
            query: QueryConfig::default(),
            store: StoreConfig::default(),
            ha: None,
            shards: None,
        }
    }
}

impl Config {
    /// Reads the file; an empty one is the default configuration. `None` when the report has errors.
    pub fn parse(source: &Source) -> (Option<Self>, Report) {
        let mut reporter = Reporter::new(source);
        let config = match sole_document(&mut reporter) {
            Some(root) => config(Field::document(&root), &mut reporter),
            None => Some(Self::default()),
        };
        let report = Report::new([reporter]);
        (config.filter(|_| !report.has_errors()), report)
    }
}

/// The document of a file that has one at most.
fn sole_document(reporter: &mut Reporter<'_>) -> Option<Node> {
    let mut documents = yaml::documents(reporter).into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        reporter.error(second.place, "a second document").hint("a configuration file has one");
    }
    first
}

fn config(document: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Config> {
    let mut fields = Fields::of(document, reporter)?;
    let mut config = Config::default();
    if let Some(field) = fields.get("external_labels") {
        config.external_labels = labels(field, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("rule_files") {
        config.rule_files = items(field, RULE_FILES_LIMIT_COUNT, reporter)
            .into_iter()
            .filter_map(|item| rules(item, reporter))
            .collect();
    }
    if let Some(field) = fields.get("external_url") {
        config.external_url = url(field, reporter);
    }
    if let Some(field) = fields.get("alertmanagers") {
        let items = items(field, RECEIVERS_LIMIT_COUNT, reporter);
        config.alertmanagers = items.into_iter().filter_map(|item| receivers::alertmanager(item, reporter)).collect();
    }
    if let Some(field) = fields.get("webhooks") {
        config.webhooks = receivers::named(field, "webhook", receivers::webhook, reporter);
    }
    if let Some(field) = fields.get("slack") {
        config.slack = receivers::named(field, "Slack channel", receivers::slack, reporter);
    }
    if let Some(field) = fields.get("argo") {
        config.argo = receivers::argo(field, reporter);
    }
    if let Some(field) = fields.get("audit") {
        config.audit = audit(field, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("resend_delay") {
        config.resend_delay = positive(field, reporter).unwrap_or(DEFAULT_RESEND_DELAY);
    }
    if let Some(field) = fields.get("evaluation_interval")
        && let Some(interval) = field.duration(reporter)
    {
        if interval == Span::ZERO {
            reporter.error(field.place(), "`evaluation_interval` is zero").hint("leave it out for `1m`");
        }
        config.evaluation_interval = interval;
    }
    if let Some(field) = fields.get("rule_query_offset") {
        config.rule_query_offset = field.duration(reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("storage") {
        config.storage = storage(field, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("query") {
        config.query = querying::query(field, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("store") {
        config.store = querying::store(field, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("ha") {
        config.ha = ha(field, reporter);
    }
    if let Some(field) = fields.get("engine") {
        config.shards = engine(field, reporter);
    }
    fields.finish(reporter);
    Some(config)
}

fn engine(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<usize> {
    let mut fields = Fields::of(field, reporter)?;
    let shards = fields.get("shards").and_then(|field| parsed(field, reporter, shards));
    fields.finish(reporter);
    shards
}

/// How many shards the engine has.
///
/// # Errors
/// What is wrong with it.
pub fn shards(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().map_err(|_| "not a number of shards".to_owned())?;
    if !(1..=SHARDS_LIMIT_COUNT).contains(&number) {
        return Err(format!("an engine has 1 to {SHARDS_LIMIT_COUNT} shards"));
    }
    Ok(number)
}

fn storage(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<StorageConfig> {
    let mut fields = Fields::of(field, reporter)?;
    let path = fields.get("path").and_then(|field| path(field, reporter));
    let fsync = fields.get("fsync").and_then(|field| parsed(field, reporter, str::parse::<Fsync>));
    let retention_size_bytes = fields.get("retention_size").and_then(|field| parsed(field, reporter, bytes));
    let retention_time = fields.get("retention_time").and_then(|field| positive(field, reporter));
    let min_free_bytes = fields.get("min_free").and_then(|field| parsed(field, reporter, bytes));
    let checkpoint_interval = fields.get("checkpoint_interval").and_then(|field| positive(field, reporter));
    fields.finish(reporter);
    Some(StorageConfig { path, fsync, retention_size_bytes, retention_time, min_free_bytes, checkpoint_interval })
}

/// A number of bytes: `4096`, `512KiB`, `32MiB`, `1GiB`.
///
/// # Errors
/// What is wrong with it.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("unknown unit {unit:?}: use KiB, MiB or GiB")),
    };
    let number = number.parse::<u64>().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too many bytes".to_owned())
}

fn parsed<T, E: std::fmt::Display>(
    field: Field<'_>,
    reporter: &mut Reporter<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = field.text(reporter)?;
    match parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            reporter.error(field.place(), format!("{}: {error}", field.what));
            None
        }
    }
}

fn ha(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<HaConfig> {
    let mut fields = Fields::of(field, reporter)?;
    let label = |field: Option<Field<'_>>, default: &str, reporter: &mut Reporter<'_>| {
        let Some(field) = field else { return Some(default.to_owned()) };
        let name = field.text(reporter)?;
        if !is_label_name(name) {
            reporter.error(field.place(), format!("{} is not a label name", shown(name)));
            return None;
        }
        Some(name.to_owned())
    };
    let cluster_label = label(fields.get("cluster_label"), "cluster", reporter);
    let replica_field = fields.get("replica_label");
    let replica_label = label(replica_field, "__replica__", reporter);
    let failover = fields.get("failover").map_or(Some(DEFAULT_FAILOVER), |field| positive(field, reporter));
    fields.finish(reporter);
    let (cluster_label, replica_label) = (cluster_label?, replica_label?);
    if cluster_label == replica_label {
        let place = replica_field.map_or(field.key, |field| field.place());
        let message = format!("`{cluster_label}` cannot name both the cluster and the replica");
        reporter.error(place, message).hint("give each Prometheus both external labels");
        return None;
    }
    Some(HaConfig { cluster_label, replica_label, failover: failover? })
}

fn items<'n>(field: Field<'n>, limit: usize, reporter: &mut Reporter<'_>) -> Vec<Field<'n>> {
    let mut items = field.items(reporter).unwrap_or_default();
    if let Some(extra) = items.get(limit) {
        reporter.error(extra.key, format!("more than {limit} items in {}", field.what));
    }
    items.truncate(limit);
    items
}

fn audit(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<AuditConfig> {
    let mut fields = Fields::of(field, reporter)?;
    let retention_time = fields.get("retention").and_then(|field| positive(field, reporter));
    let retention_size_bytes = fields.get("retention_size").and_then(|field| parsed(field, reporter, bytes));
    fields.finish(reporter);
    Some(AuditConfig { retention_time, retention_size_bytes })
}

fn positive(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Span> {
    let span = field.duration(reporter)?;
    if span == Span::ZERO {
        reporter.error(field.place(), format!("{} must be longer than zero", field.what));
        return None;
    }
    Some(span)
}

fn url(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Url> {
    let text = field.text(reporter)?;
    let example = "write it as `http://host:9093`";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) if text.contains('@') => {
            reporter.conceal(field.node.place);
            reporter.error(field.place(), format!("not a URL: {error}")).hint(example);
            return None;
        }
        Err(error) => {
            reporter.error(field.place(), format!("{} is not a URL: {error}", shown(text))).hint(example);
            return None;
        }
    };
    let problem = if !matches!(url.scheme(), "http" | "https") {
        Some((format!("a URL has the scheme `http` or `https`, not `{}`", url.scheme()), example))
    } else if !url.username().is_empty() || url.password().is_some() {
        reporter.conceal(field.node.place);
        Some(("the URL holds credentials".to_owned(), "keep secrets in files: `bearer_token_file`, `secret_file`"))
    } else if url.fragment().is_some() {
        Some(("the URL has a fragment, which is never sent".to_owned(), "leave out what follows `#`"))
    } else {
        None
    };
    match problem {
        Some((message, hint)) => {
            reporter.error(field.place(), message).hint(hint);
            None
        }
        None => Some(url),
    }
}

/// A path, relative ones from the configuration file's folder.
fn path(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<PathBuf> {
    let text = field.text(reporter)?;
    if text.is_empty() {
        reporter.error(field.place(), format!("{} is empty", field.what));
        return None;
    }
    let folder = reporter.source.path.parent().unwrap_or(Path::new(""));
    Some(folder.join(text))
}

fn rules(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<PathBuf> {
    let path = path(field, reporter)?;
    let folder = field.scalar().map(Path::new).and_then(Path::parent).unwrap_or(Path::new(""));
    if folder.to_string_lossy().contains(['*', '?']) {
        let message = format!("a wildcard in the folder part of {}", shown(field.scalar().unwrap_or_default()));
        let hint = "only the last component may have one; a folder is read with all its subfolders";
        reporter.error(field.place(), message).hint(hint);
        return None;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Config>, String) {
        let (config, report) = Config::parse(&Source::new("/etc/sloburn/sloburn.yaml", text));
        (config, report.render(false))
    }

    #[test]
    fn a_full_file_is_read() {
        let (config, report) = read(
            "
external_labels: {cluster: prod}
rule_files: [rules/, 'more/*.yaml', /abs.yaml]
external_url: http://sloburn.example:9797
alertmanagers:
  - url: http://127.0.0.1:9093/prefix
    timeout: 3s
    bearer_token_file: token
webhooks:
  - name: pipeline
    url: https://hooks.example/slo
    secret_file: /etc/sloburn/webhook.secret
    send_resolved: false
  - {name: chat, url: 'http://chat.example/', secret_env: CHAT_SECRET}
slack:
  - {name: releases, url_file: slack.url, dashboard_url: 'https://grafana.example/d/slo?var-service={service}'}
  - {name: pages, url_env: SLACK_URL, send_resolved: false, timeout: 5s}
argo: {server: 'https://k8s.example:6443', ca_file: ca.crt}
audit: {retention: 26w, retention_size: 1GiB}
resend_delay: 2m
engine: {shards: 4}
",
        );
        assert_eq!(report, "");
        let config = config.unwrap();
        assert_eq!(config.external_labels.get("cluster"), Some("prod"));
        let paths: Vec<&str> = config.rule_files.iter().filter_map(|p| p.to_str()).collect();
        assert_eq!(paths, ["/etc/sloburn/rules/", "/etc/sloburn/more/*.yaml", "/abs.yaml"]);
        assert_eq!(config.alertmanagers[0].url.path(), "/prefix");
        assert_eq!(config.alertmanagers[0].timeout, Span::seconds(3));
        assert_eq!(config.alertmanagers[0].bearer_token_file.as_deref(), Some(Path::new("/etc/sloburn/token")));
        let [pipeline, chat] = config.webhooks.as_slice() else { panic!("two webhooks") };
        assert_eq!(pipeline.secret, Some(SecretSource::File("/etc/sloburn/webhook.secret".into())));
        assert_eq!((pipeline.timeout, pipeline.send_resolved), (Span::seconds(10), false));
        assert_eq!((&chat.secret, chat.send_resolved), (&Some(SecretSource::Env("CHAT_SECRET".to_owned())), true));
        assert_eq!(config.resend_delay, Span::minutes(2));
        assert_eq!(config.shards, Some(4));
        let [releases, pages] = config.slack.as_slice() else { panic!("two channels") };
        assert_eq!(releases.url, SecretSource::File("/etc/sloburn/slack.url".into()));
        assert_eq!(releases.dashboard_url.as_deref(), Some("https://grafana.example/d/slo?var-service={service}"));
        assert_eq!((&pages.url, pages.send_resolved), (&SecretSource::Env("SLACK_URL".to_owned()), false));
        assert_eq!(pages.timeout, Span::seconds(5));
        let argo = config.argo.unwrap();
        assert_eq!(argo.server.unwrap().as_str(), "https://k8s.example:6443/");
        assert_eq!((argo.ca_file, argo.token_file), (Some("/etc/sloburn/ca.crt".into()), None));
        let audit = AuditConfig { retention_time: Some(Span::days(182)), retention_size_bytes: Some(1 << 30) };
        assert_eq!(config.audit, audit);
    }

    #[test]
    fn what_is_wrong_with_slack_and_argo_is_said() {
        let url = "https://hooks.slack.com/services/T0/B0/s3cret";
        let (config, report) = read(&format!(
            "slack:\n  - {{name: a, url: '{url}'}}\n  - {{name: a, url_file: b, url_env: C}}\n  - {{name: c}}\n  \
             - {{name: d, url_env: D, dashboard_url: 'grafana'}}\nargo: {{token: abc}}\naudit: {{retention: 0s}}\n"
        ));
        assert_eq!(config, None);
        assert!(!report.contains("s3cret"), "{report}");
        for part in [
            "`url` would keep a secret in the file",
            "the Slack channel `a` is defined twice",
            "`url_file` and `url_env` are both given",
            "`url_file` is missing",
            "`grafana` is no address of a page",
            "`token` would keep a secret in the file",
            "`retention` must be longer than zero",
        ] {
            assert!(report.contains(part), "{part}\n{report}");
        }
    }

    #[test]
    fn shards_are_counted_from_one() {
        assert_eq!(["1", "64"].map(shards), [Ok(1), Ok(64)]);
        assert!(["0", "65", "-1", "", "two"].map(shards).iter().all(Result::is_err));
        let (config, report) = read("engine: {shards: 65}");
        assert_eq!(config, None);
        assert!(report.contains("an engine has 1 to 64 shards"), "{report}");
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(read(""), (Some(Config::default()), String::new()));
    }
}
