//! Increases that add up from one window to the next.
//!
//! `increase` over `[15s]` looks at the samples within 15 seconds and extrapolates; what lies between the last sample of
//! one window and the first of the next is guessed. Anchored, it takes the last sample at or before each end of the
//! window, so that neighbouring windows share their border, nothing is guessed, and their increases add up to the whole.

use crate::promql::ast::{Expr, ExprKind, Extension, Extent};
use crate::types::Span;

/// What counters are looked at with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterUse {
    /// Increases over the window, or numbers of its samples.
    pub amounts: bool,
    /// Amounts a second.
    pub rates: bool,
}

/// Anchors `rate` and `increase` of selectors over a window.
pub(crate) fn anchor(expr: &mut Expr, window: Span, found: &mut CounterUse) {
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(..) => {}
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => anchor(inner, window, found),
        ExprKind::Subquery(subquery) => anchor(&mut subquery.expr, window, found),
        ExprKind::Aggregate(aggregate) => anchor(&mut aggregate.expr, window, found),
        ExprKind::Binary(binary) => {
            anchor(&mut binary.left, window, found);
            anchor(&mut binary.right, window, found);
        }
        ExprKind::Call(call) => {
            let name = call.function.name;
            for arg in &mut call.args {
                match &mut arg.kind {
                    ExprKind::Matrix(selector, Extent::Fixed(range)) if *range == window => {
                        found.rates |= name == "rate";
                        found.amounts |= name != "rate";
                        if matches!(name, "rate" | "increase") {
                            selector.extension.get_or_insert(Extension::Anchored);
                        }
                    }
                    _ => anchor(arg, window, found),
                }
            }
        }
    }
}
