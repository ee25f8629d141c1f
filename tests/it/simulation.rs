//! Seeded lives of an engine: scrapes late, twice and cut in two, gaps, resets, series that come and go, a clock
//! that steps both ways. One engine of one shard lives through them undisturbed. Others are looked at, ticked, saved and
//! restored at random moments, spread over two to eight shards that run on threads or in any order, and spread anew on
//! the way. They must say the same of every request, raise the same alerts and end in the same state to the byte. States
//! are also saved bit by bit while the life goes on, and must be those of the moment at which that began.
//!
//! `SLOBURN_SIMULATION_SEEDS=20000 cargo test --test it simulation` runs more lives; a failure names its seed.

mod life;

use life::{Happening, START, life, services, settings};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sloburn::engine::{Engine, Event, Inline, Shard, Workers, Written};
use sloburn::live::Pool;
use sloburn::spec::Service;
use sloburn::types::{Span, Timestamp};

/// What an engine has said and how it ended.
#[derive(Debug, PartialEq)]
struct End {
    alerts: Vec<String>,
    /// Of rollouts.
    records: Vec<String>,
    written: Vec<Written>,
    state: Vec<u8>,
}

/// Runs the shards one after the other, in another order each time.
#[derive(Debug)]
struct Shuffled(SmallRng);

impl Workers for Shuffled {
    fn run(&mut self, shards: &mut [Shard]) {
        let mut left: Vec<&mut Shard> = shards.iter_mut().collect();
        while !left.is_empty() {
            left.swap_remove(self.0.random_range(0..left.len())).run();
        }
    }
}

struct Run {
    engine: Engine,
    services: Vec<Service>,
    is_edited: bool,
    alerts: Vec<String>,
    records: Vec<String>,
    written: Vec<Written>,
    /// What is saved bit by bit, and what has come of it.
    saving: Option<(Vec<u8>, Vec<u8>)>,
    saves: usize,
}

impl Run {
    fn new() -> Self {
        let services = services(false);
        let engine = Engine::new(&services, settings(), START);
        let (alerts, records, written) = (Vec::new(), Vec::new(), Vec::new());
        Self { engine, services, is_edited: false, alerts, records, written, saving: None, saves: 0 }
    }

    /// Goes on with a save, up to `enough` bytes of it, or begins one.
    fn save_on(&mut self, enough: usize, seed: u64) {
        if !self.engine.is_saving() {
            self.saving = Some((self.engine.save(), Vec::new()));
            self.engine.begin_save();
        }
        let Some((expected, saved)) = &mut self.saving else { return };
        self.engine.save_on(saved, saved.len() + enough);
        if !self.engine.is_saving() {
            assert!(saved == expected, "seed {seed}: a state saved bit by bit is not that of its beginning");
            self.saves += 1;
        }
    }

    fn step(&mut self, event: Event<'_>, now: Timestamp) {
        let effects = self.engine.step(event, now);
        self.alerts.extend(effects.alerts.iter().map(|alert| format!("{alert:?}")));
        self.records.extend(effects.records.iter().map(|record| format!("{record:?}")));
        if let Event::Write(_) = event {
            self.written.push(effects.written);
        }
    }

    fn take(&mut self, happening: &Happening, now: Timestamp) {
        match happening {
            Happening::Write(batch) => self.step(Event::Write(batch), now),
            Happening::ClockBack => self.step(Event::Tick, now),
            Happening::Reload => {
                self.is_edited = !self.is_edited;
                self.services = services(self.is_edited);
                let services = std::mem::take(&mut self.services);
                self.step(Event::Reload(&services), now);
                self.services = services;
            }
        }
    }

    fn end(&mut self) -> End {
        let now = self.engine.now() + Span::hours(3);
        self.step(Event::Tick, now);
        let [alerts, records] = [&mut self.alerts, &mut self.records].map(std::mem::take);
        End { alerts, records, written: std::mem::take(&mut self.written), state: self.engine.save() }
    }
}

fn undisturbed(life: &[(Timestamp, Happening)]) -> End {
    let mut run = Run::new();
    for (now, happening) in life {
        run.take(happening, *now);
    }
    run.end()
}

/// Lives on threads, one for each of two to eight shards.
fn on_threads(life: &[(Timestamp, Happening)], seed: u64) -> End {
    let shards = 2 + (seed % 7) as usize;
    let mut run = Run::new();
    run.engine.spread(shards, Box::new(Pool::start(shards, 0)));
    for (now, happening) in life {
        run.take(happening, *now);
    }
    run.end()
}

/// What may be wrong with a restart.
#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// The last write before a restart is lost.
    WriteLost,
    /// It is told twice, by a recovery whose checkpoint already holds it, under a later time.
    WriteRepeatedLater,
}

/// Spreads an engine over any number of shards, which run in any order.
fn spread(engine: &mut Engine, rng: &mut SmallRng) {
    let shards = rng.random_range(1..9);
    let order = SmallRng::seed_from_u64(rng.random());
    let workers: Box<dyn Workers> = if rng.random_bool(0.3) { Box::new(Inline) } else { Box::new(Shuffled(order)) };
    engine.spread(shards, workers);
}

