//! How long a verdict takes from the engine's record to a receiver: onto the disk, and out.
//!
//! A notifier with an outbox on the disk is told of rollbacks, one after the other, by itself and while another thousand
//! records of evidence come in each second; a webhook on the loopback interface notes when each arrives.
//!
//! `cargo run --release --example verdict_latency -- [ROUNDS]`

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use sloburn::canary::{Decision, Verdict};
use sloburn::clock::{self, Steady};
use sloburn::notify::outbox::Outbox;
use sloburn::notify::{Notifier, Receivers, Settings, WebhookTarget};
use sloburn::rollout::{Happened, Input, Record};
use sloburn::types::Span;
use tokio::sync::mpsc;

const DEFAULT_ROUNDS: u64 = 200;
/// Records of evidence told between two rollbacks under load, with so many inputs each.
const EVIDENCE_RECORDS: u64 = 20;
const EVIDENCE_INPUTS: usize = 64;

fn record(rollout: &str, number: u64, event: Happened) -> Record {
    Record {
        rollout: rollout.to_owned(),
        number,
        at: clock::now(),
        service: "pay".to_owned(),
        version: "2".to_owned(),
        baseline: Some("1".to_owned()),
        event,
    }
}

fn rollback(round: u64) -> Record {
    let rollout = format!("pay/2@{round}");
    let verdict = Verdict {
        id: Verdict::key(&[&rollout]),
        step: "5%".to_owned(),
        at: clock::now(),
        decision: Decision::Rollback,
        check: None,
        reason: "errors rose".to_owned(),
        checks: Vec::new(),
    };
    record(&rollout, 0, Happened::Verdict { verdict, hold: None, by: None })
}

/// Median and 99th percentile, in milliseconds.
fn figures(mut millis: Vec<f64>) -> (f64, f64) {
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis[((millis.len() - 1) as f64 * share) as usize];
    (at(0.5), at(0.99))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a measurement prints its figures")]
async fn main() -> anyhow::Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(DEFAULT_ROUNDS), |text| text.parse())?;
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let handler = move || {
        let _ = sender.send(());
        async { StatusCode::NO_CONTENT }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?).parse()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    let folder = std::env::temp_dir().join(format!("sloburn-verdict-latency-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let target = WebhookTarget {
        name: "stopwatch".to_owned(),
        url,
        secrets: Vec::new(),
        timeout: Span::seconds(10),
        send_resolved: true,
    };
    let receivers = Receivers { webhooks: vec![target], ..Receivers::default() };
    let outbox = Outbox::open(&folder.join("outbox.redb"))?;
    let notifier = Notifier::start(&Settings::new("http://127.0.0.1/".parse()?), receivers, Some(outbox))?;
    let mut evidence = 0;
    for (name, is_loaded) in [("alone", false), ("under load", true)] {
        let mut millis = Vec::new();
        for round in 0..rounds {
            if is_loaded {
                for _ in 0..EVIDENCE_RECORDS {
                    let inputs = vec![Input::Learn(0, vec![1_234.0, 5.0]); EVIDENCE_INPUTS];
                    notifier.record(&[record("shop/7@0", evidence, Happened::Evidence { inputs })]);
                    evidence += 1;
                }
            }
            let begun = Steady::start();
            notifier.record(&[rollback(round + if is_loaded { rounds } else { 0 })]);
            arrived.recv().await;
            millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (median, p99) = figures(millis);
        println!("{name}: {rounds} rollbacks, from the record to the receiver {median:.0} ms median, {p99:.0} ms p99");
    }
    notifier.shutdown(Span::seconds(5)).await;
    drop(notifier);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
