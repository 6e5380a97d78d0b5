//! Trees made of snippets, for the tests of the checks.
//!
//! A check is tested alone, on the least text that breaks it.

use super::{Breach, Source, Tree};

/// A tree of the given files.
pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
    Tree {
        sources: files.iter().map(|(path, text)| Source::new(path, text)).collect(),
        sizes: files.iter().map(|(path, text)| ((*path).to_owned(), text.len() as u64)).collect(),
        ..Tree::default()
    }
}

/// What one check says about one file, as `line: rule`.
pub(super) fn found(check: fn(&Tree) -> Vec<Breach>, path: &str, text: &str) -> Vec<String> {
    let breaches = check(&tree(&[(path, text)]));
    breaches.iter().map(|breach| format!("{}: {}", breach.line, breach.rule)).collect()
}
