//! `sloburn gate`: whether the budget policy lets a deployment start.

use crate::cli::canary::args::{GateOptions, OutputFormat};
use crate::cli::canary::refused;
use crate::cli::client::{Client, ClientError};
use crate::cli::{Outcome, console};
use crate::clock::Steady;

pub(super) fn run(options: &GateOptions) -> anyhow::Result<Outcome> {
    let client = Client::new(&options.daemon)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&client, options))
}

async fn ask(client: &Client, options: &GateOptions) -> anyhow::Result<Outcome> {
    let clock = Steady::start();
    let deadline = clock.now() + options.timeout;
    let mut last = String::new();
    let told = |reason: &str| {
        if reason != last {
            console::message(reason);
            reason.clone_into(&mut last);
        }
    };
    let query = [("service", options.service.as_str())];
    let answer = match client.get_until(&["gate"], &query, (&clock, deadline), told).await {
        Ok(answer) => answer,
        Err(ClientError::Later(reason)) => {
            console::message(&format!("error: {reason}"));
            return Ok(Outcome::Timeout);
        }
        Err(error) => return refused(error),
    };
    let state = answer["state"].as_str().unwrap_or_default();
    match options.format {
        OutputFormat::Json => console::data(&answer.to_string()),
        OutputFormat::Text => console::data(&format!("{state}: {}", answer["reason"].as_str().unwrap_or_default())),
    }
    Ok(match (answer["allowed"].as_bool(), state) {
        (Some(true), "no-data") => Outcome::NoData,
        (Some(true), _) => Outcome::Ok,
        (Some(false), _) => Outcome::Failed,
        (None, _) => anyhow::bail!("{} does not answer as sloburn does", options.daemon.url),
    })
}
