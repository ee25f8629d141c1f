//! The engine on a thread of its own: commands in through a bounded queue, snapshots out.
//!
//! With a journal a write is appended to it first and then taken by the engine, both on this one thread: the order of
//! the log is the order of the engine's steps, which is what makes a recovery exact.

mod checkpoint;
mod pool;
mod publish;
mod recovery;
mod runner;
mod specs;
mod status;

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::alert::Alert;
use crate::clock;
use crate::engine::{self, Engine, Findings, Reloaded, Snapshot, Written};
use crate::journal::{AppendError, Entry, Journal, Kind, Progress, body_sum};
use crate::rollout::{self, CommandError, Record};
use crate::types::Span;
use crate::wire::{Batch, Protocol, WireKey};

pub use pool::{INLINE_LIMIT_SAMPLES, Pool, spread};
pub use recovery::RecoveryError;
pub use specs::Specs;
pub use status::{CheckpointStatus, JournalStatus, Phase};

use checkpoint::Keeper;
use publish::Board;
use recovery::recover;
use runner::Begun;
use status::Status;

/// Decoded requests that may wait for the engine.
pub const QUEUE_LIMIT_BATCHES: usize = 256;
/// How often the engine is told that time passed.
const TICK: Span = Span::millis(250);

#[expect(clippy::large_enum_variant, reason = "nearly all are writes")]
enum Command {
    Write { parcel: Parcel, body: Body, reply: oneshot::Sender<Result<Taken, WriteError>> },
    Tick,
    Reload { specs: Specs, reply: oneshot::Sender<Reloaded> },
    Rollout { command: rollout::Command, reply: oneshot::Sender<Result<(), CommandFailure>> },
}

/// A batch on its way through the engine. It comes back for reuse.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The samples.
    pub batch: Batch,
    /// What the engine finds out of their series.
    pub findings: Findings,
}

/// A batch that the engine has taken.
#[derive(Debug)]
pub struct Taken {
    /// With what was found.
    pub parcel: Parcel,
    /// What became of its samples.
    pub written: Written,
}

/// A request's body as it came, for the journal.
#[derive(Clone, Debug)]
pub struct Body {
    protocol: Protocol,
    bytes: Bytes,
    sum: u64,
}

impl Body {
    /// Takes the checksum, so that the engine's thread need not.
    pub fn new(protocol: Protocol, bytes: Bytes) -> Self {
        Self { protocol, sum: body_sum(&bytes), bytes }
    }

    fn entry(&self) -> Entry<'_> {
        Entry { kind: Kind::Write(self.protocol), body: &self.bytes, body_sum: self.sum }
    }
}

/// Returns once all news told so far is where it outlives the process.
pub type Flush = Arc<dyn Fn() + Send + Sync>;

/// A journal to come back from and to go on with.
#[derive(Debug)]
pub struct Durability {
    /// Where it is.
    pub journal: Journal,
    /// How often a checkpoint is made while something is written.
    pub checkpoint_every: Span,
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The queue is full.
    #[error("the engine's queue of {QUEUE_LIMIT_BATCHES} requests is full")]
    Overloaded,
    /// The journal is being read.
    #[error("recovering from the journal: {}", describe(.0))]
    Recovering(Progress),
    /// The disk has no room; there may be some later.
    #[error("{0}")]
    ReadOnly(String),
    /// The engine is gone.
    #[error("shutting down")]
    Stopped,
}

/// `43 %, segment 12 of 8 to 30`
pub fn describe(progress: &Progress) -> String {
    let percent = 100 * progress.bytes / progress.total_bytes.max(1);
    format!("{percent} %, segment {} of {} to {}", progress.current, progress.first, progress.last)
}

impl From<AppendError> for WriteError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::ReadOnly(reason) => Self::ReadOnly(reason),
            AppendError::Stopped(_) => Self::Stopped,
        }
    }
}

/// Why a command about a rollout had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandFailure {
    /// It means nothing as things are.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// It could not be put down.
    #[error(transparent)]
    NotTaken(#[from] WriteError),
}

