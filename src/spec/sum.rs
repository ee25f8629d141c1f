//! Sums and differences of selectors: `a{...} + b{...} - c{...}`.

use std::ops::Range;

use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::selector::{Problem, SELECTOR_LIMIT_BYTES, parse};
use crate::spec::{Sum, Summand};

/// A sum of more selectors is better written as one with a regular expression.
const SUMMANDS_LIMIT_COUNT: usize = 32;

/// A sum of selectors of counters; one alone is a sum too.
pub(crate) fn sum(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Sum> {
    let text = field.text(reporter)?;
    match read(text) {
        Ok(sum) => Some(sum),
        Err(problem) => {
            reporter.error(field.place_of(problem.at), problem.message).hint(problem.hint);
            None
        }
    }
}

fn read(text: &str) -> Result<Sum, Problem> {
    let pieces = pieces(text);
    if let Some((extra, _)) = pieces.get(SUMMANDS_LIMIT_COUNT) {
        return Err(Problem {
            at: extra.clone(),
            message: format!("a sum of more than {SUMMANDS_LIMIT_COUNT} selectors"),
            hint: "a regular expression selects many series at once: `code=~\"5..|429\"`".to_owned(),
        });
    }
    let many = pieces.len() > 1;
    let mut summands = pieces.into_iter().map(|(range, negative)| {
        let piece = &text[range.clone()];
        if many && piece.trim().is_empty() {
            return Err(Problem {
                at: range.start.saturating_sub(1)..range.end.max(1),
                message: "a selector is missing beside a `+` or `-`".to_owned(),
                hint: "write `a_total{...} + b_total{...} - c_total{...}`".to_owned(),
            });
        }
        let shifted = |p: Problem| Problem { at: p.at.start + range.start..p.at.end + range.start, ..p };
        Ok(Summand { selector: parse(piece).map_err(shifted)?, negative })
    });
    match summands.next() {
        Some(first) => Ok(Sum::new(first?, summands.collect::<Result<Vec<_>, _>>()?)),
        None => Ok(Sum::from(parse(text)?)),
    }
}

/// The parts between each `+` and `-` that stands outside of braces, strings and comments, and whether a `-` stands
/// before. A text that is too long is left whole, for the selector's parser to refuse.
fn pieces(text: &str) -> Vec<(Range<usize>, bool)> {
    let (mut pieces, mut start, mut negative) = (Vec::new(), 0, false);
    let (mut quote, mut escaped, mut braces, mut comment) = (None, false, 0_u32, false);
    if text.len() > SELECTOR_LIMIT_BYTES {
        return vec![(0..text.len(), false)];
    }
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some(_), _) if escaped => escaped = false,
            (Some(open), '\\') if open != '`' => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '#') => comment = true,
            (None, '{') => braces += 1,
            (None, '}') => braces = braces.saturating_sub(1),
            (None, '+' | '-') if braces == 0 => {
                pieces.push((start..at, negative));
                (start, negative) = (at + 1, c == '-');
            }
            _ => {}
        }
    }
    pieces.push((start..text.len(), negative));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> Result<String, String> {
        read(text).map(|s| s.to_string()).map_err(|p| format!("{} | {}", &text[p.at], p.message))
    }

    #[test]
    fn sums_read_as_in_promql() {
        for (text, expected) in [
            ("a", "a"),
            ("a+b", "a + b"),
            ("a{x=\"1+2\"} - b{y=~'-|}'}\n  + c # - d\n", r#"a{x="1+2"} - b{y=~"-|}"} + c"#),
            ("a{x=`\\`} - b", r#"a{x="\\"} - b"#),
        ] {
            assert_eq!(printed(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn problems_point_at_their_selector() {
        for (text, expected) in [
            ("a + rate(b[5m])", "rate | `rate(...)` cannot be used in an SLI: it takes a selector"),
            ("a + b{x=1}", " b{x=1} | not a valid selector: unexpected character inside braces: `1`"),
            ("a + ", "+  | a selector is missing beside a `+` or `-`"),
            ("- a", "- | a selector is missing beside a `+` or `-`"),
            ("a + (b - c)", "( | only sums and differences of selectors can be counted"),
            ("a * 2", "* | only sums and differences of selectors can be counted"),
        ] {
            let found = printed(text).unwrap_err();
            assert!(found.starts_with(expected), "{text}: {found}");
        }
        assert!(printed(&["a"; 33].join("+")).is_err_and(|e| e.contains("more than 32")));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[a-c{}()"'`\\=~+#é \n-]{0,40}"#) {
            let _ = printed(&text);
        }
    }
}
