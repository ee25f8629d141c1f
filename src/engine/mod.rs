//! The engine: a deterministic state machine that owns everything counted and judged.
//!
//! It has no clock, no IO, no threads and no randomness: [`Engine::step`] takes an event and the time, and
//! returns what follows from them. The same events at the same times give the same effects, byte for byte, so
//! one implementation serves the daemon, a backtest over recorded samples and a specification's own tests.

mod ingest;
mod rules;
mod slo;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::Alert;
use crate::series::{Output, Table, Tag};
use crate::sli::{Catalog, Counting, Counts, Match, Role, Versions};
use crate::spec::Service;
use crate::types::{Span, Timestamp};
use crate::wire::{Batch, Limits, WireKey};

pub use ingest::{FUTURE_LIMIT, Rejection, Written};
pub use slo::LOOKBACK;
pub use view::{RuleView, SloState, SloView, Snapshot, Stats, TierView, VersionView};

use slo::Judge;

/// Every SLO is judged at least this often while time passes, whether or not data arrives.
const SWEEP_EVERY: Span = Span::seconds(10);
/// SLOs with a pending or firing alert are judged this often.
const WATCH_EVERY: Span = Span::seconds(1);
/// Wire keys not used for one to two of these are decoded again.
const ROTATE_EVERY: Span = Span::minutes(30);
/// Series looked at for removal in one tick.
const SWEEP_LIMIT_SERIES: usize = 20_000;

/// Something that happens to the engine.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Samples arrived.
    Write(&'a Batch),
    /// All samples of one moment, as a recording has them: no scrape waits for a rest that may still arrive.
    Moment(&'a Batch),
    /// Time passed.
    Tick,
    /// Every SLO is to be judged as of now, whether or not its time has come: where a recording ends.
    Review,
}

/// What follows from an event.
#[derive(Debug, Default)]
pub struct Effects {
    /// Alerts whose state changed, in order.
    pub alerts: Vec<Alert>,
    /// What became of the samples of a [`Event::Write`] or [`Event::Moment`].
    pub written: Written,
}

/// What the engine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys the hashes of labels; results do not depend on it.
    pub key: WireKey,
    /// Limits on the labels of a new series.
    pub limits: Limits,
    /// Series tracked at most.
    pub series_limit: usize,
}

/// A series' uses, shared by all series with the same ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Binding {
    matches: Vec<Match>,
    /// Value of the version label, by SLI: services may name the label differently.
    versions: Vec<Option<Box<str>>>,
}

/// One SLI while running.
#[derive(Debug)]
struct SliRun {
    counting: Counting,
    version_label: Option<Box<str>>,
    versions: Versions,
    /// Indices of the SLOs that use it.
    slos: Vec<usize>,
}

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    table: Table,
    catalog: Catalog,
    bindings: Vec<Arc<Binding>>,
    tags: BTreeMap<Arc<Binding>, Tag>,
    slis: Vec<SliRun>,
    judges: Vec<Judge>,
    /// SLOs to judge at the end of the step.
    touched: Vec<usize>,
    output: Output,
    identity_buffer: Vec<u8>,
    stats: Stats,
    swept_at: Timestamp,
    watched_at: Timestamp,
    rotated_at: Timestamp,
}

impl Engine {
    /// An engine that has seen nothing, for these services, at `now`.
    pub fn new(services: &[Service], settings: Settings, now: Timestamp) -> Self {
        let mut slis = Vec::new();
        let mut judges = Vec::new();
        for service in services {
            let first = slis.len();
            for sli in &service.slis {
                slis.push(SliRun {
                    counting: Counting::from(&sli.inputs().numerator),
                    version_label: service.version_label.as_deref().map(Into::into),
                    versions: Versions::default(),
                    slos: Vec::new(),
                });
            }
            for slo in &service.slos {
                let sli: &mut SliRun = &mut slis[first + slo.sli];
                sli.slos.push(judges.len());
                judges.push(Judge::new(service, slo, first + slo.sli, sli.counting, now));
            }
        }
        Self {
            table: Table::new(settings.series_limit),
            settings,
            catalog: Catalog::new(services),
            bindings: Vec::new(),
            tags: BTreeMap::new(),
            slis,
            judges,
            touched: Vec::new(),
            output: Output::default(),
            identity_buffer: Vec::new(),
            stats: Stats::default(),
            swept_at: Timestamp::MIN,
            watched_at: Timestamp::MIN,
            rotated_at: now,
        }
    }

