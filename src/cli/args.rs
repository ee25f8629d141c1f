//! The syntax of the command line. Names follow Prometheus' habits; every flag of the daemon is also an
//! environment variable.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use crate::cli::audit::args::{AuditOptions, ReportOptions};
use crate::cli::canary::args::{CanaryOptions, GateOptions};
use crate::config;
use crate::generate::{DEFAULT_ADDRESS, Format};
use crate::journal::Fsync;
use crate::types::{Labels, Span, Timestamp};

/// Exact error budgets and burn-rate alerts from a Prometheus remote-write stream.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  sloburn demo                                   see it work: simulated services, a page within a minute
  sloburn check rules/                           find every mistake in your specs
  sloburn serve --rules rules/ --alertmanager http://127.0.0.1:9093
  sloburn generate -i rules/ -o prometheus.yaml  the same SLOs as Prometheus rules
  sloburn replay --rules rules/ --input dump.om  what would have paged, from recorded samples
  sloburn test tests/                            unit tests of specs, in promtool's notation
  sloburn canary list                            releases that are being judged
  sloburn gate --service checkout                whether a budget lets a deployment start

Exit codes: 0 ok, 1 failed, 2 usage, 3 lint, 4 no data or undecided, 5 timeout."
)]
pub struct Arguments {
    #[command(flatten)]
    pub log: LogOptions,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: take remote write, judge SLOs, send alerts.
    Serve(Box<ServeOptions>),
    /// Validate and lint specs and configuration files.
    Check(CheckOptions),
    /// Compile specs to Prometheus rules, or to what Argo Rollouts and Flagger need.
    Generate(GenerateOptions),
    /// Backtest specs: what would have fired over recorded samples, when, at what cost.
    Replay(ReplayOptions),
    /// Run the unit tests of specs.
    Test(TestOptions),
    /// Show, export and verify the record of every rollout.
    Audit(AuditOptions),
    /// Report how releases went, by service and week.
    Report(ReportOptions),
    /// See and steer the rollouts of a running daemon, and wait for their verdicts.
    Canary(Box<CanaryOptions>),
    /// Ask a running daemon whether a service's error budget lets a deployment start.
    Gate(GateOptions),
    /// Run the daemon against simulated services, with nothing installed.
    Demo(DemoOptions),
}

#[derive(Debug, Args)]
pub struct LogOptions {
    /// Lowest level that is logged [default: info; in the demo: warn].
    #[arg(long = "log.level", global = true, env = "SLOBURN_LOG_LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
    /// Form of the log.
    #[arg(long = "log.format", global = true, env = "SLOBURN_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sloburn serve --rules rules/ --alertmanager http://127.0.0.1:9093
  sloburn serve --config.file sloburn.yml --web.listen-address 0.0.0.0:9797

In prometheus.yml:
  remote_write:
    - url: http://127.0.0.1:9797/api/v1/write")]
pub struct ServeOptions {
    /// Configuration file: rule files, receivers, external labels.
    #[arg(long = "config.file", value_name = "PATH", env = "SLOBURN_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    /// Specs: files or folders, besides those of the configuration file. May be repeated.
    #[arg(
        long,
        value_name = "PATH",
        env = "SLOBURN_RULES",
        value_delimiter = ',',
        required_unless_present = "config_file"
    )]
    pub rules: Vec<PathBuf>,
    /// Send alerts to this Alertmanager. May be repeated; each gets every alert.
    #[arg(long = "alertmanager", value_name = "URL", env = "SLOBURN_ALERTMANAGER", value_delimiter = ',')]
    pub alertmanagers: Vec<Url>,
    /// Send alerts to this webhook. May be repeated.
    #[arg(long = "webhook", value_name = "URL", env = "SLOBURN_WEBHOOK", value_delimiter = ',')]
    pub webhooks: Vec<Url>,
    /// File with the secret (whsec_...) that signs requests to every --webhook.
    #[arg(long = "webhook.secret-file", value_name = "PATH", env = "SLOBURN_WEBHOOK_SECRET_FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Label on every alert, as name=value. May be repeated.
    #[arg(long = "external-label", value_name = "NAME=VALUE", env = "SLOBURN_EXTERNAL_LABEL", value_delimiter = ',')]
    pub external_labels: Vec<String>,
    /// Shards of the engine, each but the first with a thread of its own: figures are the same for any number
    /// [default: one less than the cores, at most 8].
    #[arg(long = "engine.shards", value_name = "N", env = "SLOBURN_ENGINE_SHARDS", value_parser = config::shards)]
    pub shards: Option<usize>,
    #[command(flatten)]
    pub storage: StorageOptions,
    #[command(flatten)]
    pub web: WebOptions,
    #[command(flatten)]
    pub query: QueryOptions,
    #[command(flatten)]
    pub store: StoreOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// What is kept beyond the process. Each may also stand in the configuration file's section `storage`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Storage")]
