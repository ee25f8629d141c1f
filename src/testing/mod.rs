//! Unit tests of specs: samples in promtool's notation, and what an SLO has to look like and alert at given times.
//!
//! ```yaml
//! rule_files: [shop.yaml]                # relative to this file
//! tests:
//!   - name: an outage pages
//!     interval: 15s                      # between two values; 1m if left out, as in promtool
//!     input_series:
//!       - {series: 'requests_total{code="200"}', values: '0+100x240'}
//!       - {series: 'requests_total{code="500"}', values: '0x200 20+20x39'}
//!     alert_rule_test:
//!       - eval_time: 1h
//!         slo: shop/availability         # of one SLO, or of all
//!         alertname: ErrorBudgetBurn     # under one name, or under any
//!         exp_alerts:                    # all that fire
//!           - exp_labels: {sloth_severity: page, long: 1h}   # labels left out are not compared
//!             exp_annotations: {summary: '...'}              # after templates; left out, not compared
//!     slo_test:
//!       - eval_time: 1h
//!         slo: shop/availability
//!         exp: {state: burning, good: 24000, bad: 800, total: 24800, burn_rates: {5m: 166.666667}}
//! ```
//!
//! The samples go through the same engine as a daemon's, all of one moment at once, from time 0 on.

mod file;
mod junit;
mod notation;
mod run;

pub use file::{AlertTest, Case, Expected, ExpectedAlert, SloTest, TestFile};
pub use junit::junit;
pub use notation::{VALUES_LIMIT_COUNT, Values, series, values};
pub use run::{Verdict, run};
