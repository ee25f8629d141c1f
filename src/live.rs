//! The engine on a thread of its own: commands in through a bounded queue, snapshots out.

use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::alert::Alert;
use crate::clock;
use crate::engine::{Engine, Event, Reloaded, Snapshot, Written};
use crate::spec::Service;
use crate::types::{Span, Timestamp};
use crate::wire::Batch;

/// Decoded requests that may wait for the engine.
pub const QUEUE_LIMIT_BATCHES: usize = 256;
/// How often the engine is told that time passed.
const TICK: Span = Span::millis(250);
/// A new snapshot is taken this often at most, and never so often that taking them costs more than a
/// twentieth of the time.
const SNAPSHOT_EVERY: Span = Span::millis(100);
const SNAPSHOT_SHARE: i64 = 20;

#[expect(clippy::large_enum_variant, reason = "nearly every command is a write")]
enum Command {
    Write { batch: Batch, reply: oneshot::Sender<(Batch, Written)> },
    Tick,
    Reload { services: Vec<Service>, reply: oneshot::Sender<Reloaded> },
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The queue is full.
    #[error("the engine's queue of {QUEUE_LIMIT_BATCHES} requests is full")]
    Overloaded,
    /// The engine is gone.
    #[error("shutting down")]
    Stopped,
}

/// The way to a running engine; cheap to clone. The engine stops when the last handle is gone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    snapshots: Arc<ArcSwap<Snapshot>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write { .. } => "Write",
            Self::Tick => "Tick",
            Self::Reload { .. } => "Reload",
        })
    }
}

impl EngineHandle {
    /// Starts the engine; `on_alerts` is called on its thread with every change of an alert and must not
    /// block. Has to be called within a tokio runtime, which drives the ticks.
    pub fn start(mut engine: Engine, on_alerts: impl FnMut(&[Alert]) + Send + 'static) -> (Self, JoinHandle<()>) {
        let (commands, queue) = mpsc::channel(QUEUE_LIMIT_BATCHES);
        // Readers find every SLO from the first moment on.
        let snapshots = Arc::new(ArcSwap::from_pointee(engine.snapshot(clock::now())));
        let handle = Self { commands, snapshots: Arc::clone(&snapshots) };
        tokio::spawn(tick(handle.commands.downgrade()));
        let run = move || Runner { engine, snapshots, on_alerts, next_snapshot: Timestamp::MIN }.run(queue);
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run);
        (handle, thread.expect("the system has a thread for the engine"))
    }

    /// Hands a batch to the engine and waits for what became of it; the batch comes back for reuse.
    ///
    /// # Errors
    /// At once when the queue is full: the sender is to try again later.
    pub async fn write(&self, batch: Batch) -> Result<(Batch, Written), WriteError> {
        let (reply, done) = oneshot::channel();
        self.commands.try_send(Command::Write { batch, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => WriteError::Stopped,
        })?;
        done.await.map_err(|_| WriteError::Stopped)
    }

    /// Has the engine go on under other specs, after what waits in the queue; `None` when it has stopped.
    pub async fn reload(&self, services: Vec<Service>) -> Option<Reloaded> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Reload { services, reply }).await.ok()?;
        done.await.ok()
    }

    /// The latest snapshot, at most a fraction of a second old.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.load_full()
    }

    /// Requests that wait for the engine now.
    pub fn queued(&self) -> usize {
        QUEUE_LIMIT_BATCHES - self.commands.capacity()
    }
}

/// Tells the engine that time passes for as long as somebody holds a handle.
async fn tick(commands: mpsc::WeakSender<Command>) {
    let mut interval = tokio::time::interval(TICK.to_std());
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let Some(commands) = commands.upgrade() else { return };
        // A full queue means that writes move the time on.
        let _ = commands.try_send(Command::Tick);
    }
}

struct Runner<F> {
    engine: Engine,
    snapshots: Arc<ArcSwap<Snapshot>>,
    on_alerts: F,
    next_snapshot: Timestamp,
}

impl<F: FnMut(&[Alert])> Runner<F> {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            let now = clock::now();
            let event = match &command {
                Command::Tick => Event::Tick,
                Command::Write { batch, .. } => Event::Write(batch),
                Command::Reload { services, .. } => Event::Reload(services),
            };
            let is_reload = matches!(event, Event::Reload(_));
            let effects = self.engine.step(event, now);
            if !effects.alerts.is_empty() {
                (self.on_alerts)(&effects.alerts);
            }
            let is_news = is_reload || !effects.alerts.is_empty();
            if is_news || now >= self.next_snapshot || now + SNAPSHOT_EVERY < self.next_snapshot {
                self.publish();
            }
            // Whoever asked may have hung up; samples are counted and specs hold all the same.
            match command {
                Command::Tick => {}
                Command::Write { batch, reply } => drop(reply.send((batch, effects.written))),
                Command::Reload { reply, .. } => drop(reply.send(effects.reloaded)),
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let start = clock::now();
        self.snapshots.store(Arc::new(self.engine.snapshot(start)));
        let end = clock::now();
        let cost = Span(end.since(start).as_millis().max(0) * SNAPSHOT_SHARE);
        self.next_snapshot = end + cost.max(SNAPSHOT_EVERY);
    }
}
