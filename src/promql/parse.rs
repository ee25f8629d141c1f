//! From tokens to the syntax tree, by precedence climbing.
//!
//! The field's parser crate gives no positions, which annotations quote, and does not read the newer grammar
//! (`anchored`, `smoothed`, `</`, duration expressions, `info` with an open selector); hence this one. The
//! tests hold the two against each other.

use std::fmt;

use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Extension, Many, Matching, Number, Pin, Position,
    Sign, Subquery, Text, TimeShift, VectorSelector,
};
use crate::promql::check::{self, Buckets};
use crate::promql::function::Function;
use crate::promql::lexer::{Token, TokenKind, tokens};
use crate::types::{METRIC_NAME, Matcher, MatcherError, Timestamp};

/// How long and how deep a query may be.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// Longest query text.
    pub query_bytes: usize,
    /// Deepest nesting of parentheses, calls and signs.
    pub nesting_depth: usize,
    /// Highest tree: a chain of operators is as high as it is long.
    pub tree_height: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { query_bytes: 16 << 10, nesting_depth: 100, tree_height: 500 }
    }
}

/// Why a text is not a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub at: Position,
    /// `line:column` of it.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl ParseError {
    /// An error whose place is filled in when the query is known.
    pub(crate) fn new(at: Position, message: String) -> Self {
        Self { at, place: String::new(), message }
    }
}

/// As Prometheus: `1:5: parse error: unexpected end of input`.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: parse error: {}", self.place, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads and checks a query.
///
/// # Errors
/// The first thing wrong with it, and where.
pub fn parse(text: &str, limits: &ParseLimits) -> Result<Expr, ParseError> {
    if text.len() > limits.query_bytes {
        let message = format!("query of {} bytes; at most {} are allowed", text.len(), limits.query_bytes);
        return Err(ParseError { at: Position::default(), place: "1:1".to_owned(), message });
    }
    read(text, limits).map_err(|mut error| {
        error.place = error.at.line_and_column(text);
        error
    })
}

fn read(text: &str, limits: &ParseLimits) -> Result<Expr, ParseError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, limits: *limits };
    if parser.peek() == &TokenKind::End {
        return Err(ParseError::new(parser.here(), "no expression found in input".to_owned()));
    }
    let mut built = parser.expression(0)?;
    if parser.peek() != &TokenKind::End {
        return Err(parser.unexpected("", ""));
    }
    check::check(&mut built.expr)?;
    check::mark_bucketless(&mut built.expr, Buckets::Unknown);
    Ok(built.expr)
}

/// An expression and the height of its tree.
pub(crate) struct Built {
    pub expr: Expr,
    height: usize,
}

pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    limits: ParseLimits,
}

