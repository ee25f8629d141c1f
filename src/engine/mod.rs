//! The engine: a deterministic state machine that owns everything counted and judged.
//!
//! It has no clock, no IO, no threads of its own and no randomness: [`Engine::step`] takes an event and the time, and
//! returns what follows from them. The same events at the same times give the same effects, byte for byte, so
//! one implementation serves the daemon, a backtest over recorded samples and a specification's own tests.

mod docket;
mod draft;
mod groups;
mod ha;
mod ingest;
mod native;
mod plan;
mod releases;
mod reload;
mod rules;
mod slo;
mod state;
mod tags;
mod time;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::rollout::{Command, CommandError, Record};
use crate::series::{Alike, Aside, Change, Ha, Increment, Output, Piece, Reading, STALE_NAN_BITS, Table, Tag, encode};
use crate::sli::{Catalog, Counts, Match, Signal, Values, Versions};
use crate::spec::{Counting, Reads, Role, Service};
use crate::types::Timestamp;
use crate::wire::{Batch, Limits, WireKey};

pub use crate::series::{Findings, HaPairs, Inline, REPLICAS_LIMIT_COUNT, SHARDS_LIMIT_COUNT, Shard, Workers};
pub use crate::sli::LOOKBACK;
pub use groups::GROUPS_LIMIT_COUNT;
pub use ingest::{FUTURE_LIMIT, PAST_LIMIT, Rejection, Written};
pub use reload::Reloaded;
pub use state::{RestoreError, STATE_VERSION};
pub use view::{RuleView, SloIdentity, SloState, SloView, Snapshot, Stats, TierView, VersionView};

use docket::Docket;
use draft::Draft;
use groups::SloRun;
use plan::{Common, Plan};
use releases::Releases;
use slo::Judge;
use state::Saving;
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
    /// Somebody says something about a rollout.
    Rollout(&'a Command),
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
    /// What happened to rollouts, in order.
    pub records: Vec<Record>,
    /// Why an [`Event::Rollout`] had no effect.
    pub refused: Option<CommandError>,
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
    /// Senders come in pairs that scrape the same, of which one is listened to.
    pub ha: Option<HaPairs>,
}

/// A series' uses, shared by all series with the same ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Binding {
    matches: Vec<Match>,
    /// Value of the version label, by SLI: services may name the label differently.
    versions: Vec<Option<Box<str>>>,
    /// Indices of the judges that each match feeds: the SLOs of its SLI, each by the series' group.
    judges: Vec<Vec<u32>>,
}

impl Binding {
    /// Each match, with the value of the version label and the judges.
    fn uses(&self) -> impl Iterator<Item = (&Match, Option<&str>, &[u32])> {
        let of = self.versions.iter().zip(&self.judges);
        self.matches.iter().zip(of).map(|(matched, (version, judges))| (matched, version.as_deref(), judges.as_slice()))
    }

    /// Whether the judge of releases looks at it.
    fn is_judged(&self) -> bool {
        self.matches.iter().any(|matched| matches!(matched.reads, Reads::Judged(_) | Reads::Bucket(_)))
    }

    /// Whether its samples are events themselves.
    fn is_gauge(&self) -> bool {
        self.matches.iter().any(|matched| match matched.reads {
            Reads::Gauge(_) | Reads::Signal | Reads::Judged(Some(_)) | Reads::Weight | Reads::Phase => true,
            Reads::Counter | Reads::Judged(None) | Reads::Bucket(_) => false,
        })
    }
}

/// One SLI while running.
#[derive(Debug)]
struct SliRun {
    /// Its service and name and what it counts: equal text, equal history.
    definition: Arc<str>,
    counting: Counting,
    version_label: Option<Box<str>>,
    versions: Versions,
    /// Of a gauge.
    values: Option<Values>,
    /// Indices of the SLOs that use it.
    slos: Vec<usize>,
    aside: Aside,
}

