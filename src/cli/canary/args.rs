//! The syntax of `sloburn canary` and `sloburn gate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use url::Url;

use crate::cli::args::{duration, moment};
use crate::types::{Span, Timestamp};

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  sloburn canary list                                        every service's releases
  sloburn canary get payment-auth                            its rollout, check by check
  sloburn canary start payment-auth v2 --commit-time 2026-11-01T12:00:00Z
  sloburn canary wait --service payment-auth --version v2    until it is decided, for pipelines
  sloburn canary abort payment-auth --reason 'double bookings'

The daemon is at --url, or SLOBURN_URL."
)]
pub struct CanaryOptions {
    #[command(subcommand)]
    pub command: CanaryCommand,
    #[command(flatten)]
    pub daemon: DaemonOptions,
    /// Text for people, or JSON.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub format: OutputFormat,
}

#[derive(Debug, Subcommand)]
pub enum CanaryCommand {
    /// Show every service's releases.
    List,
    /// Show a service's rollout with its checks: the one in progress, else the last one.
    Get(GetOptions),
    /// Print a line whenever a rollout changes, until interrupted.
    Watch(WatchOptions),
    /// Wait until a version is decided; the exit code says how.
    Wait(WaitOptions),
    /// Have a version judged from now on.
    Start(StartOptions),
    /// Go on to the next step whatever the checks say.
    Promote(PromoteOptions),
    /// Take the version back.
    Abort(ActOptions),
    /// Hold the rollout where it is; harm still takes it back.
    Pause(ActOptions),
    /// Go on after a pause.
    Resume(ActOptions),
    /// Tell that the exposure is now that of another step, where something else than the daemon moves it.
    Step(StepOptions),
}

/// Where the daemon is, and what it is told about who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Daemon")]
pub struct DaemonOptions {
    /// Address of the daemon.
    #[arg(long, global = true, value_name = "URL", env = "SLOBURN_URL", default_value = "http://127.0.0.1:9797")]
    pub url: Url,
    /// User of its --web.config.file; the password comes from --password-file or `SLOBURN_PASSWORD`.
    #[arg(long, global = true, value_name = "NAME", env = "SLOBURN_USERNAME")]
    pub username: Option<String>,
    /// File with the user's password.
    #[arg(long, global = true, value_name = "PATH", env = "SLOBURN_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// File with a token for a proxy in front of it; or the token itself in `SLOBURN_BEARER_TOKEN`.
    #[arg(long, global = true, value_name = "PATH", env = "SLOBURN_BEARER_TOKEN_FILE", conflicts_with = "username")]
    pub bearer_token_file: Option<PathBuf>,
    /// File with the certificates of the authorities to trust for an https URL, instead of the system's.
    #[arg(long, global = true, value_name = "PATH", env = "SLOBURN_TLS_CA_FILE")]
    pub tls_ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct GetOptions {
    /// The service.
    pub service: String,
    /// The newest rollout of this version, in progress or over.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
}

#[derive(Debug, Args)]
pub struct WatchOptions {
    /// Only this service.
    pub service: Option<String>,
    /// From one look to the next.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub every: Span,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sloburn canary wait --service payment-auth --version v2 --timeout 2h
  sloburn canary wait --service payment-auth --version v2 --step 5%
  sloburn canary wait --service payment-auth --version \"$TAG\" --format json > verdict.json

Exit codes: 0 promote, 1 rollback, 2 usage or refused credentials, 4 undecided (paused, superseded,
a service without a canary), 5 timeout. While the daemon cannot be reached or recovers, it is asked
again until the timeout.")]
pub struct WaitOptions {
    /// The service.
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// The candidate's value of the version label.
    #[arg(long, value_name = "VERSION")]
    pub version: String,
    /// Wait for this step only: its name, its weight such as 5%, or its place from 0.
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,
    /// How long at most.
    #[arg(long, value_name = "DURATION", default_value = "8h", value_parser = duration)]
    pub timeout: Span,
    /// From one question to the next.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub every: Span,
    /// Go on waiting while the rollout is paused, for somebody to resume it.
    #[arg(long)]
    pub through_pause: bool,
}

#[derive(Debug, Args)]
pub struct StartOptions {
    /// The service.
    pub service: String,
    /// The candidate's value of the version label.
    pub version: String,
    /// The version it is compared with, instead of what the spec says.
    #[arg(long, value_name = "VERSION")]
    pub baseline: Option<String>,
    /// When the newest change in it was committed, for lead times: RFC 3339, or seconds since 1970 as `git log -1
    /// --format=%ct` prints them.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub commit_time: Option<Timestamp>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub actor: ActorOptions,
}

#[derive(Debug, Args)]
pub struct ActOptions {
    /// The service.
    pub service: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub actor: ActorOptions,
}

#[derive(Debug, Args)]
pub struct PromoteOptions {
    #[command(flatten)]
    pub act: ActOptions,
    /// All of it: past the last step.
    #[arg(long)]
    pub full: bool,
}

#[derive(Debug, Args)]
pub struct StepOptions {
    /// The service.
    pub service: String,
    /// The step: its name, or a percentage of the traffic such as 25%.
    pub step: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub actor: ActorOptions,
}

#[derive(Debug, Args)]
pub struct ActorOptions {
    /// Who says so; where the daemon knows users, it is that user, and this is noted beside it [default: the user of
    /// this shell, or of the GitHub workflow].
    #[arg(long, value_name = "NAME", env = "SLOBURN_ACTOR")]
    pub actor: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sloburn gate --service checkout && ./deploy.sh
  sloburn gate --service checkout --format json | jq .budgets

Exit codes: 0 allowed, 1 the budget is frozen, 2 usage, 4 no budget of the service is known yet,
5 timeout. While the daemon cannot be reached or recovers, it is asked again until the timeout.")]
pub struct GateOptions {
    /// The service.
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// How long an answer may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub timeout: Span,
    #[command(flatten)]
    pub daemon: DaemonOptions,
    /// Text for people, or JSON.
    #[arg(long, value_enum, default_value = "text")]
    pub format: OutputFormat,
}
