//! What holds for any query and any data.

use std::sync::Arc;

use proptest::prelude::*;
use sloburn::promql::{
    Bucket, Data, FloatHistogram, ParseLimits, Query, ResetHint, STALE, Series, Type, Value, instant, range,
};
use sloburn::types::{Labels, METRIC_NAME, Span, Timestamp};

use super::memory::Memory;
use super::run::evaluation;

const SCRAPE: i64 = 15_000;

/// Queries over the series below.
const QUERIES: [&str; 40] = [
    "m_total",
    "m_total offset 30s",
    "rate(m_total[1m])",
    "increase(m_total[40s])",
    "delta(m_total[2m])",
    "irate(m_total[1m])",
    "rate(m_total[1m] smoothed)",
    "increase(m_total[1m] anchored)",
    "resets(m_total[2m])",
    "changes(m_total[2m])",
    "sum by (a) (m_total)",
    "avg without (b) (m_total)",
    "sum(rate(m_total[1m]))",
    "stddev by (b) (m_total)",
    "count(m_total)",
    "quantile(0.3, m_total)",
    "topk(2, m_total)",
    "bottomk by (a) (1, m_total)",
    "limitk(2, m_total)",
    "limit_ratio(0.6, m_total)",
    "count_values(\"v\", m_total)",
    "m_total * 2 - 1",
    "m_total > 10",
    "m_total >= bool 10",
    "m_total / ignoring (b) group_left () sum by (a) (m_total)",
    "m_total and m_total{a=\"0\"}",
    "m_total{a=\"0\"} or m_total{b=\"1\"} * 2",
    "m_total unless m_total > 20",
    "sum by (a) (m_total) + on (a) fill (0) sum by (a) (m_total{b=\"1\"})",
    "max_over_time(m_total[1m])",
    "avg_over_time(m_total[1m])",
    "quantile_over_time(0.7, m_total[1m])",
    "deriv(m_total[2m])",
    "predict_linear(m_total[2m], 60)",
    "last_over_time(m_total[30s])",
    "timestamp(m_total)",
    "sum_over_time(rate(m_total[30s])[2m:20s])",
    "histogram_quantile(0.5, m_total)",
    "label_replace(m_total, \"c\", \"$1\", \"a\", \"(.)\")",
    "absent(m_total{a=\"1\"})",
];

/// A float, a small histogram, a stale marker or nothing.
fn sample() -> impl Strategy<Value = Option<Value>> {
    let histogram = (proptest::collection::vec(0_u8..9, 1..4), -1..2_i32).prop_map(|(counts, schema)| {
        let positive: Vec<Bucket> =
            counts.iter().enumerate().map(|(i, count)| Bucket { index: i as i32, count: f64::from(*count) }).collect();
        let count = positive.iter().map(|b| b.count).sum();
        let reset_hint = ResetHint::Unknown;
        let histogram = FloatHistogram { reset_hint, schema, count, sum: count, positive, ..FloatHistogram::default() };
        Some(Value::Histogram(Arc::new(histogram)))
    });
    prop_oneof![
        12 => (0_u8..50).prop_map(|v| Some(Value::Float(f64::from(v)))),
        2 => histogram,
        1 => Just(Some(Value::Float(STALE))),
        1 => Just(Some(Value::Float(f64::NAN))),
        3 => Just(None),
    ]
}

fn data() -> impl Strategy<Value = Vec<Vec<Option<Value>>>> {
    proptest::collection::vec(proptest::collection::vec(sample(), 1..25), 1..7)
}

fn memory(data: &[Vec<Option<Value>>]) -> Memory {
    let mut memory = Memory::default();
    for (i, samples) in data.iter().enumerate() {
        let labels = Labels::new()
            .with(METRIC_NAME, "m_total")
            .with("a", &(i % 2).to_string())
            .with("b", &(i / 2).to_string())
            .with("le", &(i + 1).to_string());
        for (n, value) in samples.iter().enumerate() {
            if let Some(value) = value {
                // No two series are scraped at the same moment.
                memory.push(&labels, n as i64 * SCRAPE + i as i64 * 1_111, None, value.clone());
            }
        }
    }
    memory
}

/// Series by labels, each moment's value as text.
fn lines(series: impl Iterator<Item = (Arc<Labels>, Timestamp, Value)>) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Float(v) => format!("{v}"),
        Value::Histogram(h) => format!("{h}"),
    };
    let mut lines: Vec<String> = series.map(|(labels, at, v)| format!("{} {labels} {}", at.0, text(&v))).collect();
    lines.sort();
    lines
}

