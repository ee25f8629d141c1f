//! From texts to services: every document of every source, all findings in one pass.

use std::collections::BTreeMap;

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::{Report, Reporter};
use crate::spec::native::{self, Draft};
use crate::spec::source::{Place, Source};
use crate::spec::suggest::nearest;
use crate::spec::yaml::{self, Node, shown};
use crate::spec::{RuleGroup, Service, naming, rules};

const API_VERSION: &str = "sloburn/v1";
const KIND: &str = "Service";
const RULE_API_VERSION: &str = "monitoring.coreos.com/v1";
const RULE_KIND: &str = "PrometheusRule";

/// Formats of other tools, by a word in their `apiVersion` or `version`.
const FOREIGN: [(&str, &str); 4] = [
    ("prometheus/v1", "Sloth specs"),
    ("sloth.slok.dev/", "Sloth's Kubernetes objects"),
    ("pyrra.dev/", "Pyrra's Kubernetes objects"),
    ("openslo/", "OpenSLO documents"),
];

/// Everything that sources can hold.
#[derive(Clone, Debug, Default)]
pub struct Specs {
    /// Native specs.
    pub services: Vec<Service>,
    /// Prometheus' rules, of rule files and `PrometheusRule` objects.
    pub groups: Vec<RuleGroup>,
}

/// What one document is.
enum Document {
    Service(Box<Draft>),
    Groups(Vec<(RuleGroup, Place)>),
}

/// The services of all sources: see [`read`].
pub fn parse(sources: &[Source]) -> (Vec<Service>, Report) {
    let (specs, report) = read(sources);
    (specs.services, report)
}

/// Reads all sources. The services and groups are those without errors, in the order of the sources; the report holds
/// every finding of every source.
///
/// Names of services are unique over all sources: the first of two wins, and the other is an error. Names of groups are
/// unique within a file.
pub fn read(sources: &[Source]) -> (Specs, Report) {
    let mut reporters = Vec::new();
    let (mut drafts, mut groups) = (Vec::new(), Vec::new());
    for source in sources {
        let mut reporter = Reporter::new(source);
        let documents = yaml::documents(&mut reporter);
        if documents.is_empty() && reporter.errors() == 0 {
            reporter.warn(Place::START, "the file holds no document");
        }
        let mut of_file = Vec::new();
        for root in &documents {
            match document(root, &mut reporter) {
                Some(Document::Service(draft)) => drafts.push((reporters.len(), *draft)),
                Some(Document::Groups(found)) => of_file.extend(found),
                None => {}
            }
        }
        groups.extend(without_repetition(of_file, &mut reporter));
        reporters.push(reporter);
    }
    let services = without_clashes(drafts, &mut reporters);
    (Specs { services, groups }, Report::new(reporters))
}

/// Drops groups whose name another document of the file has given already.
fn without_repetition(found: Vec<(RuleGroup, Place)>, reporter: &mut Reporter<'_>) -> Vec<RuleGroup> {
    let mut keys: BTreeMap<String, Place> = BTreeMap::new();
    let mut groups = Vec::new();
    for (group, place) in found {
        if let Some(first) = keys.get(&group.key()) {
            let related = reporter.related(*first, "first defined here");
            let message = format!("the group {} is defined twice in one file", shown(&group.name));
            reporter.error(place, message).related(related).hint("give each its own name, or merge them");
        } else {
            keys.insert(group.key(), place);
            groups.push(group);
        }
    }
    groups
}

fn document(root: &Node, reporter: &mut Reporter<'_>) -> Option<Document> {
    let mut fields = Fields::of(Field::document(root), reporter)?;
    if let Some(what) = foreign(&fields) {
        let message = format!("{what} are not supported yet by this version");
        reporter.error(root.place, message).hint(understood());
        return None;
    }
    if fields.peek("groups").is_some() && fields.peek("apiVersion").is_none() {
        return Some(Document::Groups(rules::file(fields, reporter)));
    }
    // Without these two nothing says what the rest means.
    let (version, kind) = (fields.get("apiVersion"), fields.get("kind"));
    let (Some(version), Some(kind)) = (version, kind) else {
        let missing = if version.is_none() { "apiVersion" } else { "kind" };
        reporter.error(root.place, format!("the document has no `{missing}`")).hint(understood());
        return None;
    };
    if version.scalar().is_some_and(|text| text.starts_with("monitoring.coreos.com/")) {
        expect(version, RULE_API_VERSION, reporter)?;
        expect(kind, RULE_KIND, reporter)?;
        return Some(Document::Groups(rules::object(fields, reporter)));
    }
    expect(version, API_VERSION, reporter)?;
    expect(kind, KIND, reporter)?;
    native::service(fields, root.place, reporter).map(|draft| Document::Service(Box::new(draft)))
}

fn understood() -> String {
    format!(
        "this version understands `apiVersion: {API_VERSION}` with `kind: {KIND}`, `{RULE_API_VERSION}` with \
         `{RULE_KIND}`, and rule files, which begin with `groups:`"
    )
}

fn foreign(fields: &Fields<'_>) -> Option<&'static str> {
    let version = fields.peek("apiVersion").or_else(|| fields.peek("version"));
    let text = version.and_then(|field| field.scalar()).unwrap_or_default();
    FOREIGN.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, what)| *what)
}

fn expect(field: Field<'_>, expected: &str, reporter: &mut Reporter<'_>) -> Option<()> {
    let text = field.text(reporter)?;
    if text != expected {
        let hint = match nearest(text, [expected]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => understood(),
        };
        reporter.error(field.place(), format!("unknown {} {}", field.what, shown(text))).hint(hint);
        return None;
    }
    Some(())
}

/// Drops services whose name, or the id of one of whose SLOs, another one has already.
fn without_clashes(drafts: Vec<(usize, Draft)>, reporters: &mut [Reporter<'_>]) -> Vec<Service> {
    let mut names: BTreeMap<String, (usize, Place)> = BTreeMap::new();
    let mut ids: BTreeMap<String, (usize, Place)> = BTreeMap::new();
    let mut services = Vec::new();
    for (at, draft) in drafts {
        let service = &draft.service;
        if let Some((other, first)) = names.get(&service.name) {
            let related = reporters[*other].related(*first, "first defined here");
            let message = format!("the service `{}` is defined twice", service.name);
            let found = reporters[at].error(draft.name, message);
            found.related(related).hint("a service has one document: give each its own name, or merge them");
            continue;
        }
        names.insert(service.name.clone(), (at, draft.name));
        let mut clash = false;
        for (slo, place) in service.slos.iter().zip(&draft.slos) {
            let id = naming::slo_id(service, slo);
            if let Some((other, first)) = ids.get(&id) {
                let related = reporters[*other].related(*first, "and this SLO");
                let message = format!("two SLOs have the id `{id}`, made of the service's and the SLO's name");
                reporters[at].error(*place, message).related(related).hint("rename one of them");
                clash = true;
            } else {
                ids.insert(id, (at, *place));
            }
        }
        if !clash {
            services.push(draft.service);
        }
    }
    services
}