impl Parser<'_> {
    pub fn peek(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    fn peek_after(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub fn here(&self) -> Position {
        self.tokens[self.at].at
    }

    /// Where the token before this one stands.
    fn behind(&self) -> Position {
        self.tokens[self.at.saturating_sub(1)].at
    }

    pub fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    pub fn accept(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), TokenKind::Symbol(s) if *s == symbol);
        if found {
            self.advance();
        }
        found
    }

    pub fn expect(&mut self, symbol: &str, context: &str) -> Result<Position, ParseError> {
        let at = self.here();
        if self.accept(symbol) { Ok(at) } else { Err(self.unexpected(context, &format!("{symbol:?}"))) }
    }

    fn word_at(&self, at: usize) -> Option<&str> {
        let token = self.tokens.get(at)?;
        (token.kind == TokenKind::Word).then(|| &self.text[token.at.start as usize..token.at.end as usize])
    }

    /// Whether the current word is `keyword`, in any case.
    pub fn is_word(&self, keyword: &str) -> bool {
        self.word_at(self.at).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    fn accept_word(&mut self, keyword: &str) -> bool {
        let found = self.is_word(keyword);
        if found {
            self.advance();
        }
        found
    }

    /// Prometheus' complaint about the current token.
    pub fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let at = self.here();
        let text = &self.text[at.start as usize..at.end as usize];
        let found = match self.peek() {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Word if BINARY_WORDS.iter().any(|(word, _)| word.eq_ignore_ascii_case(text)) => {
                format!("<op:{text}>")
            }
            TokenKind::Word if AggregateOp::from_name(text).is_some() => format!("<aggr:{text}>"),
            TokenKind::Word => format!("identifier {text:?}"),
            TokenKind::Number(_) => format!("number {text:?}"),
            TokenKind::Duration(_) => format!("duration {text:?}"),
            TokenKind::String(..) => format!("string {text:?}"),
            TokenKind::Symbol(symbol) if BINARY_SYMBOLS.iter().any(|(s, _)| s == symbol) => format!("<op:{symbol}>"),
            TokenKind::Symbol(symbol) => format!("{symbol:?}"),
        };
        let mut message = format!("unexpected {found}");
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        ParseError::new(at, message)
    }

    /// One level deeper, refused beyond the limit.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == self.limits.nesting_depth {
            let message = format!("expression nested deeper than {} levels", self.limits.nesting_depth);
            return Err(ParseError::new(self.here(), message));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn built(&self, kind: ExprKind, at: Position, below: usize) -> Result<Built, ParseError> {
        if below >= self.limits.tree_height {
            let message = format!("expression tree higher than {} levels", self.limits.tree_height);
            return Err(ParseError::new(at, message));
        }
        Ok(Built { expr: Expr { kind, at, constant: false }, height: below + 1 })
    }

    /// An expression whose operators bind tighter than `above`.
    fn expression(&mut self, above: u8) -> Result<Built, ParseError> {
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
            TokenKind::Number(value) | TokenKind::Duration(value) => if negative { -value } else { *value },
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
            let groups = self.word_at(self.at + 1).is_some_and(|next| {
                next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without")
            });
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
        let (without, mut labels) = grouping.unwrap_or_default();
        labels.sort_unstable();
        labels.dedup();
        let wanted = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            return Err(ParseError::new(at, "no arguments for aggregate expression provided".to_owned()));
        }
        let count = args.len();
        let expr = args.pop().filter(|_| count == wanted).ok_or_else(|| {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {count}"
            );
            ParseError::new(at, message)
        })?;
        let aggregate = Aggregate { op, param: args.pop(), expr, labels, without };
        self.built(ExprKind::Aggregate(Box::new(aggregate)), at, below)
    }

    fn grouping_clause(&mut self) -> Result<Option<(bool, Vec<Box<str>>)>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some((without, self.grouping_labels()?)))
    }

    fn grouping_labels(&mut self) -> Result<Vec<Box<str>>, ParseError> {
        self.expect("(", "grouping opts")?;
        let mut labels: Vec<Box<str>> = Vec::new();
        loop {
            if self.accept(")") {
                return Ok(labels);
            }
            let at = self.here();
            let label: Box<str> = match self.peek() {
                TokenKind::Word => self.word_at(self.at).unwrap_or_default().into(),
                TokenKind::String(value, true) if !value.is_empty() => value.as_str().into(),
                TokenKind::String(value, _) => {
                    return Err(ParseError::new(at, format!("invalid label name for grouping: {value:?}")));
                }
                _ => return Err(self.unexpected("grouping opts", "label")),
            };
            self.advance();
            labels.push(label);
            if !self.accept(",") && !matches!(self.peek(), TokenKind::Symbol(")")) {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
    }

    /// What stands between a binary operator and its right side.
    fn matching(&mut self) -> Result<(bool, Matching), ParseError> {
        let mut matching = Matching::default();
        let returns_bool = self.accept_word("bool");
        let on = self.is_word("on");
        if on || self.is_word("ignoring") {
            self.advance();
            matching.on = on;
            matching.labels = self.grouping_labels()?;
            for (word, many) in [("group_left", Many::Left), ("group_right", Many::Right)] {
                if self.accept_word(word) {
                    matching.many = many;
                    if matches!(self.peek(), TokenKind::Symbol("(")) {
                        matching.include = self.grouping_labels()?;
                    }
                    break;
                }
            }
        }
        while matches!(self.peek_after(), TokenKind::Symbol("(")) {
            let (left, right) = (self.is_word("fill_left"), self.is_word("fill_right"));
            let both = self.is_word("fill");
            let taken = (both || left) && matching.fill_left.is_some() || (both || right) && matching.fill_right.is_some();
            if !(both || left || right) || taken {
                break;
            }
            self.advance();
            let value = self.fill_value()?;
            if both || left {
                matching.fill_left = Some(value);
            }
            if both || right {
                matching.fill_right = Some(value);
            }
        }
        Ok((returns_bool, matching))
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.expect("(", "fill")?;
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let value = match self.peek() {
            TokenKind::Number(value) | TokenKind::Duration(value) => *value,
            _ => return Err(self.unexpected("fill", "number")),
        };
        self.advance();
        self.expect(")", "fill")?;
        Ok(if negative { -value } else { value })
    }

    fn selector(&mut self, name: Option<String>) -> Result<Built, ParseError> {
        let mut at = self.here();
        if name.is_some() {
            self.advance();
        }
        let mut matchers = Vec::new();
        if name.is_none() || matches!(self.peek(), TokenKind::Symbol("{")) {
            at = at.to(self.label_matchers(&mut matchers)?);
        }
        if let Some(name) = &name {
            if let Some(twice) = matchers.iter().find(|m: &&Matcher| &*m.name == METRIC_NAME) {
                let value = check::matcher_value(twice);
                return Err(ParseError::new(at, format!("metric name must not be set twice: {name:?} or {value:?}")));
            }
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let selector = VectorSelector {
            name: name.map(Into::into),
            matchers,
            time: TimeShift::default(),
            extension: None,
            without_buckets: false,
            at,
        };
        self.built(ExprKind::Vector(selector), at, 0)
    }

    fn label_matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<Position, ParseError> {
        self.expect("{", "")?;
        loop {
            if matches!(self.peek(), TokenKind::Symbol("}")) {
                return Ok(self.advance().at);
            }
            let start = self.here();
            let (name, quoted) = match self.peek() {
                TokenKind::Word => (self.word_at(self.at).unwrap_or_default().to_owned(), false),
                TokenKind::String(value, true) => (value.clone(), true),
                TokenKind::End => {
                    return Err(ParseError::new(start, "unexpected end of input inside braces".to_owned()));
                }
                _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
            };
            self.advance();
            let op = match self.peek() {
                TokenKind::Symbol(op @ ("=" | "!=" | "=~" | "!~")) => *op,
                TokenKind::Symbol("," | "}") if quoted => {
                    matchers.push(Matcher::equal(METRIC_NAME, &name));
                    self.accept(",");
                    continue;
                }
                _ => return Err(self.unexpected("label matching", "label matching operator")),
            };
            self.advance();
            let TokenKind::String(value, _) = self.peek().clone() else {
                return Err(self.unexpected("label matching", "string"));
            };
            let end = self.advance().at;
            matchers.push(matcher(&name, op, &value).map_err(|e| ParseError::new(start.to(end), e.to_string()))?);
            if !self.accept(",") && !matches!(self.peek(), TokenKind::Symbol("}")) {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
    }
}

fn matcher(name: &str, op: &str, value: &str) -> Result<Matcher, MatcherError> {
    match op {
        "=" => Ok(Matcher::equal(name, value)),
        "!=" => Ok(Matcher::not_equal(name, value)),
        "=~" => Matcher::regex(name, value),
        _ => Matcher::not_regex(name, value),
    }
}

/// Where `offset` and `@` of this expression go.
fn time_shift<'a>(expr: &'a mut Expr, modifier: &str) -> Result<&'a mut TimeShift, ParseError> {
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix(selector, _) => Ok(&mut selector.time),
        ExprKind::Subquery(subquery) => Ok(&mut subquery.time),
        _ => {
            let message =
                format!("{modifier} must be preceded by an instant vector selector or range vector selector or a subquery");
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

const BINARY_SYMBOLS: [(&str, BinaryOp); 14] = [
    ("==", BinaryOp::Equal),
    ("!=", BinaryOp::NotEqual),
    ("<", BinaryOp::Less),
    ("<=", BinaryOp::LessOrEqual),
    (">", BinaryOp::Greater),
    (">=", BinaryOp::GreaterOrEqual),
    ("</", BinaryOp::TrimUpper),
    (">/", BinaryOp::TrimLower),
    ("+", BinaryOp::Add),
    ("-", BinaryOp::Subtract),
    ("*", BinaryOp::Multiply),
    ("/", BinaryOp::Divide),
    ("%", BinaryOp::Modulo),
    ("^", BinaryOp::Power),
];

const BINARY_WORDS: [(&str, BinaryOp); 4] =
    [("or", BinaryOp::Or), ("and", BinaryOp::And), ("unless", BinaryOp::Unless), ("atan2", BinaryOp::Atan2)];
