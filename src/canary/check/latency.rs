//! Sequential evidence about a quantile, from buckets.
//!
//! The q-quantile is above x where more than `1 - q` of the events are. With a fixed limit that is a rate check of the
//! tail. With the baseline's quantile as the measure, nobody knows where that lies; harm needs both of two pieces of
//! evidence, the smaller one counts:
//!
//! - **Wherever the baseline's quantile is** (Howard and Ramdas' construction, with a margin): for every x, either the
//!   baseline's quantile is not near x, or the canary's exceeds `limit(x)`. Points `x_1 < x_2 < ...` cut the axis into
//!   intervals. If the baseline's quantile lies in `(x_(i-1), x_i]`, then its tail above `x_(i-1)` is at least `1 - q`,
//!   and a canary within the limit has a tail above `limit(x_i)` of at most `1 - q`. The product of the evidence
//!   against the one (baseline alone) and the other (canary alone) is an e-process for that interval; the least of the
//!   products is one whichever interval is true. Outside the points one of the two remains. It is valid for arms whose
//!   latencies stay as they are.
//! - **However both move together**: the canary's tail above `limit(x)` against the baseline's tail above x, for x at
//!   the baseline's recent quantile. It is valid for every canary that is at most the limit slower than the baseline,
//!   whatever both do over time: a load that slows both arms moves neither.
//!
//! So the smaller is valid in both situations. For safety the same with the sides exchanged. A bucket that a limit cuts
//! counts in part if it is fine and whole, against the claim, if it is coarse ([`Layout`]).

use serde::{Deserialize, Serialize};

use crate::canary::evidence::onset::Mixture;
use crate::canary::evidence::plane::{Limit, Stake, odds_times};
use crate::canary::evidence::special::ln_add;
use crate::canary::{Above, Block, Coarse, Layout};

use super::spec::Amount;

const HARM_ODDS: [f64; 8] = [1.12, 1.25, 1.5, 2.0, 3.0, 6.0, 16.0, 60.0];
/// Their prior weights: a tail that is fixed at `1 - q` rarely grows by much before somebody minds.
const HARM_WEIGHTS: [f64; 8] = [0.18, 0.2, 0.17, 0.14, 0.12, 0.1, 0.06, 0.03];
const SAFE_ODDS: [f64; 5] = [0.97, 0.9, 0.75, 0.5, 0.2];

/// Harmful events that the baseline's estimate needs before anything is bet on it.
const TAIL_EVENTS_MIN: f64 = 2.0;
/// Tail events of the baseline from which a grid of points is laid around its quantile, the ratio of neighbours, and
/// how many lie below and above: about the uncertainty of the quantile at that time, more toward higher ones, which are
/// the harder to tell from harm.
const GRIDS: [(f64, f64, i32, i32); 4] =
    [(TAIL_EVENTS_MIN, 1.04, 5, 10), (50.0, 1.015, 3, 5), (250.0, 1.006, 4, 5), (1500.0, 1.003, 4, 5)];
/// After this time an observation counts half in the baseline's estimate.
const HALF_LIFE_MS: f64 = 30.0 * 60_000.0;

/// A limit of the canary's quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum QuantileLimit {
    Fixed(f64),
    OverBaseline(Amount),
}

impl QuantileLimit {
    /// The limit where the baseline's quantile is `x`.
    pub(super) fn at(self, x: f64) -> f64 {
        match self {
            Self::Fixed(limit) => limit,
            Self::OverBaseline(Amount::Absolute(more)) => x + more,
            Self::OverBaseline(Amount::Relative(part)) => x * (1.0 + part),
        }
    }
}

/// Evidence of one stratum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LatencyEvidence {
    /// All events of the rollout, by bucket.
    pub(super) canary: Vec<f64>,
    pub(super) baseline: Vec<f64>,
    /// The baseline's recent events, by bucket.
    recent: Vec<f64>,
    /// Tails at the baseline's recent quantile; with a fixed limit, the canary's tail above it.
    moving: Sides,
    /// Grids of points already laid.
    refined: usize,
    /// Onset weight of the blocks before the first estimate.
    waiting: f64,
    /// Where the baseline's quantile may lie; empty until there is an estimate, and with a fixed limit.
    points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sides {
    harm: Mixture,
    safe: Mixture,
}

/// One x, and the evidence that goes with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    /// The canary's tail above `limit(x)` is more, or less, than `1 - q`.
    canary: Sides,
    /// The baseline's quantile is below x.
    baseline_below: Mixture,
    /// The baseline's quantile is above x.
    baseline_above: Mixture,
}

impl Sides {
    fn new() -> Self {
        Self { harm: Mixture::new(&HARM_WEIGHTS), safe: Mixture::new(&[1.0; SAFE_ODDS.len()]) }
    }
}

