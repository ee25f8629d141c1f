//! The alerts of rules on disk, in one small file: what a restart goes on with.
//!
//! The file is written beside the old one and renamed over it, so that there is always a whole one. It is a line with the
//! layout's number, a checksum, and the alerts. A file that cannot be read costs what Prometheus' restarts cost: alerts
//! wait for their `for` again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::ruler::Saved;

/// The file's name in the storage folder.
pub const RECORD_NAME: &str = "rules.state";
/// The layout of the rest; raised with every change.
const HEADER: &[u8] = b"sloburn rules 1\n";
/// A longer file is not ours.
const RECORD_LIMIT_BYTES: u64 = 1 << 30;

/// What an earlier process has written, if it can be read.
pub fn read(path: &Path) -> Option<Saved> {
    match try_read(path) {
        Ok(saved) => saved,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "alerts of rules begin anew");
            None
        }
    }
}

fn try_read(path: &Path) -> io::Result<Option<Saved>> {
    let damaged = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > RECORD_LIMIT_BYTES => return Err(damaged("the file is too large")),
        Ok(_) => fs::read(path)?,
    };
    let rest = bytes.strip_prefix(HEADER).ok_or_else(|| damaged("written by another release"))?;
    let (sum, body) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("the file is cut off"))?;
    if u64::from_le_bytes(*sum) != xxh3_64(body) {
        return Err(damaged("the checksum does not match"));
    }
    postcard::from_bytes(body).map(Some).map_err(|error| damaged(&error.to_string()))
}

/// Replaces what is there; it is on disk when this returns.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let body = postcard::to_stdvec(saved).map_err(io::Error::other)?;
    let partial: PathBuf = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(HEADER)?;
    file.write_all(&xxh3_64(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD_NAME);
        assert_eq!(try_read(&path).unwrap(), None);
        write(&path, &Saved::default()).unwrap();
        write(&path, &Saved::default()).unwrap();
        assert_eq!(try_read(&path).unwrap(), Some(Saved::default()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let whole = fs::read(&path).unwrap();
        for (bytes, reason) in [
            (whole[..whole.len() - 1].to_vec(), "checksum"),
            (whole[..HEADER.len() + 3].to_vec(), "cut off"),
            (b"sloburn rules 2\n........".to_vec(), "another release"),
        ] {
            fs::write(&path, bytes).unwrap();
            assert!(try_read(&path).unwrap_err().to_string().contains(reason), "{reason}");
            assert_eq!(read(&path), None);
        }
    }
}
