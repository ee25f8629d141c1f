//! The syntax tree of a query. Every node knows where in the text it stands, which annotations and errors quote.

use std::sync::Arc;

use crate::promql::function::Function;
use crate::types::{Matcher, Span, Timestamp};

/// A part of the query text: byte offsets, the end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Position {
    /// From here to the end of `other`.
    #[must_use]
    pub const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }

    /// `line:column` of the start, both from 1, columns in bytes, as Prometheus prints positions.
    pub fn line_and_column(self, query: &str) -> String {
        let before = &query.as_bytes()[..(self.start as usize).min(query.len())];
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        format!("{line}:{column}")
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One number at each step.
    Scalar,
    /// One sample of each of a set of series, at each step.
    Vector,
    /// A range of samples of each of a set of series.
    Matrix,
    /// A text.
    String,
}

impl Type {
    /// As the documentation and error messages call it.
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }

    /// As the HTTP API calls it in `resultType`.
    pub const fn api(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub at: Position,
    /// Whether its value is the same at every step of a range query, by `@` or because it is a literal.
    pub constant: bool,
}

/// The kinds of node.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A number or a duration in seconds.
    Number(Number),
    /// A text.
    String(Text),
    /// `(expr)`
    Paren(Box<Expr>),
    /// `-expr` or `+expr`
    Unary(Sign, Box<Expr>),
    /// `metric{label="value"}`
    Vector(VectorSelector),
    /// `metric[5m]`
    Matrix(VectorSelector, Extent),
    /// `expr[5m:1m]`
    Subquery(Box<Subquery>),
    /// `rate(…)`
    Call(Call),
    /// `sum by (job) (…)`
    Aggregate(Box<Aggregate>),
    /// `a + on (job) b`
    Binary(Box<Binary>),
}

/// A numeric literal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// Its value; a duration's in seconds.
    pub value: f64,
    /// Whether it was written as a duration, and prints as one.
    pub is_duration: bool,
}

/// A string literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its value. What is not UTF-8 after unescaping is replaced.
    pub value: Arc<str>,
    /// Whether the unescaped bytes were UTF-8.
    pub is_utf8: bool,
    /// As written, where it is not UTF-8: for messages.
    pub source: Option<Box<str>>,
}

/// The sign of a unary expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// A selection of series and the time at which to look at them.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The metric name in front of the braces.
    pub name: Option<Box<str>>,
    /// All conditions, the one on the name in front of the braces included, as last.
    pub matchers: Vec<Matcher>,
    /// Offset and `@`.
    pub time: TimeShift,
    /// `anchored` or `smoothed`.
    pub extension: Option<Extension>,
    /// Whether only count and sum of its histograms are used.
    pub without_buckets: bool,
    /// Where the selector stands, without the range after it.
    pub at: Position,
}

/// How a selector looks beyond its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `anchored`: the last sample before the range counts as its start.
    Anchored,
    /// `smoothed`: values at both ends are interpolated.
    Smoothed,
}

/// `offset` and `@`.
#[derive(Clone, Debug, Default)]
pub struct TimeShift {
    /// `offset 5m`
    pub offset: Option<Extent>,
    /// `@ 1600000000`, `@ start()`
    pub pin: Option<Pin>,
}

/// The moment an `@` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A timestamp.
    At(Timestamp),
    /// `start()`: the start of the query.
    Start,
    /// `end()`: the end of the query.
    End,
}

/// A length of time: of a range, a step or an offset.
#[derive(Clone, Debug)]
pub enum Extent {
    /// As written.
    Fixed(Span),
    /// To be computed for each query.
    Computed(DurationExpr, Position),
}

