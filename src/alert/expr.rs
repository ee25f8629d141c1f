//! PromQL that says the same as an alert, written when somebody reads it.

use std::fmt;
use std::sync::Arc;

/// An expression of half a kilobyte for each alert of each SLO would take more memory than what is counted for some of
/// them; few are ever read.
#[derive(Clone)]
pub struct Expr(Arc<dyn Fn() -> String + Send + Sync>);

impl Expr {
    /// `write` gives the same text each time.
    pub fn new(write: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }
}

impl From<&str> for Expr {
    fn from(text: &str) -> Self {
        let text: Arc<str> = text.into();
        Self::new(move || text.as_ref().to_owned())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)())
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        (self.0)() == (other.0)()
    }
}
