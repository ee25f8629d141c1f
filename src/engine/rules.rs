//! The alerts of an SLO as rules: labels, annotations and the PromQL that says the same.

use std::sync::Arc;

use crate::alert::AlertRule;
use crate::spec::{Service, Severity, Slo, Tier, naming};
use crate::types::{Labels, Span};

const ALERT_NAME: &str = "alertname";

/// The alert of one tier.
pub fn tier_rule(service: &Service, slo: &Slo, tier: &Tier) -> Arc<AlertRule> {
    let labels = naming::alert_labels(service, slo, tier.severity)
        .with(naming::LABEL_SHORT, &naming::window_text(tier.short))
        .with(naming::LABEL_LONG, &naming::window_text(tier.long))
        .with(ALERT_NAME, &slo.alerting.name);
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        labels,
        annotations: naming::annotations(slo, tier.severity),
        expr: naming::tier_expr(service, slo, tier),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}

/// The alert for less than `percent` of the budget left.
pub fn budget_rule(service: &Service, slo: &Slo, percent: f64) -> Arc<AlertRule> {
    let labels: Labels = naming::alert_labels(service, slo, Severity::Ticket)
        .with(naming::LABEL_BUDGET_REMAINING, &percent.to_string())
        .with(ALERT_NAME, naming::BUDGET_ALERT);
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        labels,
        annotations: naming::budget_annotations(slo, percent),
        expr: naming::budget_expr(service, slo, percent),
        for_: Span::ZERO,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}
