//! PromQL: scripts in the notation of promqltest through the evaluator.

use std::fs;
use std::path::{Path, PathBuf};

mod limits;
pub mod memory;
pub mod notation;
mod properties;
mod run;
mod script;

use run::{Case, Verdict};

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    files
}

fn run_script(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let commands = script::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    run::run(&commands)
}

/// The cases that do not pass, as `file:line`, with a reason each.
fn gaps() -> Vec<(String, String)> {
    include_str!("promql/gaps.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a gap has a place and a reason"))
        .map(|(place, reason)| (place.to_owned(), reason.to_owned()))
        .collect()
}

fn report(cases: &[Case], file: &str) -> Vec<String> {
    let mut failures = Vec::new();
    for case in cases {
        let (kind, reason) = match &case.verdict {
            Verdict::Passed => continue,
            Verdict::Failed(reason) => ("failed", reason),
            Verdict::Unsupported(reason) => ("unsupported", reason),
        };
        failures.push(format!("{file}:{} {kind}: {}\n    {reason}", case.line, case.query));
    }
    failures
}

#[test]
fn own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut failures = Vec::new();
    let mut count = 0;
    for path in scripts(&folder) {
        let cases = run_script(&path);
        count += cases.len();
        failures.extend(report(&cases, path.file_name().unwrap().to_str().unwrap()));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(count > 100, "only {count} cases");
}

/// Prometheus' own cases, where `PROMQLTEST_DIR` says they are.
#[test]
#[expect(clippy::print_stdout, reason = "the table of passed cases is what this test is read for")]
fn scripts_of_prometheus_pass() {
    let Ok(folder) = std::env::var("PROMQLTEST_DIR") else { return };
    let gaps = gaps();
    let (mut surprises, mut unneeded) = (Vec::new(), gaps.clone());
    let mut total = [0; 3];
    println!("{:<28} {:>6} {:>6} {:>11}", "file", "passed", "failed", "unsupported");
    for path in scripts(Path::new(&folder)) {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let cases = run_script(&path);
        let count = |kind: fn(&Verdict) -> bool| cases.iter().filter(|case| kind(&case.verdict)).count();
        let counts = [
            count(|v| matches!(v, Verdict::Passed)),
            count(|v| matches!(v, Verdict::Failed(_))),
            count(|v| matches!(v, Verdict::Unsupported(_))),
        ];
        println!("{file:<28} {:>6} {:>6} {:>11}", counts[0], counts[1], counts[2]);
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
        for failure in report(&cases, &file) {
            let place = failure.split(' ').next().unwrap();
            if gaps.iter().any(|(gap, _)| gap == place) {
                unneeded.retain(|(gap, _)| gap != place);
            } else {
                surprises.push(failure);
            }
        }
    }
    println!("{:<28} {:>6} {:>6} {:>11}", "all", total[0], total[1], total[2]);
    assert!(surprises.is_empty(), "{} cases fail that should not:\n{}", surprises.len(), surprises.join("\n"));
    assert!(unneeded.is_empty(), "listed as gaps, but pass: {unneeded:?}");
}

/// A wrong expectation of each kind is found.
#[test]
fn wrong_expectations_fail() {
    for expectation in [
        "{} 2",
        "{a=\"b\"} 1",
        "1",
        "expect fail",
        "expect warn\n  {} 1",
        "expect info\n  {} 1",
        "{} {{count:1}}",
        "expect string \"a\"",
        "",
    ] {
        let script = format!("eval instant at 0 vector(1)\n  {expectation}\n");
        let cases = run::run(&script::parse(&script).unwrap());
        assert!(!report(&cases, "").is_empty(), "{expectation}");
    }
}