fn points(series: &[Series]) -> impl Iterator<Item = (Arc<Labels>, Timestamp, Value)> {
    series.iter().flat_map(|one| {
        let floats = one.floats.iter().map(|(at, v)| (*at, Value::Float(*v)));
        let histograms = one.histograms.iter().map(|(at, h)| (*at, Value::Histogram(Arc::clone(h))));
        floats.chain(histograms).map(|(at, value)| (Arc::clone(&one.labels), at, value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A range query gives at each step what an instant query gives at that moment.
    #[test]
    fn a_range_query_is_a_row_of_instant_queries(
        data in data(),
        query in 0..QUERIES.len(),
        start in 0_i64..200_000,
        step in 1_000_i64..90_000,
    ) {
        let query = Query::parse(QUERIES[query], &ParseLimits::default()).unwrap();
        let memory = memory(&data);
        let setup = evaluation(&memory);
        let moments: Vec<Timestamp> = (0..6).map(|i| Timestamp(start + i * step)).collect();
        let ranged = range(&query, moments[0], moments[5], Span(step), &setup);
        let mut expected = Vec::new();
        for at in &moments {
            match instant(&query, *at, &setup) {
                Ok(output) => match output.data {
                    Data::Vector(samples) => expected.extend(samples.into_iter().map(|s| (s.labels, s.at, s.value))),
                    other => prop_assert!(false, "{other:?}"),
                },
                Err(error) => {
                    prop_assert!(ranged.is_err(), "{error} at {} only", at.0);
                    return Ok(());
                }
            }
        }
        let ranged = ranged.unwrap();
        let Data::Matrix(series) = &ranged.data else { panic!("no matrix") };
        prop_assert_eq!(lines(points(series)), lines(expected.into_iter()));
    }

    /// Whatever the text, reading it ends with a query or an error.
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9(){}\\[\\]\"'`,:.@+*/^=!~<>%_ \\-]{0,60}") {
        let _ = Query::parse(&text, &ParseLimits::default());
    }

    /// What the field's parser crate accepts, this one accepts, and takes for the same type.
    #[test]
    fn queries_of_the_parser_crate_are_read_too(query in expression()) {
        use promql_parser::parser::{parse, value::ValueType};
        let Ok(theirs) = parse(&query) else { return Ok(()) };
        let ours = Query::parse(&query, &ParseLimits::default());
        // It takes `+` of a range vector or a string, which Prometheus refuses.
        if ours.as_ref().is_err_and(|e| e.message.starts_with("unary expression only allowed")) {
            return Ok(());
        }
        prop_assert!(ours.is_ok(), "{query}: {:?}", ours.err());
        let expected = match theirs.value_type() {
            ValueType::Scalar => Type::Scalar,
            ValueType::Vector => Type::Vector,
            ValueType::Matrix => Type::Matrix,
            ValueType::String => Type::String,
        };
        let ours = ours.unwrap();
        prop_assert_eq!(ours.value_type(), expected);
        // Its canonical form is read as the same query.
        let printed = ours.to_string();
        let again = Query::parse(&printed, &ParseLimits::default());
        prop_assert_eq!(again.map(|q| q.to_string()), Ok(printed));
    }
}

/// Expressions of the older grammar, right and wrong ones.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0x1f",
        "2.5e3",
        "5m",
        "Inf",
        "m",
        "m{a=\"b\"}",
        "{a=~\"b.*\",c!=\"\"}",
        "m offset 5m",
        "m @ 10",
        "m[5m]",
        "m[5m] offset 1m",
        "m[10m:1m]",
        "m @ start()",
        "\"s\"",
        "sum",
        "{__name__=\"x\"}",
        "time()",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "==",
            "!= bool",
            ">",
            "<=",
            "and",
            "or",
            "unless",
            "atan2",
            "* on (a)",
            "/ ignoring (a, b) group_left (c)",
            "+ on () group_right ()",
            "and ignoring (x)",
        ]);
        let function = prop::sample::select(vec![
            "rate",
            "abs",
            "sum",
            "sum by (a)",
            "avg without (a, b)",
            "count_over_time",
            "vector",
            "scalar",
            "absent",
            "topk",
            "quantile",
            "histogram_quantile",
            "round",
            "label_join",
            "max_over_time",
            "-",
            "+",
            "",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
            (function.clone(), inner.clone()).prop_map(|(f, arg)| format!("{f}({arg})")),
            (function, inner.clone(), inner.clone()).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            inner.prop_map(|e| format!("({e})[1h:5m]")),
        ]
    })
}
