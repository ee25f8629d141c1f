//! Pipelines that run `sloburn` itself: the shell script of payment-auth and the workflow of checkout-progressive, as they lie
//! in the examples, with a `deploy.sh` that says where the traffic goes.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::example;
use super::live::Live;
use super::models::{PAYMENT, PROGRESSIVE, payment, progressive};
use super::traffic::{Behave, Exposure};
use crate::process::{PATIENCE, Process, until};

/// The splitter: each call is a line.
const DEPLOY: &str = "#!/bin/sh\necho \"$@\" >> traffic\n";

/// A folder with the splitter, and the environment of a pipeline.
struct Pipeline {
    folder: TempDir,
}

impl Pipeline {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [&[("deploy.sh", DEPLOY)], files].concat() {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(folder.path().join("traffic"), "").unwrap();
        Self { folder }
    }

    /// A command in the folder, with `sloburn` on its path.
    fn command(&self, live: &Live, program: &str) -> Command {
        let mut command = Command::new(program);
        let binary = Path::new(env!("CARGO_BIN_EXE_sloburn")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        command.env_clear().env("PATH", path).env("SLOBURN_URL", live.daemon.url.as_str()).env("EVERY", "50ms");
        command.env("USER", "ci").current_dir(&self.folder);
        command
    }

    /// What the splitter was told last.
    fn told(&self) -> String {
        let told = fs::read_to_string(self.folder.path().join("traffic")).unwrap();
        told.lines().last().unwrap_or_default().to_owned()
    }

    /// Whom that sends to the candidate.
    fn exposure(live: &Live, told: &str) -> Option<usize> {
        let words: Vec<&str> = told.split_whitespace().collect();
        match words[..] {
            ["stage", "internal", _] => Some(0),
            ["stage", "test-merchants", _] => Some(1),
            ["stage" | "weight", weight, _] => Some(live.step_of(weight.trim_end_matches('%').parse().unwrap())),
            _ => None,
        }
    }

    /// Sends scrapes while the pipeline runs. When sloburn is a step further than the traffic, or done, the next scrape waits
    /// for the pipeline to follow.
    async fn drive(&self, live: &mut Live, process: &mut Process) -> i32 {
        loop {
            if process.has_ended() {
                return process.exit().code().unwrap();
            }
            let before = self.standing(live).await;
            let (told, step, state) = &before;
            let exposure = Self::exposure(live, told);
            if exposure.is_some() && step.as_u64() == exposure.map(|step| step as u64) && state == "in-progress" {
                live.expose(exposure);
                live.round().await;
                continue;
            }
            until("the pipeline to follow", PATIENCE, async || {
                let now = self.standing(live).await;
                if process.has_ended() || now != before { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await;
        }
    }

    /// Where the traffic goes; the step that sloburn is at, and how it stands there.
    async fn standing(&self, live: &Live) -> (String, Value, Value) {
        let canary = live.get(&format!("/api/v1/canaries/{}", live.model.service)).await["data"]["canary"].clone();
        let rollout = &canary["rollout"];
        (self.told(), rollout["step"].clone(), rollout["state"].clone())
    }
}

/// The script from start to end: its exit code, what the splitter was told last, and the verdict.
async fn released(behave: Behave) -> (i32, String, Value) {
    // The cohorts' traffic does not grow with the customers': the load test is as large as it has to be.
    const STEPS: &[Exposure] = &[
        Exposure::Cohort(0, 2_000.0),
        Exposure::Cohort(1, 500.0),
        Exposure::Weight(5.0),
        Exposure::Weight(25.0),
        Exposure::Weight(50.0),
    ];
    let model = super::traffic::Model { steps: STEPS, ..PAYMENT };
    let mut live = Live::start(&model, behave, 100.0, 5_000).await;
    let pipeline = Pipeline::new(&[("release.sh", &example("payment-auth/release.sh"))]);
    let mut script = Process::start("release.sh", pipeline.command(&live, "./release.sh").arg(model.candidate));
    let code = pipeline.drive(&mut live, &mut script).await;
    (code, pipeline.told(), live.verdict(None).await)
}

#[tokio::test]
async fn the_script_rolls_a_good_authorization_out_stage_by_stage() {
    let (code, told, verdict) = released(payment::good).await;
    assert_eq!((code, &*told, &verdict["state"]), (0, "finish 2026.44.0", &json!("promoted")), "{verdict}");
}

#[tokio::test]
async fn the_script_takes_the_incident_back_at_5_percent() {
    let (code, told, verdict) = released(payment::incident).await;
    assert_eq!((code, &*told, Live::check(&verdict)), (1, "undo 2026.44.0", "authorization"), "{verdict}");
    assert_eq!(verdict["step"], "5%", "{verdict}");
}

#[tokio::test]
async fn the_script_takes_settlement_mismatches_back() {
    let (code, told, verdict) = released(payment::mismatching).await;
    assert_eq!((code, &*told, Live::check(&verdict)), (1, "undo 2026.44.0", "settlement"), "{verdict}");
}

/// The workflow's steps as one script: a step runs unless one before it failed or its condition says otherwise.
fn workflow() -> String {
    let workflow: Value = serde_yaml::from_str(&example("checkout-progressive/github-actions.yaml")).unwrap();
    let job = &workflow["jobs"]["canary"];
    let mut script = String::from("failed=0\n");
    for (name, value) in job["env"].as_object().unwrap() {
        if matches!(name.as_str(), "SERVICE") {
            writeln!(script, "export {name}={}", value.as_str().unwrap()).unwrap();
        }
    }
    for (at, step) in job["steps"].as_array().unwrap().iter().enumerate() {
        let Some(run) = step["run"].as_str() else { continue };
        let condition = match step["if"].as_str() {
            None => "[ $failed = 0 ]",
            Some("failure() || cancelled()") => "[ $failed != 0 ]",
            Some(other) => panic!("{other}"),
        };
        // As the runner does it: a file of its own, `bash -eo pipefail`.
        writeln!(script, "cat > step-{at}.sh <<'END'\n{run}\nEND").unwrap();
        let run = format!("bash --noprofile --norc -eo pipefail step-{at}.sh || failed=$?");
        writeln!(script, "if {condition}; then {run}; fi").unwrap();
    }
    script + "exit $failed\n"
}

async fn worked(behave: Behave) -> (i32, String, Value) {
    let mut live = Live::start(&PROGRESSIVE, behave, 20.0, 2_000).await;
    let pipeline = Pipeline::new(&[("workflow.sh", &workflow())]);
    let commit = "git init -q . && git -c user.name=ci -c user.email=ci@example.com commit -q --allow-empty -m release";
    assert!(pipeline.command(&live, "sh").args(["-c", commit]).status().unwrap().success());
    let mut bash = pipeline.command(&live, "bash");
    bash.arg("workflow.sh").env("VERSION", PROGRESSIVE.candidate).env("GITHUB_RUN_ID", "1077");
    let mut runner = Process::start("workflow", &mut bash);
    let code = pipeline.drive(&mut live, &mut runner).await;
    (code, pipeline.told(), live.verdict(None).await)
}

#[tokio::test]
async fn the_workflow_rolls_a_good_checkout_out() {
    let (code, told, verdict) = worked(progressive::good).await;
    assert_eq!((code, &*told, &verdict["state"]), (0, "weight 100 119", &json!("promoted")), "{verdict}");
}

#[tokio::test]
async fn the_workflow_takes_that_friday_back() {
    let (code, told, verdict) = worked(progressive::friday).await;
    assert_eq!((code, &*told, &verdict["state"]), (1, "undo 119", &json!("rolled-back")), "{verdict}");
    assert_eq!(verdict["step"], "5%", "{verdict}");
}

/// A pause is no rollback: the exit code says so, and the workflow takes the exposure back all the same.
#[tokio::test]
async fn the_workflow_stops_when_the_budget_is_breached() {
    let (code, told, verdict) = worked(progressive::provider_down).await;
    assert_eq!((code, &*told, Live::check(&verdict)), (4, "undo 119", "budget"), "{verdict}");
    assert_eq!(verdict["verdict"], "pause", "{verdict}");
}
