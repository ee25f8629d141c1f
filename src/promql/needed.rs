//! Which series a query asks for, and how far back.

use crate::promql::Needed;
use crate::promql::ast::{Expr, ExprKind, Extent, TimeShift};
use crate::types::{Selector, Span};

/// Adds the selectors below `expr`, whose own moments reach `reach` back.
pub(crate) fn collect(expr: &Expr, reach: Option<Span>, needed: &mut Vec<Needed>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => collect(inner, reach, needed),
        ExprKind::Vector(selector) => {
            let reach = shifted(reach, &selector.time);
            needed.push(Needed { selector: Selector::new(selector.matchers.clone()), reach });
        }
        ExprKind::Matrix(selector, extent) => {
            let reach = further(shifted(reach, &selector.time), extent);
            needed.push(Needed { selector: Selector::new(selector.matchers.clone()), reach });
        }
        ExprKind::Subquery(subquery) => {
            let reach = further(shifted(reach, &subquery.time), &subquery.range);
            collect(&subquery.expr, reach, needed);
        }
        ExprKind::Call(call) => call.args.iter().for_each(|arg| collect(arg, reach, needed)),
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &aggregate.param {
                collect(param, reach, needed);
            }
            collect(&aggregate.expr, reach, needed);
        }
        ExprKind::Binary(binary) => {
            collect(&binary.left, reach, needed);
            collect(&binary.right, reach, needed);
        }
    }
}

fn further(reach: Option<Span>, extent: &Extent) -> Option<Span> {
    match extent {
        Extent::Fixed(span) => Some(reach? + *span),
        Extent::Computed(..) => None,
    }
}

/// An offset into the future takes nothing away: what is asked for is a bound. A pinned moment has none.
fn shifted(reach: Option<Span>, time: &TimeShift) -> Option<Span> {
    if time.pin.is_some() {
        return None;
    }
    match &time.offset {
        None => reach,
        Some(Extent::Fixed(offset)) if offset.0 <= 0 => reach,
        Some(offset) => further(reach, offset),
    }
}

#[cfg(test)]
mod tests {
    use crate::promql::{ParseLimits, Query};

    #[test]
    fn selectors_and_how_far_they_reach() {
        let text = "rate(a[5m] offset 1h) + max_over_time(sum(rate(b{x=\"1\"}[1m]))[10m:]) * c @ 0 + d";
        let needed = Query::parse(text, &ParseLimits::default()).unwrap().needed();
        let found: Vec<String> = needed
            .iter()
            .map(|n| format!("{} {}", n.selector, n.reach.map_or("-".to_owned(), |reach| reach.to_string())))
            .collect();
        assert_eq!(found, ["a 1h5m", "b{x=\"1\"} 11m", "c -", "d 0s"]);
    }
}
