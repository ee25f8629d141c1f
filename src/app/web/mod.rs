//! What the web configuration file makes of the HTTP server, reloaded when the file changes or one it names.
//!
//! The files are read again when a request or a handshake comes in, at most once in a while, and compared by
//! content. Where exporter-toolkit then answers 500 to a file it cannot use, the last good configuration stays in
//! force here and the log says why: a certificate is often replaced before its key. Headers, users, certificates
//! and policies follow the file; whether there is TLS at all does not.

mod auth;
mod clients;
mod tls;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fmt, fs, io};

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};

use crate::api::AuthenticatedUser;
use crate::clock::Steady;
use crate::config::web::WebConfig;
use crate::spec::{Level, Report, SOURCE_LIMIT_BYTES, Source};
use crate::types::{Span, Timestamp};
use auth::{Admission, Turns, Users};

/// How often the files are looked at, at most.
pub const RELOAD_EVERY: Span = Span::seconds(1);
/// Larger certificate and key files are taken for something else.
const PEM_LIMIT_BYTES: usize = 4 << 20;

/// A web configuration in force.
pub struct Web {
    path: PathBuf,
    active: ArcSwap<Active>,
    turns: Turns,
    reload_every: Span,
    clock: Steady,
    next_look: Mutex<Timestamp>,
    /// Of the files last looked at, whether or not they could be used.
    digest: Mutex<[u8; 32]>,
}

struct Active {
    tls: Option<Arc<ServerConfig>>,
    headers: HeaderMap,
    users: Users,
}

/// Why the file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The system says no.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// In the system's words.
        reason: io::Error,
    },
    /// YAML is Unicode.
    #[error("{} is not UTF-8 text", .0.display())]
    NotUtf8(PathBuf),
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What is wrong with a web configuration, and with the files it names.
pub fn check(source: Source) -> Report {
    Inputs::of(source).build().1
}

impl Web {
    /// Reads the file and those it names, and again when they change, looking at most every `reload_every`.
    /// `None` when the report has errors.
    ///
    /// # Errors
    /// When the file itself cannot be read.
    pub fn open(path: &Path, reload_every: Span) -> Result<(Option<Arc<Self>>, Report), WebError> {
        let inputs = Inputs::read(path)?;
        let digest = inputs.digest();
        let (active, report) = inputs.build();
        let clock = Steady::start();
        let web = |active| Self {
            path: path.to_owned(),
            active: ArcSwap::from_pointee(active),
            turns: Turns::default(),
            reload_every,
            clock,
            next_look: Mutex::new(clock.now() + reload_every),
            digest: Mutex::new(digest),
        };
        Ok((active.map(web).map(Arc::new), report))
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.active.load().tls.is_some()
    }

    /// What the next handshake is held to; `None` without TLS.
    pub async fn tls(self: &Arc<Self>) -> Option<Arc<ServerConfig>> {
        self.current().await.tls.clone()
    }

    async fn current(self: &Arc<Self>) -> Arc<Active> {
        if self.is_due() {
            let web = Arc::clone(self);
            // A panic in there has been reported; the configuration stays as it was.
            let _ = tokio::task::spawn_blocking(move || web.reload()).await;
        }
        self.active.load_full()
    }

    /// Whether it is the caller's turn to look at the files.
    fn is_due(&self) -> bool {
        let now = self.clock.now();
        // Somebody else holds it to take the turn.
        let Ok(mut next) = self.next_look.try_lock() else { return false };
        let due = now >= *next;
        if due {
            *next = now + self.reload_every;
        }
        due
    }

    fn reload(&self) {
        let Ok(mut last) = self.digest.try_lock() else { return };
        let inputs = Inputs::read(&self.path);
        let digest = match &inputs {
            Ok(inputs) => inputs.digest(),
            Err(error) => Sha256::digest(error.to_string()).into(),
        };
        if digest == *last {
            return;
        }
        *last = digest;
        match inputs.map(Inputs::build) {
            Ok((Some(active), _)) if active.tls.is_some() == self.has_tls() => {
                self.active.store(Arc::new(active));
                tracing::info!(file = %self.path.display(), "web configuration reloaded");
            }
            Ok((Some(_), _)) => self.stays("TLS cannot be turned on or off without a restart"),
            Ok((None, report)) => {
                for error in report.diagnostics().iter().filter(|d| d.severity == Level::Error) {
                    self.stays(&format!("line {}: {}", error.line, error.message));
                }
            }
            Err(error) => self.stays(&error.to_string()),
        }
    }

    fn stays(&self, reason: &str) {
        tracing::error!(file = %self.path.display(), reason, "web configuration not reloaded, the last one stays in force");
    }
}

/// The middleware in front of everything: users only, and the configured headers on every answer.
pub async fn guard(State(web): State<Arc<Web>>, mut request: Request, next: Next) -> Response {
    let active = web.current().await;
    let mut response = match active.users.admit(request.headers(), &web.turns).await {
        Admission::Everybody => next.run(request).await,
        Admission::User(name) => {
            request.extensions_mut().insert(AuthenticatedUser(name));
            next.run(request).await
        }
        Admission::Refused => {
            tracing::debug!(path = request.uri().path(), "request without valid credentials refused");
            unauthorized()
        }
    };
    for (name, value) in &active.headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

fn unauthorized() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))];
    (StatusCode::UNAUTHORIZED, challenge, "Unauthorized\n").into_response()
}

/// A configuration as read, with the content of the files it names.
struct Inputs {
    source: Source,
    config: Option<WebConfig>,
    report: Report,
    files: tls::Files,
}

impl Inputs {
    fn read(path: &Path) -> Result<Self, WebError> {
        let read = read_limited(path, SOURCE_LIMIT_BYTES);
        let bytes = read.map_err(|reason| WebError::Read { path: path.to_owned(), reason })?;
        let text = String::from_utf8(bytes).map_err(|_| WebError::NotUtf8(path.to_owned()))?;
        Ok(Self::of(Source::new(path, text)))
    }

    fn of(source: Source) -> Self {
        let (config, report) = WebConfig::parse(&source);
        let named = config.iter().filter_map(|config| config.tls.as_ref()).flat_map(tls::files);
        let read = |path: &Path| read_limited(path, PEM_LIMIT_BYTES).map_err(|error| error.to_string());
        let files = named.map(|file| (file.path.clone(), read(&file.path))).collect();
        Self { source, config, report, files }
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let files = self.files.values().map(|content| match content {
            Ok(content) => content.as_slice(),
            Err(error) => error.as_bytes(),
        });
        for content in [self.source.text.as_bytes()].into_iter().chain(files) {
            digest.update((content.len() as u64).to_le_bytes());
            digest.update(content);
        }
        digest.finalize().into()
    }

    fn build(self) -> (Option<Active>, Report) {
        let mut report = self.report;
        let Some(config) = self.config else { return (None, report) };
        let tls = match config.tls.map(|tls| tls::server_config(&tls, &self.files)).transpose() {
            Ok(tls) => tls.map(Arc::new),
            Err(errors) => {
                for error in errors {
                    report.merge(WebConfig::report_file(&self.source, &error.file, error.message));
                }
                return (None, report);
            }
        };
        (Some(Active { tls, headers: config.headers, users: Users::new(&config.users) }), report)
    }
}

fn read_limited(path: &Path, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(limit_bytes as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", limit_bytes >> 20)));
    }
    Ok(content)
}
