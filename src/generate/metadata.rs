//! Recordings that describe an SLO and the state of its budget.

use crate::generate::{Rule, grouped, selector_of};
use crate::spec::naming::{self, CURRENT_WINDOW, LABEL_WINDOW, window_text};
use crate::spec::{Period, Service, Slo};
use crate::types::{Labels, format_value};

/// The value of `sloth_version`.
const VERSION: &str = concat!("sloburn-", env!("CARGO_PKG_VERSION"));
/// The value of `sloth_mode`; Sloth's are `cli-gen-prom`, `ctrl-gen-k8s` and the like.
const MODE: &str = "sloburn-generate";
/// The value of `sloth_spec`.
const SPEC: &str = "sloburn/v1";

pub(super) fn rules(service: &Service, slo: &Slo) -> Vec<Rule> {
    let own = selector_of(service, slo, &Labels::new());
    let by = &slo.accounting.group_by;
    let identity = naming::identity(service, slo);
    let current = identity.clone().with(LABEL_WINDOW, &window_text(CURRENT_WINDOW));
    let days = slo.period.nominal();
    let period = identity.clone().with(LABEL_WINDOW, &window_text(days));
    let info = identity
        .clone()
        .with(naming::LABEL_VERSION, VERSION)
        .with(naming::LABEL_MODE, MODE)
        .with(naming::LABEL_SPEC, SPEC)
        .with(naming::LABEL_OBJECTIVE, &slo.objective.to_string());
    let recording = |record: &str, expr, labels| Rule::Recording { record: record.to_owned(), expr, labels };
    let budget = slo.objective.budget_text();

    let mut rules = vec![
        recording(naming::OBJECTIVE, format!("vector({})", slo.objective.ratio_text()), identity.clone()),
        recording(naming::ERROR_BUDGET, format!("vector({budget})"), identity.clone()),
        recording(naming::PERIOD_DAYS, format!("vector({})", format_value(days.as_days_f64())), identity),
    ];
    // Divided by a budget of zero they would be NaN or infinite.
    if slo.objective.budget_parts_per_billion() > 0 {
        let burn_rate =
            |window| format!("{} / {budget}", grouped("max", by, &format!("{}{own}", naming::error_ratio(window))));
        rules.push(recording(naming::CURRENT_BURN_RATE, burn_rate(CURRENT_WINDOW), current));
        // The ratio over a stretch of the calendar is not recorded.
        if matches!(slo.period, Period::Rolling(_)) {
            rules.push(recording(naming::PERIOD_BURN_RATE, burn_rate(days), period.clone()));
            let remaining = format!("1 - {}", grouped("max", by, &format!("{}{own}", naming::PERIOD_BURN_RATE)));
            rules.push(recording(naming::BUDGET_REMAINING, remaining, period));
        }
    }
    rules.push(recording(naming::INFO, "vector(1)".to_owned(), info));
    rules
}
