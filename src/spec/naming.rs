//! Names shared by the engine's output and the generated rules: Sloth's, so that dashboards made for it work.

use crate::spec::{Service, Severity, Slo};
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

/// The labels of an SLO's alert of a severity, without `alertname`.
pub fn alert_labels(service: &Service, slo: &Slo, severity: Severity) -> Labels {
    identity(service, slo).merged(&slo.alerting.labels_of(severity)).with(LABEL_SEVERITY, severity.as_str())
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
