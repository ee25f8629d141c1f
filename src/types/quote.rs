//! String literals as PromQL reads them.

use std::fmt::Write;

/// A double-quoted PromQL string literal (Go's rules, as `%q` writes them): `a"b` becomes `"a\"b"`.
///
/// Rust's own `{:?}` is no substitute: it writes `\0`, `\u{301}` and `\'`, which PromQL refuses.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a String cannot fail.
            c if c.is_ascii_control() => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c if c.is_control() => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql_parser::parser::{Expr, StringLiteral, parse};
    use proptest::prelude::*;

    #[test]
    fn known_literals() {
        for (text, quoted) in [
            ("", r#""""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("it's", r#""it's""#),
            ("\0\u{7f}\u{9c}", r#""\x00\x7f\u009c""#),
            ("e\u{301}\n", "\"e\u{301}\\n\""),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    proptest! {
        #[test]
        fn a_parser_reads_back_what_was_quoted(text in any::<String>()) {
            let parsed = parse(&quote(&text)).map_err(TestCaseError::fail)?;
            prop_assert_eq!(parsed, Expr::StringLiteral(StringLiteral { val: text }));
        }
    }
}
