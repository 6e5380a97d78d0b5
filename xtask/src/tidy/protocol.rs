//! The protocol page: every request code the broker knows has a row with a verdict.
//!
//! The codes come from `wire/src/codes.rs`, the handled ones from the server's sources. A handled
//! code whose row says "no" is a breach: the page says what is true.

use std::collections::{BTreeMap, BTreeSet};

use super::{Breach, Rust, Tree};

const PAGE: &str = "docs/protocol.md";
const CODES: &str = "wire/src/codes.rs";
const SERVERS: &[&str] = &["src/server/", "src/shard/"];
/// Where a code that weir sends to clients is named.
const SENDERS: &[&str] = &["src/broker/", "src/naming/", "src/server/", "src/shard/"];

/// Every request code has a row; every handled one says "yes" or "partly", and no other does.
pub(super) fn rows(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    let Some(rust) = tree.find(CODES).and_then(|source| source.rust.as_ref()) else {
        return found;
    };
    let codes = request_codes(rust);
    let verdicts = tree.find(PAGE).map(verdicts).unwrap_or_default();
    let handled = handled(tree);
    let named = named(tree);
    for (name, (number, line)) in &codes {
        match verdicts.get(number) {
            None => {
                let instead = format!("give {number} {name} a row in {PAGE}");
                found.push(Breach::new(CODES, *line, "protocol", instead));
            }
            Some((verdict, row)) if verdict == "no" && handled.contains(name) => {
                let instead = format!("{name} is handled: say yes or partly");
                found.push(Breach::new(PAGE, *row, "protocol", instead));
            }
            Some((verdict, row)) if verdict != "no" && !named.contains(name) => {
                let instead = format!("{name} is nowhere in the server: say no, or build it");
                found.push(Breach::new(PAGE, *row, "protocol", instead));
            }
            Some((verdict, row)) if !["yes", "partly", "no"].contains(&verdict.as_str()) => {
                let instead = format!("{name}: the verdict is yes, partly or no");
                found.push(Breach::new(PAGE, *row, "protocol", instead));
            }
            Some(_) => {}
        }
    }
    found
}

/// Constants of the module `request`: name to number and line.
fn request_codes(rust: &Rust) -> BTreeMap<String, (i64, usize)> {
    let mut out = BTreeMap::new();
    for item in &rust.file.items {
        let syn::Item::Mod(module) = item else { continue };
        let Some((_, items)) = module.content.as_ref().filter(|_| module.ident == "request") else {
            continue;
        };
        for item in items {
            let syn::Item::Const(constant) = item else { continue };
            if let Some(number) = number(&constant.expr) {
                let line = constant.ident.span().start().line;
                out.insert(constant.ident.to_string(), (number, line));
            }
        }
    }
    out
}

fn number(expr: &syn::Expr) -> Option<i64> {
    match expr {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(int), .. }) => int.base10_parse().ok(),
        _ => None,
    }
}

/// Rows of the page: `| number | name | verdict | …`.
fn verdicts(page: &super::Source) -> BTreeMap<i64, (String, usize)> {
    let mut out = BTreeMap::new();
    for (at, line) in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, number, _, verdict, ..] = cells.as_slice()
            && let Ok(number) = number.parse()
        {
            out.insert(number, ((*verdict).to_owned(), at));
        }
    }
    out
}

/// Every word of the sources that serve or send requests.
fn named(tree: &Tree) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (source, rust) in tree.rust() {
        if SENDERS.iter().any(|sender| source.path.starts_with(sender)) && !source.is_test() {
            out.extend(rust.words.iter().map(|word| word.text.clone()));
        }
    }
    out
}

/// Names of codes that the server's sources match on (`request::NAME =>`).
fn handled(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (source, rust) in tree.rust() {
        if SERVERS.iter().any(|server| source.path.starts_with(server)) && !source.is_test() {
            let arms = rust.words.iter().filter(|word| matches!(word.next.as_str(), "=>" | "|"));
            out.extend(arms.map(|word| word.text.clone()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample::tree;
    use super::*;

    const CODE: &str = "pub mod request { pub const PULL: i32 = 11; }";

    fn breaches(page: &str, server: &str) -> Vec<String> {
        let files = [(CODES, CODE), (PAGE, page), ("src/server/dispatch.rs", server)];
        rows(&tree(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_code_without_a_row_is_reported() {
        assert!(breaches("", "")[0].contains("give 11 PULL a row"));
        assert!(breaches("| 11 | PULL | no | later |\n", "").is_empty());
        let server = "fn f() { request::PULL; }";
        let maybe = breaches("| 11 | PULL | maybe | later |\n", server);
        assert!(maybe[0].contains("yes, partly or no"), "{maybe:?}");
    }

    #[test]
    fn a_promise_that_nothing_keeps_is_reported() {
        assert!(breaches("| 11 | PULL | yes | |\n", "")[0].contains("nowhere in the server"));
    }

    #[test]
    fn a_handled_code_that_the_page_denies_is_reported() {
        let server = "fn f() { match code { request::PULL => g(), _ => h() } }";
        assert!(breaches("| 11 | PULL | no | later |\n", server)[0].contains("PULL is handled"));
        assert!(breaches("| 11 | PULL | partly | later |\n", server).is_empty());
    }
}
