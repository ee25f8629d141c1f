//! Durations in a query: of ranges, steps and offsets, literal or computed.

use crate::promql::ast::{BinaryOp, DurationExpr, Extent, Number, Position};
use crate::promql::parse::lexer::TokenKind;
use crate::promql::parse::{ParseError, Parser};
use crate::types::Span;

/// More seconds than this are more nanoseconds than an `i64` holds, which is Prometheus' bound.
pub(crate) const MAX_DURATION_SECONDS: f64 = 9_223_372_036.854_775;

impl Parser<'_> {
    /// What stands in brackets: greater than zero where that can be told.
    pub fn positive_extent(&mut self) -> Result<Extent, ParseError> {
        let start = self.here();
        let expr = self.duration(0)?;
        if let DurationExpr::Literal(number) = &expr
            && number.value <= 0.0
        {
            return Err(ParseError::new(start, "duration must be greater than 0".to_owned()));
        }
        Self::extent(expr, start)
    }

    /// What follows `offset`: a literal, a call or a parenthesis, each with an optional sign. Operators after
    /// it belong to the expression around the selector.
    pub fn offset(&mut self) -> Result<Extent, ParseError> {
        let start = self.here();
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let operand = self.duration_operand("offset")?;
        Self::extent(if negative { negated(operand) } else { operand }, start)
    }

    fn extent(expr: DurationExpr, start: Position) -> Result<Extent, ParseError> {
        let DurationExpr::Literal(Number { value, .. }) = expr else {
            return Ok(Extent::Computed(expr, start));
        };
        if value.is_nan() || value.abs() > MAX_DURATION_SECONDS {
            return Err(ParseError::new(start, "duration out of range".to_owned()));
        }
        Ok(Extent::Fixed(Span((value * 1000.0).round() as i64)))
    }

    fn duration(&mut self, above: u8) -> Result<DurationExpr, ParseError> {
        let start = self.here();
        let negative = matches!(self.peek(), TokenKind::Symbol("-"));
        let mut left = if negative || matches!(self.peek(), TokenKind::Symbol("+")) {
            self.advance();
            let operand = self.nested(|p| p.duration(BinaryOp::Multiply.precedence()))?;
            if negative { negated(operand) } else { operand }
        } else {
            self.duration_operand("subquery or range selector")?
        };
        while let Some(op) = self.duration_op().filter(|op| op.precedence() > above) {
            let op_at = self.advance().at;
            let right_above = op.precedence() - u8::from(op == BinaryOp::Power);
            let right = self.nested(|p| p.duration(right_above))?;
            if let DurationExpr::Literal(Number { value: 0.0, .. }) = right {
                match op {
                    BinaryOp::Divide => return Err(ParseError::new(op_at, "division by zero".to_owned())),
                    BinaryOp::Modulo => return Err(ParseError::new(op_at, "modulo by zero".to_owned())),
                    _ => {}
                }
            }
            left = DurationExpr::Binary(op, Box::new((left, right)), start.to(op_at));
        }
        Ok(left)
    }

    fn duration_op(&self) -> Option<BinaryOp> {
        Some(match self.peek() {
            TokenKind::Symbol("+") => BinaryOp::Add,
            TokenKind::Symbol("-") => BinaryOp::Subtract,
            TokenKind::Symbol("*") => BinaryOp::Multiply,
            TokenKind::Symbol("/") => BinaryOp::Divide,
            TokenKind::Symbol("%") => BinaryOp::Modulo,
            TokenKind::Symbol("^") => BinaryOp::Power,
            _ => return None,
        })
    }

    fn duration_operand(&mut self, context: &str) -> Result<DurationExpr, ParseError> {
        let number = match self.peek() {
            TokenKind::Number(value) => Some(Number { value: *value, is_duration: false }),
            TokenKind::Duration(value) => Some(Number { value: *value, is_duration: true }),
            _ => None,
        };
        if let Some(number) = number {
            self.advance();
            return Ok(DurationExpr::Literal(number));
        }
        if self.accept("(") {
            let inner = self.nested(|p| p.duration(0))?;
            self.expect(")", context)?;
            return Ok(DurationExpr::Paren(Box::new(inner)));
        }
        for (word, expr) in [("step", DurationExpr::Step), ("range", DurationExpr::Range)] {
            if self.is_word(word) {
                self.advance();
                self.expect("(", context)?;
                self.expect(")", context)?;
                return Ok(expr);
            }
        }
        let is_min = self.is_word("min_of");
        if is_min || self.is_word("max_of") {
            self.advance();
            self.expect("(", context)?;
            let first = self.nested(|p| p.duration(0))?;
            self.expect(",", context)?;
            let second = self.nested(|p| p.duration(0))?;
            self.expect(")", context)?;
            let pair = Box::new((first, second));
            return Ok(if is_min { DurationExpr::MinOf(pair) } else { DurationExpr::MaxOf(pair) });
        }
        Err(self.unexpected(context, "number, duration, step(), or range()"))
    }
}

fn negated(expr: DurationExpr) -> DurationExpr {
    match expr {
        DurationExpr::Literal(number) => DurationExpr::Literal(Number { value: -number.value, ..number }),
        other => DurationExpr::Negate(Box::new(other)),
    }
}
