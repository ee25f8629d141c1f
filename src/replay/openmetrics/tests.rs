use proptest::prelude::*;

use super::*;
use crate::spec::{self, Service, Source};
use crate::types::{Labels, METRIC_NAME, quote};

/// One SLI over every metric called `x`.
fn services() -> Vec<Service> {
    let text = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: api}
spec:
  slis:
    - {name: errors, events: {bad: 'x{bad!=""}', total: 'x'}}
  slos:
    - {name: availability, sli: errors, objective: 99}
"#;
    let (services, report) = spec::parse(&[Source::new("api.yaml", text)]);
    assert!(!report.has_errors(), "{}", report.render(false));
    services
}

fn recorder() -> Recorder {
    Recorder::new(services(), Timestamp::MIN..=Timestamp(i64::MAX))
}

/// Labels, time in ms and value of each sample of `x`, in the recording's order.
fn read(text: &str) -> Result<Vec<(String, i64, f64)>, LineError> {
    let (mut reader, mut recorder) = (Reader::new(), recorder());
    for line in text.split('\n') {
        reader.line(line.as_bytes(), &mut recorder)?;
    }
    let recording = recorder.finish();
    let samples = recording.moments().flat_map(|(_, samples)| samples);
    Ok(samples.map(|s| (recording.labels(s.series).to_string(), s.at.as_millis(), s.value)).collect())
}

/// Labels of the only sample.
fn labels_of(line: &str) -> String {
    read(line).unwrap_or_else(|error| panic!("{line}: {error:?}")).remove(0).0
}

fn time_and_value(text: &str) -> (i64, f64) {
    let sample = read(&format!("x{{}} {text}")).unwrap_or_else(|error| panic!("{text}: {error:?}")).remove(0);
    (sample.1, sample.2)
}

