//! Shape: lengths of files, lines and functions, and doors that stay doors.
//!
//! A length is what a reader has to hold in the head: blank lines and comments do not count in a
//! function, and test items do not count in a file.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{attributes, is_test_only};
use super::{Breach, Source, Tree};

const FILE_MAX: usize = 800;
const FILE_WITHOUT_TESTS_MAX: usize = 600;
const LINE_MAX: usize = 100;
const FUNCTION_MAX: usize = 70;

/// Every Rust file parses.
pub(super) fn parses(tree: &Tree) -> Vec<Breach> {
    let broken = tree.sources.iter().filter(|s| s.path.ends_with(".rs") && s.rust.is_none());
    broken.map(|s| Breach::new(&s.path, 1, "syntax", "make it parse")).collect()
}

/// Files, lines and functions are short.
pub(super) fn lengths(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust() {
        let lines = source.text.lines().count();
        let tests: usize = rust.test_lines.iter().map(|(first, last)| last - first + 1).sum();
        if lines > FILE_MAX {
            let instead = format!("{lines} lines; split it below {FILE_MAX}");
            found.push(Breach::new(&source.path, 0, "file-length", instead));
        } else if !source.is_test() && lines - tests > FILE_WITHOUT_TESTS_MAX {
            let body = lines - tests;
            let instead =
                format!("{body} lines without tests; split it below {FILE_WITHOUT_TESTS_MAX}");
            found.push(Breach::new(&source.path, 0, "file-length", instead));
        }
        for (at, line) in source.lines() {
            let columns = line.chars().count();
            if columns > LINE_MAX {
                let instead = format!("{columns} columns; break it at {LINE_MAX}");
                found.push(Breach::new(&source.path, at, "line-length", instead));
            }
        }
        let mut functions = Functions { source, found: &mut found };
        functions.visit_file(&rust.file);
    }
    found
}

struct Functions<'a> {
    source: &'a Source,
    found: &'a mut Vec<Breach>,
}

impl Functions<'_> {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (first, last) = (block.span().start().line, block.span().end().line);
        let code = self.source.text.lines().skip(first).take(last.saturating_sub(first + 1));
        let lines =
            code.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        if lines > FUNCTION_MAX {
            let at = name.span().start().line;
            let instead = format!("`{name}` has {lines} lines; split it at {FUNCTION_MAX}");
            self.found.push(Breach::new(&self.source.path, at, "function-length", instead));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

/// A `mod.rs` is a door: docs, `mod`, `pub use`, and nothing that runs.
pub(super) fn doors(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust().filter(|(source, _)| source.path.ends_with("/mod.rs")) {
        for item in rust.file.items.iter().filter(|item| !is_test_only(attributes(item))) {
            if matches!(item, syn::Item::Fn(_) | syn::Item::Impl(_)) {
                let line = item.span().start().line;
                let instead = "move the code to a file of its own, keep `mod` and `pub use`";
                found.push(Breach::new(&source.path, line, "door", instead));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn a_file_that_does_not_parse_is_reported() {
        assert_eq!(found(parses, "src/a.rs", "fn ("), ["1: syntax"]);
    }

    #[test]
    fn a_long_file_is_reported_unless_the_excess_is_tests() {
        let long = "const A: u8 = 0;\n".repeat(601);
        assert_eq!(found(lengths, "src/a.rs", &long), ["0: file-length"]);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(700));
        assert_eq!(found(lengths, "src/a.rs", &tests), Vec::<String>::new());
        assert_eq!(found(lengths, "src/a/tests.rs", &long), Vec::<String>::new());
        let longer = "const A: u8 = 0;\n".repeat(801);
        assert_eq!(found(lengths, "src/a/tests.rs", &longer), ["0: file-length"]);
    }

    #[test]
    fn a_long_line_is_reported() {
        let line = format!("// {}\n", "x".repeat(98));
        assert_eq!(found(lengths, "src/a.rs", &line), ["1: line-length"]);
    }

    #[test]
    fn a_long_function_is_reported_comments_and_blank_lines_aside() {
        let body = |line: &str, count: usize| format!("fn a() {{\n{}}}\n", line.repeat(count));
        assert_eq!(found(lengths, "src/a.rs", &body("b();\n", 71)), ["1: function-length"]);
        assert_eq!(found(lengths, "src/a.rs", &body("b();\n", 70)), Vec::<String>::new());
        assert_eq!(found(lengths, "src/a.rs", &body("// b\n\n", 71)), Vec::<String>::new());
        let method = format!("impl A {{ {} }}", body("b();\n", 71));
        assert_eq!(found(lengths, "src/a.rs", &method), ["1: function-length"]);
    }

    #[test]
    fn a_door_with_code_is_reported() {
        let text = "mod a;\nfn b() {}\nimpl A {}\n#[cfg(test)]\nfn c() {}\n";
        assert_eq!(found(doors, "src/q/mod.rs", text), ["2: door", "3: door"]);
        assert_eq!(found(doors, "src/q/a.rs", text), Vec::<String>::new());
    }
}
