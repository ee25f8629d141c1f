//! From samples to receivers through the real binary: what the configuration file says, and receivers that are slow
//! or down, of which neither senders nor other receivers must notice anything.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::json;
use sloburn::clock::{self, Steady};
use sloburn::notify::webhook::{WebhookSecret, signatures};
use sloburn::types::{Span, Timestamp};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::process::{PATIENCE, until};
use crate::receiver::Receiver;
use crate::traffic::{SHOP, last_hour, last_hour_counts, shop};

/// Answering a write takes milliseconds; one that waited for a receiver would take its timeout of 10 s.
const UNDISTURBED: Span = Span::seconds(5);

#[tokio::test]
async fn receivers_that_are_down_or_silent_disturb_nobody() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut silent, mut good) = (Receiver::silent().await, Receiver::start().await);
    let alertmanager = format!("--alertmanager=http://{closed}");
    let webhooks = [&silent, &good].map(|receiver| format!("--webhook={}", receiver.url("/hook")));
    let daemon = Daemon::start(SHOP, &[&alertmanager, &webhooks[0], &webhooks[1]]);

    let clock = Steady::start();
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let told = [silent.next().await, good.next().await];
    for message in &told {
        assert_eq!(message.json()["data"]["slo"], "shop/availability");
    }
    until("the Alertmanager that is down to be counted", PATIENCE, async || {
        let failed = daemon.metric("sloburn_notify_failed_attempts_total", &["kind=\"alertmanager\""]).await;
        if failed > 0.0 { Ok(()) } else { Err(failed.to_string()) }
    })
    .await;
    for n in 0..50 {
        let at = clock::now() + Span::millis(n);
        let before = clock.elapsed();
        assert_eq!(daemon.write(&[shop("200", at, 1e6 + n as f64), shop("500", at, 1e6)]).await.status, 204);
        let took = Span(clock.elapsed().as_millis() - before.as_millis());
        assert!(took < UNDISTURBED, "a write took {took}");
    }
    // An outage of one hour in four trips several tiers; all of them reach the receiver that works.
    let firing = daemon.api("/api/v1/alerts").await["alerts"].as_array().unwrap().len();
    assert!(firing > 1, "{firing} alerts");
    for _ in 1..firing {
        good.next().await;
    }
    let queued = |receiver: &'static str| {
        let daemon = &daemon;
        async move { daemon.metric("sloburn_notify_queued_alerts", &[receiver]).await }
    };
    assert_eq!(queued("receiver=\"webhook-1\"").await, firing as f64, "one at a time, and the first has no answer");
    assert_eq!(queued("kind=\"alertmanager\"").await, firing as f64);
    until("the good receiver's queue to be empty", PATIENCE, async || {
        let left = queued("receiver=\"webhook-2\"").await;
        if left == 0.0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    assert_eq!(daemon.metric("sloburn_notify_sent_alerts_total", &["receiver=\"webhook-2\""]).await, firing as f64);
    assert_eq!(daemon.metric("sloburn_notify_failed_attempts_total", &["receiver=\"webhook-2\""]).await, 0.0);
}

/// Public: the secret of the specification's examples, in two parts because secret scanners know the shape.
const SECRET: &str = concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

/// A folder with a configuration file that tells this receiver everything, and the specs it names.
fn configured(receiver: &Receiver) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    write("rules/shop.yaml", SHOP);
    write("hook.secret", &format!("{SECRET}\n"));
    write("am.token", "t0ken\n");
    let config = format!(
        "external_labels: {{cluster: prod, short: not this}}\n\
         rule_files: [rules/]\n\
         external_url: http://slo.example/sloburn\n\
         alertmanagers: [{{url: '{}', bearer_token_file: am.token}}]\n\
         webhooks: [{{name: pipeline, url: '{}', secret_file: hook.secret}}]\n\
         resend_delay: 1s\n",
        receiver.url("/am"),
        receiver.url("/hook"),
    );
    write("sloburn.yml", &config);
    let path = folder.path().join("sloburn.yml");
    (folder, path)
}

#[tokio::test]
async fn the_configuration_file_is_followed() {
    let mut receiver = Receiver::start().await;
    let (folder, path) = configured(&receiver);
    let daemon = Daemon::configured(folder, &path, &["--external-label=zone=a"]);
    assert_eq!(daemon.write(&last_hour(100, 50)).await.status, 204);
    let (good, total) = last_hour_counts(100, 50);
    let slo = daemon.slo("shop/availability").await;
    assert_eq!((&slo["good"], &slo["total"]), (&json!(good), &json!(total)));

    let (mut messages, mut posts) = (Vec::new(), Vec::new());
    // The same alerts are posted again after the resend delay.
    while messages.is_empty() || posts.len() < 2 {
        let request = receiver.next().await;
        match request.path.as_str() {
            "/hook" => messages.push(request),
            "/am/api/v2/alerts" => posts.push(request),
            other => panic!("{other}"),
        }
    }
    let alerts = posts[0].json();
    assert_eq!(posts[0].header("authorization"), "Bearer t0ken");
    let page = alerts.as_array().unwrap().iter().find(|a| a["labels"]["long"] == "1h").unwrap();
    let labels = json!({
        "alertname": "ErrorBudgetBurn", "cluster": "prod", "zone": "a", "short": "5m", "long": "1h",
        "sloth_id": "shop-availability", "sloth_service": "shop", "sloth_slo": "availability", "sloth_severity": "page",
    });
    assert_eq!(page["labels"], labels);
    // A third of all requests, of which a thousandth may fail.
    assert_eq!(page["annotations"]["summary"], "shop burns at 333.3");
    let url = page["generatorURL"].as_str().unwrap();
    assert!(url.starts_with("http://slo.example/sloburn/graph?g0.expr="), "{url}");
    let stands = |post: &crate::receiver::Received| {
        let ends_at: jiff::Timestamp = post.json()[0]["endsAt"].as_str().unwrap().parse().unwrap();
        Timestamp(ends_at.as_millisecond()).since(post.at)
    };
    assert!(stands(&posts[0]) <= Span::seconds(4), "four times the resend delay");
    assert_eq!(posts[0].json()[0]["labels"], posts[1].json()[0]["labels"]);
    assert!(posts[1].at.since(posts[0].at) >= Span::millis(900));

    let (message, secret) = (&messages[0], SECRET.parse::<WebhookSecret>().unwrap());
    let sent_at = Timestamp(message.header("webhook-timestamp").parse::<i64>().unwrap() * 1_000);
    let signature = signatures(&[secret], message.header("webhook-id"), sent_at, &message.text);
    assert_eq!(message.header("webhook-signature"), signature);
    assert_eq!(message.json()["data"]["labels"]["cluster"], "prod");
}
