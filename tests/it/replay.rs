//! `sloburn replay`: known outages with their exact times, any order of input, bad input; and the same engine live.

mod live;
mod promtool;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// 2026-11-01T00:00:00Z, on the edge of every slice.
const START_SECONDS: i64 = 1_793_491_200;
const SCRAPE_SECONDS: i64 = 15;

const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: api}
spec:
  slis:
    - name: errors
      events:
        bad: http_requests_total{job="api",code=~"5.."}
        total: http_requests_total{job="api"}
  slos:
    - {name: availability, sli: errors, objective: 99}
"#;

const GOOD: &str = r#"http_requests_total{code="200",instance="a:1",job="api"}"#;
const BAD: &str = r#"http_requests_total{code="500",instance="a:1",job="api"}"#;

/// A sample: series, seconds, value.
type Row = (&'static str, i64, u64);

/// Four hours of 10 requests a scrape; all fail from 02:00 to 02:30, and none otherwise. In order of time.
fn outage() -> Vec<Row> {
    let (mut good, mut bad) = (1_000, 0);
    let mut rows = Vec::new();
    for scrape in 0..=960 {
        match scrape {
            0 => {}
            481..=600 => bad += 10,
            _ => good += 10,
        }
        let at = START_SECONDS + scrape * SCRAPE_SECONDS;
        rows.extend([(BAD, at, bad), (GOOD, at, good)]);
    }
    rows
}

/// OpenMetrics text as promtool writes it.
fn dump(rows: &[Row]) -> String {
    let mut text = String::from("# HELP http_requests Requests.\n# TYPE http_requests counter\n");
    for (series, at, value) in rows {
        writeln!(text, "{series} {value} {at}.000").unwrap();
    }
    text + "# EOF\n"
}

/// A folder with the spec, and files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.path("api.yaml"), SPEC).unwrap();
        for (name, text) in files {
            fs::write(folder.path(name), text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `sloburn replay --rules api.yaml ...` in the folder.
    fn replay(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
        command.args(["replay", "--rules", "api.yaml"]).args(arguments).current_dir(&self.0);
        command.output().unwrap()
    }

    /// What a replay that works writes to standard output.
    #[track_caller]
    fn output(&self, arguments: &[&str]) -> String {
        let output = self.replay(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(output: &str) -> Vec<Value> {
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `time window state` of every line about an alert.
fn alerts(output: &str) -> Vec<String> {
    let lines = lines(output);
    let alerts = lines.iter().filter(|line| line["kind"] == "alert");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    alerts.map(|a| format!("{} {} {}", text(&a["time"]), text(&a["labels"]["long"]), text(&a["state"]))).collect()
}

/// Of 2,400 requests in an hour the 35th scrape of the outage is the first with more than 14.4 % failed (350 of
/// 2,405: an odd scrape splits the 10 s slice at the window's start); the 5 min window is all failures by then.
/// The 6 h window has been watched for two hours and so many scrapes: n / 1,440 is over 6 % at the 87th.
///
/// The end is found between scrapes. 5 min: seven seconds after the 137th scrape the window starts 2 s into the
/// slice of the 118th, whose share is 0.8: 28 of 198 failed is under 14.4 %. 30 min: 3 s after the 233rd the
/// window starts 8 s into the slice of the 113th, whose share is 0.2: 72 of 1,202 is under 6 %.
#[test]
fn an_outage_fires_and_resolves_when_it_must() {
    let folder = Folder::new(&[("dump.om", &dump(&outage()))]);
    let output = folder.output(&["--input", "dump.om", "--format", "json"]);
    assert_eq!(
        alerts(&output),
        [
            "2026-11-01T02:08:45.000Z 1h firing",
            "2026-11-01T02:21:45.000Z 6h firing",
            "2026-11-01T02:34:22.000Z 1h resolved",
            "2026-11-01T02:58:18.000Z 6h resolved",
        ]
    );
    insta::assert_snapshot!("outage.json", output);
    insta::assert_snapshot!("outage.txt", folder.output(&["--input", "dump.om"]));
}

#[test]
fn the_order_and_number_of_inputs_do_not_matter() {
    let by_time = outage();
    let mut by_series = by_time.clone();
    by_series.sort_by_key(|row| row.0);
    let (mut backwards, mut shuffled) = (by_time.clone(), by_time.clone());
    backwards.reverse();
    // A fixed shuffle.
    shuffled.sort_by_key(|(series, at, _)| ((at * 2_654_435_761 + series.len() as i64) % 1_009, *at));
    let (early, late) = by_time.split_at(777);
    let folder = Folder::new(&[
        ("time.om", &dump(&by_time)),
        ("series.om", &dump(&by_series)),
        ("backwards.om", &dump(&backwards)),
        ("shuffled.om", &dump(&shuffled)),
        ("early.om", &dump(early)),
        // The overlap is counted once.
        ("late.om", &dump(&[&early[700..], late].concat())),
    ]);
    let expected = folder.output(&["--input", "time.om", "--format", "json"]);
    assert_eq!(lines(&expected).len(), 5);
    for input in ["series.om", "backwards.om", "shuffled.om"] {
        assert_eq!(folder.output(&["--input", input, "--format", "json"]), expected, "{input}");
    }
    let two = ["--input", "late.om", "--input", "early.om", "--format", "json"];
    assert_eq!(folder.output(&two), expected);
}

#[test]
fn time_may_be_narrowed() {
    let folder = Folder::new(&[("dump.om", &dump(&outage()))]);
    // The first sample in range has no predecessor: 240 scrapes with 10 requests follow it.
    let narrowed = ["--input", "dump.om", "--format", "json", "--from", "2026-11-01T00:30:00Z", "--to", "1793496600"];
    let lines = lines(&folder.output(&narrowed));
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["total"], &lines[0]["state"]), (&Value::from(2_400), &Value::from("warming")));
    let output = folder.replay(&["--input", "dump.om", "--from", "2026-12-01T00:00:00Z"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("--from 2026-12-01T00:00:00.000Z"), "{}", stderr(&output));
    for wrong in [&["--from", "yesterday"][..], &["--from", "2", "--to", "1"], &["--format", "xml"]] {
        let output = folder.replay(&[&["--input", "dump.om"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
    }
    assert_eq!(folder.replay(&[]).status.code(), Some(2), "no input");
}

#[test]
fn no_matching_sample_is_an_error_that_names_the_selectors() {
    let other = dump(&outage()).replace("job=\"api\"", "job=\"other\"");
    let folder = Folder::new(&[("other.om", &other), ("empty.om", "# EOF\n")]);
    let output = folder.replay(&["--input", "other.om"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0));
    let message = stderr(&output);
    for part in [
        "no data: no sample matches any SLI",
        "1,922 samples from 2026-11-01T00:00:00.000Z to 2026-11-01T04:00:00.000Z",
        "http_requests_total",
        r#"http_requests_total{job="api",code=~"5.."} of SLI api/errors (api.yaml:7)"#,
        r#"http_requests_total{job="api"} of SLI api/errors"#,
    ] {
        assert!(message.contains(part), "{part}\n{message}");
    }
    let output = folder.replay(&["--input", "empty.om"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("the input holds no samples"), "{}", stderr(&output));
}

#[test]
fn a_selector_that_matches_nothing_is_a_warning() {
    let good: Vec<Row> = outage().into_iter().filter(|row| row.0 == GOOD).collect();
    let folder = Folder::new(&[("good.om", &dump(&good)), ("cut.om", dump(&good).trim_end_matches("# EOF\n"))]);
    let output = folder.replay(&["--input", "good.om"]);
    assert_eq!(output.status.code(), Some(0));
    let warning = r#"warning: no sample matches http_requests_total{job="api",code=~"5.."} of SLI api/errors"#;
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    assert!(!stderr(&output).contains("# EOF"));
    let output = folder.replay(&["--input", "cut.om"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("cut.om does not end with `# EOF`"), "{}", stderr(&output));
}

#[test]
fn a_bad_line_is_shown_and_nothing_is_judged() {
    let line = format!("{GOOD} 1_0");
    let cases = [
        ("nan.om", dump(&outage()) + &line + " 1\n", "nan.om:1926:58", "the value is not a number"),
        ("ms.om", format!("{GOOD} 1 1793491200000\n"), "ms.om:1:60", "the timestamp can only be milliseconds"),
        ("when.om", format!("{GOOD} 1\n"), "when.om:1:59", "the sample has no timestamp"),
    ];
    for (name, text, place, message) in cases {
        let folder = Folder::new(&[(name, &text)]);
        let output = folder.replay(&["--input", name]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{name}");
        let shown = stderr(&output);
        assert!(shown.contains(place) && shown.contains(message) && shown.contains(GOOD), "{name}\n{shown}");
    }
    let folder = Folder::new(&[]);
    let output = folder.replay(&["--input", "nowhere.om"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot read nowhere.om"), "{}", stderr(&output));
    fs::write(folder.path("dump.om.gz"), b"\x1f\x8b\x08").unwrap();
    let output = folder.replay(&["--input", "dump.om.gz"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("gunzip -c dump.om.gz"), "{}", stderr(&output));
}

#[test]
fn standard_input_is_an_input() {
    let folder = Folder::new(&[("dump.om", &dump(&outage()))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
    command.args(["replay", "--rules", "api.yaml", "--input", "-", "--format", "json"]).current_dir(&folder.0);
    let output = command.stdin(fs::File::open(folder.path("dump.om")).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), folder.output(&["--input", "dump.om", "--format", "json"]));
}

/// At 90 % the page of 5m/1h would need more errors than there are requests, and the outage is too short for the
/// other tiers.
#[test]
fn two_sets_are_compared() {
    let lax = SPEC.replace("objective: 99", "objective: 90");
    let more = "    - {name: extra, sli: errors, objective: 95}\n";
    let folder = Folder::new(&[("dump.om", &dump(&outage())), ("lax.yaml", &(lax + more))]);
    let against = ["--input", "dump.om", "--against", "lax.yaml"];
    insta::assert_snapshot!("against.txt", folder.output(&against));
    let output = folder.output(&[&against[..], &["--format", "json"]].concat());
    let alone = folder.output(&["--input", "dump.om", "--format", "json"]);
    assert!(output.starts_with(&alone), "the first set's lines are the same as alone");
    let lines = lines(&output[alone.len()..]);
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert!(of("alert").iter().chain(&of("slo")).all(|line| line["set"] == "against"), "{output}");
    assert_eq!(of("slo").len(), 2);
    let [both, gone] = of("comparison")[..] else { panic!("{output}") };
    assert_eq!((&both["rules"]["pages"], &both["against"]["pages"]), (&Value::from(1), &Value::from(0)));
    assert_eq!(both["rules"]["longestPageSeconds"], Value::from(2_973));
    assert_eq!((&gone["slo"], &gone["rules"]), (&Value::from("api/extra"), &Value::Null));
}

/// The daemon would wait for the rest of the scrape; a recording has no rest.
#[test]
fn the_last_scrape_counts_though_a_series_is_missing_from_it() {
    let mut rows = outage();
    rows.push((GOOD, START_SECONDS + 961 * SCRAPE_SECONDS, 9_410));
    let folder = Folder::new(&[("dump.om", &dump(&rows))]);
    let lines = lines(&folder.output(&["--input", "dump.om", "--format", "json"]));
    assert_eq!((&lines[4]["good"], &lines[4]["total"]), (&Value::from(8_410), &Value::from(9_610)));
}

/// The other SLO's samples end 301 s before the recording does, and 296 s before the last regular round of judging.
#[test]
fn every_slo_is_as_of_the_last_sample() {
    const JOBS: &str = r#"jobs_total{instance="a:1",job="worker",outcome="ok"}"#;
    let worker = SPEC
        .replace("name: api", "name: worker")
        .replace("http_requests_total{job=\"api\"", "jobs_total{job=\"worker\"");
    let mut rows = outage();
    rows.push((GOOD, START_SECONDS + 14_405, 9_400));
    for (at, value) in [(14_089, 1), (14_104, 2)] {
        rows.push((JOBS, START_SECONDS + at, value));
    }
    let folder = Folder::new(&[("dump.om", &dump(&rows)), ("worker.yaml", &worker)]);
    let lines = lines(&folder.output(&["--rules", "worker.yaml", "--input", "dump.om", "--format", "json"]));
    let slo = |id: &str| lines.iter().find(|line| line["kind"] == "slo" && line["slo"] == id).unwrap();
    assert_eq!(slo("worker/availability")["state"], "no-data");
    assert_eq!(slo("api/availability")["state"], "warming");
}

#[test]
fn of_two_values_at_one_time_the_first_counts_and_it_is_said() {
    let rows = outage();
    let (_, at, value) = rows[rows.len() - 1];
    let folder = Folder::new(&[("dump.om", &dump(&rows)), ("other.om", &dump(&[(GOOD, at, value + 500)]))]);
    let output = folder.replay(&["--input", "dump.om", "--input", "other.om", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("1 sample refused (duplicate_timestamp)"), "{}", stderr(&output));
    let expected = folder.output(&["--input", "dump.om", "--format", "json"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// A day without samples in the middle: said, not judged.
#[test]
fn a_gap_is_told() {
    let mut rows = outage();
    let later: Vec<Row> = rows.iter().map(|(series, at, value)| (*series, at + 86_400, value + 20_000)).collect();
    rows.extend(later);
    let folder = Folder::new(&[("dump.om", &dump(&rows))]);
    let output = folder.replay(&["--input", "dump.om", "--format", "json"]);
    let gap = "no samples for 20h from 2026-11-01 04:00:00 to 2026-11-02 00:00:00";
    assert!(stderr(&output).contains(gap), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_rules_that_ship_can_be_replayed() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut text = String::new();
    for scrape in 0..=240 {
        let at = START_SECONDS + scrape * SCRAPE_SECONDS;
        for result in ["placed", "failed"] {
            writeln!(text, "checkout_orders_total{{job=\"checkout\",result=\"{result}\"}} {scrape} {at}").unwrap();
        }
    }
    let folder = Folder::new(&[("dump.om", &(text + "# EOF\n"))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sloburn"));
    let arguments = ["--input", "dump.om", "--format", "json"];
    command.arg("replay").arg("--rules").arg(rules).args(arguments).current_dir(&folder.0);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = lines(std::str::from_utf8(&output.stdout).unwrap());
    let orders = lines.iter().find(|line| line["kind"] == "slo" && line["slo"] == "checkout/orders").unwrap();
    assert_eq!((&orders["good"], &orders["total"]), (&Value::from(240), &Value::from(480)));
    assert_eq!(orders["state"], "burning");
}
