//! Forcing what was written onto the disk, on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::Fsync;
use super::disk::{Disk, DiskFile};
use crate::clock::Steady;
use crate::types::Span;

/// From the first write that is not synced to the fsync, so that it is over within a second.
const SYNC_EVERY: Span = Span::millis(800);

/// What to do once everything before it is on the disk.
pub(super) type Done = Box<dyn FnOnce() + Send>;
/// Told once, when an fsync fails.
pub(super) type OnFailure = Box<dyn FnOnce(&str) + Send>;

enum Job {
    /// Writes go to this file from now on; its name may not be on the disk yet.
    Opened(Arc<dyn DiskFile>),
    /// Something was written.
    Wrote,
    /// Somebody waits.
    Waiting(Done),
}

/// The way to the thread; it ends after a last sync when this is dropped.
pub(super) struct Syncer {
    fsync: Fsync,
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// A [`Job::Wrote`] is on its way.
    told: AtomicBool,
    failure: OnceLock<String>,
}

impl Syncer {
    pub(super) fn start(fsync: Fsync, disk: Arc<dyn Disk>, on_failure: OnFailure) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let worker = Worker { fsync, disk, files: Vec::new(), folder_changed: false, shared: Arc::clone(&shared) };
        let run = move || worker.run(&queue, on_failure);
        let thread = std::thread::Builder::new().name("fsync".to_owned()).spawn(run)?;
        Ok(Self { fsync, jobs: Some(jobs), shared, thread: Some(thread) })
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Nobody listens after a failure, which the next append reports.
            let _ = jobs.send(job);
        }
    }

    pub(super) fn opened(&self, file: Arc<dyn DiskFile>) {
        self.send(Job::Opened(file));
    }

    /// Something was written to the file opened last.
    pub(super) fn wrote(&self) {
        if self.fsync == Fsync::EverySecond && !self.shared.told.swap(true, Ordering::AcqRel) {
            self.send(Job::Wrote);
        }
    }

    /// Calls `done` as soon as the policy allows everything written so far to be acknowledged; never after a failure.
    pub(super) fn when_durable(&self, done: Done) {
        match self.fsync {
            Fsync::Always => self.send(Job::Waiting(done)),
            Fsync::EverySecond | Fsync::Off => done(),
        }
    }

    /// Calls `done` once everything written so far is on the disk, whatever the policy; never after a failure.
    pub(super) fn when_synced(&self, done: Done) {
        self.send(Job::Waiting(done));
    }

    /// Why nothing can be written any more.
    pub(super) fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    fsync: Fsync,
    disk: Arc<dyn Disk>,
    /// Written to and not synced since; the last one still is.
    files: Vec<Arc<dyn DiskFile>>,
    folder_changed: bool,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>, on_failure: OnFailure) {
        let result = self.serve(queue);
        // Once more at the end, however lazy the policy: a restart then finds everything.
        if let Err(error) = result.and_then(|()| self.sync()) {
            let message = format!("fsync failed: {error}; what was written last may be lost, so nothing more is taken");
            let message = self.shared.failure.get_or_init(|| message);
            on_failure(message);
        }
    }

    fn serve(&mut self, queue: &Receiver<Job>) -> io::Result<()> {
        let mut waiting: Vec<Done> = Vec::new();
        while let Ok(job) = queue.recv() {
            let mut dirty = self.take(job, &mut waiting);
            if self.fsync == Fsync::Off && waiting.is_empty() {
                continue;
            }
            dirty |= self.gather(dirty, queue, &mut waiting);
            if !dirty {
                continue;
            }
            // Before the sync: what is written during it needs another one.
            self.shared.told.store(false, Ordering::Release);
            self.sync()?;
            waiting.drain(..).for_each(|done| done());
        }
        Ok(())
    }

    /// Takes what shares the next sync: everybody who has come by now, or comes within the time.
    fn gather(&mut self, mut dirty: bool, queue: &Receiver<Job>, waiting: &mut Vec<Done>) -> bool {
        if self.fsync == Fsync::Always {
            for job in queue.try_iter() {
                dirty |= self.take(job, waiting);
            }
            return dirty;
        }
        let clock = Steady::start();
        let left = || SYNC_EVERY.as_millis() - clock.elapsed().as_millis();
        while dirty && waiting.is_empty() && left() > 0 {
            match queue.recv_timeout(Span(left()).to_std()) {
                Ok(job) => _ = self.take(job, waiting),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        dirty
    }

    /// Notes a job; whether it asks for a sync.
    fn take(&mut self, job: Job, waiting: &mut Vec<Done>) -> bool {
        match job {
            Job::Opened(file) => {
                self.folder_changed = true;
                // Without syncs nobody needs the files before it.
                if self.fsync == Fsync::Off {
                    self.files.clear();
                }
                self.files.push(file);
                false
            }
            Job::Wrote => true,
            Job::Waiting(done) => {
                waiting.push(done);
                true
            }
        }
    }

    /// Syncs the files in the order in which they were written, then the folder that names them.
    fn sync(&mut self) -> io::Result<()> {
        for file in &self.files {
            file.sync()?;
        }
        if self.folder_changed {
            self.disk.sync()?;
            self.folder_changed = false;
        }
        self.files.drain(..self.files.len().saturating_sub(1));
        Ok(())
    }
}
