//! PromQL instant vector selectors, of which an SLI counts one or a sum of them.
//!
//! Anything else that PromQL offers is refused with a word on what to write instead. The text is scanned before
//! the PromQL parser sees it, which has no depth limit and no positions: only a name and one flat pair of braces
//! ever reach it, so nesting is impossible.

use std::ops::Range;

use promql_parser::label::MatchOp as PromqlOp;
use promql_parser::parser::{Expr, VectorSelector};

use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::yaml::shown;
use crate::types::{METRIC_NAME, MatchOp, Matcher, Selector};

/// Longer selectors are refused.
pub(crate) const SELECTOR_LIMIT_BYTES: usize = 16 << 10;
/// A metric name nobody has: a condition it satisfies is no condition.
const UNHEARD_OF: &str = "sloburn_probe:no_such_metric_6d1f";

/// What is wrong with a selector's text, and in which bytes of it.
pub(crate) struct Problem {
    pub at: Range<usize>,
    pub message: String,
    pub hint: String,
}

/// One selector.
pub(crate) fn selector(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Selector> {
    let text = field.text(reporter)?;
    match parse(text) {
        Ok(selector) => Some(selector),
        Err(problem) => {
            reporter.error(field.place_of(problem.at), problem.message).hint(problem.hint);
            None
        }
    }
}

/// A selector on its own, with a text for people where it is none.
pub(crate) fn of_text(text: &str) -> Result<Selector, String> {
    parse(text).map_err(|problem| format!("{}; {}", problem.message, problem.hint))
}

/// A selector of one histogram, by its base name.
pub(crate) fn histogram(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Selector> {
    let selector = selector(field, reporter)?;
    let text = field.scalar().unwrap_or_default();
    let before = reporter.errors();
    if let Some(name) = selector.metric_name() {
        let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
        if let Some(suffix) = suffix {
            let base = name.trim_end_matches(suffix);
            let message = format!("`{name}` is one series of a histogram, not the histogram");
            reporter.error(field.place_of(word(text, name)), message).hint(format!("drop the suffix: `{base}`"));
        }
    } else {
        let hint = "write it as `http_request_duration_seconds{job=\"api\"}`";
        reporter.error(field.place(), "the histogram has no metric name").hint(hint);
    }
    for (label, reason) in [
        ("le", "`threshold` picks the bucket"),
        ("quantile", "quantiles are a summary's, and a summary cannot say how many events were fast enough"),
    ] {
        if selector.matchers().iter().any(|m| &*m.name == label) {
            let message = format!("a histogram's selector has no matcher on `{label}`");
            reporter.error(field.place_of(word(text, label)), message).hint(format!("leave it out: {reason}"));
        }
    }
    (reporter.errors() == before).then_some(selector)
}

/// Where `word` stands in `text` as a whole word; all of the text when nowhere.
pub(crate) fn word(text: &str, word: &str) -> Range<usize> {
    let free = |c: Option<char>| c.is_none_or(|c| !is_word(c));
    let mut found = text.match_indices(word).map(|(at, _)| at..at + word.len());
    let whole = |r: &Range<usize>| free(text[..r.start].chars().next_back()) && free(text[r.end..].chars().next());
    found.find(whole).unwrap_or(0..text.len())
}

pub(crate) fn parse(text: &str) -> Result<Selector, Problem> {
    if text.len() > SELECTOR_LIMIT_BYTES {
        let message = format!("a selector longer than {} KiB", SELECTOR_LIMIT_BYTES >> 10);
        return Err(Problem { at: 0..1, message, hint: "use a regular expression for long lists".to_owned() });
    }
    let plain = Scan { text, at: 0, plain: String::new(), words: Vec::new(), braces: false }.run()?;
    let invalid = |message: String| Problem {
        at: 0..text.len(),
        message,
        hint: "write it as PromQL does: `http_requests_total{job=\"api\",code=~\"5..\"}`".to_owned(),
    };
    if plain.trim().is_empty() {
        return Err(invalid("the selector is empty".to_owned()));
    }
    match promql_parser::parser::parse(&plain) {
        Ok(Expr::VectorSelector(parsed)) => convert(&parsed, text, invalid),
        Ok(_) => Err(invalid(format!("{} is not a selector", shown(text)))),
        Err(reason) => Err(refused(&reason, invalid)),
    }
}

/// What the parser's words mean here.
fn refused(reason: &str, invalid: impl Fn(String) -> Problem) -> Problem {
    if let Some(pattern) = reason.strip_prefix("illegal regex for ")
        && let Err(error) = Matcher::regex("", pattern)
    {
        let hint = "regular expressions are RE2's, matched against the whole value".to_owned();
        return Problem { hint, ..invalid(error.to_string()) };
    }
    if reason.starts_with("vector selector must contain") {
        return everything(invalid);
    }
    let unquoted = ["unexpected character inside braces", "unexpected identifier"];
    if unquoted.iter().any(|start| reason.starts_with(start)) {
        let hint = "label values stand in quotes: `code=\"500\"`".to_owned();
        return Problem { hint, ..invalid(format!("not a valid selector: {}", reason.replace('\'', "`"))) };
    }
    match reason {
        "invalid promql query" => invalid("not a valid selector".to_owned()),
        reason => invalid(format!("not a valid selector: {}", reason.replace('\'', "`"))),
    }
}

fn everything(invalid: impl Fn(String) -> Problem) -> Problem {
    let hint = "name the metric, or a label that must have a value".to_owned();
    Problem { hint, ..invalid("the selector matches every series".to_owned()) }
}

/// Matchers as they stand between a selector's braces: `traffic="header",merchant=~"test-.*"`. Unlike a selector they
/// may be satisfied by a series without the label.
pub(crate) fn matcher_list(text: &str) -> Result<Vec<Matcher>, Problem> {
    // A selector needs a name, or a label that must have a value.
    const OPENING: &str = "cohort{";
    let whole = |message: &str, hint: &str| {
        Err(Problem { at: 0..text.len(), message: message.to_owned(), hint: hint.to_owned() })
    };
    let hint = "write matchers as between a selector's braces: `traffic=\"header\",merchant=~\"test-.*\"`";
    if text.trim().is_empty() {
        return whole("no matcher is given", hint);
    }
    if text.trim_start().starts_with('{') || !text.contains(['=', '~']) {
        return whole(&format!("{} is not a list of matchers", shown(text)), hint);
    }
    if word(text, METRIC_NAME).len() < text.len() {
        return whole("the metric's name says nothing of the traffic", "the SLIs name the metrics; match other labels");
    }
    let selector = parse(&format!("{OPENING}{text}}}")).map_err(|problem| {
        let shifted = |at: usize| at.saturating_sub(OPENING.len()).min(text.len());
        Problem { at: shifted(problem.at.start)..shifted(problem.at.end), ..problem }
    })?;
    // Sorted first; what follows is the user's.
    Ok(selector.matchers()[1..].to_vec())
}

fn convert(parsed: &VectorSelector, text: &str, invalid: impl Fn(String) -> Problem) -> Result<Selector, Problem> {
    if !parsed.matchers.or_matchers.is_empty() {
        return Err(Problem {
            at: word(text, "or"),
            message: "`or` between matchers is not supported".to_owned(),
            hint: "use a regular expression, such as `code=~\"500|503\"`".to_owned(),
        });
    }
    let mut matchers: Vec<Matcher> = parsed.name.iter().map(|name| Matcher::equal(METRIC_NAME, name)).collect();
    for m in &parsed.matchers.matchers {
        let matcher = match &m.op {
            PromqlOp::Equal => Ok(Matcher::equal(&m.name, &m.value)),
            PromqlOp::NotEqual => Ok(Matcher::not_equal(&m.name, &m.value)),
            PromqlOp::Re(_) => Matcher::regex(&m.name, &m.value),
            PromqlOp::NotRe(_) => Matcher::not_regex(&m.name, &m.value),
        };
        matchers.push(matcher.map_err(|error| invalid(error.to_string()))?);
    }
    let selector = Selector::new(matchers);
    if matches_everything(&selector) {
        return Err(everything(invalid));
    }
    Ok(selector)
}

/// Whether nothing narrows the selector: no label must be there, and any metric name will do.
fn matches_everything(selector: &Selector) -> bool {
    let free = |m: &Matcher| m.matches(if &*m.name == METRIC_NAME { UNHEARD_OF } else { "" });
    let pinned = |m: &Matcher| &*m.name == METRIC_NAME && matches!(m.op, MatchOp::Equal(_));
    selector.matchers().iter().all(|m| free(m) && !pinned(m))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Reads the text once, refuses all that is no selector, and leaves a plain form: no comments, and backtick
/// strings in double quotes, since the parser misreads a backslash in them.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    plain: String,
    words: Vec<Range<usize>>,
    braces: bool,
}

impl Scan<'_> {
    fn run(mut self) -> Result<String, Problem> {
        while let Some(c) = self.peek() {
            match c {
                '#' => self.comment(),
                '{' if !self.braces => self.braces()?,
                c if c.is_whitespace() => self.copy(c),
                c if is_word(c) => self.word()?,
                c => return Err(self.foreign(c)),
            }
        }
        Ok(self.plain)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn copy(&mut self, c: char) {
        self.plain.push(c);
        self.at += c.len_utf8();
    }

    fn comment(&mut self) {
        self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
    }

    fn word(&mut self) -> Result<(), Problem> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let range = self.at..self.at + length;
        let word = &self.text[range.clone()];
        let (message, hint) = match word.to_ascii_lowercase().as_str() {
            "offset" if self.started() => ("`offset` is not part of an SLI's selector", NOW),
            "and" | "or" | "unless" if self.started() => (NO_EXPRESSIONS, ONE_SELECTOR),
            _ => {
                self.plain.push_str(word);
                self.words.push(range.clone());
                self.at = range.end;
                return Ok(());
            }
        };
        Err(Problem { at: range, message: message.to_owned(), hint: hint.to_owned() })
    }

    /// Whether a selector, or the start of one, stands before.
    fn started(&self) -> bool {
        self.braces || !self.words.is_empty()
    }

    fn braces(&mut self) -> Result<(), Problem> {
        let open = self.at;
        self.braces = true;
        self.copy('{');
        while let Some(c) = self.peek() {
            match c {
                '#' => self.comment(),
                '"' | '\'' | '`' => self.string(c)?,
                '}' => {
                    self.copy('}');
                    return Ok(());
                }
                '{' => break,
                c => self.copy(c),
            }
        }
        Err(Problem {
            at: open..open + 1,
            message: "`{` is never closed".to_owned(),
            hint: "end the matchers with `}`".to_owned(),
        })
    }

    fn string(&mut self, quote: char) -> Result<(), Problem> {
        let open = self.at;
        let raw = quote == '`';
        self.at += 1;
        let mut value = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c == quote {
                let quote = if raw { '"' } else { quote };
                self.plain.extend([quote]);
                self.plain.push_str(&value);
                self.plain.extend([quote]);
                return Ok(());
            }
            match c {
                '\\' | '"' if raw => value.extend(['\\', c]),
                '\n' if raw => value.push_str("\\n"),
                '\\' => {
                    value.push(c);
                    if let Some(escaped) = self.peek() {
                        value.push(escaped);
                        self.at += escaped.len_utf8();
                    }
                }
                c => value.push(c),
            }
        }
        Err(Problem {
            at: open..open + 1,
            message: format!("a string opened with {quote} is never closed"),
            hint: format!("end it with {quote}"),
        })
    }

    /// A character that belongs to some other PromQL expression.
    fn foreign(&self, c: char) -> Problem {
        let here = self.at..self.at + c.len_utf8();
        let (message, hint) = match (c, self.words.first()) {
            ('(', Some(_)) => return self.call(),
            ('[', _) => ("a range is not part of an SLI's selector", NO_RANGE),
            ('@', _) => ("`@` is not part of an SLI's selector", NOW),
            ('=' | '!', Some(_)) if !self.braces => {
                ("matchers belong in braces", "write `http_requests_total{job=\"api\"}`")
            }
            ('(' | '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' | '!', _) => (NO_EXPRESSIONS, ONE_SELECTOR),
            _ => {
                let message = format!("unexpected `{c}` in a selector");
                let hint = "write it as PromQL does: `http_requests_total{job=\"api\",code=~\"5..\"}`";
                return Problem { at: here, message, hint: hint.to_owned() };
            }
        };
        Problem { at: here, message: message.to_owned(), hint: hint.to_owned() }
    }

    /// `rate(...)` and the like.
    fn call(&self) -> Problem {
        let at = self.words[0].clone();
        let name = &self.text[at.clone()];
        let inner = self.text[self.at + 1..].split(['[', ')']).next().unwrap_or("").trim();
        let simple = self.words.len() == 1 && !inner.is_empty() && !inner.contains('(') && !inner.contains('\n');
        let counter =
            if simple { format!("the counter itself, {}", shown(inner)) } else { "the counter itself".into() };
        let hint = match name {
            "histogram_quantile" | "histogram_fraction" => {
                "use a `latency` SLI: `latency: {histogram: ..., threshold: 250ms}`".to_owned()
            }
            "sum" | "count" | "avg" | "min" | "max" | "group" => {
                format!("give {counter}: the engine adds up all the series a selector matches")
            }
            "rate" | "increase" | "irate" | "delta" | "idelta" => {
                format!("give {counter}: the engine counts increases")
            }
            _ => format!("give {counter}"),
        };
        Problem { at, message: format!("`{name}(...)` cannot be used in an SLI: it takes a selector"), hint }
    }
}

