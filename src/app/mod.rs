//! The daemon: an engine on its thread, an HTTP server in front of it, receivers behind it.

mod daemon;
mod server;

pub use daemon::{Daemon, Settings, StartError, default_external_url};
pub use server::{Server, ServerError};
