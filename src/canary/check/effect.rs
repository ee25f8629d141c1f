//! What the canary's figure is against its limit, and the interval it lies in.

use serde::{Deserialize, Serialize};

use super::{Amount, Bound, CheckSpec, Measure};
use crate::canary::evidence::interval::{Interval, proportion};
use crate::canary::evidence::plane::Tally;

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

/// Events that the intervals shown are tightest near.
const INTERVAL_EVENTS: f64 = 1000.0;

/// Makes effects of counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures<'a> {
    pub(super) spec: &'a CheckSpec,
    /// The chance that an interval is ever wrong.
    pub(super) alpha: f64,
}

impl Figures<'_> {
    pub(super) fn of_rates(&self, canary: Tally, baseline: Tally, with_interval: bool) -> Option<Effect> {
        let (c, s) = (canary.rate()?, baseline.rate());
        let figure = |harmful: f64| if self.spec.figure_is_harmful() { harmful } else { 1.0 - harmful };
        let alpha = self.alpha;
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

    pub(super) fn of_latencies(&self, canary: &[f64], baseline: &[f64], with_interval: bool) -> Option<Effect> {
        let Measure::Latency { quantile, layout } = &self.spec.measure else { return None };
        let c = layout.quantile(canary, *quantile)?;
        let s = layout.quantile(baseline, *quantile);
        let each = if self.spec.is_relative() { self.alpha / 2.0 } else { self.alpha };
        // A quantile is refuted where the share below it is: the quantiles at the ends of the share's interval.
        let ends = |counts: &[f64]| -> Option<Interval> {
            let total: f64 = counts.iter().sum();
            let shares = proportion(Tally::new(total * quantile, total), INTERVAL_EVENTS, each);
            Some(Interval { low: layout.quantile(counts, shares.low)?, high: layout.quantile(counts, shares.high)? })
        };
        let both = || if with_interval { ends(canary).zip(ends(baseline)) } else { None };
        let (value, interval, limit, unit) = match self.spec.bound {
            Bound::RegressionOver(Amount::Absolute(d)) => (c - s?, both().map(|(c, s)| c.minus(s)), d, Unit::Seconds),
            Bound::RegressionOver(Amount::Relative(d)) => {
                let ratio =
                    |(c, s): (Interval, Interval)| Interval { low: c.low / s.high - 1.0, high: c.high / s.low - 1.0 };
                (c / s? - 1.0, both().map(ratio), d, Unit::Relative)
            }
            Bound::Above(l) | Bound::Below(l) => (c, if with_interval { ends(canary) } else { None }, l, Unit::Seconds),
            Bound::DropOver(_) | Bound::BurnRateOver { .. } => return None,
        };
        Some(Effect { canary: c, baseline: s, value, interval, limit, is_lower_limit: false, unit })
    }
}

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