/// The share of each point's evidence about the baseline that is not bet: an interval near the quantile costs a fifth
/// at most.
const BASELINE_CASH: f64 = 0.8;

impl Point {
    fn new(x: f64) -> Self {
        let below = Mixture::new(&[1.0; SAFE_ODDS.len()]);
        Self { x, canary: Sides::new(), baseline_below: below, baseline_above: Mixture::new(&HARM_WEIGHTS) }
    }
}

fn on_above(stake: Stake, above: Above) -> f64 {
    let below = above.total - above.whole - above.cut;
    above.whole * stake.bad + below * stake.good + stake.on_shared(above.cut, above.share)
}

/// Bets of one arm's tail against a share, on alternatives above and below it.
struct TailStakes {
    harm: [Stake; HARM_ODDS.len()],
    safe: [Stake; SAFE_ODDS.len()],
}

impl TailStakes {
    fn new(tail: f64) -> Self {
        let limit = Limit { intercept: tail, slope: 0.0 };
        let stake =
            |odds: f64| limit.stakes(1.0, 0.0, odds_times(tail, odds), 0.0).map_or(Stake::NONE, |(stake, _)| stake);
        Self { harm: HARM_ODDS.map(stake), safe: SAFE_ODDS.map(stake) }
    }

    fn harm(&self, above: Above) -> impl Iterator<Item = f64> {
        self.harm.iter().map(move |stake| on_above(*stake, above))
    }

    fn safe(&self, above: Above) -> impl Iterator<Item = f64> {
        self.safe.iter().map(move |stake| on_above(*stake, above))
    }
}

impl LatencyEvidence {
    pub(super) fn new(layout: &Layout) -> Self {
        let none = vec![0.0; layout.kinds()];
        Self {
            canary: none.clone(),
            baseline: none.clone(),
            recent: none,
            moving: Sides::new(),
            refined: 0,
            waiting: 0.0,
            points: Vec::new(),
        }
    }

    /// The baseline's recent quantile.
    pub(super) fn recent_quantile(&self, layout: &Layout, q: f64) -> Option<f64> {
        let total: f64 = self.recent.iter().sum();
        (total * (1.0 - q).min(q) >= TAIL_EVENTS_MIN).then(|| layout.quantile(&self.recent, q)).flatten()
    }

    /// Takes what the baseline did before the rollout: it says where to look, and is no evidence.
    pub(super) fn learn(&mut self, baseline: &[f64]) {
        self.recent.iter_mut().zip(baseline).for_each(|(sum, count)| *sum += count);
    }

    pub(super) fn step(&mut self, block: &Block, layout: &Layout, q: f64, limit: QuantileLimit, onset: f64) {
        let tail = 1.0 - q;
        if let QuantileLimit::Fixed(limit) = limit {
            let above = |coarse| layout.above(&block.canary, limit, coarse);
            let stakes = TailStakes::new(tail);
            self.moving.harm.step(onset, stakes.harm(above(Coarse::Below)));
            self.moving.safe.step(1.0, stakes.safe(above(Coarse::Above)));
        } else if let Some(recent) = self.recent_quantile(layout, q) {
            let onset = onset + std::mem::take(&mut self.waiting);
            self.step_moving(block, layout, recent, limit, onset);
            self.refine(layout, recent, tail);
            let stakes = TailStakes::new(tail);
            for point in &mut self.points {
                point.step(block, layout, &stakes, limit, onset);
            }
        } else {
            self.waiting += onset;
        }
        let kept = 0.5_f64.powf(block.to.since(block.from).as_millis() as f64 / HALF_LIFE_MS);
        self.recent.iter_mut().zip(&block.baseline).for_each(|(sum, count)| *sum = *sum * kept + count);
        self.canary.iter_mut().zip(&block.canary).for_each(|(sum, count)| *sum += count);
        self.baseline.iter_mut().zip(&block.baseline).for_each(|(sum, count)| *sum += count);
    }

    /// Cuts the axis finer around the baseline's quantile as it becomes known. An interval that is divided hands its
    /// evidence on: what holds for a quantile in the whole of it holds for one in a part.
    fn refine(&mut self, layout: &Layout, recent: f64, tail: f64) {
        let tail_events = self.recent.iter().sum::<f64>() * tail;
        while let Some((from, ratio, below, above)) = GRIDS.get(self.refined).copied()
            && tail_events >= from
        {
            self.refined += 1;
            for x in layout.points_near(recent, ratio, below, above) {
                let at = self.points.partition_point(|p| p.x < x);
                if self.points.get(at).is_some_and(|p| p.x == x) {
                    continue;
                }
                let mut point = Point::new(x);
                if let Some(next) = self.points.get(at) {
                    point.canary.harm = next.canary.harm.clone();
                    point.baseline_above = next.baseline_above.clone();
                }
                if let Some(before) = at.checked_sub(1).and_then(|before| self.points.get(before)) {
                    point.canary.safe = before.canary.safe.clone();
                    point.baseline_below = before.baseline_below.clone();
                }
                self.points.insert(at, point);
            }
        }
    }

