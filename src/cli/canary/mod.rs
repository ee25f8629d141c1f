//! `sloburn canary`: rollouts of a running daemon, for people and pipelines.

pub mod args;
mod text;
mod wait;

use std::collections::BTreeMap;
use std::env;

use anyhow::bail;
use serde_json::{Value, json};

use crate::cli::client::{Client, ClientError};
use crate::cli::{Outcome, console};
use crate::clock::Steady;
use crate::types::Timestamp;
use args::{
    ActOptions, ActorOptions, CanaryCommand, CanaryOptions, GetOptions, OutputFormat, StartOptions, StepOptions,
    WatchOptions,
};

/// Variables that say who runs this, the more telling first.
const ACTOR_VARIABLES: [&str; 3] = ["GITHUB_ACTOR", "USER", "LOGNAME"];

pub(super) fn run(options: &CanaryOptions) -> anyhow::Result<Outcome> {
    let client = Client::new(&options.daemon)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &options.command {
            CanaryCommand::List => list(&client, options.format).await,
            CanaryCommand::Get(get) => show(&client, get, options.format).await,
            CanaryCommand::Watch(watch) => self::watch(&client, watch, options.format).await,
            CanaryCommand::Wait(wait) => wait::run(&client, wait, options.format).await,
            CanaryCommand::Start(start) => self::start(&client, start, options.format).await,
            CanaryCommand::Promote(promote) => {
                act(&client, "promote", &promote.act, promote.full.then_some(true), options.format).await
            }
            CanaryCommand::Abort(abort) => act(&client, "abort", abort, None, options.format).await,
            CanaryCommand::Pause(pause) => act(&client, "pause", pause, None, options.format).await,
            CanaryCommand::Step(step) => self::step(&client, step, options.format).await,
            CanaryCommand::Resume(resume) => act(&client, "resume", resume, None, options.format).await,
        }
    })
}

/// What a refusal means for the exit code: a question about nothing is one that was put wrongly.
pub(super) fn refused(error: ClientError) -> anyhow::Result<Outcome> {
    match error {
        ClientError::Refused { status: 400 | 401 | 403 | 404 | 415, message } => {
            let hint = if message.starts_with("actor is missing") { " with --actor or SLOBURN_ACTOR" } else { "" };
            console::message(&format!("error: {message}{hint}"));
            Ok(Outcome::Usage)
        }
        error => Err(error.into()),
    }
}

async fn list(client: &Client, format: OutputFormat) -> anyhow::Result<Outcome> {
    let answer = match client.get(&["canaries"], &[]).await {
        Ok(answer) => answer,
        Err(error) => return refused(error),
    };
    let canaries = &answer["data"]["canaries"];
    match format {
        OutputFormat::Json => console::data(&canaries.to_string()),
        OutputFormat::Text => console::data(&text::list(canaries.as_array().map_or(&[], Vec::as_slice))),
    }
    Ok(Outcome::Ok)
}

async fn show(client: &Client, options: &GetOptions, format: OutputFormat) -> anyhow::Result<Outcome> {
    let get = async |version: Option<&str>| {
        let query: Vec<(&str, &str)> = version.map(|version| ("version", version)).into_iter().collect();
        client.get(&["canaries", &options.service], &query).await
    };
    let mut answer = get(options.version.as_deref()).await;
    // With nothing in progress people mean the last one.
    if let Ok(found) = &answer
        && let canary = &found["data"]["canary"]
        && canary["rollout"].is_null()
        && let Some(last) = canary["past"][0]["version"].as_str().map(str::to_owned)
    {
        answer = get(Some(&last)).await;
    }
    match answer {
        Ok(answer) => tell(&answer, format),
        Err(error) => return refused(error),
    }
    Ok(Outcome::Ok)
}

fn tell(answer: &Value, format: OutputFormat) {
    let canary = &answer["data"]["canary"];
    match format {
        OutputFormat::Json => console::data(&canary.to_string()),
        OutputFormat::Text => console::data(&text::canary(canary)),
    }
}

/// Prints each change, and says on standard error when the daemon is away and back.
async fn watch(client: &Client, options: &WatchOptions, format: OutputFormat) -> anyhow::Result<Outcome> {
    let clock = Steady::start();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut is_away = false;
    let mut has_been_seen = options.service.is_none();
    loop {
        match client.get(&["canaries"], &[]).await {
            Ok(answer) => {
                if is_away {
                    console::message("the daemon answers again");
                }
                is_away = false;
                for canary in answer["data"]["canaries"].as_array().into_iter().flatten() {
                    let service = canary["service"].as_str().unwrap_or_default();
                    if options.service.as_deref().is_some_and(|wanted| wanted != service) {
                        continue;
                    }
                    has_been_seen = true;
                    let state = text::fingerprint(canary);
                    if known.get(service) == Some(&state) {
                        continue;
                    }
                    known.insert(service.to_owned(), state);
                    match format {
                        OutputFormat::Json => console::data(&canary.to_string()),
                        OutputFormat::Text => console::data(&text::change(canary)),
                    }
                }
                if let Some(service) = options.service.as_deref().filter(|_| !has_been_seen) {
                    console::message(&format!("error: no service {service:?} has a canary"));
                    return Ok(Outcome::Usage);
                }
            }
            Err(ClientError::Later(reason)) => {
                if !is_away {
                    console::message(&reason);
                }
                is_away = true;
            }
            Err(error) => return refused(error),
        }
        clock.sleep_until(clock.now() + options.every).await;
    }
}

fn actor(options: &ActorOptions) -> Option<String> {
    let named = || ACTOR_VARIABLES.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
    options.actor.clone().or_else(named)
}

async fn start(client: &Client, options: &StartOptions, format: OutputFormat) -> anyhow::Result<Outcome> {
    let body = json!({
        "service": options.service,
        "version": options.version,
        "baseline": options.baseline,
        "commitTime": options.commit_time.map(Timestamp::to_rfc3339),
        "actor": actor(&options.actor),
        "reason": options.reason,
    });
    said(client.post(&["canaries"], &body).await, format)
}

async fn act(
    client: &Client,
    action: &str,
    options: &ActOptions,
    full: Option<bool>,
    format: OutputFormat,
) -> anyhow::Result<Outcome> {
    if options.reason.trim().is_empty() {
        bail!("--reason is empty: say why, for the record");
    }
    let body = json!({"actor": actor(&options.actor), "reason": options.reason, "full": full});
    said(client.post(&["canaries", &options.service, action], &body).await, format)
}

async fn step(client: &Client, options: &StepOptions, format: OutputFormat) -> anyhow::Result<Outcome> {
    let (actor, reason) = (actor(&options.actor), &options.reason);
    let percent = options.step.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let body = match percent {
        Some(weight) => json!({"actor": actor, "reason": reason, "weight": weight}),
        None => json!({"actor": actor, "reason": reason, "step": options.step}),
    };
    said(client.post(&["canaries", &options.service, "step"], &body).await, format)
}

fn said(answer: Result<Value, ClientError>, format: OutputFormat) -> anyhow::Result<Outcome> {
    match answer {
        Ok(answer) => {
            tell(&answer, format);
            Ok(Outcome::Ok)
        }
        Err(error) => refused(error),
    }
}
