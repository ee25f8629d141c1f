//! A service's releases: which version is stable, which is tried.

mod orders;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rollout::plan::Plan;
use crate::rollout::run::{Moment, Run, Start};
use crate::rollout::versions::{Observed, Version, Versions};
use crate::rollout::{Actor, CanaryView, Ending, Order, Record};
use crate::spec::{Baseline, Service, Sli, Stream};
use crate::types::{Labels, Selector, Span, Timestamp};

/// Rollouts that are over and still shown.
pub const PAST_LIMIT_ROLLOUTS: usize = 20;

/// For so long after the oldest sample nobody knows which versions are new.
const COLD_START: Span = Span::minutes(1);
/// A candidate not seen for so long is gone.
const CANDIDATE_ABSENT: Span = Span::hours(1);
/// Who begins a rollout when a version appears.
const DISCOVERY: &str = "discovery";
/// Who tells the phase of a Rollout.
const ARGO: &str = "argo";
/// At the end of a cold start the version with so many times the events of the other is the stable one; between two
/// that are closer it is the older name.
const CLEARLY_MORE: f64 = 1.5;

/// A service with a `canary` block.
#[derive(Debug)]
pub struct Stage {
    plan: Plan,
    /// What all series with the baseline's labels are called, where they are chosen by labels.
    selected: Option<(String, Selector)>,
    state: StageState,
    /// Versions that appeared in the step at hand.
    appeared: Vec<String>,
    is_touched: bool,
}

/// What a [`Stage`] knows that its spec does not say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StageState {
    versions: Versions,
    /// The oldest and the newest sample's time.
    span: Option<(Timestamp, Timestamp)>,
    is_settled: bool,
    stable: Option<String>,
    current: Option<Box<Run>>,
    past: VecDeque<Run>,
    weight: Option<f64>,
    phase: Option<(Timestamp, String)>,
}

impl Stage {
    /// A service of which nothing has been seen; `None` without a `canary` block.
    pub fn new(service: &Arc<Service>) -> Option<Self> {
        let canary = Arc::clone(service.canary.as_ref()?);
        let streams = canary.streams();
        let countings = streams.iter().map(|stream| service.slis[stream.sli].inputs().counting).collect();
        let selected = match &canary.baseline {
            Baseline::Selector(matchers) => {
                let selector = Selector::new(matchers.clone());
                Some((selector.to_string(), selector))
            }
            Baseline::Stable | Baseline::Previous => None,
        };
        let plan = Plan { service: Arc::clone(service), canary, streams, countings };
        Some(Self { plan, selected, state: StageState::default(), appeared: Vec::new(), is_touched: false })
    }

    /// The service's spec.
    pub fn service(&self) -> &Service {
        &self.plan.service
    }

    /// The version and the stratum that a series of a stream belongs to; `None` where it has no version.
    pub fn place(&self, stream: u32, labels: &Labels) -> Option<(String, u32)> {
        let stratum = self.plan.streams[stream as usize].stratum(labels) as u32;
        if let Some((name, _)) = self.selected.as_ref().filter(|(_, selector)| selector.matches(labels)) {
            return Some((name.clone(), stratum));
        }
        let label = self.plan.service.version_label.as_deref()?;
        labels.get(label).map(|version| (version.to_owned(), stratum))
    }

    /// Takes a change that arrives `now`.
    pub fn observe(&mut self, observed: &Observed<'_>, now: Timestamp) {
        self.is_touched = true;
        let (oldest, newest) = self.state.span.unwrap_or((observed.at, observed.at));
        self.state.span = Some((oldest.min(observed.at), newest.max(observed.at)));
        if self.state.versions.observe(observed, now) {
            self.appeared.push(observed.version.to_owned());
        }
    }

    /// The candidate's weight in percent, as a gauge says.
    pub fn weigh(&mut self, percent: f64) {
        self.is_touched = true;
        self.state.weight = Some(percent).filter(|percent| *percent > 0.0);
    }

