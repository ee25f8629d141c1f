//! What comes out of a real Prometheus database is read back, and judged the same.

use std::process::Command;

use super::{Folder, SCRAPE_SECONDS, START_SECONDS, dump, outage, stderr};
use crate::peers::Peer;

#[test]
#[ignore = "needs promtool"]
fn a_database_dumped_by_promtool_gives_the_same_replay() {
    let folder = Folder::new(&[("dump.om", &dump(&outage()))]);
    let promtool = |arguments: &[&str]| {
        let output = Command::new("promtool").args(arguments).current_dir(folder.path("")).output().expect("promtool");
        assert!(output.status.success(), "promtool {arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let expected = folder.output(&["--input", "dump.om", "--format", "json"]);
    promtool(&["tsdb", "create-blocks-from", "openmetrics", "dump.om", "data"]);
    // The dump commands open the folder as a server's.
    std::fs::create_dir(folder.path("data/wal")).unwrap();

    // Every promtool has `dump`, in milliseconds and with the name among the labels.
    std::fs::write(folder.path("ms.txt"), promtool(&["tsdb", "dump", "data"])).unwrap();
    let output = folder.replay(&["--input", "ms.txt"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("hint: divide by 1000"), "{}", stderr(&output));
    let dumped = promtool(&["tsdb", "dump", "data"]);
    let in_seconds = |line: &str| {
        let (sample, millis) = line.rsplit_once(' ').unwrap();
        let (seconds, rest) = millis.split_at(millis.len() - 3);
        format!("{sample} {seconds}.{rest}")
    };
    let seconds = dumped.lines().map(in_seconds).collect::<Vec<_>>().join("\n");
    std::fs::write(folder.path("seconds.om"), seconds + "\n# EOF\n").unwrap();
    assert_eq!(folder.output(&["--input", "seconds.om", "--format", "json"]), expected);

    // Newer ones have `dump-openmetrics`.
    let has_it = Command::new("promtool").args(["tsdb", "dump-openmetrics", "--help"]).output().unwrap();
    if has_it.status.success() {
        std::fs::write(folder.path("new.om"), promtool(&["tsdb", "dump-openmetrics", "data"])).unwrap();
        assert_eq!(folder.output(&["--input", "new.om", "--format", "json"]), expected);
    }
}

#[test]
#[ignore = "needs prometheus and promtool"]
fn a_server_asked_for_its_samples_gives_the_same_replay() {
    let folder = Folder::new(&[("dump.om", &dump(&outage()))]);
    let expected = folder.output(&["--input", "dump.om", "--format", "json"]);
    let blocks = ["tsdb", "create-blocks-from", "openmetrics", "dump.om", "data"];
    let made = Command::new("promtool").args(blocks).current_dir(folder.path("")).output().expect("promtool");
    assert!(made.status.success(), "{}", stderr(&made));
    let server = Peer::prometheus_over(&folder.path("data"));
    let from = START_SECONDS.to_string();
    let to = (START_SECONDS + 960 * SCRAPE_SECONDS).to_string();
    let url = server.url.to_string();
    let fetch = ["--from-url", &url, "--from", &from, "--to", &to, "--cache", "kept", "--format", "json"];
    assert_eq!(folder.output(&fetch), expected);
    let kept = std::fs::read_dir(folder.path("kept")).unwrap().count();
    assert!(kept > 2, "{kept} stretches of two selectors");
    // What is there is not asked for again.
    drop(server);
    assert_eq!(folder.output(&fetch), expected);
    let longer = (START_SECONDS + 961 * SCRAPE_SECONDS).to_string();
    let output = folder.replay(&["--from-url", &url, "--from", &from, "--to", &longer, "--cache", "kept"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the same command goes on from here"), "{}", stderr(&output));
}
