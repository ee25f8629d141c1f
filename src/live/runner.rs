//! The engine's thread: takes commands one by one, and between them does a bit of what takes long.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::clock;
use crate::engine::{Effects, Engine, Event};
use crate::journal::{AppendError, Entry, Gap, Kind, Standing, Writer, body_sum};
use crate::live::checkpoint::Keeper;
use crate::live::publish::{Board, Publisher};
use crate::live::status::{Phase, Status};
use crate::live::{Command, CommandFailure, News, Taken, WriteError};
use crate::rollout;
use crate::types::Timestamp;

/// An engine ready to run.
pub(super) struct Begun {
    pub(super) engine: Engine,
    /// To be written first.
    pub(super) specs_since: Option<(Timestamp, Vec<u8>)>,
    pub(super) log: Option<Log>,
}

/// The journal of a running engine.
pub(super) struct Log {
    pub(super) writer: Writer,
    /// Under which the engine runs, as the log has them.
    pub(super) specs: Vec<u8>,
    /// What it had lost at the start.
    pub(super) gaps: Vec<Gap>,
    /// Arrival of the last record.
    pub(super) newest: Timestamp,
    pub(super) keeper: Keeper,
}

/// Runs the engine until the queue ends or the journal fails.
pub(super) fn run(
    begun: Begun,
    board: Arc<Board>,
    status: &Arc<Status>,
    on_news: impl FnMut(News<'_>),
    queue: mpsc::Receiver<Command>,
) {
    let Begun { engine, specs_since, log } = begun;
    let (publisher, status) = (Publisher::new(board), Arc::clone(status));
    let mut runner = Runner { engine, log, specs_since, status, publisher, on_news };
    runner.publish();
    runner.status.enter(Phase::Running);
    runner.run(queue);
    // What was written is synced before the thread ends.
}

struct Runner<F> {
    engine: Engine,
    log: Option<Log>,
    specs_since: Option<(Timestamp, Vec<u8>)>,
    status: Arc<Status>,
    publisher: Publisher,
    on_news: F,
}

impl<F: FnMut(News<'_>)> Runner<F> {
    fn run(&mut self, mut queue: mpsc::Receiver<Command>) {
        loop {
            let is_busy = self.publisher.is_busy() || self.log.as_ref().is_some_and(|log| log.keeper.is_busy());
            let command = match queue.try_recv() {
                Err(TryRecvError::Empty) if !is_busy => queue.blocking_recv().ok_or(TryRecvError::Disconnected),
                command => command,
            };
            match command {
                Ok(command) => {
                    if self.take(command).is_break() {
                        break;
                    }
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
            self.work();
        }
        self.publish();
    }

    /// Does what a command says, unless there is nothing more to be done after it.
    fn take(&mut self, command: Command) -> ControlFlow<()> {
        let now = clock::now();
        match command {
            Command::Tick => _ = self.step(Event::Tick, now),
            Command::Reload { specs, reply } => {
                // Into the log before the next write, at this time.
                self.specs_since = Some((now, specs.encode()));
                let reloaded = self.step(Event::Reload(&specs.services), now).reloaded;
                self.publish();
                // Whoever asked may have hung up; specs hold and samples are counted all the same.
                let _ = reply.send(reloaded);
            }
            Command::Rollout { command, reply } => {
                let answer = self.rollout(&command, now);
                let is_stopped = answer == Err(WriteError::Stopped.into());
                let _ = reply.send(answer);
                if is_stopped {
                    return ControlFlow::Break(());
                }
            }
            Command::Write { mut parcel, body, reply } => {
                if let Err(error) = self.append(body.entry(), now) {
                    let is_stopped = error == WriteError::Stopped;
                    let _ = reply.send(Err(error));
                    return if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
                }
                self.engine.swap_findings(&mut parcel.findings);
                let written = self.step(Event::Write(&parcel.batch), now).written;
                self.engine.swap_findings(&mut parcel.findings);
                let taken = Taken { parcel, written };
                let answer = move || _ = reply.send(Ok(taken));
                match &self.log {
                    Some(log) => log.writer.when_durable(answer),
                    None => answer(),
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Does a bit of what takes long: nothing here may hold up the next command for more than a few milliseconds.
    fn work(&mut self) {
        self.publisher.work(&mut self.engine);
        let Some(log) = &mut self.log else { return };
        // Specs that the log does not have yet would be reloaded once more by a recovery.
        if log.keeper.is_due() && self.specs_since.is_none() {
            let (position, newest) = (log.writer.position(), log.newest);
            let standing = Standing { position, newest, specs: log.specs.clone(), gaps: log.gaps.clone() };
            log.keeper.begin(&mut self.engine, standing);
        }
        log.keeper.work(&mut self.engine);
    }

    /// Takes a step and tells what follows from it.
    fn step(&mut self, event: Event<'_>, now: Timestamp) -> Effects {
        let effects = self.engine.step(event, now);
        if !effects.alerts.is_empty() {
            (self.on_news)(News::Changed(&effects.alerts));
            self.publisher.hurry();
        }
        if !effects.records.is_empty() {
            (self.on_news)(News::Rollouts(&effects.records));
            self.publisher.hurry();
        }
        effects
    }

    /// Puts a command down and takes its step.
    fn rollout(&mut self, command: &rollout::Command, now: Timestamp) -> Result<(), CommandFailure> {
        let body = postcard::to_stdvec(command).expect("a vector takes everything");
        self.append(Entry { kind: Kind::Rollout, body: &body, body_sum: body_sum(&body) }, now)?;
        // A decision: it outlives the power too, before anybody hears of it.
        if let Some(Err(error)) = self.log.as_ref().map(|log| log.writer.sync()) {
            self.status.enter(Phase::Failed(error.to_string()));
            return Err(WriteError::from(error).into());
        }
        let refused = self.step(Event::Rollout(command), now).refused;
        self.publish();
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Writes to the journal, if there is one.
    fn append(&mut self, entry: Entry<'_>, now: Timestamp) -> Result<(), WriteError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let noted = self.specs_since.as_ref().map_or(Ok(0), |(since, specs)| {
            log.newest = *since;
            log.writer.append(Entry { kind: Kind::Specs, body: specs, body_sum: body_sum(specs) }, *since)
        });
        if noted.is_ok()
            && let Some((_, specs)) = self.specs_since.take()
        {
            log.specs = specs;
        }
        let appended = noted.and_then(|_| log.writer.append(entry, now));
        let mut shown = self.status.journal();
        if shown.read_only.as_deref() != log.writer.read_only() {
            shown.read_only = log.writer.read_only().map(str::to_owned);
        }
        match appended {
            Ok(sequence) => {
                log.newest = now;
                log.keeper.wrote(entry.body.len() as u64);
                shown.next_sequence = sequence + 1;
                shown.written_bytes += entry.body.len() as u64;
                Ok(())
            }
            Err(error) => {
                shown.refused_requests += 1;
                if let AppendError::Stopped(reason) = &error {
                    self.status.enter(Phase::Failed(reason.clone()));
                }
                Err(error.into())
            }
        }
    }

    fn publish(&mut self) {
        self.publisher.publish(&mut self.engine);
    }
}
