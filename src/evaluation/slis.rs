//! SLIs by PromQL, evaluated on a thread of their own: rules that are slow do not hold them up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::clock::{self, Steady};
use crate::evaluation::{LOOK_EVERY, QUERY_TIMEOUT, QUEUE_LIMIT_COMMANDS};
use crate::ruler::measure::{Counted, Measures};
use crate::ruler::{Ground, RuleStore, Setting};
use crate::spec::Service;
use crate::types::{Span, Timestamp};

/// Takes new samples of counters the way all samples go.
pub type Sink = Box<dyn Fn(Vec<Counted>) -> Result<(), String> + Send>;

/// What SLIs are evaluated with.
pub struct SliParts {
    /// Whose SLIs.
    pub services: Vec<Service>,
    /// What holds for all queries.
    pub setting: Setting,
    /// Where they read.
    pub store: Arc<dyn RuleStore + Send + Sync>,
    /// Where what they count goes.
    pub sink: Sink,
}

impl std::fmt::Debug for SliParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SliParts").field("services", &self.services.len()).finish_non_exhaustive()
    }
}

/// The way to the thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct SlisHandle {
    commands: SyncSender<Command>,
    stopping: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Debug)]
enum Command {
    Begin,
    Reload(Vec<Service>),
    Stop,
}

impl SlisHandle {
    /// A thread that evaluates once [`Self::begin`] is called.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(parts: SliParts) -> std::io::Result<Self> {
        let (commands, queue) = sync_channel(QUEUE_LIMIT_COMMANDS);
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name("slis".to_owned()).spawn(move || run(&parts, &queue, &flag))?;
        Ok(Self { commands, stopping, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Samples arrive.
    pub fn begin(&self) {
        let _ = self.commands.try_send(Command::Begin);
    }

    /// Has the SLIs of these services hold from now on.
    pub async fn reload(&self, services: Vec<Service>) {
        let commands = self.commands.clone();
        let _ = tokio::task::spawn_blocking(move || commands.send(Command::Reload(services))).await;
    }

    /// Ends the evaluation at hand and the thread. Blocks.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.commands.try_send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that evaluates SLIs ended in a panic");
        }
    }
}

fn run(parts: &SliParts, queue: &Receiver<Command>, stopping: &AtomicBool) {
    let mut measures = Measures::new(&parts.services, clock::now());
    let mut has_begun = false;
    let steady = Steady::start();
    // What the engine could not take yet: counters only go up, so later samples make up for it, but not for their time.
    let mut unwritten: Vec<Counted> = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        let wait = if has_begun { until_next(&measures, clock::now()) } else { LOOK_EVERY };
        match queue.recv_timeout(wait.to_std()) {
            Ok(Command::Begin) => {
                has_begun = true;
                measures.begin(clock::now());
            }
            Ok(Command::Reload(services)) => measures.reload(&services, clock::now()),
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !has_begun || measures.is_empty() {
            continue;
        }
        let deadline = steady.now() + QUERY_TIMEOUT;
        let should_stop = || stopping.load(Ordering::Relaxed) || steady.now() > deadline;
        let ground = Ground { store: &*parts.store, setting: &parts.setting, should_stop: &should_stop };
        let step = measures.step(clock::now(), &ground);
        for (sli, error) in step.errors {
            tracing::warn!(sli, error, "evaluating an SLI failed: nothing is counted for this slot");
        }
        unwritten.extend(step.counted);
        if unwritten.is_empty() {
            continue;
        }
        match (parts.sink)(unwritten.clone()) {
            Ok(()) => unwritten.clear(),
            Err(error) => {
                tracing::warn!(error, "events of SLIs by PromQL wait for the engine");
                keep_newest(&mut unwritten);
            }
        }
    }
}

/// Of a counter that waits, the latest sample says all.
fn keep_newest(counted: &mut Vec<Counted>) {
    let mut newest: Vec<Counted> = Vec::new();
    for (labels, samples) in counted.drain(..) {
        match newest.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, known)) => *known = samples,
            None => newest.push((labels, samples)),
        }
    }
    *counted = newest;
}

fn until_next(measures: &Measures, now: Timestamp) -> Span {
    measures.next().map_or(LOOK_EVERY, |next| next.since(now)).min(LOOK_EVERY).max(Span::millis(1))
}
