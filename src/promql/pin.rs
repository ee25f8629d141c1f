//! A query made independent of the moment it is evaluated at.

use crate::promql::ast::{Expr, ExprKind, Pin, TimeShift};
use crate::types::Timestamp;

/// Pins the selectors that are not, but those inside a subquery: its own pin stands for them. Whether the
/// result then depends on no other time.
pub(crate) fn pin(expr: &mut Expr, at: Timestamp) -> bool {
    let pin_time = |time: &mut TimeShift| {
        time.pin.get_or_insert(Pin::At(at));
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => pin(inner, at),
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => {
            pin_time(&mut selector.time);
            true
        }
        ExprKind::Subquery(subquery) => {
            pin_time(&mut subquery.time);
            !depends_on_time(&subquery.expr)
        }
        ExprKind::Call(call) => {
            let mut all = true;
            for arg in &mut call.args {
                all &= pin(arg, at);
            }
            all && !call.function.depends_on_time() && !call.function.depends_on_query()
        }
        ExprKind::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|param| pin(param, at));
            pin(&mut aggregate.expr, at) && param
        }
        ExprKind::Binary(binary) => {
            let left = pin(&mut binary.left, at);
            pin(&mut binary.right, at) && left
        }
    }
}

/// Whether a function of time occurs.
fn depends_on_time(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(..) => false,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => depends_on_time(inner),
        ExprKind::Subquery(subquery) => depends_on_time(&subquery.expr),
        ExprKind::Call(call) => call.function.depends_on_time() || call.args.iter().any(depends_on_time),
        ExprKind::Aggregate(aggregate) => {
            depends_on_time(&aggregate.expr) || aggregate.param.as_ref().is_some_and(depends_on_time)
        }
        ExprKind::Binary(binary) => depends_on_time(&binary.left) || depends_on_time(&binary.right),
    }
}
