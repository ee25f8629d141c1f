//! `sloburn demo` as a process: real remote write in, a signed webhook out.

use std::net::TcpListener;
use std::process::{Command, Output};

use sloburn::spec::{Source, parse};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
    command.arg("demo").args(arguments).env_remove("SLOBURN_LOG_LEVEL");
    // A proxy that answers nobody: nothing but loopback may be asked.
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env_remove("NO_PROXY");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_page_arrives_at_the_webhook() {
    let ended = demo(&["--web.listen-address", "127.0.0.1:0", "--exit-after", "page", "--timeout", "85s"]);
    let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!((ended.status.code(), stderr), (Some(0), ""), "{stdout}");
    let place = |line: &str| stdout.find(line).unwrap_or_else(|| panic!("no {line:?} in\n{stdout}"));
    let story = [
        "30 days of history",
        "! TICKET firing  search/latency",
        "> DEPLOY         checkout",
        "- NOTE           invoices/rendered",
        "! PAGE firing    checkout/orders",
        "! PAGE firing    checkout/availability",
        "sloburn serve --rules rules/",
    ];
    assert!(story.map(place).is_sorted(), "{stdout}");
    let canaries = [
        "> CANARY         payments",
        "! ROLL BACK      payments",
        "+ PROMOTE        catalog",
        "+ PROMOTED       catalog",
    ];
    assert!(canaries.map(place).is_sorted(), "{stdout}");
    assert!(!stdout.contains('\x1b'), "plain text where there is no terminal");
}

#[test]
fn a_taken_port_is_no_obstacle_and_a_timeout_a_failure() {
    // Taken by this test, or by somebody else.
    let _taken = TcpListener::bind("127.0.0.1:9797");
    let ended = demo(&["--exit-after", "page", "--timeout", "1s"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stdout).contains("127.0.0.1:9797 is taken"), "{}", text(&ended.stdout));
    assert_eq!(text(&ended.stderr), "error: what was to be waited for did not happen within 1s\n");
}

#[test]
fn its_specs_can_be_had() {
    let printed = demo(&["--print-specs"]);
    let (services, report) = parse(&[Source::new("demo.yaml", text(&printed.stdout))]);
    assert_eq!(report.render(false), "");
    assert_eq!((services.len(), printed.status.code()), (6, Some(0)));
}
