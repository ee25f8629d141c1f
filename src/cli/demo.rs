//! `sloburn demo`

use std::io::{self, Write};

use crate::cli::args::{DemoMilestone, DemoOptions};
use crate::cli::serve::stop_signal;
use crate::cli::{Outcome, console};
use crate::demo::{self, Ending, Exit, Milestone, Options};

pub(super) fn run(options: DemoOptions) -> anyhow::Result<Outcome> {
    if options.print_specs {
        io::stdout().write_all(demo::spec_text().as_bytes())?;
        return Ok(Outcome::Ok);
    }
    let verdict = options.exit_after_verdict.then_some(DemoMilestone::Verdict);
    let exit = options.exit_after.or(verdict).map(|after| {
        let after = match after {
            DemoMilestone::Verdict => Milestone::Verdict,
            DemoMilestone::Page => Milestone::Page,
            DemoMilestone::Resolved => Milestone::Resolved,
        };
        Exit { after, timeout: options.timeout }
    });
    let timeout = options.timeout;
    let options = Options { listen_address: options.listen_address, exit };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(demo::run(&options, stop_signal()))? {
        Ending::Complete => Ok(Outcome::Ok),
        Ending::TimedOut => {
            console::message(&format!("error: what was to be waited for did not happen within {timeout}"));
            Ok(Outcome::Failed)
        }
    }
}
