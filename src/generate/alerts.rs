//! Alerting rules: burn-rate alerts by severity, and alerts on the remaining budget.

use crate::generate::{Rule, selector_of};
use crate::spec::naming::{self, CURRENT_WINDOW, LABEL_SEVERITY, LABEL_WINDOW};
use crate::spec::{Period, Service, Severity, Slo, Tier};
use crate::types::{Labels, format_value};

/// Pages, tickets, then budget alerts in the order the user gave.
///
/// Alerts inherit the SLO's labels from the series they look at: so annotation templates see them in `$labels`,
/// and a template in a label's value stays text.
pub(super) fn rules(service: &Service, slo: &Slo) -> Vec<Rule> {
    let own = selector_of(service, slo, &Labels::new());
    let burning = [Severity::Page, Severity::Ticket].into_iter().filter_map(|severity| burn_rule(slo, &own, severity));
    // A budget of zero has no rest to watch, and that of a month is not recorded; see `metadata`.
    let has_budget = slo.objective.budget_parts_per_billion() > 0 && matches!(slo.period, Period::Rolling(_));
    let thresholds = slo.alerting.budget_remaining.iter().filter(|_| has_budget);
    let no_data = slo.accounting.alert_no_data.filter(|_| slo.accounting.group_by.is_empty());
    let no_data = no_data.map(|severity| no_data_rule(service, slo, &own, severity));
    burning.chain(thresholds.map(|percent| budget_rule(slo, &own, *percent))).chain(no_data).collect()
}

/// One alert for all tiers of a severity; `None` if the user disabled it or no tier can fire.
fn burn_rule(slo: &Slo, own: &str, severity: Severity) -> Option<Rule> {
    if slo.alerting.severity(severity).disabled {
        return None;
    }
    let budget = slo.objective.budget();
    let tiers = slo.alerting.policy.tiers.iter().filter(|tier| tier.severity == severity && tier.is_reachable(budget));
    let conditions: Vec<String> = tiers.map(|tier| condition(slo, own, tier)).collect();
    if conditions.is_empty() {
        return None;
    }
    Some(Rule::Alerting {
        alert: slo.alerting.name.clone(),
        expr: conditions.join("\nor\n"),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
        labels: slo.alerting.labels_of(severity).with(LABEL_SEVERITY, severity.as_str()),
        annotations: naming::alert_annotations(slo, severity),
    })
}

/// A tier's condition: both windows burn faster than the factor, and the long one holds enough events to tell.
pub fn tier_expr(service: &Service, slo: &Slo, group: &Labels, tier: &Tier) -> String {
    condition(slo, &selector_of(service, slo, group), tier)
}

/// The condition for less than `percent` of the budget left.
pub fn budget_expr(service: &Service, slo: &Slo, group: &Labels, percent: f64) -> String {
    budget_condition(&selector_of(service, slo, group), percent)
}

/// The condition for no data.
pub fn no_data_expr(service: &Service, slo: &Slo, group: &Labels) -> String {
    no_data_condition(&selector_of(service, slo, group))
}

fn no_data_condition(own: &str) -> String {
    format!("absent({}{own})", naming::total_rate(CURRENT_WINDOW))
}

/// Nothing of the total was recorded lately. What is absent has no labels but those it is looked for by.
fn no_data_rule(service: &Service, slo: &Slo, own: &str, severity: Severity) -> Rule {
    Rule::Alerting {
        alert: naming::ALERT_NO_DATA.to_owned(),
        expr: no_data_condition(own),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
        labels: naming::identity(service, slo).merged(&naming::no_data_alert_labels(slo, severity)),
        annotations: naming::no_data_alert_annotations(slo, severity),
    }
}

fn condition(slo: &Slo, own: &str, tier: &Tier) -> String {
    let limit = format!("({} * {})", format_value(tier.factor), slo.objective.budget_text());
    let burns = |window| without_window(&format!("{}{own} > {limit}", naming::error_ratio(window)));
    let mut parts = vec![burns(tier.short), burns(tier.long)];
    let min_events = slo.min_events(tier);
    if min_events > 0 {
        let seconds = format_value(tier.long.as_secs_f64());
        // Rounded: `rate` may read 70 events as 69.999.
        let events = format!("round({}{own} * {seconds})", naming::total_rate(tier.long));
        parts.push(without_window(&format!("{events} >= {min_events}")));
    }
    format!("(\n    {}\n)", parts.join("\n  and\n    "))
}

fn budget_condition(own: &str, percent: f64) -> String {
    // By way of text, so that 33.3 becomes 0.333 and not 0.33299999999999996.
    let ratio = format!("{percent}e-2").parse().unwrap_or(percent / 100.0);
    without_window(&format!("{}{own} < {}", naming::BUDGET_REMAINING, format_value(ratio)))
}

/// The remaining budget is below a percentage of the whole.
fn budget_rule(slo: &Slo, own: &str, percent: f64) -> Rule {
    Rule::Alerting {
        alert: naming::ALERT_BUDGET_LOW.to_owned(),
        expr: budget_condition(own, percent),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
        labels: naming::budget_alert_labels(slo, percent),
        annotations: naming::budget_alert_annotations(slo, percent),
    }
}

/// Makes series over different windows comparable, and keeps the SLO's labels for the alert.
fn without_window(expr: &str) -> String {
    format!("max without ({LABEL_WINDOW}) ({expr})")
}
