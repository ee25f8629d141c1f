//! Generated queries on the same data here and in a real Prometheus 3.5: the same answers, to 1e-9.

mod compare;
mod data;
mod generator;

use std::collections::BTreeMap;

use serde_json::Value;
use sloburn::clock;

use crate::daemon::{Daemon, client, write_headers};
use crate::peers::Peer;
use crate::traffic::SHOP;
use compare::{Verdict, compare};
use generator::{Asked, Generator};

/// What brings Prometheus 3.5 to what the evaluator does: names are dropped at the end of a query.
const FEATURES: &str = "--enable-feature=native-histograms,promql-experimental-functions,promql-delayed-name-removal";
/// Unless `SLOBURN_TEST_QUERIES` says otherwise.
const QUERIES_COUNT: usize = 3_000;
/// Differences printed.
const SHOWN_LIMIT_COUNT: usize = 60;

/// What no parser should take.
const MALFORMED: [&str; 44] = [
    "",
    " ",
    "(",
    ")",
    "up)",
    "sum(up",
    "sum(up))",
    "up[5m",
    "up[",
    "up[]",
    "up{",
    "up{a",
    "up{a=",
    "up{a=\"b\"",
    "up{a=\"b\",,}",
    "up{a==\"b\"}",
    "up{a=b}",
    "{}",
    "{a=\"\"}",
    "up +",
    "+",
    "up up",
    "up offset",
    "up @",
    "up @ x",
    "rate(up)",
    "rate(up[5m], 1)",
    "nope(up)",
    "sum by (up)",
    "sum by a (up)",
    "topk(up)",
    "1 and 1",
    "up == bool",
    "1 == 1",
    "\"a",
    "\"a\" + 1",
    "up[5m] + 1",
    "up[5m][5m]",
    "-\"a\"",
    "up and on(a) group_left b",
    "up[5m:30s:1s]",
    "up{a=~\"(\"}",
    "label_replace(up, 1, \"\", \"\", \"\")",
    "up!",
];
/// Refused in other words: newer Prometheus takes more for a duration and says so, the regular expression engine is
/// another, and the rest is not worth its code.
const OTHER_WORDS: [&str; 8] =
    ["up[", "up[]", "up offset", "sum by (up)", "1 == 1", "up[5m:30s:1s]", "up{a=~\"(\"}", "up!"];
/// Queries whose syntax trees are compared.
const TREES_COUNT: usize = 300;

/// Compares `parse_query` and `format_query` of generated queries.
async fn same_trees(client: &reqwest::Client, bases: [&url::Url; 2], generator: &mut Generator) -> usize {
    for _ in 0..TREES_COUNT {
        let query = generator.next().query;
        for path in ["api/v1/parse_query", "api/v1/format_query"] {
            let mut answers = Vec::new();
            for base in bases {
                let request = client.get({
                    let mut url = base.join(path).unwrap();
                    url.query_pairs_mut().append_pair("query", &query);
                    url
                });
                let answer: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
                answers.push(answer["data"].clone());
            }
            // Over several lines Prometheus forgets the indentation of a subquery.
            let is_one_line = answers[0].as_str().is_none_or(|text| !text.contains('\n'));
            assert!(answers[0] == answers[1] || !is_one_line, "{path}: {query}: {answers:?}");
        }
    }
    TREES_COUNT
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn ask(client: &reqwest::Client, base: &url::Url, asked: &Asked) -> Value {
    let url = base.join(asked.path()).unwrap();
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(asked.parameters()).finish();
    let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus 3.5: PROMETHEUS3 is the path of the binary"]
#[expect(clippy::print_stdout, reason = "its report")]
async fn generated_queries_give_what_prometheus_gives() {
    let Some(binary) = std::env::var_os("PROMETHEUS3") else {
        println!("skipped: PROMETHEUS3 is not the path of a Prometheus 3");
        return;
    };
    let prometheus =
        Peer::prometheus_at(&binary, &["--web.enable-remote-write-receiver", FEATURES], "", "groups: []\n");
    let daemon = Daemon::start(SHOP, &["--store.match={__name__!=\"\"}", "--store.retention.time=6h"]);
    let client = client();
    let seed = setting("SLOBURN_TEST_SEED", 1) as u64;
    let end = (clock::now().as_millis() / 15_000 - 20) * 15_000;
    for body in data::requests(seed, end) {
        for url in [&prometheus.url, &daemon.url] {
            let request = client.post(url.join("api/v1/write").unwrap()).headers(write_headers()).body(body.clone());
            let response = request.send().await.unwrap();
            let (status, text) = (response.status(), response.text().await.unwrap());
            assert!(status.is_success(), "{url}: {status}: {text}");
        }
    }
    let mut generator = Generator::new(seed, end);
    let count = setting("SLOBURN_TEST_QUERIES", QUERIES_COUNT);
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut differences, mut notes, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let mut changed = Vec::new();
    let mut with_data = 0;
    for _ in 0..count {
        let asked = generator.next();
        let (ours, theirs) = tokio::join!(ask(&client, &daemon.url, &asked), ask(&client, &prometheus.url, &asked));
        with_data += usize::from(theirs["data"]["result"].as_array().is_some_and(|result| !result.is_empty()));
        let verdict = compare(&asked.query, &ours, &theirs);
        *tally.entry(verdict.word()).or_default() += 1;
        match verdict {
            Verdict::Equal | Verdict::BothFail => {}
            Verdict::Changed(what) => changed.push(format!("{asked}\n    {what}")),
            Verdict::Differs(what) => differences.push(format!("{asked}\n    {what}")),
            Verdict::NotesDiffer(what) => notes.push(format!("{asked}\n    {what}")),
            Verdict::MessagesDiffer(what) => messages.push(format!("{asked}\n    {what}")),
        }
    }
    println!("{count} queries, {with_data} with data: {tally:?}");
    for (title, list) in [
        ("changed since 3.5", &changed),
        ("differ", &differences),
        ("other notes", &notes),
        ("other messages", &messages),
    ] {
        println!("{title}: {}", list.len());
        list.iter().take(SHOWN_LIMIT_COUNT).for_each(|difference| println!("  {difference}"));
    }
    assert!(with_data * 2 > count, "the generator finds too little");
    assert!(differences.is_empty(), "{} queries differ", differences.len());
    assert!(notes.is_empty(), "{} queries have other notes", notes.len());
    let mut otherwise = Vec::new();
    for query in MALFORMED {
        let asked = Asked { query: query.to_owned(), range: None, at: end as f64 / 1_000.0 };
        let (ours, theirs) = tokio::join!(ask(&client, &daemon.url, &asked), ask(&client, &prometheus.url, &asked));
        assert_eq!(theirs["status"], "error", "{query}");
        assert_eq!((&ours["status"], &ours["errorType"]), (&theirs["status"], &theirs["errorType"]), "{query}: {ours}");
        if ours["error"] != theirs["error"] {
            otherwise.push(format!("{query}\n    ours   {}\n    theirs {}", ours["error"], theirs["error"]));
        }
    }
    println!("{} malformed queries, refused in other words: {}", MALFORMED.len(), otherwise.len());
    for difference in &otherwise {
        println!("  {difference}");
    }
    let unknown: Vec<&String> = otherwise
        .iter()
        .filter(|difference| !OTHER_WORDS.contains(&difference.split('\n').next().unwrap_or_default()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let trees = same_trees(&client, [&daemon.url, &prometheus.url], &mut generator).await;
    println!("{trees} queries have the same syntax tree and the same canonical form");
}
