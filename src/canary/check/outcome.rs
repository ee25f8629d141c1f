//! What a check says: state, effect, how much longer, and why.

use serde::{Deserialize, Serialize};

use super::latency::QuantileLimit;
use super::rate::Arms;
use super::spec::tally;
use super::{Amount, Bound, Check, Evidence, Measure, Test};
use crate::canary::Coarse;
use crate::canary::evidence::interval::{Interval, proportion};
use crate::canary::evidence::plane::{Limit, Tally};
use crate::types::Span;

/// Where a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The limit is exceeded.
    Harm,
    /// The limit is kept.
    Safe,
    /// Neither has been shown.
    Undecided,
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A fraction, written in percent.
    Percent,
    /// A difference of fractions, written in points.
    Points,
    /// A proportion of the baseline's figure, written in percent.
    Relative,
    /// Seconds.
    Seconds,
    /// A burn rate.
    Burn,
}

/// What the canary's figure is against its limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The canary's figure: a rate, or a quantile.
    #[serde(with = "crate::types::any_f64")]
    pub canary: f64,
    /// The baseline's, where it has events.
    pub baseline: Option<f64>,
    /// What the limit is about: the figure, its difference from the baseline's for the worse, or the like.
    #[serde(with = "crate::types::any_f64")]
    pub value: f64,
    /// Where the value lies, at every look together, with the check's confidence; `None` for a window.
    pub interval: Option<Interval>,
    /// What the value may be.
    #[serde(with = "crate::types::any_f64")]
    pub limit: f64,
    /// The limit is a lower one.
    pub is_lower_limit: bool,
    /// Of value, interval and limit.
    pub unit: Unit,
}

/// A check's answer at some moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The check.
    pub check: String,
    /// Where it stands.
    pub state: State,
    /// `None` without events of the arms it needs.
    pub effect: Option<Effect>,
    /// Events of the canary it has judged.
    pub canary_events: f64,
    /// Events of the baseline it has judged.
    pub baseline_events: f64,
    /// ln of the evidence for harm, for safety, and of what decides; `None` for threshold tests.
    pub ln_evidence: Option<LnEvidence>,
    /// Until it decides, if things go on as they are; `None` where it has decided or nobody can say.
    pub time_needed: Option<Span>,
    /// What a user should know about how the check can see, such as buckets too coarse for its limit.
    pub notice: Option<String>,
    /// One sentence.
    pub reason: String,
}

/// Logarithms of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LnEvidence {
    /// That the limit is exceeded.
    #[serde(with = "crate::types::any_f64")]
    pub harm: f64,
    /// That it is kept.
    #[serde(with = "crate::types::any_f64")]
    pub safe: f64,
    /// What either needs.
    #[serde(with = "crate::types::any_f64")]
    pub needed: f64,
}

/// Events that the intervals shown are tightest near.
const INTERVAL_EVENTS: f64 = 1000.0;
/// Beyond this, time needed is not worth saying.
const TIME_NEEDED_MAX_MS: f64 = 90.0 * 86_400_000.0;
/// What a mixture costs against knowing the alternative, in ln E: for estimates of time only.
const MIXTURE_COST: f64 = 1.5;

impl Effect {
    /// How far the value is beyond the limit; negative within.
    pub fn excess(&self) -> f64 {
        if self.is_lower_limit { self.limit - self.value } else { self.value - self.limit }
    }

    /// A value of its unit for people: `0.3 points`, `250 ms`, `2x`.
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Points => format!("{} points", short(100.0 * value)),
            Unit::Percent | Unit::Relative => format!("{} %", short(100.0 * value)),
            Unit::Seconds if value.abs() < 1.0 => format!("{} ms", short(1000.0 * value)),
            Unit::Seconds => format!("{} s", short(value)),
            Unit::Burn => format!("{}x", short(value)),
        }
    }
}

