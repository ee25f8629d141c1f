//! The syntax of `sloburn audit` and `sloburn report`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::audit::Hash;
use crate::cli::args::{duration, moment};
use crate::cli::canary::args::DaemonOptions;
use crate::types::{Span, Timestamp};

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  sloburn audit show --service payment-auth --since 2026-11-01T00:00:00Z
  sloburn audit export -o audit.jsonl
  sloburn audit verify audit.jsonl --recompute              offline: chain and verdicts
  sloburn audit verify --storage.path data                  what a stopped daemon left

Without a FILE or --storage.path the daemon at --url is asked.

Exit codes: 0 ok, 1 a broken chain or another verdict, 4 nothing found."
)]
pub struct AuditOptions {
    #[command(subcommand)]
    pub command: AuditCommand,
    #[command(flatten)]
    pub daemon: DaemonOptions,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show what happened to rollouts, a line for each record.
    Show(ShowOptions),
    /// Write the log as lines of JSON, to keep or to verify elsewhere.
    Export(ExportOptions),
    /// Check that nothing in the log has been changed, and with --recompute that its evidence leads to its verdicts.
    Verify(VerifyOptions),
}

/// Where the log is, unless a running daemon is to be asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceOptions {
    /// An exported log, or - for standard input.
    #[arg(value_name = "FILE", conflicts_with = "storage")]
    pub file: Option<PathBuf>,
    /// Folder of a daemon that does not run.
    #[arg(long = "storage.path", value_name = "PATH")]
    pub storage: Option<PathBuf>,
}

/// Which records.
#[derive(Debug, Args)]
pub struct FilterOptions {
    /// Of this service only.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Of this rollout only: service/version@milliseconds.
    #[arg(long, value_name = "ID")]
    pub rollout: Option<String>,
    /// Of this time or later: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub struct ShowOptions {
    #[command(flatten)]
    pub filter: FilterOptions,
    /// Text for people, or the log's lines of JSON.
    #[arg(long, value_enum, default_value = "text")]
    pub format: ShowFormat,
    /// In text also say when evidence came in.
    #[arg(long)]
    pub evidence: bool,
    #[command(flatten)]
    pub source: SourceOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct ExportOptions {
    /// Where to write; - is standard output.
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    pub output: PathBuf,
    #[command(flatten)]
    pub source: SourceOptions,
}

#[derive(Debug, Args)]
pub struct VerifyOptions {
    /// Also reach every verdict of the checks again from the evidence before it.
    #[arg(long)]
    pub recompute: bool,
    /// The hash of an entry, noted earlier, that has to be in the log: finds an end that was cut off or made anew.
    #[arg(long, value_name = "HASH", value_parser = hash)]
    pub head: Option<Hash>,
    #[command(flatten)]
    pub source: SourceOptions,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Deployment frequency: rollouts that ended. Failure rate: of those, rolled back by their checks or aborted by somebody.
Rollback: median from the beginning of the step, and of the rollout, to its end. Lead time: median from the commit, where
somebody said when it was, to the promotion. Weeks begin on Monday in UTC.

Examples:
  sloburn report
  sloburn report --since 13w --format markdown
  sloburn report audit.jsonl --format json

Exit codes: 0 ok, 1 failed, 4 no rollout ended.")]
pub struct ReportOptions {
    /// How far back.
    #[arg(long, value_name = "DURATION", default_value = "4w", value_parser = duration)]
    pub since: Span,
    /// Text for people, JSON, or Markdown.
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
    #[command(flatten)]
    pub source: SourceOptions,
    #[command(flatten)]
    pub daemon: DaemonOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
    Markdown,
}

fn hash(text: &str) -> Result<Hash, String> {
    text.parse::<Hash>().map_err(|error| error.to_string())
}
