//! What a query says but can hardly mean.

use crate::promql::ast::{Binary, BinaryOp, Expr, ExprKind, Position, VectorSelector};
use crate::types::MatchOp;

/// Shares above this are no limits on errors.
const ERROR_SHARE_LIMIT: f64 = 0.5;
/// Requests that take longer are rare enough for milliseconds to be more likely.
const LATENCY_LIMIT_SECONDS: f64 = 60.0;

/// Something to ask the author about.
#[derive(Clone, Debug, PartialEq)]
pub enum Suspicion {
    /// `1 - errors / total > 0.001`: it holds whenever anything succeeds.
    ComplementOfErrors {
        /// The comparison.
        at: Position,
        /// The selector of the errors.
        errors: String,
        /// What the complement is compared with.
        limit: f64,
    },
    /// A latency in seconds is compared with a number that looks like milliseconds.
    SecondsAgainst {
        /// The comparison.
        at: Position,
        /// The metric.
        metric: String,
        /// What it is compared with.
        limit: f64,
    },
    /// A comparison with `bool` gives a sample whether it holds or not.
    AlwaysThere {
        /// The comparison.
        at: Position,
    },
}

impl Suspicion {
    /// Where in the query.
    pub const fn position(&self) -> Position {
        match self {
            Self::ComplementOfErrors { at, .. } | Self::SecondsAgainst { at, .. } | Self::AlwaysThere { at } => *at,
        }
    }
}

/// Looks at the comparisons that decide whether a sample is in the result.
pub(crate) fn collect(expr: &Expr, found: &mut Vec<Suspicion>) {
    let ExprKind::Binary(binary) = &expr.without_parens().kind else { return };
    if binary.op.is_set() {
        collect(&binary.left, found);
        collect(&binary.right, found);
        return;
    }
    if !binary.op.is_comparison() {
        return;
    }
    if binary.returns_bool {
        found.push(Suspicion::AlwaysThere { at: expr.at });
    }
    let Some((value, limit)) = above(binary) else { return };
    found.extend(complement(value).filter(|_| limit < ERROR_SHARE_LIMIT).map(|errors| Suspicion::ComplementOfErrors {
        at: expr.at,
        errors,
        limit,
    }));
    found.extend(seconds(value).filter(|_| limit > LATENCY_LIMIT_SECONDS).map(|metric| Suspicion::SecondsAgainst {
        at: expr.at,
        metric,
        limit,
    }));
}

