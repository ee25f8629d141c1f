//! `sloburn test`: unit tests of specs.

use std::path::Path;
use std::process::Output;

use crate::daemon::sloburn;
use crate::traffic::SHOP;

/// Exit code, standard output and standard error of `sloburn test`.
fn test(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = sloburn().arg("test").args(args).current_dir(folder).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn folder(tests: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), SHOP).unwrap();
    std::fs::write(folder.path().join("shop_test.yaml"), tests).unwrap();
    folder
}

#[test]
fn the_examples_pass() {
    let (code, stdout, stderr) = test(Path::new(env!("CARGO_MANIFEST_DIR")), &["examples/tests"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.ends_with(" 0 failed\n") && stdout.contains("ok   examples/tests/checkout_test.yaml: "), "{stdout}");
}

#[test]
fn what_is_not_as_expected_is_said() {
    let folder = folder(
        "rule_files: [shop.yaml]
tests:
  - name: wrong
    interval: 15s
    input_series:
      - {series: 'http_requests_total{job=\"shop\",instance=\"a\",code=\"200\"}', values: '0+100x40'}
      - {series: 'http_requests_total{job=\"shop\",instance=\"a\",code=\"500\"}', values: '0+100x40'}
    alert_rule_test:
      - {eval_time: 10m, exp_alerts: [{exp_labels: {severity: nobody}}]}
    slo_test:
      - {eval_time: 10m, slo: shop/availability, exp: {state: healthy, bad: 1, burn_rates: {5m: 1, 7m: 1}}}
      - {eval_time: 10m, slo: shop/nothing, exp: {state: healthy}}
  - name: right
    input_series: []
    slo_test:
      - {eval_time: 1h, slo: shop/availability, exp: {state: no-data, total: 0, budget_remaining: none}}
",
    );
    let (code, stdout, stderr) = test(folder.path(), &[".", "--junit", "results.xml"]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    insta::assert_snapshot!(stdout);
    let xml = std::fs::read_to_string(folder.path().join("results.xml")).unwrap();
    assert!(xml.contains("<testsuites name=\"sloburn\" tests=\"2\" failures=\"1\">"), "{xml}");
}

#[test]
fn mistakes_in_a_file_have_places() {
    let folder = folder(
        "rule_files: [shop.yaml]
tests:
  - name: wrong
    intervall: 15s
    input_series:
      - {series: 'up{job=~\"a\"}', values: '1x'}
      - {series: 'rate(up[5m])', values: ''}
    slo_test:
      - {eval_time: 10, slo: a/b, exp: {burn_rates: {soon: 1}}}
  - {input_series: []}
",
    );
    let (code, stdout, stderr) = test(folder.path(), &["shop_test.yaml"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    insta::assert_snapshot!(stderr);
    let (code, _, stderr) = test(folder.path(), &["nothing.yaml"]);
    assert!(code == 1 && stderr.contains("no such file or folder: nothing.yaml"), "{stderr}");
}
