//! One rollout: its judge, its step, and what became of it.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::canary::{Arm, Decision, Hold, Judge, Layout, Policy, Ruling, Verdict};
use crate::rollout::plan::Plan;
use crate::rollout::policy::policy;
use crate::rollout::versions::{Flushed, Version, Versions};
use crate::rollout::{Actor, Ending, Happened, Input, Record, RolloutView, StepView};
use crate::spec::{Canary, CanaryCheck, WeekTime};
use crate::types::{Span, Timestamp};

/// Inputs of a judge that wait to be put down together.
const PENDING_LIMIT_INPUTS: usize = 256;
/// Times of the week are looked at this often.
const WEEK_EVERY: Span = Span::minutes(1);

/// What a decision depends on besides the evidence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub now: Timestamp,
    /// Why the budget policy lets nothing go on.
    pub frozen: Option<&'a str>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub id: String,
    pub version: String,
    pub baseline: Option<String>,
    pub started: Timestamp,
    pub by: String,
    pub committed_at: Option<Timestamp>,
    /// When its last record was made, and what of it is shown.
    pub ended: Option<(Timestamp, Ending, String)>,
    pub step: usize,
    steps: Vec<StepRun>,
    judge: Option<Judge>,
    policy: Option<Arc<Policy>>,
    /// Of each check, what the policy was made with under this spec; `None` where nobody has looked.
    #[serde(skip)]
    layouts: Option<Vec<Option<Layout>>>,
    /// The service's stream and stratum of each of the judge's streams.
    feeds: Vec<Option<(u32, u32)>>,
    /// The judge has judged something.
    has_evidence: bool,
    /// Somebody else moves the steps and tells.
    follows: bool,
    paused: Option<Actor>,
    /// It began at a time at which none may.
    waits_for_window: bool,
    decision: Option<Decision>,
    verdict: Option<Arc<Ruling>>,
    pending: Vec<Input>,
    records: u64,
    due: Timestamp,
    /// Once it is over, what is shown of it.
    #[serde(skip)]
    shown: OnceLock<Arc<RolloutView>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StepRun {
    name: String,
    weight: Option<f64>,
    began: Option<Timestamp>,
    promoted: Option<Timestamp>,
}

/// What begins a rollout.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub version: String,
    pub baseline: Option<String>,
    /// From when on its events count.
    pub at: Timestamp,
    pub by: String,
    pub committed_at: Option<Timestamp>,
}

impl Run {
    pub fn new(plan: &Plan, start: Start, now: Timestamp, out: &mut Vec<Record>) -> Self {
        let Start { version, baseline, at, by, committed_at } = start;
        let step = |step: &crate::spec::Step| StepRun {
            name: step.name.clone(),
            weight: step.weight,
            began: None,
            promoted: None,
        };
        let mut steps: Vec<StepRun> = plan.canary.steps.iter().map(step).collect();
        if let Some(first) = steps.first_mut() {
            first.began = Some(now);
        }
        let windows = &plan.canary.start_between;
        let mut run = Self {
            id: format!("{}/{version}@{}", plan.service.name, at.as_millis()),
            version,
            baseline,
            started: at,
            by: by.clone(),
            committed_at,
            ended: None,
            step: 0,
            steps,
            judge: None,
            policy: None,
            layouts: None,
            feeds: Vec::new(),
            has_evidence: false,
            follows: false,
            paused: None,
            waits_for_window: !windows.is_empty() && within(windows, now).is_none(),
            decision: None,
            verdict: None,
            pending: Vec::new(),
            records: 0,
            due: now,
            shown: OnceLock::new(),
        };
        let steps = run.steps.iter().map(|step| step.name.clone()).collect();
        run.record(plan, now, Happened::Started { by, committed_at, steps }, out);
        run
    }

    fn record(&mut self, plan: &Plan, now: Timestamp, event: Happened, out: &mut Vec<Record>) {
        if !self.pending.is_empty() {
            let inputs = std::mem::take(&mut self.pending);
            self.record(plan, now, Happened::Evidence { inputs }, out);
        }
        out.push(Record {
            rollout: self.id.clone(),
            number: self.records,
            at: now,
            service: plan.service.name.clone(),
            version: self.version.clone(),
            baseline: self.baseline.clone(),
            event,
        });
        self.records += 1;
    }

