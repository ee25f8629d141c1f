//! The specs of the simulated services, as they would stand in a folder of rules.

use crate::spec::{self, Service, Source};

/// Names and texts, in the order they are shown.
const SPECS: [(&str, &str); 6] = [
    ("checkout.yaml", include_str!("specs/checkout.yaml")),
    ("payments.yaml", include_str!("specs/payments.yaml")),
    ("search.yaml", include_str!("specs/search.yaml")),
    ("catalog.yaml", include_str!("specs/catalog.yaml")),
    ("login.yaml", include_str!("specs/login.yaml")),
    ("invoices.yaml", include_str!("specs/invoices.yaml")),
];

fn sources() -> Vec<Source> {
    SPECS.iter().map(|(name, text)| Source::new(*name, *text)).collect()
}

/// The services. A test holds the specs to having no findings.
pub fn services() -> Vec<Service> {
    spec::parse(&sources()).0
}

/// All specs as one YAML stream, ready to be saved and changed.
pub fn text() -> String {
    SPECS.map(|(_, text)| text).join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_nothing_to_find_in_them() {
        let (services, report) = spec::parse(&sources());
        assert_eq!(report.render(false), "");
        assert_eq!(services.len(), SPECS.len());
    }

    #[test]
    fn as_one_text_they_say_the_same() {
        let (services, report) = spec::parse(&[Source::new("all.yaml", text())]);
        assert_eq!(report.render(false), "");
        let names = |services: &[Service]| services.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&services), names(&super::services()));
    }
}
