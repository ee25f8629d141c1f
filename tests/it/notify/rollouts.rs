//! Verdicts on their way to webhooks, Alertmanagers and Slack, and what outlives a killed process of them.

use axum::routing::post;
use sloburn::audit::{Filter, Line, Verifier};
use sloburn::canary::Decision;
use sloburn::notify::SlackTarget;
use sloburn::rollout::{Ending, Record};

use super::story::{Story, id};
use super::*;

fn slack(url: &url::Url) -> SlackTarget {
    SlackTarget {
        name: "releases".to_owned(),
        url: url.to_string().into(),
        timeout: Span::seconds(10),
        send_resolved: true,
        dashboard: None,
    }
}

fn everybody(server: &Server) -> Receivers {
    Receivers {
        alertmanagers: vec![alertmanager(server.url("/am"))],
        webhooks: vec![hook("ops", server.url("/hook"))],
        slacks: vec![slack(&server.url("/services/T0/B0/s3cret"))],
        argos: Vec::new(),
    }
}

fn open(folder: &tempfile::TempDir) -> Outbox {
    Outbox::open(&folder.path().join("outbox.redb")).unwrap()
}

/// Everything a server has seen.
fn seen(server: &mut Server) -> Vec<Seen> {
    std::iter::from_fn(|| server.seen.try_recv().ok()).collect()
}

/// What webhooks were told: type and id.
fn told(seen: &[Seen]) -> Vec<(String, String)> {
    let of_hook = seen.iter().filter(|seen| seen.path == "/hook");
    of_hook.map(|s| (s.json()["type"].as_str().unwrap().to_owned(), s.header("webhook-id").to_owned())).collect()
}

/// Names of the alerts posted, with whether they fire.
fn alerts(seen: &[Seen]) -> Vec<(String, bool)> {
    let now = clock::now().to_rfc3339();
    let of_alertmanager = seen.iter().filter(|seen| seen.path.ends_with("/api/v2/alerts"));
    let posted = of_alertmanager.flat_map(|seen| seen.json().as_array().unwrap().clone());
    let shown = |alert: Value| {
        let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
        (name, alert["endsAt"].as_str().unwrap() > now.as_str())
    };
    posted.map(shown).collect()
}

#[tokio::test]
async fn a_rollout_is_told_to_everybody() {
    let mut server = Server::answering(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let notifier = Notifier::start(&settings(), everybody(&server), Some(open(&folder))).unwrap();
    let mut story = Story::of("2");
    let records = [
        story.started(),
        story.evidence(),
        story.verdict(Decision::Continue, "5%"),
        story.held(true),
        story.held(false),
        story.verdict(Decision::Promote, "5%"),
        story.verdict(Decision::Rollback, "50%"),
        story.ended(Ending::RolledBack),
    ];
    for record in &records {
        notifier.record(std::slice::from_ref(record));
    }
    let status = finished(&notifier).await;
    let seen = seen(&mut server);
    let types: Vec<String> = told(&seen).into_iter().map(|(kind, _)| kind).collect();
    let expected = [
        "rollout.started",
        "rollout.paused",
        "rollout.resumed",
        "verdict.promote",
        "verdict.rollback",
        "rollout.ended",
    ];
    assert_eq!(types, expected);
    let mut of_hook = seen.iter().filter(|seen| seen.path == "/hook");
    let rollback = of_hook.find(|seen| seen.header("webhook-id") == id(&records[6])).unwrap();
    let body = std::str::from_utf8(&rollback.body).unwrap();
    let seconds: i64 = rollback.header("webhook-timestamp").parse().unwrap();
    let expected = signatures(&[secret()], id(&records[6]), Timestamp(seconds * 1000), body);
    assert_eq!(rollback.header("webhook-signature"), expected);
    assert_eq!(rollback.json()["data"]["reason"], "a reason to rollback");
    assert_eq!(alerts(&seen), [("CanaryRollback".to_owned(), true)], "for an hour");
    let posts: Vec<Value> = seen.iter().filter(|seen| seen.path.starts_with("/services")).map(Seen::json).collect();
    assert_eq!(posts.len(), 6);
    assert_eq!(posts[4]["blocks"][0]["text"]["text"], "pay 2: roll back");
    assert!(!format!("{notifier:?} {status:?}").contains("s3cret"), "the path of Slack's URL is a secret");
    assert_eq!(status[2].kind.as_str(), "slack");
}

/// Every request finds its record in the log already: what is told is on the disk.
#[tokio::test]
async fn what_is_told_is_on_record_first() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let log: Arc<Mutex<Option<sloburn::audit::Log>>> = Arc::default();
    let reader = Arc::clone(&log);
    let handler = move |body: Bytes| {
        let log = reader.lock().unwrap().clone().unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let mut pages = log.pages(Filter::default()).unwrap();
        let records: Vec<Record> = pages.next_page().unwrap().iter().map(|entry| entry.record().unwrap()).collect();
        let is_there = records.iter().any(|record| record.at.to_rfc3339() == body["timestamp"].as_str().unwrap());
        let _ = sender.send((body["type"].as_str().unwrap().to_owned(), is_there));
        async { StatusCode::NO_CONTENT }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: url::Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await.unwrap() });
    let receivers = Receivers { webhooks: vec![hook("ops", url)], ..Receivers::default() };
    let notifier = Notifier::start(&settings(), receivers, Some(open(&folder))).unwrap();
    *log.lock().unwrap() = notifier.audit().cloned();
    notifier.record(&Story::of("2").rolled_back());
    finished(&notifier).await;
    let mut told = Vec::new();
    while let Ok(arrived) = arrived.try_recv() {
        told.push(arrived);
    }
    let expected = ["rollout.started", "verdict.rollback", "rollout.ended"].map(|kind| (kind.to_owned(), true));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_a_killed_process_had_on_record_is_told_by_the_next_one_once_and_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut failing = Server::answering(&[&[(204, None)][..], &vec![(500, None); 1_000]].concat()).await;
    let receivers = |server: &Server| Receivers { webhooks: everybody(server).webhooks, ..Receivers::default() };
    let first = Notifier::start(&settings(), receivers(&failing), Some(open(&folder))).unwrap();
    let records = Story::of("2").rolled_back();
    first.record(&records);
    each_has_failed(&first).await;
    first.flush().await;
    killed(first, &folder).await;
    let before = told(&seen(&mut failing));
    assert_eq!(before[0].0, "rollout.started");
    assert_eq!(before[1].1, id(&records[1]));
    let mut server = Server::answering(&[]).await;
    let second = Notifier::start(&settings(), receivers(&server), Some(open(&folder))).unwrap();
    // The engine lives through its journal again, in steps of another size.
    second.record(&records[..1]);
    second.record(&records[1..]);
    let log = second.audit().unwrap().clone();
    finished(&second).await;
    let after = told(&seen(&mut server));
    let kinds: Vec<&str> = after.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["verdict.rollback", "rollout.ended"], "what was delivered does not come again");
    assert_eq!(after[0].1, id(&records[1]));
    let entries = log.pages(Filter::default()).unwrap().next_page().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.record().unwrap()).collect::<Vec<_>>(), records, "each once");
    let mut verifier = Verifier::new(Some(log.head().unwrap().1));
    for entry in entries {
        verifier.take(&Line::Entry(entry)).unwrap();
    }
    assert_eq!(verifier.finish().unwrap().entries, 3);
}

