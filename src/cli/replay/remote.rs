//! Raw samples out of a Prometheus query API: `selector[range]` as an instant query gives them as they are stored.
//!
//! Each selector is asked for in stretches of time, shorter ones where the server or the size of an answer says so.
//! What has arrived is kept in a folder, so that the same command goes on where it was interrupted. Staleness markers
//! do not come out of that API: a series that ended is one without further samples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use reqwest::StatusCode;
use serde::Deserialize;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::cli::args::ReplayOptions;
use crate::cli::progress::Progress;
use crate::cli::{console, replay::short};
use crate::clock;
use crate::notify;
use crate::replay::Recorder;
use crate::spec::{Service, Slo};
use crate::types::{Labels, Span, Timestamp, format_value};

/// One question asks for this much time at first, at least and at most.
const FIRST_STRETCH: Span = Span::hours(2);
const SHORTEST_STRETCH: Span = Span::minutes(1);
const LONGEST_STRETCH: Span = Span::days(1);
/// Below this size the next stretch is twice as long; above the limit the question is asked again for half as much.
const SMALL_ANSWER_BYTES: usize = 4 << 20;
const ANSWER_LIMIT_BYTES: usize = 128 << 20;
/// For one question.
const TIMEOUT: Span = Span::minutes(2);
/// A server that cannot be reached is asked so often, with so long in between.
const ATTEMPTS_LIMIT_COUNT: u32 = 5;
const PAUSE: Span = Span::seconds(2);
/// What is younger may still change and is not kept.
const SETTLED_AFTER: Span = Span::hours(1);

/// An answer of the API.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

/// What came of one question.
enum Fetched {
    Body(Vec<u8>),
    /// The server or the limit says that it was too much at once.
    TooMuch(String),
}

struct Source<'a> {
    client: reqwest::Client,
    url: Url,
    token: Option<String>,
    folder: PathBuf,
    options: &'a ReplayOptions,
}

