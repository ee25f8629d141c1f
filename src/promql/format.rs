//! A query in its canonical form, as Prometheus' `format_query` prints short ones.

use std::fmt::{self, Display, Write as _};

use crate::promql::ast::{
    Aggregate, Binary, DurationExpr, Expr, ExprKind, Extension, Extent, Many, Number, Pin, Sign, Subquery, TimeShift,
    VectorSelector,
};
use crate::types::{METRIC_NAME, MatchOp, Matcher, Span, format_value, is_label_name, is_metric_name, quote};

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => write!(f, "{number}"),
            ExprKind::String(text) => match &text.source {
                Some(source) => f.write_str(source),
                None => f.write_str(&quote(&text.value)),
            },
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary(Sign::Minus, inner) => write!(f, "-{inner}"),
            ExprKind::Unary(Sign::Plus, inner) => write!(f, "+{inner}"),
            ExprKind::Vector(selector) => {
                selector.series(f)?;
                selector.extended(f)?;
                write!(f, "{}", selector.time)
            }
            ExprKind::Matrix(selector, extent) => {
                selector.series(f)?;
                write!(f, "[{extent}]")?;
                selector.extended(f)?;
                write!(f, "{}", selector.time)
            }
            ExprKind::Subquery(subquery) => write!(f, "{subquery}"),
            ExprKind::Call(call) => write!(f, "{}({})", call.function.name, Joined(&call.args, ", ")),
            ExprKind::Aggregate(aggregate) => write!(f, "{aggregate}"),
            ExprKind::Binary(binary) => write!(f, "{binary}"),
        }
    }
}

/// A list with something between its items.
struct Joined<'j, T>(&'j [T], &'j str);

impl<T: Display> Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            let between = if i == 0 { "" } else { self.1 };
            write!(f, "{between}{item}")?;
        }
        Ok(())
    }
}

/// ` by (a, b)`: a keyword and label names.
fn labels(f: &mut fmt::Formatter<'_>, keyword: &str, names: &[Box<str>]) -> fmt::Result {
    let names: Vec<String> =
        names.iter().map(|name| if is_label_name(name) { name.to_string() } else { quote(name) }).collect();
    write!(f, " {keyword} ({})", Joined(&names, ", "))
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            let span = Span((self.value * 1000.0).round() as i64);
            return write!(f, "{span}");
        }
        if self.value.is_finite() { write!(f, "{}", self.value) } else { f.write_str(&format_value(self.value)) }
    }
}

impl Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(span) => write!(f, "{span}"),
            Self::Computed(expr, _) => write!(f, "{expr}"),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(number) => write!(f, "{number}"),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negate(inner) => write!(f, "-{inner}"),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::MinOf(pair) => write!(f, "min_of({}, {})", pair.0, pair.1),
            Self::MaxOf(pair) => write!(f, "max_of({}, {})", pair.0, pair.1),
            Self::Binary(op, pair, _) => write!(f, "{} {} {}", pair.0, op.symbol(), pair.1),
        }
    }
}

impl Display for TimeShift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pin {
            None => {}
            Some(Pin::At(at)) => write!(f, " @ {:.3}", at.as_secs_f64())?,
            Some(Pin::Start) => f.write_str(" @ start()")?,
            Some(Pin::End) => f.write_str(" @ end()")?,
        }
        match &self.offset {
            None | Some(Extent::Fixed(Span::ZERO)) => Ok(()),
            Some(offset) => write!(f, " offset {offset}"),
        }
    }
}

impl VectorSelector {
    fn series(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("");
        let is_name = |m: &Matcher| {
            &*m.name == METRIC_NAME && !name.is_empty() && matches!(&m.op, MatchOp::Equal(value) if **value == *name)
        };
        let mut rest: Vec<String> = self.matchers.iter().filter(|m| !is_name(m)).map(Matcher::to_string).collect();
        rest.sort_unstable();
        f.write_str(if is_metric_name(name) { name } else { "" })?;
        if rest.is_empty() && !name.is_empty() {
            return Ok(());
        }
        write!(f, "{{{}}}", Joined(&rest, ","))
    }

    fn extended(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.extension {
            None => "",
            Some(Extension::Anchored) => " anchored",
            Some(Extension::Smoothed) => " smoothed",
        })
    }
}

impl Display for Subquery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)?;
        self.suffix(f)
    }
}

impl Subquery {
    fn suffix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.range)?;
        if let Some(step) = &self.step {
            write!(f, "{step}")?;
        }
        write!(f, "]{}", self.time)
    }
}

impl Aggregate {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.name())?;
        if !self.without && self.written_labels.is_empty() {
            return Ok(());
        }
        labels(f, if self.without { "without" } else { "by" }, &self.written_labels)?;
        f.write_char(' ')
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

