//! Rollouts through the engine: discovered, judged, moved, held, taken back; and judged again from their records.

use sloburn::canary::Decision;
use sloburn::engine::{Effects, Engine, Event, Settings};
use sloburn::rollout::{Command, CommandError, Ending, Exposure, Happened, Order, Record, RolloutView, recompute};
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Labels, Span, Timestamp};
use sloburn::wire::{Batch, Interned, Limits, Sample, WireKey};

const SPEC: &str = "
apiVersion: sloburn/v1
kind: Service
metadata: {name: pay}
spec:
  versionLabel: version
  slis:
    - {name: auth, events: {good: 'auth_total{outcome=\"approved\"}', total: auth_total}}
    - {name: latency, latency: {histogram: request_seconds, threshold: 250ms}}
  slos:
    - {name: approvals, sli: auth, objective: 99, period: 30d}
  canary:
    steps: [{weight: 5, hold: 5m}, {weight: 50, hold: 5m}]
    deadline: 2h
    weight: 'flagger_canary_weight{name=\"pay\"}'
    checks:
      - {sli: auth, dropOver: 0.3pp}
      - {sli: latency, quantile: 0.9, regressionOver: 200%}
";

const START: i64 = 1_790_000_000;
const SCRAPE: i64 = 15;
const BOUNDS: [&str; 6] = ["0.05", "0.1", "0.25", "0.5", "1", "+Inf"];

fn at(seconds: i64) -> Timestamp {
    Timestamp((START + seconds) * 1000)
}

