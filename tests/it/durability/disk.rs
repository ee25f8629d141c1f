//! A disk without room: a small file system in memory, where the tests may make one.

use std::path::PathBuf;
use std::process::Command;

use reqwest::header::HeaderMap;
use sloburn::journal::{Disk, Folder};

use super::counts;
use super::oracle::Sender;
use crate::daemon::Daemon;
use crate::process::{PATIENCE, until};
use crate::traffic::SHOP;

/// Of the file system, and what a filler leaves of it.
const SIZE_KIB: usize = 16 << 10;
const LEFT_BYTES: u64 = 500 << 10;

/// A mounted file system that goes away with it.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` for those who may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={SIZE_KIB}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_comes_to_an_end_by_itself() {
    for min_free in ["0B", "256KiB"] {
        let Some(disk) = SmallDisk::mount() else { return };
        let (path, floor) = (
            format!("--storage.path={}", disk.0.path().join("data").display()),
            format!("--storage.min-free={min_free}"),
        );
        let options = [path.as_str(), floor.as_str()];
        let daemon = Daemon::start(SHOP, &options);
        let free_bytes = Folder::new(disk.0.path()).free_bytes().unwrap();
        std::fs::write(disk.filler(), vec![1; (free_bytes - LEFT_BYTES) as usize]).unwrap();
        let mut sender = Sender::new(0, 1);
        let refused = loop {
            let body = sender.scrape();
            if let Err(refused) = sender.post(&daemon.url, body.clone()).await {
                break (body, refused);
            }
        };
        let (body, reason) = refused;
        assert!(reason.starts_with("503: "), "{reason}");
        let says = if min_free == "0B" { "the disk is full" } else { "under the floor" };
        assert!(reason.contains(says), "{reason}");
        assert_eq!(daemon.metric("sloburn_journal_read_only", &[]).await, 1.0);
        let ready = daemon.send("GET", "/-/ready", HeaderMap::new(), Vec::new()).await;
        assert_eq!(ready.status, 200, "what it has counted is served: {}", ready.text);
        std::fs::remove_file(disk.filler()).unwrap();
        until("room to be noticed", PATIENCE, async || sender.post(&daemon.url, body.clone()).await).await;
        assert_eq!(daemon.metric("sloburn_journal_read_only", &[]).await, 0.0);
        let sent = (sender.counted_good as i64, (sender.counted_good + sender.counted_bad) as i64);
        until("everything acknowledged", PATIENCE, async || {
            let slo = daemon.slo("shop/availability").await;
            if counts(&slo) == sent { Ok(()) } else { Err(format!("{sent:?} {slo}")) }
        })
        .await;
        let daemon = daemon.crash_and_restart(|_| {}, &options);
        assert_eq!(counts(&daemon.slo("shop/availability").await), sent);
    }
}