/// What there is to say about alerts and rollouts.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// These changed.
    Changed(&'a [Alert]),
    /// These changed in an earlier life of the process, which may have told of them or not.
    Repeated(&'a [Alert]),
    /// These, and no others, stand after a recovery.
    Standing(&'a [Alert]),
    /// This happened to rollouts, in this life of the process or an earlier one: a record tells its own number.
    Rollouts(&'a [Record]),
}

/// The way to a running engine; cheap to clone. The engine stops when the last handle is gone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    board: Arc<Board>,
    status: Arc<Status>,
    /// The engine's, once it is known.
    key: Arc<OnceLock<WireKey>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write { .. } => "Write",
            Self::Tick => "Tick",
            Self::Reload { .. } => "Reload",
            Self::Rollout { .. } => "Rollout",
        })
    }
}

impl EngineHandle {
    /// Starts an engine that keeps nothing beyond the process; `on_news` is called on its thread and must not block. Has
    /// to be called within a tokio runtime, which drives the ticks.
    pub fn start(mut engine: Engine, on_news: impl FnMut(News<'_>) + Send + 'static) -> (Self, JoinHandle<()>) {
        let first = engine.snapshot(clock::now());
        let begin =
            move |_: &Arc<Status>, _: &mut dyn FnMut(News<'_>)| Ok(Begun { engine, specs_since: None, log: None });
        Self::spawn(first, Phase::Running, begin, on_news)
    }

    /// Starts an engine of so many shards that first comes back from its journal. Until then writes are refused, and
    /// readers find every SLO as if nothing had been counted. `on_news` is called on the engine's thread and must not
    /// block; `flush` is called on another, before a checkpoint is made from which no news would be told again.
    pub fn recover(
        specs: Specs,
        settings: engine::Settings,
        shards: usize,
        durability: Durability,
        on_news: impl FnMut(News<'_>) + Send + 'static,
        flush: Flush,
    ) -> (Self, JoinHandle<()>) {
        let now = clock::now();
        let first = Engine::new(&specs.services, settings.clone(), now).snapshot(now);
        let begin = move |status: &Arc<Status>, on_news: &mut dyn FnMut(News<'_>)| {
            let Durability { journal, checkpoint_every } = durability;
            let recovered = recover(&journal, &settings, shards, &specs, status, on_news)?;
            let keeper = Keeper::new(journal, checkpoint_every, flush, Arc::clone(status));
            Ok(recovered.begun(keeper))
        };
        Self::spawn(first, Phase::Recovering(Progress::default()), begin, on_news)
    }

    fn spawn(
        first: Snapshot,
        phase: Phase,
        begin: impl FnOnce(&Arc<Status>, &mut dyn FnMut(News<'_>)) -> Result<Begun, RecoveryError> + Send + 'static,
        mut on_news: impl FnMut(News<'_>) + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        let (commands, queue) = mpsc::channel(QUEUE_LIMIT_BATCHES);
        // Readers find every SLO from the first moment on.
        let board = Arc::new(Board::new(first));
        let handle = Self { commands, board, status: Arc::new(Status::new(phase)), key: Arc::default() };
        tokio::spawn(tick(handle.commands.downgrade(), handle.status.subscribe()));
        let (board, status) = (Arc::clone(&handle.board), Arc::clone(&handle.status));
        let key = Arc::clone(&handle.key);
        let run = move || match begin(&status, &mut on_news) {
            Ok(begun) => {
                let _ = key.set(begun.engine.key().clone());
                runner::run(begun, board, &status, on_news, queue);
            }
            Err(RecoveryError::Interrupted) => {}
            Err(error) => status.enter(Phase::Failed(error.to_string())),
        };
        let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run);
        (handle, thread.expect("the system has a thread for the engine"))
    }

    /// Hands a batch to the engine and waits for what became of it. `body` is what it
    /// was decoded from: it is in the journal by then, as durable as the policy wants.
    ///
    /// # Errors
    /// At once when the queue is full or the engine is recovering: the sender is to try again later.
    pub async fn write(&self, parcel: Parcel, body: Body) -> Result<Taken, WriteError> {
        self.check()?;
        let (reply, done) = oneshot::channel();
        self.commands.try_send(Command::Write { parcel, body, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => WriteError::Stopped,
        })?;
        done.await.map_err(|_| WriteError::Stopped)?
    }

    /// Has the engine go on under other specs, after what waits in the queue; `None` when it has stopped.
    pub async fn reload(&self, specs: Specs) -> Option<Reloaded> {
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Reload { specs, reply }).await.ok()?;
        done.await.ok()
    }

    /// Says something about a rollout. It is on disk before it has an effect.
    ///
    /// # Errors
    /// When it means nothing as things are, or cannot be put down.
    pub async fn command(&self, command: rollout::Command) -> Result<(), CommandFailure> {
        self.check()?;
        let (reply, done) = oneshot::channel();
        self.commands.send(Command::Rollout { command, reply }).await.map_err(|_| WriteError::Stopped)?;
        done.await.map_err(|_| WriteError::Stopped)?
    }

    /// Whether writes may be taken, before one is decoded.
    ///
    /// # Errors
    /// While recovering, and after a failure.
    pub fn check(&self) -> Result<(), WriteError> {
        match self.phase() {
            Phase::Running => Ok(()),
            Phase::Recovering(progress) => Err(WriteError::Recovering(progress)),
            Phase::Failed(_) => Err(WriteError::Stopped),
        }
    }

    /// What the engine's thread is doing.
    pub fn phase(&self) -> Phase {
        self.status.phase()
    }

    /// Completes when the engine or its journal fails, with the reason.
    pub async fn failed(&self) -> String {
        let mut phases = self.status.subscribe();
        loop {
            if let Phase::Failed(reason) = &*phases.borrow_and_update() {
                return reason.clone();
            }
            // Held by this handle, so never closed.
            let _ = phases.changed().await;
        }
    }

    /// Looks on without keeping the engine running.
    pub fn observer(&self) -> Observer {
        Observer(Arc::clone(&self.status))
    }

    /// The journal's state.
    pub fn journal(&self) -> JournalStatus {
        self.status.journal().clone()
    }

    /// The key by which the engine knows series, once it runs.
    pub fn key(&self) -> Option<&WireKey> {
        self.key.get()
    }

    /// The latest snapshot: a second old at most, and a fraction of one while somebody looks.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.board.look()
    }

    /// Requests that wait for the engine now.
    pub fn queued(&self) -> usize {
        QUEUE_LIMIT_BATCHES - self.commands.capacity()
    }
}

/// Looks on without keeping the engine running, also when it has ended: the last sync comes then.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Status>);

impl Observer {
    /// What failed, if anything.
    pub fn failure(&self) -> Option<String> {
        match self.0.phase() {
            Phase::Failed(reason) => Some(reason),
            Phase::Recovering(_) | Phase::Running => None,
        }
    }

    /// Completes once samples are taken.
    pub async fn running(&self) {
        // The other end is in here too, so never closed.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Running).await;
    }

    /// Ends a recovery that is going on. What has begun to run goes on.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }

    /// Whether that was asked for.
    pub fn is_interrupted(&self) -> bool {
        self.0.is_interrupted()
    }
}

/// Tells the engine that time passes, once it runs, for as long as somebody holds a handle.
async fn tick(commands: mpsc::WeakSender<Command>, mut phases: watch::Receiver<Phase>) {
    if phases.wait_for(|phase| !matches!(phase, Phase::Recovering(_))).await.is_err() {
        return;
    }
    let mut interval = tokio::time::interval(TICK.to_std());
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let Some(commands) = commands.upgrade() else { return };
        // A full queue means that writes move the time on.
        let _ = commands.try_send(Command::Tick);
    }
}
