//! Expressions, by precedence climbing.

use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Extension, Number, Pin, Position, Sign, Subquery,
    Text, TimeShift,
};
use crate::promql::function::Function;
use crate::promql::parse::lexer::TokenKind;
use crate::promql::parse::{BINARY_SYMBOLS, BINARY_WORDS, Built, ParseError, Parser};
use crate::types::Timestamp;

impl Parser<'_> {
    /// An expression whose operators bind tighter than `above`.
    pub(super) fn expression(&mut self, above: u8) -> Result<Built, ParseError> {
        let mut left = self.unary()?;
        while let Some(op) = self.binary_op().filter(|op| op.precedence() > above) {
            self.advance();
            let (returns_bool, matching) = self.matching()?;
            // The power operator binds to the right.
            let right_above = op.precedence() - u8::from(op == BinaryOp::Power);
            let right = self.nested(|p| p.expression(right_above))?;
            let at = left.expr.at.to(right.expr.at);
            let below = left.height.max(right.height);
            let binary = Binary { op, left: left.expr, right: right.expr, returns_bool, matching };
            left = self.built(ExprKind::Binary(Box::new(binary)), at, below)?;
        }
        Ok(left)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        match self.peek() {
            TokenKind::Symbol(symbol) => BINARY_SYMBOLS.iter().find(|(s, _)| s == symbol).map(|(_, op)| *op),
            TokenKind::Word => BINARY_WORDS.iter().find(|(word, _)| self.is_word(word)).map(|(_, op)| *op),
            _ => None,
        }
    }

    fn unary(&mut self) -> Result<Built, ParseError> {
        let at = self.here();
        let sign = match self.peek() {
            TokenKind::Symbol("-") => Sign::Minus,
            TokenKind::Symbol("+") => Sign::Plus,
            _ => return self.postfix(),
        };
        self.advance();
        // A sign binds like a product: `-a ^ b` is `-(a ^ b)`, `-a * b` is `(-a) * b`.
        let operand = self.nested(|p| p.expression(BinaryOp::Multiply.precedence()))?;
        let at = at.to(operand.expr.at);
        if let ExprKind::Number(number) = operand.expr.kind {
            let value = if sign == Sign::Minus { -number.value } else { number.value };
            return self.built(ExprKind::Number(Number { value, ..number }), at, 0);
        }
        self.built(ExprKind::Unary(sign, Box::new(operand.expr)), at, operand.height)
    }

    /// A primary expression with its ranges, offsets and other modifiers.
    fn postfix(&mut self) -> Result<Built, ParseError> {
        let mut built = self.primary()?;
        loop {
            if matches!(self.peek(), TokenKind::Symbol("[")) {
                built = self.brackets(built)?;
            } else if self.accept_word("offset") {
                let offset = self.offset()?;
                let end = self.behind();
                let shift = time_shift(&mut built.expr, "offset modifier")?;
                if shift.offset.is_some() {
                    return Err(ParseError::new(built.expr.at, "offset may not be set multiple times".to_owned()));
                }
                shift.offset = Some(offset);
                built.expr.at = built.expr.at.to(end);
            } else if self.accept("@") {
                let pin = self.pin(&built.expr)?;
                let end = self.behind();
                let shift = time_shift(&mut built.expr, "@ modifier")?;
                if shift.pin.is_some() {
                    let message = "@ <timestamp> may not be set multiple times".to_owned();
                    return Err(ParseError::new(built.expr.at, message));
                }
                shift.pin = Some(pin);
                built.expr.at = built.expr.at.to(end);
            } else if self.accept_word("anchored") {
                extend(&mut built.expr, Extension::Anchored)?;
            } else if self.accept_word("smoothed") {
                extend(&mut built.expr, Extension::Smoothed)?;
            } else {
                return Ok(built);
            }
        }
    }

    fn pin(&mut self, expr: &Expr) -> Result<Pin, ParseError> {
        for (word, pin) in [("start", Pin::Start), ("end", Pin::End)] {
            if self.accept_word(word) {
                self.expect("(", "@")?;
                self.expect(")", "@")?;
                return Ok(pin);
            }
        }
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let seconds = match self.peek() {
            TokenKind::Number(value) | TokenKind::Duration(value) => {
                if negative {
                    -value
                } else {
                    *value
                }
            }
            _ => return Err(self.unexpected("@", "timestamp")),
        };
        self.advance();
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            let message = format!("timestamp out of bounds for @ modifier: {}", crate::promql::go::fixed(seconds));
            return Err(ParseError::new(expr.at, message));
        }
        Ok(Pin::At(Timestamp((seconds * 1000.0).round() as i64)))
    }

    /// `[5m]` or `[5m:1m]`.
    fn brackets(&mut self, built: Built) -> Result<Built, ParseError> {
        let open = self.expect("[", "")?;
        let range = self.positive_extent()?;
        if self.accept(":") {
            let step = if matches!(self.peek(), TokenKind::Symbol("]")) { None } else { Some(self.positive_extent()?) };
            let close = self.expect("]", "subquery selector")?;
            let at = built.expr.at.to(close);
            let subquery = Subquery { expr: built.expr, range, step, time: TimeShift::default() };
            return self.built(ExprKind::Subquery(Box::new(subquery)), at, built.height);
        }
        let TokenKind::Symbol("]") = self.peek() else {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        };
        let close = self.advance().at;
        let problem = match &built.expr.kind {
            ExprKind::Vector(selector) if selector.time.offset.is_some() => "no offset modifiers allowed before range",
            ExprKind::Vector(selector) if selector.time.pin.is_some() => "no @ modifiers allowed before range",
            ExprKind::Vector(_) => "",
            _ => "ranges only allowed for vector selectors",
        };
        let at = built.expr.at.to(close);
        match built.expr.kind {
            ExprKind::Vector(selector) if problem.is_empty() => self.built(ExprKind::Matrix(selector, range), at, 0),
            _ => Err(ParseError::new(open.to(close), problem.to_owned())),
        }
    }

    fn primary(&mut self) -> Result<Built, ParseError> {
        let at = self.here();
        match self.peek().clone() {
            TokenKind::Number(value) => {
                self.advance();
                self.built(ExprKind::Number(Number { value, is_duration: false }), at, 0)
            }
            TokenKind::Duration(value) => {
                self.advance();
                self.built(ExprKind::Number(Number { value, is_duration: true }), at, 0)
            }
            TokenKind::String(value, is_utf8) => {
                self.advance();
                let source = (!is_utf8).then(|| self.text[at.start as usize..at.end as usize].into());
                self.built(ExprKind::String(Text { value: value.into(), is_utf8, source }), at, 0)
            }
            TokenKind::Symbol("(") => {
                self.advance();
                let inner = self.nested(|p| p.expression(0))?;
                let close = match self.peek() {
                    TokenKind::End => return Err(ParseError::new(self.here(), "unclosed left parenthesis".to_owned())),
                    _ => self.expect(")", "")?,
                };
                self.built(ExprKind::Paren(Box::new(inner.expr)), at.to(close), inner.height)
            }
            TokenKind::Symbol("{") => self.selector(None),
            TokenKind::Word => self.word(),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// An aggregation, a call or a selector: whatever starts with a word.
    fn word(&mut self) -> Result<Built, ParseError> {
        let word = self.word_at(self.at).unwrap_or_default().to_owned();
        let calls = matches!(self.peek_after(), TokenKind::Symbol("("));
        if let Some(op) = AggregateOp::from_name(&word) {
            let groups = self
                .word_at(self.at + 1)
                .is_some_and(|next| next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without"));
            if calls || groups {
                return self.aggregate(op);
            }
        }
        let lower = word.to_ascii_lowercase();
        if ["bool", "on", "ignoring", "group_left", "group_right", "atan2"].contains(&lower.as_str()) {
            return Err(self.unexpected("", ""));
        }
        if calls {
            let is_keyword = ["start", "end", "step", "range", "max_of", "min_of"].contains(&lower.as_str());
            return self.call(if is_keyword { &lower } else { &word });
        }
        self.selector(Some(word))
    }

    fn call(&mut self, name: &str) -> Result<Built, ParseError> {
        let at = self.here();
        let Some(function) = Function::find(name) else {
            return Err(ParseError::new(at, format!("unknown function with name {name:?}")));
        };
        self.advance();
        let (args, close, below) = self.arguments("")?;
        self.built(ExprKind::Call(Call { function, args }), at.to(close), below)
    }

    fn arguments(&mut self, context: &str) -> Result<(Vec<Expr>, Position, usize), ParseError> {
        self.expect("(", context)?;
        let (mut args, mut below) = (Vec::new(), 0);
        if matches!(self.peek(), TokenKind::Symbol(")")) {
            return Ok((args, self.advance().at, below));
        }
        loop {
            let arg = self.nested(|p| p.expression(0))?;
            below = below.max(arg.height);
            args.push(arg.expr);
            match self.peek() {
                TokenKind::Symbol(",") => {
                    let comma = self.advance().at;
                    if matches!(self.peek(), TokenKind::Symbol(")")) {
                        let message = "trailing commas not allowed in function call args".to_owned();
                        return Err(ParseError::new(comma, message));
                    }
                }
                TokenKind::Symbol(")") => return Ok((args, self.advance().at, below)),
                TokenKind::End => {
                    return Err(ParseError::new(self.here(), "unclosed left parenthesis".to_owned()));
                }
                _ => return Err(self.unexpected("", "")),
            }
        }
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Built, ParseError> {
        let start = self.advance().at;
        let mut grouping = self.grouping_clause()?;
        let (mut args, mut end, below) = self.arguments("aggregation")?;
        if grouping.is_none() {
            grouping = self.grouping_clause()?;
            if grouping.is_some() {
                end = self.behind();
            }
        }
        let at = start.to(end);
        let Grouping { without, labels: written_labels } = grouping.unwrap_or_default();
        let mut labels = written_labels.clone();
        labels.sort_unstable();
        labels.dedup();
        let wanted = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            return Err(ParseError::new(at, "no arguments for aggregate expression provided".to_owned()));
        }
        let count = args.len();
        let expr = args.pop().filter(|_| count == wanted).ok_or_else(|| {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {count}");
            ParseError::new(at, message)
        })?;
        let aggregate = Aggregate { op, param: args.pop(), expr, labels, written_labels, without };
        self.built(ExprKind::Aggregate(Box::new(aggregate)), at, below)
    }

    fn grouping_clause(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some(Grouping { without, labels: self.grouping_labels()? }))
    }
}

/// `by (…)` or `without (…)`.
#[derive(Default)]
struct Grouping {
    without: bool,
    labels: Vec<Box<str>>,
}

/// Where `offset` and `@` of this expression go.
fn time_shift<'a>(expr: &'a mut Expr, modifier: &str) -> Result<&'a mut TimeShift, ParseError> {
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => Ok(&mut selector.time),
        ExprKind::Subquery(subquery) => Ok(&mut subquery.time),
        _ => {
            let message = format!(
                "{modifier} must be preceded by an instant vector selector or range vector selector or a subquery"
            );
            Err(ParseError::new(expr.at, message))
        }
    }
}

fn extend(expr: &mut Expr, extension: Extension) -> Result<(), ParseError> {
    let name = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
    let message = match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => {
            if selector.extension.is_none_or(|present| present == extension) {
                selector.extension = Some(extension);
                return Ok(());
            }
            "anchored and smoothed modifiers cannot be used together".to_owned()
        }
        ExprKind::Subquery(_) => format!("{name} modifier is not supported for subqueries"),
        _ => format!("{name} modifier not implemented"),
    };
    Err(ParseError::new(expr.at, message))
}
