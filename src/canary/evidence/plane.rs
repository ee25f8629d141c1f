//! Two arms under a limit that is a half-plane of their rates: the workhorse of the rate checks.
//!
//! In one block the baseline has `n_s` events with mean rate `p_s`, the canary `n_c` with `p_c`. A limit says `p_c <=
//! intercept + slope p_s` (or `>=`, to prove safety): a drop of at most d points is (d, 1), at most 20 % more is (0,
//! 1.2), at most 0.1 % whatever the baseline does is (0.001, 0). For an alternative `(q_c, q_s)` let `(o_c, o_s)` be
//! the point of the half-plane nearest to it, that is with the least `n_c KL(q_c|o_c) + n_s KL(q_s|o_s)`. The factor is
//!
//! ```text
//! (q_c/o_c)^k_c ((1-q_c)/(1-o_c))^(n_c-k_c) (q_s/o_s)^k_s ((1-q_s)/(1-o_s))^(n_s-k_s)
//! ```
//!
//! **Why it is valid for every pair of rates within the limit** (the reverse information projection of Grunwald, de
//! Heide and Koolen, "Safe testing", for convex nulls; for two proportions Turner and Grunwald 2023, "Exact
//! anytime-valid confidence intervals for contingency tables and beyond"): its expectation under rates `(p_c, p_s)` is
//! `A_c^n_c A_s^n_s` with `A = p q/o + (1-p)(1-q)/(1-o)`, linear in p and 1 at o. So its logarithm is concave in `(p_c,
//! p_s)`, is 0 at `(o_c, o_s)`, and its gradient there is minus the gradient of the divergence; as `(o_c, o_s)` is the
//! nearest point of a convex set, no direction into the set climbs. Hence it is at most 0 on the whole set.
//!
//! Concavity also covers rates that differ from event to event (only the means of the block must keep the limit), and
//! linearity covers events that count in part: the same factors are valid for values in 0..1 with means p, which the
//! latency checks use for a bucket that a limit cuts. Rates may change from block to block in any way; what moves both
//! arms cancels. What is assumed: given the rates, events are independent.

use serde::{Deserialize, Serialize};

use crate::canary::evidence::special::times_ln;

/// Events of one arm in a block, or values in 0..1 with this sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Bad ones.
    pub bad: f64,
    /// All of them.
    pub total: f64,
}

/// A limit on the canary's rate, given the baseline's: `intercept + slope x baseline`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The part that does not depend on the baseline.
    pub intercept: f64,
    /// The part in proportion to the baseline's rate, at least 0.
    pub slope: f64,
}

/// What one event of a kind adds to ln E.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stake {
    /// A bad event.
    pub bad: f64,
    /// A good event.
    pub good: f64,
    /// e to the power of `bad` and `good`.
    factors: (f64, f64),
}

/// Newton steps, every eighth a bisection. About 6 are needed where the last bit is found at once; where it is not, the
/// bisections go on until nothing lies between the bounds, after some 50.
const ROOT_STEPS_MAX: usize = 400;
/// Searches under way side by side.
const SEARCHES: usize = 4;
/// Rates nearer to 0 or 1 than this are not bet on.
const EDGE: f64 = 1e-9;

impl Tally {
    /// Bad of total.
    pub fn new(bad: f64, total: f64) -> Self {
        Self { bad, total }
    }

    /// Bad over total; `None` without events.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.bad / self.total)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.bad += other.bad;
        self.total += other.total;
    }
}

impl Limit {
    /// The canary's rate on the limit.
    pub fn at(self, baseline: f64) -> f64 {
        self.intercept + self.slope * baseline
    }

    /// The baseline's rate of the point on the limit that is nearest to `(q_c, q_s)` for blocks of `n_c` and `n_s`
    /// events.
    fn nearest(self, n_c: f64, n_s: f64, q_c: f64, q_s: f64) -> f64 {
        let mut search = Search::new(self, q_s);
        while !search.step(self, n_c, n_s, q_c, q_s) {}
        search.x
    }

    /// [`nearest`](Self::nearest) for several alternatives. A search waits for its own divisions most of the time, so
    /// some are under way side by side.
    fn nearest_each<const N: usize>(self, n_c: f64, n_s: f64, q_c: &[f64; N], q_s: f64) -> [f64; N] {
        let mut found = [0.0; N];
        let begun = Search::new(self, q_s);
        let mut lanes = [(begun, N); SEARCHES];
        for (at, lane) in lanes.iter_mut().enumerate().take(N) {
            lane.1 = at;
        }
        let (mut next, mut open) = (N.min(SEARCHES), N);
        while open > 0 {
            for (search, at) in &mut lanes {
                if *at < N && search.step(self, n_c, n_s, q_c[*at], q_s) {
                    found[*at] = search.x;
                    (*search, *at) = (begun, next);
                    next = (next + 1).min(N);
                    open -= 1;
                }
            }
        }
        found
    }