#[tokio::test]
async fn a_pause_fires_again_after_a_restart_until_the_rollout_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::answering(&[]).await;
    let receivers = || Receivers { alertmanagers: everybody(&server).alertmanagers, ..Receivers::default() };
    let (receivers, mut story) = ([receivers(), receivers()], Story::of("2"));
    let [for_first, for_second] = receivers;
    let first = Notifier::start(&settings(), for_first, Some(open(&folder))).unwrap();
    let pause = [story.started(), story.verdict(Decision::Pause, "5%")];
    first.record(&pause);
    first.flush().await;
    assert_eq!(alerts(&[server.next().await]), [("CanaryPaused".to_owned(), true)]);
    killed(first, &folder).await;
    let second = Notifier::start(&settings(), for_second, Some(open(&folder))).unwrap();
    // No SLO's alert fires; those of rollouts are not among them.
    second.reconcile(&[]);
    second.record(&pause);
    assert_eq!(alerts(&[server.next().await]), [("CanaryPaused".to_owned(), true)]);
    second.record(&[story.verdict(Decision::Continue, "5%")]);
    finished(&second).await;
    assert_eq!(alerts(&seen(&mut server)).last(), Some(&("CanaryPaused".to_owned(), false)));
}

#[tokio::test]
async fn slack_slows_us_down_and_refuses_for_good() {
    let busy = (429, Some(("retry-after", "1".to_owned())));
    let mut server = Server::answering(&[busy, (200, None), (404, None)]).await;
    let receivers = Receivers { slacks: everybody(&server).slacks, ..Receivers::default() };
    let notifier = Notifier::start(&settings(), receivers, None).unwrap();
    notifier.record(&[Story::of("2").started()]);
    server.next().await;
    let asked = clock::Steady::start();
    server.next().await;
    assert!(asked.elapsed() >= Span::millis(950), "the backoff alone is at most 100 ms");
    notifier.send(&[firing("A")]);
    assert_eq!(server.next().await.json()["blocks"][0]["text"]["text"], "Firing (page): A");
    let status = &finished(&notifier).await[0];
    assert_eq!((status.sent, status.failed, status.dead_letters), (1, 2, 1));
    assert_eq!(status.last_error.as_ref().unwrap().1, "status 404");
    assert_eq!(status.url, server.url("/").as_str());
}

#[tokio::test]
async fn without_an_outbox_verdicts_are_told_all_the_same() {
    let mut server = Server::answering(&[]).await;
    let notifier = Notifier::start(&settings(), everybody(&server), None).unwrap();
    assert!(notifier.audit().is_none());
    notifier.record(&Story::of("2").rolled_back());
    finished(&notifier).await;
    let seen = seen(&mut server);
    let kinds: Vec<String> = told(&seen).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["rollout.started", "verdict.rollback", "rollout.ended"]);
    assert_eq!(alerts(&seen), [("CanaryRollback".to_owned(), true)]);
}