    /// Makes the judge, as soon as there is a baseline; and again as long as it has judged nothing and the buckets turn
    /// out to be others.
    pub fn prepare(&mut self, plan: &Plan, versions: &Versions, now: Timestamp, out: &mut Vec<Record>) {
        let Some(baseline) = self.baseline.as_deref().filter(|_| !self.has_evidence) else { return };
        let lanes = |version: &str, check: &CanaryCheck| {
            let stream = plan.stream_of(check)?;
            let version = versions.get(version)?;
            let strata = 0..=plan.streams[stream as usize].strata.len() as u32;
            let lanes = strata.filter_map(|stratum| version.lane(stream, stratum));
            lanes.max_by(|a, b| a.recent_total().total_cmp(&b.recent_total()))
        };
        let layout = |check: &CanaryCheck| {
            let known = lanes(baseline, check).and_then(|lane| lane.layout(lanes(&self.version, check)));
            // Nobody has shown any: the policy is made anew when somebody does.
            known.or_else(|| Layout::native(1, 0.001, 100.0).ok()).expect("a layout of few buckets")
        };
        let layouts = plan.canary.checks.iter().map(|check| check.quantile.is_some().then(|| layout(check)));
        let layouts: Vec<Option<Layout>> = layouts.collect();
        if self.layouts.as_ref() == Some(&layouts) {
            return;
        }
        let policy = Arc::new(policy(&plan.service, &plan.canary, &layouts));
        self.layouts = Some(layouts);
        if self.policy.as_ref() == Some(&policy) {
            return;
        }
        let baseline = versions.get(baseline);
        // What the baseline did until now is learnt from; evidence is what both do from here on.
        let since = self.started.max(baseline.and_then(Version::newest).unwrap_or(self.started));
        let (name, revision) =
            (format!("{}/{}", plan.service.name, self.version), self.started.as_millis().to_string());
        let mut judge = match Judge::new(&name, &revision, Arc::clone(&policy), since) {
            Ok(judge) => judge,
            // What a spec may say is what a judge takes; should they differ, it stays undecided and says so.
            Err(error) => {
                self.verdict = Some(Arc::new(self.undecided(plan, now, None, &error.to_string()).into()));
                return;
            }
        };
        if self.step > 0 {
            judge.begin_step(self.step, now);
        }
        self.pending.clear();
        self.feeds = plan.feeds(&judge);
        let (boxed, policy_digest) = (Box::new((*policy).clone()), judge.policy_digest().to_owned());
        self.record(plan, now, Happened::Judged { policy: boxed, policy_digest, since, step: self.step }, out);
        for (at, feed) in self.feeds.iter().enumerate() {
            let Some((stream, stratum)) = *feed else { continue };
            let Some(lane) = baseline.and_then(|version| version.lane(stream, stratum)) else { continue };
            let Some(spec) = judge.stream(at) else { continue };
            let counts = plan.counts(stream, spec, &lane.recent());
            judge.learn(at, &counts);
            self.pending.push(Input::Learn(at, counts));
        }
        (self.judge, self.policy) = (Some(judge), Some(policy));
    }

    /// Hands the arms' increments to the judge.
    pub fn feed(
        &mut self,
        plan: &Plan,
        versions: &mut Versions,
        flushed: &[Flushed],
        now: Timestamp,
        out: &mut Vec<Record>,
    ) {
        let Some(judge) = self.judge.as_mut().filter(|_| !flushed.is_empty()) else { return };
        let arms = [(Arm::Canary, Some(&*self.version)), (Arm::Baseline, self.baseline.as_deref())];
        let mut blocks = Vec::new();
        for (arm, name) in arms {
            let Some(version) = name.and_then(|name| versions.all().iter().position(|v| *v.name == *name)) else {
                continue;
            };
            let mut is_touched = false;
            for part in flushed.iter().filter(|part| part.version == version) {
                is_touched = true;
                let is_fed = |feed: &Option<(u32, u32)>| *feed == Some((part.stream, part.stratum));
                for at in (0..self.feeds.len()).filter(|at| is_fed(&self.feeds[*at])) {
                    let Some(spec) = judge.stream(at) else { continue };
                    let counts = plan.counts(part.stream, spec, &part.sums);
                    // Never refused: as many counts as kinds, none negative, and the time goes forward.
                    let _ = judge.observe(at, arm, part.since, part.at, counts);
                }
            }
            if is_touched && let Some(to) = versions.watermark(version) {
                for at in 0..self.feeds.len() {
                    blocks.extend(judge.cover(at, arm, to).into_iter().map(|block| Input::Block(at, block)));
                }
            }
        }
        if !blocks.is_empty() {
            self.has_evidence = true;
            self.due = now;
            self.pending.append(&mut blocks);
            if self.pending.len() >= PENDING_LIMIT_INPUTS {
                let inputs = std::mem::take(&mut self.pending);
                self.record(plan, now, Happened::Evidence { inputs }, out);
            }
        }
    }

