//! One broken rule at one place.
//!
//! It prints itself the way compilers do, so that editors jump to it.

use std::fmt;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// File, from the root of the repository.
    pub path: String,
    /// Line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// Short name of the rule.
    pub rule: &'static str,
    /// What to do instead.
    pub instead: String,
}

impl Breach {
    /// Makes one.
    #[must_use]
    pub fn new(path: &str, line: usize, rule: &'static str, instead: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, instead: instead.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.instead)
    }
}