impl Binary {
    /// The operator and how series are paired.
    fn middle(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matching = &self.matching;
        write!(f, "{}{}", self.op.symbol(), if self.returns_bool { " bool" } else { "" })?;
        if matching.on || !matching.labels.is_empty() || matching.many != Many::None {
            labels(f, if matching.on { "on" } else { "ignoring" }, &matching.labels)?;
        }
        match matching.many {
            Many::None => {}
            Many::Left => labels(f, "group_left", &matching.include)?,
            Many::Right => labels(f, "group_right", &matching.include)?,
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(left), Some(right)) if left == right => write!(f, " fill ({})", format_value(left))?,
            (left, right) => {
                for (keyword, value) in [("fill_left", left), ("fill_right", right)] {
                    if let Some(value) = value {
                        write!(f, " {keyword} ({})", format_value(value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.left)?;
        self.middle(f)?;
        write!(f, " {}", self.right)
    }
}

/// Longer expressions are spread over several lines.
const LINE_CHARACTERS: usize = 100;

/// An expression over as many lines as it needs, indented by two spaces a level.
pub(crate) struct Pretty<'p> {
    pub expr: &'p Expr,
    pub level: usize,
}

impl Display for Pretty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, indent) = (self.expr.to_string(), "  ".repeat(self.level));
        let below = |expr| Pretty { expr, level: self.level + 1 };
        let is_long = line.len() > LINE_CHARACTERS;
        match &self.expr.kind {
            ExprKind::Unary(sign, inner) => {
                let inner = Pretty { expr: inner, level: self.level }.to_string();
                write!(f, "{indent}{}{}", if *sign == Sign::Minus { "-" } else { "+" }, inner.trim_start())
            }
            ExprKind::Paren(inner) if is_long => write!(f, "{indent}(\n{}\n{indent})", below(inner)),
            ExprKind::Subquery(subquery) if is_long => {
                write!(f, "{}", Pretty { expr: &subquery.expr, level: self.level })?;
                subquery.suffix(f)
            }
            ExprKind::Call(call) if is_long => {
                let args: Vec<Self> = call.args.iter().map(below).collect();
                write!(f, "{indent}{}(\n{}\n{indent})", call.function.name, Joined(&args, ",\n"))
            }
            ExprKind::Aggregate(aggregate) if is_long => {
                f.write_str(&indent)?;
                aggregate.head(f)?;
                f.write_str("(\n")?;
                if let Some(param) = &aggregate.param {
                    writeln!(f, "{},", below(param))?;
                }
                write!(f, "{}\n{indent})", below(&aggregate.expr))
            }
            ExprKind::Binary(binary) if is_long => {
                write!(f, "{}\n{indent}", below(&binary.left))?;
                binary.middle(f)?;
                write!(f, "\n{}", below(&binary.right))
            }
            _ => write!(f, "{indent}{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::promql::{ParseLimits, Query};

    #[test]
    fn queries_print_in_one_form() {
        for (written, printed) in [
            ("sum(rate(m[5m]))by(b,a)", "sum by (b, a) (rate(m[5m]))"),
            ("m{a='b',c!~`\\d`}", r#"m{a="b",c!~"\\d"}"#),
            ("a/on(x)group_left()b>bool 1", "a / on (x) group_left () b > bool 1"),
            ("m offset 90m @ start()", "m @ start() offset 1h30m"),
            ("m[1h:]offset -5m", "m[1h:] offset -5m"),
            ("-1^2+(+m)", "-1 ^ 2 + (+m)"),
            ("topk(3,m)", "topk(3, m)"),
            ("m @ 1.5 + 5m", "m @ 1.500 + 5m"),
            ("{\"a.b\"} + on() fill(0) c", r#"{__name__="a.b"} + on () fill (0) c"#),
            ("m[min_of(step(),(5m+1))] anchored", "m[min_of(step(), (5m + 1))] anchored"),
        ] {
            let query = Query::parse(written, &ParseLimits::default()).unwrap();
            assert_eq!(query.to_string(), printed);
            let again = Query::parse(printed, &ParseLimits::default()).unwrap();
            assert_eq!(again.to_string(), printed);
        }
    }

    #[test]
    fn long_queries_are_spread_over_lines() {
        let text = "sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"a\"}[5m])) / topk(3, sum by (job) (rate(http_requests_total{job=\"a\"}[5m])))";
        let expected = [
            "  sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"a\"}[5m]))",
            "/",
            "  topk(3, sum by (job) (rate(http_requests_total{job=\"a\"}[5m])))",
        ];
        let query = Query::parse(text, &ParseLimits::default()).unwrap();
        assert_eq!(query.pretty(), expected.join("\n"));
        let nested = Query::parse(&format!("max(({text})[1h:5m])"), &ParseLimits::default());
        assert!(nested.is_err(), "a range vector cannot be aggregated");
        let nested = Query::parse(&format!("max_over_time(({text})[1h:5m])"), &ParseLimits::default()).unwrap();
        let expected = [
            "max_over_time(",
            "  (",
            "      sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"a\"}[5m]))",
            "    /",
            "      topk(3, sum by (job) (rate(http_requests_total{job=\"a\"}[5m])))",
            "  )[1h:5m]",
            ")",
        ];
        assert_eq!(nested.pretty(), expected.join("\n"));
        let again = Query::parse(&nested.pretty(), &ParseLimits::default()).unwrap();
        assert_eq!(again.to_string(), nested.to_string());
    }
}
