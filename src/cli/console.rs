//! What people see on a terminal: errors with their causes, colour where wanted, the log.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::cli::args::{LogFormat, LogLevel, LogOptions};

/// Whether standard error takes colour: a terminal, and `NO_COLOR` not set.
pub fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error and what caused it.
#[expect(clippy::print_stderr, reason = "messages go to standard error")]
pub fn error(error: &anyhow::Error) {
    let (start, end) = if colour() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    eprintln!("{start}error{end}: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
}

/// Prints a message as it is.
#[expect(clippy::print_stderr, reason = "messages go to standard error")]
pub fn message(text: &str) {
    eprintln!("{text}");
}

/// Prints an answer. A reader that has gone away ends nothing: there may be an exit code to come.
pub fn data(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Sends the log to standard error, from `level` on unless the user chose another one.
pub fn start_log(options: &LogOptions, level: LogLevel) {
    // Only our own events at the chosen level: a library's debug output explains nothing to a user.
    let filter = EnvFilter::new(format!("warn,sloburn={}", options.log_level.unwrap_or(level).as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour());
    // A second start, in tests, changes nothing.
    let _ = match options.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
