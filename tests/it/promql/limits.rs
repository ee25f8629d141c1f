//! What a query may cost.

use std::cell::Cell;

use sloburn::promql::{EvalError, EvalLimits, Evaluation, FloatSample, ParseLimits, Query, Value, instant, range};
use sloburn::types::{Labels, METRIC_NAME, Span, Timestamp};

use super::memory::Memory;
use super::run::evaluation;

fn parse(text: &str) -> Result<Query, String> {
    Query::parse(text, &ParseLimits::default()).map_err(|e| e.to_string())
}

/// Runs on the stack of a server thread.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn long_and_deep_queries_are_refused() {
    let long = parse(&" ".repeat((16 << 10) + 1)).err().unwrap();
    assert_eq!(long, "1:1: parse error: query of 16385 bytes; at most 16384 are allowed");
    on_a_small_stack(|| {
        for deep in [
            format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000)),
            format!("{}1", "-".repeat(10_000)),
            format!("1{}", "^1".repeat(5_000)),
            format!("{}m{}", "abs(".repeat(3_000), ")".repeat(3_000)),
            format!("m{}", "[1h:1m]".repeat(2_000)),
            format!("m[{}1{}]", "(".repeat(5_000), ")".repeat(5_000)),
            format!("m{}", " + m".repeat(4_000)),
        ] {
            let error = parse(&deep).err().unwrap();
            assert!(error.contains("levels") || error.contains("subquery"), "{error}");
        }
    });
}

#[test]
fn the_deepest_queries_allowed_evaluate() {
    on_a_small_stack(|| {
        let memory = memory(1);
        let setup = evaluation(&memory);
        for deep in [
            format!("{}m{}", "(".repeat(99), ")".repeat(99)),
            format!("{}m{}", "abs(".repeat(99), ")".repeat(99)),
            format!("{}m{}", "sum(".repeat(99), ")".repeat(99)),
            format!("{}m", "-".repeat(99)),
            format!("m{}", " + m".repeat(499)),
            format!("m{}", " or m".repeat(499)),
            format!("m{}", " * ignoring (x) group_left () m".repeat(499)),
        ] {
            let query = parse(&deep).unwrap();
            assert!(query.to_string().len() >= deep.len() && query.pretty().len() >= deep.len());
            instant(&query, Timestamp(0), &setup).unwrap();
            range(&query, Timestamp(0), Timestamp(60_000), Span::seconds(30), &setup).unwrap();
        }
    });
}

fn memory(series: usize) -> Memory {
    let mut memory = Memory::default();
    for i in 0..series {
        let labels = Labels::new().with(METRIC_NAME, "m").with("i", &i.to_string());
        let sample = FloatSample { at: Timestamp(0), value: 1.0 };
        memory.push(&labels, sample.at.0, None, Value::Float(sample.value));
    }
    memory
}

#[test]
fn samples_are_limited() {
    let memory = memory(10);
    let small = Evaluation { limits: EvalLimits { samples: 50 }, ..evaluation(&memory) };
    let query = parse("m + 0").unwrap();
    let at = |steps: i64| range(&query, Timestamp(0), Timestamp(steps * 1_000), Span::seconds(1), &small);
    assert!(at(1).is_ok());
    let error = at(5).unwrap_err();
    assert_eq!(error, EvalError::TooManySamples);
    assert_eq!(error.to_string(), "query processing would load too many samples into memory in query execution");
}

#[test]
fn a_query_of_countless_steps_is_refused_before_it_allocates() {
    let memory = memory(1);
    for text in ["m", "1", "m @ 0", "vector(1)", "sum_over_time(m[100y:1ms])", "absent(n)"] {
        let query = parse(text).unwrap();
        let result = range(&query, Timestamp(0), Timestamp(i64::MAX / 2), Span::millis(1), &evaluation(&memory));
        assert_eq!(result.unwrap_err(), EvalError::TooManySamples, "{text}");
    }
}

#[test]
fn evaluation_stops_when_asked_to() {
    let memory = memory(1_000);
    let asked = Cell::new(0);
    let should_stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 100
    };
    let setup = Evaluation { should_stop: &should_stop, ..evaluation(&memory) };
    let query = parse("sum(rate(m[5m]))").unwrap();
    assert_eq!(instant(&query, Timestamp(0), &setup).unwrap_err(), EvalError::Stopped);
    assert_eq!(asked.get(), 101);
}
