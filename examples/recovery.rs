//! How long a daemon takes to come back, and what its checkpoints cost those who write meanwhile.
//!
//! ```sh
//! cargo run --release --example recovery              # 1,000,000 series of 10,000 SLOs, 10 min of log
//! cargo run --release --example recovery -- 100 2     # 100 SLOs of 100 series each, 2 min
//! ```
//!
//! A log of 10 min is written, as of a fleet scraped every 15 s. An engine comes back from it alone; then it takes
//! the fleet's next scrapes, each request after the answer to the one before, while the first checkpoint is made and
//! somebody looks at the SLOs all the time, and as many after that; then another engine comes back from the checkpoint
//! and the rest of the log. Set `TMPDIR` to measure another disk.

#[path = "../benches/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use sloburn::clock;
use sloburn::engine::Settings;
use sloburn::journal::{Entry, Folder, Journal, Kind, Options, Position, body_sum};
use sloburn::live::{Body, Durability, EngineHandle, Parcel, Phase, Specs};
use sloburn::spec::{self, Source};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Limits, Protocol};
use support::{Fleet, INTERVAL, Request, Size, specs_text, wire_key};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHILDREN: usize = 100;

/// One service with one SLO for each of the fleet.
fn specs(services: usize) -> Specs {
    let sources = vec![Source::new("specs.yaml", specs_text(services))];
    let (services, report) = spec::parse(&sources);
    assert!(!report.has_errors(), "{}", report.render(false));
    Specs { services, sources }
}

fn journal(folder: &Path) -> Journal {
    Journal::new(Arc::new(Folder::new(folder)), Options::default())
}

fn settings() -> Settings {
    Settings { key: wire_key(), limits: Limits::default(), series_limit: 5_000_000, ha: None }
}

/// An engine that is back, and the seconds that took.
async fn recover(folder: &Path, specs: &Specs) -> anyhow::Result<(EngineHandle, std::thread::JoinHandle<()>, f64)> {
    let durability = Durability { journal: journal(folder), checkpoint_every: Span::hours(1) };
    let start = now();
    let (engine, thread) = EngineHandle::recover(specs.clone(), settings(), 1, durability, |_| {}, Arc::new(|| {}));
    tokio::select! {
        () = async { engine.observer().running().await } => {}
        reason = engine.failed() => anyhow::bail!(reason),
    }
    Ok((engine, thread, start.elapsed().as_secs_f64()))
}

#[expect(clippy::disallowed_methods, reason = "this measures how long things take")]
fn now() -> Instant {
    Instant::now()
}

/// Sends one request and notes how long the answer took.
async fn send(engine: &EngineHandle, request: &Request, took: &mut Histogram<u64>) -> anyhow::Result<()> {
    let mut parcel = Parcel::default();
    parcel.batch.decode_v1(&request.body, &Limits::default(), &wire_key())?;
    let body = Body::new(Protocol::V1, request.body.clone().into());
    let start = now();
    engine.write(parcel, body).await?;
    took.record(start.elapsed().as_micros() as u64)?;
    engine.snapshot();
    Ok(())
}

fn micros(took: &Histogram<u64>) -> String {
    let at = |quantile| took.value_at_quantile(quantile) as f64 / 1_000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms of {} requests", at(0.5), at(0.99), at(1.0), took.len())
}

#[expect(clippy::print_stdout, reason = "the figures are the result")]
async fn measure(services: usize, minutes: i64) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = temporary.path();
    let size = Size { services, instances: 1, children: CHILDREN };
    let (specs, mut fleet) = (specs(services), Fleet::new(size));
    let scrapes = Span::minutes(minutes).as_millis() / INTERVAL.as_millis();
    let start_at = clock::now() + Span(-scrapes * INTERVAL.as_millis());
    let at = |scrape: usize| start_at + Span(scrape as i64 * INTERVAL.as_millis());
    let reading =
        journal(folder).read(Position::default(), Timestamp::MIN, &mut |_, _| std::ops::ControlFlow::Continue(()))?;
    // The specs come first, as a daemon writes them.
    let (first, thread, _) = recover(folder, &specs).await?;
    send(&first, &fleet.scrape(0, at(0))[0], &mut Histogram::new(3)?).await?;
    drop(first);
    thread.join().expect("an engine that ends");
    drop(reading);
    let reading =
        journal(folder).read(Position::default(), Timestamp::MIN, &mut |_, _| std::ops::ControlFlow::Continue(()))?;
    let mut writer = journal(folder).writer(&reading, |_| {})?;
    let (mut samples, mut bytes) = (0, 0);
    for scrape in 1..=scrapes as usize {
        for request in fleet.scrape(scrape, at(scrape)) {
            let body = &request.body;
            let entry = Entry { kind: Kind::Write(Protocol::V1), body, body_sum: body_sum(body) };
            writer.append(entry, request.arrival)?;
            (samples, bytes) = (samples + request.samples, bytes + body.len());
        }
    }
    drop(writer);
    println!(
        "{} series, {services} SLOs, {minutes} min of log: {samples} samples, {} MB",
        size.series(),
        bytes / 1_000_000
    );

    let (engine, thread, seconds) = recover(folder, &specs).await?;
    println!("from the log alone:  {seconds:6.1} s, {:.1} M samples/s", samples as f64 / seconds / 1e6);
    let (mut during, mut after) = (Histogram::new(3)?, Histogram::new(3)?);
    let mut scrape = scrapes as usize;
    let made = loop {
        scrape += 1;
        for request in fleet.scrape(scrape, at(scrape)) {
            send(&engine, &request, &mut during).await?;
        }
        if let Some(made) = engine.journal().checkpoint {
            break made;
        }
        anyhow::ensure!(engine.phase() == Phase::Running, "the engine ended");
    };
    while after.len() < during.len() {
        scrape += 1;
        for request in fleet.scrape(scrape, at(scrape)) {
            send(&engine, &request, &mut after).await?;
        }
    }
    println!(
        "the checkpoint:      {:6.1} s beside the engine, {} MB",
        made.took_millis as f64 / 1_000.0,
        made.bytes / 1_000_000
    );
    println!("writes during it:    {}", micros(&during));
    println!("writes after it:     {}", micros(&after));
    drop(engine);
    thread.join().expect("an engine that ends");
    let (engine, thread, seconds) = recover(folder, &specs).await?;
    let records = engine.journal().recovered.map_or(0, |progress| progress.records);
    println!("from the checkpoint: {seconds:6.1} s, with {records} requests of log after it");
    drop(engine);
    thread.join().expect("an engine that ends");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "for people")]
fn main() -> ExitCode {
    let numbers: Option<Vec<i64>> = std::env::args().skip(1).map(|text| text.parse().ok()).collect();
    let (services, minutes) = match numbers.as_deref() {
        Some([]) => (10_000, 10),
        Some([services, minutes]) => (*services as usize, *minutes),
        _ => {
            eprintln!("usage: recovery [SLOS MINUTES]");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(measure(services, minutes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
