//! The folder a daemon keeps its state in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::{Folder, Journal, Options};
use crate::live::Durability;
use crate::spec::Source;
use crate::types::Span;

/// Held for as long as the folder is in use.
const LOCK_NAME: &str = "lock";
/// The journal's part of the folder.
const JOURNAL_NAME: &str = "journal";
/// The embedded store of what has to be told, and of the audit log.
const OUTBOX_NAME: &str = "outbox.redb";

/// Where and how state is kept.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The folder; made where there is none.
    pub path: PathBuf,
    /// Of the journal.
    pub options: Options,
    /// What the services were read from: a later start has to know under which specs it all was counted.
    pub sources: Vec<Source>,
    /// From one checkpoint to the next, while something is written.
    pub checkpoint_every: Span,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Not at all.
    #[error("cannot use {}: {source}; name another folder with --storage.path, or --storage.path= to keep nothing", path.display())]
    Io {
        /// What was tried.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not by two processes.
    #[error("{} is in use by another sloburn", .0.display())]
    InUse(PathBuf),
}

/// Keeps other processes out of a folder for as long as it lives.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// The embedded store in a storage folder.
pub fn outbox_file(storage: &Path) -> PathBuf {
    storage.join(OUTBOX_NAME)
}

/// The journal of a storage folder, for reading.
pub fn journal_folder(storage: &Path) -> PathBuf {
    storage.join(JOURNAL_NAME)
}

impl Storage {
    /// Takes the folder for this process.
    ///
    /// # Errors
    /// When it cannot be made or written to, or another process has it.
    pub fn open(&self) -> Result<(FolderLock, Durability), StorageError> {
        let journal = journal_folder(&self.path);
        let of = |path: &Path| {
            let path = path.to_owned();
            move |source| StorageError::Io { path, source }
        };
        fs::create_dir_all(&journal).map_err(of(&journal))?;
        let lock = self.path.join(LOCK_NAME);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock).map_err(of(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse(self.path.clone())),
            Err(TryLockError::Error(source)) => return Err(StorageError::Io { path: lock, source }),
        }
        let journal = Journal::new(Arc::new(Folder::new(journal)), self.options.clone());
        Ok((FolderLock { _file: file }, Durability { journal, checkpoint_every: self.checkpoint_every }))
    }
}
