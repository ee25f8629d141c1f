//! What makes Argo Rollouts wait for sloburn's verdicts: templates of analysis, steps, and notifications.
//!
//! Each step of a Rollout sets a weight and then waits in an analysis until that step is decided: every answer but
//! `promote` and `rollback` is inconclusive, and there may be as many of those as fit into the deadline. What stops the
//! rollout is asked for in the background, by an analysis of its own: a run is over only when all of its metrics are,
//! so in the same one the metric that waits for a `pause` would keep each step from ending.
//!
//! An answer that cannot be had is an error of the measurement. Argo asks again every 10 s and takes the release back
//! after five in a row unless told otherwise, so it is told otherwise: a judge that restarts condemns nobody.

use serde::Serialize;
use serde_json::{Value, json};

use crate::generate::model::pairs;
use crate::generate::render::{object_name, to_yaml};
use crate::spec::{Canary, Service, Step};
use crate::types::Span;

/// How often Argo asks.
const INTERVAL: Span = Span::seconds(15);
/// Looks beyond the deadline: the verdict is `pause` then, and that should be what ends the wait.
const SPARE_LOOKS: i64 = 20;
/// Errors in a row, one every 10 s, before Argo gives up: nearly seven minutes.
const ERRORS_LIMIT_COUNT: u32 = 40;
/// What is posted about an EVENT, in Go's own functions only. `$label` is set before. The weight is that of the last
/// step done: it is there without a traffic router too. Argo tells of a step that is completed before it counts on, so the
/// step at hand is one of them; and place 0 is false to a template. Places are compared as text, as they may be any kind
/// of number.
const BODY: &str = r#"{{- $weight := 0 }}
{{- $at := "000" }}{{ with .rollout.status.currentStepIndex }}{{ $at = printf "%03v" . }}{{ end }}
{{- range $i, $step := .rollout.spec.strategy.canary.steps }}
{{- if le (printf "%03v" $i) $at }}{{ with $step.setWeight }}{{ $weight = . }}{{ end }}{{ end }}
{{- end }}
{
  "event": "on-rollout-EVENT",
  "service": "{{ .recipient }}",
  "version": "{{ index .rollout.spec.template.metadata.labels $label }}",
  "weight": {{ $weight }},
  "phase": "{{ .rollout.status.phase }}",
  "message": {{ with .rollout.status.message }}{{ printf "%q" . }}{{ else }}""{{ end }}
}"#;
/// The name of the receiver among Argo's notification services.
const RECEIVER: &str = "sloburn";
/// The events that are told, by the name of their trigger.
const EVENTS: [&str; 5] = ["updated", "step-completed", "paused", "aborted", "completed"];

/// Templates and a patch for the Rollout of each service with a `canary` block, and one `ConfigMap` for all.
pub(super) fn render(judged: &[(&Service, &Canary)], address: &str) -> String {
    let mut documents: Vec<String> =
        judged.iter().flat_map(|(service, canary)| documents(service, canary, address)).collect();
    documents.push(notifications(judged, address));
    documents.join("---\n")
}

fn documents(service: &Service, canary: &Canary, address: &str) -> [String; 3] {
    [
        to_yaml(
            &["Ends when sloburn has decided about a step: promoted, or taken back."],
            &template(service, canary, "step", address, &decided(service, canary)),
        ),
        to_yaml(
            &["Runs beside all steps: takes the release back or pauses it as soon as sloburn says so."],
            &template(service, canary, "watch", address, &watched(service)),
        ),
        rollout(service, canary),
    ]
}

/// `sloburn-<service>-<kind>`
fn template_name(service: &Service, kind: &str) -> String {
    object_name(&format!("sloburn-{}-{kind}", service.name))
}

fn metadata(name: &str, canary: &Canary) -> Value {
    match &canary.argo {
        Some(argo) => json!({"name": name, "namespace": argo.namespace}),
        None => json!({"name": name}),
    }
}

