//! Names shared by the engine's output and the generated rules: Sloth's, so that dashboards made for it work.

use crate::spec::{Service, Severity, Slo, Tier};
use crate::types::{Labels, Span};

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

/// The threshold of a budget alert, in percent.
pub const LABEL_BUDGET_REMAINING: &str = "budget_remaining";
/// The `alertname` of budget alerts.
pub const BUDGET_ALERT: &str = "ErrorBudgetLow";
/// The share of the period's error budget that is left, as a ratio.
pub const BUDGET_REMAINING: &str = "slo:period_error_budget_remaining:ratio";

/// The error ratio over a window: `slo:sli_error:ratio_rate5m`.
pub fn error_ratio(window: Span) -> String {
    format!("slo:sli_error:ratio_rate{}", window_text(window))
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

/// Matchers that select one SLO's series.
pub fn id_matchers(service: &Service, slo: &Slo) -> String {
    let id = slo_id(service, slo);
    format!("{LABEL_ID}={id:?}, {LABEL_SERVICE}={:?}, {LABEL_SLO}={:?}", service.name, slo.name)
}

/// A tier's condition over the recorded ratios.
pub fn tier_expr(service: &Service, slo: &Slo, tier: &Tier) -> String {
    let (ids, budget) = (id_matchers(service, slo), slo.objective.budget_text());
    let over = |window: Span| {
        let ratio = error_ratio(window);
        format!("max({ratio}{{{ids}}} > ({} * {budget})) without ({LABEL_WINDOW})", tier.factor)
    };
    format!("{} and {}", over(tier.short), over(tier.long))
}

/// The condition for less than `percent` of the budget left.
pub fn budget_expr(service: &Service, slo: &Slo, percent: f64) -> String {
    format!("{BUDGET_REMAINING}{{{}}} < {}", id_matchers(service, slo), percent / 100.0)
}

/// Annotation templates of a burn-rate alert: the user's, with a title and a summary unless given.
pub fn annotations(slo: &Slo, severity: Severity) -> Vec<(String, String)> {
    let title = format!(
        "({severity}) {{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} burns its error budget too fast."
    );
    let summary = format!(
        "{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}} burns its error budget faster than the period allows."
    );
    with_defaults(slo.alerting.annotations_of(severity), title, summary)
}

/// Annotation templates of a budget alert.
pub fn budget_annotations(slo: &Slo, percent: f64) -> Vec<(String, String)> {
    let subject = format!("{{{{$labels.{LABEL_SERVICE}}}}} {{{{$labels.{LABEL_SLO}}}}}");
    let title = format!("{subject} has less than {percent} % of its error budget left.");
    let summary = title.clone();
    with_defaults(slo.alerting.annotations_of(Severity::Ticket), title, summary)
}

fn with_defaults(mut given: Vec<(String, String)>, title: String, summary: String) -> Vec<(String, String)> {
    for (name, text) in [("title", title), ("summary", summary)] {
        if given.iter().all(|(n, _)| n != name) {
            given.push((name.to_owned(), text));
        }
    }
    given.sort();
    given
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
