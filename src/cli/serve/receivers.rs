//! Receivers as the configuration names them, with the secrets it points at.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context;
use secrecy::SecretString;
use url::Url;

use crate::cli::args::ServeOptions;
use crate::cli::console;
use crate::config::{AlertmanagerConfig, ArgoConfig, Config, SecretSource, SlackConfig, WebhookConfig};
use crate::notify::webhook::WebhookSecret;
use crate::notify::{AlertmanagerTarget, ArgoTarget, Receivers, SlackTarget, WebhookTarget};
use crate::types::Span;

/// For one request to a receiver named on the command line.
const RECEIVER_TIMEOUT: Span = Span::seconds(10);
/// Where Kubernetes puts what a pod needs to speak to its API.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// All of them: those of the configuration file, then those of the command line.
pub(super) fn targets(options: &ServeOptions, config: &Config) -> anyhow::Result<Receivers> {
    let mut alertmanagers: Vec<AlertmanagerTarget> =
        config.alertmanagers.iter().map(alertmanager).collect::<anyhow::Result<_>>()?;
    alertmanagers.extend(options.alertmanagers.iter().map(|url| AlertmanagerTarget {
        url: url.clone(),
        timeout: RECEIVER_TIMEOUT,
        bearer_token: None,
    }));
    let mut webhooks: Vec<WebhookTarget> = config.webhooks.iter().map(webhook).collect::<anyhow::Result<_>>()?;
    let secret = options.webhook_secret_file.as_deref().map(read_secret).transpose()?;
    for (i, url) in options.webhooks.iter().enumerate() {
        let secrets = secret.iter().map(|text| parse_secret(text)).collect::<anyhow::Result<_>>()?;
        let name = format!("webhook-{}", i + 1);
        webhooks.push(WebhookTarget {
            name,
            url: url.clone(),
            secrets,
            timeout: RECEIVER_TIMEOUT,
            send_resolved: true,
        });
    }
    let slacks: Vec<SlackTarget> = config.slack.iter().map(slack).collect::<anyhow::Result<_>>()?;
    let argos: Vec<ArgoTarget> = config.argo.iter().map(argo).collect::<anyhow::Result<_>>()?;
    if options.webhook_secret_file.is_some() && options.webhooks.is_empty() {
        console::message("warning: --webhook.secret-file without --webhook signs nothing");
    }
    Ok(Receivers { alertmanagers, webhooks, slacks, argos })
}

fn alertmanager(config: &AlertmanagerConfig) -> anyhow::Result<AlertmanagerTarget> {
    let token = config.bearer_token_file.as_deref().map(read_secret).transpose()?;
    Ok(AlertmanagerTarget {
        url: config.url.clone(),
        timeout: config.timeout,
        bearer_token: token.map(SecretString::from),
    })
}

fn slack(config: &SlackConfig) -> anyhow::Result<SlackTarget> {
    let what = || format!("slack {}", config.name);
    let text = secret(&config.url).with_context(what)?;
    // The text is the secret, so what is wrong with it is not said.
    let is_url = text.parse::<Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    anyhow::ensure!(is_url, "{}: not the URL of an incoming webhook", what());
    Ok(SlackTarget {
        name: config.name.clone(),
        url: text.into(),
        timeout: config.timeout,
        send_resolved: config.send_resolved,
        dashboard: config.dashboard_url.clone(),
    })
}

/// In a pod the API's address is in the environment, and the service account's files have their place.
fn argo(config: &ArgoConfig) -> anyhow::Result<ArgoTarget> {
    let server = config.server.clone().map_or_else(in_cluster, Ok)?;
    let is_plain = server.scheme() == "http";
    let default =
        |given: &Option<PathBuf>, name: &str| given.clone().or((!is_plain).then(|| Path::new(ACCOUNT).join(name)));
    Ok(ArgoTarget {
        token_file: default(&config.token_file, "token"),
        ca_file: default(&config.ca_file, "ca.crt"),
        server,
        timeout: config.timeout,
    })
}

/// The API's address as a pod is told it.
fn in_cluster() -> anyhow::Result<Url> {
    let hint = "argo: not in a pod of Kubernetes: name the API's address with `server`";
    let variable = |name| env::var(name).with_context(|| hint);
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Url::parse(&format!("https://{host}:{port}/")).context("argo: the address in the environment")
}

fn secret(source: &SecretSource) -> anyhow::Result<String> {
    match source {
        SecretSource::File(path) => read_secret(path),
        SecretSource::Env(name) => {
            let text = env::var(name).with_context(|| format!("environment variable {name}"))?;
            Ok(text.trim().to_owned())
        }
    }
}

fn webhook(config: &WebhookConfig) -> anyhow::Result<WebhookTarget> {
    let secret = config.secret.as_ref().map(secret).transpose().with_context(|| format!("webhook {}", config.name))?;
    let secrets = secret.iter().map(|text| parse_secret(text)).collect::<anyhow::Result<_>>();
    Ok(WebhookTarget {
        name: config.name.clone(),
        url: config.url.clone(),
        secrets: secrets.with_context(|| format!("webhook {}", config.name))?,
        timeout: config.timeout,
        send_resolved: config.send_resolved,
    })
}

fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the secret in {}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn parse_secret(text: &str) -> anyhow::Result<WebhookSecret> {
    Ok(text.parse::<WebhookSecret>()?)
}
