//! File heads: every Rust file says what it is before it says anything else.
//!
//! Two sentences are the least: what it is, and what it never does or always keeps. A file of
//! tests promises nothing, so one is enough there.

use super::{Breach, Tree};

/// Every file starts with `//!` of two sentences or more, a file of tests of one.
pub(super) fn heads(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, _) in tree.rust() {
        let least = if source.is_test() { 1 } else { 2 };
        if sentences(&source.text) < least {
            let instead =
                "start the file with `//!`: what it is, what it never does (two sentences)";
            found.push(Breach::new(&source.path, 1, "file-head", instead));
        }
    }
    found
}

fn sentences(text: &str) -> usize {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line.trim());
            prose.push(' ');
        }
    }
    let ends = |pair: &[u8]| matches!(pair[0], b'.' | b'!' | b'?') && pair[1] == b' ';
    prose.as_bytes().windows(2).filter(|pair| ends(pair)).count()
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn a_file_without_two_sentences_on_top_is_reported() {
        for bad in [
            "fn a() {}\n",
            "//! One sentence.\n",
            "// Not a doc. Though two sentences.\n",
            "//! One.\n//! ```text\n//! not prose. at all.\n//! ```\n",
        ] {
            assert_eq!(found(heads, "src/a.rs", bad), ["1: file-head"], "{bad}");
        }
        assert_eq!(found(heads, "src/a/tests.rs", "fn a() {}\n"), ["1: file-head"]);
        assert!(found(heads, "src/a/tests.rs", "//! Tests of a.\n").is_empty());
        assert!(found(heads, "src/a.rs", "//! One.\n//! Two, and\n//! more!\n").is_empty());
    }
}
