//! YAML syntax errors in words that say what to do.

use granit_parser::{ErrorKind, ScanError};

use crate::spec::diagnostic::Reporter;
use crate::spec::source::Place;
use crate::spec::yaml::Abandoned;

const QUOTE: &str = "quote a value that contains `: `, starts with a special character or spans lines";
const INDENT: &str = "fields of one mapping start in the same column, and those inside it further right";

/// Reports the error; its document is lost.
///
/// `last` is the value read before it.
pub(super) fn report(error: &ScanError, last: Place, reporter: &mut Reporter<'_>) -> Abandoned {
    let place = Place { line: error.marker().line() as u32, column: error.marker().col() as u32 + 1, width: 1 };
    let (message, hint) = explain(error.kind());
    let opener = matches!(
        error.kind(),
        ErrorKind::UnclosedQuotedScalar
            | ErrorKind::InvalidQuotedScalarIndent
            | ErrorKind::DocumentIndicatorInQuotedScalar
    )
    .then(|| reporter.related(last, "opened after this"));
    let found = reporter.error(place, format!("invalid YAML: {message}"));
    found.related.extend(opener);
    if let Some(hint) = hint {
        found.hint(hint);
    }
    Abandoned
}

fn explain(kind: &ErrorKind) -> (String, Option<&'static str>) {
    use ErrorKind as E;
    let (message, hint) = match kind {
        E::TabNotAllowed | E::TabInBlockIndentation | E::TabInIndentation => ("tabs cannot indent", Some("use spaces")),
        E::MappingValueNotAllowed => ("a second `:` on the line", Some(QUOTE)),
        E::SimpleKeyExpected | E::InvalidSimpleKey => ("expected `name: value`", Some(INDENT)),
        E::ExpectedBlockMappingKey | E::InvalidIndentation | E::ExpectedBlockSequenceEntry => {
            ("the indentation fits nothing above", Some(INDENT))
        }
        E::ExpectedFlowMappingSeparator => {
            ("expected `,` or `}`", Some("quote a selector inside `{...}`: `total: 'requests_total{job=\"api\"}'`"))
        }
        E::ExpectedFlowSequenceSeparator => ("expected `,` or `]`", Some(QUOTE)),
        E::UnclosedFlowCollection { open } => {
            return (format!("`{open}` is never closed"), None);
        }
        E::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` is closed by `{close}`"), None);
        }
        E::UnclosedQuotedScalar | E::InvalidQuotedScalarIndent | E::DocumentIndicatorInQuotedScalar => {
            ("a quote is never closed", None)
        }
        E::UnknownQuotedScalarEscape => {
            ("unknown escape in a double-quoted text", Some("use single quotes, which take backslashes as they are"))
        }
        E::UnexpectedCharacter { character } => {
            return (format!("a plain value cannot start with `{character}`"), Some("quote it"));
        }
        E::UnknownAnchor => ("no anchor of that name above", None),
        E::RecursionLimitExceeded => ("nested too deep", None),
        E::DirectiveDisallowed => ("directives (`%`) are not supported", None),
        other => return (other.to_string(), None),
    };
    (message.to_owned(), hint)
}
