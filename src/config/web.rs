//! The web configuration file: TLS, client certificates and users of the HTTP server, in the format all of
//! Prometheus' exporters share (exporter-toolkit, `docs/web-configuration.md`).
//!
//! Stricter than the toolkit where it is silent about a mistake: a verifying policy needs its CA, a policy that
//! verifies nothing is warned about, and so is HTTP/2, which is not served. What is not supported is an error.
//! Hashes are in no excerpt and no message, and neither is what was written in a hash's place.

mod users;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{items, path, sole_document};
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::yaml::{Value, shown};
use crate::spec::{Place, Report, Source};
use users::{conceal_secrets, users, warn_of_nobody};

pub use users::PasswordHash;

const SANS_LIMIT_COUNT: usize = 1_000;
/// What the file's sections are called.
pub const SECTIONS: [&str; 4] = ["tls_server_config", "http_server_config", USERS, "rate_limit"];
const USERS: &str = "basic_auth_users";

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct WebConfig {
    /// Plain HTTP without it.
    pub tls: Option<TlsConfig>,
    /// On every answer that does not set them itself.
    pub headers: HeaderMap,
    /// Who may use the server, by name; everybody when empty.
    pub users: BTreeMap<String, PasswordHash>,
}

/// How connections are encrypted, and whom they are accepted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The server's certificate chain, its own first (PEM).
    pub cert_file: FileField,
    /// The certificate's private key (PEM).
    pub key_file: FileField,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Who signs clients' certificates (PEM). There where `client_auth` verifies.
    pub client_ca_file: Option<FileField>,
    /// A client's certificate must bear one of these names; any will do when empty.
    pub client_allowed_sans: Vec<AllowedSan>,
    /// The oldest version accepted.
    pub min_version: TlsVersion,
    /// The newest version accepted, not older than `min_version`.
    pub max_version: TlsVersion,
}

/// A file that is named in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileField {
    /// Relative to the configuration file's folder, and joined to it.
    pub path: PathBuf,
    /// Where the configuration names it.
    pub place: Place,
}

/// Versions of TLS that are not broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLS12`
    Tls12,
    /// `TLS13`
    Tls13,
}

/// What is asked of clients, after Go's `tls.ClientAuthType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate is asked for.
    NoClientCert,
    /// One is asked for; none, or any, will do.
    RequestClientCert,
    /// Any certificate will do, whoever signed it.
    RequireAnyClientCert,
    /// None will do, but one that is given must be good.
    VerifyClientCertIfGiven,
    /// Only clients with a good certificate.
    RequireAndVerifyClientCert,
}

/// A name a client's certificate may bear, compared exactly: a wildcard stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedSan {
    /// A DNS name or a URI, such as a SPIFFE id.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl ClientAuth {
    const NAMES: [(&str, Self); 6] = [
        ("NoClientCert", Self::NoClientCert),
        ("RequestClientCert", Self::RequestClientCert),
        ("RequireAnyClientCert", Self::RequireAnyClientCert),
        ("VerifyClientCertIfGiven", Self::VerifyClientCertIfGiven),
        ("RequireAndVerifyClientCert", Self::RequireAndVerifyClientCert),
        // The toolkit's old name of `RequireAnyClientCert`.
        ("RequireClientCert", Self::RequireAnyClientCert),
    ];

    /// Whether certificates are checked against a CA.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert)
    }

    /// Whether clients without a certificate are turned away.
    pub const fn requires(self) -> bool {
        matches!(self, Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert)
    }
}

impl WebConfig {
    /// Reads the file's text; files it names are not looked at. An empty text is plain HTTP for everybody.
    /// `None` when the report has errors.
    pub fn parse(source: &Source) -> (Option<Self>, Report) {
        let mut reporter = Reporter::new(source);
        conceal_secrets(&mut reporter);
        let config = match sole_document(&mut reporter) {
            Some(root) => web(Field::document(&root), &mut reporter),
            None => Some(Self::default()),
        };
        let report = Report::new([reporter]);
        (config.filter(|_| !report.has_errors()), report)
    }

