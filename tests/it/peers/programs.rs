//! Debian's Prometheus and Alertmanager, on free ports of the loopback interface, with folders of their own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use crate::daemon::client;
use crate::process::Process;

/// A running Prometheus or Alertmanager.
pub struct Peer {
    /// Where it listens.
    pub url: Url,
    client: reqwest::Client,
    process: Process,
    _folder: TempDir,
}

/// Service, SLO and severity of an alert.
pub type AlertKey = (String, String, String);

/// The key of an alert with these labels.
pub fn key_of(labels: &Value) -> AlertKey {
    let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    (label("sloth_service"), label("sloth_slo"), label("sloth_severity"))
}

/// The keys of those alerts of `/api/v1/alerts` that fire; Prometheus and sloburn answer alike.
pub fn firing(data: &Value) -> BTreeSet<AlertKey> {
    let alerts = data["alerts"].as_array().unwrap().iter();
    alerts.filter(|alert| alert["state"] == "firing").map(|alert| key_of(&alert["labels"])).collect()
}

impl Peer {
    /// Prometheus with this configuration and these rules beside it.
    pub fn prometheus(config: &str, rules: &str) -> Self {
        Self::prometheus_at("prometheus".as_ref(), &[], config, rules)
    }

    /// The same with a binary that need not be the one installed, and more options.
    pub fn prometheus_at(binary: &OsStr, options: &[&str], config: &str, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let mut command = Command::new(binary);
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]);
        command.args(options);
        Self::start("prometheus", command, folder)
    }

    /// Prometheus over a database that is there already.
    pub fn prometheus_over(data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("prometheus.yml"), "").unwrap();
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:0"]);
        // Blocks of the past are not to be dropped as too old.
        command.args(["--storage.tsdb.retention.time=100y", &format!("--storage.tsdb.path={}", data.display())]);
        Self::start("prometheus", command, folder)
    }

    /// An Alertmanager that keeps everything to itself, on this port; 0 takes a free one.
    pub fn alertmanager(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = "route: {receiver: none}\nreceivers: [{name: none}]\n";
        fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command.args(["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self::start("alertmanager", command, folder)
    }

    fn start(name: &str, mut command: Command, folder: TempDir) -> Self {
        let process = Process::start(name, command.current_dir(folder.path()));
        let address = process.line("the address it listens on", |line| {
            let (_, rest) = line.split_once("msg=\"Listening on\" ")?;
            let (_, address) = rest.split_once("address=")?;
            Some(address.to_owned())
        });
        let url = format!("http://{address}/").parse().unwrap();
        Self { url, client: client(), process, _folder: folder }
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<String, String> {
        let mut url = self.url.join(path).unwrap();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let response = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let (status, text) = (response.status(), response.text().await.map_err(|error| error.to_string())?);
        if status.is_success() { Ok(text) } else { Err(format!("{path}: {status}: {text}")) }
    }

    /// Alerts that an Alertmanager holds and that are not over; an error while it is starting.
    pub async fn active_alerts(&self) -> Result<Vec<Value>, String> {
        let text = self.get("api/v2/alerts", &[("active", "true")]).await?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// The data of one of Prometheus' answers.
    pub async fn api(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let text = self.get(path, query).await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "success", "{text}");
        answer["data"].clone()
    }

    /// The value of a query for one series; `None` without one.
    pub async fn value(&self, query: &str) -> Option<f64> {
        let data = self.api("api/v1/query", &[("query", query)]).await;
        let result = data["result"].as_array().unwrap();
        assert!(result.len() < 2, "{query}: {data}");
        Some(result.first()?["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// The sum of all samples of one of Prometheus' own metrics.
    pub async fn own_metric(&self, name: &str) -> f64 {
        let text = self.get("metrics", &[]).await.unwrap();
        let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}
