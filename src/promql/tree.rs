//! A query's syntax tree as Prometheus' `parse_query` shows it.

use serde_json::{Value, json};

use crate::promql::ast::{Binary, Expr, ExprKind, Extent, Many, Pin, Sign, TimeShift, Type, VectorSelector};
use crate::promql::function::{Function, Variadic};
use crate::types::{MatchOp, Matcher, format_value};

/// The tree below an expression; keys in Prometheus' order.
pub(crate) fn tree(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => json!({"type": "numberLiteral", "val": plain(number.value)}),
        ExprKind::String(text) => json!({"type": "stringLiteral", "val": &*text.value}),
        ExprKind::Paren(inner) => json!({"expr": tree(inner), "type": "parenExpr"}),
        ExprKind::Unary(sign, inner) => {
            let op = if *sign == Sign::Minus { "-" } else { "+" };
            json!({"expr": tree(inner), "op": op, "type": "unaryExpr"})
        }
        ExprKind::Vector(selector) => selected(selector, None),
        ExprKind::Matrix(selector, extent) => selected(selector, Some(extent)),
        ExprKind::Subquery(subquery) => {
            let (offset, timestamp, start_or_end) = shift(&subquery.time);
            json!({
                "expr": tree(&subquery.expr),
                "offset": offset,
                "range": millis(Some(&subquery.range)),
                "startOrEnd": start_or_end,
                "step": millis(subquery.step.as_ref()),
                "timestamp": timestamp,
                "type": "subquery",
            })
        }
        ExprKind::Call(call) => {
            let args: Vec<Value> = call.args.iter().map(tree).collect();
            json!({"args": args, "func": signature(call.function), "type": "call"})
        }
        ExprKind::Aggregate(aggregate) => json!({
            "expr": tree(&aggregate.expr),
            "grouping": aggregate.written_labels,
            "op": aggregate.op.name(),
            "param": aggregate.param.as_ref().map(tree),
            "type": "aggregation",
            "without": aggregate.without,
        }),
        ExprKind::Binary(binary) => json!({
            "bool": binary.returns_bool,
            "lhs": tree(&binary.left),
            "matching": matching(binary),
            "op": binary.op.symbol(),
            "rhs": tree(&binary.right),
            "type": "binaryExpr",
        }),
    }
}

/// Never with an exponent.
fn plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { format_value(value) }
}

/// Zero where it is computed for each query.
fn millis(extent: Option<&Extent>) -> i64 {
    match extent {
        Some(Extent::Fixed(span)) => span.0,
        Some(Extent::Computed(..)) | None => 0,
    }
}

fn shift(time: &TimeShift) -> (i64, Value, Value) {
    let (timestamp, start_or_end) = match time.pin {
        None => (Value::Null, Value::Null),
        Some(Pin::At(at)) => (json!(at.0), Value::Null),
        Some(Pin::Start) => (Value::Null, json!("start")),
        Some(Pin::End) => (Value::Null, json!("end")),
    };
    (millis(time.offset.as_ref()), timestamp, start_or_end)
}

fn selected(selector: &VectorSelector, range: Option<&Extent>) -> Value {
    let (offset, timestamp, start_or_end) = shift(&selector.time);
    let matchers: Vec<Value> = selector.matchers.iter().map(matcher).collect();
    let mut value = json!({
        "matchers": matchers,
        "name": selector.name.as_deref().unwrap_or_default(),
        "offset": offset,
    });
    if let Some(range) = range {
        value["range"] = json!(millis(Some(range)));
    }
    value["startOrEnd"] = start_or_end;
    value["timestamp"] = timestamp;
    value["type"] = json!(if range.is_some() { "matrixSelector" } else { "vectorSelector" });
    value
}

fn matcher(matcher: &Matcher) -> Value {
    let (op, value) = match &matcher.op {
        MatchOp::Equal(value) => ("=", value.to_string()),
        MatchOp::NotEqual(value) => ("!=", value.to_string()),
        MatchOp::Regex(pattern, _) => ("=~", pattern.to_string()),
        MatchOp::NotRegex(pattern, _) => ("!~", pattern.to_string()),
        // No text reads as this one.
        MatchOp::Number(number) => ("=", format_value(*number)),
    };
    json!({"name": &*matcher.name, "type": op, "value": value})
}

fn signature(function: &Function) -> Value {
    let args: Vec<&str> = function.args.iter().map(|arg| arg.api()).collect();
    let variadic = match function.variadic {
        Variadic::No => 0,
        Variadic::UpTo(count) => count as i64,
        Variadic::Any => -1,
    };
    json!({"argTypes": args, "name": function.name, "returnType": function.returns.api(), "variadic": variadic})
}

/// Null unless both sides are vectors.
fn matching(binary: &Binary) -> Value {
    if binary.left.value_type() != Type::Vector || binary.right.value_type() != Type::Vector {
        return Value::Null;
    }
    let matching = &binary.matching;
    let card = match matching.many {
        _ if binary.op.is_set() => "many-to-many",
        Many::None => "one-to-one",
        Many::Left => "many-to-one",
        Many::Right => "one-to-many",
    };
    json!({"card": card, "include": matching.include, "labels": matching.labels, "on": matching.on})
}

#[cfg(test)]
mod tests {
    use crate::promql::{ParseLimits, Query};
    use serde_json::json;

    #[test]
    fn trees_are_prometheus() {
        let tree = |text: &str| Query::parse(text, &ParseLimits::default()).unwrap().tree();
        let selector = json!({
            "matchers": [
                {"name": "job", "type": "=~", "value": "a.*"},
                {"name": "__name__", "type": "=", "value": "m"},
            ],
            "name": "m", "offset": 60_000, "range": 300_000, "startOrEnd": null, "timestamp": 1_500,
            "type": "matrixSelector",
        });
        let func = json!({"argTypes": ["matrix"], "name": "rate", "returnType": "vector", "variadic": 0});
        let expected = json!({
            "expr": {"args": [selector], "func": func, "type": "call"},
            "grouping": ["b", "a"], "op": "topk", "param": {"type": "numberLiteral", "val": "3"},
            "type": "aggregation", "without": true,
        });
        assert_eq!(tree("topk without (b, a) (3, rate(m{job=~\"a.*\"}[5m] @ 1.5 offset 1m))"), expected);
        let binary = tree("a * on (x) group_left (y) b");
        assert_eq!(binary["matching"], json!({"card": "many-to-one", "include": ["y"], "labels": ["x"], "on": true}));
        assert_eq!(tree("a + 1")["matching"], json!(null));
        assert_eq!(tree("-last_over_time(a[1h:5m] @ end())")["expr"]["args"][0]["startOrEnd"], json!("end"));
    }
}