    /// A finding about the content of a file that `source`, a web configuration, names.
    pub(crate) fn report_file(source: &Source, file: &FileField, message: String) -> Report {
        let mut reporter = Reporter::new(source);
        conceal_secrets(&mut reporter);
        reporter.error(file.place, message);
        Report::new([reporter])
    }
}

fn web(document: Field<'_>, reporter: &mut Reporter<'_>) -> Option<WebConfig> {
    if document.node.as_mapping().is_none() {
        // Without the value, which may hold a secret.
        let names = SECTIONS.join("`, `");
        reporter.error(document.place(), "expected sections").hint(format!("the sections are `{names}`"));
        return None;
    }
    let mut fields = Fields::of(document, reporter)?;
    let mut config = WebConfig::default();
    if let Some(field) = fields.get("tls_server_config") {
        config.tls = tls(field, reporter);
    }
    if let Some(field) = fields.get("http_server_config") {
        config.headers = http(field, reporter).unwrap_or_default();
    }
    match fields.get(USERS) {
        Some(field) => config.users = users(field, reporter).unwrap_or_default(),
        None => warn_of_nobody(document, reporter),
    }
    let hint = "the limits of `sloburn serve` bound what senders cost: see `--limit.in-flight-bytes`";
    fields.unsupported("rate_limit", hint, reporter);
    fields.finish(reporter);
    Some(config)
}

fn tls(section: Field<'_>, reporter: &mut Reporter<'_>) -> Option<TlsConfig> {
    let mut fields = Fields::of(section, reporter)?;
    let cert_file = fields.require("cert_file").and_then(|field| file(field, reporter));
    let key_file = fields.require("key_file").and_then(|field| file(field, reporter));
    let asked = fields.get("client_auth_type");
    let client_auth = match asked {
        Some(field) => client_auth(field, reporter),
        None => Some(ClientAuth::NoClientCert),
    };
    let ca = fields.get("client_ca_file");
    let client_ca_file = ca.and_then(|field| file(field, reporter));
    let sans = fields.get("client_allowed_sans");
    let client_allowed_sans = sans.map(|field| allowed_sans(field, reporter)).unwrap_or_default();
    let min = fields.get("min_version");
    let min_version = min.map_or(Some(TlsVersion::Tls12), |field| version(field, reporter));
    let max = fields.get("max_version");
    let max_version = max.map_or(Some(TlsVersion::Tls13), |field| version(field, reporter));
    fields.unsupported("cert", "use `cert_file`", reporter);
    fields.secret("key", "use `key_file`", reporter);
    fields.unsupported("client_ca", "use `client_ca_file`", reporter);
    let hint = "leave it out: no cipher or curve with a known weakness is offered";
    for name in ["cipher_suites", "prefer_server_cipher_suites", "curve_preferences"] {
        fields.unsupported(name, hint, reporter);
    }
    fields.finish(reporter);
    if let Some(policy) = client_auth {
        let given = Clients { policy, asked, ca, sans };
        given.check(section, reporter);
    }
    if let (Some(oldest), Some(newest), Some(field)) = (min_version, max_version, max.or(min))
        && oldest > newest
    {
        reporter.error(field.place(), "`max_version` is older than `min_version`, so that no version is left");
    }
    Some(TlsConfig {
        cert_file: cert_file?,
        key_file: key_file?,
        client_auth: client_auth?,
        client_ca_file,
        client_allowed_sans,
        min_version: min_version?,
        max_version: max_version?,
    })
}

fn file(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<FileField> {
    Some(FileField { path: path(field, reporter)?, place: field.place() })
}

/// The fields about clients, which must fit each other.
struct Clients<'n> {
    policy: ClientAuth,
    asked: Option<Field<'n>>,
    ca: Option<Field<'n>>,
    sans: Option<Field<'n>>,
}

