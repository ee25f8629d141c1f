//! The command line: arguments in two stages, first their syntax (`args`), then what they mean (one module a
//! command). Data goes to standard output, messages to standard error.

mod args;
mod audit;
mod canary;
mod check;
mod client;
mod console;
mod demo;
mod gate;
mod generate;
mod progress;
mod replay;
mod serve;
pub mod sources;
mod test;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command, LogLevel};

/// What a command came to, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 0
    Ok,
    /// 1: the check, canary or gate failed.
    Failed,
    /// 2: the arguments do not go together.
    Usage,
    /// 3: nothing is wrong, but something is hardly meant.
    Lint,
    /// 4: there is nothing to judge, or it is not decided.
    NoData,
    /// 5: no answer in time.
    Timeout,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Ok => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Lint => 3,
            Outcome::NoData => 4,
            Outcome::Timeout => 5,
        })
    }
}

/// Reads the arguments, runs the command and returns the exit code: 0 ok, 1 failed, 2 usage, 3 lint,
/// 4 no data or undecided, 5 timeout.
pub fn run() -> ExitCode {
    // Ends the process with 2 on a usage error, with 0 on --help and --version.
    let arguments = Arguments::parse();
    // The demo's timeline is not to be torn apart by what it tells anyway.
    let level = if matches!(arguments.command, Command::Demo(_)) { LogLevel::Warn } else { LogLevel::Info };
    console::start_log(&arguments.log, level);
    let outcome = match arguments.command {
        Command::Serve(options) => serve::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Generate(options) => generate::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Report(options) => audit::report::run(&options),
        Command::Canary(options) => canary::run(&options),
        Command::Gate(options) => gate::run(&options),
        Command::Demo(options) => demo::run(options),
    };
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            console::error(&error);
            ExitCode::FAILURE
        }
    }
}
