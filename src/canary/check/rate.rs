//! Sequential evidence about a rate.
//!
//! Both for harm (the limit is exceeded) and for safety (it is not) the evidence is a mixture over alternatives for the
//! canary's rate, at even distances of odds from the limit, of the half-plane factors of
//! [`plane`](crate::canary::evidence::plane); for harm also over the time at which it began
//! ([`onset`](crate::canary::evidence::onset)). The baseline's rate in an alternative is the estimate from earlier
//! blocks, which a null that holds for every baseline rate allows; it only decides how fast the evidence grows. "Not
//! above stable", without a margin, bets on the split of the harmful events instead
//! ([`split`](crate::canary::evidence::split), A2): it needs no level at all.

use serde::{Deserialize, Serialize};

use crate::canary::Block;
use crate::canary::evidence::onset::Mixture;
use crate::canary::evidence::plane::{Limit, Tally, odds_times};
use crate::canary::evidence::split::{ln_odds_factor, ln_split_factor};

use super::spec::tally;

/// Odds of the alternatives for harm, as multiples of the odds at the limit.
pub const HARM_ODDS: [f64; 7] = [1.15, 1.4, 2.0, 4.0, 10.0, 25.0, 80.0];
/// Their prior weights: gross harm is where seconds count, and where a scrape is a large part of the time to a verdict.
const HARM_WEIGHTS: [f64; 7] = [0.1, 0.1, 0.14, 0.18, 0.22, 0.22, 0.04];
/// The same for safety.
pub const SAFE_ODDS: [f64; 7] = [0.9, 0.8, 0.7, 0.55, 0.4, 0.2, 0.05];

/// Above this rate the split of harmful events is taken as of finite blocks.
const ODDS_FROM_RATE: f64 = 0.02;
/// Above this size of a block it is not: it would take time in proportion.
const ODDS_EVENTS_MAX: f64 = 20_000.0;

/// After this time an observation counts half in the baseline's estimate.
const HALF_LIFE_MS: f64 = 30.0 * 60_000.0;
/// Events that the estimate starts with.
const PRIOR_EVENTS: f64 = 20.0;

/// The baseline's recent rate, from blocks already judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    seen: Tally,
}

impl Level {
    pub(super) fn new(prior_rate: f64) -> Self {
        Self { seen: Tally::new(prior_rate * PRIOR_EVENTS, PRIOR_EVENTS) }
    }

    pub(super) fn rate(&self) -> f64 {
        ((self.seen.bad + 0.01) / (self.seen.total + 0.02)).clamp(1e-7, 1.0 - 1e-7)
    }

    pub(super) fn learn(&mut self, events: Tally, length_ms: f64) {
        let kept = 0.5_f64.powf(length_ms / HALF_LIFE_MS);
        self.seen = Tally::new(self.seen.bad * kept + events.bad, self.seen.total * kept + events.total);
    }
}

/// Evidence of one stratum, and what it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Arms {
    pub(super) canary: Tally,
    pub(super) baseline: Tally,
    pub(super) level: Level,
}

/// ln factors of one block for each alternative.
pub(super) struct Factors {
    pub(super) harm: [f64; HARM_ODDS.len()],
    pub(super) safe: [f64; SAFE_ODDS.len()],
}

impl Factors {
    pub(super) const NONE: Self = Self { harm: [0.0; HARM_ODDS.len()], safe: [0.0; SAFE_ODDS.len()] };
}

impl Arms {
    pub(super) fn new(limit: Limit) -> Self {
        let prior_rate = if limit.intercept > 0.0 { (2.0 * limit.intercept).min(0.5) } else { 0.01 };
        Self { canary: Tally::default(), baseline: Tally::default(), level: Level::new(prior_rate) }
    }

    /// The factors of a block, from what was known before it; then learns from it.
    pub(super) fn step(&mut self, block: &Block, harmful_is_bad: bool, limit: Limit) -> Factors {
        let canary = tally(&block.canary, harmful_is_bad);
        let baseline = tally(&block.baseline, harmful_is_bad);
        let expected = self.level.rate();
        let worst = block.placed_worst(expected, |counts| tally(counts, harmful_is_bad).bad);
        let factors = factors(limit, expected, canary, baseline, Tally::new(worst, baseline.total));
        self.canary += canary;
        self.baseline += baseline;
        self.level.learn(baseline, block.to.since(block.from).as_millis() as f64);
        factors
    }
}

/// `worst` is the baseline with disturbances at the borders counted in, for the evidence of harm.
fn factors(limit: Limit, expected: f64, canary: Tally, baseline: Tally, worst: Tally) -> Factors {
    let mut factors = Factors::NONE;
    let is_split = limit == Limit { intercept: 0.0, slope: 1.0 };
    if is_split && canary.total > 0.0 && baseline.total > 0.0 {
        let is_finite = expected > ODDS_FROM_RATE && canary.total + baseline.total <= ODDS_EVENTS_MAX;
        let whole = Tally::new(worst.bad.ceil(), worst.total);
        for (factor, odds) in factors.harm.iter_mut().zip(HARM_ODDS) {
            *factor =
                if is_finite { ln_odds_factor(canary, whole, odds) } else { ln_split_factor(canary, worst, odds) };
        }
    } else {
        on_plane(&mut factors.harm, &HARM_ODDS, limit, expected, canary, worst);
    }
    on_plane(&mut factors.safe, &SAFE_ODDS, limit, expected, canary, baseline);
    factors
}

/// Half-plane factors for alternatives at these odds from the limit.
fn on_plane<const N: usize>(
    out: &mut [f64; N],
    odds: &[f64; N],
    limit: Limit,
    expected: f64,
    canary: Tally,
    baseline: Tally,
) {
    let on_limit = limit.at(expected);
    if on_limit <= 0.0 || on_limit >= 1.0 {
        return;
    }
    let alternatives = odds.map(|odds| odds_times(on_limit, odds));
    let stakes = limit.stakes_each(canary.total, baseline.total, &alternatives, expected);
    for (factor, stakes) in out.iter_mut().zip(stakes) {
        if let Some((c, s)) = stakes {
            *factor = c.on(canary) + s.on(baseline);
        }
    }
}

/// Evidence of the rate over all strata, or in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RateEvidence {
    harm: Mixture,
    safe: Mixture,
}

impl RateEvidence {
    pub(super) fn new() -> Self {
        Self { harm: Mixture::new(&HARM_WEIGHTS), safe: Mixture::new(&[1.0; SAFE_ODDS.len()]) }
    }

    pub(super) fn step(&mut self, onset: f64, factors: &Factors) {
        self.harm.step(onset, factors.harm);
        // Safety is asked of the whole rollout.
        self.safe.step(1.0, factors.safe);
    }

    pub(super) fn ln_harm(&self) -> f64 {
        self.harm.ln_evidence()
    }

    pub(super) fn ln_safe(&self) -> f64 {
        self.safe.ln_evidence()
    }
}
