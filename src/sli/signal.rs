//! Series that exclude events while they are 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::series::SeriesId;
use crate::sli::{LOOKBACK, UNDECIDED};
use crate::types::{Span, Timestamp};

/// Samples older than this against the newest are forgotten: no event that can still be decided looks back that far.
const KEPT: Span = Span(UNDECIDED.as_millis() + LOOKBACK.as_millis());

/// What the series of one selector have told lately.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Signal {
    series: BTreeMap<SeriesId, BTreeMap<Timestamp, bool>>,
    newest: Option<Timestamp>,
}

impl Signal {
    /// Takes a sample; one that ends its series is none that is 1.
    pub fn take(&mut self, series: SeriesId, at: Timestamp, is_one: bool) {
        let newest = self.newest.map_or(at, |newest| newest.max(at));
        self.newest = Some(newest);
        self.series.entry(series).or_default().insert(at, is_one);
        self.series.retain(|_, samples| {
            while samples.first_key_value().is_some_and(|(oldest, _)| newest.since(*oldest) > KEPT) {
                samples.pop_first();
            }
            !samples.is_empty()
        });
    }

    /// Whether some series was 1 at that moment: by its last sample up to then, unless that was long before.
    pub fn is_on(&self, at: Timestamp) -> bool {
        let on = |samples: &BTreeMap<Timestamp, bool>| {
            let last = samples.range(..=at).next_back();
            last.is_some_and(|(then, is_one)| *is_one && at.since(*then) < LOOKBACK)
        };
        self.series.values().any(on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sample_counts_for_a_while() {
        let mut signal = Signal::default();
        let at = |minute: i64| Timestamp(minute * 60_000);
        let series = |index| SeriesId { target: 0, index };
        signal.take(series(1), at(10), true);
        signal.take(series(2), at(12), true);
        signal.take(series(1), at(11), false);
        assert!(!signal.is_on(at(9)) && signal.is_on(at(10)) && !signal.is_on(at(11)));
        assert!(signal.is_on(at(12)) && signal.is_on(at(16)) && !signal.is_on(at(17)));
        signal.take(series(3), at(100), true);
        assert!(!signal.is_on(at(12)) && signal.is_on(at(100)), "forgotten");
    }
}
