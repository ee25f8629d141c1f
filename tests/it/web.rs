//! The HTTP server as strangers meet it: TLS, client certificates, users, and peers that dawdle.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity, StatusCode};
use sloburn::api::{About, QuerySettings};
use sloburn::app::{Daemon, HttpSettings, Settings, StoreSettings, Timeouts, Web, web};
use sloburn::config::web::WebConfig;
use sloburn::spec::{Source, parse};
use sloburn::types::Span;
use sloburn::wire::{Limits, WireKey};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Far beyond every test: what has this timeout is not cut off by it.
const NEVER: Span = Span::hours(1);
/// Soon: what has this timeout is cut off by it.
const SOON: Span = Span::millis(50);

/// A daemon that serves until it is dropped or told to quit.
struct Running {
    address: SocketAddr,
    task: JoinHandle<Result<(), sloburn::app::RunError>>,
    stop: oneshot::Sender<()>,
}

impl Running {
    async fn start(http: HttpSettings) -> Self {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/search.yaml");
        let (services, report) = parse(&[Source::new(rules, fs::read_to_string(rules).unwrap())]);
        assert_eq!(report.render(false), "");
        let settings = Settings {
            listen_address: "127.0.0.1:0".to_owned(),
            http,
            enable_lifecycle: true,
            rules: None,
            groups: sloburn::app::RuleGroups::default(),
            key: WireKey::new([7; 192]),
            limits: Limits::default(),
            series_limit: 1_000,
            shards: 2,
            in_flight_limit_bytes: 1 << 20,
            query: QuerySettings::default(),
            store: StoreSettings::default(),
            about: About::default(),
            ha: None,
            notify: sloburn::notify::Settings::new("http://sloburn.example".parse().unwrap()),
            receivers: sloburn::notify::Receivers::default(),
            storage: None,
        };
        let daemon = Daemon::start(&services, settings).await.unwrap();
        let address = daemon.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(daemon.run(async {
            let _ = stopped.await;
        }));
        Self { address, task, stop }
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// A folder with a web configuration and what it names.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn write_pair(&self, certified: &Certified) {
        self.write("server.crt", &certified.certificate);
        self.write("server.key", &certified.key);
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("web.yml")
    }

    /// Looks at the files on every request and handshake.
    fn open(&self, text: &str) -> Arc<Web> {
        self.write("web.yml", text);
        let (web, report) = Web::open(&self.path(), Span::ZERO).unwrap();
        web.unwrap_or_else(|| panic!("{}", report.render(false)))
    }

    async fn serve(&self, text: &str) -> Running {
        Running::start(HttpSettings { web: Some(self.open(text)), ..HttpSettings::default() }).await
    }
}

