//! The alerts of an SLO as rules: labels, annotations and the PromQL that says the same.

use std::sync::Arc;

use crate::alert::{AlertRule, Expr};
use crate::generate::{budget_expr, no_data_expr, tier_expr};
use crate::spec::{Service, Severity, Slo, Tier, naming};
use crate::types::Labels;

const ALERT_NAME: &str = "alertname";

/// Names and templates.
pub(super) type Annotations = Arc<[(String, String)]>;

/// The service and its SLO of an index.
pub(super) type Place = (Arc<Service>, usize);

fn slo((service, slo): &Place) -> (&Service, &Slo) {
    (service, &service.slos[*slo])
}

fn rule(
    service: &Service,
    slo: &Slo,
    group: &Labels,
    labels: Labels,
    annotations: Annotations,
    expr: Expr,
) -> Arc<AlertRule> {
    Arc::new(AlertRule {
        slo: naming::slo_path(service, slo),
        group: group.clone(),
        labels,
        annotations,
        expr,
        for_: slo.alerting.for_,
        keep_firing_for: slo.alerting.keep_firing_for,
    })
}

/// The alert of one tier.
pub fn tier_rule(place: &Place, group: &Labels, tier: &Tier, annotations: Annotations) -> Arc<AlertRule> {
    let (service, spec) = slo(place);
    let own = naming::alert_labels(service, spec, tier.severity)
        .with(naming::LABEL_SHORT, &naming::window_text(tier.short))
        .with(naming::LABEL_LONG, &naming::window_text(tier.long))
        .with(ALERT_NAME, &spec.alerting.name);
    let labels = group.clone().merged(&own);
    let (at, of, tier) = (place.clone(), group.clone(), *tier);
    let expr = Expr::new(move || tier_expr(slo(&at).0, slo(&at).1, &of, &tier));
    rule(service, spec, group, labels, annotations, expr)
}

/// The alert for less than `percent` of the budget left; its value is the share left.
pub fn budget_rule(place: &Place, group: &Labels, percent: f64, annotations: Annotations) -> Arc<AlertRule> {
    let (service, spec) = slo(place);
    let labels = group
        .clone()
        .merged(&naming::identity(service, spec))
        .merged(&naming::budget_alert_labels(spec, percent))
        .with(ALERT_NAME, naming::ALERT_BUDGET_LOW);
    let (at, of) = (place.clone(), group.clone());
    let expr = Expr::new(move || budget_expr(slo(&at).0, slo(&at).1, &of, percent));
    rule(service, spec, group, labels, annotations, expr)
}

/// The alert for an SLO that has no data; its value is 1.
pub fn no_data_rule(place: &Place, group: &Labels, severity: Severity, annotations: Annotations) -> Arc<AlertRule> {
    let (service, spec) = slo(place);
    let labels = group
        .clone()
        .merged(&naming::identity(service, spec))
        .merged(&naming::no_data_alert_labels(spec, severity))
        .with(ALERT_NAME, naming::ALERT_NO_DATA);
    let (at, of) = (place.clone(), group.clone());
    let expr = Expr::new(move || no_data_expr(slo(&at).0, slo(&at).1, &of));
    rule(service, spec, group, labels, annotations, expr)
}
