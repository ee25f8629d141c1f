//! Who is told of alerts and verdicts.

use std::path::PathBuf;

use url::Url;

use super::{RECEIVERS_LIMIT_COUNT, items, path, positive, url};
use crate::spec::Place;
use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::labels::identifier;
use crate::spec::yaml::shown;
use crate::types::Span;

const DEFAULT_TIMEOUT: Span = Span::seconds(10);

/// One Alertmanager.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerConfig {
    /// The base address; alerts go to `api/v2/alerts` under its path.
    pub url: Url,
    /// For one request.
    pub timeout: Span,
    /// A file with the token of an `Authorization: Bearer` header.
    pub bearer_token_file: Option<PathBuf>,
}

/// One webhook in the manner of Standard Webhooks.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    /// For logs and metrics.
    pub name: String,
    /// Where requests go, as it is.
    pub url: Url,
    /// The signing secret (`whsec_...`); without one requests are not signed.
    pub secret: Option<SecretSource>,
    /// For one request.
    pub timeout: Span,
    /// Whether the end of an alert is sent too.
    pub send_resolved: bool,
}

/// One Slack channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackConfig {
    /// For logs and metrics.
    pub name: String,
    /// The URL of its incoming webhook, which is a secret.
    pub url: SecretSource,
    /// For one request.
    pub timeout: Span,
    /// Whether the end of an alert is sent too.
    pub send_resolved: bool,
    /// A dashboard to link to; `{service}` in it becomes the service's name.
    pub dashboard_url: Option<String>,
}

/// A Kubernetes API with Argo Rollouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgoConfig {
    /// Where it is; `None`: sloburn runs in a pod and asks the environment.
    pub server: Option<Url>,
    /// A file with the bearer token; `None`: the pod's service account's.
    pub token_file: Option<PathBuf>,
    /// A file with the API's certificate authorities; `None`: the pod's.
    pub ca_file: Option<PathBuf>,
    /// For one request.
    pub timeout: Span,
}

/// Where a secret is. The secret itself never stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The content of a file.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
}

pub(super) fn alertmanager(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<AlertmanagerConfig> {
    let mut fields = Fields::of(item, reporter)?;
    let url = fields.require("url").and_then(|field| url(field, reporter));
    let timeout = timeout(&mut fields, reporter);
    let bearer_token_file = fields.get("bearer_token_file").and_then(|field| path(field, reporter));
    fields.secret("bearer_token", "use `bearer_token_file`", reporter);
    fields.finish(reporter);
    Some(AlertmanagerConfig { url: url?, timeout, bearer_token_file })
}

/// Receivers of one kind, each with a name of its own.
pub(super) fn named<T>(
    field: Field<'_>,
    kind: &str,
    read: impl Fn(Fields<'_>, Option<&str>, &mut Reporter<'_>) -> Option<T>,
    reporter: &mut Reporter<'_>,
) -> Vec<T> {
    let mut names: Vec<(&str, Place)> = Vec::new();
    let mut receivers = Vec::new();
    for item in items(field, RECEIVERS_LIMIT_COUNT, reporter) {
        let Some(mut fields) = Fields::of(item, reporter) else { continue };
        let name = fields.require("name").and_then(|f| Some((identifier(f, reporter)?, f.place())));
        if let Some((name, place)) = name {
            if let Some((_, first)) = names.iter().find(|(other, _)| *other == name) {
                let related = reporter.related(*first, "first defined here");
                reporter.error(place, format!("the {kind} `{name}` is defined twice")).related(related);
            }
            names.push((name, place));
        }
        receivers.extend(read(fields, name.map(|(name, _)| name), reporter));
    }
    receivers
}

pub(super) fn webhook(
    mut fields: Fields<'_>,
    name: Option<&str>,
    reporter: &mut Reporter<'_>,
) -> Option<WebhookConfig> {
    let url = fields.require("url").and_then(|field| url(field, reporter));
    let secret = secret(&mut fields, "secret_file", "secret_env", reporter);
    fields.secret("secret", "use `secret_file` or `secret_env`", reporter);
    let timeout = timeout(&mut fields, reporter);
    let send_resolved = fields.get("send_resolved").and_then(|field| field.boolean(reporter)).unwrap_or(true);
    fields.finish(reporter);
    Some(WebhookConfig { name: name?.to_owned(), url: url?, secret, timeout, send_resolved })
}

pub(super) fn slack(mut fields: Fields<'_>, name: Option<&str>, reporter: &mut Reporter<'_>) -> Option<SlackConfig> {
    let has_url = ["url_file", "url_env", "url"].iter().any(|key| fields.get(key).is_some());
    let url = secret(&mut fields, "url_file", "url_env", reporter);
    fields.secret("url", "the address is the secret: use `url_file` or `url_env`", reporter);
    if !has_url {
        // Says what is missing.
        fields.require("url_file");
    }
    let timeout = timeout(&mut fields, reporter);
    let send_resolved = fields.get("send_resolved").and_then(|field| field.boolean(reporter)).unwrap_or(true);
    let dashboard_url = fields.get("dashboard_url").and_then(|field| dashboard(field, reporter));
    fields.finish(reporter);
    Some(SlackConfig { name: name?.to_owned(), url: url?, timeout, send_resolved, dashboard_url })
}

/// An address that may hold `{service}`.
fn dashboard(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let text = field.text(reporter)?;
    let url = Url::parse(&text.replace("{service}", "service"));
    if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        let hint = "write it as `https://grafana.example/d/slo?var-service={service}`";
        reporter.error(field.place(), format!("{} is no address of a page", shown(text))).hint(hint);
        return None;
    }
    Some(text.to_owned())
}

pub(super) fn argo(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<ArgoConfig> {
    let mut fields = Fields::of(field, reporter)?;
    let server = fields.get("server").and_then(|field| url(field, reporter));
    let token_file = fields.get("token_file").and_then(|field| path(field, reporter));
    let ca_file = fields.get("ca_file").and_then(|field| path(field, reporter));
    fields.secret("token", "use `token_file`", reporter);
    let timeout = timeout(&mut fields, reporter);
    fields.finish(reporter);
    Some(ArgoConfig { server, token_file, ca_file, timeout })
}

/// A secret in a file or a variable, not in both.
fn secret(
    fields: &mut Fields<'_>,
    file: &'static str,
    env: &'static str,
    reporter: &mut Reporter<'_>,
) -> Option<SecretSource> {
    match (fields.get(file), fields.get(env)) {
        (Some(_), Some(field)) => {
            reporter.error(field.key, format!("`{file}` and `{env}` are both given")).hint("keep one");
            None
        }
        (Some(field), None) => path(field, reporter).map(SecretSource::File),
        (None, field) => field.and_then(|field| variable(field, reporter)).map(SecretSource::Env),
    }
}

fn timeout(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Span {
    fields.get("timeout").and_then(|field| positive(field, reporter)).unwrap_or(DEFAULT_TIMEOUT)
}

/// The name of an environment variable.
fn variable(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let name = field.text(reporter)?;
    if !crate::types::is_label_name(name) {
        // Most likely the secret itself.
        reporter.conceal(field.node.place);
        let hint = "give the variable's name, for example `WEBHOOK_SECRET`, not its value";
        reporter.error(field.place(), format!("{} is not the name of an environment variable", field.what)).hint(hint);
        return None;
    }
    Some(name.to_owned())
}
