//! Memory that this process has, and how to see no more than is in use.

use std::process::{Command, ExitCode};

/// mimalloc's setting for how long it keeps freed memory, in milliseconds.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// `VmRSS` (Linux).
pub fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kib| kib * 1024)
}

/// Runs this program again with an allocator that gives back what is freed at once: otherwise the tables that grew
/// out of use count as in use, or hide what took their place. `None` in that second run.
#[expect(clippy::print_stderr, reason = "for people")]
pub fn run_again() -> Option<ExitCode> {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return None;
    }
    let arguments = std::env::args_os().skip(1);
    let again = std::env::current_exe()
        .and_then(|program| Command::new(program).args(arguments).env(PURGE_DELAY, "0").status());
    Some(match again {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cannot run this program again: {error}");
            ExitCode::FAILURE
        }
    })
}
