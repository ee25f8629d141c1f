//! The alerts of an SLO as rules: labels, annotations and the PromQL that says the same.

use std::sync::Arc;

use crate::alert::AlertRule;
use crate::generate::{budget_expr, no_data_expr, tier_expr};
use crate::spec::{Service, Severity, Slo, Tier, naming};
use crate::types::Labels;

const ALERT_NAME: &str = "alertname";

/// The alert of one tier.
pub fn tier_rule(service: &Service, slo: &Slo, group: &Labels, tier: &Tier) -> Arc<AlertRule> {
    let own = naming::alert_labels(service, slo, tier.severity)
        .with(naming::LABEL_SHORT, &naming::window_text(tier.short))
        .with(naming::LABEL_LONG, &naming::window_text(tier.long))
        .with(ALERT_NAME, &slo.alerting.name);
    let labels = group.clone().merged(&own);
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        group: group.clone(),
        labels,
        annotations: naming::alert_annotations(slo, tier.severity),
        expr: tier_expr(service, slo, group, tier),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}

/// The alert for less than `percent` of the budget left; its value is the share left.
pub fn budget_rule(service: &Service, slo: &Slo, group: &Labels, percent: f64) -> Arc<AlertRule> {
    let labels = group
        .clone()
        .merged(&naming::identity(service, slo))
        .merged(&naming::budget_alert_labels(slo, percent))
        .with(ALERT_NAME, naming::ALERT_BUDGET_LOW);
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        group: group.clone(),
        labels,
        annotations: naming::budget_alert_annotations(slo, percent),
        expr: budget_expr(service, slo, group, percent),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}

/// The alert for an SLO that has no data; its value is 1.
pub fn no_data_rule(service: &Service, slo: &Slo, group: &Labels, severity: Severity) -> Arc<AlertRule> {
    let labels = group
        .clone()
        .merged(&naming::identity(service, slo))
        .merged(&naming::no_data_alert_labels(slo, severity))
        .with(ALERT_NAME, naming::ALERT_NO_DATA);
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        group: group.clone(),
        labels,
        annotations: naming::no_data_alert_annotations(slo, severity),
        expr: no_data_expr(service, slo, group),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}
