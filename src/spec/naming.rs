//! Names shared by the engine's output and the generated rules: Sloth's, so that dashboards made for it work.

use crate::spec::{Service, Severity, Slo};
use crate::types::{Labels, Span, format_value};

/// Identifies the SLO across services: `service-slo`.
pub const LABEL_ID: &str = "sloth_id";
/// The service's name.
pub const LABEL_SERVICE: &str = "sloth_service";
/// The SLO's name.
pub const LABEL_SLO: &str = "sloth_slo";
/// The window of a ratio series.
pub const LABEL_WINDOW: &str = "sloth_window";
/// `page` or `ticket`.
pub const LABEL_SEVERITY: &str = "sloth_severity";
/// The short window of the pair that tripped.
pub const LABEL_SHORT: &str = "short";
/// The long window of the pair that tripped.
pub const LABEL_LONG: &str = "long";

/// On [`INFO`]: what made the rules, and its version.
pub const LABEL_VERSION: &str = "sloth_version";
/// On [`INFO`]: how the rules were made.
pub const LABEL_MODE: &str = "sloth_mode";
/// On [`INFO`]: the version of the specification's format.
pub const LABEL_SPEC: &str = "sloth_spec";
/// On [`INFO`]: the objective in percent.
pub const LABEL_OBJECTIVE: &str = "sloth_objective";
/// The percentage of budget an [`ALERT_BUDGET_LOW`] watches.
pub const LABEL_BUDGET_REMAINING: &str = "budget_remaining";

/// Events a second of a slice of time. Sloth has no counterpart.
pub const SLICE_TOTAL_RATE: &str = "slo:sli_slice:total_rate";
/// Bad events a second of a slice of time.
pub const SLICE_BAD_RATE: &str = "slo:sli_slice:bad_rate";
/// The error ratio of a slice of time.
pub const SLICE_ERROR_RATIO: &str = "slo:sli_slice:error_ratio";

/// The objective as a ratio.
pub const OBJECTIVE: &str = "slo:objective:ratio";
/// The error budget as a ratio.
pub const ERROR_BUDGET: &str = "slo:error_budget:ratio";
/// The period in days.
pub const PERIOD_DAYS: &str = "slo:time_period:days";
/// The burn rate over [`CURRENT_WINDOW`].
pub const CURRENT_BURN_RATE: &str = "slo:current_burn_rate:ratio";
/// The burn rate over the period.
pub const PERIOD_BURN_RATE: &str = "slo:period_burn_rate:ratio";
/// The share of the period's error budget that is left; negative when overspent.
pub const BUDGET_REMAINING: &str = "slo:period_error_budget_remaining:ratio";
/// Always 1; its labels describe the SLO.
pub const INFO: &str = "sloth_slo_info";

/// The `alertname` of alerts on the remaining budget, whatever the burn-rate alerts are called.
pub const ALERT_BUDGET_LOW: &str = "ErrorBudgetLow";

/// The `alertname` of alerts on SLOs without data.
pub const ALERT_NO_DATA: &str = "SLONoData";

/// The window of the current burn rate.
pub const CURRENT_WINDOW: Span = Span::minutes(5);

/// The error ratio over a window: `slo:sli_error:ratio_rate5m`.
pub fn error_ratio(window: Span) -> String {
    format!("slo:sli_error:ratio_rate{}", window_text(window))
}

/// Bad events a second over a window: `slo:sli_events:bad_rate5m`. Sloth has no counterpart.
pub fn bad_rate(window: Span) -> String {
    format!("slo:sli_events:bad_rate{}", window_text(window))
}

/// All events a second over a window: `slo:sli_events:total_rate5m`. Sloth has no counterpart.
pub fn total_rate(window: Span) -> String {
    format!("slo:sli_events:total_rate{}", window_text(window))
}

