//! What a spec asks for and rules cannot say.

use crate::spec::{NoData, Origin, Period, Service, Slo, When};

/// Something that the engine does and the generated rules do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Where it is asked for.
    pub origin: Origin,
    /// `service/slo`
    pub slo: String,
    /// What is missing in the rules.
    pub message: String,
}

/// Everything that the rules of a service leave out, in the order of its SLOs.
pub fn limits(service: &Service) -> Vec<Limit> {
    let mut limits = Vec::new();
    for slo in service.slos.iter() {
        let mut add = |origin: &Origin, message: &str| {
            let slo = crate::spec::naming::slo_path(service, slo);
            limits.push(Limit { origin: origin.clone(), slo, message: message.to_owned() });
        };
        if let Period::Calendar(calendar) = &slo.period {
            let unit = calendar.unit.as_str();
            add(
                &calendar.origin,
                &format!(
                    "PromQL knows no {unit} of a time zone: no ratio over the period, no remaining budget and no alert \
                     on it"
                ),
            );
        }
        exclusions(slo, &mut add);
        for reset in &slo.accounting.resets {
            add(&reset.origin, "rules cannot begin a period anew: the reset has no effect on them");
        }
        if slo.accounting.no_data == NoData::Bad {
            add(&slo.origin, "`noData: bad` has no effect on rules: vanished metrics count nothing there");
        }
        if slo.accounting.alert_no_data.is_some() && !slo.accounting.group_by.is_empty() {
            add(&slo.origin, "`absent` cannot tell which group is missing: no alert on missing data is generated");
        }
    }
    limits
}

fn exclusions(slo: &Slo, add: &mut impl FnMut(&Origin, &str)) {
    for exclusion in &slo.accounting.exclude {
        let what = match exclusion.when {
            When::Between { .. } => "an interval",
            When::Scheduled(_) => "a schedule",
            When::While(_) => "a selector",
        };
        let message = format!("`rate` cannot leave out the events of {what}: they count in rules");
        add(&exclusion.origin, &message);
    }
}
