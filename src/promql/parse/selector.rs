//! Selectors, label lists, and what a binary operator says about pairing.

use crate::promql::ast::{ExprKind, Many, Matching, Position, TimeShift, VectorSelector};
use crate::promql::parse::check;
use crate::promql::parse::lexer::TokenKind;
use crate::promql::parse::{Built, ParseError, Parser};
use crate::types::{METRIC_NAME, Matcher, MatcherError};

impl Parser<'_> {
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<Box<str>>, ParseError> {
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
    pub(super) fn matching(&mut self) -> Result<(bool, Matching), ParseError> {
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
            let taken =
                (both || left) && matching.fill_left.is_some() || (both || right) && matching.fill_right.is_some();
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

    pub(super) fn selector(&mut self, name: Option<String>) -> Result<Built, ParseError> {
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