pub struct StorageOptions {
    /// Folder for the journal and checkpoints; an empty one keeps everything in memory [default: data].
    #[arg(long = "storage.path", value_name = "PATH", env = "SLOBURN_STORAGE_PATH", value_parser = any_path())]
    pub path: Option<PathBuf>,
    /// When written requests are forced onto the disk: before the answer, within a second, or when the system likes
    /// [default: 1s].
    #[arg(long = "storage.fsync", value_name = "WHEN", env = "SLOBURN_STORAGE_FSYNC", value_parser = fsync)]
    pub fsync: Option<Fsync>,
    /// Log kept for replay, if recovery does not need more [default: 10GiB].
    #[arg(long = "storage.retention.size", value_name = "BYTES", env = "SLOBURN_STORAGE_RETENTION_SIZE", value_parser = bytes)]
    pub retention_size: Option<usize>,
    /// Log kept for replay, if recovery does not need more [default: 15d].
    #[arg(long = "storage.retention.time", value_name = "DURATION", env = "SLOBURN_STORAGE_RETENTION_TIME", value_parser = duration)]
    pub retention_time: Option<Span>,
    /// With less free space on the disk no samples are taken; 0B goes on until it is full [default: 256MiB].
    #[arg(long = "storage.min-free", value_name = "BYTES", env = "SLOBURN_STORAGE_MIN_FREE", value_parser = bytes)]
    pub min_free: Option<usize>,
    /// From one checkpoint of the state to the next [default: 5m].
    #[arg(long = "storage.checkpoint-interval", value_name = "DURATION", env = "SLOBURN_STORAGE_CHECKPOINT_INTERVAL", value_parser = duration)]
    pub checkpoint_interval: Option<Span>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Web")]
pub struct WebOptions {
    /// Address to listen on.
    #[arg(
        long = "web.listen-address",
        value_name = "HOST:PORT",
        env = "SLOBURN_WEB_LISTEN_ADDRESS",
        default_value = "127.0.0.1:9797"
    )]
    pub listen_address: String,
    /// TLS, client certificates and users, in the format of Prometheus' exporters; reloaded when it changes.
    #[arg(long = "web.config.file", value_name = "PATH", env = "SLOBURN_WEB_CONFIG_FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Address people reach this instance at, for links in alerts.
    #[arg(long = "web.external-url", value_name = "URL", env = "SLOBURN_WEB_EXTERNAL_URL")]
    pub external_url: Option<Url>,
    /// Let POST /-/reload read the rule files again and POST /-/quit end the process.
    #[arg(long = "web.enable-lifecycle", env = "SLOBURN_WEB_ENABLE_LIFECYCLE")]
    pub enable_lifecycle: bool,
}

