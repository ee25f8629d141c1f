//! A text to parse, and where it came from.

use std::path::PathBuf;
use std::sync::Arc;

/// A longer source is refused; a service's document takes a few kilobytes.
pub const SOURCE_LIMIT_BYTES: usize = 4 << 20;

/// One file, or what came on standard input.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user named it, for messages.
    pub path: Arc<PathBuf>,
    /// The whole text.
    pub text: String,
}

/// A stretch of one line, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// One-based.
    pub line: u32,
    /// One-based.
    pub column: u32,
    /// At least 1.
    pub width: u32,
}

impl Source {
    /// A source from its parts.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: Arc::new(path.into()), text: text.into() }
    }
}

impl Place {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1, width: 1 };
}
