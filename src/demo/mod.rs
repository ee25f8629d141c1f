//! `sloburn demo` (placeholder while the command is being built).

/// Runs the demo.
///
/// # Errors
/// Always, for now.
pub fn run(_: &impl std::fmt::Debug) -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}
