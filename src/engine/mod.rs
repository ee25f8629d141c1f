//! The engine: a deterministic state machine that owns everything counted and judged.
//!
//! It has no clock, no IO, no threads and no randomness: [`Engine::step`] takes an event and the time, and
//! returns what follows from them. The same events at the same times give the same effects, byte for byte, so
//! one implementation serves the daemon, a backtest over recorded samples and a specification's own tests.

mod docket;
mod ingest;
mod native;
mod reload;
mod rules;
mod slo;
mod state;
mod time;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::series::{Change, Increment, Output, Table, Tag};
use crate::sli::{Catalog, Counting, Counts, Match, Role, Versions};
use crate::spec::Service;
use crate::types::Timestamp;
use crate::wire::{Batch, Limits, WireKey};

pub use ingest::{FUTURE_LIMIT, PAST_LIMIT, Rejection, Written};
pub use reload::Reloaded;
pub use slo::LOOKBACK;
pub use state::{RestoreError, STATE_VERSION};
pub use view::{RuleView, SloState, SloView, Snapshot, Stats, TierView, VersionView};

use docket::Docket;
use slo::Judge;
use time::Time;

/// Something that happens to the engine.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Samples arrived.
    Write(&'a Batch),
    /// All samples of one moment, as a recording has them: no scrape waits for a rest that may still arrive.
    Moment(&'a Batch),
    /// Nothing but time passed. What that leads to happens at the same moments however often it is said: see
    /// [`Engine::step`].
    Tick,
    /// Other specs hold from now on.
    Reload(&'a [Service]),
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
    /// What an [`Event::Reload`] meant.
    pub reloaded: Reloaded,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Binding {
    matches: Vec<Match>,
    /// Value of the version label, by SLI: services may name the label differently.
    versions: Vec<Option<Box<str>>>,
}

/// One SLI while running.
#[derive(Debug)]
struct SliRun {
    /// Its service and name and what it counts: equal text, equal history.
    definition: Arc<str>,
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
    /// By tag.
    bindings: Vec<Arc<Binding>>,
    tags: BTreeMap<Arc<Binding>, Tag>,
    /// By tag, what this step has added at one time. Most series of a scrape are bound to the same few SLIs: their
    /// changes are summed here first, and reach each SLI and SLO once.
    tallies: Vec<Option<Change>>,
    /// Tags with a tally, in the order of their first change.
    tallied: Vec<Tag>,
    slis: Vec<SliRun>,
    judges: Vec<Judge>,
    docket: Docket,
    output: Output,
    identity_buffer: Vec<u8>,
    stats: Stats,
    time: Time,
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
                    definition: format!("{}/{} {}", service.name, sli.name, sli.inputs()).into(),
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
        let nothing = Arc::new(Binding { matches: Vec::new(), versions: Vec::new() });
        Self {
            table: Table::new(settings.series_limit, &settings.limits),
            settings,
            catalog: Catalog::new(services),
            bindings: vec![Arc::clone(&nothing)],
            tags: BTreeMap::from([(nothing, Tag::NOTHING)]),
            tallies: vec![None],
            tallied: Vec::new(),
            slis,
            docket: Docket::new(judges.len()),
            judges,
            output: Output::default(),
            identity_buffer: Vec::new(),
            stats: Stats::default(),
            time: Time::new(now),
        }
    }

    /// Takes one event at `now` and returns what follows.
    ///
    /// First comes what time alone has led to since the last step, at whole seconds before `now`, so that the state
    /// after a step depends on the writes and their times and not on how often somebody looked in between. There is
    /// one exception: a clock that went back has to be told by an event when it happens.
    pub fn step(&mut self, event: Event<'_>, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        self.pass_time(now, &mut effects.alerts);
        match event {
            Event::Write(batch) | Event::Moment(batch) => {
                effects.written = self.write(batch, now);
                self.stats.count(&effects.written);
                self.time.written_at = now;
            }
            Event::Tick => return effects,
            Event::Reload(services) => {
                effects.reloaded = self.reload(services, now, &mut effects.alerts);
                return effects;
            }
            Event::Review => self.docket.list_all(),
        }
        let until = if matches!(event, Event::Moment(_)) { Timestamp(i64::MAX) } else { now };
        self.settle(until, now, &mut effects.alerts);
        effects
    }

    /// Counts what the series table lets through `until` then, and judges what that touches.
    fn settle(&mut self, until: Timestamp, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.table.settle(until, &mut self.output.increments);
        self.apply(now);
        self.judge(now, alerts);
    }

    /// Adds what the series table let through to the counts of SLIs and SLOs.
    fn apply(&mut self, now: Timestamp) {
        let mut output = std::mem::take(&mut self.output);
        for event in output.liveness.drain(..) {
            let binding = &self.bindings[event.tag.0 as usize];
            for matched in binding.matches.iter().filter(|m| m.role == Role::Total) {
                for &slo in &self.slis[matched.sli.0 as usize].slos {
                    self.judges[slo].series_changed(event.live);
                    self.docket.list(slo);
                }
            }
        }
        for Increment { tag, change } in output.increments.drain(..) {
            let tally = &mut self.tallies[tag.0 as usize];
            match tally {
                Some(sum) if sum.at == change.at => sum.amount += change.amount,
                _ => match tally.replace(change) {
                    Some(sum) => self.count(tag, sum, now),
                    None => self.tallied.push(tag),
                },
            }
        }
        self.output = output;
        let mut tallied = std::mem::take(&mut self.tallied);
        for tag in tallied.drain(..) {
            if let Some(sum) = self.tallies[tag.0 as usize].take() {
                self.count(tag, sum, now);
            }
        }
        self.tallied = tallied;
    }

    /// Adds events to every SLI and SLO that a binding names.
    fn count(&mut self, tag: Tag, Change { at, amount }: Change, now: Timestamp) {
        let binding = &self.bindings[tag.0 as usize];
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
                self.docket.list(slo);
            }
        }
    }

    /// Judges every SLO listed in this step.
    fn judge(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.docket.clear(now, |slo| {
            self.judges[slo].judge(now, alerts);
            self.judges[slo].is_active()
        });
    }

    /// What every SLO looks like since it was last judged; unchanged ones are shared with earlier snapshots.
    pub fn snapshot(&mut self, now: Timestamp) -> Snapshot {
        let slis = &self.slis;
        let views = self.judges.iter_mut().map(|judge| judge.view(slis)).collect();
        let (series, wire_keys) = (self.table.len(), self.table.wire_keys());
        Snapshot { at: now, slos: views, stats: Stats { series, wire_keys, ..self.stats.clone() } }
    }
}
