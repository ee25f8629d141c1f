//! What pipelines are given: objects for Argo Rollouts and Flagger, as text, as YAML and as what their templates post.

use std::sync::Arc;

use serde_json::json;
use sloburn::generate::{self, Format};
use sloburn::spec::{Service, Source, parse};

const SHOP: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  versionLabel: version
  slis:
    - {name: requests, events: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total}}
  slos:
    - {name: availability, sli: requests, objective: 99.9}
    - {name: promised, sli: requests, objective: 99}
  canary:
    every: 1m
    steps:
      - {name: staff, cohort: 'tenant="staff",region!="eu"', hold: 5m}
      - {name: pilot}
      - {weight: 0.5, hold: 5m}
      - {name: a quarter & more, weight: 25, hold: 5m}
    checks:
      - {sli: requests, regressionOver: 1pp}
      - {slo: availability, burnRateOver: 14.4, for: 5m}
      - {slo: promised, burnRateOver: 2, action: pause}
    deadline: 1h
    argo: {namespace: shops, name: shop.api}
---
apiVersion: sloburn/v1
kind: Service
metadata: {name: Search_EU}
spec:
  versionLabel: app_version
  slis:
    - {name: requests, events: {bad: 'search_errors_total', total: search_total}}
  slos:
    - {name: availability, sli: requests, objective: 99.9}
  canary:
    checks: [{sli: requests, regressionOver: 1pp}]
---
apiVersion: sloburn/v1
kind: Service
metadata: {name: mail}
spec:
  slis:
    - {name: sent, events: {bad: mail_errors_total, total: mail_total}}
  slos:
    - {name: sent, sli: sent, objective: 99.9}
"#;

fn services() -> Vec<Service> {
    let (services, report) = parse(&[Source::new("shop.yaml", SHOP.to_owned())]);
    assert_eq!(report.render(false), "");
    services
}

fn documents(yaml: &str) -> Vec<serde_yaml::Value> {
    serde_yaml::Deserializer::from_str(yaml).map(|d| serde::Deserialize::deserialize(d).unwrap()).collect()
}

fn kinds(documents: &[serde_yaml::Value]) -> Vec<String> {
    let kind = |document: &serde_yaml::Value| {
        format!("{} {}", document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap())
    };
    documents.iter().map(kind).collect()
}

/// A name with capitals gets a hash: only what is before it is of interest.
fn starts(kinds: &[String], expected: &[&str]) {
    assert_eq!(kinds.len(), expected.len(), "{kinds:?}");
    assert!(kinds.iter().zip(expected).all(|(kind, start)| kind.starts_with(start)), "{kinds:?}");
}

#[test]
fn objects_are_as_recorded() {
    for (format, name) in [(Format::Argo, "argo"), (Format::Flagger, "flagger")] {
        insta::with_settings!({ snapshot_path => "../snapshots" }, {
            insta::assert_snapshot!(name, generate::render(&services(), format, "https://slo.example:9797/"));
        });
    }
}

#[test]
fn argo_waits_for_each_step_and_watches_all() {
    let documents = documents(&generate::render(&services(), Format::Argo, generate::DEFAULT_ADDRESS));
    let expected = [
        "AnalysisTemplate sloburn-shop-step",
        "AnalysisTemplate sloburn-shop-watch",
        "Rollout shop.api",
        "AnalysisTemplate sloburn-search-eu-step",
        "AnalysisTemplate sloburn-search-eu-watch",
        "Rollout search-eu",
        "ConfigMap argo-rollouts-notification-configmap",
    ];
    starts(&kinds(&documents), &expected);
    let metric = &documents[0]["spec"]["metrics"][0];
    // An hour in looks of 15 s, and some.
    assert!(metric["count"].as_u64().unwrap() > 240 && metric["count"] == metric["inconclusiveLimit"]);
    // An inline analysis ends only when all of its metrics do.
    assert_eq!(documents[0]["spec"]["metrics"].as_sequence().unwrap().len(), 1);
    assert!(documents[1]["spec"]["metrics"][0].get("count").is_none(), "the watch ends with the rollout");
    // Steps are named in the query as they are in the spec, escaped: what Argo puts into the URL is read back.
    let canary = &documents[2]["spec"]["strategy"]["canary"];
    let analyses = canary["steps"].as_sequence().unwrap().iter().filter(|step| step.get("analysis").is_some());
    let asked: Vec<String> = analyses
        .map(|step| {
            let step = step["analysis"]["args"][1]["value"].as_str().unwrap();
            let url = documents[0]["spec"]["metrics"][0]["provider"]["web"]["url"].as_str().unwrap();
            let url = url.replace("{{args.sloburn}}", "http://sloburn").replace("{{args.version}}", "v2");
            let url: url::Url = url.replace("{{args.step}}", step).parse().unwrap();
            url.query_pairs().find(|(name, _)| name == "step").unwrap().1.into_owned()
        })
        .collect();
    assert_eq!(asked, ["staff", "pilot", "0.5%", "a quarter & more"]);
    let field = canary["analysis"]["args"][0]["valueFrom"]["fieldRef"]["fieldPath"].as_str();
    assert_eq!(field, Some("spec.template.metadata.labels.version"));
}

