//! What a check says: state, effect, how much longer, and why.

use serde::{Deserialize, Serialize};

use super::effect::{Effect, Figures, short};
use super::standing::{Counted, Pace, Standing};
use super::{Bound, Test};
use crate::canary::evidence::plane::Tally;
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

/// Beyond this, time needed is not worth saying.
const TIME_NEEDED_MAX_MS: f64 = 90.0 * 86_400_000.0;
/// What a mixture costs against knowing the alternative, in ln E: for estimates of time only.
const MIXTURE_COST: f64 = 1.5;

impl Standing {
    /// What the check says.
    pub fn outcome(&self) -> Outcome {
        let figures = Figures { spec: &self.spec, alpha: self.alpha };
        let is_sequential = self.spec.test == Test::Sequential;
        let effect = match &self.counted {
            Counted::Rates(canary, baseline) => figures.of_rates(*canary, *baseline, is_sequential),
            Counted::Latencies(canary, baseline) => figures.of_latencies(canary, baseline, is_sequential),
        };
        let mut outcome = Outcome {
            check: self.spec.name.clone(),
            state: self.state,
            effect,
            canary_events: self.canary_events,
            baseline_events: self.baseline_events,
            ln_evidence: self.ln_evidence,
            time_needed: self.time_needed(),
            notice: self.notice(),
            reason: String::new(),
        };
        outcome.reason = self.reason(&outcome);
        outcome
    }

    /// From the speed at which evidence would grow at the window's rates.
    fn time_needed(&self) -> Option<Span> {
        let (limit, canary, baseline, length_ms) = match self.pace {
            Pace::Unknown => return None,
            Pace::Looks(length) => return Some(length),
            Pace::Waits(millis) => return span(millis),
            Pace::Rates { limit, canary, baseline, length_ms } => (limit, canary, baseline, length_ms),
        };
        let evidence = self.ln_evidence?;
        // Half an event keeps a rate of none apart from never.
        let rate = |arm: Tally| (arm.bad + 0.5) / (arm.total + 1.0);
        let (c, s) = (rate(canary), rate(baseline));
        let per_window = limit.growth(canary.total, baseline.total, c, s);
        let reached = if c > limit.at(s) { evidence.harm } else { evidence.safe };
        span((evidence.needed + MIXTURE_COST - reached).max(0.1) * length_ms / per_window)
    }

    /// Buckets too coarse for the limit.
    fn notice(&self) -> Option<String> {
        let (exact, visible) = self.visible?;
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
                (true, true) if self.is_apart => {
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