/// A window as Sloth writes it: in the largest unit that divides it, never weeks (`30d`, not `4w2d`).
pub fn window_text(window: Span) -> String {
    let millis = window.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis % length == 0 {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

/// An SLO's id: `service-slo`.
pub fn slo_id(service: &Service, slo: &Slo) -> String {
    format!("{}-{}", service.name, slo.name)
}

/// The labels that identify an SLO: the user's, the service's under the SLO's, plus Sloth's three.
pub fn identity(service: &Service, slo: &Slo) -> Labels {
    service
        .labels
        .clone()
        .merged(&slo.labels)
        .with(LABEL_ID, &slo_id(service, slo))
        .with(LABEL_SERVICE, &service.name)
        .with(LABEL_SLO, &slo.name)
}

/// An SLO's address in the API: `service/slo`.
pub fn slo_path(service: &Service, slo: &Slo) -> String {
    format!("{}/{}", service.name, slo.name)
}

/// The labels of an SLO's alert of a severity, without `alertname`.
pub fn alert_labels(service: &Service, slo: &Slo, severity: Severity) -> Labels {
    identity(service, slo).merged(&slo.alerting.labels_of(severity)).with(LABEL_SEVERITY, severity.as_str())
}

/// Annotation templates of an SLO's alert of a severity: Sloth's `title` and `summary` unless the user gives
/// them, then the user's. Each name once.
pub fn alert_annotations(slo: &Slo, severity: Severity) -> Vec<(String, String)> {
    let title = format!(
        "({severity}) {{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} SLO error budget burn rate is too fast."
    );
    let summary = format!(
        "{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} SLO error budget burn rate is over expected."
    );
    with_defaults(title, summary, slo.alerting.annotations_of(severity))
}

/// What an [`ALERT_BUDGET_LOW`] adds to the labels of its SLO: a ticket's, and the percentage it watches.
pub fn budget_alert_labels(slo: &Slo, percent: f64) -> Labels {
    let labels = slo.alerting.labels_of(Severity::Ticket).with(LABEL_SEVERITY, Severity::Ticket.as_str());
    labels.with(LABEL_BUDGET_REMAINING, &format_value(percent))
}

/// Annotation templates of an [`ALERT_BUDGET_LOW`], whose value is the share of the budget left.
pub fn budget_alert_annotations(slo: &Slo, percent: f64) -> Vec<(String, String)> {
    let percent = format_value(percent);
    let title = format!(
        "{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} SLO has less than {percent}% of its error budget left."
    );
    let summary = format!(
        "{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} SLO has {{{{$value | humanizePercentage}}}} of its error budget left."
    );
    with_defaults(title, summary, slo.alerting.annotations_of(Severity::Ticket))
}

/// What an [`ALERT_NO_DATA`] adds to the labels of its SLO.
pub fn no_data_alert_labels(slo: &Slo, severity: Severity) -> Labels {
    slo.alerting.labels_of(severity).with(LABEL_SEVERITY, severity.as_str())
}

/// Annotation templates of an [`ALERT_NO_DATA`].
pub fn no_data_alert_annotations(slo: &Slo, severity: Severity) -> Vec<(String, String)> {
    let title = format!("{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} SLO has no data.");
    let summary = format!(
        "{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} SLO has had no sample of its events for 5 minutes."
    );
    with_defaults(title, summary, slo.alerting.annotations_of(severity))
}

/// An SLO's address with the values of the labels that it groups by: `service/slo{region="eu"}`.
pub fn group_title(path: &str, group: &Labels) -> String {
    if group.is_empty() { path.to_owned() } else { format!("{path}{group}") }
}

fn with_defaults(title: String, summary: String, users: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut annotations = vec![("title".to_owned(), title), ("summary".to_owned(), summary)];
    for (name, template) in users {
        match annotations.iter_mut().find(|(n, _)| *n == name) {
            Some((_, present)) => *present = template,
            None => annotations.push((name, template)),
        }
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_print_as_in_sloth() {
        for (span, text) in [
            (Span::minutes(5), "5m"),
            (Span::minutes(90), "90m"),
            (Span::days(28), "28d"),
            (Span::days(3), "3d"),
            (Span::seconds(10), "10s"),
        ] {
            assert_eq!(window_text(span), text);
        }
        assert_eq!(error_ratio(Span::hours(1)), "slo:sli_error:ratio_rate1h");
    }
}
