//! From tokens to the syntax tree, by precedence climbing.
//!
//! The field's parser crate gives no positions, which annotations quote, and does not read the newer grammar
//! (`anchored`, `smoothed`, `</`, duration expressions, `info` with an open selector); hence this one. The
//! tests hold the two against each other.

pub(crate) mod check;
mod duration;
mod expression;
mod lexer;
mod selector;

pub(crate) use duration::MAX_DURATION_SECONDS;

use std::fmt;

use check::Buckets;
use lexer::{Token, TokenKind, tokens};

use crate::promql::ast::{AggregateOp, BinaryOp, Expr, ExprKind, Position};
use crate::types::Matcher;

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
    read(text, limits).map_err(|error| placed(error, text))
}

/// Reads what selects series and nothing else.
///
/// # Errors
/// As [`parse`]. That every matcher may match nothing is none.
pub fn parse_matchers(text: &str, limits: &ParseLimits) -> Result<Vec<Matcher>, ParseError> {
    if text.len() > limits.query_bytes {
        // The same complaint.
        return parse(text, limits).map(|_| Vec::new());
    }
    read_matchers(text, limits).map_err(|error| placed(error, text))
}

fn read_matchers(text: &str, limits: &ParseLimits) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0, limits: *limits };
    let name = parser.word_at(0).map(str::to_owned);
    if name.is_none() && parser.peek() != &TokenKind::Symbol("{") {
        return Err(parser.unexpected("", ""));
    }
    let built = parser.selector(name)?;
    match built.expr.kind {
        ExprKind::Vector(selector) if parser.peek() == &TokenKind::End => Ok(selector.matchers),
        _ => Err(parser.unexpected("", "")),
    }
}

fn placed(error: ParseError, text: &str) -> ParseError {
    // As Prometheus, which has no place in nothing.
    let nowhere = || "unknown position".to_owned();
    let place = if text.is_empty() { nowhere() } else { error.at.line_and_column(text) };
    ParseError { place, ..error }
}

fn read(text: &str, limits: &ParseLimits) -> Result<Expr, ParseError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0, limits: *limits };
    if parser.peek() == &TokenKind::End {
        return Err(ParseError::new(Position::default(), "no expression found in input".to_owned()));
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
    pub height: usize,
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

    pub(super) fn peek_after(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub fn here(&self) -> Position {
        self.tokens[self.at].at
    }

    /// Where the token before this one stands.
    pub(super) fn behind(&self) -> Position {
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

    pub(super) fn word_at(&self, at: usize) -> Option<&str> {
        let token = self.tokens.get(at)?;
        (token.kind == TokenKind::Word).then(|| &self.text[token.at.start as usize..token.at.end as usize])
    }

    /// Whether the current word is `keyword`, in any case.
    pub fn is_word(&self, keyword: &str) -> bool {
        self.word_at(self.at).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn accept_word(&mut self, keyword: &str) -> bool {
        let found = self.is_word(keyword);
        if found {
            self.advance();
        }
        found
    }

    /// How many of these are open where the current token stands.
    fn open(&self, left: &str, right: &str) -> usize {
        self.tokens[..self.at].iter().fold(0_usize, |open, token| match &token.kind {
            TokenKind::Symbol(symbol) if *symbol == left => open + 1,
            TokenKind::Symbol(symbol) if *symbol == right => open.saturating_sub(1),
            _ => open,
        })
    }

    /// Prometheus' complaint about the current token where parentheses, brackets or braces do not fit together.
    fn unbalanced(&self) -> Option<ParseError> {
        let at = self.here();
        let message = match self.peek() {
            TokenKind::Symbol(")") if self.open("(", ")") == 0 => {
                let behind = Position { start: at.end, end: at.end };
                return Some(ParseError::new(behind, "unexpected right parenthesis ')'".to_owned()));
            }
            TokenKind::End if self.open("{", "}") > 0 => "unexpected end of input inside braces",
            TokenKind::End if self.open("(", ")") > 0 => "unclosed left parenthesis",
            TokenKind::End
                if self.open("[", "]") > 0
                    && self.at > 0
                    && self.tokens[self.at - 1].kind != TokenKind::Symbol("[") =>
            {
                "unclosed left bracket"
            }
            _ => return None,
        };
        Some(ParseError::new(at, message.to_owned()))
    }

    /// Prometheus' complaint about the current token.
    pub fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        if let Some(error) = self.unbalanced() {
            return error;
        }
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
            message = format!("{message} in {context}");
        }
        if !expected.is_empty() {
            message = format!("{message}, expected {expected}");
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

    pub(super) fn built(&self, kind: ExprKind, at: Position, below: usize) -> Result<Built, ParseError> {
        if below >= self.limits.tree_height {
            let message = format!("expression tree higher than {} levels", self.limits.tree_height);
            return Err(ParseError::new(at, message));
        }
        Ok(Built { expr: Expr { kind, at, constant: false }, height: below + 1 })
    }
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