    /// Takes one event at `now` and returns what follows.
    pub fn step(&mut self, event: Event<'_>, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Write(batch) | Event::Moment(batch) => {
                effects.written = self.write(batch, now);
                self.stats.count(&effects.written);
            }
            Event::Tick => self.tick(now),
            Event::Review => self.touched.extend(0..self.judges.len()),
        }
        let is_whole = matches!(event, Event::Moment(_));
        self.table.settle(if is_whole { Timestamp(i64::MAX) } else { now }, &mut self.output.increments);
        self.apply(now);
        self.judge(now, &mut effects.alerts);
        effects
    }

    /// Upkeep that depends on time alone.
    fn tick(&mut self, now: Timestamp) {
        self.table.sweep(now, SWEEP_LIMIT_SERIES, &mut self.output);
        // Also when the clock went back.
        let due = |last: Timestamp, every: Span| now < last || now.since(last) >= every;
        if due(self.rotated_at, ROTATE_EVERY) {
            self.rotated_at = now;
            self.table.rotate_wire_keys();
        }
        if due(self.swept_at, SWEEP_EVERY) {
            (self.swept_at, self.watched_at) = (now, now);
            self.touched.extend(0..self.judges.len());
        } else if due(self.watched_at, WATCH_EVERY) {
            self.watched_at = now;
            self.touched.extend((0..self.judges.len()).filter(|&i| self.judges[i].is_active()));
        }
    }

    /// When an [`Event::Tick`] has something to do at the latest, if nothing is written before. A daemon ticks
    /// far more often; a replay need not.
    pub fn next_tick(&self) -> Timestamp {
        let sweep = self.swept_at + SWEEP_EVERY;
        let is_watching = self.judges.iter().any(Judge::is_active);
        if is_watching { sweep.min(self.watched_at + WATCH_EVERY) } else { sweep }
    }

    /// Adds what the series table let through to the counts of SLIs and SLOs.
    fn apply(&mut self, now: Timestamp) {
        let mut output = std::mem::take(&mut self.output);
        for event in output.liveness.drain(..) {
            let binding = Arc::clone(&self.bindings[event.tag.0 as usize]);
            for matched in binding.matches.iter().filter(|m| m.role == Role::Total) {
                for &slo in &self.slis[matched.sli.0 as usize].slos {
                    self.judges[slo].series_changed(event.live);
                    self.touched.push(slo);
                }
            }
        }
        for increment in output.increments.drain(..) {
            let tag = self.table.tag(increment.series);
            let binding = &self.bindings[tag.0 as usize];
            let (at, amount) = (increment.change.at, increment.change.amount);
            for (matched, version) in binding.matches.iter().zip(&binding.versions) {
                let counts = match matched.role {
                    Role::Numerator => Counts { numerator: amount, total: 0.0 },
                    Role::Total => Counts { numerator: 0.0, total: amount },
                };
                let sli = &mut self.slis[matched.sli.0 as usize];
                if let Some(version) = version {
                    sli.versions.add(version, at, now, counts);
                }
                for &slo in &sli.slos {
                    self.judges[slo].count(matched.role, at, counts, now);
                    self.touched.push(slo);
                }
            }
        }
        self.output = output;
    }

    /// Judges every SLO touched in this step, in the order of the specs.
    fn judge(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.touched.sort_unstable();
        self.touched.dedup();
        for slo in self.touched.drain(..) {
            self.judges[slo].judge(now, alerts);
        }
    }

    /// What every SLO looks like since it was last judged; unchanged ones are shared with earlier snapshots.
    pub fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        let slis = &self.slis;
        let views = self.judges.iter_mut().map(|judge| judge.view(slis)).collect();
        let (series, wire_keys) = (self.table.len(), self.table.wire_keys());
        Snapshot { at: now, slos: views, stats: Stats { series, wire_keys, ..self.stats.clone() } }
    }
}
