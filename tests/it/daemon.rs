//! The real binary as a child process on a free port of the loopback interface, and how tests talk to it.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use sloburn::wire::proto::{TimeSeries, WriteRequest, encode_v1};
use tempfile::TempDir;
use url::Url;

use crate::process::{PATIENCE, Process};

/// `sloburn serve` with one file of specs.
pub struct Daemon {
    /// The child.
    pub process: Process,
    /// Where it listens.
    pub url: Url,
    client: reqwest::Client,
    /// Holds the spec, `spec.yaml`, or the configuration.
    pub folder: TempDir,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

/// The binary, with nothing of the tests' environment.
pub fn sloburn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
    command.env_clear();
    command
}

/// A client that takes no detours.
pub fn client() -> reqwest::Client {
    sloburn::notify::install_tls_provider();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE.to_std()).build().unwrap()
}

/// The headers of a well-behaved remote write 1.0 sender.
pub fn write_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
    ])
}

/// The body of a remote write 1.0 request.
pub fn body_of(series: &[TimeSeries]) -> Vec<u8> {
    encode_v1(&WriteRequest { timeseries: series.to_vec() })
}

impl Daemon {
    /// Starts a daemon with this spec and waits until it is ready.
    pub fn start(spec: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("spec.yaml");
        std::fs::write(&rules, spec).unwrap();
        let rules = format!("--rules={}", rules.display());
        Self::run(folder, &[&[rules.as_str()], options].concat())
    }

    /// Starts a daemon with a configuration file in this folder.
    pub fn configured(folder: TempDir, config: &Path, options: &[&str]) -> Self {
        let config = format!("--config.file={}", config.display());
        Self::run(folder, &[&[config.as_str()], options].concat())
    }

    fn run(folder: TempDir, options: &[&str]) -> Self {
        let mut command = sloburn();
        command.args(["serve", "--web.listen-address=127.0.0.1:0", "--log.format=json"]).args(options);
        let process = Process::start("sloburn", &mut command);
        let write_url = process.line("the address it listens on", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["write_url"].as_str().map(str::to_owned)
        });
        let url = Url::parse(&write_url).unwrap().join("/").unwrap();
        Self { process, url, client: client(), folder }
    }

    /// A connection on which nothing has been said.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.url.authority()).unwrap();
        stream.set_read_timeout(Some(PATIENCE.to_std())).unwrap();
        stream
    }

    /// A connection on which the header of a write request has been sent, and this much of its body.
    pub fn begin(&self, content_length: usize, body: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        let header = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nContent-Length: {content_length}\r\n\r\n"
        );
        stream.write_all(header.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    }

    /// A request of any kind.
    pub async fn send(&self, method: &str, path: &str, headers: HeaderMap, body: Vec<u8>) -> Answer {
        let request = self.client.request(method.parse().unwrap(), self.url.join(path).unwrap());
        let response = request.headers(headers).body(body).send().await.unwrap_or_else(|e| panic!("{e:?}"));
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// Remote write as a well-behaved sender does it.
    pub async fn write(&self, series: &[TimeSeries]) -> Answer {
        self.send("POST", "/api/v1/write", write_headers(), body_of(series)).await
    }

    /// An answer of the API, which must be a success.
    pub async fn api(&self, path: &str) -> Value {
        let answer = self.send("GET", path, HeaderMap::new(), Vec::new()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(value["status"], "success", "{path}: {value}");
        value["data"].clone()
    }

    /// One SLO, `service/slo`.
    pub async fn slo(&self, id: &str) -> Value {
        self.api(&format!("/api/v1/slos/{id}")).await["slos"][0].clone()
    }

    /// The sum of a metric's samples whose series holds all these texts.
    pub async fn metric(&self, name: &str, holding: &[&str]) -> f64 {
        let text = self.send("GET", "/metrics", HeaderMap::new(), Vec::new()).await.text;
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let named = lines.filter(|(series, _)| series.split('{').next() == Some(name));
        let wanted = named.filter(|(series, _)| holding.iter().all(|text| series.contains(text)));
        wanted.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }
}