    /// When time alone may decide something.
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// Reaches a verdict, and acts on it if it is another one than before.
    pub fn advance(&mut self, plan: &Plan, moment: Moment<'_>, out: &mut Vec<Record>) {
        let now = moment.now;
        let hold = self.hold(plan, moment);
        let ruling = if let Some(judge) = &mut self.judge {
            judge.rule(now, hold.as_ref())
        } else {
            let missing = format!("no baseline to compare {} with has been seen", self.version);
            self.undecided(plan, now, hold.as_ref(), &missing).into()
        };
        self.due = self.next_due(plan, now);
        let decision = ruling.decision();
        if self.decision.replace(decision) == Some(decision) {
            self.verdict = Some(Arc::new(ruling));
            return;
        }
        let verdict = ruling.into_verdict();
        self.verdict = Some(Arc::new(verdict.clone().into()));
        let reason = verdict.reason.clone();
        self.record(plan, now, Happened::Verdict { verdict, hold, by: None }, out);
        match decision {
            Decision::Rollback => self.end(plan, now, Ending::RolledBack, reason, None, out),
            Decision::Promote => self.promoted(plan, now, None, out),
            Decision::Continue | Decision::Pause => {}
        }
    }

    fn hold(&mut self, plan: &Plan, moment: Moment<'_>) -> Option<Hold> {
        let Canary { start_between, not_between, .. } = &*plan.canary;
        self.waits_for_window &= within(start_between, moment.now).is_none();
        if let Some(Actor { name, reason }) = &self.paused {
            return Some(Hold::Pause(format!("paused by {name}: {reason}")));
        }
        if self.waits_for_window {
            let windows: Vec<String> = start_between.iter().map(ToString::to_string).collect();
            return Some(Hold::Pause(format!("rollouts start during {} only", windows.join(", "))));
        }
        if let Some(reason) = moment.frozen {
            return Some(Hold::Pause(reason.to_owned()));
        }
        within(not_between, moment.now).map(|time| Hold::NotNow(format!("nothing is promoted during {time}")))
    }

    fn next_due(&self, plan: &Plan, now: Timestamp) -> Timestamp {
        let canary = &plan.canary;
        let step = &canary.steps[self.step.min(canary.steps.len() - 1)];
        let held = self.steps[self.step].began.map(|began| began + step.hold);
        let deadline = Some(self.started + canary.deadline);
        let is_weekly = !canary.start_between.is_empty() || !canary.not_between.is_empty() || self.paused.is_some();
        let week = is_weekly.then(|| now + WEEK_EVERY);
        let times = [held, deadline, week].into_iter().flatten().filter(|at| *at > now);
        times.min().unwrap_or(Timestamp(i64::MAX))
    }

    /// What there is to say without a judge.
    fn undecided(&self, plan: &Plan, now: Timestamp, hold: Option<&Hold>, reason: &str) -> Verdict {
        let (decision, reason) = match hold {
            Some(Hold::Pause(reason)) => (Decision::Pause, reason.clone()),
            _ if now.since(self.started) >= plan.canary.deadline => {
                (Decision::Pause, format!("the deadline of {} passed; {reason}", plan.canary.deadline))
            }
            _ => (Decision::Continue, reason.to_owned()),
        };
        let step = self.steps[self.step].name.clone();
        let id = Verdict::key(&[&self.id, &step, decision.as_str()]);
        Verdict { id, step, at: now, decision, check: None, reason, checks: Vec::new() }
    }

    /// The step at hand is done: the next one begins, unless somebody else moves the steps.
    fn promoted(&mut self, plan: &Plan, now: Timestamp, by: Option<&Actor>, out: &mut Vec<Record>) {
        self.steps[self.step].promoted = Some(now);
        if self.step + 1 == self.steps.len() {
            let reason = format!("{} passed its last step", self.version);
            self.end(plan, now, Ending::Promoted, reason, by.cloned(), out);
        } else if !self.follows || by.is_some() {
            let name = by.map_or("sloburn", |actor| actor.name.as_str()).to_owned();
            self.begin_step(plan, now, self.step + 1, &name, out);
        }
    }