fn services(edits: &[(&str, &str)]) -> Vec<Service> {
    let text = edits.iter().fold(SPEC.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let (services, report) = parse(&[Source::new("pay.yaml", text)]);
    assert!(!report.has_errors(), "\n{}", report.render(false));
    services
}

/// One process of a version: what it has counted.
struct Process {
    version: &'static str,
    /// Seconds by which its scrapes come later than the others'.
    skew: i64,
    approved: Counter,
    declined: Counter,
    buckets: Vec<Counter>,
}

struct Counter {
    series: Interned,
    value: f64,
}

/// Requests of one scrape: how many, how many declined, and the index of the bucket they all fall into.
#[derive(Clone, Copy)]
struct Traffic {
    requests: u32,
    declined: u32,
    bucket: usize,
}

const HEALTHY: Traffic = Traffic { requests: 300, declined: 2, bucket: 1 };

struct World {
    engine: Engine,
    key: WireKey,
    batch: Batch,
    processes: Vec<Process>,
    weight: Option<(Interned, f64)>,
    records: Vec<Record>,
    seconds: i64,
}

impl World {
    fn new(edits: &[(&str, &str)]) -> Self {
        let key = WireKey::new([3; 192]);
        let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 10_000, ha: None };
        let engine = Engine::new(&services(edits), settings, at(0));
        let batch = Batch::new();
        Self { engine, key, batch, processes: Vec::new(), weight: None, records: Vec::new(), seconds: 0 }
    }

    fn deploy(&mut self, version: &'static str, skew: i64) {
        let (batch, key) = (&mut self.batch, &self.key);
        let instance = format!("{version}-{skew}:8080");
        let base = Labels::new().with("job", "pay").with("instance", &instance).with("version", version);
        let mut counter = |name: &str, label: &str, value: &str| {
            let labels = base.clone().with("__name__", name).with(label, value);
            Counter { series: batch.intern(key, &labels), value: 0.0 }
        };
        self.processes.push(Process {
            version,
            skew,
            approved: counter("auth_total", "outcome", "approved"),
            declined: counter("auth_total", "outcome", "declined"),
            buckets: BOUNDS.map(|bound| counter("request_seconds_bucket", "le", bound)).into(),
        });
    }

    /// Lives on for so many seconds; `traffic` says what a version serves in a scrape.
    fn run(&mut self, seconds: i64, mut traffic: impl FnMut(&str, i64) -> Traffic) {
        let until = self.seconds + seconds;
        while self.seconds < until {
            self.seconds += 1;
            self.batch.clear_series();
            let now = at(self.seconds);
            let mut push = |counter: &mut Counter, more: u32| {
                counter.value += f64::from(more);
                self.batch.push_interned(&counter.series, Sample { timestamp: now, value: counter.value });
            };
            for process in self.processes.iter_mut().filter(|p| (self.seconds - p.skew) % SCRAPE == 0) {
                let Traffic { requests, declined, bucket } = traffic(process.version, self.seconds);
                push(&mut process.approved, requests - declined);
                push(&mut process.declined, declined);
                for (at, counter) in process.buckets.iter_mut().enumerate() {
                    push(counter, if at >= bucket { requests } else { 0 });
                }
            }
            if let Some((series, value)) = &self.weight {
                self.batch.push_interned(series, Sample { timestamp: now, value: *value });
            }
            let event = if self.batch.sample_count() > 0 { Event::Write(&self.batch) } else { Event::Tick };
            let effects = self.engine.step(event, now);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Effects) {
        self.records.extend(effects.records);
    }

    fn say(&mut self, order: Order) -> Result<(), CommandError> {
        let (actor, reason) = ("ann".to_owned(), "so she says".to_owned());
        let command = Command { service: "pay".to_owned(), order, actor, reason };
        let mut effects = self.engine.step(Event::Rollout(&command), at(self.seconds));
        let refused = effects.refused.take();
        self.take(effects);
        refused.map_or(Ok(()), Err)
    }

    fn rollout(&mut self) -> RolloutView {
        let services = self.engine.snapshot(at(self.seconds)).services;
        (**services[0].canary.as_ref().unwrap().rollout(None).unwrap()).clone()
    }

    fn stable(&mut self) -> String {
        let services = self.engine.snapshot(at(self.seconds)).services;
        services[0].canary.as_ref().unwrap().stable.clone().unwrap()
    }

    /// `seconds since the start of the rollout: step decision` of every verdict.
    fn verdicts(&self) -> Vec<String> {
        let line = |record: &Record| {
            let Happened::Verdict { verdict, .. } = &record.event else { return None };
            let since = record.rollout.rsplit_once('@').unwrap().1.parse::<i64>().unwrap();
            let seconds = (record.at.as_millis() - since) / 1000;
            Some(format!("{seconds}: {} {}", verdict.step, verdict.decision.as_str()))
        };
        self.records.iter().filter_map(line).collect()
    }

    fn ending(&self) -> Option<Ending> {
        self.records.iter().find_map(|record| match record.event {
            Happened::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    /// The verdicts are reached once more from the records alone, in the form in which they are kept.
    fn recount(&self) -> usize {
        let text = serde_json::to_string(&self.records).unwrap();
        let kept: Vec<Record> = serde_json::from_str(&text).unwrap();
        assert!(kept == self.records);
        let recount = recompute(&kept).unwrap();
        assert_eq!(recount.differing, []);
        recount.reached
    }
}

/// v1 in two processes for ten minutes, then v2 in one beside them.
fn beginning(edits: &[(&str, &str)]) -> World {
    let mut world = World::new(edits);
    world.deploy("v1", 0);
    world.deploy("v1", 7);
    world.run(600, |_, _| HEALTHY);
    assert!(world.records.is_empty(), "one version is no rollout");
    world.deploy("v2", 4);
    world
}

fn few(traffic: Traffic) -> Traffic {
    Traffic { requests: 150, declined: traffic.declined / 2, ..traffic }
}

#[test]
fn a_harmful_version_is_taken_back_at_once() {
    let mut world = beginning(&[]);
    // 99.33 % against 91.3 %.
    world.run(300, |version, _| if version == "v2" { Traffic { declined: 13, ..few(HEALTHY) } } else { HEALTHY });
    assert_eq!(world.verdicts(), ["0: 5% continue", "26: 5% rollback"]);
    let rollout = world.rollout();
    assert_eq!((rollout.version.as_str(), rollout.baseline.as_deref()), ("v2", Some("v1")));
    let verdict = rollout.verdict.unwrap();
    assert_eq!(verdict.check.as_deref(), Some("auth"));
    assert_eq!(world.ending(), Some(Ending::RolledBack));
    assert_eq!(world.stable(), "v1");
    assert_eq!(world.recount(), 2);
    // The version is still there; that is no new release.
    world.run(300, |_, _| HEALTHY);
    assert_eq!(world.verdicts().len(), 2);
}

#[test]
fn a_slow_version_is_taken_back_by_its_buckets() {
    let mut world = beginning(&[]);
    world.run(300, |version, _| if version == "v2" { Traffic { bucket: 4, ..few(HEALTHY) } } else { HEALTHY });
    assert_eq!(world.ending(), Some(Ending::RolledBack));
    let verdict = world.rollout().verdict.unwrap();
    assert!(verdict.check.as_deref().unwrap().starts_with("latency"), "{verdict:?}");
    world.recount();
}

#[test]
fn a_healthy_version_is_promoted_step_by_step_and_stable_then() {
    let mut world = beginning(&[]);
    world.run(5_400, |version, _| if version == "v2" { few(HEALTHY) } else { HEALTHY });
    let verdicts = world.verdicts();
    assert_eq!(verdicts.len(), 4, "{verdicts:?} {:?}", world.rollout().verdict);
    assert_eq!((&verdicts[0][..], &verdicts[3][verdicts[3].len() - 11..]), ("0: 5% continue", "50% promote"));
    assert_eq!((world.ending(), world.stable()), (Some(Ending::Promoted), "v2".to_owned()));
    assert_eq!(world.recount(), 4);
    let rollout = world.rollout();
    let held = rollout.steps[1].promoted.unwrap().since(rollout.steps[1].began.unwrap());
    assert!(held >= Span::minutes(5), "{held}");
}

#[test]
fn what_hits_both_versions_condemns_neither() {
    let mut world = beginning(&[]);
    // An outage of what both depend on, on and off, while their scrapes are apart.
    let burst = |seconds: i64| (seconds / 60) % 3 == 0;
    world.run(3_600, |version, seconds| {
        let bad = if burst(seconds) { Traffic { declined: 60, bucket: 3, ..HEALTHY } } else { HEALTHY };
        if version == "v2" { few(bad) } else { bad }
    });
    assert!(!world.verdicts().iter().any(|line| line.ends_with("rollback")), "{:?}", world.verdicts());
    world.recount();
}

#[test]
fn without_data_it_goes_on_and_pauses_at_the_deadline() {
    let mut world = beginning(&[]);
    world.run(
        7_300,
        |version, _| if version == "v2" { Traffic { requests: 0, declined: 0, bucket: 1 } } else { HEALTHY },
    );
    assert_eq!(world.verdicts(), ["0: 5% continue", "7200: 5% pause"]);
    let verdict = world.rollout().verdict.unwrap();
    assert!(verdict.reason.starts_with("the deadline of 2h passed; auth: no events"), "{}", verdict.reason);
    world.recount();
    // Nor when the source dies.
    let mut world = beginning(&[]);
    world.run(60, |_, _| few(HEALTHY));
    world.processes.clear();
    world.run(8_400, |_, _| HEALTHY);
    assert_eq!(world.ending(), Some(Ending::Vanished));
    assert!(world.verdicts().iter().all(|line| line.ends_with("continue")), "{:?}", world.verdicts());
}

#[test]
fn a_rare_version_stays_undecided() {
    let mut world = beginning(&[]);
    // One request a minute, the first one declined.
    world.run(3_600, |version, seconds| match version {
        "v2" if seconds % 60 < SCRAPE => Traffic { requests: 1, declined: u32::from(seconds < 660), bucket: 1 },
        "v2" => Traffic { requests: 0, declined: 0, bucket: 1 },
        _ => HEALTHY,
    });
    assert_eq!(world.verdicts(), ["0: 5% continue"]);
}

#[test]
fn people_hold_move_and_end_a_rollout() {
    let mut world = beginning(&[]);
    assert_eq!(world.say(Order::Pause), Err(CommandError::NoRollout("pay".to_owned())));
    world.run(60, |_, _| HEALTHY);
    world.say(Order::Pause).unwrap();
    assert_eq!(world.rollout().verdict.unwrap().reason, "paused by ann: so she says");
    world.say(Order::Resume).unwrap();
    assert_eq!(world.rollout().verdict.unwrap().decision, Decision::Continue);
    let error = world.say(Order::Step(Exposure::Name("75%".to_owned()))).unwrap_err();
    assert_eq!(error.to_string(), "\"pay\" has no step \"75%\"");
    world.say(Order::Step(Exposure::Weight(20.0))).unwrap();
    assert_eq!(world.rollout().step, 1);
    let start = |version: &str| Order::Start { version: version.to_owned(), baseline: None, committed_at: Some(at(1)) };
    let error = world.say(start("v3")).unwrap_err();
    assert_eq!(error.to_string(), "\"v2\" of \"pay\" is being judged: abort it first");
    world.say(start("v2")).unwrap();
    assert_eq!(world.rollout().committed_at, Some(at(1)), "what discovery could not know");
    world.say(Order::Abort).unwrap();
    let rollout = world.rollout();
    assert_eq!(rollout.ended.unwrap().2, "taken back by ann: so she says");
    assert_eq!(world.ending(), Some(Ending::Aborted));
    assert!(world.recount() >= 3);
    world.records.clear();
    world.say(start("v3")).unwrap();
    world.say(Order::Promote { full: false }).unwrap();
    assert_eq!(world.rollout().step, 1);
    world.say(Order::Promote { full: true }).unwrap();
    assert_eq!((world.ending(), world.stable()), (Some(Ending::Promoted), "v3".to_owned()));
    let unknown =
        Command { service: "x".to_owned(), order: Order::Abort, actor: "ann".to_owned(), reason: String::new() };
    let refused = world.engine.step(Event::Rollout(&unknown), at(world.seconds)).refused;
    assert_eq!(refused, Some(CommandError::UnknownService("x".to_owned())));
}

#[test]
fn steps_follow_the_weight_where_it_is_told() {
    let mut world = beginning(&[]);
    let weight = Labels::new().with("__name__", "flagger_canary_weight").with("name", "pay").with("job", "flagger");
    let series = world.batch.intern(&world.key, &weight);
    world.weight = Some((series, 5.0));
    let served = |version: &str, _| if version == "v2" { few(HEALTHY) } else { HEALTHY };
    world.run(2_400, served);
    let rollout = world.rollout();
    assert_eq!(rollout.step, 0, "promoted, and waits for the weight to be moved");
    assert_eq!(rollout.verdict.unwrap().decision, Decision::Promote);
    world.weight.as_mut().unwrap().1 = 50.0;
    world.run(15, served);
    assert_eq!(world.rollout().step, 1);
    assert_eq!(world.rollout().verdict.unwrap().decision, Decision::Continue);
}

#[test]
fn what_was_told_of_one_release_is_not_the_next_ones() {
    let mut world = beginning(&[]);
    let weight = Labels::new().with("__name__", "flagger_canary_weight").with("name", "pay").with("job", "flagger");
    world.weight = Some((world.batch.intern(&world.key, &weight), 50.0));
    world.run(300, |version, _| if version == "v2" { Traffic { declined: 13, ..few(HEALTHY) } } else { HEALTHY });
    assert_eq!((world.ending(), world.rollout().step), (Some(Ending::RolledBack), 1));
    world.weight = None;
    world.deploy("v3", 6);
    world.run(60, |_, _| HEALTHY);
    assert_eq!((world.rollout().version.as_str(), world.rollout().step), ("v3", 0));
}

#[test]
fn a_rollout_ends_with_the_phase_that_argo_shows() {
    for (phase, ending) in [("Healthy", Ending::Promoted), ("Degraded", Ending::Aborted)] {
        let edits = [("    deadline: 2h\n", "    deadline: 2h\n    argo: {namespace: shop, name: pay}\n")];
        let mut world = beginning(&edits);
        let info = Labels::new().with("__name__", "rollout_info").with("namespace", "shop").with("name", "pay");
        let show = |world: &mut World, phase: &str| {
            let labels = info.clone().with("job", "argo").with("phase", phase);
            world.weight = Some((world.batch.intern(&world.key, &labels), 1.0));
            world.run(60, |_, _| few(HEALTHY));
        };
        show(&mut world, "Healthy");
        assert_eq!(world.ending(), None, "as it was before the rollout");
        show(&mut world, "Progressing");
        show(&mut world, "Paused");
        assert_eq!(world.ending(), None);
        show(&mut world, phase);
        assert_eq!(world.ending(), Some(ending));
    }
}

#[test]
fn the_previous_version_is_not_the_stable_one() {
    for (baseline, expected) in [("stable", "v1"), ("previous", "v2")] {
        let line = format!("    deadline: 2h\n    baseline: {baseline}\n");
        let mut world = beginning(&[("    deadline: 2h\n", &line)]);
        world.run(300, |version, _| if version == "v2" { Traffic { declined: 13, ..few(HEALTHY) } } else { HEALTHY });
        assert_eq!((world.ending(), world.stable()), (Some(Ending::RolledBack), "v1".to_owned()));
        world.deploy("v3", 6);
        world.run(60, |_, _| HEALTHY);
        assert_eq!(world.rollout().baseline.as_deref(), Some(expected));
    }
}

#[test]
fn a_baseline_that_comes_later_is_the_one() {
    let mut world = World::new(&[]);
    let start = Order::Start { version: "v2".to_owned(), baseline: None, committed_at: None };
    world.say(start).unwrap();
    world.deploy("v2", 4);
    world.run(120, |_, _| few(HEALTHY));
    assert_eq!(world.rollout().baseline, None);
    let reason = world.rollout().verdict.unwrap().reason.clone();
    assert_eq!(reason, "no baseline to compare v2 with has been seen");
    world.deploy("v1", 0);
    world.run(300, |version, _| if version == "v2" { Traffic { declined: 13, ..few(HEALTHY) } } else { HEALTHY });
    assert_eq!((world.rollout().baseline.as_deref(), world.ending()), (Some("v1"), Some(Ending::RolledBack)));
    world.recount();
}

#[test]
fn a_spent_budget_and_closed_times_hold_a_release() {
    let edits = [("  canary:\n", "  budgetPolicy: {freezeBelow: 10}\n  canary:\n"), ("period: 30d", "period: 1d")];
    let mut world = World::new(&edits);
    world.deploy("v1", 0);
    // All declined: at an objective of 99 % a day's budget lasts for 14 minutes.
    let outage = |_: &str, _| Traffic { declined: 300, ..HEALTHY };
    world.run(400, outage);
    world.deploy("v2", 4);
    world.run(200, outage);
    let verdict = world.rollout().verdict.unwrap();
    assert_eq!(verdict.decision, Decision::Continue, "{}", verdict.reason);
    world.run(600, outage);
    let verdict = world.rollout().verdict.unwrap();
    assert_eq!(verdict.decision, Decision::Pause, "{}", verdict.reason);
    assert!(verdict.reason.ends_with("and releases stop below 10 %"), "{}", verdict.reason);
    // 1,790,000,000 is a Monday, 14:13 UTC.
    let closed = [("    deadline: 2h\n", "    deadline: 2h\n    notBetween: [\"Mon 14:00-16:30 UTC\"]\n")];
    let mut world = beginning(&closed);
    let served = |version: &str, _| if version == "v2" { few(HEALTHY) } else { HEALTHY };
    world.run(5_400, served);
    assert_eq!(world.verdicts(), ["0: 5% continue"]);
    assert_eq!(world.rollout().verdict.unwrap().reason, "nothing is promoted during Mon 14:00-16:30 UTC");
    world.run(3_600, served);
    assert_eq!(world.ending(), Some(Ending::Promoted));
    let window = [("    deadline: 2h\n", "    deadline: 2h\n    startBetween: [\"Tue 02:00-04:00 UTC\"]\n")];
    let mut world = beginning(&window);
    world.run(60, served);
    assert_eq!(world.rollout().verdict.unwrap().reason, "rollouts start during Tue 02:00-04:00 UTC only");
}

#[test]
fn versions_that_were_there_before_anybody_looked() {
    let mut world = World::new(&[]);
    for (version, skew) in [("v9", 0), ("v9", 7), ("v10", 4)] {
        world.deploy(version, skew);
    }
    let served = |version: &str, _| if version == "v10" { few(HEALTHY) } else { HEALTHY };
    world.run(59, served);
    assert!(world.records.is_empty(), "nobody knows which is new");
    world.run(60, served);
    let rollout = world.rollout();
    assert_eq!((rollout.version.as_str(), rollout.baseline.as_deref()), ("v10", Some("v9")));
    world.deploy("v11", 2);
    world.run(30, served);
    assert_eq!(world.ending(), Some(Ending::Superseded));
    assert_eq!(world.rollout().version, "v11");
}

#[test]
fn a_baseline_may_be_chosen_by_labels() {
    let edits = [("    deadline: 2h\n", "    deadline: 2h\n    baseline: {selector: 'version=\"v1\"'}\n")];
    let mut world = beginning(&edits);
    world.run(300, |version, _| if version == "v2" { Traffic { declined: 13, ..few(HEALTHY) } } else { HEALTHY });
    assert_eq!(world.rollout().baseline.as_deref(), Some("{version=\"v1\"}"));
    assert_eq!(world.ending(), Some(Ending::RolledBack));
}

#[test]
fn a_saved_engine_goes_on_to_the_same_verdicts() {
    let served = |version: &str, seconds: i64| match version {
        "v2" if seconds > 1_500 => Traffic { declined: 4, ..few(HEALTHY) },
        "v2" => few(HEALTHY),
        _ => HEALTHY,
    };
    let mut undisturbed = beginning(&[]);
    undisturbed.run(2_400, served);
    let mut world = beginning(&[]);
    for _ in 0..8 {
        world.run(300, served);
        let settings = Settings { key: world.key.clone(), limits: Limits::default(), series_limit: 10_000, ha: None };
        let saved = world.engine.save();
        world.engine = Engine::restore(&services(&[]), &settings, &saved).unwrap();
        assert_eq!(world.engine.save(), saved);
    }
    assert!(undisturbed.records == world.records);
    assert!(undisturbed.verdicts().iter().any(|line| line.ends_with("rollback")), "{:?}", undisturbed.verdicts());
    assert!(undisturbed.engine.save() == world.engine.save());
}

#[test]
fn a_rollout_goes_on_under_edited_specs() {
    let mut world = beginning(&[]);
    world.run(60, |_, _| HEALTHY);
    let edited =
        services(&[("  slos:\n", "    - {name: other, probe: up}\n  slos:\n"), ("objective: 99,", "objective: 98,")]);
    let effects = world.engine.step(Event::Reload(&edited), at(world.seconds));
    assert_eq!(effects.records, []);
    world.run(120, |version, _| if version == "v2" { Traffic { declined: 13, ..few(HEALTHY) } } else { HEALTHY });
    assert_eq!(world.ending(), Some(Ending::RolledBack));
    world.recount();
    let mut world = beginning(&[]);
    world.run(60, |_, _| HEALTHY);
    let effects = world.engine.step(Event::Reload(&services(&[("{weight: 5, ", "{weight: 10, ")])), at(world.seconds));
    let last = effects.records.last().map(|record| &record.event);
    assert!(matches!(last, Some(Happened::Ended { outcome: Ending::Superseded, .. })), "{last:?}");
}
