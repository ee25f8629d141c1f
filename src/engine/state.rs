//! The engine's state as bytes, so that a daemon goes on after a restart where it stopped.
//!
//! Only what the specs do not say is stored. What was stored by one engine goes on in another made from the same
//! specs, with the same effects to the byte; [`Engine::save`] after the same events gives the same bytes, so two
//! engines can be compared by them.
//!
//! The bytes are the [`STATE_VERSION`], a head, and then the pieces that the head counts, in the order of [`Part`],
//! each in postcard's format. So they can also be had a few pieces at a time while the engine goes on: each piece is
//! saved as it was when that began ([`Engine::begin_save`]).

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::docket::Docket;
use crate::engine::releases::SavedRelease;
use crate::engine::slo::Saved as SavedJudge;
use crate::engine::time::Time;
use crate::engine::{Binding, Engine, Settings};
use crate::series::{Elections, Piece as _, SavedTable, Table, Target, encode};
use crate::sli::{Signal, Values, Versions};
use crate::spec::Service;
use crate::types::Labels;
use crate::wire::{WIRE_KEY_SIZE_BYTES, WireKey};

/// The layout of what [`Engine::save`] writes. A number of its own, raised with every change of the layout.
pub const STATE_VERSION: u32 = 1;

/// Why a stored state is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by another release.
    #[error("the state has layout {0}, this release reads {STATE_VERSION}")]
    Version(u32),
    /// The specs are not those under which it was saved.
    #[error("the state was saved under other specs")]
    OtherSpecs,
    /// Not what [`Engine::save`] writes.
    #[error("the state is damaged")]
    Damaged,
}

/// How many pieces of each kind follow the head.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Counts {
    bindings: u32,
    slis: u32,
    judges: u32,
    releases: u32,
    targets: u32,
}

/// The part that is small whatever the engine has seen: borrowed when written and owned when read.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    key: Cow<'a, [u8]>,
    time: Cow<'a, Time>,
    table: SavedTable<'a>,
    tags_limit: u32,
    signals: Cow<'a, [Signal]>,
    docket: Cow<'a, Docket>,
    elections: Option<Cow<'a, Elections>>,
    counts: Counts,
}

/// A part of the rest, by its number among those of its kind.
#[derive(Clone, Copy, Debug)]
enum Part {
    Binding(u32),
    Sli(u32),
    /// Before the targets: when time passes, many of them change in one step.
    Judge(u32),
    Release(u32),
    Target(u32),
}

impl Counts {
    /// The part in this place among all.
    fn part(&self, place: u32) -> Option<Part> {
        let counts = [self.bindings, self.slis, self.judges, self.releases, self.targets];
        let kinds = [Part::Binding, Part::Sli, Part::Judge, Part::Release, Part::Target];
        let mut left = place;
        for (count, of_kind) in counts.into_iter().zip(kinds) {
            if left < count {
                return Some(of_kind(left));
            }
            left -= count;
        }
        None
    }
}

/// A save in progress.
#[derive(Debug)]
pub(super) struct Saving {
    counts: Counts,
    /// The place of the next piece.
    next: u32,
    /// The head, until it is told.
    head: Vec<u8>,
    /// As they were: each of them never changes.
    bindings: Vec<Arc<Binding>>,
}

impl Engine {
    fn counts(&self) -> Counts {
        Counts {
            bindings: self.bindings.len() as u32,
            slis: self.slis.len() as u32,
            judges: self.judges.len() as u32,
            releases: self.releases.len() as u32,
            targets: self.table.targets(),
        }
    }

    fn head(&self) -> Vec<u8> {
        let head = Head {
            key: Cow::Borrowed(self.settings.key.as_bytes()),
            time: Cow::Borrowed(&self.time),
            table: self.table.saved(),
            tags_limit: self.tags_limit,
            signals: Cow::Borrowed(&self.signals),
            docket: Cow::Borrowed(&self.docket),
            elections: self.ha.as_ref().map(|ha| Cow::Borrowed(&ha.elections)),
            counts: self.counts(),
        };
        let mut bytes = Vec::new();
        encode(&(STATE_VERSION, head), &mut bytes);
        bytes
    }

    /// The state, all at once.
    pub fn save(&self) -> Vec<u8> {
        let (mut bytes, counts) = (self.head(), self.counts());
        for part in (0..).map_while(|place| counts.part(place)) {
            match part {
                Part::Binding(at) => encode(&self.bindings[at as usize], &mut bytes),
                Part::Sli(at) => self.slis[at as usize].encode(&mut bytes),
                Part::Judge(at) => self.judges[at as usize].encode(&mut bytes),
                Part::Release(at) => self.releases.piece(at as usize).encode(&mut bytes),
                Part::Target(at) => self.table.piece(at).encode(&mut bytes),
            }
        }
        bytes
    }

