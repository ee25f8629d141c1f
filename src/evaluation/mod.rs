//! Rule groups evaluated on schedule, on a thread of their own.
//!
//! The thread sleeps until the next slot, evaluates what is due against the store, one group after the other, and tells
//! of the alerts that changed. A slot that passes while a slow evaluation runs is missed and counted, as in Prometheus; a
//! query is stopped after two minutes. Alerts are on disk before anybody is told of them ([`record`]), and told again after a restart: the
//! outbox knows what has been told.

mod notice;
pub mod record;
mod slis;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

pub use slis::{Sink, SliParts, SlisHandle};

use crate::clock::{self, Steady, Stopwatch};
use crate::notify::Notifier;
use crate::ruler::{Due, Ground, GroupView, RuleAlert, RuleStore, Ruler, Saved, Setting};
use crate::spec::RuleGroup;
use crate::types::{Span, Timestamp};

/// The clock is looked at this often at least: it may have been set.
const LOOK_EVERY: Span = Span::seconds(1);
/// Prometheus' `--query.timeout`.
const QUERY_TIMEOUT: Span = Span::minutes(2);
/// Reloads that wait.
const QUEUE_LIMIT_COMMANDS: usize = 16;
/// Alerts are recorded at least this often while there are any, so that a restart knows when it was.
const RECORD_EVERY: Span = Span::seconds(15);

/// What rules are evaluated with.
pub struct Parts {
    /// The groups in force.
    pub groups: Vec<RuleGroup>,
    /// What holds for all of them.
    pub setting: Setting,
    /// Where they read and write.
    pub store: Arc<dyn RuleStore + Send + Sync>,
    /// Who is told of alerts.
    pub notifier: Arc<Notifier>,
    /// Where alerts are kept over a restart; nowhere without.
    pub record: Option<PathBuf>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

/// The groups at one moment, in the order of file and name.
pub type Groups = Vec<Arc<GroupView>>;

/// The way to the rules; cheap to clone.
#[derive(Clone, Debug)]
pub struct RulesHandle {
    commands: SyncSender<Command>,
    groups: Arc<ArcSwap<Groups>>,
    stopping: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Debug)]
enum Command {
    Begin,
    Reload { groups: Vec<RuleGroup>, done: oneshot::Sender<()> },
    Stop,
}

impl RulesHandle {
    /// Takes up the alerts that an earlier process has recorded; evaluates once [`Self::begin`] is called.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (commands, queue) = sync_channel(QUEUE_LIMIT_COMMANDS);
        let saved = parts.record.as_deref().and_then(record::read);
        let ruler = Ruler::new(&parts.groups, parts.setting, saved.as_ref(), clock::now());
        let groups = Arc::new(ArcSwap::from_pointee(ruler.views()));
        let stopping = Arc::new(AtomicBool::new(false));
        let runner = Runner {
            ruler,
            store: parts.store,
            notifier: parts.notifier,
            record: parts.record,
            recorded: saved.unwrap_or_default(),
            recorded_at: Timestamp::MIN,
            groups: Arc::clone(&groups),
            stopping: Arc::clone(&stopping),
            clock: Steady::start(),
        };
        let thread = std::thread::Builder::new().name("rules".to_owned()).spawn(move || runner.run(&queue))?;
        Ok(Self { commands, groups, stopping, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Samples arrive: evaluation begins with the next slot of each group.
    pub fn begin(&self) {
        let _ = self.commands.try_send(Command::Begin);
    }

    /// What the groups look like.
    pub fn groups(&self) -> Arc<Groups> {
        self.groups.load_full()
    }

    /// Has these groups hold from now on. What stays as it was goes on.
    pub async fn reload(&self, groups: Vec<RuleGroup>) {
        let (done, reloaded) = oneshot::channel();
        let commands = self.commands.clone();
        let _ = tokio::task::spawn_blocking(move || commands.send(Command::Reload { groups, done })).await;
        let _ = reloaded.await;
    }

    /// Ends the evaluation at hand, records the alerts and ends the thread. Blocks.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.commands.try_send(Command::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that evaluates rules ended in a panic");
        }
    }
}

struct Runner {
    ruler: Ruler,
    store: Arc<dyn RuleStore + Send + Sync>,
    notifier: Arc<Notifier>,
    record: Option<PathBuf>,
    recorded: Saved,
    recorded_at: Timestamp,
    groups: Arc<ArcSwap<Groups>>,
    stopping: Arc<AtomicBool>,
    clock: Steady,
}

