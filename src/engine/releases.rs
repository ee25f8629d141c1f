//! Releases in the engine: what the judge of each service is told, and when it decides.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::rollout::{Command, CommandError, NUMERATOR, Observed, Record, ServiceView, Stage, StageState, TOTAL};
use crate::series::{Aside, Change, Piece, Reading, STALE_NAN_BITS, Save, Tag, encode};
use crate::sli::{Match, SliId};
use crate::spec::{BudgetPolicy, Origin, Reads, Role, Service, Stream};
use crate::types::{Labels, Timestamp};

/// Services with a `canary` block or a budget policy.
#[derive(Debug, Default)]
pub(super) struct Releases {
    services: Vec<Release>,
    /// By the number of a stream or block after `first`: the service, and the stream in it.
    numbers: Vec<(usize, u32)>,
    /// The number of the first.
    first: u32,
    /// Services that were told something since they last decided, in any order.
    touched: Vec<usize>,
    /// When time alone may lead to something, by service; those that never are left out.
    dues: BTreeSet<(Timestamp, usize)>,
    /// The one in progress.
    save: Save,
}

#[derive(Debug)]
struct Release {
    name: String,
    origin: Origin,
    policy: Option<BudgetPolicy>,
    stage: Option<Stage>,
    /// Indices of the service's SLOs.
    slos: std::ops::Range<usize>,
    /// As last shown.
    view: Option<Arc<ServiceView>>,
    is_touched: bool,
    /// As listed among all dues.
    due: Timestamp,
    aside: Aside,
}

/// Of a service that waits for nothing.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// What outlives the process of a service.
pub(super) type SavedRelease = Option<StageState>;

impl Piece for Release {
    fn aside(&mut self) -> &mut Aside {
        &mut self.aside
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        encode(&self.stage.as_ref().map(Stage::state), bytes);
    }
}

impl Release {
    /// What is judged, which is to change.
    fn stage_mut(&mut self, save: Save) -> Option<&mut Stage> {
        self.before_change(save);
        self.stage.as_mut()
    }
}

impl Releases {
    pub(super) fn new(services: &[Service], first: usize) -> Self {
        let mut releases = Self { first: first as u32, ..Self::default() };
        let mut slos = 0;
        for service in services {
            let own = slos..slos + service.slos.len();
            slos = own.end;
            if service.canary.is_none() && service.budget_policy.is_none() {
                continue;
            }
            let stage = Stage::new(&Arc::new(service.clone()));
            let index = releases.services.len();
            if let Some(stage) = &stage {
                // One more for the block itself.
                releases.numbers.extend((0..=stage.streams().len() as u32).map(|stream| (index, stream)));
            }
            releases.services.push(Release {
                name: service.name.clone(),
                origin: service.origin.clone(),
                policy: service.budget_policy,
                stage,
                slos: own,
                view: None,
                is_touched: false,
                due: NEVER,
                aside: Aside::default(),
            });
        }
        releases
    }

    fn stage(&mut self, number: SliId) -> Option<(&mut Stage, u32)> {
        let (service, stream) = *self.numbers.get((number.0 - self.first) as usize)?;
        let release = &mut self.services[service];
        if !std::mem::replace(&mut release.is_touched, true) {
            release.view = None;
            self.touched.push(service);
        }
        Some((release.stage_mut(self.save)?, stream))
    }

    /// Puts a service on the list for the time at which it is due now.
    fn list(&mut self, at: usize) {
        let release = &mut self.services[at];
        let due = release.stage.as_ref().map_or(NEVER, Stage::due);
        let before = std::mem::replace(&mut release.due, due);
        if before != due {
            self.dues.remove(&(before, at));
            if due != NEVER {
                self.dues.insert((due, at));
            }
        }
    }

    fn list_all(&mut self) {
        (0..self.services.len()).for_each(|at| self.list(at));
    }

    /// Takes those that have something to do at `now`, in their order.
    fn take_due(&mut self, now: Timestamp) -> Vec<usize> {
        let mut due = std::mem::take(&mut self.touched);
        for at in &due {
            self.services[*at].is_touched = false;
        }
        due.extend(self.dues.range(..=(now, usize::MAX)).map(|(_, at)| *at));
        due.sort_unstable();
        due.dedup();
        due
    }

    /// The version and stratum of a series of a stream.
    pub(super) fn place(&self, number: SliId, labels: &Labels) -> Option<(String, u32)> {
        let (service, stream) = *self.numbers.get((number.0 - self.first) as usize)?;
        self.services[service].stage.as_ref()?.place(stream, labels)
    }

    pub(super) fn weigh(&mut self, number: SliId, percent: f64) {
        if let Some((stage, _)) = self.stage(number) {
            stage.weigh(percent);
        }
    }

    pub(super) fn phase(
        &mut self,
        number: SliId,
        phase: &str,
        at: Timestamp,
        now: Timestamp,
        records: &mut Vec<Record>,
    ) {
        if let Some((stage, _)) = self.stage(number) {
            stage.phase(phase, at, now, records);
        }
    }

    /// When time alone may lead to something.
    pub(super) fn due(&self) -> Timestamp {
        self.dues.first().map_or(NEVER, |(due, _)| *due)
    }

    /// How many services there are to save.
    pub(super) fn len(&self) -> usize {
        self.services.len()
    }

    /// From here on services put aside what they are before they change, until there is no save any more.
    pub(super) fn saves(&mut self, save: Save) {
        self.save = save;
    }

    /// A service, to be saved as it is.
    pub(super) fn piece(&self, at: usize) -> &impl Piece {
        &self.services[at]
    }