/// How it ended, and how many states were saved bit by bit.
fn disturbed(life: &[(Timestamp, Happening)], seed: u64, bug: Bug) -> (End, usize) {
    let rng = &mut SmallRng::seed_from_u64(!seed);
    let mut run = Run::new();
    spread(&mut run.engine, rng);
    for (now, happening) in life {
        let before = run.engine.now();
        while *now > before && rng.random_bool(0.4) {
            let between = before + Span::millis(rng.random_range(0..now.since(before).as_millis()));
            if between > run.engine.now() {
                run.step(Event::Tick, between);
            }
        }
        if rng.random_bool(0.1) {
            run.engine.snapshot(*now);
        }
        if rng.random_bool(0.2) {
            run.engine.snapshot_on(*now, rng.random_range(1..4));
        }
        if rng.random_bool(0.5) {
            run.save_on(rng.random_range(1..3_000), seed);
        }
        if rng.random_bool(0.1) {
            spread(&mut run.engine, rng);
        }
        let is_write = matches!(happening, Happening::Write(_));
        let saved = (is_write && rng.random_bool(0.2)).then(|| run.engine.save());
        if bug != Bug::WriteLost || saved.is_none() {
            run.take(happening, *now);
        }
        if let Some(saved) = saved {
            // What was saved, and the log since.
            run.engine = Engine::restore(&run.services, &settings(), &saved).unwrap();
            spread(&mut run.engine, rng);
            if bug != Bug::WriteLost {
                let (again, records, written) = (run.alerts.len(), run.records.len(), run.written.len());
                let later = if bug == Bug::WriteRepeatedLater { Span::seconds(20) } else { Span::ZERO };
                run.take(happening, *now + later);
                let (again, written) = (run.alerts.split_off(again), run.written.split_off(written));
                let records = run.records.split_off(records);
                let is_told =
                    run.alerts.ends_with(&again) && run.records.ends_with(&records) && run.written.ends_with(&written);
                assert!(bug != Bug::None || is_told, "seed {seed}");
            }
        }
    }
    (run.end(), run.saves)
}

fn seeds() -> u64 {
    std::env::var("SLOBURN_SIMULATION_SEEDS").map_or(1_000, |seeds| seeds.parse().expect("a number of seeds"))
}

/// A state is too long to be shown.
fn assert_same(one: &End, other: &End, what: &str, seed: u64) {
    assert_eq!(one.alerts, other.alerts, "seed {seed}, {what}: alerts differ");
    assert_eq!(one.records, other.records, "seed {seed}, {what}: what happened to rollouts differs");
    assert_eq!(one.written, other.written, "seed {seed}, {what}: what is said of requests differs");
    assert!(one.state == other.state, "seed {seed}, {what}: the final states differ");
}

#[test]
fn restarts_onlookers_and_shards_change_nothing() {
    let (mut alerts, mut records, mut refused, mut saves) = (0, 0, 0, 0);
    for seed in 0..seeds() {
        let life = life(seed);
        let calm = undisturbed(&life);
        assert_same(&calm, &on_threads(&life, seed), "on threads", seed);
        let (end, saved) = disturbed(&life, seed, Bug::None);
        assert_same(&calm, &end, "disturbed", seed);
        saves += saved;
        alerts += calm.alerts.len();
        records += calm.records.len();
        refused += calm.written.iter().filter(|written| !written.rejected.is_empty()).count();
    }
    let enough = seeds() as usize / 2;
    assert!(saves > enough, "{saves} states saved bit by bit are too few to show anything");
    assert!(alerts > enough, "{alerts} alerts are too few to show anything");
    assert!(records > enough, "{records} records of rollouts are too few to show anything");
    assert!(refused > enough, "{refused} requests with refused samples are too few to show anything");
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::WriteLost, Bug::WriteRepeatedLater] {
        let differs = |seed| {
            let life = life(seed);
            undisturbed(&life).state != disturbed(&life, seed, bug).0.state
        };
        assert!((0..20).any(differs));
    }
}

/// Leaves undone what the last shard has to do.
#[derive(Debug)]
struct Lazy;

impl Workers for Lazy {
    fn run(&mut self, shards: &mut [Shard]) {
        let (_, others) = shards.split_last_mut().unwrap();
        Inline.run(others);
    }
}

#[test]
#[should_panic(expected = "workers leave every shard in its place, and its work done")]
fn work_that_is_left_undone_is_noticed() {
    let mut run = Run::new();
    run.engine.spread(1, Box::new(Lazy));
    for (now, happening) in &life(0) {
        run.take(happening, *now);
    }
}

#[test]
fn a_state_is_refused_with_its_reason() {
    use sloburn::engine::{RestoreError, STATE_VERSION};
    let saved = Run::new().engine.save();
    let restore = |services: &[Service], saved: &[u8]| Engine::restore(services, &settings(), saved).err();
    assert_eq!(restore(&services(false), &saved), None);
    assert_eq!(restore(&services(false), &saved[..saved.len() / 2]), Some(RestoreError::Damaged));
    assert_eq!(restore(&services(false), &[]), Some(RestoreError::Damaged));
    assert_eq!(restore(&[], &saved), Some(RestoreError::OtherSpecs));
    let newer = [&[STATE_VERSION as u8 + 1], &saved[1..]].concat();
    assert_eq!(restore(&services(false), &newer), Some(RestoreError::Version(STATE_VERSION + 1)));
}