const NO_EXPRESSIONS: &str = "only sums and differences of selectors can be counted";
const ONE_SELECTOR: &str =
    "write `a_total{...} + b_total{...} - c_total{...}`, or one selector with a regular expression";
const NO_RANGE: &str = "give the counter itself: the engine counts increases over its own windows";
const NOW: &str = "leave it out: the engine counts what arrives, as it arrives";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> Result<String, String> {
        parse(text).map(|s| s.to_string()).map_err(|p| format!("{} | {} | {}", &text[p.at], p.message, p.hint))
    }

    #[test]
    fn selectors_read_as_in_promql() {
        for (text, expected) in [
            ("up", "up"),
            ("slo:total:sum", "slo:total:sum"),
            (r#" x { job = "api" , code=~'5..' } "#, r#"x{job="api",code=~"5.."}"#),
            (r#"{__name__="x",a!="1",b!~"2|3",}"#, r#"x{a!="1",b!~"2|3"}"#),
            (r"x{path=~`/v\d+/.*`}", r#"x{path=~"/v\\d+/.*"}"#),
            ("x{ # which\n a=\"#}{\" }\n# end", r##"x{a="#}{"}"##),
            (r#"{job="api"}"#, r#"{job="api"}"#),
            (r#"sum{a="b"}"#, r#"sum{a="b"}"#),
            (r#"x{order="1",or="2"}"#, r#"x{order="1",or="2"}"#),
        ] {
            assert_eq!(printed(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_says_what_to_write() {
        for (text, expected) in [
            (
                "rate(x[5m])",
                "rate | `rate(...)` cannot be used in an SLI: it takes a selector | give the counter itself, `x`: the engine counts increases",
            ),
            (
                "sum by (job) (x)",
                "sum | `sum(...)` cannot be used in an SLI: it takes a selector | give the counter itself: the engine adds up all the series a selector matches",
            ),
            (
                "x[5m]",
                "[ | a range is not part of an SLI's selector | give the counter itself: the engine counts increases over its own windows",
            ),
            (
                "x offset 5m",
                "offset | `offset` is not part of an SLI's selector | leave it out: the engine counts what arrives, as it arrives",
            ),
            (
                "x{} - y",
                "- | only sums and differences of selectors can be counted | write `a_total{...} + b_total{...} - c_total{...}`, or one selector with a regular expression",
            ),
        ] {
            assert_eq!(printed(text), Err(expected.to_owned()), "{text}");
        }
        for text in [
            "",
            " ",
            "{}",
            "{a=\"\"}",
            "{__name__=~\".+\"}",
            "{__name__!=\"\"}",
            "{a=~\".*\"}",
            "x{a=\"b\" or c=\"d\"}",
            "x{a=b}",
            "x{a=~\"(\"}",
            "x y",
            "5",
            "NaN",
            "\"x\"",
            "x{",
            "x{a=\"b}",
            "x{a=\"b\"}{c=\"d\"}",
            "((x))",
            "x @ 5",
            "x == 1",
            "x or y",
            "x{a=\"\\q\"}",
            "é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[a-z_:{}()\[\]"'`\\=~!,#@+é \n0-9.]{0,60}"#) {
            let _ = printed(&text);
        }

        #[test]
        fn what_is_read_survives_printing(text in r#"[a-z]{1,3}\{[a-z]{1,2}(=|!=|=~|!~)["'`][a-zé.|\\"]{0,4}["'`]\}"#) {
            if let Ok(selector) = parse(&text) {
                prop_assert_eq!(parse(&selector.to_string()).map_err(|p| p.message).unwrap(), selector);
            }
        }
    }
}
