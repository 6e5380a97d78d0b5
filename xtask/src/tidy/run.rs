//! All checks, in one list.
//!
//! Adding a check means a file beside this one and a line here.

use std::path::Path;

use super::{
    Breach, Tree, blobs, dependencies, documented, events, head, layers, markdown, names, places,
    protocol, shape, words,
};

type Check = fn(&Tree) -> Vec<Breach>;

const CHECKS: &[Check] = &[
    shape::parses,
    shape::lengths,
    shape::doors,
    head::heads,
    documented::items,
    layers::rooms,
    words::keywords,
    words::left_overs,
    words::machine_paths,
    names::files,
    names::types,
    places::host_calls,
    dependencies::rows,
    protocol::rows,
    events::rows,
    markdown::pages,
    blobs::sizes,
];

/// Reads the tree at `root` and runs every check. Breaches come sorted by place. An error is a
/// tree that cannot be read, which includes a folder that is not a git checkout.
pub fn check(root: &Path) -> std::io::Result<Vec<Breach>> {
    Ok(check_tree(&Tree::read(root)?))
}

/// Runs every check on a tree in memory.
#[must_use]
pub fn check_tree(tree: &Tree) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = CHECKS.iter().flat_map(|check| check(tree)).collect();
    breaches.sort();
    breaches.dedup();
    breaches
}