/// Queries of the Prometheus API. Each may also stand in the configuration file's section `query`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Queries")]
pub struct QueryOptions {
    /// Longest time for one query, its wait for others included [default: 30s].
    #[arg(id = "query_timeout", long = "query.timeout", value_name = "DURATION", env = "SLOBURN_QUERY_TIMEOUT", value_parser = positive)]
    pub timeout: Option<Span>,
    /// Queries evaluated at once; others wait [default: 20].
    #[arg(long = "query.max-concurrency", value_name = "N", env = "SLOBURN_QUERY_MAX_CONCURRENCY", value_parser = count)]
    pub max_concurrency: Option<usize>,
    /// Samples that one query may hold in memory [default: 50000000].
    #[arg(long = "query.max-samples", value_name = "N", env = "SLOBURN_QUERY_MAX_SAMPLES", value_parser = count)]
    pub max_samples: Option<usize>,
    /// How far back a sample still counts as current [default: 5m].
    #[arg(long = "query.lookback-delta", value_name = "DURATION", env = "SLOBURN_QUERY_LOOKBACK_DELTA", value_parser = positive)]
    pub lookback_delta: Option<Span>,
}

/// Raw samples kept in memory for queries. Each may also stand in the configuration file's section `store`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Samples for queries")]
pub struct StoreOptions {
    /// Keep the samples of series that this selector matches, besides those that specs refer to. May be repeated.
    #[arg(id = "store_match", long = "store.match", value_name = "SELECTOR", env = "SLOBURN_STORE_MATCH")]
    pub matches: Vec<String>,
    /// Keep the samples of what SLIs count, too, and not only what queries in specs and rules ask for: without them
    /// samples take a fifth less CPU, new series a quarter and less memory, and queries see sloburn's own figures of SLIs
    /// only [default: true].
    #[arg(id = "store_slis", long = "store.slis", value_name = "BOOL", env = "SLOBURN_STORE_SLIS")]
    pub slis: Option<bool>,
    /// How long samples are kept [default: 1h].
    #[arg(id = "store_retention_time", long = "store.retention.time", value_name = "DURATION", env = "SLOBURN_STORE_RETENTION_TIME", value_parser = positive)]
    pub retention_time: Option<Span>,
    /// What samples and their labels may take; over it the oldest go [default: 256MiB].
    #[arg(id = "store_retention_size", long = "store.retention.size", value_name = "BYTES", env = "SLOBURN_STORE_RETENTION_SIZE", value_parser = bytes)]
    pub retention_size: Option<usize>,
}

/// Bounds on what senders can cost. Over one: 400, 413 or 429 with the reason, counted in /metrics.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Series tracked; new ones over it are refused, known ones go on.
    #[arg(long = "limit.series", value_name = "N", env = "SLOBURN_LIMIT_SERIES", default_value_t = 5_000_000)]
    pub series: usize,
    /// Bytes of one request as received.
    #[arg(long = "limit.body-bytes", value_name = "BYTES", env = "SLOBURN_LIMIT_BODY_BYTES", default_value = "32MiB", value_parser = bytes)]
    pub body_bytes: usize,
    /// Bytes of one request once decompressed.
    #[arg(long = "limit.decoded-bytes", value_name = "BYTES", env = "SLOBURN_LIMIT_DECODED_BYTES", default_value = "128MiB", value_parser = bytes)]
    pub decoded_bytes: usize,
    /// Bytes of all requests at hand.
    #[arg(long = "limit.in-flight-bytes", value_name = "BYTES", env = "SLOBURN_LIMIT_IN_FLIGHT_BYTES", default_value = "512MiB", value_parser = bytes)]
    pub in_flight_bytes: usize,
    /// Labels of one series.
    #[arg(long = "limit.labels", value_name = "N", env = "SLOBURN_LIMIT_LABELS", default_value_t = 40)]
    pub labels: usize,
    /// Bytes of a label's name.
    #[arg(long = "limit.label-name-bytes", value_name = "BYTES", env = "SLOBURN_LIMIT_LABEL_NAME_BYTES", default_value = "1024", value_parser = bytes)]
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    #[arg(long = "limit.label-value-bytes", value_name = "BYTES", env = "SLOBURN_LIMIT_LABEL_VALUE_BYTES", default_value = "2048", value_parser = bytes)]
    pub label_value_bytes: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sloburn check rules/ sloburn.yml
  sloburn generate -i other.yaml -o - | promtool check rules /dev/stdin