/// As Argo has it: read from JSON, so that every number is a float.
fn value(json: &serde_json::Value) -> gotmpl::Value {
    match json {
        serde_json::Value::Null => gotmpl::Value::Nil,
        serde_json::Value::Bool(yes) => gotmpl::Value::Bool(*yes),
        serde_json::Value::Number(number) => gotmpl::Value::Float(number.as_f64().unwrap()),
        serde_json::Value::String(text) => gotmpl::Value::String(text.as_str().into()),
        serde_json::Value::Array(items) => gotmpl::Value::List(items.iter().map(value).collect()),
        serde_json::Value::Object(fields) => gotmpl::Value::Map(Arc::new(
            fields.iter().map(|(name, field)| (name.as_str().into(), value(field))).collect(),
        )),
    }
}

/// What the notification of an event posts about a rollout at a step.
fn posted(event: &str, recipient: &str, status: &serde_json::Value) -> serde_json::Value {
    let documents = documents(&generate::render(&services(), Format::Argo, generate::DEFAULT_ADDRESS));
    let data = &documents.last().unwrap()["data"];
    let trigger = data[format!("trigger.on-rollout-{event}").as_str()].as_str().unwrap();
    let trigger: serde_yaml::Value = serde_yaml::from_str(trigger).unwrap();
    let template = format!("template.{}", trigger[0]["send"][0].as_str().unwrap());
    let template: serde_yaml::Value = serde_yaml::from_str(data[template.as_str()].as_str().unwrap()).unwrap();
    let body = template["webhook"]["sloburn"]["body"].as_str().unwrap();
    let rollout = json!({
        "spec": {
            "template": {"metadata": {"labels": {"version": "v2", "app_version": "7.1"}}},
            "strategy": {"canary": {"steps": [
                {"setCanaryScale": {"replicas": 1}}, {"analysis": {}}, {"setWeight": 1}, {"analysis": {}},
                {"setWeight": 25}, {"analysis": {}},
            ]}},
        },
        "status": status,
    });
    let data = value(&json!({"rollout": rollout, "recipient": recipient}));
    let text = gotmpl::Template::new("body").parse(body).unwrap().execute_to_string(&data).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn argos_notifications_say_how_far_a_rollout_is() {
    for (index, weight) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 25), (5, 25), (6, 25)] {
        let status = json!({"currentStepIndex": index, "phase": "Progressing"});
        let expected = json!({
            "event": "on-rollout-step-completed", "service": "shop", "version": "v2", "weight": weight,
            "phase": "Progressing", "message": "",
        });
        assert_eq!(posted("step-completed", "shop", &status), expected);
    }
    let status = json!({"phase": "Degraded", "message": "metric \"decided\" assessed\tFailed: ü"});
    let aborted = posted("aborted", "Search_EU", &status);
    assert_eq!(aborted["version"], "7.1", "each service has its own version label");
    assert_eq!((&aborted["message"], &aborted["weight"]), (&status["message"], &json!(0)));
}

#[test]
fn flaggers_hooks_name_the_service_and_its_queries_are_promql() {
    let documents = documents(&generate::render(&services(), Format::Flagger, generate::DEFAULT_ADDRESS));
    starts(
        &kinds(&documents),
        &["Canary shop", "MetricTemplate sloburn-shop-availability-burn-rate", "Canary search-eu"],
    );
    let analysis = &documents[0]["spec"]["analysis"];
    assert_eq!(serde_json::to_value(&analysis["stepWeights"]).unwrap(), json!([1, 25]));
    let hooks = analysis["webhooks"].as_sequence().unwrap();
    assert_eq!(hooks.len(), 7);
    for hook in hooks {
        let path = format!("/api/v1/flagger/{}", hook["type"].as_str().unwrap());
        assert!(hook["url"].as_str().unwrap().ends_with(&path));
        assert_eq!(hook["metadata"]["service"].as_str(), Some("shop"));
    }
    // The SLO whose burn only pauses is none of Flagger's business: what fails its checks is taken back.
    let metrics = analysis["metrics"].as_sequence().unwrap();
    assert_eq!(metrics.len(), 1);
    assert_eq!(metrics[0]["templateRef"]["name"], documents[1]["metadata"]["name"]);
    assert_eq!(metrics[0]["thresholdRange"]["max"].as_f64(), Some(14.4));
    let query = documents[1]["spec"]["query"].as_str().unwrap();
    promql_parser::parser::parse(query).unwrap();
    assert!(query.contains(r#"sloth_id="shop-availability""#), "{query}");
}