fn template(service: &Service, canary: &Canary, kind: &str, address: &str, metric: &Value) -> Value {
    let mut args = vec![json!({"name": "sloburn", "value": address}), json!({"name": "version"})];
    if kind == "step" {
        args.push(json!({"name": "step"}));
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": metadata(&template_name(service, kind), canary),
        "spec": {"args": args, "metrics": [metric]},
    })
}

fn provider(service: &Service, query: &str) -> Value {
    let url = format!("{{{{args.sloburn}}}}/api/v1/verdict?service={}&{query}", escaped(&service.name));
    json!({"web": {"url": url, "timeoutSeconds": 10, "jsonPath": "{$}"}})
}

fn decided(service: &Service, canary: &Canary) -> Value {
    let interval = INTERVAL.as_millis();
    let looks = (canary.deadline.as_millis() + interval - 1) / interval + SPARE_LOOKS;
    json!({
        "name": "decided",
        "interval": INTERVAL.to_string(),
        "count": looks,
        "consecutiveSuccessLimit": 1,
        "inconclusiveLimit": looks,
        "consecutiveErrorLimit": ERRORS_LIMIT_COUNT,
        "successCondition": "result.verdict == \"promote\"",
        "failureCondition": "result.verdict == \"rollback\"",
        "provider": provider(service, "version={{args.version}}&step={{args.step}}"),
    })
}

fn watched(service: &Service) -> Value {
    json!({
        "name": "not-paused",
        "interval": INTERVAL.to_string(),
        "inconclusiveLimit": 0,
        "consecutiveErrorLimit": ERRORS_LIMIT_COUNT,
        "successCondition": "result.verdict != \"pause\"",
        "failureCondition": "result.verdict == \"rollback\"",
        "provider": provider(service, "version={{args.version}}"),
    })
}

/// The part of a Rollout that is about its steps, as a merge patch.
fn rollout(service: &Service, canary: &Canary) -> String {
    let name = canary.argo.as_ref().map_or_else(|| object_name(&service.name), |argo| argo.name.clone());
    let label = service.version_label.as_deref().unwrap_or_default();
    let path = format!("spec.template.metadata.labels.{label}");
    let version = json!({"name": "version", "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let namespace = canary.argo.as_ref().map(|argo| format!(" -n {}", argo.namespace)).unwrap_or_default();
    let mut comments = vec![
        format!("The steps of the Rollout: kubectl patch rollout {name}{namespace} --type merge --patch-file FILE"),
        format!("The version is the pod template's label `{label}`; it has the value that the metrics' label has."),
    ];
    let mut steps = Vec::new();
    let mut is_scaled = false;
    for step in &canary.steps {
        if let Some(comment) = exposure(step) {
            comments.push(comment);
        }
        if let Some(weight) = step.weight {
            if std::mem::take(&mut is_scaled) {
                steps.push(json!({"setCanaryScale": {"matchTrafficWeight": true}}));
            }
            steps.push(json!({"setWeight": whole(weight)}));
        } else {
            is_scaled = true;
            steps.push(json!({"setCanaryScale": {"replicas": 1}}));
        }
        let args = [version.clone(), json!({"name": "step", "value": escaped(&step.name)})];
        let templates = [json!({"templateName": template_name(service, "step")})];
        steps.push(json!({"analysis": {"templates": templates, "args": args}}));
    }
    let subscriptions: serde_json::Map<String, Value> = EVENTS
        .into_iter()
        .map(|event| {
            (format!("notifications.argoproj.io/subscribe.on-rollout-{event}.{RECEIVER}"), json!(service.name))
        })
        .collect();
    let mut metadata = metadata(&name, canary);
    metadata["annotations"] = subscriptions.into();
    let templates = [json!({"templateName": template_name(service, "watch")})];
    let canary = json!({"analysis": {"templates": templates, "args": [version]}, "steps": steps});
    let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
    to_yaml(
        &comments,
        &json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": metadata,
            "spec": {"strategy": {"canary": canary}},
        }),
    )
}

