//! The command line as a user meets it: what goes where, and the exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sloburn::generate::Format;

fn sloburn(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
    command.args(arguments).current_dir(root).env_remove("NO_COLOR").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_rules_that_ship_are_clean() {
    let output = sloburn(&["check", "rules"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("0 errors, 0 warnings"));
    assert!(output.stdout.is_empty());
    // Which buckets arrive nobody knows yet; what the usual ones would hide is said.
    let coarse = "note: checkout: latency p95: where buckets are those that client libraries have by themselves, harm \
                  beyond 300 ms near 250 ms shows only above 500 ms";
    assert!(text(&output.stderr).contains(coarse), "{}", text(&output.stderr));
    let output = sloburn(&["check", "--lint", "none", "rules"]);
    assert!(!text(&output.stderr).contains("note: checkout: latency"), "{}", text(&output.stderr));
}

#[test]
fn every_format_is_generated_from_them() {
    for format in Format::ALL {
        let output = sloburn(&["generate", "-i", "rules", "-o", "-", "--format", format.as_str()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let expected = match format {
            Format::Prometheus | Format::Operator => "slo:sli_error:ratio_rate5m",
            Format::Argo => "/api/v1/verdict?service=payment-auth&",
            Format::Flagger => "http://sloburn:9797/api/v1/flagger/confirm-promotion",
        };
        assert!(text(&output.stdout).contains(expected), "{format}");
        let left_out = text(&output.stderr).contains("search: left out, it has no `canary` block");
        assert_eq!(left_out, format.is_about_releases());
    }
    let output = sloburn(&["generate", "-i", "rules/search.yaml", "--format", "argo"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no service in the input has a `canary` block"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let output = sloburn(&["generate", "-i", "rules", "--format", "flagger", "--address", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    let output = sloburn(&["generate", "-i", "rules", "--format", "jsonnet"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn generate_replaces_its_output_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    fs::write(&path, "old").unwrap();
    let output = sloburn(&["generate", "-i", "rules/checkout.yaml", "-o", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(fs::read_to_string(&path).unwrap().contains("\ngroups:"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn errors_lints_and_usage_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/checkout.yaml")).unwrap();
    let broken = file("broken.yaml", &spec.replace("objective:", "objectve:"));
    let lint = file("lint.yaml", &spec.replace("objective: 99", "objective: 90.0 #"));
    let config = file("sloburn.yml", "rule_files: [rules/]\nwebhook: []\n");

    let output = sloburn(&["check", &broken]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did you mean `objective`?"), "{}", text(&output.stderr));
    let output = sloburn(&["check", &lint]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(sloburn(&["check", "--lint", "none", &lint]).status.code(), Some(0));
    let output = sloburn(&["check", &config]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did you mean `webhooks`?"), "{}", text(&output.stderr));
    let output = sloburn(&["check", "no-such-file.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no such file or folder: no-such-file.yaml"));
    assert_eq!(sloburn(&["check"]).status.code(), Some(2));
    assert_eq!(sloburn(&["chek", "rules"]).status.code(), Some(2));
    let output = sloburn(&["serve", "--rules", &broken]);
    assert_eq!(output.status.code(), Some(1));
    let output = sloburn(&["generate", "-i", &broken, "-o", "-"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "no rules from a broken spec");
}

#[test]
fn the_example_configuration_is_clean() {
    let output = sloburn(&["check", "examples/config/sloburn.yml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
#[ignore = "needs promtool and amtool"]
fn the_example_configurations_of_peers_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (tool, arguments) in [
        ("promtool", &["check", "config", "examples/config/prometheus.yml"][..]),
        ("amtool", &["check-config", "examples/config/alertmanager.yml"]),
    ] {
        let output = Command::new(tool).args(arguments).current_dir(root).output().unwrap();
        assert!(output.status.success(), "{tool}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}
