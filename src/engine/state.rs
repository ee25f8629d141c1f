//! The engine's state as bytes, so that a daemon goes on after a restart where it stopped.
//!
//! Only what the specs do not say is stored. What was stored by one engine goes on in another made from the same
//! specs, with the same effects to the byte; [`Engine::save`] after the same events gives the same bytes, so two
//! engines can be compared by them.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::docket::Docket;
use crate::engine::releases::Saved;
use crate::engine::slo::Saved as SavedJudge;
use crate::engine::time::Time;
use crate::engine::{Binding, Engine, Settings};
use crate::series::{self, Elections, Table};
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

/// Everything an [`Engine`] cannot work out from its specs, borrowed when written and owned when read.
#[derive(Serialize, Deserialize)]
struct State<'a> {
    key: Cow<'a, [u8]>,
    time: Cow<'a, Time>,
    table: series::Saved<'a>,
    bindings: Cow<'a, [Arc<Binding>]>,
    tags_limit: u32,
    versions: Vec<Cow<'a, Versions>>,
    values: Vec<Option<Cow<'a, Values>>>,
    judges: Vec<SavedJudge<'a>>,
    signals: Cow<'a, [Signal]>,
    docket: Cow<'a, Docket>,
    releases: Saved,
    elections: Option<Cow<'a, Elections>>,
}

impl Engine {
    /// The state in postcard's format, behind its [`STATE_VERSION`].
    pub fn save(&self) -> Vec<u8> {
        let state = State {
            key: Cow::Borrowed(self.settings.key.as_bytes()),
            time: Cow::Borrowed(&self.time),
            table: self.table.saved(),
            bindings: Cow::Borrowed(&self.bindings),
            tags_limit: self.tags_limit,
            versions: self.slis.iter().map(|sli| Cow::Borrowed(&sli.versions)).collect(),
            values: self.slis.iter().map(|sli| sli.values.as_ref().map(Cow::Borrowed)).collect(),
            judges: self.judges.iter().zip(&self.judge_slos).map(|(judge, slo)| judge.saved(*slo)).collect(),
            signals: Cow::Borrowed(&self.signals),
            docket: Cow::Borrowed(&self.docket),
            releases: self.releases.save(),
            elections: self.ha.as_ref().map(|ha| Cow::Borrowed(&ha.elections)),
        };
        postcard::to_extend(&(STATE_VERSION, state), Vec::new()).expect("a vector takes everything")
    }

    /// An engine for these services that goes on from a saved state, whatever number of shards had: it has one. Its
    /// wire key is the saved one.
    ///
    /// # Errors
    /// When the bytes are not a state of this release saved under the same services.
    pub fn restore(services: &[Service], settings: &Settings, saved: &[u8]) -> Result<Self, RestoreError> {
        let (version, rest) = postcard::take_from_bytes::<u32>(saved).map_err(|_| RestoreError::Damaged)?;
        if version != STATE_VERSION {
            return Err(RestoreError::Version(version));
        }
        let state: State<'_> = postcard::from_bytes(rest).map_err(|_| RestoreError::Damaged)?;
        let key: [u8; WIRE_KEY_SIZE_BYTES] = (*state.key).try_into().map_err(|_| RestoreError::Damaged)?;
        let mut engine = Self::new(services, Settings { key: WireKey::new(key), ..settings.clone() }, state.time.now());
        if state.versions.len() != engine.slis.len() || state.signals.len() != engine.signals.len() {
            return Err(RestoreError::OtherSpecs);
        }
        engine.time = state.time.into_owned();
        engine.table = Table::restored(state.table, settings.series_limit, &settings.limits);
        engine.adopt_bindings(state.bindings.into_owned())?;
        engine.tags_limit = state.tags_limit;
        for ((sli, versions), values) in engine.slis.iter_mut().zip(state.versions).zip(state.values) {
            sli.versions = versions.into_owned();
            sli.values = values.map(Cow::into_owned);
        }
        engine.signals = state.signals.into_owned();
        let now = engine.time.now();
        for (index, saved) in state.judges.into_iter().enumerate() {
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
        engine.docket = state.docket.into_owned();
        if !engine.releases.restore(state.releases) {
            return Err(RestoreError::OtherSpecs);
        }
        if let (Some(ha), Some(elections)) = (&mut engine.ha, state.elections) {
            ha.elections = elections.into_owned();
        }
        Ok(engine)
    }

    /// The key of the hashes by which series are known.
    pub fn key(&self) -> &WireKey {
        &self.settings.key
    }
}
