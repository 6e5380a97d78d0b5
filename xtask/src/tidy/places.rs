//! Places: files, sockets, clocks, threads and the environment of the host are touched only
//! where the process meets the host.
//!
//! Everything else goes through `io/`, so that the simulator can stand in for the host.

use syn::visit::{self, Visit};

use super::source::is_test_only;
use super::{Breach, Tree};

/// Where the host may be touched directly.
const RIM: &[&str] = &[
    "bench/",
    "bounds/",
    "io/",
    "sim/",
    "src/cli/",
    "src/control/",
    "src/main.rs",
    "src/node",
    "xtask/",
];

/// `std::fs`, sockets of `std::net`, clocks, threads, the environment: only at the rim.
pub(super) fn host_calls(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust() {
        if RIM.iter().any(|rim| source.path.starts_with(rim)) || source.is_test() {
            continue;
        }
        let mut calls = Calls { found: Vec::new() };
        calls.visit_file(&rust.file);
        for (path, line) in calls.found {
            if let Some(instead) = refused(&path) {
                found.push(Breach::new(&source.path, line, "host", instead));
            }
        }
    }
    found
}

fn refused(path: &[String]) -> Option<&'static str> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["std", "fs", ..] => Some("use the driver's files, or do it in cli/ or node"),
        ["std", "net", "TcpListener" | "TcpStream" | "UdpSocket" | "ToSocketAddrs", ..] => {
            Some("use the driver's sockets, or do it in cli/ or node")
        }
        ["std", "env" | "process", ..] => Some("let cli/ or node ask, and pass the answer in"),
        ["std", "thread", "spawn" | "Builder" | "scope" | "sleep", ..]
        | ["thread", "spawn" | "Builder" | "scope" | "sleep", ..] => {
            Some("let node start threads; wait with the driver's timers")
        }
        [.., "Instant" | "SystemTime", "now"] => Some("take `now` as an argument"),
        _ => None,
    }
}

struct Calls {
    found: Vec<(Vec<String>, usize)>,
}

impl Calls {
    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        let mut leaf = |ident: &syn::Ident| {
            let mut path = before.clone();
            path.push(ident.to_string());
            self.found.push((path, ident.span().start().line));
        };
        match tree {
            syn::UseTree::Name(name) => leaf(&name.ident),
            syn::UseTree::Rename(rename) => leaf(&rename.ident),
            syn::UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.found.push((before.clone(), line));
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.tree(item, before));
            }
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
        }
    }
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(super::source::attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |s| s.ident.span().start().line);
        self.found.push((names, line));
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn a_host_call_away_from_the_rim_is_reported() {
        for text in [
            "use std::fs;",
            "use std::fs::File;",
            "use std::{fmt, fs::File};",
            "fn f() { std::fs::read(p); }",
            "use std::net::TcpStream;",
            "fn f() { std::env::var(k); }",
            "fn f() { std::process::exit(1); }",
            "fn f() { thread::spawn(g); }",
            "fn f() -> T { std::time::Instant::now() }",
            "fn f() -> T { SystemTime::now() }",
        ] {
            assert_eq!(found(host_calls, "src/commitlog/a.rs", text), ["1: host"], "{text}");
        }
    }

    #[test]
    fn the_rim_tests_and_plain_types_pass() {
        assert!(found(host_calls, "src/cli/a.rs", "use std::fs;").is_empty());
        assert!(found(host_calls, "src/node.rs", "fn f() { thread::spawn(g); }").is_empty());
        assert!(
            found(host_calls, "src/naming/a.rs", "use std::net::{IpAddr, SocketAddr};").is_empty()
        );
        let test = "#[cfg(test)]\nmod tests { use std::fs; }";
        assert!(found(host_calls, "src/queue/a.rs", test).is_empty());
    }
}