    /// A service, to be saved as it was when the save began.
    pub(super) fn piece_mut(&mut self, at: usize) -> &mut impl Piece {
        &mut self.services[at]
    }

    /// Goes on from what was saved of every service, under the same specs.
    pub(super) fn restore(&mut self, saved: Vec<SavedRelease>) {
        for (release, state) in self.services.iter_mut().zip(saved) {
            if let (Some(stage), Some(state)) = (&mut release.stage, state) {
                stage.restore(state);
            }
        }
        self.list_all();
    }

    /// Goes on from what was known under other specs.
    pub(super) fn adopt(&mut self, old: Self, now: Timestamp, records: &mut Vec<Record>) {
        for release in old.services {
            let Some(before) = release.stage else { continue };
            let same = self.services.iter_mut().find(|new| new.name == release.name);
            if let Some(stage) = same.and_then(|new| new.stage.as_mut()) {
                let streams: Vec<Stream> = before.streams().to_vec();
                stage.adopt(before.state().clone(), &before.service().slis, &streams, now, records);
            }
        }
        self.list_all();
    }
}

impl Engine {
    /// Hands a change to the judges that look at it.
    pub(super) fn observe(&mut self, tag: Tag, target: u32, change: Change, reading: Option<Reading>, now: Timestamp) {
        let binding = Arc::clone(&self.bindings[tag.0 as usize]);
        for (matched, version, _) in binding.uses() {
            let Some(version) = version else { continue };
            let Some((stage, stream)) = (match matched.reads {
                Reads::Judged(_) | Reads::Bucket(_) => self.releases.stage(matched.sli),
                _ => None,
            }) else {
                continue;
            };
            let place = Observed {
                version,
                stream,
                stratum: matched.term,
                key: key(matched),
                target,
                at: change.at,
                since: Some(change.since),
                amount: if matched.negative { -change.amount } else { change.amount },
            };
            match (matched.reads, reading) {
                (Reads::Judged(None) | Reads::Bucket(_), None) => stage.observe(&place, now),
                (Reads::Judged(Some(good)), Some(Reading { value, .. })) if value.to_bits() != STALE_NAN_BITS => {
                    // Every sample is an event of the time since the scrape before.
                    stage.observe(&Observed { key: TOTAL, since: None, amount: 1.0, ..place }, now);
                    let bad = f64::from(u8::from(!good.holds(value)));
                    stage.observe(&Observed { key: NUMERATOR, since: None, amount: bad, ..place }, now);
                }
                _ => {}
            }
        }
    }

    /// Has every service decide that has something new or whose time has come.
    pub(super) fn release(&mut self, now: Timestamp) {
        for at in self.releases.take_due(now) {
            if self.releases.services[at].stage.as_ref().is_some_and(|stage| stage.is_due(now)) {
                let frozen = self.frozen(at);
                let save = self.releases.save;
                let release = &mut self.releases.services[at];
                release.view = None;
                if let Some(stage) = release.stage_mut(save) {
                    stage.step(now, frozen.as_deref(), &mut self.records);
                }
            }
            // Told of a phase it may have ended without a step.
            self.releases.list(at);
        }
    }

    /// Why the budget policy lets nothing of a service be released.
    fn frozen(&self, at: usize) -> Option<String> {
        let release = &self.releases.services[at];
        let least = release.policy?.freeze_below;
        let judges = release.slos.clone().flat_map(|slo| self.slos[slo].judges());
        let left = judges.filter_map(|judge| Some((judge, self.judges[judge].budget_left()?)));
        let (judge, left) = left.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, left)| *left < least)?;
        let slo = self.judges[judge].title();
        let [left, least] = [left, least].map(|share| (share * 1000.0).round() / 10.0);
        Some(format!("{slo} has {left} % of its error budget left, and releases stop below {least} %"))
    }

    /// Does what somebody says of a rollout.
    pub(super) fn command(&mut self, command: &Command, now: Timestamp) -> Result<(), CommandError> {
        let named = self.releases.services.iter().position(|release| release.name == command.service);
        let Some(at) = named else {
            let is_known = self.slos.iter().any(|slo| slo.service() == command.service);
            let service = command.service.clone();
            return Err(if is_known { CommandError::NoCanary(service) } else { CommandError::UnknownService(service) });
        };
        let frozen = self.frozen(at);
        let save = self.releases.save;
        let release = &mut self.releases.services[at];
        release.view = None;
        let stage = release.stage_mut(save).ok_or_else(|| CommandError::NoCanary(command.service.clone()))?;
        let done = stage.command(command, now, frozen.as_deref(), &mut self.records);
        self.releases.list(at);
        done
    }

    /// What is shown of a service that is released by the judge or the budget policy.
    pub(super) fn service_view(&mut self, at: usize) -> Arc<ServiceView> {
        let frozen = self.frozen(at);
        let release = &mut self.releases.services[at];
        let fresh = release.view.take().filter(|view| view.frozen == frozen);
        let view = fresh.unwrap_or_else(|| {
            Arc::new(ServiceView {
                name: release.name.clone(),
                origin: release.origin.clone(),
                freeze_below: release.policy.map(|policy| policy.freeze_below),
                frozen,
                canary: release.stage.as_ref().map(Stage::view),
            })
        });
        release.view = Some(Arc::clone(&view));
        view
    }
}

/// What a change counts as in its stream.
fn key(matched: &Match) -> u64 {
    match (matched.reads, matched.role) {
        (Reads::Bucket(bound), _) => bound,
        (_, Role::Numerator) => NUMERATOR,
        (_, Role::Total) => TOTAL,
    }
}