impl Runner {
    fn run(mut self, queue: &Receiver<Command>) {
        loop {
            match queue.recv() {
                Ok(Command::Begin) => break,
                Ok(Command::Reload { groups, done }) => self.reload(&groups, done),
                Ok(Command::Stop) | Err(_) => return,
            }
        }
        self.ruler.begin(clock::now());
        // What fires since before the restart may not have been told; what fired before and does not now is over.
        let firing: Vec<RuleAlert> = self.ruler.groups().iter().flat_map(crate::ruler::Group::firing).collect();
        self.tell(&firing);
        let standing = firing.iter().map(notice::fingerprint).collect();
        self.notifier.reconcile_rules(standing);
        loop {
            while let Some(due) = self.due() {
                self.evaluate(due);
            }
            self.ruler.mark_departed(&*self.store, clock::now());
            self.keep(false);
            let now = clock::now();
            let wait =
                self.ruler.next().map_or(LOOK_EVERY, |next| next.since(now)).min(LOOK_EVERY).max(Span::millis(1));
            match queue.recv_timeout(wait.to_std()) {
                Ok(Command::Reload { groups, done }) => self.reload(&groups, done),
                Ok(Command::Begin) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        self.keep(true);
    }

    fn reload(&mut self, groups: &[RuleGroup], done: oneshot::Sender<()>) {
        let ended = self.ruler.reload(groups, clock::now());
        self.keep(true);
        self.tell(&ended);
        self.groups.store(Arc::new(self.ruler.views()));
        let _ = done.send(());
    }

    fn due(&mut self) -> Option<Due> {
        if self.stopping.load(Ordering::Relaxed) { None } else { self.ruler.due(clock::now()) }
    }

    fn evaluate(&mut self, Due { group: at, slot }: Due) {
        let (began, watch) = (clock::now(), Stopwatch::start());
        let (steady, stopping) = (self.clock, Arc::clone(&self.stopping));
        let mut changed = Vec::new();
        let Some((group, setting)) = self.ruler.group_and_setting(at) else { return };
        group.begin(slot);
        for rule in 0..group.len() {
            let (began, watch, deadline) = (clock::now(), Stopwatch::start(), steady.now() + QUERY_TIMEOUT);
            let should_stop = || stopping.load(Ordering::Relaxed) || steady.now() > deadline;
            let ground = Ground { store: &*self.store, setting, should_stop: &should_stop };
            changed.extend(group.evaluate_rule(rule, slot, &ground));
            group.time_rule(rule, began, watch.elapsed());
            if stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        group.finish(slot, &*self.store);
        if group.restores_now() {
            group.restore_from_storage(&*self.store, clock::now());
        }
        group.time(began, watch.elapsed());
        let view = Arc::new(group.view());
        log(&view, &changed);
        self.publish(at, view);
        if !changed.is_empty() {
            self.keep(true);
            self.tell(&changed);
        }
    }

    fn publish(&self, at: usize, view: Arc<GroupView>) {
        let mut groups = Groups::clone(&self.groups.load());
        if let Some(place) = groups.get_mut(at) {
            *place = view;
        }
        self.groups.store(Arc::new(groups));
    }

    fn tell(&self, alerts: &[RuleAlert]) {
        let setting = self.ruler.setting();
        let notices = alerts.iter().filter_map(|alert| notice::notice(alert, setting)).collect();
        self.notifier.send_notices(notices);
    }

    /// Writes the alerts down, if it is time and they are other ones.
    fn keep(&mut self, at_once: bool) {
        let Some(path) = &self.record else { return };
        let now = self.clock.now();
        if !at_once && now.since(self.recorded_at) < RECORD_EVERY {
            return;
        }
        let saved = self.ruler.save();
        if saved != self.recorded {
            if let Err(error) = record::write(path, &saved) {
                tracing::error!(path = %path.display(), %error, "alerts of rules cannot be kept over a restart");
            }
            self.recorded = saved;
        }
        self.recorded_at = now;
    }
}

fn log(group: &GroupView, changed: &[RuleAlert]) {
    for rule in &group.rules {
        if let Some(error) = &rule.last_error {
            tracing::warn!(group = group.name, rule = rule.rule.name(), error, "evaluating a rule failed");
        }
    }
    for alert in changed {
        tracing::info!(
            group = group.name,
            alertname = alert.labels.get("alertname"),
            labels = %alert.labels,
            value = alert.value,
            "alert {}",
            alert.state.as_str()
        );
    }
}