impl Clients<'_> {
    fn check(&self, section: Field<'_>, reporter: &mut Reporter<'_>) {
        let verifying = "verify clients with `client_auth_type: RequireAndVerifyClientCert`";
        if self.policy == ClientAuth::NoClientCert {
            for field in [self.ca, self.sans].into_iter().flatten() {
                let message = format!("{} has no effect: clients are not asked for a certificate", field.what);
                reporter.error(field.key, message).hint(verifying);
            }
        } else if !self.policy.verifies() {
            if let Some(field) = self.asked {
                let message = "clients' certificates are not verified: anybody can make one";
                reporter.warn(field.place(), message).hint(verifying);
            }
        } else if self.ca.is_none() {
            let place = self.asked.map_or(section.key, |field| field.place());
            let message = "`client_ca_file` is missing: nothing to verify clients' certificates with";
            reporter.error(place, message);
        }
    }
}

fn client_auth(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<ClientAuth> {
    let found = ClientAuth::NAMES.iter().find(|(name, _)| field.scalar() == Some(name));
    if found.is_none() {
        let names: Vec<&str> = ClientAuth::NAMES[..5].iter().map(|(name, _)| *name).collect();
        field.mismatch("a policy", reporter).hint(format!("one of `{}`", names.join("`, `")));
    }
    found.map(|(_, policy)| *policy)
}

fn version(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<TlsVersion> {
    match field.scalar() {
        Some("TLS12") => return Some(TlsVersion::Tls12),
        Some("TLS13") => return Some(TlsVersion::Tls13),
        Some(old @ ("TLS10" | "TLS11")) => {
            let message = format!("`{old}` is broken and not supported");
            reporter.error(field.place(), message).hint("`TLS12` is the oldest version there is");
        }
        _ => {
            field.mismatch("`TLS12` or `TLS13`", reporter);
        }
    }
    None
}

fn allowed_sans(field: Field<'_>, reporter: &mut Reporter<'_>) -> Vec<AllowedSan> {
    let listed = items(field, SANS_LIMIT_COUNT, reporter);
    if listed.is_empty() && matches!(field.node.value, Value::Sequence(_)) {
        reporter.error(field.place(), format!("{} is empty, so that no client is let in", field.what));
    }
    listed.into_iter().filter_map(|item| allowed_san(item, reporter)).collect()
}

fn allowed_san(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<AllowedSan> {
    let text = item.text(reporter)?;
    if let Ok(address) = text.parse() {
        return Some(AllowedSan::Address(address));
    }
    if text.contains('@') && !text.contains("://") {
        let message = format!("{} is an e-mail address, which is not supported", shown(text));
        reporter.error(item.place(), message).hint("name clients by DNS name, address or URI");
        return None;
    }
    Some(AllowedSan::Name(text.to_owned()))
}

/// The headers the toolkit allows, and the values of those that have a fixed set.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

fn http(section: Field<'_>, reporter: &mut Reporter<'_>) -> Option<HeaderMap> {
    let mut fields = Fields::of(section, reporter)?;
    if let Some(field) = fields.get("http2")
        && field.boolean(reporter) == Some(true)
    {
        reporter.warn(field.place(), "only HTTP/1.1 is served").hint("write `http2: false`");
    }
    let headers = fields.get("headers").and_then(|field| headers(field, reporter)).unwrap_or_default();
    fields.finish(reporter);
    Some(headers)
}

fn headers(section: Field<'_>, reporter: &mut Reporter<'_>) -> Option<HeaderMap> {
    let mut fields = Fields::of(section, reporter)?;
    let mut headers = HeaderMap::new();
    for (name, allowed) in HEADERS {
        let Some(field) = fields.get(name) else { continue };
        let Some(text) = field.text(reporter).filter(|text| !text.is_empty()) else { continue };
        if !allowed.is_empty() && !allowed.contains(&text) {
            let message = format!("{} takes `{}`, not {}", field.what, allowed.join("` or `"), shown(text));
            reporter.error(field.place(), message);
            continue;
        }
        match (HeaderName::try_from(name), HeaderValue::try_from(text)) {
            (Ok(name), Ok(value)) => {
                headers.insert(name, value);
            }
            _ => {
                reporter.error(field.place(), format!("{} has characters that no header may have", field.what));
            }
        }
    }
    fields.finish(reporter);
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

    fn read(text: &str) -> (Option<WebConfig>, String) {
        let (config, report) = WebConfig::parse(&Source::new("/etc/sloburn/web.yml", text));
        (config, report.render(false))
    }

    #[test]
    fn a_full_file_is_read() {
        let (config, report) = read(&format!(
            "
tls_server_config:
  cert_file: server.crt
  key_file: /run/secrets/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [a.example, 10.0.0.1, 'spiffe://example/prometheus']
  min_version: TLS13
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
    X-XSS-Protection: ''
basic_auth_users:
  alice: {HASH}
"
        ));
        assert_eq!(report, "");
        let config = config.unwrap();
        let tls = config.tls.unwrap();
        assert_eq!(tls.cert_file.path, Path::new("/etc/sloburn/server.crt"));
        assert_eq!(tls.cert_file.place.line, 3);
        assert_eq!(tls.key_file.path, Path::new("/run/secrets/server.key"));
        assert_eq!(tls.client_auth, ClientAuth::RequireAndVerifyClientCert);
        assert_eq!(tls.client_ca_file.unwrap().path, Path::new("/etc/sloburn/ca.crt"));
        let name = |text: &str| AllowedSan::Name(text.to_owned());
        let address = AllowedSan::Address([10, 0, 0, 1].into());
        assert_eq!(tls.client_allowed_sans, [name("a.example"), address, name("spiffe://example/prometheus")]);
        assert_eq!((tls.min_version, tls.max_version), (TlsVersion::Tls13, TlsVersion::Tls13));
        assert_eq!(config.headers.len(), 2, "blank headers are not set");
        assert_eq!(config.headers["x-frame-options"], "deny");
        assert_eq!(config.users["alice"].expose(), HASH);
        assert_eq!(config.users["alice"].cost(), 10);
    }

    #[test]
    fn an_empty_file_is_plain_http_for_everybody() {
        let (config, report) = read("");
        let config = config.unwrap();
        assert_eq!(report, "");
        assert!(config.tls.is_none() && config.users.is_empty() && config.headers.is_empty());
    }

    /// Also a user without a hash: leaving it out could leave nobody, and let everybody in.
    #[test]
    fn a_section_that_would_protect_nothing_is_an_error() {
        for text in ["tls_server_config: {}", "basic_auth_users: {alice: }", "basic_auth_users: alice"] {
            let (config, report) = read(text);
            assert!(config.is_none() && report.starts_with("error: "), "{text}: {report}");
        }
    }

    #[test]
    fn nothing_shows_a_password() {
        for text in [
            "basic_auth_users:\n  alice: hunter2\n",
            "basic_auth_users:\n  alice: 'hunter2\n",
            "basic_auth_users:\n  alice: hun: hunter2\n",
            "basic_auth_users:\n  alice:\n    - hunter2\n    hunter2\n",
            "basic_auth_users:\n  hunter2\n",
            "basic_auth_users: hunter2\n",
            "basic_auth_users: [hunter2]\n",
            "basic_auth_users: {alice: hunter2, alice: hunter2\n",
            "basic_auth_user:\n  alice: hunter2: hunter2\n",
            "{http_server_config: {http2: x}, basic_auth_users: {alice: hunter2}}\n",
            "basic_auth_users:\n  alice: &a !!str hunter2\n  bob: *b hunter2\n",
        ] {
            let (config, report) = read(text);
            assert!(report.contains("error"), "{text}: {report}");
            assert!(!report.contains("hunter2"), "{text}: {report}");
            assert!(!format!("{config:?}").contains("hunter2"), "{text}");
        }
        let (config, _) = read(&format!("basic_auth_users: {{alice: {HASH}}}"));
        assert!(!format!("{:?}", config.unwrap()).contains("$2"));
    }
}
