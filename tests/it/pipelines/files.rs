//! What lies in `examples/pipelines`: generated files are what is generated today, and every pipeline has what it needs.

use serde::Deserialize;
use serde_json::Value;

use super::{example, readme, recorded::rules};
use crate::daemon::sloburn;

/// Generated files: the example, the service, the format.
const GENERATED: [(&str, &str, &str); 5] = [
    ("payroll-api/argo.yaml", "payroll-api", "argo"),
    ("checkout/argo.yaml", "checkout", "argo"),
    ("guardrails/argo.yaml", "funds-transfer", "argo"),
    ("guardrails/flagger.yaml", "quote", "flagger"),
    ("checkout-progressive/argo.yaml", "checkout-progressive", "argo"),
];

#[test]
fn generated_examples_are_what_is_generated() {
    for (file, service, format) in GENERATED {
        let mut generate = sloburn();
        generate.args(["generate", "--format", format, "--address", "http://sloburn.monitoring:9797", "-i"]);
        let output = generate.arg(rules(service)).output().unwrap();
        let again = format!(
            "sloburn generate -i rules/{service}.yaml --format {format} --address http://sloburn.monitoring:9797 \
             -o examples/pipelines/{file}"
        );
        assert!(output.status.success(), "{again}");
        let is_current = String::from_utf8(output.stdout).unwrap() == example(file);
        assert!(is_current, "{file} is not what is generated today: {again}");
        let folder = file.split('/').next().unwrap();
        assert!(readme(folder).contains(&again), "the README of {folder} says how {file} is made: {again}");
    }
}

#[test]
fn every_pipeline_names_its_spec_and_its_remote_write() {
    let folders = ["payroll-api", "checkout", "payment-auth", "guardrails", "checkout-progressive"];
    for folder in folders {
        let readme = readme(folder);
        for part in ["rules/", "prometheus.yaml", "measured by `cargo test --test it pipelines -- --nocapture`"] {
            assert!(readme.contains(part), "{folder}: {part}");
        }
        let prometheus: Value = serde_yaml::from_str(&example(&format!("{folder}/prometheus.yaml"))).unwrap();
        assert!(prometheus["remote_write"][0]["url"].as_str().unwrap().ends_with("/api/v1/write"), "{folder}");
    }
    let job = example("payment-auth/argo-job.yaml");
    let documents: Vec<Value> =
        serde_yaml::Deserializer::from_str(&job).map(|d| Value::deserialize(d).unwrap()).collect();
    assert_eq!(documents.len(), 2);
}