    /// The stakes of canary and baseline events for a bet on the alternative `(q_c, q_s)`, which must lie beyond the
    /// limit on the side that is bet on; `None` where there is nothing to bet: an arm that the limit needs has no
    /// events, or the limit is no rate.
    pub fn stakes(self, n_c: f64, n_s: f64, q_c: f64, q_s: f64) -> Option<(Stake, Stake)> {
        let [stakes] = self.stakes_each(n_c, n_s, &[q_c], q_s);
        stakes
    }

    /// [`stakes`](Self::stakes) of bets on several rates of the canary.
    pub fn stakes_each<const N: usize>(
        self,
        n_c: f64,
        n_s: f64,
        q_c: &[f64; N],
        q_s: f64,
    ) -> [Option<(Stake, Stake)>; N] {
        let is_bet = |q: f64| (EDGE..=1.0 - EDGE).contains(&q);
        let inside = |p: f64| p > 0.0 && p < 1.0;
        if n_c <= 0.0 {
            return [None; N];
        }
        if self.slope == 0.0 {
            let o = self.intercept;
            return q_c.map(|q| (is_bet(q) && inside(o)).then(|| (Stake::new(q, o), Stake::NONE)));
        }
        if n_s <= 0.0 || !is_bet(q_s) {
            return [None; N];
        }
        // What is not bet on is not worth a search.
        let nearest = if q_c.iter().all(|q| is_bet(*q)) {
            self.nearest_each(n_c, n_s, q_c, q_s)
        } else {
            q_c.map(|q| if is_bet(q) { self.nearest(n_c, n_s, q, q_s) } else { 0.0 })
        };
        std::array::from_fn(|at| {
            let (q, x) = (q_c[at], nearest[at]);
            let y = self.at(x);
            (is_bet(q) && inside(x) && inside(y)).then(|| (Stake::new(q, y), Stake::new(q_s, x)))
        })
    }

    /// Expected growth of ln E by one block of these sizes when the rates are `(p_c, p_s)` and the bet is on just them:
    /// the fastest any test can be.
    pub fn growth(self, n_c: f64, n_s: f64, p_c: f64, p_s: f64) -> f64 {
        let stakes = self.stakes(n_c, n_s, p_c, p_s);
        stakes.map_or(0.0, |(c, s)| c.on(Tally::new(n_c * p_c, n_c)) + s.on(Tally::new(n_s * p_s, n_s)))
    }
}

/// A search for the nearest point on a limit: where the divergence, which is convex in x, no longer falls.
#[derive(Clone, Copy, Debug)]
struct Search {
    low: f64,
    high: f64,
    x: f64,
    round: usize,
}

impl Search {
    fn new(limit: Limit, q_s: f64) -> Self {
        let low = (-limit.intercept / limit.slope).max(0.0);
        let high = ((1.0 - limit.intercept) / limit.slope).min(1.0);
        let x = q_s.clamp(low + 1e-3 * (high - low), high - 1e-3 * (high - low));
        Self { low, high, x, round: 0 }
    }

    /// Whether it is over.
    #[inline]
    fn step(&mut self, limit: Limit, n_c: f64, n_s: f64, q_c: f64, q_s: f64) -> bool {
        let Self { low, high, x, round } = *self;
        let y = limit.at(x);
        let first = |n: f64, q: f64, o: f64| n * (o - q) / (o * (1.0 - o));
        let second = |n: f64, q: f64, o: f64| n * (q / (o * o) + (1.0 - q) / ((1.0 - o) * (1.0 - o)));
        let climb = limit.slope * first(n_c, q_c, y) + first(n_s, q_s, x);
        let (low, high) = if climb > 0.0 { (low, x) } else { (x, high) };
        let next = x - climb / (limit.slope * limit.slope * second(n_c, q_c, y) + second(n_s, q_s, x));
        let is_inside = next > low && next < high;
        let next = if is_inside && round % 8 != 7 { next } else { f64::midpoint(low, high) };
        *self = Self { low, high, x: next, round: round + 1 };
        (next - x).abs() <= 1e-14 * next.min(1.0 - next) || round + 1 >= ROOT_STEPS_MAX
    }
}

impl Stake {
    /// Nothing is bet.
    pub const NONE: Self = Self { bad: 0.0, good: 0.0, factors: (1.0, 1.0) };

    /// For a bet on the rate `q` against `o`.
    fn new(q: f64, o: f64) -> Self {
        let factors = (q / o, (1.0 - q) / (1.0 - o));
        Self { bad: factors.0.ln(), good: factors.1.ln(), factors }
    }

    /// What these events add to ln E.
    pub fn on(self, events: Tally) -> f64 {
        events.bad * self.bad + (events.total - events.bad) * self.good
    }

    /// What `count` events add that are each bad in the proportion `share`.
    pub fn on_shared(self, count: f64, share: f64) -> f64 {
        times_ln(count, share * self.factors.0 + (1.0 - share) * self.factors.1)
    }
}

