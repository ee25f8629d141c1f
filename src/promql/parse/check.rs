//! What the grammar cannot say: types, argument counts, and which modifiers fit together. Also marks the
//! expressions whose value is the same at every step.

use crate::promql::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Many, Type};
use crate::promql::function::{FunctionId, Variadic};
use crate::promql::parse::ParseError;
use crate::types::{MatchOp, Matcher};

/// Checks `expr` and everything below it.
///
/// # Errors
/// The first thing that does not fit.
pub(crate) fn check(expr: &mut Expr) -> Result<(), ParseError> {
    let at = expr.at;
    let problem = |message: String| Err(ParseError::new(at, message));
    expr.constant = match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) => {
            check(inner)?;
            inner.constant
        }
        ExprKind::Unary(_, inner) => {
            check(inner)?;
            let found = inner.value_type();
            if !matches!(found, Type::Scalar | Type::Vector) {
                return problem(format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                    found.documented()
                ));
            }
            inner.constant
        }
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => {
            if selector.name.is_none() && selector.matchers.iter().all(|m| m.matches("")) {
                let message = "vector selector must contain at least one non-empty matcher".to_owned();
                return Err(ParseError::new(selector.at, message));
            }
            selector.time.pin.is_some()
        }
        ExprKind::Subquery(subquery) => {
            check(&mut subquery.expr)?;
            let found = subquery.expr.value_type();
            if found != Type::Vector {
                return problem(format!("subquery is only allowed on instant vector, got {} instead", found.api()));
            }
            subquery.time.pin.is_some()
        }
        ExprKind::Call(call) => check_call(call, at)?,
        ExprKind::Aggregate(aggregate) => check_aggregate(aggregate)?,
        ExprKind::Binary(binary) => check_binary(binary, at)?,
    };
    Ok(())
}

fn check_call(call: &mut Call, at: crate::promql::ast::Position) -> Result<bool, ParseError> {
    let (function, count) = (call.function, call.args.len());
    let problem = |message: String| Err(ParseError::new(at, message));
    let declared = function.args.len();
    match function.variadic {
        Variadic::No if declared != count => {
            return problem(format!("expected {declared} argument(s) in call to {:?}, got {count}", function.name));
        }
        Variadic::UpTo(_) | Variadic::Any if count + 1 < declared => {
            let least = declared - 1;
            return problem(format!(
                "expected at least {least} argument(s) in call to {:?}, got {count}",
                function.name
            ));
        }
        Variadic::UpTo(more) if count > declared - 1 + more => {
            let most = declared - 1 + more;
            return problem(format!("expected at most {most} argument(s) in call to {:?}, got {count}", function.name));
        }
        _ => {}
    }
    let mut constant = !function.depends_on_time();
    let mut is_pinned_selector = true;
    for (i, arg) in call.args.iter_mut().enumerate() {
        if function.id == FunctionId::Info && i == 1 {
            // A set of conditions on labels, not a selector to be evaluated: it may match everything.
            let ExprKind::Vector(selector) = &arg.kind else {
                return Err(ParseError::new(arg.at, "expected label selectors only".to_owned()));
            };
            if selector.name.is_some() {
                let message = "expected label selectors only, got vector selector instead".to_owned();
                return Err(ParseError::new(arg.at, message));
            }
            arg.constant = selector.time.pin.is_some();
        } else {
            check(arg)?;
        }
        let wanted = function.args[i.min(declared - 1)];
        let found = arg.value_type();
        if found != wanted {
            let message = format!(
                "expected type {} in call to function {:?}, got {}",
                wanted.documented(),
                function.name,
                found.documented()
            );
            return Err(ParseError::new(arg.at, message));
        }
        constant &= arg.constant;
        is_pinned_selector &= arg.constant && matches!(arg.without_parens().kind, ExprKind::Vector(_));
    }
    // The time of a pinned sample does not change either.
    Ok(constant || (function.id == FunctionId::Timestamp && is_pinned_selector))
}

fn check_aggregate(aggregate: &mut Aggregate) -> Result<bool, ParseError> {
    check(&mut aggregate.expr)?;
    expect_type(&aggregate.expr, Type::Vector, "aggregation expression")?;
    let mut constant = aggregate.expr.constant;
    if let (Some(param), Some(wanted)) = (&mut aggregate.param, aggregate.op.param()) {
        check(param)?;
        expect_type(param, wanted, "aggregation parameter")?;
        constant &= param.constant || aggregate.op == AggregateOp::CountValues;
    }
    Ok(constant)
}

