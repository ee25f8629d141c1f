//! The alerts of an SLO as rules: labels, annotations and the PromQL that says the same.

use std::sync::Arc;

use crate::alert::AlertRule;
use crate::generate::{budget_expr, no_data_expr, tier_expr};
use crate::spec::{Service, Severity, Slo, Tier, naming};
use crate::types::Labels;

const ALERT_NAME: &str = "alertname";

/// Names and templates.
pub(super) type Annotations = Arc<[(String, String)]>;

fn rule(
    service: &Service,
    slo: &Slo,
    group: &Labels,
    labels: Labels,
    annotations: Annotations,
    expr: &str,
) -> Arc<AlertRule> {
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        group: group.clone(),
        labels: labels.shrunk(),
        annotations,
        // A copy has no room left over, as what is put together piece by piece has.
        expr: expr.to_owned(),
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}

/// The alert of one tier.
pub fn tier_rule(
    service: &Service,
    slo: &Slo,
    group: &Labels,
    tier: &Tier,
    annotations: Annotations,
) -> Arc<AlertRule> {
    let own = naming::alert_labels(service, slo, tier.severity)
        .with(naming::LABEL_SHORT, &naming::window_text(tier.short))
        .with(naming::LABEL_LONG, &naming::window_text(tier.long))
        .with(ALERT_NAME, &slo.alerting.name);
    let labels = group.clone().merged(&own);
    let expr = tier_expr(service, slo, group, tier);
    rule(service, slo, group, labels, annotations, &expr)
}

/// The alert for less than `percent` of the budget left; its value is the share left.
pub fn budget_rule(
    service: &Service,
    slo: &Slo,
    group: &Labels,
    percent: f64,
    annotations: Annotations,
) -> Arc<AlertRule> {
    let labels = group
        .clone()
        .merged(&naming::identity(service, slo))
        .merged(&naming::budget_alert_labels(slo, percent))
        .with(ALERT_NAME, naming::ALERT_BUDGET_LOW);
    let expr = budget_expr(service, slo, group, percent);
    rule(service, slo, group, labels, annotations, &expr)
}

/// The alert for an SLO that has no data; its value is 1.
pub fn no_data_rule(
    service: &Service,
    slo: &Slo,
    group: &Labels,
    severity: Severity,
    annotations: Annotations,
) -> Arc<AlertRule> {
    let labels = group
        .clone()
        .merged(&naming::identity(service, slo))
        .merged(&naming::no_data_alert_labels(slo, severity))
        .with(ALERT_NAME, naming::ALERT_NO_DATA);
    let expr = no_data_expr(service, slo, group);
    rule(service, slo, group, labels, annotations, &expr)
}