impl Piece for SliRun {
    fn aside(&mut self) -> &mut Aside {
        &mut self.aside
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        encode(&(&self.versions, &self.values), bytes);
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    table: Table,
    /// Run the table's shards.
    workers: Box<dyn Workers>,
    catalog: Catalog,
    /// By tag.
    bindings: Vec<Arc<Binding>>,
    tags: BTreeMap<Arc<Binding>, Tag>,
    /// Follows from the bindings: those of free tags are nothing.
    free_tags: Vec<Tag>,
    /// With more tags in use than this some may be left over.
    tags_limit: u32,
    /// Tags of series, by what decides on them.
    alike: Alike,
    /// By tag, whether the judge of releases looks at it.
    judged: Vec<bool>,
    /// By tag, what this step has added at one time. Most series of a scrape are bound to the same few SLIs: their
    /// changes are summed here first, and reach each SLI and SLO once.
    tallies: Vec<Option<Change>>,
    /// Tags with a tally, in the order of their first change.
    tallied: Vec<Tag>,
    slis: Vec<SliRun>,
    slos: Vec<SloRun>,
    /// Of the SLOs and of their groups, as they came.
    judges: Vec<Judge>,
    /// Services with a `canary` block or a budget policy.
    releases: Releases,
    /// What happened to rollouts in this step.
    records: Vec<Record>,
    /// In the order of the specs.
    signals: Vec<Signal>,
    /// The SLO of each signal, and its selector.
    signal_slos: Vec<(usize, String)>,
    docket: Docket,
    output: Output,
    identity_buffer: Vec<u8>,
    /// Of the batch that was written last. Not part of the state.
    findings: Findings,
    stats: Stats,
    time: Time,
    /// Where pairs of senders are told apart.
    ha: Option<Ha>,
    /// The save in progress.
    saving: Option<Saving>,
    /// The snapshot that is being made.
    draft: Draft,
}

impl Engine {
    /// An engine that has seen nothing, for these services, at `now`.
    pub fn new(services: &[Service], settings: Settings, now: Timestamp) -> Self {
        let mut slis = Vec::with_capacity(services.iter().map(|service| service.slis.len()).sum());
        let mut slos = Vec::with_capacity(services.iter().map(|service| service.slos.len()).sum());
        let mut signal_slos = Vec::new();
        let mut common = Common::default();
        for service in services {
            let service = Arc::new(service.clone());
            let first = slis.len();
            for sli in service.slis.iter() {
                let inputs = sli.inputs();
                slis.push(SliRun {
                    definition: format!("{}/{} {inputs}", service.name, sli.name).into(),
                    counting: inputs.counting,
                    version_label: service.version_label.as_deref().map(Into::into),
                    versions: Versions::default(),
                    values: inputs.shows_values.then(Values::new),
                    slos: Vec::new(),
                    aside: Aside::default(),
                });
            }
            for (at, slo) in service.slos.iter().enumerate() {
                let sli: &mut SliRun = &mut slis[first + slo.sli];
                sli.slos.push(slos.len());
                let counting = sli.counting;
                let first_signal = signal_slos.len();
                signal_slos.extend(slo.signals().map(|selector| (slos.len(), selector.to_string())));
                let plan = Plan::new(&service, at, first + slo.sli, counting, &mut common);
                slos.push(SloRun::new(plan, first_signal..signal_slos.len()));
            }
        }
        let slis_and_signals = slis.len() + signal_slos.len();
        let nothing = Arc::new(Binding::nothing());
        let ha = settings.ha.clone().map(|pairs| Ha::new(pairs, settings.series_limit));
        let mut engine = Self {
            table: Table::new(settings.series_limit, &settings.limits),
            workers: Box::new(Inline),
            settings,
            catalog: Catalog::new(services),
            bindings: vec![Arc::clone(&nothing)],
            tags: BTreeMap::from([(nothing, Tag::NOTHING)]),
            free_tags: Vec::new(),
            tags_limit: tags::TAGS_LEAST_COUNT,
            alike: Alike::default(),
            judged: vec![false],
            tallies: vec![None],
            tallied: Vec::new(),
            slis,
            slos,
            docket: Docket::default(),
            judges: Vec::new(),
            releases: Releases::new(services, slis_and_signals),
            records: Vec::new(),
            signals: vec![Signal::default(); signal_slos.len()],
            signal_slos,
            output: Output::default(),
            identity_buffer: Vec::new(),
            findings: Findings::default(),
            stats: Stats::default(),
            time: Time::new(now),
            ha,
            saving: None,
            draft: Draft::default(),
        };
        engine.make_judges(now);
        engine
    }

    /// Spreads the series over this many shards, which these workers run: one, inline, unless said otherwise. Nothing
    /// that the engine says or saves depends on it.
    pub fn spread(&mut self, shards: usize, workers: Box<dyn Workers>) {
        self.table.spread(shards);
        self.workers = workers;
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
            Event::Tick => {
                effects.records.append(&mut self.records);
                return effects;
            }
            Event::Rollout(command) => {
                effects.refused = self.command(command, now).err();
                effects.records.append(&mut self.records);
                return effects;
            }
            Event::Reload(services) => {
                effects.reloaded = self.reload(services, now, &mut effects.alerts);
                effects.records.append(&mut self.records);
                return effects;
            }
            Event::Review => self.docket.list_all(),
        }
        let until = if matches!(event, Event::Moment(_)) { Timestamp(i64::MAX) } else { now };
        self.settle(until, now, &mut effects.alerts);
        effects.records.append(&mut self.records);
        effects
    }