/// Tells the recorder all samples that the services' selectors match.
pub(super) fn read(
    url: &Url,
    services: &[Service],
    options: &ReplayOptions,
    recorder: &mut Recorder,
) -> anyhow::Result<()> {
    let now = clock::now();
    let from = options.from.context("--from-url needs --from, the time to begin at")?;
    let to = options.to.unwrap_or(now).min(now);
    let selectors = selectors(services);
    let source = Source::new(url, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let length = to.since(from).as_millis().max(1) as u64;
    let mut progress = Progress::start(options.progress, "fetching", length * selectors.len() as u64);
    let mut histograms = 0;
    for (n, selector) in (0..).zip(&selectors) {
        // A range is left-open: the first sample of all is one before it.
        let (mut start, mut stretch) = (from - Span::millis(1), FIRST_STRETCH);
        while start < to {
            let kept = source.kept(selector, start);
            let end = kept.as_ref().map_or((start + stretch).min(to), |(end, _)| *end);
            let body = match kept {
                Some((_, path)) => fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?,
                None => {
                    match runtime.block_on(source.ask(selector, start, end)).with_context(|| source.how_to_resume())? {
                        Fetched::TooMuch(reason) if stretch <= SHORTEST_STRETCH => bail!("{selector}: {reason}"),
                        Fetched::TooMuch(_) => {
                            stretch = Span(stretch.as_millis() / 2).max(SHORTEST_STRETCH);
                            continue;
                        }
                        Fetched::Body(body) => {
                            if now.since(end) > SETTLED_AFTER {
                                source.keep(selector, start, end, &body)?;
                            }
                            if body.len() < SMALL_ANSWER_BYTES {
                                stretch = Span(stretch.as_millis() * 2).min(LONGEST_STRETCH);
                            }
                            body
                        }
                    }
                }
            };
            histograms += tell(&body, recorder).with_context(|| format!("{selector} at {}", source.url))?;
            start = end;
            let done = length * n + end.since(from).as_millis() as u64;
            progress.now(done, |_| format!("{} samples", short(recorder.samples_read() as f64)));
        }
    }
    progress.finish();
    if histograms > 0 {
        console::message(&format!("warning: {histograms} series of native histograms left out: only floats are read"));
    }
    Ok(())
}

/// Every selector of every SLI and exclusion, each once.
fn selectors(services: &[Service]) -> BTreeSet<String> {
    let terms = services.iter().flat_map(|service| service.slis.iter()).flat_map(|sli| sli.inputs().terms);
    let signals = services.iter().flat_map(|service| service.slos.iter()).flat_map(Slo::signals);
    terms.map(|term| term.selector.to_string()).chain(signals.map(ToString::to_string)).collect()
}

impl<'a> Source<'a> {
    fn new(url: &Url, options: &'a ReplayOptions) -> anyhow::Result<Self> {
        anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "--from-url takes an http or https URL");
        notify::install_tls_provider();
        let client = reqwest::Client::builder().timeout(TIMEOUT.to_std()).build()?;
        let token = match &options.bearer_token_file {
            None => None,
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Some(text.trim().to_owned())
            }
        };
        let mut url = url.clone();
        url.set_path(&format!("{}/api/v1/query", url.path().trim_end_matches('/')));
        let folder = options.cache.clone().unwrap_or_else(|| {
            let hash = xxh3_64(url.as_str().as_bytes());
            std::env::temp_dir().join(format!("sloburn-replay-{hash:016x}"))
        });
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { client, url, token, folder, options })
    }

    fn how_to_resume(&self) -> String {
        let cache = if self.options.cache.is_none() {
            format!(" with --cache {}", self.folder.display())
        } else {
            String::new()
        };
        format!("what has been fetched is kept: the same command{cache} goes on from here")
    }

    fn prefix(selector: &str, start: Timestamp) -> String {
        format!("{:016x}-{}-", xxh3_64(selector.as_bytes()), start.as_millis())
    }

    /// The end of a stretch fetched before, and where it is.
    fn kept(&self, selector: &str, start: Timestamp) -> Option<(Timestamp, PathBuf)> {
        let prefix = Self::prefix(selector, start);
        let entries = fs::read_dir(&self.folder).ok()?;
        entries.filter_map(Result::ok).find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let end = name.strip_prefix(&prefix)?.strip_suffix(".json")?.parse().ok()?;
            let in_range = self.options.to.is_none_or(|to| Timestamp(end) <= to);
            in_range.then(|| (Timestamp(end), entry.path()))
        })
    }

    fn keep(&self, selector: &str, start: Timestamp, end: Timestamp, body: &[u8]) -> anyhow::Result<()> {
        let name = format!("{}{}.json", Self::prefix(selector, start), end.as_millis());
        let (path, draft) = (self.folder.join(&name), self.folder.join(format!("{name}.part")));
        let write = |draft: &Path| fs::write(draft, body).and_then(|()| fs::rename(draft, &path));
        write(&draft).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The samples with `start < t <= end`.
    async fn ask(&self, selector: &str, start: Timestamp, end: Timestamp) -> anyhow::Result<Fetched> {
        let query = format!("{selector}[{}ms]", end.since(start).as_millis());
        let time = format_value(end.as_millis() as f64 / 1_000.0);
        let mut attempt = 1;
        loop {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("query", &query)
                .append_pair("time", &time)
                .finish();
            let request = self.client.post(self.url.clone()).body(form);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let request = match &self.token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let error = match request.send().await {
                Ok(response) => match self.taken(response).await? {
                    Ok(fetched) => return Ok(fetched),
                    Err(error) => error,
                },
                Err(error) => anyhow::Error::from(error.without_url()),
            };
            if attempt == ATTEMPTS_LIMIT_COUNT {
                return Err(error.context(format!("no answer from {}", self.url)));
            }
            attempt += 1;
            tokio::time::sleep(PAUSE.to_std()).await;
        }
    }

    /// The body of an answer; the inner error is one that may go away.
    async fn taken(&self, mut response: reqwest::Response) -> anyhow::Result<anyhow::Result<Fetched>> {
        let status = response.status();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Ok(Err(error.without_url().into())),
            }
            if body.len() > ANSWER_LIMIT_BYTES {
                return Ok(Ok(Fetched::TooMuch(format!("an answer of more than {} MiB", ANSWER_LIMIT_BYTES >> 20))));
            }
        }
        if status.is_success() {
            return Ok(Ok(Fetched::Body(body)));
        }
        let said = serde_json::from_slice::<Answer>(&body).ok().and_then(|answer| answer.error);
        let said = said.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect());
        let error = anyhow::anyhow!("{} answers {status}: {said}", self.url);
        match status {
            // `query processing would load too many samples into memory`, a query that takes too long.
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Ok(Fetched::TooMuch(said))),
            StatusCode::SERVICE_UNAVAILABLE if said.contains("timed out") => Ok(Ok(Fetched::TooMuch(said))),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Ok(Err(error)),
            _ => Err(error),
        }
    }
}

/// Tells the recorder an answer's samples; how many series of histograms were left out.
fn tell(body: &[u8], recorder: &mut Recorder) -> anyhow::Result<usize> {
    let answer: Answer = serde_json::from_slice(body).context("not an answer of Prometheus' query API")?;
    let mut histograms = 0;
    for series in answer.data.map(|data| data.result).unwrap_or_default() {
        histograms += usize::from(!series.histograms.is_empty());
        let labels = Labels::from_pairs(series.metric.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        let slot = recorder.series(labels)?;
        for (seconds, value) in &series.values {
            let at = Timestamp((seconds * 1_000.0).round() as i64);
            let value = value.parse().with_context(|| format!("not a value: {value:?}"))?;
            recorder.sample(slot, at, value)?;
        }
    }
    Ok(histograms)
}
