//! The values a gauge had lately, for their quantiles: one histogram for each hour of the data's time, the latest two.
//!
//! A value is kept with two significant digits, in thousandths; negative ones as zero. NaN and infinities have no
//! place among quantiles and are left out.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{Span, Timestamp};

const HOUR: Span = Span::hours(1);
const SIGNIFICANT_DIGITS: u8 = 2;
/// Thousandths of a value; larger ones count as this.
const VALUE_LIMIT_UNITS: u64 = 1 << 53;
const UNITS_PER_ONE: f64 = 1_000.0;

/// The values of all series of one SLI; at most about 100 KB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Values {
    /// Number of the hour of `latest`.
    hour: i64,
    latest: Hour,
    before: Hour,
}

/// Quantiles of the values of the last hour, and of the one before as far as it is not over for two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// Values in all.
    pub count: u64,
    /// Half are not above it.
    pub p50: f64,
    /// 90 % are not above it.
    pub p90: f64,
    /// 99 % are not above it.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

#[derive(Clone)]
struct Hour(Histogram<u64>);

impl Default for Hour {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, VALUE_LIMIT_UNITS, SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds and digits are within the crate's"))
    }
}

impl fmt::Debug for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hour").field("values", &self.0.len()).finish()
    }
}

impl Hour {
    /// Values and how often each was recorded, ascending.
    fn pairs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

/// As pairs of value and count.
impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs().collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut hour = Self::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            hour.0.saturating_record_n(value, count);
        }
        Ok(hour)
    }
}

impl Values {
    /// No values.
    pub fn new() -> Self {
        Self { hour: i64::MIN, latest: Hour::default(), before: Hour::default() }
    }

    /// Adds a value at its time; one from before the hour before the latest is left out.
    pub fn add(&mut self, at: Timestamp, value: f64) {
        if !value.is_finite() {
            return;
        }
        let hour = at.as_millis().div_euclid(HOUR.as_millis());
        if hour > self.hour {
            let latest = std::mem::take(&mut self.latest);
            self.before = if hour == self.hour.saturating_add(1) { latest } else { Hour::default() };
            self.hour = hour;
        }
        let units = (value.max(0.0) * UNITS_PER_ONE).round() as u64;
        match self.hour.saturating_sub(hour) {
            0 => self.latest.0.saturating_record(units),
            1 => self.before.0.saturating_record(units),
            _ => {}
        }
    }

    /// What the values were like; `None` without any.
    pub fn quantiles(&self) -> Option<Quantiles> {
        // Merging what was recorded is far cheaper than adding up whole histograms.
        let mut pairs: Vec<(u64, u64)> = self.latest.pairs().chain(self.before.pairs()).collect();
        pairs.sort_unstable();
        let count: u64 = pairs.iter().map(|(_, count)| count).sum();
        let (largest, _) = pairs.last()?;
        let at = |quantile: f64| {
            let rank = ((quantile * count as f64).ceil() as u64).max(1);
            let mut seen = 0;
            let found = pairs.iter().find(|(_, count)| {
                seen += count;
                seen >= rank
            });
            found.map_or(*largest, |(value, _)| *value) as f64 / UNITS_PER_ONE
        };
        Some(Quantiles { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: *largest as f64 / UNITS_PER_ONE })
    }
}

impl Default for Values {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp(1_790_000_000_000 - 1_790_000_000_000 % HOUR.as_millis()) + Span::minutes(minutes)
    }

    #[test]
    fn the_last_two_hours_count() {
        let mut values = Values::new();
        assert_eq!(values.quantiles(), None);
        for value in [f64::NAN, f64::INFINITY, 1.0] {
            values.add(at(0), value);
        }
        values.add(at(60), 3.0);
        let quantiles = values.quantiles().unwrap();
        assert_eq!((quantiles.count, quantiles.max.round()), (2, 3.0), "two significant digits");
        values.add(at(59), -5.0);
        assert_eq!(values.quantiles().unwrap().count, 3, "late, of the hour before");
        values.add(at(120), 7.0);
        assert_eq!(values.quantiles().unwrap().count, 2);
        values.add(at(30), 7.0);
        values.add(at(600), 8.0);
        assert_eq!(values.quantiles().unwrap().count, 1, "later than the hour after");
    }

    proptest! {
        /// Two significant digits, in any order, also after having been stored.
        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values in prop::collection::vec(0.0_f64..1e6, 1..200)) {
            let mut kept = Values::new();
            for value in &values {
                kept.add(at(0), *value);
            }
            let stored = postcard::to_stdvec(&kept).unwrap();
            let restored: Values = postcard::from_bytes(&stored).unwrap();
            prop_assert_eq!(restored.quantiles(), kept.quantiles());
            prop_assert_eq!(postcard::to_stdvec(&restored).unwrap(), stored);
            values.sort_by(f64::total_cmp);
            let found = kept.quantiles().unwrap();
            for (quantile, found) in [(0.5, found.p50), (0.9, found.p90), (0.99, found.p99)] {
                let rank = (quantile * values.len() as f64).ceil() as usize;
                let exact = values[rank.max(1) - 1];
                prop_assert!((found - exact).abs() <= exact * 0.01 + 0.001, "{quantile}: {found} {exact}");
            }
        }
    }
}
