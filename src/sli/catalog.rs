//! Which series count for which SLI.

use serde::{Deserialize, Serialize};

use crate::series::Deciding;
use crate::spec::{Baseline, Reads, Role, Service, Sli, Slo};
use crate::types::{Labels, METRIC_NAME, Matcher, Selector, Selectors};

/// The labels that name a scrape target.
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// An SLI of the loaded specs, by its position among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SliId(pub u32);

/// One use of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Match {
    /// The SLI it counts for.
    pub sli: SliId,
    /// The SLI's term that selects it, by its position among them.
    pub term: u32,
    /// What its events count as.
    pub role: Role,
    /// They are subtracted.
    pub negative: bool,
    /// What its samples mean.
    pub reads: Reads,
    /// The series belongs to a classic histogram: it does not count what a native one of the same labels counts.
    pub is_classic: bool,
}

/// One use of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeMatch {
    /// The SLI whose total and numerator it counts for.
    pub sli: SliId,
    /// Events of at most this value are the numerator.
    pub threshold: f64,
    /// What the events up to the threshold are read as.
    pub reads: Reads,
}

/// Bounds at which native histograms are counted for the judge of releases, by the power of two from the first to the
/// last, and how many there are to each: those of schema 3, from microseconds to days.
const JUDGED_POWERS: std::ops::Range<i32> = -17..17;
const JUDGED_BOUNDS_PER_POWER: i32 = 8;
/// The label of a classic histogram's buckets.
const BOUND: &str = "le";
/// The label of `rollout_info` that says what a Rollout does.
pub const PHASE: &str = "phase";

impl Match {
    /// Whether the series' samples show that the SLI has data: those of what is added up to the total do.
    pub fn is_watched(&self) -> bool {
        self.role == Role::Total && !self.negative
    }
}

/// Every selector of every SLI.
#[derive(Debug, Default)]
pub struct Catalog {
    rules: Selectors<Match>,
    native: Selectors<NativeMatch>,
    /// What a series of samples counts for depends on these.
    deciding: Deciding,
}

impl Catalog {
    /// All selectors of the services' SLIs; [`SliId`]s count SLIs in the order given, and after them the
    /// selectors of exclusions.
    pub fn new(services: &[Service]) -> Self {
        let mut catalog = Self::default();
        for (id, (service, sli)) in services.iter().flat_map(|s| s.slis.iter().map(move |sli| (s, sli))).enumerate() {
            let inputs = sli.inputs();
            let (sli, is_classic) = (SliId(id as u32), inputs.native.is_some());
            for (term, input) in (0..).zip(inputs.terms) {
                let (role, negative, reads) = (input.role, input.negative, input.reads);
                catalog.add(service, input.selector, Match { sli, term, role, negative, reads, is_classic });
            }
            if let Some(latency) = inputs.native {
                let reads = Reads::Counter;
                catalog.native.add(latency.histogram, NativeMatch { sli, threshold: latency.threshold, reads });
            }
        }
        let slos = services.iter().flat_map(|s| s.slos.iter().map(move |slo| (s, slo)));
        let signals = slos.flat_map(|(service, slo)| slo.signals().map(move |selector| (service, selector)));
        let slis = services.iter().map(|s| s.slis.len()).sum::<usize>() as u32;
        for (signal, (service, selector)) in (slis..).zip(signals) {
            let (role, reads) = (Role::Numerator, Reads::Signal);
            let sli = SliId(signal);
            let matched = Match { sli, term: 0, role, negative: false, reads, is_classic: false };
            catalog.add(service, selector.clone(), matched);
        }
        catalog.add_releases(services);
        catalog.deciding = catalog.deciding.done();
        catalog
    }

    fn add(&mut self, service: &Service, selector: Selector, matched: Match) {
        self.deciding.add(&selector, labels_read(service));
        self.rules.add(selector, matched);
    }

    /// The labels on which it depends what a series of samples counts for.
    pub const fn deciding(&self) -> &Deciding {
        &self.deciding
    }

    /// What the judge of releases looks at, numbered on: the streams of every service's `canary` block, each followed by
    /// the block itself, which stands for the weight and the phase.
    fn add_releases(&mut self, services: &[Service]) {
        let signals = services.iter().flat_map(|s| s.slos.iter()).flat_map(Slo::signals).count();
        let mut next = (services.iter().map(|s| s.slis.len()).sum::<usize>() + signals) as u32;
        for service in services {
            let Some(canary) = &service.canary else { continue };
            for stream in canary.streams() {
                self.add_stream(service, SliId(next), &service.slis[stream.sli], stream.is_latency);
                next += 1;
            }
            let of_block = |reads| Match {
                sli: SliId(next),
                term: 0,
                role: Role::Numerator,
                negative: false,
                reads,
                is_classic: false,
            };
            if let Some(weight) = &canary.weight {
                self.add(service, weight.clone(), of_block(Reads::Weight));
            }
            if let Some(argo) = &canary.argo {
                let labels = [(METRIC_NAME, "rollout_info"), ("namespace", &*argo.namespace), ("name", &*argo.name)];
                let info = Selector::new(labels.map(|(name, value)| Matcher::equal(name, value)).to_vec());
                self.add(service, info, of_block(Reads::Phase));
            }
            next += 1;
        }
    }