/// PEM.
struct Certified {
    certificate: String,
    key: String,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, names: &[&str]) -> Certified {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign_params(&CertificateParams::new(names).unwrap())
    }

    fn sign_params(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        Certified { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    fn root(&self) -> Certificate {
        Certificate::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    /// A client that trusts this authority only and makes a connection for every request.
    fn client(&self, identity: Option<&Certified>) -> Client {
        let builder = client().tls_certs_only([self.root()]);
        let pem = |certified: &Certified| format!("{}{}", certified.key, certified.certificate);
        let identity = identity.map(|certified| Identity::from_pem(pem(certified).as_bytes()).unwrap());
        identity.into_iter().fold(builder, reqwest::ClientBuilder::identity).build().unwrap()
    }
}

fn client() -> reqwest::ClientBuilder {
    sloburn::notify::install_tls_provider();
    Client::builder().no_proxy().pool_max_idle_per_host(0)
}

fn plain_client() -> Client {
    client().build().unwrap()
}

/// Cheap to check.
fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";

#[tokio::test]
async fn every_path_is_for_users_only() {
    let folder = Folder::new();
    let users = format!("basic_auth_users: {{alice: {}, bob: {}}}\n", hash("open sesame"), hash("mellon"));
    let text = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    let mut daemon = folder.serve(&format!("{users}{text}")).await;
    let client = plain_client();
    for (method, path, right) in [
        ("GET", "/-/healthy", 200),
        ("GET", "/-/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/api/v1/slos", 200),
        ("PUT", "/api/v1/slos", 405),
        ("POST", "/api/v1/write", 400),
        ("GET", "/no/such/path", 404),
        ("POST", "/-/quit", 200),
    ] {
        let request = || client.request(method.parse().unwrap(), daemon.url("http", path));
        let wrong = [
            request(),
            request().basic_auth("alice", Some("mellon")),
            request().basic_auth("alice", None::<&str>),
            request().basic_auth("mallory", Some("open sesame")),
            request().bearer_auth("open sesame"),
        ];
        for (i, wrong) in wrong.into_iter().enumerate() {
            let answer = wrong.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path} {i}");
            assert_eq!(answer.headers()["www-authenticate"], "Basic");
            assert_eq!(answer.headers()["x-frame-options"], "deny");
            assert_eq!(answer.text().await.unwrap(), "Unauthorized\n");
        }
        let answer = request().basic_auth("alice", Some("open sesame")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), right, "{method} {path}");
        assert_eq!(answer.headers()["x-frame-options"], "deny");
    }
    (&mut daemon.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn without_a_web_configuration_everybody_is_let_in() {
    let daemon = Running::start(HttpSettings::default()).await;
    let answer = plain_client().get(daemon.url("http", "/-/healthy")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn connections_are_encrypted_and_failed_handshakes_harm_nobody() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    let daemon = folder.serve(&format!("{TLS}http_server_config: {{http2: false}}")).await;
    let url = daemon.url("https", "/-/healthy");
    let answer = authority.client(None).get(&url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "sloburn is healthy.\n");
    assert!(plain_client().get(&url).send().await.is_err(), "a client that does not know the authority");
    let told = plain_client().get(daemon.url("http", "/-/healthy")).send().await.unwrap();
    assert_eq!(told.status(), StatusCode::BAD_REQUEST);
    assert_eq!(told.text().await.unwrap(), "Client sent an HTTP request to an HTTPS server.\n");
    for bytes in [&b""[..], b"\x16\x03\x01\xff\xff\x00", b"\x00\x00\x00", &[0x16; 10_000]] {
        let mut stream = daemon.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        // Closed, in whatever way.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(authority.client(None).get(&url).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn versions_are_kept_within_bounds() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    for (bounds, tls12, tls13) in
        [("", true, true), (", min_version: TLS13", false, true), (", max_version: TLS12", true, false)]
    {
        let daemon = folder.serve(&TLS.replace('}', &format!("{bounds}}}"))).await;
        for (version, expected) in [(reqwest::tls::Version::TLS_1_2, tls12), (reqwest::tls::Version::TLS_1_3, tls13)] {
            let client = client().tls_certs_only([authority.root()]).tls_version_min(version).tls_version_max(version);
            let answer = client.build().unwrap().get(daemon.url("https", "/-/healthy")).send().await;
            assert_eq!(answer.is_ok(), expected, "{bounds} {version:?}");
        }
    }
}

#[tokio::test]
async fn clients_are_held_to_the_policy() {
    let (folder, authority, stranger) = (Folder::new(), Authority::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    folder.write("ca.crt", &authority.0.pem());
    let (known, foreign) = (authority.sign(&["client.example"]), stranger.sign(&["client.example"]));
    let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = authority.sign_params(&params);
    let clients = [None, Some(&known), Some(&foreign), Some(&expired)];
    let ca = ", client_ca_file: ca.crt";
    for (policy, ca, expected) in [
        ("NoClientCert", "", [true, true, true, true]),
        ("RequestClientCert", "", [true, true, true, true]),
        ("RequireAnyClientCert", "", [false, true, true, true]),
        ("RequireClientCert", "", [false, true, true, true]),
        ("VerifyClientCertIfGiven", ca, [true, true, false, false]),
        ("RequireAndVerifyClientCert", ca, [false, true, false, false]),
    ] {
        let daemon = folder.serve(&TLS.replace('}', &format!(", client_auth_type: {policy}{ca}}}"))).await;
        for (i, (identity, expected)) in clients.into_iter().zip(expected).enumerate() {
            let answer = authority.client(identity).get(daemon.url("https", "/-/healthy")).send().await;
            assert_eq!(answer.is_ok(), expected, "{policy}, client {i}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn clients_are_known_by_their_names() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    folder.write("ca.crt", &authority.0.pem());
    let policy = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt";
    let sans = "client_allowed_sans: [a.example, '*.b.example', 10.0.0.1, 'spiffe://c.example/d']";
    let daemon = folder.serve(&TLS.replace('}', &format!(", {policy}, {sans}}}"))).await;
    let mut uri = CertificateParams::new(Vec::new()).unwrap();
    uri.subject_alt_names = vec![rcgen::SanType::URI("spiffe://c.example/d".try_into().unwrap())];
    let identities = [
        (authority.sign(&["z.example", "a.example"]), true),
        (authority.sign(&["*.b.example"]), true),
        (authority.sign(&["10.0.0.1"]), true),
        (authority.sign_params(&uri), true),
        (authority.sign(&["z.example", "10.0.0.2"]), false),
        (authority.sign(&["x.a.example"]), false),
        (authority.sign(&["x.b.example"]), false),
        (authority.sign(&[]), false),
    ];
    for (i, (identity, expected)) in identities.iter().enumerate() {
        let answer = authority.client(Some(identity)).get(daemon.url("https", "/-/healthy")).send().await;
        assert_eq!(answer.is_ok(), *expected, "{i}");
    }
}

#[tokio::test]
async fn changes_take_effect_and_mistakes_do_not() {
    let folder = Folder::new();
    let (old, new) = (Authority::new(), Authority::new());
    folder.write_pair(&old.sign(&["127.0.0.1"]));
    let text = |password: &str| format!("{TLS}basic_auth_users: {{alice: {}}}\n", hash(password));
    let daemon = folder.serve(&text("one")).await;
    let url = daemon.url("https", "/-/healthy");
    let (url, old, new) = (&url, &old, &new);
    let status = async |authority: &Authority, password| {
        let answer = authority.client(None).get(url).basic_auth("alice", Some(password)).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    assert_eq!(status(old, "one").await, Some(200));
    assert_eq!(status(new, "one").await, None);

    let next = new.sign(&["127.0.0.1"]);
    folder.write("server.crt", &next.certificate);
    assert_eq!(status(old, "one").await, Some(200), "the key is not there yet: the old pair stays");
    folder.write("server.key", &next.key);
    assert_eq!(status(new, "one").await, Some(200));
    assert_eq!(status(old, "one").await, None);

    folder.write("web.yml", &text("two"));
    assert_eq!(status(new, "two").await, Some(200));
    assert_eq!(status(new, "one").await, Some(401), "also where it has been right before");

    for broken in ["tls_server_config: [", "", "basic_auth_users: {alice: }"] {
        folder.write("web.yml", broken);
        assert_eq!(status(new, "two").await, Some(200), "{broken:?} changes nothing");
        assert_eq!(status(new, "three").await, Some(401), "{broken:?} changes nothing");
    }
    fs::remove_file(folder.path()).unwrap();
    assert_eq!(status(new, "two").await, Some(200));
    folder.write("web.yml", &text("three"));
    assert_eq!(status(new, "three").await, Some(200));
}

/// What the server sends until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // Closing over bytes it did not want may reset the connection.
    let ended = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Span::minutes(1).to_std(), ended).await.expect("the server closes the connection");
    String::from_utf8(answer).unwrap()
}

async fn served(timeouts: Timeouts, connection_limit: usize) -> Running {
    Running::start(HttpSettings { web: None, timeouts, connection_limit }).await
}

const PATIENT: Timeouts =
    Timeouts { handshake: NEVER, header: NEVER, idle: NEVER, body: NEVER, write: NEVER, drain: Span::ZERO };

#[tokio::test]
async fn half_a_header_is_cut_off_while_others_are_served() {
    let daemon = served(Timeouts { header: SOON, ..PATIENT }, 10).await;
    let get = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut idle = daemon.connect().await;
    idle.write_all(get.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    for (bytes, answers) in [
        ("", 0),
        ("GET /-/healthy HTTP/1.1\r\nHost: a\r\n", 0),
        (&format!("{get}GET /"), 1),
        (&format!("{get}{get}{get}GET /-/healthy HTTP/1.1\r\nHost: a\r\n"), 3),
    ] {
        let mut slow = daemon.connect().await;
        slow.write_all(bytes.as_bytes()).await.unwrap();
        let answer = plain_client().get(daemon.url("http", "/-/healthy")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(rest(slow).await.matches("HTTP/1.1 200 OK").count(), answers, "{bytes:?}");
    }
    // Connected and idle for longer than every one of them, and still there.
    idle.write_all(get.replace("Host: a", "Host: a\r\nConnection: close").as_bytes()).await.unwrap();
    assert_eq!(rest(idle).await.matches("HTTP/1.1 200 OK").count(), 1);
}

#[tokio::test]
async fn half_a_body_is_cut_off_while_others_are_served() {
    let daemon = served(Timeouts { body: SOON, ..PATIENT }, 10).await;
    let mut slow = daemon.connect().await;
    let header = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n\
                  Content-Encoding: snappy\r\nContent-Length: 100\r\n\r\nhalf";
    slow.write_all(header.as_bytes()).await.unwrap();
    let answer = plain_client().get(daemon.url("http", "/-/healthy")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = rest(slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("the body did not arrive within 50ms"), "{answer}");
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let daemon = served(Timeouts { idle: SOON, ..PATIENT }, 10).await;
    let mut idle = daemon.connect().await;
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(rest(idle).await.ends_with("sloburn is healthy.\n"));
}

#[tokio::test]
async fn silent_connections_beyond_the_cap_wait_for_their_turn() {
    let daemon = served(Timeouts { header: SOON, ..PATIENT }, 2).await;
    let mut silent = Vec::new();
    for _ in 0..7 {
        silent.push(daemon.connect().await);
    }
    let answer = plain_client().get(daemon.url("http", "/-/healthy")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    for stream in silent {
        assert_eq!(rest(stream).await, "");
    }
}

/// A single place, which has to become free again.
#[tokio::test]
async fn who_does_not_finish_a_handshake_is_cut_off() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    let timeouts = Timeouts { handshake: SOON, ..PATIENT };
    let daemon = Running::start(HttpSettings { web: Some(folder.open(TLS)), timeouts, connection_limit: 1 }).await;
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut silent = daemon.connect().await;
        silent.write_all(bytes).await.unwrap();
        let answer = authority.client(None).get(daemon.url("https", "/-/healthy")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(rest(silent).await, "");
    }
}

/// Nothing here ends by a timeout.
#[tokio::test]
async fn a_stop_does_not_wait_for_silent_connections() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    for (scheme, web) in [("http", None), ("https", Some(folder.open(TLS)))] {
        let timeouts = Timeouts { drain: NEVER, ..PATIENT };
        let daemon = Running::start(HttpSettings { web, timeouts, connection_limit: 10 }).await;
        let silent = daemon.connect().await;
        // Connections are accepted in turn: after this answer the other one is.
        authority.client(None).get(daemon.url(scheme, "/-/healthy")).send().await.unwrap();
        let _ = daemon.stop.send(());
        let stopped = tokio::time::timeout(Span::minutes(1).to_std(), daemon.task);
        stopped.await.expect("it stops").unwrap().unwrap();
        assert_eq!(rest(silent).await, "");
    }
}

#[tokio::test]
async fn an_oversized_header_is_refused() {
    let daemon = served(PATIENT, 10).await;
    for headers in [format!("A: {}\r\n", "x".repeat(40 << 10)), "A: b\r\n".repeat(101)] {
        let mut stream = daemon.connect().await;
        // The answer may come before all is sent.
        let _ = stream.write_all(format!("GET /-/healthy HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes()).await;
        assert!(rest(stream).await.starts_with("HTTP/1.1 431 "));
    }
}

#[test]
fn every_finding_reads_well() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = "tests/specs/web";
    let mut names: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() >= 7);
    for name in names {
        let name = name.into_string().unwrap();
        let text = fs::read_to_string(root.join(folder).join(&name)).unwrap();
        let report = web::check(Source::new(format!("{folder}/{name}"), text)).render(false);
        assert!(report.contains("error: "), "{name}: {report}");
        assert!(!report.contains("hunter2") && !report.contains("QOauh"), "{report}");
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("web-{}", name.trim_end_matches(".yaml")), report);
        });
    }
}

#[test]
fn what_a_file_holds_is_checked() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (one, other) = (authority.sign(&["a"]), authority.sign(&["b"]));
    let policy = ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}";
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, ca, place, message) in [
        (one.certificate.as_str(), other.key.as_str(), "", "key_file", "does not belong to the certificate"),
        (&one.key, &one.key, "", "cert_file", "server.crt holds no certificate"),
        (&one.certificate, &one.certificate, "", "key_file", "server.key holds no unencrypted private key"),
        ("-----BEGIN CERTIFICATE-----\n!\n", &one.key, "", "cert_file", "server.crt is not PEM"),
        (&one.certificate, &one.key, policy, "client_ca_file", "ca.crt holds no certificate"),
        (&one.certificate, &one.key, policy, "client_ca_file", "ca.crt holds a certificate that cannot be read"),
    ] {
        folder.write("server.crt", certificate);
        folder.write("server.key", key);
        let text = if ca.is_empty() { TLS.to_owned() } else { TLS.replace('}', ca) };
        let report = web::check(Source::new(folder.path(), text.as_str()));
        let [found] = report.diagnostics() else { panic!("{}", report.render(false)) };
        assert!(found.message.contains(message), "{message}: {}", found.message);
        assert!(text[..found.column as usize - 1].ends_with(&format!("{place}: ")), "{place}: {}", found.column);
        // For the last one.
        folder.write("ca.crt", if ca.is_empty() { "" } else { garbage });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without new lines, quotes and `?`: they can make a password part of a field's name, and names are shown.
    #[test]
    fn no_text_panics_or_shows_a_password(
        edits in prop::collection::vec((any::<prop::sample::Index>(), r"[ :\-{}\[\]&*!|>%@,a#]{1,3}"), 1..4),
    ) {
        let secret = "hunter2";
        let users = format!("basic_auth_users:\n  alice: {secret}\n  bob: {secret}\n");
        let mut text = format!("{TLS}{users}http_server_config:\n  http2: false\n");
        for (at, inserted) in edits {
            let places: Vec<usize> = text.match_indices(secret).map(|(start, _)| start).collect();
            let at = at.index(text.len());
            if !places.iter().any(|start| (*start..start + secret.len()).contains(&at)) {
                text.insert_str(at, &inserted);
            }
        }
        let (config, report) = WebConfig::parse(&Source::new("web.yml", text.as_str()));
        let report = report.render(false);
        prop_assert!(!report.contains(secret), "{text}\n{report}");
        let shown = format!("{config:?}");
        prop_assert!(!shown.contains(secret));
    }
}

/// Where the two do not differ by intent, see `config::web`.
#[test]
#[ignore = "needs promtool"]
fn promtool_agrees() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["a"]));
    folder.write("ca.crt", &authority.0.pem());
    let with = |fields: &str| TLS.replace('}', &format!(", {fields}}}"));
    let users = format!("basic_auth_users: {{alice: {}}}\n", hash("open sesame"));
    for (text, good) in [
        (String::new(), true),
        (TLS.to_owned(), true),
        (format!("{TLS}{users}"), true),
        (with("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"), true),
        (with("client_auth_type: RequireClientCert"), true),
        (with("min_version: TLS13, max_version: TLS13"), true),
        ("http_server_config: {http2: false, headers: {X-Frame-Options: sameorigin}}".to_owned(), true),
        ("http_server_config: {headers: {X-Frame-Options: allow}}".to_owned(), false),
        ("http_server_config: {headers: {x-frame-options: deny}}".to_owned(), false),
        ("http_server_config: {headers: {Server: sloburn}}".to_owned(), false),
        ("basic_auth_users: {alice: hunter2}".to_owned(), false),
        ("basic_auth_users: {alice: }".to_owned(), false),
        ("basic_auth_user: {}".to_owned(), false),
        (with("client_ca_file: ca.crt"), false),
        (with("client_auth_type: Verify"), false),
        (with("min_version: TLS14"), false),
        (TLS.replace("server.key", "ca.crt"), false),
        (TLS.replace("server.crt", "nowhere.crt"), false),
        ("tls_server_config: {cert_file: server.crt}".to_owned(), false),
    ] {
        folder.write("web.yml", &text);
        let theirs = Command::new("promtool").args(["check", "web-config"]).arg(folder.path()).output().unwrap();
        assert_eq!(theirs.status.success(), good, "{text}: {theirs:?}");
        let report = web::check(Source::new(folder.path(), text.as_str()));
        assert_eq!(!report.has_errors(), good, "{text}: {}", report.render(false));
    }
}

fn sloburn(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_flag_works_end_to_end() {
    let (folder, authority) = (Folder::new(), Authority::new());
    folder.write_pair(&authority.sign(&["127.0.0.1"]));
    folder.write("web.yml", &format!("{TLS}basic_auth_users: {{alice: {}}}\n", hash("open sesame")));
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    let listen = ["serve", "--rules", rules, "--web.listen-address", "127.0.0.1:0", "--log.format", "json"];
    let mut command = sloburn(&listen);
    command.args(["--web.enable-lifecycle", "--storage.path="]).env("SLOBURN_WEB_CONFIG_FILE", folder.path());
    let mut daemon = command.spawn().unwrap();
    let mut log = String::new();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready = lines.by_ref().inspect(|line| log += line).find(|line| line.contains("ready for samples"));
    let ready: serde_json::Value = serde_json::from_str(&ready.unwrap_or_else(|| panic!("{log}"))).unwrap();
    let write_url = ready["write_url"].as_str().unwrap();
    assert!(write_url.starts_with("https://127.0.0.1:"), "{write_url}");
    let quit_url = write_url.replace("/api/v1/write", "/-/quit");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = authority.client(None);
        let post = |url: &str, password| client.post(url).basic_auth("alice", Some(password)).send();
        assert_eq!(post(write_url, "wrong").await.unwrap().status().as_u16(), 401);
        assert_eq!(post(&quit_url, "wrong").await.unwrap().status().as_u16(), 401);
        assert_eq!(post(write_url, "open sesame").await.unwrap().status().as_u16(), 400);
        assert_eq!(post(&quit_url, "open sesame").await.unwrap().status().as_u16(), 200);
    });
    log.extend(lines);
    assert_eq!(daemon.wait().unwrap().code(), Some(0), "{log}");
    assert!(!log.contains("open sesame") && !log.contains("$2"), "{log}");
}

#[test]
fn a_bad_file_stops_serve_and_check() {
    let folder = Folder::new();
    folder.write("web.yml", "basic_auth_users: {alice: hunter2}\n");
    let path = folder.path();
    let path = path.to_str().unwrap();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    for arguments in [&["check", path][..], &["serve", "--rules", rules, "--web.config.file", path]] {
        let output = sloburn(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("the password is not given as a bcrypt hash"), "{message}");
        assert!(message.contains("web.yml:1:") && !message.contains("hunter2"), "{message}");
    }
    let output = sloburn(&["serve", "--rules", rules, "--web.config.file", "no/web.yml"]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("cannot read no/web.yml: No such file"), "{message}");
}
