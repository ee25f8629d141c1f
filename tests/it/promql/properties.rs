//! What holds for any query and any data.

use std::sync::Arc;

use proptest::prelude::*;
use sloburn::promql::{
    Bucket, Data, EvalLimits, Evaluation, FloatHistogram, ParseLimits, Query, ResetHint, STALE, Series, Type, Value,
    instant, range,
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

    /// Whatever is read is evaluated, with a result or an error.
    #[test]
    fn any_query_is_evaluated(data in data(), query in any_query(), at in -100_000_i64..400_000) {
        let Ok(query) = Query::parse(&query, &ParseLimits::default()) else { return Ok(()) };
        let memory = memory(&data);
        let setup = Evaluation { limits: EvalLimits { samples: 200_000 }, ..evaluation(&memory) };
        let _ = instant(&query, Timestamp(at), &setup);
        let _ = range(&query, Timestamp(at), Timestamp(at + 100_000), Span(17_000), &setup);
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

/// Expressions of the whole grammar; most of them fit together.
fn any_query() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "0",
        "1",
        "-1",
        "0.5",
        "2",
        "1e300",
        "NaN",
        "-Inf",
        "time()",
        "scalar(m_total{b=\"0\"})",
        "step()",
        "pi()",
        "1 / 0",
        "range()",
        "9e18",
    ])
    .prop_map(str::to_owned);
    let selector = (
        prop::sample::select(vec!["m_total", "m_total{a=\"0\"}", "{a=~\".+\"}", "n", "m_total{le!=\"3\"}"]),
        prop::sample::select(vec![
            "",
            " offset 1m",
            " offset -1m",
            " @ 60",
            " @ end()",
            " @ 9e15",
            " @ -9e15",
            " offset 200y",
            " smoothed",
        ]),
    );
    let vector = selector.prop_map(|(series, shift)| format!("{series}{shift}"));
    let ranged = (
        prop::sample::select(vec!["m_total", "m_total{a=\"1\"}", "n"]),
        prop::sample::select(vec!["[1m]", "[1ms]", "[200y]", "[40s:7s]", "[step()]", "[2m:]", "[1m * 1.7]"]),
        prop::sample::select(vec!["", " offset 20s", " @ 100", " anchored", " smoothed", " @ start() offset -1m"]),
    )
        .prop_map(|(series, range, shift)| format!("{series}{range}{shift}"));
    let over = prop::sample::select(
        "rate increase delta irate idelta resets changes deriv avg_over_time sum_over_time min_over_time \
         max_over_time count_over_time stddev_over_time stdvar_over_time last_over_time first_over_time mad_over_time \
         present_over_time absent_over_time ts_of_max_over_time ts_of_min_over_time ts_of_first_over_time \
         ts_of_last_over_time"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    let each = prop::sample::select(
        "abs ceil floor exp sqrt ln sgn timestamp start_timestamp sort sort_desc histogram_count histogram_sum \
         histogram_avg histogram_stddev histogram_stdvar day_of_week days_in_month year absent info - + sum avg min max \
         count group stddev stdvar"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    let grouped = prop::sample::select(vec!["", " by (a)", " without (b, le)", " by (le, __name__)", " without ()"]);
    let leaf = prop_oneof![
        4 => vector,
        4 => (over, ranged.clone()).prop_map(|(f, r)| format!("{f}({r})")),
        1 => (ranged.clone(), scalar.clone()).prop_map(|(r, s)| format!("predict_linear({r}, {s})")),
        1 => (ranged, scalar.clone()).prop_map(|(r, s)| format!("quantile_over_time({s}, {r})")),
        1 => scalar.clone().prop_map(|s| format!("vector({s})")),
    ];
    leaf.prop_recursive(3, 16, 3, move |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "==",
            "!=",
            "> bool",
            "<=",
            "</",
            ">/",
            "atan2",
            "and",
            "or",
            "unless",
            "* on (a)",
            "/ ignoring (b, le)",
            "+ on (a) group_left (b)",
            "- ignoring (le) group_right ()",
            "+ on (a, b) fill (1)",
            "* ignoring (b) group_left () fill_left (2)",
            "or on (a)",
        ]);
        let with_scalar =
            prop::sample::select(vec!["topk", "bottomk", "limitk", "limit_ratio", "quantile", "histogram_quantile"]);
        let text = prop::sample::select(vec![
            "label_replace(?, \"a\", \"$1x\", \"b\", \"(.*)\")",
            "label_join(?, \"le\", \"-\", \"a\", \"b\")",
            "count_values(\"le\", ?)",
            "sort_by_label(?, \"a\")",
            "max_over_time((?)[1m:20s])",
            "rate((?)[2m:15s] @ 60)",
            "histogram_fraction(0, 3, ?)",
            "histogram_quantiles(?, \"q\", 0.1, time() / 100)",
            "clamp(?, 1, 3)",
            "round(?, 0.3)",
            "info(?, {b=~\".*\"})",
            "(?)",
            "last_over_time((?)[1m:9s] offset 5s)",
        ]);
        prop_oneof![
            (inner.clone(), op.clone(), inner.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            (inner.clone(), op, scalar.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")),
            (each.clone(), inner.clone()).prop_map(|(f, v)| format!("{f}({v})")),
            (each.clone(), grouped.clone(), inner.clone()).prop_map(|(f, g, v)| format!("{f}{g} ({v})")),
            (with_scalar, scalar.clone(), inner.clone()).prop_map(|(f, s, v)| format!("{f}({s}, {v})")),
            (text, inner).prop_map(|(text, v)| text.replace('?', &v)),
        ]
    })
}

/// Expressions of the older grammar, right and wrong ones.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0x1f",
        "2.5e3",
        "5m",
        "NaN",
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