/// A rate with its odds multiplied: alternatives at even distances whatever the limit.
pub fn odds_times(rate: f64, factor: f64) -> f64 {
    let odds = rate / (1.0 - rate) * factor;
    odds / (1.0 + odds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::evidence::special::ln_choose;
    use proptest::prelude::*;

    /// The factor's mean over all outcomes of one arm.
    fn mean(stake: Stake, total: u32, rate: f64) -> f64 {
        let outcome = |bad: u32| {
            let (bad, total) = (f64::from(bad), f64::from(total));
            let ln_p = ln_choose(total, bad) + times_ln(bad, rate) + times_ln(total - bad, 1.0 - rate);
            (ln_p + stake.on(Tally::new(bad, total))).exp()
        };
        (0..=total).map(outcome).sum()
    }

    fn alternative() -> impl Strategy<Value = (f64, f64)> {
        (0.001..0.999_f64, 0.001..0.999_f64)
    }

    proptest! {
        /// The claim of the module: no pair of rates within the limit makes the factor's mean exceed 1, on either side.
        #[test]
        fn no_rates_within_the_limit_gain(
            n in (1_u32..40, 1_u32..200),
            (q_c, q_s) in alternative(),
            intercept in 0.0..0.3_f64,
            slope in prop_oneof![Just(0.0), Just(1.0), 0.5..2.0_f64],
        ) {
            let limit = Limit { intercept, slope };
            let is_harm = q_c > limit.at(q_s);
            let Some((c, s)) = limit.stakes(f64::from(n.0), f64::from(n.1), q_c, q_s) else { return Ok(()) };
            for i in 0..=20 {
                let p_s = f64::from(i) / 20.0;
                for j in 0..=20 {
                    let p_c = f64::from(j) / 20.0;
                    let on_limit = limit.at(p_s).clamp(0.0, 1.0);
                    let p_c = if is_harm { p_c * on_limit } else { on_limit + p_c * (1.0 - on_limit) };
                    // Clamped points on the far side of the square do not keep the other side's limit.
                    if !is_harm && limit.at(p_s) > 1.0 { continue; }
                    let both = mean(c, n.0, p_c) * mean(s, n.1, p_s);
                    prop_assert!(both < 1.0 + 1e-9, "{both} at {p_c} {p_s}");
                }
            }
        }

        /// Searches side by side find what each finds alone, to the bit.
        #[test]
        fn company_changes_nothing(
            q_c in prop::array::uniform7(0.001..0.999_f64),
            (q_s, n_c, n_s) in (0.001..0.999_f64, 1.0..500.0_f64, 1.0..5000.0_f64),
            slope in prop_oneof![Just(1.0), 0.5..2.0_f64],
            intercept in 0.0..0.3_f64,
        ) {
            let limit = Limit { intercept, slope };
            let alone = q_c.map(|q| limit.nearest(n_c, n_s, q, q_s).to_bits());
            prop_assert_eq!(limit.nearest_each(n_c, n_s, &q_c, q_s).map(f64::to_bits), alone);
        }

        /// At the alternative itself the factor is a likelihood ratio: its mean logarithm is a divergence.
        #[test]
        fn the_alternative_gains((q_c, q_s) in alternative(), d in 0.001..0.1_f64) {
            let limit = Limit { intercept: d, slope: 1.0 };
            prop_assert!(limit.growth(20.0, 300.0, q_c, q_s) > -1e-9);
        }
    }

    #[test]
    fn equal_rates_project_to_the_pooled_rate() {
        let same = Limit { intercept: 0.0, slope: 1.0 };
        let x = same.nearest(30.0, 70.0, 0.4, 0.1);
        assert!((x - 0.19).abs() < 1e-12, "{x}");
    }

    #[test]
    fn a_large_baseline_is_worth_nearly_a_known_rate() {
        let limit = Limit { intercept: 0.003, slope: 1.0 };
        let known = Limit { intercept: 0.009, slope: 0.0 };
        let wald = known.growth(1.0, 0.0, 0.088, 0.0);
        assert!((100.0_f64.ln() / wald - 36.9).abs() < 0.1, "{}", 100.0_f64.ln() / wald);
        let share = |n_s: f64| limit.growth(1.0, n_s, 0.088, 0.006) / wald;
        assert!(share(19.0) > 0.85 && share(49.0) > 0.93 && share(1e6) > 0.999, "{} {}", share(19.0), share(49.0));
    }

    #[test]
    fn nothing_is_bet_without_traffic_or_beyond_the_rates() {
        let limit = Limit { intercept: 0.003, slope: 1.0 };
        assert_eq!(limit.stakes(0.0, 10.0, 0.1, 0.01), None);
        assert_eq!(limit.stakes(10.0, 0.0, 0.1, 0.01), None);
        assert_eq!(Limit { intercept: 1.5, slope: 0.0 }.stakes(10.0, 10.0, 0.1, 0.01), None);
        assert_eq!(Limit { intercept: 0.0, slope: 0.0 }.stakes(10.0, 10.0, 0.1, 0.01), None);
    }
}
