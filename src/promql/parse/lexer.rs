//! The text of a query cut into tokens, in one pass and linear time.

use crate::promql::ast::Position;
use crate::promql::parse::ParseError;

/// A token and where it stands.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub at: Position,
}

/// The kinds of token. Keywords are words; the parser tells them apart.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    /// A name or a keyword; colons allowed outside braces and brackets.
    Word,
    /// A number.
    Number(f64),
    /// A duration, in seconds.
    Duration(f64),
    /// A string, unescaped, and whether it is UTF-8.
    String(String, bool),
    /// An operator, a bracket or other punctuation.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// Longest first, so that the first that fits is the one meant.
const SYMBOLS: [&str; 26] = [
    "==", "!=", "<=", "</", ">=", ">/", "=~", "!~", "=", "<", ">", "(", ")", "{", "}", "[", "]", ",", ":", "+", "-",
    "*", "/", "%", "^", "@",
];

/// All tokens of `text`, the last one [`TokenKind::End`].
///
/// # Errors
/// At the first character that starts no token.
pub fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer { text, at: 0, in_brackets: false, in_braces: false };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let is_end = token.kind == TokenKind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    in_brackets: bool,
    in_braces: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blanks;
            if !self.rest().starts_with('#') {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        let start = self.at;
        let bytes = self.rest().as_bytes();
        let kind = match bytes.first() {
            None => TokenKind::End,
            Some(b'"' | b'\'' | b'`') => self.string()?,
            Some(b'0'..=b'9') => self.number()?,
            Some(b'.') if bytes.get(1).is_some_and(u8::is_ascii_digit) => self.number()?,
            Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => self.word(),
            Some(b':') if !self.in_brackets && !self.in_braces => self.word(),
            Some(_) => self.symbol()?,
        };
        Ok(Token { kind, at: position(start, self.at) })
    }

    fn word(&mut self) -> TokenKind {
        let with_colons = !self.in_brackets && !self.in_braces;
        let length = self
            .rest()
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_' || (with_colons && *b == b':'))
            .count();
        let word = &self.rest()[..length];
        let kind = if self.in_braces {
            TokenKind::Word
        } else if word.eq_ignore_ascii_case("inf") {
            TokenKind::Number(f64::INFINITY)
        } else if word.eq_ignore_ascii_case("nan") {
            TokenKind::Number(f64::NAN)
        } else {
            TokenKind::Word
        };
        self.at += length;
        kind
    }

    fn symbol(&mut self) -> Result<TokenKind, ParseError> {
        let Some(symbol) = SYMBOLS.into_iter().find(|s| self.rest().starts_with(s)) else {
            let found = self.rest().chars().next().unwrap_or(' ');
            let place = if self.in_braces { " inside braces" } else { "" };
            return Err(self.error(format!("unexpected character{place}: '{found}'")));
        };
        // Between braces there are no comparisons.
        let symbol = if self.in_braces && symbol == "==" { "=" } else { symbol };
        match symbol {
            "{" if self.in_braces => return Err(self.error("unexpected left brace '{'".to_owned())),
            "[" if self.in_brackets => return Err(self.error("unexpected left bracket '['".to_owned())),
            "]" if !self.in_brackets => return Err(self.error("unexpected right bracket ']'".to_owned())),
            "{" => self.in_braces = true,
            "}" => self.in_braces = false,
            "[" => self.in_brackets = true,
            "]" => self.in_brackets = false,
            _ => {}
        }
        self.at += symbol.len();
        Ok(TokenKind::Symbol(symbol))
    }

    fn number(&mut self) -> Result<TokenKind, ParseError> {
        let start = self.at;
        let length = number_length(self.rest().as_bytes());
        let after = &self.rest()[length..];
        let unit = after.bytes().take_while(u8::is_ascii_lowercase).count();
        if unit > 0 && is_unit(&after[..unit]) {
            let total = duration_length(self.rest().as_bytes());
            let text = &self.text[start..start + total];
            self.at += total;
            self.end_of_word(start, "bad number or duration syntax")?;
            return match text.parse::<crate::types::Span>() {
                Ok(span) => Ok(TokenKind::Duration(span.as_secs_f64())),
                Err(_) => {
                    Err(ParseError::new(position(start, self.at), format!("not a valid duration string: {text:?}")))
                }
            };
        }
        let text = &self.text[start..start + length];
        self.at += length;
        self.end_of_word(start, "bad number or duration syntax")?;
        match number_value(text) {
            Some(value) => Ok(TokenKind::Number(value)),
            None => Err(ParseError::new(position(start, self.at), format!("bad number or duration syntax: {text:?}"))),
        }
    }

    fn end_of_word(&mut self, start: usize, problem: &str) -> Result<(), ParseError> {
        let next = self.rest().chars().next();
        if next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            let end = self.at + next.map_or(0, char::len_utf8);
            return Err(ParseError::new(position(start, end), format!("{problem}: {:?}", &self.text[start..end])));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<TokenKind, ParseError> {
        let quote = self.rest().as_bytes()[0];
        let body = self.at + 1;
        if quote == b'`' {
            let Some(length) = self.text[body..].find('`') else {
                return Err(self.error("unterminated raw string".to_owned()));
            };
            self.at = body + length + 1;
            return Ok(TokenKind::String(self.text[body..body + length].to_owned(), true));
        }
        let bytes = self.text.as_bytes();
        let mut value = Vec::new();
        let mut at = body;
        loop {
            match bytes.get(at) {
                None | Some(b'\n') => return Err(self.error("unterminated quoted string".to_owned())),
                Some(byte) if *byte == quote => break,
                Some(b'\\') => {
                    let Some(length) = unescape(&bytes[at + 1..], quote, &mut value) else {
                        self.at = at;
                        return Err(self.error("unknown escape sequence in string".to_owned()));
                    };
                    at += 1 + length;
                }
                Some(byte) => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        self.at = at + 1;
        Ok(match String::from_utf8(value) {
            Ok(text) => TokenKind::String(text, true),
            Err(error) => TokenKind::String(String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
        })
    }

    fn error(&self, message: String) -> ParseError {
        ParseError::new(position(self.at, self.text.len()), message)
    }
}

fn position(start: usize, end: usize) -> Position {
    Position { start: start as u32, end: end as u32 }
}

/// One escape after the backslash, Go's: its bytes to `value`, its length returned.
fn unescape(bytes: &[u8], quote: u8, value: &mut Vec<u8>) -> Option<usize> {
    let plain = |byte: u8| Some((byte, 1));
    let (byte, length) = match bytes.first()? {
        b'a' => plain(7),
        b'b' => plain(8),
        b'f' => plain(12),
        b'n' => plain(b'\n'),
        b'r' => plain(b'\r'),
        b't' => plain(b'\t'),
        b'v' => plain(11),
        b'\\' => plain(b'\\'),
        byte if *byte == quote => plain(quote),
        b'x' => radix(bytes.get(1..3)?, 16).map(|n| (n as u8, 3)),
        b'0'..=b'7' => radix(bytes.get(..3)?, 8).and_then(|n| u8::try_from(n).ok()).map(|n| (n, 3)),
        letter @ (b'u' | b'U') => {
            let digits = if *letter == b'u' { 4 } else { 8 };
            let point = char::from_u32(radix(bytes.get(1..=digits)?, 16)?)?;
            value.extend_from_slice(point.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(1 + digits);
        }
        _ => None,
    }?;
    value.push(byte);
    Some(length)
}

fn radix(digits: &[u8], base: u32) -> Option<u32> {
    digits.iter().try_fold(0, |sum: u32, digit| Some(sum * base + char::from(*digit).to_digit(base)?))
}

fn is_unit(letters: &str) -> bool {
    matches!(letters, "ms" | "s" | "m" | "h" | "d" | "w" | "y")
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.len() > 2 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x')
}

/// Digits, underscores between them, a point, an exponent; or `0x` and hexadecimal ones.
fn number_length(bytes: &[u8]) -> usize {
    let hex = is_hex(bytes);
    let mut at = if hex { 2 } else { 0 };
    let mut has_exponent = false;
    while let Some(byte) = bytes.get(at) {
        let is_digit = if hex && !has_exponent { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
        let marker = if hex { b'p' } else { b'e' };
        if is_digit || *byte == b'_' || (*byte == b'.' && !has_exponent) {
            at += 1;
        } else if byte.eq_ignore_ascii_case(&marker) && !has_exponent {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            if !bytes.get(at + 1 + sign).is_some_and(u8::is_ascii_digit) {
                break;
            }
            has_exponent = true;
            at += 1 + sign;
        } else {
            break;
        }
    }
    at
}

/// Digits and unit, repeated.
fn duration_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let letters = bytes[at + digits..].iter().take_while(|b| b.is_ascii_lowercase()).count();
        if digits == 0 || letters == 0 {
            return at;
        }
        at += digits + letters;
    }
}

/// Go's `ParseInt` with base 0, else its `ParseFloat`.
fn number_value(text: &str) -> Option<f64> {
    if text.contains("__") || text.ends_with('_') || text.starts_with('_') {
        return None;
    }
    let text: String = text.chars().filter(|c| *c != '_').collect();
    if is_hex(text.as_bytes()) {
        return hexadecimal(&text[2..]);
    }
    if text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return i64::from_str_radix(&text, 8).ok().map(|n| n as f64);
    }
    text.parse().ok()
}

/// `1F`, `1.8p3`: a hexadecimal mantissa and a power of two.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    Some(value * (f64::from(exponent) - 4.0 * fraction.len() as f64).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        tokens(text).unwrap().into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn numbers_and_durations_read_as_in_prometheus() {
        for (text, value) in [
            ("12.34e6", 12.34e6),
            (".2", 0.2),
            ("2.", 2.0),
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("0x1.8p1", 3.0),
            ("010", 8.0),
            ("09", 9.0),
            ("iNf", f64::INFINITY),
        ] {
            assert_eq!(kinds(text)[0], TokenKind::Number(value), "{text}");
        }
        assert_eq!(kinds("1h30m")[0], TokenKind::Duration(5400.0));
        assert_eq!(kinds("250ms")[0], TokenKind::Duration(0.25));
        for text in ["1__0", "1_", "5mm", "1h1h", "12abc", "1.2.3"] {
            assert!(tokens(text).is_err(), "{text}");
        }
    }

    #[test]
    fn strings_unescape_and_raw_strings_do_not() {
        assert_eq!(kinds(r#""a\n\"\x41\u00e9\101""#)[0], TokenKind::String("a\n\"AéA".to_owned(), true));
        assert_eq!(kinds(r"`a\d`")[0], TokenKind::String(r"a\d".to_owned(), true));
        assert_eq!(kinds(r#""a\xc5z""#)[0], TokenKind::String("a\u{fffd}z".to_owned(), false));
        for text in [r#""abc"#, r#""\q""#, "`abc", "\"a\nb\""] {
            assert!(tokens(text).is_err(), "{text}");
        }
    }

    #[test]
    fn colons_belong_to_names_only_outside_brackets() {
        let texts = |text: &'static str| -> Vec<&'static str> {
            tokens(text).unwrap().iter().map(|t| &text[t.at.start as usize..t.at.end as usize]).collect()
        };
        assert_eq!(texts("a:b[5m:1m] # c"), ["a:b", "[", "5m", ":", "1m", "]", ""]);
    }
}
