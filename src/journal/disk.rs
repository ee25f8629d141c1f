//! The little that the journal asks of a disk: one folder of files that grow at their end.
//!
//! Two disks exist: [`Folder`] on a file system, and [`sim::Disk`](super::sim::Disk), which fails as told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of files.
pub trait Disk: Send + Sync {
    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Bytes of a file.
    fn len(&self, name: &str) -> io::Result<u64>;
    /// A file from its start, at most `limit_bytes` of it, into `bytes`, whose memory is reused.
    fn read(&self, name: &str, limit_bytes: u64, bytes: &mut Vec<u8>) -> io::Result<()>;
    /// A new file; an error when there is one of this name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Cuts a file, and does not return before that is on the disk.
    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()>;
    /// Gives a file another name, in place of the one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns once creations, renames and removals are on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Bytes that may still be written.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A file open for appending.
pub trait DiskFile: Send + Sync {
    /// Writes all parts at the end. After an error any part of them may be there.
    fn append(&self, parts: &[&[u8]]) -> io::Result<()>;
    /// Cuts off what lies beyond.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Returns once everything written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// A folder on a file system.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.of(name))?.len())
    }

    fn read(&self, name: &str, limit_bytes: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        let file = File::open(self.of(name))?;
        bytes.reserve(file.metadata()?.len().min(limit_bytes) as usize);
        file.take(limit_bytes).read_to_end(bytes)?;
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().append(true).create_new(true).open(self.of(name))?))
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.of(name))?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.of(from), self.of(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.of(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl DiskFile for File {
    fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = &mut slices[..];
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match (&*self).write_vectored(slices) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Whether an error says that there is no room, which may come back.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