    /// The phase of the service's Rollout, as `rollout_info` says.
    pub fn phase(&mut self, phase: &str, at: Timestamp, now: Timestamp, out: &mut Vec<Record>) {
        let before = self.state.phase.replace((at, phase.to_owned()));
        let Some((before_at, before)) = before else { return };
        if before_at > at {
            self.state.phase = Some((before_at, before));
        } else if matches!(before.as_str(), "Progressing" | "Paused") && matches!(phase, "Healthy" | "Degraded") {
            let order = Order::End { promoted: phase == "Healthy" };
            let reason = format!("the Rollout is {phase}");
            // Nothing is in progress: nothing to end.
            let _ = self.order(&order, Actor { name: ARGO.to_owned(), reason }, now, out);
        }
    }

    /// When time alone may lead to something.
    pub fn due(&self) -> Timestamp {
        self.state.current.as_ref().map_or(Timestamp(i64::MAX), |run| run.due())
    }

    /// Whether there is something to do at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.is_touched || self.due() <= now
    }

    /// Goes on from what was observed, and from the time.
    pub fn step(&mut self, now: Timestamp, frozen: Option<&str>, out: &mut Vec<Record>) {
        self.is_touched = false;
        let state = &mut self.state;
        state.versions.expire(now);
        let flushed = state.versions.flush();
        if let Some(version) =
            state.current.as_ref().filter(|run| run.baseline.is_none()).map(|run| run.version.clone())
        {
            let baseline = self.baseline_for(&version);
            if let Some(run) = &mut self.state.current {
                run.baseline = baseline;
            }
        }
        let state = &mut self.state;
        if let Some(run) = &mut state.current {
            run.prepare(&self.plan, &state.versions, now, out);
            run.feed(&self.plan, &mut state.versions, &flushed, now, out);
        }
        let was_settled = self.state.is_settled;
        self.settle(now, out);
        for version in std::mem::take(&mut self.appeared) {
            if was_settled {
                self.discover(&version, now, out);
            }
        }
        self.keep_stable();
        self.follow_weight(now, out);
        self.advance(now, frozen, out);
    }

    fn advance(&mut self, now: Timestamp, frozen: Option<&str>, out: &mut Vec<Record>) {
        let state = &mut self.state;
        let Some(run) = &mut state.current else { return };
        let absent = state.versions.get(&run.version).filter(|version| now.since(version.seen) >= CANDIDATE_ABSENT);
        if absent.is_some() && run.ended.is_none() {
            let reason = format!("{} has not been seen for {CANDIDATE_ABSENT}", run.version);
            run.end(&self.plan, now, Ending::Vanished, reason, None, out);
        }
        // A promoted step may be followed by one that is over at once.
        while let Some(run) = &mut state.current
            && run.ended.is_none()
            && run.due() <= now
        {
            run.advance(&self.plan, Moment { now, frozen }, out);
        }
        self.retire();
    }

    /// Puts away a rollout that is over.
    fn retire(&mut self) {
        let state = &mut self.state;
        if let Some(run) = state.current.take_if(|run| run.ended.is_some()) {
            if matches!(run.ended, Some((_, Ending::Promoted, _))) {
                state.stable = Some(run.version.clone());
            }
            state.past.push_front(*run);
            state.past.truncate(PAST_LIMIT_ROLLOUTS);
        }
    }

    /// A version has appeared: it is a candidate, unless it is known to be something else.
    fn discover(&mut self, version: &str, now: Timestamp, out: &mut Vec<Record>) {
        let state = &self.state;
        let is_selected = self.selected.as_ref().is_some_and(|(name, _)| name == version);
        let is_known = state.stable.as_deref() == Some(version)
            || state
                .current
                .as_ref()
                .is_some_and(|run| run.version == version || run.baseline.as_deref() == Some(version));
        if is_selected || is_known {
            return;
        }
        if state.stable.is_none() && self.selected.is_none() && state.versions.live().count() == 1 {
            self.state.stable = Some(version.to_owned());
            return;
        }
        self.supersede(version, now, out);
        let at = self.state.versions.get(version).map_or(now, |version| version.appeared);
        self.start(version, None, at, DISCOVERY, None, now, out);
    }

    fn supersede(&mut self, version: &str, now: Timestamp, out: &mut Vec<Record>) {
        if let Some(run) = &mut self.state.current {
            run.end(&self.plan, now, Ending::Superseded, format!("{version} came before it was decided"), None, out);
        }
        self.retire();
    }

    #[expect(clippy::too_many_arguments, reason = "what a start consists of")]
    fn start(
        &mut self,
        version: &str,
        baseline: Option<&str>,
        at: Timestamp,
        by: &str,
        committed_at: Option<Timestamp>,
        now: Timestamp,
        out: &mut Vec<Record>,
    ) {
        let baseline = baseline.map(str::to_owned).or_else(|| self.baseline_for(version));
        let start = Start { version: version.to_owned(), baseline, at, by: by.to_owned(), committed_at };
        let mut run = Run::new(&self.plan, start, now, out);
        run.prepare(&self.plan, &self.state.versions, now, out);
        // What was told before is of another release.
        self.state.weight = None;
        self.state.current = Some(Box::new(run));
    }

    /// What a candidate is compared with by the spec.
    fn baseline_for(&self, version: &str) -> Option<String> {
        let state = &self.state;
        let name = |version: &Version| version.name.to_string();
        match &self.plan.canary.baseline {
            Baseline::Selector(_) => self.selected.as_ref().map(|(name, _)| name.clone()),
            Baseline::Previous => {
                let order = state.versions.get(version).map_or(u64::MAX, |version| version.order);
                state
                    .versions
                    .live()
                    .filter(|v| v.order < order && &*v.name != version)
                    .max_by_key(|v| v.order)
                    .map(name)
            }
            Baseline::Stable => {
                let is_live = |name: &&String| state.versions.get(name).is_some_and(|version| version.is_live);
                let heaviest = || {
                    let others = state.versions.live().filter(|other| &*other.name != version);
                    others.max_by(|a, b| a.weight.total_cmp(&b.weight)).map(name)
                };
                let stable = state.stable.as_ref().filter(|stable| *stable != version);
                stable.filter(is_live).cloned().or_else(heaviest).or_else(|| stable.cloned())
            }
        }
    }

    /// At the end of a cold start: of the versions that are there one is stable. Where there are two, the other is a
    /// candidate that began before anybody looked.
    fn settle(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        let state = &mut self.state;
        if state.is_settled || state.span.is_none_or(|(oldest, newest)| newest.since(oldest) < COLD_START) {
            return;
        }
        state.is_settled = true;
        // Somebody has said which is which, and it was decided already.
        if !state.past.is_empty() {
            return;
        }
        let candidate = state.current.as_ref().map(|run| run.version.clone());
        let mut live: Vec<&Version> =
            state.versions.live().filter(|version| candidate.as_deref() != Some(&*version.name)).collect();
        live.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| natural(&a.name).cmp(&natural(&b.name))));
        if let [first, second, ..] = live[..]
            && first.weight < second.weight * CLEARLY_MORE
            && natural(&second.name) < natural(&first.name)
        {
            live.swap(0, 1);
        }
        let names: Vec<(String, Timestamp)> = live.iter().map(|v| (v.name.to_string(), v.appeared)).collect();
        state.stable = state.stable.take().or_else(|| names.first().map(|(name, _)| name.clone()));
        if let Some(run) = &mut state.current {
            if run.baseline.is_none() {
                run.baseline.clone_from(&state.stable);
            }
            return;
        }
        match &names[..] {
            // The other one is the baseline by its labels.
            [(version, at), _] | [_, (version, at)] if self.is_selected_beside(version, &names) => {
                self.start(version, None, *at, DISCOVERY, None, now, out);
            }
            [_, (version, at)] if self.selected.is_none() => {
                self.start(version, None, *at, DISCOVERY, None, now, out);
            }
            _ => {}
        }
    }

    fn is_selected_beside(&self, version: &str, names: &[(String, Timestamp)]) -> bool {
        let Some((selected, _)) = &self.selected else { return false };
        version != selected && names.iter().any(|(name, _)| name == selected)
    }

    /// When the stable version is gone and one other is there, that is the stable one: somebody moved all traffic.
    fn keep_stable(&mut self) {
        let state = &mut self.state;
        let is_live = |name: &str| state.versions.get(name).is_some_and(|version| version.is_live);
        if !state.is_settled || state.current.is_some() || state.stable.as_deref().is_some_and(is_live) {
            return;
        }
        let mut live = state.versions.live();
        if let (Some(only), None) = (live.next(), live.next()) {
            state.stable = Some(only.name.to_string());
        }
    }

    fn follow_weight(&mut self, now: Timestamp, out: &mut Vec<Record>) {
        let (Some(percent), Some(run)) = (self.state.weight, &mut self.state.current) else { return };
        if let Some(step) = self.plan.canary.step_of_weight(percent) {
            run.exposed(&self.plan, now, step, "weight", out);
        }
    }

    /// Goes on from the state of the same service under another spec, or after a restart.
    pub fn adopt(
        &mut self,
        old: StageState,
        old_slis: &[Sli],
        old_streams: &[Stream],
        now: Timestamp,
        out: &mut Vec<Record>,
    ) {
        self.state = old;
        let plan = &self.plan;
        // The same events: what they are called, what they count, how they are told apart.
        let key = |slis: &[Sli], stream: &Stream| {
            let sli = &slis[stream.sli];
            (sli.name.clone(), sli.inputs().to_string(), stream.is_latency, stream.names())
        };
        self.state.versions.renumber(|old| {
            let old = key(old_slis, old_streams.get(old as usize)?);
            let same = plan.streams.iter().position(|new| key(&plan.service.slis, new) == old);
            same.map(|at| at as u32)
        });
        if let Some(run) = &mut self.state.current {
            if run.fits(&plan.canary) {
                run.rebind(plan);
            } else {
                run.end(plan, now, Ending::Superseded, "the spec has other steps now".to_owned(), None, out);
            }
        }
        self.retire();
    }

    /// What is to be saved, or adopted by another stage.
    pub fn state(&self) -> &StageState {
        &self.state
    }

    /// Goes on where a stage of the same spec stopped.
    pub fn restore(&mut self, state: StageState) {
        self.state = state;
    }

    /// The streams of its spec.
    pub fn streams(&self) -> &[Stream] {
        &self.plan.streams
    }

    /// How its releases are doing.
    pub fn view(&self) -> CanaryView {
        let state = &self.state;
        let mut live: Vec<String> = state.versions.live().map(|version| version.name.to_string()).collect();
        live.sort();
        CanaryView {
            stable: state.stable.clone(),
            live,
            argo: self.plan.canary.argo.clone(),
            current: state.current.as_ref().map(|run| run.view()),
            past: state.past.iter().map(Run::view).collect(),
        }
    }
}

/// For comparing names as people do: `v9` before `v10`.
fn natural(name: &str) -> Vec<(bool, u64, String)> {
    let mut parts: Vec<(bool, u64, String)> = Vec::new();
    for c in name.chars() {
        let digit = c.to_digit(10);
        match (parts.last_mut(), digit) {
            (Some((true, number, _)), Some(digit)) => *number = number.saturating_mul(10).saturating_add(digit.into()),
            (_, Some(digit)) => parts.push((true, digit.into(), String::new())),
            (Some((false, _, text)), None) => text.push(c),
            (_, None) => parts.push((false, 0, c.to_string())),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_people_do() {
        let mut names = ["v10", "v9", "1.10.0", "1.9.3", "stable", "canary"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["canary", "stable", "v9", "v10", "1.9.3", "1.10.0"]);
    }
}