    fn add_stream(&mut self, service: &Service, sli: SliId, definition: &Sli, is_latency: bool) {
        let inputs = definition.inputs();
        let is_classic = inputs.native.is_some();
        let Some(latency) = inputs.native.filter(|_| is_latency) else {
            for input in inputs.terms {
                let reads = match input.reads {
                    Reads::Gauge(good) => Reads::Judged(Some(good)),
                    _ => Reads::Judged(None),
                };
                let (role, negative) = (input.role, input.negative);
                self.add(service, input.selector, Match { sli, term: 0, role, negative, reads, is_classic });
            }
            if let Some(latency) = definition.inputs().native {
                let matched = NativeMatch { sli, threshold: latency.threshold, reads: Reads::Judged(None) };
                self.native.add(latency.histogram, matched);
            }
            return;
        };
        let name = latency.histogram.metric_name().unwrap_or_default();
        let buckets = latency.histogram.with_metric_name(&format!("{name}_bucket"));
        // The bound is the series' own.
        let (role, reads) = (Role::Numerator, Reads::Bucket(0));
        self.add(service, buckets, Match { sli, term: 0, role, negative: false, reads, is_classic: true });
        let steps = JUDGED_POWERS.start * JUDGED_BOUNDS_PER_POWER..=JUDGED_POWERS.end * JUDGED_BOUNDS_PER_POWER;
        for step in steps {
            let threshold = 2.0_f64.powf(f64::from(step) / f64::from(JUDGED_BOUNDS_PER_POWER));
            let matched = NativeMatch { sli, threshold, reads: Reads::Bucket(threshold.to_bits()) };
            self.native.add(latency.histogram.clone(), matched);
        }
    }

    /// The SLIs a series of samples counts for.
    ///
    /// `None`: none, and no series of the same metric on the same target can count either. An empty list:
    /// none, but its presence can prove that another series of its metric and target was born.
    pub fn find(&self, labels: &Labels) -> Option<Vec<Match>> {
        let mut matches = find(&self.rules, labels)?;
        matches.retain_mut(|matched| {
            let Reads::Bucket(bound) = &mut matched.reads else { return true };
            let value = match labels.get(BOUND) {
                Some("+Inf" | "Inf") => Some(f64::INFINITY),
                text => text.and_then(|text| text.parse().ok()),
            };
            let above_zero = value.filter(|value: &f64| *value > 0.0);
            *bound = above_zero.unwrap_or_default().to_bits();
            above_zero.is_some()
        });
        Some(matches)
    }

    /// The same for a series of native histograms.
    pub fn find_native(&self, labels: &Labels) -> Option<Vec<NativeMatch>> {
        find(&self.native, labels)
    }
}

/// The labels of a series that are looked at beside those of the selectors: for its version, its group, its cohort, the
/// bound of its bucket and the phase of its Rollout.
fn labels_read(service: &Service) -> impl Iterator<Item = &str> {
    let groups = service.slos.iter().flat_map(|slo| &slo.accounting.group_by).map(String::as_str);
    let canary = service.canary.as_deref().into_iter();
    let cohorts = canary.clone().flat_map(|canary| &canary.checks).flat_map(|check| &check.strata).flatten();
    let baseline = canary.flat_map(|canary| match &canary.baseline {
        Baseline::Selector(matchers) => matchers.as_slice(),
        Baseline::Stable | Baseline::Previous => &[],
    });
    let matched = cohorts.chain(baseline).map(|matcher| &*matcher.name);
    service.version_label.as_deref().into_iter().chain(groups).chain(matched).chain([BOUND, PHASE])
}

/// What the selectors stand for that match a series; `None` where none can match a series of its metric and target.
fn find<M: Clone>(selectors: &Selectors<M>, labels: &Labels) -> Option<Vec<M>> {
    let name = labels.get(METRIC_NAME).unwrap_or_default();
    let is_related = |selector: &Selector| selector.matches_metric_name(name) && on_same_target(selector, labels);
    let mut related = selectors.candidates(labels).filter(|(selector, _)| is_related(selector)).peekable();
    related.peek()?;
    Some(related.filter(|(selector, _)| selector.matches(labels)).map(|(_, matched)| matched.clone()).collect())
}

/// Whether the selector can match some series of this one's target.
fn on_same_target(selector: &Selector, labels: &Labels) -> bool {
    let of_target = selector.matchers().iter().filter(|m| matches!(&*m.name, JOB | INSTANCE));
    of_target.into_iter().all(|m| m.matches_in(labels))
}