/// Three significant digits, without trailing zeros.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 8) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Check {
    /// What the check says now.
    pub fn outcome(&self) -> Outcome {
        let state = self.state();
        let (canary_events, baseline_events) = self.events();
        let effect = match self.spec.test {
            Test::Sequential => self.total_effect(),
            Test::Threshold { .. } => self.window_effect(),
        };
        let is_sequential = self.spec.test == Test::Sequential;
        let ln_evidence =
            is_sequential.then(|| LnEvidence { harm: self.ln_harm(), safe: self.ln_safe(), needed: self.ln_needed() });
        let time_needed = if state == State::Undecided { self.time_needed() } else { None };
        let notice = self.notice();
        let mut outcome = Outcome {
            check: self.spec.name.clone(),
            state,
            effect,
            canary_events,
            baseline_events,
            ln_evidence,
            time_needed,
            notice,
            reason: String::new(),
        };
        outcome.reason = self.reason(&outcome);
        outcome
    }

    fn events(&self) -> (f64, f64) {
        let sum = |counts: &[f64]| counts.iter().sum::<f64>();
        if let Test::Threshold { .. } = self.spec.test {
            return (sum(self.window.canary()), sum(self.window.baseline()));
        }
        match &self.evidence {
            Evidence::Rate { strata, .. } => {
                let total = |arm: fn(&Arms) -> Tally| strata.iter().map(|s| arm(&s.arms).total).sum();
                (total(|a| a.canary), total(|a| a.baseline))
            }
            Evidence::Latency { strata, .. } => {
                let total = |counts: fn(&super::LatencyEvidence) -> &[f64]| {
                    strata.iter().map(|s| sum(counts(&s.evidence))).sum()
                };
                (total(|e| &e.canary), total(|e| &e.baseline))
            }
        }
    }

    /// Whether events of a stratum are compared at all: relative checks need both arms in it.
    fn is_compared(&self, canary: f64, baseline: f64) -> bool {
        !self.spec.is_relative() || canary > 0.0 && baseline > 0.0
    }

    /// Each arm has events, and no stratum has those of both: all of a cohort went to the canary, say.
    fn is_apart(&self) -> bool {
        let sum = |counts: &[f64]| counts.iter().sum::<f64>();
        match &self.evidence {
            Evidence::Rate { strata, .. } if strata.len() > 1 => {
                !strata.iter().any(|s| self.is_compared(s.arms.canary.total, s.arms.baseline.total))
            }
            Evidence::Latency { strata, .. } if strata.len() > 1 => {
                !strata.iter().any(|s| self.is_compared(sum(&s.evidence.canary), sum(&s.evidence.baseline)))
            }
            Evidence::Rate { .. } | Evidence::Latency { .. } => false,
        }
    }

    /// The effect over the whole rollout, with its interval, in the strata that are compared.
    fn total_effect(&self) -> Option<Effect> {
        let add = |sum: &mut Vec<f64>, counts: &[f64]| {
            sum.resize(counts.len(), 0.0);
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        };
        match &self.evidence {
            Evidence::Rate { strata, .. } => {
                let (mut canary, mut baseline) = (Tally::default(), Tally::default());
                let is_single = strata.len() == 1;
                let is_in = |arms: &Arms| is_single || self.is_compared(arms.canary.total, arms.baseline.total);
                for stratum in strata.iter().filter(|stratum| is_in(&stratum.arms)) {
                    canary += stratum.arms.canary;
                    baseline += stratum.arms.baseline;
                }
                self.rate_effect(canary, baseline, true)
            }
            Evidence::Latency { strata, .. } => {
                let (mut canary, mut baseline) = (Vec::new(), Vec::new());
                let is_single = strata.len() == 1;
                let sum = |counts: &[f64]| counts.iter().sum::<f64>();
                let is_in =
                    |e: &super::LatencyEvidence| is_single || self.is_compared(sum(&e.canary), sum(&e.baseline));
                for stratum in strata.iter().filter(|stratum| is_in(&stratum.evidence)) {
                    add(&mut canary, &stratum.evidence.canary);
                    add(&mut baseline, &stratum.evidence.baseline);
                }
                self.latency_effect(&canary, &baseline, true)
            }
        }
    }

    /// The effect in the window.
    pub(super) fn window_effect(&self) -> Option<Effect> {
        let (canary, baseline) = (self.window.canary(), self.window.baseline());
        match &self.evidence {
            Evidence::Rate { harmful_is_bad, .. } => {
                self.rate_effect(tally(canary, *harmful_is_bad), tally(baseline, *harmful_is_bad), false)
            }
            Evidence::Latency { .. } => self.latency_effect(canary, baseline, false),
        }
    }

    fn rate_effect(&self, canary: Tally, baseline: Tally, with_interval: bool) -> Option<Effect> {
        let (c, s) = (canary.rate()?, baseline.rate());
        let figure = |harmful: f64| if self.spec.figure_is_harmful() { harmful } else { 1.0 - harmful };
        let alpha = self.terms.alpha;
        let is_relative = self.spec.is_relative();
        let each = if is_relative { alpha / 2.0 } else { alpha };
        let bounds = with_interval.then(|| [canary, baseline].map(|arm| proportion(arm, INTERVAL_EVENTS, each)));
        let figures = |i: Interval| {
            if self.spec.figure_is_harmful() { i } else { Interval { low: 1.0 - i.high, high: 1.0 - i.low } }
        };
        // Ratio of the figures less 1, in the direction of harm.
        let worse = |c: f64, s: f64| {
            let ratio = figure(c) / figure(s);
            if self.spec.figure_is_harmful() { ratio - 1.0 } else { 1.0 - ratio }
        };
        let (value, interval, limit, unit) = match self.spec.bound {
            Bound::Above(l) | Bound::Below(l) => (figure(c), bounds.map(|b| figures(b[0])), l, Unit::Percent),
            Bound::BurnRateOver { factor, budget, .. } => {
                let interval = bounds.map(|b| Interval { low: b[0].low / budget, high: b[0].high / budget });
                (c / budget, interval, factor, Unit::Burn)
            }
            Bound::DropOver(Amount::Absolute(d)) | Bound::RegressionOver(Amount::Absolute(d)) => {
                (c - s?, bounds.map(|b| b[0].minus(b[1])), d, Unit::Points)
            }
            Bound::DropOver(Amount::Relative(d)) | Bound::RegressionOver(Amount::Relative(d)) => {
                let interval =
                    bounds.map(|b| Interval { low: worse(b[0].low, b[1].high), high: worse(b[0].high, b[1].low) });
                (worse(c, s?), interval.filter(|i| i.low.is_finite() && i.high.is_finite()), d, Unit::Relative)
            }
        };
        let is_lower_limit = matches!(self.spec.bound, Bound::Below(_));
        let baseline = s.map(figure);
        value.is_finite().then_some(Effect {
            canary: figure(c),
            baseline,
            value,
            interval,
            limit,
            is_lower_limit,
            unit,
        })
    }

    fn latency_effect(&self, canary: &[f64], baseline: &[f64], with_interval: bool) -> Option<Effect> {
        let Measure::Latency { quantile, layout } = &self.spec.measure else { return None };
        let c = layout.quantile(canary, *quantile)?;
        let s = layout.quantile(baseline, *quantile);
        let each = if self.spec.is_relative() { self.terms.alpha / 2.0 } else { self.terms.alpha };
        // A quantile is refuted where the share below it is: the quantiles at the ends of the share's interval.
        let ends = |counts: &[f64]| -> Option<Interval> {
            let total: f64 = counts.iter().sum();
            let shares = proportion(Tally::new(total * quantile, total), INTERVAL_EVENTS, each);
            Some(Interval { low: layout.quantile(counts, shares.low)?, high: layout.quantile(counts, shares.high)? })
        };
        let both = || ends(canary).zip(ends(baseline));
        let (value, interval, limit, unit) = match self.spec.bound {
            Bound::RegressionOver(Amount::Absolute(d)) => (c - s?, both().map(|(c, s)| c.minus(s)), d, Unit::Seconds),
            Bound::RegressionOver(Amount::Relative(d)) => {
                let ratio =
                    |(c, s): (Interval, Interval)| Interval { low: c.low / s.high - 1.0, high: c.high / s.low - 1.0 };
                (c / s? - 1.0, both().map(ratio), d, Unit::Relative)
            }
            Bound::Above(l) | Bound::Below(l) => (c, ends(canary), l, Unit::Seconds),
            Bound::DropOver(_) | Bound::BurnRateOver { .. } => return None,
        };
        let interval = interval.filter(|_| with_interval);
        Some(Effect { canary: c, baseline: s, value, interval, limit, is_lower_limit: false, unit })
    }

    /// From the speed at which evidence would grow at the window's rates.
    fn time_needed(&self) -> Option<Span> {
        let begun = self.begun?;
        let length = self.judged_to?.since(begun).min(self.window.length()).as_millis() as f64;
        if let Test::Threshold { min_samples, consecutive, .. } = self.spec.test {
            let events = self.window.canary().iter().sum::<f64>();
            if self.has_samples(min_samples) {
                return Some(Span(self.terms.every.as_millis() * i64::from(self.streak.missing(consecutive))));
            }
            let missing = min_samples as f64 - events;
            return span(missing.max(0.0) * length / events);
        }
        if self.is_apart() {
            return None;
        }
        let (limit, canary, baseline) = self.window_tallies()?;
        // Half an event keeps a rate of none apart from never.
        let rate = |arm: Tally| (arm.bad + 0.5) / (arm.total + 1.0);
        let (c, s) = (rate(canary), rate(baseline));
        let per_window = limit.growth(canary.total, baseline.total, c, s);
        let reached = if c > limit.at(s) { self.ln_harm() } else { self.ln_safe() };
        span((self.ln_needed() + MIXTURE_COST - reached).max(0.1) * length / per_window)
    }

    /// The window as a rate check: harmful events, and their limit.
    fn window_tallies(&self) -> Option<(Limit, Tally, Tally)> {
        let (canary, baseline) = (self.window.canary(), self.window.baseline());
        match &self.evidence {
            Evidence::Rate { harmful_is_bad, limit, .. } => {
                Some((*limit, tally(canary, *harmful_is_bad), tally(baseline, *harmful_is_bad)))
            }
            Evidence::Latency { limit, strata } => {
                let Measure::Latency { quantile, layout } = &self.spec.measure else { return None };
                let x = match limit {
                    QuantileLimit::Fixed(_) => 0.0,
                    QuantileLimit::OverBaseline(_) => {
                        strata.iter().find_map(|s| s.evidence.recent_quantile(layout, *quantile))?
                    }
                };
                let above = layout.above(canary, limit.at(x), Coarse::Below);
                let tail = Limit { intercept: 1.0 - quantile, slope: 0.0 };
                Some((tail, Tally::new(above.sum(), above.total), Tally::default()))
            }
        }
    }

    /// Buckets too coarse for the limit.
    pub fn notice(&self) -> Option<String> {
        let Evidence::Latency { limit, strata } = &self.evidence else { return None };
        let Measure::Latency { quantile, layout } = &self.spec.measure else { return None };
        let (exact, from) = match limit {
            QuantileLimit::Fixed(limit) => (*limit, *limit),
            QuantileLimit::OverBaseline(_) => {
                let x = strata.iter().find_map(|s| s.evidence.recent_quantile(layout, *quantile))?;
                (limit.at(x), limit.at(layout.visible_from(x)))
            }
        };
        let visible = layout.visible_from(from);
        let show = |seconds: f64| {
            if seconds < 1.0 { format!("{} ms", short(1000.0 * seconds)) } else { format!("{} s", short(seconds)) }
        };
        if visible <= exact * 1.000_001 {
            return None;
        }
        let seen = if visible.is_finite() { format!("only above {}", show(visible)) } else { "never".to_owned() };
        Some(format!("the buckets are too coarse for a limit of {}: harm can be shown {seen}", show(exact)))
    }

    fn reason(&self, outcome: &Outcome) -> String {
        let name = &self.spec.name;
        let Some(effect) = outcome.effect else {
            let missing = match (outcome.canary_events > 0.0, outcome.baseline_events > 0.0) {
                (false, false) => "no events of either version yet",
                (false, true) => "no events of the canary yet",
                (true, false) => "no events of the baseline yet",
                (true, true) if self.is_apart() => {
                    "the canary's cohorts have no events of the baseline to be compared with"
                }
                (true, true) => "its figure lies above the highest bucket bound",
            };
            return format!("{name}: {missing}");
        };
        let what = match self.spec.bound {
            Bound::Above(_) | Bound::Below(_) => "",
            Bound::BurnRateOver { .. } => "burns its budget at ",
            Bound::DropOver(_) => "drop of ",
            Bound::RegressionOver(_) => "regression of ",
        };
        let interval = effect
            .interval
            .map_or_else(String::new, |i| format!(" ({} to {})", effect.show(i.low), effect.show(i.high)));
        let relation = match (outcome.state, effect.is_lower_limit) {
            (State::Harm, false) => "more than the limit of",
            (State::Harm, true) => "less than the limit of",
            (State::Safe, false) => "not more than the limit of",
            (State::Safe, true) => "not less than the limit of",
            (State::Undecided, _) => "not yet decided against the limit of",
        };
        format!(
            "{name}: {what}{}{interval}, {relation} {}, after {} canary and {} baseline events",
            effect.show(effect.value),
            effect.show(effect.limit),
            outcome.canary_events,
            outcome.baseline_events,
        )
    }
}

fn span(ms: f64) -> Option<Span> {
    (ms.is_finite() && (0.0..TIME_NEEDED_MAX_MS).contains(&ms)).then(|| Span(ms.ceil() as i64))
}
