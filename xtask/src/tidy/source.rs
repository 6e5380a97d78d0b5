//! What the checks read: every file git knows or would know, Rust files parsed once.
//!
//! Nothing is skipped: a file that does not parse is a breach of its own. Lines count from 1.

use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::spanned::Spanned;

/// The tree under check.
#[derive(Debug, Default)]
pub struct Tree {
    /// Root on disk; links and sizes are looked up below it. Empty in tests.
    pub root: PathBuf,
    /// Text files.
    pub sources: Vec<Source>,
    /// Every file with its size in bytes, text or not.
    pub sizes: Vec<(String, u64)>,
}

/// One text file.
#[derive(Debug)]
pub struct Source {
    /// Path from the root, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The parse, for a `.rs` file that parses.
    pub rust: Option<Rust>,
}

/// A parsed Rust file.
#[derive(Debug)]
pub struct Rust {
    /// Every item, tests included.
    pub file: syn::File,
    /// First and last line of each test-only item.
    pub test_lines: Vec<(usize, usize)>,
    /// Every word (identifier or keyword) with its line and the text right after it: `::`, `<`,
    /// `!` or nothing of interest.
    pub words: Vec<Word>,
}

/// A word of Rust text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The identifier or keyword.
    pub text: String,
    /// Its line.
    pub line: usize,
    /// The punctuation that follows without another token between (at most two characters).
    pub next: String,
}

impl Tree {
    /// Reads the tree at `root`: tracked files, and untracked ones that are not ignored.
    pub fn read(root: &Path) -> std::io::Result<Tree> {
        let mut tree = Tree { root: root.to_owned(), ..Tree::default() };
        for path in listed(root)? {
            let Ok(bytes) = std::fs::read(root.join(&path)) else {
                continue; // deleted, not yet committed as such
            };
            tree.sizes.push((path.clone(), bytes.len() as u64));
            if let Ok(text) = String::from_utf8(bytes) {
                tree.sources.push(Source::new(&path, &text));
            }
        }
        Ok(tree)
    }

    /// The Rust files that parse.
    pub fn rust(&self) -> impl Iterator<Item = (&Source, &Rust)> {
        self.sources.iter().filter_map(|source| source.rust.as_ref().map(|rust| (source, rust)))
    }

    /// The file at `path`.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }
}

fn listed(root: &Path) -> std::io::Result<Vec<String>> {
    let out = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()?;
    if !out.status.success() {
        let words = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(std::io::Error::other(format!("git ls-files: {words}")));
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut paths: Vec<String> =
        text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

impl Source {
    /// Takes a file's text; parses it when the path says Rust.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Source {
        let rust = if path.ends_with(".rs") { Rust::parse(text) } else { None };
        Source { path: path.to_owned(), text: text.to_owned(), rust }
    }

    /// Lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// True for a file that only tests are built from.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let stem = self.path.rsplit('/').next().unwrap_or_default();
        stem == "tests.rs" || self.path.starts_with("tests/") || self.path.contains("/tests/")
    }

    /// The folder or file below `src/` of the root crate: `queue` for `src/queue/arena.rs`.
    #[must_use]
    pub fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        Some(below.split('/').next().unwrap_or_default().trim_end_matches(".rs"))
    }
}

impl Rust {
    fn parse(text: &str) -> Option<Rust> {
        let file = syn::parse_file(text).ok()?;
        let stream: TokenStream = text.parse().ok()?;
        let mut words = Vec::new();
        gather(stream, &mut words);
        let mut test_lines = Vec::new();
        for item in &file.items {
            if is_test_only(attributes(item)) {
                let span = item.span();
                test_lines.push((span.start().line, span.end().line));
            }
        }
        Some(Rust { file, test_lines, words })
    }

    /// True when `line` stands in a test-only item.
    #[must_use]
    pub fn in_test(&self, line: usize) -> bool {
        self.test_lines.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }
}

/// True for `#[cfg(test)]`, alone or inside `all(…)`.
pub(super) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let words = list.tokens.to_string();
                !words.contains("not")
                    && words.split(|c: char| !c.is_alphanumeric()).any(|w| w == "test")
            })
    })
}

/// The attributes of any item.
pub(super) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn gather(stream: TokenStream, words: &mut Vec<Word>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Ident(ident) => words.push(word(ident, &trees[at + 1..])),
            TokenTree::Group(group) => gather(group.stream(), words),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn word(ident: &Ident, rest: &[TokenTree]) -> Word {
    let punct = |at: usize| match rest.get(at) {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    };
    let next: String = [punct(0), punct(0).and(punct(1))].into_iter().flatten().collect();
    Word { text: ident.to_string(), line: ident.span().start().line, next }
}