fn expect_type(expr: &Expr, wanted: Type, context: &str) -> Result<(), ParseError> {
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), found.documented());
    Err(ParseError::new(expr.at, message))
}

fn check_binary(binary: &mut Binary, at: crate::promql::ast::Position) -> Result<bool, ParseError> {
    check(&mut binary.left)?;
    check(&mut binary.right)?;
    let (left, right, op) = (binary.left.value_type(), binary.right.value_type(), binary.op);
    let scalars = left == Type::Scalar && right == Type::Scalar;
    let vectors = left == Type::Vector && right == Type::Vector;
    let matching = &binary.matching;
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    let twice = matching.include.iter().find(|label| matching.on && matching.labels.contains(label));
    for side in [&binary.left, &binary.right] {
        if !matches!(side.value_type(), Type::Scalar | Type::Vector) {
            let message = "binary expression must contain only scalar and instant vector types".to_owned();
            return Err(ParseError::new(side.at, message));
        }
    }
    let message = if binary.returns_bool && !op.is_comparison() {
        "bool modifier can only be used on comparison operators".to_owned()
    } else if op.is_comparison() && !binary.returns_bool && scalars {
        "comparisons between scalars must use BOOL modifier".to_owned()
    } else if let Some(label) = twice {
        format!("label {label:?} must not occur in ON and GROUP clause at once")
    } else if !vectors && !matching.labels.is_empty() {
        "vector matching only allowed between instant vectors".to_owned()
    } else if !vectors && fills {
        "filling in missing series only allowed between instant vectors".to_owned()
    } else if op.is_set() && !vectors {
        format!("set operator {:?} not allowed in binary scalar expression", op.symbol())
    } else if op.is_set() && matching.many != Many::None {
        format!("no grouping allowed for {:?} operation", op.symbol())
    } else if op.is_set() && fills {
        "filling in missing series not allowed for set operators".to_owned()
    } else {
        return Ok(binary.left.constant && binary.right.constant);
    };
    Err(ParseError::new(at, message))
}

/// What the expressions around a selector need of its histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buckets {
    /// Nothing around it says.
    Unknown,
    /// Count and sum: `histogram_count`, `histogram_sum`, `histogram_avg`.
    Unneeded,
    /// The buckets, whatever else is done with the result.
    Needed,
}

/// Marks the selectors of whose histograms only count and sum are used: they are cheaper without buckets.
pub(crate) fn mark_bucketless(expr: &mut Expr, around: Buckets) {
    use FunctionId as F;
    let needed_if = |needed: bool| if needed { Buckets::Needed } else { around };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => mark_bucketless(inner, around),
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => {
            selector.without_buckets = around == Buckets::Unneeded;
        }
        // The steps of a subquery jump over samples: resets have to be found by the buckets.
        ExprKind::Subquery(subquery) => mark_bucketless(&mut subquery.expr, Buckets::Needed),
        ExprKind::Call(call) => {
            let inside = match call.function.id {
                F::HistogramCount | F::HistogramSum | F::HistogramAvg if around == Buckets::Unknown => {
                    Buckets::Unneeded
                }
                id => needed_if(matches!(id, F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction)),
            };
            call.args.iter_mut().for_each(|arg| mark_bucketless(arg, inside));
        }
        ExprKind::Aggregate(aggregate) => {
            mark_bucketless(&mut aggregate.expr, around);
            if let Some(param) = &mut aggregate.param {
                mark_bucketless(param, around);
            }
        }
        ExprKind::Binary(binary) => {
            let compares =
                matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper | BinaryOp::Equal | BinaryOp::NotEqual);
            mark_bucketless(&mut binary.left, needed_if(compares));
            mark_bucketless(&mut binary.right, needed_if(compares));
        }
    }
}

/// The value or pattern a matcher was written with.
pub(crate) fn matcher_value(matcher: &Matcher) -> &str {
    match &matcher.op {
        MatchOp::Equal(value) | MatchOp::NotEqual(value) | MatchOp::Regex(value, _) | MatchOp::NotRegex(value, _) => {
            value
        }
        MatchOp::Number(_) => "",
    }
}