    /// Counts what the series table lets through `until` then, and judges what that touches.
    fn settle(&mut self, until: Timestamp, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.table.settle(until, &mut self.output);
        self.apply(now);
        self.judge(now, alerts);
        self.release(now);
    }

    /// Adds what the series table let through to the counts of SLIs and SLOs.
    fn apply(&mut self, now: Timestamp) {
        let mut output = std::mem::take(&mut self.output);
        for event in output.liveness.drain(..) {
            let binding = &self.bindings[event.tag.0 as usize];
            for (_, _, judges) in binding.uses().filter(|(matched, ..)| matched.is_watched()) {
                for judge in judges.iter().map(|judge| *judge as usize) {
                    self.judges[judge].before_change(self.table.current_save());
                    self.judges[judge].series_changed(event.live);
                    self.docket.list(judge);
                }
            }
        }
        for Increment { tag, target, change, reading } in output.increments.drain(..) {
            if self.judged[tag.0 as usize] {
                self.observe(tag, target, change, reading, now);
            }
            if let Some(reading) = reading {
                self.read(tag, change.at, reading, now);
                continue;
            }
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

    /// Adds the events of counters to every SLI and SLO that a binding names.
    fn count(&mut self, tag: Tag, Change { at, amount, .. }: Change, now: Timestamp) {
        let binding = Arc::clone(&self.bindings[tag.0 as usize]);
        for (matched, version, judges) in binding.uses().filter(|(matched, ..)| matched.reads == Reads::Counter) {
            let amount = if matched.negative { -amount } else { amount };
            let counts = match matched.role {
                Role::Numerator => Counts { numerator: amount, total: 0.0 },
                Role::Total => Counts { numerator: 0.0, total: amount },
            };
            self.add(matched, version, judges, at, counts, now);
        }
    }

    /// Adds one sample of a gauge to every SLI and SLO that a binding names, and to the signals.
    fn read(&mut self, tag: Tag, at: Timestamp, Reading { series, value }: Reading, now: Timestamp) {
        let binding = Arc::clone(&self.bindings[tag.0 as usize]);
        for (matched, version, judges) in binding.uses() {
            match matched.reads {
                Reads::Gauge(good) if value.to_bits() != STALE_NAN_BITS => {
                    // A group's series is fed once for each SLI, whatever it groups by.
                    let sli = &mut self.slis[matched.sli.0 as usize];
                    if matched.role == Role::Total && sli.values.is_some() {
                        sli.before_change(self.table.current_save());
                    }
                    if let (Role::Total, Some(values)) = (matched.role, &mut sli.values) {
                        values.add(at, value);
                    }
                    let counts = Counts { numerator: f64::from(!good.holds(value)), total: 1.0 };
                    self.add(matched, version, judges, at, counts, now);
                }
                Reads::Signal => {
                    let signal = matched.sli.0 as usize - self.slis.len();
                    self.signals[signal].take(series, at, value == 1.0);
                    let slo = &self.slos[self.signal_slos[signal].0];
                    for judge in slo.judges() {
                        self.judges[judge].before_change(self.table.current_save());
                        self.judges[judge].decide(now, slo.is_signalled(&self.signals));
                        self.docket.list(judge);
                    }
                }
                Reads::Weight => self.releases.weigh(matched.sli, value),
                Reads::Phase if value == 1.0 => {
                    let phase = version.unwrap_or_default();
                    self.releases.phase(matched.sli, phase, at, now, &mut self.records);
                }
                Reads::Gauge(_) | Reads::Counter | Reads::Judged(_) | Reads::Bucket(_) | Reads::Phase => {}
            }
        }
    }

    fn add(
        &mut self,
        matched: &Match,
        version: Option<&str>,
        judges: &[u32],
        at: Timestamp,
        counts: Counts,
        now: Timestamp,
    ) {
        let save = self.table.current_save();
        if let Some(version) = version {
            let sli = &mut self.slis[matched.sli.0 as usize];
            sli.before_change(save);
            sli.versions.add(version, at, now, counts);
        }
        for judge in judges.iter().map(|judge| *judge as usize) {
            let signalled = self.slos[self.judges[judge].slo()].is_signalled(&self.signals);
            self.judges[judge].before_change(save);
            self.judges[judge].count(matched.is_watched(), at, counts, now, signalled);
            self.docket.list(judge);
        }
    }

    /// Judges every SLO listed in this step.
    fn judge(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        let save = self.table.current_save();
        self.docket.clear(now, |at| {
            let judge = &mut self.judges[at];
            judge.before_change(save);
            judge.judge(now, alerts);
            judge.is_active()
        });
    }
}