/// An expression whose value is a duration, in seconds.
#[derive(Clone, Debug)]
pub enum DurationExpr {
    /// A number of seconds or a duration.
    Literal(Number),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-expr`
    Negate(Box<Self>),
    /// `(expr)`
    Paren(Box<Self>),
    /// `min_of(a, b)`
    MinOf(Box<(Self, Self)>),
    /// `max_of(a, b)`
    MaxOf(Box<(Self, Self)>),
    /// `a + b`, with the position of the whole.
    Binary(BinaryOp, Box<(Self, Self)>, Position),
}

/// `expr[range:step]`
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far back.
    pub range: Extent,
    /// At which interval; the default interval when absent.
    pub step: Option<Extent>,
    /// Offset and `@`.
    pub time: TimeShift,
}

/// A function call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
}

/// An aggregation over the series of a vector.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// The first argument of those that take two.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
    /// The labels of `by` or `without`, sorted, each once.
    pub labels: Vec<Box<str>>,
    /// The same as they were written.
    pub written_labels: Vec<Box<str>>,
    /// Whether the labels are those to remove.
    pub without: bool,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the operator of its name")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    Topk,
    Bottomk,
    Limitk,
    LimitRatio,
    CountValues,
}

impl AggregateOp {
    /// The operator of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        AGGREGATE_NAMES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, op)| *op)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        AGGREGATE_NAMES.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// The type of the parameter, if it takes one.
    pub const fn param(self) -> Option<Type> {
        match self {
            Self::Quantile | Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio => Some(Type::Scalar),
            Self::CountValues => Some(Type::String),
            _ => None,
        }
    }
}

const AGGREGATE_NAMES: [(&str, AggregateOp); 14] = [
    ("sum", AggregateOp::Sum),
    ("avg", AggregateOp::Avg),
    ("count", AggregateOp::Count),
    ("min", AggregateOp::Min),
    ("max", AggregateOp::Max),
    ("group", AggregateOp::Group),
    ("stddev", AggregateOp::Stddev),
    ("stdvar", AggregateOp::Stdvar),
    ("quantile", AggregateOp::Quantile),
    ("topk", AggregateOp::Topk),
    ("bottomk", AggregateOp::Bottomk),
    ("limitk", AggregateOp::Limitk),
    ("limit_ratio", AggregateOp::LimitRatio),
    ("count_values", AggregateOp::CountValues),
];

/// A binary operation.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// The left side.
    pub left: Expr,
    /// The right side.
    pub right: Expr,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How series of the two sides are paired.
    pub matching: Matching,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the operator of its name")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `</`: cuts a histogram above a value.
    TrimUpper,
    /// `>/`: cuts a histogram below a value.
    TrimLower,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Atan2,
    Power,
}

impl BinaryOp {
    /// As written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Atan2 => "atan2",
            Self::Power => "^",
        }
    }

    /// How tightly it binds: 1 (`or`) to 6 (`^`).
    pub const fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide | Self::Modulo | Self::Atan2 => 5,
            Self::Power => 6,
        }
    }

    /// Whether it compares, and filters unless `bool` is given.
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }

    /// Whether it works on sets of series.
    pub const fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// Whether the result is another quantity than the operands, and loses their metric name.
    pub const fn changes_meaning(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Modulo | Self::Power | Self::Atan2
        )
    }
}

/// How series of two vectors are paired.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<Box<str>>,
    /// Whether only these labels count; else all but these and the name.
    pub on: bool,
    /// Which side may have several partners.
    pub many: Many,
    /// The labels of `group_left` or `group_right`, taken from the side of one.
    pub include: Vec<Box<str>>,
    /// `fill_left`: the value of a series absent on the left.
    pub fill_left: Option<f64>,
    /// `fill_right`: the value of a series absent on the right.
    pub fill_right: Option<f64>,
}

/// The side of a binary operation with several partners for one of the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Many {
    /// Neither.
    #[default]
    None,
    /// `group_left`
    Left,
    /// `group_right`
    Right,
}

impl Expr {
    /// Its type.
    pub fn value_type(&self) -> Type {
        match &self.kind {
            ExprKind::Number(_) => Type::Scalar,
            ExprKind::String(_) => Type::String,
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => inner.value_type(),
            ExprKind::Vector(_) | ExprKind::Aggregate(_) => Type::Vector,
            ExprKind::Matrix(..) | ExprKind::Subquery(_) => Type::Matrix,
            ExprKind::Call(call) => call.function.returns,
            ExprKind::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
        }
    }

    /// The expression inside all parentheses around it.
    pub fn without_parens(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}