    /// Begins to save the state as it is now, for [`Self::save_on`] to go on with between steps. Another save that is
    /// in progress is given up.
    pub fn begin_save(&mut self) {
        self.table.begin_save();
        self.releases.saves(self.table.current_save());
        let (counts, head, bindings) = (self.counts(), self.head(), self.bindings.clone());
        self.saving = Some(Saving { counts, next: 0, head, bindings });
    }

    /// Whether a save is in progress: [`Self::save_on`] has not come to the end, and no reload has given it up.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Gives up a save in progress.
    pub fn give_up_save(&mut self) {
        self.saving = None;
        self.table.end_save();
        self.releases.saves(self.table.current_save());
    }

    /// Appends the next pieces of the state as it was when the save began, until `bytes` has `enough` of them. With the
    /// last one the save is over.
    pub fn save_on(&mut self, bytes: &mut Vec<u8>, enough: usize) {
        let Some(mut saving) = self.saving.take() else { return };
        bytes.append(&mut saving.head);
        let save = self.table.current_save();
        while bytes.len() < enough {
            let Some(part) = saving.counts.part(saving.next) else { return self.give_up_save() };
            saving.next += 1;
            match part {
                Part::Binding(at) => encode(&saving.bindings[at as usize], bytes),
                Part::Sli(at) => self.slis[at as usize].save(save, bytes),
                Part::Judge(at) => self.judges[at as usize].save(save, bytes),
                Part::Release(at) => self.releases.piece_mut(at as usize).save(save, bytes),
                Part::Target(at) => self.table.piece_mut(at).save(save, bytes),
            }
        }
        self.saving = Some(saving);
    }

    /// An engine for these services that goes on from a saved state, whatever number of shards had: it has one. Its
    /// wire key is the saved one.
    ///
    /// # Errors
    /// When the bytes are not a state of this release saved under the same services.
    pub fn restore(services: &[Service], settings: &Settings, saved: &[u8]) -> Result<Self, RestoreError> {
        let mut left = Reader(saved);
        let version = left.next::<u32>()?;
        if version != STATE_VERSION {
            return Err(RestoreError::Version(version));
        }
        let head: Head<'_> = left.next()?;
        let key: [u8; WIRE_KEY_SIZE_BYTES] = (*head.key).try_into().map_err(|_| RestoreError::Damaged)?;
        let mut engine = Self::new(services, Settings { key: WireKey::new(key), ..settings.clone() }, head.time.now());
        let (counts, own) = (head.counts, engine.counts());
        if (counts.slis, counts.releases) != (own.slis, own.releases) || head.signals.len() != engine.signals.len() {
            return Err(RestoreError::OtherSpecs);
        }
        engine.time = head.time.into_owned();
        engine.table = Table::restored(head.table, settings.series_limit, &settings.limits);
        engine.tags_limit = head.tags_limit;
        engine.signals = head.signals.into_owned();
        let bindings = (0..counts.bindings).map(|_| left.next()).collect::<Result<_, _>>()?;
        engine.adopt_bindings(bindings)?;
        for sli in &mut engine.slis {
            (sli.versions, sli.values) = left.next::<(Versions, Option<Values>)>()?;
        }
        let now = engine.time.now();
        for index in 0..counts.judges as usize {
            let saved: SavedJudge<'_> = left.next()?;
            // Groups come in the order in which they were first seen, after all that do not group.
            let slo = engine.slos.get(saved.slo as usize).ok_or(RestoreError::OtherSpecs)?;
            let names = slo.group_by().iter().map(String::as_str);
            let group = Labels::from_pairs(names.zip(saved.group.iter().map(|value| &**value)));
            let group = group.map_err(|_| RestoreError::Damaged)?;
            if engine.judge_of(saved.slo as usize, group, now) != Some(index) {
                return Err(RestoreError::OtherSpecs);
            }
            engine.judges[index].restore(saved)?;
        }
        engine.docket = head.docket.into_owned();
        let releases: Vec<SavedRelease> = (0..counts.releases).map(|_| left.next()).collect::<Result<_, _>>()?;
        engine.releases.restore(releases);
        for _ in 0..counts.targets {
            engine.table.restore_target(left.next::<Target>()?);
        }
        if let (Some(ha), Some(elections)) = (&mut engine.ha, head.elections) {
            ha.elections = elections.into_owned();
        }
        Ok(engine)
    }

    /// The key of the hashes by which series are known.
    pub fn key(&self) -> &WireKey {
        &self.settings.key
    }
}

/// What is left to read of a state.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next<T: Deserialize<'a>>(&mut self) -> Result<T, RestoreError> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(|_| RestoreError::Damaged)?;
        self.0 = rest;
        Ok(value)
    }
}
