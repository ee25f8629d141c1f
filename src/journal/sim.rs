//! A disk that fails as told: it crashes at a chosen operation, loses what was not synced, tears writes, flips bits,
//! fills up and fails to sync. Tests run the journal on it; nothing in it is random but by its seed.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk;

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: what was written stays.
    Kill,
    /// The power fails: what was not synced may be gone, in whole or in part.
    PowerLoss,
}

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// As of the last sync of the folder.
    durable_names: BTreeMap<String, usize>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    capacity_bytes: Option<u64>,
    failing_sync: bool,
    seed: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// As of the last sync of the file.
    durable: Vec<u8>,
}

impl State {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Counts an operation; an error once the machine is down. `Ok(true)` is the operation at which it goes down.
    fn operation(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(down());
        }
        self.operations += 1;
        self.crashed = self.crash_at.is_some_and(|at| self.operations >= at);
        Ok(self.crashed)
    }

    /// For operations that happen whole or not at all.
    fn whole(&mut self) -> io::Result<()> {
        // Whether the last one still happens is left to chance.
        if self.operation()? && self.random().is_multiple_of(2) { Err(down()) } else { Ok(()) }
    }

    fn inode(&mut self, name: &str) -> io::Result<&mut Inode> {
        let id = *self.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(&mut self.inodes[id])
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|id| self.inodes[*id].bytes.len() as u64).sum()
    }

    fn room_bytes(&self) -> u64 {
        self.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }
}

fn down() -> io::Error {
    io::Error::other("the machine is down")
}

impl Disk {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.lock().seed = seed;
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk with the same content that goes its own way.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.lock();
        Self(Arc::new(Mutex::new(State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            seed: state.seed,
            ..State::default()
        })))
    }

    /// Operations so far; each is a point at which the machine may go down.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The machine goes down in this operation, counted from 1.
    pub fn crash_at(&self, operation: u64) {
        self.lock().crash_at = Some(operation);
    }

    /// Whether it is down.
    pub fn is_down(&self) -> bool {
        self.lock().crashed
    }

    /// The machine goes down, if it is not yet, and comes up again without faults.
    pub fn restart(&self, crash: Crash) {
        let mut state = self.lock();
        if crash == Crash::PowerLoss {
            if state.random().is_multiple_of(2) {
                state.names = state.durable_names.clone();
            }
            for id in 0..state.inodes.len() {
                let (all, kept) = (state.inodes[id].bytes.len(), state.inodes[id].durable.len());
                let choice = state.random();
                let inode = &mut state.inodes[id];
                match choice % 4 {
                    // Everything written had reached the disk by itself.
                    0 => {}
                    // Some had, in order.
                    1 if all > kept => inode.bytes.truncate(kept + (choice >> 8) as usize % (all - kept)),
                    // The length had, and some of the content.
                    2 if all > kept => {
                        let from = all.min(kept + (choice >> 8) as usize % 64);
                        inode.bytes[from..].fill(0);
                    }
                    _ => inode.bytes = inode.durable.clone(),
                }
            }
        }
        for inode in &mut state.inodes {
            inode.durable = inode.bytes.clone();
        }
        state.durable_names = state.names.clone();
        state.operations = 0;
        state.crash_at = None;
        state.crashed = false;
        state.failing_sync = false;
    }

    /// Holds this many bytes from now on; `None` is no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// The next sync of a file fails, and what it was to keep is lost with the power, however often it is tried again.
    pub fn fail_sync(&self) {
        self.lock().failing_sync = true;
    }

    /// A file goes away behind the journal's back.
    pub fn lose(&self, name: &str) {
        let mut state = self.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// A file without content appears behind the journal's back.
    pub fn place_empty(&self, name: &str) {
        let mut state = self.lock();
        let id = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), id);
        state.durable_names.insert(name.to_owned(), id);
    }

    /// Flips one bit of a file.
    ///
    /// # Panics
    /// When there is no such bit.
    pub fn flip(&self, name: &str, bit: usize) {
        let mut state = self.lock();
        let inode = state.inode(name).expect("a file of this name");
        inode.bytes[bit / 8] ^= 1 << (bit % 8);
        inode.durable = inode.bytes.clone();
    }
}

impl disk::Disk for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.operation()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        let mut state = self.lock();
        state.operation()?;
        Ok(state.inode(name)?.bytes.len() as u64)
    }

    fn read(&self, name: &str, limit_bytes: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.lock();
        state.operation()?;
        let content = &state.inode(name)?.bytes;
        let limit = content.len().min(usize::try_from(limit_bytes).unwrap_or(usize::MAX));
        bytes.clear();
        bytes.extend_from_slice(&content[..limit]);
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn disk::DiskFile>> {
        let mut state = self.lock();
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.whole()?;
        let id = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.to_owned(), id);
        Ok(Arc::new(OpenFile { disk: self.clone(), id }))
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.whole()?;
        let inode = state.inode(name)?;
        inode.bytes.truncate(bytes as usize);
        inode.durable = inode.bytes.clone();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.whole()?;
        let id = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.whole()?;
        state.names.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.whole()?;
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().room_bytes())
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: Disk,
    id: usize,
}

impl disk::DiskFile for OpenFile {
    fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let last = state.operation()?;
        let mut bytes = parts.concat();
        let room = state.room_bytes() as usize;
        let result = if last {
            let written = state.random() as usize % (bytes.len() + 1);
            bytes.truncate(written);
            Err(down())
        } else if bytes.len() > room {
            bytes.truncate(room);
            Err(ErrorKind::StorageFull.into())
        } else {
            Ok(())
        };
        state.inodes[self.id].bytes.extend(bytes);
        result
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.whole()?;
        let inode = &mut state.inodes[self.id];
        inode.bytes.truncate(bytes as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.whole()?;
        if std::mem::take(&mut state.failing_sync) {
            return Err(io::Error::other("input/output error"));
        }
        let inode = &mut state.inodes[self.id];
        inode.durable = inode.bytes.clone();
        Ok(())
    }
}
