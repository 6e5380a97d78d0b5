//! The layer table: who may import whom. Ten lines that keep two towers apart.
//!
//! Machine (io, commitlog, replica) knows bytes; law (wire, queue, broker, naming) knows topics;
//! they meet in `shard` and above, never elsewhere. A room that is not in the table is a breach:
//! a new folder is a decision.

use syn::visit::{self, Visit};

use super::{Breach, Tree};

struct Layer {
    room: &'static str,
    /// Rooms of the root crate it may name.
    rooms: &'static [&'static str],
    /// weir's other crates it may name.
    crates: &'static [&'static str],
}

const fn layer(
    room: &'static str,
    rooms: &'static [&'static str],
    crates: &'static [&'static str],
) -> Layer {
    Layer { room, rooms, crates }
}

const BOTH: &[&str] = &["weir_io", "weir_wire"];
const ALL: &[&str] = &[
    "base",
    "broker",
    "cli",
    "commitlog",
    "config",
    "control",
    "exit",
    "measure",
    "naming",
    "node",
    "queue",
    "replica",
    "server",
    "shard",
];

/// Configuration is plain data and imports nothing but `base`; the towers still get what they
/// need handed in.
const BRIDGE: &[&str] =
    &["base", "broker", "commitlog", "config", "measure", "naming", "queue", "replica"];
const SERVER: &[&str] =
    &["base", "broker", "commitlog", "config", "measure", "naming", "queue", "shard"];
const UPSTAIRS: &[&str] = &[
    "base",
    "broker",
    "commitlog",
    "config",
    "control",
    "exit",
    "measure",
    "naming",
    "replica",
    "server",
    "shard",
];

const LAYERS: &[Layer] = &[
    layer("base", &[], &[]),
    layer("exit", &[], &[]),
    layer("config", &["base"], &[]),
    layer("measure", &["base"], &[]),
    layer("queue", &["base"], &["weir_wire"]),
    layer("broker", &["base", "queue"], &["weir_wire"]),
    layer("naming", &["base", "queue"], &["weir_wire"]),
    layer("commitlog", &["base"], &["weir_io"]),
    layer("replica", &["base", "commitlog"], &["weir_io"]),
    layer("shard", BRIDGE, BOTH),
    layer("server", SERVER, BOTH),
    // Knows the letters of `server`; no shard has ever heard of it.
    layer("control", &["base", "config", "exit", "measure", "server"], &["weir_io"]),
    layer("node", UPSTAIRS, BOTH),
    layer("cli", &["base", "broker", "commitlog", "config", "exit", "measure", "node"], BOTH),
    layer("main", &[], &["weir"]),
    layer("lib", ALL, &[]),
];

/// Every import of the root crate is in the table.
pub(super) fn rooms(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust() {
        let Some(room) = source.room() else { continue };
        let Some(layer) = LAYERS.iter().find(|layer| layer.room == room) else {
            let instead = format!("`{room}` has no row in the layer table of xtask's tidy");
            found.push(Breach::new(&source.path, 1, "layer", instead));
            continue;
        };
        let depth = source.path.split('/').count() - 1;
        let depth = if source.path.ends_with("/mod.rs") { depth - 1 } else { depth };
        let mut names = Names { depth, found: Vec::new() };
        names.visit_file(&rust.file);
        for (name, line) in names.found {
            if let Some(instead) = refused(layer, &name) {
                found.push(Breach::new(&source.path, line, "layer", instead));
            }
        }
    }
    found
}

fn refused(layer: &Layer, name: &str) -> Option<String> {
    let room = layer.room;
    if name.starts_with("weir") {
        return (!layer.crates.contains(&name))
            .then(|| format!("`{room}` may not name the crate `{name}`; pass what it needs in"));
    }
    // Names that are no room are items of the crate's root.
    (name != room && ALL.contains(&name) && !layer.rooms.contains(&name)).then(|| {
        let allowed =
            if layer.rooms.is_empty() { "nothing".into() } else { layer.rooms.join(", ") };
        format!(
            "`{room}` may not import `{name}` (only {allowed}); pass it in, or return a decision"
        )
    })
}

/// Collects the first names behind `crate::`, behind enough `super::`, and crates named `weir…`.
struct Names {
    /// Modules between the file's own items and the crate's root.
    depth: usize,
    found: Vec<(String, usize)>,
}

impl Names {
    fn take(&mut self, segments: &[(String, usize)]) {
        let ups = segments.iter().take_while(|(name, _)| name == "super").count();
        let target = match segments.first() {
            Some((name, _)) if name == "crate" => segments.get(1),
            Some((name, _)) if name.starts_with("weir") && segments.len() > 1 => segments.first(),
            Some(_) if ups > 0 && ups >= self.depth => segments.get(ups),
            _ => None,
        };
        self.found.extend(target.cloned());
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<(String, usize)>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push((path.ident.to_string(), path.ident.span().start().line));
                self.tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.tree(item, before));
            }
            syn::UseTree::Name(name) => self.leaf(&name.ident, before),
            syn::UseTree::Rename(rename) => self.leaf(&rename.ident, before),
            syn::UseTree::Glob(_) => self.take(before),
        }
    }

    fn leaf(&mut self, ident: &syn::Ident, before: &[(String, usize)]) {
        let mut segments = before.to_vec();
        segments.push((ident.to_string(), ident.span().start().line));
        self.take(&segments);
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Inside an inline module `super` starts one step lower.
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let name = |segment: &syn::PathSegment| {
            (segment.ident.to_string(), segment.ident.span().start().line)
        };
        self.take(&path.segments.iter().map(name).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn machine_and_law_never_name_each_other() {
        for (path, text) in [
            ("src/commitlog/a.rs", "use crate::queue::Queue;"),
            ("src/commitlog/a.rs", "use weir_wire::frame;"),
            ("src/queue/a.rs", "use crate::{base::ids, commitlog::Log};"),
            ("src/queue/a.rs", "fn f() { crate::broker::g(); }"),
            ("src/broker/a.rs", "use weir_io::File;"),
            ("src/broker/a/b.rs", "use super::super::super::naming::Naming;"),
            ("src/broker/mod.rs", "pub use super::shard::Shard;"),
            ("src/broker/a.rs", "mod t { use super::super::super::shard::Shard; }"),
            ("src/naming/mod.rs", "fn f(x: crate::shard::Shard) {}"),
            ("src/shard/a.rs", "use crate::server::*;"),
            ("src/config/a.rs", "use crate::node as n;"),
            ("src/server/a.rs", "use crate::control::Control;"),
            ("src/control/a.rs", "use crate::shard::Shard;"),
        ] {
            assert_eq!(found(rooms, path, text), ["1: layer"], "{path} {text}");
        }
    }

    #[test]
    fn allowed_edges_and_own_names_pass() {
        for (path, text) in [
            ("src/queue/a.rs", "use crate::base::ids; use super::b; use weir_wire::frame;"),
            ("src/broker/a.rs", "use crate::broker::b; use super::queue; use std::fmt;"),
            ("src/shard/a.rs", "use crate::{queue, broker, commitlog}; use weir_io::Driver;"),
            ("bench/src/a.rs", "use weir::shard::Shard;"),
            ("src/control/a.rs", "use crate::server::Letter;"),
            ("src/main.rs", "fn main() { weir::cli::main() }"),
        ] {
            assert!(found(rooms, path, text).is_empty(), "{path} {text}");
        }
    }

    #[test]
    fn a_room_without_a_row_is_reported() {
        assert_eq!(found(rooms, "src/drawer/a.rs", "fn f() {}"), ["1: layer"]);
    }
}
