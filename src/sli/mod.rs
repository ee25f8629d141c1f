//! From increments to events: which series count for which SLI, and how many good, bad and total events there
//! were in each window.

mod account;
mod catalog;
mod ledger;
mod missing;
mod ring;
mod signal;
mod slices;
mod values;
mod versions;

pub use account::{Account, LOOKBACK, PeriodCounts, Rules, UNDECIDED};
pub use catalog::{Catalog, Match, NativeMatch, PHASE, SliId};
pub use ledger::{Counts, Ledger};
pub use signal::Signal;
pub use slices::{SLICES_KEPT_COUNT, Slices};
pub use values::{Quantiles, Values};
pub use versions::{VERSIONS_LIMIT, Version, Versions};

pub use crate::spec::Counting;

/// Events of a window, told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Events {
    /// Bad ones, never negative and never more than `total`.
    pub bad: f64,
    /// All.
    pub total: f64,
    /// The numerator exceeded the total, or a difference was negative: the selectors do not fit together.
    pub inconsistent: bool,
}

impl Counting {
    /// Tells good and bad events apart.
    pub fn events(self, counts: Counts) -> Events {
        let total = counts.total.max(0.0);
        let bad = match self {
            Self::Good => total - counts.numerator,
            Self::Bad => counts.numerator,
        };
        let inconsistent = counts.numerator > total || counts.numerator < 0.0 || counts.total < 0.0;
        Events { bad: bad.clamp(0.0, total), total, inconsistent }
    }
}

impl Events {
    /// Good ones.
    pub fn good(self) -> f64 {
        self.total - self.bad
    }

    /// Bad over total; `None` without events.
    pub fn error_ratio(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.bad / self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_with_only_errors_is_all_bad() {
        let counts = Counts { numerator: 0.0, total: 40.0 };
        assert_eq!(Counting::Good.events(counts).error_ratio(), Some(1.0));
        assert_eq!(Counting::Bad.events(counts).error_ratio(), Some(0.0));
        assert_eq!(Counting::Bad.events(Counts::default()).error_ratio(), None);
    }

    #[test]
    fn more_good_than_total_is_noticed() {
        let events = Counting::Good.events(Counts { numerator: 11.0, total: 10.0 });
        assert_eq!((events.bad, events.inconsistent), (0.0, true));
    }
}