Exit codes: 0 fine, 1 errors, 3 nothing but warnings.")]
pub struct CheckOptions {
    /// Specs and configuration files, folders of specs, or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which lints to report.
    #[arg(long, value_enum, default_value = "all")]
    pub lint: Lint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lint {
    /// All warnings; with nothing worse the exit code is 3.
    All,
    /// Errors only.
    None,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sloburn generate -i rules/ -o slo-rules.yaml
  sloburn generate -i checkout.yaml -o - --format operator | kubectl apply -f -
  sloburn generate -i checkout.yaml -o argo.yaml --format argo     steps that wait for verdicts")]
pub struct GenerateOptions {
    /// Specs: a file, a folder, or - for standard input. May be repeated.
    #[arg(short, long, required = true, value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Where to write; - is standard output.
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub output: PathBuf,
    /// prometheus: a rule file; operator: PrometheusRule objects; argo, flagger: what makes Argo Rollouts or Flagger
    /// ask for verdicts, for services with a `canary` block.
    #[arg(long, default_value = "prometheus", value_parser = format)]
    pub format: Format,
    /// Where Argo Rollouts or Flagger reach sloburn.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADDRESS)]
    pub address: Url,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  promtool tsdb dump-openmetrics --match='{job=\"api\"}' data/ | sloburn replay --rules rules/ --input -
  sloburn replay --rules rules/ --input september.om --format json
  sloburn replay --rules rules/ --input data/ --from 2026-11-01T00:00:00Z       what a daemon has received
  sloburn replay --rules rules/ --from-url http://prometheus:9090 --from 2026-11-01T00:00:00Z
  sloburn replay --rules new/ --against old/ --input september.om    who pages more often, who less

Exit codes: 0 ok, 1 bad input, 2 usage, 4 no sample matches.")]
pub struct ReplayOptions {
    /// Specs: a file, a folder, or - for standard input. May be repeated.
    #[arg(long, required = true, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// Recorded samples: OpenMetrics text with timestamps, - for standard input, several are judged as one; or the
    /// folder of a daemon's --storage.path, running or not.
    #[arg(long, required_unless_present = "from_url", conflicts_with = "from_url", value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Fetch the samples from this Prometheus, or anything with its query API, from --from on.
    #[arg(long, value_name = "URL", requires = "from")]
    pub from_url: Option<Url>,
    /// Keep what is fetched here, to go on after an interruption [default: a folder for the URL among temporary files].
    #[arg(long, value_name = "PATH", requires = "from_url")]
    pub cache: Option<PathBuf>,
    /// File with a token for --from-url.
    #[arg(long, value_name = "PATH", requires = "from_url")]
    pub bearer_token_file: Option<PathBuf>,
    /// Judge the same samples by these specs too, and compare. May be repeated.
    #[arg(long, value_name = "PATH")]
    pub against: Vec<PathBuf>,
    /// Leave out samples before this time, of a journal what arrived before: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Timestamp>,
    /// Leave out samples after this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub to: Option<Timestamp>,
    /// Text for people, or one JSON object a line.
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReplayFormat,
    /// How to show progress: auto is a bar on a terminal, elsewhere one line in 5 s.
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: ProgressMode,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A file of tests, beside shop.yaml:

  rule_files: [shop.yaml]
  tests:
    - name: an outage pages
      interval: 15s
      input_series:
        - {series: 'requests_total{code=\"200\"}', values: '0+100x240'}
        - {series: 'requests_total{code=\"500\"}', values: '0x200 20+20x39'}
      alert_rule_test:
        - eval_time: 50m
          exp_alerts: []
      slo_test:
        - eval_time: 1h
          slo: shop/availability
          exp: {state: burning, bad: 800, burn_rates: {5m: 166.666667}}

Examples:
  sloburn test tests/
  sloburn test shop_test.yaml --junit results.xml")]
pub struct TestOptions {
    /// Files of tests, or folders of them; specs in a folder are left alone.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Also write the results to this file as XML, in the form of `JUnit`.
    #[arg(long, value_name = "PATH")]
    pub junit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReplayFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    Auto,
    Bar,
    Log,
    None,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Six simulated services send real remote write to a daemon on the loopback interface: 30 days of history, then live.
Two releases are tried as canaries: the bad one is taken back, the good one promoted, each by its verdict. A third one
goes out without a canary, goes wrong, and pages at a signed webhook. All of that takes less than a minute.

Examples:
  sloburn demo
  sloburn demo --exit-after-verdict              for scripts: 0 once both canaries are decided, else 1
  sloburn demo --exit-after resolved             for scripts: 0 once a page and its end have arrived, else 1
  sloburn demo --print-specs > rules/demo.yaml   the specs of the simulated services, to start from")]
pub struct DemoOptions {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:9797, or a free port if that is taken].
    #[arg(long = "web.listen-address", value_name = "HOST:PORT")]
    pub listen_address: Option<String>,
    /// End with exit code 0 once this has been delivered, or with 1 after --timeout.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub exit_after: Option<DemoMilestone>,
    /// The same as --exit-after verdict.
    #[arg(long, conflicts_with = "exit_after")]
    pub exit_after_verdict: bool,
    /// How long --exit-after may take.
    #[arg(long, value_name = "DURATION", default_value = "4m", value_parser = duration)]
    pub timeout: Span,
    /// Print the specs of the simulated services and do nothing else.
    #[arg(long, conflicts_with_all = ["listen_address", "exit_after", "exit_after_verdict"])]
    pub print_specs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoMilestone {
    /// One canary was taken back and another promoted: about 30 s.
    Verdict,
    /// The page about the bad release: about 40 s.
    Page,
    /// The end of a page, after the release was taken back: about 100 s.
    Resolved,
}

pub fn duration(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<Span, String> {
    match duration(text)? {
        Span::ZERO => Err("must be longer than zero".to_owned()),
        span => Ok(span),
    }
}

/// A whole number from 1.
fn count(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("not a whole number".to_owned()),
    }
}

/// Unlike clap's own, also an empty one.
fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn fsync(text: &str) -> Result<Fsync, String> {
    text.parse::<Fsync>().map_err(|error| error.to_string())
}

fn format(text: &str) -> Result<Format, String> {
    text.parse::<Format>().map_err(|error| error.to_string())
}

/// A point in time: RFC 3339, or seconds since 1970 with up to three decimals.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("{text:?} is no time: write 2026-11-01T00:00:00Z, or seconds since 1970");
    if let Ok(point) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp(point.as_millisecond()));
    }
    let seconds = text.parse::<f64>().map_err(|_| wrong())?;
    // As far as RFC 3339 goes; more is milliseconds, or no time at all.
    if seconds.abs() < 253_402_300_800.0 { Ok(Timestamp((seconds * 1000.0).round() as i64)) } else { Err(wrong()) }
}

/// A number of bytes: `4096`, `512KiB`, `32MiB`, `1GiB`.
fn bytes(text: &str) -> Result<usize, String> {
    usize::try_from(config::bytes(text)?).map_err(|_| "too many bytes".to_owned())
}

/// Labels from `name=value` pairs.
pub fn label_pairs(pairs: &[String]) -> anyhow::Result<Labels> {
    let mut labels = Labels::new();
    for pair in pairs {
        let (name, value) = pair
            .split_once('=')
            .filter(|(name, _)| crate::types::is_label_name(name))
            .ok_or_else(|| anyhow::anyhow!("--external-label takes name=value, not {pair:?}"))?;
        labels.set(name, value);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn moments_are_dates_or_seconds() {
        for (text, millis) in [
            ("2026-11-01T00:00:00Z", 1_793_491_200_000),
            ("2026-11-01T01:00:00.5+01:00", 1_793_491_200_500),
            ("1793491200.123", 1_793_491_200_123),
            ("0", 0),
        ] {
            assert_eq!(moment(text), Ok(Timestamp(millis)), "{text}");
        }
        for wrong in ["", "yesterday", "2026-11-01", "NaN", "1793491200000", "inf"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("32MiB"), Ok(32 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        for wrong in ["", "MiB", "12 MiB", "12mb", "99999999999999999999", "99999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