/// What is to be above which number.
fn above(binary: &Binary) -> Option<(&Expr, f64)> {
    match binary.op {
        BinaryOp::Greater | BinaryOp::GreaterOrEqual => Some((&binary.left, number(&binary.right)?)),
        BinaryOp::Less | BinaryOp::LessOrEqual => Some((&binary.right, number(&binary.left)?)),
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match &expr.without_parens().kind {
        ExprKind::Number(number) => Some(number.value),
        _ => None,
    }
}

/// The selector of errors in `1 - errors / total`.
fn complement(expr: &Expr) -> Option<String> {
    let ExprKind::Binary(difference) = &expr.without_parens().kind else { return None };
    if difference.op != BinaryOp::Subtract || number(&difference.left) != Some(1.0) {
        return None;
    }
    let ExprKind::Binary(share) = &difference.right.without_parens().kind else { return None };
    if share.op != BinaryOp::Divide {
        return None;
    }
    let mut selectors = Vec::new();
    self::selectors(&share.left, &mut selectors);
    selectors.iter().find(|selector| counts_errors(selector)).map(|selector| name(selector))
}

/// The metric of a latency in seconds: a quantile of a histogram, or a mean.
fn seconds(expr: &Expr) -> Option<String> {
    match &expr.without_parens().kind {
        ExprKind::Aggregate(aggregate) => seconds(&aggregate.expr),
        ExprKind::Call(call) if call.function.name == "histogram_quantile" => {
            let mut selectors = Vec::new();
            self::selectors(call.args.get(1)?, &mut selectors);
            selectors.iter().map(|selector| name(selector)).find(|name| is_in_seconds(name))
        }
        ExprKind::Binary(mean) if mean.op == BinaryOp::Divide => {
            let mut selectors = Vec::new();
            self::selectors(&mean.left, &mut selectors);
            selectors.iter().map(|selector| name(selector)).find(|name| name.ends_with("_seconds_sum"))
        }
        _ => None,
    }
}

fn is_in_seconds(name: &str) -> bool {
    name.ends_with("_seconds") || name.ends_with("_seconds_bucket")
}

fn name(selector: &VectorSelector) -> String {
    selector.name.as_deref().unwrap_or("the metric").to_owned()
}

fn counts_errors(selector: &VectorSelector) -> bool {
    const WORDS: [&str; 4] = ["error", "fail", "bad", "5xx"];
    let has_word = |text: &str| WORDS.iter().any(|word| text.to_ascii_lowercase().contains(word));
    selector.name.as_deref().is_some_and(has_word)
        || selector.matchers.iter().any(|matcher| match &matcher.op {
            MatchOp::Equal(value) | MatchOp::Regex(value, _) => {
                has_word(value) || (is_status(&matcher.name) && value.starts_with('5'))
            }
            MatchOp::NotEqual(_) | MatchOp::NotRegex(..) | MatchOp::Number(_) => false,
        })
}

fn is_status(label: &str) -> bool {
    ["code", "status"].iter().any(|word| label.to_ascii_lowercase().contains(word))
}

fn selectors<'e>(expr: &'e Expr, found: &mut Vec<&'e VectorSelector>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => selectors(inner, found),
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => found.push(selector),
        ExprKind::Subquery(subquery) => selectors(&subquery.expr, found),
        ExprKind::Call(call) => call.args.iter().for_each(|arg| selectors(arg, found)),
        ExprKind::Aggregate(aggregate) => selectors(&aggregate.expr, found),
        ExprKind::Binary(binary) => {
            selectors(&binary.left, found);
            selectors(&binary.right, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParseLimits, Query};

    fn suspicions(text: &str) -> Vec<Suspicion> {
        Query::parse(text, &ParseLimits::default()).unwrap().suspicions()
    }

    #[test]
    fn a_complement_of_errors_against_a_small_limit_is_found() {
        for text in [
            "1 - sum(rate(http_errors_total[5m])) / sum(rate(http_requests_total[5m])) > 0.001",
            "0.001 < (1 - (sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))))",
            "up == 1 and (1 - rate(x{outcome=\"failed\"}[1m]) / rate(x[1m])) > 0.01",
        ] {
            assert!(matches!(suspicions(text)[..], [Suspicion::ComplementOfErrors { .. }]), "{text}");
        }
        for text in [
            "1 - sum(rate(http_requests_total{code!~\"5..\"}[5m])) / sum(rate(http_requests_total[5m])) > 0.001",
            "1 - rate(http_errors_total[5m]) / rate(http_requests_total[5m]) < 0.99",
            "rate(http_errors_total[5m]) / rate(http_requests_total[5m]) > 0.001",
        ] {
            assert_eq!(suspicions(text), [], "{text}");
        }
    }

    #[test]
    fn seconds_compared_with_milliseconds_are_found() {
        for text in [
            "histogram_quantile(0.95, sum by (le) (rate(request_duration_seconds_bucket[5m]))) > 300",
            "max(rate(request_duration_seconds_sum[5m]) / rate(request_duration_seconds_count[5m])) > 250",
        ] {
            assert!(matches!(suspicions(text)[..], [Suspicion::SecondsAgainst { .. }]), "{text}");
        }
        for text in [
            "histogram_quantile(0.95, rate(request_duration_seconds_bucket[5m])) * 1000 > 300",
            "histogram_quantile(0.95, rate(request_duration_milliseconds_bucket[5m])) > 300",
            "time() - backup_timestamp_seconds > 86400",
        ] {
            assert_eq!(suspicions(text), [], "{text}");
        }
    }

    #[test]
    fn a_bool_comparison_is_found_where_it_decides() {
        assert!(matches!(suspicions("up == bool 0")[..], [Suspicion::AlwaysThere { .. }]));
        assert_eq!(suspicions("sum(up == bool 0) > 1"), []);
    }
}
