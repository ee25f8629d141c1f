//! The command line: `sloburn serve`, `check`, `generate`, `demo`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sloburn::cli::run()
}