    fn step_moving(&mut self, block: &Block, layout: &Layout, recent: f64, limit: QuantileLimit, onset: f64) {
        // Where buckets are coarse the limit is seen from the bound above the quantile, and safety from the one below.
        let bucket = layout.range(layout.bucket(recent));
        let upper = layout.visible_from(recent);
        let lower = if upper == recent { recent } else { bucket.0.max(f64::MIN_POSITIVE) };
        let harm = self.moving_factors(block, layout, limit, upper, &HARM_ODDS, true);
        let safe = self.moving_factors(block, layout, limit, lower, &SAFE_ODDS, false);
        self.moving.harm.step(onset, harm);
        self.moving.safe.step(1.0, safe);
    }

    /// Factors of the canary's tail above `limit(x)` against the baseline's above x.
    fn moving_factors<const N: usize>(
        &self,
        block: &Block,
        layout: &Layout,
        limit: QuantileLimit,
        x: f64,
        odds: &[f64; N],
        is_harm: bool,
    ) -> [f64; N] {
        let (for_canary, for_baseline) =
            if is_harm { (Coarse::Below, Coarse::Above) } else { (Coarse::Above, Coarse::Below) };
        let canary = layout.above(&block.canary, limit.at(x), for_canary);
        let mut baseline = layout.above(&block.baseline, x, for_baseline);
        let known = layout.above(&self.recent, x, for_baseline);
        let expected = ((known.sum() + 0.5) / (known.total + 1.0)).clamp(1e-7, 1.0 - 1e-7);
        if is_harm {
            let worst = block.placed_worst(expected, |counts| layout.above(counts, x, for_baseline).sum());
            let more = (worst - baseline.sum()).max(0.0).min(baseline.total - baseline.whole - baseline.cut);
            baseline.whole += more;
        }
        let same = Limit { intercept: 0.0, slope: 1.0 };
        let alternatives = odds.map(|odds| odds_times(expected, odds));
        let stakes = same.stakes_each(canary.total, baseline.total, &alternatives, expected);
        stakes.map(|stakes| stakes.map_or(0.0, |(c, s)| on_above(c, canary) + on_above(s, baseline)))
    }

    pub(super) fn ln_harm(&self, limit: QuantileLimit) -> f64 {
        let moving = self.moving.harm.ln_evidence();
        if matches!(limit, QuantileLimit::Fixed(_)) {
            return moving;
        }
        // Interval i ends at point i and begins at the one before.
        let begins = std::iter::once(0.0).chain(self.points.iter().map(|p| cash_and(&p.baseline_below)));
        let ends = self.points.iter().map(|p| p.canary.harm.ln_evidence()).chain(std::iter::once(0.0));
        begins.zip(ends).map(|(begin, end)| begin + end).fold(moving, f64::min)
    }

    pub(super) fn ln_safe(&self, limit: QuantileLimit) -> f64 {
        let moving = self.moving.safe.ln_evidence();
        if matches!(limit, QuantileLimit::Fixed(_)) {
            return moving;
        }
        let begins = std::iter::once(0.0).chain(self.points.iter().map(|p| p.canary.safe.ln_evidence()));
        let ends = self.points.iter().map(|p| cash_and(&p.baseline_above)).chain(std::iter::once(0.0));
        begins.zip(ends).map(|(begin, end)| begin + end).fold(moving, f64::min)
    }
}

fn cash_and(mixture: &Mixture) -> f64 {
    ln_add(BASELINE_CASH.ln(), (1.0 - BASELINE_CASH).ln() + mixture.ln_evidence())
}

impl Point {
    fn step(&mut self, block: &Block, layout: &Layout, stakes: &TailStakes, limit: QuantileLimit, onset: f64) {
        let canary = |coarse| layout.above(&block.canary, limit.at(self.x), coarse);
        self.canary.harm.step(onset, stakes.harm(canary(Coarse::Below)));
        self.canary.safe.step(1.0, stakes.safe(canary(Coarse::Above)));
        let baseline = |coarse| layout.above(&block.baseline, self.x, coarse);
        self.baseline_below.step(1.0, stakes.safe(baseline(Coarse::Above)));
        self.baseline_above.step(1.0, stakes.harm(baseline(Coarse::Below)));
    }
}