/// What a weight alone does not say.
fn exposure(step: &Step) -> Option<String> {
    let cohort: Vec<String> = step.cohort.iter().map(ToString::to_string).collect();
    let traffic = match (cohort.is_empty(), step.weight) {
        (true, Some(weight)) if weight.fract() == 0.0 => return None,
        (true, Some(weight)) => {
            return Some(format!(
                "Step `{}`: weights are whole in Argo, {weight} % becomes {}.",
                step.name,
                whole(weight)
            ));
        }
        (true, None) => "its traffic".to_owned(),
        (false, _) => format!("traffic with {}", cohort.join(",")),
    };
    let route = object_name(&step.name);
    Some(format!(
        "Step `{}` is for {traffic}: route it to the canary, for example by a step before its analysis,\n  - \
         setHeaderRoute: {{name: {route}, match: [{{headerName: X-Canary, headerValue: {{exact: \"true\"}}}}]}}\nwith \
         `{route}` among `trafficRouting.managedRoutes`.",
        step.name,
    ))
}

/// Argo's and Flagger's weights have no fraction.
pub(super) fn whole(weight: f64) -> u64 {
    weight.ceil() as u64
}

/// One `ConfigMap` in the shape Argo's notifications read: what is in it besides stays, where it is merged.
#[derive(Serialize)]
struct ConfigMap {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    metadata: Value,
    #[serde(serialize_with = "pairs")]
    data: Vec<(String, String)>,
}

fn notifications(judged: &[(&Service, &Canary)], address: &str) -> String {
    let service =
        format!("url: {address}/api/v1/argo/events\nheaders:\n- name: Content-Type\n  value: application/json\n");
    let mut data = vec![(format!("service.webhook.{RECEIVER}"), service)];
    for event in EVENTS {
        let body = body(judged, event).replace('\n', "\n      ");
        let template = format!("webhook:\n  {RECEIVER}:\n    method: POST\n    body: |\n      {}\n", body.trim_end());
        data.push((format!("template.{RECEIVER}-{event}"), template));
    }
    for event in EVENTS {
        data.push((format!("trigger.on-rollout-{event}"), format!("- send: [{RECEIVER}-{event}]\n")));
    }
    to_yaml(
        &[
            "Tells sloburn how far each Rollout is. Merge it into the notifications you have: a trigger that exists",
            "gets one more template in `send`. The Rollouts above subscribe to it with their service's name.",
        ],
        &ConfigMap {
            api_version: "v1",
            kind: "ConfigMap",
            metadata: json!({"name": "argo-rollouts-notification-configmap", "namespace": "argo-rollouts"}),
            data,
        },
    )
}

/// The Go template of what is posted: each service has its own version label.
fn body(judged: &[(&Service, &Canary)], event: &str) -> String {
    let mut labels: Vec<(&str, Vec<&str>)> = Vec::new();
    for (service, _) in judged {
        let label = service.version_label.as_deref().unwrap_or_default();
        match labels.iter_mut().find(|(known, _)| *known == label) {
            Some((_, services)) => services.push(&service.name),
            None => labels.push((label, vec![&service.name])),
        }
    }
    let usual = labels.first().map_or("version", |(label, _)| *label);
    let mut lines = vec![format!(r#"{{{{- $label := "{usual}" }}}}"#)];
    lines.extend(labels.iter().skip(1).map(|(label, services)| {
        let names: Vec<String> = services.iter().map(|name| format!("\"{name}\"")).collect();
        format!(r#"{{{{- if eq .recipient {} }}}}{{{{ $label = "{label}" }}}}{{{{ end }}}}"#, names.join(" "))
    }));
    lines.push(BODY.replace("EVENT", event));
    lines.join("\n")
}

/// A text as part of a URL's query.
fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
