//! SIGKILL at random moments under load.
//!
//! `SLOBURN_TEST_KILLS` says how often (100 takes a minute), `SLOBURN_TEST_SEED` when.

use serde_json::Value;
use tokio::sync::watch;

use super::oracle::{Random, Sender};
use super::{counts, files, flip};
use crate::daemon::Daemon;
use crate::process::{PATIENCE, until};
use crate::traffic::SHOP;

const SENDERS: u64 = 4;
/// Lives end within this time, but for each tenth, which lasts long enough for checkpoints.
const LIFE_LIMIT_MILLIS: u64 = 120;
const LONG_LIFE_MILLIS: u64 = 700;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Kills a daemon that often; `meanwhile` is told each time, while nothing runs. Each life has another number of shards.
async fn survive(kills: u64, options: &[&str], mut meanwhile: impl FnMut(u64, &std::path::Path)) -> (Daemon, Value) {
    let seed = setting("SLOBURN_TEST_SEED", 1);
    let mut random = Random(seed);
    let immortal = Daemon::start(SHOP, &["--storage.path="]);
    let mut mortal = Daemon::start(SHOP, options);
    let (url, urls) = watch::channel(mortal.url.clone());
    let (stop, stopped) = watch::channel(false);
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| tokio::spawn(Sender::new(n, seed).run(urls.clone(), immortal.url.clone(), stopped.clone())))
        .collect();
    for kill in 0..kills {
        let life = if kill % 10 == 0 { LONG_LIFE_MILLIS } else { random.below(LIFE_LIMIT_MILLIS) };
        tokio::time::sleep(std::time::Duration::from_millis(life)).await;
        let shards = format!("--engine.shards={}", 1 + kill % 8);
        let options: Vec<&str> = options.iter().copied().chain([shards.as_str()]).collect();
        mortal = mortal.crash_and_restart(|folder| meanwhile(kill, folder), &options);
        url.send(mortal.url.clone()).unwrap();
    }
    stop.send(true).unwrap();
    let (mut good, mut bad, mut last) = (0, 0, None);
    for sender in senders {
        let sender = sender.await.unwrap();
        good += sender.counted_good as i64;
        bad += sender.counted_bad as i64;
        last = last.max(Some(sender.last_sample()));
    }
    let last = last.unwrap().to_rfc3339();
    let shows = async |daemon: &Daemon| {
        until("the oracle's sums", PATIENCE, async || {
            let slo = daemon.slo("shop/availability").await;
            let as_sent = counts(&slo) == (good, good + bad) && slo["lastSample"] == last;
            if as_sent { Ok(slo) } else { Err(format!("seed {seed}: sent {good} good, {bad} bad; shown {slo}")) }
        })
        .await
    };
    let uninterrupted = shows(&immortal).await;
    let killed = shows(&mortal).await;
    assert!(good > 0 && bad > 0);
    for field in ["good", "bad", "total", "budgetRemaining", "state"] {
        assert_eq!(killed[field], uninterrupted[field], "seed {seed}: {field}");
    }
    (mortal, killed)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_sample_counts_once_however_often_it_is_killed() {
    let kills = setting("SLOBURN_TEST_KILLS", 20);
    let (daemon, slo) = survive(kills, &["--storage.checkpoint-interval=200ms"], |_, _| {}).await;
    assert_eq!(slo["incomplete"].as_array().unwrap().len(), 0, "{slo}");
    assert!(!files(daemon.folder.path(), ".checkpoint").is_empty(), "some lives were long enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_fsync_before_every_answer_too() {
    let options = ["--storage.fsync=always", "--storage.checkpoint-interval=200ms"];
    survive(setting("SLOBURN_TEST_KILLS", 20).div_ceil(4), &options, |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_cut_off() {
    let meanwhile = |_, folder: &std::path::Path| {
        // As if the last write had been cut short: the beginning of a record that was never acknowledged.
        let path = files(folder, ".segment").pop().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let torn = &bytes[96..bytes.len().min(96 + 50)];
        std::fs::write(&path, [&bytes[..], torn].concat()).unwrap();
    };
    let (daemon, slo) = survive(5, &[], meanwhile).await;
    assert_eq!(slo["incomplete"].as_array().unwrap().len(), 0, "{slo}");
    assert!(daemon.process.log().iter().any(|line| line.contains("the end of a segment is torn")));
}

/// The next samples cover what is missing, as counters do, and the time is marked.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_one_request_and_is_shown() {
    let meanwhile = |kill, folder: &std::path::Path| {
        if kill == 2 {
            // The first segment holds no last record of a sender any more.
            flip(&files(folder, ".segment")[0]);
        }
    };
    let (daemon, slo) = survive(5, &[], meanwhile).await;
    let incomplete = slo["incomplete"].as_array().unwrap();
    assert_eq!((incomplete.len(), &incomplete[0]["requests"]), (1, &serde_json::json!(1)), "{slo}");
    assert_eq!(daemon.metric("sloburn_journal_lost_records", &[]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_damaged_checkpoints_give_way_to_the_log() {
    let mut damaged = 0;
    let meanwhile = |kill, folder: &std::path::Path| {
        let mut checkpoints = files(folder, ".checkpoint");
        match (kill % 3, checkpoints.pop()) {
            (0, Some(newest)) => std::fs::remove_file(newest).unwrap(),
            (1, Some(newest)) => flip(&newest),
            (2, Some(newest)) => [newest].iter().chain(&checkpoints).for_each(|path| flip(path)),
            _ => return,
        }
        damaged += 1;
    };
    let (_, slo) = survive(20, &["--storage.checkpoint-interval=50ms"], meanwhile).await;
    assert_eq!(slo["incomplete"].as_array().unwrap().len(), 0, "{slo}");
    assert!(damaged > 3, "{damaged}");
}
