//! An analysis written by hand, by Argo Rollouts' Prometheus provider: `checkout/by-hand.yaml` against sloburn's query API.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sloburn::types::Span;

use super::example;
use super::live::Live;
use super::models::{CHECKOUT_MODEL, checkout};
use super::traffic::Behave;

const KEEP: &str = r#"--store.match={__name__=~"http_requests_total|http_request_duration_seconds_bucket"}"#;

/// `result[0] < 0.02`
fn holds(condition: &str, result: f64) -> bool {
    let words: Vec<&str> = condition.split_whitespace().collect();
    let ["result[0]", operator, limit] = words[..] else { panic!("{condition}") };
    let limit: f64 = limit.parse().unwrap();
    match operator {
        "<" => result < limit,
        ">=" => result >= limit,
        _ => panic!("{condition}"),
    }
}

/// A measurement of each metric, as the provider makes it: a form by POST, the first element of a vector. Each with whether
/// it succeeded.
async fn measured(live: &Live) -> Vec<(String, f64, bool)> {
    let template: Value = serde_yaml::from_str(&example("checkout/by-hand.yaml")).unwrap();
    let mut all = Vec::new();
    for metric in template["spec"]["metrics"].as_array().unwrap() {
        let query = metric["provider"]["prometheus"]["query"].as_str().unwrap();
        let query = query.replace("{{args.version}}", live.model.candidate);
        let time = live.now().as_secs_f64().to_string();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("query", query.as_str()), ("time", time.as_str())])
            .finish();
        let media = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media)]);
        let answer = live.daemon.send("POST", "/api/v1/query", headers, form.into_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(answer["data"]["resultType"], "vector", "{answer}");
        let result: f64 = answer["data"]["result"][0]["value"][1].as_str().unwrap().parse().unwrap();
        let is = |condition: &str| holds(metric[condition].as_str().unwrap(), result);
        assert_ne!(is("successCondition"), is("failureCondition"), "{answer}");
        all.push((metric["name"].as_str().unwrap().to_owned(), result, is("successCondition")));
    }
    all
}

async fn looked_at(behave: Behave) -> (Vec<(String, f64, bool)>, Value) {
    let mut live = Live::start_with(&CHECKOUT_MODEL, behave, 20.0, 2_000, &[KEEP]).await;
    let start = json!({"service": "checkout", "version": "canary", "actor": "ci"});
    live.tell("/api/v1/canaries", &start).await;
    live.expose(Some(1));
    live.pass(Span::minutes(1)).await;
    (measured(&live).await, live.verdict(None).await)
}

#[tokio::test]
async fn an_analysis_by_hand_is_answered_and_misses_what_it_misses() {
    let (measured, _) = looked_at(checkout::good).await;
    let [(_, errors, true), (_, p95, true)] = measured[..] else { panic!("{measured:?}") };
    assert!((errors - 0.002).abs() < 0.001 && (p95 - 0.22).abs() < 0.01, "{measured:?}");
    let (measured, verdict) = looked_at(checkout::failing).await;
    let [(_, errors, false), (_, _, true)] = measured[..] else { panic!("{measured:?}") };
    assert!((errors - 0.08).abs() < 0.01, "{measured:?}");
    assert_eq!(verdict["verdict"], "rollback", "{verdict}");
    // 0.42 is less than 300.
    let (measured, verdict) = looked_at(checkout::slow_at_25_percent).await;
    let [(_, _, true), (_, p95, true)] = measured[..] else { panic!("{measured:?}") };
    assert!((p95 - 0.42).abs() < 0.02, "{measured:?}");
    assert_eq!((&verdict["verdict"], Live::check(&verdict)), (&json!("rollback"), "latency p95"), "{verdict}");
}
