//! The daemon: an engine on its thread, an HTTP server in front of it, receivers behind it.

mod connection;
mod counted;
mod daemon;
mod kept;
mod refill;
mod reload;
mod server;
mod storage;
pub mod web;

pub use daemon::{Daemon, RuleGroups, Rules, RunError, Settings, StartError, default_external_url};
pub use kept::StoreSettings;
pub use reload::ReadSources;
pub use server::{CONNECTION_LIMIT, HttpSettings, Server, ServerError, Timeouts};
pub use storage::{FolderLock, Storage, StorageError, journal_folder, outbox_file};
pub use web::Web;