#[test]
fn a_dump_of_promtool_is_read() {
    let dump = "\
x{code=\"200\",instance=\"a:1\"} 1.234567e+06 1790000000.123
x{code=\"200\",instance=\"a:1\"} 1.234568e+06 1790000015.123
x{code=\"500\",instance=\"a:1\"} 0 1790000000.123
y{} 7 1790000000.000
# EOF
";
    let (a, b) = (r#"{__name__="x",code="200",instance="a:1"}"#, r#"{__name__="x",code="500",instance="a:1"}"#);
    let expected = [
        (a.to_owned(), 1_790_000_000_123, 1_234_567.0),
        (b.to_owned(), 1_790_000_000_123, 0.0),
        (a.to_owned(), 1_790_000_015_123, 1_234_568.0),
    ];
    assert_eq!(read(dump).unwrap(), expected);
}

#[test]
fn comments_exemplars_and_line_ends_are_skipped() {
    let text =
        "# TYPE x counter\r\n# UNIT x things\n# HELP x {not a sample\nx 1 5 # {trace_id=\"a b\"} 0.5 4\r\n\n# EOF";
    assert_eq!(read(text).unwrap(), [(r#"{__name__="x"}"#.to_owned(), 5_000, 1.0)]);
}

#[test]
fn one_series_may_be_spelt_in_many_ways() {
    let spellings = [
        r#"x{a="1",b="2"} 1 1"#,
        r#"x{b="2",a="1"} 1 1"#,
        r#"x{ a = "1" , b="2",} 1 1"#,
        r#"{"x",a="1",b="2"} 1 1"#,
        r#"{__name__="x", a="1", "b"="2"} 1 1"#,
        "x{a=\"1\",b=\"2\"}\t1  1",
        r#"x{a="1",b="2",c=""} 1 1"#,
    ];
    for line in spellings {
        assert_eq!(labels_of(line), r#"{__name__="x",a="1",b="2"}"#, "{line}");
    }
    let all: Vec<String> =
        spellings.iter().enumerate().map(|(i, line)| format!("{}{i}", &line[..line.len() - 1])).collect();
    let mut series: Vec<String> = read(&all.join("\n")).unwrap().into_iter().map(|sample| sample.0).collect();
    assert_eq!(series.len(), spellings.len());
    series.dedup();
    assert_eq!(series.len(), 1);
}

#[test]
fn names_of_utf_8_are_names() {
    for (line, name) in [
        (r"http.requests{} 1 1", "http.requests"),
        (r#"{"http requests"} 1 1"#, "http requests"),
        (r#"{"a\"b",c="}{"} 1 1"#, r#"a"b"#),
    ] {
        let labels = labels::read(&line.as_bytes()[..series_end(line.as_bytes()).unwrap()]).unwrap();
        assert_eq!(labels.get(METRIC_NAME), Some(name), "{line}");
    }
}

#[test]
fn label_values_take_the_escapes_of_openmetrics_and_of_go() {
    let labels = labels::read(br#"x{a="q\"b\\n\n}",b="\t\x00\u00e9\U0001f525",c="\\"}"#).unwrap();
    assert_eq!(labels.get("a"), Some("q\"b\\n\n}"));
    assert_eq!(labels.get("b"), Some("\t\0é🔥"));
    assert_eq!(labels.get("c"), Some("\\"));
}

#[test]
fn times_are_exact_and_values_are_any_number() {
    for (text, at, value) in [
        ("1 0", 0, 1.0),
        ("1 1790000000", 1_790_000_000_000, 1.0),
        ("1 1605301325.491", 1_605_301_325_491, 1.0),
        ("1 1605301325.4919", 1_605_301_325_491, 1.0),
        ("1 1.5", 1_500, 1.0),
        ("1 1.79e9", 1_790_000_000_000, 1.0),
        ("1 -1.5", -1_500, 1.0),
        ("123456789012345678 1", 1_000, 123_456_789_012_345_680.0),
        ("-2.5e-3 1", 1_000, -0.0025),
        ("+Inf 1", 1_000, f64::INFINITY),
        ("-Inf 1", 1_000, f64::NEG_INFINITY),
    ] {
        assert_eq!(time_and_value(text), (at, value), "{text}");
    }
    assert_eq!(time_and_value("NaN 1").1.to_bits(), STALE_NAN_BITS);
}

#[test]
fn a_bad_line_says_where_and_what() {
    for (line, problem, at) in [
        ("x 1", Problem::NoTimestamp, 3..3),
        ("x{a=\"b\"} 1 # {} 1", Problem::NoTimestamp, 11..12),
        ("x{a=\"b\"}", Problem::NoValue, 8..8),
        ("x one 1", Problem::Value, 2..5),
        ("x 1 soon", Problem::Timestamp, 4..8),
        ("x 1 1.x", Problem::Timestamp, 4..7),
        ("x 1 NaN", Problem::Timestamp, 4..7),
        ("x 1 1790000000000", Problem::Unit("milliseconds"), 4..17),
        ("x 1 1790000000000000", Problem::Unit("microseconds"), 4..20),
        ("x 1 1790000000000000000", Problem::Unit("nanoseconds"), 4..23),
        ("x 1 1 more", Problem::Trailing, 6..10),
        (" x 1 1", Problem::NoName, 0..1),
        ("{} 1 1", Problem::NoName, 0..2),
        ("x{a=\"b\" 1 1", Problem::Unclosed, 1..11),
        ("x{a=\"b} 1 1", Problem::Unclosed, 1..11),
        ("x{a=b} 1 1", Problem::NoQuote, 4..5),
        ("x{a} 1 1", Problem::NoEquals, 2..3),
        ("x{=\"b\"} 1 1", Problem::NoLabelName, 2..3),
        ("x{a=\"b\"c=\"d\"} 1 1", Problem::NoComma, 7..8),
        ("x{a=\"\\q\"} 1 1", Problem::Escape, 5..7),
        ("x{a=\"\\xff\"} 1 1", Problem::Escape, 5..9),
        ("x{a=\"b\",a=\"b\"} 1 1", Problem::Labels(LabelError::Duplicate("a".to_owned())), 0..14),
        ("x{\"y\"} 1 1", Problem::Labels(LabelError::Duplicate(METRIC_NAME.to_owned())), 0..6),
    ] {
        assert_eq!(read(line), Err(LineError { problem, at }), "{line}");
    }
    let mut reader = Reader::new();
    let problem = |line: &[u8], reader: &mut Reader| reader.line(line, &mut recorder()).unwrap_err().problem;
    assert_eq!(problem(b"x{a=\"\xff\"} 1 1", &mut reader), Problem::NotUtf8);
    assert_eq!(problem(&vec![b'x'; LINE_LIMIT_BYTES + 1], &mut reader), Problem::TooLong);
}

#[test]
fn a_series_of_no_interest_is_checked_all_the_same() {
    assert_eq!(read("other 1 1"), Ok(Vec::new()));
    assert_eq!(read("other 1 1\nother 1").unwrap_err().problem, Problem::NoTimestamp);
}

#[test]
fn a_series_whose_name_begins_like_the_one_before_is_another() {
    let samples = read("x 1 1\nx{} 2 2\nx_total 3 3\nx 4 4").unwrap();
    assert_eq!(samples.iter().map(|s| s.2).collect::<Vec<_>>(), [1.0, 2.0, 4.0]);
}

#[test]
fn the_end_is_the_last_line() {
    for (text, ended) in [
        ("x 1 1\n# EOF", true),
        ("x 1 1\n# EOF\n", true),
        ("x 1 1", false),
        ("x 1 1\n# EOF\nx 2 2", false),
        ("x 1 1\n# EOF\nx 2 2\n# EOF", true),
        ("", false),
    ] {
        let (mut reader, mut recorder) = (Reader::new(), recorder());
        for line in text.split('\n') {
            reader.line(line.as_bytes(), &mut recorder).unwrap();
        }
        assert_eq!(reader.has_ended(), ended, "{text:?}");
    }
}

fn label_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", any::<String>()].prop_filter("an empty value is no label", |text| !text.is_empty())
}

proptest! {
    #[test]
    fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Reader::new().line(&line, &mut recorder());
    }

    #[test]
    fn no_almost_sample_panics(text in r#"(x|é|)\{?(["a-z\\=,{} xuU0-9é]|\\"){0,30}\}?[ 0-9.eE+#NaIinf-]{0,20}"#) {
        let (mut reader, mut recorder) = (Reader::new(), recorder());
        for line in text.split('\n').chain(text.split('\n')) {
            if let Err(error) = reader.line(line.as_bytes(), &mut recorder) {
                prop_assert!(error.at.start <= error.at.end && error.at.end <= line.len().max(1), "{:?}", error);
            }
        }
    }

    /// What promtool writes comes back: labels quoted as Go does, `%g` values, times with three decimals.
    #[test]
    fn what_is_written_is_read(
        pairs in prop::collection::btree_map("[a-z_]{1,4}", label_text(), 0..4),
        value in prop_oneof![any::<i32>().prop_map(f64::from), prop::num::f64::NORMAL],
        millis in -5_000_000_000_000_i64..99_999_999_999_999,
    ) {
        let written: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
        let time = format!("{}{}.{:03}", if millis < 0 { "-" } else { "" }, millis.abs() / 1000, millis.abs() % 1000);
        let text = format!("x{{{}}} {} {time}\nx{{{0}}} {value:e} {time}", written.join(","), value);
        let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.push((METRIC_NAME, "x"));
        let labels = Labels::from_pairs(pairs).unwrap().to_string();
        let sample = (labels, millis, value);
        prop_assert_eq!(read(&text).unwrap(), [sample.clone(), sample]);
    }
}