    fn begin_step(&mut self, plan: &Plan, now: Timestamp, step: usize, by: &str, out: &mut Vec<Record>) {
        let name = self.steps[step].name.clone();
        // Before the judge hears of it: what it was given belongs to the step before.
        self.record(plan, now, Happened::StepBegan { step, name, by: by.to_owned() }, out);
        self.step = step;
        self.steps[step].began = Some(now);
        if let Some(judge) = &mut self.judge {
            judge.begin_step(step, now);
        }
        self.decision = None;
        self.due = now;
    }

    /// Somebody who moves the steps says which one it is now.
    pub fn exposed(&mut self, plan: &Plan, now: Timestamp, step: usize, by: &str, out: &mut Vec<Record>) {
        self.follows = true;
        if step != self.step && step < self.steps.len() {
            self.begin_step(plan, now, step, by, out);
        }
    }

    /// Somebody decides in the judge's place.
    pub fn overrule(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        decision: Decision,
        full: bool,
        by: Actor,
        out: &mut Vec<Record>,
    ) {
        let step = self.steps[self.step].name.clone();
        let (id, checks) = match &self.judge {
            Some(judge) => (judge.verdict_id(decision), judge.outcomes()),
            None => (Verdict::key(&[&self.id, &step, decision.as_str()]), Vec::new()),
        };
        let reason = format!("{} by {}: {}", past(decision), by.name, by.reason);
        let verdict = Verdict { id, step, at: now, decision, check: None, reason: reason.clone(), checks };
        self.verdict = Some(Arc::new(verdict.clone().into()));
        self.decision = Some(decision);
        self.record(plan, now, Happened::Verdict { verdict, hold: None, by: Some(by.clone()) }, out);
        match decision {
            Decision::Rollback => self.end(plan, now, Ending::Aborted, reason, Some(by), out),
            Decision::Promote if full => {
                self.steps[self.step].promoted = Some(now);
                self.end(plan, now, Ending::Promoted, reason, Some(by), out);
            }
            Decision::Promote => self.promoted(plan, now, Some(&by), out),
            Decision::Continue | Decision::Pause => {}
        }
    }

    /// Somebody holds it, or lets it go on.
    pub fn hold_by(&mut self, plan: &Plan, now: Timestamp, paused: bool, by: Actor, out: &mut Vec<Record>) {
        self.record(plan, now, Happened::Held { paused, by: by.clone() }, out);
        self.paused = paused.then_some(by);
        self.waits_for_window &= paused;
        self.due = now;
    }

    pub fn end(
        &mut self,
        plan: &Plan,
        now: Timestamp,
        outcome: Ending,
        reason: String,
        by: Option<Actor>,
        out: &mut Vec<Record>,
    ) {
        self.record(plan, now, Happened::Ended { outcome, reason: reason.clone(), by }, out);
        self.ended = Some((now, outcome, reason));
        self.judge = None;
    }

    /// The service's streams have other numbers from now on.
    pub fn rebind(&mut self, plan: &Plan) {
        self.layouts = None;
        if let Some(judge) = &self.judge {
            self.feeds = plan.feeds(judge);
        }
    }

    /// Whether it can go on under this spec: the steps are the same.
    pub fn fits(&self, canary: &Canary) -> bool {
        self.steps.iter().map(|step| &step.name).eq(canary.steps.iter().map(|step| &step.name))
    }

    /// Nothing changes of one that is over: it is shown as before.
    pub fn view(&self) -> Arc<RolloutView> {
        if self.ended.is_none() {
            return Arc::new(self.fresh_view());
        }
        Arc::clone(self.shown.get_or_init(|| Arc::new(self.fresh_view())))
    }

    fn fresh_view(&self) -> RolloutView {
        let step = |step: &StepRun| StepView {
            name: step.name.clone(),
            weight: step.weight,
            began: step.began,
            promoted: step.promoted,
        };
        RolloutView {
            id: self.id.clone(),
            version: self.version.clone(),
            baseline: self.baseline.clone(),
            started: self.started,
            by: self.by.clone(),
            committed_at: self.committed_at,
            steps: self.steps.iter().map(step).collect(),
            step: self.step,
            policy: self.policy.clone(),
            verdict: self.verdict.clone(),
            paused: self.paused.clone(),
            ended: self.ended.clone(),
            records: self.records,
        }
    }
}

fn within(times: &[WeekTime], now: Timestamp) -> Option<&WeekTime> {
    times.iter().find(|time| time.contains(now))
}

fn past(decision: Decision) -> &'static str {
    match decision {
        Decision::Continue => "continued",
        Decision::Promote => "promoted",
        Decision::Pause => "paused",
        Decision::Rollback => "taken back",
    }
}
