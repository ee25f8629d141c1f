//! Releases at the rates and scrape intervals that were reported, in simulated time: lived through by the engine, whose
//! steps the traffic follows; recorded as OpenMetrics; and judged again by `sloburn replay`, whose lines are compared.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sloburn::engine::{Engine, Event, Settings};
use sloburn::rollout::{Ending, Happened};
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Interned, Limits, Sample, WireKey};

use super::traffic::{Behave, Model, Series, Traffic};
use crate::daemon::sloburn;

/// 2026-11-03T02:00:00Z, a Tuesday: within the start window of payment-auth.
const START: Timestamp = Timestamp(1_793_671_200_000);
/// The stable version alone.
const BEFORE: Span = Span::minutes(10);
/// No release takes longer.
const LIMIT: Span = Span::hours(10);

/// A release from its deployment to its end.
pub struct Lived {
    /// When the candidate began to take traffic.
    pub deployed: Timestamp,
    /// When each step began.
    pub began: Vec<Timestamp>,
    /// Time, step, verdict and check of each verdict.
    pub verdicts: Vec<(Timestamp, String, String, Option<String>)>,
    /// How and when it ended; a pause ends it here too.
    pub end: Timestamp,
    pub ending: Option<Ending>,
    /// Requests the candidate had served when each step began, and at the end.
    pub served: Vec<f64>,
    /// All samples.
    pub dump: String,
}

impl Lived {
    /// From the beginning of a step to the end.
    pub fn since(&self, step: usize) -> Span {
        self.end.since(self.began[step])
    }

    /// Requests the candidate served in that time.
    pub fn served_since(&self, step: usize) -> f64 {
        self.served.last().unwrap() - self.served[step]
    }

    /// What the last verdict came to depend on.
    pub fn check(&self) -> String {
        self.verdicts.last().and_then(|verdict| verdict.3.clone()).unwrap_or_default()
    }
}

/// The spec as it lies in `rules/`.
pub fn rules(service: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rules").join(format!("{service}.yaml"))
}

/// A change of a spec's text.
pub type Edit = (&'static str, &'static str);

fn edited(service: &str, edits: &[Edit]) -> String {
    edits.iter().fold(fs::read_to_string(rules(service)).unwrap(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

fn services(service: &str, edits: &[Edit]) -> Vec<Service> {
    let (services, report) = parse(&[Source::new(rules(service), edited(service, edits))]);
    assert!(!report.has_errors(), "{}", report.render(false));
    services
}

fn line(dump: &mut String, series: &Series, at: Timestamp) {
    let name = series.labels.get("__name__").unwrap();
    let labels: Vec<String> = (&series.labels)
        .into_iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let millis = at.as_millis();
    writeln!(dump, "{name}{{{}}} {} {}.{:03}", labels.join(","), series.value, millis / 1_000, millis % 1_000).unwrap();
}

/// Lives through a release until it is decided or paused; the spec may be edited.
pub fn live(model: &Model, behave: Behave, seed: u64, is_recorded: bool, edits: &[Edit]) -> Lived {
    let key = WireKey::new([5; 192]);
    let settings = Settings { key: key.clone(), limits: Limits::default(), series_limit: 10_000, ha: None };
    let mut engine = Engine::new(&services(model.service, edits), settings, START);
    let mut traffic = Traffic::new(model, behave, seed, START);
    let mut batch = Batch::new();
    let (mut interned, mut prober): ([Option<Vec<Interned>>; 3], Option<Interned>) = Default::default();
    let mut lived = Lived {
        deployed: START,
        began: Vec::new(),
        verdicts: Vec::new(),
        end: START,
        ending: None,
        served: Vec::new(),
        dump: String::new(),
    };
    let mut is_over = false;
    while !is_over {
        if lived.began.is_empty() && traffic.now().since(START) >= BEFORE {
            traffic.expose(Some(0));
            lived.deployed = traffic.now();
            lived.began.push(traffic.now());
            lived.served.push(0.0);
        }
        let (at, target, scraped) = traffic.scrape();
        let known = interned[target].get_or_insert_with(|| {
            let series = scraped.iter().map(|series| batch.intern(&key, &series.labels));
            series.collect::<Vec<_>>()
        });
        batch.clear_series();
        for (series, known) in scraped.iter().zip(&*known) {
            batch.push_interned(known, Sample { timestamp: at, value: series.value });
            if is_recorded {
                line(&mut lived.dump, series, at);
            }
        }
        if let Some((probed, series)) = traffic.probe() {
            assert_eq!(probed, at, "the check runs at whole minutes, as one of the stable version's scrapes does");
            let probe = prober.get_or_insert_with(|| batch.intern(&key, &series.labels));
            batch.push_interned(probe, Sample { timestamp: at, value: series.value });
            if is_recorded {
                line(&mut lived.dump, &series, at);
            }
        }
        for record in engine.step(Event::Moment(&batch), at).records {
            is_over |= lived.take(&record.event, record.at, &mut traffic);
        }
        if at.since(START) >= LIMIT {
            let services = engine.snapshot(at).services;
            let view = services[0].canary.as_ref().and_then(|canary| canary.rollout(None).cloned());
            panic!("{}: not decided: {:#?}", model.service, view.and_then(|view| view.verdict.clone()));
        }
    }
    lived.served.push(traffic.served);
    lived.dump.push_str("# EOF\n");
    lived
}

impl Lived {
    /// Whether it is over.
    fn take(&mut self, event: &Happened, at: Timestamp, traffic: &mut Traffic) -> bool {
        match event {
            Happened::StepBegan { step, .. } => {
                traffic.expose(Some(*step));
                self.began.push(at);
                self.served.push(traffic.served);
                false
            }
            Happened::Verdict { verdict, .. } => {
                let decision = verdict.decision.as_str();
                self.verdicts.push((at, verdict.step.clone(), decision.to_owned(), verdict.check.clone()));
                self.end = at;
                decision == "pause"
            }
            Happened::Ended { outcome, .. } => {
                (self.end, self.ending) = (at, Some(*outcome));
                true
            }
            _ => false,
        }
    }

    /// `sloburn replay` reaches the same verdicts at the same times from what was recorded.
    pub fn is_replayed(&self, service: &str, edits: &[Edit]) {
        let folder = tempfile::tempdir().unwrap();
        let (spec, dump) = (folder.path().join("spec.yaml"), folder.path().join("release.om"));
        fs::write(&spec, edited(service, edits)).unwrap();
        fs::write(&dump, &self.dump).unwrap();
        let mut replay = sloburn();
        replay.args(["replay", "--format", "json", "--rules"]).arg(spec).arg("--input").arg(dump);
        let output = replay.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let said = |value: &Value| value.as_str().unwrap().to_owned();
        let replayed: Vec<_> = lines
            .filter(|line| line["kind"] == "verdict")
            .map(|v| (said(&v["time"]), said(&v["step"]), said(&v["verdict"]), v["check"].as_str().map(str::to_owned)))
            .collect();
        let lived: Vec<_> = self
            .verdicts
            .iter()
            .cloned()
            .map(|(at, step, verdict, check)| (at.to_rfc3339(), step, verdict, check))
            .collect();
        assert_eq!(replayed, lived, "{service}");
    }
}
