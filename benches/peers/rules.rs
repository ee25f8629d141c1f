//! SLOs as rules in Prometheus, beside the engine.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use sloburn::clock;
use sloburn::types::Span;

use crate::sender::{self, V1};
use crate::server::{BOTH_CORES, Kind, Peer, Peers, SERVER_CORE, Server, pin_sender};
use crate::support::{Fleet, INTERVAL, Size, specs_text};

const FLEET: Size = Size { services: 450, instances: 2, children: 20 };
/// An hour of data.
const SCRAPES: usize = 240;
/// Both go on for this long without new data.
const WATCH: Duration = Duration::from_mins(2);
const CONFIG: &str = "global: {evaluation_interval: 30s}\nrule_files: [rules.yml]\n";

pub fn run(peers: &Peers) -> anyhow::Result<()> {
    let (Some(sloburn), Some(prometheus)) = (peers.get(Kind::Sloburn), peers.get(Kind::Prometheus)) else {
        println!("rules: skipped without a Prometheus");
        return Ok(());
    };
    pin_sender()?;
    let mut fleet = Fleet::new(FLEET);
    let start = clock::now() - Span(INTERVAL.as_millis() * SCRAPES as i64);
    let scrapes = (0..SCRAPES).flat_map(|n| fleet.scrape(n, start + Span(INTERVAL.as_millis() * n as i64)));
    let messages: Vec<Vec<u8>> = scrapes.map(|request| sender::message(V1, &request.body)).collect();
    println!("{} SLOs, an hour of {} series; CPU seconds an hour of operation", FLEET.services, FLEET.series());

    let specs = specs_text(FLEET.services);
    let server = sloburn.start(SERVER_CORE, &["--rules=specs.yaml"], &[("specs.yaml", specs.clone())])?;
    let (load, idle) = (cpu_of_load(&server, &messages)?, cpu_of(&server, || Ok(()))?);
    let own = load + an_hour(idle);
    println!("{}: {own:.1} with all samples ({load:.1} to take and judge them, the rest while idle)", sloburn.name);
    drop(server);

    let files = [("prometheus.yml", CONFIG.to_owned()), ("rules.yml", "groups: []\n".to_owned())];
    let server = prometheus.start(SERVER_CORE, &["--web.enable-lifecycle"], &files)?;
    let (load, idle) = (cpu_of_load(&server, &messages)?, cpu_of(&server, || Ok(()))?);
    fs::write(server.folder().join("rules.yml"), rules(sloburn, &specs, &server)?)?;
    let rules = an_hour(cpu_of(&server, || server.post("/-/reload"))?) - an_hour(idle);
    println!(
        "{}: {rules:.1} for the rules each 30 s, {load:.1} for the samples: {:.0} times as much in all\n",
        prometheus.name,
        (rules + load + an_hour(idle)) / own
    );
    Ok(())
}

fn cpu_of_load(server: &Server, messages: &[Vec<u8>]) -> anyhow::Result<f64> {
    let before = server.cpu()?;
    // One after the other: a scrape is a few requests, and the next one's must not overtake them.
    sender::send(server.address, messages, 1)?;
    Ok(server.cpu()? - before)
}

/// CPU seconds over the time that is watched.
fn cpu_of(server: &Server, change: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    change()?;
    let before = server.cpu()?;
    std::thread::sleep(WATCH);
    Ok(server.cpu()? - before)
}

fn an_hour(seconds: f64) -> f64 {
    seconds * 3_600.0 / WATCH.as_secs_f64()
}

/// The rule file for these specs.
fn rules(sloburn: &Peer, specs: &str, server: &Server) -> anyhow::Result<String> {
    let file = server.folder().join("specs.yaml");
    fs::write(&file, specs)?;
    let mut command = sloburn.command(BOTH_CORES);
    let output = command.args(["generate", "-i"]).arg(file).args(["-o", "-"]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "no rules could be generated");
    String::from_utf8(output.stdout).context("rules are text")
}
